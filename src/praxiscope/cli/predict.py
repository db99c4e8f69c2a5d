"""``praxiscope predict``."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from praxiscope.cli import complete
from praxiscope.cli.common import (
    OUTPUT_PANEL,
    TEST_PANEL,
    Average,
    Checkpoint,
    Device,
    Flow,
    FlowRange,
    FlowWeights,
    Json,
    Task,
    print_json,
    print_table,
    reporter,
)
from praxiscope.cli.exported import check_run, load_run
from praxiscope.cli.live import Camera, Every, LiveFile, LiveOptions, Smooth, predict_live
from praxiscope.cli.segments import SegmentFile, SegmentFiles, predict_segments
from praxiscope.units import counted

if TYPE_CHECKING:
    from praxiscope.commands.predict import Failure
    from praxiscope.evaluation.answers import NoneBelow
    from praxiscope.inference.fused import AnyRecogniser
    from praxiscope.progress import Reporter
    from praxiscope.types import Prediction, Segment

HELP = """Predict the action in each video, or in each window of a video.

\b
Example: praxiscope predict runs/a clip.mp4 more/*.mp4 --top 5 --json
A timeline of a long video: praxiscope predict runs/a long.mp4 --window 2s
Live, from a camera: praxiscope predict runs/a --camera 0
Starts and ends of actions: praxiscope predict runs/a long.mp4 --segments
Only confident answers: praxiscope predict runs/a clip.mp4 --none-below 0.9
"""
NONE = "none of these"


def predict(
    run: Annotated[str, typer.Argument(help="Run folder, model folder, or exported network.")],
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="Videos, folders of videos, globs, or .txt lists with one path per line; or one source of live video: "
            "an rtsp://, http:// or udp:// address, or '-' for standard input."
        ),
    ] = None,
    top: Annotated[
        int,
        typer.Option(min=1, help="Number of classes to print per video.", rich_help_panel=OUTPUT_PANEL),
    ] = 5,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Views to average for each video, such as 25x10. Default: that of the model.",
            autocompletion=complete.protocols,
            rich_help_panel=TEST_PANEL,
        ),
    ] = None,
    average: Average = None,
    window: Annotated[
        str | None,
        typer.Option(
            help="Predict every window of this length, such as 2s or 500ms.", rich_help_panel=TEST_PANEL
        ),
    ] = None,
    stride: Annotated[
        str | None,
        typer.Option(
            help="Time from one window to the next, such as 1s. Default: half a window.",
            rich_help_panel=TEST_PANEL,
        ),
    ] = None,
    segments: Annotated[
        bool,
        typer.Option(
            "--segments",
            help="Find the start and end of each action. With --csv, the rows go to a FILE.csv if one is named.",
            rich_help_panel=TEST_PANEL,
        ),
    ] = False,
    srt: SegmentFile = None,
    vtt: SegmentFile = None,
    elan: SegmentFile = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            help="Picture (.png) of each video over time, with its segments.", rich_help_panel=OUTPUT_PANEL
        ),
    ] = None,
    none_below: Annotated[
        str,
        typer.Option(
            metavar="auto|off|P",
            help="Answer 'none of these' if the best class has a probability below P. auto: the threshold that "
            "training found on held-out clips, if any.",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = "auto",
    camera: Camera = None,
    live: LiveFile = False,
    every: Every = None,
    smooth: Smooth = None,
    checkpoint: Checkpoint = None,
    flow: Flow = None,
    flow_range: FlowRange = None,
    flow_weights: FlowWeights = None,
    task: Task = None,
    device: Device = "auto",
    json: Json = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV on standard output.", rich_help_panel=OUTPUT_PANEL)
    ] = False,
) -> None:
    from praxiscope.commands.predict import find_sources
    from praxiscope.commands.predict import predict as run_prediction
    from praxiscope.evaluation.answers import parse_none_below
    from praxiscope.inference.options import FlowOptions, LoadOptions
    from praxiscope.units import parse_duration

    _check_combination(json and as_csv, segments, window, stride, protocol, average)
    window_s = parse_duration("--window", window) if window else None
    stride_s = parse_duration("--stride", stride) if stride else None
    threshold = parse_none_below(none_below)
    options = LoadOptions(checkpoint, device, task, FlowOptions(flow, flow_range, flow_weights))
    files_of_segments = SegmentFiles(srt, vtt, elan, None, picture)
    live_options, sources = LiveOptions(camera, live, every, smooth), sources or []
    if (source := live_options.source(sources)) is not None:
        _check_live(segments=segments, window=window, protocol=protocol, average=average, csv=as_csv)
        files_of_segments.refuse()
        predict_live(run, source, live_options, options, threshold, top, json)
        return
    if segments:
        from praxiscope.commands.arguments import SegmentOptions

        if as_csv:
            sources, files_of_segments = files_of_segments.with_csv(sources)
        how = SegmentOptions("auto", window_s, stride_s)
        predict_segments(run, sources, how, options, files_of_segments, json=json, as_csv=as_csv)
        return
    files_of_segments.refuse()
    check_run(
        run, options, window=window, checkpoint=checkpoint, flow=flow, flow_weights=flow_weights, task=task
    )
    speaker = reporter()
    files = find_sources(sources, lambda text: speaker.line(f"Note: {text}"))
    recogniser = load_run(run, options)
    refusals = _Refusals(threshold, recogniser.calibration)
    as_csv = as_csv or not (json or sys.stdout.isatty())
    if window_s is not None and as_csv:
        # Rows are printed as they come, so that a timeline of hours is never in memory.
        failed = _stream_csv(recogniser, files, (window_s, stride_s or window_s / 2), top, refusals, speaker)
        refusals.report(speaker)
        raise typer.Exit(1 if failed else 0)
    predictions = run_prediction(
        recogniser,
        files,
        top=top,
        protocol=protocol,
        average=average,
        window_s=window_s,
        stride_s=stride_s,
        none_below=threshold,
    )
    failed = _print_predictions(_reported(predictions, len(files), refusals, speaker), json, as_csv)
    refusals.report(speaker)
    if failed:
        raise typer.Exit(1)


def _print_predictions(reported: Iterator[Prediction | Failure], json: bool, as_csv: bool) -> bool:
    """Print what was found; returns whether a video failed."""
    from praxiscope.commands.predict import Failure

    if as_csv:
        return _print_csv(reported)
    results = list(reported)
    if json:
        print_json([_as_json(result) for result in results])
    else:
        _print_tables([result for result in results if not isinstance(result, Failure)])
    return any(isinstance(result, Failure) for result in results)


def _check_combination(
    twice: bool,
    segments: bool,
    window: str | None,
    stride: str | None,
    protocol: str | None,
    average: str | None,
) -> None:
    """Raise ArgumentError for options that cannot be combined; ``twice``: two formats on standard output."""
    from praxiscope.errors import ArgumentError
    from praxiscope.evaluation.protocols import parse_protocol

    if twice:
        raise ArgumentError("--json and --csv cannot be combined; both write to standard output.")
    if stride and not (window or segments):
        raise ArgumentError("--stride needs --window. Add --window, or leave --stride out.")
    windowed = "--segments" if segments else "--window"
    for option, value in (("--protocol", protocol), ("--average", average)):
        if value and (window or segments):
            raise ArgumentError(f"{option} cannot be combined with {windowed}: each window is a single view.")
    if protocol or average:
        parse_protocol(protocol or "1x1", average)


def _check_live(**given: object) -> None:
    """Raise ArgumentError for an option of recorded video."""
    from praxiscope.errors import ArgumentError

    for name, value in given.items():
        if value:
            raise ArgumentError(
                f"--{name} is not for live video, which has an answer per frame. Leave it out."
            )


class _Refusals:
    """Counts the answers "none of these", and explains them once for a command."""

    def __init__(self, none_below: NoneBelow, calibration: Mapping[str, Any]) -> None:
        self.none_below, self.calibration = none_below, calibration
        self.answers = self.refused = 0
        self.what = "video"

    def add(self, answer: Prediction | Segment) -> None:
        self.answers += 1
        self.refused += answer.none_of_these

    def add_prediction(self, prediction: Prediction) -> None:
        if prediction.segments:
            self.what = "window"
            for segment in prediction.segments:
                self.add(segment)
        else:
            self.add(prediction)

    def report(self, speaker: Reporter) -> None:
        from praxiscope.evaluation.answers import find_threshold

        if not self.refused:
            return
        threshold, about = find_threshold(self.none_below, self.calibration), self.calibration
        text = f"None of these: {self.refused} of {counted(self.answers, self.what)}, with a best class below"
        if self.none_below != "auto":
            speaker.line(f"{text} {threshold:g} (--none-below).")
            return
        rate, clips = f"{100 * about['false_refusals']:.1f} %", about.get("videos")
        found = f" ({clips} clips, {about['source']})" if clips and about.get("source") else ""
        speaker.line(
            f"{text} {threshold:.3f}. Of videos of the known classes, {rate} are expected there too{found}. "
            "To turn this off: --none-below off."
        )


def _reported(
    predictions: Iterator[Prediction | Failure], total: int, refusals: _Refusals, speaker: Reporter
) -> Iterator[Prediction | Failure]:
    """The predictions, with progress, damage and errors on standard error."""
    from praxiscope.commands.predict import Failure

    with speaker.bar("predicting", total) as bar:
        for result in predictions:
            bar.advance()
            if isinstance(result, Failure):
                speaker.line(f"error: {result.error}")
            else:
                refusals.add_prediction(result)
                if result.damage:
                    speaker.line(f"Damaged: {result.source}: {result.damage}")
            yield result


def _print_csv(predictions: Iterator[Prediction | Failure]) -> bool:
    """Print rows as they come; returns whether a video failed."""
    from praxiscope.commands.predict import Failure

    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(["source", "rank", "label", "score", "none_of_these"])
    failed = False
    for result in predictions:
        if isinstance(result, Failure):
            failed = True
            continue
        for rank, (label, score) in enumerate(zip(result.labels, result.scores, strict=True), 1):
            rows.writerow([result.source, rank, label, f"{score:.6f}", int(result.none_of_these)])
        sys.stdout.flush()
    return failed


def _as_json(result: Prediction | Failure) -> dict[str, Any]:
    from praxiscope.commands.predict import Failure

    content = asdict(result)
    if not isinstance(result, Failure):
        content["segments"] = [segment._asdict() for segment in result.segments]
    return content


def _stream_csv(
    recogniser: AnyRecogniser,
    files: list[str | Failure],
    window: tuple[float, float],
    top: int,
    refusals: _Refusals,
    speaker: Reporter,
) -> bool:
    """Print the windows (length and stride in seconds) as they come; returns whether a video failed."""
    from praxiscope.commands.predict import Failure
    from praxiscope.errors import DataError, VideoError
    from praxiscope.progress import clock
    from praxiscope.video.decode import known_damage
    from praxiscope.video.opening import open_video

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["source", "start_s", "end_s", "rank", "label", "score", "none_of_these"])
    failed = False
    refusals.what = "window"
    with speaker.bar("predicting", len(files)) as bar:
        for number, source in enumerate(files):
            bar.advance(min(number, 1))
            if isinstance(source, Failure):
                speaker.line(f"error: {source.error}")
                failed = True
                continue
            try:
                video = open_video(source)
                video.quick_length()  # so that duration_s need not decode the file
                length_s = video.duration_s
                segments = recogniser.timeline(
                    source, window_s=window[0], stride_s=window[1], top=top, none_below=refusals.none_below
                )
                for segment in segments:
                    refusals.add(segment)
                    for rank, (label, score) in enumerate(
                        zip(segment.labels, segment.scores, strict=True), 1
                    ):
                        times = (f"{segment.start_s:.3f}", f"{segment.end_s:.3f}")
                        none = int(segment.none_of_these)
                        writer.writerow([source, *times, rank, label, f"{score:.6f}", none])
                    sys.stdout.flush()
                    part = min(1.0, segment.end_s / length_s) if length_s else 0.0
                    bar.advance(
                        0, f"{Path(source).name} at {clock(segment.end_s)}", (number + part) / len(files)
                    )
            except (VideoError, DataError) as error:
                speaker.line(f"error: {error}")
                failed = True
            if damage := known_damage(source):
                speaker.line(f"Damaged: {source}: {damage}")
        bar.advance()
    return failed


def _print_tables(results: list[Prediction]) -> None:
    for result in results:
        if result.segments:
            rows = [
                [f"{s.start_s:.2f}", f"{s.end_s:.2f}", _action(s), f"{s.scores[0]:.3f}"]
                for s in result.segments
            ]
            print_table(["start s", "end s", "action", "probability"], rows, title=result.source)
        else:
            rows = [
                [label, f"{score:.3f}"] for label, score in zip(result.labels, result.scores, strict=True)
            ]
            if result.none_of_these:
                rows.insert(0, [NONE, f"below {result.none_below:.3f}"])
            print_table(["action", "probability"], rows, title=result.source)


def _action(segment: Segment) -> str:
    best = segment.labels[0]
    return f"{NONE} (best: {best})" if segment.none_of_these else best
