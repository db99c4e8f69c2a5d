"""The exact gradient of all snippets, with the memory for a few."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from praxiscope.steps.registered import register_step
from praxiscope.steps.settings.base import ChunkedStepSettings, StepInput, StepParts

if TYPE_CHECKING:
    from praxiscope.steps.base import Step

__all__ = ["CachedSettings"]


@register_step
class CachedSettings(ChunkedStepSettings):
    """Backpropagate all snippets, a few at a time, with a second forward pass."""

    takes_features: ClassVar[bool] = True

    name: Literal["cached"] = "cached"

    def default_chunk(self, given: StepInput) -> int | None:
        # TSN learns from three snippets of each video.
        return min(3 * given.batch, self._all(given))

    def describe(self, given: StepInput, at_once: int | None, batchnorm_learns: bool) -> str | None:
        chunks = super().describe(given, at_once, batchnorm_learns)
        return chunks and f"Learns from all {given.snippets} snippets of each video. {chunks}"

    def build(self, parts: StepParts) -> Step:
        from praxiscope.steps.learn import cached

        return cached(self.learn(parts), parts.tasks)
