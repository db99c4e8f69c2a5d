"""``praxiscope predict --segments``, and how ``praxiscope test --segments`` prints its result."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import OUTPUT_PANEL, print_json, print_table, reporter
from praxiscope.errors import ArgumentError

if TYPE_CHECKING:
    from praxiscope.commands.arguments import SegmentOptions
    from praxiscope.commands.predict import Failure
    from praxiscope.commands.segments import VideoSegments
    from praxiscope.commands.test_segments import SegmentTest
    from praxiscope.inference.options import LoadOptions
    from praxiscope.inference.segments import SegmentSettings
    from praxiscope.progress import Reporter

__all__ = ["SegmentFile", "SegmentFiles", "predict_segments", "print_test"]

SegmentFile = Annotated[
    Path | None,
    typer.Option(
        help="With --segments: file to write; for several videos a folder.", rich_help_panel=OUTPUT_PANEL
    ),
]

_SUFFIXES = {"srt": ".srt", "vtt": ".vtt", "elan": ".eaf", "csv": ".csv", "picture": ".png"}


@dataclass(frozen=True)
class SegmentFiles:
    """Files to write for each video: of one video a file; of several a folder, with a file named after each."""

    srt: Path | None = None
    vtt: Path | None = None
    elan: Path | None = None
    csv: Path | None = None
    picture: Path | None = None

    @property
    def asked(self) -> dict[str, Path]:
        """The files or folders by kind."""
        each = {kind: getattr(self, kind) for kind in _SUFFIXES}
        return {kind: path for kind, path in each.items() if path is not None}

    def refuse(self) -> None:
        """Raise ArgumentError if a file is asked for without ``--segments``."""
        for kind in self.asked:
            raise ArgumentError(f"--{kind} needs --segments. Add --segments, or leave --{kind} out.")

    def with_csv(self, sources: list[str]) -> tuple[list[str], SegmentFiles]:
        """Split the words after ``--csv`` into videos and a file to write, which no video is named like.

        Raises:
            ArgumentError: several such files.
        """
        named = [source for source in sources if source.lower().endswith(".csv")]
        if len(named) > 1:
            raise ArgumentError(
                f"--csv writes one file, got {', '.join(named)}. Name one, or leave them out."
            )
        videos = [source for source in sources if source not in named]
        return videos, replace(self, csv=Path(named[0]) if named else None)

    def of_videos(self, sources: list[str]) -> dict[str, dict[str, Path]]:
        """The files of each video by kind.

        Raises:
            ArgumentError: several videos and a file for one, or two videos with the same name.
        """
        found: dict[str, dict[str, Path]] = {source: {} for source in sources}
        for kind, place in self.asked.items():
            if len(sources) == 1 and not place.is_dir():
                found[sources[0]][kind] = place
                continue
            if place.is_file() or (not place.is_dir() and place.suffix.lower() == _SUFFIXES[kind]):
                raise ArgumentError(
                    f"--{kind} {place}: is a file for one video, and there are {len(sources)}. Give a folder."
                )
            for source in sources:
                path = place / f"{Path(source).stem}{_SUFFIXES[kind]}"
                if any(path == other.get(kind) for other in found.values()):
                    raise ArgumentError(
                        f"--{kind} {place}: two videos are named {Path(source).stem}, so {path} would be written twice."
                    )
                found[source][kind] = path
        return found


def predict_segments(
    run: str,
    sources: list[str],
    options: SegmentOptions,
    load: LoadOptions,
    files: SegmentFiles,
    *,
    json: bool,
    as_csv: bool,
) -> None:
    """Find, write and print the segments of videos; the exit code is 1 if one cannot be read."""
    from praxiscope.commands.predict import Failure, find_sources

    load.check(run)
    speaker = reporter()
    found = find_sources(sources, lambda text: speaker.line(f"Note: {text}"))
    places = files.of_videos([source for source in found if not isinstance(source, Failure)])
    with quick_imports():
        from praxiscope.commands.segments import find_settings, segments
        from praxiscope.inference.loading import load_recogniser
    recogniser = load_recogniser(run, load)
    settings = find_settings(run, recogniser, options)
    results = _written(segments(recogniser, found, settings, speaker), places, settings, speaker)
    if json:
        shown = list(results)
        print_json([_as_json(result) for result in shown])
        failed = any(isinstance(result, Failure) for result in shown)
    else:
        failed = _print_csv(results) if as_csv or not sys.stdout.isatty() else _print_tables(results)
    if not settings.learned_from:
        speaker.line(
            "Note: default thresholds. `praxiscope test RUN LIST --segments` learns them from training segments."
        )
    if failed:
        raise typer.Exit(1)


def _written(
    results: Iterator[VideoSegments | Failure],
    places: dict[str, dict[str, Path]],
    settings: SegmentSettings,
    speaker: Reporter,
) -> Iterator[VideoSegments | Failure]:
    """The results, with their files written; damage and errors on standard error."""
    from praxiscope.commands.predict import Failure
    from praxiscope.evaluation.segment_files import write_segments

    for result in results:
        if isinstance(result, Failure):
            speaker.line(f"error: {result.error}")
        else:
            if result.damage:
                speaker.line(f"Damaged: {result.source}: {result.damage}")
            for kind, path in places[result.source].items():
                if kind == "picture":
                    _write_picture(path, result, settings)
                else:
                    write_segments(path, kind, result.segments, result.source)
        yield result


def _write_picture(path: Path, result: VideoSegments, settings: SegmentSettings) -> None:
    from praxiscope.commands.segments import picture_of
    from praxiscope.evaluation.segment_plots import draw_timeline
    from praxiscope.explain.explanation import Explanation, save_explanation

    path.parent.mkdir(parents=True, exist_ok=True)
    picture = picture_of(result.source, result.scores, result.segments, settings)
    save_explanation(Explanation(draw_timeline(picture)), path)


def _as_json(result: VideoSegments | Failure) -> dict[str, Any]:
    from praxiscope.commands.predict import Failure

    if isinstance(result, Failure):
        return {"source": result.source, "error": result.error}
    segments = [segment._asdict() for segment in result.segments]
    return {"source": result.source, "segments": segments, "damage": result.damage}


def _print_csv(results: Iterator[VideoSegments | Failure]) -> bool:
    """Print rows as they come; returns whether a video failed."""
    from praxiscope.commands.predict import Failure

    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(["source", "start_s", "end_s", "label", "score"])
    failed = False
    for result in results:
        if isinstance(result, Failure):
            failed = True
            continue
        for one in result.segments:
            rows.writerow(
                [result.source, f"{one.start_s:.3f}", f"{one.end_s:.3f}", one.label, f"{one.score:.6f}"]
            )
        sys.stdout.flush()
    return failed


def _print_tables(results: Iterator[VideoSegments | Failure]) -> bool:
    """Print a table for each video as it comes; returns whether a video failed."""
    from praxiscope.commands.predict import Failure

    failed = False
    for result in results:
        if isinstance(result, Failure):
            failed = True
            continue
        rows = [
            [f"{one.start_s:.2f}", f"{one.end_s:.2f}", one.label, f"{one.score:.3f}"]
            for one in result.segments
        ]
        print_table(
            ["start s", "end s", "action", "mean probability"],
            rows or [["", "", "none", ""]],
            title=result.source,
        )
    return failed


def print_test(result: SegmentTest, speaker: Reporter, *, json: bool, out: Path | None) -> None:
    """Print the result of a test on segments."""
    report = None if result.report is None else str(result.report)
    if json:
        print_json(
            {
                **result.figures,
                "classes": result.classes,
                "results": None if out is None else str(out),
                "report": report,
                "skipped": [{"id": name, "problem": problem} for name, problem in result.skipped.items()],
                "notes": result.notes,
            }
        )
        return
    rows = [
        [row["class"], str(row["segments"]), str(row["predicted"]), _cell(row["average_precision"])]
        for row in result.classes
    ]
    print_table(["class", "segments", "predicted", "average precision at 0.5"], rows)
    shown = {name: value for name, value in result.figures.items() if isinstance(value, float)}
    print_table(["metric", "segments"], [[name, f"{value:.4f}"] for name, value in shown.items()])
    speaker.line(f"{result.figures['videos']} videos.{'' if report is None else f' Report: {report}'}")


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
