"""Extract and store the trajectories of a data set's videos."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from praxiscope.checkpoint import write_json
from praxiscope.commands.index_items import marks
from praxiscope.commands.locking import locked, remove_parts
from praxiscope.data.manifest import MANIFEST_NAME, load_records, write_csv
from praxiscope.data.skipped import check_skips, write_skipped
from praxiscope.errors import ArgumentError, DataError, VideoError
from praxiscope.jobs import advance, run_jobs
from praxiscope.processes import run_once
from praxiscope.progress import Reporter
from praxiscope.run_folder import SKIPPED_FILE, TRAJECTORIES_FILE
from praxiscope.trajectories.opencv import opencv
from praxiscope.trajectories.settings import Extraction
from praxiscope.trajectories.store import (
    StoredTrajectories,
    clip_path,
    is_trajectories,
    store_file,
    write_clip,
)
from praxiscope.trajectories.videos import extract_video
from praxiscope.types import VideoRecord
from praxiscope.units import counted
from praxiscope.video.decode import known_damage

__all__ = ["TrajectorySummary", "trajectories"]


@dataclass(frozen=True)
class TrajectorySummary:
    """The result of a call.

    Attributes:
        clips: videos with stored trajectories.
        already: of them, those that had them before.
        skipped: videos that could not be read.
        trajectories: that this call has extracted.
        bytes: on disk, of all.
        seconds: time that this took.
    """

    clips: int
    already: int
    skipped: int
    trajectories: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class _Job:
    root: Path
    record: VideoRecord
    extraction: Extraction


@dataclass
class _Made:
    count: int = 0
    problem: str = ""
    damage: str = field(default="")


def trajectories(
    data: str | Path,
    out: str | Path,
    extraction: Extraction | None = None,
    *,
    split: int | str | None = None,
    annotations: str | None = None,
    workers: int | None = None,
    max_skip: float | None = None,
    reporter: Reporter | None = None,
) -> TrajectorySummary:
    """Extract the trajectories of every video of a data set. Videos that have theirs are left alone; an interrupted run
    continues where it stopped.

    Args:
        data: as for training.
        out: folder of the store.
        extraction: how they are extracted.
        split, annotations: see `praxiscope.data.manifest.load_records`.
        workers: number of processes; None: one per core.
        max_skip: largest share of videos that may be unreadable.
        reporter: shows progress.

    Raises:
        ArgumentError: a folder with other trajectories, or other files.
        DataError: no video could be read.
        TrainingError: more than ``max_skip`` of the videos cannot be read.
    """
    run_once()
    began = time.perf_counter()
    root, reporter, extraction = Path(out), reporter or Reporter(), extraction or Extraction()
    manifest = load_records(
        data, split=split, annotations=Path(annotations) if annotations else None, random_split=False
    )
    for note in manifest.notes:
        reporter.line(f"Note: {note}")
    _check_folder(root, extraction)
    root.mkdir(parents=True, exist_ok=True)
    with locked(root):
        remove_parts([folder for folder in (root, *root.glob("clips/**/")) if folder.is_dir()])
        write_json(root / TRAJECTORIES_FILE, store_file(extraction))
        write_csv(root / MANIFEST_NAME, manifest.records, manifest.classes)
        store, known = StoredTrajectories(root), marks(manifest.records)
        left = [record for record in manifest.records if store.mark(record.id) != known[record.id]]
        total, skipped = 0, dict[str, str]()
        jobs = [_Job(root, record, extraction) for record in left]
        for job, made in _run(jobs, workers, reporter):
            total += made.count
            if made.problem:
                skipped[job.record.id] = made.problem
                reporter.line(f"Skipped: {made.problem}")
            if made.damage:
                reporter.line(f"Damaged: {job.record.id}: {made.damage}")
        write_skipped(root / SKIPPED_FILE, skipped)
    clips = [record for record in manifest.records if record.id in store]
    if not clips:
        raise DataError(
            f"{data}: none of its {counted(len(manifest.records), 'video')} could be read; see {root / SKIPPED_FILE}."
        )
    check_skips(len(skipped), len(manifest.records), max_skip, root / SKIPPED_FILE)
    return TrajectorySummary(
        clips=len(clips),
        already=len(manifest.records) - len(left),
        skipped=len(skipped),
        trajectories=total,
        bytes=sum(clip_path(root, record.id).stat().st_size for record in clips),
        seconds=time.perf_counter() - began,
    )


def _check_folder(root: Path, extraction: Extraction) -> None:
    if root.is_file():
        raise ArgumentError(f"{root}: is a file; give a folder.")
    if is_trajectories(root):
        stored = StoredTrajectories(root).extraction
        if stored != extraction:
            raise ArgumentError(
                f"{root}: holds trajectories that were extracted differently. Choose another folder, or remove "
                "this one."
            )
    elif root.is_dir() and any(path.name != ".lock" for path in root.iterdir()):
        raise ArgumentError(f"{root}: is not empty and holds no trajectories; choose another folder.")


def _run(jobs: Sequence[_Job], workers: int | None, reporter: Reporter) -> Iterator[tuple[_Job, _Made]]:
    shown = 0
    with reporter.bar("extracting trajectories", len(jobs)) as bar:

        def watch(done: int, _: int) -> None:
            nonlocal shown
            bar.advance(done - shown)
            shown = done

        try:
            yield from run_jobs(_work, jobs, workers or os.cpu_count() or 1, lost=_lost, watch=watch)
        except KeyboardInterrupt:
            reporter.line("Stopped. Run the same command to continue.")
            raise


def _work(job: _Job) -> _Made:
    opencv().setNumThreads(1)
    record = job.record
    try:
        found = extract_video(record, job.extraction)
    except (VideoError, DataError) as error:
        made = _Made(problem=str(error))
    except ArgumentError as error:
        made = _Made(problem=f"{record.path}: {error}")
    else:
        damage = known_damage(record.path)
        write_clip(clip_path(job.root, record.id), found, marks([record])[record.id], damage)
        made = _Made(len(found), damage=damage)
    advance(1, 0)
    return made


def _lost(job: _Job) -> _Made:
    return _Made(problem=f"{job.record.path}: the process that reads it crashes. Leave it out.")
