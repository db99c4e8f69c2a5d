"""``praxiscope bench``: speeds and sizes measured on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import (
    Annotations,
    Data,
    Device,
    FlowRange,
    FlowWeights,
    Json,
    Split,
    Task,
    command_line,
    print_json,
    reporter,
)
from praxiscope.cli.help import App

app = App(help="Measure on this machine.")


@app.callback()
def _group() -> None:
    pass


@app.command(
    "load",
    help="""Clips per second of the input path, raw and packed, beside plain loops over other readers.

The other readers come with `pip install 'praxiscope[bench]'`; those that are missing are named.

Example: praxiscope bench load videos/ --packed packed/
""",
)
def load(
    data: Data,
    packed: Annotated[
        list[Path] | None, typer.Option(help="A packed copy of the same videos; may be given many times.")
    ] = None,
    frames: Annotated[
        list[int] | None, typer.Option(help="Frames per clip; may be given many times.")
    ] = None,
    short_side: Annotated[int, typer.Option(min=16, help="Pixels of the scaled short side.")] = 256,
    crop: Annotated[int, typer.Option(min=16, help="Pixels of the random square.")] = 224,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read.")] = 2,
    clips: Annotated[int | None, typer.Option(min=1, help="Use so many of the clips. Default: all.")] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Timed turns of each reader.")] = 3,
    seconds: Annotated[float, typer.Option(min=0, help="What a turn lasts at least.")] = 3.0,
    json: Json = False,
) -> None:
    from praxiscope.data.manifest import find_data

    for source in (data, *(packed or ())):
        find_data(source)
    with quick_imports():
        from praxiscope.bench.load import LoadTest, bench_load, format_bench

    test = LoadTest(frames or (8, 25), short_side, crop, workers, clips, repeat, seconds)
    rows = bench_load(data, packed or (), test, reporter=reporter())
    if json:
        print_json(rows)
    else:
        _print_text(format_bench(rows))


@app.command(
    "principal",
    help="""Time of a training step and its peak memory, by snippets watched and learned from.

Full-m learns from all m snippets at once, PB-m-n watches m and learns from n, cached-m makes Full-m's gradient in
chunks.

Example: praxiscope bench principal --backbone resnet18 --picture cost.png
""",
)
def principal(
    backbone: Annotated[
        list[str] | None, typer.Option(help="May be given many times. Default: resnet18 and resnet50.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Videos of a step.")] = 4,
    size: Annotated[int, typer.Option(min=32, help="Side of a frame, pixels.")] = 224,
    most: Annotated[int, typer.Option(min=1, help="Full-1 … Full-m and PB-1-1 … PB-m-1 up to this m.")] = 8,
    steps: Annotated[int, typer.Option(min=1, help="Timed steps of each; their median counts.")] = 3,
    device: Device = "cpu",
    precision: Annotated[str, typer.Option(help="32 or bf16.")] = "32",
    picture: Annotated[Path | None, typer.Option(help="Draw time and memory over m into this PNG.")] = None,
    json: Json = False,
) -> None:
    from praxiscope.devices import check_device
    from praxiscope.explain.checks import check_picture_path
    from praxiscope.models.names import check_backbone

    if picture is not None:
        check_picture_path(picture)
    check_device(device)
    for name in backbone or ():
        check_backbone(name)
    with quick_imports():
        from praxiscope.bench.principal import (
            bench_principal,
            draw_bench,
            format_bench_principal,
            rows_of_paper,
        )
    rows = bench_principal(
        backbone or ("resnet18", "resnet50"),
        rows=rows_of_paper(most),
        batch=batch,
        size=size,
        steps=steps,
        device=device,
        precision=precision,
        reporter=reporter(),
    )
    if picture is not None:
        draw_bench(rows, picture)
    if json:
        print_json(rows)
    else:
        _print_text(format_bench_principal(rows))


@app.command(
    "full-video",
    help="""Table 1 of the full-video paper on Move4MNIST: all frames, sampled ones, clusters of all.

Each row is trained and tested for each seed. Give the same command again to go on where it stopped.

