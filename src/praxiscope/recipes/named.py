"""What the arguments of commands name, looked up without torch: a typing error should not cost the time to import it.

Whoever uses the arguments finds out all the same; nothing relies on what was looked up here.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from praxiscope.checkpoint import find_checkpoint, is_fused, load_card, read_pointer
from praxiscope.data.manifest import find_data
from praxiscope.devices import check_device
from praxiscope.errors import ArgumentError, CheckpointError, DataError, unknown_name
from praxiscope.evaluation.protocols import parse_protocol
from praxiscope.models.names import check_backbone, check_keywords, default_stream
from praxiscope.recipes.course import length_of

if TYPE_CHECKING:
    from praxiscope.recipes.settings import ModelSettings, TrainSettings

__all__ = [
    "check_flow_folder",
    "check_flow_method",
    "check_folder",
    "check_fps",
    "check_log",
    "check_network",
    "check_picture_path",
    "check_preset",
    "check_start",
    "check_streams",
    "check_test",
    "check_training",
    "flow_folders",
    "no_losses",
    "parse_parameters",
    "seen_streams",
]

PRESETS = ("cpu", "paper")
FLOW_METHODS = ("dis", "farneback", "raft", "tvl1")
_FORMATS = ("png", "jpg", "pdf", "svg")


def check_folder(run: Path, resume: bool) -> None:
    for place in (run, *run.parents):
        if place.is_file():
            raise ArgumentError(f"--out {run}: {place} is a file; name a folder.")
    if not resume and (pointer := read_pointer(run)):
        raise ArgumentError(
            f"--out {run}: holds a run already (last checkpoint: {pointer.get('last')}). Go on with it by "
            "--resume, or name another folder."
        )


def check_start(settings: TrainSettings, frozen: bool) -> None:
    """Refuse to train nothing but a classifier (``frozen``) on a network that has never learnt anything."""
    optim, given = settings.optim, settings.model
    started = given.weights or given.start or given.keywords().get("pretrained")
    if frozen and not started:
        epochs = optim.frozen_epochs if optim.frozen_epochs == "all" else f"{optim.frozen_epochs:g}"
        raise ArgumentError(
            f"optim.frozen_epochs = {epochs} of {length_of(optim)}: only the classifier would learn, "
            "on random weights. Give start weights (--weights FILE or --pretrained), or --set optim.frozen_epochs=0."
        )


def seen_streams(settings: TrainSettings) -> tuple[str, ...]:
    """Names of the streams that a run's model sees, before it is built."""
    stream = settings.model.keywords().get("stream", default_stream(settings.model.name))
    return ("rgb", "flow") if stream == "both" else (str(stream),)


def flow_folders(settings: TrainSettings) -> dict[str, str]:
    """The folders of stored flow that a run trains on, by data set.

    Raises:
        ArgumentError: flow is given and not used, or used and not given.
    """
    streams = seen_streams(settings)
    folders = {name: source.flow for name, source in settings.data.sources().items()}
    if "flow" in streams and None in folders.values():
        lacking = ", ".join(name for name, folder in folders.items() if folder is None)
        of_whom, example = (f" of {lacking}", f"{lacking.partition(',')[0]}=") if lacking else ("", "")
        raise ArgumentError(
            f"{settings.model.name} on {' and '.join(streams)}: training needs stored flow{of_whom}. Make it by "
            f"`praxiscope flow DATA --out flow/`, and name it by --flow {example}flow/."
        )
    given = {name: folder for name, folder in folders.items() if folder is not None}
    bound = settings.data.flow_range
    if not given:
        if bound is not None:
            raise ArgumentError(
                f"data.flow_range = {bound:g} is of stored flow: name its folder by --flow, or leave it out."
            )
        return {}
    if "flow" not in streams:
        raise ArgumentError(
            f"--flow {next(iter(given.values()))}: the model sees {streams[0]!r}, no flow. "
            + (
                "Add --stream flow, or leave --flow out."
                if default_stream(settings.model.name) == "rgb"
                else f"{settings.model.name} sees both; leave --stream out."
            )
        )
    return given


def check_picture_path(path: str | Path) -> Path:
    """The path, if a picture can be written there. Raises ArgumentError for another suffix or a missing folder."""
    path = Path(path)
    if path.suffix.lower().lstrip(".") not in _FORMATS:
        raise ArgumentError(f"{path}: pictures are written as {', '.join('.' + name for name in _FORMATS)}")
    if not path.parent.is_dir():
        raise ArgumentError(f"{path}: there is no folder {path.parent}")
    return path


