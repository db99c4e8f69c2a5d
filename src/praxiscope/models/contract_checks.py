"""Check that a model has what `praxiscope.models.contract` asks for.

Importing this file does not import torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from praxiscope.errors import ArgumentError
from praxiscope.models.sees import Sees
from praxiscope.types import STEM

__all__ = ["check_contract", "check_flow_contract", "check_output", "check_trajectory_contract"]

CONTRACT = "praxiscope.models.contract.VideoModel"
FLOW_CONTRACT = "praxiscope.models.contract.EstimatesFlow"
TRAJECTORY_CONTRACT = "praxiscope.models.contract.ScoresTrajectories"


_ATTRIBUTES = (
    *("sees", "streams", "channels", "normalisation", "num_classes", "classifiers", "first_convolutions"),
    *("stream_networks", "consensus", "default_protocol"),
)


def check_contract(name: str, model: Any, frames: str) -> None:
    """Raise ArgumentError if a model lacks what its interface asks for; the message names the attribute.

    Args:
        name: name of the model, for the message.
        model: the network.
        frames: the registered value, "sampled" or "all".
    """
    missing = [attribute for attribute in _ATTRIBUTES if attribute not in dir(model)]
    if missing:
        raise ArgumentError(
            f"model {name!r} lacks the attribute {missing[0]!r}, which all models need; see {CONTRACT}"
        )

    sees, expect = model.sees, partial(_expect, name)
    expect("sees", sees, isinstance(sees, Sees), "an instance of praxiscope.models.contract.Sees")
    expect("sees.frames", sees.frames, sees.frames == frames, f"{frames!r}, as it was registered")
    named = isinstance(model.streams, tuple) and set(model.streams) <= {"rgb", "flow", STEM}
    streams = {stream for stream in model.streams if stream != STEM} if named else set()
    expect("streams", model.streams, bool(streams), "a tuple of 'rgb', 'flow' or both")
    for attribute, value in (("channels", model.channels), ("normalisation", model.normalisation)):
        good = isinstance(value, Mapping) and set(value) == streams
        expect(attribute, value, good, f"a dict with the keys {sorted(streams)}")
    for stream, channels in model.channels.items():
        expect(f"channels[{stream!r}]", channels, _whole(channels), "a whole number of 1 or more")
        normal = model.normalisation[stream]
        good = isinstance(normal, Mapping) and {"mean", "std"} <= set(normal)
        expect(f"normalisation[{stream!r}]", normal, good, "a dict with mean and std for each channel")
        good = _normalises(normal["mean"], normal["std"], channels)
        values = f"numbers for mean and std, one each for {channels} channels (or for a divisor of them), std above 0"
        expect(f"normalisation[{stream!r}]", normal, good, values)
    _check_layers(model, expect, streams)
    expect("num_classes", model.num_classes, _whole(model.num_classes), "a whole number of 1 or more")
    needed = callable(model.consensus) or (model.consensus is None and not sees.scores_snippets)
    expect("consensus", model.consensus, needed, "a function of the scores of snippets")
    protocol = model.default_protocol
    expect("default_protocol", protocol, callable(protocol), "a method that takes flip")
    if sees.streamable and "forward_stream" not in dir(model):
        raise ArgumentError(f"model {name!r} is streamable but has no 'forward_stream'; see {CONTRACT}")


def check_trajectory_contract(name: str, model: Any) -> None:
    """Raise ArgumentError if a model that is fitted to trajectories does not satisfy `ScoresTrajectories`; the message
    names the attribute."""
    needed = ("sees", "num_classes", "extraction", "samples", "learn", "describe", "score", "fit")
    if missing := [attribute for attribute in needed if attribute not in dir(model)]:
        raise ArgumentError(
            f"model {name!r} lacks the attribute {missing[0]!r}, which all models of trajectories need; see "
            f"{TRAJECTORY_CONTRACT}"
        )


def check_flow_contract(name: str, model: Any) -> None:
    """Raise ArgumentError if a model that learns only flow does not satisfy `EstimatesFlow`, or lacks ``channels`` and
    ``normalisation`` of its frames; the message names the attribute.

    Args:
        name: name of the model, for the message.
        model: the network.
    """
    needed = ("flow_unit", "frames", "fields", "flow_stride", "estimate", "channels", "normalisation")
    missing = [attribute for attribute in needed if attribute not in dir(model)]
    if missing:
        raise ArgumentError(
            f"model {name!r} lacks the attribute {missing[0]!r}, which all models of flow need; see {FLOW_CONTRACT}"
        )
    expect = partial(_expect, name, contract=FLOW_CONTRACT)
    unit = model.flow_unit
    positive = isinstance(unit, int | float) and math.isfinite(unit) and unit > 0
    expect("flow_unit", unit, positive, "a number of pixels above 0")
    expect("frames", model.frames, _whole(model.frames), "a whole number of 1 or more")
    expect("fields", model.fields, _whole(model.fields), "a whole number of 1 or more")
    expect("flow_stride", model.flow_stride, _whole(model.flow_stride), "a whole number of 1 or more")
    expect("estimate", model.estimate, callable(model.estimate), "a method that takes frames")
    channels = {"rgb": 3 * model.frames}
    expect("channels", model.channels, dict(model.channels) == channels, f"{channels}, three for each frame")
    normal = model.normalisation
    good = isinstance(normal, Mapping) and isinstance(normal.get("rgb"), Mapping)
    good = good and {"mean", "std"} <= set(normal["rgb"])
    good = good and _normalises(normal["rgb"]["mean"], normal["rgb"]["std"], channels["rgb"])
    expect("normalisation", normal, good, "mean and std of RGB frames, by 'rgb'")


def _expect(
    name: str, attribute: str, value: Any, good: bool, expected: str, contract: str = CONTRACT
) -> None:
    if not good:
        got = " ".join(repr(value).split())[:100]  # on one line
        raise ArgumentError(f"model {name!r}: {attribute} must be {expected}, got {got}; see {contract}")


def _check_layers(model: Any, expect: Callable[[str, Any, bool, str], None], streams: set[str]) -> None:
    """Check the attributes that hold layers."""
    from torch import nn

    networks = model.stream_networks
    good = isinstance(networks, Mapping) and set(networks) in (set(), streams)
    good = good and all(isinstance(network, nn.Module) for network in networks.values())
    expect("stream_networks", networks, good, f"a dict from {sorted(streams)} to networks, or an empty one")
    layers = {"classifiers": model.classifiers, "first_convolutions": model.first_convolutions}
    for attribute, value in layers.items():
        good = isinstance(value, Sequence) and all(isinstance(layer, nn.Module) for layer in value)
        expect(attribute, value, good, "a list of layers, or an empty one")


def _normalises(mean: Any, std: Any, channels: int) -> bool:
    """Whether these are a mean and a std for each channel. Fewer values are repeated, as for stacks of frames."""
    sizes = [len(v) if isinstance(v, Sequence) and not isinstance(v, str) else 0 for v in (mean, std)]
    return (
        min(sizes) > 0
        and sizes[0] == sizes[1]
        and channels % sizes[0] == 0
        and all(isinstance(number, int | float) and math.isfinite(number) for number in (*mean, *std))
        and min(std) > 0
    )


def _whole(value: object) -> bool:
    return type(value) is int and value > 0


def check_output(name: str, model: Any, output: Any) -> None:
    """Raise ArgumentError if an output lacks a field of the interface, or has other numbers of classes.

    The message names the field.

    Args:
        name: name of the model, for the message.
        model: the network.
        output: what its ``forward`` returned.
    """
    for entry in ["logits", *(["snippet_logits"] if model.sees.scores_snippets else [])]:
        if entry not in dir(output):
            found = type(output).__name__
            raise ArgumentError(
                f"model {name!r}: forward must return an object with {entry!r}, got {found}; see {CONTRACT}"
            )
        shape = tuple(getattr(getattr(output, entry), "shape", ()))
        if shape[-1:] != (model.num_classes,):
            raise ArgumentError(
                f"model {name!r}: {entry!r} must have num_classes = {model.num_classes} scores in its last axis, got "
                f"the shape {list(shape)}; see {CONTRACT}"
            )
