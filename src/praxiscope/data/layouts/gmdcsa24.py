"""GMDCSA24: people at home, with the start and end of each action, in the folders of the subjects.

E. Alam, A. Sufian, P. Dutta, M. Leo, I. A. Hameed, *GMDCSA-24: A dataset for human fall detection in videos*, Data in
Brief, 2024. ``Subject N/ADL.csv`` and ``Subject N/Fall.csv`` list the videos of ``Subject N/ADL/`` and ``Subject
N/Fall/``; their last column holds the actions with their times in seconds, such as
``Sitting[0 to 0.5; 3.7 to 10]; Walking[0.5 to 3.1]``. Actions may overlap.
"""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from praxiscope.data.files import Listing, first_few, is_video, video_id, videos_below
from praxiscope.data.layouts.common import LAYOUTS, SPLITS, bare_stem, list_text
from praxiscope.errors import DataError
from praxiscope.types import VideoRecord
from praxiscope.units import counted

__all__ = ["gmdcsa24", "parse_actions"]

# A name and its times in brackets. One line lacks the bracket that closes the name's own: "Falling (BW[5.9 to 10]".
_ACTION = re.compile(r"(?P<name>[^\[\];:]+?)\s*\[(?P<times>[^\]]*)\]")
_TIMES = re.compile(r"\s*(?P<start>\d+(?:\.\d+)?)\s+(?:to\s+)?(?P<end>\d+(?:\.\d+)?)\s*")
_BETWEEN = re.compile(r"[\s;:,.]*")

Action = tuple[str, float, float]


def parse_actions(text: str) -> tuple[list[Action], list[str]]:
    """Read the actions of a video.

    Separators are ``;``, ``:`` and ``,``, blanks may be anywhere, and the word ``to`` may be missing.

    Returns:
        Actions (name, start and end in seconds), and the parts of the text that cannot be read: something else than
        actions, or times that do not end after their start.
    """
    actions: list[Action] = []
    unread: list[str] = []
    behind = 0
    for found in _ACTION.finditer(text):
        between = text[behind : found.start()]
        if not _BETWEEN.fullmatch(between):
            unread.append(between.strip())
        behind = found.end()
        name = " ".join(found["name"].split())
        name += ")" * (name.count("(") - name.count(")"))
        for part in found["times"].split(";"):
            times = _TIMES.fullmatch(part)
            if times is None or float(times["end"]) <= float(times["start"]):
                unread.append(f"{name}[{part.strip()}]")
            else:
                actions.append((name, float(times["start"]), float(times["end"])))
    if not _BETWEEN.fullmatch(text[behind:]):
        unread.append(text[behind:].strip())
    return actions, unread


@LAYOUTS.register("gmdcsa24")
def gmdcsa24(folder: Path, split: int | str | None = None, annotations: Path | None = None) -> Listing:
    """List the actions of GMDCSA24, complete or in part: a record for each part of a video with its actions.

    Args:
        folder: the folder of the subjects' folders.
        split: number of the subject to hold out. None: there is no split; the group of a video is its subject.
        annotations: Must be None: the lists are in the folders of the subjects.

    Returns:
        The parts of the videos on disk. Actions of the same start and end are labels of one record. Notes name the
        lines that cannot be read; the rest of such a line is used.

    Raises:
        DataError: there is no list, the subject does not exist, or annotations are given.
    """
    if annotations is not None:
        raise DataError("gmdcsa24 has its lists in the folders of the subjects. Leave annotations out.")
    held_out = _subject(split)
    lists = sorted(folder.glob("Subject */*.csv"))
    if not lists:
        raise DataError(f"gmdcsa24: {folder} contains no list such as {folder / 'Subject 1' / 'ADL.csv'}.")
    records: list[VideoRecord] = []
    missing: list[str] = []
    notes: list[str] = []
    classes: set[str] = set()
    for path in lists:
        subject = path.parent.name.removeprefix("Subject ").strip()
        side = None if held_out is None else "test" if subject == held_out else "train"
        videos = {bare_stem(video): video for video in _videos(path.with_suffix(""))}
        unread: list[str] = []
        for line, name, text in _lines(path):
            actions, wrong = parse_actions(text)
            unread += [f"line {line}: {part}" for part in wrong]
            video = videos.get(Path(name).stem)
            if video is None:
                missing.append(f"{path.parent.name}/{path.stem}/{name}")
                continue
            parts: dict[tuple[float, float], list[str]] = {}
            for label, start_s, end_s in actions:
                parts.setdefault((start_s, end_s), []).append(label)
            for (start_s, end_s), labels in parts.items():
                classes.update(labels)
                known = tuple(dict.fromkeys(labels))
                name = f"{video_id(video.relative_to(folder))}@{start_s:g}-{end_s:g}"
                records.append(VideoRecord(name, video, known, start_s, end_s, side, f"subject {subject}"))
        if unread:
            what = counted(len(unread), "part cannot", "parts cannot")
            notes.append(
                f"{path.relative_to(folder)}: {what} be read and {'is' if len(unread) == 1 else 'are'} "
                f"left out: {first_few(unread)}"
            )
    if held_out is not None and records and not any(record.split == "test" for record in records):
        here = sorted({str(record.group) for record in records})
        raise DataError(f"gmdcsa24: no videos of subject {held_out}. Give split one of: {', '.join(here)}")
    return Listing(records, tuple(sorted(classes)), tuple(missing), tuple(notes))


def _videos(folder: Path) -> list[Path]:
    return [video for video in videos_below(folder) if is_video(video)] if folder.is_dir() else []


def _lines(path: Path) -> list[tuple[int, str, str]]:
    """Number, file name and actions of each line. Descriptions may hold commas; the actions are the last cell."""
    reader = csv.reader(io.StringIO(list_text(path), newline=""))
    rows = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(cells)]
    return [(number, cells[0], cells[-1]) for number, cells in rows[1:] if cells[0]]


def _subject(split: int | str | None) -> str | None:
    if split is None:
        return None
    text = str(split).lower().removeprefix("subject").strip()
    if not text.isdecimal():
        raise DataError(f"gmdcsa24: split must be the number of a subject, got {split!r}")
    return text


SPLITS["gmdcsa24"] = _subject
