"""The summary of a run before it starts, and the costs of its model: parameters, FLOPs per clip, memory per step."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from praxiscope.checkpoint import ModelCard
from praxiscope.data.dataset import frame_range
from praxiscope.data.manifest import Manifest
from praxiscope.errors import ArgumentError, DataError, VideoError
from praxiscope.models.contract import ReadsInParts
from praxiscope.models.contract_checks import check_output
from praxiscope.models.parts import FreezesFirst
from praxiscope.progress import Reporter
from praxiscope.recipes.settings import TrainSettings
from praxiscope.training.duration import Duration
from praxiscope.training.loader import example_inputs
from praxiscope.training.make_step import describe_step
from praxiscope.training.network import Network
from praxiscope.units import counted, describe_rate
from praxiscope.video.grid import FrameGrid
from praxiscope.video.opening import open_video

__all__ = ["Costs", "describe_model", "measure", "report_start"]


_COUNTED = 16  # videos whose frames are counted
_MEASURED = (32, 64)  # frames of the measured clips: usually more than the number of clusters


class Costs(dict[str, float]):
    """``parameters``, ``flops`` (of the forward pass of one clip; a multiply-add counts as two), ``saved_bytes``
    (activations kept for one clip's backward pass) and ``weight_bytes``."""


def measure(model: nn.Module, inputs: list[Tensor], name: str = "model") -> Costs:
    """Count a forward pass on example inputs, without changing the model.

    Args:
        model: any model.
        inputs: what its ``forward`` takes, a batch of one clip.
        name: name of the model, for the message.

    Raises:
        ArgumentError: the output lacks a field.
    """
    from torch.utils.flop_counter import FlopCounterMode

    saved: dict[int, int] = {}
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def keep(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        held.append(x)  # keep a reference: a reused address would be counted once
        return x

    held: list[Tensor] = []
    # Running statistics must not change, so the model is measured in evaluation mode, with gradients enabled.
    training = model.training
    model.eval()
    counter = FlopCounterMode(display=False)
    hooks: Any = torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x)
    state = torch.random.get_rng_state()
    try:
        with counter, hooks, nullcontext():
            output = model(*inputs)
    finally:
        model.train(training)
        torch.random.set_rng_state(state)
    check_output(name, model, output)
    return Costs(
        parameters=sum(p.numel() for p in model.parameters()),
        flops=counter.get_total_flops(),
        saved_bytes=sum(saved.values()),
        weight_bytes=sum(p.numel() * p.element_size() for p in model.parameters()),
    )


def describe_model(
    model: nn.Module,
    card: ModelCard,
    *,
    batch: int,
    optimizer: str,
    at_once: int | None = None,
    frames: int | None = None,
) -> str:
    """One line on the costs of training this model.

    The memory is an estimate: weights, gradients, the optimizer's state and the activations of one batch in float32,
    without the framework's overhead and the worker processes.

    Args:
        batch: clips per step.
        at_once: snippets whose activations are kept together; by default those of all clips.
        frames: frames of a clip, for a model that takes every frame.
    """
    contract = card.input
    if frames:
        return _describe_whole(model, card, batch=batch, optimizer=optimizer, frames=frames)
    clip = example_inputs(model, contract, 1, contract.snippets)
    costs = measure(model, clip, card.name)
    copies = {"sgd": 3, "adamw": 4}[optimizer]
    kept = batch if at_once is None else at_once / contract.snippets
    pixels = sum(x.nbytes for x in clip)
    memory = copies * costs["weight_bytes"] + kept * (costs["saved_bytes"] + pixels)
    return _format_costs(card, costs["parameters"], costs["flops"], "clip", memory)


def _network_name(card: ModelCard) -> str:
    return f"{card.name} on {backbone}" if (backbone := card.kwargs.get("backbone")) else card.name


def _format_costs(card: ModelCard, parameters: float, flops: float, clip: str, memory: float) -> str:
    return (
        f"{_network_name(card)}: {parameters / 1e6:.2f} M parameters, "
        f"{flops / 1e9:.2f} GFLOPs per {clip} (a multiply-add counts as two), about "
        f"{memory / 2**30:.1f} GiB of memory per step."
    )


def _describe_whole(model: nn.Module, card: ModelCard, *, batch: int, optimizer: str, frames: int) -> str:
    """`describe_model` for a model that takes every frame: extrapolates linearly from two short clips."""
    few, more = _MEASURED
    short, long = (
        measure(model, example_inputs(model, card.input, 1, count), card.name) for count in (few, more)
    )

    def slope(key: str) -> float:
        return (long[key] - short[key]) / (more - few)

    every, flops = batch * frames, long["flops"] + (frames - more) * slope("flops")
    together = every
    if isinstance(model, ReadsInParts):
        together = min(every, model.parts_of(every, card.input.size) or every)
    late = max(0.0, long["saved_bytes"] - more * slope("saved_bytes"))
    pixels = card.input.channels * card.input.size**2 * 5  # as raw pixels, and as floats
    copies = {"sgd": 3, "adamw": 4}[optimizer]
    memory = copies * long["weight_bytes"] + batch * late + together * slope("saved_bytes") + every * pixels
    return _format_costs(
        card, long["parameters"], max(flops, 0.0), f"clip of {counted(frames, 'frame')}", memory
    )


def report_start(
    settings: TrainSettings,
    manifest: Manifest,
    network: Network,
    fabric: Any,
    duration: Duration,
    at_once: int | None,
    reporter: Reporter,
) -> None:
    """Report the model, the data and the costs before the first step."""
    model, card = network.learner, network.card
    for note in manifest.notes:
        reporter.line(f"Note: {note}")
    for line in _describe_data(settings, manifest):
        reporter.line(line)
    optim = settings.optim
    length, *notes = duration.describe(optim)
    reporter.line(
        f"{length} of {optim.batch * optim.accumulate * fabric.world_size} "
        f"clips x {_snippets(settings, network)}; {optim.name}, "
        f"lr {optim.lr:g}, {optim.schedule} schedule."
    )
    for note in notes:
        reporter.line(note)
    if step := describe_step(settings, model, at_once):
        reporter.line(step)
    if duration.frozen:
        part = f"{min(duration.frozen, duration.steps)} of the {counted(duration.steps, 'step')}"
        what = "Only the classifier is trained"
        if isinstance(model, FreezesFirst):
            fixed = [name for name, module in model.named_modules() if module in model.frozen_first]
            what = f"Phase 1: {' and '.join(fixed)} is fixed except for its classifier"
        reporter.line(f"{what} in {part}.")
    try:
        every = optim.batch * settings.learned_snippets
        together = min(at_once or every, every)
        costs = describe_model(
            model,
            card,
            batch=optim.batch,
            optimizer=optim.name,
            at_once=together,
            frames=_usual_frames(settings, manifest) if model.sees.all_frames else None,  # type: ignore[union-attr]
        )
    except RuntimeError as error:  # raised by a layer whose input is too small, or by an allocator
        reason = str(error).splitlines()[0]
        full = isinstance(error, torch.cuda.OutOfMemoryError) or "allocate memory" in reason
        remedy = "(not enough memory). Lower" if full else f"({reason}). Increase"
        raise ArgumentError(
            f"{_network_name(card)} cannot process frames of {card.input.size} pixels {remedy} input.size."
        ) from None
    reporter.line(costs)
    reporter.line(
        f"On {fabric.world_size} x {fabric.device.type}, precision {fabric._precision.precision}, "
        f"{counted(settings.data.workers, 'reading process', 'reading processes')}."
    )


def _usual_frames(settings: TrainSettings, manifest: Manifest) -> int:
    """Frames of a training video: the median over some videos."""
    counts, grid = [], FrameGrid(settings.input.fps, settings.input.max_seconds)
    for record in manifest.to_train()[:_COUNTED]:
        try:
            video = open_video(record.path, time_limit_s=settings.data.time_limit_s)
            first, last = frame_range(record, video)
            frames = len(grid.of(video, first, last, record.end_s))
        except (VideoError, DataError):
            continue  # it is skipped and reported when it is read in training
        counts.append(frames)
    usual = int(statistics.median(counts)) if counts else 32
    return min(usual, settings.input.max_frames or usual)


def _snippets(settings: TrainSettings, network: Network) -> str:
    wanted, model = settings.input, network.model
    if network.rows is not None:
        return f"{counted(wanted.snippets, 'row')} of stored features"
    if not model.sees.all_frames:  # type: ignore[union-attr]
        each = f" of {wanted.frames} RGB frames" if wanted.frames > 1 else ""
        rate = describe_rate(wanted.fps, wanted.max_seconds)
        return f"{counted(wanted.snippets, 'snippet')}{each}{rate} of {wanted.size} px"
    text = "all frames" if wanted.max_frames is None else f"all frames (at most {wanted.max_frames})"
    text += describe_rate(wanted.fps, wanted.max_seconds)
    if wanted.sampled_epochs:
        text += (
            f" ({model.sees.together} sampled ones in the first {counted(wanted.sampled_epochs, 'epoch')})"  # type: ignore[union-attr]
        )
    return f"{text} of {wanted.size} px"


def _describe_data(settings: TrainSettings, manifest: Manifest) -> Iterator[str]:
    """The number of clips by data set and class."""
    counts = {name: [0, 0] for name in manifest.classes}
    for record in manifest.records:
        for label in record.labels:
            counts[label][0 if record.split == "train" else 1] += 1
    shares = {}
    for task, (start, end) in (manifest.tasks or {"": (0, len(counts))}).items():
        classes = dict(list(counts.items())[start:end])
        records = [*manifest.to_train(), *(r for r in manifest.records if r.split != "train")]
        records = [r for r in records if not task or r.labels[0] in classes]
        training = sum(record.split == "train" for record in records)
        each = [train for train, _ in classes.values()]
        yield (
            f"{task or manifest.name}: {counted(training, 'training clip')} of "
            f"{counted(len(classes), 'class', 'classes')} ({min(each)} to "
            f"{max(each)} each), {len(records) - training} held out."
        )
        if len(classes) <= 20:
            listed = ", ".join(
                f"{name.removeprefix(f'{task}/')} {train}+{held}" for name, (train, held) in classes.items()
            )
            yield f"  training + held-out clips per class: {listed}"
        shares[task] = len(classes) if settings.data.sampling == "class-uniform" else training
    if manifest.tasks:
        part = settings.optim.batch / sum(shares.values())
        mixed = ", ".join(f"{share * part:.1f} of {task}" for task, share in shares.items())
        yield f"One network with a classifier for each data set; a batch has on average {mixed}."
