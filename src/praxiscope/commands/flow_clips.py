"""Extract and check the flow of single videos, in processes of their own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from praxiscope.data.skipped import DamageList
from praxiscope.errors import DataError, PraxiscopeError, VideoError
from praxiscope.flow.estimate import Estimator, create_estimator, estimate_flow
from praxiscope.flow.methods import FileEstimator
from praxiscope.flow.store import FlowStore
from praxiscope.jobs import advance, run_jobs
from praxiscope.progress import Reporter
from praxiscope.video.decode import Video, known_damage
from praxiscope.video.framefiles import source_bytes
from praxiscope.video.opening import open_video

__all__ = ["Job", "extract_all", "verify"]

# Pixels of the frames in memory at once. A GPU gets as many pairs as it can process together.
_CPU_PIXELS, _DEVICE_PIXELS = 1 << 20, 1 << 23
_FIELDS_AT_ONCE = 8  # of a method that reads the file


@dataclass(frozen=True)
class Job:
    """One video, and the directions of flow to extract.

    Attributes:
        key: name of the clip in the store.
        video: the video file.
        store: where the flow is written.
        method, parameters: see `praxiscope.flow.estimate.create_estimator`.
        directions: False for forward flow, True for backward flow.
        device: where the flow is estimated.
    """

    key: str
    video: Path
    store: FlowStore
    method: str
    parameters: tuple[tuple[str, Any], ...]
    directions: tuple[bool, ...]
    device: str

    @property
    def weight(self) -> int:
        """Size of the video, bytes, for progress."""
        return source_bytes(self.video)


@dataclass(frozen=True)
class _Outcome:
    """Result of a job: the length of the video, the problem and the missing frames; both empty if all went well."""

    video_s: float = 0.0
    problem: str = ""
    damage: str = ""


def extract_all(
    jobs: Sequence[Job], workers: int, already: int, reporter: Reporter, record_damage: DamageList
) -> tuple[float, dict[str, str]]:
    """Run all jobs. Returns the seconds of video processed, and the problems by key."""
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
                record_damage([(job.key, outcome.damage)])
                if outcome.problem:
                    skipped[job.key] = outcome.problem
                    reporter.line(f"Skipped: {outcome.problem}")
        except KeyboardInterrupt:
            reporter.line("Stopped. Run the same command to continue.")
            raise
    return video_s, skipped


def verify(jobs: Sequence[Job], workers: int, reporter: Reporter) -> set[tuple[str, bool]]:
    """Read the stored flow of each job, which has one direction. Returns key and direction of damaged flow."""
    jobs = [job for job in jobs if job.store.path(job.key, backward=job.directions[0]).exists()]
    damaged = set()
    with reporter.bar("verifying flow", len(jobs)) as bar:
        for job, problem in run_jobs(
            _damage, jobs, workers, lost=lambda job: "the process that reads it crashes."
        ):
            bar.advance()
            if problem:
                (backward,) = job.directions
                damaged.add((job.key, backward))
                reporter.line(
                    f"Damaged, extracted again: {job.store.path(job.key, backward=backward)}: {problem}"
                )
    return damaged


def _damage(job: Job) -> str:
    """Return the problem of the stored flow of a job; empty for none."""
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
    except DataError as error:  # JPEGs, or a clip of another contract
        return str(error).removeprefix(f"{path}: ")
    return ""


def _lost(job: Job) -> _Outcome:
    return _Outcome(problem=f"{job.video}: the process that reads it crashes. Leave it out.")


@lru_cache(maxsize=1)
def _estimator(method: str, parameters: tuple[tuple[str, Any], ...]) -> Estimator:
    """Created once per process: RAFT loads weights."""
    return create_estimator(method, **dict(parameters))


def _extract(job: Job) -> _Outcome:
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
            for flows in _flows(job, estimator, video):
                for writer, flow in zip(writers, flows, strict=True):
                    writer.add(flow)
                pairs = len(flows[0])
                frames += pairs
                advance(pairs * len(writers), round(job.weight * pairs / max(promised, frames)))
    except PraxiscopeError as error:
        named = str(error).startswith(str(job.video))
        return _Outcome(problem=str(error) if named else f"{job.video}: {error}")
    return _Outcome(video_s=frames / video.fps, damage=known_damage(job.video))


def _flows(job: Job, estimator: Estimator, video: Video) -> Iterator[list[Tensor]]:
    """The fields of a video in order, in parts: float32 [n, 2, H, W] on the CPU for each direction."""
    if isinstance(estimator, FileEstimator):
        short_side = job.store.contract.short_side
        read = [estimator.fields(video, short_side=short_side, backward=b) for b in job.directions]
        while all(parts := [list(islice(fields, _FIELDS_AT_ONCE)) for fields in read]):
            yield [torch.stack(part) for part in parts]
        return
    for chunk in _chunks(job, video):
        moved = chunk.to(job.device)
        yield [estimate_flow(moved, estimator, backward=backward).cpu() for backward in job.directions]


def _chunks(job: Job, video: Video) -> Iterator[Tensor]:
    """The frames of a video in chunks, uint8 [t, 3, H, W]; each starts with the last frame of the chunk before."""
    short_side = job.store.contract.short_side
    room = _CPU_PIXELS if torch.device(job.device).type == "cpu" else _DEVICE_PIXELS
    together = getattr(_estimator(job.method, job.parameters), "frames_together", 2)
    held: list[Tensor] = []
    for decoded in video.decode():
        frame = decoded.rgb(short_side)
        held.append(frame)
        # Whole groups of frames that are estimated together, which overlap by a frame.
        groups = max(1, room // (frame.shape[-1] * frame.shape[-2] * (together - 1)))
        if len(held) > groups * (together - 1):
            yield torch.stack(held)
            held = [frame]
    if len(held) > 1:
        yield torch.stack(held)
