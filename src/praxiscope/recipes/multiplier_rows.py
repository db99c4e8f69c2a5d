"""The rows of Tables 2 and 3 of the multiplier networks' paper, as changes to the model, with what the paper measured.

C. Feichtenhofer, A. Pinz, R. P. Wildes, "Spatiotemporal Multiplier Networks for Video Action Recognition", CVPR 2017.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["MultiplierRow", "multiplier_rows"]

_DIRECTIONS = {"motion-to-appearance": "<-", "appearance-to-motion": "->", "both": "<->"}
_PLACES = {"last": "in conv5", "shortcut": "in every shortcut", "residual": "in every residual branch"}


@dataclass(frozen=True)
class MultiplierRow:
    """A row.

    Attributes:
        table: "Table 2" or "Table 3".
        title: in words; <- is from motion into appearance.
        changes: keywords of `praxiscope.models.multiplier.multiplier`.
        errors: of the paper, %, on the first splits of UCF-101 and HMDB51.
    """

    table: str
    title: str
    changes: Mapping[str, Any]
    errors: tuple[float, float]


def multiplier_rows() -> dict[str, MultiplierRow]:
    """The rows by name, in the paper's order; Table 3's first is Table 2's "residual-multiplicative"."""
    rows: dict[str, MultiplierRow] = {}
    for name, gate, direction, errors in (
        ("direct-additive", "direct-additive", "motion-to-appearance", (24.78, 54.85)),
        ("direct-multiplicative", "direct-multiplicative", "motion-to-appearance", (81.98, 77.89)),
        ("residual-additive", "residual-additive", "motion-to-appearance", (9.38, 41.89)),
        ("residual-multiplicative", "residual-multiplicative", "motion-to-appearance", (8.72, 37.23)),
        ("reverse-additive", "residual-additive", "appearance-to-motion", (16.76, 49.54)),
        ("reverse-multiplicative", "residual-multiplicative", "appearance-to-motion", (16.68, 48.43)),
        ("both-multiplicative", "residual-multiplicative", "both", (15.15, 48.56)),
    ):
        title = f"{gate.replace('-', ' ')} {_DIRECTIONS[direction]}"
        rows[name] = MultiplierRow("Table 2", title, {"gate": gate, "direction": direction}, errors)
    for place, taps, pooled, errors in (
        ("last", "average", False, (7.85, 35.29)),
        ("shortcut", "average", False, (7.72, 35.96)),
        ("residual", "average", False, (7.45, 35.94)),
        ("shortcut", "centre", False, (7.61, 34.72)),
        ("last", "centre", False, (7.74, 34.90)),
        ("residual", "centre", False, (7.79, 34.38)),
        ("shortcut", "centre", True, (6.74, 34.05)),
        ("residual", "centre", True, (6.00, 30.98)),
    ):
        name = f"{taps}-{place}{'-max' if pooled else ''}"
        title = f"convolutions along time {_PLACES[place]}, from {taps}{', max over time' if pooled else ''}"
        changes: dict[str, Any] = {"temporal": place, "taps": taps, "pool_window": 5 if pooled else None}
        rows[name] = MultiplierRow("Table 3", title, changes, errors)
    return rows
