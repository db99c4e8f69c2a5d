"""``praxiscope predict``."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from praxiscope.cli import complete
from praxiscope.cli.common import (
    OUTPUT_PANEL,
    RUN_PANEL,
    TEST_PANEL,
    Average,
    Checkpoint,
    Device,
    Flow,
    FlowRange,
    FlowWeights,
    Json,
    Task,
    reporter,
)
from praxiscope.cli.exported import check_run, load_run
from praxiscope.cli.live import Camera, Every, LiveFile, LiveOptions, Smooth, predict_live
from praxiscope.cli.predictions import (
    DrawnVideos,
    Refusals,
    print_predictions,
    reported_predictions,
    stream_csv,
)
from praxiscope.cli.segments import SegmentFile, SegmentFiles, predict_segments
from praxiscope.errors import ArgumentError

if TYPE_CHECKING:
    pass

if TYPE_CHECKING:
    from praxiscope.commands.arguments import Views
    from praxiscope.evaluation.answers import NoneBelow
    from praxiscope.inference.options import LoadOptions

HELP = """Predict the action in each video, or in each window of a video.

\b
Example: praxiscope predict runs/a clip.mp4 more/*.mp4 --top 5 --json
A timeline of a long video: praxiscope predict runs/a long.mp4 --window 2s
Live, from a camera: praxiscope predict runs/a --camera 0
Starts and ends of actions: praxiscope predict runs/a long.mp4 --segments
Only confident answers: praxiscope predict runs/a clip.mp4 --none-below 0.9
Drawn on the video: praxiscope predict runs/a clip.mp4 --video out.mp4
"""


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
    video: Annotated[
        Path | None,
        typer.Option(
            help="Write the video with the answer drawn on it (.mp4, .mkv, .mov); for several videos a folder.",
            rich_help_panel=OUTPUT_PANEL,
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
    runtime: Annotated[
        str,
        typer.Option(
            metavar="auto|torch|onnxruntime|openvino",
            help="On a CPU: what runs the network, which is exported once for others than torch. auto: the fastest; it "
            "exports a network only for much work.",
            rich_help_panel=RUN_PANEL,
        ),
    ] = "auto",
    json: Json = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV on standard output.", rich_help_panel=OUTPUT_PANEL)
    ] = False,
) -> None:
    from praxiscope.commands.arguments import Views
    from praxiscope.evaluation.answers import parse_none_below
    from praxiscope.inference.options import FlowOptions, LoadOptions, check_runtime
    from praxiscope.units import parse_duration

    _check_combination(json and as_csv, segments, window, stride, protocol, average)
    window_s = parse_duration("--window", window) if window else None
    stride_s = parse_duration("--stride", stride) if stride else None
    threshold = parse_none_below(none_below)
    options = LoadOptions(checkpoint, device, task, FlowOptions(flow, flow_range, flow_weights))
    files_of_segments = SegmentFiles(srt, vtt, elan, None, picture)
    live_options, sources = LiveOptions(camera, live, every, smooth), sources or []
    if (source := live_options.source(sources)) is not None:
        _check_live(
            video=video, segments=segments, window=window, protocol=protocol, average=average, csv=as_csv
        )
        files_of_segments.refuse()
        predict_live(run, source, live_options, options, threshold, top, json)
        return
    if segments:
        if video is not None:
            raise ArgumentError(
                "--video shows the answers of videos or windows. Use --window instead of --segments."
            )
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
    check_runtime(runtime)
    views = Views(protocol, average, window_s, stride_s)
    output = _Output(top, threshold, video, json, as_csv or not (json or sys.stdout.isatty()))
    if not _predict_files(run, sources, options, runtime, views, output):
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Output:
    """What is shown of each video, and how."""

    top: int
    none_below: NoneBelow
    video: Path | None
    json: bool
    csv: bool


def _predict_files(
    run: str, sources: list[str], options: LoadOptions, runtime: str, views: Views, output: _Output
) -> bool:
    """Predict recorded videos, and print the answers; returns whether all could be read."""
    from praxiscope.commands.predict import find_sources
    from praxiscope.commands.predict import predict as run_prediction

    speaker = reporter()
    files = find_sources(sources, lambda text: speaker.line(f"Note: {text}"))
    drawn = DrawnVideos(files, output.video, speaker)
    recogniser = load_run(run, options, runtime, files, views, speaker)
    refusals = Refusals(output.none_below, recogniser.calibration)
    if views.window_s is not None and output.csv:
        # Rows are printed as they come, so that a timeline of hours is never in memory.
        windows = (views.window_s, views.stride_s or views.window_s / 2)
        failed = stream_csv(recogniser, files, windows, output.top, refusals, speaker, drawn)
    else:
        predictions = run_prediction(
            recogniser, files, top=output.top, none_below=output.none_below, **asdict(views)
        )
        reported = reported_predictions(predictions, len(files), refusals, speaker)
        failed = print_predictions(map(drawn.add, reported), output.json, output.csv)
    refusals.report(speaker)
    return not failed


def _check_combination(
    twice: bool,
    segments: bool,
    window: str | None,
    stride: str | None,
    protocol: str | None,
    average: str | None,
) -> None:
    """Raise ArgumentError for options that cannot be combined; ``twice``: two formats on standard output."""
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
    for name, value in given.items():
        if value:
            raise ArgumentError(
                f"--{name} is not for live video, which has an answer per frame. Leave it out."
            )
