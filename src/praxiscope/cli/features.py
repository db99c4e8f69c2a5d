"""``praxiscope features``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli import complete
from praxiscope.cli.common import (
    DATA_PANEL,
    FLOW_PANEL,
    MODEL_PANEL,
    RUN_PANEL,
    Annotations,
    Data,
    FlowRange,
    Json,
    MaxSkip,
    Split,
    print_json,
    reporter,
)
from praxiscope.commands.feature_options import DEFAULT_BACKBONE, FeatureOptions, sampling_of
from praxiscope.errors import ArgumentError
from praxiscope.units import counted

HELP = """Compute features of a data set's videos with a per-frame network, once.

The folder of the features takes the place of the data in other commands. Run the same command again to continue an
interrupted run.

\b
Example: praxiscope features videos/ --out features/
  praxiscope train features/ --model probe --out runs/probe
"""
_FRAMES = "Frames and views"


def features(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder of the features.")],
    split: Split = None,
    annotations: Annotations = None,
    max_skip: MaxSkip = None,
    retry: Annotated[
        bool,
        typer.Option(
            "--retry", help="Read videos again that were skipped before.", rich_help_panel=DATA_PANEL
        ),
    ] = False,
    backbone: Annotated[
        str,
        typer.Option(
            help="Network for each frame, such as resnet50 or timm/NAME; or a run of single frames (frame, tsn).",
            autocompletion=complete.backbones,
            rich_help_panel=MODEL_PANEL,
        ),
    ] = DEFAULT_BACKBONE,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Weights of the backbone: a file, a run, or 'download' for those of torchvision or timm. Default: "
            "those that are installed.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            help="Layer whose map is the feature. Default: the input of the classifier.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    pool: Annotated[
        str,
        typer.Option(
            help="space: mean of a layer's map over rows and columns; none: the whole map.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = "space",
    frames: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Frames of each video, in the middles of as many equal parts. Default: 25.",
            rich_help_panel=_FRAMES,
        ),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(help="Frames per second of video, in place of --frames.", rich_help_panel=_FRAMES),
    ] = None,
    every: Annotated[
        bool, typer.Option("--every", help="Every frame, in place of --frames.", rich_help_panel=_FRAMES)
    ] = False,
    views: Annotated[
        str,
        typer.Option(
            help="center: the centre crop; flip: also flipped; crops: four corners and the centre, each also flipped.",
            rich_help_panel=_FRAMES,
        ),
    ] = "center",
    size: Annotated[
        int | None,
        typer.Option(
            min=16,
            help="Height and width of the crop, pixels. Default: that of the backbone.",
            rich_help_panel=_FRAMES,
        ),
    ] = None,
    stream: Annotated[
        str | None,
        typer.Option(
            help="rgb or flow. Default: flow if --flow is given, otherwise rgb.", rich_help_panel=FLOW_PANEL
        ),
    ] = None,
    flow: Annotated[
        str | None,
        typer.Option(
            help="Folder of stored flow (praxiscope flow), for features of flow.", rich_help_panel=FLOW_PANEL
        ),
    ] = None,
    flow_range: FlowRange = None,
    flow_length: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Flow fields in a stack, for a backbone. Default: 5; 1 for images.",
            rich_help_panel=FLOW_PANEL,
        ),
    ] = None,
    flow_kind: Annotated[
        str,
        typer.Option(
            help="For a backbone: stack, or image (a flow field as an image of three channels).",
            rich_help_panel=FLOW_PANEL,
        ),
    ] = "stack",
    half: Annotated[
        bool, typer.Option("--half", help="Store float16: half the size.", rich_help_panel=RUN_PANEL)
    ] = False,
    precision: Annotated[
        str, typer.Option(help="Of the network: auto, 32 or bf16.", rich_help_panel=RUN_PANEL)
    ] = "auto",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of processes. On a CPU each reads and computes, on one thread; otherwise they read. "
            "Default: one per core.",
            rich_help_panel=RUN_PANEL,
        ),
    ] = None,
    devices: Annotated[
        str,
        typer.Option(
            "--device",
            "--devices",
            help="auto, cpu, cuda, cuda:1 or mps; or several GPUs: cuda:0,cuda:1.",
            rich_help_panel=RUN_PANEL,
        ),
    ] = "auto",
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Read every stored byte, and compute damaged files again.",
            rich_help_panel=RUN_PANEL,
        ),
    ] = False,
    json: Json = False,
) -> None:
    from dataclasses import asdict

    from praxiscope.data.manifest import find_data

    if (stream or ("flow" if flow else "rgb")) != ("flow" if flow else "rgb"):
        raise ArgumentError(
            "--stream flow needs stored flow: --flow FOLDER"
            if stream == "flow"
            else f"--stream {stream} and --flow {flow} cannot be combined"
        )
    options = FeatureOptions(
        backbone=backbone,
        weights=weights,
        layer=layer,
        pool=pool,
        sampling=sampling_of(frames, fps, every),
        views=views,
        size=size,
        half=half,
        flow=flow,
        flow_range=flow_range,
        flow_length=flow_length,
        flow_kind=flow_kind,
        precision=precision,
        split=split,
        annotations=annotations,
        workers=workers,
        devices=tuple(name.strip() for name in devices.split(",")),
        max_skip=max_skip,
        verify=verify,
        retry=retry,
    )
    find_data(data, split, annotations)
    with quick_imports():
        from praxiscope.commands.features import extract_features
    summary = extract_features(data, out, options, reporter=reporter())
    if json:
        print_json(asdict(summary))
        return
    shape = " x ".join(map(str, summary.shape))
    speed = "" if summary.clips_per_s is None else f" {summary.clips_per_s:.1f} clips/s."
    print(
        f"{counted(summary.clips, 'clip')}, {counted(summary.rows, 'row')} of {shape} features, "
        f"{summary.bytes / 1e6:.1f} MB in {out}.{speed}"
    )
