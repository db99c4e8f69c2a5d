"""Build the step of a run from its settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from praxiscope.checkpoint import InputContract
from praxiscope.layers.normalisation import statistics_held
from praxiscope.models.contract import LearnsFromFeatures
from praxiscope.progress import Reporter
from praxiscope.recipes.settings import TrainSettings
from praxiscope.steps import Step, StepParts
from praxiscope.steps.base import Loss
from praxiscope.steps.principal import RecordChoice
from praxiscope.steps.rows import Prepare, mixes_snippets, watching
from praxiscope.training.loader import example_inputs, preparer, waiting_bytes
from praxiscope.training.memory import fit_snippets
from praxiscope.types import Batch
from praxiscope.units import parse_size
from praxiscope.video.geometry import kind_of, resize

__all__ = ["check_network", "describe_step", "make_step", "resize_frames", "snippets_at_once"]

# Memory in bytes that a process needs in addition to the steps, for libraries that read, log and plot (measured).
_LATER = 80 * 2**20


def make_step(
    settings: TrainSettings,
    loss: Loss,
    tasks: Sequence[tuple[int, int]],
    contract: InputContract,
    device: torch.device,
    *,
    at_once: int | None,
    record_choice: RecordChoice = lambda ids, chosen: None,
) -> Step:
    """Build the step of a run. It takes raw batches.

    Args:
        settings: settings of the run.
        loss, tasks: see `praxiscope.steps.make_loss`.
        contract: how the model's input is normalised.
        device: device of the model.
        at_once: snippets per pass, see `snippets_at_once`.
        record_choice: called with the snippets that a step chooses.
    """
    prepare = preparer(settings, contract, device)

    def prepare_at(size: int) -> Prepare:
        return lambda batch: prepare(resize_frames(batch, size))

    parts = StepParts(settings.step_input, loss, tasks, prepare, prepare_at, device, at_once, record_choice)
    return settings.backprop.build(parts)


def resize_frames(batch: Batch, size: int) -> Batch:
    """Resize the RGB frames and the flow of a batch to ``size`` x ``size`` pixels."""
    streams = {
        name: resize(x, (size, size), kind_of(name)) if x.ndim >= 4 else x
        for name, x in batch.streams.items()
    }
    return replace(batch, streams=streams)


def snippets_at_once(
    settings: TrainSettings, model: nn.Module, contract: InputContract, fabric: Any, reporter: Reporter
) -> int | None:
    """The number of snippets per pass through the network: as set, or as many as fit in ``backprop.memory``.

    Args:
        settings: settings of the run.
        model: the unwrapped model on its device; it is not changed.
        contract: the input of the model.
        fabric: a launched ``Fabric``.
        reporter: reports the result.

    Returns:
        None for all snippets that are learned from.

    Raises:
        ArgumentError: the memory is too small for one snippet.
    """
    given, step = settings.step_input, settings.backprop
    learned = step.learned_snippets(given.snippets)
    every = given.batch * learned
    split = step.takes_features and isinstance(model, LearnsFromFeatures)
    unit = learned if mixes_snippets(model) and not split else 1
    device = next(model.parameters()).device

    def run(snippets: int) -> None:
        inputs = example_inputs(model, contract, snippets // unit, unit)
        with statistics_held(model), fabric.autocast():
            if isinstance(model, LearnsFromFeatures) and split:
                _run_parts(model, inputs[0], given.batch, learned)
            else:
                model(*inputs).logits.float().sum().backward()
        for parameter in model.parameters():
            parameter.grad = None

    def fit(memory: str) -> int:
        weights = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
        extra = {"sgd": 1, "adamw": 2}[settings.optim.name] * weights
        if device.type == "cpu":
            extra += waiting_bytes(settings, contract) + _LATER
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            count = fit_snippets(run, parse_size(memory), device, most=every, unit=unit, extra=extra)
        if fabric.world_size > 1:  # all processes must use the same chunks
            count = int(fabric.all_reduce(torch.tensor(float(count), device=device), reduce_op="min"))
        reporter.line(f"{count} of the {every} snippets of a step fit in {memory} in one pass.")
        return count

    return step.snippets_at_once(given, fit)


def _run_parts(model: LearnsFromFeatures, frames: torch.Tensor, videos: int, snippets: int) -> None:
    """One pass of the features of ``frames`` [n, 1, C, H, W], and one of the scores of a whole batch."""
    features = model.features(frames)
    if features.requires_grad:
        torch.autograd.backward(features.float().sum())
    whole = features.detach()[:1].expand(videos, snippets, *features.shape[2:]).clone().requires_grad_()
    torch.autograd.backward(model.score(whole).logits.float().sum())


def check_network(settings: TrainSettings, model: nn.Module, contract: InputContract) -> None:
    """Raise ArgumentError if the network does not fit the settings of the step."""

    def forward(size: int) -> None:
        with watching(model), torch.no_grad():
            model(*example_inputs(model, replace(contract, size=size), 1, 1))

    settings.backprop.check_network(forward)


def describe_step(settings: TrainSettings, model: nn.Module, at_once: int | None) -> str | None:
    """One line about the step of a run; None if there is nothing special to report."""
    learns = any(isinstance(module, _BatchNorm) and module.training for module in model.modules())
    return settings.backprop.describe(settings.step_input, at_once, learns)
