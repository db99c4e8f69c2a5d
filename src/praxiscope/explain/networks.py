"""Load the networks for a picture: that of a run, the same before training, or another one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import torch

from praxiscope.checkpoint import find_checkpoint, is_fused, load_card, save_checkpoint
from praxiscope.data.batch import mix_seeds
from praxiscope.errors import ArgumentError
from praxiscope.evaluation.protocols import parse_protocol
from praxiscope.inference.fused import AnyRecogniser
from praxiscope.inference.loading import load_single
from praxiscope.inference.options import LoadOptions
from praxiscope.inference.recogniser import Recogniser
from praxiscope.models import create_model
from praxiscope.models.contract import ClustersFrames, ScoresTrajectories
from praxiscope.models.weights import load_weights
from praxiscope.recipes.settings import TrainSettings, load_yaml
from praxiscope.run_folder import CARD_FILE, SETTINGS_FILE
from praxiscope.training.checks import model_keywords
from praxiscope.types import VideoRecord

__all__ = [
    "Run",
    "check_networks",
    "load_full_video",
    "load_one",
    "load_other",
    "name_of",
    "network_of",
    "see_whole",
    "settings_of",
]

Load = Callable[..., Recogniser]

Run: TypeAlias = "str | Path | Recogniser"
"""A run or model folder, or a network that is loaded."""


def name_of(run: Run) -> str:
    """The name of a run in a picture: that of its folder, or of the model of a loaded network."""
    return run.card.name if isinstance(run, Recogniser) else Path(run).resolve().name


def load_one(path: Run, **options: Any) -> Recogniser:
    """Load a recogniser that is one network.

    Args:
        path: run or model folder; a loaded network is returned.
        options: options of `praxiscope.load`.

    Raises:
        ArgumentError: the folder holds several fused networks, or one of trajectories.
    """
    if isinstance(path, Recogniser):
        check_networks(path.card.name, path)
        return path
    if is_fused(path):
        parts = ", ".join(sorted(str(card.parent) for card in Path(path).glob(f"*/{CARD_FILE}")))
        raise ArgumentError(f"{path}: contains several fused networks. Give one of them: {parts}.")
    recogniser = load_single(path, LoadOptions.of(**options))
    check_networks(path, recogniser)
    return recogniser


def check_networks(path: str | Path, recogniser: AnyRecogniser) -> None:
    """Raise ArgumentError if a part of a recogniser is no network of frames or flow, such as one of trajectories."""
    for part in recogniser.parts:
        if isinstance(part.model, ScoresTrajectories):
            raise ArgumentError(
                f"{path}: {part.card.name} scores trajectories and has no network to look into. See praxiscope explain "
                "trajectories."
            )


def load_full_video(path: Run, **options: Any) -> Recogniser:
    """Load a network that clusters the frames of a video.

    Raises:
        ArgumentError: the network makes no clusters, or its input is flow.
    """
    recogniser = load_one(path, **options)
    if not isinstance(recogniser.model, ClustersFrames):
        raise ArgumentError(
            f"{path}: {recogniser.card.name} makes no clusters of frames. Give a run of --model full-video."
        )
    if recogniser.card.input.flow is not None:
        raise ArgumentError(
            f"{path}: the input of this network is flow. Give a run that was trained on RGB frames."
        )
    return recogniser


def network_of(recogniser: Recogniser) -> Any:
    """The network that `load_full_video` returned; see `praxiscope.models.contract.ClustersFrames`."""
    return recogniser.model


def see_whole(recogniser: Recogniser, video: str | Path) -> Any:
    """The output of a full-video network for all frames of a video, in memory that does not grow with their number.

    Raises:
        VideoError, DataError: the video cannot be read.
    """
    record = VideoRecord(str(video), Path(video), ())
    return recogniser.stream_output(record, parse_protocol(recogniser.default_protocol()))


def load_other(
    run: Run, compare: str | Path, load: Load = load_one, **options: Any
) -> tuple[str, Recogniser]:
    """Load the network that a run is compared with, and name it.

    Args:
        run: run folder.
        compare: run or model folder, or "last", "best" or "start" of this run. "start" is the network before training,
            which is built again from the settings.
        load: `load_one`, or a function with more checks.
        options: options of ``load``.
    """
    name = name_of(run)
    if isinstance(run, Recogniser):
        raise ArgumentError("a loaded network is compared with nothing. Give its run folder.")
    if compare == "start":
        return f"{name}, before training", _load_start(run, load, **options)
    if compare in ("last", "best"):
        return f"{name}, {compare}", load(run, checkpoint=str(compare), **options)
    return Path(compare).resolve().name, load(compare, **options)


def _load_start(run: str | Path, load: Load, **options: Any) -> Recogniser:
    """Create the network of a run before the first step. It is not saved, but defined by the seed and the settings."""
    settings, card = load_yaml(Path(run) / SETTINGS_FILE), load_card(find_checkpoint(run))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix_seeds(settings.run.seed, 0))  # as in `praxiscope.commands.train`
        model: Any = create_model(card.name, **{**card.kwargs, **model_keywords(settings.model)})
        if settings.model.weights:
            load_weights(model, settings.model.weights, labels=card.labels)
    with TemporaryDirectory() as place:
        save_checkpoint(Path(place) / "start", model, card)
        return load(Path(place) / "start", **options)


def settings_of(run: Run) -> TrainSettings | None:
    """The settings of a run; None for a model folder or a loaded network."""
    if isinstance(run, Recogniser):
        return None
    path = Path(run) / SETTINGS_FILE
    return load_yaml(path) if path.is_file() else None
