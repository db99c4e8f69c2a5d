"""``praxiscope explain filters``."""

from __future__ import annotations

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import Checkpoint, Json
from praxiscope.cli.explain.common import Out, Run, output_path, write


def filters(run: Run, checkpoint: Checkpoint = None, out: Out = None, json: Json = False) -> None:
    """Draw the filters of the first layer of a network.

    A network with several streams has one row for each of them.

    Example: praxiscope explain filters runs/a
    """
    from praxiscope.checkpoint import check_recogniser

    out = output_path(out, run, "filters")
    check_recogniser(run, checkpoint, None)
    with quick_imports():
        from praxiscope.explain.filters import explain_filters
    made = explain_filters(run, checkpoint=checkpoint)
    shapes = ", ".join(f"{one['stream']} {one['shape']}" for one in made.facts["streams"])
    write(made, out, shapes, json)
