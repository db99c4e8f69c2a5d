"""The temporal shift (TSM): some channels move by one frame along time. No parameters, no FLOPs.

Axis letters: N videos, T frames, C channels, ``...`` any further axes (H, W), R rows: the frames of all videos.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from praxiscope.errors import ArgumentError
from praxiscope.layers.forward_value import ForwardValue

__all__ = ["Direction", "ShiftMemory", "VideoRows", "causal_shift", "insert_shift", "temporal_shift"]

Direction: TypeAlias = Literal["both", "causal"]

ShiftMemory: TypeAlias = dict[int, Tensor]
"""What a frame takes from the one before: the shifted channels [1, fold, ...] of each place, by its number."""


class VideoRows(NamedTuple):
    """Which rows of a batch belong to which video.

    videos: N, the number of videos.
    apart: whether a row and the next belong to different videos, bool [R - 1].
    """

    videos: int
    apart: Tensor

    @staticmethod
    def equal(videos: int, frames: int, device: torch.device | None = None) -> VideoRows:
        """``videos`` videos of ``frames`` frames each."""
        starts = torch.zeros(videos, frames, dtype=torch.bool, device=device)
        starts[:, :1] = True
        return VideoRows(videos, starts.flatten()[1:])

    @staticmethod
    def packed(offsets: Tensor, rows: int) -> VideoRows:
        """Videos of different lengths: video n owns the rows ``offsets[n]:offsets[n + 1]``, int64 [N + 1]."""
        starts = torch.zeros(rows + 1, dtype=torch.bool, device=offsets.device)
        return VideoRows(len(offsets) - 1, starts.index_fill_(0, offsets, True)[1:-1])


def temporal_shift(x: Tensor, fold_div: int = 8, *, offsets: Tensor | None = None) -> Tensor:
    """Shift two folds of channels along time, in opposite directions, with zeros at a video's ends.

    With fold = C // fold_div, channels [0, fold) take their values from t + 1, channels [fold, 2 fold) from
    t - 1, and the rest stay (TSM, Lin et al. 2019, section 4.1; the directions are those of its code).

    Args:
        x: [N, T, C, ...]; with ``offsets`` a packed batch [R, C, ...].
        fold_div: the share of channels that moves each way is 1 / fold_div.
        offsets: int64 [N + 1]; video n owns the rows ``offsets[n]:offsets[n + 1]``. Channels never move between
            videos.

    Returns:
        A new tensor of the shape of ``x``.

    Raises:
        ArgumentError: too few axes, or ``fold_div`` below 1.
    """
    axes = 3 if offsets is None else 2
    if x.dim() < axes:
        expected = "[N, T, C, ...]" if offsets is None else "[R, C, ...]"
        raise ArgumentError(f"temporal_shift: x must be {expected}, got shape {list(x.shape)}")
    if fold_div < 1:
        raise ArgumentError(f"temporal_shift: fold_div must be at least 1, got {fold_div}")
    if offsets is not None:
        return _shift_rows(x, fold_div, VideoRows.packed(offsets.to(x.device), len(x)))
    rows = VideoRows.equal(x.shape[0], x.shape[1], x.device)
    return _shift_rows(x.flatten(0, 1), fold_div, rows).reshape(x.shape)


def _shift_rows(x: Tensor, fold_div: int, rows: VideoRows) -> Tensor:
    """`temporal_shift` of rows [R, C, ...]."""
    shifted: Tensor = _Shift.apply(x, rows.apart, x.shape[1] // fold_div, False)  # type: ignore[no-untyped-call]
    return shifted


class _Shift(torch.autograd.Function):
    """(x [R, C, ...], apart bool [R - 1], fold, whether the directions are exchanged) -> [R, C, ...].

    The gradient of a shift is the shift in the opposite directions. This explicit form takes a fifth of the time of
    autograd on slices of a tensor.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, apart: Tensor, fold: int, exchanged: bool) -> Tensor:
        ctx.save_for_backward(apart)
        ctx.fold, ctx.exchanged = fold, exchanged
        first, second = slice(0, fold), slice(fold, 2 * fold)
        from_next, from_last = (second, first) if exchanged else (first, second)
        apart = apart.reshape(-1, *[1] * (x.dim() - 1))
        shifted = torch.empty_like(x)
        shifted[:-1, from_next] = x[1:, from_next]
        shifted[:-1, from_next].masked_fill_(apart, 0)
        shifted[-1:, from_next] = 0
        shifted[1:, from_last] = x[:-1, from_last]
        shifted[1:, from_last].masked_fill_(apart, 0)
        shifted[:1, from_last] = 0
        shifted[:, 2 * fold :] = x[:, 2 * fold :]
        return shifted

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None, None]:
        (apart,) = ctx.saved_tensors
        return _Shift.apply(slope, apart, ctx.fold, not ctx.exchanged), None, None, None  # type: ignore[no-untyped-call]


