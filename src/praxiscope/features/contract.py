"""How features were computed: the contract of a feature store.

D features of a frame, C channels, h rows and w columns of a map, V views of a frame. Does not import torch.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any

from praxiscope.errors import ArgumentError, DataError

__all__ = ["DTYPES", "POOLS", "VIEWS", "FeatureContract", "check_sampling", "views_of"]

DTYPES = {"float32": 4, "float16": 2}
"""Types of stored values, and their bytes."""

POOLS = ("space", "none")
"""How a map [C, h, w] is stored: its mean over space, or the map itself."""

_PLACES = ("top left", "top right", "bottom left", "bottom right", "centre")
VIEWS: Mapping[str, tuple[str, ...]] = {
    "center": ("center",),
    "flip": ("center", "flip"),
    "crops": tuple(f"{place}{flipped}" for place in _PLACES for flipped in ("", ", flipped")),
}
"""Names of the views of a frame, in the order of the axis V: the centre crop; this and its horizontal flip; four
corners and the centre, each followed by its flip (the ten crops of the two-stream paper)."""

# Recorded, but without effect on which features can be compared.
_ABOUT = ("versions", "precision")


def check_sampling(sampling: Mapping[str, Any]) -> dict[str, Any]:
    """Return the frames of a video that have features: {"frames": n}, {"fps": f} or {"every": True}.

    Raises:
        ArgumentError: other content.
    """
    content = dict(sampling)
    if content == {"every": True}:
        return content
    name, value = next(iter(content.items()), ("", None))
    if len(content) == 1 and isinstance(value, int | float) and not isinstance(value, bool):
        if name == "frames" and value >= 1 and value == int(value):
            return {"frames": int(value)}
        if name == "fps" and 0 < value < math.inf:
            return {"fps": float(value)}
    raise ArgumentError(
        "sampling must be one of frames (1 or more), fps (above 0) and every, "
        f"such as {{'frames': 25}}; got {content!r}"
    )


def views_of(names: str) -> tuple[str, ...]:
    """Return the views for names separated by commas: center, flip, crops (which include the centre and its flip).

    Raises:
        ArgumentError: an unknown name.

    Example:
        >>> views_of("flip")
        ('center', 'flip')
    """
    given = [name.strip() for name in names.split(",")]
    for name in given:
        if name not in VIEWS:
            raise ArgumentError(f"views must be {', '.join(VIEWS)}, got {name!r}")
    return max((VIEWS[name] for name in given), key=len)


@dataclass(frozen=True)
class FeatureContract:
    """How the features of a store were computed. Stores with equal contracts hold the same features of the same video.

    Attributes:
        backbone: name of the network.
        stream: its input, "rgb" or "flow".
        weights: SHA-256 of its tensors without the classifier.
        layer: name of the layer; None for the input of the classifier.
        pool: "space": mean over rows and columns; "none": maps as they are.
        shape: of the features of one view, (D,) or (C, h, w).
        input: how frames are prepared, `praxiscope.checkpoint.InputContract` as a dictionary.
        sampling: the frames of a video: {"frames": 25}, {"fps": 2.0} or {"every": True}.
        views: names of the views of a frame, see `VIEWS`. With more than one, features have an axis V.
        dtype: "float32" or "float16".
        precision: in which the network ran, "32" or "bf16".
        versions: of praxiscope and torch.

    Raises:
        ArgumentError: a value that cannot be used.
    """

    backbone: str
    stream: str
    weights: str
    shape: tuple[int, ...]
    layer: str | None = None
    pool: str = "space"
    input: Mapping[str, Any] = field(default_factory=dict, hash=False)
    sampling: Mapping[str, Any] = field(default_factory=lambda: {"frames": 25}, hash=False)
    views: tuple[str, ...] = ("center",)
    dtype: str = "float32"
    precision: str = "32"
    versions: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for name, known in (("dtype", tuple(DTYPES)), ("pool", POOLS), ("stream", ("rgb", "flow"))):
            if getattr(self, name) not in known:
                raise ArgumentError(f"{name} must be {' or '.join(known)}, got {getattr(self, name)!r}")
        object.__setattr__(self, "shape", tuple(self.shape))
        object.__setattr__(self, "views", tuple(self.views))
        if not self.shape or any(type(side) is not int or side < 1 for side in self.shape):
            raise ArgumentError(f"shape must be whole numbers of 1 or more, got {self.shape}")
        if self.views not in VIEWS.values():
            raise ArgumentError(f"views must be one of {list(VIEWS.values())}, got {self.views}")
        object.__setattr__(self, "sampling", check_sampling(self.sampling))
        for name in (
            "input",
            "versions",
        ):  # as JSON returns them, so that contracts stay equal after a round trip
            object.__setattr__(self, name, json.loads(json.dumps(dict(getattr(self, name)))))

    def __str__(self) -> str:
        other = (
            ("input.mean", "input.std") if self.stream == "flow" else ("input.flow_mean", "input.flow_std")
        )
        shown = {
            name: value for name, value in self._flat().items() if value is not None and name not in other
        }
        return ", ".join(f"{name}={_shown(value)}" for name, value in shown.items())

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of the features of one frame: ``shape``, after V if there are several views."""
        return self.shape if len(self.views) == 1 else (len(self.views), *self.shape)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row on disk: its features, its time and its frame number."""
        return DTYPES[self.dtype] * math.prod(self.row_shape) + 16

    @cached_property  # each shard of a store is compared with it
    def digest(self) -> str:
        """SHA-256 of everything that decides the features; versions do not."""
        text = json.dumps(self._flat() | {"precision": self.precision}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _flat(self) -> dict[str, Any]:
        made = self.to_dict()
        given = made.pop("input")
        return {
            **{name: value for name, value in made.items() if name not in _ABOUT},
            **{f"input.{name}": value for name, value in given.items()},
        }

    def differences(self, other: FeatureContract) -> list[str]:
        """What differs from another contract: ``["backbone=resnet18 against resnet50"]``. Empty for features that can
        be compared. The versions and the precision that computed them are not compared."""
        mine, theirs = self._flat(), other._flat()
        return [
            f"{name}={_shown(mine.get(name, 'none'))} against {_shown(theirs.get(name, 'none'))}"
            for name in dict.fromkeys([*mine, *theirs])
            if mine.get(name) != theirs.get(name)
        ]

    def check_same(self, other: FeatureContract, where: str = "these features") -> None:
        """Raise DataError, which shows both contracts, if another contract differs.

        Args:
            other: the contract of other features.
            where: these features, for the message.
        """
        if found := self.differences(other):
            raise DataError(
                f"{where}: computed differently ({'; '.join(found)}). They are: {self}. Needed are: {other}."
            )

    def to_dict(self) -> dict[str, Any]:
        """The contract as plain values for JSON."""
        return json.loads(json.dumps(asdict(self)))

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> FeatureContract:
        """Create a contract from the result of `to_dict`. Raises DataError for invalid content."""
        names = {one.name for one in fields(FeatureContract)}
        if not isinstance(content, Mapping) or set(content) != names:
            raise DataError(
                f"a description of features must have the entries {', '.join(sorted(names))}, got {content!r}"
            )
        try:
            return FeatureContract(**content)
        except (ArgumentError, TypeError, ValueError) as error:
            raise DataError(f"invalid description of features: {error}") from error


def _shown(value: Any) -> str:
    if isinstance(value, str) and len(value) == 64:
        return value[:12]  # a digest
    if isinstance(value, list | tuple):
        return "x".join(map(str, value)) if all(isinstance(one, int) for one in value) else str(list(value))
    return "none" if value is None else str(value)
