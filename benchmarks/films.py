"""Shared functions of the benchmark scripts that join parts of clips to longer videos."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

import praxiscope as px
from praxiscope.checkpoint import write_json
from praxiscope.evaluation.segments import Segment
from praxiscope.types import VideoRecord

__all__ = ["BACKGROUND", "Part", "amid", "write_film"]

BACKGROUND = ("HorseRace", "PlayingPiano", "Surfing")
"""Classes of UCF-101 whose clips are shown between the actions."""


class Part(NamedTuple):
    """A part of a clip, from its middle.

    Attributes:
        record: the clip.
        seconds: length; a shorter clip is shown as a whole.
        label: of the action; "" for background.
    """

    record: VideoRecord
    seconds: float
    label: str = ""


def amid(
    action: VideoRecord,
    others: Sequence[VideoRecord],
    seconds: float,
    action_s: float,
    draw: np.random.Generator,
) -> list[Part]:
    """A clip, shown again and again for ``action_s`` seconds, at a random time between clips of other classes."""

    def background(length: float) -> Iterator[Part]:
        while length > 0.5:
            record = others[int(draw.integers(len(others)))]
            video = px.open_video(record.path)
            shown = min(length, len(video) / video.fps)
            yield Part(record, shown)
            length -= shown

    video = px.open_video(action.path)
    turns = max(1, round(action_s * video.fps / len(video)))
    own = turns * len(video) / video.fps
    before = float(draw.uniform(0, max(seconds - own, 0)))
    shown = turns * [Part(action, own / turns, action.labels[0])]
    return [*background(before), *shown, *background(seconds - own - before)]


def write_film(
    path: Path, parts: Sequence[Part], *, fps: int = 25, size: tuple[int, int] = (320, 240)
) -> tuple[Segment, ...]:
    """Write a video of parts of clips, unless it exists.

    Args:
        path: of the video; its segments are kept in a file beside it.
        parts: one after the other.
        fps: frames per second; of a clip with another rate the frame on screen is taken.
        size: width and height, pixels.

    Returns:
        The segments of the parts with a label.
    """
    known = path.with_name(f"{path.stem}.json")
    if not (path.is_file() and known.is_file()):
        temporary = path.with_name(f"part-{path.name}")
        frames, segments = 0, []
        with av.open(str(temporary), "w") as container:
            stream = container.add_stream("libx264", rate=fps, options={"preset": "veryfast", "crf": "20"})
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            for part in parts:
                images = _images(str(part.record.path), part.seconds, fps, size)
                for image in images:
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="yuv420p")))
                if part.label:
                    segments.append([frames / fps, (frames + len(images)) / fps, part.label])
                frames += len(images)
            container.mux(stream.encode(None))
        temporary.replace(path)
        write_json(known, {"segments": segments})
    return tuple(Segment(*each) for each in json.loads(known.read_text(encoding="utf-8"))["segments"])


@lru_cache(maxsize=128)
def _images(path: str, seconds: float, fps: int, size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """The frames of the middle of a clip, as planes of YUV 4:2:0."""
    video = px.open_video(path)
    times = np.asarray(video.timestamps())
    times -= times[0]
    length = float(times[-1] + 1 / video.fps)
    seconds = min(seconds, length)
    wanted = (length - seconds) / 2 + np.arange(max(round(seconds * fps), 1)) / fps
    numbers = (np.searchsorted(times, wanted + 1e-6, side="right") - 1).clip(0).tolist()
    made = []
    for image in video.frames(numbers):
        frame = av.VideoFrame.from_ndarray(image.permute(1, 2, 0).numpy(), format="rgb24")
        made.append(frame.reformat(*size, format="yuv420p").to_ndarray())
    return made
