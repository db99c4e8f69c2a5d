"""The flow of one video, wherever it is stored. n fields, H rows, W columns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from praxiscope.errors import ArgumentError, DataError
from praxiscope.flow.contract import FlowContract, Loss

__all__ = ["FlowClip"]


class FlowClip(ABC):
    """The stored flow of one video. It keeps no file open, so it can be pickled and outlives a fork.

    Attributes:
        path: the file or folder that holds it.
        contract: how it was made.
        frames: frames of the video that decode, T; there are T - 1 fields.
        height, width: of a field.
        source: ``name`` and ``bytes`` of the video file; empty where they are not known.
        loss: what storing cost, in the direction of `path`; nothing where it is not known.
        backward_remedy: how to have backward flow where there is none, as a sentence.
    """

    backward_remedy = "Run `praxiscope flow` on the videos with --backward."

    def __init__(
        self,
        path: Path,
        contract: FlowContract,
        *,
        frames: int,
        promised: int,
        size: tuple[int, int],
        source: dict[str, Any],
        loss: Loss,
    ) -> None:
        self.path, self.contract = path, contract
        self.frames, self._promised = frames, max(frames, promised)
        self.height, self.width = size
        self.source, self.loss = source, loss

    def __len__(self) -> int:
        """Number of fields, T - 1."""
        return self.frames - 1

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r}, {len(self)} fields)"

    def fits(self, frames: int) -> bool:
        """Whether this is the flow of a video with so many frames, as `len` or `Video.quick_length` count them.

        The two differ for a damaged video, whose packets promise more frames than decode.
        """
        return frames in (self.frames, self._promised)

    @property
    @abstractmethod
    def has_backward(self) -> bool:
        """Whether backward flow is stored as well."""

    @property
    @abstractmethod
    def bytes(self) -> int:
        """Bytes on disk, of the direction of `path`."""

    def fields(self, numbers: Sequence[int] | Tensor | NDArray[Any], *, backward: bool = False) -> Tensor:
        """Fields by number, in any order; one that is asked for repeatedly is decoded once.

        Args:
            numbers: 0 leads from frame 0 to frame 1. Where fewer frames decode than the video's packets promise, the
                last field stands in for those that the missing frames would have.
            backward: field t leads from frame t + 1 to frame t.

        Returns:
            float32 [n, 2, H, W] in pixels of the stored size, x first.

        Raises:
            ArgumentError: a number outside ``0 … len(self) - 1``.
            DataError: there is no backward flow.
            VideoError: the file cannot be read, or is damaged; with the field's number.
        """
        if backward and not self.has_backward:
            raise DataError(f"{self.path}: holds no backward flow. {self.backward_remedy}")
        wanted = [int(number) for number in numbers]
        for number in wanted:
            if not 0 <= number < self._promised - 1:
                raise ArgumentError(f"{self.path}: has fields 0 to {len(self) - 1}, got {number}")
        wanted = [min(number, len(self) - 1) for number in wanted]
        distinct = sorted(set(wanted))
        if not distinct:
            return torch.empty(0, 2, self.height, self.width)
        read = self._read(distinct, backward)
        if distinct == wanted:
            return read
        places = {number: place for place, number in enumerate(distinct)}
        return read[[places[number] for number in wanted]]

    @abstractmethod
    def _read(self, numbers: list[int], backward: bool) -> Tensor:
        """Fields by ascending, distinct numbers."""
