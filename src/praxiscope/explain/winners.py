"""The picture of a maximum over time: which frame has won each of its units, and what the units say for a class.

n candidates of the maximum (frames, or windows of frames), D units of a vector or [D, h, w] of a map, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from praxiscope.errors import ArgumentError, unknown_name
from praxiscope.explain.explanation import Explanation
from praxiscope.explain.film import FILM_FRAMES, Film, clean, seconds
from praxiscope.explain.networks import Run, load_one, name_of
from praxiscope.explain.winners_draw import Panel, Tally, draw_tally
from praxiscope.inference.recogniser import Recogniser, best_labels
from praxiscope.inference.seen import SeenView
from praxiscope.models.contract import TakesMaximum
from praxiscope.progress import Reporter
from praxiscope.units import counted

__all__ = ["explain_winners"]


def explain_winners(
    run: Run,
    video: str | Path,
    *,
    protocol: str | None = None,
    top: int = 6,
    label: str | None = None,
    checkpoint: str | None = None,
    reporter: Reporter | None = None,
    **options: Any,
) -> Explanation:
    """Draw which frame of a video has won each unit of a model's maximum over time, and what its units say for a class.

    A unit is a number of which the maximum over time is taken: a feature, or a feature at a place of a map. It is won
    by the first frame with the largest value; frames that are seen again, since the video is short, count once. The
    contribution of a unit to a class is its maximum times the derivative of the class's score before softmax
    (input x gradient). In a model whose other layers are linear or ReLU, the contributions of all units and those of
    the biases add up to the score. Where the maximum is taken over windows of frames, windows win.

    The video is read a few frames at a time, so memory does not grow with its length.

    Args:
        run: run or model folder, or a loaded network, of a model with the interface
            `praxiscope.models.contract.TakesMaximum`.
        video: video file.
        protocol: the frames that the model sees: "allx1" for every frame (at the model's frame rate), "30x1" for 30,
            evenly spaced. Default: that of `Recogniser.predict`.
        top: number of frames that are shown of those with the most units, and with the largest contributions, 1 to 9.
        label: the class whose score is explained. Default: the predicted one.
        checkpoint: "last" or "best". Default: the run's choice.
        reporter: shows progress.
        options: ``task``, ``flow``, ``flow_range``, ``flow_weights`` and ``device`` as for `praxiscope.load`.

    Returns:
        The figure with the facts ``video``, ``network``, ``protocol``, ``frames`` (how many), ``label``,
        ``probability``; ``explained``, the class that is explained, with its ``score`` before softmax; ``units``, their
        number; ``alike``, how many are the same in all frames (the first frame wins them); ``contribution``, the sum
        over all units; and ``winners``, the frames with at least one unit in the order of time: for each its ``frame``,
        ``time_s``, ``units``, ``share`` and ``contribution``, and for windows ``start_frame`` and ``end_frame``, with
        ``frame`` in the middle.

    Raises:
        ArgumentError: the model takes no maximum over time, several networks are fused, the protocol has several views,
            or ``top`` is out of range.
        UnknownNameError: the model does not know the label.
        CheckpointError: the model is missing or damaged.
        VideoError, DataError: the video cannot be read.
    """
    if not 1 <= top <= FILM_FRAMES:
        raise ArgumentError(f"top must be from 1 to {FILM_FRAMES}, got {top}")
    recogniser = load_one(run, checkpoint=checkpoint, **options)
    model = recogniser.model
    if not isinstance(model, TakesMaximum):
        raise ArgumentError(
            f"{run}: {recogniser.card.name} takes no maximum over time of which frames could be winners. Give a run of "
            "conv-pool, late-pool, pool or another model of maxima (model.reduce=max)."
        )
    labels = recogniser.labels
    if label is not None and label not in labels:
        raise unknown_name("label", label, labels)
    view = SeenView(recogniser, video, protocol)
    seen = view.once() if model.window == (1, 1) else view
    maximum = _Maximum()
    with torch.inference_mode(), (reporter or Reporter()).bar("comparing frames", len(seen)) as bar:
        for values in _candidates(recogniser, model, seen, bar.advance):
            maximum.add(values)
    best = maximum.best.clone().requires_grad_()  # a clone outside of inference mode can have a gradient
    scores = model.classify(best[None])[0]
    (predicted,), (probability,) = best_labels(
        scores.detach().float().cpu(), labels, recogniser.card.multi_label, 1, recogniser.card.temperature
    )
    explained = label or predicted
    score = scores[labels.index(explained)]
    (gradient,) = torch.autograd.grad(score, best)
    won = _Won(maximum, (best * gradient).detach(), seen, model.window)
    facts = {
        "video": str(video),
        "network": name_of(run),
        "protocol": view.protocol,
        "frames": len(seen),
        "label": predicted,
        "probability": probability,
        "explained": explained,
        "score": float(score.detach()),
        "units": int(won.units.sum()),
        "alike": won.alike,
        "contribution": float(won.contributions.sum()),
        "winners": won.facts(),
    }
    return Explanation(_draw(facts, won, seen, top), facts)


def _candidates(
    recogniser: Recogniser, model: TakesMaximum, view: SeenView, advance: Callable[[int], None]
) -> Iterator[Tensor]:
    """The values among which the maximum is taken, [some, ...], in the order of time."""
    frames, step = model.window
    held, some = None, False
    for part in view.parts():
        with recogniser.precision.context(recogniser.device):
            features = model.features(part[None])[0].float()
        held = features if held is None else torch.cat((held, features))
        count = (len(held) - frames) // step + 1
        if count > 0:
            some = True
            yield model.candidates(held[None, : (count - 1) * step + frames])[0]
            held = held[count * step :]
        advance(len(part))
    if not some and held is not None:  # fewer frames than a window
        yield model.candidates(held[None])[0]


class _Maximum:
    """The maximum of values that come a few at a time, and who won.

    Attributes:
        best: the maximum of each unit.
        place: the number of the first candidate that has it, int64 of the same shape.
        alike: whether all candidates so far have the same value.
    """

    def __init__(self) -> None:
        self._count = 0
        self.best, self.place, self.alike = torch.empty(0), torch.empty(0), torch.empty(0)

    def add(self, values: Tensor) -> None:
        """Add the next candidates, [some, ...]."""
        largest, place = values.max(0)  # of equal values, the first
        if self._count == 0:
            self.best, self.place = largest, place
            self.alike = torch.ones_like(place, dtype=torch.bool)
        newer = largest > self.best
        self.alike = self.alike & (largest == self.best) & (values.amin(0) == largest)
        self.place = torch.where(newer, place + self._count, self.place)
        self.best = torch.where(newer, largest, self.best)
        self._count += len(values)

    def __len__(self) -> int:
        return self._count


class _Won:
    """What each candidate has won.

    Args:
        maximum: who won.
        contributions: of the units, of the shape of the maximum.
        view: the frames.
        window: frames of a candidate, and from the first of one to the first of the next.

    Attributes:
        units: number of units of each candidate, [n].
        contributions: the sum over its units, [n].
        alike: number of units that all candidates have alike.
        first, last, middle: places of its frames in the view, [n].
        windows: whether the candidates are windows, not frames.
    """

    def __init__(
        self, maximum: _Maximum, contributions: Tensor, view: SeenView, window: tuple[int, int]
    ) -> None:
        self._place = maximum.place.cpu().numpy()
        self._each = contributions.double().cpu().numpy()
        self._view, self.windows = view, window != (1, 1)
        count, frames = len(maximum), len(view)
        self.units = np.bincount(self._place.ravel(), minlength=count)
        sums = np.bincount(self._place.ravel(), self._each.ravel(), minlength=count)
        self.contributions: NDArray[np.float64] = sums.astype(np.float64)
        self.alike = int(maximum.alike.sum()) if count > 1 else 0
        self.first = np.arange(count) * window[1]
        self.last = np.minimum(self.first + window[0], frames) - 1
        self.middle = (self.first + self.last) // 2

    def __len__(self) -> int:
        return len(self.units)

    def facts(self) -> list[dict[str, Any]]:
        """The candidates with at least one unit."""
        numbers, times, total = self._view.numbers.tolist(), self._view.times_s, int(self.units.sum())
        found = []
        for place in np.flatnonzero(self.units).tolist():
            at = int(self.middle[place])
            one = {"frame": numbers[at], "time_s": float(times[at])}
            if self.windows:
                one["start_frame"] = numbers[int(self.first[place])]
                one["end_frame"] = numbers[int(self.last[place])]
            one["units"] = int(self.units[place])
            one["share"] = one["units"] / total
            one["contribution"] = float(self.contributions[place])
            found.append(one)
        return found

    def heat(self, places: list[int]) -> NDArray[np.float64] | None:
        """Where in their frames some candidates have units that speak for the class, [some, h, w]: the contributions
        above 0 at each place, as a share of the largest. None for units without a place."""
        if self._each.ndim != 3:
            return None
        maps = [np.where(self._place == place, self._each, 0).sum(0).clip(0) for place in places]
        heat = np.stack(maps)
        found: NDArray[np.float64] = heat / (heat.max() or 1.0)
        return found

    def edges(self) -> NDArray[np.float64]:
        """Where bars of the candidates start, and where the last one ends, seconds."""
        times = self._view.times_s[self.middle]
        return np.append(times, max(self._view.end_s, float(times[-1])))


def _draw(facts: dict[str, Any], won: _Won, view: SeenView, top: int) -> Any:
    noun, total = ("window" if won.windows else "frame"), facts["units"]
    shares = np.asarray(100 * won.units / total, dtype=np.float64)
    same = 100 * facts["alike"] / total
    shares[0] -= same  # they would hide the others
    most, best = _largest(shares, top), _largest(won.contributions, top)
    note = f"share of the {total:,} units that each {noun} has won, %"
    if facts["alike"]:
        note += f"; without the {same:.0f} % that are the same in every {noun}, which count for the first"
    explained = clean(facts["explained"])
    speaks = f"what these units add to the score of {explained}, in sum {facts['contribution']:.2g}; orange: against it"
    if (heat := won.heat(best)) is not None:
        speaks += "; red in the frames: where they are"
    seen = counted(facts["frames"], "frame") + (f" in {counted(len(won), 'window')}" if won.windows else "")
    added = [f"{won.contributions[place]:+.2g}" for place in best]
    tally = Tally(
        title=f"{Path(facts['video']).name}: which {noun}s win the maximum over time of {facts['network']}",
        subtitle=f"{seen}; answer: {clean(facts['label'])}, {100 * facts['probability']:.0f} %",
        edges_s=won.edges(),
        span_s=(view.start_s, view.end_s),
        panels=(
            Panel(
                note,
                shares,
                most,
                _film(won, view, most, [f"{shares[place]:.1f} %" for place in most]),
            ),
            Panel(speaks, won.contributions, best, _film(won, view, best, added, heat)),
        ),
    )
    return draw_tally(tally)


def _largest(values: NDArray[np.float64], top: int) -> list[int]:
    """The candidates with the largest values above 0, in the order of time."""
    order = np.lexsort((np.arange(len(values)), -values))[:top]
    return sorted(int(place) for place in order if values[place] > 0) or [int(order[0])]


def _film(
    won: _Won, view: SeenView, places: list[int], texts: list[str], heat: NDArray[np.float64] | None = None
) -> Film:
    """The middle frames of some candidates, each with its time and a text."""
    middles = won.middle[places].tolist()
    times = view.times_s[middles].tolist()
    captions = [f"{seconds(time_s, view.end_s)}: {text}" for time_s, text in zip(times, texts, strict=True)]
    return Film(times, view.pictures(middles).permute(0, 2, 3, 1).numpy(), captions, heat)
