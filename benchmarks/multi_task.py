"""UCF-101 (or some of its classes) and Weizmann: separate networks, and one network for both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common import Run, Table, describe, experiment, parser, run_command, score_cells, write_tables

from praxiscope.data.manifest import load_records
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.sections import TaskSource
from praxiscope.recipes.settings import TrainSettings, override

PROTOCOL = "25x1"
NAMES = {"ucf": "UCF-101", "wei": "Weizmann"}


def main() -> None:
    """Train every network for the same number of steps, test it on each of its sets, write the table."""
    arguments = parser(__doc__, __file__)
    arguments.add_argument("ucf", type=Path, help="the UCF-101 videos")
    arguments.add_argument("weizmann", type=Path, help="the Weizmann videos")
    arguments.add_argument("--weights", type=Path, required=True, help="start weights of SqueezeNet 1.0")
    arguments.add_argument(
        "--flow-ucf", type=Path, help="stored flow of the UCF-101 videos: train on flow as well"
    )
    arguments.add_argument("--flow-wei", type=Path, help="stored flow of the Weizmann videos")
    arguments.add_argument("--steps", type=int, default=600, help="training steps of every network")
    arguments.add_argument(
        "--people", nargs="+", default=["daria", "eli", "ira"], help="people to hold out, one per repetition"
    )
    options = arguments.parse_args()
    if (options.flow_ucf is None) != (options.flow_wei is None):
        arguments.error("--flow-ucf and --flow-wei belong together")
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
    rows, done = [], []
    for stream in ("rgb", "flow") if options.flow_ucf else ("rgb",):
        found: dict[tuple[str, str], list[Run]] = {}
        steps: dict[tuple[str, str], int] = {}
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
                for name, source in wanted.items():
                    task = name if len(wanted) > 1 else None
                    place = (name, "alone" if kind == name else kind)
                    tested = experiment(settings, run, PROTOCOL, source=source, task=task)
                    found.setdefault(place, []).append(tested)
                    steps[place] = steps_of(run)
        places = [(name, kind) for name in NAMES for kind in ("alone", "together")]
        rows += [row(stream, *place, found[place], steps[place]) for place in places]
        done += [run for place in places for run in found[place]]
    header = ["stream", "tested on", "trained", "top-1", "spread", "each repetition", "epochs", "steps"]
    write_tables(
        options,
        __file__,
        "One network for two data sets: UCF-101 (split 1) and Weizmann",
        [Table("", header, rows)],
        f"{describe(done)} Each repetition has another seed, and on Weizmann another person left out "
        f"({', '.join(options.people)}); the spread is their sample standard deviation. The budget is steps: the "
        "network that learns both has as many as each of the others, so it sees each clip less often (the column "
        "epochs). Its batches mix the sets in proportion to their clips.",
        runs=done,
    )


def planned(
    base: TrainSettings, stream: str, tasks: dict[str, TaskSource], steps: int, seed: int
) -> TrainSettings:
    """Settings of a run on one set or on several, for so many steps as near as whole epochs allow."""
    clips = sum(len(load_records(task.source, split=task.split).of("train")) for task in tasks.values())
    epochs = max(1, round(steps / (clips // base.optim.batch)))
    values: dict[str, Any] = {"optim.epochs": epochs, "run.seed": seed, "model.stream": stream}
    if stream == "rgb":
        # As in ucf101_nine.py: only the classifiers are trained at first.
        values |= {"optim.lr": 1e-5, "optim.classifier_lr_scale": 100, "optim.frozen_epochs": epochs / 2}
    else:
        # As in two_stream.py: the trunk has to adapt to another kind of input.
        values |= {"optim.name": "adamw", "optim.lr": 3e-4, "optim.weight_decay": 0.01}
    content = {name: task.model_dump() for name, task in tasks.items()}
    if len(content) == 1:
        values |= {f"data.{key}": value for key, value in next(iter(content.values())).items()}
    else:
        values["data.tasks"] = content
    return base.updated(values)


def row(stream: str, name: str, kind: str, runs: list[Run], steps: int) -> list[Any]:
    """A line of the table."""
    scores = score_cells([run.top1 for run in runs])
    return [stream, NAMES[name], kind, *scores, runs[0].settings.optim.epochs, steps]


def steps_of(run: Path) -> int:
    """Return the number of steps in a run's log."""
    return sum(1 for line in (run / "log.csv").read_text().splitlines()[1:] if line)


if __name__ == "__main__":
    run_command(main)
