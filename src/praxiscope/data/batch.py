"""Collate clips to dense, packed or padded batches, and divide an epoch into batches.

Axis letters: B videos, S snippets, T frames of one video, C channels, H rows, W columns.
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
    """One clip to read: the position of its record in the list, and the seed of its random draws."""

    place: int
    seed: int


def mix_seeds(*numbers: int) -> int:
    """Combine several numbers to one 63-bit seed (splitmix64); similar numbers give unrelated seeds."""
    state = 0
    for number in numbers:
        state = (state ^ (number & 0xFFFFFFFFFFFFFFFF)) + 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ state >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1


class EpochBatches:
    """The batches of one epoch for one process, each a list of requests.

    The order is drawn once for all processes. Global batch k is a slice of it, and process r takes the r-th part of the
    slice, so two processes together read what one process with twice the batch size reads. Every draw depends only on
    (seed, epoch, position in the epoch), not on the number of workers or on where a resumed run starts.

    Args:
        order: int64 [n], positions in the list of records in the order of this epoch.
        batch: clips per batch and process.
        seed: the run's seed.
        epoch: number of the epoch.
        rank, world_size: this process and how many there are.
        start: number of batches to skip at the beginning (for a resumed run).
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
        """Batches per epoch: only full ones, so that every step has the same size; at least one."""
        return max(1, clips // (batch * world_size))

    def __len__(self) -> int:
        return self.count(len(self.order), self.batch, self.world_size) - self.start

    def __iter__(self) -> Iterator[list[Request]]:
        clips = len(self.order)
        total = self.count(clips, self.batch, self.world_size)
        for number in range(self.start, total):
            first = (number * self.world_size + self.rank) * self.batch
            # A set smaller than one global batch is repeated until the batch is full.
            places = range(first, first + self.batch)
            yield [
                Request(int(self.order[place % clips]), mix_seeds(self.seed, self.epoch, place))
                for place in places
            ]


def collate_dense(clips: Sequence[Clip], pool: SlotPool | None = None) -> Batch:
    """Stack clips of equal shape: every stream becomes [B, S, C, H, W].

    Raises:
        ArgumentError: two clips have streams of different shapes.
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
    """``torch.stack`` for clips [S, C, H, W] that keeps the memory layout [S, H, W, C].

    Decoded frames have their channels last in memory; copying them channel by channel would take longer than decoding
    some of them.

    Args:
        tensors: of one shape and layout.
        pool: in a data loader worker, the shared memory to write to.
    """
    channels_last = tensors[0].ndim == 4 and not tensors[0].is_contiguous()
    if channels_last:
        tensors = [x.permute(0, 2, 3, 1) for x in tensors]
    out = None if pool is None else pool.stack(tensors)
    if out is None:
        out = torch.stack(list(tensors))
    return out.permute(0, 1, 4, 2, 3) if channels_last else out


def collate_packed(clips: Sequence[Clip]) -> Batch:
    """Concatenate clips of any length: every stream becomes [sum T, C, H, W], with offsets [B + 1].

    Raises:
        ArgumentError: the streams of a clip differ in length, or two clips differ in C, H or W.
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
                    f"{clips[0].id} of {tuple(clips[0].streams[name].shape[1:])}. Crop or resize them to the same size."
                )
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    streams = {name: torch.cat([clip.streams[name] for clip in clips]) for name in names}
    return Batch(streams, _targets(clips), [c.id for c in clips], [c.seed for c in clips], offsets)


def collate_padded(clips: Sequence[Clip]) -> Batch:
    """Pad clips to the longest by repeating their last frame: every stream becomes [B, largest T, C, H, W].

    The offsets [B + 1] of a packed batch give the number of frames of each video.

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
            raise ArgumentError(f"{clip.id} has the streams {list(clip.streams)}, {clips[0].id} has {names}")
    return names


def _targets(clips: Sequence[Clip]) -> Tensor:
    return torch.stack([clip.target for clip in clips])
