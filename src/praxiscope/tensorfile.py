"""Read tensors from weights files of other tools, without unpickling."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from praxiscope.errors import CheckpointError

__all__ = ["State", "digest_of", "read_tensors"]

State = dict[str, Tensor]

_CONTAINERS = ("state_dict", "model_state_dict", "model")


def read_tensors(path: str | Path) -> State:
    """Return the tensors of a weights file by name.

    Args:
        path: a torch state dict (also nested under "state_dict" or "model"), .safetensors, or .npz.

    Raises:
        CheckpointError: the file does not exist, cannot be read, or has no tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such weights file")
    try:
        content: Any
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                content = {name: torch.from_numpy(np.asarray(arrays[name])) for name in arrays.files}
        elif path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content = load_file(path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about pickle protocols
                content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each format raises many types of errors; all mean the same to the caller
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        if "weights_only" in reason or "allow_pickle" in reason:
            # The message of the library advises to disable the protection.
            reason = "not a weights file, or it contains pickled objects, which are never loaded"
        raise CheckpointError(
            f"{path}: cannot be read as weights ({reason}). Expected a torch state dict without pickled objects, "
            ".safetensors, or .npz"
        ) from error
    for container in _CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(container), Mapping):
            content = content[container]
    tensors = content.items() if isinstance(content, Mapping) else ()
    state = {str(name): value for name, value in tensors if isinstance(value, Tensor)}
    if not state:
        raise CheckpointError(
            f"{path}: contains no named tensors. Save network.state_dict(), not the network itself."
        )
    return state


def digest_of(state: Mapping[str, Tensor]) -> str:
    """A digest of named tensors: 16 hexadecimal digits. Equal names and values give equal digests."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
