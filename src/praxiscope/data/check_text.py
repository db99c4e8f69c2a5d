"""The report of a data set as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praxiscope.data.label_trouble import trouble_lines
from praxiscope.units import counted

if TYPE_CHECKING:
    from praxiscope.data.check import CheckReport, VideoCheck

__all__ = ["report_lines"]


def report_lines(report: CheckReport) -> list[str]:
    """The report as lines of text, the worst last."""
    videos = [video for video in report.videos if video.readable]
    frames = sorted(video.frames or 0 for video in videos)
    sizes = sorted({f"{video.width}x{video.height}" for video in videos})
    rates = sorted({f"{video.fps:.4g}" for video in videos if video.fps})
    codecs = sorted({video.codec for video in videos if video.codec})
    lines = []
    if videos:
        seconds = sum(video.duration_s or 0 for video in videos)
        files = len({video.path for video in videos})
        parts = "" if files == len(videos) else f", parts of {counted(files, 'file')}"
        lines.append(
            f"{counted(len(videos), 'readable video')}{parts}, {seconds / 60:.1f} minutes; {frames[0]} to "
            f"{counted(frames[-1], 'frame')} "
            f"(median {frames[len(frames) // 2]})"
        )
        for what, values in (("sizes", sizes), ("frames per second", rates), ("codecs", codecs)):
            lines.append(f"{what}: {', '.join(values[:6])}{' …' if len(values) > 6 else ''}")
    lines.append(f"class imbalance (videos of the largest class / of the smallest): {report.imbalance:.2f}")
    lines += [f"Note: {note}" for note in report.notes]
    for copies in report.copies:
        where = f", in {' and '.join(copies.splits)}" if len(copies.splits) > 1 else ""
        lines.append(f"Same content: {', '.join(copies.ids)}{where}")
    if report.label_trouble is not None:
        lines += trouble_lines(report.label_trouble)
    # A problem of a file is printed once, however many of its parts are listed.
    lines += dict.fromkeys(f"Damaged: {video.path}: {video.problem}" for video in report.damaged)
    lines += dict.fromkeys(f"Broken: {_with_path(video)}" for video in report.broken)
    lines.append(
        f"{len(report.broken)} broken, {len(report.damaged)} damaged, {len(report.missing)} listed but missing."
    )
    return lines


def _with_path(video: VideoCheck) -> str:
    problem = video.problem or "cannot be read"
    return problem if str(video.path) in problem else f"{video.path}: {problem}"
