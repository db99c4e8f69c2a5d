"""Models that score a video while it comes: peak memory of 2 minutes against 2 hours.

Each measurement is a process of its own. The networks are tiny and have random weights, so that the rest of the process
hides as little as possible.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from common import Table, parser, run_command, write_tables

from praxiscope.checkpoint.saving import write_json

FPS, SIZE = 5, 32
"""Frames per second of the videos, and pixels of the networks' input."""

_POOL = {"width": 64}
_CELLS = {"hidden": 64, "layers": 2}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "conv-pool": ("conv-pool", _POOL),
    "late-pool": ("late-pool", _POOL),
    "slow-pool": ("slow-pool", _POOL),
    "time-conv": ("time-conv", _POOL),
    "pool": ("pool", _POOL),
    "googlenet-conv": ("googlenet-conv", {**_POOL, "backbone": "googlenet"}),
    "lstm": ("lstm", _CELLS),
    "lstm, cell=plain": ("lstm", {**_CELLS, "cell": "plain"}),
    "tsm, shift=causal": ("tsm", {"shift": "causal"}),
    "frame": ("frame", {}),
}


def write_video(path: Path, seconds: int) -> Path:
    """A video of 64 x 48 pixels: a minute in H.264 whose packets are repeated, with times that go on."""
    if path.is_file():
        return path
    minute = path.with_name("minute.mp4")
    with av.open(str(minute), "w") as out:
        stream = out.add_stream(
            "libx264", rate=FPS, options={"preset": "ultrafast", "g": str(2 * FPS), "bf": "0"}
        )
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(60 * FPS):
            image = np.full((48, 64, 3), 40, np.uint8)
            left = 3 * number % 48
            image[10:30, left : left + 16, number // FPS % 3] = 220
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode(None))
    temporary = path.with_name(f"part_{path.name}")
    with av.open(str(minute)) as container, av.open(str(temporary), "w") as out:
        source = container.streams.video[0]
        target = out.add_stream_from_template(source)
        packets = [packet for packet in container.demux(source) if packet.size]
        length = int(60 / Fraction(source.time_base))
        for turn in range(seconds // 60):
            for packet in packets:
                again = av.Packet(bytes(packet))
                again.pts, again.dts = packet.pts + turn * length, packet.dts + turn * length
                again.time_base, again.is_keyframe, again.stream = (
                    source.time_base,
                    packet.is_keyframe,
                    target,
                )
                out.mux(again)
    temporary.replace(path)
    return path


def write_model(folder: Path, name: str, keywords: dict[str, Any]) -> Path:
    """A model folder of a network with random weights, which reads one frame per second."""
    from praxiscope.checkpoint import InputContract, ModelCard
    from praxiscope.inference.recogniser import Recogniser
    from praxiscope.models import create_model

    if not folder.is_dir():
        kwargs = {"num_classes": 3, "backbone": "resnet10", **keywords}
        contract = InputContract(size=SIZE, short_side=SIZE, snippets=8, fps=1.0, sampling="window")
        card = ModelCard(name, kwargs, ("a", "b", "c"), input=contract)
        Recogniser(create_model(name, **kwargs), card, precision="32").save(folder)
    return folder


def whole(recogniser: Any, video: str) -> int:
    """The answer for all frames, as by ``praxiscope predict RUN VIDEO``. Returns the number of answers."""
    recogniser.video_logits(video, "allx1")
    return 1


def live(recogniser: Any, video: str) -> int:
    """The same frames live; each one comes when the one before was answered."""
    from praxiscope.inference.live import live as live_answers
    from praxiscope.video.grid import FrameGrid
    from praxiscope.video.opening import open_video

    answered, count = threading.Semaphore(1), 0

    def frames() -> Iterator[tuple[float, np.ndarray]]:
        for frame in FrameGrid(recogniser.card.input.fps).select(open_video(video)):
            answered.acquire()
            yield frame.time_s, frame.rgb().permute(1, 2, 0).numpy()

    with live_answers(recogniser, frames()) as answers:
        for _ in answers:
            count += 1
            answered.release()
        assert not answers.dropped
    return count


def timeline(recogniser: Any, video: str) -> int:
    """The timeline, as by ``--window 2s --stride 1s``."""
    return sum(1 for _ in recogniser.timeline(video, window_s=2, stride_s=1))


WAYS: dict[str, Callable[[Any, str], int]] = {"all frames": whole, "live": live, "timeline": timeline}


def memory_mib(field: str) -> float:
    """A field of this process's memory, such as VmRSS, or VmHWM, its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def measure(way: str, model: str, video: str) -> None:
    """Score a video in this process, and print its memory before the first frame and at its peak."""
    import praxiscope as px

    recogniser: Any = px.load(model, device="cpu")
    before = memory_mib("VmRSS")
    answers = WAYS[way](recogniser, video)
    print(json.dumps({"answers": answers, "before": before, "peak": memory_mib("VmHWM")}))


def measured(out: Path, way: str, model: Path, video: Path) -> dict[str, float]:
    """Measure in a process of its own. What an interrupted command has measured is kept."""
    kept = out / f"{model.name}_{way.replace(' ', '_')}_{video.stem}.json"
    if not kept.is_file():
        command = [sys.executable, __file__, "--measure", way, str(model), str(video)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        write_json(kept, json.loads(done.stdout.splitlines()[-1]))
    found: dict[str, float] = json.loads(kept.read_text(encoding="utf-8"))
    print(model.name, way, video.stem, found, file=sys.stderr)
    return found


def main() -> None:
    """Write the videos and the models, measure, and write the table."""
    if sys.argv[1:2] == ["--measure"]:
        measure(*sys.argv[2:5])
        return
    arguments = parser(__doc__, __file__, assignments=False)
    arguments.add_argument("--minutes", type=int, nargs=2, default=[2, 120], help="lengths of the two videos")
    options = arguments.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    videos = [write_video(options.out / f"{minutes}min.mp4", 60 * minutes) for minutes in options.minutes]
    rows, ratios = [], []
    for title, (name, keywords) in MODELS.items():
        folder = options.out / title.replace(", ", "-").replace("=", "-")
        model = write_model(folder, name, keywords)
        for way in ["timeline"] if name == "frame" else ["all frames", "live"]:
            short, long = (measured(options.out, way, model, video) for video in videos)
            ratios.append(long["peak"] / short["peak"])
            rows.append(
                [
                    title,
                    way,
                    int(long["answers"]),
                    *(f"{one['peak']:.0f}" for one in (short, long)),
                    f"{ratios[-1]:.3f}",
                    *(f"{one['peak'] - one['before']:.0f}" for one in (short, long)),
                ]
            )
    few, many = (f"{minutes} min" for minutes in options.minutes)
    peaks, above = [f"peak, MiB: {few}", many, "ratio"], [f"above start, MiB: {few}", many]
    header = ["model", "how", f"answers in {many}", *peaks, *above]
    write_tables(
        options,
        __file__,
        "Two hours against two minutes: peak memory of the models that score while frames come",
        [Table("", header, rows)],
        f"Largest ratio: {max(ratios):.3f}. The peak is that of the whole process, start included; above start: minus "
        f"what it held before it read the first frame. ResNet-10 (googlenet-conv: GoogLeNet) at {SIZE} pixels with "
        f"random weights, one frame per second of a video of {FPS} frames per second, one run of each.",
    )


if __name__ == "__main__":
    run_command(main)
