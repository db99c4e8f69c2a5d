"""Fisher vectors of trajectories, and a linear support vector machine for each class.

H. Wang, C. Schmid, "Action Recognition with Improved Trajectories", ICCV 2013. Each descriptor is reduced by PCA and
encoded by a mixture of Gaussians; the Fisher vectors of all descriptors are concatenated.

Axis letters: n clips, K classes, P values of the Fisher vectors of a clip.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from praxiscope.errors import ArgumentError, DataError, unknown_name
from praxiscope.layers.codebook import Codebook
from praxiscope.models.contract import FitReport
from praxiscope.models.in_parts import PartsToExport
from praxiscope.models.linear_svm import LinearSvm
from praxiscope.models.registered import register_model
from praxiscope.models.sees import Sees
from praxiscope.progress import Reporter
from praxiscope.trajectories.result import Trajectories
from praxiscope.trajectories.settings import DESCRIPTORS, Extraction

__all__ = ["FisherSvm", "fisher_svm"]


class FisherSvm(nn.Module):
    """See the file. It scores trajectories, see `praxiscope.models.contract.ScoresTrajectories`.

    Args:
        num_classes: K.
        gaussians: of the mixture of each descriptor.
        samples: largest number of trajectories from which PCA and mixtures are learned.
        descriptors: those that are encoded, of `praxiscope.trajectories.settings.DESCRIPTORS`.
        c: cost of the loss of the support vector machines.
        seed: of the sample and the mixtures.
        extraction: how the trajectories are extracted.
    """

    sees = Sees("all")

    def __init__(
        self,
        num_classes: int,
        *,
        gaussians: int,
        samples: int,
        descriptors: Sequence[str],
        c: float,
        seed: int,
        extraction: Extraction,
    ) -> None:
        super().__init__()
        if isinstance(descriptors, str) or not isinstance(descriptors, Sequence):
            raise ArgumentError(f"descriptors must be a list such as [hog, hof], got {descriptors!r}")
        if unknown := [name for name in descriptors if name not in DESCRIPTORS]:
            raise unknown_name("descriptor", unknown[0], DESCRIPTORS)
        if not descriptors or len({*descriptors}) < len(descriptors):
            raise ArgumentError(f"descriptors must be one or more, each once, got {list(descriptors)}")
        for name, value in (("gaussians", gaussians), ("samples", samples)):
            if type(value) is not int or value < 1:
                raise ArgumentError(f"{name} must be a whole number of at least 1, got {value!r}")
        self.num_classes, self.samples, self.seed, self.extraction = num_classes, samples, seed, extraction
        sizes = {name: extraction.settings.sizes[name] for name in descriptors}
        self.mixtures = nn.ModuleDict(
            {name: Codebook(width, width // 2, gaussians) for name, width in sizes.items()}
        )
        self.svm = LinearSvm(sum(book.size for _, book in self._books()), num_classes, c)

    def _books(self) -> Iterator[tuple[str, Any]]:
        yield from self.mixtures.items()

    def learn(self, samples: Trajectories, *, reporter: Reporter | None = None) -> None:
        """Learn PCA and mixtures from trajectories of training videos, in place. Of more than ``samples``, some are
        drawn.

        Raises:
            DataError: they are fewer than the Gaussians, or than the dimensions after PCA.
        """
        gaussians, dims = (max(getattr(book, of) for _, book in self._books()) for of in ("words", "dims"))
        if min(len(samples), self.samples) < max(gaussians, dims):
            raise DataError(
                f"{min(len(samples), self.samples)} trajectories are too few for {gaussians} Gaussians in {dims} "
                "dimensions. Use more or longer videos, or more samples."
            )
        if len(samples) > self.samples:
            drawn = np.random.default_rng(self.seed).permutation(len(samples))[: self.samples]
            samples = samples.take(np.sort(drawn))
        with (reporter or Reporter()).bar("mixtures", len(self.mixtures)) as bar:
            for name, book in self._books():
                book.learn(torch.from_numpy(getattr(samples, name)), seed=self.seed)
                bar.advance()

    def describe(self, found: Trajectories) -> Tensor:
        """The Fisher vectors of a clip, float32 [P]; 0 without trajectories."""
        return torch.cat([book(torch.from_numpy(getattr(found, name))) for name, book in self._books()])

    def score(self, described: Tensor) -> Tensor:
        """Decision values of clips, [n, P] to [n, K]."""
        scores: Tensor = self.svm(described)
        return scores

    def parts_to_export(self) -> PartsToExport:
        """The sums over trajectories, [n, D] of each descriptor to [1, P'], and their scores, [1, P'] to [1, K]; see
        `praxiscope.models.in_parts.ExportsInParts`."""
        books = [book for _, book in self._books()]
        sums = TrajectorySums(books)
        settings = {"descriptors": list(self.mixtures), "size": sum(sums.sizes)}
        return PartsToExport("sums", sums, SumsScored(books, self.svm), settings=settings)

    def fit(self, x: Any, targets: Tensor, groups: Sequence[str], seed: int) -> FitReport:
        """Fit the machines; see `praxiscope.models.contract.FitsFeatures.fit`."""
        return self.svm.fit(x, targets, groups, seed)


class TrajectorySums(nn.Module):
    """The number of some trajectories, and the sums over them of which Fisher vectors are made, one after the other,
    float64 [1, size]. Those of parts of a video add up.

    Args:
        books: the codebooks of the descriptors.
    """

    def __init__(self, books: Iterable[Codebook]) -> None:
        super().__init__()
        self.books = nn.ModuleList(books)

    @property
    def sizes(self) -> list[int]:
        """Values of the count, and of the sums of each descriptor."""
        return _sizes(_books(self.books))

    def forward(self, *rows: Tensor) -> Tensor:
        """Descriptors of the same n trajectories, [n, D] each."""
        sums = [book.moments(x).flatten() for book, x in zip(_books(self.books), rows, strict=True)]
        return torch.cat([rows[0].new_ones(len(rows[0]), dtype=torch.float64).sum()[None], *sums])[None]


class SumsScored(nn.Module):
    """Decision values, [1, K], of what `TrajectorySums` returns; those of the vector 0 without trajectories."""

    def __init__(self, books: Iterable[Codebook], svm: LinearSvm) -> None:
        super().__init__()
        self.books, self.svm = nn.ModuleList(books), svm

    def forward(self, *inputs: Tensor) -> Tensor:
        """See the class."""
        (sums,) = inputs
        books = _books(self.books)
        count, *parts = torch.split(sums[0], _sizes(books))
        made = [
            book.from_moments(part.reshape(book.words, -1), count.clamp(min=1))
            for book, part in zip(books, parts, strict=True)
        ]
        scores: Tensor = self.svm(torch.cat(made)[None])
        return scores


def _sizes(books: Sequence[Codebook]) -> list[int]:
    return [1, *(book.words * (1 + 2 * book.dims) for book in books)]


def _books(found: Iterable[Any]) -> list[Codebook]:
    return list(found)


@register_model("fisher-svm", learns="trajectories")
def fisher_svm(
    *,
    num_classes: int,
    gaussians: int = 256,
    samples: int = 256000,
    descriptors: Sequence[str] = ("track", "hog", "hof", "mbhx", "mbhy"),
    c: float = 100.0,
    seed: int = 0,
    extraction: Mapping[str, Any] | None = None,
) -> FisherSvm:
    """Build the Fisher vectors and support vector machines of trajectories.

    Args:
        num_classes: K.
        gaussians: of the mixture of each descriptor.
        samples: trajectories from which the mixtures are learned.
        descriptors: those that are encoded: track (the shape), hog, hof, mbhx, mbhy.
        c: cost of the loss of the support vector machines.
        seed: of the sample and the mixtures.
        extraction: content of `praxiscope.trajectories.settings.Extraction`; that of the stored trajectories in a run.
            None: the defaults.
    """
    try:
        chosen = Extraction() if extraction is None else Extraction.from_dict(extraction)
    except (TypeError, KeyError) as error:
        raise ArgumentError(f"extraction: {error}") from None
    return FisherSvm(
        num_classes,
        gaussians=gaussians,
        samples=samples,
        descriptors=descriptors,
        c=c,
        seed=seed,
        extraction=chosen,
    )
