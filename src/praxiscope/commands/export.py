"""Export a trained network for other runtimes, and check it against the network."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from praxiscope.checkpoint import write_json
from praxiscope.deploy.description import DESCRIPTION, Description
from praxiscope.deploy.runner import Runner
from praxiscope.errors import ArgumentError
from praxiscope.inference.export import export_network, opened
from praxiscope.inference.loading import load_recogniser
from praxiscope.inference.options import LoadOptions
from praxiscope.inference.quantise import quantise
from praxiscope.inference.recogniser import Recogniser
from praxiscope.progress import Reporter
from praxiscope.units import counted

__all__ = ["Exported", "export"]

_NEEDS = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
    "pt2": ("onnx", "onnxscript"),
}


@dataclass(frozen=True)
class Exported:
    """The result of an export.

    Attributes:
        folder: where the network is.
        description: how it is used.
        bytes: size of its files.
    """

    folder: Path
    description: Description
    bytes: int


def export(
    run: str | Path,
    out: str | Path,
    *,
    to: str = "onnx",
    protocol: str | None = None,
    clips: Sequence[str | Path] = (),
    int8: Sequence[str | Path] = (),
    checkpoint: str | None = None,
    reporter: Reporter | None = None,
) -> Exported:
    """Export a network with its sampling, normalisation and labels into a folder that `praxiscope.deploy` reads.

    Args:
        run: run or model folder of a network of RGB frames.
        out: the new folder.
        to: "onnx", "openvino" or "pt2".
        protocol: views by which videos are predicted; None: the default of the model.
        clips: videos that are predicted by the network and by what was exported; the differences are kept.
        int8: videos of the training set, by which the network of the frames is quantised to 8 bits; none: it is not.
        checkpoint: "last" or "best"; None: that of the run.
        reporter: shows progress.

    Raises:
        ArgumentError: the network cannot be exported, a library is missing, or the folder exists.
        VideoError: a clip cannot be read.
    """
    reporter, folder = reporter or Reporter(), Path(out)
    check_libraries(to)
    if int8 and to != "onnx":
        raise ArgumentError("--int8 is for --to onnx. Leave it out, or export to onnx.")
    if folder.exists():
        raise ArgumentError(f"{folder}: exists already. Name another folder, or remove it.")
    recogniser = load_recogniser(run, LoadOptions(checkpoint, "cpu"))
    if type(recogniser) is not Recogniser:
        raise ArgumentError(f"{run}: is not one network, and only single networks can be exported.")
    network = Recogniser(recogniser.model, recogniser.card, precision="32")
    unfinished = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        reporter.line(f"Exporting {network.card.name} to {to}.")
        try:
            about, difference = export_network(network, unfinished, to, protocol)
        except ArgumentError as error:
            raise ArgumentError(f"{run}: {network.card.name}: {error}") from error
        checked: dict[str, object] = {"noise": difference}
        if int8:
            quantise(unfinished / (about.frames or about.file), _runner(about, unfinished), int8, reporter)
            checked["int8"] = {"clips": len(int8)}
            about = replace(about, int8=True)
        if clips:
            checked["clips"] = _compare(network, _runner(about, unfinished), clips, reporter)
        about = replace(about, checked=checked)
        write_json(unfinished / DESCRIPTION, about.to_dict())
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return Exported(folder, about, sum(path.stat().st_size for path in folder.iterdir()))


def _runner(about: Description, folder: Path) -> Runner:
    frames = opened(folder / about.frames, "features") if about.frames else None
    return Runner(about, opened(folder / about.file), frames)


def check_libraries(to: str) -> None:
    """Raise ArgumentError for an unknown format, or one whose libraries are missing."""
    if to not in _NEEDS:
        raise ArgumentError(f"--to must be {', '.join(_NEEDS)}, got {to!r}")
    missing = [name for name in _NEEDS[to] if importlib.util.find_spec(name) is None]
    if missing:
        raise ArgumentError(
            f"export to {to} needs {', '.join(missing)}, not installed. Remedy: pip install "
            f"'praxiscope[{'export,openvino' if to == 'openvino' else 'export'}]'"
        )


def _compare(
    network: Recogniser, exported: Runner, clips: Sequence[str | Path], reporter: Reporter
) -> dict[str, object]:
    """The differences of the scores of videos before softmax."""
    differences, same = [], 0
    with reporter.bar("comparing", len(clips)) as bar:
        for clip in clips:
            expected = network.video_logits(str(clip), exported.description.protocol).numpy()
            found = exported.logits(str(clip))
            differences.append(float(np.abs(found - expected).max()))
            same += int(found.argmax() == expected.argmax())
            bar.advance()
    reporter.line(f"Largest difference of {counted(len(clips), 'clip')}: {max(differences):.2g}.")
    return {"count": len(clips), "largest": max(differences), "same_class": same}
