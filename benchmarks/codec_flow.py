"""What the motion vectors of the video file cost and save as optical flow, beside estimated flow.

`python benchmarks/codec_flow.py --ucf UCF101 FLOW --weizmann WEIZMANN FLOW --shapes SHAPES`. FLOW is stored flow of
another method; SHAPES is of `praxiscope dataset moving-shapes`, whose clips are encoded here. Folds and intervals are
those of `fisher_svm.py`, probes those of `weizmann_probe.py`. Finished folds are read from --out.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from common import Table, parser, run_command, write_tables
from fisher_svm import folds_of, interval
from stores import Result, train_and_test, with_list
from torch import Tensor

import praxiscope as px
from praxiscope.commands.flow import StoreOptions, extract_flow
from praxiscope.data.flow_samples import load_flow_samples
from praxiscope.data.manifest import Manifest, load_records
from praxiscope.evaluation.comparison import mcnemar
from praxiscope.evaluation.scores import Scores
from praxiscope.flow.contract import FlowContract
from praxiscope.flow.estimate import create_estimator, estimate_flow
from praxiscope.flow.methods import FileEstimator
from praxiscope.flow.store import create_store
from praxiscope.progress import ConsoleReporter
from praxiscope.video.decode import Video

METHODS = ("codec", "dis", "farneback", "tvl1")
ENCODERS: dict[str, tuple[str, str, int, dict[str, str]]] = {
    "MPEG-4, 1.5 Mbit/s": ("mpeg4", "avi", 0, {"b": "1500000"}),
    "MPEG-4, 0.4 Mbit/s": ("mpeg4", "avi", 0, {"b": "400000"}),
    "MPEG-4, 1.5 Mbit/s, 2 B-frames": ("mpeg4", "avi", 2, {"b": "1500000"}),
    "x264, no B-frames, 1 reference": ("libx264", "mp4", 0, {"refs": "1"}),
    "x264, defaults": ("libx264", "mp4", -1, {}),
}
"""Codec, container, number of B-frames (-1: default) and options."""


# --------------------------------------------------------------------------------------------------- speed


def fields_of(video: Video, method: str) -> Iterator[Tensor]:
    """All fields of a video, float32 [2, H, W]."""
    estimator = create_estimator(method)
    if isinstance(estimator, FileEstimator):
        yield from estimator.fields(video)
        return
    for pair in pairwise(frame.rgb() for frame in video.decode()):
        yield estimate_flow(torch.stack(pair), estimator)[0]


def seconds(run: Callable[[], Any]) -> float:
    """Seconds of processor time of all threads."""
    started = time.process_time()
    run()
    return time.process_time() - started


def measure_speed(videos: list[Path], out: Path) -> Table:
    """Seconds of each method for a minute of video: for the fields alone, and with quantising and storing them."""
    torch.set_num_threads(1)
    spent: dict[
        str, list[tuple[float, float, float]]
    ] = {}  # fields per second; seconds per minute, of two kinds
    for path in videos:
        video = px.open_video(path)
        fields, minutes = len(video) - 1, video.duration_s / 60

        def decode(video: Video = video) -> None:
            for _ in video.decode():
                pass

        alone = seconds(decode)
        spent.setdefault("decoding alone", []).append((fields / alone, alone / minutes, float("nan")))
        for method in METHODS:
            alone = seconds(lambda: sum(1 for _ in fields_of(video, method)))  # noqa: B023

            def store(method: str = method, video: Video = video) -> None:
                target = create_store(
                    out / "speed" / method, FlowContract(method, create_estimator(method).parameters)
                )
                with target.writing(video.path.name, video.path) as writer:
                    for field in fields_of(video, method):
                        writer.add(field[None])

            stored = seconds(store)
            spent.setdefault(method, []).append((fields / alone, alone / minutes, stored / minutes))
    rows = [[name, *(_spread([row[n] for row in rows]) for n in range(3))] for name, rows in spent.items()]
    header = ("method", "fields per second", "s per minute of video", "with storing")
    return Table(f"Speed: {len(videos)} clips of UCF-101, 320 x 240", header, rows)


def _spread(values: list[float]) -> str:
    if np.isnan(values).any():
        return ""
    return f"{statistics.mean(values):.4g} ± {statistics.stdev(values):.2g}"


# --------------------------------------------------------------------------------------------------- errors


def encode(path: Path, frames: Tensor, encoder: str) -> Video:
    """Encode frames uint8 [T, 3, H, W]."""
    codec, _, b_frames, options = ENCODERS[encoder]
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[-2:], "yuv420p"
        stream.codec_context.thread_count = 1
        if b_frames >= 0:
            stream.codec_context.max_b_frames = b_frames
        for image in frames.permute(0, 2, 3, 1).contiguous().numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return px.open_video(path)


def measure_errors(shapes: str, out: Path) -> Table:
    """Mean end-point errors on made clips with known flow, by encoder."""
    samples = [sample for sample in load_flow_samples(shapes, "test") if sample.num_fields > 1]
    rows = []
    for number, encoder in enumerate(ENCODERS):
        errors: dict[str, list[float]] = {"codec": [], "dis": [], "zero": []}
        for place, sample in enumerate(samples):
            known = sample.fields(0, sample.num_fields)
            path = out / "shapes" / f"{number}-{place}.{ENCODERS[encoder][1]}"
            video = encode(path, sample.frames(0, sample.num_fields + 1), encoder)
            found = {name: torch.stack(list(fields_of(video, name))) for name in ("codec", "dis")}
            for name, flow in {**found, "zero": torch.zeros_like(known)}.items():
                errors[name].append(float((flow - known).norm(dim=1).nanmean()))
        rows.append([encoder, *(_spread(each) for each in errors.values())])
    header = ("encoder", "codec", "dis", "zero flow")
    return Table(f"Mean end-point error, px: {len(samples)} clips of moving shapes", header, rows)


# --------------------------------------------------------------------------------------------------- accuracy


@dataclass(frozen=True)
class Tested:
    """The scores of each fold by system, and what made them."""

    data: str
    scores: dict[str, list[Scores]]
    results: list[Result]
    groups: dict[str, str]

    def right(self, system: str) -> tuple[np.ndarray[Any, Any], list[str]]:
        """Which clips are classified correctly, and their groups."""
        flags, ids = [], list[str]()
        for scores in self.scores[system]:
            flags += (scores.logits.argmax(axis=1) == scores.targets).tolist()
            ids += scores.ids
        return np.array(flags, dtype=np.float64), [self.groups[id] for id in ids]


def classify(data: str, flow: Path, out: Path) -> Tested:
    """Train and test probes of features of RGB frames, of the stored flow and of motion vectors, in every fold."""
    reporter = ConsoleReporter()
    split = "1" if data.startswith("ucf101:") else None
    extract_flow(data, out / "codec", StoreOptions(method="codec", split=split, workers=1), reporter=reporter)
    words: dict[str, Any] = {"split": split, "progress": reporter}
    method = px.flow.store.FlowStore(flow).contract.method
    stores = {"RGB": px.feature_store(data, out / "features-rgb", **words)}
    for name, stored in ((method, flow), ("codec", out / "codec")):
        stores[name] = px.feature_store(data, out / f"features-{name}", flow=stored, flow_length=5, **words)
    tested = Tested(data.partition(":")[0], {}, [], {})
    for name, manifest in folds_of(data):
        tested.groups.update({record.id: str(record.group) for record in manifest.records})
        found = {
            stream: _fold(tested, out / f"{stream}-{name}", store.root, manifest)
            for stream, store in stores.items()
        }
        for stream in (method, "codec"):
            found[f"RGB + {stream}"] = px.fuse([found["RGB"], found[stream]], kind="l2", any_protocol=True)
        for system, scores in found.items():
            tested.scores.setdefault(system, []).append(scores)
    return tested


def _fold(tested: Tested, run: Path, features: Path, manifest: Manifest) -> Scores:
    listed = with_list(features, run / "data", manifest.records, manifest.classes)
    words = {"model": "probe"}

    def train() -> object:
        return px.train(listed, out=run, progress=ConsoleReporter(), **words)  # type: ignore[arg-type]

    tested.results.append(train_and_test(run, train, listed, "25x1", settings=words))
    return tested.results[-1].scores


def accuracy_tables(tested: Tested) -> list[Table]:
    """Top-1 of every system, and paired tests of motion vectors against the other flow."""
    rows = []
    for system, folds in tested.scores.items():
        right, groups = tested.right(system)
        each = [float((one.logits.argmax(axis=1) == one.targets).mean()) for one in folds]
        rows.append(
            [
                system,
                f"{right.mean():.3f}",
                _between(right, groups),
                f"{np.std(each, ddof=1):.3f}",
                f"{right.sum():.0f}",
            ]
        )
    header = ("system", "top-1", "95 % interval", "spread over folds", f"correct of {len(right)}")
    first = Table(f"{tested.data}: {len(right)} clips in {len(tested.scores['RGB'])} folds", header, rows)
    other = next(name for name in tested.scores if name not in ("RGB", "codec"))
    pairs = []
    for one, two in (("codec", other), ("RGB + codec", f"RGB + {other}"), ("RGB + codec", "RGB")):
        (a, groups), (b, _) = tested.right(one), tested.right(two)
        alone = int((a * (1 - b)).sum()), int((b * (1 - a)).sum())
        pairs.append(
            [
                one,
                two,
                f"{a.mean() - b.mean():+.3f}",
                _between(a - b, groups),
                *alone,
                f"{mcnemar(*alone):.2g}",
            ]
        )
    compared = (
        "",
        "against",
        "difference",
        "95 % interval",
        "only the first correct",
        "only the second",
        "p",
    )
    return [first, Table(f"{tested.data}: paired tests", compared, pairs)]


def _between(values: np.ndarray[Any, Any], groups: list[str]) -> str:
    low, high = interval(values, groups)
    return f"{low:.3f} to {high:.3f}"


def main() -> None:
    """Measure what is asked for, then write the tables."""
    options = _parser().parse_args()
    tables, results = [], []
    if options.ucf is not None:
        manifest = load_records(f"ucf101:{options.ucf[0]}", split="1")
        step = max(1, len(manifest.records) // options.clips)
        videos = [record.path for record in manifest.records[::step]][: options.clips]
        tables.append(measure_speed(videos, options.out))
    if options.shapes is not None:
        tables.append(measure_errors(options.shapes, options.out))
    for name, given in (("ucf101", options.ucf), ("weizmann", options.weizmann)):
        if given is not None:
            tested = classify(f"{name}:{given[0]}", Path(given[1]), options.out / name)
            tables += accuracy_tables(tested)
            results += tested.results
    note = (
        "Speed: processor time of one process with one thread, from the file to the fields, after the index of the "
        "file was built; mean and sample standard deviation over clips. Decoding alone makes no RGB frames. Errors: "
        "mean and sample standard deviation over clips; dis is given the decoded frames. Accuracy: logistic regression "
        "on features of efficientnet_lite0 with ImageNet weights, of frames and of stacks of 5 flow fields "
        "(weizmann_probe.py); 25x1; one seed. Fusions: mean of scores of length 1 (--kind l2). Intervals: bootstrap "
        "over groups, which are people, or clips of the same recording. p: exact McNemar test over all clips, "
        "two-sided."
    )
    write_tables(options, __file__, "Motion vectors of the video file as flow", tables, note, runs=results)  # type: ignore[arg-type]


def _parser() -> argparse.ArgumentParser:
    found = parser(__doc__, __file__, assignments=False)
    for name in ("ucf", "weizmann"):
        found.add_argument(
            f"--{name}", nargs=2, metavar=("VIDEOS", "FLOW"), help="the videos and their stored flow"
        )
    found.add_argument("--shapes", help="a folder of praxiscope dataset moving-shapes")
    found.add_argument("--clips", type=int, default=9, help="number of clips whose speed is measured")
    return found


if __name__ == "__main__":
    run_command(main)
