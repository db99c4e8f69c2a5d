"""Options for loading a recogniser, checked without importing torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from praxiscope.checkpoint import check_recogniser
from praxiscope.devices import check_device
from praxiscope.errors import ArgumentError, unknown_name

__all__ = ["RUNTIME_NAMES", "FlowOptions", "LoadOptions", "check_runtime"]

RUNTIME_NAMES = ("auto", "torch", "onnxruntime", "openvino")
"""What may run a network on a CPU: PyTorch, a name in `praxiscope.deploy.runtimes.RUNTIMES`, or the fastest."""


def check_runtime(name: str) -> str:
    """Return the name of a runtime. Raises UnknownNameError if there is none of this name."""
    if name not in RUNTIME_NAMES:
        raise unknown_name("runtime", name, RUNTIME_NAMES)
    return name


@dataclass(frozen=True)
class FlowOptions:
    """The source of a model's flow. By default, flow is estimated from the frames.

    Attributes:
        store: folder of stored flow.
        range: range in pixels of a folder of JPEGs that another tool wrote; see ``praxiscope.flow.store``.
        weights: weights of a flow method that needs them (RAFT), a file or "download".

    Raises:
        ArgumentError: a range without stored flow, or weights with it.
    """

    store: str | Path | None = None
    range: float | None = None
    weights: str | Path | None = None

    def __post_init__(self) -> None:
        if self.store is None and self.range is not None:
            raise ArgumentError(
                f"flow_range = {self.range:g} needs stored flow: give its folder (--flow), or leave flow_range out."
            )
        if self.store is not None and self.weights is not None:
            raise ArgumentError(
                f"--flow {self.store} and --flow-weights {self.weights} cannot be combined: give one of them."
            )

    @property
    def given(self) -> str | Path | None:
        """The stored flow or the weights; None if flow is estimated with the settings of the model's card."""
        return self.store if self.store is not None else self.weights


@dataclass(frozen=True)
class LoadOptions:
    """Options for loading a recogniser, equal to the keyword arguments of `praxiscope.load`.

    Attributes:
        checkpoint: "last" or "best" checkpoint of a run. None: that of the run.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        task: for a network that was trained on several data sets, the name of the one whose classes are used.
        flow: for a model that uses flow, its source.
        runtime: what runs the network on a CPU, a name in `RUNTIME_NAMES`.

    Raises:
        ArgumentError: no such device or runtime.
    """

    checkpoint: str | None = None
    device: str = "auto"
    task: str | None = None
    flow: FlowOptions = field(default_factory=FlowOptions)
    runtime: str = "torch"

    def __post_init__(self) -> None:
        check_device(self.device)
        check_runtime(self.runtime)

    @staticmethod
    def of(
        *,
        checkpoint: str | None = None,
        device: str = "auto",
        flow: str | Path | None = None,
        flow_range: float | None = None,
        flow_weights: str | Path | None = None,
        task: str | None = None,
        runtime: str = "torch",
    ) -> LoadOptions:
        """Return the options for the keyword arguments of `praxiscope.load`."""
        return LoadOptions(checkpoint, device, task, FlowOptions(flow, flow_range, flow_weights), runtime)

    def check(self, path: str | Path) -> None:
        """Raise ArgumentError or CheckpointError if ``path`` contains no such recogniser."""
        check_recogniser(path, self.checkpoint, self.task)
