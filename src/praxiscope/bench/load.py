"""How many clips per second the input path reads, beside other readers that do the same.

Every reader gets the same clips, draws the same frames (one in each of n equal parts), scales the short side,
cuts one random square out, and hands uint8 [n, 3, crop, crop] to the same data loader (fork, batches of 8).
The turns of the readers alternate, so that a busy moment of the machine meets all of them. A turn goes through
the clips until it has lasted some seconds: an epoch of a small set is over before its start has been paid for.
All files are read once beforehand, as far as they fit, so that readers are compared and not the disk. The first
epoch of each reader is reported apart, since its processes start in it.
"""

from __future__ import annotations

import importlib.util
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from praxiscope._memory import keep_worker_memory
from praxiscope.data.batch import stack
from praxiscope.data.shared_memory import SlotPool
from praxiscope.errors import ArgumentError
from praxiscope.progress import Bar, Reporter
from praxiscope.video.container import file_name
from praxiscope.video.opening import open_video
from praxiscope.video.pixels import scaled_size
from praxiscope.video.sampling import segment_indices

__all__ = ["bench_load", "format_bench"]

_BATCH = 8
_Draw = Callable[[int], list[int]]  # number of frames -> the frames to read
_Reader = Callable[[Path, _Draw, int, int, random.Random], Tensor]
_SAMPLE = 20  # clips whose frames are compared with a sequential decode
_PER_CLIP = 8
_WARMED_BYTES = 8 << 30


def _square(width: int, height: int, crop: int, draw: random.Random) -> tuple[int, int]:
    return draw.randint(0, height - crop), draw.randint(0, width - crop)


def _read_ours(path: Path, choose: _Draw, short_side: int, crop: int, draw: random.Random) -> Tensor:
    video = open_video(path)
    numbers = choose(video.quick_length())
    top, left = _square(*scaled_size(video.width, video.height, short_side), crop, draw)
    return video.frames(numbers, short_side=short_side, crop=(top, left, crop, crop))


def _read_torchcodec(path: Path, choose: _Draw, short_side: int, crop: int, draw: random.Random) -> Tensor:
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(str(path), seek_mode="exact", num_ffmpeg_threads=1)
    frames: Tensor = decoder.get_frames_at(choose(len(decoder))).data
    width, height = scaled_size(frames.shape[3], frames.shape[2], short_side)
    # Torch's own bilinear kernel for uint8; torchcodec's built-in scaling was slower here.
    frames = torch.nn.functional.interpolate(frames, size=(height, width), mode="bilinear")
    top, left = _square(width, height, crop, draw)
    return frames[:, :, top : top + crop, left : left + crop]


def _opencv_frames(path: Path, choose: _Draw) -> Iterator[Any]:
    import cv2

    # One thread, like the others: the workers are the parallel ones.
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
                raise RuntimeError(f"frame {number} did not come")
        yield last
    capture.release()


def _read_opencv(path: Path, choose: _Draw, short_side: int, crop: int, draw: random.Random) -> Tensor:
    import cv2

    out, corner = [], None
    for frame in _opencv_frames(path, choose):
        width, height = scaled_size(frame.shape[1], frame.shape[0], short_side)
        corner = corner or _square(width, height, crop, draw)
        top, left = corner
        scaled = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
        out.append(cv2.cvtColor(scaled[top : top + crop, left : left + crop], cv2.COLOR_BGR2RGB))
    return torch.from_numpy(np.stack(out)).permute(0, 3, 1, 2)


def _read_decord(path: Path, choose: _Draw, short_side: int, crop: int, draw: random.Random) -> Tensor:
    from decord import VideoReader

    size = VideoReader(str(path), num_threads=1)[0].shape
    width, height = scaled_size(size[1], size[0], short_side)
    reader = VideoReader(str(path), width=width, height=height, num_threads=1)
    top, left = _square(width, height, crop, draw)
    frames = reader.get_batch(choose(len(reader))).asnumpy()
    return torch.from_numpy(frames[:, top : top + crop, left : left + crop]).permute(0, 3, 1, 2)


_RIVALS: dict[str, tuple[str, _Reader]] = {
    "torchcodec": ("torchcodec.decoders", _read_torchcodec),
    "opencv": ("cv2", _read_opencv),
    "decord": ("decord", _read_decord),
}


def _native(name: str, path: Path, numbers: list[int]) -> list[Any]:
    """Frames at native size, [H, W, 3] each: what the comparison with a sequential decode looks at."""
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
    """Every frame that FFmpeg gives, through PyAV and nothing of ours."""
    import av

    out = []
    with av.open(file_name(path)) as container:
        for packet in container.demux(video=0):
            try:
                out += [frame.to_ndarray(format="rgb24") for frame in packet.decode()]
            except av.FFmpegError:
                continue
    return out


def _warm(paths: Sequence[Path]) -> None:
    """Bring files into the memory of the operating system, if they are not too many for it."""
    if sum(path.stat().st_size for path in paths) > _WARMED_BYTES:
        return
    for path in paths:
        with path.open("rb") as file:
            while file.read(1 << 24):
                pass


