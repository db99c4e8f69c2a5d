"""The list of a data set's videos: from a folder of class folders, a CSV, or a known layout."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from praxiscope.data.csvfile import CLASS_LIST, read_class_list, read_csv, write_csv
from praxiscope.data.files import Listing, first_few, is_video, left_out_note, search, split_name, video_id
from praxiscope.data.folds import fold_split, parse_fold
from praxiscope.data.layouts import LAYOUTS, SPLITS
from praxiscope.data.split_checks import (
    check_classes,
    counted_classes,
    describe_leaks,
    describe_random_split,
    refuse_duplicates,
)
from praxiscope.data.splits import group_split
from praxiscope.errors import ArgumentError, DataError
from praxiscope.features.store import is_store
from praxiscope.run_folder import TRAJECTORIES_FILE
from praxiscope.types import VideoRecord
from praxiscope.units import counted
from praxiscope.video.framefiles import is_frame_folder
from praxiscope.video.sources import is_address, no_file

__all__ = ["MANIFEST_NAME", "Manifest", "find_data", "load_records", "read_csv", "write_csv"]

#: The list of the videos in a folder (packed and generated sets). If it exists, it is read.
MANIFEST_NAME = "praxiscope.csv"

_SUPPORTED = "Give a folder of class folders, a CSV or LAYOUT:FOLDER."

# Lists, annotations and archives of known sets.
_PUBLISHED = (
    ".csv",
    ".gz",
    ".html",
    ".json",
    ".labels",
    ".mat",
    ".md",
    ".pdf",
    ".rar",
    ".tar",
    ".txt",
    ".xml",
    ".zip",
)


@dataclass(frozen=True)
class Manifest:
    """A data set: its videos with their splits, and its classes.

    Attributes:
        records: all videos, with their split ("train", "val" or "test").
        classes: class names. The number of a class is its position here.
        multi_label: whether training uses all labels of a video at once, with a sigmoid per class. Otherwise it uses
            one label at a time (``to_train``), with softmax. In both cases, held-out videos may have several labels,
            or none.
        name: name of the data set, for display.
        root: the folder that record ids are relative to.
        missing: names of videos that are listed but do not exist.
        notes: messages for the user: how the split was drawn, what is missing or left out, possible leaks.
        left_out: files in class folders that are not videos by name, and links to folders that are not followed; below
            ``root``.
        official: whether the lists are those of a known data set, which the user may have in part only.
        tasks: for joined data sets (`praxiscope.data.joined.join`), the range (first, last + 1) of the class numbers of
            each by name; else empty.
    """

    records: tuple[VideoRecord, ...]
    classes: tuple[str, ...]
    multi_label: bool
    name: str
    root: Path
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    official: bool = False
    tasks: dict[str, tuple[int, int]] = field(default_factory=dict)

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.classes)}

    def of(self, split: str) -> tuple[VideoRecord, ...]:
        """Return the videos of one split. Raises ArgumentError for an unknown split."""
        if split not in ("train", "val", "test"):
            raise ArgumentError(f"split must be 'train', 'val' or 'test', got {split!r}")
        return tuple(record for record in self.records if record.split == split)

    def to_train(self) -> tuple[VideoRecord, ...]:
        """Return the training videos. Without ``multi_label``, a video is repeated for each of its labels."""
        records = self.of("train")
        if self.multi_label:
            return records
        return tuple(replace(record, labels=(label,)) for record in records for label in record.labels)

    def numbers(self, record: VideoRecord) -> tuple[int, ...]:
        """Return the class numbers of a video's labels. Raises DataError for a label that is not a class."""
        try:
            return tuple(self._positions[label] for label in record.labels)
        except KeyError as error:
            raise DataError(
                f"{record.id}: label {error.args[0]!r} is not a class of {self.name}, which has "
                f"{len(self.classes)}: {first_few(self.classes)}"
            ) from None


