"""TV-L1 optical flow in PyTorch: many pairs at once, on any device.

Axis letters: N pairs, H rows, W columns.

The energy is that of Zach, Pock and Bischof ("A duality based approach for realtime TV-L1 optical flow", 2007): the
total variation of the flow, plus ``attachment`` times the absolute difference of grey levels between the first image
and the warped second image. It is minimised from coarse to fine. At each warp the difference is linearised, with
gradients averaged over both images and a median filter of the flow after each warp (Wedel et al., 2009; here of 5 x 5
pixels, which Sun, Roth and Black, 2010, found best). The linearised energy is minimised by the first-order primal-dual
algorithm of Chambolle and Pock (2011). Zach's scheme alternates between two copies of the flow, coupled by a third
parameter. This one has a single flow and no such parameter, and needs half the iterations for the same accuracy.

Iterations use flat vectors: a neighbour is a shift, and at the border the dual variable is set to 0. So an iteration is
22 in-place operations for all pixels of all pairs.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from praxiscope.errors import ArgumentError
from praxiscope.flow.methods import estimators

__all__ = ["TVL1"]

_STEP = 1 / math.sqrt(8)  # step size of both variables: the norm of the discrete gradient is at most sqrt(8)
_DAMPING = 1.0  # grey levels^2 per pixel^2: pixels without a gradient do not affect the flow
_DERIVATIVE = (1 / 12, -8 / 12, 0.0, 8 / 12, -1 / 12)
# Compare-exchange pairs, which put the lower value first. _SORT sorts a column. _MEDIAN then operates on a window of
# sorted columns, numbered row by row, and puts its median in the middle: after the rows are sorted as well, only values
# near the other diagonal can be the median.
_SORT = {
    3: ((0, 1), (1, 2), (0, 1)),
    5: ((0, 3), (1, 4), (0, 2), (1, 3), (0, 1), (2, 4), (1, 2), (3, 4), (2, 3)),
}
_MEDIAN = {
    3: ((0, 1), (1, 2), (7, 8), (6, 7), (3, 4), (4, 5), (3, 4), (2, 4), (4, 6), (2, 4)),
    5: (
        *((1, 4), (0, 2), (0, 1), (2, 4), (1, 2), (3, 4), (2, 3), (5, 8), (6, 9), (6, 8), (5, 6), (7, 9)),
        *((6, 7), (8, 9), (7, 8), (10, 13), (11, 14), (10, 12), (11, 13), (10, 11), (12, 14), (11, 12)),
        *((13, 14), (12, 13), (15, 18), (16, 19), (15, 17), (16, 18), (15, 16), (17, 19), (16, 17), (17, 18)),
        *((20, 23), (21, 24), (20, 22), (21, 23), (20, 21), (22, 24), (21, 22), (3, 7), (7, 11), (11, 15)),
        *((17, 21), (13, 17), (9, 13), (4, 16), (4, 12), (8, 20), (15, 9), (4, 8), (12, 16), (15, 20)),
        *((15, 12), (12, 20), (9, 16), (8, 12), (12, 9)),
    ),
}
# Pixels processed at a time. On a CPU about what fits in its cache; on other devices enough to use them fully.
_CPU_PIXELS, _DEVICE_PIXELS = 1 << 17, 1 << 23
_CPU_MEDIANS = 1 << 14  # medians computed at a time on a CPU: their windows fit in its cache


@estimators.register("tvl1")
@dataclass(frozen=True)
class TVL1:
    """TV-L1 optical flow.

    Args:
        attachment: weight of the grey-level difference (levels 0 to 255) against the total variation.
        warps: linearisations on each scale.
        iterations: iterations of the primal-dual algorithm for each warp.
        median: side in pixels of the median filter after each warp: 3 or 5.
        scale: size of a scale relative to the next finer one.
        smallest: smallest short side of a scale, pixels.

    Raises:
        ArgumentError: a value out of range.
    """

    attachment: float = 0.2
    warps: int = 8
    iterations: int = 10
    median: int = 5
    scale: float = 0.5
    smallest: int = 16

    name = "tvl1"
    needs_weights = False

    def __post_init__(self) -> None:
        if not (
            0 < self.attachment < math.inf and min(self.warps, self.iterations) >= 1 and self.smallest >= 4
        ):
            raise ArgumentError(
                f"TV-L1 needs attachment > 0, warps and iterations >= 1, smallest >= 4; got {self}"
            )
        if self.median not in _MEDIAN:
            raise ArgumentError(f"TV-L1's median must be 3 or 5 pixels wide, got {self.median}")
        if not 0.1 <= self.scale <= 0.95:
            raise ArgumentError(f"TV-L1's scale must lie in 0.1 … 0.95, got {self.scale}")

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters by name."""
        return asdict(self)

    def __call__(self, frames: Tensor, *, backward: bool = False) -> Tensor:
        """Flow between consecutive frames; see `praxiscope.flow.estimate.estimate_flow`."""
        grey = _grey(frames)
        pairs, height, width = len(grey) - 1, *grey.shape[-2:]
        flow = torch.empty(pairs, 2, height, width, device=grey.device)
        room = _CPU_PIXELS if grey.device.type == "cpu" else _DEVICE_PIXELS
        step = max(1, room // (height * width))
        with torch.inference_mode():
            for start in range(0, pairs, step):
                # The scales of a frame are used for both of its pairs.
                scales = self._scales(grey[start : start + step + 1])
                flow[start : start + step] = self._solve(scales, backward)
        return flow

    def _scales(self, grey: Tensor) -> list[Tensor]:
        """Images [N, 1, H, W] from the finest to the coarsest scale."""
        scales = [grey]
        while min(scales[-1].shape[-2:]) * self.scale >= self.smallest:
            size = [max(1, round(side * self.scale)) for side in scales[-1].shape[-2:]]
            scales.append(F.interpolate(scales[-1], size=size, mode="bilinear", antialias=True))
        return scales

    def _solve(self, scales: list[Tensor], backward: bool) -> Tensor:
        flow: Tensor | None = None  # [2, N, H, W]
        for images in reversed(scales):
            height, width = images.shape[-2:]
            if flow is None:
                flow = images.new_zeros(2, len(images) - 1, height, width)
            else:
                before = flow.shape[-2:]
                # With pairs as channels, torch would choose its kernel, and so the rounding, depending on their number.
                flow = flow.reshape(-1, 1, *before)
                flow = F.interpolate(flow, size=(height, width), mode="bilinear", align_corners=False)
                flow = flow.view(2, -1, height, width)
                flow[0] *= width / before[1]
                flow[1] *= height / before[0]
            slopes = _gradient(images)
            detailed = torch.cat((images, slopes), dim=1)  # grey, d/dx, d/dy
            first, second = (detailed[1:], detailed[:-1]) if backward else (detailed[:-1], detailed[1:])
            flow = self._refine(first, second, flow)
        assert flow is not None
        return flow.transpose(0, 1)

    def _refine(self, first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
        """Warp and minimise on one scale: images with gradients [N, 3, H, W], flow [2, N, H, W]."""
        pairs, _, height, width = first.shape
        pixels = pairs * height * width
        # The dual variables of both components along x and y, and the extrapolated flow, each padded for the neighbours
        # of the first and the last pixel.
        margin = width
        dual_x, dual_y, ahead = (first.new_zeros(2 * pixels + 2 * margin)[margin:-margin] for _ in range(3))
        left, above = _shifted(dual_x, -1), _shifted(dual_y, -width)
        right, below = _shifted(ahead, 1), _shifted(ahead, width)
        last_column = dual_x.view(-1, height, width)[:, :, -1]
        last_row = dual_y.view(-1, height, width)[:, -1]
        length, residual = torch.empty_like(dual_x), first.new_empty(pixels)
        limit = _STEP * self.attachment
        for _ in range(self.warps):
            u = flow.reshape(-1)
            ux, uy = u[:pixels], u[pixels:]
            constant, gx, gy, inverse = _linearise(first, second, flow)
            ahead.copy_(u)
            for _ in range(self.iterations):
                dual_x.add_(right, alpha=_STEP).sub_(ahead, alpha=_STEP)
                dual_y.add_(below, alpha=_STEP).sub_(ahead, alpha=_STEP)
                last_column.zero_()
                last_row.zero_()
                torch.mul(dual_x, dual_x, out=length)
                length.addcmul_(dual_y, dual_y).clamp_(min=1).rsqrt_()
                dual_x.mul_(length)
                dual_y.mul_(length)
                ahead.copy_(u)
                u.add_(dual_x, alpha=_STEP).sub_(left, alpha=_STEP)
                u.add_(dual_y, alpha=_STEP).sub_(above, alpha=_STEP)
                # The nearest flow that explains the grey levels, within the limit.
                torch.addcmul(constant, gx, ux, out=residual)
                residual.addcmul_(gy, uy).mul_(inverse).clamp_(-limit, limit)
                ux.addcmul_(residual, gx)
                uy.addcmul_(residual, gy)
                torch.lerp(ahead, u, 2.0, out=ahead)  # 2 u - (u before)
            flow = _median(u.view(2, pairs, height, width), self.median)
        return flow


def _shifted(vector: Tensor, by: int) -> Tensor:
    """A view of the same memory, shifted by ``by`` elements."""
    return torch.as_strided(vector, vector.shape, vector.stride(), vector.storage_offset() + by)


def _linearise(first: Tensor, second: Tensor, flow: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The difference of grey levels as ``constant + gx ux + gy uy``, and -1 / gradient^2: four flat vectors.

    The last vector is 0 where the flow leads out of the image.
    """
    height, width = first.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=first.device, dtype=first.dtype),
        torch.arange(width, device=first.device, dtype=first.dtype),
        indexing="ij",
    )
    x, y = x + flow[0], y + flow[1]
    grid = torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), dim=-1)
    warped = F.grid_sample(second, grid, mode="bilinear", padding_mode="border", align_corners=False)
    gx, gy = (warped[:, 1:] + first[:, 1:]).mul_(0.5).unbind(1)
    constant = warped[:, 0] - first[:, 0] - gx * flow[0] - gy * flow[1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    inverse = inside / -(gx * gx + gy * gy + _DAMPING)
    return constant.reshape(-1), gx.reshape(-1), gy.reshape(-1), inverse.reshape(-1)


def _grey(frames: Tensor) -> Tensor:
    """uint8 [T, 3, H, W] to the luma of BT.601, float32 [T, 1, H, W] from 0 to 255."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=frames.device)
    return torch.einsum("tchw,c->thw", frames.float(), weights)[:, None]


def _gradient(images: Tensor) -> Tensor:
    """Central differences over five points: [N, 1, H, W] to [N, 2, H, W], d/dx and d/dy."""
    kernel = images.new_tensor(_DERIVATIVE)
    padded = F.pad(images, (2, 2, 2, 2), mode="replicate")
    along_x = F.conv2d(padded[:, :, 2:-2], kernel.view(1, 1, 1, 5))
    along_y = F.conv2d(padded[:, :, :, 2:-2], kernel.view(1, 1, 5, 1))
    return torch.cat((along_x, along_y), dim=1)


def _median(field: Tensor, side: int) -> Tensor:
    """The median over side x side pixels, side 3 or 5, of fields [..., H, W]; the border is repeated. Contiguous."""
    fields = field.flatten(0, -3).contiguous()
    made = torch.empty_like(fields)
    opencv = _opencv() if field.device.type == "cpu" and field.dtype == torch.float32 else None
    if opencv:  # the same values, several times as fast
        for source, target in zip(fields.numpy(), made.numpy(), strict=True):
            target[:] = opencv.medianBlur(source, side)
        return made.view(field.shape)
    height, width = field.shape[-2:]
    padded = F.pad(fields[:, None], (side // 2,) * 4, mode="replicate")[:, 0]
    pixels = _CPU_MEDIANS if field.device.type == "cpu" else made.numel()
    together, rows = max(1, pixels // (height * width)), max(1, pixels // width)
    for first in range(0, len(fields), together):
        for top in range(0, height, rows):
            part = padded[first : first + together, top : top + rows + side - 1]
            made[first : first + together, top : top + rows] = _median_network(part, side)
    return made.view(field.shape)


def _median_network(padded: Tensor, side: int) -> Tensor:
    """Medians of all windows in [..., H + side - 1, W + side - 1]: [..., H, W]."""
    height, width = (length - side + 1 for length in padded.shape[-2:])
    rows = [padded[..., i : i + height, :] for i in range(side)]
    for a, b in _SORT[side]:  # a column is sorted once for all windows that it is in
        rows[a], rows[b] = torch.minimum(rows[a], rows[b]), torch.maximum(rows[a], rows[b])
    values = [row[..., j : j + width] for row in rows for j in range(side)]
    for a, b, lower, higher in _needed(side):
        first, second = values[a], values[b]
        if lower:
            values[a] = torch.minimum(first, second)
        if higher:
            values[b] = torch.maximum(first, second)
    return values[side * side // 2]


@cache
def _needed(side: int) -> list[tuple[int, int, bool, bool]]:
    """The pairs of _MEDIAN, and whether the lower and the higher value of each affect the median."""
    used, found = {side * side // 2}, []
    for a, b in reversed(_MEDIAN[side]):
        found.append((a, b, a in used, b in used))
        used |= {a, b}
    return found[::-1]


@cache
def _opencv() -> Any:
    try:
        import cv2
    except ImportError:
        return None
    return cv2
