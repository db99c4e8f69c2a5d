"""Estimate and store the optical flow of a data set's videos."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from praxiscope.commands.flow_clips import Job, extract_all, verify
from praxiscope.commands.locking import locked, remove_parts
from praxiscope.data.manifest import load_records
from praxiscope.data.skipped import DamageList, check_skips, write_skipped
from praxiscope.devices import pick_device
from praxiscope.errors import ArgumentError, DataError, VideoError
from praxiscope.flow.contract import Loss
from praxiscope.flow.estimate import create_estimator
from praxiscope.flow.jpeg import folders
from praxiscope.flow.store import STORE_FILE, FlowContract, FlowStore, create_store, describe_source, flow_key
from praxiscope.processes import run_once
from praxiscope.progress import Reporter
from praxiscope.run_folder import DAMAGED_FILE, SKIPPED_FILE
from praxiscope.types import VideoRecord
from praxiscope.units import counted

__all__ = ["FlowSummary", "StoreOptions", "extract_flow"]


@dataclass(frozen=True)
class StoreOptions:
    """How to extract and store the flow of a data set.

    Attributes:
        method, parameters: see `praxiscope.flow.estimate.create_estimator`.
        range: the bound in pixels to which displacements are clipped, or "frame" (see
            `praxiscope.flow.contract.quantise`).
        short_side: short side to which frames are scaled first, pixels; None keeps their size.
        backward: also store the flow from each frame to the previous one.
        storage: "ffv1", or "jpeg" for folders with TSN's file names.
        split, annotations: for layouts with official splits.
        workers: number of processes, of one thread each; None uses one per core. There is one on any device but the
            CPU.
        device: device of TV-L1 and RAFT.
        max_skip: largest share of unreadable videos; None is 5 %, but up to three never stop the run.
        verify: read every stored field of these videos, and extract damaged clips again. Otherwise a clip counts as
            stored if its index is complete.

    Raises:
        ArgumentError: backward flow as JPEGs, or a number of workers below 1.
    """

    method: str = "tvl1"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    range: float | str = 20.0
    short_side: int | None = None
    backward: bool = False
    storage: str = "ffv1"
    split: str | None = None
    annotations: str | Path | None = None
    workers: int | None = None
    device: str = "cpu"
    max_skip: float | None = None
    verify: bool = False

    def __post_init__(self) -> None:
        if self.storage == "jpeg" and self.backward:
            raise ArgumentError("the format jpeg does not support backward flow. Use the format ffv1.")
        if self.workers is not None and self.workers < 1:
            raise ArgumentError(f"workers must be at least 1, got {self.workers}")


@dataclass(frozen=True)
class FlowSummary:
    """The content of a store, and the result of a call.

    Attributes:
        clips, fields: number stored for these videos; a field is the flow of one frame in one direction.
        skipped: videos without flow.
        already: clips that were stored before.
        damaged: files or folders among them that were damaged, and were extracted again.
        bytes, bytes_per_field: on disk.
        compression: bytes of the fields as float32, over bytes on disk.
        error_px, largest_error_px: root mean square and largest error of displacements that were not clipped.
        clipped: share of displacements outside the range.
        seconds: time that this took.
        seconds_per_minute: seconds per minute of video; None if there was nothing to do.
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


