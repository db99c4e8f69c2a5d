"""The stored flow of one video, in any format. n fields, H rows, W columns."""

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
    """The stored flow of one video. It keeps no file open, so it can be pickled and used after a fork.

    Attributes:
        path: the file or folder that holds it.
        contract: how the flow was computed.
        frames: T, number of frames of the video that decode; there are T - 1 fields.
        height, width: of a field.
        source: ``name`` and ``bytes`` of the video file; empty if unknown.
        loss: the storage error, for the direction of `path`; zero if unknown.
        backward_remedy: a sentence on how to add missing backward flow.
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
        """Whether this is the flow of a video with this number of frames, counted by `len` or `Video.quick_length`.

        The two differ for a damaged video, whose packets indicate more frames than decode.
        """
        return frames in (self.frames, self._promised)

    @property
    @abstractmethod
    def has_backward(self) -> bool:
        """Whether backward flow is stored as well."""

    @property
    @abstractmethod
    def bytes(self) -> int:
        """Size on disk in bytes, for the direction of `path`."""

    def fields(self, numbers: Sequence[int] | Tensor | NDArray[Any], *, backward: bool = False) -> Tensor:
        """Read fields by index, in any order. A repeated index is decoded once.

        Args:
            numbers: field 0 leads from frame 0 to frame 1. If fewer frames decode than the packets of the video
                indicate, the last field replaces the fields of the missing frames.
            backward: field t leads from frame t + 1 to frame t.

        Returns:
            float32 [n, 2, H, W] in pixels of the stored size, x first.

        Raises:
            ArgumentError: an index outside ``0 … len(self) - 1``.
            DataError: the clip has no backward flow.
            VideoError: the file cannot be read or is damaged; the message gives the index of the field.
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
        """Read fields by ascending, distinct indices."""
