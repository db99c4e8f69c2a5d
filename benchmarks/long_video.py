"""The timeline of a long video: peak memory of 2 minutes against 2 hours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import av
from common import Table, parser, run_command, write_tables


def loop_video(clip: Path, target: Path, seconds: float) -> Path:
    """Repeat a clip to a length of ``seconds``, as H.264 with a key frame every two seconds."""
    if target.is_file():
        return target
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        rate = stream.average_rate
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    temporary = target.with_suffix(".part.mp4")
    with av.open(str(temporary), "w") as out:
        stream = out.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "26", "g": "60"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for number in range(int(seconds * rate)):
            frame = av.VideoFrame.from_ndarray(pictures[number % len(pictures)], format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    temporary.replace(target)
    return target


def measure(run: Path, video: Path) -> dict[str, float]:
    """Predict in a separate process. Returns its number of windows and its peak memory."""
    command = [sys.executable, "-m", "praxiscope", "predict", str(run), str(video)]
    code = (
        "import json, resource, subprocess, sys;"
        "rows = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, check=True).stdout.count(b'\\n') - 1;"
        "peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss;"
        "print(json.dumps({'windows': rows, 'peak_mib': peak / 1024}))"
    )
    options = ["--window", "2s", "--stride", "1s", "--top", "1", "--csv"]
    done = subprocess.run(
        [sys.executable, "-c", code, *command, *options], stdout=subprocess.PIPE, check=True, text=True
    )
    return json.loads(done.stdout)


def main() -> None:
    """Write and measure both videos, and write the table."""
    arguments = parser(__doc__, __file__, assignments=False)
    arguments.add_argument("run", type=Path, help="a trained run")
    arguments.add_argument("clip", type=Path, help="the clip to repeat")
    arguments.add_argument("--minutes", type=int, nargs=2, default=[2, 120], help="lengths of the two videos")
    options = arguments.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows, peaks = [], []
    lengths = [(f"{minutes} minutes", 60 * minutes) for minutes in options.minutes]
    for name, seconds in lengths:
        video = loop_video(options.clip, options.out / f"{seconds}s.mp4", seconds)
        result = measure(options.run, video)
        peaks.append(result["peak_mib"])
        rows.append([name, int(result["windows"]), f"{result['peak_mib']:.0f}"])
    write_tables(
        options,
        __file__,
        "Timeline of a long video: predict --window 2s --stride 1s",
        [Table("", ["video", "windows", "peak memory, MiB"], rows)],
        f"Peak of {lengths[1][0]} over peak of {lengths[0][0]}: {peaks[1] / peaks[0]:.3f}. Whole process, "
        "start included.",
    )


if __name__ == "__main__":
    run_command(main)
