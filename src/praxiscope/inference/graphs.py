"""Networks as files for other runtimes: ONNX, OpenVINO, or PyTorch's exported program.

B views, S snippets of a view.
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

from praxiscope.deploy.runtimes import PROGRAM, Outputs, open_outputs
from praxiscope.errors import ArgumentError

__all__ = ["CLOSE", "FORMATS", "Graph", "opened", "write_any_number", "write_graph"]

CLOSE = 1e-3
"""Relative difference from which a number of snippets counts as one that a network does not take."""


class Graph(NamedTuple):
    """A part of a network that becomes one file.

    module: its ``forward(*inputs)`` returns a tensor, or a tuple of them.
    name: of the file, without its suffix.
    inputs, outputs: their names.
    make: inputs of B and S.
    counts: pairs of B and S; the first is the example of the export, all are compared.
    free: axes whose length is free, of the inputs that have so many.
    """

    module: nn.Module
    name: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    make: Callable[[int, int], tuple[Tensor, ...]]
    counts: Sequence[tuple[int, int]]
    free: Sequence[int]


def write_any_number(
    graph: Graph, folder: Path, to: str, count: int, least: int, attempts: Sequence[Sequence[int]]
) -> tuple[str, int | None, float]:
    """Write the part that returns scores: for any number of snippets if it can be, otherwise for ``count``.

    Args:
        graph: ``free`` holds axes that are free in any case.
        folder, to: see `write_graph`.
        count: number of snippets.
        least: the fewest.
        attempts: which of the axes 0, views, and 1, snippets, are tried as free ones, one attempt after the other.

    Returns:
        The file, the number of snippets if it is fixed, and the difference.

    Raises:
        ArgumentError: it cannot be written.
    """
    # Layers that divide the snippets into windows may have been exported for this many windows only.
    numbers = [count, 2 * count, max(least, count // 2), least]
    found = math.inf
    for axes in attempts:
        batches = (2, 3, 1, 1) if 0 in axes else (1, 1, 1, 1)
        counts = list(zip(batches, numbers if 1 in axes else [count] * 4, strict=True))
        try:
            file, found = write_graph(graph._replace(counts=counts, free=[*axes, *graph.free]), folder, to)
        except ArgumentError:
            # A loop over the frames is not unrolled: it would take minutes and make a large file.
            if axes in (attempts[-1], [1]):
                raise
            continue
        if found < CLOSE:
            return file, None if 1 in axes else count, found
    raise ArgumentError(f"cannot be exported to {to}: the result differs by {found:.2g} from PyTorch's.")


def write_graph(graph: Graph, folder: Path, to: str) -> tuple[str, float]:
    """Write a part, and compare it.

    Args:
        graph: the part.
        folder: an existing one.
        to: a name in `FORMATS`.

    Returns:
        The file, and the largest difference of an output, relative to its largest value; infinite if one of the two
        does not take one of the inputs.

    Raises:
        ArgumentError: it cannot be written.
    """
    try:
        file = FORMATS[to](graph, graph.make(*graph.counts[0]), folder)
        run = opened(folder / file, graph.outputs)
    except Exception as error:  # of several libraries, each with its own exceptions
        raise ArgumentError(
            f"cannot be exported to {to}: PyTorch's exporter does not follow what makes its {graph.outputs[0]} "
            f"({type(error).__name__}). Predict with the run itself."
        ) from error
    largest = 0.0
    for batch, snippets in graph.counts:
        given = graph.make(batch, snippets)
        try:
            with torch.inference_mode():
                made = graph.module(*given)
            expected = [x.numpy() for x in (made if isinstance(made, tuple) else (made,))]
            found = run(dict(zip(graph.inputs, (x.numpy() for x in given), strict=True)))
        except Exception:
            return file, math.inf
        for wanted, x in zip(expected, found, strict=True):
            largest = max(largest, float(np.abs(x - wanted).max() / max(np.abs(wanted).max(), 1e-6)))
    return file, largest


def opened(path: Path, outputs: Sequence[str] = ("logits",)) -> Outputs:
    """A written network, ready to run."""
    if path.suffix != PROGRAM:
        return open_outputs(path, outputs)
    program = torch.export.load(path).module()

    def run(inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[np.float32]]:
        with torch.inference_mode():
            found = program(*(torch.from_numpy(given) for given in inputs.values()))
        return [x.numpy() for x in (found if isinstance(found, tuple) else (found,))]

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


def _program(graph: Graph, example: tuple[Tensor, ...]) -> Any:
    free = [{axis: torch.export.Dim.DYNAMIC for axis in graph.free if axis < x.ndim} for x in example]
    with _silent():
        return torch.onnx.export(
            graph.module,
            example,
            dynamo=True,
            dynamic_shapes=(tuple(free),),  # modules take ``*inputs``
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            verbose=False,
        )


def _to_onnx(graph: Graph, example: tuple[Tensor, ...], folder: Path) -> str:
    file = f"{graph.name}.onnx"
    _program(graph, example).save(folder / file)
    return file


def _to_openvino(graph: Graph, example: tuple[Tensor, ...], folder: Path) -> str:
    import openvino

    file = f"{graph.name}.xml"
    with TemporaryDirectory() as scratch:
        made = openvino.convert_model(Path(scratch) / _to_onnx(graph, example, Path(scratch)))
        openvino.save_model(made, folder / file, compress_to_fp16=False)
    return file


def _to_program(graph: Graph, example: tuple[Tensor, ...], folder: Path) -> str:
    # The exporter of ONNX keeps the batch free where torch.export.export alone takes that of the example.
    file = f"{graph.name}{PROGRAM}"
    torch.export.save(_program(graph, example).exported_program, folder / file)
    return file


FORMATS: Mapping[str, Callable[[Graph, tuple[Tensor, ...], Path], str]] = {
    "onnx": _to_onnx,
    "openvino": _to_openvino,
    "pt2": _to_program,
}
"""What writes a part of a network in a format, and returns the name of the file."""
