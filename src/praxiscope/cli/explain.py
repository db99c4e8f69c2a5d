"""``praxiscope explain``: pictures of what a network sees and of what it has learned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from praxiscope.cli.common import Device, Json, print_json, reporter

HELP = """Draw what a network sees (--flow VIDEO) or what it has learned (--filters RUN).

Example: praxiscope explain clip.mp4 --flow --method tvl1 --out flow.png
"""


def explain(
    source: Annotated[str, typer.Argument(help="A video for --flow; a run or model folder for --filters.")],
    out: Annotated[Path, typer.Option(help="The picture: .png, .jpg, .pdf or .svg.")],
    flow: Annotated[
        bool, typer.Option("--flow", help="Frames of a video over their optical flow in colours.")
    ] = False,
    filters: Annotated[
        bool, typer.Option("--filters", help="Filters of the first layer of a run's network.")
    ] = False,
    method: Annotated[str, typer.Option(help="--flow: tvl1, dis, farneback or raft.")] = "tvl1",
    weights: Annotated[
        str | None, typer.Option(help="--flow: weights of raft, a file or 'download'.")
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="--flow: how many, evenly spread.")] = 8,
    short_side: Annotated[
        int, typer.Option(min=16, help="--flow: pixels to which larger frames are scaled down.")
    ] = 256,
    device: Device = "auto",
    checkpoint: Annotated[
        str | None, typer.Option(help="--filters: last or best. Default: the run's choice.")
    ] = None,
    json: Json = False,
) -> None:
    from praxiscope.errors import ArgumentError
    from praxiscope.recipes.explain import check_picture_path, save_explanation

    kinds = {"--flow": flow, "--filters": filters}
    chosen = [name for name, given in kinds.items() if given]
    if len(chosen) != 1:
        raise ArgumentError(
            f"say what to draw: one of {', '.join(kinds)}; got {' and '.join(chosen) or 'none'}"
        )
    check_picture_path(out)  # a typing error should not cost the time to draw
    if flow:
        from praxiscope.recipes.explain import explain_flow

        given = {} if weights is None else {"weights": weights}
        made = explain_flow(
            source,
            method,
            frames=frames,
            short_side=short_side,
            device=device,
            reporter=reporter(),
            **given,
        )
        said = f"{len(made.facts['frames'])} frames, full colours at {made.facts['scale_px']:g} pixels"
    else:
        from praxiscope.recipes.explain import explain_filters

        made = explain_filters(source, checkpoint=checkpoint)
        said = ", ".join(f"{one['stream']} {one['shape']}" for one in made.facts["streams"])
    save_explanation(made, out)
    if json:
        print_json({"picture": str(out), **made.facts})
    else:
        print(f"{out}: {said}")
