"""Learn an encoder: the vocabulary by k-means, then PCA with whitening of the VLADs of training images.

Neither should be learned from queries. Axis letters: n frames, d dimensions of a local feature, P of a VLAD.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from praxiscope.errors import ArgumentError, DataError
from praxiscope.progress import Reporter
from praxiscope.retrieval.encoder import Encoder, LocalFeatures, Projection
from praxiscope.retrieval.parts import Part

__all__ = ["Learning", "learn_encoder", "learn_projection", "learn_words"]

_BYTES = 1 << 29  # of the VLADs from which PCA is learned


@dataclass(frozen=True)
class Learning:
    """How an encoder is learned.

    Attributes:
        words: k of the vocabulary of each part. 100 in the paper.
        dims: of the result, by PCA. 128 in the paper; 0: no PCA.
        whiten: divide by the standard deviation along each axis, as in the paper. It needs many more different images
            than dimensions: with few, all of them are equally far from each other afterwards.
        samples: local features from which a vocabulary is learned.
        seed: of the drawing of features, of k-means and of PCA.

    Raises:
        ArgumentError: a number that cannot be used.
    """

    words: int = 100
    dims: int = 128
    whiten: bool = True
    samples: int = 100_000
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("words", 1), ("dims", 0), ("samples", 1)):
            if getattr(self, name) < least:
                raise ArgumentError(f"{name} must be at least {least}, got {getattr(self, name)}")


def learn_encoder(
    features: LocalFeatures,
    local: Callable[[], Iterable[Sequence[Tensor]]],
    count: int,
    learning: Learning = Learning(),
    *,
    learned_from: str = "",
    reporter: Reporter | None = None,
) -> Encoder:
    """Learn a vocabulary for each part, and a projection for all together.

    Args:
        features: of frames.
        local: starts a pass over the local features of the training frames, a few frames at a time, as ``features``
            returns them; two passes are made.
        count: number of training frames.
        learning: sizes and seed.
        learned_from: name of the training set.
        reporter: shows progress.

    Raises:
        DataError: too few training frames or local features.
    """
    reporter = reporter or Reporter()
    words = learn_words(_counted(local(), count, "vocabulary", reporter), features.parts, count, learning)
    encoder = Encoder(features, words, learned_from=learned_from)
    if not learning.dims:
        return encoder
    _check_dims(encoder.dims, learning)
    if count <= learning.dims:
        raise DataError(
            f"{learned_from or 'the training set'}: {count} frames are too few to learn {learning.dims} dimensions "
            "from. Use more frames or fewer dimensions (--dims)."
        )
    most = max(learning.dims + 1, _BYTES // (4 * encoder.dims))
    keep = np.random.default_rng(learning.seed).permutation(count) < most
    rows, first = [], 0
    for parts in _counted(local(), count, "PCA", reporter):
        chosen = torch.from_numpy(keep[first : first + len(parts[0])])
        first += len(chosen)
        if bool(chosen.any()):
            rows.append(encoder.finish(encoder.sums_of([part[chosen.to(part.device)] for part in parts])))
    return replace(encoder, projection=learn_projection(torch.cat(rows), learning))


def _counted(
    local: Iterable[Sequence[Tensor]], count: int, name: str, reporter: Reporter
) -> Iterator[Sequence[Tensor]]:
    with reporter.bar(name, count) as bar:
        for parts in local:
            yield parts
            bar.advance(len(parts[0]))


def learn_words(
    local: Iterable[Sequence[Tensor]], parts: Sequence[Part], count: int, learning: Learning = Learning()
) -> tuple[Tensor, ...]:
    """Learn a vocabulary for each part by mini-batch k-means, from as many local features of each frame.

    Args:
        local: local features, a few frames at a time: for each part float32 [n, positions, d].
        parts: their names, for messages.
        count: number of frames.
        learning: sizes and seed.

    Returns:
        For each part float32 [k, d].

    Raises:
        DataError: fewer local features than words.
    """
    from sklearn.cluster import MiniBatchKMeans

    each = -(-learning.samples // count)
    draw = torch.Generator().manual_seed(learning.seed)
    drawn: list[list[Tensor]] = [[] for _ in parts]
    for some in local:
        for kept, one in zip(drawn, some, strict=True):
            for rows in one.cpu():
                kept.append(rows[torch.randperm(len(rows), generator=draw)[:each]])
    found = []
    for part, kept in zip(parts, drawn, strict=True):
        rows = torch.cat(kept)
        rows = rows[rows.any(1)]
        if len(rows) < learning.words:
            raise DataError(f"{part}: {len(rows)} local features are too few for {learning.words} words")
        means = MiniBatchKMeans(learning.words, batch_size=4096, n_init=3, random_state=learning.seed).fit(
            rows.numpy()
        )
        found.append(torch.from_numpy(means.cluster_centers_.astype(np.float32)))
    return tuple(found)


def _check_dims(numbers: int, learning: Learning) -> None:
    if numbers < learning.dims:
        raise DataError(
            f"VLADs of {numbers} numbers cannot be reduced to {learning.dims} dimensions. Use fewer (--dims), "
            "more words, or 0 for no PCA."
        )


def learn_projection(rows: Tensor, learning: Learning = Learning()) -> Projection:
    """PCA, with or without whitening.

    Args:
        rows: VLADs of training images, float32 [n, P].
        learning: dimensions, whitening and seed.

    Raises:
        DataError: not more rows than dimensions, or fewer numbers in a row.
    """
    from sklearn.decomposition import PCA

    _check_dims(rows.shape[1], learning)
    if len(rows) <= learning.dims:
        raise DataError(f"{len(rows)} training images are too few for {learning.dims} dimensions")
    found = PCA(learning.dims, svd_solver="randomized", random_state=learning.seed).fit(rows.numpy())
    scale = (
        np.sqrt(np.maximum(found.explained_variance_, 1e-12)) if learning.whiten else np.ones(learning.dims)
    )
    axes = (found.components_ / scale[:, None]).T
    return Projection(
        torch.from_numpy(found.mean_.astype(np.float32)),
        torch.from_numpy(axes.astype(np.float32)).contiguous(),
    )
