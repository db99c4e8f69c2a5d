"""Write a report: one HTML file."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from html import escape
from importlib import metadata
from pathlib import Path
from typing import Any

from praxiscope.evaluation import plots
from praxiscope.evaluation.report.clips import Strip, clips_section
from praxiscope.evaluation.report.html import PAGE, STYLE, figure_image, folded, section, yaml_text
from praxiscope.evaluation.report.segments import SegmentResults, segments_section
from praxiscope.evaluation.report.tables import (
    TestLink,
    calibration_section,
    classes_section,
    figures_section,
    tests_section,
)
from praxiscope.evaluation.scores import Scores
from praxiscope.run_folder import REPORT_FILE

__all__ = ["Report", "write_report"]

_DISTRIBUTIONS = ("praxiscope", "torch", "torchvision", "lightning-fabric", "numpy", "av")


@dataclass(frozen=True)
class Report:
    """The content of a report. Parts that are not given are omitted.

    Attributes:
        title: title of the page; None for the folder's name.
        scores: result of a test, shown as metrics, confusion matrix and classes.
        segments: result of a test on segments.
        history: rows of the training log (see ``praxiscope.evaluation.plots.draw_curves``).
        strips: clips to show, sorted into recognised and not recognised in the order given.
        settings: settings of the run, as plain values.
        notes: sentences for the top of the page, such as a warning or the number of skipped videos.
        commands: the commands that produced the results, in order.
        tests: reports to link to.
        run: in a test's report, the path of the run's report relative to the folder.
    """

    title: str | None = None
    scores: Scores | None = None
    segments: SegmentResults | None = None
    history: Sequence[Mapping[str, Any]] = ()
    strips: Sequence[Strip] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    commands: Sequence[str] = ()
    tests: Sequence[TestLink] = ()
    run: str | None = None


def write_report(folder: str | Path, report: Report, name: str = REPORT_FILE) -> Path:
    """Write a report into a folder, usually that of a run.

    Args:
        folder: created if it does not exist.
        report: the content.
        name: name of the file.

    Returns:
        The path of the file, which is written atomically.

    Raises:
        OSError: the file cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    scores = report.scores
    sections = [
        "".join(f'<p class="note">{escape(note)}</p>' for note in report.notes),
        tests_section(report.tests),
        "" if scores is None else figures_section(scores),
        "" if report.segments is None else segments_section(report.segments),
        _curves(report.history),
        clips_section(report.strips, folder),
        "" if scores is None else calibration_section(scores),
        "" if scores is None else classes_section(scores),
        _making(report.commands, report.settings),
    ]
    # Videos are the only files that a page may load; a page without videos may load none.
    media = "media-src 'self' file:; " if any(strip.video for strip in report.strips) else ""
    page = PAGE.format(
        title=escape(report.title or folder.resolve().name or "run"),
        style=STYLE,
        media=media,
        written=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        up="" if report.run is None else f' · <a href="{escape(report.run)}">report of the run</a>',
        body="\n".join(filter(None, sections)),
    )
    path = folder / name
    part = folder / f".{name}.{os.getpid()}.part"
    try:
        # File names that are not valid text may hold lone surrogates, which UTF-8 cannot encode.
        part.write_text(page, encoding="utf-8", errors="replace")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _curves(history: Sequence[Mapping[str, Any]]) -> str:
    light, dark = plots.draw_curves(history), plots.draw_curves(history, dark=True)
    if not light:
        return ""
    shown = "".join(
        figure_image(pair, f"Curve: {pair[0].axes[0].get_title(loc='left')}")
        for pair in zip(light, dark, strict=True)
    )
    return section("Training", f'<div class="curves">{shown}</div>')


def _making(commands: Sequence[str], settings: Mapping[str, Any]) -> str:
    versions = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for name in _DISTRIBUTIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    body = f"<pre>{escape(chr(10).join(commands))}</pre>" if commands else ""
    if settings:
        body += folded("Settings", yaml_text(settings))
    return section("How it was made", body + folded("Versions", yaml_text(versions)))
