"""The loss of estimated flow: end-point errors at several resolutions.

J. Y.-H. Ng et al., "ActionFlowNet: Learning Motion Representation for Action Recognition", WACV 2018, eqs. 4.2 and 4.3.
There errors are summed over pixels; here they are averaged, so that the weight of the loss does not depend on the size
of the frames. The weights of the resolutions are those of FlowNetS (Fischer et al., ICCV 2015); the paper prints none.

Axis letters: N snippets, F flow fields, H rows, W columns, R resolutions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from praxiscope.errors import ArgumentError
from praxiscope.flow.area import area_average

__all__ = ["FLOWNET_WEIGHTS", "end_point_errors", "flow_loss", "resolution_weights"]

FLOWNET_WEIGHTS = (0.005, 0.01, 0.02, 0.08)
"""Weights of flow at 1/4, 1/8, 1/16 and 1/32 of the input."""


def resolution_weights(resolutions: int) -> tuple[float, ...]:
    """The default weights, the finest resolution first: those of FlowNetS for four, and 1 for a single one.

    Raises:
        ArgumentError: there is no default for this number of resolutions.
    """
    if resolutions == 1:
        return (1.0,)
    if resolutions != len(FLOWNET_WEIGHTS):
        raise ArgumentError(
            f"flow of {resolutions} resolutions has no default weights; give {resolutions} numbers, the finest first"
        )
    return FLOWNET_WEIGHTS


def end_point_errors(predictions: Sequence[Tensor], target: Tensor, unit: float) -> Tensor:
    """The mean end-point error at each resolution, in units of the predictions.

    Args:
        predictions: flow [N, F, 2, h, w] in units of ``unit`` pixels, the finest resolution first.
        target: flow in pixels, float [N, F, 2, H, W], at the finest resolution or a finer one; NaN where it is unknown.
        unit: pixels for 1 in a prediction.

    Returns:
        [R]: at each resolution the mean over the pixels where the target, averaged over the area of the pixel, is
        known; 0 if it is known nowhere.

    Raises:
        ArgumentError: the shapes of predictions and target do not fit.
    """
    for predicted in predictions:
        fits = predicted.dim() == target.dim() == 5 and predicted.shape[:3] == target.shape[:3]
        if not fits or predicted.shape[2] != 2 or not _at_least(target.shape[3:], predicted.shape[3:]):
            raise ArgumentError(
                "flow must be [N, F, 2, h, w] and its target [N, F, 2, H, W], as large or larger; got "
                f"{list(predicted.shape)} and {list(target.shape)}"
            )
    return torch.stack([_error(predicted.to(target.dtype), target, unit) for predicted in predictions])


def flow_loss(predictions: Sequence[Tensor], target: Tensor, weights: Sequence[float], unit: float) -> Tensor:
    """The weighted sum of the mean end-point errors over resolutions, [].

    Args:
        predictions, target, unit: see `end_point_errors`.
        weights: alpha_r, one for each resolution, the finest first.

    Raises:
        ArgumentError: another number of weights, or shapes that do not fit.
    """
    return weighted(end_point_errors(predictions, target, unit), weights)


def weighted(errors: Tensor, weights: Sequence[float]) -> Tensor:
    """The weighted sum of the errors [R] of `end_point_errors`. Raises ArgumentError for other numbers of weights."""
    if len(weights) != len(errors):
        raise ArgumentError(
            f"backprop.resolution_weights: flow of {len(errors)} resolutions needs as many weights, got "
            f"{len(weights)}: {list(weights)}"
        )
    return (errors * torch.tensor(weights, dtype=errors.dtype, device=errors.device)).sum()


def _at_least(size: Sequence[int], other: Sequence[int]) -> bool:
    return all(one >= two for one, two in zip(size, other, strict=True))


def _error(predicted: Tensor, target: Tensor, unit: float) -> Tensor:
    wanted = area_average(target, (predicted.shape[-2], predicted.shape[-1])) / unit
    known = ~wanted.isnan().any(2)  # [N, F, h, w]
    difference = predicted - torch.where(known[:, :, None], wanted, predicted.detach())
    return torch.linalg.vector_norm(difference, dim=2).sum() / known.sum().clamp(min=1)
