"""Start Fabric: device, precision and processes of a run."""

from __future__ import annotations

import logging
import os
import warnings
from typing import Any

import torch

from praxiscope.devices import pick_device
from praxiscope.evaluation.views import bf16_pays
from praxiscope.models.names import takes_flow_targets
from praxiscope.recipes.settings import TrainSettings

__all__ = ["launch"]


def launch(settings: TrainSettings) -> Any:
    """A launched ``lightning_fabric.Fabric`` for a run's settings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lightning_fabric import Fabric

        # The summary of the run reports this once, instead of every process.
        for name in ("lightning_fabric", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.WARNING)
        run, precision = settings.run, settings.run.precision
        name = run.accelerator
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        device = pick_device(name)
        if precision == "auto":
            precision = "bf16" if bf16_pays(device) else "32"
        devices, nodes = _processes(run.devices, run.nodes)
        fabric = Fabric(
            accelerator=device.type,
            devices=devices if device.index is None else [device.index],
            num_nodes=nodes,
            strategy=_strategy(devices * nodes, settings),
            precision={"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}[precision],
        )
        fabric.launch()
    if settings.run.deterministic:
        torch.use_deterministic_algorithms(True)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return fabric


def _strategy(processes: int, settings: TrainSettings) -> str:
    """Fabric's name for the strategy. While the backbone is frozen, or without flow to learn, some
    parameters have no gradient."""
    if processes == 1:
        return "auto"
    return (
        "ddp_find_unused_parameters_true"
        if settings.optim.frozen_epochs or settings.optim.frozen_steps or _leaves_decoder(settings)
        else "ddp"
    )


def _leaves_decoder(settings: TrainSettings) -> bool:
    """Whether a network that can learn flow learns classes alone."""
    return takes_flow_targets(settings.model.name) and not settings.backprop.learns_flow


def _processes(devices: int, nodes: int) -> tuple[int, int]:
    """Processes per machine and number of machines, from the settings or from torchrun."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return devices, nodes
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return local, int(os.environ.get("WORLD_SIZE", "1")) // local
