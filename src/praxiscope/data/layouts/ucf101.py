"""UCF-101: 101 classes, 25 groups of clips for each, three official splits."""

from __future__ import annotations

import re
from pathlib import Path

from praxiscope.data.files import Listing, video_id
from praxiscope.data.layouts.common import (
    LAYOUTS,
    SPLITS,
    bare_stem,
    find_lists,
    present_first,
    read_lines,
    split_number,
    unlisted_note,
    videos_by_stem,
)
from praxiscope.errors import DataError
from praxiscope.types import VideoRecord

__all__ = ["clip_name", "ucf101"]

_PLACES = ("ucfTrainTestlist", ".", "../annotations/ucf101_splits", "../ucfTrainTestlist")
_NAME = re.compile(r"v_(?P<label>\w+)_g(?P<group>\d+)_c\d+", re.IGNORECASE)


@LAYOUTS.register("ucf101")
def ucf101(folder: Path, split: int | str | None = None, annotations: Path | None = None) -> Listing:
    """List the clips of UCF-101, complete or in part, with an official split.

    Args:
        folder: Folder of the clips, usually with a folder per class. Clips are identified by name.
        split: Number of the split, 1, 2 or 3. None is 1.
        annotations: Folder of ``trainlist01.txt``, ``testlist01.txt`` and ``classInd.txt``.

    Returns:
        The clips on disk. The group is ``CLASS/gNN``, because groups are numbered within each class.

    Raises:
        DataError: If the split does not exist, or the lists are damaged.
    """
    number = split_number(split, "ucf101")
    notes = () if split is not None else ("No split was given: this is official split 1 of 3.",)
    lists = find_lists(folder, annotations, _PLACES, f"trainlist{number:02d}.txt")
    return _from_lists(folder, lists, number, notes) if lists else _from_groups(folder, number, notes)


def _from_lists(folder: Path, lists: Path, number: int, split_notes: tuple[str, ...]) -> Listing:
    order = [_class_line(lists / "classInd.txt", i, line) for i, line in read_lines(lists / "classInd.txt")]
    videos = videos_by_stem(folder)
    records: list[VideoRecord] = []
    missing: list[str] = []
    for side in ("train", "test"):
        path = lists / f"{side}list{number:02d}.txt"
        for i, line in read_lines(path):
            listed = re.fullmatch(r"([^/]+)/(\S+?)\.\w+(?:\s+\d+)?", line)
            if not listed or listed[1] not in order:
                raise DataError(f"{path}, line {i}: expected CLASS/NAME.avi of a known class, got {line!r}")
            video = videos.pop(listed[2].lower(), None)
            if video is None:
                missing.append(line.split()[0])
            else:
                records.append(_record(folder, video, listed[1], side))
    here = {record.labels[0] for record in records}
    notes: tuple[str, ...] = ()
    if absent := len(order) - len(here):
        notes += (
            f"{absent} of the {len(order)} classes {'has' if absent == 1 else 'have'} no videos and "
            f"{'is' if absent == 1 else 'are'} left out.",
        )
    notes += unlisted_note(folder, list(videos.values()), f"in neither list of split {number}")
    return Listing(
        records,
        tuple(name for name in order if name in here),
        present_first(missing, here),
        notes,
        split_notes=split_notes,
    )


def _from_groups(folder: Path, number: int, split_notes: tuple[str, ...]) -> Listing:
    """Apply the rule of the official lists without the lists: groups 1-7, 8-14 or 15-21 are for testing."""
    first, last = 7 * number - 6, 7 * number
    records: list[VideoRecord] = []
    others: list[Path] = []
    for video in videos_by_stem(folder).values():
        name = clip_name(video)
        if name is None:
            others.append(video)
            continue
        label, group = name
        records.append(_record(folder, video, label, "test" if first <= group <= last else "train"))
    split_notes += (
        f"The official lists were not found. Split {number} is computed instead: groups {first} to {last} for testing, "
        "the others for training.",
    )
    # The same order as that of the official list (Hammering before HammerThrow), so the class numbers are the same.
    classes = tuple(sorted({record.labels[0] for record in records}, key=str.lower))
    return Listing(
        records,
        classes,
        notes=unlisted_note(folder, others, "not named like a UCF-101 clip"),
        split_notes=split_notes,
    )


def clip_name(video: Path) -> tuple[str, int] | None:
    """Return the class and the group in a clip's name, or None if it is not a name of UCF-101."""
    name = _NAME.fullmatch(bare_stem(video))
    if name is None:
        return None
    # Folders and lists spell a class alike (HandstandPushups); file names may differ (HandStandPushups).
    folder = video.parent.name
    return folder if folder.lower() == name["label"].lower() else name["label"], int(name["group"])


def _class_line(path: Path, i: int, line: str) -> str:
    parts = line.split()
    if len(parts) != 2 or not parts[0].isdecimal():
        raise DataError(f"{path}, line {i}: expected a number and a class name, got {line!r}")
    return parts[1]


def _record(folder: Path, video: Path, label: str, side: str) -> VideoRecord:
    name = clip_name(video)
    return VideoRecord(
        id=video_id(video.relative_to(folder)),
        path=video,
        labels=(label,),
        split=side,
        group=f"{label}/g{name[1]:02d}" if name else None,
    )


SPLITS["ucf101"] = lambda split: split_number(split, "ucf101")
