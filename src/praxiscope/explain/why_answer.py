"""What a recogniser answers for a video, and how sure it is: the scores of each of its views.

V views, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from praxiscope.errors import CheckpointError, unknown_name
from praxiscope.evaluation.answers import find_threshold
from praxiscope.evaluation.probabilities import sigmoid, softmax
from praxiscope.evaluation.protocols import parse_protocol
from praxiscope.inference.fused import AnyRecogniser, FusedRecogniser
from praxiscope.inference.recogniser import Recogniser
from praxiscope.models.contract import ScoresTrajectories
from praxiscope.types import VideoRecord
from praxiscope.video.decode import Video

__all__ = ["Answer", "answer", "fused_probabilities", "part_names"]

_LISTED = 5


@dataclass(frozen=True)
class Answer:
    """What a recogniser answers.

    Attributes:
        labels: names of the K classes.
        probabilities: float64 [K], as `Recogniser.predict` returns them.
        order: numbers of the classes, the most probable first.
        explained: number of the class that is explained.
        none_below: threshold of "none of these"; None if there is none.
        calibration: of the recogniser; empty if there is none.
        parts: for each network its ``name``, ``protocol``, and of its ``views`` (how many) the ``mean`` and the sample
            ``deviation`` of the probability of the explained class, and the share of views in which it is the ``best``;
            None for both with one view.
    """

    labels: tuple[str, ...]
    probabilities: NDArray[np.float64]
    order: list[int]
    explained: int
    none_below: float | None
    calibration: dict[str, Any]
    parts: list[dict[str, Any]]

    @property
    def label(self) -> str:
        """The class that is explained."""
        return self.labels[self.explained]

    @property
    def none_of_these(self) -> bool:
        """Whether the best class is below the threshold."""
        return self.none_below is not None and self.probabilities[self.order[0]] < self.none_below

    def facts(self) -> dict[str, Any]:
        """The numbers, for JSON."""
        listed = self.order[:_LISTED]
        if self.explained not in listed:
            listed = [*listed, self.explained]
        return {
            "label": self.labels[self.order[0]],
            "probability": float(self.probabilities[self.order[0]]),
            "explained": self.label,
            "classes": [
                {"label": self.labels[number], "probability": float(self.probabilities[number])}
                for number in listed
            ],
            "calibrated": bool(self.calibration),
            "temperature": float(self.calibration.get("temperature", 1.0)),
            "none_below": self.none_below,
            "none_of_these": bool(self.none_of_these),
            "parts": self.parts,
        }


def answer(recogniser: AnyRecogniser, video: Video, label: str | None = None) -> Answer:
    """Score a video by the default protocol of each part.

    Args:
        recogniser: the recogniser.
        video: the open video.
        label: the class that is explained. Default: the most probable one.

    Raises:
        UnknownNameError: the recogniser does not know the label.
        CheckpointError: the scores are not finite.
        VideoError, DataError: the video cannot be read.
    """
    labels = recogniser.labels
    if label is not None and label not in labels:
        raise unknown_name("label", label, labels)
    scored = [_views(part, video) for part in recogniser.parts]
    logits = torch.stack([whole for whole, _ in scored])[:, None]
    if not bool(logits.isfinite().all()):
        raise CheckpointError(
            "the scores of the model are not finite: its weights are damaged, or its training has diverged. Train it "
            "again, or use another checkpoint."
        )
    (shares,) = fused_probabilities(recogniser, logits)
    order = [int(number) for number in np.argsort(-shares, kind="stable")]
    explained = order[0] if label is None else labels.index(label)
    parts = [
        _spread(name, part, rows, explained)
        for name, part, (_, rows) in zip(part_names(recogniser), recogniser.parts, scored, strict=True)
    ]
    calibration = dict(recogniser.calibration)
    return Answer(labels, shares, order, explained, find_threshold("auto", calibration), calibration, parts)


def part_names(recogniser: AnyRecogniser) -> list[str]:
    """A name for each part: its model and what it sees."""
    return [f"{part.card.name}, {'+'.join(part.streams)}" for part in recogniser.parts]


def fused_probabilities(recogniser: AnyRecogniser, logits: Tensor) -> NDArray[np.float64]:
    """Scores of the parts before softmax, [parts, n, K], to probabilities [n, K], as ``predict`` computes them."""
    fused = recogniser.fuse(logits.float()) if isinstance(recogniser, FusedRecogniser) else logits[0]
    if recogniser.card.multi_label:
        return sigmoid(fused.double().numpy())
    return softmax(fused.double().numpy() / float(recogniser.calibration.get("temperature", 1.0)))


def _views(part: Recogniser, video: Video) -> tuple[Tensor, Tensor | None]:
    """Scores of a video [K] and of its views [V, K]; None for a model that has no views, or a very long video."""
    if isinstance(part.model, ScoresTrajectories):
        return part.video_logits(video), None
    protocol = parse_protocol(part.default_protocol())
    record = VideoRecord(str(video.path), video.path, ())
    clip = part.clip_reader([record], [torch.tensor(-1)], protocol).read(0, video=video)
    if clip.long:
        return part.stream_logits(record, protocol, video=video), None
    rows: list[Tensor] = []
    _, logits = next(part.scorer(protocol).score([clip], lambda _, row: rows.append(row)))
    return logits, torch.stack(rows)


def _spread(name: str, part: Recogniser, rows: Tensor | None, explained: int) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": name, "protocol": part.default_protocol()}
    if rows is None or len(rows) < 2:
        return {**facts, "views": 1, "mean": None, "deviation": None, "best": None}
    scaled = rows.double().numpy() / part.card.temperature
    shares = (sigmoid(scaled) if part.card.multi_label else softmax(scaled))[:, explained]
    return {
        **facts,
        "views": len(rows),
        "mean": float(shares.mean()),
        "deviation": float(shares.std(ddof=1)),
        "best": float((scaled.argmax(1) == explained).mean()),
    }
