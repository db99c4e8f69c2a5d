"""Score a list of videos with a recogniser. Worker processes read the videos; long videos are read in chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from praxiscope._memory import keep_worker_memory
from praxiscope.data.dataset import ClipReader, Skip, TestClips, clear_errors
from praxiscope.errors import DataError, VideoError
from praxiscope.evaluation.clip_hits import ClipHits
from praxiscope.evaluation.protocols import Protocol
from praxiscope.processes import run_once
from praxiscope.progress import Bar, Reporter
from praxiscope.types import Clip
from praxiscope.video.decode import known_damage

if TYPE_CHECKING:
    from praxiscope.inference.recogniser import Recogniser

__all__ = ["ScoredVideos", "score_videos"]


@dataclass
class ScoredVideos:
    """Scores of videos, in the order of scoring, and the videos that could not be read.

    Attributes:
        ids: of the scored videos.
        logits: scores before softmax, float32 [K] each.
        targets: int64 [] class numbers or multi-hot [K].
        skipped: the other videos, with the reason.
        clip_hits: figures of single examples, if they are drawn at random, see `ClipHits`.
    """

    ids: list[str] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)
    targets: list[Tensor] = field(default_factory=list)
    skipped: list[Skip] = field(default_factory=list)
    clip_hits: dict[str, float] = field(default_factory=dict)

    def add(self, id: str, logits: Tensor, target: Tensor) -> None:
        """Add a scored video."""
        self.ids.append(id)
        self.logits.append(logits)
        self.targets.append(target)


def score_videos(
    recogniser: Recogniser,
    reader: ClipReader,
    protocol: Protocol,
    *,
    workers: int,
    reporter: Reporter,
    note_damage: Callable[[Iterable[Skip]], None],
    title: str = "",
) -> ScoredVideos:
    """Score the videos of a reader.

    Args:
        recogniser: scores them.
        reader: reads the views of ``protocol``.
        protocol: the views to average.
        workers: number of processes that read.
        reporter: shows progress.
        note_damage: called with the videos that were scored in spite of lost frames.
        title: of the progress bar; by default that of a test.
    """
    if workers:
        run_once()
    loader = torch.utils.data.DataLoader(
        TestClips(reader),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        worker_init_fn=keep_worker_memory,
    )
    found = ScoredVideos()
    hits = ClipHits() if protocol.sampling == "random" else None
    watch = None if hits is None else lambda clip, row: hits.add(clip.target, row)
    long: set[str] = set()
    with reporter.bar(title or f"testing {protocol.name}", len(reader)) as bar:

        def readable() -> Iterator[Clip]:
            for item in clear_errors(loader):
                if isinstance(item, Clip) and item.long:
                    long.add(item.id)
                    continue
                bar.advance()
                if isinstance(item, Skip):
                    found.skipped.append(item)
                    continue
                if item.damage:
                    note_damage([Skip(item.id, item.damage)])
                yield item

        for clip, logits in recogniser.scorer(protocol).score(readable(), watch):
            found.add(clip.id, logits, clip.target)
        _score_long(recogniser, reader, protocol, long, found, bar, note_damage, hits)
    if hits is not None:
        found.clip_hits = hits.figures()
    return found


def _score_long(
    recogniser: Recogniser,
    reader: ClipReader,
    protocol: Protocol,
    long: set[str],
    found: ScoredVideos,
    bar: Bar,
    note_damage: Callable[[Iterable[Skip]], None],
    hits: ClipHits | None,
) -> None:
    """Score the long videos, each a few frames at a time."""
    for record, target in zip(reader.records, reader.targets, strict=True):
        if record.id not in long:
            continue
        bar.advance(0, f"long video {record.id}")
        try:
            watch = None if hits is None else partial(hits.add, target)
            logits = recogniser.stream_logits(record, protocol, reader.time_limit_s, watch=watch)
        except (VideoError, DataError) as error:
            found.skipped.append(Skip(record.id, str(error)))
        else:
            if damage := known_damage(record.path):
                note_damage([Skip(record.id, damage)])
            found.add(record.id, logits, target)
        bar.advance()
