"""Operators that pool frames over time (Ng et al., "Beyond Short Snippets", CVPR 2015, section 3.1).

B videos, T frames, n frames of an online call, C channels, h rows, w columns, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from praxiscope.errors import ArgumentError
from praxiscope.layers.pooling import repeated_from_start, window_count, window_max
from praxiscope.models.fc_layers import FCLayers
from praxiscope.models.frames_then_time import MaxOverTime, OverTime, running

__all__ = ["FCThenPool", "LocalPool", "PoolThenFC", "Reduce", "SlowPool", "TimeConv"]

Reduce: TypeAlias = Literal["max", "mean"]
WINDOW, STRIDE = 10, 5
"""Frames of a window, and from one window to the next, of slow pooling, local pooling and the convolution in time."""


class PoolThenFC(MaxOverTime):
    """Pool what the network says of each frame over time, then two fully connected layers and the classifier.

    On maps this is conv pooling: the space is kept until the fully connected layers. On features it is the paper's
    GoogLeNet-conv.
    """

    def __init__(
        self, level: Literal["maps", "features"], fc: FCLayers, reduce: Reduce, num_classes: int
    ) -> None:
        super().__init__()
        self.level, self.reduce, self.fc = level, reduce, fc
        self.by_maximum = reduce == "max"
        self.classifier = nn.Linear(fc.width, num_classes)

    def candidates(self, x: Tensor) -> Tensor:
        return x

    def classify(self, maxima: Tensor) -> Tensor:
        vectors = self.fc.vector(maxima) if self.level == "maps" else maxima
        scores: Tensor = self.classifier(self.fc.both(vectors))
        return scores

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(reduced(x, self.reduce))

    def advance(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        pooled, state = running(x, state, self.reduce)
        return self.classify(pooled), state


class FCThenPool(MaxOverTime):
    """Late pooling: two fully connected layers for each frame, then the pooling, then the classifier."""

    level = "features"

    def __init__(self, fc: FCLayers, reduce: Reduce, num_classes: int) -> None:
        super().__init__()
        self.reduce, self.fc = reduce, fc
        self.by_maximum = reduce == "max"
        self.classifier = nn.Linear(fc.width, num_classes)

    def candidates(self, x: Tensor) -> Tensor:
        return self.fc.both(x)

    def classify(self, maxima: Tensor) -> Tensor:
        scores: Tensor = self.classifier(maxima)
        return scores

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(reduced(self.candidates(x), self.reduce))

    def advance(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        pooled, state = running(self.candidates(x), state, self.reduce)
        return self.classify(pooled), state


class SlowPool(MaxOverTime):
    """Slow pooling: the maximum over windows, a fully connected layer for each, the maximum over the windows, another
    fully connected layer, the classifier. Frames after the last whole window are left out."""

    level = "maps"
    window = (WINDOW, STRIDE)

    def __init__(self, fc: FCLayers, num_classes: int) -> None:
        super().__init__()
        self.fc = fc
        self.classifier = nn.Linear(fc.width, num_classes)

    def _first(self, pooled: Tensor) -> Tensor:
        return self.fc.first(self.fc.vector(pooled))

    def candidates(self, x: Tensor) -> Tensor:
        return self._first(window_max(x, WINDOW, STRIDE, dim=1))

    def classify(self, maxima: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.fc.second(maxima))
        return scores

    def advance(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        best, state = _windows_so_far(x, state, lambda windows: self._first(windows.amax(1)))
        return self.classify(best), state


class LocalPool(OverTime):
    """Local pooling: the maximum over windows, two fully connected layers for each, and one larger classifier over all
    windows; so their number is fixed."""

    level = "maps"
    online = False

    def __init__(self, fc: FCLayers, frames: int, num_classes: int) -> None:
        super().__init__()
        self.fc, self.frames, self.windows = fc, frames, window_count(frames, WINDOW, STRIDE)
        self.classifier = nn.Linear(self.windows * fc.width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        if window_count(x.shape[1], WINDOW, STRIDE) != self.windows:
            raise ArgumentError(
                f"local-pool was built for {self.frames} frames ({self.windows} windows of {WINDOW}), got "
                f"{x.shape[1]} frames. Its classifier has weights for each window: use the same number of frames, or "
                "another model."
            )
        vectors = self.fc.both(self.fc.vector(window_max(x, WINDOW, STRIDE, dim=1)))
        scores: Tensor = self.classifier(vectors.flatten(1))
        return scores


class TimeConv(MaxOverTime):
    """A convolution over time and space, the maximum over time, two fully connected layers, the classifier.

    256 kernels of 3 x 3 places and 10 frames, 5 frames apart, then a ReLU. Videos of fewer frames are repeated from the
    start.
    """

    level = "maps"
    window = (WINDOW, STRIDE)
    kernels = 256

    def __init__(self, channels: int, fc: FCLayers, num_classes: int) -> None:
        super().__init__()
        self.fc = fc
        self.convolution = nn.Conv3d(
            channels, self.kernels, (WINDOW, 3, 3), stride=(STRIDE, 1, 1), padding=(0, 1, 1)
        )
        self.classifier = nn.Linear(fc.width, num_classes)

    def candidates(self, x: Tensor) -> Tensor:
        x = repeated_from_start(x, WINDOW, dim=1)
        found: Tensor = self.convolution(x.transpose(1, 2)).relu().transpose(1, 2)
        return found

    def classify(self, maxima: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.fc.both(self.fc.vector(maxima)))
        return scores

    def _windows(self, windows: Tensor) -> Tensor:
        """Windows [m, t, C, h, w] to their maps [m, kernels, h, w]."""
        windows = repeated_from_start(windows, WINDOW, dim=1)
        found: Tensor = self.convolution(windows.transpose(1, 2)).relu()
        return found[:, :, 0]

    def advance(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        best, state = _windows_so_far(x, state, self._windows)
        return self.classify(best), state


def reduced(x: Tensor, reduce: Reduce) -> Tensor:
    """The maximum or mean over time: [B, T, ...] to [B, ...]."""
    return x.amax(1) if reduce == "max" else x.mean(1)


def _windows_so_far(
    x: Tensor, state: Any, of_windows: Callable[[Tensor], Tensor]
) -> tuple[Tensor, tuple[int, Tensor, Tensor | None]]:
    """The maximum over the windows that are whole after each frame; before the first, of all frames as one window.

    Args:
        x: the next frames, [n, ...].
        state: number of frames before, the last of them (fewer than a window), and the maximum of the windows.
        of_windows: m windows of t frames each [m, t, ...] to their values [m, ...].

    Returns:
        [n, ...], and the next state.
    """
    count, held, best = state or (0, x[:0], None)
    frames, before = torch.cat((held, x)), len(held)
    counts = range(count + 1, count + len(x) + 1)  # frames so far, at each frame
    early = [before + k + 1 for k, seen in enumerate(counts) if seen < WINDOW]
    values = [of_windows(frames[None, :end]) for end in early]
    if counts[-1] >= WINDOW:
        whole = [seen >= WINDOW and (seen - WINDOW) % STRIDE == 0 for seen in counts]
        ends = [before + k + 1 for k, ending in enumerate(whole) if ending]
        known = [] if best is None else [best[None]]
        if ends:  # together: the weights are read once
            known.append(of_windows(torch.stack([frames[end - WINDOW : end] for end in ends])))
        most = torch.cat(known).cummax(0).values
        newest = torch.tensor(whole, device=x.device).cumsum(0)[len(early) :] - int(best is None)
        values.append(most[newest])
        best = most[-1]
    return torch.cat(values), (counts[-1], frames[-(WINDOW - 1) :], best)
