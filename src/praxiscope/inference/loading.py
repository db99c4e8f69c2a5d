"""From a folder to a recogniser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from praxiscope.checkpoint import (
    ModelCard,
    check_flow_options,
    check_recogniser,
    find_card,
    is_fused,
    load_model_weights,
)
from praxiscope.data.flow_reader import FlowSource, flow_estimator
from praxiscope.data.splitlist import SplitList
from praxiscope.devices import pick_device
from praxiscope.errors import ArgumentError, CheckpointError
from praxiscope.flow.store import FlowStore
from praxiscope.inference.inputs import stream_readers
from praxiscope.inference.recogniser import Recogniser
from praxiscope.inference.run import logged_metrics
from praxiscope.models import create_model
from praxiscope.models.undrawn import Undrawn
from praxiscope.units import counted

if TYPE_CHECKING:
    from praxiscope.inference.fused import FusedRecogniser

__all__ = ["build_from_card", "load", "load_single"]


def load(
    path: str | Path,
    *,
    checkpoint: str | None = None,
    device: str = "auto",
    flow: str | Path | None = None,
    flow_range: float | None = None,
    flow_weights: str | Path | None = None,
    task: str | None = None,
) -> Recogniser | FusedRecogniser:
    """Load a recogniser from a run folder or a model folder, or several that answer as one.

    Args:
        path: the folder.
        checkpoint: "last" or "best"; None takes the one the run prefers.
        device: where it runs.
        flow: folder of stored flow, for a model that sees flow; None estimates it from the frames.
        flow_range: for stored flow that another tool has made: its bound in pixels; see ``praxiscope.flow.store``.
        flow_weights: of a model that was trained on flow by raft, to estimate it from the frames: raft's weights, a
            file or "download". They must be those that the flow of the training was made with.
        task: of a network that was trained on several data sets, whose classes to know: the data set's name. What
            comes is a recogniser like any other, with that classifier alone.

    Returns:
        The recogniser, in evaluation mode.

    Raises:
        CheckpointError: there is no model, or it is damaged or does not fit.
        ArgumentError: stored flow or weights for a model that has no use of them, or other weights; no task where
            there are several, or one where there are none.

    Example:
        >>> recogniser = load("runs/a")
        >>> recogniser.predict("clip.mp4", top=5).labels
    """
    check_flow_options(flow, flow_range, flow_weights)
    check_recogniser(path, checkpoint, task)
    if is_fused(path):
        from praxiscope.inference.fused import load_fused

        return load_fused(path, device=device, flow=flow, flow_range=flow_range, flow_weights=flow_weights)
    return load_single(
        path,
        checkpoint=checkpoint,
        device=device,
        flow=flow,
        flow_range=flow_range,
        flow_weights=flow_weights,
        task=task,
    )


def load_single(
    path: str | Path,
    *,
    checkpoint: str | None = None,
    device: str = "auto",
    flow: str | Path | None = None,
    flow_range: float | None = None,
    flow_weights: str | Path | None = None,
    task: str | None = None,
) -> Recogniser:
    """Load a recogniser that is one network; see ``load``."""
    check_flow_options(flow, flow_range, flow_weights)
    folder, card, block = find_card(path, checkpoint, task)
    with Undrawn():
        model = build_from_card(card, folder)
    load_model_weights(folder, model, block)
    source: FlowSource | None = None
    given = flow if flow is not None else flow_weights
    if given is not None:
        if card.input.flow is None:
            raise ArgumentError(f"{path}: sees no flow; leave out {given}")
        source = (
            FlowStore(flow, range=flow_range)
            if flow is not None
            else flow_estimator(card.input.flow, flow_weights)
        )
        stream_readers(card.input, card.input.short_side, source)  # raises where it was made in another way
    recogniser = Recogniser(model, card, device=pick_device(device), flow_source=source)
    recogniser.split = SplitList(Path(path), task)
    recogniser.metrics = logged_metrics(path, card)
    return recogniser


def build_from_card(card: ModelCard, folder: Path) -> nn.Module:
    """The network that a card describes, with random weights.

    Raises:
        CheckpointError: this praxiscope cannot build it, or the labels are not those of its scores.
    """
    try:
        model = create_model(card.name, **card.kwargs)
    except (ArgumentError, TypeError) as error:
        raise CheckpointError(f"{folder}: its model cannot be built. {error}") from error
    classes: Any = model.num_classes
    if len(card.labels) != classes:
        raise CheckpointError(
            f"{folder}: names {counted(len(card.labels), 'label')} for {counted(classes, 'score')}. "
            "Take another checkpoint."
        )
    return model
