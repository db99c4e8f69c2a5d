"""Make a training-ready copy of a data set: small frames, any of which decodes alone."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

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

__all__ = ["PackSummary", "pack"]

SETTINGS_FILE = "pack.json"


@dataclass(frozen=True)
class PackSummary:
    """What packing cost.

    Attributes:
        clips, frames: packed, in all.
        bytes_in, bytes_out: on disk, before and after.
        skipped: videos that could not be read.
        already: clips that a former run had packed.
        reading_speedup: how many times as fast as from the originals 8 random frames are read, over a sample.
    """

    clips: int
    frames: int
    bytes_in: int
    bytes_out: int
    skipped: int
    already: int
    reading_speedup: float


@dataclass(frozen=True)
class _Job:
    record: VideoRecord
    target: Path
    short_side: int
    fps: float | None
    quality: int


def pack(
    data: str | Path,
    out: str | Path,
    *,
    short_side: int = 256,
    fps: float | None = None,
    quality: int = 3,
    split: str | None = None,
    annotations: str | Path | None = None,
    workers: int | None = None,
    max_skip: float | None = None,
    reporter: Reporter | None = None,
) -> PackSummary:
    """Pack every clip of a data set into ``out``, which every command then takes in the originals' place.

    Labels, splits and groups go along in ``out/praxiscope.csv``. Clips that are there already, of the same file
    and part, are kept, so an interrupted run goes on where it stopped.

    Args:
        data: as for training.
        short_side: pixels of a frame's short side.
        fps: frames per second to keep; None keeps all.
        quality: 0 stores planes as they are: 12 times the disk, a third of the processor time. From 1 (finest) on,
            MPEG-2's quantiser.
        split, annotations: for layouts with official splits.
        workers: processes; None takes one per core.
        max_skip: largest share of unreadable videos; None is 5 %, but three never stop the packing.
        reporter: shows progress.

    Raises:
        ArgumentError: ``out`` lies in the data set, or holds other things, or clips packed with other settings.
        TrainingError: more than ``max_skip`` of the videos cannot be read.
    """
    run_once()
    if fps is not None:
        check_fps(fps)
    if short_side < 1 or not 0 <= quality <= 31:
        raise ArgumentError(
            f"short_side must be at least 1 and quality from 0 to 31, got {short_side}, {quality}."
        )
    reporter = reporter or Reporter()
    target = Path(out)
    manifest = load_records(
        data, split=split, annotations=Path(annotations) if annotations else None, random_split=False
    )
    for note in manifest.notes:
        reporter.line(f"Note: {note}")
    wanted = {"short_side": short_side, "fps": fps, "quality": quality}
    if not Path(data).is_file() and target.resolve().is_relative_to(manifest.root.resolve()):
        raise ArgumentError(
            f"{target}: lies in the data set itself, where its clips would be taken for videos of the set. Name a "
            "folder outside."
        )
    _check_settings(target, wanted)
    target.mkdir(parents=True, exist_ok=True)
    write_json(target / SETTINGS_FILE, wanted)
    jobs = [_Job(record, _place(target, record), short_side, fps, quality) for record in manifest.records]
    _refuse_same_place(jobs)
    open_jobs = [job for job in jobs if not _is_complete(job)]
    skipped: dict[str, str] = {}
    note_damage = DamageList(target / DAMAGED_FILE, reporter)
    with reporter.bar("packing", len(jobs), len(jobs) - len(open_jobs)) as bar:
        for record_id, problem, damage in _run(open_jobs, workers or os.cpu_count() or 1):
            bar.advance()
            note_damage([(record_id, damage)])
            if problem:
                skipped[record_id] = problem
                reporter.line(f"Skipped: {problem}")
    write_skipped(target / SKIPPED_FILE, skipped)
    packed = [job for job in jobs if job.record.id not in skipped]
    if not packed:
        raise DataError(
            f"{data}: none of its {counted(len(jobs), 'video')} could be read; see {target / SKIPPED_FILE}."
        )
    write_csv(
        target / MANIFEST_NAME,
        [replace(job.record, path=job.target, start_s=None, end_s=None) for job in packed],
        # The order of the classes is part of a data set: a packed copy must give the same class numbers.
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


def _speedup(jobs: list[_Job], clips: int = 12, frames: int = 8) -> float:
    """Read the same random frames of some clips from both copies, one after the other, twice; ratio of times.

    The first round also warms the caches of the disk and of the frame index, and is not counted.
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
                    video.frames(starts, short_side=job.short_side)
                except PraxiscopeError:  # a damaged original; the packed clip holds what could be had of it
                    continue
                seconds[side] += (time.perf_counter() - started) * timed
    return seconds[0] / seconds[1] if seconds[1] else 0.0


def _check_settings(target: Path, wanted: dict[str, float | int | None]) -> None:
    path = target / SETTINGS_FILE
    if target.is_file():
        raise ArgumentError(f"{target}: is a file; name a folder.")
    if not path.is_file():
        if target.is_dir() and any(target.iterdir()):
            raise ArgumentError(f"{target}: is not empty and holds no packed clips; name another folder.")
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArgumentError(
            f"{path}: cannot be read ({error}). Remove the folder, or name another."
        ) from None
    if before != wanted:
        raise ArgumentError(
            f"{target}: holds clips packed with {before}, now {wanted} is asked for. Name another folder, or "
            "remove this one."
        )


def _place(target: Path, record: VideoRecord) -> Path:
    """Where a clip goes: its id below the target, whatever folders the original lies in."""
    parts = [part for part in Path(record.id).parts if part not in ("/", "..", ".")]
    return (target / Path(*parts)).with_name(parts[-1] + SUFFIX)


def _refuse_same_place(jobs: list[_Job]) -> None:
    """Raise where two clips would be written to one file, as ``../a.mp4`` and ``a.mp4`` would."""
    places: dict[Path, str] = {}
    for job in jobs:
        other = places.setdefault(job.target, job.record.id)
        if other != job.record.id:
            raise DataError(f"{other} and {job.record.id} would both be packed to {job.target}. Rename one.")


def _is_complete(job: _Job) -> bool:
    """Whether the packed clip is there, whole, and of the file and part that is meant."""
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
    """Pack all; yields (id, problem, what frames are lost) as they are done."""
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
    # A video that kills the process that reads it took the others' results along: the rest one by one.
    for job in left.values():
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as single:
            try:
                yield single.submit(_pack_one, job).result()
            except BrokenProcessPool:
                yield job.record.id, f"{job.record.path}: ends the process that reads it. Leave it out.", ""


def _pack_one(job: _Job) -> tuple[str, str, str]:
    """Pack one clip; (id, problem, what frames are lost), the latter two empty when all went well."""
    job.target.parent.mkdir(parents=True, exist_ok=True)
    try:
        pack_video(
            job.record.path,
            job.target,
            short_side=job.short_side,
            fps=job.fps,
            quality=job.quality,
            start_s=job.record.start_s,
            end_s=job.record.end_s,
        )
    except PraxiscopeError as error:
        return job.record.id, str(error), ""
    return job.record.id, "", known_damage(job.record.path)
