"""Weizmann actions: 10 actions by 9 people; the protocol leaves one person out."""

from __future__ import annotations

import re
from pathlib import Path

from praxiscope.data.files import Listing, first_few, video_id
from praxiscope.data.layouts.common import LAYOUTS, SPLITS, unlisted_note, videos_by_stem
from praxiscope.errors import DataError
from praxiscope.types import VideoRecord

__all__ = ["ACTIONS", "PEOPLE", "weizmann"]

ACTIONS = ("bend", "jack", "jump", "pjump", "run", "side", "skip", "walk", "wave1", "wave2")
PEOPLE = ("daria", "denis", "eli", "ido", "ira", "lena", "lyova", "moshe", "shahar")

# lena's run, skip and walk are numbered in the original set (lena_walk1, lena_walk2).
_NAME = re.compile(rf"(?P<person>{'|'.join(PEOPLE)})_(?P<action>{'|'.join(ACTIONS)})\d*", re.IGNORECASE)


@LAYOUTS.register("weizmann")
def weizmann(folder: Path, split: int | str | None = None, annotations: Path | None = None) -> Listing:
    """List the clips of the Weizmann data set, with those of one person for testing.

    Args:
        folder: Folder of the ``PERSON_ACTION.avi`` files, with or without class folders.
        split: The person to hold out: a name, or 1 to 9 in the order of ``PEOPLE``. None is the first who has clips.
        annotations: Must be None: persons and actions are in the file names.

    Returns:
        The clips on disk. The group is the person.

    Raises:
        DataError: If the person is unknown or has no clips, or annotations are given.
    """
    if annotations is not None:
        raise DataError("weizmann has no lists: labels come from the file names. Leave annotations out.")
    people = {name["person"] for stem in videos_by_stem(folder) if (name := _NAME.fullmatch(stem))}
    person = _person(split) if split is not None else next(filter(people.__contains__, PEOPLE), PEOPLE[0])
    records: list[VideoRecord] = []
    others: list[Path] = []
    for stem, video in videos_by_stem(folder).items():
        name = _NAME.fullmatch(stem)
        if name is None:
            others.append(video)
            continue
        records.append(
            VideoRecord(
                id=video_id(video.relative_to(folder)),
                path=video,
                labels=(name["action"],),
                split="test" if name["person"] == person else "train",
                group=name["person"],
            )
        )
    if records and not any(record.split == "test" for record in records):
        here = first_few(sorted({record.group or "" for record in records}), len(PEOPLE))
        raise DataError(
            f"weizmann: {folder} contains no videos of {person}, the person to hold out. Give split one of: {here}"
        )
    found = {(record.group, record.labels[0]) for record in records}
    missing = tuple(f"{a}/{p}_{a}.avi" for a in ACTIONS for p in PEOPLE if (p, a) not in found)
    classes = tuple(a for a in ACTIONS if any((p, a) in found for p in PEOPLE))
    notes: tuple[str, ...] = ()
    told = (
        () if split is not None else (f"No split was given: the clips of {person} (1 of 9) are for testing.",)
    )
    if len(classes) < len(ACTIONS):
        notes += (f"{len(ACTIONS) - len(classes)} of the 10 actions have no videos and are left out.",)
    return Listing(
        records,
        classes,
        missing,
        notes + unlisted_note(folder, others, "not named PERSON_ACTION"),
        split_notes=told,
    )


def _person(split: int | str | None) -> str:
    text = "1" if split is None else str(split).lower()
    if text in PEOPLE:
        return text
    if text.isdecimal() and 1 <= int(text) <= len(PEOPLE):
        return PEOPLE[int(text) - 1]
    raise DataError(
        f"weizmann: split must be one of {', '.join(PEOPLE)}, or 1 to {len(PEOPLE)}, got {split!r}"
    )


SPLITS["weizmann"] = _person
