"""Checks of a data set before it is used: duplicates, classes without videos, groups on both sides of the split."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

from praxiscope.data.files import first_few
from praxiscope.data.labels import did_you_mean, similar_labels
from praxiscope.data.splits import leaking_groups
from praxiscope.errors import DataError
from praxiscope.types import VideoRecord
from praxiscope.units import counted

__all__ = ["check_classes", "counted_classes", "describe_leaks", "describe_random_split", "refuse_duplicates"]

#: Classes with fewer training clips than this are named in a note.
FEW_CLIPS = 5


def refuse_duplicates(records: Sequence[VideoRecord]) -> None:
    """Raise DataError for a video that is listed twice."""
    places = Counter((os.path.abspath(r.path), r.start_s, r.end_s) for r in records)  # noqa: PTH100 (keeps links)
    if twice := [f"{key[0]} ({count} times)" for key, count in places.items() if count > 1]:
        raise DataError(
            f"{counted(len(twice), 'video is', 'videos are')} listed more than once with the same start and "
            f"end: {first_few(twice)}. Keep one line per video; separate several labels with '|'."
        )
    ids = Counter(record.id for record in records)
    twice = [name for name, count in ids.items() if count > 1]
    packed = {record.id for record in records if record.path.suffix == ".pxv"}
    if given := [name for name in twice if name not in packed]:
        raise DataError(
            f"column id: {counted(len(given), 'id is', 'ids are')} given to more than one video: "
            f"{first_few(given)}. Give each video an id of its own."
        )
    if twice:
        raise DataError(
            f"{counted(len(twice), 'video exists', 'videos exist')} both packed and unpacked: {first_few(twice)}. "
            "Move the packed copies to a folder of their own."
        )


def check_classes(records: Sequence[VideoRecord], classes: Sequence[str], name: str) -> list[str]:
    """Raise DataError for classes without training videos; return notes on classes with few."""
    trained = Counter(label for r in records if r.split == "train" for label in r.labels)
    if not trained:
        return [f"{name} has no training videos, so it is for testing only."]
    tested = Counter(label for r in records if r.split != "train" for label in r.labels)
    if unknown := sorted(set(tested) - set(trained)):
        raise DataError(
            f"{name}: {counted_classes(unknown, tested, 'test videos')} without training videos. "
            f"{did_you_mean(unknown, trained)}Add training videos, or remove the test videos."
        )
    if empty := [label for label in classes if label not in trained]:
        raise DataError(
            f"{name}: {counted_classes(empty, trained, 'videos')} without training videos. "
            f"{did_you_mean(empty, trained)}Add videos, or remove the class (its folder or its line in the class list)."
        )
    notes = []
    if len(classes) == 1:
        notes.append(f"{name} has only one class, {classes[0]!r}. Are the class folders one level deeper?")
    if few := [label for label in classes if trained[label] < FEW_CLIPS]:
        phrase = first_few([f"{label} ({trained[label]})" for label in few])
        notes.append(
            f"{counted(len(few), 'class has', 'classes have')} fewer than {FEW_CLIPS} training videos: {phrase}"
        )
    if not tested:
        notes.append(f"{name} has no test videos: all {sum(trained.values())} are for training.")
    notes += [
        f"label {pair.rare!r} ({pair.rare_clips}): did you mean {pair.common!r} ({pair.common_clips})? They are "
        "separate classes now."
        for pair in similar_labels(trained + tested)
    ]
    return notes


def counted_classes(names: Sequence[str], counts: Counter[str], unit: str) -> str:
    listed = first_few([f"{name!r} ({counts[name]} {unit})" for name in names])
    return f"class {listed}" if len(names) == 1 else f"{len(names)} classes, {listed},"


def describe_random_split(records: Sequence[VideoRecord], seed: int) -> str:
    tests = sum(record.split == "test" for record in records)
    grouped = sum(record.group is not None for record in records)
    if grouped == len(records):
        groups = "by group"
    elif grouped == 0:
        groups = "no groups known, so each video is a group"
    else:
        groups = f"by group; each of {counted(len(records) - grouped, 'video')} without a group is a group"
    return f"Random split with seed {seed}: {len(records) - tests} train, {tests} test ({groups})."


def describe_leaks(records: Sequence[VideoRecord]) -> list[str]:
    files = {record.source for record in records if record.group is None}
    notes, leaks = [], leaking_groups(records)
    for what, several, of_files in (("group is", "groups are", False), ("file has", "files have", True)):
        phrases = [
            f"{name} ({', '.join(f'{count} {split}' for split, count in sides.items())})"
            for name, sides in leaks.items()
            if (name in files) == of_files
        ]
        if phrases:
            notes.append(
                f"{counted(len(phrases), what, several)} {'parts ' if of_files else ''}on several sides of the split, "
                f"so test results will be too good: {first_few(phrases)}"
            )
    return notes
