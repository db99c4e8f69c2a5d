"""The picture of occlusion: how far the probability of a class falls when a square hides a part of all frames.

M. D. Zeiler, R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.2.

N positions of the square, V * S snippets, C channels, H rows, W columns, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from praxiscope.errors import ArgumentError, unknown_name
from praxiscope.evaluation.probabilities import sigmoid, softmax
from praxiscope.evaluation.protocols import Protocol, parse_protocol
from praxiscope.explain.checks import check_square
from praxiscope.explain.explanation import Explanation
from praxiscope.explain.film import clean, seconds
from praxiscope.explain.heat import HeatLegend
from praxiscope.explain.networks import check_networks
from praxiscope.explain.sheet import Row, Sheet, draw_sheet, spread
from praxiscope.inference.fused import AnyRecogniser, FusedRecogniser
from praxiscope.inference.inputs import crops_of
from praxiscope.inference.loading import load
from praxiscope.inference.recogniser import Recogniser
from praxiscope.models.contract import StandardisesClips
from praxiscope.progress import Bar, Reporter
from praxiscope.types import Clip, VideoRecord
from praxiscope.units import counted
from praxiscope.video.decode import Video
from praxiscope.video.geometry import kind_of
from praxiscope.video.opening import open_video

__all__ = ["Fill", "Occlusion", "explain_occlusion"]

Fill = Literal["black", "mean"]

_FRAMES = 4
_MOST_CLASSES = 6


@dataclass(frozen=True)
class Occlusion:
    """The square.

    Attributes:
        square: its side: pixels of the frame, or below 1 a fraction of the frame's short side.
        stride: from one position to the next, likewise.
        fill: "black", or "mean": the mean colour that the network subtracts, its normalisation's, or the clip's if it
            standardises clips. Flow is 0 in both cases. None: "mean" for networks that standardise clips, because black
            would change the contrast of the clip and so all that they see; "black" for others.

    Raises:
        ArgumentError: a value is out of range.
    """

    square: float = 0.25
    stride: float = 0.125
    fill: Fill | None = None

    def __post_init__(self) -> None:
        check_square(self.square, self.stride, self.fill)


def explain_occlusion(
    run: str | Path,
    video: str | Path,
    occlusion: Occlusion | None = None,
    *,
    protocol: str | None = None,
    top: int = 1,
    label: str | None = None,
    reporter: Reporter | None = None,
    **options: Any,
) -> Explanation:
    """Draw how far the probability of a class falls when a square hides a part of the frames.

    A square is moved over the frames of all snippets, at all times together, and the video is scored as by
    `Recogniser.predict` for each of its positions. The drop is relative, (p - p_hidden) / p: 1 if the class becomes
    impossible, below 0 if it becomes more probable. The picture shows at each pixel the mean over the squares that hide
    it. Any recogniser can be explained, also a fused one. With centre crops the square stays within the crop.

    Args:
        run: run or model folder, or that of a fused recogniser.
        video: video file.
        occlusion: the square. Default: a quarter of the frame's short side, black, at half overlap.
        protocol: views that are scored; fewer take less time. Default: as `Recogniser.predict`.
        top: number of classes, 1 to 6, the most probable first.
        label: a class that is drawn, too.
        reporter: shows progress.
        options: ``checkpoint``, ``task``, ``flow``, ``flow_range``, ``flow_weights`` and ``device`` as for
            `praxiscope.load`.

    Returns:
        The figure with the facts ``video``, ``network``, ``protocol``, ``label`` and ``probability`` (the answer),
        ``size`` (rows and columns in which the square moves), ``square`` and ``stride`` (pixels), ``fill``, ``tops``
        and ``lefts`` of the positions, and ``classes``: for each its ``label``, ``probability``, ``drop``
        [tops][lefts], the ``largest`` of them, and ``x``, ``y``, the middle of the square that causes it.

    Raises:
        ArgumentError: a number is out of range, or the video has too many frames for the protocol.
        UnknownNameError: the model does not know the label.
        CheckpointError: the model is missing or damaged.
        VideoError, DataError: the video cannot be read.
    """
    if not 1 <= top <= _MOST_CLASSES:
        raise ArgumentError(f"top must be from 1 to {_MOST_CLASSES}, got {top}")
    recogniser, chosen = load(run, **options), occlusion or Occlusion()
    check_networks(run, recogniser)
    labels = recogniser.labels
    if label is not None and label not in labels:
        raise unknown_name("label", label, labels)
    source = open_video(video)
    fill = chosen.fill or ("mean" if any(_standardises(part) for part in recogniser.parts) else "black")
    parts = [_Part(part, source, protocol, fill) for part in recogniser.parts]
    grid = _Grid.over(parts[0].size, chosen)
    with (reporter or Reporter()).bar("hiding parts", len(parts) * (1 + len(grid))) as bar:
        logits = torch.stack([part.logits(grid, bar) for part in parts])  # [parts, 1 + N, K]
    shares = _probabilities(recogniser, logits)
    drops = _drops(shares).reshape(len(grid.tops), len(grid.lefts), -1)
    order = np.argsort(-shares[0], kind="stable")[:top].tolist()
    if label is not None and labels.index(label) not in order:
        order.append(labels.index(label))
    facts = {
        "video": str(video),
        "network": Path(run).resolve().name,
        "protocol": parts[0].protocol.name,
        "label": labels[order[0]],
        "probability": float(shares[0, order[0]]),
        "size": list(parts[0].size),
        "square": grid.square,
        "stride": grid.stride,
        "fill": fill,
        "tops": grid.tops,
        "lefts": grid.lefts,
        "classes": [
            {"label": labels[k], "probability": float(shares[0, k]), **grid.facts(drops[..., k])}
            for k in order
        ],
    }
    return Explanation(_draw(facts, grid, {labels[k]: drops[..., k] for k in order}, parts[0]), facts)


class _Square(NamedTuple):
    """A square of a frame of ``size`` (rows, columns), in pixels."""

    top: int
    left: int
    side: int
    size: tuple[int, int]

    def of(self, frames: Tensor) -> Tensor:
        """The pixels of the square in frames [..., H, W], which may have another size."""
        down, right = (own / ours for own, ours in zip(frames.shape[-2:], self.size, strict=True))
        top, bottom = round(self.top * down), round((self.top + self.side) * down)
        left, end = round(self.left * right), round((self.left + self.side) * right)
        return frames[..., top:bottom, left:end]


@dataclass(frozen=True)
class _Grid:
    """The positions of the square, in pixels of a frame of ``size``."""

    size: tuple[int, int]
    square: int
    stride: int
    tops: list[int]
    lefts: list[int]

    @staticmethod
    def over(size: tuple[int, int], chosen: Occlusion) -> _Grid:
        """The positions over a whole frame; the last ones end at its border."""
        square, stride = (_pixels(value, min(size)) for value in (chosen.square, chosen.stride))
        if square > min(size):
            raise ArgumentError(
                f"the square of {square} pixels is larger than the frame, {size[0]} x {size[1]}"
            )
        tops, lefts = (sorted({*range(0, side - square, stride), side - square}) for side in size)
        return _Grid(size, square, stride, tops, lefts)

    def __len__(self) -> int:
        return len(self.tops) * len(self.lefts)

    def squares(self) -> Iterator[_Square]:
        """Row by row."""
        for top in self.tops:
            for left in self.lefts:
                yield _Square(top, left, self.square, self.size)

    def facts(self, drops: NDArray[np.float64]) -> dict[str, Any]:
        """The drops of one class [tops][lefts], and where the largest is."""
        row, place = np.unravel_index(int(drops.argmax()), drops.shape)
        half = self.square / 2
        return {
            "drop": drops.tolist(),
            "largest": float(drops.max()),
            "x": self.lefts[int(place)] + half,
            "y": self.tops[int(row)] + half,
        }

    def at_pixels(self, drops: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mean drop over the squares that hide each pixel, [H, W]; 0 where there is none."""
        total, count = np.zeros(self.size), np.zeros(self.size)
        for square, drop in zip(self.squares(), drops.ravel(), strict=True):
            place = np.s_[square.top : square.top + square.side, square.left : square.left + square.side]
            total[place] += drop
            count[place] += 1
        found: NDArray[np.float64] = total / np.maximum(count, 1)
        return found


