"""Model files: safetensors for the weights, JSON for everything else. Loading them executes no code.

A model folder holds ``model.safetensors`` and ``model.json``. A run folder holds several model folders under
``checkpoints/``, and ``run.json``, which names the last and the best of them. ``run.json`` is replaced atomically after
the folder that it names is complete, so a killed run leaves a usable checkpoint.

Importing this package does not import torch.
"""

from praxiscope.checkpoint.card import (
    CHOICE_OF_FRAMES,
    FlowInput,
    InputContract,
    ModelCard,
    is_calibration,
    load_card,
)
from praxiscope.checkpoint.loading import load_model_weights, load_optimizer, load_state, load_tensors
from praxiscope.checkpoint.runs import (
    check_recogniser,
    find_card,
    find_checkpoint,
    is_fused,
    kept_checkpoints,
    point_to,
    read_pointer,
)
from praxiscope.checkpoint.saving import save_card, save_checkpoint, write_json

__all__ = [
    "CHOICE_OF_FRAMES",
    "FlowInput",
    "InputContract",
    "ModelCard",
    "check_recogniser",
    "find_card",
    "find_checkpoint",
    "is_calibration",
    "is_fused",
    "kept_checkpoints",
    "load_card",
    "load_model_weights",
    "load_optimizer",
    "load_state",
    "load_tensors",
    "point_to",
    "read_pointer",
    "save_card",
    "save_checkpoint",
    "write_json",
]
