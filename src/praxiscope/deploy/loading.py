"""Load exported networks."""

from __future__ import annotations

from pathlib import Path

from praxiscope.deploy.description import (
    FusedDescription,
    SingleDescription,
    TrajectoryDescription,
    read_classes,
)
from praxiscope.deploy.fused import FusedRunner, read_svm
from praxiscope.deploy.joins import find_join
from praxiscope.deploy.runner import Runner
from praxiscope.deploy.runtimes import find_runtime, open_network, open_outputs
from praxiscope.deploy.trajectories import TrajectoryRunner
from praxiscope.errors import ArgumentError, CheckpointError

__all__ = ["load"]


def load(
    folder: str | Path, *, runtime: str = "auto", threads: int = 0
) -> Runner | TrajectoryRunner | FusedRunner:
    """Load an exported network.

    Args:
        folder: written by ``praxiscope export``.
        runtime: "onnxruntime", "openvino" or "auto", the first that is installed.
        threads: number of threads; 0: the default of the runtime.

    Raises:
        CheckpointError: the folder holds no exported network, or a damaged one.
        ArgumentError: the runtime is not installed, or not the one that a quantised network is for.

    Example:
        >>> load("model/").predict("clip.mp4", top=3).labels
    """
    about, root = read_classes(folder), Path(folder)
    if isinstance(about, FusedDescription):
        svm = read_svm(root, about.labels) if about.kind == "svm" else None
        parts = [load_single(root / name, runtime=runtime, threads=threads) for name in about.parts]
        return FusedRunner(about, parts, svm)
    return _opened(about, root, runtime, threads)


def load_single(folder: Path, *, runtime: str, threads: int) -> Runner | TrajectoryRunner:
    """Load a part of a fusion; see `load`."""
    about = read_classes(folder)
    if isinstance(about, FusedDescription):
        raise CheckpointError(f"{folder}: is a fusion, not one network. Export the run again.")
    return _opened(about, folder, runtime, threads)


def _opened(about: SingleDescription, root: Path, runtime: str, threads: int) -> Runner | TrajectoryRunner:
    found: Runner | TrajectoryRunner
    if isinstance(about, TrajectoryDescription):
        summed = open_network(root / about.frames, "features", runtime, threads)
        outputs = find_join(about.join).outputs(about.settings)
        found = TrajectoryRunner(
            about, open_outputs(root / about.file, outputs, runtime, threads), summed, str(root)
        )
        found.runtime = find_runtime(root / about.file, runtime)
        return found
    if about.int8:
        if runtime == "openvino":
            raise ArgumentError(
                f"{root}: is quantised for onnxruntime; OpenVINO's answers differ. Leave the runtime out."
            )
        runtime = "onnxruntime"
    if about.frames:
        frames = open_network(root / about.frames, "features", runtime, threads)
        outputs = find_join(about.join).outputs(about.settings)
    else:
        frames, outputs = None, ["logits"]
    found = Runner(about, open_outputs(root / about.file, outputs, runtime, threads), frames, str(root))
    found.runtime = find_runtime(root / about.file, runtime)
    return found