def extract_flow(
    data: str | Path,
    out: str | Path,
    options: StoreOptions | None = None,
    *,
    reporter: Reporter | None = None,
) -> FlowSummary:
    """Store the flow between consecutive frames of every video of a data set.

    Clips that are already stored and were computed from the same video files are kept, so an interrupted run continues
    where it stopped.

    Args:
        data: as for training. Rows of a CSV that are parts of one file share its flow.
        out: folder of the store.
        options: how to extract the flow.
        reporter: shows progress.

    Raises:
        ArgumentError: the method cannot be used, or the store has other settings.
        DataError: none of the videos could be read.
        TrainingError: more than ``max_skip`` of the videos cannot be read.
    """
    run_once()
    began = time.perf_counter()
    options, reporter, target = options or StoreOptions(), reporter or Reporter(), Path(out)
    estimator = create_estimator(options.method, **options.parameters)
    device = pick_device(options.device)
    lists = Path(options.annotations) if options.annotations else None
    manifest = load_records(data, split=options.split, annotations=lists, random_split=False)
    for note in manifest.notes:
        reporter.line(f"Note: {note}")
    contract = FlowContract(estimator.name, estimator.parameters, options.range, options.short_side)
    store = _open_store(target, contract, options.storage)
    clips = _clips(manifest.records, store)
    workers = 1 if device.type != "cpu" else (options.workers or os.cpu_count() or 1)
    with locked(target):
        remove_parts({store.path(key).parent for key in clips})
        jobs, damaged = _plan(clips, store, options, str(device), workers, reporter)
        already = len(clips) - len(jobs)
        if not jobs:
            checked = " and undamaged" if options.verify else ""
            reporter.line(
                f"Nothing to do: the flow of all {counted(len(clips), 'video')} is stored{checked} in {target}."
            )
        damage_list = DamageList(target / DAMAGED_FILE, reporter)
        video_s, skipped = extract_all(jobs, workers, already, reporter, damage_list)
        seconds = time.perf_counter() - began
        write_skipped(target / SKIPPED_FILE, skipped)
    if len(skipped) == len(clips):
        raise DataError(
            f"{data}: none of its {counted(len(clips), 'video')} could be read; see {target / SKIPPED_FILE}."
        )
    check_skips(len(skipped), len(clips), options.max_skip, target / SKIPPED_FILE)
    stored = _measure(store, [key for key in clips if key not in skipped], options.backward)
    return FlowSummary(
        **stored,
        skipped=len(skipped),
        already=already,
        damaged=damaged,
        seconds=seconds,
        seconds_per_minute=seconds / video_s * 60 if video_s else None,
    )


def _open_store(target: Path, contract: FlowContract, storage: str) -> FlowStore:
    if target.is_dir() and not (target / STORE_FILE).is_file() and any(folders(target)):
        raise ArgumentError(
            f"{target}: contains JPEGs of flow from another tool. Choose another folder, or train on this flow: "
            f"praxiscope train DATA --flow {target} --flow-range 20"
        )
    return create_store(target, contract, storage)


def _plan(
    clips: Mapping[str, Path],
    store: FlowStore,
    options: StoreOptions,
    device: str,
    workers: int,
    reporter: Reporter,
) -> tuple[list[Job], int]:
    """Return the jobs for missing and damaged clips, and the number of damaged files or folders."""
    parameters = tuple(sorted(options.parameters.items()))

    def job(key: str, *directions: bool) -> Job:
        return Job(key, clips[key], store, options.method, parameters, directions, device)

    damaged: set[tuple[str, bool]] = set()
    if options.verify:
        both = (False,) if options.storage == "jpeg" else (False, True)
        damaged = verify([job(key, direction) for key in clips for direction in both], workers, reporter)
    asked = (False, True) if options.backward else (False,)
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
    return jobs, len(damaged)


def _clips(records: Sequence[VideoRecord], store: FlowStore) -> dict[str, Path]:
    """Video files by key; the parts of a file share its key."""
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
    """Whether the clip is stored completely from this file. Raises an error if its settings differ."""
    try:
        stored = store.stored(key, backward=backward)
    except VideoError:
        return False
    return stored is not None and stored.source == describe_source(video)


def _measure(store: FlowStore, keys: Sequence[str], backward: bool) -> dict[str, Any]:
    """The entries of `FlowSummary` that describe the stored clips."""
    loss, fields, size = Loss(), 0, 0
    for key in keys:
        for direction in (False, True) if backward else (False,):
            clip = store.stored(key, backward=direction)
            assert clip is not None  # it is not among the skipped ones
            loss += clip.loss
            size += clip.bytes
            fields += len(clip)
    return {
        "clips": len(keys),
        "fields": fields,
        "bytes": size,
        "bytes_per_field": size / fields,
        "compression": 4 * loss.values / size,
        "error_px": loss.root_mean_square,
        "largest_error_px": loss.largest,
        "clipped": loss.clipped / max(1, loss.values),
    }
