"""Measure clips per second of the input path, compared with other readers.

All readers read the same clips and frames (one in each of n equal parts), resize the short side, crop the same random
square, and return uint8 [n, 3, crop, crop] to the same data loader (fork, batches of 8). The readers alternate in timed
rounds, so that other load on the machine affects all of them. A round repeats the clips for some seconds, because an
epoch of a small data set is dominated by its start. All files are read once beforehand, as far as they fit in memory,
so that the speed of the disk has no effect. The first epoch of each reader, which starts the workers, is reported
separately.
"""

from __future__ import annotations

import importlib.util
import math
import random
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from praxiscope._memory import keep_worker_memory
from praxiscope.bench.readers import OTHERS, Reader, missing_reason, read_ours, wrong_frames
from praxiscope.data.batch import stack
from praxiscope.data.manifest import load_records
from praxiscope.data.shared_memory import SlotPool
from praxiscope.errors import ArgumentError, DataError, unknown_name
from praxiscope.progress import Bar, Reporter
from praxiscope.units import counted
from praxiscope.video.opening import open_video
from praxiscope.video.sampling import segment_indices

__all__ = ["LoadTest", "bench_load", "format_bench", "measure_readers"]

_BATCH = 8
_SAMPLE = 20  # clips whose frames are compared with a sequential decode
_WARMED_BYTES = 8 << 30


@dataclass(frozen=True)
class LoadTest:
    """Settings of the measurement.

    Attributes:
        frames: frames per clip; each number is measured separately.
        short_side, crop: short side of the resized frame and side of the random square, in pixels.
        workers: number of processes of the data loader.
        clips: number of clips, evenly spaced; None uses all.
        repeat: number of timed rounds of each reader.
        seconds: minimum duration of a round.
        others: names of other readers. Those that are not installed are reported as missing.
    """

    frames: Sequence[int] = (8, 25)
    short_side: int = 256
    crop: int = 224
    workers: int = 2
    clips: int | None = None
    repeat: int = 3
    seconds: float = 3.0
    others: Sequence[str] = tuple(OTHERS)


def bench_load(
    data: str | Path,
    packed: Sequence[str | Path] = (),
    test: LoadTest | None = None,
    *,
    reporter: Reporter | None = None,
) -> list[dict[str, Any]]:
    """Measure how fast a data set is read.

    Args:
        data: data set, as for training.
        packed: packed copies of it. Clips are matched by id, and those missing from a copy are left out.
        test: how readers are measured. Default: ``LoadTest()``.
        reporter: shows progress.

    Returns:
        The rows of `measure_readers`.

    Raises:
        DataError: a copy has no clip of ``data``.
    """
    reporter = reporter or Reporter()
    videos = {record.id: record.path for record in load_records(data, random_split=False).records}
    copies: dict[str, dict[str, Path]] = {}
    for folder in packed:
        found = {record.id: record.path for record in load_records(folder, random_split=False).records}
        videos = {name: path for name, path in videos.items() if name in found}
        if not videos:
            raise DataError(f"{folder}: contains no packed clip of {data}. Create it with praxiscope pack.")
        name = f"praxiscope packed, {open_video(next(iter(found.values()))).codec}"
        copies[f"{name}, {folder}" if name in copies else name] = found
    reporter.line(f"{counted(len(videos), 'clip')}; each reader reads them several times.")
    in_order = {name: [found[clip] for clip in videos] for name, found in copies.items()}
    return measure_readers(list(videos.values()), in_order, test, reporter=reporter)


