"""A recogniser that scores the trajectories of videos (`praxiscope.models.contract.ScoresTrajectories`)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from praxiscope.data.dataset import Skip, ignore
from praxiscope.errors import ArgumentError, DataError, VideoError
from praxiscope.evaluation.protocols import parse_protocol
from praxiscope.evaluation.scores import Scores
from praxiscope.inference.recogniser import Recogniser
from praxiscope.inference.scoring import ScoredVideos
from praxiscope.inference.timeline import window_times
from praxiscope.jobs import advance, run_jobs
from praxiscope.progress import Reporter
from praxiscope.trajectories.extraction import extract
from praxiscope.trajectories.opencv import opencv
from praxiscope.trajectories.result import Trajectories, joined
from praxiscope.trajectories.settings import Extraction
from praxiscope.trajectories.store import StoredTrajectories
from praxiscope.trajectories.videos import extract_frames, extract_video, video_parts
from praxiscope.types import VideoRecord
from praxiscope.video.decode import Video, known_damage
from praxiscope.video.opening import VideoSource, as_video

__all__ = ["TrajectoryRecogniser"]

_PROTOCOL = "allx1"
_WINDOW_S, _STRIDE_S = 2.0, 1.0


@dataclass(frozen=True)
class _Job:
    record: VideoRecord
    extraction: Extraction
    time_limit_s: float


@dataclass
class _Found:
    trajectories: Trajectories | None = None
    problem: str = ""
    damage: str = ""


class TrajectoryRecogniser(Recogniser):
    """A recogniser of the trajectories of all frames. Protocols of views have no meaning for it: they are ignored, so
    that it can be fused with networks that have some.

    Takes the arguments of `praxiscope.inference.network.TrainedNetwork`.
    """

    @property
    def streams(self) -> tuple[str, ...]:
        """Trajectories."""
        return ("trajectories",)

    @property
    def needs_times(self) -> bool:
        """Times do not decide which frames are read."""
        return False

    @property
    def input_text(self) -> str:
        """What is seen of a video, for display."""
        side = self.model.extraction.short_side
        return "trajectories of all frames" + (f", short side at most {side} pixels" if side else "")

    def default_protocol(self) -> str:
        """Every frame, one view."""
        return _PROTOCOL

    def video_logits(
        self,
        source: VideoSource,
        protocol: str | None = None,
        average: str | None = None,
        fps: float | None = None,
    ) -> Tensor:
        """Scores of one video, float32 [K]: the decision values of the classes."""
        return self._scores(extract_frames(as_video(source, fps, timed=False), self.model.extraction))

    def score(
        self,
        records: Sequence[VideoRecord],
        targets: Sequence[Tensor],
        protocol: str | None = None,
        *,
        average: str | None = None,
        workers: int = 2,
        time_limit_s: float = 300.0,
        reporter: Reporter | None = None,
        note_damage: Callable[[Iterable[Skip]], None] = ignore,
    ) -> tuple[Scores, list[Skip]]:
        """Score many videos; see `praxiscope.inference.recogniser.Recogniser.score`."""
        target_of = {record.id: target for record, target in zip(records, targets, strict=True)}
        jobs = [_Job(record, self.model.extraction, time_limit_s) for record in records]
        rows: dict[str, _Found | Tensor] = {}
        with (reporter or Reporter()).bar("extracting trajectories", len(jobs)) as bar:
            for job, made in run_jobs(_work, jobs, max(1, workers), lost=_lost):
                bar.advance()
                if made.damage:
                    note_damage([Skip(job.record.id, made.damage)])
                rows[job.record.id] = made if made.trajectories is None else self._scores(made.trajectories)
        found = ScoredVideos()
        for record in records:
            row = rows[record.id]
            if isinstance(row, _Found):
                found.skipped.append(Skip(record.id, row.problem))
            else:
                found.add(record.id, row, target_of[record.id])
        return self._as_scores(found, targets), found.skipped

    def score_stored(
        self,
        store: StoredTrajectories,
        records: Sequence[VideoRecord],
        targets: Sequence[Tensor],
        *,
        reporter: Reporter | None = None,
    ) -> tuple[Scores, list[Skip]]:
        """Score many videos by their stored trajectories.

        Raises:
            DataError: they were extracted differently from those that the model was fitted to.
        """
        if store.extraction != self.model.extraction:
            raise DataError(
                f"{store.root}: its trajectories were extracted differently from those of the model. Give the videos, "
                "or extract them with the options of the training."
            )
        found = ScoredVideos()
        with (reporter or Reporter()).bar("scoring trajectories", len(records)) as bar:
            for record, target in zip(records, targets, strict=True):
                bar.advance()
                try:
                    found.add(record.id, self._scores(store.clip(record.id)), target)
                except DataError as error:
                    found.skipped.append(Skip(record.id, store.skipped.get(record.id, str(error))))
        return self._as_scores(found, targets), found.skipped

    def window_logits(
        self,
        source: VideoSource,
        window_s: float | None = None,
        stride_s: float | None = None,
        fps: float | None = None,
    ) -> Iterator[tuple[float, float, Tensor]]:
        """Start, end and scores of every window; see `praxiscope.inference.recogniser.Recogniser.timeline`."""
        window_s = _WINDOW_S if window_s is None else window_s
        stride_s = _STRIDE_S if stride_s is None else stride_s
        if window_s <= 0 or stride_s <= 0:
            raise ArgumentError(f"window and stride must be above 0 s, got {window_s} and {stride_s}")
        video = as_video(source, fps, timed=True)
        for start_s, end_s, part in trajectories_by_time(video, self.model.extraction, window_s, stride_s):
            yield round(start_s, 6), round(end_s, 6), self._scores(part)

    @torch.inference_mode()
    def _scores(self, found: Trajectories) -> Tensor:
        described = self.model.describe(found).to(self.device)
        return self.model.score(described[None])[0].float().cpu().clone()

    def _as_scores(self, found: ScoredVideos, targets: Sequence[Tensor]) -> Scores:
        return self.as_scores(found, parse_protocol(_PROTOCOL), targets)

    def _short_side(self, protocol: Any) -> int:
        return self.card.input.size


def trajectories_by_time(
    video: Video, extraction: Extraction, window_s: float, stride_s: float
) -> Iterator[tuple[float, float, Trajectories]]:
    """The trajectories of every window of a video, in memory that does not grow with its length: those whose middle
    frame is in it. Windows are those of `praxiscope.inference.timeline.windows`.

    Yields:
        Start and end of a window, seconds, and its trajectories.
    """
    times, half = video.timestamps(), extraction.settings.length // 2
    none = extract(iter(()), settings=extraction.settings)
    coming = deque(window_times(float(times[0]), video.duration_s, window_s, stride_s, video.same_s))
    parts: deque[tuple[float, Trajectories]] = deque()

    def ended(by_s: float) -> Iterator[tuple[float, float, Trajectories]]:
        while coming and coming[0][1] <= by_s:
            start_s, end_s = coming.popleft()
            while parts and parts[0][0] < start_s:
                parts.popleft()
            yield start_s, end_s, joined([none, *(part for time_s, part in parts if time_s < end_s)])

    for part in video_parts(video, extraction):
        time_s = float(times[int(part.info[0, 0]) - half])
        yield from ended(time_s)
        parts.append((time_s, part))
    yield from ended(math.inf)


def _work(job: _Job) -> _Found:
    opencv().setNumThreads(1)
    try:
        found = extract_video(job.record, job.extraction, time_limit_s=job.time_limit_s)
    except (VideoError, DataError) as error:
        made = _Found(problem=str(error))
    except ArgumentError as error:
        made = _Found(problem=f"{job.record.path}: {error}")
    else:
        made = _Found(found, damage=known_damage(job.record.path))
    advance(1, 0)
    return made


def _lost(job: _Job) -> _Found:
    return _Found(problem=f"{job.record.path}: the process that reads it crashes. Leave it out.")
