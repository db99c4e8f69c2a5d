"""Convolution along time that is initialised as the identity, and max-pooling along time.

C. Feichtenhofer, A. Pinz, R. P. Wildes, "Spatiotemporal Multiplier Networks for Video Action Recognition", CVPR 2017,
section 3.3.

Axis letters: N videos, S frames of each, C channels, H rows, W columns, T taps in time.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from praxiscope.errors import ArgumentError
from praxiscope.layers.forward_value import ForwardValue
from praxiscope.layers.shift import VideoRows

__all__ = ["AVERAGE", "CENTRE", "TemporalConvolution", "temporal_max"]

CENTRE = (0.0, 1.0, 0.0)
AVERAGE = (1 / 3, 1 / 3, 1 / 3)


class TemporalConvolution(nn.Module):
    """A temporal convolution with T taps (1 x 1 in space), from C channels to C, with zero padding in time.

    Its weight starts as the identity over channels times the taps (the paper's equation 9), its bias at 0: with
    `CENTRE` the layer is the identity before training. (With `AVERAGE` the frames at the ends of a video
    have smaller values, as a third of their average is padding.)

    Args:
        channels: C.
        rows: the rows of each video, all of the same length; the owner sets it for each forward pass.
        taps: f, of odd length T.
    """

    def __init__(
        self, channels: int, rows: ForwardValue[VideoRows | None], taps: Sequence[float] = CENTRE
    ) -> None:
        super().__init__()
        if len(taps) % 2 == 0:
            raise ArgumentError(f"taps must be an odd number of values, got {list(taps)}")
        self.rows = rows
        # [C, C, T, 1]: time is the first axis of the 2-D convolution, the pixels of a frame are the second.
        self.weight = nn.Parameter(torch.empty(channels, channels, len(taps), 1))
        self.bias = nn.Parameter(torch.empty(channels))
        self.taps = tuple(taps)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Set the weight to the identity times the taps."""
        channels = len(self.bias)
        identity = torch.eye(channels, dtype=self.weight.dtype, device=self.weight.device)
        taps = identity.new_tensor(self.taps)
        self.weight.copy_((identity[:, :, None] * taps)[..., None])
        self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """[N * S, C, H, W] -> [N * S, C, H, W]."""
        rows, channels, height, width = x.shape
        videos = rows if (known := self.rows.get()) is None else known.videos
        if rows % videos:
            raise ArgumentError(f"{rows} rows cannot be divided into {videos} videos of equal length")
        frames = rows // videos
        # Where channels are the last axis in memory, these are views.
        x = x.reshape(videos, frames, channels, height * width).transpose(1, 2)  # [N, C, S, H * W]
        x = F.conv2d(x, self.weight, self.bias, padding=(len(self.taps) // 2, 0))
        return x.transpose(1, 2).reshape(rows, channels, height, width)

    def extra_repr(self) -> str:
        return f"{len(self.bias)}, taps={self.taps}"


def temporal_max(x: Tensor, window: int | None = None) -> Tensor:
    """Max-pooling along time.

    Args:
        x: [N, S, ...].
        window: number of frames pooled together, with stride 1; None, or S or more: all.

    Returns:
        [N, S - window + 1, ...]: 21 for 25 frames and a window of 5.

    Raises:
        ArgumentError: the window is below 1.
    """
    if window is None:
        window = x.shape[1]
    if window < 1 or x.shape[1] < 1:
        raise ArgumentError(f"window and frames must be at least 1, got {window} and {x.shape[1]}")
    window = min(window, x.shape[1])
    return x.unfold(1, window, 1).amax(-1)
