"""Recipes: settings by name, each for a published or useful experiment."""

from __future__ import annotations

from praxiscope.recipes.settings import (
    InputSettings,
    ModelSettings,
    OptimSettings,
    RunSettings,
    TrainSettings,
    recipes,
)

__all__: list[str] = []


@recipes.register("default")
def default() -> TrainSettings:
    """A small network on 8 snippets, from scratch or from weights that are given: a start for own videos."""
    return TrainSettings(optim=OptimSettings(lr=0.01, epochs=30, batch=8, warmup_epochs=1))


@recipes.register("tsn-fine-tune")
def tsn_fine_tune() -> TrainSettings:
    """TSN from ImageNet weights on a small set: 3 snippets, SGD at 1e-3, dropout 0.5, partial BatchNorm."""
    return TrainSettings(
        model=ModelSettings(name="tsn", backbone="resnet50", batchnorm="partial", dropout=0.5),
        input=InputSettings(snippets=3),
        optim=OptimSettings(lr=1e-3, epochs=30, batch=16, schedule="step", milestones=(12, 24), clip_norm=40),
    )


@recipes.register("tsm")
def tsm() -> TrainSettings:
    """TSM's published settings: 8 snippets, dropout 0.5, classifier at 5 times the rate, clipping at 20."""
    return TrainSettings(
        model=ModelSettings(name="tsm", backbone="resnet50", dropout=0.5),
        input=InputSettings(snippets=8),
        optim=OptimSettings(
            lr=0.01,
            epochs=50,
            batch=64,
            schedule="step",
            milestones=(20, 40),
            clip_norm=20,
            weight_decay=1e-4,
            classifier_lr_scale=5,
        ),
    )


@recipes.register("move4mnist-64")
def move4mnist_64() -> TrainSettings:
    """Move4MNIST at 64 pixels on a CPU. No flip (left would become right) and the whole frame, scaled."""
    return TrainSettings(
        model=ModelSettings(name="tsm", backbone="resnet18", dropout=0.5),
        input=InputSettings(size=64, short_side=64, snippets=8, crop="center", flip=False),
        optim=OptimSettings(lr=0.02, epochs=20, batch=16, warmup_epochs=1, weight_decay=5e-4),
        run=RunSettings(validate_epochs=1),
    )