def causal_shift(x: Tensor, fold_div: int, rows: VideoRows, before: Tensor | None = None) -> Tensor:
    """Shift one fold of channels from the past: channels [0, C // fold_div) take their values from t - 1.

    The shift of TSM for videos that are still going on (Lin et al. 2019, section 4.2). The other channels stay.

    Args:
        x: [R, C, ...].
        fold_div: the share of channels that moves is 1 / fold_div.
        rows: the rows of each video.
        before: these channels of the frame before the first row, [1, C // fold_div, ...]; None: zeros, as at the start
            of a video.

    Returns:
        A new tensor of the shape of ``x``.
    """
    fold = x.shape[1] // fold_div
    moving = x[:, :fold]
    apart = rows.apart.reshape(-1, *[1] * (x.dim() - 1))
    earlier = moving[:-1].masked_fill(apart, 0)
    first = torch.zeros_like(moving[:1]) if before is None else before.to(moving)
    return torch.cat([torch.cat([first, earlier]), x[:, fold:]], dim=1)


class _ShiftInput:
    """A forward pre-hook: shift a module's first input, whose rows belong to the videos of ``rows``."""

    def __init__(self, rows: ForwardValue[VideoRows | None], fold_div: int, channels_last: bool) -> None:
        self.rows = rows
        self.fold_div = fold_div
        self.channels_last = channels_last

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        x: Tensor = inputs[0].movedim(-1, 1) if self.channels_last else inputs[0]
        rows = self.rows.get() or VideoRows.equal(len(x), 1, x.device)
        shifted = self.shift(x, rows)
        return (shifted.movedim(1, -1) if self.channels_last else shifted, *inputs[1:])

    def shift(self, x: Tensor, rows: VideoRows) -> Tensor:
        """Rows [R, C, ...], shifted."""
        return _shift_rows(x, self.fold_div, rows)


class _CausalShiftInput(_ShiftInput):
    """The same with `causal_shift`. If ``memory`` holds one, the shift goes on from it, and leaves its last row there.

    Args:
        place: number of the module among those that are shifted.
    """

    def __init__(
        self,
        rows: ForwardValue[VideoRows | None],
        fold_div: int,
        channels_last: bool,
        memory: ForwardValue[ShiftMemory | None],
        place: int,
    ) -> None:
        super().__init__(rows, fold_div, channels_last)
        self.memory, self.place = memory, place

    def shift(self, x: Tensor, rows: VideoRows) -> Tensor:
        memory = self.memory.get()
        if memory is None:
            return causal_shift(x, self.fold_div, rows)
        shifted = causal_shift(x, self.fold_div, rows, memory.get(self.place))
        memory[self.place] = x[-1:, : x.shape[1] // self.fold_div].clone()  # a view would keep all of x
        return shifted


def insert_shift(
    modules: Iterable[nn.Module],
    rows: ForwardValue[VideoRows | None],
    fold_div: int = 8,
    *,
    channels_last: bool = False,
    memory: ForwardValue[ShiftMemory | None] | None = None,
    first_place: int = 0,
) -> None:
    """Shift the input of each of ``modules`` along time.

    A hook keeps the names of the backbone's state dict, which a wrapping module would change.

    Args:
        modules: their first argument is [R, C, ...] (``channels_last``: [R, ..., C]).
        rows: the rows of each video; the owner of the modules sets it for each forward pass. Outside a forward pass,
            each row is one video.
        fold_div: as in `temporal_shift`.
        channels_last: the channels are the last axis, as in transformers.
        memory: makes the shift causal (`causal_shift`). While a memory is set, the rows of a forward pass are the next
            frames of one video, and the memory is brought up to date.
        first_place: number of the first module in the memory.
    """
    for place, module in enumerate(modules, first_place):
        if memory is None:
            module.register_forward_pre_hook(_ShiftInput(rows, fold_div, channels_last))
        else:
            module.register_forward_pre_hook(_CausalShiftInput(rows, fold_div, channels_last, memory, place))