Example: praxiscope bench full-video --out table1 --preset cpu --digits mnist/ --backgrounds videos/
""",
)
def full_video(
    out: Annotated[Path, typer.Option(help="Folder of the set and of the runs.")] = Path("full-video-bench"),
    preset: Annotated[
        str, typer.Option(help="cpu: 64 pixels, hours on two cores. paper: 224 pixels, for a GPU.")
    ] = "cpu",
    digits: Annotated[
        Path | None, typer.Option(help="Folder of MNIST's idx files. Default: scikit-learn's digits.")
    ] = None,
    backgrounds: Annotated[
        Path | None, typer.Option(help="Folder of background videos. Default: drawn textures.")
    ] = None,
    row: Annotated[
        list[str] | None, typer.Option(help="Only this row, TSM-8 say; may be given many times.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Runs of each row. Default: 2.")] = None,
    weights: Annotated[str | None, typer.Option(help="File of ImageNet weights to start from.")] = None,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Download ImageNet weights to start from.")
    ] = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read.")] = 2,
    device: Device = "auto",
    json: Json = False,
) -> None:
    from praxiscope.commands.arguments import check_preset
    from praxiscope.devices import check_device

    check_preset(preset)
    check_device(device)
    with quick_imports():
        from praxiscope.bench.experiment import made_of
        from praxiscope.bench.full_video import HEADER, bench_full_video, format_table

    rows = bench_full_video(
        out,
        preset,
        digits=digits,
        backgrounds=backgrounds,
        rows=row,
        seeds=seeds,
        weights=weights,
        pretrained=pretrained,
        workers=workers,
        device=device,
        reporter=reporter(),
    )
    if json:
        print_json(rows)
        return
    _print_table(HEADER, format_table(rows), made_of(out, (row["name"] for row in rows)))


@app.command(
    "predict",
    help="""Seconds from a video file to its label, and where they go, under one protocol or several side by side.

Example: praxiscope bench predict runs/a videos/ --protocol 25x10 --protocol fully-convolutional
""",
)
def predict(
    run: Annotated[Path, typer.Argument(help="Run or model folder.", show_default=False)],
    data: Data,
    protocol: Annotated[
        list[str] | None, typer.Option(help="May be given many times. Default: the recogniser's own.")
    ] = None,
    flow: Annotated[
        Path | None, typer.Option(help="Folder of stored flow. Default: it is estimated, and counts.")
    ] = None,
    flow_range: FlowRange = None,
    flow_weights: FlowWeights = None,
    task: Task = None,
    videos: Annotated[
        int | None, typer.Option(min=1, help="At most so many. Default: all of the test.")
    ] = None,
    split: Split = None,
    annotations: Annotations = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    from praxiscope.commands.arguments import TestOptions, check_test
    from praxiscope.inference.options import FlowOptions, LoadOptions

    load = LoadOptions(device=device, task=task, flow=FlowOptions(flow, flow_range, flow_weights))
    for name in protocol or (None,):
        check_test(run, data, TestOptions(name, split=split, annotations=annotations), load)
    with quick_imports():
        from praxiscope.bench.predict import HEADER, bench_predict, format_table

    rows = bench_predict(
        run,
        data,
        protocol or (),
        split=split,
        annotations=annotations,
        flow=flow,
        flow_range=flow_range,
        flow_weights=flow_weights,
        task=task,
        videos=videos,
        device=device,
        reporter=reporter(),
    )
    if json:
        print_json(rows)
        return
    _print_table(HEADER, format_table(rows))


@app.command(
    "multiplier",
    help="""Tables 2 and 3 of the multiplier networks' paper on your data: connections, and filters along time.

Both streams are trained for each seed, and every row from them. Give the same command again to go on where it stopped.

