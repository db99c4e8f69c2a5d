"""Untrained full-video networks in folders, for tests of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from praxiscope.checkpoint import InputContract, ModelCard, save_checkpoint
from praxiscope.models import create_model

LABELS = ("red", "green", "blue")


def save_model(
    folder: Path, name: str = "full-video", seed: int = 0, multi_label: bool = False, **arguments: Any
) -> Path:
    """A model folder of a small network with BatchNorm statistics of its own."""
    torch.manual_seed(seed)
    arguments = {"num_classes": 3, "backbone": "resnet18", **arguments}
    model = create_model(name, **arguments)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    card = ModelCard(
        name, arguments, LABELS, multi_label=multi_label, input=InputContract(size=32, short_side=32)
    )
    save_checkpoint(folder, model, card)
    return folder
