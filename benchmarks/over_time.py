"""Pooling and LSTM: accuracy by the model over time, the number of frames, the frame rate and the stream.

The features of the frames are computed once, by a network with ImageNet weights that does not learn (the variants (fc)
of Ng et al.): maps of the last layer. The models over time are trained on them, each with the same settings, on random
windows of consecutive frames. Nothing is chosen on test clips.

    clips   the clips of UCF-101, read at 6 and at 30 frames per second (--rates)
    long    videos of --seconds, made of them: one action of --action seconds, which is the label, at a random time
            between clips of other classes (``--background``), read at 1 frame per second

RGB frames and flow images (DIS) are trained apart; "fused" is the mean of the two probabilities. A test takes 25 frames
or 10 windows of a clip; of a long video every frame, 10 windows of 30 frames, or all frames at once. The results of
finished runs are kept in ``--out``, so parts may be run one after the other (``--sets``, ``--systems``): tables show
all runs that are there.
"""

from __future__ import annotations

import argparse
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import Table, parser, run_command, write_tables
from films import BACKGROUND, amid, write_film
from over_time_figure import Accuracy, draw_figure
from paired import paired_t
from scipy.special import softmax
from scipy.stats import t
from stores import Result, settings_of, train_and_test

import praxiscope as px
from praxiscope.checkpoint import read_pointer
from praxiscope.data.manifest import MANIFEST_NAME, Manifest, load_records, write_csv
from praxiscope.explain.explanation import save_explanation
from praxiscope.progress import ConsoleReporter
from praxiscope.types import VideoRecord
from praxiscope.units import counted


class System(NamedTuple):
    """A row of the tables.

    Attributes:
        model: its name.
        frames: of a training example.
        published: its accuracy on UCF-101 (clips) and Sports-1M (long videos, Hit@1) in percent, where there is one:
            of GoogLeNet, and of AlexNet with 120 frames (Table 3.1).
        settings: of its training, besides those of all.
        start: the system whose run of the same seed it starts from (network expansion).
    """

    model: str
    frames: int
    published: Mapping[str, str] = {}
    settings: Mapping[str, Any] = {}
    start: str = ""


CLIPS = {
    "single frame": System("pool", 1, {"": "73.3"}),
    "conv-1": System("conv-pool", 1),
    "conv-30": System("conv-pool", 30, {"6": "82.0", "30": "80.8"}),
    "conv-120": System("conv-pool", 120, {"30": "82.6"}),
    "conv-30, mean": System("conv-pool", 30, settings={"model.reduce": "mean"}),
    "late-30": System("late-pool", 30),
    "slow-30": System("slow-pool", 30),
    "local-30": System("local-pool", 30),
    "time-conv-30": System("time-conv", 30, settings={"optim.epochs": 15}),
    "lstm-30": System("lstm", 30),
}
LONG = {
    "single frame": System("pool", 1, {"1": "64.9"}),
    "conv-1": System("conv-pool", 1),
    "conv-30": System("conv-pool", 30, {"1": "71.7"}),
    "conv-120": System("conv-pool", 120, {"1": "72.3, AlexNet 71.1"}),
    "conv-120 from conv-30": System("conv-pool", 120, start="conv-30"),
    "conv-120, mean": System("conv-pool", 120, settings={"model.reduce": "mean"}),
    "late-120": System("late-pool", 120, {"1": "AlexNet 67.5"}),
    "slow-120": System("slow-pool", 120, {"1": "AlexNet 69.7"}),
    "local-120": System("local-pool", 120, {"1": "AlexNet 70.4"}),
    "time-conv-30": System("time-conv", 30, settings={"optim.epochs": 15}),
    "time-conv-120": System("time-conv", 120, {"1": "AlexNet 67.2"}, {"optim.epochs": 10}),
    "lstm-30": System("lstm", 30, {"1": "72.1"}),
    "lstm-120": System("lstm", 120),
}
FILM = re.compile(r"^((?:train|test)\d+)_\d+\.mp4$")
"""The names of long videos: several show the same clip."""
EPOCHS = {1: 60, 30: 30, 120: 20}
"""By the frames of an example, since an epoch shows less of each video if they are few."""
SETS = {"clips": CLIPS, "long": LONG}
STREAMS = ("rgb", "flow")
HEADINGS = {"clips": "Clips of UCF-101", "long": "Long videos"}
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "over_time.png"
PAIRS = {
    "clips": [
        ("rgb@6", "conv-30", "rgb@6", "single frame"),
        ("rgb@6", "conv-30", "rgb@6", "late-30"),
        ("rgb@6", "conv-30", "rgb@6", "time-conv-30"),
        ("rgb@6", "conv-30", "rgb@30", "conv-30"),
        ("rgb@30", "conv-120", "rgb@30", "conv-30"),
        ("rgb@6", "lstm-30", "rgb@6", "conv-30"),
        ("fused@6", "lstm-30", "rgb@6", "lstm-30"),
        ("fused@6", "conv-30", "rgb@6", "conv-30"),
    ],
    "long": [
        ("rgb@1", "conv-30", "rgb@1", "single frame"),
        ("rgb@1", "conv-120", "rgb@1", "conv-30"),
        ("rgb@1", "conv-120 from conv-30", "rgb@1", "conv-120"),
        ("rgb@1", "conv-120, mean", "rgb@1", "conv-120"),
        ("rgb@1", "conv-120, mean", "rgb@1", "single frame"),
        ("rgb@1", "late-120", "rgb@1", "single frame"),
        ("rgb@1", "lstm-30", "rgb@1", "single frame"),
        ("rgb@1", "conv-120", "rgb@1", "late-120"),
        ("rgb@1", "conv-120", "rgb@1", "slow-120"),
        ("rgb@1", "conv-120", "rgb@1", "local-120"),
        ("rgb@1", "conv-30", "rgb@1", "time-conv-30"),
        ("rgb@1", "conv-120", "rgb@1", "time-conv-120"),
        ("rgb@1", "lstm-120", "rgb@1", "conv-120"),
        ("rgb@1", "lstm-30", "rgb@1", "conv-30"),
        ("rgb@1", "lstm-30", "rgb@1", "lstm-120"),
        ("fused@1", "lstm-120", "rgb@1", "lstm-120"),
        ("fused@1", "conv-120", "rgb@1", "conv-120"),
    ],
}
"""What the paper compares: the first against the second."""

