"""Write a trained network for other runtimes: ONNX, OpenVINO, or PyTorch's exported program.

The exported network takes uint8 RGB frames, or flow in pixels, normalises them, and returns the scores of views. The
folder can be read by `praxiscope.deploy`, without torch.

Axis letters: B views, S snippets of a view, n frames, C channels, H rows, W columns, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from praxiscope._version import __version__
from praxiscope.checkpoint import InputContract
from praxiscope.deploy.description import Description
from praxiscope.deploy.flow import flow_problem
from praxiscope.deploy.joins import find_join
from praxiscope.errors import ArgumentError
from praxiscope.evaluation.protocols import Protocol, parse_protocol
from praxiscope.inference.graphs import CLOSE, FORMATS, Graph, write_any_number, write_graph
from praxiscope.inference.recogniser import Recogniser
from praxiscope.models.contract import LearnsFromFeatures
from praxiscope.models.in_parts import ExportsInParts, PartsToExport
from praxiscope.video.colour import flow_levels

__all__ = ["FORMATS", "check_exportable", "describe", "export_network"]


class Normalised(nn.Module):
    """The normalisation of one stream: uint8 RGB frames or flow in pixels, [B, S, C, H, W].

    Args:
        contract: of the network.
        stream: "rgb" or "flow".
    """

    gain: Tensor
    offset: Tensor

    def __init__(self, contract: InputContract, stream: str) -> None:
        super().__init__()
        self.image = stream == "flow" and contract.flow_is_image
        own = (contract.mean, contract.std) if stream == "rgb" else (contract.flow_mean, contract.flow_std)
        repeats = contract.stream_channels[stream] // len(own[0])
        mean, std = (torch.tensor(value).double().repeat(repeats)[:, None, None] for value in own)
        unit = 255 if stream == "rgb" or self.image else 1
        self.register_buffer("gain", (1 / (unit * std)).float())
        self.register_buffer("offset", (-mean / std).float())

    def forward(self, x: Tensor) -> Tensor:
        if not self.image:
            return x.float() * self.gain + self.offset
        seen = flow_levels(x) * self.gain[:2] + self.offset[:2]
        return torch.cat([seen, torch.zeros_like(seen[..., :1, :, :])], -3)  # see `normalise_flow_image`


class StreamNetwork(nn.Module):
    """The normalisation of the streams of a network, and what follows."""

    def __init__(self, network: Recogniser, inner: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model = network.model.float().cpu().eval()
        self._inner = inner
        self.normalised = nn.ModuleList(Normalised(network.card.input, name) for name in network.streams)

    def forward(self, *inputs: Tensor) -> Tensor:
        seen = (normalise(x) for normalise, x in zip(self.normalised, inputs, strict=True))
        return self._inner(*seen)


class Head(nn.Module):
    """What a model does with the features of frames, [B, S, ...]: to scores before softmax, [B, K]."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> Tensor:
        logits: Tensor = self.model.score(*inputs).logits
        return logits


@dataclass(frozen=True)
class _Written:
    """What was written of a network: the files, and what `Description` says of them."""

    file: str
    snippets: int | None
    difference: float
    frames: str = ""
    join: str = "together"
    settings: Mapping[str, Any] = field(default_factory=dict)


def describe(network: Recogniser, protocol: Protocol, made: _Written) -> Description:
    """The description of an exported network."""
    card = network.card
    return Description(
        model=card.name,
        file=made.file,
        frames=made.frames,
        labels=card.labels,
        multi_label=card.multi_label,
        calibration=card.calibration,
        size=card.input.size,
        short_side=card.input.short_side,
        length=card.input.length if card.input.flow is None else 1,
        protocol=protocol.name,
        average=protocol.average,
        together=network.seen_together(protocol),
        all_frames=network.sees.all_frames,
        windows=network.takes_windows,
        snippets=made.snippets,
        fps=card.input.fps,
        max_seconds=card.input.max_seconds,
        streams=network.streams,
        flow={} if card.input.flow is None else asdict(card.input.flow),
        join=made.join,
        settings=made.settings,
        versions={"praxiscope": __version__, "torch": str(torch.__version__)},
    )


def check_exportable(network: Recogniser, protocol: Protocol) -> None:
    """Raise ArgumentError for a network that cannot be exported."""
    problem, flow = "", network.card.input.flow
    if not set(network.streams) <= {"rgb", "flow"}:
        problem = f"takes {network.stream}, and only networks of RGB frames and flow can be exported"
    elif network.sees.all_frames and not isinstance(network.model, ExportsInParts):
        problem = "takes all frames of a video at once"
    elif flow is not None and (found := flow_problem(asdict(flow))):
        problem = found
    elif protocol.crops not in ("center", "full", "full-mirrored") or protocol.sampling == "random":
        problem = (
            f"was asked for protocol {protocol.name}, and only crops at the centre and whole frames are run"
        )
    if problem:
        raise ArgumentError(f"cannot be exported: it {problem}. Predict with the run itself.")


