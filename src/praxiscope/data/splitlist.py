"""``split.csv``: the split of each video in a run."""

from __future__ import annotations

import csv
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from praxiscope.checkpoint import find_checkpoint, load_card
from praxiscope.run_folder import SPLIT_FILE
from praxiscope.types import VideoRecord

__all__ = ["SplitList", "trained_on", "write_split"]


@dataclass(frozen=True)
class SplitList:
    """The list in a run or model folder. It may be missing.

    Attributes:
        folder: of the run or model.
        task: one task of a run on several data sets. Its videos and classes then have the names of their own set.
    """

    folder: Path
    task: str | None = None

    @property
    def path(self) -> Path:
        """The path of the list, or None if there is none."""
        return self.folder / SPLIT_FILE

    def sides(self) -> dict[str, str]:
        """Split by id. Empty if the list is missing or damaged."""
        return {name: side for name, _, side in self._rows() if side}

    def copy_to(self, folder: Path, trained: Collection[str] = ()) -> None:
        """Copy the list to another folder, if there is one; videos of ``trained`` are in the split "train" there."""
        if self.path.is_file():
            rows = ((name, label, "train" if name in trained else side) for name, label, side in self._rows())
            _write(folder / SPLIT_FILE, rows)

    def _rows(self) -> Iterator[tuple[str, str, str]]:
        """Id, labels and split of each video."""
        if not self.path.is_file():
            return
        prefix = "" if self.task is None else f"{self.task}/"
        with self.path.open(newline="", encoding="utf-8", errors="replace") as file:
            for row in csv.DictReader(file):
                name = row.get("id") or ""
                if name and name.startswith(prefix):
                    label, side = row.get("label") or "", row.get("split") or ""
                    yield name.removeprefix(prefix), label.removeprefix(prefix), side


def trained_on(weights: str | Path | None) -> frozenset[str]:
    """Ids of the videos that the network of a run or model folder was trained on.

    Empty if there is no list, as for a file of weights, and for a model on features, whose network was not trained. A
    network that has learned these videos scores them better than new ones.
    """
    sides = {} if weights is None else SplitList(Path(weights)).sides()
    if weights is None or not sides or load_card(find_checkpoint(weights)).features:
        return frozenset()
    return frozenset(name for name, side in sides.items() if side == "train")


def write_split(folder: Path, records: Iterable[VideoRecord]) -> None:
    """Write the list of a run. It holds ids, so it applies to a packed copy of the same videos, too."""
    _write(folder / SPLIT_FILE, ((r.id, "|".join(r.labels), r.split or "") for r in records))


def _write(path: Path, rows: Iterable[tuple[str, str, str]]) -> None:
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "label", "split"))
        writer.writerows(rows)
    os.replace(temporary, path)
