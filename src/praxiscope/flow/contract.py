"""How flow was computed and stored: the contract of a store, and quantisation to 8 bits.

n fields, H rows, W columns. Flow is float32 [n, 2, H, W] in pixels, x first; levels are uint8 of the same shape.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from praxiscope.errors import ArgumentError, DataError

if TYPE_CHECKING:  # ranges are checked without torch
    from torch import Tensor

__all__ = [
    "FRAME",
    "STORAGES",
    "UNKNOWN",
    "FlowContract",
    "Loss",
    "check_range",
    "check_storage",
    "dequantise",
    "quantise",
    "through_store",
    "through_store_arrays",
]

FRAME = "frame"
"""The range in which each field is scaled by its own smallest and largest displacement."""

UNKNOWN = "unknown"
"""The method of flow that another tool computed."""

# Parameters that older versions did not record, with the values that they had.
_UNNAMED: Mapping[str, Mapping[str, Any]] = {"tvl1": {"median": 3}}

_NOT_FINITE = "the flow method returned NaN or infinite displacements"
_TINY = float(np.finfo(np.float32).tiny)
_ZERO, _HALF = 128, 127.5  # the level of zero motion, and the levels on each side of it


@dataclass(frozen=True)
class FlowContract:
    """How flow was computed. Two stores with equal contracts hold the same flow for the same video.

    Attributes:
        method: the estimator's name; "unknown" if another tool computed the flow.
        parameters: all parameters of the estimator, as plain values for JSON.
        range: the bound in pixels to which displacements are clipped, or "frame" (see `quantise`).
        short_side: short side in pixels to which frames were resized first; None for the original size.

    Raises:
        ArgumentError: an invalid range or size.
    """

    method: str
    parameters: Mapping[str, Any] = field(hash=False)
    range: float | str = 20.0
    short_side: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "range", check_range(self.range))
        # Convert as JSON does, so that contracts stay equal after a round trip.
        parameters = {**_UNNAMED.get(self.method, {}), **self.parameters}
        object.__setattr__(self, "parameters", json.loads(json.dumps(parameters)))
        if self.short_side is not None and self.short_side < 1:
            raise ArgumentError(f"short_side must be at least 1 pixel, got {self.short_side}")

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self._flat().items())

    def _flat(self) -> dict[str, Any]:
        made = {"method": self.method, **dict(sorted(self.parameters.items()))}
        short_side = "native" if self.short_side is None else self.short_side
        shown = self.range if isinstance(self.range, str) else f"{self.range:g}"
        return {**made, "range": shown, "short_side": short_side}

    def difference(self, other: FlowContract) -> str:
        """Describe the differences: ``warps=5 against 3, range=20 against frame``. Empty for equal contracts."""
        mine, theirs = self._flat(), other._flat()
        names = list(dict.fromkeys([*mine, *theirs]))
        if self.method != other.method:  # their parameters cannot be compared
            names = ["method", "range", "short_side"]
        return ", ".join(
            f"{name}={mine.get(name, 'none')} against {theirs.get(name, 'none')}"
            for name in names
            if mine.get(name) != theirs.get(name)
        )

    def to_dict(self) -> dict[str, Any]:
        """The contract as plain values for JSON."""
        return {
            "method": self.method,
            "parameters": dict(self.parameters),
            "range": self.range,
            "short_side": self.short_side,
        }

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> FlowContract:
        """Create a contract from the result of `to_dict`. Raises DataError for invalid content."""
        kinds: dict[str, Any] = {
            "method": str,
            "parameters": Mapping,
            "range": (int, float, str),
            "short_side": (int, type(None)),
        }
        if not isinstance(content, Mapping) or set(content) != set(kinds):
            raise DataError(
                f"a description of flow must have the entries {', '.join(kinds)}, got {content!r}"
            )
        for name, kind in kinds.items():
            if not isinstance(content[name], kind) or isinstance(content[name], bool):
                raise DataError(f"a description of flow cannot have {name}={content[name]!r}")
        try:
            return FlowContract(**content)
        except ArgumentError as error:
            raise DataError(f"invalid description of flow: {error}") from error


STORAGES = ("ffv1", "jpeg")


def check_storage(storage: str) -> str:
    """Return the name of a storage format. Raises ArgumentError if it is unknown."""
    if storage not in STORAGES:
        raise ArgumentError(f"storage must be {' or '.join(STORAGES)}, got {storage!r}")
    return storage


def check_range(value: float | str) -> float | str:
    """Return the range as a number above 0 or "frame"; strings are converted. Raises ArgumentError for an invalid
    range."""
    if value == FRAME:
        return FRAME
    try:
        bound = float(value)
    except ValueError:
        bound = math.nan
    if not 0 < bound <= 10_000:
        raise ArgumentError(
            f"range must be 'frame' or a bound in pixels above 0 and at most 10000, got {value!r}"
        )
    return bound


def quantise(flow: Tensor, range: float | str) -> tuple[Tensor, Tensor]:
    """Quantise displacements to 8 bits.

    With a bound B, level 128 is zero motion and a level is B / 127.5 pixels, as in the images of TSN's tools. Zeros are
    exact, values in [-B, B] have an error of at most B / 255 pixels, and values outside are clipped. With "frame" the
    smallest displacement of each component of a field is level 0 and its largest is level 255 (Simonyan and Zisserman,
    2014, section 5). Nothing is clipped, and zero motion may fall between two levels.

    Args:
        flow: float32 [n, 2, H, W].
        range: a bound in pixels, or "frame".

    Returns:
        Levels, uint8 [n, 2, H, W], and limits, float32 [n, 2, 2]: the smallest and the largest displacement of each
        component with "frame", else zeros.

    Raises:
        DataError: a displacement is nan or infinite.
    """
    import torch

    if not bool(torch.isfinite(flow).all()):
        raise DataError(_NOT_FINITE)
    low, high = torch.aminmax(flow.flatten(2), dim=2) if range == FRAME else flow.new_zeros(2, len(flow), 2)
    levels = _levels(flow, low, high, range)
    return levels.to(torch.uint8), torch.stack((low, high), dim=-1)


def dequantise(levels: Tensor, limits: Tensor, range: float | str) -> Tensor:
    """Convert the result of `quantise` to displacements in pixels: float32 [n, 2, H, W]."""
    flow: Tensor = _pixels(levels.float(), limits[..., 0], limits[..., 1], range)
    return flow


def through_store(flow: Tensor, contract: FlowContract) -> Tensor:
    """Quantise and dequantise flow as a store with this contract does: float32 [n, 2, H, W]."""
    return dequantise(*quantise(flow, contract.range), contract.range)


def through_store_arrays(flow: NDArray[np.float32], contract: FlowContract) -> NDArray[np.float32]:
    """What `through_store` returns, as an array; torch need not be installed."""
    if not np.isfinite(flow).all():
        raise DataError(_NOT_FINITE)
    low, high = flow.min((2, 3)), flow.max((2, 3))
    levels = _levels(flow, low, high, contract.range)
    pixels: NDArray[np.float32] = _pixels(levels, low, high, contract.range)
    return pixels


def _levels(flow: Any, low: Any, high: Any, range: float | str) -> Any:
    """Levels as floats, of tensors or arrays, with the smallest and the largest displacement [n, 2] of each field."""
    if range == FRAME:
        levels = flow - low[..., None, None]
        levels /= (high - low).clip(_TINY)[..., None, None]
        levels *= 255
    else:
        levels = flow * (_HALF / float(range))
        levels += _ZERO
    return levels.round().clip(0, 255)


def _pixels(levels: Any, low: Any, high: Any, range: float | str) -> Any:
    """The inverse of `_levels`, in place."""
    if range == FRAME:
        levels *= (high - low)[..., None, None] / 255
        levels += low[..., None, None]
    else:
        levels -= _ZERO
        levels *= float(range) / _HALF
    return levels


@dataclass
class Loss:
    """The error of stored displacements, over all added fields.

    Attributes:
        values: number of displacements, including clipped ones.
        clipped: number of displacements outside the bound, which the errors below exclude.
        squares: sum of squared errors, pixels^2.
        largest: largest error, pixels.
    """

    values: int = 0
    clipped: int = 0
    squares: float = 0.0
    largest: float = 0.0

    def add(self, flow: Tensor, stored: Tensor, range: float | str) -> None:
        """Add fields [n, 2, H, W] and their stored values."""
        # Add field by field, so that the sum does not depend on the number of fields per call.
        for before, after in zip(flow, stored, strict=True):
            error = (after - before).abs_()
            if range != FRAME:
                outside = before.abs() > float(range)
                self.clipped += int(outside.sum())
                error.masked_fill_(outside, 0)
            self.values += error.numel()
            self.squares += float(error.double().square_().sum())
            self.largest = max(self.largest, float(error.max()))

    def __iadd__(self, other: Loss) -> Loss:
        self.values += other.values
        self.clipped += other.clipped
        self.squares += other.squares
        self.largest = max(self.largest, other.largest)
        return self

    @property
    def root_mean_square(self) -> float:
        """Root mean squared error of the displacements that were not clipped, pixels."""
        return math.sqrt(self.squares / max(1, self.values - self.clipped))
