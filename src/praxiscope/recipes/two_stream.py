"""Two-stream networks (Simonyan and Zisserman, NIPS 2014)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from praxiscope.recipes.named import recipes
from praxiscope.recipes.sections import DataSettings, InputSettings, ModelSettings, OptimSettings
from praxiscope.recipes.settings import TrainSettings

__all__: list[str] = []


# Two-stream networks (Simonyan and Zisserman, 2014), section 5: 256 videos per step, drawn evenly over the classes, one
# frame or stack per video; momentum 0.9; the learning rate 1e-2 is divided by 10 at the milestones, "the same for all
# training sets". Its "RGB jittering" is AlexNet's, whose training it adapts: noise along the principal components of
# colours.
_FROM_SCRATCH: Mapping[str, Any] = {"steps": 80_000, "milestone_steps": (50_000, 70_000)}
_FINE_TUNED: Mapping[str, Any] = {"steps": 20_000, "milestone_steps": (14_000,)}


def _two_stream(
    length: Mapping[str, Any], *, dropout: float, rgb: bool = True, frozen: bool = False
) -> TrainSettings:
    return TrainSettings(
        data=DataSettings(sampling="class-uniform"),
        model=ModelSettings(name="frame", backbone="cnn_m_2048", dropout=dropout),
        input=InputSettings(snippets=1, crop="random", lighting=0.1 if rgb else 0.0),
        optim=OptimSettings(
            lr=1e-2,
            batch=256,
            schedule="step",
            policy="plain",
            clip_norm=None,
            frozen_epochs="all" if frozen else 0,
            **length,
        ),
    )


@recipes.register("two-stream-spatial")
def two_stream_spatial() -> TrainSettings:
    """The spatial stream, all layers fine-tuned from ImageNet weights (--weights). The paper's best has dropout 0.9."""
    return _two_stream(_FINE_TUNED, dropout=0.9)


@recipes.register("two-stream-spatial-last-layer")
def two_stream_spatial_last_layer() -> TrainSettings:
    """The spatial stream, only the last layer trained on ImageNet weights (--weights): the paper's choice."""
    return _two_stream(_FINE_TUNED, dropout=0.5, frozen=True)


@recipes.register("two-stream-spatial-scratch")
def two_stream_spatial_scratch() -> TrainSettings:
    """The spatial stream from random weights, dropout 0.9."""
    return _two_stream(_FROM_SCRATCH, dropout=0.9)


@recipes.register("two-stream-slow-fusion")
def two_stream_slow_fusion() -> TrainSettings:
    """A network on stacks of 11 RGB frames from random weights, dropout 0.9: the baseline for flow (section 6)."""
    return _two_stream(_FROM_SCRATCH, dropout=0.9).updated({"input.frames": 11})


def _temporal(length: Mapping[str, Any] = _FROM_SCRATCH, **stack: Any) -> TrainSettings:
    settings = _two_stream(length, dropout=0.9, rgb=False)
    return settings.updated(
        {
            "model.backbone": "cnn_m_2048_temporal",
            "model.stream": "flow",
            "input.flow_length": 10,
            **{f"input.{name}": value for name, value in stack.items()},
        }
    )


@recipes.register("two-stream-temporal")
def two_stream_temporal() -> TrainSettings:
    """The temporal stream (--flow): 10 fields stacked, means subtracted, from random weights, dropout 0.9."""
    return _temporal()


@recipes.register("two-stream-temporal-trajectory")
def two_stream_temporal_trajectory() -> TrainSettings:
    """The temporal stream with 10 fields sampled along trajectories."""
    return _temporal(flow_kind="trajectory")


@recipes.register("two-stream-temporal-bidirectional")
def two_stream_temporal_bidirectional() -> TrainSettings:
    """The temporal stream with 5 fields forward and 5 backward (needs `praxiscope flow --backward`)."""
    return _temporal(flow_kind="stack-bidirectional")


@recipes.register("two-stream-multi-task")
def two_stream_multi_task() -> TrainSettings:
    """The temporal stream on several data sets at once (--data NAME=DATA, --flow NAME=FOLDER), with a classifier for
    each."""
    return _temporal()


@recipes.register("two-stream-temporal-fine-tune")
def two_stream_temporal_fine_tune() -> TrainSettings:
    """The temporal stream, fine-tuned from a run on another data set (--weights): Table 2, second row."""
    return _temporal(_FINE_TUNED)


@recipes.register("two-stream-temporal-added-classes")
def two_stream_temporal_added_classes() -> TrainSettings:
    """The temporal stream on a data set with added classes of another data set, in one list (a CSV): Table 2, third
    row."""
    return _temporal()
