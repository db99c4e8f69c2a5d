"""Temporal difference networks (Ng, 2018, chapter 5)."""

from __future__ import annotations

from typing import Any

from praxiscope.recipes.baselines import FLOW_SCALES
from praxiscope.recipes.named import recipes
from praxiscope.recipes.sections import InputSettings, ModelSettings, OptimSettings
from praxiscope.recipes.settings import TrainSettings

__all__: list[str] = []

# Section 5.4.2 follows TSN for the lengths: of RGB 4,500 steps with drops after 1,500 and 3,000, of flow 18,000 with
# drops after 10,000 and 16,000. The dissertation does not print the length of the second phase on these sets. Here it
# is a fourth of the run, as on FCVID.
_RGB: dict[str, Any] = {
    "optim.steps": 6_000,
    "optim.frozen_steps": 4_500,
    "optim.milestone_steps": (1_500, 3_000),
}
_FLOW: dict[str, Any] = {
    "optim.steps": 24_000,
    "optim.frozen_steps": 18_000,
    "optim.milestone_steps": (10_000, 16_000),
}


@recipes.register("default-temporal-difference")
def default_temporal_difference() -> TrainSettings:
    """Your own videos: 3 snippets; the image network is fixed in the first half, then all is trained together."""
    return TrainSettings(
        model=ModelSettings(name="temporal-difference", dropout=0.5, batchnorm="partial"),
        input=InputSettings(snippets=3),
        optim=OptimSettings(lr=2e-3, epochs=20, batch=8, warmup_epochs=1, frozen_epochs="half"),
    )


def _difference(changes: dict[str, Any], snippets: int) -> TrainSettings:
    """Section 5.4.2: ResNet-50, 128 videos per step (here as 8 batches of 16), SGD with momentum 0.9 at 1e-3 (TSN's
    rate), weight decay 5e-4, dropout 0.8, partial BatchNorm, corner cropping, scale and colour jitter."""
    settings = TrainSettings(
        model=ModelSettings(
            name="temporal-difference", backbone="resnet50", dropout=0.8, batchnorm="partial"
        ),
        input=InputSettings(snippets=snippets, colour_jitter=0.4),
        optim=OptimSettings(
            lr=1e-3, batch=16, accumulate=8, schedule="step", weight_decay=5e-4, steps=6_000, clip_norm=None
        ),
    )
    return settings.updated(changes)


@recipes.register("temporal-difference")
def temporal_difference() -> TrainSettings:
    """ACT: RGB frames, 3 snippets, ResNet-50 from ImageNet weights (--pretrained)."""
    return _difference(_RGB, snippets=3)


@recipes.register("temporal-difference-hmdb51")
def temporal_difference_hmdb51() -> TrainSettings:
    """HMDB51: RGB frames, 2 snippets, ResNet-50 from ImageNet weights (--pretrained)."""
    return _difference(_RGB, snippets=2)


@recipes.register("temporal-difference-flow")
def temporal_difference_flow() -> TrainSettings:
    """Stacks of 5 flow fields; the image network starts from a trained TSN (--from RUN), the other from ImageNet
    weights (--pretrained)."""
    stream = {
        "model.stream": "flow",
        "input.subtract_mean": False,
        "input.crop_scales": FLOW_SCALES,
        "input.colour_jitter": 0.0,
    }
    return _difference({**_FLOW, **stream}, snippets=3)


@recipes.register("temporal-difference-fcvid")
def temporal_difference_fcvid() -> TrainSettings:
    """FCVID: a frame every 3 seconds at 256 x 256; 30,000 steps at 1e-2, a tenth every 10,000, then 10,000 jointly;
    weight decay 1e-4, without dropout, partial BatchNorm and corner cropping."""
    changes = {
        "model.dropout": 0.0,
        "model.batchnorm": "train",
        "input.fps": 1 / 3,
        "input.sampling": "segments",
        "input.crop": "random",
        "optim.lr": 1e-2,
        "optim.weight_decay": 1e-4,
        "optim.steps": 40_000,
        "optim.frozen_steps": 30_000,
        "optim.milestone_steps": (10_000, 20_000),
    }
    return _difference(changes, snippets=3)
