"""ActionFlowNet (Ng et al., WACV 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from praxiscope.recipes.named import recipes
from praxiscope.recipes.sections import InputSettings, ModelSettings, OptimSettings
from praxiscope.recipes.settings import TrainSettings

__all__: list[str] = []

FRAMES = {"actionflownet": 16, "flownet-3d": 16}
"""Frames of a snippet; the other networks take two."""


def _settings(model: str, changes: Mapping[str, Any]) -> TrainSettings:
    """Section 4.4.2: Adam (AdamW without weight decay is the same update) with lr 1e-4, multi-scale crops, flips. The
    optimiser has no weight decay and no schedule in the paper."""
    base = TrainSettings(
        model=ModelSettings(name=model, backbone="resnet18"),
        input=InputSettings(snippets=1, frames=FRAMES.get(model, 2)),
        optim=OptimSettings(
            name="adamw", lr=1e-4, weight_decay=0.0, schedule="constant", policy="plain", clip_norm=None
        ),
    )
    return base.updated(changes)


_ACTIONS: Mapping[str, Any] = {"model.dropout": 0.5, "input.colour_jitter": 0.4}
_FLOW: Mapping[str, Any] = {"backprop.name": "action-flow"}

# The paper prints no lambda. The weights of FlowNetS over four resolutions make the flow of two frames count about a
# tenth of the single resolution over 16 frames, for the same end-point error.
_FLOW_OF_TWO: Mapping[str, Any] = {**_FLOW, "backprop.flow_weight": 10.0}

# The paper's batches of 128 and 40 000 iterations.
_PAPER: Mapping[str, Any] = {"optim.steps": 40_000, "optim.batch": 32, "optim.accumulate": 4}

# FlowNetS halves the rate of a network that learns flow, and rotates frames of exact flow by up to 17 degrees.
_HALVED: Mapping[str, Any] = {"optim.schedule": "step", "optim.gamma": 0.5, "input.rotation": 17.0}

# Own data on a small machine: ResNet-10 at 112 pixels, on clips without differences of colour and contrast.
_SMALL: Mapping[str, Any] = {
    "model.backbone": "resnet10",
    "model.standardise": True,
    "input.size": 112,
    "input.short_side": 128,
    "optim.batch": 8,
    "optim.clip_norm": 20.0,
    "optim.schedule": "cosine",
}
_SMALL_FLOW: Mapping[str, Any] = {
    **_SMALL,
    **_HALVED,
    "optim.steps": 10_000,
    "optim.milestone_steps": (4_000, 6_000, 8_000),
}


@recipes.register("actionflownet")
def actionflownet() -> TrainSettings:
    """ActionFlowNet over 16 frames (--flow, --from a run of flownet-3d): classes and flow together."""
    return _settings("actionflownet", {**_PAPER, **_ACTIONS, **_FLOW})


@recipes.register("actionflownet-fine-tune")
def actionflownet_fine_tune() -> TrainSettings:
    """The multi-frame FlowNet (--from a run of flownet-3d), fine-tuned for classes alone; without --from: scratch."""
    return _settings("actionflownet", {**_PAPER, **_ACTIONS})


@recipes.register("actionflownet-2f")
def actionflownet_2f() -> TrainSettings:
    """ActionFlowNet-2F (--flow, --from a run of flownet): classes and flow together."""
    return _settings("actionflownet-2f", {**_PAPER, **_ACTIONS, **_FLOW_OF_TWO})


@recipes.register("actionflownet-2f-fine-tune")
def actionflownet_2f_fine_tune() -> TrainSettings:
    """FlowNet (--from a run of flownet), fine-tuned for classes alone; without --from: scratch."""
    return _settings("actionflownet-2f", {**_PAPER, **_ACTIONS})


@recipes.register("flow-stacked")
def flow_stacked() -> TrainSettings:
    """The stacked model on a frozen FlowNet (--from a run of flownet)."""
    return _settings("flow-stacked", {**_PAPER, **_ACTIONS})


@recipes.register("flownet")
def flownet() -> TrainSettings:
    """FlowNet on frames with known flow, which starts the models of two frames."""
    return _settings("flownet", {**_PAPER, **_HALVED, "optim.milestone_steps": (20_000, 30_000)})


@recipes.register("flownet-3d")
def flownet_3d() -> TrainSettings:
    """FlowNet over 16 frames with known flow, which starts ActionFlowNet."""
    return _settings("flownet-3d", {**_PAPER, **_HALVED, "optim.milestone_steps": (20_000, 30_000)})


@recipes.register("default-actionflownet")
def default_actionflownet() -> TrainSettings:
    """Your own videos (--flow): 16 frames over time, ResNet-10 at 112 pixels, classes and flow together."""
    return _settings("actionflownet", {**_SMALL, **_ACTIONS, **_FLOW})


@recipes.register("default-actionflownet-2f")
def default_actionflownet_2f() -> TrainSettings:
    """Your own videos (--flow): two snippets of two frames, ResNet-10 at 112 pixels, classes and flow together."""
    return _settings("actionflownet-2f", {**_SMALL, **_ACTIONS, **_FLOW_OF_TWO, "input.snippets": 2})


@recipes.register("default-flow-stacked")
def default_flow_stacked() -> TrainSettings:
    """Your own videos: ResNet-10 on the flow of a trained flownet (--from), two snippets of two frames."""
    return _settings("flow-stacked", {**_SMALL, **_ACTIONS, "input.snippets": 2})


@recipes.register("default-flownet")
def default_flownet() -> TrainSettings:
    """Frames with known flow: the two-frame FlowNet on ResNet-10, crops of 192 pixels."""
    return _settings("flownet", {**_SMALL_FLOW, "input.size": 192, "input.short_side": 192})


@recipes.register("default-flownet-3d")
def default_flownet_3d() -> TrainSettings:
    """Frames with known flow: the FlowNet over 16 frames on ResNet-10, crops of 112 pixels."""
    return _settings("flownet-3d", {**_SMALL_FLOW, "optim.batch": 4})
