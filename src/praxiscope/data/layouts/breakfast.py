"""Breakfast Actions: long videos of 10 cooking activities by 52 people, recorded by 3 to 5 cameras.

H. Kuehne, A. B. Arslan, T. Serre, *The Language of Actions: Recovering the Syntax and Semantics of Goal-Directed
Human Activities*, CVPR 2014. The videos are named ``BreakfastII_15fps_qvga_sync/PXX/CAMERA/PXX_ACTIVITY.avi``, where
CAMERA is cam01, cam02, stereo, webcam01 or webcam02. The stereo camera has two files per recording, ``…_ch0.avi`` and
``…_ch1.avi``. Annotation files (``….avi.labels``, ``….txt``) beside the videos are ignored.

The published number of 1,712 videos presumably counts a stereo pair once (the data set's page does not specify it).
Here the two files are separate videos. They show the same person, so they are in the same split.
"""

from __future__ import annotations

import re
from pathlib import Path

from praxiscope.data.files import Listing, video_id, videos_below
from praxiscope.data.layouts.common import LAYOUTS, SPLITS, bare_stem, split_number, unlisted_note
from praxiscope.errors import DataError
from praxiscope.types import VideoRecord
from praxiscope.units import counted

__all__ = ["ACTIVITIES", "breakfast"]

ACTIVITIES = (
    *("cereals", "coffee", "friedegg", "juice", "milk"),
    *("pancake", "salat", "sandwich", "scrambledegg", "tea"),
)
_PEOPLE = range(3, 55)
_TESTED = {1: range(3, 16), 2: range(16, 29), 3: range(29, 42), 4: range(42, 55)}
_NAME = re.compile(rf"p(?P<person>[0-9]{{2}})_(?P<activity>{'|'.join(ACTIVITIES)})(?P<eye>_ch[01])?")


@LAYOUTS.register("breakfast")
def breakfast(folder: Path, split: int | str | None = None, annotations: Path | None = None) -> Listing:
    """List the videos of Breakfast Actions, complete or in part, with an official split by person.

    Args:
        folder: ``BreakfastII_15fps_qvga_sync``, or a folder that contains it. Videos are identified by name.
        split: Number of the split. The test persons are 1: P03 to P15, 2: P16 to P28, 3: P29 to P41, 4: P42 to P54.
            None is 1.
        annotations: Must be None: persons and activities are in the file names.

    Returns:
        The videos on disk. The label is the activity, the group is the person. Missing videos are not reported,
        because not every camera recorded every person.

    Raises:
        DataError: If the split does not exist, annotations are given, or a video exists twice.
    """
    if annotations is not None:
        raise DataError("breakfast has no lists: labels come from the file names. Leave annotations out.")
    number = split_number(split, "breakfast", len(_TESTED))
    tested = _TESTED[number]
    records: list[VideoRecord] = []
    others: list[Path] = []
    places: dict[tuple[str, str], Path] = {}
    eyes: dict[tuple[str, str], int] = {}
    for video in videos_below(folder):
        stem, camera = bare_stem(video).lower(), video.parent.name.lower()
        name = _NAME.fullmatch(stem)
        if name is None or int(name["person"]) not in _PEOPLE:
            others.append(video)
            continue
        # All cameras use the same names. Within a camera's folder a name must be unique (not both .avi and .mp4).
        other = places.setdefault((camera, stem), video)
        if other is not video:
            raise DataError(f"{folder}: {other} and {video} are the same video. Keep one of them.")
        if name["eye"]:
            recording = (camera, stem.removesuffix(name["eye"]))
            eyes[recording] = eyes.get(recording, 0) + 1
        records.append(
            VideoRecord(
                id=video_id(video.relative_to(folder)),
                path=video,
                labels=(name["activity"],),
                split="test" if int(name["person"]) in tested else "train",
                group=f"P{name['person']}",
            )
        )
    here = {record.labels[0] for record in records}
    notes: tuple[str, ...] = ()
    told = () if split is not None else (f"No split was given: this is official split 1 of {len(_TESTED)}.",)
    if records and len(here) < len(ACTIVITIES):
        notes += (
            f"{len(ACTIVITIES) - len(here)} of the {len(ACTIVITIES)} activities have no videos and are "
            "left out.",
        )
    if pairs := sum(count == 2 for count in eyes.values()):
        notes += (
            f"{counted(pairs, 'stereo recording is', 'stereo recordings are')} present from both cameras (_ch0, "
            "_ch1): two videos each.",
        )
    notes += unlisted_note(folder, others, "not named PXX_ACTIVITY (P03 to P54)")
    classes = tuple(name for name in ACTIVITIES if name in here)
    return Listing(records, classes, notes=notes, split_notes=told)


SPLITS["breakfast"] = lambda split: split_number(split, "breakfast", len(_TESTED))
