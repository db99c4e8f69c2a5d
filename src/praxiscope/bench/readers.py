"""Readers of video frames: ours and those of other packages, and a test whether they return the right frames."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from praxiscope.video.container import file_name
from praxiscope.video.opening import open_video
from praxiscope.video.pixels import scaled_size

__all__ = ["OTHERS", "Reader", "missing_reason", "read_ours", "wrong_frames"]

_PER_CLIP = 8
_Choose = Callable[[int], list[int]]  # from the number of frames to the frames to read
Reader = Callable[[Path, _Choose, int, int, random.Random], Tensor]


def _square(width: int, height: int, crop: int, draw: random.Random) -> tuple[int, int]:
    return draw.randint(0, height - crop), draw.randint(0, width - crop)


def read_ours(path: Path, choose: _Choose, short_side: int, crop: int, draw: random.Random) -> Tensor:
    video = open_video(path)
    numbers = choose(video.quick_length())
    top, left = _square(*scaled_size(video.width, video.height, short_side), crop, draw)
    return video.frames(numbers, short_side=short_side, crop=(top, left, crop, crop))


def _read_torchcodec(path: Path, choose: _Choose, short_side: int, crop: int, draw: random.Random) -> Tensor:
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(str(path), seek_mode="exact", num_ffmpeg_threads=1)
    frames: Tensor = decoder.get_frames_at(choose(len(decoder))).data
    width, height = scaled_size(frames.shape[3], frames.shape[2], short_side)
    # Torch's bilinear kernel for uint8 is faster than the scaling in torchcodec.
    frames = torch.nn.functional.interpolate(frames, size=(height, width), mode="bilinear")
    top, left = _square(width, height, crop, draw)
    return frames[:, :, top : top + crop, left : left + crop]


def _opencv_frames(path: Path, choose: _Choose) -> Iterator[Any]:
    import cv2

    # One thread, as for all readers: the workers run in parallel.
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    wanted = choose(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
    at, last = -1, None
    for number in wanted:  # ascending
        while at < number and capture.grab():
            at += 1
            last = None
        if last is None:
            done, last = capture.retrieve()
            if not done:
                raise RuntimeError(f"frame {number} could not be read")
        yield last
    capture.release()


def _read_opencv(path: Path, choose: _Choose, short_side: int, crop: int, draw: random.Random) -> Tensor:
    import cv2

    out, corner = [], None
    for frame in _opencv_frames(path, choose):
        width, height = scaled_size(frame.shape[1], frame.shape[0], short_side)
        corner = corner or _square(width, height, crop, draw)
        top, left = corner
        scaled = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
        out.append(cv2.cvtColor(scaled[top : top + crop, left : left + crop], cv2.COLOR_BGR2RGB))
    return torch.from_numpy(np.stack(out)).permute(0, 3, 1, 2)


def _read_decord(path: Path, choose: _Choose, short_side: int, crop: int, draw: random.Random) -> Tensor:
    from decord import VideoReader

    size = VideoReader(str(path), num_threads=1)[0].shape
    width, height = scaled_size(size[1], size[0], short_side)
    reader = VideoReader(str(path), width=width, height=height, num_threads=1)
    top, left = _square(width, height, crop, draw)
    frames = reader.get_batch(choose(len(reader))).asnumpy()
    return torch.from_numpy(frames[:, top : top + crop, left : left + crop]).permute(0, 3, 1, 2)


OTHERS: dict[str, tuple[str, Reader]] = {
    "torchcodec": ("torchcodec.decoders", _read_torchcodec),
    "opencv": ("cv2", _read_opencv),
    "decord": ("decord", _read_decord),
}


def _native(name: str, path: Path, numbers: list[int]) -> list[Any]:
    """Frames at native size, [H, W, 3] each."""
    if name == "torchcodec":
        from torchcodec.decoders import VideoDecoder

        data = VideoDecoder(str(path), seek_mode="exact").get_frames_at(numbers).data
        return list(data.permute(0, 2, 3, 1).numpy())
    if name == "opencv":
        return [frame[:, :, ::-1] for frame in _opencv_frames(path, lambda _: numbers)]
    if name == "decord":
        from decord import VideoReader

        return list(VideoReader(str(path), num_threads=1).get_batch(numbers).asnumpy())
    video = open_video(path)
    video.quick_length()
    return list(video.frames(numbers).permute(0, 2, 3, 1).numpy())


def _sequential(path: Path) -> list[Any]:
    """All frames that FFmpeg decodes, read with PyAV alone."""
    import av

    out = []
    with av.open(file_name(path)) as container:
        for packet in container.demux(video=0):
            try:
                out += [frame.to_ndarray(format="rgb24") for frame in packet.decode()]
            except av.FFmpegError:
                continue
    return out


def wrong_frames(name: str, pairs: Sequence[tuple[Path, Path]], seed: int) -> float:
    """The fraction of frames that a reader gets wrong: those that are more similar to a neighbour.

    Args:
        name: name of the reader.
        pairs: for each clip the file that the reader reads, and the original file.
        seed: seed of the choice of frames.
    """
    wrong = seen = 0
    for number, (path, original) in enumerate(pairs):
        truth = _sequential(original)
        draw = random.Random(f"{seed}/{number}")
        numbers = sorted(draw.sample(range(len(truth)), min(_PER_CLIP, len(truth))))
        seen += len(numbers)
        try:
            frames = _native(name, path, numbers)
        except Exception:  # a reader may raise anything
            wrong += len(numbers)
            continue
        for at, frame in zip(numbers, frames, strict=True):
            near = range(max(0, at - 3), min(len(truth), at + 4))
            distances = {k: _distance(frame, truth[k]) for k in near}
            # Readers convert colours slightly differently; other frames differ by more than that.
            wrong += distances[at] > min(distances.values()) + 0.25
    return wrong / max(1, seen)


def _distance(frame: Any, truth: Any) -> float:
    """Mean difference in grey levels; the true frame is resized if the sizes differ."""
    if frame.shape != truth.shape:
        scaled = torch.nn.functional.interpolate(
            torch.from_numpy(truth.copy()).permute(2, 0, 1)[None].float(),
            size=frame.shape[:2],
            mode="bilinear",
        )
        truth = scaled[0].permute(1, 2, 0).numpy()
    return float(np.abs(frame.astype(np.float32) - truth.astype(np.float32)).mean())


def missing_reason(module: str) -> str | None:
    """Return the reason why a reader cannot be used on this machine, or None."""
    try:
        importlib.import_module(module)
    except ImportError:
        return f"{module.split('.')[0]} is not installed"
    except Exception as error:  # torchcodec without a system FFmpeg raises RuntimeError
        return f"{module.split('.')[0]} does not load: {str(error).strip().splitlines()[0]}"
    return None
