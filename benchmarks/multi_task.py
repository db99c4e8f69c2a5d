"""UCF-101 (or those of its classes that are there) and Weizmann: each alone, and both in one network."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from common import write_table

from praxiscope.data.manifest import load_records
from praxiscope.evaluation.metrics import mean_over_splits
from praxiscope.progress import ConsoleReporter
from praxiscope.recipes.settings import TaskSource, TrainSettings, get_recipe, override
from praxiscope.recipes.test import test
from praxiscope.recipes.train import train

PROTOCOL = "25x1"
NAMES = {"ucf": "UCF-101", "wei": "Weizmann"}


def main() -> None:
    """Train every network for the same number of steps, test it on each of its sets, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ucf", type=Path, help="the UCF-101 videos")
    parser.add_argument("weizmann", type=Path, help="the Weizmann videos")
    parser.add_argument("--weights", type=Path, required=True, help="start weights of SqueezeNet 1.0")
    parser.add_argument(
        "--flow-ucf", type=Path, help="stored flow of the UCF-101 videos: train on flow as well"
    )
    parser.add_argument("--flow-wei", type=Path, help="stored flow of the Weizmann videos")
    parser.add_argument("--steps", type=int, default=600, help="of every network, whatever it learns from")
    parser.add_argument(
        "--people", nargs="+", default=["daria", "eli", "ira"], help="left out, one per repetition"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/multi_task"))
    parser.add_argument("--set", action="append", default=[], dest="assignments")
    options = parser.parse_args()
    if (options.flow_ucf is None) != (options.flow_wei is None):
        parser.error("--flow-ucf and --flow-wei belong together")
    base = override(
        get_recipe("default"),
        [
            "model.name=tsn",
            "model.backbone=squeezenet1_0",
            f"model.weights={options.weights}",
            "model.dropout=0.5",
            "input.snippets=3",
            "input.crop=random",
            "optim.batch=8",
            "run.validate_epochs=0",
            *options.assignments,
        ],
    )
    rows = []
    for stream in ("rgb", "flow") if options.flow_ucf else ("rgb",):
        figures: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for seed, person in enumerate(options.people):
            tasks = {
                "ucf": TaskSource(source=f"ucf101:{options.ucf}", split="1"),
                "wei": TaskSource(source=f"weizmann:{options.weizmann}", split=person),
            }
            if stream == "flow":
                folders = {"ucf": options.flow_ucf, "wei": options.flow_wei}
                tasks = {k: task.model_copy(update={"flow": str(folders[k])}) for k, task in tasks.items()}
            for kind, chosen in (("ucf", ["ucf"]), ("wei", ["wei"]), ("together", ["ucf", "wei"])):
                wanted = {name: tasks[name] for name in chosen}
                settings = override(planned(base, stream, wanted, options.steps, seed), options.assignments)
                run = options.out / f"{stream}-{kind}-{seed}"
                for name, result in trained_and_tested(settings, wanted, run).items():
                    figures.setdefault((name, "alone" if kind == name else kind), []).append(result)
        rows += [
            row(stream, name, kind, figures[name, kind]) for name in NAMES for kind in ("alone", "together")
        ]
    write_table(
        Path(__file__).with_suffix(".md"),
        "One network for two data sets: UCF-101 (split 1) and Weizmann",
        ["stream", "tested on", "trained", "top-1", "spread", "epochs", "steps", "training, s"],
        rows,
        f"tsn on SqueezeNet 1.0 from ImageNet weights, 3 snippets, batches of {base.optim.batch}, last checkpoint, "
        f"protocol {PROTOCOL}, mean of {len(options.people)} repetitions: seeds from 0, and for Weizmann each time "
        f"another person left out ({', '.join(options.people)}: 10 clips each). The budget is steps: the network that "
        "learns both has as many as each of the others, so it sees each clip less often (the column epochs). Its "
        "batches mix the sets in proportion to their clips.",
    )


def planned(
    base: TrainSettings, stream: str, tasks: dict[str, TaskSource], steps: int, seed: int
) -> TrainSettings:
    """Settings of a run on one set or on several, for so many steps as near as whole epochs allow."""
    clips = sum(len(load_records(task.source, split=task.split).of("train")) for task in tasks.values())
    epochs = max(1, round(steps / (clips // base.optim.batch)))
    values: dict[str, Any] = {"optim.epochs": epochs, "run.seed": seed, "model.stream": stream}
    if stream == "rgb":
        # As in ucf101_nine.py: the classifiers learn alone at first.
        values |= {"optim.lr": 1e-5, "optim.classifier_lr_scale": 100, "optim.frozen_epochs": epochs / 2}
    else:
        # As in two_stream.py: the trunk has to learn another kind of input.
        values |= {"optim.name": "adamw", "optim.lr": 3e-4, "optim.weight_decay": 0.01}
    content = {name: task.model_dump() for name, task in tasks.items()}
    if len(content) == 1:
        values |= {f"data.{key}": value for key, value in next(iter(content.values())).items()}
    else:
        values["data.tasks"] = content
    return base.updated(values)


def trained_and_tested(
    settings: TrainSettings, tasks: dict[str, TaskSource], run: Path
) -> dict[str, dict[str, Any]]:
    """Train once and test on each set; what is finished is read back, what is begun goes on."""
    listing = run / f"results_{PROTOCOL}.json"
    if listing.is_file():
        return json.loads(listing.read_text())
    reporter = ConsoleReporter()
    resume = (run / "run.json").is_file()
    started = time.perf_counter()
    if not train(settings, run, resume=resume, reporter=reporter):
        sys.exit(130)
    seconds = None if resume else round(time.perf_counter() - started)
    steps = sum(1 for line in (run / "log.csv").read_text().splitlines()[1:] if line)
    results = {}
    for name, task in tasks.items():
        tested = test(
            run,
            task.source,
            split=task.split,
            flow=task.flow,
            task=name if len(tasks) > 1 else None,
            protocol=PROTOCOL,
            out=run / f"scores_{name}_{PROTOCOL}.npz",
            workers=settings.data.workers,
            reporter=reporter,
        )
        results[name] = {
            **tested.figures,
            "train_seconds": seconds,
            "epochs": settings.optim.epochs,
            "steps": steps,
        }
    listing.write_text(json.dumps(results, indent=2))
    return results


def row(stream: str, name: str, kind: str, results: list[dict[str, Any]]) -> list[Any]:
    """A line of the table."""
    top1 = mean_over_splits(results)["top1"]
    seconds = [result["train_seconds"] for result in results if result["train_seconds"] is not None]
    return [
        stream,
        NAMES[name],
        kind,
        f"{top1['mean']:.3f}",
        f"{top1['std']:.3f}",
        results[0]["epochs"],
        results[0]["steps"],
        f"{sum(seconds) / len(seconds):.0f}" if seconds else "",
    ]


if __name__ == "__main__":
    main()
