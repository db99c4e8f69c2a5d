"""Fisher vectors of trajectories, and a linear support vector machine for each class.

H. Wang, C. Schmid, "Action Recognition with Improved Trajectories", ICCV 2013. Each descriptor is reduced by PCA and
encoded by a mixture of Gaussians; the Fisher vectors of all descriptors are concatenated.

Axis letters: n clips, K classes, P values of the Fisher vectors of a clip.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from praxiscope.errors import ArgumentError, unknown_name
from praxiscope.fitting.svm import fit_svm, held_out_decisions, inner_products
from praxiscope.models.contract import FitReport
from praxiscope.models.registered import register_model
from praxiscope.models.sees import Sees
from praxiscope.progress import Reporter
from praxiscope.trajectories.fisher import FisherEncoder, Mixture, Vocabulary, learn_fisher
from praxiscope.trajectories.result import Trajectories
from praxiscope.trajectories.settings import DESCRIPTORS, Extraction

__all__ = ["FisherSvm", "fisher_svm"]


class _Mixture(nn.Module):
    """The tensors of a `praxiscope.trajectories.fisher.Mixture`."""

    def __init__(self, width: int, gaussians: int) -> None:
        super().__init__()
        reduced = width // 2
        values = Mixture(
            torch.zeros(width),
            torch.eye(width, reduced),
            torch.full((gaussians,), 1 / gaussians),
            torch.zeros(gaussians, reduced),
            torch.ones(gaussians, reduced),
        )
        for name, value in values._asdict().items():
            self.register_buffer(name, value)

    def value(self) -> Mixture:
        return Mixture(*(self.get_buffer(name) for name in Mixture._fields))


class FisherSvm(nn.Module):
    """See the file. It scores trajectories, see `praxiscope.models.contract.ScoresTrajectories`.

    Args:
        num_classes: K.
        vocabulary: how the mixtures are learned.
        descriptors: those that are encoded, of `praxiscope.trajectories.settings.DESCRIPTORS`.
        c: cost of the loss of the support vector machines.
        extraction: how the trajectories are extracted.
    """

    sees = Sees("all")

    def __init__(
        self,
        num_classes: int,
        vocabulary: Vocabulary,
        descriptors: Sequence[str],
        c: float,
        extraction: Extraction,
    ) -> None:
        super().__init__()
        if isinstance(descriptors, str) or not isinstance(descriptors, Sequence):
            raise ArgumentError(f"descriptors must be a list such as [hog, hof], got {descriptors!r}")
        if unknown := [name for name in descriptors if name not in DESCRIPTORS]:
            raise unknown_name("descriptor", unknown[0], DESCRIPTORS)
        if not descriptors or len({*descriptors}) < len(descriptors):
            raise ArgumentError(f"descriptors must be one or more, each once, got {list(descriptors)}")
        if not isinstance(c, int | float) or not 0 < c < math.inf:
            raise ArgumentError(f"c must be a number above 0, got {c!r}")
        self.num_classes, self.vocabulary, self.c, self.extraction = num_classes, vocabulary, c, extraction
        sizes = {name: extraction.settings.sizes[name] for name in descriptors}
        self.mixtures = nn.ModuleDict(
            {name: _Mixture(width, vocabulary.gaussians) for name, width in sizes.items()}
        )
        width = sum(2 * vocabulary.gaussians * (width // 2) for width in sizes.values())
        self.svm = nn.Linear(width, num_classes)
        nn.init.zeros_(self.svm.weight)
        nn.init.zeros_(self.svm.bias)

    @property
    def samples(self) -> int:
        """Trajectories of training videos from which `learn` learns."""
        return self.vocabulary.samples

    def learn(self, samples: Trajectories, *, reporter: Reporter | None = None) -> None:
        """Learn PCA and mixtures from trajectories of training videos, in place.

        Raises:
            DataError: they are fewer than the Gaussians.
        """
        names = list(self.mixtures)
        learned = learn_fisher(samples, self.vocabulary, names, reporter=reporter)
        for name, mixture in learned.mixtures.items():
            for part, value in mixture._asdict().items():
                self.mixtures[name].get_buffer(part).copy_(value)

    def describe(self, found: Trajectories) -> Tensor:
        """The Fisher vectors of a clip, float32 [P]; 0 without trajectories."""
        mixtures: dict[str, Any] = dict(self.mixtures.items())
        return FisherEncoder({name: mixture.value() for name, mixture in mixtures.items()})(found)

    def score(self, described: Tensor) -> Tensor:
        """Decision values of clips, [n, P] to [n, K]."""
        scores: Tensor = self.svm(described)
        return scores

    def fit(self, x: Any, targets: Tensor, groups: Sequence[str], seed: int) -> FitReport:
        """Fit the machines; see `praxiscope.models.contract.FitsFeatures.fit`.

        The mixtures, which know no labels, are those of all training clips also for clips that are held out.
        """
        products = inner_products(x)
        held_out = held_out_decisions(products, targets, self.num_classes, self.c, groups, seed)
        fit = fit_svm(products, targets, self.num_classes, self.c)
        with torch.no_grad():
            self.svm.weight.copy_(fit.weight(x))
            self.svm.bias.copy_(fit.bias)
        supporting = int((fit.shares != 0).any(1).sum())
        return FitReport(
            held_out.float(),
            [f"{supporting} of {len(x)} training clips are support vectors."],
            {"support_vectors": float(supporting)},
        )


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
    return FisherSvm(num_classes, Vocabulary(gaussians, samples, seed), descriptors, c, chosen)