def _wrong_frames(name: str, pairs: Sequence[tuple[Path, Path]], seed: int) -> float:
    """The fraction of frames that a reader gets wrong: those that look more like a neighbour.

    Args:
        name: the reader.
        pairs: (the file it reads, the original) of each clip.
        seed: chooses the frames.
    """
    wrong = seen = 0
    for number, (path, original) in enumerate(pairs):
        truth = _sequential(original)
        draw = random.Random(f"{seed}/{number}")
        numbers = sorted(draw.sample(range(len(truth)), min(_PER_CLIP, len(truth))))
        seen += len(numbers)
        try:
            frames = _native(name, path, numbers)
        except Exception:  # whatever a reader raises, it gave no frame
            wrong += len(numbers)
            continue
        for at, frame in zip(numbers, frames, strict=True):
            near = range(max(0, at - 3), min(len(truth), at + 4))
            distances = {k: _distance(frame, truth[k]) for k in near}
            # Readers convert colours in slightly different ways; another frame is further away than that.
            wrong += distances[at] > min(distances.values()) + 0.25
    return wrong / max(1, seen)


def _distance(frame: Any, truth: Any) -> float:
    """Mean difference in grey levels; the true frame is scaled to the other's size where they differ."""
    if frame.shape != truth.shape:
        scaled = torch.nn.functional.interpolate(
            torch.from_numpy(truth.copy()).permute(2, 0, 1)[None].float(),
            size=frame.shape[:2],
            mode="bilinear",
        )
        truth = scaled[0].permute(1, 2, 0).numpy()
    return float(np.abs(frame.astype(np.float32) - truth.astype(np.float32)).mean())


class _Clips(Dataset[Tensor]):
    """The clips as one reader gives them; an item that cannot be read counts as a failure."""

    def __init__(self, paths: Sequence[Path], read: _Reader, frames: int, short_side: int, crop: int) -> None:
        self.paths, self.read = list(paths), read
        self.frames, self.short_side, self.crop = frames, short_side, crop

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: Any) -> Tensor:
        number, seed = key
        generator = torch.Generator().manual_seed(seed)
        draw = random.Random(seed)

        def choose(length: int) -> list[int]:
            return [int(i) for i in segment_indices(length, self.frames, generator=generator)]

        try:
            return self.read(self.paths[number], choose, self.short_side, self.crop, draw)
        except Exception:  # a rival may raise anything; it still has to hand out a clip
            return torch.empty((0, 3, self.crop, self.crop), dtype=torch.uint8)


class _Draws:
    """The order of the clips, and the seed of each, the same for all readers in one turn."""

    def __init__(self, count: int) -> None:
        self.count, self.turn, self.passes = count, 0, 1

    def __len__(self) -> int:
        return self.count * self.passes

    def __iter__(self) -> Iterator[tuple[int, int]]:
        draw = random.Random(self.turn)
        for _ in range(self.passes):
            for number in draw.sample(range(self.count), self.count):
                yield number, draw.randrange(1 << 31)


def _collate(clips: list[Tensor], pool: SlotPool) -> tuple[Tensor, int]:
    """[B, n, 3, H, W] as training stacks it, and the failures."""
    good = [clip for clip in clips if len(clip)]
    return (stack(good, pool) if good else torch.empty(0)), len(clips) - len(good)


def _quiet_worker(_: int) -> None:
    torch.set_num_threads(1)
    keep_worker_memory(0)
    if importlib.util.find_spec("cv2"):
        import cv2

        cv2.setNumThreads(0)


def _take_turn(loader: DataLoader[Tensor], draws: _Draws, turn: int) -> tuple[float, int]:
    """Clips per second of one turn, and how many could not be read."""
    draws.turn = turn
    began, failed = time.perf_counter(), 0
    for _, bad in loader:
        failed += bad
    return len(draws) / (time.perf_counter() - began), failed


def _missing(module: str) -> str | None:
    """Why a reader cannot be used here, or None."""
    try:
        importlib.import_module(module)
    except ImportError:
        return f"{module.split('.')[0]} is not installed"
    except Exception as error:  # torchcodec without a system FFmpeg raises RuntimeError
        return f"{module.split('.')[0]} does not load: {str(error).strip().splitlines()[0]}"
    return None


