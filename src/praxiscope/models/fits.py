"""The interfaces of models that learn from what was computed of videos before: features of frames, or trajectories.

They are part of `praxiscope.models.contract`. Importing this file does not import torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from praxiscope.models.sees import Sees

if TYPE_CHECKING:
    from torch import Tensor

    from praxiscope.progress import Reporter
    from praxiscope.trajectories.result import Trajectories
    from praxiscope.trajectories.settings import Extraction

__all__ = ["FitReport", "FitsFeatures", "LearnsFromFeatures", "LearnsWords", "ScoresTrajectories"]


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


@runtime_checkable
class LearnsWords(FitsFeatures, Protocol):
    """The interface of models that learn from single local features, without labels, before they describe videos.

    Attributes:
        samples: largest number of local features that ``learn`` takes.
    """

    samples: int

    def local(self, features: Tensor) -> Tensor:
        """Features of one video, float32 [S, ...], to its local features, [N, D]."""
        ...

    def learn(self, samples: Tensor, seed: int) -> None:
        """Learn what ``describe`` needs from local features of training videos, float32 [N, D], in place."""
        ...


@runtime_checkable
class ScoresTrajectories(Protocol):
    """The interface of models that are fitted to trajectories (`praxiscope.trajectories`). They are no networks: they
    have this interface instead of `VideoModel`.

    Attributes:
        sees: the frames of a video that are needed: all.
        num_classes: K.
        extraction: how the trajectories of a video are extracted.
        samples: largest number of trajectories that ``learn`` takes.
    """

    sees: Sees
    num_classes: int
    extraction: Extraction

    @property
    def samples(self) -> int: ...

    def learn(self, samples: Trajectories, *, reporter: Reporter | None = None) -> None:
        """Learn what ``describe`` needs from trajectories of training videos, in place."""
        ...

    def describe(self, found: Trajectories) -> Tensor:
        """The trajectories of a video, any number of them, to one vector [P]."""
        ...

    def score(self, described: Tensor) -> Tensor:
        """Scores of videos, [n, P] to [n, K]."""
        ...

    def fit(self, x: Any, targets: Tensor, groups: Sequence[str], seed: int) -> FitReport:
        """Fit the classes, in place; see `FitsFeatures.fit`."""
        ...