Results = dict[tuple[str, str], list[Result]]
"""Of each seed, by stream and rate ("rgb@6") and by system."""


def clips_of(options: argparse.Namespace) -> Manifest:
    return load_records(options.data, split=options.split, annotations=options.annotations)


def long_videos(options: argparse.Namespace) -> Path:
    """Make the long videos; returns their list. Training videos are of training clips, test videos of test clips."""
    manifest, folder = clips_of(options), options.out / "long" / "videos"
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for split, times in (("train", options.train_times), ("test", options.test_times)):
        every = manifest.of(split)
        others = [record for record in every if record.labels[0] in options.background]
        for number, record in enumerate(r for r in every if r.labels[0] not in options.background):
            for turn in range(times):
                draw = np.random.default_rng([number, turn, split == "test"])
                path = folder / f"{split}{number:03d}_{turn}.mp4"
                parts = amid(record, others, options.seconds, options.action, draw)
                write_film(path, parts, fps=5, size=(200, 150))
                own = VideoRecord(
                    id=path.name,
                    path=path,
                    labels=record.labels,
                    split=split,
                    group=record.group or record.id,
                )
                records.append(own)
    classes = [name for name in manifest.classes if name not in options.background]
    write_csv(folder / MANIFEST_NAME, records, classes)
    return folder / MANIFEST_NAME


def store_of(name: str, data: str | Path, stream: str, rate: float, options: argparse.Namespace) -> Path:
    """Compute the maps of a set; returns the folder of the store."""
    given: dict[str, Any] = {"progress": ConsoleReporter(), "workers": options.workers}
    if name == "clips":
        given |= {"split": options.split, "annotations": options.annotations}
    folder = options.out / name
    out = folder / f"{stream}@{rate:g}"
    model: Any = px.create_model("conv-pool", num_classes=2, backbone=options.backbone, width=8)
    wanted: dict[str, Any] = {
        "layer": model.layer_names()[-1],
        "pool": "none",
        "size": options.size,
        "half": True,
    }
    if stream == "flow":
        flow = folder / "flow"
        px.flow_store(data, flow, method="dis", range=40, **given)
        wanted |= {"flow": flow, "flow_kind": "image"}
    if not (out / "done").exists():
        px.feature_store(data, out, backbone=options.backbone, fps=rate, **wanted, **given)
        (out / "done").touch()
    return out


def protocol_of(name: str, system: System, seconds: float) -> str:
    """Views of a test: see the top of this file."""
    if name == "clips":
        return "25x1" if system.frames == 1 else "10x1"
    if system.frames == 1:
        return f"{round(seconds)}x1"
    return "10x1" if system.frames < seconds else "1x1"


