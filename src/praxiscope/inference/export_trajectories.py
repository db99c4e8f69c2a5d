"""Write the encoder of trajectories of a recogniser for other runtimes.

n trajectories, K classes.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from praxiscope._version import __version__
from praxiscope.deploy.description import TrajectoryDescription
from praxiscope.errors import ArgumentError
from praxiscope.inference.graphs import CLOSE, Graph, write_graph
from praxiscope.inference.trajectories import TrajectoryRecogniser
from praxiscope.models.in_parts import ExportsInParts

__all__ = ["export_trajectories"]

_COUNTS = ((7, 1), (300, 1), (1, 1))


def export_trajectories(
    recogniser: TrajectoryRecogniser, folder: Path, to: str
) -> tuple[TrajectoryDescription, float]:
    """Write a recogniser of trajectories into an existing folder: a part that takes the descriptors of n trajectories,
    and one that takes their sums.

    Args:
        recogniser: its model has the interface `ExportsInParts`.
        folder: where the files are written.
        to: one of `praxiscope.inference.graphs.FORMATS`.

    Returns:
        The description, and the largest difference of scores on random descriptors, relative to the largest score.

    Raises:
        ArgumentError: it cannot be exported.
    """
    model, card, extraction = recogniser.model, recogniser.card, recogniser.model.extraction
    if not isinstance(model, ExportsInParts):
        raise ArgumentError("cannot be exported: its model does not say how. Predict with the run itself.")
    parts = model.parts_to_export()
    first = parts.first
    assert isinstance(first, torch.nn.Module)
    settings = dict(parts.settings)
    names, sizes = tuple(settings.pop("descriptors")), extraction.settings.sizes

    def descriptors(count: int, _: int) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(count)
        return tuple(torch.rand(count, sizes[name], generator=generator) / 10 for name in names)

    @torch.no_grad()
    def sums(count: int, _: int) -> tuple[Tensor, ...]:
        return (first(*descriptors(count, 1)),)

    frames, one = write_graph(
        Graph(first.eval(), "frames", names, ["features"], descriptors, _COUNTS, [0]), folder, to
    )
    last = Graph(parts.last.eval(), "network", ["features"], ["logits"], sums, _COUNTS, [])
    file, other = write_graph(last, folder, to)
    largest = max(one, other)
    if not largest < CLOSE:
        raise ArgumentError(
            f"cannot be exported to {to}: the result differs by {largest:.2g} from PyTorch's."
        )
    about = TrajectoryDescription(
        model=card.name,
        file=file,
        frames=frames,
        labels=card.labels,
        multi_label=card.multi_label,
        calibration=card.calibration,
        descriptors=names,
        extraction=extraction.to_dict(),
        join=parts.join,
        settings=settings,
        versions={"praxiscope": __version__, "torch": str(torch.__version__)},
    )
    return about, largest
