"""Live video over the loopback network: delay, dropped frames and memory; the source goes away and comes back."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import sys
import time
from array import array
from pathlib import Path

import av
import numpy as np
from common import Table, parser, run_command, write_tables

from praxiscope.inference.live import Live, live
from praxiscope.progress import ConsoleReporter
from praxiscope.video.live_sources import NetworkStream


def write_video(path: Path, fps: int, seconds: int = 10) -> Path:
    """A video of moving stripes, 320 x 240, with a key frame each second."""
    if not path.is_file():
        temporary = path.parent / f"part_{path.name}"
        with av.open(str(temporary), "w") as out:
            options = {"preset": "ultrafast", "g": str(fps), "bf": "0"}
            stream = out.add_stream("libx264", rate=fps, options=options)
            stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
            columns = np.arange(320)
            for number in range(fps * seconds):
                row = (((columns + 4 * number) // 20 % 2) * 200).astype(np.uint8)
                image = np.broadcast_to(row[None, :, None], (240, 320, 3)).copy()
                out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            out.mux(stream.encode(None))
        temporary.replace(path)
    return path


def send(path: Path, address: str) -> None:
    """Send the packets of a video again and again, at their times, as MPEG-TS."""
    with av.open(address, "w", format="mpegts") as out:
        target, begin, offset = None, time.monotonic(), 0
        for _ in itertools.count():
            with av.open(str(path)) as container:
                source = container.streams.video[0]
                target = target or out.add_stream_from_template(source)
                for packet in container.demux(source):
                    if packet.size:
                        due = begin + float((packet.dts + offset) * source.time_base)
                        time.sleep(max(due - time.monotonic(), 0))
                        packet.dts, packet.pts = packet.dts + offset, packet.pts + offset
                        packet.stream = target
                        out.mux(packet)
                offset += source.duration


def sender(path: Path, address: str) -> subprocess.Popen[bytes]:
    """Start a process that sends a video: FFmpeg's program if there is one, otherwise PyAV."""
    command = [sys.executable, __file__, "--send", str(path), address]
    if ffmpeg := shutil.which("ffmpeg"):
        looped = ["-re", "-stream_loop", "-1", "-i", str(path), "-c", "copy", "-f", "mpegts", address]
        command = [ffmpeg, "-nostdin", "-loglevel", "error", *looped]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL)


def resident_mib() -> float:
    """The memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Measured:
    """Delays, and the memory of each minute."""

    def __init__(self) -> None:
        self.delays = array("d")
        self.memory = [0.0]
        self.stretches = 0

    def watch(self, answers: Live, path: Path, address: str, minutes: float, away_s: float) -> float:
        """Take the answers of so many minutes; in the middle the sender is killed, and started again. Returns seconds
        for which it sent."""
        process = sender(path, address)
        begin = time.monotonic()
        half, end = begin + 30 * minutes, begin + 60 * minutes
        try:
            for answer in answers:
                now = time.monotonic()
                self.delays.append(answer.delay_s)
                self.stretches = answer.stretch
                if len(self.delays) == 100:
                    self.memory = [resident_mib()]
                if now > half:
                    process.kill()
                    process.wait()
                    time.sleep(away_s)
                    process = sender(path, address)
                    half = end + 1
                if now > end:
                    break
        finally:
            process.kill()
            process.wait()
        self.memory.append(resident_mib())
        return time.monotonic() - begin - away_s


def main() -> None:
    """Serve a video to this process, and write the table."""
    if sys.argv[1:2] == ["--send"]:
        send(Path(sys.argv[2]), sys.argv[3])
    arguments = parser(__doc__, __file__, assignments=False)
    arguments.add_argument("run", type=Path, help="a trained run")
    arguments.add_argument(
        "--video", type=Path, help="the video to send; by default moving stripes of 320 x 240"
    )
    arguments.add_argument("--fps", type=int, default=30, help="frames per second of the default video")
    arguments.add_argument("--minutes", type=float, default=10, help="length of the measurement")
    arguments.add_argument("--away", type=float, default=15, help="seconds for which the sender is killed")
    options = arguments.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    video = options.video or write_video(options.out / f"stripes_{options.fps}.mp4", options.fps)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        address = f"udp://127.0.0.1:{free.getsockname()[1]}"
    source = NetworkStream(address, timeout_s=5)
    measured = Measured()
    with live(options.run, source, progress=ConsoleReporter()) as answers:
        sent_s = measured.watch(answers, video, f"{address}?pkt_size=1316", options.minutes, options.away)
        read, dropped = answers.newest.read, answers.dropped
    delays = np.asarray(measured.delays) * 1000
    rows = [
        ["minutes", f"{options.minutes:g}"],
        ["frames that came, and per second of sending", f"{read}, {read / sent_s:.1f}"],
        ["frames dropped, and their share", f"{dropped}, {dropped / read:.4f}"],
        ["answers", len(delays)],
        ["delay, ms: median", f"{np.median(delays):.1f}"],
        ["delay, ms: 99 %", f"{np.percentile(delays, 99):.1f}"],
        ["delay, ms: largest", f"{delays.max():.1f}"],
        ["memory, MiB: after 100 answers", f"{measured.memory[0]:.0f}"],
        ["memory, MiB: at the end", f"{measured.memory[-1]:.0f}"],
        ["times that the source was found again", measured.stretches],
    ]
    write_tables(
        options,
        __file__,
        "Live video over UDP on this machine",
        [Table("", ["what", "value"], rows)],
        f"The delay is from the arrival of a frame to its answer. The sender was killed once, for {options.away:g} s.",
    )


if __name__ == "__main__":
    run_command(main)