def load_records(
    data: str | Path,
    *,
    split: int | str | None = None,
    annotations: Path | None = None,
    seed: int = 0,
    test_fraction: float = 0.2,
    random_split: bool = True,
) -> Manifest:
    """List a data set's videos with labels, splits and groups.

    Args:
        data: a folder of class folders (``CLASS/…``, or ``train/CLASS/…``, ``test/CLASS/…``), a CSV
            (``path,label[,start,end,split,group]``), or ``LAYOUT:FOLDER`` for a known data set. If a folder contains a
            ``praxiscope.csv``, that list is read.
        split: for a layout: the number of the official split, or the person to hold out. For any data: "2/5", the
            second of five folds of cross-validation by group, in place of the splits of the data.
        annotations: for a layout: the folder of the official lists, if it is not found automatically.
        seed: seed of the random split, which is drawn if the data set has no split.
        test_fraction: fraction of test videos in a random split.
        random_split: False sets no split (None) if the data set has none, and does not require training videos: for
            testing on other videos, or for inspecting them.

    Returns:
        The manifest. Its ``notes`` are messages for the user.

    Raises:
        DataError: there are no videos, lists are damaged, videos are duplicates, or a class has no training clips.
        ArgumentError: an argument does not apply; UnknownNameError: the layout is unknown.
    """
    name, root, listing = _read(data, split, annotations)
    fold = parse_fold(split)
    notes = [*listing.notes, *(listing.split_notes if fold is None else ())]
    records, notes = list(listing.records), [*notes, *left_out_note(root, listing.left_out)]
    multi_label = listing.multi_label
    if multi_label is None:  # before a random split, which might put all such videos on one side
        multi_label = any(
            len(record.labels) > 1
            for record in records
            if fold is not None or record.split in ("train", None)
        )
    if not records:
        raise _nothing(name, root, listing)
    refuse_duplicates(records)
    if fold is not None:
        records = fold_split(records, fold)
    if listing.missing:
        cut = any(record.start_s is not None or record.end_s is not None for record in records)
        notes.append(
            f"{len(listing.missing)} of {len(listing.missing) + len(records)} listed "
            f"{'segments' if cut else 'videos'} are missing: "
            f"{_named_missing(listing.missing)}"
        )
    if unsplit := [record.id for record in records if record.split is None]:
        if len(unsplit) < len(records):
            raise DataError(
                f"{data}: {len(unsplit)} of {counted(len(records), 'video')} "
                f"{'has' if len(unsplit) == 1 else 'have'} no split: {first_few(unsplit)}. "
                "Give every video a split, or none."
            )
        if random_split:
            records = group_split(records, test_fraction=test_fraction, seed=seed)
            notes.append(describe_random_split(records, seed))
    classes = listing.classes or tuple(sorted({label for record in records for label in record.labels}))
    if random_split:
        notes += check_classes(records, classes, name)
    notes += describe_leaks(records)
    return Manifest(
        records=tuple(records),
        classes=classes,
        multi_label=multi_label,
        name=name,
        root=root,
        missing=tuple(listing.missing),
        notes=tuple(notes),
        left_out=tuple(path.relative_to(root).as_posix() for path in listing.left_out),
        official=listing.official,
    )


def find_data(
    data: str | Path, split: int | str | None = None, annotations: str | Path | None = None
) -> tuple[str | None, Path]:
    """Return the layout (None for none) and the folder or list that ``data`` names, without searching for videos.

    Raises:
        DataError: the path does not exist, or is a single video.
        ArgumentError: an argument does not apply; UnknownNameError: the layout is unknown.
    """
    path = Path(data)
    known = re.fullmatch(r"([A-Za-z][\w-]+):(?!//)(.+)", str(data))
    if known and not path.exists():
        LAYOUTS.get(known[1].lower())
        root = Path(known[2])
        if not root.is_dir():
            raise DataError(f"{root}: no such folder. Give the folder of the {known[1]} videos.")
        if parse_fold(split) is None and (check_split := SPLITS.get(known[1].lower())):
            check_split(split)
        return known[1].lower(), root
    for argument, value in (("split", None if parse_fold(split) else split), ("annotations", annotations)):
        if value is not None:
            raise ArgumentError(
                f"{argument}={value} needs a known data set, LAYOUT:FOLDER (layouts: "
                f"{', '.join(LAYOUTS)}); {path} is not one. Leave {argument} out{_FOLDS[argument]}."
            )
    if not path.exists() or not str(data):  # an empty name does not mean the current folder
        raise DataError(no_file(data, _SUPPORTED))
    if path.is_file() and is_video(path):
        raise DataError(f"{path}: is a single video. {_SUPPORTED}")
    return None, path


_FOLDS = {"split": ", or give K/N, such as 1/5, for a fold of cross-validation", "annotations": ""}


def _read(data: str | Path, split: int | str | None, annotations: Path | None) -> tuple[str, Path, Listing]:
    """Detect the form of ``data`` and read it. Returns its name, its root and its listing."""
    layout, path = find_data(data, split, annotations)
    if layout is not None:
        listing = LAYOUTS.get(layout)(path, None if parse_fold(split) else split, annotations)
        return layout, path, replace(listing, official=True, left_out=_beside(path, listing))
    if path.is_dir():
        listed = path / MANIFEST_NAME
        name = path.resolve().name
        return name, path, _read_listed(listed) if listed.is_file() else _read_folder(path)
    return path.stem, path.parent, _read_listed(path)


