"""Tables of paired comparisons from scores files, and a picture of the differences."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

from praxiscope.bench.folds import read_folder
from praxiscope.data.manifest import load_records
from praxiscope.errors import ArgumentError, unknown_name
from praxiscope.evaluation.comparison import Difference, System, compare, holm, interval, read_system
from praxiscope.evaluation.scores import Scores
from praxiscope.run_folder import HELD_OUT_FILE, SCORES_FILE

__all__ = [
    "Comparison",
    "compare_systems",
    "draw_differences",
    "find_system",
    "groups_of",
    "pair_rows",
    "system_rows",
]

SYSTEMS_HEADER = ["system", "videos", "groups", "runs", "accuracy", "95 % interval", "deviation of runs"]
PAIRS_HEADER = [
    "difference",
    "mean",
    "95 % interval",
    "right alone",
    "p, groups",
    "Holm",
    "p, McNemar",
    "excluded above",
    "can be shown",
]


def find_system(text: str) -> System:
    """Read the system that ``NAME=FILES`` names.

    Args:
        text: FILES is a scores file, a glob of them, a run with ``scores.npz``, or a folder of runs of
            ``praxiscope bench folds``. Without ``NAME=``, the name is that of the file or folder.

    Raises:
        ArgumentError: no file is found.
        ScoresError: the files do not fit.
    """
    name, equals, place = text.partition("=")
    if not equals or Path(text).exists():
        place = text
        name = Path(text).resolve().name if Path(text).is_dir() else Path(text).stem
    if not name:
        raise ArgumentError(f"{text}: names no system. Give NAME=FILES.")
    folder = Path(place)
    if folder.is_dir():
        own = folder / SCORES_FILE
        return read_system(name, [Scores.load(own)]) if own.is_file() else read_folder(name, folder)
    found = glob.glob(place, recursive=True)  # noqa: PTH207
    files = [place] if folder.is_file() else [file for file in found if Path(file).name != HELD_OUT_FILE]
    if not files:
        raise ArgumentError(f"{place}: no such file. Give NAME=FILES, scores files of praxiscope test --out.")
    return read_system(name, [Scores.load(Path(file)) for file in sorted(files, key=_in_order)])


def _in_order(file: str) -> list[str | int]:
    """Numbers in names count as numbers: seed 2 is before seed 10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", file)]


def groups_of(systems: Sequence[System], data: str | None) -> dict[str, str]:
    """The group of each video: that of a data set, or without one the video itself."""
    found = {video: video for system in systems for video in system.ids}
    if data is not None:
        known = {record.id: record.source for record in load_records(data, random_split=False).records}
        if missing := [video for video in found if video not in known]:
            raise ArgumentError(f"--groups {data}: has no video {missing[0]}. Give the data of the tests.")
        found = {video: known[video] for video in found}
    return found


@dataclass(frozen=True)
class Comparison:
    """Systems and their differences.

    Attributes:
        systems: the systems.
        groups: the group of each video.
        pairs: the names of two systems, of which the second is subtracted from the first; None: all pairs, a later
            system minus an earlier one.

    Raises:
        ArgumentError: two systems have one name.
        ScoresError: two systems were tested on different videos.
    """

    systems: Sequence[System]
    groups: Mapping[str, str]
    pairs: Sequence[tuple[str, str]] | None = None

    def __post_init__(self) -> None:
        names = [system.name for system in self.systems]
        if len(set(names)) < len(names):
            raise ArgumentError(f"two systems have one name ({', '.join(names)}). Give NAME=FILES.")

    @cached_property
    def differences(self) -> dict[tuple[str, str], Difference]:
        """The difference of each pair."""
        known = {system.name: system for system in self.systems}
        pairs = self.pairs
        if pairs is None:
            pairs = [(other, one) for one, other in combinations(known, 2)]
        return {(one, other): compare(known[one], known[other], self.groups) for one, other in pairs}


