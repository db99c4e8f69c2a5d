"""Video files made for the tests, and the plain sequential decode that they are compared with."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np


def picture(number: int, width: int, height: int) -> np.ndarray:
    """A picture that moves with its number: uint8 [height, width, 3]."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin((x + 3 * number) / 9), np.cos((y - 2 * number) / 7), np.sin((x + y + number) / 13)]
    out = np.stack([127 + 90 * w for w in waves], axis=-1)
    out[:8, : min(width, 4 + 2 * (number % 20))] = 255
    noise = np.random.default_rng(number).integers(-12, 12, out.shape)
    return np.clip(out + noise, 0, 255).astype(np.uint8)


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
            frame = frame.reformat(format=pix_fmt)
            if times is None:
                frame.pts, frame.time_base = number, Fraction(1, rate)
            else:
                frame.pts, frame.time_base = times[number], Fraction(1, rate * 10)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def sequential(path: Path) -> list[np.ndarray]:
    """Every frame that FFmpeg gives, one packet after the other: uint8 [H, W, 3] each."""
    out = []
    with av.open(str(path)) as container:
        # With a single slice thread, as on a machine of one core, FFmpeg would paint over what is lost.
        container.streams.video[0].codec_context.thread_count = 2
        packets = container.demux(video=0)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.FFmpegError):
                break
            try:
                decoded = packet.decode()
            except av.FFmpegError:
                continue
            for frame in decoded:
                pixels = frame.to_ndarray(format="rgb24")
                out.append(np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90) % 4)))
    return out


def pixels(frames: Any) -> np.ndarray:
    """[n, 3, H, W] tensor to [n, H, W, 3] array."""
    return frames.permute(0, 2, 3, 1).numpy()
