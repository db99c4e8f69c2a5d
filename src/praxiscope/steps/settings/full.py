"""The ordinary step: one forward and one backward pass over all snippets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from praxiscope.steps.registered import register_step
from praxiscope.steps.settings.base import StepParts, StepSettings

if TYPE_CHECKING:
    from praxiscope.steps.base import Step

__all__ = ["FullSettings"]


@register_step
class FullSettings(StepSettings):
    """Backpropagate all snippets in one pass."""

    name: Literal["full"] = "full"

    def build(self, parts: StepParts) -> Step:
        from praxiscope.steps.ordinary import ordinary

        return ordinary(parts.loss, parts.tasks, prepare=parts.prepare)
