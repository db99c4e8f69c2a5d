"""Load a recogniser from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from praxiscope.checkpoint import (
    FlowInput,
    ModelCard,
    find_card,
    is_fused,
    load_model_weights,
)
from praxiscope.data.flow_reader import FlowSource, flow_estimator
from praxiscope.data.splitlist import SplitList
from praxiscope.devices import pick_device
from praxiscope.errors import ArgumentError, CheckpointError, UnknownNameError
from praxiscope.flow.store import FlowStore
from praxiscope.inference.inputs import stream_readers
from praxiscope.inference.options import FlowOptions, LoadOptions
from praxiscope.inference.recogniser import Recogniser
from praxiscope.inference.run import logged_metrics
from praxiscope.inference.trajectories import TrajectoryRecogniser
from praxiscope.models import create_model
from praxiscope.models.contract import ScoresTrajectories, TrainingOnly
from praxiscope.models.names import learns_of
from praxiscope.models.registered import GROUP
from praxiscope.models.undrawn import Undrawn
from praxiscope.units import counted

if TYPE_CHECKING:
    from praxiscope.inference.fused import FusedRecogniser

__all__ = ["build_from_card", "load", "load_network", "load_recogniser", "load_single"]


def load(
    path: str | Path,
    *,
    checkpoint: str | None = None,
    device: str = "auto",
    flow: str | Path | None = None,
    flow_range: float | None = None,
    flow_weights: str | Path | None = None,
    task: str | None = None,
    runtime: str = "torch",
) -> Recogniser | FusedRecogniser:
    """Load a recogniser from a run folder, a model folder, or the folder of a fused recogniser.

    Args:
        path: the folder.
        checkpoint: "last" or "best". None: that of the run.
        device: device of the network.
        flow: folder of stored flow, for a model that uses flow. None: estimate flow from the frames.
        flow_range: range in pixels of stored flow that another tool wrote; see ``praxiscope.flow.store``.
        flow_weights: RAFT weights, a file or "download", to estimate flow for a model that was trained on RAFT flow.
            They must be the weights that this flow was computed with.
        task: for a network that was trained on several data sets, the name of the one whose classes are used.
        runtime: what runs the network on a CPU: "torch"; "onnxruntime" or "openvino", for which it is exported once and
            kept; or "auto", the fastest of them. An export takes 10 to 45 seconds. What cannot be exported is run by
            PyTorch, see ``recogniser.runtime``.

    Returns:
        The recogniser, in evaluation mode.

    Raises:
        CheckpointError: there is no model, it is damaged, or its weights do not match its card.
        ArgumentError: flow options for a model that does not use them, or the wrong weights; no task for a network of
            several tasks, or a task for any other network.

    Example:
        >>> recogniser = load("runs/a")
        >>> recogniser.predict("clip.mp4", top=5).labels
    """
    options = LoadOptions(checkpoint, device, task, FlowOptions(flow, flow_range, flow_weights), runtime)
    return load_recogniser(path, options)


def load_recogniser(path: str | Path, options: LoadOptions) -> Recogniser | FusedRecogniser:
    """Load a recogniser with a `LoadOptions` object; see `load`."""
    options.check(path)
    if is_fused(path):
        from praxiscope.inference.fused import load_fused

        recogniser: Recogniser | FusedRecogniser = load_fused(path, options)
    else:
        recogniser = load_single(path, options)
    if options.runtime != "torch":
        from praxiscope.inference.kept_network import use_runtime

        use_runtime(recogniser, options.runtime)
    return recogniser


def load_single(path: str | Path, options: LoadOptions) -> Recogniser:
    """Load a recogniser that is one network; see `load`."""
    folder, card, block = find_card(path, options.checkpoint, options.task)
    model = load_network(folder, card, block)
    flow, source = options.flow, None
    if flow.given is not None:
        if card.input.flow is None:
            raise ArgumentError(f"{path}: the model does not use flow. Leave out {flow.given}.")
        source = open_flow_source(card.input.flow, flow)
        stream_readers(card.input, card.input.short_side, source)  # raises if its settings differ
    kind = TrajectoryRecogniser if isinstance(model, ScoresTrajectories) else Recogniser
    recogniser = kind(model, card, device=pick_device(options.device), flow_source=source)
    recogniser.folder = folder
    recogniser.split = SplitList(Path(path), options.task)
    recogniser.metrics = logged_metrics(path, card)
    return recogniser


def open_flow_source(flow: FlowInput, options: FlowOptions) -> FlowSource:
    """Return the stored flow, or the estimator with its weights, for a model with this flow contract."""
    if options.store is not None:
        return FlowStore(options.store, range=options.range)
    return flow_estimator(flow, options.weights)


def load_network(folder: Path, card: ModelCard, block: tuple[int, int] | None = None) -> nn.Module:
    """Load a network for predictions, without the parts that only training uses
    (`praxiscope.models.contract.TrainingOnly`).

    Args:
        folder: the model folder.
        card: its card.
        block: first class of one task and the class after its last, see `praxiscope.checkpoint.load_model_weights`.

    Raises:
        CheckpointError: the network cannot be built, or its weights do not match.
    """
    with Undrawn():
        model = build_from_card(card, folder)
    left_out = model.training_only if isinstance(model, TrainingOnly) else ()
    for name in left_out:
        setattr(model, name, None)
    load_model_weights(folder, model, block, left_out)
    return model


def build_from_card(card: ModelCard, folder: Path) -> nn.Module:
    """Create the network that a card describes, with random weights.

    Raises:
        CheckpointError: the network cannot be built, or the numbers of labels and scores differ.
    """
    try:
        model = create_model(card.name, **card.kwargs)
    except UnknownNameError as error:
        raise CheckpointError(
            f"{folder}: its model cannot be built. {error} If another package registers {card.name!r}, import that "
            f"package first, or give it an entry point in the group {GROUP!r}."
        ) from error
    except (ArgumentError, TypeError) as error:
        raise CheckpointError(f"{folder}: the model cannot be built. {error}") from error
    if learns_of(card.name) == "flow":
        raise CheckpointError(
            f"{folder}: holds {card.name}, which estimates flow and knows no classes. Use it with `praxiscope flow "
            "DATA --method network --run RUN`, or start another network from it: `praxiscope train DATA --model "
            "actionflownet-2f --from RUN`."
        )
    classes: Any = model.num_classes
    if len(card.labels) != classes:
        raise CheckpointError(
            f"{folder}: has {counted(len(card.labels), 'label')} but {counted(classes, 'score')}. "
            "Use another checkpoint."
        )
    return model