def check_network(given: ModelSettings) -> None:
    """Raise UnknownNameError or ArgumentError for a model, a keyword of it, or a backbone that there is not."""
    words = given.keywords()
    check_keywords(given.name, words)
    for key in ("backbone", "motion_backbone"):
        if (name := words.get(key)) is not None:
            check_backbone(str(name))


def check_flow_folder(folder: str | Path) -> None:
    """Raise DataError where there is no folder of stored flow."""
    if not Path(folder).is_dir():
        raise DataError(f"{folder}: no such folder. `praxiscope flow DATA --out {folder}` makes one.")


def no_losses(run: str | Path) -> ArgumentError:
    """The error for a run without logged losses."""
    return ArgumentError(f"{run}: has no log.csv with losses. Name a run that has made its first step.")


def check_log(run: str | Path) -> None:
    """Raise ArgumentError where there is no log of a run."""
    if not (Path(run) / "log.csv").is_file():
        raise no_losses(run)


def check_fps(fps: float) -> None:
    """Raise ArgumentError for a rate that is no number of frames per second."""
    if not 0 < fps < math.inf:
        raise ArgumentError(f"fps must be a number above 0, got {fps:g}")


def check_streams(runs: Sequence[str]) -> None:
    """Raise ArgumentError unless two runs are named to start from."""
    if len(runs) != 2:
        raise ArgumentError(
            f"--from {','.join(runs)}: name two runs, one of pictures and one of flow, as in --from "
            "runs/rgb,runs/motion"
        )


def check_preset(name: str) -> None:
    """Raise ArgumentError for a name that is no preset of a benchmark."""
    if name not in PRESETS:
        raise ArgumentError(f"preset must be one of {', '.join(PRESETS)}, got {name!r}")


def check_flow_method(name: str) -> None:
    """Raise UnknownNameError for a name that is no method of estimating flow."""
    if name not in FLOW_METHODS:
        raise unknown_name("flow method", name, FLOW_METHODS)


def check_training(settings: TrainSettings, out: str | Path, resume: bool = False) -> None:
    """Look for what a training run names: its model, its data, its folder.

    Raises:
        ArgumentError, DataError, CheckpointError: something is not there, or cannot be used as asked.
    """
    from praxiscope.recipes.resuming import check_settings

    run, optim = Path(out), settings.optim
    check_folder(run, resume)
    check_network(settings.model)
    if resume:
        check_settings(run, settings)
    frozen = optim.frozen_epochs
    check_start(settings, frozen == "all" or (optim.epochs is not None and frozen >= optim.epochs))
    if resume:  # of a finished run nothing is read any more
        return
    for source in settings.data.sources().values():
        find_data(source.source, source.split, source.annotations)
    for folder in flow_folders(settings).values():
        check_flow_folder(folder)
    if (weights := settings.model.weights) and not os.path.exists(weights):  # noqa: PTH110
        raise CheckpointError(f"{weights}: there is no such weights file")


def check_test(
    run: str | Path,
    data: str | Path,
    *,
    protocol: str | None = None,
    average: str | None = None,
    split: str | None = None,
    annotations: str | Path | None = None,
    subset: str = "test",
    out: str | Path | None = None,
    checkpoint: str | None = None,
    device: str = "auto",
) -> None:
    """Look for what a test names; see `praxiscope.recipes.test.test`.

    Raises:
        ArgumentError, DataError, CheckpointError: something is not there, or cannot be used as asked.
    """
    if subset not in ("train", "val", "test"):
        raise ArgumentError(f"subset must be train, val or test, got {subset!r}")
    parse_protocol(protocol or "1x1", average)
    if out is not None and Path(out).suffix not in (".npz", ".parquet"):
        raise ArgumentError(f"--out {out}: scores are written as .npz or .parquet")
    check_device(device)
    if not is_fused(run):
        load_card(find_checkpoint(run, checkpoint))
    find_data(data, split, annotations)


def parse_parameters(assignments: Sequence[str]) -> dict[str, Any]:
    """Parameters of a method from ``name=value`` texts. Raises ArgumentError for other text."""
    parameters = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise ArgumentError(f"--set {text}: expected name=value, as in --set warps=3.")
        parameters[name.strip()] = _value(value.strip())
    return parameters


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)
