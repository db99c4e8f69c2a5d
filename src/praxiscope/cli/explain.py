"""``praxiscope explain``: pictures of what a network sees and of what it has learned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from praxiscope.cli.common import Device, Json, Task, print_json, reporter

HELP = """Draw what a network sees, what it has learned, or how.

Example: praxiscope explain clip.mp4 --flow --method tvl1 --out flow.png

First filters: praxiscope explain runs/a --filters --out filters.png

Snippets that stand for a video: praxiscope explain runs/pb clip.mp4 --principal --compare start --out principal.png

Losses, also while training: praxiscope explain runs/pb runs/full --losses --out losses.png
"""


def explain(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="A video for --flow; a run or model folder for --filters; RUN VIDEO for --principal; "
            "one run or more for --losses.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The picture: .png, .jpg, .pdf or .svg.")],
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
    method: Annotated[str, typer.Option(help="--flow: tvl1, dis, farneback or raft.")] = "tvl1",
    weights: Annotated[
        str | None, typer.Option(help="--flow: weights of raft, a file or 'download'.")
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="--flow: how many, evenly spread.")] = 8,
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
        str | None,
        typer.Option(
            help="--principal: another network below: a run or model folder, or this run's start (before "
            "training), last or best."
        ),
    ] = None,
    task: Task = None,
    device: Device = "auto",
    checkpoint: Annotated[
        str | None, typer.Option(help="--filters, --principal: last or best. Default: the run's choice.")
    ] = None,
    json: Json = False,
) -> None:
    from praxiscope.errors import ArgumentError
    from praxiscope.recipes.explain import check_picture_path, save_explanation

    kinds = {"--flow": flow, "--filters": filters, "--principal": principal, "--losses": losses}
    chosen = [name for name, given in kinds.items() if given]
    if len(chosen) != 1:
        raise ArgumentError(
            f"say what to draw: one of {', '.join(kinds)}; got {' and '.join(chosen) or 'none'}"
        )
    wanted = {"--flow": "VIDEO", "--filters": "RUN", "--principal": "RUN VIDEO"}.get(chosen[0])
    if wanted and len(sources) != len(wanted.split()):
        raise ArgumentError(f"{chosen[0]} takes {wanted}, got {' '.join(sources)}")
    check_picture_path(out)  # a typing error should not cost the time to draw
    if flow:
        from praxiscope.recipes.explain import explain_flow

        given = {} if weights is None else {"weights": weights}
        made = explain_flow(
            sources[0],
            method,
            frames=frames,
            short_side=short_side,
            device=device,
            reporter=reporter(),
            **given,
        )
        said = f"{len(made.facts['frames'])} frames, full colours at {made.facts['scale_px']:g} pixels"
    elif filters:
        from praxiscope.recipes.explain import explain_filters

        made = explain_filters(sources[0], checkpoint=checkpoint)
        said = ", ".join(f"{one['stream']} {one['shape']}" for one in made.facts["streams"])
    elif principal:
        from praxiscope.recipes.explain_principal import explain_principal

        made = explain_principal(
            *sources,
            snippets=snippets,
            choose=choose,
            compare=compare,
            checkpoint=checkpoint,
            task=task,
            device=device,
        )
        stand = ", ".join(str(made.facts["frames"][number]) for number in made.facts["chosen"])
        said = f"{made.facts['label']}; nearest to all {len(made.facts['frames'])} snippets: frames {stand}"
    else:
        from praxiscope.recipes.explain_principal import explain_losses

        made = explain_losses(sources)
        said = ", ".join(f"{one['run']} {one['steps']} steps" for one in made.facts["runs"])
    save_explanation(made, out)
    if json:
        print_json({"picture": str(out), **made.facts})
    else:
        print(f"{out}: {said}")
