"""Libraries that run exported networks, by name.

A runtime is a class that is registered here; its object is called with arrays by the names of the network's inputs.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from praxiscope.errors import ArgumentError, CheckpointError, unknown_name

__all__ = ["PROGRAM", "RUNTIMES", "Outputs", "Runtime", "find_runtime", "open_network", "open_outputs"]


class Runtime(Protocol):
    """A network that is ready to run."""

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """The output for inputs by name."""
        ...


class Outputs(Protocol):
    """A network of several outputs that is ready to run."""

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[np.float32]]:
        """The outputs for inputs by name, in the order in which they were asked for."""
        ...


def _onnxruntime(path: Path, outputs: Sequence[str], threads: int) -> Outputs:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised
    if threads:
        options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        str(path), options, providers=onnxruntime.get_available_providers()
    )

    names = list(outputs)
    return lambda inputs: [np.asarray(found) for found in session.run(names, dict(inputs))]


@cache
def _core() -> Any:
    """OpenVINO, loaded once and kept until the process ends.

    On some CPUs its plugin sets an alternate signal stack, which is unmapped when the object is deleted. If two are
    deleted in the order in which they were made, the stack of the first is set again, unmapped, and the next signal
    (Ctrl-C, the end of a child process) is a segmentation fault.
    """
    import openvino

    return openvino.Core()


_LOADING = Lock()
"""`cache` alone would let several threads load OpenVINO at once."""


def _openvino(path: Path, outputs: Sequence[str], threads: int) -> Outputs:
    # Full precision, so that the scores are those of the other runtimes.
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    with _LOADING:
        core = _core()
    network = core.compile_model(str(path), "CPU", settings)

    def run(inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[np.float32]]:
        found = network(dict(inputs))
        return [np.array(found[name]) for name in outputs]

    return run


PROGRAM = ".pt2"
"""Suffix of PyTorch's exported programs, which need torch."""

_OPENVINO = ".xml"

RUNTIMES: Mapping[str, Callable[[Path, Sequence[str], int], Outputs]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}
"""What opens a network with a runtime: from its file, the names of its outputs, and threads, 0 for the default."""


def open_network(path: Path, output: str = "logits", runtime: str = "auto", threads: int = 0) -> Runtime:
    """Open an exported network for one of its outputs; see `open_outputs`."""
    run = open_outputs(path, [output], runtime, threads)
    return lambda inputs: run(inputs)[0]


def open_outputs(path: Path, outputs: Sequence[str], runtime: str = "auto", threads: int = 0) -> Outputs:
    """Open an exported network.

    Args:
        path: the file.
        outputs: names of its outputs.
        runtime: a name in `RUNTIMES`; "auto": the first that is installed.
        threads: number of threads; 0: the default of the runtime.

    Raises:
        UnknownNameError: an unknown runtime.
        ArgumentError: it is not installed.
        CheckpointError: the file cannot be read.
    """
    name = find_runtime(path, runtime)
    if not path.is_file():
        raise CheckpointError(f"{path}: does not exist. Export the network again.")
    try:
        return RUNTIMES[name](path, outputs, threads)
    except Exception as error:  # each runtime has exceptions of its own
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: {name} cannot read it ({first}). Export it again.") from error


def find_runtime(path: Path, runtime: str = "auto") -> str:
    """The name of the runtime that opens a file; see `open_outputs`."""
    if runtime not in ("auto", *RUNTIMES):
        raise unknown_name("runtime", runtime, ["auto", *RUNTIMES])
    if path.suffix == PROGRAM:
        raise ArgumentError(
            f"{path}: is a program of PyTorch. Open it with torch.export.load, or export to onnx."
        )
    if path.suffix == _OPENVINO and runtime == "onnxruntime":
        raise ArgumentError(f"{path}: onnxruntime cannot read OpenVINO's format. Use --runtime openvino.")
    named = [runtime] if runtime != "auto" else list(RUNTIMES)
    wanted = ["openvino"] if path.suffix == _OPENVINO else named
    installed = [name for name in wanted if importlib.util.find_spec(name) is not None]
    if not installed:
        raise ArgumentError(
            f"{path.parent}: needs {' or '.join(wanted)}, which is not installed. Remedy: pip install {wanted[0]}"
        )
    return installed[0]
