"""The snippets that a network sees of a video in one view, with their times, read a few at a time.

n snippets, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from praxiscope.data.dataset import ClipReader
from praxiscope.errors import ArgumentError
from praxiscope.evaluation.protocols import parse_protocol
from praxiscope.inference.inputs import crops_of, frame_grid, stream_readers
from praxiscope.inference.recogniser import Recogniser
from praxiscope.types import VideoRecord
from praxiscope.video.opening import open_video
from praxiscope.video.transforms import kind_of

__all__ = ["SeenView", "one_crop"]

_READ = 128  # frames in memory before they are cropped


class SeenView:
    """The snippets of a video in the only view of a protocol, or in all views if snippets are scored one by one.

    Memory does not grow with their number.

    Args:
        network: the network.
        video: video file.
        protocol: views of the video, as for `Recogniser.predict`.

    Attributes:
        protocol: its name.
        apart: whether the network scores each snippet by itself.
        numbers: the frame, or the first frame, of each snippet, in the order in which the network sees them, int64 [n].
        times_s: when each is on screen, float64 [n]; at a frame rate k / fps after the first frame. If a short video is
            repeated from its start, the times go on.
        start_s, end_s: the part of the video that the snippets stand for.
        repeats_s: when the video starts again.

    Raises:
        ArgumentError: the protocol has several views, or is unknown.
        VideoError: the video cannot be read.
    """

    def __init__(self, network: Recogniser, video: str | Path, protocol: str | None = None) -> None:
        self._rule = parse_protocol(protocol or network.default_protocol())
        self.protocol = self._rule.name
        contract = network.card.input
        if self._rule.sampling == "random" or self._rule.crop_count > 1:
            raise _several(self.protocol)
        # As `TrainedNetwork.clip_reader`, so that the frames are those of `Recogniser.predict`.
        self._readers, span = stream_readers(contract, contract.short_side, network.flow_source)
        grid, length = frame_grid(contract, span)
        sampler = network.view_sampler(self._rule, length)
        self.apart = network.seen_together(self._rule) == 1
        if not self.apart and len(sampler.views(1)) > 1:
            raise _several(self.protocol)
        self._network, self._video = network, open_video(video)
        count = self._video.quick_length()
        shown = torch.arange(count) if grid is None else grid.of(self._video, 0, count)
        places = sampler(len(shown), None)
        assert places is not None
        self.numbers = shown[places]
        self._set_times(places.numpy(), None if grid is None else grid.fps)

    def _set_times(self, places: NDArray[np.int64], fps: float | None) -> None:
        stamps, contract = self._video.timestamps(), self._network.card.input
        first_s, last_s = float(stamps[0]), self._video.duration_s
        if contract.max_seconds is not None:
            last_s = min(last_s, first_s + contract.max_seconds)
        times = stamps[self.numbers.numpy()] if fps is None else first_s + places / fps
        again = np.concatenate(([0], (np.diff(places) < 0).cumsum()))
        times = times + again * (last_s - first_s)
        last_s += float(again[-1]) * (last_s - first_s)
        moments = len(np.unique(times))
        step_s = (times[-1] - times[0]) / (moments - 1) if moments > 1 else last_s - first_s
        self.start_s = max(first_s, float(times[0]) - step_s)
        self.end_s = max(min(last_s, float(times[-1]) + step_s), float(times[-1]))
        self.times_s = _apart(times, self.end_s)
        self.repeats_s: list[float] = self.times_s[1:][np.diff(again) > 0].tolist()

    def __len__(self) -> int:
        return len(self.numbers)

    def once(self) -> SeenView:
        """The same without the snippets that were seen before."""
        _, first = np.unique(self.numbers.numpy(), return_index=True)
        view, kept = copy(self), np.sort(first)
        view.numbers, view.times_s = self.numbers[kept], self.times_s[kept]
        return view

    def parts(self) -> Iterator[Tensor]:
        """The snippets of a network of one stream, as normalised floats on its device: [at most as many as fit, C, H,
        W]."""
        for some in torch.split(self.numbers, _READ):
            ((stream, crop),) = self._crops(some).items()
            for part in torch.split(crop, self._network.at_once(*crop.shape[-2:])):
                yield self._network.prepare(part[None], kind_of(stream))[0]

    def inputs(self, places: Sequence[int]) -> tuple[Tensor, ...]:
        """Some snippets together, as inputs of the network: normalised floats [1, n, C, H, W] of each stream.

        Args:
            places: places among the snippets.
        """
        crops = self._crops(self.numbers[list(places)])
        return tuple(self._network.prepare(crop[None], kind_of(name)) for name, crop in crops.items())

    def _crops(self, numbers: Tensor) -> dict[str, Tensor]:
        """The snippets of each stream that start at some frames, as they are read, in the crop of the protocol."""

        def chosen(frames: int, generator: torch.Generator | None) -> Tensor:
            return numbers

        record = VideoRecord(str(self._video.path), self._video.path, ())
        reader = ClipReader([record], [torch.tensor(-1)], sampler=chosen, readers=self._readers, random=False)
        streams = reader.read(0, video=self._video).streams
        size = self._network.card.input.size
        return {
            name: next(crops_of(self._rule.crops, size, frames, kind_of(name)))
            for name, frames in streams.items()
        }

    @property
    def length(self) -> int:
        """Consecutive frames of a snippet; of a stack of flow, the number of its fields."""
        contract = self._network.card.input
        return contract.length if contract.flow is None else contract.flow.length

    def frame_numbers(self, places: Sequence[int], after: int = 0) -> Tensor:
        """The numbers of the frames of some snippets, int64 [n]. A video that is shorter repeats its last frame.

        Args:
            places: places among the snippets.
            after: number of frames after the first frame of a snippet.
        """
        return (self.numbers[list(places)] + after).clamp(max=self._video.quick_length() - 1)

    def shown_s(self, places: Sequence[int], after: int = 0) -> NDArray[np.float64]:
        """When these frames are on screen, seconds, [n]; see `frame_numbers`."""
        stamps, numbers = self._video.timestamps(), self.frame_numbers(places, after).numpy()
        later: NDArray[np.float64] = stamps[numbers] - stamps[self.numbers[list(places)].numpy()]
        return self.times_s[list(places)] + later

    def pictures(self, places: Sequence[int], after: int = 0) -> Tensor:
        """These RGB frames, in the crop that the network sees: uint8 [n, 3, H, W]; see `frame_numbers`."""
        contract = self._network.card.input
        frames = self._video.frames(self.frame_numbers(places, after), short_side=contract.short_side)
        (crop,) = crops_of(self._rule.crops, contract.size, frames)
        return crop


def one_crop(protocol: str) -> str:
    """The name of the protocol that takes the same frames of a video and one crop of each.

    Args:
        protocol: the name of a protocol; random examples become as many evenly spaced views.

    Example:
        >>> one_crop("25x10"), one_crop("fully-convolutional")
        ('25x1', '25xfull')
    """
    rule = parse_protocol(protocol)
    if rule.crop_count == 1 and rule.sampling != "random":
        return protocol
    begin = {"segments": rule.temporal_views, "random": rule.temporal_views, "all": "all"}.get(
        rule.sampling, f"dense{rule.temporal_views}"
    )
    return f"{begin}x{'full' if rule.crops == 'full-mirrored' else 1}"


def _several(protocol: str) -> ArgumentError:
    return ArgumentError(
        f"protocol {protocol} has several views of a video, and this picture shows one. Use allx1 (every frame) or, "
        "for example, 30x1 (30 frames, evenly spaced)."
    )


def _apart(times: NDArray[np.float64], end_s: float) -> NDArray[np.float64]:
    """Spread equal times, of frames that are seen several times, evenly over the time until the next frame."""
    starts = np.flatnonzero(np.diff(times, prepend=-np.inf) > 0)
    counts = np.diff(np.append(starts, len(times)))
    lengths = np.diff(np.append(times[starts], end_s))
    within = np.arange(len(times)) - np.repeat(starts, counts)
    found: NDArray[np.float64] = times + within * np.repeat(lengths / counts, counts)
    return found
