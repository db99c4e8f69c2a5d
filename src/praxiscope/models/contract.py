"""The interface of models. The rest of the package uses this interface, and never the name of a model.

Importing this file does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, runtime_checkable

from praxiscope.models.fits import (
    FitReport,
    FitsFeatures,
    LearnsFromFeatures,
    LearnsWords,
    ScoresTrajectories,
)
from praxiscope.models.sees import Sees

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "AnswersEachFrame",
    "ClustersFrames",
    "EstimatesFlow",
    "FitReport",
    "FitsFeatures",
    "LearnsFromFeatures",
    "LearnsWords",
    "NamesLayers",
    "Normalisation",
    "ReadsInParts",
    "ScoresOnline",
    "ScoresSnippetsOnline",
    "ScoresTrajectories",
    "Sees",
    "StandardisesClips",
    "TakesMaximum",
    "TrainingOnly",
    "VideoModel",
]


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
    * ``stream_logits`` [heads, B, K], if each of several classifiers has its own loss, with ``head_names``, by default
    those of ``streams``;
    * ``frame_logits`` [B, S, K] with ``frame_weights`` [S], if each frame has its own loss, times its weight;
    * ``features`` and ``maps``, for models with the interface `NamesLayers`.

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
        first_convolutions: the layers that take the input, one per stream (or stem), or per network that takes it. May
            be empty.
        stream_networks: the network of each stream, into which weights are loaded. May be empty.
        consensus: from scores of snippets [B, S, K] to scores of videos [B, K]; None if snippets have no scores.

    Optional interfaces are `ReadsInParts` and `ClustersFrames`, for models of all frames; `LearnsFromFeatures` and
    `FitsFeatures`, for models that first take each frame by itself, and may learn from stored features of frames; and
    `ScoresOnline`, for models that score a video while its frames come; those of `praxiscope.models.parts` for models
    of several parts. `EstimatesFlow` is for models that also estimate optical flow, `TrainingOnly` for models with
    parts that a prediction does not use. Pictures use `AnswersEachFrame` and `TakesMaximum`.
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


@runtime_checkable
class NamesLayers(Protocol):
    """The interface of models whose ``forward(..., maps=NAMES)`` also returns the outputs of layers.

    The output then has ``features``, the input of the classifier before its dropout, [B, S, D], and ``maps``, the
    outputs of the requested layers by name, [B, S, C, H, W] (with an axis of time before H in a network that has one).
    In a model of several networks, ``features`` are by the name of the network, layers are named NETWORK.LAYER, and
    ``classifiers`` are in the order of these networks. Rows of ``features`` may stand for several snippets: S - n + 1
    consecutive ones, if there are n.
    """

    def layer_names(self) -> list[str]:
        """The names of the layers, from the input to the classifier; of several networks one after the other."""
        ...


@runtime_checkable
class StandardisesClips(Protocol):
    """The interface of models that may standardise each clip (`praxiscope.layers.standard_clips`).

    Attributes:
        standardise: whether the model does. Its weights fit a model that does the same.
    """

    @property
    def standardise(self) -> bool: ...


@runtime_checkable
class EstimatesFlow(Protocol):
    """The interface of models that estimate optical flow from the consecutive RGB frames of a snippet.

    ``forward`` of a model that also classifies takes ``flow=True``, and then returns ``flow``: what ``estimate``
    returns, for each snippet, [B, S, F, 2, h, w].

    Attributes:
        flow_unit: pixels of the input for 1 in the output.
        frames: T, RGB frames of a snippet; the input has 3 T channels.
        fields: F, flow fields of a snippet: from each frame to the next. If F is T, the last field is from the last
            frame to one that the model does not see.
        flow_stride: pixels of the input for one vector of the finest estimate; partial areas at the end count.
    """

    flow_unit: float
    frames: int
    fields: int
    flow_stride: int

    def estimate(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Normalised frames [N, 3 T, H, W] to flow in units of ``flow_unit`` pixels, x first: [N, F, 2, h, w] for each
        resolution that is trained, the finest first."""
        ...


@runtime_checkable
class TrainingOnly(Protocol):
    """The interface of models with parts that a prediction does not use. `praxiscope.load` sets these parts to None,
    and does not read their weights.

    Attributes:
        training_only: names of submodules.
    """

    training_only: tuple[str, ...]


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
