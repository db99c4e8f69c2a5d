"""Write segments of a video for other programs: SubRip, WebVTT, ELAN and CSV.

Times are seconds from the start of the file; subtitles and ELAN have whole milliseconds. Files appear complete.
"""

from __future__ import annotations

import csv
import io
import mimetypes
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from html import escape
from pathlib import Path

from praxiscope.errors import ArgumentError
from praxiscope.evaluation.segments import Segment

__all__ = ["COLUMNS", "FORMATS", "as_csv", "as_elan", "as_srt", "as_vtt", "write_segments"]

COLUMNS = ("start_s", "end_s", "label", "score")
_ELAN_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"


def as_srt(segments: Sequence[Segment]) -> str:
    """SubRip: numbered cues ``HH:MM:SS,mmm --> HH:MM:SS,mmm`` with the label as text."""
    cues = [
        f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{_one_line(segment.label)}\n"
        for number, (start, end, segment) in enumerate(_in_milliseconds(segments), 1)
    ]
    return "\n".join(cues)


def as_vtt(segments: Sequence[Segment]) -> str:
    """WebVTT (W3C): cues ``HH:MM:SS.mmm --> HH:MM:SS.mmm`` with the label as text."""
    cues = [
        # Cue text may hold neither "&" nor "<", and "-->" would begin new timings.
        f"{_clock(start, '.')} --> {_clock(end, '.')}\n{escape(_one_line(segment.label), quote=False)}\n"
        for start, end, segment in _in_milliseconds(segments)
    ]
    return "\n".join(["WEBVTT\n", *cues])


def as_csv(segments: Sequence[Segment]) -> str:
    """CSV with the columns ``start_s,end_s,label,score``."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerows([f"{s.start_s:.3f}", f"{s.end_s:.3f}", s.label, f"{s.score:.6f}"] for s in segments)
    return text.getvalue()


def as_elan(segments: Sequence[Segment], video: str | Path | None = None) -> str:
    """An annotation document of ELAN (EAF 3.0) with a tier for each class.

    Args:
        segments: annotations of one tier may not overlap in ELAN, and those of one class do not.
        video: its media file.

    Raises:
        ArgumentError: two segments of a class overlap.
    """
    root = ElementTree.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "praxiscope",
            "DATE": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:noNamespaceSchemaLocation": _ELAN_SCHEMA,
        },
    )
    header = ElementTree.SubElement(root, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
    if video is not None:
        address = Path(os.path.abspath(video)).as_uri()  # noqa: PTH100  (keeps symbolic links)
        kind = mimetypes.guess_type(str(video))[0] or "video/*"
        ElementTree.SubElement(header, "MEDIA_DESCRIPTOR", {"MEDIA_URL": address, "MIME_TYPE": kind})
    order = ElementTree.SubElement(root, "TIME_ORDER")
    timed = _in_milliseconds(segments)
    slots = {
        ms: f"ts{number}" for number, ms in enumerate(sorted({t for a, b, _ in timed for t in (a, b)}), 1)
    }
    for ms, name in slots.items():
        ElementTree.SubElement(order, "TIME_SLOT", {"TIME_SLOT_ID": name, "TIME_VALUE": str(ms)})
    number = 0
    for label in sorted({segment.label for segment in segments}):
        tier = ElementTree.SubElement(
            root, "TIER", {"LINGUISTIC_TYPE_REF": "action", "TIER_ID": _valid_xml(label)}
        )
        behind = -1
        for start, end, segment in timed:
            if segment.label != label:
                continue
            if start < behind:
                raise ArgumentError(f"ELAN: segments of {label!r} overlap at {start / 1000:g} s.")
            behind, number = end, number + 1
            annotation = ElementTree.SubElement(
                ElementTree.SubElement(tier, "ANNOTATION"), "ALIGNABLE_ANNOTATION"
            )
            annotation.attrib = {
                "ANNOTATION_ID": f"a{number}",
                "TIME_SLOT_REF1": slots[start],
                "TIME_SLOT_REF2": slots[end],
            }
            ElementTree.SubElement(annotation, "ANNOTATION_VALUE").text = _valid_xml(label)
    ElementTree.SubElement(
        root,
        "LINGUISTIC_TYPE",
        {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": "action", "TIME_ALIGNABLE": "true"},
    )
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


FORMATS: dict[str, Callable[[Sequence[Segment]], str]] = {"srt": as_srt, "vtt": as_vtt, "csv": as_csv}
"""Formats whose text does not name the video."""


def write_segments(
    path: str | Path, kind: str, segments: Sequence[Segment], video: str | Path | None = None
) -> None:
    """Write segments to a file.

    Args:
        path: the file; its folder is made if it does not exist.
        kind: "srt", "vtt", "elan" or "csv".
        segments: of one video, by their starts.
        video: its file, which ELAN opens.

    Raises:
        ArgumentError: an unknown kind, or what `as_elan` refuses.
    """
    if kind != "elan" and kind not in FORMATS:
        raise ArgumentError(f"kind must be one of {', '.join(FORMATS)}, elan, got {kind!r}")
    text = as_elan(segments, video) if kind == "elan" else FORMATS[kind](segments)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8", errors="replace", newline="\n")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _in_milliseconds(segments: Sequence[Segment]) -> list[tuple[int, int, Segment]]:
    """Start and end in whole milliseconds, by the start. A cue lasts at least one, as the formats ask."""
    timed = [(round(1000 * one.start_s), round(1000 * one.end_s), one) for one in segments]
    return sorted(((a, max(b, a + 1), one) for a, b, one in timed), key=lambda cue: cue[:2])


def _clock(milliseconds: int, mark: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{mark}{rest:03d}"


def _one_line(label: str) -> str:
    """A label as the text of a cue: on one line, without the arrow of timings."""
    return " ".join(label.split()).replace("-->", "->") or "-"


def _valid_xml(text: str) -> str:
    """Text without the characters that XML 1.0 does not allow."""
    return "".join(
        c if c in "\t\n\r" or " " <= c < "\ud800" or "\ue000" <= c <= "\ufffd" or c > "\uffff" else "?"
        for c in text
    )
