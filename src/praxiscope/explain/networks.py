"""The networks that a picture is of: a run's own, the same before training, another's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from praxiscope.checkpoint import CARD_FILE, find_checkpoint, is_fused, load_card, save_checkpoint
from praxiscope.data.batch import mix_seeds
from praxiscope.errors import ArgumentError
from praxiscope.evaluation.protocols import parse_protocol
from praxiscope.inference.loading import load_single
from praxiscope.inference.recogniser import Recogniser
from praxiscope.models import create_model
from praxiscope.models.full_video import FullVideoNetwork, FullVideoOutput
from praxiscope.models.weights import load_weights
from praxiscope.recipes.settings import TrainSettings, load_yaml
from praxiscope.types import VideoRecord

__all__ = ["load_full_video", "load_one", "load_other", "network_of", "see_whole", "settings_of"]

Load = Callable[..., Recogniser]


def load_one(path: str | Path, **options: Any) -> Recogniser:
    """Load a recogniser that is one network.

    Args:
        path: a run folder, or a model folder.
        options: of `praxiscope.inference.loading.load_single`.

    Raises:
        ArgumentError: several networks answer as one there.
    """
    if is_fused(path):
        parts = ", ".join(sorted(str(card.parent) for card in Path(path).glob(f"*/{CARD_FILE}")))
        raise ArgumentError(f"{path}: several networks answer as one here. Name one of its parts: {parts}.")
    return load_single(path, **options)


def load_full_video(path: str | Path, **options: Any) -> Recogniser:
    """`load_one`, of a network that clusters the frames of a video.

    Raises:
        ArgumentError: it is another network, or it sees flow.
    """
    recogniser = load_one(path, **options)
    if not isinstance(recogniser.model, FullVideoNetwork):
        raise ArgumentError(
            f"{path}: {recogniser.card.name} makes no clusters of frames; name a run of --model full-video"
        )
    if recogniser.card.input.flow is not None:
        raise ArgumentError(f"{path}: sees flow; clusters are drawn of networks that see frames")
    return recogniser


def network_of(recogniser: Recogniser) -> FullVideoNetwork:
    """What `load_full_video` has loaded, by its type."""
    assert isinstance(recogniser.model, FullVideoNetwork)
    return recogniser.model


def see_whole(recogniser: Recogniser, video: str | Path) -> FullVideoOutput:
    """What a full-video network says of every frame, in memory that does not grow with their number.

    Raises:
        VideoError, DataError: the video cannot be read.
    """
    record = VideoRecord(str(video), Path(video), ())
    return recogniser.stream_output(record, parse_protocol(recogniser.default_protocol()))


def load_other(
    run: str | Path, compare: str | Path, load: Load = load_one, **options: Any
) -> tuple[str, Recogniser]:
    """Load what a run is compared with, and name it.

    Args:
        run: its folder.
        compare: a run or model folder; or of this run "last", "best" or "start", the network before its training,
            built again from its settings.
        load: `load_one`, or what checks more.
        options: of ``load``.
    """
    name = Path(run).resolve().name
    if compare == "start":
        return f"{name}, before training", _load_start(run, load, **options)
    if compare in ("last", "best"):
        return f"{name}, {compare}", load(run, checkpoint=str(compare), **options)
    return Path(compare).resolve().name, load(compare, **options)


def _load_start(run: str | Path, load: Load, **options: Any) -> Recogniser:
    """The network of a run as it was before the first step: no checkpoint holds it, but its seed and settings do."""
    settings, card = load_yaml(Path(run) / "settings.yaml"), load_card(find_checkpoint(run))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix_seeds(settings.run.seed, 0))  # as `praxiscope.commands.train` begins
        model = create_model(card.name, **{**card.kwargs, **settings.model.keywords()})
        if settings.model.weights:
            load_weights(model, settings.model.weights, labels=card.labels)
    with TemporaryDirectory() as place:
        save_checkpoint(Path(place) / "start", model, card)
        return load(Path(place) / "start", **options)


def settings_of(run: str | Path) -> TrainSettings | None:
    """The settings of a run; None for a model folder."""
    path = Path(run) / "settings.yaml"
    return load_yaml(path) if path.is_file() else None
