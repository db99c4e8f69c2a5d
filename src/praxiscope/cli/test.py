"""``praxiscope test``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli import complete
from praxiscope.cli.common import (
    DATA_PANEL,
    OUTPUT_PANEL,
    TEST_PANEL,
    Annotations,
    Average,
    Checkpoint,
    Data,
    Device,
    Flow,
    FlowRange,
    FlowWeights,
    Json,
    MaxSkip,
    Split,
    Task,
    Workers,
    command_line,
    print_json,
    print_table,
    reporter,
)
from praxiscope.cli.segments import print_test
from praxiscope.units import counted

if TYPE_CHECKING:
    from praxiscope.commands.arguments import SegmentOptions
    from praxiscope.commands.test import TestResult
    from praxiscope.progress import Reporter

HELP = """Test a recogniser on held-out videos.

\b
Example: praxiscope test runs/a videos/ --protocol 25x10 --out scores.npz
Segments: praxiscope test runs/a list_with_start_end.csv --segments
"""

__test__ = False


def test(
    run: Annotated[str, typer.Argument(help="Run folder or model folder.")],
    data: Data,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Views to average for each video: 1x1, 25x1, 25x10, dense10x3, 1xfull, two-stream and others. "
            "Default: that of the model.",
            autocompletion=complete.protocols,
            rich_help_panel=TEST_PANEL,
        ),
    ] = None,
    average: Average = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Scores file to write: .npz or .parquet; with --segments .json.",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = None,
    split: Split = None,
    annotations: Annotations = None,
    subset: Annotated[
        str,
        typer.Option(help="Part of the data to test on: train, val or test.", rich_help_panel=DATA_PANEL),
    ] = "test",
    segments: Annotated[
        bool,
        typer.Option(
            "--segments",
            help="Find the start and end of each action in whole videos, and compare them with the list.",
            rich_help_panel=TEST_PANEL,
        ),
    ] = False,
    thresholds: Annotated[
        str,
        typer.Option(
            metavar="auto|learn|default",
            help="With --segments: thresholds learned before, or now from training segments (auto); learned again; or "
            "those of a model without training segments.",
            rich_help_panel=TEST_PANEL,
        ),
    ] = "auto",
    window: Annotated[
        str | None,
        typer.Option(help="With --segments: length of the windows, such as 1s.", rich_help_panel=TEST_PANEL),
    ] = None,
    stride: Annotated[
        str | None,
        typer.Option(
            help="With --segments: time from one window to the next, such as 500ms.",
            rich_help_panel=TEST_PANEL,
        ),
    ] = None,
    checkpoint: Checkpoint = None,
    flow: Flow = None,
    flow_range: FlowRange = None,
    flow_weights: FlowWeights = None,
    task: Task = None,
    device: Device = "auto",
    workers: Workers = 2,
    max_skip: MaxSkip = None,
    json: Json = False,
) -> None:
    from praxiscope.commands.arguments import TestOptions, check_test
    from praxiscope.inference.options import FlowOptions, LoadOptions

    how = _segment_options(segments, thresholds, window, stride)
    options = TestOptions(protocol, average, split, annotations, subset, out, workers, max_skip, segments=how)
    load = LoadOptions(checkpoint, device, task, FlowOptions(flow, flow_range, flow_weights))
    check_test(run, data, options, load)
    speaker = reporter()
    if segments:
        with quick_imports():
            from praxiscope.commands.test_segments import test_segments

        found = test_segments(run, data, options, load=load, command=command_line(), reporter=speaker)
        print_test(found, speaker, json=json, out=out)
        return
    with quick_imports():
        from praxiscope.commands.test import test as run_test

    result = run_test(run, data, options, load=load, command=command_line(), reporter=speaker)
    if json:
        print_json(
            {
                **result.figures,
                "protocol": result.scores.protocol["name"],
                "average": result.scores.protocol.get("average"),
                "scores": None if out is None else str(out),
                "report": None if result.report is None else str(result.report),
                "skipped": [{"id": skip.id, "problem": skip.problem} for skip in result.skipped],
                "notes": result.notes,
            }
        )
    else:
        _print_result(result, speaker)


def _segment_options(
    segments: bool, thresholds: str, window: str | None, stride: str | None
) -> SegmentOptions | None:
    """How segments are found; None for a test of videos. Raises ArgumentError for options that then do not apply."""
    from praxiscope.commands.arguments import SegmentOptions
    from praxiscope.errors import ArgumentError
    from praxiscope.units import parse_duration

    if not segments:
        for option, given in (
            ("--thresholds", thresholds != "auto"),
            ("--window", window),
            ("--stride", stride),
        ):
            if given:
                raise ArgumentError(f"{option} needs --segments. Add --segments, or leave {option} out.")
        return None
    lengths = [
        parse_duration(option, text) if text else None
        for option, text in (("--window", window), ("--stride", stride))
    ]
    return SegmentOptions(thresholds, *lengths)


def _print_result(result: TestResult, speaker: Reporter) -> None:
    from praxiscope.evaluation.metrics import per_class_table, shown_figures
    from praxiscope.evaluation.protocols import name_with_average

    rows = per_class_table(result.scores)
    if rows:
        headers = [str(key) for key in rows[0]]
        print_table(headers, [[_cell(row[key]) for key in headers] for row in rows])
    shown = shown_figures(result.figures)
    print_table(
        ["metric", name_with_average(result.scores.protocol)], [[k, f"{v:.4f}"] for k, v in shown.items()]
    )
    where = "" if result.report is None else f" Report: {result.report}"
    speaker.line(f"{counted(result.figures['videos'], 'video')}.{where}")


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)
