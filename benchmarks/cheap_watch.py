"""How often a cheaper forward pass chooses the same snippets as float32 at full size, on a run's training videos.

`praxiscope bench principal` measures the cost of such a step.
"""

from __future__ import annotations

from contextlib import nullcontext
from math import comb
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import torch
from common import Table, parser, run_command, write_tables

from praxiscope.data.manifest import load_records
from praxiscope.inference.loading import load
from praxiscope.recipes.settings import load_yaml
from praxiscope.steps.principal import Rule, choose_all
from praxiscope.steps.rows import watch, watching
from praxiscope.training.loader import epoch_loader, flow_store, preparer
from praxiscope.training.make_step import resize_frames


def main() -> None:
    """Run the forward pass of an epoch in every way, compare the choices, and write the table."""
    arguments = parser(__doc__, __file__, assignments=False)
    arguments.add_argument("run", type=Path, help="run folder; the data it was trained on must exist")
    arguments.add_argument("--sizes", type=int, nargs="+", default=[160, 112])
    arguments.add_argument("--choose", type=int, default=3)
    options = arguments.parse_args()
    settings = load_yaml(options.run / "settings.yaml")
    recogniser = load(options.run, device="cpu")
    manifest = load_records(settings.data.source, split=settings.data.split, seed=settings.run.seed)
    alone: Any = SimpleNamespace(global_rank=0, world_size=1, device=torch.device("cpu"))
    batches = epoch_loader(
        settings, manifest, manifest.of("train"), alone, {}, recogniser.card.input, flow_store(settings)
    )
    prepare = preparer(settings, recogniser.card.input, alone.device)
    m, n = settings.input.snippets, options.choose
    full = settings.input.size
    ways: dict[str, tuple[int, bool]] = {
        f"{full} px, float32": (full, False),
        f"{full} px, bf16": (full, True),
    }
    ways |= {f"{size} px, float32": (size, False) for size in options.sizes}
    ways |= {f"{size} px, bf16": (size, True) for size in options.sizes}
    chosen: dict[tuple[str, str], list[torch.Tensor]] = {}
    recogniser.model.float()
    for item in batches(0, 0):
        for way, (size, low) in ways.items():
            context = torch.autocast("cpu", torch.bfloat16) if low else nullcontext()
            with watching(recogniser.model), context:
                seen = watch(
                    recogniser.model,
                    item.batch,
                    lambda part, size=size: prepare(resize_frames(part, size)),
                    64,
                )
            for rule in get_args(Rule)[:2]:
                choice = choose_all(seen, item.batch.targets, n, rule)
                chosen.setdefault((way, rule), []).append(choice)
    rows = []
    for way in ways:
        row: list[Any] = [way]
        for rule in get_args(Rule)[:2]:
            one, two = (torch.cat(chosen[name, rule]) for name in (next(iter(ways)), way))
            same = (one == two).all(dim=1).float().mean()
            shared = (one[:, :, None] == two[:, None, :]).any(dim=2).float().mean()
            row += [f"{same:.3f}", f"{shared:.3f}"]
        rows.append(row)
    count = len(torch.cat(chosen[next(iter(chosen))]))
    header = [
        "watched at",
        "max: same subset",
        "max: snippets shared",
        "kl: same subset",
        "kl: snippets shared",
    ]
    write_tables(
        options,
        __file__,
        "Cheaper watching: agreement with the choice of float32 at full size",
        [Table("", header, rows)],
        f"{n} of {m} snippets of {count} training videos, learned from at {full} pixels. By chance "
        f"{1 / comb(m, n):.3f} of the subsets agree, and {n / m:.2f} of the snippets.",
    )


if __name__ == "__main__":
    run_command(main)
