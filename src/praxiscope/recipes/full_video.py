"""Full-video action recognition (Liu et al., "No Frame Left Behind", CVPR 2021)."""

from __future__ import annotations

from praxiscope.recipes.baselines import tsm
from praxiscope.recipes.named import recipes
from praxiscope.recipes.sections import InputSettings, ModelSettings, OptimSettings, RunSettings
from praxiscope.recipes.settings import TrainSettings
from praxiscope.recipes.start import move4mnist_64

__all__: list[str] = []


@recipes.register("full-video")
def full_video() -> TrainSettings:
    """Every frame of each video in 8 clusters, TSM's published settings; clusters from the first epoch on."""
    return tsm().updated({"model.name": "full-video", "model.clusters": 8})


@recipes.register("full-video-move4mnist")
def full_video_move4mnist() -> TrainSettings:
    """The full-video paper's Move4MNIST: ResNet-18 from ImageNet weights (--pretrained), 40 epochs, the first 6 on
    sampled frames."""
    # The paper does not state when the learning rate drops; that of TSM drops after 0.4 and 0.8 of its epochs.
    return TrainSettings(
        model=ModelSettings(name="full-video", backbone="resnet18", clusters=8, dropout=0.8),
        input=InputSettings(short_side=224, crop="center", flip=False, sampled_epochs=6),
        optim=OptimSettings(
            lr=1e-3,
            epochs=40,
            batch=16,
            schedule="step",
            milestones=(16, 32),
            clip_norm=20,
            weight_decay=1e-4,
            classifier_lr_scale=5,
        ),
        run=RunSettings(validate_epochs=0),
    )


@recipes.register("full-video-move4mnist-64")
def full_video_move4mnist_64() -> TrainSettings:
    """Move4MNIST at 64 pixels on a CPU, from random weights: ResNet-10, the first 2 of 10 epochs on sampled frames."""
    return move4mnist_64().updated(
        {
            "model.name": "full-video",
            "model.backbone": "resnet10",
            "model.clusters": 8,
            "input.sampled_epochs": 2,
            "optim.epochs": 10,
            "run.validate_epochs": 0,
        }
    )