def result_of(name: str, system: str, store: Path, seed: int, options: argparse.Namespace) -> Result | None:
    """Train and test, or read the results; None if there are none, and this system is not to be trained."""
    wanted = SETS[name][system]
    folder = options.out / name / store.name.replace("@", "_")
    run = folder / f"{system.replace(',', '').replace(' ', '_')}-{seed}"
    given: dict[str, Any] = {
        "input.snippets": wanted.frames,
        "input.sampling": "window",
        "data.validation": 0.0,
        "run.validate_epochs": 0,
        "optim.epochs": EPOCHS[wanted.frames],
        "optim.patience": None,
        "run.precision": "32",  # on a CPU the convolution in time is faster than in bfloat16
    }
    if wanted.model != "lstm":
        given |= {"model.width": options.width}
    given |= {**wanted.settings, **settings_of(options.assignments)}

    def train() -> None:
        more = {"out": run, "seed": seed, "progress": ConsoleReporter(), "run.tensorboard": False}
        if wanted.start:
            more["start"] = folder / f"{wanted.start}-{seed}"
        px.train(store, model=wanted.model, resume=bool(read_pointer(run)), **more, **given)

    protocol = protocol_of(name, wanted, options.seconds)
    chosen = options.systems is None or system in options.systems
    if not chosen and not (run / f"result_{protocol}.json").is_file():
        return None
    return train_and_test(run, train, store, protocol, settings=given)


def fused(rgb: Result, flow: Result) -> Result:
    """The mean of the probabilities of two streams."""
    one, other = rgb.scores, flow.scores.reordered(rgb.scores.ids)
    mean = (softmax(one.logits, axis=1) + softmax(other.logits, axis=1)) / 2
    scores = replace(one, logits=np.log(np.maximum(mean, 1e-30)).astype(np.float32))
    right = float((mean.argmax(axis=1) == scores.targets).mean())
    return rgb._replace(scores=scores, top1=right)


def with_fused(results: Results) -> Results:
    """Add the fused streams, of the seeds that both have."""
    made = dict(results)
    for (column, system), rgb in results.items():
        stream, _, rate = column.partition("@")
        if stream == "rgb" and (flow := results.get((f"flow@{rate}", system))):
            made[f"fused@{rate}", system] = [fused(*both) for both in zip(rgb, flow, strict=False)]
    return made


def right_of(rows: Sequence[Result]) -> dict[str, float]:
    """The fraction of right answers over the seeds, and over the videos that show the same test clip, by clip."""
    found: dict[str, list[float]] = {}
    for row in rows:
        right = row.scores.logits.argmax(axis=1) == row.scores.targets
        for id, value in zip(row.scores.ids, right.tolist(), strict=True):
            found.setdefault(FILM.sub(r"\1", id), []).append(value)
    return {clip: float(np.mean(values)) for clip, values in found.items()}


def accuracy(rows: Sequence[Result]) -> Accuracy:
    """Its 95 % interval is that over the test clips."""
    clips = np.array([*right_of(rows).values()])
    mean, half = clips.mean(), float(t.ppf(0.975, len(clips) - 1)) * clips.std(ddof=1) / np.sqrt(len(clips))
    return Accuracy(mean, max(mean - half, 0), min(mean + half, 1))


def table(name: str, results: Results, columns: Sequence[str]) -> Table:
    rows = []
    for system, known in SETS[name].items():
        cells = []
        for column in columns:
            found = results.get((column, system), [])
            values = [each.top1 for each in found]
            spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
            one = accuracy(found) if values else None
            cells.append(f"{one.mean:.3f}{spread} ({one.low:.2f}–{one.high:.2f})" if one else "")
        if any(cells):
            published = ", ".join(
                f"{value} ({rate} fps)" if name == "clips" and rate else value
                for rate, value in known.published.items()
            )
            rows.append([system, *cells, published])
    header = ["system", *(column.replace("@", ", ") + " fps" for column in columns), "paper"]
    return Table(HEADINGS[name], header, rows)


def panel(name: str, results: Results, rate: float) -> tuple[str, dict[tuple[str, str], Accuracy], float]:
    """A set's part of the figure: its title, accuracies at one frame rate, and that of chance."""
    streams = {f"{stream}@{rate:g}": stream for stream in (*STREAMS, "fused")}
    found = {
        (system, streams[column]): accuracy(results[column, system])
        for system in SETS[name]
        for column in streams
        if (column, system) in results
    }
    classes = next(iter(results.values()))[0].scores.logits.shape[1]
    return f"{HEADINGS[name]}, {rate:g} fps", found, 1 / classes


