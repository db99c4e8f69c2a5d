"""VLAD: vectors of locally aggregated descriptors (H. Jégou et al., CVPR 2010), with intra-normalisation.

J. Y.-H. Ng, F. Yang, L. S. Davis, "Exploiting Local Features from Deep Networks for Image Retrieval", CVPR Workshops
2015, encode the map of a layer so: each position of the map is a local feature.

Axis letters: n local features of an image, d their dimensions, k words of the vocabulary; ``...`` are images.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from praxiscope.errors import ArgumentError

__all__ = ["local_features", "nearest_words", "vlad"]

_VALUES = 1 << 24  # distances that are in memory at once: 64 MiB in float32


def local_features(maps: Tensor) -> Tensor:
    """The local features of maps: one for each position, of length 1.

    Args:
        maps: [..., d, rows, columns].

    Returns:
        [..., rows * columns, d]. A feature that is zero stays zero.
    """
    return F.normalize(maps.flatten(-2).transpose(-1, -2), dim=-1)


def nearest_words(features: Tensor, centres: Tensor) -> Tensor:
    """The nearest word of each feature, int64 [...]; of equally near ones the first.

    Args:
        features: [..., d].
        centres: [k, d].
    """
    half = centres.square().sum(1) / 2
    rows = features.reshape(-1, features.shape[-1])
    size = max(1, _VALUES // len(centres))
    if torch.compiler.is_exporting():  # a graph has no loop over parts of a number that is free
        return torch.addmm(half, rows, centres.T, alpha=-1).argmin(1).reshape(features.shape[:-1])
    found = [
        torch.addmm(half, rows[first : first + size], centres.T, alpha=-1).argmin(1)
        for first in range(0, len(rows), size)
    ]
    return torch.cat(found).reshape(features.shape[:-1])


def vlad(features: Tensor, centres: Tensor, normalise: bool = True) -> Tensor:
    """The sum of the residuals of the features of each word.

    Args:
        features: [..., n, d], floating point. Each is divided by its length first.
        centres: [k, d], the words.
        normalise: divide the residual of each word by its length (intra-normalisation), then all together by theirs.
            False: plain sums.

    Returns:
        [..., k, d]. Words without features are zero.

    Raises:
        ArgumentError: the shapes do not fit, or there is no word.

    Example:
        >>> vlad(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(1, 2), normalise=False)
        tensor([[1., 1.]])
    """
    if centres.dim() != 2 or not len(centres):
        raise ArgumentError(f"centres must be [k, d] with at least one word, got {list(centres.shape)}")
    if features.dim() < 2 or features.shape[-1] != centres.shape[1]:
        raise ArgumentError(
            f"features must be [..., n, {centres.shape[1]}], as the words have {centres.shape[1]} dimensions; got "
            f"{list(features.shape)}"
        )
    features = F.normalize(features, dim=-1)
    centres = centres.to(features)
    words = F.one_hot(nearest_words(features, centres), len(centres)).to(features.dtype)
    sums = words.transpose(-1, -2) @ features - words.sum(-2)[..., None] * centres
    if not normalise:
        return sums
    sums = F.normalize(sums, dim=-1)
    return F.normalize(sums.flatten(-2), dim=-1).reshape(sums.shape)
