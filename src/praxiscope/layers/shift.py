"""The temporal shift (TSM): a part of the channels travels one frame along time. No parameters, no FLOPs.

Axis letters: N videos, T frames, C channels, ``...`` any further axes (H, W), B batch rows = N * T.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from praxiscope.errors import ArgumentError

__all__ = ["SnippetCount", "insert_shift", "temporal_shift"]


def temporal_shift(x: Tensor, fold_div: int = 8, *, offsets: Tensor | None = None) -> Tensor:
    """Shift two folds of channels along time, in opposite directions, with zeros at a video's ends.

    With fold = C // fold_div, channels [0, fold) take their values from t + 1, channels [fold, 2 fold) from
    t - 1, and the rest stay (TSM, Lin et al. 2019, section 4.1; the directions are those of its code).

    Args:
        x: [N, T, C, ...]; with ``offsets`` a packed batch [sum of T, C, ...].
        fold_div: the share of channels that moves each way is 1 / fold_div.
        offsets: int64 [N + 1]; video n owns the rows ``offsets[n]:offsets[n + 1]``. Nothing crosses videos.

    Returns:
        A new tensor of the shape of ``x``.

    Raises:
        ArgumentError: too few axes, or ``fold_div`` below 1.
    """
    channel_axis = 2 if offsets is None else 1
    if x.dim() <= channel_axis:
        expected = "[N, T, C, ...]" if offsets is None else "[sum of T, C, ...]"
        raise ArgumentError(f"temporal_shift: x must be {expected}, got shape {list(x.shape)}")
    if fold_div < 1:
        raise ArgumentError(f"temporal_shift: fold_div must be at least 1, got {fold_div}")
    fold = x.shape[channel_axis] // fold_div
    if offsets is None:
        shifted = torch.zeros_like(x)
        shifted[:, :-1, :fold] = x[:, 1:, :fold]
        shifted[:, 1:, fold : 2 * fold] = x[:, :-1, fold : 2 * fold]
        shifted[:, :, 2 * fold :] = x[:, :, 2 * fold :]
        return shifted
    # Row r and row r + 1 exchange values only where both belong to one video; empty videos own no row.
    rows = torch.arange(x.shape[0], device=x.device)
    video = torch.searchsorted(offsets.to(x.device), rows, right=True)
    apart = (video[1:] != video[:-1]).reshape(-1, *[1] * (x.dim() - 1))
    shifted = torch.zeros_like(x)
    shifted[:-1, :fold] = x[1:, :fold].masked_fill(apart, 0)
    shifted[1:, fold : 2 * fold] = x[:-1, fold : 2 * fold].masked_fill(apart, 0)
    shifted[:, 2 * fold :] = x[:, 2 * fold :]
    return shifted


class SnippetCount:
    """How many snippets of one video lie side by side in the batch that a network now sees.

    A network hands one such object to all its shifts when it is built, and writes ``value`` before each
    forward. It belongs to the network (``copy.deepcopy`` gives the copy its own), so nothing is global.

    Attributes:
        value: snippets of every video.
        offsets: where the videos differ in that, their rows, int64 [N + 1]; then ``value`` does not count.
    """

    def __init__(self, value: int = 1) -> None:
        self.value = value
        self.offsets: Tensor | None = None


class _ShiftInput:
    """A forward pre-hook: shift a module's first input, whose rows are B = N * count.value."""

    def __init__(self, count: SnippetCount, fold_div: int, channels_last: bool) -> None:
        self.count = count
        self.fold_div = fold_div
        self.channels_last = channels_last

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        x: Tensor = inputs[0]
        if self.count.offsets is not None:
            rows = x.movedim(-1, 1) if self.channels_last else x
            shifted = temporal_shift(rows, self.fold_div, offsets=self.count.offsets)
            return (shifted.movedim(1, -1) if self.channels_last else shifted, *inputs[1:])
        videos = x.reshape(-1, self.count.value, *x.shape[1:])  # [N, T, C, H, W], or [N, T, ..., C]
        if self.channels_last:
            shifted = temporal_shift(videos.movedim(-1, 2), self.fold_div).movedim(2, -1)
        else:
            shifted = temporal_shift(videos, self.fold_div)
        return (shifted.flatten(0, 1), *inputs[1:])


def insert_shift(
    modules: Iterable[nn.Module], count: SnippetCount, fold_div: int = 8, *, channels_last: bool = False
) -> None:
    """Make every one of ``modules`` see its input shifted along time.

    A hook rather than a wrapping module: the names of the state dict stay those of the plain backbone, so
    that weights load both ways.

    Args:
        modules: their first argument is [N * T, C, ...] (``channels_last``: [N * T, ..., C]).
        count: tells T; the owner of the modules sets its ``value``, or ``offsets``, before each forward.
        fold_div: as in `temporal_shift`.
        channels_last: the channels are the last axis, as in transformers.
    """
    for module in modules:
        module.register_forward_pre_hook(_ShiftInput(count, fold_div, channels_last))
