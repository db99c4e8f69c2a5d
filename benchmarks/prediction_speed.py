"""Seconds of a prediction beside the barest loop: PyAV, the network, nothing else; and beside onnxruntime and OpenVINO.

`python benchmarks/prediction_speed.py VIDEO…` predicts each video by all ways in turn, in random order, in one process.
The barest loop decodes the whole file, scales and crops the 25 frames that are wanted, and runs the network on all of
them at once, or on as many as praxiscope takes at once: the faster of both counts.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from common import parser, run_command, write_tables

import praxiscope as px
from praxiscope.checkpoint import InputContract, ModelCard, write_json
from praxiscope.inference.kept_network import use_runtime
from praxiscope.inference.recogniser import Recogniser
from praxiscope.progress import ConsoleReporter
from praxiscope.video import index_cache

VIEWS = 25
BACKBONES = ("resnet50", "efficientnet_lite0")
CLASSES = 9


def saved(folder: Path, backbone: str, weights: str | None) -> Path:
    """The model folder of a network on single frames; without weights they are random, which takes the same time."""
    if not folder.exists():
        torch.manual_seed(0)
        model: Any = px.create_model("frame", num_classes=CLASSES, backbone=backbone)
        if weights is not None:
            from praxiscope.models.weights import load_weights

            load_weights(model, weights)
        labels = tuple(f"class {number}" for number in range(CLASSES))
        card = ModelCard(
            "frame",
            {"num_classes": CLASSES, "backbone": backbone},
            labels,
            input=InputContract(**model.normalisation["rgb"]),
        )
        Recogniser(model, card).save(folder)
    return folder


def barest(network: Recogniser, video: Path, at_once: int) -> torch.Tensor:
    """Scores of the middle frames of 25 equal parts: PyAV and the network."""
    contract = network.card.input
    mean, std = (torch.tensor(x).reshape(3, 1, 1) for x in (contract.mean, contract.std))
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        decoded = list(container.decode(stream)) if stream.frames < 2000 else None
        if decoded is None:  # too long to keep: the frames that are wanted, as they come
            wanted = set(((np.arange(VIEWS) + 0.5) * stream.frames / VIEWS).astype(int).tolist())
            kept = [frame for number, frame in enumerate(container.decode(stream)) if number in wanted]
        else:
            kept = [decoded[int((i + 0.5) * len(decoded) / VIEWS)] for i in range(VIEWS)]
        scale = contract.short_side / min(kept[0].width, kept[0].height)
        width, height = round(kept[0].width * scale), round(kept[0].height * scale)
        top, left = (height - contract.size) // 2, (width - contract.size) // 2
        pixels = np.stack(
            [
                frame.to_ndarray(format="rgb24", width=width, height=height)[
                    top : top + contract.size, left : left + contract.size
                ]
                for frame in kept
            ]
        )
    x = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - mean) / std
    with torch.inference_mode(), network.precision.context(network.device):
        rows = [network.model(part[:, None]).logits.float() for part in x.split(at_once)]
    return torch.cat(rows).mean(0)


def predicted(network: Recogniser, video: Path) -> torch.Tensor:
    """Scores by praxiscope, of a file that it has not read before."""
    index_cache._cache.clear()
    index_cache._cache.packets = 0
    return network.video_logits(video, f"{VIEWS}x1")


def ways(folder: Path, video: Path) -> dict[str, Callable[[], object]]:
    """The functions to time, by name."""
    loaded: Any = px.load(folder, device="cpu")
    found: dict[str, Callable[[], object]] = {}
    for precision in ("32", "bf16") if torch.cpu._is_avx512_bf16_supported() else ("32",):
        network = Recogniser(loaded.model, loaded.card, precision=precision)
        chunk = network.at_once(224, 224)
        found[f"praxiscope, {precision}"] = partial(predicted, network, video)
        for size in (chunk, VIEWS):
            found[f"barest loop, {precision}, {size} at once"] = partial(barest, network, video, size)
    for runtime in ("onnxruntime", "openvino"):
        network = Recogniser(loaded.model, loaded.card, precision="32")
        network.folder = folder
        if use_runtime(network, runtime, protocol=f"{VIEWS}x1") == runtime:
            found[f"praxiscope, {runtime}"] = partial(predicted, network, video)
    return found


def seconds(folder: Path, videos: list[Path], turns: int, most_s: float) -> dict[str, list[list[float]]]:
    """Seconds and processor seconds per video by way: for each turn the means over the videos."""
    each = [ways(folder, video) for video in videos]
    times: dict[str, list[list[float]]] = {name: [] for name in each[0]}
    for work in each[0].values():
        work()
    started = time.perf_counter()
    for turn in range(turns):
        if turn >= 3 and time.perf_counter() - started > most_s:
            break
        names = list(times)
        random.Random(turn).shuffle(names)
        for name in names:
            begun = time.perf_counter(), time.process_time()
            for made in each:
                made[name]()
            ended = time.perf_counter(), time.process_time()
            times[name].append([(end - start) / len(each) for start, end in zip(begun, ended, strict=True)])
    return times


def rows(times: dict[str, list[list[float]]]) -> list[list[str]]:
    """A row for each way: medians, sample deviations, and the median over that of the faster barest loop."""
    found = []
    for name, values in times.items():
        precision = "bf16" if "bf16" in name else "32"
        cells = []
        for clock in (0, 1):
            own = [value[clock] for value in values]
            bare = min(
                statistics.median(value[clock] for value in others)
                for other, others in times.items()
                if other.startswith(f"barest loop, {precision}")
            )
            middle = statistics.median(own)
            cells += [f"{middle:.3f}", f"{statistics.stdev(own):.3f}", f"{middle / bare:.2f}"]
        found.append([name, str(len(values)), *cells])
    return found


def main() -> None:
    options = parser(__doc__, __file__, assignments=False)
    options.add_argument("videos", nargs="+", help="videos, each predicted by all ways in turn")
    options.add_argument("--turns", type=int, default=9)
    options.add_argument("--most", type=float, default=150, help="seconds of a backbone, after three turns")
    options.add_argument("--weights", help="weights of efficientnet_lite0; without them they are random")
    chosen = options.parse_args()
    reporter, tables = ConsoleReporter(), []
    header = ["way", "turns", "s / video", "spread", "ratio", "processor s / video", "spread", "ratio"]
    videos = [Path(name) for name in chosen.videos]
    for backbone in BACKBONES:
        reporter.line(f"{backbone}: {len(videos)} videos")
        weights = chosen.weights if backbone.startswith("efficientnet") else None
        times = seconds(saved(chosen.out / backbone, backbone, weights), videos, chosen.turns, chosen.most)
        write_json(chosen.out / f"{backbone}.json", times)
        tables.append((backbone, header, rows(times)))
    note = (
        f"{len(videos)} videos, 25x1 at 224 pixels, random weights unless given. Medians over the turns of the mean "
        "over the videos; the spread is the sample standard deviation over the turns. Ratio: to the faster barest loop "
        "of the same precision. 32 and bf16: PyTorch in this precision; other runtimes compute in float32."
    )
    write_tables(chosen, __file__, "Seconds of a prediction", tables, note)


if __name__ == "__main__":
    run_command(main)
