"""Principal backpropagation: watch many snippets of a video, learn from few. See `praxiscope.steps.principal`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from praxiscope.errors import ArgumentError
from praxiscope.steps.registered import register_step
from praxiscope.steps.settings.base import ChunkedStepSettings, StepInput, StepParts

if TYPE_CHECKING:
    from praxiscope.steps.base import Step

__all__ = ["PrincipalSettings", "Rule"]

Rule = Literal["max", "kl", "random"]

# Section V.B: "max" chooses best for flow, "kl" for RGB.
_RULES: dict[str, Rule] = {"rgb": "kl", "flow": "max"}


@register_step
class PrincipalSettings(ChunkedStepSettings):
    """Watch all snippets without a gradient, and backpropagate the few that represent the video best."""

    name: Literal["principal"] = "principal"
    choose: int | None = Field(None, ge=1, description="number of snippets to learn from")
    rule: Rule | None = Field(None, description="which snippets to choose; None: kl for RGB, max for flow")
    candidates: int = Field(100, ge=1, description="maximum number of subsets to compare")
    watch_statistics: Literal["running", "batch"] = Field(
        "running", description="statistics by which trainable BatchNorm normalises watched snippets"
    )
    watch_size: int | None = Field(
        None, ge=8, description="pixels to which frames are resized for watching; None: input.size"
    )
    watch_precision: Literal["same", "bf16"] = Field(
        "same", description="precision of watching: that of training, or bfloat16"
    )

    @model_validator(mode="after")
    def _chooses(self) -> PrincipalSettings:
        if self.choose is None:
            raise ValueError("name = principal needs choose, the number of snippets to learn from")
        return self

    def learned_snippets(self, snippets: int) -> int:
        return self.choose or snippets

    def rule_for(self, stream: str) -> Rule:
        """The chosen rule, or the one that the paper recommends for a stream."""
        return self.rule or _RULES.get(stream, "kl")

    def check_input(self, given: StepInput) -> None:
        if (self.choose or 0) > given.snippets:
            raise ValueError(
                f"backprop.choose = {self.choose} must not be larger than input.snippets = {given.snippets}"
            )
        if (self.watch_size or 0) > given.size:
            raise ValueError(
                f"backprop.watch_size = {self.watch_size} must not be larger than input.size = {given.size}"
            )

    def check_network(self, forward: Callable[[int], None]) -> None:
        if self.watch_size is None:
            return
        try:
            forward(self.watch_size)
        except RuntimeError as error:
            raise ArgumentError(
                f"backprop.watch_size = {self.watch_size}: the network cannot process frames of this size "
                f"({str(error).splitlines()[0]}). Increase it."
            ) from None

    def describe(self, given: StepInput, at_once: int | None, batchnorm_learns: bool) -> str | None:
        m, n = given.snippets, self.learned_snippets(given.snippets)
        text = f"Learns from all {m} snippets of each video."
        if n < m:
            text = (
                f"Watches {m} snippets of each video and learns from {n} of them "
                f"(rule {self.rule_for(given.stream)})."
            )
        chunks = super().describe(given, at_once, batchnorm_learns)
        if chunks:
            return f"{text} {chunks}"
        return text if n < m else None

    def build(self, parts: StepParts) -> Step:
        import torch

        from praxiscope.steps.learn import cached
        from praxiscope.steps.principal import WatchOptions, principal

        given, every = parts.given, self._all(parts.given)
        if self.learned_snippets(given.snippets) == given.snippets:
            return cached(self.learn(parts), parts.tasks)
        low = self.watch_precision == "bf16"
        return principal(
            self.learn(parts),
            WatchOptions(
                parts.prepare if self.watch_size is None else parts.prepare_at(self.watch_size),
                context=(lambda: torch.autocast(parts.device.type, torch.bfloat16)) if low else nullcontext,
                statistics=self.watch_statistics,
                chunk=min(every, parts.at_once or every),
            ),
            n=self.learned_snippets(given.snippets),
            rule=self.rule_for(given.stream),
            candidates=self.candidates,
            tasks=parts.tasks,
            record_choice=parts.record_choice,
        )