class _Part:
    """One network of a recogniser, and the frames that it sees of a video.

    Attributes:
        protocol: the views.
        size: rows and columns in which the square moves.
        video: the video.
    """

    def __init__(self, network: Recogniser, video: Video, protocol: str | None, fill: Fill) -> None:
        self._network, self._fill, self.video = network, fill, video
        self.protocol: Protocol = parse_protocol(protocol or network.default_protocol())
        record = VideoRecord(str(video.path), video.path, ())
        self._clip = network.clip_reader([record], [torch.tensor(-1)], self.protocol).read(0, video=video)
        if self._clip.long:
            raise ArgumentError(
                f"{video.path}: has too many frames to hide parts of all. Use a protocol of fewer, such as 25x1."
            )
        if self.protocol.crops == "center":  # the square need not move over what no crop shows
            streams = {name: self._cropped(frames, name) for name, frames in self._clip.streams.items()}
            self._clip = Clip(streams, self._clip.target, self._clip.id, self._clip.seed)
        rows, columns = next(iter(self._clip.streams.values())).shape[-2:]
        self.size = int(rows), int(columns)

    def _cropped(self, frames: Tensor, stream: str) -> Tensor:
        return next(crops_of("center", self._network.card.input.size, frames, kind_of(stream)))

    def pictures(self, numbers: Sequence[int]) -> Tensor:
        """RGB frames in which the square moves, uint8 [n, 3, H, W]."""
        frames = self.video.frames(list(numbers), short_side=self._network.card.input.short_side)
        return self._cropped(frames, "rgb") if self.protocol.crops == "center" else frames

    def logits(self, grid: _Grid, bar: Bar) -> Tensor:
        """Scores before softmax without the square, then for each of its positions, [1 + N, K]."""
        rows = []
        for _, row in self._network.scorer(self.protocol).score(self._clips(grid)):
            rows.append(row.double())
            bar.advance()
        return torch.stack(rows)

    def _clips(self, grid: _Grid) -> Iterator[Clip]:
        yield self._clip
        values = {name: self._hidden(name) for name in self._clip.streams}
        for square in grid.squares():
            streams = {name: frames.clone() for name, frames in self._clip.streams.items()}
            for name, frames in streams.items():
                part = square.of(frames)
                value = values[name].to(frames.dtype).repeat(frames.shape[1] // len(values[name]))
                part.copy_(value[:, None, None].expand_as(part))
            clip = self._clip
            yield Clip(streams, clip.target, clip.id, clip.seed, examples=clip.examples)

    def _hidden(self, stream: str) -> Tensor:
        """The values of the square by channel; of stacks, those that are repeated."""
        if kind_of(stream) == "flow" or self._fill == "black":
            return torch.zeros(1)
        if _standardises(self._network):
            frames = self._clip.streams[stream].float()
            return frames.mean((0, 2, 3)).reshape(-1, 3).mean(0).round()
        return (255 * torch.tensor(self._network.card.input.mean)).round()


def _standardises(network: Recogniser) -> bool:
    return isinstance(network.model, StandardisesClips) and network.model.standardise


def _pixels(value: float, short_side: int) -> int:
    return max(round(value * short_side), 1) if value < 1 else int(value)


def _probabilities(recogniser: AnyRecogniser, logits: Tensor) -> NDArray[np.float64]:
    """Scores of the parts [parts, n, K] to probabilities [n, K], as `Recogniser.predict` computes them."""
    fused = recogniser.fuse(logits) if isinstance(recogniser, FusedRecogniser) else logits[0]
    if recogniser.card.multi_label:
        return sigmoid(fused.numpy())
    return softmax(fused.numpy() / float(recogniser.calibration.get("temperature", 1.0)))


def _drops(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities [1 + N, K] without and with the square to relative drops [N, K]; 0 of an impossible class."""
    whole = shares[:1]
    found: NDArray[np.float64] = np.where(whole > 0, (whole - shares[1:]) / np.maximum(whole, 1e-300), 0.0)
    return found


def _draw(facts: dict[str, Any], grid: _Grid, drops: dict[str, NDArray[np.float64]], part: _Part) -> Any:
    times = part.video.timestamps()
    numbers = spread(part.video.quick_length(), _FRAMES)
    pictures = part.pictures(numbers).permute(0, 2, 3, 1).numpy()
    captions = [seconds(float(times[number]), part.video.duration_s) for number in numbers]
    heats = {label: grid.at_pixels(one) for label, one in drops.items()}
    largest = max(float(np.abs(one).max()) for one in heats.values())
    rows = [Row("frames", pictures, captions)]
    for one in facts["classes"]:
        heat = heats[one["label"]] / (largest or 1.0)
        note = f"{100 * one['probability']:.0f} %; falls by at\nmost {100 * one['largest']:.0f} % of it"
        rows.append(Row(one["label"], pictures, [""] * len(numbers), np.stack([heat] * len(numbers)), note))
    what = "black" if facts["fill"] == "black" else "of the mean colour"
    return draw_sheet(
        Sheet(
            f"{Path(facts['video']).name}: what {facts['network']} needs of the frames",
            f"answer: {clean(facts['label'])}, {100 * facts['probability']:.0f} %; red: the probability falls when a "
            f"square ({grid.square} pixels, {what}, {counted(len(grid), 'position')}) hides this place at all times",
            rows,
            HeatLegend(f"rises by\n{100 * largest:.2g} %", "0", f"falls by\n{100 * largest:.2g} %"),
        )
    )