def export_network(
    network: Recogniser, folder: Path, to: str = "onnx", protocol: str | None = None
) -> tuple[Description, float]:
    """Write a network into an existing folder.

    Args:
        network: of RGB frames, of flow, or of both.
        folder: where the file is written.
        to: one of `FORMATS`.
        protocol: views by which videos are predicted; None: the default of the model.

    Returns:
        The description, and the largest difference of scores on random frames, relative to the largest score.

    Raises:
        ArgumentError: the network cannot be exported, or a library is missing.
    """
    chosen = parse_protocol(protocol or network.default_protocol())
    check_exportable(network, chosen)
    together, model = network.seen_together(chosen), network.model
    if isinstance(model, ExportsInParts):
        made = _in_parts(network, model.parts_to_export(), folder, to, chosen)
    elif isinstance(model, LearnsFromFeatures) and together != 1:
        # Frames one by one, then all of a view: a long video needs little memory.
        parts = PartsToExport("together", model.features, Head(model), snippets=_count(network, chosen))
        made = _in_parts(network, parts, folder, to, chosen)
    else:
        whole = StreamNetwork(network, lambda *streams: model(*streams).logits)
        axes = [[0, 1], [0]] if together is None else [[0]]
        graph = Graph(
            whole, "network", network.streams, ["logits"], _noise(network, chosen), (), _sizes(chosen)
        )
        count, least = _count(network, chosen), network.sees.least
        made = _Written(*write_any_number(graph, folder, to, count, least, axes))
    if made.snippets is not None and chosen.sampling == "all":
        raise ArgumentError(
            f"cannot be exported for protocol {chosen.name}: it takes {made.snippets} "
            "snippets only. Export it for another --protocol."
        )
    return describe(network, chosen, made), made.difference


def _in_parts(
    network: Recogniser, parts: PartsToExport, folder: Path, to: str, protocol: Protocol
) -> _Written:
    """Write the network of single frames, and what follows."""
    noise, sizes = _noise(network, protocol), _sizes(protocol)
    each = StreamNetwork(network, parts.first)
    counts = [(2, 1), (5, 1), (1, 1)]
    first = Graph(each, "frames", network.streams, ["features"], noise, counts, [0, *sizes])
    frames, largest = write_graph(first, folder, to)
    if not largest < CLOSE:
        raise ArgumentError(
            f"cannot be exported to {to}: the features differ by {largest:.2g} from PyTorch's."
        )

    @torch.no_grad()
    def features(batch: int, snippets: int) -> Tensor:
        found = each(*noise(batch * snippets, 1))
        return found.unflatten(0, (batch, snippets)).flatten(1, 2)

    settings = dict(parts.settings)
    if parts.state:
        settings["state"] = {
            name: {"shape": list(x.shape), "value": float(x.flatten()[0])} for name, x in parts.state.items()
        }

    @torch.no_grad()
    def given(batch: int, snippets: int) -> tuple[Tensor, ...]:
        """Features, and the state after some frames."""
        state: tuple[Tensor, ...] = tuple(parts.state.values())
        for _ in range(batch if state else 0):
            state = parts.last(features(1, 1), *state)[1:]
        return features(1 if state else batch, snippets), *state

    outputs = find_join(parts.join).outputs(settings)
    inputs = ["features", *parts.state]
    # The features of maps of any size have axes of any length.
    graph = Graph(parts.last, "network", inputs, outputs, given, (), sizes if network.sees.all_frames else [])
    if parts.state:
        file, found = write_graph(graph._replace(counts=[(1, 1), (2, 1), (5, 1)]), folder, to)
        snippets = None
        if not found < CLOSE:
            raise ArgumentError(
                f"cannot be exported to {to}: the result differs by {found:.2g} from PyTorch's."
            )
    else:
        free = network.seen_together(protocol) is None or network.sees.all_frames
        attempts = [[1], []] if network.sees.all_frames else [[0, 1], [1], []]
        axes = [one for one in attempts if free or 1 not in one]
        file, snippets, found = write_any_number(graph, folder, to, parts.snippets, network.sees.least, axes)
    return _Written(file, snippets, max(largest, found), frames, parts.join, settings)


def _count(network: Recogniser, protocol: Protocol) -> int:
    """Snippets of a view of a protocol."""
    if protocol.sampling == "all":
        return max(network.card.input.snippets, 2)
    return network.seen_together(protocol) or protocol.temporal_views


def _sizes(protocol: Protocol) -> list[int]:
    """The axes of frames whose length is free."""
    return [] if protocol.crops == "center" else [3, 4]


def _noise(network: Recogniser, protocol: Protocol) -> Callable[[int, int], tuple[Tensor, ...]]:
    """Return a function that makes random inputs of B and S."""
    contract = network.card.input
    sides = (contract.size, contract.size + (32 if _sizes(protocol) else 0))

    def make(batch: int, snippets: int) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(batch + snippets)
        found = []
        for name in network.streams:
            shape = (batch, snippets, contract.read_channels[name], *sides)
            levels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
            found.append(levels if name == "rgb" else (levels.float() - 128) / 8)
        return tuple(found)

    return make
