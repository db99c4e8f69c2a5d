"""The picture of an answer that grows with the frames: class probabilities of a model that scores a video while it
comes.

n snippets that the network sees, m of them drawn, K classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from praxiscope.errors import ArgumentError, unknown_name
from praxiscope.explain.confidence_draw import Course, Line, draw_course
from praxiscope.explain.explanation import Explanation
from praxiscope.explain.film import Film, clean, film_places, seconds
from praxiscope.explain.networks import Run, load_one, name_of
from praxiscope.inference.live_models import scores_online
from praxiscope.inference.over_time import advance_parts
from praxiscope.inference.recogniser import Recogniser
from praxiscope.inference.seen import SeenView
from praxiscope.progress import Reporter
from praxiscope.units import counted

__all__ = ["explain_confidence"]

_MOST_POINTS = 4000  # of a line; of more frames every second, third, … is drawn
_MOST_CLASSES = 8


def explain_confidence(
    run: Run,
    video: str | Path,
    *,
    protocol: str | None = None,
    top: int = 3,
    label: str | None = None,
    checkpoint: str | None = None,
    reporter: Reporter | None = None,
    **options: Any,
) -> Explanation:
    """Draw how the class probabilities of a model that scores a video while it comes grow with the frames.

    The video is read a few frames at a time, so memory does not grow with its length.

    Args:
        run: run or model folder, or a loaded network, of a model with the interface
            `praxiscope.models.contract.ScoresOnline`.
        video: video file.
        protocol: the frames that the model sees: "allx1" for every frame (at the model's frame rate), "30x1" for 30,
            evenly spaced. Default: that of `Recogniser.predict`, so that the last answer is that of ``predict``.
        top: number of classes, 1 to 8: the final answer, then those that were ahead before, the longest first, then the
            most probable ones.
        label: the true class, which is drawn, too.
        checkpoint: "last" or "best". Default: the run's choice.
        reporter: shows progress.
        options: ``task``, ``flow``, ``flow_range``, ``flow_weights`` and ``device`` as for `praxiscope.load`.

    Returns:
        The figure with the facts ``video``, ``network``, ``protocol``, ``frames`` (how many), ``label``,
        ``probability``, ``ahead_from_s`` (since when the final answer is the most probable class), ``true_label`` if it
        was given; ``every`` (1, or 2, 3, … where only every second, third, … frame of a long video is listed),
        ``frame_numbers`` and ``times_s`` of the listed frames; ``repeats_s``, times at which a short video starts
        again; and ``classes``, for each its ``label``, final ``probability``, ``ahead`` (the share of the frames at
        which it was the most probable one), ``probabilities`` after each listed frame and, of a model that combines the
        answers of frames (`AnswersEachFrame`), ``at_each_frame``, before they are combined.

    Raises:
        ArgumentError: the model does not score a video while it comes, several networks are fused, the protocol has
            several views, or ``top`` is out of range.
        UnknownNameError: the model does not know the label.
        CheckpointError: the model is missing or damaged.
        VideoError, DataError: the video cannot be read.
    """
    if not 1 <= top <= _MOST_CLASSES:
        raise ArgumentError(f"top must be from 1 to {_MOST_CLASSES}, got {top}")
    recogniser = load_one(run, checkpoint=checkpoint, **options)
    if not scores_online(recogniser.model):
        raise ArgumentError(
            f"{run}: {recogniser.card.name} scores the frames of a video together, so its answer does not grow with "
            "them. Give a run of lstm, conv-pool or another model that predicts live frame by frame, such as tsm with "
            "--set model.shift=causal."
        )
    labels = recogniser.labels
    if label is not None and label not in labels:
        raise unknown_name("label", label, labels)
    view = SeenView(recogniser, video, protocol)
    grown = _Grown(recogniser, view.times_s)
    with torch.inference_mode(), (reporter or Reporter()).bar("scoring frames", len(view)) as bar:
        rows = advance_parts(recogniser.model, view.parts(), recogniser.precision, recogniser.device)
        for found, each in rows:
            grown.add(found, each)
            bar.advance(len(found))
    chosen = grown.ranked()[:top]
    if label is not None and labels.index(label) not in chosen:
        chosen.append(labels.index(label))
    lines = [grown.line(number, labels[number]) for number in chosen]
    facts: dict[str, Any] = {
        "video": str(video),
        "network": name_of(run),
        "protocol": view.protocol,
        "frames": len(view),
        "label": lines[0].label,
        "probability": lines[0].last,
        "ahead_from_s": grown.ahead_from_s,
        **({} if label is None else {"true_label": label}),
        "every": grown.every,
        "frame_numbers": view.numbers[grown.kept].tolist(),
        "times_s": view.times_s[grown.kept].tolist(),
        "repeats_s": view.repeats_s,
        "classes": [line.facts() for line in lines],
    }
    return Explanation(_draw(view, facts, lines, grown), facts)


def _draw(view: SeenView, facts: dict[str, Any], lines: list[Line], grown: _Grown) -> Any:
    label = facts.get("true_label")
    places = film_places(view.numbers.numpy(), view.times_s, view.start_s, view.end_s)
    title = f"{Path(facts['video']).name}: the answer of {facts['network']} after each frame that it has seen"
    ahead = f", ahead from {seconds(facts['ahead_from_s'], view.end_s)} on" if len(grown.kept) > 1 else ""
    truth = "" if label is None else f"; true: {clean(label)}"
    found = f"{clean(facts['label'])}, {100 * facts['probability']:.0f} %"
    course = Course(
        title=title,
        subtitle=f"{counted(facts['frames'], 'frame')}; final answer: {found}{ahead}{truth}",
        times_s=view.times_s[grown.kept],
        span_s=(view.start_s, view.end_s),
        repeats_s=view.repeats_s,
        lines=lines,
        true=label,
        film=Film(view.times_s[places].tolist(), view.pictures(places).permute(0, 2, 3, 1).numpy()),
    )
    return draw_course(course)


class _Grown:
    """The probabilities after each frame, of a long video after some of them.

    Args:
        recogniser: the network.
        times_s: of the frames, [n].

    Attributes:
        every: number of frames from one that is kept to the next.
        kept: places of the frames that are kept, [m]; the last one is always kept.
        ahead_from_s: since when the class that is ahead has been so.
    """

    def __init__(self, recogniser: Recogniser, times_s: NDArray[np.float64]) -> None:
        self.card, self.times_s = recogniser.card, times_s
        self.every = -(-len(times_s) // _MOST_POINTS)
        places = np.arange(0, len(times_s), self.every)
        self.kept = np.union1d(places, [len(times_s) - 1])
        self.ahead_from_s = float(times_s[0])
        self._rows: list[NDArray[np.float32]] = []
        self._each: list[NDArray[np.float32]] = []
        self._ahead = np.zeros(len(self.card.labels), dtype=np.int64)  # frames at which each class was ahead
        self._first, self._seen = -1, 0  # the class ahead, the number of frames so far

    def add(self, found: Tensor, each: Tensor | None) -> None:
        """Add scores before softmax after the next frames, [n, K], and those of each frame before they are combined."""
        count = len(found)
        rows = self._probabilities(found)
        mine = self.kept[(self.kept >= self._seen) & (self.kept < self._seen + count)] - self._seen
        self._rows.append(rows[mine].astype(np.float32))
        if each is not None:
            self._each.append(self._probabilities(each)[mine].astype(np.float32))
        best = rows.argmax(1)
        self._ahead += np.bincount(best, minlength=len(self._ahead))
        changes = np.flatnonzero(np.diff(best, prepend=self._first))
        if len(changes):
            self.ahead_from_s = float(self.times_s[self._seen + changes[-1]])
        self._first, self._seen = int(best[-1]), self._seen + count

    def _probabilities(self, scores: Tensor) -> NDArray[np.float64]:
        scaled = scores.cpu().double() / self.card.temperature
        found: NDArray[np.float64] = (
            scaled.sigmoid() if self.card.multi_label else scaled.softmax(-1)
        ).numpy()
        return found

    def ranked(self) -> list[int]:
        """The classes: the last that is ahead, then those that were, the longest first, then by probability."""
        last = self._rows[-1][-1]
        order = np.lexsort((-last, -self._ahead, np.arange(len(last)) != self._first))
        return [int(number) for number in order]

    def line(self, number: int, label: str) -> Line:
        """What is drawn of a class."""
        grown = np.concatenate([rows[:, number] for rows in self._rows])
        each = np.concatenate([rows[:, number] for rows in self._each]) if self._each else grown
        same = not self._each or all(
            np.allclose(one, other, atol=1e-6) for one, other in zip(self._rows, self._each, strict=True)
        )
        return Line(label, grown, None if same else each, float(self._ahead[number] / self._seen))
