"""From a video file to its label: seconds, and where they go, under several protocols side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from praxiscope.data.dataset import Skip, StreamReader
from praxiscope.data.flow_reader import FlowSource, flow_estimator
from praxiscope.data.manifest import load_records
from praxiscope.errors import ArgumentError, DataError, VideoError
from praxiscope.evaluation.protocols import Protocol, parse_protocol
from praxiscope.explain.networks import load_one
from praxiscope.flow.estimate import Estimator
from praxiscope.flow.store import FlowStore
from praxiscope.inference.recogniser import Recogniser
from praxiscope.progress import Reporter
from praxiscope.types import VideoRecord
from praxiscope.video.decode import Video
from praxiscope.video.geometry import Box, Size

__all__ = ["HEADER", "PARTS", "bench_predict", "format_table"]

T = TypeVar("T")

PARTS = ("opening", "RGB frames", "flow: reading", "flow: estimation", "network")


class _Clock:
    """Seconds by the name of what took them."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = dict.fromkeys(PARTS, 0.0)

    def measure(self, name: str, work: Callable[[], T]) -> T:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        started = time.perf_counter()
        try:
            return work()
        finally:
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            self.seconds[name] += time.perf_counter() - started


@dataclass(frozen=True)
class _TimedEstimator:
    inner: Estimator
    clock: _Clock

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def parameters(self) -> dict[str, Any]:
        return self.inner.parameters

    def __call__(self, frames: Tensor, *, backward: bool = False) -> Tensor:
        return self.clock.measure("flow: estimation", lambda: self.inner(frames, backward=backward))


@dataclass(frozen=True)
class _TimedReader:
    inner: StreamReader
    part: str
    clock: _Clock

    def frame_size(self, record: VideoRecord, video: Video) -> Size:
        return self.inner.frame_size(record, video)

    def __call__(
        self, record: VideoRecord, video: Video, starts: Tensor, first: int, last: int, box: Box | None
    ) -> Tensor:
        return self.clock.measure(self.part, lambda: self.inner(record, video, starts, first, last, box))


@dataclass
class _Found:
    """What one protocol gave: seconds by part, summed over the videos, and who was right."""

    clock: _Clock
    videos: int = 0
    labelled: int = 0
    correct: int = 0
    parts: dict[str, float] = field(default_factory=dict)


