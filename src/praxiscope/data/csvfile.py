"""Read and write lists of videos as CSV, ``path,label[,start,end,split,group,id]``, and the class lists beside them."""

from __future__ import annotations

import csv
import difflib
import io
import math
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from praxiscope.data.files import first_few, split_name, video_id
from praxiscope.data.textfile import numbered_lines, read_text
from praxiscope.errors import DataError
from praxiscope.types import VideoRecord
from praxiscope.units import counted

__all__ = ["CLASS_LIST", "COLUMNS", "read_class_list", "read_csv", "write_csv"]

#: A file beside a CSV with one class name per line: the order of the classes, and the names of numeric labels.
CLASS_LIST = "classes.txt"

COLUMNS = ("path", "label", "start", "end", "split", "group", "id")
_SAME = {"start_s": "start", "end_s": "end"}  # as predicted segments are written
_USUAL = COLUMNS[:-1]  # ids follow from paths, except in lists of videos that are elsewhere

# A quoted cell with spaces around it, which the csv module does not accept.
_QUOTED = re.compile(r'(?P<before>^|,)[^\S\n]*(?P<cell>"(?:[^"]|"")*")[^\S\n]*(?=,|$)', re.MULTILINE)


def read_csv(path: str | Path) -> list[VideoRecord]:
    """Read a list of videos, without checking that the files exist.

    Paths are relative to the CSV's folder. Without a column ``id``, the id of a video is its path. Labels are names
    (several joined by ``|``; empty for a test video without a class). Start and end (or ``start_s``, ``end_s``) are
    seconds. If there is a ``classes.txt`` beside the CSV and all labels are numbers, they are 0-based positions in it.

    Args:
        path: the CSV, with a header; in UTF-8, or UTF-16 as Windows writes it.

    Returns:
        The records in the order of the file. The split is None if its cell is empty or there is no such column.

    Raises:
        DataError: no such file, no header, an unknown column, a bad cell; with the line's number.
    """
    path = Path(path)
    rows = _rows(path)
    parsed = [(line, _record(path, line, cells)) for line, cells in rows]
    class_list = path.parent / CLASS_LIST
    if not class_list.is_file():
        return [record for _, record in parsed]
    return _named(path, parsed, read_class_list(class_list))


def write_csv(path: str | Path, records: Sequence[VideoRecord], classes: Sequence[str] | None = None) -> None:
    """Write records so that ``read_csv`` returns the same. The file is written completely or not at all.

    The column ``id`` is written if an id does not follow from the path of its video.

    Args:
        path: the CSV. Paths of videos below its folder are written relative to it.
        records: the videos.
        classes: class names in order, written to ``classes.txt`` beside the CSV if given.

    Raises:
        DataError: a label that a CSV cannot hold (empty, or with ``|`` or an outer blank in it).
    """
    path = Path(path)
    rows = []
    base = os.path.abspath(path.parent)  # noqa: PTH100  (resolve() would follow links)
    for record in records:
        for label in record.labels:
            if "|" in label or label != label.strip() or not label:
                raise DataError(f"{record.id}: label {label!r} cannot be written to a CSV. Rename the class.")
        video = os.path.abspath(record.path)  # noqa: PTH100
        below = video.startswith(base.rstrip(os.sep) + os.sep)
        times = ["" if value is None else repr(value) for value in (record.start_s, record.end_s)]
        where = Path(os.path.relpath(video, base)).as_posix() if below else video
        label = "|".join(record.labels)
        rows.append([where, label, *times, record.split or "", record.group or "", record.id])
    named = any(
        _id(where, record.start_s, record.end_s) != record.id
        for (where, *_), record in zip(rows, records, strict=True)
    )
    columns = COLUMNS if named else _USUAL
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(row[: len(columns)] for row in rows)
    _write_whole(path, text.getvalue())
    if classes is not None:
        _write_whole(path.parent / CLASS_LIST, "".join(f"{name}\n" for name in classes))


def read_class_list(path: Path) -> tuple[str, ...]:
    """Read class names, one per line. Raises DataError if there are none, or a name is repeated."""
    names = [line for _, line in numbered_lines(read_text(path))]
    if not names:
        raise DataError(f"{path}: contains no class names. Write one per line, or remove the file.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{path}: class names are listed more than once: {first_few(twice)}")
    return tuple(names)


