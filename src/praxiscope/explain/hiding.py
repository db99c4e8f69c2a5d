"""Hide parts of a video from a recogniser, and score it again: occlusion in space and in time, for every model.

A box of the frame is filled with one colour (flow: with no motion). A part of the time is replaced by the nearest
frames before and after it: a still picture is a video like others, while grey frames are not. Of a model of
trajectories those are left out whose middle is hidden.

V * S snippets, L consecutive frames (or flow fields) of a snippet, C channels, H rows, W columns, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from praxiscope.data.dataset import ClipReader, RgbReader
from praxiscope.evaluation.protocols import parse_protocol
from praxiscope.inference.inputs import crops_of, frame_grid, stream_readers
from praxiscope.inference.recogniser import Recogniser
from praxiscope.inference.seen import one_crop
from praxiscope.models.contract import ScoresTrajectories, StandardisesClips
from praxiscope.trajectories.videos import extract_frames
from praxiscope.types import Clip, VideoRecord
from praxiscope.video.decode import Video
from praxiscope.video.geometry import kind_of

__all__ = ["Box", "Hidden", "Hides", "SeenFrames", "few_views", "hides", "standardises"]

MOST_SNIPPETS = 12
"""Of a model that takes any number of snippets."""

MOST_FRAMES = 64
"""Of a model that takes every frame; of more, so many are taken, evenly spaced."""


class Box(NamedTuple):
    """A part of the frame: fractions of its height and width."""

    top: float
    left: float
    bottom: float
    right: float


WHOLE = Box(0.0, 0.0, 1.0, 1.0)


class Hidden(NamedTuple):
    """What is hidden: boxes at all times, a part of the time (seconds, without its end), or nothing."""

    boxes: tuple[Box, ...] = ()
    span_s: tuple[float, float] | None = None


class Hides(Protocol):
    """A network that scores a video of which parts are hidden.

    Attributes:
        region: what it sees of the frame.
        times_s: when what it sees is on screen, float64, each time once.
    """

    @property
    def region(self) -> Box: ...

    @property
    def times_s(self) -> NDArray[np.float64]: ...

    def scores(self, hidden: Iterable[Hidden]) -> Iterator[Tensor]:
        """Scores before softmax [K] for each of the hidden parts."""
        ...


def hides(network: Recogniser, video: Video, fill: Literal["black", "mean"] | None = None) -> Hides:
    """The network with the frames that it is explained with.

    Args:
        network: one network.
        video: the open video.
        fill: colour of boxes, see `praxiscope.explain.occlusion.Occlusion`.
    """
    if isinstance(network.model, ScoresTrajectories):
        return SeenTrajectories(network, video)
    return SeenFrames(network, video, fill=fill)


def few_views(network: Recogniser) -> str:
    """The name of a protocol like the default one, with one crop and at most `MOST_SNIPPETS` snippets, if the network
    takes any number."""
    rule = parse_protocol(one_crop(network.default_protocol()))
    together = network.seen_together(rule) or (1 if network.sees.any_number else None)
    if rule.sampling == "all" or together is None:
        return rule.name
    views = min(rule.temporal_views, max(1, MOST_SNIPPETS // together))
    begin = "dense" if rule.sampling == "dense" else ""
    return f"{begin}{views}x{'full' if rule.crops == 'full' else 1}"


def standardises(network: Recogniser) -> bool:
    """Whether the network standardises each clip, so that black boxes would change all that it sees."""
    return isinstance(network.model, StandardisesClips) and network.model.standardise


class SeenFrames:
    """A network of frames or flow, and the snippets that it sees of a video. They are in memory.

    Args:
        network: the network.
        video: the open video.
        protocol: views of one crop. Default: `few_views`.
        fill: "black", or "mean": the mean colour of the normalisation, or of the clip if the network standardises
            clips. Default: "mean" for these, "black" for others. Flow is 0.

    Attributes:
        protocol: the views.
        starts: first frame of each snippet, int64 [V * S].
        clip: the frames, uncropped.
    """

    def __init__(
        self,
        network: Recogniser,
        video: Video,
        protocol: str | None = None,
        fill: Literal["black", "mean"] | None = None,
    ) -> None:
        self.network, self._video = network, video
        self.protocol = parse_protocol(protocol or few_views(network))
        self._fill = fill or ("mean" if standardises(network) else "black")
        contract = network.card.input
        # As `TrainedNetwork.clip_reader`, so that the frames are those of ``predict`` with this protocol.
        readers, span = stream_readers(contract, contract.short_side, network.flow_source)
        grid, length = frame_grid(contract, span)
        count = video.quick_length()
        shown = torch.arange(count) if grid is None else grid.of(video, 0, count)
        places = network.view_sampler(self.protocol, length)(len(shown), None)
        assert places is not None
        starts = shown[places]
        if self.protocol.sampling == "all" and len(starts) > MOST_FRAMES:
            starts = starts[torch.linspace(0, len(starts) - 1, MOST_FRAMES).round().long()]
        self.starts: Tensor = starts
        record = VideoRecord(str(video.path), video.path, ())
        chosen = ClipReader(
            [record], [torch.tensor(-1)], sampler=lambda *_: starts, readers=readers, random=False
        )
        self.clip = chosen.read(0, video=video)
        self._offsets = {
            name: one.offset if isinstance(one, RgbReader) else 0 for name, one in readers.items()
        }

    @property
    def region(self) -> Box:
        """The crop."""
        if self.protocol.crops != "center":
            return WHOLE
        height, width = next(iter(self.clip.streams.values())).shape[-2:]
        size = self.network.card.input.size
        top, left = max(height - size, 0) / 2 / height, max(width - size, 0) / 2 / width
        return Box(top, left, 1 - top, 1 - left)

    @property
    def times_s(self) -> NDArray[np.float64]:
        """When its frames are on screen."""
        found: NDArray[np.float64] = np.unique(
            np.concatenate([self._times(name) for name in self.clip.streams])
        )
        return found

    @property
    def together(self) -> int:
        """S, the number of snippets that a score depends on."""
        together = self.network.seen_together(self.protocol)
        if together is None or (together > 1 and self.protocol.sampling == "all"):
            return len(self.starts)
        return together

    def _times(self, stream: str) -> NDArray[np.float64]:
        """When each of the V * S * L frames of a stream is on screen."""
        length = self.clip.streams[stream].shape[1] // (2 if kind_of(stream) == "flow" else 3)
        numbers = self.starts[:, None] + self._offsets[stream] + torch.arange(length)
        stamps = self._video.timestamps()
        found: NDArray[np.float64] = stamps[numbers.flatten().clamp(max=len(stamps) - 1).numpy()]
        return found

    def frame_s(self, number: int) -> NDArray[np.float64]:
        """The time of a frame of each snippet, such as the first (0) and the last (-1), [V * S]."""
        stream = next(iter(self.clip.streams))
        return self._times(stream).reshape(len(self.starts), -1)[:, number]

    def middle_s(self) -> NDArray[np.float64]:
        """The middle of the time of each snippet, [V * S]."""
        rows = [self._times(name).reshape(len(self.starts), -1).mean(1) for name in self.clip.streams]
        found: NDArray[np.float64] = np.mean(rows, axis=0)
        return found

    def pictures(self, places: Iterable[int]) -> Tensor:
        """The RGB frames in the middle of some snippets, in the crop, uint8 [n, 3, H, W]."""
        stamps, times = self._video.timestamps(), self.middle_s()
        numbers = [int(np.abs(stamps - times[place]).argmin()) for place in places]
        contract = self.network.card.input
        frames = self._video.frames(numbers, short_side=contract.short_side)
        return next(crops_of(self.protocol.crops, contract.size, frames))

    def crop(self, stream: str) -> Tensor:
        """The frames of a stream in the crop, [V * S, C, H, W]."""
        size = self.network.card.input.size
        return next(crops_of(self.protocol.crops, size, self.clip.streams[stream], kind_of(stream)))

    def inputs(self, view: slice) -> tuple[Tensor, ...]:
        """Some views, as inputs of the network: normalised floats [v, S, C, H, W] of each stream."""
        crops = {name: self.crop(name) for name in self.clip.streams}
        views = {name: crop.reshape(-1, self.together, *crop.shape[1:])[view] for name, crop in crops.items()}
        return tuple(self.network.prepare(x, kind_of(name)) for name, x in views.items())

    def scores(self, hidden: Iterable[Hidden]) -> Iterator[Tensor]:
        """Scores before softmax [K] for each of the hidden parts."""
        for _, row in self.network.scorer(self.protocol).score(self._clip(one) for one in hidden):
            yield row.double()

    def _clip(self, hidden: Hidden) -> Clip:
        streams = {name: self._without(name, hidden) for name in self.clip.streams}
        return Clip(streams, self.clip.target, self.clip.id, self.clip.seed)

    def _without(self, stream: str, hidden: Hidden) -> Tensor:
        frames = self.clip.streams[stream]
        if hidden.span_s is not None:
            times = self._times(stream)
            away = (times >= hidden.span_s[0]) & (times < hidden.span_s[1])
            single = frames.reshape(len(times), -1, *frames.shape[2:])
            frames = single[torch.from_numpy(_nearest(times, away))].reshape(frames.shape)
        if not hidden.boxes:
            return frames
        frames = frames.clone()
        height, width = frames.shape[-2:]
        value = self._colour(stream).to(frames.dtype).repeat(frames.shape[1])[: frames.shape[1]]
        for box in hidden.boxes:
            rows = slice(round(box.top * height), round(box.bottom * height))
            columns = slice(round(box.left * width), round(box.right * width))
            part = frames[..., rows, columns]
            part.copy_(value[:, None, None].expand_as(part))
        return frames

    def _colour(self, stream: str) -> Tensor:
        """The values of a box by channel, repeated for the frames of a stack."""
        if kind_of(stream) == "flow" or self._fill == "black":
            return torch.zeros(1)
        if standardises(self.network):
            return self.clip.streams[stream].float().mean((0, 2, 3)).reshape(-1, 3).mean(0).round()
        return (255 * torch.tensor(self.network.card.input.mean)).round()


class SeenTrajectories:
    """A model of trajectories, and those of a video.

    Args:
        network: its recogniser.
        video: the open video.
    """

    region = WHOLE

    def __init__(self, network: Recogniser, video: Video) -> None:
        self._network: Any = network
        self.found = extract_frames(video, network.model.extraction)
        stamps = video.timestamps()
        middle = self.found.info[:, 0] - network.model.extraction.settings.length / 2
        self.middle_s: NDArray[np.float64] = np.interp(middle, np.arange(len(stamps)), stamps)

    @property
    def times_s(self) -> NDArray[np.float64]:
        """The middles of the trajectories."""
        found: NDArray[np.float64] = np.unique(self.middle_s)
        return found

    def scores(self, hidden: Iterable[Hidden]) -> Iterator[Tensor]:
        """Scores [K] for each of the hidden parts."""
        for one in hidden:
            kept = np.flatnonzero(~self._away(one))
            with torch.inference_mode():
                model = self._network.model
                row = model.score(model.describe(self.found.take(kept)).to(self._network.device)[None])[0]
            yield row.double().cpu()

    def _away(self, hidden: Hidden) -> NDArray[np.bool_]:
        away = np.zeros(len(self.found), dtype=bool)
        if hidden.span_s is not None:
            away |= (self.middle_s >= hidden.span_s[0]) & (self.middle_s < hidden.span_s[1])
        x, y = self.found.info[:, 7], self.found.info[:, 8]
        for box in hidden.boxes:
            away |= (y >= box.top) & (y < box.bottom) & (x >= box.left) & (x < box.right)
        return away


def _nearest(times: NDArray[np.float64], away: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each frame its own number, or that of the nearest frame that is not hidden; all of their own if all are."""
    numbers = np.arange(len(times))
    kept = numbers[~away]
    if not len(kept):
        return numbers
    for number in numbers[away]:
        # Of two that are equally near the one before: rounding must not decide.
        numbers[number] = kept[np.abs(times[kept] - times[number]).round(6).argmin()]
    return numbers
