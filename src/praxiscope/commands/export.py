"""Export a trained network for other runtimes, and check it against the network."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from praxiscope.checkpoint import find_checkpoint, load_card, write_json
from praxiscope.deploy.description import (
    DESCRIPTION,
    AnyDescription,
    ClassDescription,
    FlowDescription,
    FusedDescription,
    SingleDescription,
    TrajectoryDescription,
)
from praxiscope.deploy.flow_network import FlowRunner
from praxiscope.deploy.fused import FusedRunner, write_svm
from praxiscope.deploy.joins import find_join
from praxiscope.deploy.predictor import Predictor
from praxiscope.deploy.runner import Runner
from praxiscope.deploy.trajectories import TrajectoryRunner
from praxiscope.errors import ArgumentError, DataError, VideoError
from praxiscope.inference.export import export_network
from praxiscope.inference.export_flow import export_flow
from praxiscope.inference.export_trajectories import export_trajectories
from praxiscope.inference.flow_network import NetworkFlow, estimates_flow_only, load_flow_network
from praxiscope.inference.fused import AnyRecogniser, FusedRecogniser
from praxiscope.inference.graphs import opened
from praxiscope.inference.loading import load_recogniser
from praxiscope.inference.options import LoadOptions
from praxiscope.inference.quantise import quantise
from praxiscope.inference.recogniser import Recogniser
from praxiscope.inference.trajectories import TrajectoryRecogniser
from praxiscope.progress import Reporter
from praxiscope.units import counted
from praxiscope.video.opening import open_video

__all__ = ["Exported", "export"]

_NEEDS = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
    "pt2": ("onnx", "onnxscript"),
}


_FLOW_FRAMES = 33  # of a video, whose flow is compared

Pair: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32]]
"""What a network says of a video, and what the exported one says."""


class _Options(NamedTuple):
    run: str | Path
    to: str
    protocol: str | None
    clips: Sequence[str | Path]
    int8: Sequence[str | Path]
    checkpoint: str | None
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
            of a network that estimates flow; or a fused one.
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
    options = _Options(run, to, protocol, clips, int8, checkpoint, reporter)
    write = export_flow_network if estimates_flow_only(run, checkpoint) else export_recogniser
    unfinished = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        about: AnyDescription = write(unfinished, options)
        write_json(unfinished / DESCRIPTION, about.to_dict())
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    files = [path for path in folder.rglob("*") if path.is_file()]
    return Exported(folder, about, sum(path.stat().st_size for path in files))


def export_recogniser(folder: Path, options: _Options) -> ClassDescription:
    """Write what has classes, without its description."""
    recogniser = load_recogniser(options.run, LoadOptions(options.checkpoint, "cpu"))
    for part in recogniser.parts if options.int8 else []:
        if isinstance(part, TrajectoryRecogniser):
            raise ArgumentError(
                f"{options.run}: {part.card.name} is no network, which --int8 is for. Leave out --int8."
            )
    about: ClassDescription
    runner: Predictor
    if isinstance(recogniser, FusedRecogniser):
        about, runner = _fused(recogniser, folder, options)
    else:
        about, runner = _single(recogniser, folder, options)
    if options.clips:

        def both(clip: str) -> Pair:
            return _logits(recogniser, clip, options.protocol).numpy(), runner.logits(clip)

        found = _compared(options.clips, both, options.reporter)
        about = replace(about, checked={**about.checked, "clips": found})
    return about


def export_flow_network(folder: Path, options: _Options) -> FlowDescription:
    """Write what estimates flow and has no classes, without its description."""
    if options.protocol is not None or options.int8:
        wrong = "--protocol" if options.protocol is not None else "--int8"
        raise ArgumentError(f"{options.run}: {wrong} is not for a network that estimates flow. Leave it out.")
    loaded = load_flow_network(options.run, options.checkpoint)
    name = load_card(find_checkpoint(Path(options.run), options.checkpoint)).name
    options.reporter.line(f"Exporting {name} to {options.to}.")
    try:
        about, difference = export_flow(loaded, name, folder, options.to)
    except ArgumentError as error:
        raise ArgumentError(f"{options.run}: {name}: {error}") from error
    checked: dict[str, object] = {"noise": difference}
    if options.clips:
        network = opened(folder / about.file, ["flow"])
        runner, own = FlowRunner(about, lambda inputs: network(inputs)[0]), NetworkFlow.of(loaded)

        def both(clip: str) -> Pair:
            video = open_video(clip)
            frames = video.arrays(np.arange(min(_FLOW_FRAMES, len(video))))
            if len(frames) < 2:
                raise DataError(f"{clip}: has 1 frame, but flow needs two")
            return own(torch.from_numpy(frames).permute(0, 3, 1, 2)).numpy(), runner.arrays(frames)

        found = _compared(options.clips, both, options.reporter, " pixels")
        checked["clips"] = {name: value for name, value in found.items() if name != "same_class"}
    return replace(about, checked=checked)


def _single(recogniser: Recogniser, folder: Path, options: _Options) -> tuple[SingleDescription, Predictor]:
    """Write one network, without its description."""
    name = recogniser.card.name
    options.reporter.line(f"Exporting {name} to {options.to}.")
    about: SingleDescription
    try:
        if isinstance(recogniser, TrajectoryRecogniser):
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


def _compared(
    clips: Sequence[str | Path], both: Callable[[str], Pair], reporter: Reporter, unit: str = ""
) -> dict[str, object]:
    """The number of videos, the largest difference of what a network and the exported one say of them, and how often
    the largest value is that of the same class. Videos that cannot be read are left out.

    Raises:
        VideoError, DataError: no video can be read.
    """
    differences, same = [], 0
    failure: Exception | None = None
    with reporter.bar("comparing", len(clips)) as bar:
        for clip in clips:
            bar.advance()
            try:
                expected, found = both(str(clip))
            except (VideoError, DataError) as error:
                reporter.line(f"Left out: {error}")
                failure = error
                continue
            differences.append(float(np.abs(found - expected).max()))
            same += int(found.argmax() == expected.argmax())
    if failure is not None and not differences:
        raise failure
    count, largest = len(differences), max(differences)
    reporter.line(f"Largest difference of {counted(count, 'clip')}: {largest:.2g}{unit}.")
    return {"count": count, "largest": largest, "same_class": same}


def _logits(recogniser: AnyRecogniser, clip: str, protocol: str | None) -> Tensor:
    """Scores by PyTorch, in float32, [K]."""
    if isinstance(recogniser, FusedRecogniser):
        rows = [_logits(part, clip, protocol) for part in recogniser.parts]
        return recogniser.fuse(torch.stack(rows)[:, None])[0]
    if not isinstance(recogniser, TrajectoryRecogniser):
        recogniser = Recogniser(recogniser.model, recogniser.card, precision="32")
    return recogniser.video_logits(clip, protocol)
