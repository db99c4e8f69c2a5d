"""Read weights, optimizer state and training state from a model folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from praxiscope.errors import CheckpointError
from praxiscope.run_folder import CARD_FILE, MODEL_FILE, OPTIMIZER_FILE, STATE_FILE

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

__all__ = ["load_model_weights", "load_optimizer", "load_state", "load_tensors"]


def load_tensors(folder: Path) -> dict[str, Tensor]:
    """The weights of a model folder, by name. Raises CheckpointError if they are missing or damaged."""
    return _read_tensors(folder / MODEL_FILE)


def load_model_weights(
    folder: Path, model: nn.Module, block: tuple[int, int] | None = None, left_out: Sequence[str] = ()
) -> None:
    """Load ``model.safetensors`` into ``model``, and check every name and shape.

    Args:
        folder: the model folder.
        model: the network that its card describes.
        block: first class of one task and the class after its last (``ModelCard.tasks``). The classifier of ``model``
            gets the rows of these classes.
        left_out: names of submodules that ``model`` lacks; their tensors, if there are any, are not read.

    Raises:
        CheckpointError: tensors are missing, unexpected or have the wrong shape; the message names the first ones.
    """
    path = folder / MODEL_FILE
    tensors = _read_tensors(path, left_out)
    wanted = model.state_dict()
    if block is not None:
        # Only the classifier's tensors depend on the number of classes.
        others = [
            name for name in tensors.keys() & wanted.keys() if tensors[name].shape != wanted[name].shape
        ]
        tensors |= {name: tensors[name][slice(*block)] for name in others}
    missing = sorted(wanted.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - wanted.keys())
    shapes = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in sorted(wanted.keys() & tensors.keys())
        if tensors[name].shape != wanted[name].shape
    ]
    problems = [
        f"{what}: {', '.join(names[:3])}{' …' if len(names) > 3 else ''} ({len(names)})"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("wrong shape", shapes))
        if names
    ]
    if problems:
        raise CheckpointError(f"{path}: does not match the model in {CARD_FILE}. {'; '.join(problems)}.")
    model.load_state_dict(tensors)


def load_state(folder: Path) -> dict[str, Any]:
    """Read the training state saved with a model.

    Raises:
        CheckpointError: the folder holds only a model, or the state is damaged.
    """
    state = _read_state(folder)
    del state["optimizer"]
    return state


def load_optimizer(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Restore the saved optimizer state.

    Raises:
        CheckpointError: the folder holds only a model, or the state does not match the model.
    """
    import torch

    entries: dict[str, Any] = {**_read_tensors(folder / OPTIMIZER_FILE), **_read_state(folder)["optimizer"]}
    parameters = dict(model.named_parameters())
    for name, value in entries.items():
        parameter_name, _, key = name.rpartition("|")
        parameter = parameters.get(parameter_name)
        if parameter is None:
            raise CheckpointError(
                f"{folder}: holds optimizer state for {parameter_name!r}, which the model does not have."
            )
        if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
            value = value.to(parameter.device)
            # Keep the parameter's memory format (channels last), because another would change the rounding of sums.
            buffer = torch.empty_like(parameter, dtype=value.dtype)
            value = buffer.copy_(value)
        optimizer.state[parameter][key] = value


def _read_state(folder: Path) -> dict[str, Any]:
    path = folder / STATE_FILE
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{folder}: holds no training state to resume from ({error}). Start a new run, or start from these "
            "weights with --weights."
        ) from error
    if not isinstance(state, dict) or not isinstance(state.get("optimizer"), dict):
        raise CheckpointError(f"{path}: not a training state. Start a new run.")
    return state


def _read_tensors(path: Path, left_out: Sequence[str] = ()) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    try:
        if not left_out:
            return load_file(str(path))
        with safe_open(str(path), framework="pt") as file:
            wanted = [name for name in file.keys() if name.partition(".")[0] not in left_out]  # noqa: SIM118
            return {name: file.get_tensor(name) for name in wanted}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error}).") from error
