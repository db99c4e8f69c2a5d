"""Look at a data set."""

from __future__ import annotations

from pathlib import Path

from praxiscope.data.check import CheckReport, VideoCheck, inspect
from praxiscope.data.manifest import load_records
from praxiscope.processes import run_once
from praxiscope.progress import Reporter
from praxiscope.units import counted

__all__ = ["check", "describe"]

_FEW_FILES = 1000


def check(
    data: str | Path,
    *,
    split: str | None = None,
    annotations: str | Path | None = None,
    full: bool = False,
    workers: int = 2,
    reporter: Reporter | None = None,
) -> CheckReport:
    """Open every video of a data set, and say what training would meet.

    Args:
        data: as for training.
        split, annotations: for layouts with official splits.
        full: decode every frame.
        workers: processes.
        reporter: shows progress.

    Raises:
        DataError: the set cannot be listed at all.
    """
    run_once()
    reporter = reporter or Reporter()
    manifest = load_records(data, split=split, annotations=Path(annotations) if annotations else None)
    files = len({record.path for record in manifest.records})
    if not full and files < _FEW_FILES:
        workers = 1  # starting processes takes longer than opening so few files
    with reporter.bar("checking", files) as bar:
        return inspect(manifest, full=full, workers=workers, progress=lambda done, total: bar.advance())


def describe(report: CheckReport) -> list[str]:
    """What a person should know of a report, a sentence per line, the worst last."""
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
    lines.append(f"largest class over smallest, in training: {report.imbalance:.2f}")
    lines += [f"Note: {note}" for note in report.notes]
    for copies in report.copies:
        where = f", in {' and '.join(copies.splits)}" if len(copies.splits) > 1 else ""
        lines.append(f"Same content: {', '.join(copies.ids)}{where}")
    # What is wrong with a file is said once, however many of its parts are listed.
    lines += dict.fromkeys(f"Damaged: {video.path}: {video.problem}" for video in report.damaged)
    lines += dict.fromkeys(f"Broken: {_with_path(video)}" for video in report.broken)
    lines.append(
        f"{len(report.broken)} broken, {len(report.damaged)} damaged, {len(report.missing)} listed but missing."
    )
    return lines


def _with_path(video: VideoCheck) -> str:
    problem = video.problem or "cannot be read"
    return problem if str(video.path) in problem else f"{video.path}: {problem}"
