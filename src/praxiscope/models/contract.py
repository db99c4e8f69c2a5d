"""What a model promises to the rest of the package, which reads these facts and never a model's name.

Importing this file does not import torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict

from praxiscope.errors import ArgumentError

__all__ = ["Normalisation", "Sees"]


class Normalisation(TypedDict):
    """How an input is normalised: (x - mean) / std for each channel. RGB is in [0, 1], flow in pixels."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Sees:
    """What a model takes of a video.

    Attributes:
        frames: "sampled": S snippets of each video, batches [B, S, C, H, W]. "all": every frame of each video, however
            many; ``forward`` also takes packed batches [N, C, H, W] with ``offsets``.
        together: snippets (of "all": clusters) that one score depends on. 1: every snippet is scored by itself, and a
            video's score is the consensus of its snippets' scores. n: layers mix the snippets, and training and testing
            show n of them together. None: the model scores any number of snippets as a whole.
        instants_apart: no layer mixes instants, so that a video may be shown one instant at a time and its scores
            averaged. Always so where ``together`` is 1.
        streamable: the model has ``forward_stream``, which takes the frames of one video a few at a time, in memory
            that does not grow with their number. For "all" only.

    Raises:
        ArgumentError: a value is none of these, or two contradict each other.
    """

    frames: Literal["sampled", "all"] = "sampled"
    together: int | None = 1
    instants_apart: bool = False
    streamable: bool = False

    def __post_init__(self) -> None:
        if self.frames not in ("sampled", "all"):
            raise ArgumentError(f"frames must be 'sampled' or 'all', got {self.frames!r}")
        if self.together is not None and (type(self.together) is not int or self.together < 1):
            raise ArgumentError(
                f"together must be a whole number of 1 or more, or None, got {self.together!r}"
            )
        if self.streamable and self.frames != "all":
            raise ArgumentError(f"streamable needs frames = 'all', got {self.frames!r}")
        if self.together == 1 and self.frames == "sampled":
            object.__setattr__(self, "instants_apart", True)

    @property
    def all_frames(self) -> bool:
        """Whether the model takes every frame of a video."""
        return self.frames == "all"

    @property
    def scores_snippets(self) -> bool:
        """Whether the output holds ``snippet_logits`` [B, S, K], whose ``consensus`` is ``logits``."""
        return self.frames == "sampled" and self.together is not None