def comparisons(name: str, results: Results) -> Table:
    """Paired tests over the test clips, of each clip's mean over the seeds and its videos."""
    rows = []
    for column, system, against, other in PAIRS[name]:
        one, two = results.get((column, system)), results.get((against, other))
        if not one or not two or len(one) != len(two):
            continue
        first, second = right_of(one), right_of(two)
        pairs = [(first[clip], second[clip]) for clip in first]
        seeds = (
            paired_t([row.top1 for row in one], [row.top1 for row in two]) if len(one) > 1 else float("nan")
        )
        clips = paired_t([a for a, _ in pairs], [b for _, b in pairs])
        rows.append(
            [
                f"{system}, {column}",
                f"{other}, {against}",
                f"{np.mean([a - b for a, b in pairs]):+.3f}",
                *("" if np.isnan(p) else f"{p:.2g}" for p in (clips, seeds)),
            ]
        )
    return Table(
        f"Paired tests: {HEADINGS[name]}", ["system", "against", "difference", "p, clips", "p, seeds"], rows
    )


def main() -> None:
    """Compute features, train and test what is missing, then write the tables."""
    arguments = parser(__doc__, __file__)
    arguments.add_argument("data", help="clips of UCF-101 with splits, as for `praxiscope train`")
    arguments.add_argument("--split")
    arguments.add_argument("--annotations", type=Path)
    arguments.add_argument("--background", nargs="+", default=BACKGROUND, help="classes between the actions")
    arguments.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    arguments.add_argument("--systems", nargs="*", help="train only these; the tables show all finished runs")
    arguments.add_argument("--rates", nargs="+", type=float, default=[6, 30], help="of the clips")
    arguments.add_argument("--seconds", type=float, default=120, help="length of a long video")
    arguments.add_argument("--action", type=float, default=30, help="seconds of the action in a long video")
    arguments.add_argument("--train-times", type=int, default=1, help="long videos of each training clip")
    arguments.add_argument("--test-times", type=int, default=2, help="long videos of each test clip")
    arguments.add_argument("--backbone", default="efficientnet_lite0")
    arguments.add_argument("--size", type=int, default=128, help="of the crops, pixels")
    arguments.add_argument("--width", type=int, default=512, help="of fully connected layers")
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--workers", type=int, default=1)
    options = arguments.parse_args()
    if wrong := set(options.systems or ()) - {"none", *CLIPS, *LONG}:
        arguments.error(
            f"--systems: {', '.join(sorted(wrong))}: choose of {', '.join({**CLIPS, **LONG})}, or none"
        )
    tables, notes, panels = [], [], []
    for name in options.sets:
        data = options.data if name == "clips" else long_videos(options)
        rates = sorted(options.rates) if name == "clips" else [1.0]
        columns = [("rgb", rate) for rate in rates] + [("flow", rates[0])]
        results: Results = {}
        for stream, rate in columns:
            store = store_of(name, data, stream, rate, options)
            for seed in range(options.seeds):
                for system, wanted in SETS[name].items():
                    # A clip of 7 s has 42 frames at 6 per second; single frames need one rate.
                    longest = 30 if name == "clips" and rate < 20 else 120
                    if wanted.frames > longest or (wanted.frames == 1 and rate != rates[0]):
                        continue
                    if found := result_of(name, system, store, seed, options):
                        results.setdefault((store.name, system), []).append(found)
        if not results:
            continue
        results = with_fused(results)
        shown = [f"{stream}@{rate:g}" for stream, rate in columns] + [f"fused@{rates[0]:g}"]
        tables += [table(name, results, shown), comparisons(name, results)]
        panels.append(panel(name, results, rates[0]))
        clips = len(next(iter(results.values()))[0].scores.ids)
        notes.append(f"{counted(clips, 'test video')} ({name})")
    if panels:
        save_explanation(draw_figure(panels), PICTURE if options.publish else options.out / PICTURE.name)
    frames, epochs = (", ".join(map(str, values)) for values in (EPOCHS, EPOCHS.values()))
    write_tables(
        options,
        __file__,
        "Pooling and LSTM over time",
        tables,
        f"Top-1 accuracy: mean ± sample standard deviation over {counted(options.seeds, 'seed')} of the training; in "
        "brackets the 95 % interval over the test clips, of each clip's mean over the seeds and its videos. "
        f"{' and '.join(notes)}. Frozen {options.backbone}, ImageNet weights, {options.size} pixels; fully connected "
        f"layers of {options.width}; LSTM of one layer of 256 cells with peepholes. {epochs} epochs for "
        f"examples of {frames} frames, half as many for time-conv, whose steps are slow; the rest is as in the recipes "
        "features-MODEL, chosen on held-out training groups with heads like those of pool, late-pool and slow-pool. "
        "Paired t tests, two-sided. The paper's figures are percent: networks that learn end to end, UCF-101 (101 "
        "classes) and Sports-1M.",
    )


if __name__ == "__main__":
    run_command(main)
