"""Score videos with models over time, whose frames are processed a few at a time.

B views, S frames of a view, n frames of a part, C channels, H rows, W columns, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from praxiscope.evaluation.views import Precision
from praxiscope.models.contract import LearnsFromFeatures, ScoresOnline

__all__ = ["FramesFirst", "OnlineOutput", "score_online"]


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
    state, scores = model.begin(), None
    for frames in parts:
        with precision.context(device):
            if isinstance(model, LearnsFromFeatures):
                features = model.features(frames[None])[0].float()
            else:
                scores, state = model.advance(frames, state)
                continue
        over_time: Any = model
        scores, state = over_time.advance_features(features, state)
    assert scores is not None  # a video without frames was refused
    return OnlineOutput(scores[-1:])
