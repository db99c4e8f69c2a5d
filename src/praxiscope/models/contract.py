"""The interface of models. The rest of the package uses this interface, and never the name of a model.

Importing this file does not import torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, runtime_checkable

from praxiscope.errors import ArgumentError
from praxiscope.models.sees import Sees
from praxiscope.types import STEM

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "AnswersEachFrame",
    "ClustersFrames",
    "FitReport",
    "FitsFeatures",
    "LearnsFromFeatures",
    "Normalisation",
    "ReadsInParts",
    "ScoresOnline",
    "ScoresSnippetsOnline",
    "Sees",
    "TakesMaximum",
    "VideoModel",
    "check_contract",
    "check_output",
]

CONTRACT = "praxiscope.models.contract.VideoModel"


class Normalisation(TypedDict):
    """How an input is normalised: (x - mean) / std for each channel. RGB is in [0, 1], flow in pixels."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class VideoModel(Protocol):
    """The interface of all models, in addition to that of ``nn.Module``.

    ``forward`` takes one tensor per stream, in the order of ``streams``: normalised floats [B, S, C, H, W]. It returns
        a NamedTuple, or another object, with ``logits`` [B, K]: the scores of the videos before softmax. Further
        fields:

    * ``snippet_logits`` [B, S, K], if ``sees.scores_snippets``;
    * ``stream_logits`` [streams, B, K], if each of several streams has its own loss;
    * ``frame_logits`` [B, S, K] with ``frame_weights`` [S], if each frame has its own loss, times its weight;
    * ``features`` and ``maps``, for models with ``layer_names()``: the input of the classifier, and the outputs of the
    layers that ``forward(..., maps=NAMES)`` requests.

    A model that sees all frames also takes ``offsets`` (int64 [B + 1]): video b owns the rows ``offsets[b]:offsets[b +
    1]`` of packed frames [N, C, H, W], and the first ``offsets[b + 1] - offsets[b]`` frames of padded ones [B, S, C, H,
    W]. A streamable one has ``forward_stream(parts, offsets=None)``, where each call of ``parts()`` yields the frames,
    [n, C, H, W] at a time.

    Attributes:
        sees: the frames that the model takes.
        streams: names of its inputs, in the order of ``forward``: "rgb", "flow" or both, of the same times; then "stem"
            if there is a first convolution for each of several lengths of flow stacks.
        channels: C of each stream: 3 for RGB (3 n for stacks of n frames), 2 L for stacks of L flow fields.
        normalisation: normalisation of each stream; for stacks of RGB frames, that of one frame. Pretrained weights may
            change it.
        num_classes: K.
        classifiers: the layers that output class scores. They may be trained alone at first, or with another learning
            rate. May be empty.
        first_convolutions: the layers that take the input, one per stream (or stem). May be empty.
        stream_networks: the network of each stream, into which weights are loaded. May be empty.
        consensus: from scores of snippets [B, S, K] to scores of videos [B, K]; None if snippets have no scores.

    Optional interfaces are `ReadsInParts` and `ClustersFrames`, for models of all frames; `LearnsFromFeatures` and
    `FitsFeatures`, for models that first take each frame by itself, and may learn from stored features of frames; and
    `ScoresOnline`, for models that score a video while its frames come. Pictures use `AnswersEachFrame` and
    `TakesMaximum`.
    """

    sees: Sees
    streams: tuple[str, ...]
    num_classes: int
    consensus: Callable[[Tensor], Tensor] | None

    @property
    def channels(self) -> Mapping[str, int]: ...

    @property
    def normalisation(self) -> dict[str, Normalisation]: ...

    @property
    def classifiers(self) -> Sequence[nn.Module]: ...

    @property
    def first_convolutions(self) -> Sequence[nn.Module]: ...

    @property
    def stream_networks(self) -> Mapping[str, nn.Module]: ...

    def default_protocol(self, flip: bool) -> str:
        """The name of the default test protocol, see `praxiscope.evaluation.protocols`.

        Args:
            flip: whether training flipped videos, so that testing may flip them, too.
        """
        ...

    def forward(self, *inputs: Tensor) -> Any:
        """Score videos."""
        ...


_ATTRIBUTES = (
    *("sees", "streams", "channels", "normalisation", "num_classes", "classifiers", "first_convolutions"),
    *("stream_networks", "consensus", "default_protocol"),
)


def check_contract(name: str, model: Any, frames: str) -> None:
    """Raise ArgumentError if a model does not satisfy `VideoModel`; the message names the attribute.

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


def _expect(name: str, attribute: str, value: Any, good: bool, expected: str) -> None:
    if not good:
        got = " ".join(repr(value).split())[:100]  # on one line
        raise ArgumentError(f"model {name!r}: {attribute} must be {expected}, got {got}; see {CONTRACT}")


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
    """Raise ArgumentError if an output lacks a field that `VideoModel` describes, or has other numbers of classes.

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


@runtime_checkable
class ReadsInParts(Protocol):
    """The interface of models of all frames that process a long batch in parts, so that training needs less memory."""

    def parts_of(self, frames: int, height: int, width: int | None = None) -> int | None:
        """The number of ``frames`` of a batch that are processed at once; None: all, with activations kept.

        Args:
            frames: N, the number of frames of all videos of the batch.
            height, width: H and W; by default they are equal.
        """
        ...


