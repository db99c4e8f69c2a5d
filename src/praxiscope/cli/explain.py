"""``praxiscope explain``: pictures of what a network sees and of what it has learned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import Device, Json, Task, print_json, reporter
from praxiscope.units import counted

HELP = """Draw what a network sees, what it has learned, or how.

Example: praxiscope explain clip.mp4 --flow --method tvl1 --out flow.png

First filters: praxiscope explain runs/a --filters

Snippets that stand for a video: praxiscope explain runs/pb clip.mp4 --principal --compare start --out principal.png

Losses, also while training: praxiscope explain runs/pb runs/full --losses --out losses.png

Which frames went together: praxiscope explain runs/full clip.mp4 --clusters

Over the epochs: praxiscope explain runs/full clip.mp4 --clusters --compare start --epochs

Do like frames have like gradients: praxiscope explain runs/full clip.mp4 --gradients

Do clusters keep the gradient: praxiscope explain runs/full a.mp4 b.mp4 --cluster-gradients
"""

# What each kind takes; "…" stands for more of the last.
_TAKES = {
    "--flow": "VIDEO",
    "--filters": "RUN",
    "--principal": "RUN VIDEO",
    "--losses": "RUN…",
    "--clusters": "RUN VIDEO",
    "--gradients": "RUN VIDEO…",
    "--cluster-gradients": "RUN VIDEO…",
}

_OF_NETWORKS = ("--principal", "--clusters", "--gradients", "--cluster-gradients")

# Which kinds an option is for.
_FOR = {
    "method": ("--flow",),
    "weights": ("--flow",),
    "short_side": ("--flow",),
    "frames": ("--flow", "--gradients", "--cluster-gradients"),
    "snippets": ("--principal",),
    "choose": ("--principal",),
    "compare": ("--principal", "--clusters"),
    "epochs": ("--clusters",),
    "label": ("--gradients", "--cluster-gradients"),
    "checkpoint": ("--filters", *_OF_NETWORKS),
    "task": _OF_NETWORKS,
    "device": ("--flow", *_OF_NETWORKS),
}


def explain(
    context: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="A video for --flow; a run or model folder for --filters; RUN VIDEO for --principal and "
            "--clusters; RUN and one video or more for --gradients and --cluster-gradients; one run or more for "
            "--losses.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The picture: .png, .jpg, .pdf or .svg. Default: a .png here, named after the video, or else "
            "the run, and what is drawn, such as clip_clusters.png."
        ),
    ] = None,
    flow: Annotated[
        bool, typer.Option("--flow", help="Frames of a video over their optical flow in colours.")
    ] = False,
    filters: Annotated[
        bool, typer.Option("--filters", help="Filters of the first layer of a run's network.")
    ] = False,
    principal: Annotated[
        bool,
        typer.Option(
            "--principal",
            help="How far each snippet of a video is from all (KL), and which few are nearest.",
        ),
    ] = False,
    losses: Annotated[
        bool, typer.Option("--losses", help="Losses of runs: of all, the chosen and the other snippets.")
    ] = False,
    clusters: Annotated[
        bool,
        typer.Option(
            "--clusters", help="Which frames of a video went together, and the frames of each cluster."
        ),
    ] = False,
    gradients: Annotated[
        bool,
        typer.Option("--gradients", help="Of pairs of frames, distance of activations against gradients."),
    ] = False,
    cluster_gradients: Annotated[
        bool,
        typer.Option(
            "--cluster-gradients",
            help="How far each cluster's single gradient is from the sum of its frames' gradients.",
        ),
    ] = False,
    method: Annotated[str, typer.Option(help="--flow: tvl1, dis, farneback or raft.")] = "tvl1",
    weights: Annotated[
        str | None, typer.Option(help="--flow: weights of raft, a file or 'download'.")
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many, evenly spread. Default: 8 for --flow; at the most 64 for --gradients and "
            "--cluster-gradients.",
        ),
    ] = None,
    short_side: Annotated[
        int, typer.Option(min=16, help="--flow: pixels to which larger frames are scaled down.")
    ] = 256,
    snippets: Annotated[int, typer.Option(min=1, help="--principal: how many, at equal stride.")] = 12,
    choose: Annotated[
        int | None,
        typer.Option(
            min=1, help="--principal: how many stand for the video. Default: as the run learned, or 3."
        ),
    ] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            help="--principal, --clusters: another network below: a run or model folder, or this run's start "
            "(before training), last or best. --clusters takes several."
        ),
    ] = None,
    epochs: Annotated[
        bool,
        typer.Option(
            "--epochs",
            help="--clusters: a strip for each checkpoint that the run has kept (--set run.keep_epochs=1).",
        ),
    ] = False,
    label: Annotated[
        str | None,
        typer.Option(
            help="--gradients, --cluster-gradients: the class whose loss is taken. Default: the video's best."
        ),
    ] = None,
    task: Task = None,
    device: Device = "auto",
    checkpoint: Annotated[
        str | None, typer.Option(help="Of the run: last or best. Default: its choice.")
    ] = None,
    json: Json = False,
) -> None:
    from praxiscope.checkpoint import check_recogniser
    from praxiscope.commands.arguments import check_flow_method
    from praxiscope.devices import check_device
    from praxiscope.errors import ArgumentError
    from praxiscope.explain.checks import check_log, check_picture_path
    from praxiscope.video.sources import check_there

    given = (flow, filters, principal, losses, clusters, gradients, cluster_gradients)
    chosen = [name for name, is_given in zip(_TAKES, given, strict=True) if is_given]
    if len(chosen) != 1:
        raise ArgumentError(
            f"say what to draw: one of {', '.join(_TAKES)}; got {' and '.join(chosen) or 'none'}"
        )
    for name, kinds in _FOR.items():
        source = context.get_parameter_source(name)
        if chosen[0] not in kinds and source is not None and source.name == "COMMANDLINE":
            raise ArgumentError(
                f"--{name.replace('_', '-')} is for {' and '.join(kinds)}, not {chosen[0]}. Leave it out"
            )
    takes = _TAKES[chosen[0]]
    more, wanted = takes.endswith("…"), len(takes.split())
    if len(sources) < wanted or (len(sources) > wanted and not more):
        raise ArgumentError(f"{chosen[0]} takes {takes}, got {' '.join(sources)}")
    if len(compare or ()) > 1 and not clusters:
        raise ArgumentError(f"{chosen[0]} compares with one network, got {' '.join(compare or ())}")
    if out is None:
        of_video = "VIDEO" in takes
        named = Path(sources[wanted - 1]).stem if of_video else Path(sources[0]).resolve().name
        out = Path(f"{named}_{chosen[0][2:].replace('-', '_')}.png")
    check_picture_path(out)
    check_device(device)
    if flow:
        check_flow_method(method)
    elif losses:
        for run in sources:
            check_log(run)
    else:
        check_recogniser(sources[0], checkpoint, None if filters else task)
    if "VIDEO" in takes:
        for video in sources[wanted - 1 :]:
            check_there(video)
    with quick_imports():
        from praxiscope.explain.pictures import save_explanation
    if flow:
        from praxiscope.explain.pictures import explain_flow

        parameters = {} if weights is None else {"weights": weights}
        made = explain_flow(
            sources[0],
            method,
            frames=frames or 8,
            short_side=short_side,
            device=device,
            reporter=reporter(),
            **parameters,
        )
        said = f"{counted(len(made.facts['frames']), 'frame')}, full colours at {made.facts['scale_px']:g} pixels"
    elif filters:
        from praxiscope.explain.pictures import explain_filters

        made = explain_filters(sources[0], checkpoint=checkpoint)
        said = ", ".join(f"{one['stream']} {one['shape']}" for one in made.facts["streams"])
    elif principal:
        from praxiscope.explain.principal import explain_principal

        made = explain_principal(
            *sources,
            snippets=snippets,
            choose=choose,
            compare=compare[0] if compare else None,
            checkpoint=checkpoint,
            task=task,
            device=device,
        )
        stand = ", ".join(str(made.facts["frames"][number]) for number in made.facts["chosen"])
        said = f"{made.facts['label']}; nearest to all {counted(len(made.facts['frames']), 'snippet')}: frames {stand}"
    elif clusters:
        from praxiscope.explain.clusters import explain_clusters

        made = explain_clusters(
            *sources,
            compare=compare or (),
            epochs=epochs,
            checkpoint=checkpoint,
            task=task,
            device=device,
            reporter=reporter(),
        )
        facts = made.facts
        said = (
            f"{facts['label']}; {counted(facts['frames'], 'frame')} in "
            f"{counted(len(facts['clusters']), 'cluster')}, {facts['rule']}"
        )
    elif gradients or cluster_gradients:
        from praxiscope.explain.gradients import explain_cluster_gradients, explain_gradients

        made = (explain_gradients if gradients else explain_cluster_gradients)(
            sources[0],
            sources[1:],
            label=label,
            frames=frames or 64,
            checkpoint=checkpoint,
            task=task,
            device=device,
            reporter=reporter(),
        )
        said = _found(made.facts)
    else:
        from praxiscope.explain.principal import explain_losses

        made = explain_losses(sources)
        said = ", ".join(f"{one['run']} {counted(one['steps'], 'step')}" for one in made.facts["runs"])
    save_explanation(made, out)
    if json:
        print_json({"picture": str(out), **made.facts})
    else:
        print(f"{out}: {said}")


def _found(facts: dict[str, Any]) -> str:
    """Pictures of gradients in a line."""
    if "mean" in facts:
        means = ", ".join(f"{rule} {mean['distance']:.3g}" for rule, mean in facts["mean"].items())
        return f"mean distance of a cluster's gradient ({facts['parameters']}): {means}"
    return "; ".join(
        f"{Path(one['video']).name}: {counted(one['pairs'], 'pair')}, Pearson {one['hamming']['pearson']:.2f} "
        "(Hamming), "
        f"{one['euclidean']['pearson']:.2f} (Euclidean)"
        for one in facts["videos"]
    )
