"""How flow was made and stored: the contract of a store, and the rounding that 8 bits cost.

n fields, H rows, W columns. Flow is float32 [n, 2, H, W] in pixels, x first; levels are uint8 of the same shape.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from praxiscope.errors import ArgumentError, DataError

if TYPE_CHECKING:  # a range is checked without torch
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
]

FRAME = "frame"
"""The range that keeps the smallest and the largest displacement of each field."""

UNKNOWN = "unknown"
"""The method of flow that another tool made."""

# Parameters that records of older versions do not name, with the values that they had then.
_UNNAMED: Mapping[str, Mapping[str, Any]] = {"tvl1": {"median": 3}}

_ZERO, _HALF = 128, 127.5  # the level of no motion, and levels on each side of it


@dataclass(frozen=True)
class FlowContract:
    """How flow was made: two stores with equal contracts hold the same flow of the same video.

    Attributes:
        method: the estimator's name; "unknown" where another tool made the flow.
        parameters: all of the estimator's, as JSON can hold them.
        range: the bound in pixels to which displacements are clipped, or "frame" (see `quantise`).
        short_side: pixels to which frames were scaled before; None for the video's own size.

    Raises:
        ArgumentError: a range or a size that cannot be.
    """

    method: str
    parameters: Mapping[str, Any] = field(hash=False)
    range: float | str = 20.0
    short_side: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "range", check_range(self.range))
        # As it comes back from JSON, so that equal contracts are equal before and after.
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
        """What differs, in words: ``warps=5 against 3, range=20 against frame``. Empty for equal contracts."""
        mine, theirs = self._flat(), other._flat()
        names = list(dict.fromkeys([*mine, *theirs]))
        if self.method != other.method:  # whose parameters have nothing in common
            names = ["method", "range", "short_side"]
        return ", ".join(
            f"{name}={mine.get(name, 'none')} against {theirs.get(name, 'none')}"
            for name in names
            if mine.get(name) != theirs.get(name)
        )

    def to_dict(self) -> dict[str, Any]:
        """The contract as JSON can hold it."""
        return {
            "method": self.method,
            "parameters": dict(self.parameters),
            "range": self.range,
            "short_side": self.short_side,
        }

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> FlowContract:
        """The contract that `to_dict` gave. Raises DataError for anything else."""
        kinds: dict[str, Any] = {
            "method": str,
            "parameters": Mapping,
            "range": (int, float, str),
            "short_side": (int, type(None)),
        }
        if not isinstance(content, Mapping) or set(content) != set(kinds):
            raise DataError(f"a description of flow has the entries {', '.join(kinds)}; got {content!r}")
        for name, kind in kinds.items():
            if not isinstance(content[name], kind) or isinstance(content[name], bool):
                raise DataError(f"a description of flow cannot have {name}={content[name]!r}")
        try:
            return FlowContract(**content)
        except ArgumentError as error:
            raise DataError(f"a description of flow is wrong: {error}") from error


STORAGES = ("ffv1", "jpeg")


def check_storage(storage: str) -> str:
    """The name, if flow can be stored so. Raises ArgumentError."""
    if storage not in STORAGES:
        raise ArgumentError(f"storage must be {' or '.join(STORAGES)}, got {storage!r}")
    return storage


def check_range(value: float | str) -> float | str:
    """The range as a number above 0 or "frame"; text that is a number counts as one. Raises ArgumentError."""
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
    """Round displacements to 8 bits.

    With a bound B, level 128 is no motion and a level is B / 127.5 pixels, as in the pictures of TSN's tools: exact
    zeros stay exact, [-B, B] is rounded by at most B / 255 pixels, and what lies outside is clipped. With "frame"
    the smallest displacement of a field's component is level 0 and its largest is level 255 (Simonyan and
    Zisserman, 2014, section 5); nothing is clipped, and no motion need not be a level.

    Args:
        flow: float32 [n, 2, H, W].
        range: a bound in pixels, or "frame".

    Returns:
        Levels, uint8 [n, 2, H, W], and limits, float32 [n, 2, 2]: the smallest and the largest displacement of each
        component with "frame", else zeros.

    Raises:
        DataError: a displacement that is no number.
    """
    import torch

    if not bool(torch.isfinite(flow).all()):
        raise DataError("the flow method returned NaN or infinite displacements")
    if range == FRAME:
        low, high = torch.aminmax(flow.flatten(2), dim=2)
        span = (high - low).clamp_min_(torch.finfo(torch.float32).tiny)
        levels = (flow - low[..., None, None]).div_(span[..., None, None]).mul_(255)
        limits = torch.stack((low, high), dim=-1)
    else:
        levels = (flow * (_HALF / float(range))).add_(_ZERO)
        limits = flow.new_zeros(len(flow), 2, 2)
    return levels.round_().clamp_(0, 255).to(torch.uint8), limits


def dequantise(levels: Tensor, limits: Tensor, range: float | str) -> Tensor:
    """Displacements in pixels from what `quantise` gave: float32 [n, 2, H, W]."""
    flow = levels.float()
    if range == FRAME:
        low, high = limits[..., 0, None, None], limits[..., 1, None, None]
        return flow.mul_((high - low) / 255).add_(low)
    return flow.sub_(_ZERO).mul_(float(range) / _HALF)


def through_store(flow: Tensor, contract: FlowContract) -> Tensor:
    """Flow as a store of this contract would give it back: rounded and clipped, float32 [n, 2, H, W]."""
    return dequantise(*quantise(flow, contract.range), contract.range)


@dataclass
class Loss:
    """What storing displacements cost, over all fields that were added.

    Attributes:
        values: displacements, clipped ones included.
        clipped: those outside the bound, which count in nothing below.
        squares: the sum of the others' squared errors, pixels^2.
        largest: their largest error, pixels.
    """

    values: int = 0
    clipped: int = 0
    squares: float = 0.0
    largest: float = 0.0

    def add(self, flow: Tensor, stored: Tensor, range: float | str) -> None:
        """Compare fields [n, 2, H, W] with what is read back of them."""
        # Field by field: the sum must not depend on how many come together.
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
        """Root of the mean squared error of what was not clipped, pixels."""
        return math.sqrt(self.squares / max(1, self.values - self.clipped))
