"""Spatiotemporal multiplier networks (Feichtenhofer, Pinz and Wildes, CVPR 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from praxiscope.recipes.multiplier_rows import multiplier_rows
from praxiscope.recipes.named import recipes
from praxiscope.recipes.sections import DataSettings, InputSettings, ModelSettings, OptimSettings
from praxiscope.recipes.settings import TrainSettings

__all__: list[str] = []


@recipes.register("default-multiplier")
def default_multiplier() -> TrainSettings:
    """Pictures and flow in one network, from two trained runs (--from): a start for own videos."""
    return TrainSettings(
        model=ModelSettings(name="multiplier"),
        input=InputSettings(snippets=5, strides=(5, 35)),
        optim=OptimSettings(lr=1e-3, epochs=20, batch=8, warmup_epochs=1),
    )


def _multiplier(changes: Mapping[str, Any]) -> TrainSettings:
    """Sections 4.1 and 5.1 with ResNet-50 twice: 128 videos a step (here as 16
    batches of 8, whose BatchNorm sees a batch), 5 chunks of each at a random stride; 1e-3, a tenth after 20
    epochs, a hundredth after 30."""
    # When training ends is not said. Ten more epochs, as between the two drops.
    settings = TrainSettings(
        model=ModelSettings(name="multiplier", backbone="resnet50", temporal=None, pool_window=None),
        input=InputSettings(snippets=5, strides=(5, 35), flow_length=10, crop="jittered"),
        optim=OptimSettings(
            lr=1e-3, batch=8, accumulate=16, epochs=40, schedule="step", milestones=(20, 30), clip_norm=None
        ),
    )
    return settings.updated({f"model.{key}": value for key, value in changes.items()})


def _stream_of_multiplier(stream: str, backbone: str) -> TrainSettings:
    """Section 4.1: 1e-2, lowered twice when the validation saturates (here after
    1/2 and 5/6 of the epochs)."""
    rgb = stream == "rgb"
    return TrainSettings(
        data=DataSettings(sampling="class-uniform"),
        model=ModelSettings(name="tsn", backbone=backbone, stream=stream, dropout=0.0 if rgb else 0.8),
        input=InputSettings(
            snippets=1, **({"crop": "jittered"} if rgb else {"crop": "free-scale", "flow_length": 10})
        ),
        optim=OptimSettings(
            lr=1e-2,
            batch=32,
            accumulate=8 if rgb else 4,
            epochs=120,
            schedule="step",
            milestones=(60, 100),
            clip_norm=None,
        ),
    )


def _register_multipliers() -> None:
    for name, row in multiplier_rows().items():
        recipe = partial(_multiplier, row.changes)
        recipe.__doc__ = f"Multiplier networks, {row.table}: {row.title} (--from RGB_RUN,FLOW_RUN)."
        recipes.register(f"multiplier-{name}")(recipe)
    for depth in (50, 152):
        for stream, word in (("rgb", "appearance"), ("flow", "motion")):
            recipe = partial(_stream_of_multiplier, stream, f"resnet{depth}")
            start = f"ResNet-{depth} from ImageNet weights (--pretrained)"
            recipe.__doc__ = f"Multiplier networks, Table 4: the {word} stream, {start}."
            recipes.register(f"multiplier-{word}-{depth}")(recipe)


@recipes.register("multiplier")
def multiplier() -> TrainSettings:
    """Multiplier networks, the final model: ResNet-50 on pictures, ResNet-152 on flow (--from RGB_RUN,FLOW_RUN)."""
    best = multiplier_rows()["centre-residual-max"].changes
    return _multiplier({**best, "motion_backbone": "resnet152"})


_register_multipliers()