def bench_predict(
    run: str | Path,
    data: str | Path,
    protocols: Sequence[str] = (),
    *,
    split: str | None = None,
    annotations: str | Path | None = None,
    flow: str | Path | None = None,
    flow_range: float | None = None,
    flow_weights: str | Path | None = None,
    task: str | None = None,
    videos: int | None = None,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> list[dict[str, Any]]:
    """Predict held-out videos one at a time, in this process, as ``predict`` does, and say what took how long.

    Every video goes through all protocols in turn, and another one begins with each, so that whatever a first reading
    leaves in the system's memory helps all of them alike. One video goes first and does not count.

    Args:
        run: a run or model folder.
        data: as for training; its test videos, or all of a set without splits.
        protocols: names; none: the recogniser's own.
        split, annotations: for layouts with official splits.
        flow: stored flow of a model that sees flow; None estimates it, which then counts.
        flow_range, flow_weights, task: see `praxiscope.load`.
        videos: at most so many, spread over the classes.
        device: where the network runs.

    Returns:
        Dicts: ``protocol``, ``views`` of a video, ``seconds`` per video, ``parts`` (of them, by the names of `PARTS`),
        ``top1`` (None without labels), ``videos``.

    Raises:
        ArgumentError: an unknown protocol, or one that the model cannot be shown.
        DataError: no video could be read.
    """
    reporter = reporter or Reporter()
    recogniser = load_one(
        run, device=device, flow=flow, flow_range=flow_range, flow_weights=flow_weights, task=task
    )
    chosen = [parse_protocol(name) for name in protocols or [recogniser.default_protocol()]]
    if recogniser.sees.all_frames:
        raise ArgumentError(
            f"{run}: {recogniser.card.name} reads long videos in parts, which are not told apart here; time predict"
        )
    manifest = load_records(
        data, split=split, annotations=Path(annotations) if annotations else None, random_split=False
    )
    records = list(manifest.of("test") or manifest.records)
    if videos is not None:
        step = max(1, len(records) // videos)
        records = records[::step][:videos]
    found = [_Found(_Clock(recogniser.device)) for _ in chosen]
    places = list(range(len(chosen)))
    skipped: list[Skip] = []
    with reporter.bar("predicting", len(records) * len(chosen)) as bar:
        for number, record in enumerate([records[0], *records]):
            turn = number % len(chosen)
            try:
                for place in places[turn:] + places[:turn]:
                    one = _Found(_Clock(recogniser.device)) if number == 0 else found[place]
                    _predict(recogniser, record, chosen[place], one)
                    bar.advance(0 if number == 0 else 1)
            except (VideoError, DataError) as error:
                skipped.append(Skip(record.id, str(error)))
                reporter.line(f"Skipped: {error}")
    if not all(one.videos for one in found):
        raise DataError(f"{data}: no video could be read. The last error: {skipped[-1].problem}")
    return [
        {
            "protocol": protocol.name,
            "views": protocol.views,
            "seconds": sum(one.parts.values()) / one.videos,
            "parts": {name: value / one.videos for name, value in one.parts.items()},
            "top1": one.correct / one.labelled if one.labelled else None,
            "videos": one.videos,
        }
        for protocol, one in zip(chosen, found, strict=True)
    ]


def _predict(recogniser: Recogniser, record: VideoRecord, protocol: Protocol, found: _Found) -> None:
    """One video under one protocol; its seconds are added once all went well."""
    clock = _Clock(recogniser.device)
    before = recogniser.flow_source
    recogniser.flow_source = _timed(recogniser, clock)
    try:
        reader = recogniser.clip_reader([record], [torch.tensor(-1)], protocol)
    finally:
        recogniser.flow_source = before
    names = {"rgb": "RGB frames", "flow": "flow: reading"}
    reader.readers = {name: _TimedReader(inner, names[name], clock) for name, inner in reader.readers.items()}
    clip = clock.measure("opening", lambda: reader.read(0))
    ((_, logits),) = clock.measure("network", lambda: list(recogniser.scorer(protocol).score([clip])))
    seconds = clock.seconds
    # What lies within another's time counts once.
    seconds["opening"] -= seconds["RGB frames"] + seconds["flow: reading"]
    seconds["flow: reading"] -= seconds["flow: estimation"]
    for name, value in seconds.items():
        found.parts[name] = found.parts.get(name, 0.0) + value
    found.videos += 1
    if record.labels and not set(record.labels).isdisjoint(recogniser.labels):
        found.labelled += 1
        found.correct += recogniser.labels[int(logits.argmax())] in record.labels


def _timed(recogniser: Recogniser, clock: _Clock) -> FlowSource | None:
    source, wanted = recogniser.flow_source, recogniser.card.input.flow
    if wanted is None or isinstance(source, FlowStore):
        return source
    return _TimedEstimator(source or flow_estimator(wanted), clock)


HEADER = ["protocol", "views", "videos", "s / video", *PARTS, "top-1", "times the first's speed"]


def format_table(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The table's cells: seconds per video, whole and by part, the accuracy, and the speed as of the first row."""
    return [
        [
            row["protocol"],
            str(row["views"]),
            str(row["videos"]),
            f"{row['seconds']:.3f}",
            *(f"{row['parts'].get(name, 0.0):.3f}" for name in PARTS),
            "" if row["top1"] is None else f"{row['top1']:.3f}",
            f"{rows[0]['seconds'] / row['seconds']:.2f}",
        ]
        for row in rows
    ]
