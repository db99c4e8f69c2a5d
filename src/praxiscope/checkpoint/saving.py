"""Write model folders. Folders and files are written atomically."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from praxiscope.checkpoint.card import FORMAT, ModelCard
from praxiscope.errors import CheckpointError
from praxiscope.run_folder import CARD_FILE, MODEL_FILE, OPTIMIZER_FILE, STATE_FILE

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

__all__ = ["save_card", "save_checkpoint", "write_json"]


def write_json(path: Path, content: Any) -> None:
    """Write JSON by an atomic rename: ``path`` holds either the old text or the whole new one."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    card: ModelCard,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    state: Mapping[str, Any] | None = None,
) -> None:
    """Write a model folder.

    Args:
        folder: replaced by one rename, so it is always complete.
        model: its state dict becomes ``model.safetensors``.
        card: becomes ``model.json``.
        optimizer, state: if both are given, training can resume from the folder.

    Raises:
        CheckpointError: the weights cannot be written.
    """
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    _save_tensors(model.state_dict(), temporary / MODEL_FILE)
    save_card(temporary, card)
    if optimizer is not None:
        tensors, scalars = _flatten_optimizer(model, optimizer)
        _save_tensors(tensors, temporary / OPTIMIZER_FILE)
        write_json(temporary / STATE_FILE, {**(state or {}), "optimizer": scalars})
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(temporary, folder)


def save_card(folder: Path, card: ModelCard) -> None:
    """Write ``model.json`` of a model folder atomically."""
    write_json(folder / CARD_FILE, {"format": FORMAT, **card.to_dict()})


def _save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    # safetensors refuses shared or strided storage: copy each tensor to new contiguous memory.
    copies = {name: x.detach().to("cpu").contiguous().clone() for name, x in tensors.items()}
    try:
        save_file(copies, str(path))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path}: cannot be written ({error}). Free some disk space, then resume from the last checkpoint with "
            "--resume."
        ) from error


def _flatten_optimizer(
    model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Optimizer state by parameter *name*, with tensors and numbers separate, so that no pickle is needed."""
    import torch

    names = {id(p): name for name, p in model.named_parameters()}
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, Any] = {}
    for parameter, entries in optimizer.state.items():
        for key, value in entries.items():
            name = f"{names[id(parameter)]}|{key}"
            if isinstance(value, torch.Tensor):
                tensors[name] = value
            elif value is not None:
                scalars[name] = value
    return tensors, scalars
