"""Eight sampled frames (TSM) against every frame in eight clusters, on real videos, at an equal number of updates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common import Table, describe, experiment, parser, run_command, score_cells, write_tables
from weizmann import PEOPLE

from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import TrainSettings, override

MODELS = {
    "TSM-8": (["model.name=tsm", "input.snippets=8"], "1xfull"),
    "full-video-8": (["model.name=full-video", "model.clusters=8"], "allxfull"),
}


def main() -> None:
    """Train and test every run, then write the tables."""
    arguments = parser(__doc__, __file__)
    arguments.add_argument("--weizmann", type=Path, required=True, help="the Weizmann videos")
    arguments.add_argument("--ucf101", type=Path, required=True, help="the UCF-101 videos")
    arguments.add_argument("--annotations", type=Path, help="UCF-101's official lists")
    arguments.add_argument("--weights", type=Path, required=True, help="start weights of MobileNet v1 0.25")
    arguments.add_argument("--epochs", type=int, default=20)
    arguments.add_argument("--seeds", type=int, default=3, help="number of seeds on UCF-101")
    arguments.add_argument(
        "--people", nargs="+", default=list(PEOPLE), help="people of Weizmann to hold out, one per fold"
    )
    options = arguments.parse_args()
    base = override(
        get_recipe("default"),
        [
            "model.backbone=mobilenet_v1",
            f"model.weights={options.weights}",
            "model.dropout=0.5",
            "input.size=112",
            "input.short_side=128",
            "input.crop=random",
            f"optim.epochs={options.epochs}",
            "optim.batch=8",
            "optim.name=adamw",
            "optim.lr=0.002",
            "optim.weight_decay=0.01",
            "run.validate_epochs=0",
            *options.assignments,
        ],
    )
    tables, sentences, done = [], [], []
    for title, wanted in (
        ("Weizmann, leave one person out", weizmann(options.weizmann, options.people)),
        ("UCF-101, split 1", ucf101(options.ucf101, options.annotations, options.seeds)),
    ):
        rows, own_runs = [], []
        for name, (changes, protocol) in MODELS.items():
            runs = []
            for run, own in wanted.items():
                settings: TrainSettings = override(base, [*changes, *own])
                runs.append(experiment(settings, options.out / f"{name}-{run}", protocol))
            rows.append([name, *score_cells([run.top1 for run in runs])])
            own_runs += runs
        tables.append(Table(title, ["model", "mean top-1", "spread", "of each run"], rows))
        sentences.append(f"{title}: {describe(own_runs)}")
        done += own_runs
    write_tables(
        options,
        __file__,
        "Every frame against eight of them, on real videos",
        tables,
        " ".join(sentences),
        runs=done,
    )


def weizmann(folder: Path, people: Sequence[str]) -> dict[str, list[str]]:
    """Yield the name and the settings of a run for each person held out."""
    return {f"weizmann-{who}": [f"data.source=weizmann:{folder}", f"data.split={who}"] for who in people}


def ucf101(folder: Path, annotations: Path | None, seeds: int) -> dict[str, list[str]]:
    """Yield the name and the settings of a run for each seed on official split 1."""
    source = [f"data.source=ucf101:{folder}", "data.split=1", f"data.annotations={annotations or 'null'}"]
    return {f"ucf101-{seed}": [*source, f"run.seed={seed}"] for seed in range(seeds)}


if __name__ == "__main__":
    run_command(main)
