"""Export a trained network for other runtimes, and check it against the network."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from praxiscope.checkpoint import write_json
from praxiscope.deploy.description import (
    DESCRIPTION,
    AnyDescription,
    FusedDescription,
    SingleDescription,
    TrajectoryDescription,
)
from praxiscope.deploy.fused import FusedRunner, write_svm
from praxiscope.deploy.joins import find_join
from praxiscope.deploy.predictor import Predictor
from praxiscope.deploy.runner import Runner
from praxiscope.deploy.trajectories import TrajectoryRunner
from praxiscope.errors import ArgumentError, DataError, VideoError
from praxiscope.inference.export import export_network
from praxiscope.inference.export_trajectories import export_trajectories
from praxiscope.inference.fused import AnyRecogniser, FusedRecogniser
from praxiscope.inference.graphs import opened
from praxiscope.inference.loading import load_recogniser
from praxiscope.inference.options import LoadOptions
from praxiscope.inference.quantise import quantise
from praxiscope.inference.recogniser import Recogniser
from praxiscope.inference.trajectories import TrajectoryRecogniser
from praxiscope.progress import Reporter
from praxiscope.units import counted

__all__ = ["Exported", "export"]

_NEEDS = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
    "pt2": ("onnx", "onnxscript"),
}


class _Options(NamedTuple):
    run: str | Path
    to: str
    protocol: str | None
    int8: Sequence[str | Path]
    reporter: Reporter


@dataclass(frozen=True)
class Exported:
    """The result of an export.

    Attributes:
        folder: where the network is.
        description: how it is used, see `praxiscope.deploy.description`.
        bytes: size of its files.
    """

    folder: Path
    description: Any
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
        run: run or model folder of a network of RGB frames, of flow by OpenCV, or of both; of a model of trajectories;
            or a fused one.
        out: the new folder.
        to: "onnx", "openvino" or "pt2".
        protocol: views by which videos are predicted; None: the default of the model.
        clips: videos that are predicted by the network and by what was exported; the differences are kept.
        int8: videos of the training set, by which the network of the frames is quantised to 8 bits; none: it is not.
        checkpoint: "last" or "best"; None: that of the run.
        reporter: shows progress.

    Raises:
        ArgumentError: the network cannot be exported, a library is missing, or the folder exists.
        VideoError, DataError: none of the clips can be read.
    """
    reporter, folder = reporter or Reporter(), Path(out)
    check_libraries(to)
    if int8 and to != "onnx":
        raise ArgumentError("--int8 is for --to onnx. Leave it out, or export to onnx.")
    if folder.exists():
        raise ArgumentError(f"{folder}: exists already. Name another folder, or remove it.")
    options = _Options(run, to, protocol, int8, reporter)
    recogniser = load_recogniser(run, LoadOptions(checkpoint, "cpu"))
    unfinished = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    about: AnyDescription
    runner: Predictor
    try:
        if isinstance(recogniser, FusedRecogniser):
            about, runner = _fused(recogniser, unfinished, options)
        else:
            about, runner = _single(recogniser, unfinished, options)
        if clips:
            compared = _compare(recogniser, runner, protocol, clips, reporter)
            about = replace(about, checked={**about.checked, "clips": compared})
        write_json(unfinished / DESCRIPTION, about.to_dict())
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    files = [path for path in folder.rglob("*") if path.is_file()]
    return Exported(folder, about, sum(path.stat().st_size for path in files))