def _beside(root: Path, listing: Listing) -> tuple[Path, ...]:
    """Return the files among the videos of a known data set that are neither videos nor usually published with it."""
    if any(record.path.is_dir() for record in listing.records[:1]):
        return ()  # frames by the million
    return tuple(path for path in search(root)[1] if path.suffix.lower() not in _PUBLISHED)


def _read_listed(path: Path) -> Listing:
    """Read a CSV list, and separate existing from missing videos."""
    records = read_csv(path)
    class_list = path.parent / CLASS_LIST
    classes = read_class_list(class_list) if class_list.is_file() else None
    # pathlib raises for a name too long for a file.
    here = [one for one in records if os.path.isfile(one.path) or is_frame_folder(one.path)]  # noqa: PTH113
    kept = {record.id for record in here}
    missing = [record for record in records if record.id not in kept]
    trajectories = (path.parent / TRAJECTORIES_FILE).is_file()
    if missing and (trajectories or is_store(path.parent)):  # what is fitted to them needs no videos
        what = "trajectories" if trajectories else "features"
        note = (
            f"{len(missing)} of {counted(len(records), 'video')} of these {what} do not exist at their paths, such "
            f"as {missing[0].path}: models that read frames cannot use them."
        )
        return Listing(records, classes, notes=(note,))
    lost = Counter(label for record in missing for label in record.labels)
    if here and (gone := sorted(set(lost) - {label for record in here for label in record.labels})):
        raise DataError(
            f"{path}: no listed video exists for {counted_classes(gone, lost, 'missing')}. The first missing "
            f"file is {missing[0].id}; paths are relative to {path.parent}."
        )
    return Listing(here, classes, tuple(record.id for record in missing))


def _read_folder(root: Path) -> Listing:
    """Read a folder of class folders, or of split folders with class folders."""
    inside = [path for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    splits = {path: split_name(path.name) for path in inside}
    if inside and all(splits.values()) and any(child.is_dir() for path in inside for child in path.iterdir()):
        listings = [_read_classes(root, path, split) for path, split in splits.items()]
        records = [record for listing in listings for record in listing.records]
        notes = tuple(note for listing in listings for note in listing.notes)
        classes = sorted({name for listing in listings for name in listing.classes or ()})
        left_out = tuple(path for listing in listings for path in listing.left_out)
        return Listing(records, tuple(classes), notes=notes, left_out=left_out)
    return _read_classes(root, root, None)


def _read_classes(root: Path, folder: Path, split: str | None) -> Listing:
    """Read the class folders of ``folder``. Ids are relative to ``root``."""
    records: list[VideoRecord] = []
    classes: list[str] = []
    notes: list[str] = []
    left_out: list[Path] = []
    # A broken link to a class folder, for example on a disk that is not mounted.
    left_out += (path for path in sorted(folder.iterdir()) if path.is_symlink() and not path.exists())
    stray = [path.name for path in sorted(folder.iterdir()) if path.is_file() and is_video(path)]
    for class_folder in sorted(path for path in folder.iterdir() if path.is_dir()):
        if class_folder.name.startswith("."):
            continue
        if folder.resolve().is_relative_to(class_folder.resolve()):
            left_out.append(class_folder)  # a link back
            continue
        videos, others = search(class_folder)
        left_out += others
        if not videos and any(class_folder.iterdir()):
            notes.append(f"{class_folder.relative_to(root)} contains no videos and is left out.")
            continue
        classes.append(class_folder.name)  # an empty class folder is an error, which the check raises
        records += [
            VideoRecord(video_id(video.relative_to(root)), video, (class_folder.name,), split=split)
            for video in videos
        ]
    if stray and not records:
        raise DataError(
            f"{folder}: contains {counted(len(stray), 'video')} but no class folders ({first_few(stray)}). "
            "Put each class's videos in a folder of its name, or list them in a CSV (path,label)."
        )
    if stray:
        notes.append(f"{counted(len(stray), 'video')} outside the class folders left out: {first_few(stray)}")
    return Listing(records, tuple(classes), notes=tuple(notes), left_out=tuple(left_out))


def _nothing(name: str, root: Path, listing: Listing) -> DataError:
    if listing.missing:
        return DataError(
            f"{name}: none of the {len(listing.missing)} listed videos exists below {root}; the first "
            f"are {_named_missing(listing.missing)}. Check the folder, or the paths in the list."
        )
    expected = f"{root}: contains no videos. Expected a folder for each class, with its videos."
    return DataError(" ".join((expected, *left_out_note(root, listing.left_out))))


def _named_missing(missing: Sequence[str]) -> str:
    """Format the first missing names, with a remedy for web addresses."""
    remedy = (
        " (web addresses are not supported: download the videos)" if any(map(is_address, missing)) else ""
    )
    return first_few(missing) + remedy
