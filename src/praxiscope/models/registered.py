"""The registry of models of this package and of other packages.

Importing this file does not import torch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, get_args

from praxiscope.errors import ArgumentError
from praxiscope.registry import Registry, offered

if TYPE_CHECKING:
    from torch import nn

__all__ = ["FILES", "GROUP", "Registered", "models", "offered_models", "register_model"]

FILES = {
    "actionflownet": "actionflownet",
    "actionflownet-2f": "actionflownet",
    "conv-pool": "pooled",
    "fisher-svm": "fisher_svm",
    "flow-stacked": "flow_stacked",
    "flownet": "flownet",
    "flownet-3d": "flownet",
    "frame": "frame",
    "full-video": "full_video",
    "googlenet-conv": "pooled",
    "late-pool": "pooled",
    "local-pool": "pooled",
    "lstm": "lstm",
    "multiplier": "multiplier",
    "pool": "pooled",
    "probe": "probe",
    "prototypes": "prototypes",
    "slow-pool": "pooled",
    "temporal-difference": "temporal_difference",
    "time-conv": "pooled",
    "tsm": "tsm",
    "tsn": "tsn",
    "vlad-svm": "vlad_svm",
}
"""The file in this folder that registers each model."""

GROUP = "praxiscope.models"
"""The group of entry points by which an installed package provides models: the name of a model, and the module that
registers it."""

Learns: TypeAlias = Literal["frames", "features", "either", "flow", "trajectories"]
Targets: TypeAlias = Literal["classes", "flow"]

Builder = TypeVar("Builder", bound=Callable[..., Any])


@dataclass(frozen=True)
class Registered:
    """The properties of a model before it is built.

    Attributes:
        build: its builder.
        frames: "sampled" or "all", the ``sees.frames`` of its networks.
        learns: "frames": it is trained on videos; "features": it is fitted to stored features, see
            `praxiscope.models.contract.FitsFeatures`; "either": it is trained, on videos or on stored features, see
            `praxiscope.models.contract.LearnsFromFeatures`; "flow": it only estimates flow, see
            `praxiscope.models.contract.EstimatesFlow`; "trajectories": it is fitted to stored trajectories, see
            `praxiscope.models.contract.ScoresTrajectories`.
        backbones: names of the backbones that its builder takes; None: any.
        parts: names of the parts of its networks that may each start from a run, see
            `praxiscope.models.parts.StartsFromParts`.
        targets: "flow": in training it may also learn to estimate flow, see `praxiscope.models.contract.EstimatesFlow`.
    """

    build: Callable[..., nn.Module]
    frames: Literal["sampled", "all"] = "sampled"
    learns: Learns = "frames"
    backbones: Sequence[str] | None = None
    parts: Sequence[str] = ()
    targets: Targets = "classes"


models: Registry[Registered] = Registry(
    "model", own={name: f"praxiscope.models.{file}" for name, file in FILES.items()}
)


def register_model(
    name: str,
    *,
    frames: Literal["sampled", "all"] = "sampled",
    learns: Learns = "frames",
    backbones: Sequence[str] | None = None,
    parts: Sequence[str] = (),
    targets: Targets = "classes",
) -> Callable[[Builder], Builder]:
    """Return a decorator that registers the builder of a model, for ``--model NAME`` and ``create_model(NAME)``.

    A run passes ``num_classes``, ``in_channels``, ``input_size``, ``snippets`` and ``multi_label`` (whether videos have
        several labels) to the builder if it declares them.
        Its other keywords are settings: ``--set model.KEYWORD=VALUE``. An installed package provides its models by an
        entry point in the group ``praxiscope.models``: the name of the model, and the module that registers it.

    Args:
        name: the model's name.
        frames: "all" for a model that takes every frame of a video.
        learns: "features" for a model that is fitted to stored features of frames, "either" for one that is trained on
            videos or on stored features (`praxiscope.models.contract`). On features the
            builder also gets ``backbone``, ``stream``, ``layer`` and ``frames`` (the number of frames that have
            features, per video) if it declares them. "flow" for a network that only estimates flow; its builder takes
            no ``num_classes``. "trajectories" for a model that is fitted to stored trajectories; its builder takes
            ``extraction``.
        backbones: names of the backbones that the builder takes, if not any; others are refused before a run starts.
        parts: names of the parts that ``--from PART=RUN`` may start, of models with the interface
            `praxiscope.models.parts.StartsFromParts`.
        targets: "flow" for a model that classifies and, in training, may also learn to estimate flow: stored flow then
            is what it learns from, not its input.

    Raises:
        ArgumentError: the name is taken or not a non-empty string, or the builder is not a function or class whose
            parameters can all be passed by keyword.

    Example:
        >>> @register_model("mine")
        ... def mine(*, num_classes: int, backbone: str = "resnet18") -> nn.Module: ...
    """
    if frames not in ("sampled", "all"):
        raise ArgumentError(f"frames must be 'sampled' or 'all', got {frames!r}")
    if learns not in (known := get_args(Learns)):
        raise ArgumentError(f"learns must be one of {', '.join(known)}, got {learns!r}")
    if targets not in ("classes", "flow"):
        raise ArgumentError(f"targets must be 'classes' or 'flow', got {targets!r}")
    models.register(name)  # checks the name before the builder is defined

    def add(build: Builder) -> Builder:
        if not callable(build):
            raise ArgumentError(f"model {name!r}: the builder must be a function or a class, got {build!r}")
        by_name = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        for parameter in inspect.signature(build).parameters.values():
            if parameter.kind not in by_name:
                raise ArgumentError(
                    f"model {name!r}: the builder's parameter {str(parameter)!r} cannot be passed by keyword; "
                    "declare each keyword"
                )
        models.register(name, getattr(build, "__module__", None))(
            Registered(build, frames, learns, backbones, parts, targets)
        )
        return build

    return add


def offered_models() -> dict[str, EntryPoint]:
    """The models that installed packages offer by entry points, by name."""
    return offered(GROUP)
