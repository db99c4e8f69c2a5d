"""The refinement of FlowNetS: optical flow from the stages of an encoder, by deconvolutions with skip connections.

P. Fischer et al., "FlowNet: Learning Optical Flow with Convolutional Networks", ICCV 2015, section 3. Each step doubles
the resolution of the map by a deconvolution of size 4 and LeakyReLU(0.1), and concatenates the encoder's stage of this
resolution. With ``coarse``, a flow field is predicted from each map, and its upsampled version is concatenated too.

Axis letters: N clips, C channels, t frames, h rows, w columns of a map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["FlowDecoder"]

WIDTHS = (256, 128, 64)
"""Channels of the deconvolutions, from coarse to fine: those of FlowNetS at these resolutions."""


START_STD = 1e-5
"""Most motion is small, so predictions start near zero flow."""


class _Makers(NamedTuple):
    convolution: Any
    deconvolution: Any


_MAKERS: dict[int, _Makers] = {
    2: _Makers(nn.Conv2d, nn.ConvTranspose2d),
    3: _Makers(nn.Conv3d, nn.ConvTranspose3d),
}


class FlowDecoder(nn.Module):
    """Predicts flow from the outputs of an encoder's stages.

    Args:
        widths: channels of the stages, the finest first.
        dimensions: 2 for maps [N, C, h, w], 3 for maps over time, [N, C, t, h, w].
        coarse: whether flow is also predicted at the coarser resolutions.
    """

    def __init__(self, widths: Sequence[int], *, dimensions: Literal[2, 3], coarse: bool) -> None:
        super().__init__()
        make = _MAKERS[dimensions]
        doubled = {"kernel_size": 4, "stride": 2, "padding": 1}
        *skipped, width = widths
        self.deconvolutions = nn.ModuleList()
        self.predictions = nn.ModuleList()
        self.upsamplings = nn.ModuleList()
        for skip, out in zip(reversed(skipped), WIDTHS, strict=True):
            self.deconvolutions.append(
                nn.Sequential(make.deconvolution(width, out, **doubled), nn.LeakyReLU(0.1, inplace=True))
            )
            if coarse:
                self.predictions.append(make.convolution(width, 2, kernel_size=3, padding=1))
                self.upsamplings.append(make.deconvolution(2, 2, **doubled))
            width = skip + out + 2 * coarse
        self.predictions.append(make.convolution(width, 2, kernel_size=3, padding=1))
        for layer in self.predictions:
            nn.init.normal_(layer.weight, std=START_STD)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, stages: Sequence[Tensor]) -> list[Tensor]:
        """Predict flow.

        Args:
            stages: outputs of the encoder's stages, the finest first, each about half as large as the one before.

        Returns:
            Flow [N, 2, h, w] or [N, 2, t, h, w] (x first), as large as the first stage; with ``coarse`` followed by
            that of the other stages.
        """
        *skipped, x = stages
        found: list[Tensor] = []
        for number, skip in enumerate(reversed(skipped)):
            parts = [skip, _like(self.deconvolutions[number](x), skip)]
            if self.upsamplings:
                found.append(self.predictions[number](x))
                parts.append(_like(self.upsamplings[number](found[-1]), skip))
            x = torch.cat(parts, 1)
        found.append(self.predictions[-1](x))
        return found[::-1]


def _like(x: Tensor, other: Tensor) -> Tensor:
    """Crop a map to the size of another: deconvolutions give even sizes, and stages of odd sizes were rounded up."""
    for axis, size in enumerate(other.shape[2:], 2):
        x = x.narrow(axis, 0, size)
    return x
