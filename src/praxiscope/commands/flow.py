"""Estimate and store the optical flow of a data set's videos."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from praxiscope.data.manifest import load_records
from praxiscope.data.skipped import DamageList, check_skips, write_skipped
from praxiscope.devices import pick_device
from praxiscope.errors import ArgumentError, DataError, PraxiscopeError, VideoError
from praxiscope.flow.contract import Loss
from praxiscope.flow.estimate import Estimator, create_estimator, estimate_flow
from praxiscope.flow.jpeg import folders
from praxiscope.flow.store import STORE_FILE, FlowContract, FlowStore, create_store, describe_source, flow_key
from praxiscope.jobs import advance, run_jobs
from praxiscope.processes import run_once
from praxiscope.progress import Reporter
from praxiscope.run_folder import DAMAGED_FILE, SKIPPED_FILE
from praxiscope.types import VideoRecord
from praxiscope.units import counted
from praxiscope.video.decode import known_damage
from praxiscope.video.framefiles import source_bytes
from praxiscope.video.opening import open_video

__all__ = ["FlowSummary", "extract_flow"]

# Pixels of the frames that are in memory together. A GPU is fed with as many pairs as it can work on at once.
_CPU_PIXELS, _DEVICE_PIXELS = 1 << 20, 1 << 23


@dataclass(frozen=True)
class FlowSummary:
    """What a store holds, and what this run did.

    Attributes:
        clips, fields: in the store, of these videos; a field is a frame's flow in one direction.
        skipped: videos without flow.
        already: clips that former runs had stored.
        damaged: of what they had stored, how many files or folders were damaged inside, and were made again.
        bytes, bytes_per_field: on disk.
        compression: bytes of the fields as float32, over bytes on disk.
        error_px, largest_error_px: root of the mean squared, and largest error of what was not clipped.
        clipped: share of displacements that lie outside the range.
        seconds: this run took.
        seconds_per_minute: of video that this run worked on; None where it had nothing to do.
    """

    clips: int
    fields: int
    skipped: int
    already: int
    damaged: int
    bytes: int
    bytes_per_field: float
    compression: float
    error_px: float
    largest_error_px: float
    clipped: float
    seconds: float
    seconds_per_minute: float | None


@dataclass(frozen=True)
class _Job:
    """One video, and the directions that are to be made."""

    key: str
    video: Path
    store: FlowStore
    method: str
    parameters: tuple[tuple[str, Any], ...]
    directions: tuple[bool, ...]  # backward?
    device: str

    @property
    def weight(self) -> int:
        return source_bytes(self.video)


def extract_flow(
    data: str | Path,
    out: str | Path,
    *,
    method: str = "tvl1",
    parameters: Mapping[str, Any] | None = None,
    range: float | str = 20.0,
    short_side: int | None = None,
    backward: bool = False,
    storage: str = "ffv1",
    split: str | None = None,
    annotations: str | Path | None = None,
    workers: int | None = None,
    device: str = "cpu",
    max_skip: float | None = None,
    verify: bool = False,
    reporter: Reporter | None = None,
) -> FlowSummary:
    """Store the flow between consecutive frames of every video of a data set, one file each.

    Clips that are there already, of the same video files, are kept: an interrupted run goes on where it stopped.

    Args:
        data: as for training. Rows of a CSV that are parts of one file share its flow.
        out: the store.
        method, parameters: see `praxiscope.flow.estimate.create_estimator`.
        range: the bound in pixels to which displacements are clipped, or "frame" (see
            `praxiscope.flow.contract.quantise`).
        short_side: pixels to which frames are scaled before; None keeps their size.
        backward: store the flow from each frame to the one before as well.
        storage: "ffv1", or "jpeg" for folders in TSN's naming.
        split, annotations: for layouts with official splits.
        workers: processes of one thread each; None takes one per core. On another device than the CPU there is one.
        device: where TV-L1 and RAFT run.
        max_skip: largest share of unreadable videos; None is 5 %, but three never stop the run.
        verify: read every field that is stored of these videos, and make again what is damaged. Without it a clip
            counts as stored when its index is whole.
        reporter: shows progress.

    Raises:
        ArgumentError: settings that cannot be used, or a store that was made in another way.
        DataError: none of the videos could be read.
        TrainingError: more than ``max_skip`` of the videos cannot be read.
    """
    run_once()
    began = time.perf_counter()
    reporter, target = reporter or Reporter(), Path(out)
    parameters = dict(parameters or {})
    estimator = create_estimator(method, **parameters)
    on = pick_device(device)
    if storage == "jpeg" and backward:
        raise ArgumentError("JPEG folders have no name for backward flow: take the format ffv1")
    if workers is not None and workers < 1:
        raise ArgumentError(f"workers must be at least 1, not {workers}")
    manifest = load_records(
        data, split=split, annotations=Path(annotations) if annotations else None, random_split=False
    )
    for note in manifest.notes:
        reporter.line(f"Note: {note}")
    contract = FlowContract(estimator.name, estimator.parameters, range, short_side)
    if target.is_dir() and not (target / STORE_FILE).is_file() and any(folders(target)):
        raise ArgumentError(
            f"{target}: holds pictures of flow that another tool has made; name another folder. (They are "
            f"read by `praxiscope train DATA --flow {target} --flow-range 20`.)"
        )
    store = create_store(target, contract, storage)
    clips = _clips(manifest.records, store)
    with _alone(target):
        _sweep({store.path(key).parent for key in clips})
        count = 1 if on.type != "cpu" else (workers or os.cpu_count() or 1)
        settings = tuple(sorted(parameters.items()))

        def job(key: str, *directions: bool) -> _Job:
            return _Job(key, clips[key], store, method, settings, directions, str(on))

        damaged: set[tuple[str, bool]] = set()
        if verify:
            both = (False,) if storage == "jpeg" else (False, True)
            damaged = _verify([job(key, direction) for key in clips for direction in both], count, reporter)
        asked = (False, True) if backward else (False,)
        jobs = []
        for key, video in clips.items():
            wanted = [
                direction
                for direction in (False, True)
                if (key, direction) in damaged
                or (direction in asked and not _is_complete(store, key, video, direction))
            ]
            if wanted:
                jobs.append(job(key, *wanted))
        already = len(clips) - len(jobs)
        if not jobs:
            whole = " and whole" if verify else ""
            reporter.line(
                f"Nothing to do: the flow of all {counted(len(clips), 'video')} is stored{whole} in {target}."
            )
        video_s, skipped = _extract_all(
            jobs, count, already, reporter, DamageList(target / DAMAGED_FILE, reporter)
        )
        seconds = time.perf_counter() - began
        write_skipped(target / SKIPPED_FILE, skipped)
    if len(skipped) == len(clips):
        raise DataError(
            f"{data}: none of its {counted(len(clips), 'video')} could be read; see {target / SKIPPED_FILE}."
        )
    check_skips(len(skipped), len(clips), max_skip, target / SKIPPED_FILE)
    return _summarise(
        store,
        [key for key in clips if key not in skipped],
        backward,
        len(skipped),
        already,
        len(damaged),
        seconds,
        video_s,
    )


def _extract_all(
    jobs: Sequence[_Job], workers: int, already: int, reporter: Reporter, note_damage: DamageList
) -> tuple[float, dict[str, str]]:
    """Do all jobs: seconds of video that they had, and problems by key."""
    skipped: dict[str, str] = {}
    video_s, started = 0.0, time.perf_counter()
    total = sum(job.weight for job in jobs)
    with reporter.bar("extracting flow", already + len(jobs), already) as bar:

        def watch(fields: int, weight: int) -> None:
            passed = time.perf_counter() - started
            bar.advance(0, f"{fields / max(passed, 1e-9):.1f} fields/s", share=weight / max(1, total))

        try:
            for job, outcome in run_jobs(_extract, jobs, workers, lost=_lost, watch=watch):
                bar.advance()
                video_s += outcome.video_s
                note_damage([(job.key, outcome.damage)])
                if outcome.problem:
                    skipped[job.key] = outcome.problem
                    reporter.line(f"Skipped: {outcome.problem}")
        except KeyboardInterrupt:
            reporter.line("Stopped. The same command goes on from here.")
            raise
    return video_s, skipped


def _verify(jobs: Sequence[_Job], workers: int, reporter: Reporter) -> set[tuple[str, bool]]:
    """Read what is stored of each job, a clip in one direction: key and direction of what is damaged."""
    jobs = [job for job in jobs if job.store.path(job.key, backward=job.directions[0]).exists()]
    damaged = set()
    with reporter.bar("verifying flow", len(jobs)) as bar:
        for job, problem in run_jobs(
            _damage, jobs, workers, lost=lambda job: "ends the process that reads it."
        ):
            bar.advance()
            if problem:
                (backward,) = job.directions
                damaged.add((job.key, backward))
                reporter.line(
                    f"Damaged, so made again: {job.store.path(job.key, backward=backward)}: {problem}"
                )
    return damaged


def _damage(job: _Job) -> str:
    """What is wrong with the stored flow of a job, or nothing."""
    (backward,) = job.directions
    path = job.store.path(job.key, backward=backward)
    try:
        clip = job.store.stored(job.key, backward=backward)
        if clip is not None:
            at_once = max(1, _CPU_PIXELS // (clip.height * clip.width))
            for first in range(0, len(clip), at_once):
                clip.fields(range(first, min(first + at_once, len(clip))))
                advance(at_once, 0)
    except VideoError as error:
        return f"{error.problem}."
    except DataError as error:  # of JPEGs, or a clip of another contract
        return str(error).removeprefix(f"{path}: ")
    return ""


@dataclass(frozen=True)
class _Outcome:
    """What became of a video: its length, the problem and what frames are lost, both empty when all went well."""

    video_s: float = 0.0
    problem: str = ""
    damage: str = ""


def _lost(job: _Job) -> _Outcome:
    return _Outcome(problem=f"{job.video}: ends the process that reads it. Leave it out.")


@lru_cache(maxsize=1)
def _estimator(method: str, parameters: tuple[tuple[str, Any], ...]) -> Estimator:
    """Built once per process: RAFT has weights to load."""
    return create_estimator(method, **dict(parameters))


def _extract(job: _Job) -> _Outcome:
    """Estimate and store the flow of one video."""
    estimator = _estimator(job.method, job.parameters)
    try:
        video = open_video(job.video)
        promised = video.quick_length()
        with ExitStack() as stack:
            writers = [
                stack.enter_context(
                    job.store.writing(job.key, job.video, promised_frames=promised, backward=backward)
                )
                for backward in job.directions
            ]
            frames = 1
            for chunk in _chunks(job, video):
                moved = chunk.to(job.device)
                for writer, backward in zip(writers, job.directions, strict=True):
                    writer.add(estimate_flow(moved, estimator, backward=backward).cpu())
                pairs = len(chunk) - 1
                frames += pairs
                advance(pairs * len(writers), round(job.weight * pairs / max(promised, frames)))
    except PraxiscopeError as error:
        named = str(error).startswith(str(job.video))
        return _Outcome(problem=str(error) if named else f"{job.video}: {error}")
    return _Outcome(video_s=frames / video.fps, damage=known_damage(job.video))


def _chunks(job: _Job, video: Any) -> Iterator[Tensor]:
    """The frames of a video, uint8 [t, 3, H, W], by pieces; each begins with the last frame of the one before."""
    short_side = job.store.contract.short_side
    room = _CPU_PIXELS if torch.device(job.device).type == "cpu" else _DEVICE_PIXELS
    held: list[Tensor] = []
    for decoded in video.decode():
        frame = decoded.rgb(short_side)
        held.append(frame)
        if len(held) > max(1, room // (frame.shape[-1] * frame.shape[-2])):
            yield torch.stack(held)
            held = [frame]
    if len(held) > 1:
        yield torch.stack(held)


def _clips(records: Sequence[VideoRecord], store: FlowStore) -> dict[str, Path]:
    """Video files by key: one for all parts of a file."""
    clips: dict[str, Path] = {}
    places: dict[Path, str] = {}
    for record in records:
        key = flow_key(record)
        other = places.setdefault(store.path(key), key)
        if other != key or clips.setdefault(key, record.path) != record.path:
            raise DataError(
                f"the flow of {other} and of {key} ({record.path}) would both be stored as {store.path(key)}. Rename "
                "one of the videos."
            )
    return clips


def _is_complete(store: FlowStore, key: str, video: Path, backward: bool) -> bool:
    """Whether the clip is there, whole, and made of this file; a clip of another contract raises."""
    try:
        stored = store.stored(key, backward=backward)
    except VideoError:
        return False
    return stored is not None and stored.source == describe_source(video)


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Keep a second run out of the folder: each sweeps away what it takes for remains of a killed one."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    with (target / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ArgumentError(f"{target}: another run is writing here. Wait for its end.") from None
        yield


def _sweep(folders: set[Path]) -> None:
    """Remove what killed runs have left half."""
    for part in (part for folder in folders for part in folder.glob(".*.part")):
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def _summarise(
    store: FlowStore,
    keys: Sequence[str],
    backward: bool,
    skipped: int,
    already: int,
    damaged: int,
    seconds: float,
    video_s: float,
) -> FlowSummary:
    loss, fields, size = Loss(), 0, 0
    for key in keys:
        for direction in (False, True) if backward else (False,):
            clip = store.stored(key, backward=direction)
            assert clip is not None  # it is not among the skipped ones
            loss += clip.loss
            size += clip.bytes
            fields += len(clip)
    return FlowSummary(
        clips=len(keys),
        fields=fields,
        skipped=skipped,
        already=already,
        damaged=damaged,
        bytes=size,
        bytes_per_field=size / fields,
        compression=4 * loss.values / size,
        error_px=loss.root_mean_square,
        largest_error_px=loss.largest,
        clipped=loss.clipped / max(1, loss.values),
        seconds=seconds,
        seconds_per_minute=seconds / video_s * 60 if video_s else None,
    )
