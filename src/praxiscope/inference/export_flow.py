"""Write a network that estimates flow for other runtimes.

N clips, T frames of the network, F flow fields of it, H rows, W columns.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from praxiscope._version import __version__
from praxiscope.checkpoint import InputContract
from praxiscope.deploy.description import FlowDescription
from praxiscope.errors import ArgumentError
from praxiscope.inference.flow_network import STRIDE, LoadedFlow, flow_digest
from praxiscope.inference.graphs import CLOSE, Graph, write_graph

__all__ = ["export_flow"]

_COUNTS = ((2, 2), (1, 1), (3, 3), (1, 8))  # clips, and the size of their frames in strides
_DARK = 8  # levels of large frames, of which small differences count


class _Flow(nn.Module):
    """The normalisation, the network, and its flow in pixels at the resolution of the frames, which are uint8
    [N, T, 3, H, W] with sides that are multiples of the stride."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: Any, contract: InputContract) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(contract.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(contract.std)[:, None, None])

    def forward(self, *inputs: Tensor) -> Tensor:
        (frames,) = inputs
        normalised = (frames.float() / 255 - self.mean) / self.std
        found = self.network.estimate(normalised.flatten(1, 2))[0]
        size, fields = frames.shape[-2:], self.network.frames - 1
        flow = F.interpolate(found[:, :fields].flatten(0, 1), size, mode="bilinear", align_corners=False)
        return flow.reshape(-1, fields, 2, *size) * float(self.network.flow_unit)


def export_flow(loaded: LoadedFlow, name: str, folder: Path, to: str) -> tuple[FlowDescription, float]:
    """Write a network into an existing folder.

    Args:
        loaded: the network.
        name: of its model.
        folder: where the file is written.
        to: one of `praxiscope.inference.graphs.FORMATS`.

    Returns:
        The description, and the largest difference on random frames, relative to the largest flow.

    Raises:
        ArgumentError: it cannot be exported.
    """
    network, together = loaded.model.float().cpu().eval(), int(loaded.model.frames)

    def frames(count: int, sides: int) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(count)
        shape = (count, together, 3, sides * STRIDE, (sides + 1) * STRIDE)
        levels = 256 if sides < 8 else _DARK
        return (torch.randint(0, levels, shape, dtype=torch.uint8, generator=generator),)

    graph = Graph(_Flow(network, loaded.contract), "network", ["rgb"], ["flow"], frames, _COUNTS, [0, 3, 4])
    file, largest = write_graph(graph, folder, to)
    if not largest < CLOSE:
        raise ArgumentError(f"cannot be exported to {to}: the flow differs by {largest:.2g} from PyTorch's.")
    about = FlowDescription(
        model=name,
        file=file,
        together=together,
        stride=STRIDE,
        digest=flow_digest(loaded),
        versions={"praxiscope": __version__, "torch": str(torch.__version__)},
    )
    return about, largest
