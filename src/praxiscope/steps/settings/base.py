"""The base classes of steps that can be chosen by name: settings, checks, description, memory rule and builder.

Nothing here imports torch. A step imports it in ``build``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, field_validator, model_validator

from praxiscope.section import Section, Text
from praxiscope.units import parse_size

if TYPE_CHECKING:
    import torch

    from praxiscope.steps.base import Loss, Step
    from praxiscope.steps.learn import Learn
    from praxiscope.steps.principal import RecordChoice
    from praxiscope.steps.rows import Prepare

__all__ = ["ChunkedStepSettings", "StepInput", "StepParts", "StepSettings"]


@dataclass(frozen=True)
class StepInput:
    """The batches that a step receives.

    Attributes:
        batch: videos in a batch.
        snippets: snippets that are read of each video.
        size: width and height of a frame, in pixels.
        stream: what the model sees: "rgb", "flow" or "both".
    """

    batch: int
    snippets: int
    size: int
    stream: str


@dataclass(frozen=True)
class StepParts:
    """What a step is built from.

    Attributes:
        given: the batches that it will receive.
        loss: (logits [B, K], targets) -> mean loss.
        tasks: first class of each task and the class after its last; empty for a single task.
        prepare: moves a batch to the device and converts it to augmented, normalised floats.
        prepare_at: (pixels) -> the same function, which also resizes frames to this many pixels.
        device: where the model is.
        at_once: snippets per pass through the network; None for all.
        record_choice: called with the ids of a batch's videos and the chosen snippets, int64 [B, n].
    """

    given: StepInput
    loss: Loss
    tasks: Sequence[tuple[int, int]]
    prepare: Prepare
    prepare_at: Callable[[int], Prepare]
    device: torch.device
    at_once: int | None
    record_choice: RecordChoice


class StepSettings(Section):
    """Base class of the settings of a step.

    A subclass gives ``name`` a default, adds its own settings as fields and overrides ``build``. The other methods
    have defaults that fit a step which learns from every snippet it is given.

    Attributes:
        needs_snippets: the step handles the snippets of a video separately, so it needs a model that scores each.
        takes_features: such a step also handles models that first compute features of each snippet
            (`praxiscope.models.contract.LearnsFromFeatures`).

    Example:
        >>> @register_step
        ... class Halved(StepSettings):
        ...     name: Literal["halved"] = "halved"
        ...
        ...     def build(self, parts: StepParts) -> Step: ...
    """

    needs_snippets: ClassVar[bool] = False
    takes_features: ClassVar[bool] = False

    name: str

    @property
    def learns_flow(self) -> bool:
        """Whether the step needs targets of flow, and a model that estimates flow
        (`praxiscope.models.contract.EstimatesFlow`)."""
        return False

    @property
    def memory_limit(self) -> str | None:
        """The memory that a step may use, such as 6GiB; None for no limit."""
        return None

    def learned_snippets(self, snippets: int) -> int:
        """How many of the ``snippets`` of a video are backpropagated."""
        return snippets

    def check_input(self, given: StepInput) -> None:
        """Raise ValueError where the settings do not fit the batches."""

    def check_network(self, forward: Callable[[int], None]) -> None:
        """Raise ArgumentError where the network does not fit the settings.

        Args:
            forward: runs the network, without a gradient, on a blank frame of this many pixels.
        """

    def snippets_at_once(self, given: StepInput, fit: Callable[[str], int]) -> int | None:
        """The number of snippets per pass through the network; None for all that are learned from.

        Args:
            given: the batches.
            fit: measures how many snippets fit in a memory such as "6GiB".
        """
        return None

    def describe(self, given: StepInput, at_once: int | None, batchnorm_learns: bool) -> str | None:
        """One line for the summary of a run; None if there is nothing special to report."""
        return None

    def build(self, parts: StepParts) -> Step:
        """Build the step. It takes raw batches: uint8 frames on the CPU."""
        raise NotImplementedError


class ChunkedStepSettings(StepSettings):
    """Settings of steps that can process a batch in chunks of a few snippets, to use less memory."""

    needs_snippets: ClassVar[bool] = True

    memory: Text | None = Field(
        None, description="memory that a step may use, such as 6GiB; determines chunk"
    )
    chunk: int | None = Field(None, ge=1, description="snippets per pass through the network")

    @field_validator("memory")
    @classmethod
    def _is_a_size(cls, text: str | None) -> str | None:
        if text is not None:
            parse_size(text)
        return text

    @model_validator(mode="after")
    def _has_one_limit(self) -> ChunkedStepSettings:
        if self.memory is not None and self.chunk is not None:
            raise ValueError(f"memory = {self.memory} determines chunk = {self.chunk}; set only one of them")
        return self

    @property
    def memory_limit(self) -> str | None:
        return self.memory

    def snippets_at_once(self, given: StepInput, fit: Callable[[str], int]) -> int | None:
        if self.chunk is not None:
            return min(self.chunk, self._all(given))
        return self.default_chunk(given) if self.memory is None else fit(self.memory)

    def default_chunk(self, given: StepInput) -> int | None:
        """Snippets per pass if neither ``chunk`` nor ``memory`` is set; None for all."""
        return None

    def describe(self, given: StepInput, at_once: int | None, batchnorm_learns: bool) -> str | None:
        every = self._all(given)
        if at_once is None or at_once >= every:
            return None
        note = (
            "BatchNorm normalises each pass separately; set model.batchnorm=frozen for the exact gradient"
            if batchnorm_learns
            else "the gradient is the same as in one pass"
        )
        return f"{at_once} of the {every} snippets of a step are processed in one pass ({note})."

    def learn(self, parts: StepParts) -> Learn:
        """How the snippets are backpropagated: all in one pass, or in chunks."""
        from praxiscope.steps.learn import learn_at_once, learn_in_chunks

        if parts.at_once is None or parts.at_once >= self._all(parts.given):
            return learn_at_once(parts.loss, parts.prepare)
        return learn_in_chunks(parts.loss, parts.prepare, parts.at_once)

    def _all(self, given: StepInput) -> int:
        return given.batch * self.learned_snippets(given.snippets)
