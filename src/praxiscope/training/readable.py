"""Check which videos of a data set can be read, and list those that cannot be read in full."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from praxiscope.data.dataset import (
    Skip,
)
from praxiscope.data.joined_flow import store_of
from praxiscope.data.manifest import Manifest
from praxiscope.data.skipped import DamageList, check_skips, read_skipped, write_skipped
from praxiscope.errors import DataError, VideoError
from praxiscope.flow.stack import stackings
from praxiscope.flow.store import FlowStore, flow_key
from praxiscope.progress import Reporter
from praxiscope.recipes.settings import TrainSettings
from praxiscope.run_folder import SKIPPED_FILE
from praxiscope.types import VideoRecord
from praxiscope.units import counted
from praxiscope.video.opening import open_video

__all__ = ["ReadProblems", "SkipList", "check_trainable", "check_worthwhile", "scan"]


@dataclass(frozen=True)
class ReadProblems:
    """The lists of a run's videos that cannot be read (``skipped.csv``), or not in full (``damaged.csv``)."""

    skips: SkipList
    damage: DamageList


class SkipList:
    """Lists unreadable videos in ``skipped.csv``. Raises an error if there are too many, or if a class has no video
    left.

    Args:
        path: the file; other processes of the run write their own files in the same folder.
        skipped: reasons by video id; changed in place, because it is part of the run's state.
        manifest: the data set.
        limit: share of the videos that may be skipped; None for the default.
        reporter: reports each video.
    """

    def __init__(
        self, path: Path, skipped: dict[str, str], manifest: Manifest, limit: float | None, reporter: Reporter
    ) -> None:
        self.path, self.skipped, self.manifest, self.limit = path, skipped, manifest, limit
        self.reporter = reporter
        if (
            skipped or path.name == SKIPPED_FILE
        ):  # an empty file of the first process means that no video was skipped
            write_skipped(path, skipped)

    def __call__(self, skips: Sequence[Skip]) -> None:
        new = {skip.id: skip.problem for skip in skips if skip.id not in self.skipped}
        if not new:
            return
        self.skipped.update(new)
        write_skipped(self.path, self.skipped)
        for problem in new.values():
            self.reporter.line(f"Skipped: {problem}")
        check_skips(len(self.skipped), len(self.manifest.records), self.limit, self.path)
        # Each process reads a part of the videos. The process that writes last sees the results of all.
        lost = read_skipped(self.path.parent)
        check_trainable(self.manifest, [r for r in self.manifest.of("train") if r.id not in lost], self.path)


def scan(
    settings: TrainSettings,
    records: Sequence[VideoRecord],
    reporter: Reporter,
    store: FlowStore | None = None,
    taught: FlowStore | None = None,
) -> list[Skip]:
    """Open every video once, to find unreadable videos and videos without stored flow before the first step.

    Every video needs flow that is input (``store``); flow that is a target (``taught``) only training videos need.

    The frame indices are cached, and forked worker processes inherit them. A large data set is not scanned; its
    unreadable videos are found during training.
    """
    if len(records) > settings.data.scan:
        reporter.line(
            f"{counted(len(records), 'video')}: too many to check first (data.scan); training skips "
            "unreadable ones."
        )
        return []
    skips = []
    both_ways = stackings.get(settings.input.flow_kind).bidirectional

    def check(record: VideoRecord) -> Skip | None:
        try:
            open_video(record.path, time_limit_s=settings.data.time_limit_s).quick_length()
        except VideoError as error:
            return Skip(record.id, str(error))
        flow = taught if store is None and record.split == "train" else store
        if flow is None:
            return None
        key = flow_key(record)
        root = store_of(flow, key).root
        if key not in flow:
            return Skip(record.id, f"{record.id}: {root} has no flow for this video. Run `praxiscope flow`.")
        if store is not None and both_ways and not store.path(key, backward=True).is_file():
            return Skip(
                record.id,
                f"{record.id}: {root} has no backward flow for this video. Run `praxiscope flow` with --backward.",
            )
        return None

    with (
        reporter.bar("opening videos", len(records)) as bar,
        ThreadPoolExecutor(max(1, settings.data.workers)) as pool,
    ):
        for skip in pool.map(check, records):
            bar.advance()
            if skip:
                skips.append(skip)
    return skips


def check_trainable(manifest: Manifest, records: Sequence[VideoRecord], listing: Path) -> None:
    """Raise DataError if a class has no video among the training videos ``records``."""
    present = {label for record in records for label in record.labels}
    lost = [name for name in manifest.classes if name not in present]
    if lost:
        raise DataError(
            f"class {', '.join(lost[:5])} has no readable training video left. {listing} lists the unreadable videos."
        )


def check_worthwhile(settings: TrainSettings, manifest: Manifest) -> None:
    """Raise DataError for a data set without training videos; or with one class, or without held-out videos, unless the
    settings allow it."""
    for task, (start, end) in (manifest.tasks or {"": (0, len(manifest.classes))}).items():
        name, classes = task or manifest.name, manifest.classes[start:end]
        own = [r for r in manifest.records if not task or not set(classes).isdisjoint(r.labels)]
        if all(record.split != "train" for record in own):
            raise DataError(
                f"{name}: none of its {counted(len(own), 'video')} is a training video. Mark some as train (a folder "
                "train/, a column split), or give none a split: then one is drawn at random."
            )
        if len(classes) == 1 and not settings.data.allow_one_class:
            raise DataError(
                f"{name}: has only one class, {classes[0].removeprefix(f'{task}/')!r}. If the class folders are one "
                "level deeper, give their parent folder. To train on one class, use --allow-one-class "
                "(data.allow_one_class=true)."
            )
        if all(record.split == "train" for record in own) and not settings.data.allow_no_test:
            raise DataError(
                f"{name}: all {len(own)} videos are training videos, so the result cannot be evaluated. Mark some as "
                "test or val (a folder test/, a column split) or add videos; to train without, use --allow-no-test "
                "(data.allow_no_test=true)."
            )
