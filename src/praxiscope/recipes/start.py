"""Start here.

Settings for your own videos, the demo and small data sets on a CPU.
"""

from __future__ import annotations

from praxiscope.recipes.named import recipes
from praxiscope.recipes.sections import DataSettings, InputSettings, ModelSettings, OptimSettings, RunSettings
from praxiscope.recipes.settings import TrainSettings

__all__: list[str] = []


@recipes.register("default")
def default() -> TrainSettings:
    """Your own videos: a small network on 8 snippets. From trained weights, RGB frames are learned by fine-tune."""
    return TrainSettings(optim=OptimSettings(lr=0.01, epochs=30, batch=8, warmup_epochs=1))


@recipes.register("fine-tune")
def fine_tune() -> TrainSettings:
    """The default from trained weights: logistic regression, then all layers, the best on held-out training groups."""
    return TrainSettings(
        data=DataSettings(validation=0.2),
        model=ModelSettings(dropout=0.5, batchnorm="frozen"),
        input=InputSettings(snippets=3),
        optim=OptimSettings(lr=2e-3, trunk_lr_scale=0.1, epochs=10, batch=8, probe=True, patience=3),
    )


@recipes.register("fine-tune-tsm")
def fine_tune_tsm() -> TrainSettings:
    """The default of tsm from trained weights: as fine-tune, with 8 snippets to mix."""
    return fine_tune().updated({"model.name": "tsm", "input.snippets": 8})


@recipes.register("features")
def features() -> TrainSettings:
    """Models over time on stored features: AdamW, the best on held-out training groups."""
    return TrainSettings(
        data=DataSettings(validation=0.2, workers=0),
        input=InputSettings(snippets=25),
        optim=OptimSettings(name="adamw", lr=5e-4, weight_decay=0.01, epochs=30, batch=8, patience=5),
    )


@recipes.register("features-lstm")
def features_lstm() -> TrainSettings:
    """An LSTM on stored features: one layer of 256 cells, which a few hundred clips can train."""
    return features().updated(
        {"model.name": "lstm", "model.hidden": 256, "model.layers": 1, "optim.lr": 2e-3}
    )


@recipes.register("move4mnist-64")
def move4mnist_64() -> TrainSettings:
    """Move4MNIST at 64 pixels on a CPU, without flips (left would become right) and crops."""
    return TrainSettings(
        model=ModelSettings(name="tsm", backbone="resnet18", dropout=0.5),
        input=InputSettings(size=64, short_side=64, snippets=8, crop="center", flip=False),
        optim=OptimSettings(lr=0.02, epochs=20, batch=16, warmup_epochs=1, weight_decay=5e-4),
        run=RunSettings(validate_epochs=1),
    )


@recipes.register("demo")
def demo() -> TrainSettings:
    """`make demo`: Move4MNIST at 64 pixels, in minutes on a CPU."""
    return move4mnist_64().updated(
        {
            "model.backbone": "resnet10",
            "optim.epochs": 4,
            "run.checkpoint_steps": 25,
            "run.tensorboard": False,
        }
    )


@recipes.register("demo-own")
def demo_own() -> TrainSettings:
    """`make demo DATA=…`: as fine-tune, in at most 100 steps."""
    return fine_tune().updated(
        {"optim.steps": 100, "run.checkpoint_steps": 25, "run.tensorboard": False},
    )


@recipes.register("demo-own-scratch")
def demo_own_scratch() -> TrainSettings:
    """`make demo DATA=…` from random weights: tsm on ResNet-10 at 112 pixels, 400 steps."""
    return TrainSettings(
        model=ModelSettings(name="tsm", backbone="resnet10", dropout=0.5),
        input=InputSettings(size=112, short_side=128, snippets=8),
        optim=OptimSettings(lr=0.02, epochs=None, steps=400, batch=8, weight_decay=5e-4),
        run=RunSettings(validate_epochs=10, checkpoint_steps=25, tensorboard=False),
    )
