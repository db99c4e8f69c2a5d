"""Write a trained network for other runtimes: ONNX, OpenVINO, or PyTorch's exported program.

The exported network takes uint8 RGB frames, normalises them, and returns the scores of views. The folder can be read by
`praxiscope.deploy`, without torch.

Axis letters: B views, S snippets of a view, C channels, H rows, W columns, K classes.
"""

from __future__ import annotations

import io
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from praxiscope._version import __version__
from praxiscope.deploy.description import Description
from praxiscope.deploy.runtimes import PROGRAM, Runtime, open_network
from praxiscope.errors import ArgumentError
from praxiscope.evaluation.protocols import Protocol, parse_protocol
from praxiscope.inference.recogniser import Recogniser
from praxiscope.models.contract import LearnsFromFeatures

__all__ = ["FORMATS", "check_exportable", "describe", "export_network", "opened"]

_CLOSE = (
    1e-3  # relative difference from which a number of snippets counts as one that the network does not take
)


class FrameNetwork(nn.Module):
    """The normalisation of frames, and what follows: uint8 [B, S, C, H, W] to the output of ``inner``."""

    gain: Tensor
    offset: Tensor

    def __init__(self, network: Recogniser, inner: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        contract = network.card.input
        self.model = network.model.float().cpu().eval()
        self._inner = inner
        repeats = contract.channels // len(contract.mean)
        mean, std = (torch.tensor(value).double().repeat(repeats) for value in (contract.mean, contract.std))
        self.register_buffer("gain", (1 / (255 * std)).float()[:, None, None])
        self.register_buffer("offset", (-mean / std).float()[:, None, None])

    def forward(self, rgb: Tensor) -> Tensor:
        return self._inner(rgb.float() * self.gain + self.offset)


class Head(nn.Module):
    """What a model does with the features of frames, [B, S, ...]: to scores before softmax, [B, K]."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.model.score(features).logits
        return logits


class Graph(NamedTuple):
    """A part of a network that becomes one file.

    module: takes one tensor and returns one.
    name: of the file, without its suffix.
    input, output: their names.
    make: an input of B and S.
    counts: pairs of B and S; the first is the example of the export, all are compared.
    free: axes of the input whose length is free.
    """

    module: nn.Module
    name: str
    input: str
    output: str
    make: Callable[[int, int], Tensor]
    counts: Sequence[tuple[int, int]]
    free: Sequence[int]


def describe(
    network: Recogniser, protocol: Protocol, file: str, frames: str, snippets: int | None
) -> Description:
    """The description of an exported network."""
    card = network.card
    return Description(
        model=card.name,
        file=file,
        frames=frames,
        labels=card.labels,
        multi_label=card.multi_label,
        calibration=card.calibration,
        size=card.input.size,
        short_side=card.input.short_side,
        length=card.input.length,
        protocol=protocol.name,
        average=protocol.average,
        together=network.seen_together(protocol),
        windows=network.takes_windows,
        snippets=snippets,
        fps=card.input.fps,
        max_seconds=card.input.max_seconds,
        versions={"praxiscope": __version__, "torch": str(torch.__version__)},
    )


def check_exportable(network: Recogniser, protocol: Protocol) -> None:
    """Raise ArgumentError for a network that cannot be exported yet."""
    problem = ""
    if network.streams != ("rgb",):
        problem = f"takes {network.stream}, and only networks of RGB frames can be exported"
    elif network.sees.all_frames:
        problem = "takes all frames of a video at once"
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
        network: of RGB frames.
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
    together, whole = network.seen_together(chosen), chosen.crops != "center"
    count = together or chosen.temporal_views
    if chosen.sampling == "all":
        count = max(network.card.input.snippets, 2)
    size, channels = network.card.input.size, network.card.input.channels
    sides = (size, size + 32) if whole else (size, size)

    def frames(batch: int, snippets: int) -> Tensor:
        generator = torch.Generator().manual_seed(batch + snippets)
        shape = (batch, snippets, channels, *sides)
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)

    largest, model, sizes = 0.0, network.model, [3, 4] if whole else []
    if not isinstance(model, LearnsFromFeatures) or together == 1:
        logits = FrameNetwork(network, lambda x: model(x).logits)
        last = Graph(logits, "network", "rgb", "logits", frames, (), sizes)
        frames_file = ""
    else:  # frames one by one, then all of a view: a long video needs little memory
        each = FrameNetwork(network, model.features)
        first = Graph(each, "frames", "rgb", "features", frames, [(2, 1), (5, 1), (1, 1)], [0, *sizes])
        frames_file, largest = _written(first, folder, to)
        if not largest < _CLOSE:
            raise ArgumentError(
                f"cannot be exported to {to}: the features differ by {largest:.2g} from PyTorch's."
            )

        def features(batch: int, snippets: int) -> Tensor:
            with torch.no_grad():
                return each(frames(batch * snippets, 1)).unflatten(0, (batch, snippets)).flatten(1, 2)

        last = Graph(Head(model), "network", "features", "logits", features, (), [])
    file, snippets, found = _last(last, folder, to, count, network.sees.least, free=together is None)
    if snippets is not None and chosen.sampling == "all":
        raise ArgumentError(
            f"cannot be exported for protocol {chosen.name}: it takes {snippets} "
            "snippets only. Export it for another --protocol."
        )
    return describe(network, chosen, file, frames_file, snippets), max(largest, found)


def _last(
    graph: Graph, folder: Path, to: str, count: int, least: int, *, free: bool
) -> tuple[str, int | None, float]:
    """Write the part that returns scores: for any number of snippets if it can be, otherwise for ``count``. Returns
    the file, the number of snippets if it is fixed, and the difference."""
    # Layers that divide the snippets into windows may have been exported for this many windows only.
    numbers = [count, 2 * count, max(least, count // 2), least]
    attempts = [[0, 1], [1], []] if graph.input == "features" else [[0, 1], [0]]
    tried = [axes for axes in attempts if free or 1 not in axes]
    for axes in tried:
        batches = (2, 3, 1, 1) if 0 in axes else (1, 1, 1, 1)  # features are given one view at a time
        counts = list(zip(batches, numbers if 1 in axes else [count] * 4, strict=True))
        try:
            file, found = _written(graph._replace(counts=counts, free=[*axes, *graph.free]), folder, to)
        except ArgumentError:
            # A loop over the frames is not unrolled: it would take minutes and make a large file.
            if axes in (tried[-1], [1]):
                raise
            continue
        if found < _CLOSE:
            return file, None if 1 in axes else count, found
    raise ArgumentError(f"cannot be exported to {to}: the result differs by {found:.2g} from PyTorch's.")


def _written(graph: Graph, folder: Path, to: str) -> tuple[str, float]:
    """Write a part, and compare it. Returns the file, and the largest difference relative to the largest output;
    infinite if one of the two does not take one of the inputs.

    Raises:
        ArgumentError: it cannot be written.
    """
    try:
        file = FORMATS[to](graph, graph.make(*graph.counts[0]), folder)
        run = opened(folder / file, graph.output)
    except Exception as error:  # of several libraries, each with its own exceptions
        raise ArgumentError(
            f"cannot be exported to {to}: PyTorch's exporter does not follow what makes its {graph.output} "
            f"({type(error).__name__}). Predict with the run itself."
        ) from error
    largest = 0.0
    for batch, snippets in graph.counts:
        given = graph.make(batch, snippets)
        try:
            with torch.inference_mode():
                expected = graph.module(given).numpy()
            found = run({graph.input: given.numpy()})
        except Exception:
            return file, math.inf
        largest = max(largest, float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-6)))
    return file, largest


def opened(path: Path, output: str = "logits") -> Runtime:
    """A written network, ready to run."""
    if path.suffix != PROGRAM:
        return open_network(path, output)
    program = torch.export.load(path).module()

    def run(inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        (given,) = inputs.values()
        with torch.inference_mode():
            found: NDArray[np.float32] = program(torch.from_numpy(given)).numpy()
            return found

    return run


@contextmanager
def _silent() -> Iterator[None]:
    """Without the progress and the warnings of the exporter."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        known = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(known)


def _program(graph: Graph, example: Tensor) -> Any:
    with _silent():
        return torch.onnx.export(
            graph.module,
            (example,),
            dynamo=True,
            dynamic_shapes=(dict.fromkeys(graph.free, torch.export.Dim.DYNAMIC),),
            input_names=[graph.input],
            output_names=[graph.output],
            verbose=False,
        )


def _to_onnx(graph: Graph, example: Tensor, folder: Path) -> str:
    file = f"{graph.name}.onnx"
    _program(graph, example).save(folder / file)
    return file


def _to_openvino(graph: Graph, example: Tensor, folder: Path) -> str:
    import openvino

    file = f"{graph.name}.xml"
    with TemporaryDirectory() as scratch:
        made = openvino.convert_model(Path(scratch) / _to_onnx(graph, example, Path(scratch)))
        openvino.save_model(made, folder / file, compress_to_fp16=False)
    return file


def _to_program(graph: Graph, example: Tensor, folder: Path) -> str:
    # The exporter of ONNX keeps the batch free where torch.export.export alone takes that of the example.
    file = f"{graph.name}{PROGRAM}"
    torch.export.save(_program(graph, example).exported_program, folder / file)
    return file


FORMATS: Mapping[str, Callable[[Graph, Tensor, Path], str]] = {
    "onnx": _to_onnx,
    "openvino": _to_openvino,
    "pt2": _to_program,
}
"""What writes a part of a network in a format, and returns the name of the file."""
