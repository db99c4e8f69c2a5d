"""Start here.

Settings for your own videos, the demo and small data sets on a CPU.
"""

from __future__ import annotations

from praxiscope.recipes.named import recipes
from praxiscope.recipes.sections import InputSettings, ModelSettings, OptimSettings, RunSettings
from praxiscope.recipes.settings import TrainSettings

__all__: list[str] = []


@recipes.register("default")
def default() -> TrainSettings:
    """Your own videos: a small network on 8 snippets, from ImageNet weights if they are installed, or --weights."""
    return TrainSettings(optim=OptimSettings(lr=0.01, epochs=30, batch=8, warmup_epochs=1))


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
    """`make demo DATA=…`: action clips at 112 pixels, 400 steps, from random weights or from --weights."""
    return TrainSettings(
        model=ModelSettings(name="tsm", backbone="resnet10", dropout=0.5),
        input=InputSettings(size=112, short_side=128, snippets=8),
        optim=OptimSettings(lr=0.02, epochs=None, steps=400, batch=8, weight_decay=5e-4),
        run=RunSettings(validate_epochs=10, checkpoint_steps=25, tensorboard=False),
    )
