"""``praxiscope train``."""

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
    FlowRange,
    MaxSkip,
    Split,
    command_line,
    reporter,
)
from praxiscope.errors import ArgumentError
from praxiscope.models.names import list_models

HELP = """Train a recogniser on labelled videos.

\b
Example: praxiscope train videos/ --model tsm --out runs/a

\b
Principal backpropagation, 8 snippets forward and 4 backward:
  praxiscope train videos/ --watch 8 --choose 4
One network of RGB and flow, from two trained runs:
  praxiscope train videos/ --flow flow/ --from runs/rgb,runs/flow
Several data sets:
  praxiscope train --data a=ucf101:videos --data-split a=1 --data b=clips/
"""
_TRAINING, _MEMORY = "Training", "Memory and long videos"


def _clusters(text: str) -> int:
    """Parse ``--clusters``."""
    if text == "auto":
        raise ArgumentError("--clusters auto: was removed. Give a number, such as --clusters 8.")
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentError(f"--clusters {text}: must be an integer of at least 1.")
    return int(text)


def train(
    data: Annotated[
        str | None,
        typer.Argument(
            help="Folder of class folders, CSV (path,label[,start,end,split,group]), or LAYOUT:FOLDER. "
            "Not needed with --resume."
        ),
    ] = None,
    split: Split = None,
    annotations: Annotations = None,
    max_skip: MaxSkip = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            metavar="NAME=DATA",
            help="One of several data sets, in place of DATA: one network with a classifier for each. Repeat it for "
            "each data set.",
            rich_help_panel=DATA_PANEL,
        ),
    ] = None,
    data_split: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SPLIT", help="--split for one of several data sets.", rich_help_panel=DATA_PANEL
        ),
    ] = None,
    data_annotations: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FOLDER",
            help="--annotations for one of several data sets.",
            rich_help_panel=DATA_PANEL,
        ),
    ] = None,
    allow_one_class: Annotated[
        bool,
        typer.Option(
            "--allow-one-class", help="Train even if there is a single class.", rich_help_panel=DATA_PANEL
        ),
    ] = False,
    allow_no_test: Annotated[
        bool,
        typer.Option(
            "--allow-no-test",
            help="Train even if no video is held out for validation or testing.",
            rich_help_panel=DATA_PANEL,
        ),
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            help=f"Name of the model: {', '.join(list_models())}; or auto: by the number of clips. Default: tsn.",
            autocompletion=complete.models,
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Network for each frame, such as resnet50, timm/NAME or hf-hub:ORG/NAME. Default: efficientnet_lite0 "
            "for most models.",
            autocompletion=complete.backbones,
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    pretrained: Annotated[
        bool | None,
        typer.Option(
            help="Start from ImageNet weights: installed ones (efficientnet_lite0), or downloaded ones (torchvision, "
            "timm); or from random weights. Default: from installed ones, if the backbone has them.",
            show_default=False,
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Weights to start from: a state dict (.pt, .pth), .safetensors, .npz, or a run.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RUN[,RUN]",
            help="Warm start: from a run of the same model, such as one of fewer frames; or from one of RGB and one of "
            "flow, for a network of both (multiplier); or PART=RUN for parts of a network (temporal-difference: image, "
            "difference).",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    stream: Annotated[
        str | None,
        typer.Option(
            help="Input of the model: rgb or flow. Default: flow if --flow is given, else rgb.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=8,
            help="Height and width of the frames that the model sees, pixels. Default: 224.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            help="Name of a recipe (see praxiscope recipes), or a run's settings.yaml. By default the recipe "
            "default-MODEL or default; from trained weights, fine-tune.",
            autocompletion=complete.recipes,
            rich_help_panel=_TRAINING,
        ),
    ] = "default",
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Passes over the data. Replaces the recipe's optim.epochs or optim.steps.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Videos per device and step.", rich_help_panel=_TRAINING)
    ] = None,
    lr: Annotated[
        float | None, typer.Option(help="Learning rate, after warm-up.", rich_help_panel=_TRAINING)
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Seed of all random numbers of the run.", rich_help_panel=_TRAINING),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SECTION.KEY=VALUE",
            help="Override one setting of the recipe, such as optim.momentum=0.8. May be repeated.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    flow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder of stored flow (praxiscope flow) to train on. With several data sets: NAME=FOLDER, for each.",
            rich_help_panel=FLOW_PANEL,
        ),
    ] = None,
    flow_range: FlowRange = None,
    frames: Annotated[
        int | None,
        typer.Option(
            "--frames",
            "--snippets",
            min=1,
            help="Frames (snippets) of each video in a step; the same as --watch.",
            rich_help_panel=_MEMORY,
        ),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(
            help="Frames per second that are read of a video, such as 1 for long ones. Training then takes --frames "
            "consecutive ones. Default: every frame may be read.",
            rich_help_panel=_MEMORY,
        ),
    ] = None,
    watch: Annotated[
        int | None,
        typer.Option(
            min=1, help="Snippets of each video in the forward pass of a step.", rich_help_panel=_MEMORY
        ),
    ] = None,
    choose: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Principal backpropagation: snippets of --watch that get a backward pass.",
            rich_help_panel=_MEMORY,
        ),
    ] = None,
    rule: Annotated[
        str | None,
        typer.Option(
            help="How principal backpropagation chooses: max, kl or random. Default: kl for RGB, max for flow.",
            rich_help_panel=_MEMORY,
        ),
    ] = None,
    backprop: Annotated[
        str | None,
        typer.Option(
            help="How gradients are computed: full, principal (the default with --choose), or cached (the exact "
            "gradient, a few snippets at a time).",
            rich_help_panel=_MEMORY,
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            help="Memory that a step may use, such as 6GiB, with --backprop cached or principal.",
            rich_help_panel=_MEMORY,
        ),
    ] = None,
    clusters: Annotated[
        str | None,
        typer.Option(
            metavar="INTEGER",
            help="Train on every frame (--model full-video), in this number of clusters per video.",
            rich_help_panel=_MEMORY,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the run.", rich_help_panel=RUN_PANEL)] = Path(
        "runs/new"
    ),
    device: Annotated[
        str | None,
        typer.Option(
            help="Device: auto, cpu, cuda, cuda:1 or mps. Default: auto.", rich_help_panel=RUN_PANEL
        ),
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(min=1, help="Number of devices (processes) on this machine.", rich_help_panel=RUN_PANEL),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0, help="Number of processes that read videos, per device.", rich_help_panel=RUN_PANEL
        ),
    ] = None,
    log: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Also log to mlflow, trackio or wandb, each an own package; may be repeated.",
            rich_help_panel=RUN_PANEL,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Continue from the last checkpoint in --out.", rich_help_panel=RUN_PANEL
        ),
    ] = False,
) -> None:
    from praxiscope.commands.train_options import DataOptions, TrainOptions, resolve

    plain = {
        "split": split,
        "annotations": annotations,
        "flow_range": flow_range,
        "workers": workers,
        "max_skip": max_skip,
        "allow_one_class": allow_one_class or None,
        "allow_no_test": allow_no_test or None,
        "backbone": backbone,
        "weights": weights,
        "stream": stream,
        "pretrained": pretrained,
        "clusters": None if clusters is None else _clusters(clusters),
        "size": size,
        "watch": watch,
        "frames": frames,
        "fps": fps,
        "backprop": backprop,
        "choose": choose,
        "rule": rule,
        "memory": memory,
        "epochs": epochs,
        "batch": batch,
        "lr": lr,
        "seed": seed,
        "device": device,
        "devices": devices,
        "log": log or None,
    }
    source = DataOptions(data, tasks or (), data_split or (), data_annotations or (), flow or ())
    options = TrainOptions(source, model, recipe, start, plain, assignments or ())
    settings = resolve(options, out, resume)
    with quick_imports():
        from praxiscope.commands.train import train as run_training
    complete_run = run_training(settings, out, resume=resume, command=command_line(), reporter=reporter())
    if not complete_run:
        raise typer.Exit(130)
