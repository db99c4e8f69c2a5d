"""The frames of a video that a model takes. Importing this file does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from praxiscope.errors import ArgumentError

__all__ = ["Sees"]


@dataclass(frozen=True)
class Sees:
    """The frames of a video that a model takes.

    Attributes:
        frames: "sampled": S snippets of each video, batches [B, S, C, H, W]. "all": every frame of each video;
            ``forward`` also takes packed batches [N, C, H, W] with ``offsets``.
        together: snippets (for "all": clusters) that one score depends on. 1: each snippet is scored separately, and
            the score of a video is the consensus of the scores of its snippets. n: layers mix snippets; training and
            testing use n at a time. None: the model scores any number of snippets together.
        instants_apart: no layer mixes frames of different times, so a video may be scored one time at a time and the
            scores averaged. Always true if ``together`` is 1.
        streamable: the model has ``forward_stream``, which takes the frames of one video a few at a time, in memory
            that does not grow with their number. For "all" only.
        fixed_number: the model scores snippets together, but only as many as in training. For ``together=None`` only.
        least: the fewest snippets that a part of the model needs to learn something.

    Raises:
        ArgumentError: a value is invalid, or two values contradict each other.
    """

    frames: Literal["sampled", "all"] = "sampled"
    together: int | None = 1
    instants_apart: bool = False
    streamable: bool = False
    fixed_number: bool = False
    least: int = 1

    def __post_init__(self) -> None:
        if self.frames not in ("sampled", "all"):
            raise ArgumentError(f"frames must be 'sampled' or 'all', got {self.frames!r}")
        if self.together is not None and (type(self.together) is not int or self.together < 1):
            raise ArgumentError(f"together must be an integer of at least 1, or None, got {self.together!r}")
        if type(self.least) is not int or self.least < 1:
            raise ArgumentError(f"least must be an integer of at least 1, got {self.least!r}")
        if self.streamable and self.frames != "all":
            raise ArgumentError(f"streamable needs frames = 'all', got {self.frames!r}")
        if self.fixed_number and self.together is not None:
            raise ArgumentError(f"fixed_number needs together = None, got {self.together}")
        if self.together == 1 and self.frames == "sampled":
            object.__setattr__(self, "instants_apart", True)

    @property
    def all_frames(self) -> bool:
        """Whether the model takes every frame of a video."""
        return self.frames == "all"

    @property
    def any_number(self) -> bool:
        """Whether the model scores a video by any number of snippets, each alone or all together."""
        return self.together == 1 or (self.together is None and not self.fixed_number)

    @property
    def scores_snippets(self) -> bool:
        """Whether the output holds ``snippet_logits`` [B, S, K], whose ``consensus`` is ``logits``."""
        return self.frames == "sampled" and self.together is not None