def bench_load(
    videos: Sequence[Path],
    packed: Mapping[str, Sequence[Path]],
    *,
    frames: Sequence[int] = (8, 25),
    short_side: int = 256,
    crop: int = 224,
    workers: int = 2,
    clips: int | None = None,
    repeat: int = 3,
    seconds: float = 3.0,
    rivals: Sequence[str] = ("torchcodec", "opencv", "decord"),
    reporter: Reporter | None = None,
) -> list[dict[str, Any]]:
    """Measure clips per second of our reading, raw and packed, and of other readers.

    Args:
        videos: the files.
        packed: packed copies by the name they go by in the table; each has one clip for each video, in order.
        frames: frames per clip; each number is measured on its own.
        short_side, crop: pixels of the scaled short side and of the random square.
        workers: processes of the data loader.
        clips: how many of the videos to use, spread over the list; None for all.
        repeat: timed turns of each reader.
        seconds: a turn goes through the clips as often as fills so many seconds, and at least once.
        rivals: the other readers; one that is not installed is reported as missing.
        reporter: shows progress.

    Returns:
        One row per reader and number of frames: ``reader``, ``frames``, ``clips_per_s`` (median),
        ``slowest``, ``fastest``, ``first_epoch``, ``failed`` (clips that could not be read in the first epoch),
        ``wrong_frames`` (fraction), or ``missing`` with the reason.

    Raises:
        ArgumentError: no videos, lists of different lengths, an unknown rival.
    """
    if not videos:
        raise ArgumentError("no videos to measure with")
    for name, copies in packed.items():
        if len(copies) != len(videos):
            raise ArgumentError(
                f"{name}: {len(copies)} packed clips stand beside {len(videos)} videos; give one for each"
            )
    for name in rivals:
        if name not in _RIVALS:
            raise ArgumentError(f"unknown rival {name!r}. Known: {', '.join(_RIVALS)}.")
    chosen = np.linspace(0, len(videos) - 1, min(clips or len(videos), len(videos))).round().astype(int)
    originals = [Path(videos[i]) for i in chosen]
    readers: dict[str, tuple[list[Path], _Reader]] = {"praxiscope raw": (originals, _read_ours)}
    for name, copies in packed.items():
        readers[name] = ([Path(copies[i]) for i in chosen], _read_ours)
    missing: dict[str, str] = {}
    for name in rivals:
        module, read = _RIVALS[name]
        reason = _missing(module)
        if reason is None:
            readers[name] = (originals, read)
        else:
            missing[name] = reason
    sample = np.linspace(0, len(originals) - 1, min(_SAMPLE, len(originals))).round().astype(int)
    wrong = {
        name: _wrong_frames(name, [(paths[i], originals[i]) for i in sample], seed=0)
        for name, (paths, _) in readers.items()
    }
    _warm([path for paths in {id(paths): paths for paths, _ in readers.values()}.values() for path in paths])
    rows: list[dict[str, Any]] = []
    with (reporter or Reporter()).bar("measuring", len(frames) * len(readers) * (1 + repeat)) as bar:
        for count in frames:
            rows += _measure(readers, count, short_side, crop, workers, repeat, seconds, wrong, bar)
            rows += [{"reader": name, "frames": count, "missing": reason} for name, reason in missing.items()]
    return rows


def _measure(
    readers: dict[str, tuple[list[Path], _Reader]],
    frames: int,
    short_side: int,
    crop: int,
    workers: int,
    repeat: int,
    seconds: float,
    wrong: dict[str, float],
    bar: Bar,
) -> list[dict[str, Any]]:
    """Alternate the readers' turns, and sum them up in one row each."""
    loaders: dict[str, tuple[DataLoader[Tensor], _Draws]] = {}
    first: dict[str, float] = {}
    failed: dict[str, int] = {}
    for name, (paths, read) in readers.items():
        draws = _Draws(len(paths))
        pool = SlotPool(workers, slots=5, slot_bytes=_BATCH * frames * 3 * crop * crop)
        loader: DataLoader[Tensor] = DataLoader(
            _Clips(paths, read, frames, short_side, crop),
            batch_size=_BATCH,
            sampler=draws,
            num_workers=workers,
            collate_fn=partial(_collate, pool=pool),
            worker_init_fn=_quiet_worker,
            multiprocessing_context="fork" if workers else None,
            persistent_workers=workers > 0,
        )
        loaders[name] = (loader, draws)
        first[name], failed[name] = _take_turn(loader, draws, 0)
        bar.advance(1, name)
        draws.passes = max(1, math.ceil(seconds * first[name] / len(paths)))
    speeds: dict[str, list[float]] = {name: [] for name in readers}
    for turn in range(1, repeat + 1):
        for name, (loader, draws) in loaders.items():
            speeds[name].append(_take_turn(loader, draws, turn)[0])
            bar.advance(1, name)
    return [
        {
            "reader": name,
            "frames": frames,
            "clips_per_s": statistics.median(speeds[name]),
            "slowest": min(speeds[name]),
            "fastest": max(speeds[name]),
            "first_epoch": first[name],
            "failed": failed[name],
            "wrong_frames": wrong[name],
        }
        for name in readers
    ]


def format_bench(rows: Sequence[dict[str, Any]]) -> str:
    """The rows of `bench_load` as a Markdown table."""
    lines = [
        "| reader | frames | clips/s (median) | slowest – fastest | first epoch | unread clips | wrong frames |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if "missing" in row:
            lines.append(f"| {row['reader']} | {row['frames']} | missing: {row['missing']} | | | | |")
            continue
        lines.append(
            f"| {row['reader']} | {row['frames']} | {row['clips_per_s']:.0f} | {row['slowest']:.0f} – "
            f"{row['fastest']:.0f} | {row['first_epoch']:.0f} | {row['failed']} | {row['wrong_frames']:.1%} |"
        )
    return "\n".join(lines)
