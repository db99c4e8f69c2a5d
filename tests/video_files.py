"""Video files made for the tests, and the plain sequential decode that they are compared with."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter


@lru_cache(maxsize=1000)
def picture(number: int, width: int, height: int) -> np.ndarray:
    """A picture that moves with its number: uint8 [height, width, 3]."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin((x + 3 * number) / 9), np.cos((y - 2 * number) / 7), np.sin((x + y + number) / 13)]
    out = np.stack([127 + 90 * w for w in waves], axis=-1)
    out[:8, : min(width, 4 + 2 * (number % 20))] = 255
    noise = np.random.default_rng(number).integers(-12, 12, out.shape)
    made = np.clip(out + noise, 0, 255).astype(np.uint8)
    made.flags.writeable = False  # the next test gets the same one
    return made


def make_video(
    path: Path,
    codec: str = "libx264",
    *,
    frames: int = 40,
    size: tuple[int, int] = (64, 48),
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
    times: list[int] | None = None,
    rate: int = 25,
    rotation: int | None = None,
    setup: Any = None,
    audio: bool = False,
) -> Path:
    """Encode a moving picture; ``times`` in units of 1 / (rate * 10) s, where given."""
    width, height = size
    reformat = VideoReformatter().reformat  # one for all frames, and one thread: starting others takes longer
    with av.open(str(path), "w", options=muxer or {}) as out:
        stream: Any = out.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.thread_count = 1
        if times is not None:
            stream.codec_context.time_base = Fraction(1, rate * 10)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if setup is not None:
            setup(stream.codec_context)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number, width, height), format="rgb24")
            frame = reformat(frame, format=pix_fmt, threads=1)
            if times is None:
                frame.pts, frame.time_base = number, Fraction(1, rate)
            else:
                frame.pts, frame.time_base = times[number], Fraction(1, rate * 10)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def sequential(path: Path, *, hold: bool = False) -> list[np.ndarray]:
    """Every frame that FFmpeg gives, one packet after the other: uint8 [H, W, 3] each.

    Where blocks are lost, H.264 leaves what an earlier frame had in that memory: with ``hold`` another one, as then no
    frame's memory is used twice. What differs between the two is not defined by the file.
    """
    out, held = [], []
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        # One thread, as with more it depends on their order which slices of a damaged frame are decoded. FFmpeg would
        # then paint over what is lost.
        stream.thread_type = "NONE"
        if stream.codec_context.name == "h264":
            stream.codec_context.options = {"enable_er": "0"}
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.FFmpegError):
                break
            except IndexError:  # of a stream that damage has made up
                packets = container.demux(stream)
                continue
            try:
                decoded = packet.decode()
            except av.FFmpegError:
                continue
            held += decoded if hold else []
            for frame in decoded:
                pixels = frame.to_ndarray(format="rgb24")
                out.append(np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90) % 4)))
    return out


def pixels(frames: Any) -> np.ndarray:
    """[n, 3, H, W] tensor to [n, H, W, 3] array."""
    return frames.permute(0, 2, 3, 1).numpy()


def make_colours(
    path: Path,
    codec: str = "libx264",
    *,
    red: int = 50,
    blue: int = 50,
    times: Any = None,
    from_s: int = 0,
    gop: int = 25,
    b_frames: int = 2,
    sound_s: float = 0.0,
    sound_from_s: float = 0.0,
    options: dict[str, str] | None = None,
    size: tuple[int, int] = (64, 48),
) -> Path:
    """Red frames, then blue ones, 25 a second from ``from_s`` on, or shown at ``times`` (ms); with sound, if any."""
    width, height = size
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = gop, b_frames
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        sound: Any = None
        if sound_s:
            sound = out.add_stream("aac" if path.suffix != ".webm" else "libopus", rate=48000)
            sound.layout = "mono"
        packets = []
        for number in range(red + blue):
            pixels = np.zeros((height, width, 3), np.uint8)
            pixels[..., 0 if number < red else 2] = 255
            pixels[:8, : min(4 + number % 50, width), 1] = 200
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p", threads=1)
            at = from_s + Fraction(number, 25) if times is None else Fraction(int(times[number]), 1000)
            frame.time_base = stream.codec_context.time_base or Fraction(1, 25)
            frame.pts = round(at / frame.time_base)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        if sound is not None:
            for block in range(int(sound_s * 48000) // 960):
                samples = np.zeros((1, 960), np.float32)
                heard = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
                heard.sample_rate, heard.time_base = 48000, Fraction(1, 48000)
                heard.pts = round(sound_from_s * 48000) + 960 * block
                packets += sound.encode(heard)
            packets += sound.encode(None)
        packets.sort(key=lambda packet: float(packet.dts * packet.time_base))
        for packet in packets:
            out.mux(packet)
    return path


def damaged(source: Path, target: Path, first: int, last: int, fill: int = 0) -> Path:
    """A copy in which the packets ``first … last - 1`` of the video hold nothing but ``fill`` behind 4 bytes."""
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for place, size in places[first:last]:
        data[place + 4 : place + size] = bytes([fill]) * (size - 4)
    target.write_bytes(data)
    return target


def shown_by_ffmpeg(path: Path) -> list[tuple[float, str]]:
    """(seconds from the start of the file, colour) of every frame that FFmpeg decodes, by its own timestamp."""
    found = []
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        stream.thread_type = "NONE"
        start = (container.start_time or 0) / 1e6
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue
            for frame in frames:
                found.append((float(frame.time) - start, colour(frame.to_ndarray(format="rgb24"))))
    return found


def colour(pixels: np.ndarray) -> str:
    """The name of what a frame [H, W, 3] mostly is."""
    return ("red", "green", "blue")[int(np.asarray(pixels, dtype=float).mean((0, 1)).argmax())]


def write_levels(path: Path, times: Sequence[int], rate: int) -> Path:
    """Frame k has the grey level 5 k + 10 and is shown from ``times[k]`` / ``rate`` s on."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=rate, options={"crf": "0", "g": "7"})
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.codec_context.time_base = Fraction(1, rate)
        for number, at in enumerate(times):
            grey = np.full((32, 32, 3), 5 * number + 10, dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def level_number(pixels: Any) -> int:
    """The number of a frame of `write_levels`, by its pixels."""
    return round((float(np.asarray(pixels, dtype=float).mean()) - 10) / 5)


def forget_indices() -> None:
    """Let the next reads of all files build their indices again, as a new process does."""
    from praxiscope.video import index_cache

    index_cache._cache = index_cache._Cache()


MATRICES = [(1, 0, 0, 1), (-1, 0, 0, 1), (1, 0, 0, -1), (-1, 0, 0, -1)]
MATRICES += [(0, 1, 1, 0), (0, 1, -1, 0), (0, -1, 1, 0), (0, -1, -1, 0)]


def turned(source: Path, target: Path, matrix: tuple[int, int, int, int]) -> Path:
    """A copy of an mp4 file with another display matrix."""
    data = bytearray(source.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + (32 if data[data.index(b"tkhd") + 4] else 20) + 16
    a, b, c, d = matrix
    data[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    target.write_bytes(data)
    return target
