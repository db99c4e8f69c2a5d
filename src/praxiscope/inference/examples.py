"""Test a network on random examples of a video, drawn as in training (protocols ``random240x1`` and ``random25x10``).

Axis letters: V examples of a video, S snippets of an example, C channels, H rows, W columns.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from praxiscope.data.batch import mix_seeds
from praxiscope.data.dataset import ClipReader, StreamReader
from praxiscope.inference.inputs import on_grid
from praxiscope.inference.streaming import LONG_FRAMES
from praxiscope.types import Clip, Example, VideoRecord
from praxiscope.video.crops import RandomCrop, TenCrop
from praxiscope.video.decode import Video
from praxiscope.video.geometry import Box, Kind, flip
from praxiscope.video.grid import FrameGrid
from praxiscope.video.sampling import dense_window, segment_indices

__all__ = ["ExampleReader", "ExampleRule"]


@dataclass(frozen=True)
class ExampleRule:
    """How examples are drawn: snippets, and one crop and one flip for all of them; or ten crops of the same snippets.

    Attributes:
        draws: how often snippets of a video are drawn.
        snippets: S.
        size: side of the crop, pixels.
        ten_crops: each draw gives ten examples, by `praxiscope.video.crops.TenCrop`, in place of one at a random place
            of the frame.
        windows: the snippets are consecutive, from a random start, and a shorter video repeats; otherwise there is one
            from each of equal segments.
        flip: flip half of the examples.
        length: consecutive frames (or positions of the grid) that a snippet needs.
        grid: the frames that may be read; None: every frame.
        seed: the seed. The draws of a video depend on it, and on the name of its file and the part of it.
    """

    draws: int
    snippets: int
    size: int
    ten_crops: bool = False
    windows: bool = False
    flip: bool = True
    length: int = 1
    grid: FrameGrid | None = None
    seed: int = 0

    @property
    def count(self) -> int:
        """V, examples of a video."""
        return self.draws * (10 if self.ten_crops else 1)

    def starts(self, record: VideoRecord, num_frames: int) -> Tensor:
        """Starts of the snippets of all examples of a video, int64 [V, S]."""
        generator, places = self._generator(record, 0), max(num_frames - self.length + 1, 1)
        rows = [
            dense_window(places, self.snippets, generator=generator)
            if self.windows
            else segment_indices(num_frames, self.snippets, self.length, generator)
            for _ in range(self.draws)
        ]
        return torch.stack(rows).repeat_interleave(self.count // self.draws, 0)

    def cuts(self, record: VideoRecord, height: int, width: int) -> list[partial[Tensor]]:
        """The crop and the flip of each example of a video with frames of these rows and columns."""
        generator, crop = self._generator(record, 1), RandomCrop(self.size)
        if self.ten_crops:
            boxes = TenCrop(self.size).draw((height, width))
            ten = [
                partial(_cut, crop=crop, box=box, flipped=flipped)
                for flipped in (False, True)
                for box in boxes
            ]
            return ten * self.draws
        found = []
        for _ in range(self.draws):
            box = crop.draw((height, width), generator)
            flipped = bool(
                torch.rand((), generator=generator) < 0.5
            )  # always drawn: crops do not depend on it
            found.append(partial(_cut, crop=crop, box=box, flipped=flipped and self.flip))
        return found

    def _generator(self, record: VideoRecord, purpose: int) -> torch.Generator:
        """The same for a video in any order of videos, and in any process."""
        name = f"{record.path.name}@{record.start_s}-{record.end_s}"
        return torch.Generator().manual_seed(mix_seeds(self.seed, zlib.crc32(name.encode()), purpose))


def _cut(frames: Tensor, kind: Kind, *, crop: RandomCrop, box: Box, flipped: bool) -> Tensor:
    part = crop.apply(frames, box, kind)
    return flip(part, kind) if flipped else part


class ExampleReader(ClipReader):
    """Reads the frames of the random examples of videos; each frame once, however many examples have it.

    Args:
        records: the videos.
        targets: see `ClipReader`.
        rule: how examples are drawn.
        readers: streams by name.
        time_limit_s: time limit for reading one video, in seconds.
    """

    def __init__(
        self,
        records: Sequence[VideoRecord],
        targets: Sequence[Tensor],
        *,
        rule: ExampleRule,
        readers: Mapping[str, StreamReader],
        time_limit_s: float = 300.0,
    ) -> None:
        super().__init__(
            records, targets, sampler=_draws_in_read, readers=readers, random=False, time_limit_s=time_limit_s
        )
        self.rule = rule

    def read(self, index: int, seed: int = 0, video: Video | None = None) -> Clip:
        """Read the frames of all examples of a video; see `ClipReader.read`. The seed is that of the rule.

        Where they are more than `LONG_FRAMES`, the clip is ``long`` and has no frames: see `parts`.
        """
        return self._read(index, range(self.rule.count), video)

    def parts(self, index: int, video: Video | None = None) -> Iterator[Clip]:
        """Read the examples of a video, as many at a time as have at most `LONG_FRAMES` frames together."""
        waiting = [range(self.rule.count)]
        while waiting:
            which = waiting.pop()
            clip = self._read(index, which, video)
            if not clip.long:
                yield clip
                continue
            half = len(which) // 2
            waiting += [which[half:], which[:half]]

    def _read(self, index: int, which: range, video: Video | None) -> Clip:
        """Read the frames of some of the examples."""
        record, rule = self.records[index], self.rule
        starts = torch.zeros(0)

        def sampler(num_frames: int, _: torch.Generator | None) -> Tensor | None:
            nonlocal starts
            starts = rule.starts(record, num_frames)[which.start : which.stop]
            needed = torch.unique(starts)
            return None if len(needed) > LONG_FRAMES and len(which) > 1 else needed

        clip = ClipReader(
            [record],
            [self.targets[index]],
            sampler=on_grid(sampler, rule.grid),
            readers=self.readers,
            random=False,
            time_limit_s=self.time_limit_s,
        ).read(0, video=video)
        if clip.long:
            return clip
        height, width = next(iter(clip.streams.values())).shape[-2:]
        cuts = rule.cuts(record, height, width)[which.start : which.stop]
        rows = torch.unique(starts, return_inverse=True)[1]
        return replace(clip, examples=[Example(own, cut) for own, cut in zip(rows, cuts, strict=True)])


def _draws_in_read(num_frames: int, generator: torch.Generator | None) -> None:
    return None
