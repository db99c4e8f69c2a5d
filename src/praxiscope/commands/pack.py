"""Make a copy of a data set that trains faster: smaller frames, each of which decodes alone."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from praxiscope.checkpoint import write_json
from praxiscope.commands.arguments import check_fps
from praxiscope.data.csvfile import write_csv
from praxiscope.data.manifest import MANIFEST_NAME, load_records
from praxiscope.data.skipped import DamageList, check_skips, write_skipped
from praxiscope.errors import ArgumentError, DataError, PraxiscopeError
from praxiscope.processes import blame_script, run_once
from praxiscope.progress import Reporter
from praxiscope.run_folder import DAMAGED_FILE, SKIPPED_FILE
from praxiscope.types import VideoRecord
from praxiscope.units import counted
from praxiscope.video.decode import known_damage
from praxiscope.video.framefiles import source_bytes
from praxiscope.video.opening import open_video
from praxiscope.video.pack import SUFFIX, pack_video
from praxiscope.video.packed import PackedVideo
from praxiscope.video.sampling import segment_indices

__all__ = ["PackFormat", "PackSummary", "pack"]

SETTINGS_FILE = "pack.json"


@dataclass(frozen=True)
class PackSummary:
    """What was packed.

    Attributes:
        clips, frames: number of packed clips and of their frames.
        bytes_in, bytes_out: size on disk of the originals and of the packed clips.
        skipped: number of videos that could not be read.
        already: number of clips that an earlier call had packed.
        reading_speedup: time to read 8 random frames from an original over the time from its packed clip, on a sample.
    """

    clips: int
    frames: int
    bytes_in: int
    bytes_out: int
    skipped: int
    already: int
    reading_speedup: float


@dataclass(frozen=True)
class PackFormat:
    """How frames are stored.

    Attributes:
        short_side: short side of the frames, pixels.
        fps: frames per second to keep; None keeps all.
        quality: 1 (best) to 31: quantiser of MPEG-2. 0: uncompressed, 12 times as large, a third of the time to read.

    Raises:
        ArgumentError: a value is out of its range.
    """

    short_side: int = 256
    fps: float | None = None
    quality: int = 3

    def __post_init__(self) -> None:
        if self.fps is not None:
            check_fps(self.fps)
        if self.short_side < 1 or not 0 <= self.quality <= 31:
            raise ArgumentError(
                f"short_side must be at least 1 and quality from 0 to 31, got {self.short_side}, {self.quality}."
            )


@dataclass(frozen=True)
class _Job:
    record: VideoRecord
    target: Path
    format: PackFormat


def pack(
    data: str | Path,
    out: str | Path,
    *,
    format: PackFormat = PackFormat(),
    split: str | None = None,
    annotations: str | Path | None = None,
    workers: int | None = None,
    max_skip: float | None = None,
    reporter: Reporter | None = None,
) -> PackSummary:
    """Pack every clip of a data set into ``out``, a folder that can be used as DATA instead of the originals.

    Labels, splits and groups are written to ``out/praxiscope.csv``. Clips that are packed already, from the same file
    and part, are kept, so that an interrupted call can be repeated.

    Args:
        data: a folder of class folders, a CSV file, or ``LAYOUT:FOLDER``.
        out: folder of the packed clips.
        format: how frames are stored.
        split, annotations: for layouts with official splits.
        workers: number of processes; None takes one per core.
        max_skip: largest fraction of videos that may be unreadable; None is 0.05, and at least three videos.
        reporter: shows progress.

    Raises:
        ArgumentError: ``out`` is inside the data set, or holds other files, or clips of another format.
        TrainingError: more than ``max_skip`` of the videos cannot be read.
    """
    run_once()
    reporter = reporter or Reporter()
    target = Path(out)
    manifest = load_records(
        data, split=split, annotations=Path(annotations) if annotations else None, random_split=False
    )
    for note in manifest.notes:
        reporter.line(f"Note: {note}")
    if not Path(data).is_file() and target.resolve().is_relative_to(manifest.root.resolve()):
        raise ArgumentError(
            f"{target}: is inside the data set, so packed clips would become its videos. Choose a folder outside."
        )
    _check_settings(target, asdict(format))
    target.mkdir(parents=True, exist_ok=True)
    write_json(target / SETTINGS_FILE, asdict(format))
    jobs = [_Job(record, _place(target, record), format) for record in manifest.records]
    _refuse_same_place(jobs)
    open_jobs = [job for job in jobs if not _is_complete(job)]
    skipped = _pack_all(jobs, open_jobs, target, workers or os.cpu_count() or 1, reporter)
    write_skipped(target / SKIPPED_FILE, skipped)
    packed = [job for job in jobs if job.record.id not in skipped]
    if not packed:
        raise DataError(
            f"{data}: none of {counted(len(jobs), 'video')} can be read; see {target / SKIPPED_FILE}."
        )
    write_csv(
        target / MANIFEST_NAME,
        [replace(job.record, path=job.target, start_s=None, end_s=None) for job in packed],
        # A packed copy must give the same class numbers.
        classes=manifest.classes,
    )
    check_skips(len(skipped), len(jobs), max_skip, target / SKIPPED_FILE)
    sources = {job.record.path for job in packed}
    return PackSummary(
        clips=len(packed),
        frames=sum(open_video(job.target).quick_length() for job in packed),
        bytes_in=sum(source_bytes(path) for path in sources),
        bytes_out=sum(job.target.stat().st_size for job in packed),
        skipped=len(skipped),
        already=len(jobs) - len(open_jobs),
        reading_speedup=_speedup(packed),
    )


def _pack_all(
    jobs: list[_Job], open_jobs: list[_Job], target: Path, workers: int, reporter: Reporter
) -> dict[str, str]:
    """Pack the clips that are not packed yet; returns the problems of the unreadable ones by id."""
    skipped: dict[str, str] = {}
    note_damage = DamageList(target / DAMAGED_FILE, reporter)
    with reporter.bar("packing", len(jobs), len(jobs) - len(open_jobs)) as bar:
        for record_id, problem, damage in _run(open_jobs, workers):
            bar.advance()
            note_damage([(record_id, damage)])
            if problem:
                skipped[record_id] = problem
                reporter.line(f"Skipped: {problem}")
    return skipped


def _speedup(jobs: list[_Job], clips: int = 12, frames: int = 8) -> float:
    """Ratio of the times to read the same random frames of some clips from the originals and from the packed clips.

    The first round warms the caches of the disk and of the frame index and is not counted.
    """
    whole = [job for job in jobs if job.record.start_s is None and job.record.end_s is None] or jobs
    chosen = whole[:: -(-len(whole) // clips)]
    seconds = [0.0, 0.0]
    for timed in (False, True):
        for number, job in enumerate(chosen):
            for side, path in enumerate((job.record.path, job.target)):
                started = time.perf_counter()
                generator = torch.Generator().manual_seed(number)
                try:
                    video = open_video(path)
                    starts = segment_indices(video.quick_length(), frames, generator=generator)
                    video.frames(starts, short_side=job.format.short_side)
                except PraxiscopeError:  # a damaged original
                    continue
                seconds[side] += (time.perf_counter() - started) * timed
    return seconds[0] / seconds[1] if seconds[1] else 0.0


def _check_settings(target: Path, wanted: dict[str, Any]) -> None:
    path = target / SETTINGS_FILE
    if target.is_file():
        raise ArgumentError(f"{target}: is a file. Give the path of a folder.")
    if not path.is_file():
        if target.is_dir() and any(target.iterdir()):
            raise ArgumentError(f"{target}: is not empty and holds no packed clips. Choose another folder.")
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArgumentError(
            f"{path}: cannot be read ({error}). Remove the folder, or choose another."
        ) from None
    if before != wanted:
        raise ArgumentError(
            f"{target}: holds clips packed with {before}, not with {wanted}. Choose another folder, or remove this one."
        )


def _place(target: Path, record: VideoRecord) -> Path:
    """The path of a packed clip: its id below the target folder."""
    parts = [part for part in Path(record.id).parts if part not in ("/", "..", ".")]
    return (target / Path(*parts)).with_name(parts[-1] + SUFFIX)


def _refuse_same_place(jobs: list[_Job]) -> None:
    """Raise DataError if two clips have one packed path, as ``../a.mp4`` and ``a.mp4`` do."""
    places: dict[Path, str] = {}
    for job in jobs:
        other = places.setdefault(job.target, job.record.id)
        if other != job.record.id:
            raise DataError(
                f"{other} and {job.record.id} have the same packed path {job.target}. Rename one."
            )


def _is_complete(job: _Job) -> bool:
    """Whether the packed clip exists, is undamaged, and was made from the same file and part."""
    if not job.target.is_file():
        return False
    try:
        video = open_video(job.target)
    except PraxiscopeError:
        return False
    record = job.record
    meant = {
        "name": record.path.name,
        "bytes": source_bytes(record.path),
        "start_s": record.start_s,
        "end_s": record.end_s,
    }
    return isinstance(video, PackedVideo) and video.source == meant


def _run(jobs: list[_Job], workers: int) -> Iterator[tuple[str, str, str]]:
    """Pack all; yields (id, problem, lost frames) as they are done."""
    if workers == 1 or len(jobs) < 2:
        yield from map(_pack_one, jobs)
        return
    left = {job.record.id: job for job in jobs}
    pool = ProcessPoolExecutor(min(workers, len(jobs)), mp_context=get_context("spawn"))
    try:
        for done in as_completed([pool.submit(_pack_one, job) for job in jobs]):
            result = done.result()
            del left[result[0]]
            yield result
    except BrokenProcessPool:
        blame_script()
    finally:
        pool.shutdown(cancel_futures=True)
    # A video that kills its process loses the results of the others, too: repeat these one by one.
    for job in left.values():
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as single:
            try:
                yield single.submit(_pack_one, job).result()
            except BrokenProcessPool:
                yield (
                    job.record.id,
                    f"{job.record.path}: crashes the process that reads it. Leave it out.",
                    "",
                )


def _pack_one(job: _Job) -> tuple[str, str, str]:
    """Pack one clip; (id, problem, lost frames), the latter two empty if there are none."""
    job.target.parent.mkdir(parents=True, exist_ok=True)
    try:
        pack_video(
            job.record.path,
            job.target,
            **asdict(job.format),
            start_s=job.record.start_s,
            end_s=job.record.end_s,
        )
    except PraxiscopeError as error:
        return job.record.id, str(error), ""
    return job.record.id, "", known_damage(job.record.path)