def _single(recogniser: Recogniser, folder: Path, options: _Options) -> tuple[SingleDescription, Predictor]:
    """Write one network, without its description."""
    name = recogniser.card.name
    options.reporter.line(f"Exporting {name} to {options.to}.")
    about: SingleDescription
    try:
        if isinstance(recogniser, TrajectoryRecogniser):
            if options.int8:
                raise ArgumentError("it is no network, which --int8 is for. Leave out --int8.")
            about, difference = export_trajectories(recogniser, folder, options.to)
        else:
            network = Recogniser(recogniser.model, recogniser.card, precision="32")
            about, difference = export_network(network, folder, options.to, options.protocol)
    except ArgumentError as error:
        raise ArgumentError(f"{options.run}: {name}: {error}") from error
    checked: dict[str, object] = {"noise": difference}
    runner = _runner(about, folder)
    if options.int8 and isinstance(runner, Runner):
        file = folder / (about.frames or about.file)
        read = quantise(file, runner, options.int8, options.reporter)
        about = replace(runner.description, int8=True)
        checked["int8"] = {"clips": read}
    about = replace(about, checked=checked)
    return about, _runner(about, folder)


def _fused(
    recogniser: FusedRecogniser, folder: Path, options: _Options
) -> tuple[FusedDescription, FusedRunner]:
    """Write the parts of a fused recogniser, each with its description."""
    names, runners = [], []
    for number, part in enumerate(recogniser.parts, 1):
        names.append(f"{number}-{part.stream}")
        (folder / names[-1]).mkdir()
        about, runner = _single(part, folder / names[-1], options)
        write_json(folder / names[-1] / DESCRIPTION, about.to_dict())
        runners.append(runner)
    if recogniser.svm is not None:
        write_svm(folder, recogniser.svm)
    fused = FusedDescription(
        model=" + ".join(runner.description.model for runner in runners),
        parts=tuple(names),
        kind=recogniser.kind,
        weights=None if recogniser.weights is None else tuple(recogniser.weights),
        labels=recogniser.labels,
        multi_label=recogniser.card.multi_label,
        calibration=recogniser.calibration,
        versions=runners[0].description.versions,
        checked={"noise": max(float(runner.description.checked["noise"]) for runner in runners)},
    )
    return fused, FusedRunner(fused, runners, recogniser.svm)


def _runner(about: SingleDescription, folder: Path) -> Runner | TrajectoryRunner:
    if not about.frames:
        assert not isinstance(about, TrajectoryDescription)
        return Runner(about, opened(folder / about.file))
    frames = opened(folder / about.frames, ["features"])
    network = opened(folder / about.file, find_join(about.join).outputs(about.settings))
    if isinstance(about, TrajectoryDescription):
        return TrajectoryRunner(about, network, lambda inputs: frames(inputs)[0])
    return Runner(about, network, lambda inputs: frames(inputs)[0])


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
    recogniser: AnyRecogniser,
    exported: Predictor,
    protocol: str | None,
    clips: Sequence[str | Path],
    reporter: Reporter,
) -> dict[str, object]:
    """The differences of the scores of videos before softmax. Videos that cannot be read are left out.

    Raises:
        VideoError, DataError: no video can be read.
    """
    differences, same = [], 0
    failure: Exception | None = None
    with reporter.bar("comparing", len(clips)) as bar:
        for clip in clips:
            bar.advance()
            try:
                expected = _logits(recogniser, str(clip), protocol).numpy()
                found = exported.logits(str(clip))
            except (VideoError, DataError) as error:
                reporter.line(f"Left out: {error}")
                failure = error
                continue
            differences.append(float(np.abs(found - expected).max()))
            same += int(found.argmax() == expected.argmax())
    if failure is not None and not differences:
        raise failure
    count = len(differences)
    reporter.line(f"Largest difference of {counted(count, 'clip')}: {max(differences):.2g}.")
    return {"count": count, "largest": max(differences), "same_class": same}


def _logits(recogniser: AnyRecogniser, clip: str, protocol: str | None) -> Tensor:
    """Scores by PyTorch, in float32, [K]."""
    if isinstance(recogniser, FusedRecogniser):
        rows = [_logits(part, clip, protocol) for part in recogniser.parts]
        return recogniser.fuse(torch.stack(rows)[:, None])[0]
    if not isinstance(recogniser, TrajectoryRecogniser):
        recogniser = Recogniser(recogniser.model, recogniser.card, precision="32")
    return recogniser.video_logits(clip, protocol)
