"""Something-Something, versions 1 and 2: short clips of 174 actions with objects.

R. Goyal et al., *The "something something" video database for learning and evaluating visual common sense*, ICCV
2017. Both versions have lists for training, validation and test. The test list has no labels, so models are usually
trained on the training list and tested on the validation list.

* Version 2: ``20bn-something-something-v2/ID.webm``. ``something-something-v2-train.json`` and ``-validation.json``
  contain entries with ``id`` and ``template`` ("Holding [something] next to [something]"). ``-labels.json`` contains
  the number of each template, without brackets. Later downloads name the lists ``labels/train.json`` and so on.
* Version 1: ``20bn-something-something-v1/ID/00001.jpg …``, frames at 12 per second.
  ``something-something-v1-train.csv`` and ``-validation.csv`` have lines ``ID;LABEL``. ``-labels.csv`` has one label
  per line, in the order of the classes.

The version is that of the lists. Clips are identified by name, and may also be files with another suffix, packed, or
(version 2) folders of frames. The labels of the test list in later downloads (``test-answers.csv``) are not used.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from praxiscope.data.files import Listing, first_few, is_video, video_id, walk
from praxiscope.data.layouts.common import LAYOUTS, bare_stem, list_text, read_lines, unlisted_note
from praxiscope.errors import DataError
from praxiscope.types import VideoRecord
from praxiscope.units import counted

__all__ = ["something_something"]

_PLACES = (
    ".",
    "labels",
    "annotations",
    "..",
    "../labels",
    "../annotations",
    "../annotations/something-something",
)
_SIDES = {"train": "train", "validation": "test"}
_STARTS = ((1, "something-something-v1-"), (2, "something-something-v2-"), (2, ""))


@dataclass(frozen=True)
class _Lists:
    """Folder and file names of the lists of a version."""

    version: int
    place: Path
    start: str

    def path(self, name: str) -> Path:
        return self.place / f"{self.start}{name}.{'csv' if self.version == 1 else 'json'}"


@LAYOUTS.register("something-something")
def something_something(
    folder: Path, split: int | str | None = None, annotations: Path | None = None
) -> Listing:
    """List the videos of Something-Something, complete or in part. The validation videos are used for testing.

    Args:
        folder: ``20bn-something-something-vN``, or its parent folder.
        split: Must be None: the data set has a single split.
        annotations: Folder of the lists, if it is not found automatically.

    Returns:
        The videos on disk. The label is the template without brackets.

    Raises:
        DataError: If a split is given, or the lists are missing, damaged, or of both versions.
    """
    if split is not None:
        raise DataError("something-something has a single split, in its lists. Leave split out.")
    lists = _find(folder, annotations)
    order = _read_labels(lists)
    numbers = {label: number for number, label in enumerate(order)}
    listed: dict[str, tuple[str, str]] = {}
    for name, side in _SIDES.items():
        for video_name, label, where in _read_entries(lists, name):
            if label not in numbers:
                raise DataError(f"{where}: {label!r} is not a label of {lists.path('labels')}")
            if video_name in listed:
                raise DataError(f"{where}: video {video_name} is listed twice. Remove one entry.")
            listed[video_name] = (side, label)
    unlabelled = _read_tested(lists)
    clips = folder / _clips(lists.version)
    videos = _videos(clips if clips.is_dir() else folder, listed.keys() | unlabelled)
    records: list[VideoRecord] = []
    missing: list[str] = []
    for video_name, (side, label) in listed.items():
        video = videos.pop(video_name, None)
        if video is None:
            missing.append(video_name)
        else:
            records.append(VideoRecord(video_id(video.relative_to(folder)), video, (label,), split=side))
    here = {record.labels[0] for record in records}
    notes: tuple[str, ...] = (
        f"Something-Something v{lists.version}: its validation videos are used for testing, because its test "
        "list has no labels.",
    )
    if absent := len(order) - len(here):
        notes += (
            f"{absent} of the {len(order)} classes {'has' if absent == 1 else 'have'} no videos and "
            f"{'is' if absent == 1 else 'are'} left out.",
        )
    if unused := [name for name in videos if name in unlabelled]:
        notes += (
            f"{counted(len(unused), 'video is', 'videos are')} in the test list, without "
            f"labels, and left out: {first_few(unused)}",
        )
    others = [video for name, video in videos.items() if name not in unlabelled]
    notes += unlisted_note(folder, others, "in no list")
    return Listing(records, tuple(label for label in order if label in here), tuple(missing), notes)


def _find(folder: Path, annotations: Path | None) -> _Lists:
    """Find the lists of one version in the first known place that has any."""
    places = [Path(annotations)] if annotations is not None else [folder / name for name in _PLACES]
    for place in places:
        found: dict[int, _Lists] = {}
        for version, start in _STARTS:
            lists = _Lists(version, place, start)
            there = sum(lists.path(name).is_file() for name in ("labels", *_SIDES))
            if there > (0 if start else 1):  # a single labels.json or train.json could be any data set's
                found.setdefault(version, lists)
        if len(found) > 1:  # use the version of the videos' folder, if its name gives one
            found = {
                version: lists
                for version, lists in found.items()
                if folder.resolve().name == _clips(version)
                or ((folder / _clips(version)).is_dir() and not (folder / _clips(3 - version)).is_dir())
            }
            if not found:
                raise DataError(
                    f"{place}: contains lists of both versions. Give {folder / _clips(1)} or {_clips(2)} as the folder "
                    "of videos, or move the lists of one version to a folder of their own and give it as annotations."
                )
        for lists in found.values():
            return lists
    looked = ", ".join(map(str, places))
    raise DataError(
        "something-something: something-something-v1-train.csv, something-something-v2-train.json or train.json with "
        f"its labels.json were not found in {looked}. Give the folder of the lists as annotations."
    )


def _clips(version: int) -> str:
    return f"20bn-something-something-v{version}"


def _read_labels(lists: _Lists) -> tuple[str, ...]:
    """Return the classes in order."""
    path = lists.path("labels")
    if lists.version == 1:
        order = tuple(line for _, line in read_lines(path))
    else:
        numbers = _read_json(path, dict, "an object of templates and numbers")
        for label, number in numbers.items():
            if not str(number).isdecimal():
                raise DataError(f"{path}: expected a number for {label!r}, got {number!r}.")
        if len({int(number) for number in numbers.values()}) < len(numbers):
            raise DataError(f"{path}: two templates have the same number. Download the list again.")
        order = tuple(_bare(label) for label in sorted(numbers, key=lambda label: int(numbers[label])))
    if not order:
        raise DataError(f"{path}: contains no labels. Download the list again.")
    if twice := first_few(sorted(label for label, count in Counter(order).items() if count > 1)):
        raise DataError(f"{path}: labels are listed more than once: {twice}")
    return order


def _read_entries(lists: _Lists, name: str) -> Iterator[tuple[str, str, str]]:
    """Yield the video, the label and the location (for errors) of each entry of a list."""
    path = lists.path(name)
    if lists.version == 1:
        for i, line in read_lines(path):
            video, _, label = (part.strip() for part in line.partition(";"))
            if not video or not label:
                raise DataError(f"{path}, line {i}: expected ID;LABEL, got {line!r}")
            yield video, label, f"{path}, line {i}"
        return
    for i, entry in enumerate(_read_json(path, list, "a list of entries"), start=1):
        template = entry.get("template") if isinstance(entry, dict) else None
        video = _id(entry)
        if not video or not isinstance(template, str):
            raise DataError(
                f"{path}, entry {i}: expected an object with id and template, got {str(entry)[:80]}"
            )
        yield video, _bare(template), f"{path}, entry {i}"


def _read_tested(lists: _Lists) -> set[str]:
    """Return the videos of the test list, if it exists. They are used for a note only."""
    path = lists.path("test")
    if not path.is_file():
        return set()
    if lists.version == 1:
        return {line.partition(";")[0].strip() for _, line in read_lines(path)}
    return {_id(entry) for entry in _read_json(path, list, "a list of entries")} - {""}


def _id(entry: Any) -> str:
    """Return the id of an entry (a number in some copies of the lists), or an empty text."""
    found = entry.get("id") if isinstance(entry, dict) else None
    return str(found).strip() if isinstance(found, (str, int)) else ""


def _bare(template: str) -> str:
    return template.replace("[", "").replace("]", "").strip()


def _read_json(path: Path, kind: type, what: str) -> Any:
    text = list_text(path)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read: {error}. Download the list again.") from None
    if not isinstance(content, kind):
        raise DataError(f"{path}: expected {what}, got {str(content)[:40]!r}")
    return content


def _videos(root: Path, listed: Collection[str]) -> dict[str, Path]:
    """Return the videos below a folder by name: files, and folders of frames with a listed name.

    The contents of these folders (a hundred thousand) are not checked here. Reading an empty one raises an error.
    """
    found: dict[str, Path] = {}

    def add(name: str, path: Path) -> None:
        other = found.setdefault(name, path)
        if other is not path:
            raise DataError(f"{root}: {other} and {path} have the same name. Keep one of them.")

    for parent, folders, files in walk(root):
        for name in folders:
            if name in listed:
                add(name, parent / name)
        folders[:] = [name for name in folders if name not in listed]
        for name in files:
            if is_video(path := parent / name):
                add(bare_stem(path), path)
    return found