Example: praxiscope bench multiplier videos/ --flow flow/ --out tables
""",
)
def multiplier(
    data: Data,
    flow: Annotated[Path, typer.Option(help="Folder of stored flow (praxiscope flow).")],
    out: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("multiplier-bench"),
    preset: Annotated[
        str,
        typer.Option(
            help="cpu: ResNet-18, 64 pixels, random weights. paper: ResNet-50, 224 pixels, ImageNet weights."
        ),
    ] = "cpu",
    size: Annotated[
        int | None, typer.Option(min=32, help="Pixels of the crop. Default: as the preset has it.")
    ] = None,
    row: Annotated[
        list[str] | None, typer.Option(help="Only this row, residual-additive say; may be given many times.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Runs of each row. Default: 2.")] = None,
    split: Split = None,
    annotations: Annotations = None,
    flow_range: FlowRange = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read.")] = 2,
    device: Device = "auto",
    json: Json = False,
) -> None:
    from praxiscope.commands.arguments import check_preset
    from praxiscope.data.manifest import find_data
    from praxiscope.devices import check_device
    from praxiscope.training.checks import check_flow_folder

    check_preset(preset)
    check_device(device)
    find_data(data, split, annotations)
    check_flow_folder(flow)
    with quick_imports():
        from praxiscope.bench.experiment import made_of
        from praxiscope.bench.multiplier import HEADER, bench_multiplier, format_table

    rows = bench_multiplier(
        data,
        flow,
        out,
        preset,
        split=split,
        annotations=annotations,
        flow_range=flow_range,
        size=size,
        rows=row,
        seeds=seeds,
        workers=workers,
        device=device,
        reporter=reporter(),
    )
    if json:
        print_json(rows)
        return
    _print_table(HEADER, format_table(rows), made_of(out, (row["name"] for row in rows)))


def _print_table(header: list[str], rows: list[list[str]], made: str = "") -> None:
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))
    _print_text(text, made)


def _print_text(table: str, made: str = "") -> None:
    """A table, and under it when, on what and by which command it was made; by default now and here."""
    from praxiscope.bench.machine import made_now

    print(f"{table}\n\n{made or made_now()}.\nCommand: `{command_line()}`")


@app.command(
    "full-video-cost",
    help="""Time and peak memory of a training step on videos of 32 to 512 frames: all frames, and clusters of them.

Example: praxiscope bench full-video-cost --picture cost.png
""",
)
def full_video_cost(
    frames: Annotated[
        list[int] | None,
        typer.Option(min=2, help="May be given many times. Default: 32, 64, 128, 256 and 512."),
    ] = None,
    backbone: Annotated[str, typer.Option(help="Network for each frame.")] = "resnet18",
    clusters: Annotated[int, typer.Option(min=1, help="Clusters per video.")] = 8,
    size: Annotated[int, typer.Option(min=32, help="Side of a frame, pixels.")] = 224,
    early_frames: Annotated[
        int, typer.Option(min=1, help="Frames at a time, where the first stage is made again.")
    ] = 16,
    steps: Annotated[int, typer.Option(min=1, help="Timed steps of each; their median counts.")] = 3,
    device: Device = "cpu",
    precision: Annotated[str, typer.Option(help="32, bf16, or auto: what trains fastest here.")] = "auto",
    keep_memory: Annotated[
        bool, typer.Option("--keep-memory", help="As with the setting run.keep_memory: faster, takes more.")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(help="Draw time and memory over frames into this PNG.")
    ] = None,
    json: Json = False,
) -> None:
    from praxiscope.devices import check_device
    from praxiscope.explain.checks import check_picture_path
    from praxiscope.models.names import check_backbone

    if picture is not None:
        check_picture_path(picture)
    check_device(device)
    check_backbone(backbone)
    with quick_imports():
        from praxiscope.bench.full_video_cost import bench_full_video_cost, draw_cost, format_cost
    rows = bench_full_video_cost(
        frames or (32, 64, 128, 256, 512),
        backbone=backbone,
        clusters=clusters,
        size=size,
        early_frames=early_frames,
        steps=steps,
        device=device,
        precision=precision,
        keep_memory=keep_memory,
        reporter=reporter(),
    )
    if picture is not None:
        draw_cost(rows, picture)
    if json:
        print_json(rows)
    else:
        _print_text(format_cost(rows))
