"""HMDB51: 51 classes, three official splits of 70 training and 30 test clips for each class."""

from __future__ import annotations

import re
from pathlib import Path

from praxiscope.data.files import Listing, first_few, video_id
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
from praxiscope.units import counted

__all__ = ["hmdb51"]

_PLACES = (
    "testTrainMulti_7030_splits",
    "test_train_splits",
    ".",
    "../annotations/hmdb51_splits",
    "../testTrainMulti_7030_splits",
    "../test_train_splits",
)
# SOURCE_CLASS_visible_camera_people_view_quality_number
_NAME = re.compile(r"(?P<head>.+)_[fulh]_(?:nm|cm)_np\d+_(?:fr|ba|le|ri)_(?:goo|med|bad)_\d+")
_SIDES = {"0": None, "1": "train", "2": "test"}


@LAYOUTS.register("hmdb51")
def hmdb51(folder: Path, split: int | str | None = None, annotations: Path | None = None) -> Listing:
    """List the clips of HMDB51, complete or in part, with an official split.

    Args:
        folder: Folder of the clips, usually with a folder per class. Clips are identified by name.
        split: Number of the split, 1, 2 or 3. None is 1.
        annotations: Folder of the lists, ``CLASS_test_splitN.txt``.

    Returns:
        The clips on disk that the split uses. The group is ``CLASS/SOURCE``, where the source is a film or an upload.

    Raises:
        DataError: If the split does not exist, or the lists are missing or damaged.
    """
    number = split_number(split, "hmdb51")
    ending = f"_test_split{number}.txt"
    lists = find_lists(folder, annotations, _PLACES, f"*{ending}")
    if lists is None:
        places = ", ".join(str(folder / place) for place in _PLACES)
        raise DataError(
            f"hmdb51: the lists CLASS{ending} were not found in {places}. "
            "Download the official lists and give their folder as annotations."
        )
    videos = videos_by_stem(folder)
    records: list[VideoRecord] = []
    missing: list[str] = []
    unused: list[str] = []
    order: list[str] = []
    for path in sorted(lists.glob(f"*{ending}")):
        label = path.name.removesuffix(ending)
        order.append(label)
        for i, line in read_lines(path):
            name, _, mark = line.rpartition(" ")
            if not name or mark not in _SIDES:
                raise DataError(f"{path}, line {i}: expected a file name and 0, 1 or 2, got {line!r}")
            name = name.strip()
            video = videos.pop(Path(name).stem.lower(), None)
            side = _SIDES[mark]
            if video is None:
                if side is not None:
                    missing.append(f"{label}/{name}")
            elif side is None:
                unused.append(name)
            else:
                group = f"{label}/{_source(bare_stem(video), label)}"
                records.append(
                    VideoRecord(video_id(video.relative_to(folder)), video, (label,), split=side, group=group)
                )
    here = {record.labels[0] for record in records}
    notes: tuple[str, ...] = ()
    if absent := len(order) - len(here):
        notes += (
            f"{absent} of the {len(order)} classes {'has' if absent == 1 else 'have'} no videos and "
            f"{'is' if absent == 1 else 'are'} left out.",
        )
    if unused:
        notes += (
            f"{counted(len(unused), 'video on disk is', 'videos on disk are')} not used by split {number}: "
            f"{first_few(unused)}",
        )
    notes += unlisted_note(folder, list(videos.values()), "in no list")
    return Listing(
        records,
        tuple(name for name in order if name in here),
        present_first(missing, here),
        notes,
        split_notes=() if split is not None else ("No split was given: this is official split 1 of 3.",),
    )


def _source(stem: str, label: str) -> str:
    """Return the part of a clip's name that identifies its film or upload."""
    name = _NAME.fullmatch(stem)
    return name["head"].removesuffix(f"_{label}") if name else stem


SPLITS["hmdb51"] = lambda split: split_number(split, "hmdb51")