@runtime_checkable
class ClustersFrames(Protocol):
    """The interface of models of all frames for explaining their clusters."""

    cluster: Callable[..., Tensor]

    def early(self, frames: Tensor) -> Tensor:
        """The first stage: normalised frames [n, C, H, W] to activations whose signs are compared."""
        ...

    def late(self, means: Tensor, offsets: Tensor) -> Iterable[Tensor]:
        """The later stages: means of clusters [G, C, H, W] to scores of videos [B, K] and of clusters [G, K]."""
        ...

    def forward_stream(self, parts: Any, offsets: Tensor | None = None) -> Any:
        """Score a video whose frames come a few at a time; the output has ``ids`` and ``distances``."""
        ...


@runtime_checkable
class LearnsFromFeatures(Protocol):
    """The interface of models that first take each frame by itself, and then work over time: ``forward(frames)`` equals
    ``score(features(frames))``.

    So the frames of a long video can be processed a few at a time, and the second part alone can learn from stored
    features (`praxiscope.models.registered.register_model`, ``learns``). Such a model has one stream, and one network
    in ``stream_networks``, that of the features.
    """

    def features(self, frames: Tensor) -> Tensor:
        """Normalised frames [B, S, C, H, W] to features [B, S, D], as a feature store holds them, or to maps [B, S, D,
        h, w]. The features of a frame do not depend on the other frames."""
        ...

    def score(self, features: Tensor) -> Any:
        """Features [B, S, ...] to the output of ``forward``, with ``logits`` [B, K]."""
        ...


@runtime_checkable
class TakesMaximum(LearnsFromFeatures, Protocol):
    """The interface of models whose scores depend on the frames of a video by a maximum over time alone: the ``logits``
    of ``score(features)`` equal ``classify(candidates(features).amax(1))``. So it can be said which frame has won each
    unit of the maximum.
    """

    @property
    def window(self) -> tuple[int, int]:
        """Frames of a candidate, and from the first of one to the first of the next; (1, 1): each frame is one."""
        ...

    def candidates(self, features: Tensor) -> Tensor:
        """Features [B, S, ...] to the values among which the maximum is taken: n vectors [B, n, D] or maps
        [B, n, D, h, w], n = (S - frames of one) // step + 1, and 1 for fewer frames."""
        ...

    def classify(self, maxima: Tensor) -> Tensor:
        """The maxima, [B, D] or [B, D, h, w], to scores before softmax, [B, K]."""
        ...


@runtime_checkable
class ScoresOnline(Protocol):
    """The interface of models that score a video while its frames come, in memory that does not grow with its length.

    A state is any object of the model; it is not changed in place. Models with the interface `LearnsFromFeatures` also
    have ``advance_features(features [n, ...], state)``, of which ``advance`` is that of ``features(frames)``.
    """

    def begin(self) -> Any:
        """The state of a video of which no frame has been seen."""
        ...

    def advance(self, frames: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Take the next frames of a video.

        Args:
            frames: normalised, [n, C, H, W], n of 1 or more.
            state: of the frames before.

        Returns:
            The scores before softmax after each frame, [n, K], and the next state. Each row equals the ``logits`` of
            ``forward`` for the video up to that frame.
        """
        ...


@runtime_checkable
class ScoresSnippetsOnline(ScoresOnline, Protocol):
    """The interface of models that also score each frame of a video while it comes, by itself and the past."""

    def advance_snippets(self, frames: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Take the next frames of a video, as `advance` does.

        Returns:
            The scores of each frame before softmax, [n, K], of which those of the video are the consensus, and the next
            state.
        """
        ...


@runtime_checkable
class AnswersEachFrame(ScoresOnline, Protocol):
    """The interface of models whose score of a video while it comes combines scores that they give at each frame."""

    def advance_each(self, seen: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        """Take the next frames of a video, as `advance` does.

        Args:
            seen: normalised frames [n, C, H, W]; of a model with the interface `LearnsFromFeatures`, their features
                [n, ...].
            state: of the frames before.

        Returns:
            The scores of the video after each frame, as of ``advance``; the scores of each frame, by itself and the
            past, before they are combined; both before softmax, [n, K]; and the next state.
        """
        ...


@dataclass(frozen=True)
class FitReport:
    """What the fit of a model reports.

    Attributes:
        held_out_logits: [n, K], scores of each training clip by a fit without its group; NaN for clips that were not
            held out: because the rest would lack their class, or because there are very many clips.
        lines: what was chosen, a sentence each.
        figures: numbers for the run's log, by name.
    """

    held_out_logits: Tensor
    lines: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)


@runtime_checkable
class FitsFeatures(LearnsFromFeatures, Protocol):
    """The interface of models that are fitted to stored features in one go, without steps and epochs."""

    def describe(self, features: Tensor) -> Tensor:
        """Features of one video, float32 [S, D], to one vector [P], whatever S is."""
        ...

    def fit(self, x: Any, targets: Tensor, groups: Sequence[str], seed: int) -> FitReport:
        """Fit the model to training clips, in place.

        Args:
            x: what ``describe`` returned for each clip, float32 [n, P]; a tensor, or an array that is mapped from a
                file, of which slices should be read.
            targets: classes int64 [n], or zeros and ones as floats [n, K] for videos of several labels.
            groups: group of each clip, for choices by cross-validation.
            seed: seed of random choices.

        Raises:
            ArgumentError: the model cannot be fitted to such data.
        """
        ...
