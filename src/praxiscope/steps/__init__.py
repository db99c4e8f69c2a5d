"""Ways of making a gradient: ``step(model, batch, backward) -> StepOutput``. The loop never knows which runs."""

from praxiscope.steps.base import Step, StepOutput, TaskLoss, call_model, make_loss
from praxiscope.steps.learn import cached, learn_at_once, learn_in_chunks
from praxiscope.steps.ordinary import ordinary

__all__ = [
    "Step",
    "StepOutput",
    "TaskLoss",
    "cached",
    "call_model",
    "learn_at_once",
    "learn_in_chunks",
    "make_loss",
    "ordinary",
]

from praxiscope._lazy import submodules

__getattr__ = submodules(__name__)
