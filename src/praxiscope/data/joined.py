"""Join data sets for multi-task training, with one classifier each (Simonyan and Zisserman, 2014, section 4).

A task is a data set with a name. In the joined set its videos are ``task/ID`` and its classes ``task/CLASS``. The
classes of a task have consecutive numbers, so the code that orders, samples, weights and skips videos does not depend
on tasks.
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
        manifests: the sets by task name. Classes are numbered in this order.

    Returns:
        A manifest whose ids, classes, groups and notes start with the name of their task. The split of each video is
        kept. ``tasks`` holds the class numbers of each task.

    Raises:
        ArgumentError: a name with other characters than letters, digits, _ and -.
        DataError: a set with videos that have several labels, or none.
    """
    tasks: dict[str, tuple[int, int]] = {}
    classes: list[str] = []
    for name, manifest in manifests.items():
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise ArgumentError(f"the name of a data set may have letters, digits, _ and -, got {name!r}")
        if any(len(record.labels) != 1 for record in manifest.records):
            raise DataError(
                f"{name}: {manifest.name} has videos with several labels or none, which multi-task training does not "
                "support. Train on it alone, or keep one label per video."
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
                # Groups with the same name in two sets (for example g01) are different groups.
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
    """Return a note on files that are training data of one set and test data of another."""
    # Only folders are resolved, each once: resolving every file of a large set takes long.
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
        f"{counted(len(leaks), 'test video is', 'test videos are')} training data of another data set, so test results "
        f"will be too good: {first_few(leaks)}"
    ]