def _write_whole(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial.write_text(text, encoding="utf-8", newline="\n")
    partial.replace(path)


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The data lines: number, and cell by column name."""
    text = _QUOTED.sub(r"\g<before>\g<cell>", read_text(path))
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[int, dict[str, str]]] = []
    header: list[str] | None = None
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            if header is None:
                header = _header(path, cells)
            elif len(cells) != len(header):
                raise DataError(
                    f"{path}, line {reader.line_num}: {counted(len(cells), 'cell')}, but {len(header)} in the header. "
                    "Put a path or label that contains a comma in double quotes."
                )
            else:
                rows.append((reader.line_num, dict(zip(header, cells, strict=True))))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not a valid CSV line: {error}") from None
    if header is None:
        raise DataError(
            f"{path}: is empty. Expected a header, {','.join(COLUMNS[:2])}, and a line per video."
        )
    if not rows:
        raise DataError(f"{path}: lists no videos, only a header.")
    return rows


def _header(path: Path, cells: list[str]) -> list[str]:
    names = [_SAME.get(cell.lower(), cell.lower()) for cell in cells]
    expected = f"Expected {','.join(COLUMNS[:2])}[,{','.join(_USUAL[2:])}]."
    for mark, word in ((";", "semicolons"), ("\t", "tabs")):
        if len(cells) == 1 and mark in cells[0]:
            raise DataError(f"{path}: columns are separated by {word}. Save it with commas. {expected}")
    if not {"path", "label"} & set(names):
        raise DataError(f"{path}: the first line must be a header, got {','.join(cells)!r}. {expected}")
    for name in names:
        if name not in COLUMNS:
            near = difflib.get_close_matches(name, COLUMNS, n=1, cutoff=0.4)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise DataError(f"{path}: unknown column {name!r}. {hint}{expected}")
    if lacking := [name for name in COLUMNS[:2] if name not in names]:
        raise DataError(f"{path}: column {lacking[0]!r} is missing. {expected}")
    if len(set(names)) < len(names):
        raise DataError(f"{path}: duplicate column in {','.join(names)}.")
    return names


def _record(path: Path, line: int, cells: dict[str, str]) -> VideoRecord:
    where = f"{path}, line {line}"
    name = cells["path"]
    if not name:
        raise DataError(f"{where}: the path is empty.")
    split = None
    if text := cells.get("split", ""):
        split = split_name(text)
        if split is None:
            raise DataError(f"{where}: split must be train, val or test, got {text!r}.")
    labels = tuple(label.strip() for label in cells["label"].split("|"))
    if split == "test" and labels == ("",):
        labels = ()  # a video without a class: a negative example of every class in testing, not used for training
    if not all(labels):
        raise DataError(f"{where}: the label is empty (got {cells['label']!r}).")
    if len(set(labels)) < len(labels):
        raise DataError(f"{where}: duplicate label in {cells['label']!r}.")
    start_s, end_s = (_seconds(where, column, cells.get(column, "")) for column in ("start", "end"))
    if end_s is not None and end_s <= (start_s or 0.0):
        raise DataError(f"{where}: end ({end_s:g} s) must be after start ({start_s or 0.0:g} s).")
    video = Path(os.path.normpath(path.parent / name))
    return VideoRecord(
        id=cells.get("id") or _id(name, start_s, end_s),
        path=video,
        labels=labels,
        start_s=start_s,
        end_s=end_s,
        split=split,
        group=cells.get("group") or None,
    )


def _id(name: str, start_s: float | None, end_s: float | None) -> str:
    """The id of a video, or of a part of one, by the path in its list."""
    part = "" if start_s is None and end_s is None else f"@{_brief(start_s)}-{_brief(end_s)}"
    return video_id(Path(os.path.normpath(name))) + part


def _seconds(where: str, column: str, text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise DataError(f"{where}: {column} must be a number of seconds, 0 or more, got {text!r}.")
    return value


def _brief(seconds: float | None) -> str:
    """Format seconds for an id: short, but exact, so that different parts have different ids."""
    return "" if seconds is None else repr(seconds).removesuffix(".0")


def _named(path: Path, parsed: list[tuple[int, VideoRecord]], classes: tuple[str, ...]) -> list[VideoRecord]:
    """Check labels against the class list, and replace numbers by class names."""
    written = {label for _, record in parsed for label in record.labels}
    numeric = all(label.lstrip("-").isdecimal() for label in written) and not written <= set(classes)
    records = []
    for line, record in parsed:
        for label in record.labels:
            if numeric and not 0 <= int(label) < len(classes):
                raise DataError(
                    f"{path}, line {line}: label {label} is out of range: {CLASS_LIST} has {len(classes)} "
                    f"classes, numbers 0 to {len(classes) - 1}."
                )
            if not numeric and label not in classes:
                near = difflib.get_close_matches(label, classes, n=1, cutoff=0.5)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise DataError(f"{path}, line {line}: label {label!r} is not in {CLASS_LIST}.{hint}")
        named = tuple(classes[int(label)] for label in record.labels) if numeric else record.labels
        records.append(replace(record, labels=named))
    return records