def measure_readers(
    videos: Sequence[Path],
    packed: Mapping[str, Sequence[Path]],
    test: LoadTest | None = None,
    *,
    reporter: Reporter | None = None,
) -> list[dict[str, Any]]:
    """Measure clips per second of our reader, on the videos and on packed copies, and of other readers.

    Args:
        videos: video files.
        packed: packed copies by name; each has one clip for each video, in the same order.
        test: how readers are measured. Default: ``LoadTest()``.
        reporter: shows progress.

    Returns:
        One row per reader and number of frames: ``reader``, ``frames``, ``clips_per_s`` (median), ``slowest``,
        ``fastest``, ``first_epoch``, ``failed`` (clips that could not be read in the first epoch), ``wrong_frames``
        (fraction); or ``missing`` with the reason.

    Raises:
        ArgumentError: no videos, lists of different lengths, or an unknown reader.
    """
    test = test or LoadTest()
    if not videos:
        raise ArgumentError("expected at least 1 video, got 0")
    for name, copies in packed.items():
        if len(copies) != len(videos):
            raise ArgumentError(
                f"{name}: expected {len(videos)} packed clips, one per video, got {len(copies)}"
            )
    for name in test.others:
        if name not in OTHERS:
            raise unknown_name("reader", name, OTHERS)
    chosen = _spread(len(videos), test.clips or len(videos))
    originals = [Path(videos[i]) for i in chosen]
    readers: dict[str, tuple[list[Path], Reader]] = {"praxiscope raw": (originals, read_ours)}
    for name, copies in packed.items():
        readers[name] = ([Path(copies[i]) for i in chosen], read_ours)
    reasons = {name: missing_reason(OTHERS[name][0]) for name in test.others}
    missing = {name: reason for name, reason in reasons.items() if reason is not None}
    readers |= {name: (originals, OTHERS[name][1]) for name in test.others if name not in missing}
    sample = _spread(len(originals), _SAMPLE)
    wrong = {
        name: wrong_frames(name, [(paths[i], originals[i]) for i in sample], seed=0)
        for name, (paths, _) in readers.items()
    }
    _warm([path for paths in {id(paths): paths for paths, _ in readers.values()}.values() for path in paths])
    rows: list[dict[str, Any]] = []
    with (reporter or Reporter()).bar(
        "measuring", len(test.frames) * len(readers) * (1 + test.repeat)
    ) as bar:
        for count in test.frames:
            measured = _measure(readers, count, test, bar)
            rows += [{**row, "wrong_frames": wrong[row["reader"]]} for row in measured]
            rows += [{"reader": name, "frames": count, "missing": reason} for name, reason in missing.items()]
    return rows


def _spread(count: int, most: int) -> list[int]:
    """At most ``most`` numbers below ``count``, evenly spaced, with the first and the last."""
    numbers: list[int] = np.linspace(0, count - 1, min(most, count)).round().astype(int).tolist()
    return numbers


def _measure(
    readers: Mapping[str, tuple[list[Path], Reader]], frames: int, test: LoadTest, bar: Bar
) -> list[dict[str, Any]]:
    """Measure the readers in alternating rounds, and summarise each in a row."""
    loaders: dict[str, tuple[DataLoader[Tensor], _Draws]] = {}
    first: dict[str, float] = {}
    failed: dict[str, int] = {}
    for name, (paths, read) in readers.items():
        draws = _Draws(len(paths))
        pool = SlotPool(test.workers, slots=5, slot_bytes=_BATCH * frames * 3 * test.crop * test.crop)
        loader: DataLoader[Tensor] = DataLoader(
            _Clips(paths, read, frames, test),
            batch_size=_BATCH,
            sampler=draws,
            num_workers=test.workers,
            collate_fn=partial(_collate, pool=pool),
            worker_init_fn=_quiet_worker,
            multiprocessing_context="fork" if test.workers else None,
            persistent_workers=test.workers > 0,
        )
        loaders[name] = (loader, draws)
        first[name], failed[name] = _take_turn(loader, draws, 0)
        bar.advance(1, name)
        draws.passes = max(1, math.ceil(test.seconds * first[name] / len(paths)))
    speeds: dict[str, list[float]] = {name: [] for name in readers}
    for turn in range(1, test.repeat + 1):
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
        }
        for name in readers
    ]


def _warm(paths: Sequence[Path]) -> None:
    """Read files once, so that the operating system caches them, unless they are too large."""
    if sum(path.stat().st_size for path in paths) > _WARMED_BYTES:
        return
    for path in paths:
        with path.open("rb") as file:
            while file.read(1 << 24):
                pass


class _Clips(Dataset[Tensor]):
    """The clips of one reader; a clip that cannot be read is empty."""

    def __init__(self, paths: Sequence[Path], read: Reader, frames: int, test: LoadTest) -> None:
        self.paths, self.read, self.frames = list(paths), read, frames
        self.short_side, self.crop = test.short_side, test.crop

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
        except Exception:  # a reader may raise anything
            return torch.empty((0, 3, self.crop, self.crop), dtype=torch.uint8)


class _Draws:
    """The order and the seeds of the clips, the same for all readers in a turn."""

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
    """The clips [B, n, 3, H, W], stacked as in training, and the number of failures."""
    good = [clip for clip in clips if len(clip)]
    return (stack(good, pool) if good else torch.empty(0)), len(clips) - len(good)


def _quiet_worker(_: int) -> None:
    torch.set_num_threads(1)
    keep_worker_memory(0)
    if importlib.util.find_spec("cv2"):
        import cv2

        cv2.setNumThreads(0)


def _take_turn(loader: DataLoader[Tensor], draws: _Draws, turn: int) -> tuple[float, int]:
    """Clips per second of one turn, and the number of clips that could not be read."""
    draws.turn = turn
    began, failed = time.perf_counter(), 0
    for _, bad in loader:
        failed += bad
    return len(draws) / (time.perf_counter() - began), failed


def format_bench(rows: Sequence[dict[str, Any]]) -> str:
    """Format the rows of `bench_load` as a Markdown table."""
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
