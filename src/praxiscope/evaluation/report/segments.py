"""The section of a report about segments: metrics, classes, and videos over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from praxiscope.evaluation.report.html import bar, card, figure_image, folded, section, yaml_text
from praxiscope.evaluation.segment_plots import TimedPicture, draw_timeline

__all__ = ["SEGMENT_TITLES", "SegmentResults", "segments_section"]

SEGMENT_TITLES = {
    "map@0.3": "mAP at tIoU 0.3",
    "map@0.5": "mAP at tIoU 0.5",
    "map@0.7": "mAP at tIoU 0.7",
    "map@0.5:0.95": "mAP, mean of 0.5 to 0.95",
    "f1@10": "F1@10",
    "f1@25": "F1@25",
    "f1@50": "F1@50",
    "edit": "Edit score",
    "frame_accuracy": "Frame accuracy",
}


@dataclass(frozen=True)
class SegmentResults:
    """What a report shows of a test on segments.

    Attributes:
        figures: result of `praxiscope.evaluation.segments.summarise_segments`.
        classes: a row for each class: ``class``, ``segments``, ``predicted``, ``average_precision`` (None if it is not
            defined).
        settings: how the segments were found, as plain values.
        pictures: some of the videos.
    """

    figures: Mapping[str, Any]
    classes: Sequence[Mapping[str, Any]] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    pictures: Sequence[TimedPicture] = ()


def segments_section(results: SegmentResults) -> str:
    figures = results.figures
    cards = [
        card(title, f"{100 * figures[key]:.1f}<small> %</small>", "")
        for key, title in SEGMENT_TITLES.items()
        if key in figures
    ]
    below = f"{figures['predicted']:,} predicted"
    cards.append(card("Segments", f"{figures['segments']:,}", below))
    cards.append(card("Videos", f"{figures['videos']:,}", ""))
    body = f'<div class="cards">{"".join(cards)}</div>' + folded("Settings", yaml_text(results.settings))
    shown = "".join(
        figure_image([draw_timeline(picture, dark) for dark in (False, True)], f"Segments of {picture.title}")
        for picture in results.pictures
    )
    return "".join(
        (
            section("Test on segments", body),
            section("Videos over time", shown) if shown else "",
            section("Classes", _class_table(results.classes)) if results.classes else "",
        )
    )


def _class_table(rows: Sequence[Mapping[str, Any]]) -> str:
    head = "".join(
        f"<th>{name}</th>" for name in ("class", "segments", "predicted", "average precision at 0.5")
    )
    lines = "".join(
        f"<tr><td>{escape(str(row['class']))}</td><td>{row['segments']}</td><td>{row['predicted']}</td>"
        f"<td>{bar(row['average_precision'])}</td></tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{lines}</table></div>'
