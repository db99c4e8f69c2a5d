"""The optimiser and the plan of a training run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from praxiscope.checkpoint import load_model_weights, load_optimizer
from praxiscope.layers.depthwise import depthwise_in_float32
from praxiscope.progress import Reporter
from praxiscope.recipes.settings import TrainSettings
from praxiscope.training.duration import Duration
from praxiscope.training.loop import Plan, TrainState
from praxiscope.training.network import Network
from praxiscope.training.optim import make_optimizer, parameter_groups
from praxiscope.training.resuming import make_schedule

__all__ = ["make_plan", "set_up"]


def set_up(
    settings: TrainSettings,
    network: Network,
    fabric: Any,
    state: TrainState,
    resumed: Path | None,
    notes: Sequence[str],
    reporter: Reporter,
) -> tuple[nn.Module, Any]:
    """Return the module that a step calls and its optimizer, set up for all devices.

    Args:
        settings, network, fabric, state: of the run.
        resumed: the checkpoint of a run that is resumed, whose weights and optimizer are loaded.
        notes: lines about a new length of a resumed run.
        reporter: reports that the run is resumed.
    """
    optim = settings.optim
    groups = parameter_groups(
        network.model,
        lr=optim.lr,
        weight_decay=optim.weight_decay,
        classifier_lr_scale=optim.classifier_lr_scale,
        first_conv_lr_scale=optim.first_conv_lr_scale,
        trunk_lr_scale=optim.trunk_lr_scale,
        policy=optim.policy,
    )
    if fabric.device.type == "cpu":
        depthwise_in_float32(network.model)
    model, optimizer = fabric.setup(
        network.learner, make_optimizer(optim.name, groups, momentum=optim.momentum)
    )
    if resumed is not None:
        load_model_weights(resumed, network.model)
        load_optimizer(resumed, network.model, getattr(optimizer, "optimizer", optimizer))
        fabric._precision.load_state_dict(state.precision)
        reporter.line(f"Resumed after step {state.step} (epoch {state.epoch + 1}).")
        for line in notes:
            reporter.line(line)
    return model, optimizer


def make_plan(settings: TrainSettings, duration: Duration) -> Plan:
    """The plan of a run of this length."""
    optim = settings.optim
    return Plan(
        steps=duration.steps,
        steps_per_epoch=duration.steps_per_epoch,
        schedule=make_schedule(optim, duration),
        lr=optim.lr,
        accumulate=optim.accumulate,
        clip_norm=optim.clip_norm,
        seed=settings.run.seed,
        checkpoint_steps=settings.run.checkpoint_steps,
        patience=optim.patience,
        validate_first=optim.probe,
    )
