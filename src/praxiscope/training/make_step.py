"""From the settings of how a gradient is made to the step that makes it.

B videos of a batch, m snippets watched, n learned from.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from praxiscope.checkpoint import InputContract
from praxiscope.errors import ArgumentError
from praxiscope.layers.normalisation import statistics_held
from praxiscope.progress import Reporter
from praxiscope.recipes.settings import TrainSettings
from praxiscope.steps import Step, cached, learn_at_once, learn_in_chunks, ordinary
from praxiscope.steps.base import Loss
from praxiscope.steps.principal import NoteChoice, principal
from praxiscope.steps.rows import Prepare, mixes_snippets, watching
from praxiscope.training.loader import example_inputs, preparer, waiting_bytes
from praxiscope.training.memory import fit_snippets
from praxiscope.types import Batch
from praxiscope.units import parse_size
from praxiscope.video.geometry import kind_of, resize

__all__ = [
    "check_watching",
    "default_rule",
    "describe_backprop",
    "learned_snippets",
    "make_step",
    "snippets_at_once",
]

# Section V.B: the largest loss chooses best of flow, the nearest distribution of pictures.
_RULES = {"rgb": "kl", "flow": "max"}


# What a process takes besides once it trains, in bytes: libraries for reading, logging and pictures, measured.
_LATER = 80 * 2**20


def default_rule(settings: TrainSettings) -> str:
    """The rule that was asked for, or the paper's for the stream."""
    return settings.backprop.rule or _RULES.get(settings.model.keywords().get("stream", "rgb"), "kl")


def learned_snippets(settings: TrainSettings) -> int:
    """Snippets of a video that are learned from."""
    return settings.backprop.choose or settings.input.snippets


def make_step(
    settings: TrainSettings,
    loss: Loss,
    tasks: Sequence[tuple[int, int]],
    contract: InputContract,
    device: torch.device,
    *,
    at_once: int | None,
    note_choice: NoteChoice,
) -> tuple[Step, Prepare]:
    """The step of a run, and what the loop must do to a batch before it.

    Args:
        loss, tasks: see `praxiscope.steps.make_loss`.
        at_once: snippets in one pass, see `snippets_at_once`.
        note_choice: takes what was chosen of each batch.
    """
    wanted, prepare = settings.backprop, preparer(settings, contract, device)
    if wanted.name == "full":
        return ordinary(loss, tasks), prepare
    every = settings.optim.batch * learned_snippets(settings)
    whole = at_once is None or at_once >= every
    learn = learn_at_once(loss, prepare) if whole else learn_in_chunks(loss, prepare, at_once or every)
    if wanted.name == "cached" or learned_snippets(settings) == settings.input.snippets:
        return cached(learn, tasks), _as_read
    watch = prepare
    if wanted.watch_size is not None:
        smaller = wanted.watch_size
        watch = lambda batch: prepare(shrink(batch, smaller))  # noqa: E731
    low = wanted.watch_precision == "bf16"
    step = principal(
        learn,
        n=learned_snippets(settings),
        rule=default_rule(settings),  # type: ignore[arg-type]
        prepare=watch,
        context=(lambda: torch.autocast(device.type, torch.bfloat16)) if low else nullcontext,
        statistics=wanted.watch_statistics,
        chunk=min(every, at_once or every),
        candidates=wanted.candidates,
        tasks=tasks,
        note_choice=note_choice,
    )
    return step, _as_read


def _as_read(batch: Batch) -> Batch:
    return batch


def shrink(batch: Batch, size: int) -> Batch:
    """The same batch with its pictures and flow ``size`` pixels wide and high."""
    streams = {
        name: resize(x, (size, size), kind_of(name)) if x.ndim >= 4 else x
        for name, x in batch.streams.items()
    }
    return replace(batch, streams=streams)


def snippets_at_once(
    settings: TrainSettings, model: nn.Module, contract: InputContract, fabric: Any, reporter: Reporter
) -> int | None:
    """How many snippets go through the network in one pass: as set, or as many as ``backprop.memory`` holds.

    Args:
        model: bare, on its device; it is left as it was.

    Returns:
        None: all that are learned from.

    Raises:
        ArgumentError: the memory is too small for one.
    """
    wanted = settings.backprop
    every = settings.optim.batch * learned_snippets(settings)
    if wanted.chunk is not None:
        return min(wanted.chunk, every)
    if wanted.memory is None:
        # Three snippets of each video are what TSN learns from.
        return min(every, 3 * settings.optim.batch) if wanted.name == "cached" else None
    unit = learned_snippets(settings) if mixes_snippets(model) else 1
    device = next(model.parameters()).device
    weights = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    extra = {"sgd": 1, "adamw": 2}[settings.optim.name] * weights
    if device.type == "cpu":
        extra += waiting_bytes(settings, contract) + _LATER

    def run(snippets: int) -> None:
        inputs = example_inputs(model, contract, snippets // unit, unit)
        with statistics_held(model), fabric.autocast():
            model(*inputs).logits.float().sum().backward()
        for parameter in model.parameters():
            parameter.grad = None

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        count = fit_snippets(run, parse_size(wanted.memory), device, most=every, unit=unit, extra=extra)
    if fabric.world_size > 1:  # all processes must cut alike
        count = int(fabric.all_reduce(torch.tensor(float(count), device=device), reduce_op="min"))
    reporter.line(
        f"{count} of the {every} snippets of a step go through the network at once, within {wanted.memory}."
    )
    return count


def check_watching(settings: TrainSettings, model: nn.Module, contract: InputContract) -> None:
    """Raise ArgumentError where the network cannot take watched snippets of ``backprop.watch_size`` pixels."""
    size = settings.backprop.watch_size
    if size is None:
        return
    try:
        with watching(model), torch.no_grad():
            model(*example_inputs(model, replace(contract, size=size), 1, 1))
    except RuntimeError as error:
        raise ArgumentError(
            f"backprop.watch_size = {size}: {settings.model.backbone} cannot take such frames: "
            f"{str(error).splitlines()[0]}"
        ) from None


def describe_backprop(settings: TrainSettings, model: nn.Module, at_once: int | None) -> str | None:
    """One line on how the gradient is made; None where it is made as everywhere."""
    wanted, m, n = settings.backprop, settings.input.snippets, learned_snippets(settings)
    learning = any(isinstance(module, _BatchNorm) and module.training for module in model.modules())
    every = settings.optim.batch * n
    text = None
    if wanted.name == "principal" and n < m:
        text = f"Watches {m} snippets of a video and learns from {n} of them (rule {default_rule(settings)})."
    if at_once is not None and at_once < every:
        text = (
            f"{text or f'Learns from all {m} snippets of a video.'} {at_once} of {every} snippets at a time"
        )
        text += (
            "; BatchNorm learns and sees only these together (model.batchnorm=frozen: the gradient of all together)."
            if learning
            else ", with the gradient of all together."
        )
    return text