def compare_systems(texts: Sequence[str], data: str | None = None, against: str | None = None) -> Comparison:
    """Compare systems that were tested on the same videos.

    Args:
        texts: the systems, see `find_system`; two or more.
        data: the data set of the tests, for the groups of its videos. None: each video is a group of its own.
        against: compare all with this one only. None: all pairs.

    Raises:
        ArgumentError, ScoresError, DataError: files, names or data cannot be used.
    """
    if len(texts) < 2:
        raise ArgumentError("give two or more systems to compare, each as NAME=FILES")
    systems = [find_system(text) for text in texts]
    names = [system.name for system in systems]
    if against is not None and against not in names:
        raise unknown_name("system", against, names)
    pairs = None if against is None else [(name, against) for name in names if name != against]
    return Comparison(systems, groups_of(systems, data), pairs)


def system_rows(found: Comparison) -> list[dict[str, Any]]:
    """The accuracy of each system."""
    rows = []
    for system in found.systems:
        groups = [found.groups[video] for video in system.ids]
        low, high = interval(system.each, groups)
        spread = float(system.accuracies.std(ddof=1)) if len(system.accuracies) > 1 else None
        rows.append(
            {
                "system": system.name,
                "videos": len(system.ids),
                "groups": len(set(groups)),
                "runs": len(system.accuracies),
                "accuracy": float(system.each.mean()),
                "low": low,
                "high": high,
                "deviation": spread,
            }
        )
    return rows


def pair_rows(found: Comparison) -> list[dict[str, Any]]:
    """The difference of each pair."""
    adjusted = holm([pair.p for pair in found.differences.values()])
    rows = []
    for ((one, other), pair), p in zip(found.differences.items(), adjusted, strict=True):
        rows.append(
            {
                "one": one,
                "other": other,
                **pair._asdict(),
                "holm": p,
                "excluded_above": pair.largest,
                "can_show": pair.can_show,
            }
        )
    return rows


def system_cells(row: Mapping[str, Any]) -> list[str]:
    """A row of `system_rows` as text."""
    spread = "" if row["deviation"] is None else f"{row['deviation']:.3f}"
    return [
        row["system"],
        *(str(row[name]) for name in ("videos", "groups", "runs")),
        f"{row['accuracy']:.3f}",
        f"{row['low']:.3f} to {row['high']:.3f}",
        spread,
    ]


def pair_cells(row: Mapping[str, Any]) -> list[str]:
    """A row of `pair_rows` as text."""
    least, most = min(row["mcnemar"]), max(row["mcnemar"])
    p = _p(least) if least == most else f"{_p(least)} to {_p(most)}"
    return [
        f"{row['one']} - {row['other']}",
        f"{row['mean']:+.3f}",
        f"{row['low']:+.3f} to {row['high']:+.3f}",
        " / ".join(_count(count) for count in row["alone"]),
        _p(row["p"]),
        _p(row["holm"]),
        p,
        f"{row['excluded_above']:.3f}",
        f"{row['can_show']:.3f}",
    ]


def draw_differences(found: Comparison, place: Path) -> None:
    """Draw the differences with their intervals, one line for each pair."""
    from matplotlib.figure import Figure

    rows = pair_rows(found)
    figure = Figure(figsize=(7.5, 1.1 + 0.38 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place_y, row in enumerate(reversed(rows)):
        shown = row["holm"] < 0.05
        values = [100 * row[name] for name in ("low", "mean", "high")]
        axes.plot([values[0], values[2]], [place_y, place_y], color="#1f5fa8" if shown else "#8a8f98", lw=2)
        axes.plot(values[1], place_y, "o", color="#1f5fa8" if shown else "#8a8f98", ms=6)
    axes.axvline(0, color="black", lw=0.8)
    axes.set_yticks(range(len(rows)), [f"{row['one']} - {row['other']}" for row in reversed(rows)])
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_xlabel("difference of accuracy, points (95 % interval over groups; blue: p < 0.05 after Holm)")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.savefig(place, dpi=150)


def _p(value: float) -> str:
    return f"{value:.2g}" if value > 0 else "< 1e-300"  # of a float that is too small


def _count(count: float) -> str:
    """A mean number of videos, with three digits, or all of a larger one."""
    return f"{count:.3g}" if count < 1000 else f"{count:.0f}"
