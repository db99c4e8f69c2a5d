"""The step of models that learn actions and flow together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from praxiscope.steps.registered import register_step
from praxiscope.steps.settings.base import StepInput, StepParts, StepSettings

if TYPE_CHECKING:
    from praxiscope.steps.base import Step

__all__ = ["ActionFlowSettings"]


@register_step
class ActionFlowSettings(StepSettings):
    """Backpropagate the loss of the classes and that of the estimated flow, in one pass."""

    name: Literal["action-flow"] = "action-flow"
    flow_weight: float = Field(
        1.0, ge=0, description="weight of the loss of estimated flow (lambda); 0: learn classes alone"
    )
    resolution_weights: tuple[Annotated[float, Field(ge=0)], ...] | None = Field(
        None,
        min_length=1,
        description="weights of flow at each resolution, the finest first (alpha); None: those of FlowNetS, or 1",
    )

    @property
    def learns_flow(self) -> bool:
        return self.flow_weight > 0

    def describe(self, given: StepInput, at_once: int | None, batchnorm_learns: bool) -> str | None:
        if not self.learns_flow:
            return "Learns classes alone, without flow (backprop.flow_weight = 0)."
        return f"Learns classes and, with weight {self.flow_weight:g}, flow."

    def build(self, parts: StepParts) -> Step:
        from praxiscope.steps.action_flow import action_flow

        return action_flow(
            parts.loss,
            parts.tasks,
            flow_weight=self.flow_weight,
            weights=self.resolution_weights,
            prepare=parts.prepare,
        )
