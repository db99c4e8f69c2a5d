"""Several data sets as one: multi-task training, a classifier for each (Simonyan and Zisserman, 2014, section 4).

A task is a data set with a name. In the joined set its videos are ``task/ID``, its classes ``task/CLASS``, and its
classes stand together, task after task. So what orders, samples, weighs and skips videos needs no word of tasks.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from praxiscope.data.files import first_few
from praxiscope.data.manifest import Manifest
from praxiscope.errors import ArgumentError, DataError
from praxiscope.types import VideoRecord
from praxiscope.units import counted

__all__ = ["join"]


def join(manifests: Mapping[str, Manifest]) -> Manifest:
    """Join data sets into one.

    Args:
        manifests: the sets by their tasks' names; classes are numbered in this order.

    Returns:
        A manifest whose ids, classes, groups and notes carry the task's name; each video stays on its side of the
        split. ``tasks`` says which classes are whose.

    Raises:
        ArgumentError: a name that cannot be one.
        DataError: a set with videos of several labels, or of none.
    """
    tasks: dict[str, tuple[int, int]] = {}
    classes: list[str] = []
    for name, manifest in manifests.items():
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise ArgumentError(f"a data set's name is made of letters, digits, _ and -, got {name!r}")
        if any(len(record.labels) != 1 for record in manifest.records):
            raise DataError(
                f"{name}: {manifest.name} has videos with several labels or none, which cannot be one task of several. "
                "Train on it alone, or keep one label for each video."
            )
        tasks[name] = (len(classes), len(classes) + len(manifest.classes))
        classes += [f"{name}/{label}" for label in manifest.classes]
    notes = [f"{name}: {note}" for name, manifest in manifests.items() for note in manifest.notes]
    return Manifest(
        records=tuple(
            replace(
                record,
                id=f"{name}/{record.id}",
                labels=tuple(f"{name}/{label}" for label in record.labels),
                # Groups of one name in two sets (g01, say) have nothing to do with one another.
                group=None if record.group is None else f"{name}/{record.group}",
            )
            for name, manifest in manifests.items()
            for record in manifest.records
        ),
        classes=tuple(classes),
        multi_label=False,
        name=" + ".join(manifests),
        root=next(iter(manifests.values())).root,
        missing=tuple(f"{name}/{lost}" for name, m in manifests.items() for lost in m.missing),
        notes=(*notes, *_describe_leaks(manifests)),
        left_out=tuple(f"{name}/{left}" for name, m in manifests.items() for left in m.left_out),
        tasks=tasks,
    )


def _describe_leaks(manifests: Mapping[str, Manifest]) -> list[str]:
    """A note on files that one set trains on and another one holds out; within a set its own notes tell."""
    # Of the folders alone, each once: asking the disk about every file of a large set takes long.
    folder = cache(Path.resolve)

    def place(record: VideoRecord) -> Path:
        return folder(record.path.parent) / record.path.name

    trained: dict[Path, set[str]] = defaultdict(set)
    for name, manifest in manifests.items():
        for record in manifest.of("train"):
            trained[place(record)].add(name)
    leaks = [
        f"{name}/{record.id}"
        for name, manifest in manifests.items()
        for record in manifest.records
        if record.split != "train" and trained.get(place(record), set()) - {name}
    ]
    if not leaks:
        return []
    return [
        f"{counted(len(leaks), 'held-out video lies', 'held-out videos lie')} in a file that another of the "
        "data sets trains on, which flatters tests: "
        f"{first_few(leaks)}"
    ]
