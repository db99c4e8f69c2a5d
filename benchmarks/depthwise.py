"""A training step on a CPU, with depthwise convolutions in bfloat16 or in float32: milliseconds in alternating turns.

The networks see 8 clips of 3 snippets at 112 pixels: random frames, forward and backward pass, one thread.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from common import Table, parser, run_command, write_tables

from praxiscope.layers.depthwise import depthwise_in_float32
from praxiscope.layers.memory_format import to_channels_last
from praxiscope.models import create_model

NETWORKS = ("efficientnet_lite0", "mobilenet_v2", "resnet18")
SYSTEMS = ("float32", "bfloat16", "bfloat16, depthwise float32")


def step_of(backbone: str, system: str) -> Callable[[], None]:
    """A training step without the update of the weights."""
    torch.manual_seed(0)
    model: Any = create_model("tsn", num_classes=10, backbone=backbone)
    to_channels_last(model)
    if system == SYSTEMS[-1]:
        depthwise_in_float32(model)
    frames = torch.rand(8, 3, 3, 112, 112)

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=system != "float32"):
            logits = model(frames).logits
        logits.float().logsumexp(1).sum().backward()

    return run


def measured(turns: int) -> list[list[str]]:
    """A row for each network and system: median and range over the turns, in milliseconds."""
    rows = []
    for backbone in NETWORKS:
        steps = {system: step_of(backbone, system) for system in SYSTEMS}
        times: dict[str, list[float]] = {system: [] for system in SYSTEMS}
        for turn in range(turns + 1):
            for system, run in steps.items():
                started = time.perf_counter()
                run()
                if turn:  # the first one is slower
                    times[system].append(1000 * (time.perf_counter() - started))
        for system, found in times.items():
            spread = f"{min(found):.0f}–{max(found):.0f}"
            rows.append([backbone, system, f"{statistics.median(found):.0f}", spread])
    return rows


def main() -> None:
    """Measure all networks and write the table."""
    arguments = parser(__doc__, __file__, assignments=False)
    arguments.add_argument("--turns", type=int, default=9)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    write_tables(
        options,
        __file__,
        "Depthwise convolutions in a training step",
        [Table("", ["network", "precision", "ms", "range"], measured(options.turns))],
        f"The median of {options.turns} alternating turns; a step is the forward and backward pass of 8 clips of 3 "
        "snippets of 112 pixels, in the channels-last format.",
    )


if __name__ == "__main__":
    run_command(main)
