"""Eight sampled frames (TSM) against every frame in eight clusters, on real videos, at an equal number of updates."""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from common import experiment, write_tables
from weizmann import PEOPLE

from praxiscope.recipes.settings import TrainSettings, get_recipe, override

MODELS = {
    "TSM-8": (["model.name=tsm", "input.snippets=8"], "1xfull"),
    "full-video-8": (["model.name=full-video", "model.clusters=8"], "allxfull"),
}


def main() -> None:
    """Train and test every run, then write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weizmann", type=Path, required=True, help="the Weizmann videos")
    parser.add_argument("--ucf101", type=Path, required=True, help="the UCF-101 videos")
    parser.add_argument("--annotations", type=Path, help="UCF-101's official lists")
    parser.add_argument("--weights", type=Path, required=True, help="start weights of MobileNet v1 0.25")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3, help="of UCF-101")
    parser.add_argument("--out", type=Path, default=Path("runs/full_video_real"))
    parser.add_argument("--set", action="append", default=[], dest="assignments")
    options = parser.parse_args()
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
    tables = []
    for title, runs in (
        ("Weizmann, leave one person out", weizmann(options.weizmann)),
        ("UCF-101, nine classes, split 1", ucf101(options.ucf101, options.annotations, options.seeds)),
    ):
        rows = []
        for name, (changes, protocol) in MODELS.items():
            figures = []
            for run, own in runs.items():
                settings: TrainSettings = override(base, [*changes, *own])
                place = options.out / f"{name}-{run}"
                figures.append(experiment(settings, place, protocol, split=settings.data.split))
            right = [figure["top1"] for figure in figures]
            seconds = [figure["train_seconds"] for figure in figures if "train_seconds" in figure]
            rows.append(
                [
                    name,
                    f"{statistics.mean(right):.3f}",
                    ", ".join(f"{value:.3f}" for value in right),
                    round(statistics.mean(seconds)) if seconds else "",
                ]
            )
        tables.append((title, ["model", "mean top-1", "of each run", "training, s"], rows))
    write_tables(
        Path(__file__).with_suffix(".md"),
        "Every frame against eight of them, on real videos",
        tables,
        f"MobileNet v1 0.25 from ImageNet weights, 112 px, {options.epochs} epochs, last checkpoint; "
        "equal settings for all. Tested on one clip of whole frames: 8 frames, or all of them.",
    )


def weizmann(folder: Path) -> dict[str, list[str]]:
    """A run for each person who is left out: its name, and its settings."""
    return {f"weizmann-{who}": [f"data.source=weizmann:{folder}", f"data.split={who}"] for who in PEOPLE}


def ucf101(folder: Path, annotations: Path | None, seeds: int) -> dict[str, list[str]]:
    """A run for each seed on the official split 1."""
    source = [f"data.source=ucf101:{folder}", "data.split=1", f"data.annotations={annotations or 'null'}"]
    return {f"ucf101-{seed}": [*source, f"run.seed={seed}"] for seed in range(seeds)}


if __name__ == "__main__":
    main()
