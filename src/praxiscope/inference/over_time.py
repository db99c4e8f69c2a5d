"""Score videos with models over time, whose frames are processed a few at a time.

B views, S frames of a view, n frames of a part, C channels, H rows, W columns, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from praxiscope.evaluation.views import Precision
from praxiscope.inference.timeline import Window
from praxiscope.models.contract import AnswersEachFrame, LearnsFromFeatures, ScoresOnline

__all__ = ["FramesFirst", "OnlineOutput", "SharedFrames", "advance_parts", "score_online"]


class OnlineOutput(NamedTuple):
    """The scores of a video after its last frame, [1, K]."""

    logits: Tensor


class FramesFirst:
    """A model with the interface `LearnsFromFeatures` that takes the frames of long views a few at a time.

    What follows the features is computed in float32, as on stored features.

    Args:
        model: the model.
        at_once: height and width of frames to the number of frames of a part.
    """

    def __init__(self, model: LearnsFromFeatures, at_once: Callable[[int, int], int]) -> None:
        self.model, self.at_once = model, at_once

    def __call__(self, frames: Tensor) -> Any:
        """Normalised frames [B, S, C, H, W] to the output of the model."""
        parts = torch.split(frames.flatten(0, 1), self.at_once(*frames.shape[-2:]))
        features = torch.cat([self.model.features(part[:, None]) for part in parts]).float()
        with torch.autocast(frames.device.type, enabled=False):
            return self.model.score(features.reshape(*frames.shape[:2], *features.shape[2:]))


class SharedFrames:
    """A model with the interface `LearnsFromFeatures` that scores windows of a video: the features of a frame that
    consecutive windows share are computed once.

    Args:
        model: the model.
        stream: its stream.
        prepare: snippets [1, n, C, H, W] as the model takes them.
        precision: of the network of the frames.
        at_once: number of frames of a part.
    """

    def __init__(
        self,
        model: LearnsFromFeatures,
        stream: str,
        prepare: Callable[[Tensor], Tensor],
        precision: Precision,
        at_once: int,
    ) -> None:
        self.model, self.stream, self.prepare = model, stream, prepare
        self.precision, self.at_once = precision, at_once
        # By the identity of a snippet, which is kept so that no other gets it.
        self._known: dict[int, tuple[object, Tensor]] = {}

    @torch.inference_mode()
    def __call__(self, windows: Sequence[Window]) -> Tensor:
        """Windows of S snippets each to float32 [B, K] on the CPU."""
        wanted = {id(snippet): snippet for window in windows for snippet in window.snippets}
        missing = [snippet for key, snippet in wanted.items() if key not in self._known]
        known = {key: self._known[key] for key in wanted if key in self._known}
        for first in range(0, len(missing), self.at_once):
            part = missing[first : first + self.at_once]
            frames = self.prepare(torch.stack([snippet[self.stream] for snippet in part])[None])
            with self.precision.context(frames.device):
                features = self.model.features(frames.transpose(0, 1))[:, 0].float()
            known |= {id(snippet): (snippet, row) for snippet, row in zip(part, features, strict=True)}
        self._known = known
        rows = [torch.stack([known[id(snippet)][1] for snippet in window.snippets]) for window in windows]
        scores: Tensor = self.model.score(torch.stack(rows)).logits
        return scores.float().cpu()


def score_online(
    model: ScoresOnline, parts: Iterable[Tensor], precision: Precision, device: torch.device
) -> OnlineOutput:
    """Score a video while its frames come, in memory that does not grow with its length.

    Args:
        model: the model.
        parts: its normalised frames, [n, C, H, W] at a time.
        precision: of the network of the frames.
        device: of the model.
    """
    last = None
    for scores, _ in advance_parts(model, parts, precision, device):
        last = scores[-1:]
    assert last is not None  # a video without frames was refused
    return OnlineOutput(last)


def advance_parts(
    model: ScoresOnline, parts: Iterable[Tensor], precision: Precision, device: torch.device
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Score a video after each of its frames, in memory that does not grow with its length.

    Args: see `score_online`.

    Yields:
        For each part the scores of the video after each of its frames, [n, K]; and for models with the interface
        `AnswersEachFrame` those of each frame by itself and the past, [n, K], otherwise None.
    """
    state, each = model.begin(), None
    for frames in parts:
        if isinstance(model, LearnsFromFeatures):
            with precision.context(device):
                seen = model.features(frames[None])[0].float()
            rows, each, state = _advance(model, seen, state)
        else:
            with precision.context(device):
                rows, each, state = _advance(model, frames, state)
        yield rows, each


def _advance(model: ScoresOnline, seen: Tensor, state: Any) -> tuple[Tensor, Tensor | None, Any]:
    """Take the features of the next frames, or the frames of a model without features."""
    if isinstance(model, AnswersEachFrame):
        return model.advance_each(seen, state)
    over_time: Any = model
    advance = over_time.advance_features if isinstance(model, LearnsFromFeatures) else over_time.advance
    rows, state = advance(seen, state)
    return rows, None, state
