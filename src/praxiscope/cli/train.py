"""``praxiscope train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from praxiscope.cli.common import Annotations, MaxSkip, Split, reporter

HELP = """Train a recogniser on labelled videos.

Example: praxiscope train videos/ --model tsm --out runs/a
"""


def train(
    data: Annotated[
        str | None,
        typer.Argument(
            help="Folder of class folders, CSV (path,label[,start,end,split,group]), or LAYOUT:FOLDER. "
            "May be left out with --resume."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/new"),
    model: Annotated[str | None, typer.Option(help="Name of the model: frame, tsn, tsm.")] = None,
    recipe: Annotated[
        str, typer.Option(help="Name of a recipe (praxiscope recipes), or a run's YAML.")
    ] = "default",
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override one setting: section.key=value. May be given many times."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Start weights: state dict (.pt, .pth), .safetensors or .npz.")
    ] = None,
    flow: Annotated[
        str | None, typer.Option(help="Folder of stored flow (praxiscope flow); trains on it.")
    ] = None,
    stream: Annotated[
        str | None, typer.Option(help="rgb or flow. Default: flow where --flow is given.")
    ] = None,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Download ImageNet weights (torchvision, timm).")
    ] = False,
    split: Split = None,
    annotations: Annotations = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the data.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Videos per device and step.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of every draw of the run.")] = None,
    devices: Annotated[int | None, typer.Option(min=1, help="Devices (processes) on this machine.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that read videos, per device.")
    ] = None,
    max_skip: MaxSkip = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")
    ] = False,
) -> None:
    from praxiscope.errors import ArgumentError
    from praxiscope.recipes.settings import get_recipe, load_yaml, override
    from praxiscope.recipes.train import train as run_training

    saved = out / "settings.yaml"
    if resume and saved.is_file() and recipe == "default":
        settings = load_yaml(saved)
    else:
        settings = get_recipe(recipe)
    given = {
        "data.source": data,
        "data.split": split,
        "data.annotations": annotations,
        "data.flow": flow,
        "data.workers": workers,
        "data.max_skip": max_skip,
        "model.name": model,
        "model.weights": weights,
        "model.stream": stream or ("flow" if flow else None),
        "model.pretrained": True if pretrained else None,
        "optim.epochs": epochs,
        "optim.batch": batch,
        "run.seed": seed,
        "run.devices": devices,
    }
    settings = settings.updated({key: value for key, value in given.items() if value is not None})
    settings = override(settings, assignments or [])
    if not settings.data.source:
        raise ArgumentError("no data: name a folder, a CSV or LAYOUT:FOLDER, or --resume a run.")
    complete = run_training(settings, out, resume=resume, reporter=reporter())
    if not complete:
        raise typer.Exit(130)
