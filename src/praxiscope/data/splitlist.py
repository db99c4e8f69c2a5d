"""``split.csv``: the split of each video in a run, and the videos that its network was trained on before."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from praxiscope.checkpoint import find_checkpoint, is_fused, load_card
from praxiscope.errors import DataError
from praxiscope.run_folder import CHECKPOINTS, SPLIT_FILE
from praxiscope.types import VideoRecord
from praxiscope.units import counted

__all__ = ["Learned", "SplitList", "note_on_learned", "trained_on", "write_split"]

_BEFORE = "before"  # the split of videos of earlier runs, whose weights a run started from


class _Row(NamedTuple):
    """A line of the list. ``file``: digest of the resolved path; empty in lists of earlier versions."""

    id: str
    label: str
    split: str
    file: str = ""


@dataclass(frozen=True)
class Learned:
    """Videos that a network was trained on. It scores them better than new ones.

    A video is one of them if it has the same id, as a packed copy has, or if it is the same file, as in a list with
    other ids. So is another part of the same file.
    """

    rows: tuple[_Row, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def __or__(self, other: Learned) -> Learned:
        return Learned(tuple(dict.fromkeys((*self.rows, *other.rows))))

    def __contains__(self, record: VideoRecord) -> bool:
        return bool(self.rows) and (record.id in self._ids or _file(record) in self._files)

    @cached_property
    def _ids(self) -> frozenset[str]:
        return frozenset(row.id for row in self.rows)

    @cached_property
    def _files(self) -> frozenset[str]:
        return frozenset(row.file for row in self.rows if row.file)


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
        return {row.id: row.split for row in self._rows() if row.split not in ("", _BEFORE)}

    def check_unchanged(self, records: Iterable[VideoRecord], name: str, *, classes: bool = True) -> None:
        """Check that a run may be resumed on its data.

        Args:
            records: the videos now, with their splits.
            name: of the data set.
            classes: whether they have the classes of the run.

        Raises:
            DataError: videos were added, removed or moved to another split, or the classes differ.
        """
        before, now = self.sides(), {record.id: record.split or "" for record in records}
        if before != now or not classes:
            changed = sorted(set(before.items()) ^ set(now.items()))
            example = f", such as {changed[0][0]}" if changed else ""
            raise DataError(
                f"--resume: {name} has changed since {self.folder} was started: videos were added, removed or "
                f"moved to another split{example}. Restore the data set, or start a new run."
            )

    def trained(self) -> Learned:
        """The training videos."""
        return self._learned("train")

    def before(self) -> Learned:
        """The training videos of earlier runs, whose weights this one started from."""
        return self._learned(_BEFORE)

    def _learned(self, split: str) -> Learned:
        return Learned(tuple(row._replace(split=_BEFORE) for row in self._rows() if row.split == split))

    def copy_to(self, folder: Path, trained: Collection[str] = (), before: Learned = Learned()) -> None:
        """Copy the list to another folder, if there is one.

        Args:
            folder: the other folder.
            trained: ids of videos that are in the split "train" there.
            before: more training videos of earlier runs.
        """
        if self.path.is_file():
            rows = [row for row in self._rows() if row.split != _BEFORE]
            rows = [row._replace(split="train") if row.id in trained else row for row in rows]
            _write(folder / SPLIT_FILE, (*rows, *(self.before() | before).rows))

    def _rows(self) -> Iterator[_Row]:
        if not self.path.is_file():
            return
        prefix = "" if self.task is None else f"{self.task}/"
        with self.path.open(newline="", encoding="utf-8", errors="replace") as file:
            for line in csv.DictReader(file):
                row = _Row(*(line.get(name) or "" for name in _Row._fields))
                if row.split == _BEFORE:  # of a run that may have other tasks
                    yield row
                elif row.id and row.id.startswith(prefix):
                    yield row._replace(id=row.id.removeprefix(prefix), label=row.label.removeprefix(prefix))


def trained_on(*weights: str | Path | None) -> Learned:
    """The videos that the networks of run or model folders were trained on, in their own run or in earlier ones whose
    weights it started from.

    There are none for a folder without a list, as for a file of weights. A fit to features does not train the network,
    so its own videos do not count.
    """
    found = Learned()
    for given in weights:
        if given is None:
            continue
        folder = Path(given).parent if Path(given).is_file() else Path(given)
        model = folder
        if folder.parent.name == CHECKPOINTS:  # a checkpoint of a run
            folder = folder.parent.parent
        split = SplitList(folder)
        found |= split.before()
        if (own := split.trained()) and (is_fused(model) or not load_card(find_checkpoint(model)).features):
            found |= own
    return found


def note_on_learned(records: Sequence[VideoRecord], learned: Learned) -> list[str]:
    """A note on test videos that the network of a run was trained on before, or none."""
    if not (seen := [record.id for record in records if record in learned]):
        return []
    return [
        f"the network was trained on {len(seen)} of {counted(len(records), 'test video')} before, such as {seen[0]}, "
        "in a run whose weights it has. So figures of a test will be too high."
    ]


def write_split(folder: Path, records: Iterable[VideoRecord], before: Learned = Learned()) -> None:
    """Write the list of a run. It holds ids, so it applies to a packed copy of the same videos, too.

    Args:
        folder: of the run or model.
        records: the videos, with their splits.
        before: the training videos of earlier runs, whose weights this one starts from.
    """
    rows = (_Row(r.id, "|".join(r.labels), r.split or "", _file(r)) for r in records)
    _write(folder / SPLIT_FILE, (*rows, *before.rows))


def _file(record: VideoRecord) -> str:
    """A digest of the file's path, because a model that is given away should not name the folders of its machine."""
    return hashlib.sha256(os.fsencode(os.path.realpath(record.path))).hexdigest()[:16]


def _write(path: Path, rows: Iterable[_Row]) -> None:
    rows = tuple(rows)  # they may come from the file that is replaced
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_Row._fields)
        writer.writerows(rows)
    os.replace(temporary, path)
