"""Measure the time of a prediction and of its parts, for several protocols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from praxiscope.data.manifest import load_records
from praxiscope.errors import ArgumentError, DataError, VideoError
from praxiscope.evaluation.protocols import Protocol, parse_protocol
from praxiscope.explain.networks import load_one
from praxiscope.inference.recogniser import Recogniser
from praxiscope.progress import Reporter
from praxiscope.timing import Clock, timed
from praxiscope.types import VideoRecord

__all__ = ["HEADER", "PARTS", "bench_predict", "format_table"]

T = TypeVar("T")

PARTS = ("opening", "RGB frames", "flow: reading", "flow: estimation", "network")
_NAMES = {"rgb": "RGB frames", "flow": "flow: reading", "flow estimation": "flow: estimation"}


@dataclass
class _Measured:
    """Results of one protocol, summed over the videos."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    videos: int = 0
    labelled: int = 0
    correct: int = 0


def bench_predict(
    run: str | Path,
    data: str | Path,
    protocols: Sequence[str] = (),
    *,
    split: str | None = None,
    annotations: str | Path | None = None,
    videos: int | None = None,
    reporter: Reporter | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Measure the time of a prediction and of its parts, for one or several protocols.

    Videos are predicted one at a time in this process, as by ``praxiscope predict``. Each video is predicted under all
    protocols in turn, and the first protocol changes from video to video, so that caches of the operating system help
    all of them equally. One video is predicted beforehand and is not counted.

    Args:
        run: run or model folder.
        data: data set, as for training. Its test videos are used, or all videos of a set without splits.
        protocols: names of protocols. Default: the protocol of the recogniser.
        split, annotations: for layouts with official splits.
        videos: maximum number of videos, spread over the classes.
        reporter: shows progress.
        options: ``flow``, ``flow_range``, ``flow_weights``, ``task`` and ``device`` as for `praxiscope.load`. Without
            ``flow``, flow is estimated, and its time is included.

    Returns:
        One dict per protocol: ``protocol``, ``views`` of a video, ``seconds`` per video, ``parts`` (the seconds by the
        names of `PARTS`), ``top1`` (None without labels) and ``videos``.

    Raises:
        ArgumentError: a protocol is unknown, or cannot be used with the model.
        DataError: no video can be read.
    """
    reporter = reporter or Reporter()
    recogniser = load_one(run, **options)
    chosen = [parse_protocol(name) for name in protocols or [recogniser.default_protocol()]]
    if recogniser.sees.all_frames:
        raise ArgumentError(
            f"{run}: the parts of a prediction cannot be measured for {recogniser.card.name}, which reads long videos "
            "in parts. Measure the time of praxiscope predict."
        )
    records = _records(data, split, annotations, videos)
    measured = [_Measured() for _ in chosen]
    problem = ""
    with reporter.bar("predicting", len(records) * len(chosen)) as bar:
        for number, record in enumerate([records[0], *records]):
            turn = number % len(chosen)
            try:
                for place in (*range(turn, len(chosen)), *range(turn)):
                    _predict(
                        recogniser, record, chosen[place], _Measured() if number == 0 else measured[place]
                    )
                    bar.advance(0 if number == 0 else 1)
            except (VideoError, DataError) as error:
                problem = str(error)
                reporter.line(f"Skipped: {error}")
    if not all(one.videos for one in measured):
        raise DataError(f"{data}: no video could be read. The last error: {problem}")
    return [
        {
            "protocol": protocol.name,
            "views": protocol.views,
            "seconds": sum(one.seconds.values()) / one.videos,
            "parts": {name: value / one.videos for name, value in one.seconds.items()},
            "top1": one.correct / one.labelled if one.labelled else None,
            "videos": one.videos,
        }
        for protocol, one in zip(chosen, measured, strict=True)
    ]


def _records(
    data: str | Path, split: str | None, annotations: str | Path | None, most: int | None
) -> list[VideoRecord]:
    """The test videos of a data set, or all of a set without splits."""
    lists = Path(annotations) if annotations else None
    manifest = load_records(data, split=split, annotations=lists, random_split=False)
    records = list(manifest.of("test") or manifest.records)
    return records if most is None else records[:: max(1, len(records) // most)][:most]


def _predict(recogniser: Recogniser, record: VideoRecord, protocol: Protocol, measured: _Measured) -> None:
    """Predict one video under one protocol, and add its seconds if that succeeds."""
    cuda = recogniser.device.type == "cuda"
    clock = Clock((lambda: torch.cuda.synchronize(recogniser.device)) if cuda else None)
    reader = recogniser.clip_reader([record], [torch.tensor(-1)], protocol)
    with clock.running():
        with timed("opening"):
            clip = reader.read(0)
        with timed("network"):
            ((_, logits),) = recogniser.scorer(protocol).score([clip])
    for name, value in clock.seconds.items():
        measured.seconds[_NAMES.get(name, name)] += value
    measured.videos += 1
    if record.labels and not set(record.labels).isdisjoint(recogniser.labels):
        measured.labelled += 1
        measured.correct += recogniser.labels[int(logits.argmax())] in record.labels


HEADER = ["protocol", "views", "videos", "s / video", *PARTS, "top-1", "speed, of the first row"]


def format_table(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Format the rows of `bench_predict` as cells of a table; the last is the speed relative to the first row."""
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
