"""THUMOS14: untrimmed videos. UCF-101 and the validation subset are for training, the test subset for testing.

The annotations are a JSON file. Its ``database`` contains, for every video, the ``subset`` ("val", "test") and the
``annotations``, each with a ``label`` and a ``segment`` in seconds. A video's labels are all classes that occur in it,
primary and secondary.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from praxiscope.data.files import Listing, first_few, video_id
from praxiscope.data.layouts.common import LAYOUTS, find_lists, unlisted_note, videos_by_stem
from praxiscope.data.layouts.ucf101 import clip_name
from praxiscope.data.textfile import read_text
from praxiscope.errors import DataError
from praxiscope.types import VideoRecord
from praxiscope.units import counted

__all__ = ["thumos14"]

_PLACES = (".", "annotations", "..", "../annotations", "../annotations/thumos14", "../thumos14")
_FILES = "thumos*14*.json"
_SIDES = {
    **dict.fromkeys(("train", "training", "val", "validation"), "train"),
    **dict.fromkeys(("test", "testing", "background"), "test"),
}
_BACKGROUND = re.compile(r"video_background_\d+", re.IGNORECASE)
_UNSURE = "Ambiguous"  # the annotators' label for unclear cases
_UCF101_CLIPS = 13320


@LAYOUTS.register("thumos14")
def thumos14(folder: Path, split: int | str | None = None, annotations: Path | None = None) -> Listing:
    """List the videos of THUMOS14, complete or in part, with its subsets as splits.

    Training: the UCF-101 clips (``v_CLASS_gNN_cNN``) and the validation subset, where a video with several labels is
    used once for each. Testing: the test subset, with all labels of a video, and the background videos
    (``video_background_NNNNNNN``, and listed videos without annotations), which have no labels.

    Args:
        folder: Folder of the videos. Videos are identified by name.
        split: Must be None: the data set has a single split.
        annotations: The JSON file, or its folder.

    Raises:
        DataError: If a split is given, or the annotations are missing or damaged.
    """
    if split is not None:
        raise DataError("thumos14 has a single split, given by its subsets. Leave split out.")
    source = _find(folder, annotations)
    listed = _read(source)
    videos = videos_by_stem(folder)
    records: list[VideoRecord] = []
    missing: list[str] = []
    unlabelled: list[str] = []
    for name, (side, labels) in listed.items():
        video = videos.pop(name.lower(), None)
        if video is None:
            missing.append(name)
        elif side == "train" and not labels:
            unlabelled.append(name)
        else:
            records.append(_record(folder, video, labels, side))
    clips = 0
    for stem, video in list(videos.items()):
        if clip := clip_name(video):
            label, group = clip
            records.append(_record(folder, video, (label,), "train", f"{label}/g{group:02d}"))
            clips += 1
        elif _BACKGROUND.fullmatch(stem):
            records.append(_record(folder, video, (), "test"))
        else:
            continue
        del videos[stem]
    here = {label for record in records for label in record.labels}
    notes = list(_describe(records))
    if clips < _UCF101_CLIPS:
        notes.append(f"{clips} of the {_UCF101_CLIPS} UCF-101 clips, the training subset, are present.")
    if absent := {label for _, labels in listed.values() for label in labels} - here:
        notes.append(
            f"{counted(len(absent), 'annotated class is', 'annotated classes are')} left out because of missing "
            f"videos: {first_few(sorted(absent))}"
        )
    if unlabelled:
        notes.append(
            f"{counted(len(unlabelled), 'validation video is', 'validation videos are')} left out because of missing "
            f"labels: {first_few(unlabelled)}"
        )
    notes += unlisted_note(folder, list(videos.values()), f"not in {source.name}")
    return Listing(
        records,
        tuple(sorted(here, key=str.lower)),  # as UCF-101 numbers them
        tuple(missing),
        tuple(notes),
        multi_label=False,
    )


def _describe(records: Sequence[VideoRecord]) -> list[str]:
    """Describe how videos with several labels and videos without labels are used."""
    kinds = Counter((record.split, min(len(record.labels), 2)) for record in records)
    notes = []
    if count := kinds["train", 2]:
        notes.append(f"{counted(count, 'training video')} with several labels: used once for each label.")
    if count := kinds["test", 2]:
        notes.append(
            f"{counted(count, 'test video has', 'test videos have')} several labels: positive examples of each class."
        )
    if count := kinds["test", 0]:
        notes.append(
            f"{counted(count, 'background video is', 'background videos are')} used for testing, as negative "
            "examples of every class."
        )
    return notes


def _find(folder: Path, annotations: Path | None) -> Path:
    if annotations is not None and annotations.is_file():
        return annotations
    place = find_lists(folder, annotations, _PLACES, _FILES)
    if place is None:
        looked = ", ".join(str(folder / name) for name in _PLACES)
        raise DataError(f"thumos14: no {_FILES} was found in {looked}. Give the file as annotations.")
    found = sorted(place.glob(_FILES))
    if len(found) > 1:
        names = first_few([path.name for path in found])
        raise DataError(f"{place}: contains {len(found)} files {_FILES}: {names}. Give one as annotations.")
    return found[0]


def _read(path: Path) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return the split and the labels (in the order of the file) of each video."""
    text = read_text(path)
    try:
        database = json.loads(text)["database"]
        entries = {
            name: (str(entry["subset"]), [str(annotation["label"]) for annotation in entry["annotations"]])
            for name, entry in database.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: is not an annotation file of THUMOS14 ({type(error).__name__}: {error}). Expected the key "
            "database, with subset and annotations for every video."
        ) from None
    listed = {}
    for name, (subset, labels) in entries.items():
        if subset.lower() not in _SIDES:
            raise DataError(
                f"{path}: {name} has an unknown subset, {subset!r}. Known subsets: {', '.join(_SIDES)}"
            )
        kept = dict.fromkeys(label for label in labels if label != _UNSURE)
        listed[name] = _SIDES[subset.lower()], tuple(kept)
    return listed


def _record(
    folder: Path, video: Path, labels: tuple[str, ...], side: str, group: str | None = None
) -> VideoRecord:
    return VideoRecord(video_id(video.relative_to(folder)), video, labels, split=side, group=group)
