"""Clips to batches, dense or packed, and the order in which clips are drawn.

B videos, S snippets, T frames of one video, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from praxiscope.data.shared_memory import SlotPool
from praxiscope.errors import ArgumentError
from praxiscope.types import Batch, Clip

__all__ = [
    "EpochBatches",
    "Request",
    "collate_dense",
    "collate_packed",
    "collate_padded",
    "mix_seeds",
    "stack",
]


class Request(NamedTuple):
    """One clip to read: the record's place in the list, and the seed of all its random draws."""

    place: int
    seed: int


def mix_seeds(*numbers: int) -> int:
    """One 63-bit seed out of several numbers (splitmix64), so that near numbers give unrelated draws."""
    state = 0
    for number in numbers:
        state = (state ^ (number & 0xFFFFFFFFFFFFFFFF)) + 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ state >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1


class EpochBatches:
    """The batches of one epoch for one process: a list of requests each.

    The order is drawn once for all processes; global batch k is a stretch of it, of which process r takes
    the r-th part. So two processes see together what one process with twice the batch sees. Every draw
    depends on (seed, epoch, place in the epoch) alone: neither on the number of workers nor on where a
    resumed run begins.

    Args:
        order: int64 [n], positions in the list of records in the order of this epoch.
        batch: clips per batch and process.
        seed: the run's seed.
        epoch: number of the epoch.
        rank, world_size: this process and how many there are.
        start: number of batches to leave out at the beginning (a resumed run has seen them).
    """

    def __init__(
        self,
        order: Tensor,
        *,
        batch: int,
        seed: int,
        epoch: int,
        rank: int = 0,
        world_size: int = 1,
        start: int = 0,
    ) -> None:
        self.order, self.batch, self.seed, self.epoch = order, batch, seed, epoch
        self.rank, self.world_size, self.start = rank, world_size, start

    @staticmethod
    def count(clips: int, batch: int, world_size: int = 1) -> int:
        """Batches per epoch: only full ones, so that every step has the same size, but at least one."""
        return max(1, clips // (batch * world_size))

    def __len__(self) -> int:
        return self.count(len(self.order), self.batch, self.world_size) - self.start

    def __iter__(self) -> Iterator[list[Request]]:
        clips = len(self.order)
        total = self.count(clips, self.batch, self.world_size)
        for number in range(self.start, total):
            first = (number * self.world_size + self.rank) * self.batch
            # A set smaller than one global batch is gone through again until the batch is full.
            places = range(first, first + self.batch)
            yield [
                Request(int(self.order[place % clips]), mix_seeds(self.seed, self.epoch, place))
                for place in places
            ]


def collate_dense(clips: Sequence[Clip], pool: SlotPool | None = None) -> Batch:
    """Stack clips of equal shape: every stream becomes [B, S, C, H, W].

    Raises:
        ArgumentError: two clips differ in a stream's shape, with both ids and shapes.
    """
    streams = {}
    for name in _stream_names(clips):
        tensors = [clip.streams[name] for clip in clips]
        for clip, x in zip(clips, tensors, strict=True):
            if x.shape != tensors[0].shape:
                raise ArgumentError(
                    f"a dense batch needs equal shapes; stream {name!r} of {clips[0].id} is "
                    f"{tuple(tensors[0].shape)}, that of {clip.id} is {tuple(x.shape)}. Use a packed batch."
                )
        streams[name] = stack(tensors, pool)
    return Batch(streams, _targets(clips), [c.id for c in clips], [c.seed for c in clips])


def stack(tensors: Sequence[Tensor], pool: SlotPool | None = None) -> Tensor:
    """``torch.stack`` for clips [S, C, H, W], which keeps a layout of [S, H, W, C].

    Decoded frames lie with their channels last; writing them out channel by channel would cost more than
    decoding some of them.

    Args:
        tensors: of one shape and layout.
        pool: in a reading process: where to write what is sent to the main process.
    """
    channels_last = tensors[0].ndim == 4 and not tensors[0].is_contiguous()
    if channels_last:
        tensors = [x.permute(0, 2, 3, 1) for x in tensors]
    out = None if pool is None else pool.stack(tensors)
    if out is None:
        out = torch.stack(list(tensors))
    return out.permute(0, 1, 4, 2, 3) if channels_last else out


def collate_packed(clips: Sequence[Clip]) -> Batch:
    """Concatenate clips of any lengths: every stream becomes [sum T, C, H, W], with offsets [B + 1].

    Raises:
        ArgumentError: the streams of one clip differ in length, or two clips in C, H, W.
    """
    names = _stream_names(clips)
    lengths = []
    for clip in clips:
        counts = {name: len(clip.streams[name]) for name in names}
        if len(set(counts.values())) != 1:
            raise ArgumentError(f"the streams of {clip.id} differ in length: {counts}")
        lengths.append(next(iter(counts.values())))
        for name in names:
            if clip.streams[name].shape[1:] != clips[0].streams[name].shape[1:]:
                raise ArgumentError(
                    f"stream {name!r} of {clip.id} has frames of {tuple(clip.streams[name].shape[1:])}, that of "
                    f"{clips[0].id} of {tuple(clips[0].streams[name].shape[1:])}; crop or resize them alike"
                )
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    streams = {name: torch.cat([clip.streams[name] for clip in clips]) for name in names}
    return Batch(streams, _targets(clips), [c.id for c in clips], [c.seed for c in clips], offsets)


def collate_padded(clips: Sequence[Clip]) -> Batch:
    """Fill clips up to the longest by repeating their last frame: every stream becomes [B, most T, C, H, W].

    Which frames are a video's own is said by the offsets [B + 1], as in a packed batch.

    Raises:
        ArgumentError: as `collate_packed`.
    """
    packed = collate_packed(clips)
    assert packed.offsets is not None
    counts = packed.offsets.diff()
    place = torch.arange(int(counts.max())).expand(len(counts), -1)
    rows = packed.offsets[:-1, None] + torch.minimum(place, counts[:, None] - 1)  # [B, most T]
    packed.streams = {name: x[rows] for name, x in packed.streams.items()}
    return packed


def _stream_names(clips: Sequence[Clip]) -> list[str]:
    if not clips:
        raise ArgumentError("a batch needs at least one clip")
    names = list(clips[0].streams)
    for clip in clips:
        if list(clip.streams) != names:
            raise ArgumentError(f"{clip.id} holds the streams {list(clip.streams)}, {clips[0].id} {names}")
    return names


def _targets(clips: Sequence[Clip]) -> Tensor:
    return torch.stack([clip.target for clip in clips])
