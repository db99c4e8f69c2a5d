"""Breakfast Actions: 10 activities of cooking by 52 people, seen by 3 to 5 cameras; long videos.

H. Kuehne, A. B. Arslan, T. Serre, *The Language of Actions: Recovering the Syntax and Semantics of Goal-Directed
Human Activities*, CVPR 2014. The videos come as ``BreakfastII_15fps_qvga_sync/PXX/CAMERA/PXX_ACTIVITY.avi``, where
CAMERA is cam01, cam02, stereo, webcam01 or webcam02. Both eyes of the stereo camera have a file, ``…_ch0.avi`` and
``…_ch1.avi``. Annotations (``….avi.labels``, ``….txt``) may lie beside the videos; they are not needed here.

Assumed, as the set's page does not say it: the published 1,712 videos count a stereo pair once. Here both files are
videos of their own, of the same person and so on the same side of every split.
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
    """List Breakfast Actions, or a part of it, by an official split: a quarter of the people is tested.

    Args:
        folder: ``BreakfastII_15fps_qvga_sync``, or one above it; the files' names decide.
        split: 1 tests P03 to P15, 2 P16 to P28, 3 P29 to P41, 4 P42 to P54; None is 1.
        annotations: must be None, the file names say who and what.

    Returns:
        The videos on disk; label is the activity, group the person. Missing ones cannot be known, as not everybody
        was filmed by every camera.

    Raises:
        DataError: a split that does not exist, annotations given, or a video that is there twice.
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
        # All cameras use the same names; in one camera's folder a name may stand once (not as .avi and .mp4).
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
    notes: tuple[str, ...] = (
        () if split is not None else (f"No split was given: this is official split 1 of {len(_TESTED)}.",)
    )
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
    return Listing(records, tuple(name for name in ACTIVITIES if name in here), notes=notes)


SPLITS["breakfast"] = lambda split: split_number(split, "breakfast", len(_TESTED))
