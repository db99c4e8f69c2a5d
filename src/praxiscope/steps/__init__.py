"""Steps compute a gradient: ``step(model, batch, backward) -> StepOutput``. The training loop depends on none of
them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from praxiscope._lazy import submodules

if TYPE_CHECKING:
    from praxiscope.steps.base import Step, StepOutput, TaskLoss, call_model, make_loss
    from praxiscope.steps.learn import learn_at_once, learn_in_chunks
    from praxiscope.steps.registered import list_steps, register_step
    from praxiscope.steps.settings.base import StepInput, StepParts, StepSettings

__all__ = [
    "Step",
    "StepInput",
    "StepOutput",
    "StepParts",
    "StepSettings",
    "TaskLoss",
    "call_model",
    "learn_at_once",
    "learn_in_chunks",
    "list_steps",
    "make_loss",
    "register_step",
]

_FILES = {
    "base": ("Step", "StepOutput", "TaskLoss", "call_model", "make_loss"),
    "learn": ("learn_at_once", "learn_in_chunks"),
    "registered": ("list_steps", "register_step"),
    "settings.base": ("StepInput", "StepParts", "StepSettings"),
}
_submodule = submodules(__name__)


def __getattr__(name: str) -> Any:  # settings of steps are read without torch
    for file, names in _FILES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{file}"), name)
    return _submodule(name)
