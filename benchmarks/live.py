"""Live video over the loopback network: delay, dropped frames and memory; the source is killed and starts again."""

from __future__ import annotations

import itertools
import os
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import av
import numpy as np
from common import Table, parser, run_command, write_tables

from praxiscope.errors import ArgumentError
from praxiscope.inference.live import Live, live
from praxiscope.progress import ConsoleReporter
from praxiscope.video.live_sources import NetworkStream


def stripes() -> Iterator[np.ndarray]:
    """Moving stripes, 320 x 240."""
    columns = np.arange(320)
    for number in itertools.count():
        row = (((columns + 4 * number) // 20 % 2) * 200).astype(np.uint8)
        yield np.broadcast_to(row[None, :, None], (240, 320, 3)).copy()


def pictures_of(clip: Path) -> Iterator[np.ndarray]:
    """The frames of a clip, again and again."""
    with av.open(str(clip)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return itertools.cycle(frames)


def write_video(path: Path, pictures: Iterator[np.ndarray], fps: int, seconds: int = 10) -> Path:
    """A video of pictures in H.264, with a key frame each second."""
    if not path.is_file():
        temporary = path.parent / f"part_{path.name}"
        with av.open(str(temporary), "w") as out:
            options = {"preset": "ultrafast", "g": str(fps), "bf": "0"}
            stream = out.add_stream("libx264", rate=fps, options=options)
            first = next(pictures)
            stream.height, stream.width, stream.pix_fmt = *first.shape[:2], "yuv420p"
            for image in itertools.islice(itertools.chain([first], pictures), fps * seconds):
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


def udp_sender(path: Path) -> tuple[str, str, list[str]]:
    """What sends a video over UDP (FFmpeg's program if there is one, otherwise PyAV), its address, and its command."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        address = f"udp://127.0.0.1:{free.getsockname()[1]}"
    to = f"{address}?pkt_size=1316"
    if ffmpeg := shutil.which("ffmpeg"):
        told = subprocess.run([ffmpeg, "-version"], capture_output=True, text=True, check=True).stdout
        looped = ["-re", "-stream_loop", "-1", "-i", str(path), "-c", "copy", "-f", "mpegts", to]
        name = "FFmpeg " + told.split()[2].partition("-")[0]
        return name, address, [ffmpeg, "-nostdin", "-loglevel", "error", *looped]
    name = f"PyAV {av.__version__}, the library of FFmpeg"
    return name, address, [sys.executable, __file__, "--send", str(path), to]


class Sender:
    """A process that sends a video, killed at a time and started again."""

    def __init__(self, command: list[str], lives_s: float, away_s: float) -> None:
        self.command, self.away_s, self.again_s = command, away_s, float("inf")
        self.process = self._start()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._interrupt, args=(lives_s,), daemon=True)
        self.thread.start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def _interrupt(self, lives_s: float) -> None:
        # In a thread: whoever takes the answers does not wait meanwhile, or a frame would wait with it.
        if self.over.wait(lives_s):
            return
        self.process.kill()
        self.process.wait()
        if not self.over.wait(self.away_s):
            self.again_s = time.monotonic()
            self.process = self._start()

    def close(self) -> None:
        """End it."""
        self.over.set()
        self.thread.join()
        self.process.kill()
        self.process.wait()


def wait_for(address: str, limit_s: float = 30) -> None:
    """Wait until a server answers at an address. UDP has no connections: nothing to wait for."""
    parts = urlsplit(address)
    end = time.monotonic() + limit_s
    while parts.scheme != "udp":
        try:
            socket.create_connection((parts.hostname or "", parts.port or 554), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def resident_mib() -> float:
    """The memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Measured:
    """The times of all answers, and the memory and the load of each half minute."""

    def __init__(self) -> None:
        self.answered, self.times, self.delays = array("d"), array("d"), array("d")
        self.stretches = array("i")
        self.memory, self.load = array("d"), array("d")

    def take(self, answers: Live, minutes: float) -> None:
        """Take the answers of so many minutes."""
        begin = time.monotonic()
        for answer in answers:
            now = time.monotonic()
            self.answered.append(now)
            self.times.append(answer.time_s)
            self.delays.append(answer.delay_s)
            self.stretches.append(answer.stretch)
            if (now - begin) // 30 >= len(self.memory):
                self.memory.append(resident_mib())
                self.load.append(os.getloadavg()[0])
            if now > begin + 60 * minutes:
                break
        self.memory.append(resident_mib())

    def save(self, path: Path) -> None:
        """Write what was measured of each answer."""
        of_answers = {"answered": self.answered, "time_s": self.times, "delay_s": self.delays}
        np.savez(
            path, stretch=np.asarray(self.stretches), **{k: np.asarray(v) for k, v in of_answers.items()}
        )

    def rows(self, again_s: float) -> list[list[object]]:
        """Rows of the table.

        Args:
            again_s: when the sender was started again.
        """
        answered, delays = np.asarray(self.answered), np.asarray(self.delays)
        stretches = np.asarray(self.stretches)
        behind = answered - np.asarray(self.times)
        first = np.zeros(len(behind), bool)
        for stretch in np.unique(stretches):
            part = np.flatnonzero(stretches == stretch)
            first[part[0]] = True
            behind[part] -= (behind[part] - delays[part]).min()  # the frame that came soonest is 0 behind
        back = answered[(answered > again_s) & first][:1]
        return [
            ["answers", len(answered)],
            ["delay, ms: median, 99 %, largest", _three(delays)],
            ["delay of the first answer, and of the first after each loss, ms", _cells(delays[first])],
            ["behind the stream's clock, ms: median, 99 %, largest", _three(behind)],
            ["memory, MiB: after the first answer, after half a minute, at the end", self._memory()],
            ["times that the source was lost and found again", int(stretches.max())],
            ["seconds from the sender's new start to the first answer", _cells(back - again_s, 1, 1)],
            ["load of the machine (processes that run or wait): mean, largest", _cells(self._loads(), 1, 1)],
        ]

    def _memory(self) -> str:
        return ", ".join(f"{value:.0f}" for value in (*self.memory[:2], self.memory[-1]))

    def _loads(self) -> np.ndarray:
        return np.asarray([np.mean(self.load), np.max(self.load)])


def _three(seconds: np.ndarray) -> str:
    return _cells(np.asarray([np.median(seconds), np.percentile(seconds, 99), seconds.max()]))


def _cells(values: np.ndarray, times: float = 1000, digits: int = 0) -> str:
    return ", ".join(f"{value * times:.{digits}f}" for value in values) or "–"


def main() -> None:
    """Serve a video to this process, and write the table."""
    if sys.argv[1:2] == ["--send"]:
        send(Path(sys.argv[2]), sys.argv[3])
    arguments = parser(__doc__, __file__, assignments=False)
    arguments.add_argument("run", type=Path, help="a trained run")
    arguments.add_argument("--video", type=Path, help="its frames are sent; by default moving stripes")
    arguments.add_argument("--fps", type=int, default=30, help="frames per second that are sent")
    arguments.add_argument("--minutes", type=float, default=10, help="length of the measurement")
    arguments.add_argument("--away", type=float, default=15, help="seconds for which the sender is killed")
    arguments.add_argument(
        "--address", help="what to read instead of UDP, such as rtsp://127.0.0.1:8554/FILE"
    )
    arguments.add_argument(
        "--serve", help="the command that sends there; {video} stands for the file to send"
    )
    options = arguments.parse_args()
    if bool(options.address) != bool(options.serve):
        raise ArgumentError("--address and --serve belong together: one names where --serve sends")
    options.out.mkdir(parents=True, exist_ok=True)
    pictures = pictures_of(options.video) if options.video else stripes()
    name = options.video.stem if options.video else "stripes"
    video = write_video(options.out / f"{name}_{options.fps}.mp4", pictures, options.fps).resolve()
    if options.serve:
        command = [word.format(video=video) for word in shlex.split(options.serve)]
        sent_by, address = Path(command[0]).name, options.address
    else:
        sent_by, address, command = udp_sender(video)
    kind = address.partition(":")[0].upper()
    measured = Measured()
    source = NetworkStream(address, timeout_s=5)
    with live(options.run, source, progress=ConsoleReporter()) as answers:
        sender = Sender(command, 30 * options.minutes, options.away)
        try:
            wait_for(address)
            measured.take(answers, options.minutes)
        finally:
            sender.close()
        read, dropped = answers.newest.read, answers.dropped
    measured.save(options.out / "answers.npz")
    sent_s = 60 * options.minutes - options.away
    rows = [
        ["sender", f"{sent_by}, {kind}"],
        ["minutes", f"{options.minutes:g}"],
        ["frames that came, and per second of sending", f"{read}, {read / sent_s:.1f}"],
        ["frames dropped, and their share", f"{dropped}, {dropped / read:.4f}"],
        *measured.rows(sender.again_s),
    ]
    card = answers.recogniser.card
    write_tables(
        options,
        __file__,
        f"Live video over the loopback network: {kind}",
        [Table("", ["what", "value"], rows)],
        f"{card.name} on {card.kwargs.get('backbone', 'its default network')}, {card.input.size} pixels, an answer for "
        f"each frame. The sender was killed once, for {options.away:g} s. The delay is from the arrival of a frame in "
        "the program to its answer. Behind the stream's clock: by how much later than the frame that came soonest, by "
        "the times in the stream, so that frames which wait in FFmpeg or in the network count, too.",
        name="live" if options.address is None else f"live_{kind.lower()}",
    )


if __name__ == "__main__":
    run_command(main)
