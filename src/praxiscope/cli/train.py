"""``praxiscope train``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import Annotations, FlowRange, MaxSkip, Split, command_line, reporter

if TYPE_CHECKING:
    from praxiscope.recipes.settings import TrainSettings

HELP = """Train a recogniser on labelled videos.

Example: praxiscope train videos/ --model tsm --out runs/a

Watch 8 snippets of each video, learn from 4: praxiscope train videos/ --watch 8 --choose 4 --out runs/pb

Pictures and flow: praxiscope train videos/ --flow flow/ --model multiplier --from runs/rgb,runs/motion

Several data sets, one network: praxiscope train --data ucf=ucf101:videos --data own=clips/ --data-split ucf=1
"""


def train(
    data: Annotated[
        str | None,
        typer.Argument(
            help="Folder of class folders, CSV (path,label[,start,end,split,group]), or LAYOUT:FOLDER. "
            "May be left out with --resume."
        ),
    ] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            metavar="NAME=DATA",
            help="One of several data sets, in place of DATA: one network learns all, with a classifier for each. "
            "Give it once for each.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/new"),
    model: Annotated[
        str | None, typer.Option(help="Name of the model: frame, tsn, tsm, full-video, multiplier.")
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            help="Name of a recipe (praxiscope recipes), or a run's YAML. Default: default-MODEL, where there is one."
        ),
    ] = "default",
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override one setting: section.key=value. May be given many times."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Start weights: state dict (.pt, .pth), .safetensors, .npz, or a run.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RGB_RUN,FLOW_RUN",
            help="Train one network of pictures and flow (--model multiplier) from two trained runs.",
        ),
    ] = None,
    flow: Annotated[
        list[str] | None,
        typer.Option(
            help="Folder of stored flow (praxiscope flow); trains on it. Of several data sets: NAME=FOLDER, for each."
        ),
    ] = None,
    flow_range: FlowRange = None,
    stream: Annotated[
        str | None, typer.Option(help="rgb or flow. Default: flow where --flow is given.")
    ] = None,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Download ImageNet weights (torchvision, timm).")
    ] = False,
    split: Split = None,
    annotations: Annotations = None,
    data_split: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=SPLIT", help="--split of one of several data sets."),
    ] = None,
    data_annotations: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FOLDER", help="--annotations of one of several data sets."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the data; also in place of a recipe's optim.steps.")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Videos per device and step.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of every draw of the run.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps. Default: auto.")] = None,
    devices: Annotated[int | None, typer.Option(min=1, help="Devices (processes) on this machine.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that read videos, per device.")
    ] = None,
    max_skip: MaxSkip = None,
    watch: Annotated[
        int | None, typer.Option(min=1, help="Snippets of a video that a step looks at.")
    ] = None,
    choose: Annotated[
        int | None,
        typer.Option(min=1, help="Principal backpropagation: learn from so many of the watched snippets."),
    ] = None,
    rule: Annotated[
        str | None,
        typer.Option(help="Which to choose: max, kl or random. Default: kl of pictures, max of flow."),
    ] = None,
    backprop: Annotated[
        str | None,
        typer.Option(
            help="full; principal (the default with --choose); or cached: the exact gradient of all snippets, in the "
            "memory of few."
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(help="What a step may take, such as 6GiB, with --backprop cached or principal."),
    ] = None,
    clusters: Annotated[
        str | None,
        typer.Option(
            help="Every frame (--model full-video), in so many clusters for each video; auto: as many as it changes."
        ),
    ] = None,
    allow_one_class: Annotated[
        bool,
        typer.Option(
            "--allow-one-class", help="Train on a single class, which leaves nothing to tell apart."
        ),
    ] = False,
    allow_no_test: Annotated[
        bool,
        typer.Option("--allow-no-test", help="Train where no video is held out for validation or a test."),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")
    ] = False,
) -> None:
    from praxiscope.checkpoint import check_recogniser
    from praxiscope.devices import check_device
    from praxiscope.errors import ArgumentError
    from praxiscope.models import default_stream
    from praxiscope.recipes.named import get_recipe, recipe_of
    from praxiscope.recipes.settings import load_yaml, override
    from praxiscope.training.checks import check_streams, check_training

    saved = out / "settings.yaml"
    if resume and not saved.is_file():
        raise ArgumentError(
            f"--resume: {out} holds no run. Name the folder of one by --out, or leave --resume out."
        )
    if model is None:  # some options are of one model alone
        model = "full-video" if clusters is not None else "multiplier" if start is not None else None
    if resume and recipe == "default":
        settings = load_yaml(saved)
    else:
        settings = recipe_of(model) if recipe == "default" and model else get_recipe(recipe)
    name = model or settings.model.name
    taken_over: dict[str, Any] = {}
    if start is not None:
        if resume:
            raise ArgumentError(f"--from {start}: {out} has begun; leave --from or --resume out.")
        if default_stream(name) != "both":
            raise ArgumentError(
                f"--from {start}: is for a model of pictures and flow; {name} sees one of them. Leave --from or "
                f"--{'clusters' if clusters is not None else 'model'} out."
            )
        runs = [run for run in start.split(",") if run]
        check_streams(runs)
        for run in runs:
            check_recogniser(run)
        with quick_imports():
            from praxiscope.training.warm_start import settings_of_runs
        taken_over = settings_of_runs(runs)
    single = flow and default_stream(name) != "both"
    several = _data_sets(settings, data, tasks, data_split, data_annotations, flow)
    given = {
        "data.split": split,
        "data.annotations": annotations,
        "data.flow_range": flow_range,
        "data.workers": workers,
        "data.max_skip": max_skip,
        "data.allow_one_class": allow_one_class or None,
        "data.allow_no_test": allow_no_test or None,
        "model.name": model,
        "model.weights": weights,
        "model.stream": stream or ("flow" if single else None),
        "model.pretrained": True if pretrained else None,
        "model.clusters": _clusters(clusters),
        "input.snippets": watch,
        "backprop.name": backprop or ("principal" if choose is not None else None),
        "backprop.choose": choose,
        "backprop.rule": rule,
        "backprop.memory": memory,
        "optim.epochs": epochs,
        "optim.batch": batch,
        "run.seed": seed,
        "run.accelerator": None if device is None else check_device(device),
        "run.devices": devices,
    }
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if backprop is not None and backprop != "principal" and choose is None:
        # In place of a recipe's choice.
        changes = {"backprop.choose": None, "backprop.rule": rule, **changes}
    told = epochs is not None or any(
        text.startswith(("optim.epochs", "optim.steps")) for text in assignments or []
    )
    if resume and not told:
        # A run keeps its length, whatever a recipe that is named again says, unless another one is asked for.
        length = load_yaml(saved).optim
        changes = {"optim.epochs": length.epochs, "optim.steps": length.steps} | changes
    # All together: two options may fit one another, but not what the recipe has.
    settings = override(settings, assignments or [], {**taken_over, **several, **changes})
    settings.data.sources()  # where nothing is named, this says so
    if watch is not None and settings.model.name == "full-video":
        raise ArgumentError(
            f"--watch {watch}: full-video sees every frame. Leave it out, or name another model by --model."
        )
    check_training(settings, out, resume)
    with quick_imports():
        from praxiscope.commands.train import train as run_training
    complete = run_training(settings, out, resume=resume, command=command_line(), reporter=reporter())
    if not complete:
        raise typer.Exit(130)


def _clusters(text: str | None) -> int | str | None:
    from praxiscope.errors import ArgumentError

    if text is None or text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentError(f"--clusters {text}: expected a whole number of 1 or more, or auto.")
    return int(text)


def _data_sets(
    settings: TrainSettings,
    data: str | None,
    tasks: Sequence[str] | None,
    splits: Sequence[str] | None,
    annotations: Sequence[str] | None,
    flows: Sequence[str] | None,
) -> dict[str, Any]:
    """What the options say of one data set or of several, as settings; they win over a recipe's."""
    from praxiscope.errors import ArgumentError, unknown_name

    if data is not None and tasks:
        raise ArgumentError(
            f"{data} and --data {tasks[0]}: name one data set, or several by --data NAME=DATA."
        )
    named = _by_name("--data", tasks or ())
    kept = settings.data.tasks if data is None and not named else None
    sets: dict[str, dict[str, Any]] = {name: {"source": source} for name, source in named.items()}
    sets |= {name: task.model_dump() for name, task in (kept or {}).items()}
    several: dict[str, Any] = {}
    if sets:
        several = {"data.tasks": sets}
        if named:  # a recipe's single one
            several |= {"data.source": "", "data.split": None, "data.annotations": None, "data.flow": None}
    elif data is not None:
        several = {"data.source": data, "data.tasks": None}
    options = [("--data-split", "split", splits), ("--data-annotations", "annotations", annotations)]
    if sets:
        options.append(("--flow", "flow", flows))
    elif flows:
        if len(flows) > 1:
            raise ArgumentError(
                f"--flow {' --flow '.join(flows)}: one data set has one. Name several data sets by --data."
            )
        several["data.flow"] = flows[0]
    for option, key, texts in options:
        for name, value in _by_name(option, texts or ()).items():
            if not sets:
                raise ArgumentError(
                    f"{option} {name}={value}: name several data sets by --data NAME=DATA first."
                )
            if name not in sets:
                raise ArgumentError(f"{option} {name}={value}: {unknown_name('data set', name, sets)}")
            sets[name][key] = value
    return several


def _by_name(option: str, texts: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE options. Raises ArgumentError for other texts, and for a name that comes twice."""
    from praxiscope.errors import ArgumentError

    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise ArgumentError(f"{option} {text}: expected NAME=VALUE, as in {option} ucf=….")
        if name in found:
            raise ArgumentError(f"{option} {text}: {name} was given before, as {found[name]}.")
        found[name] = value
    return found
