"""Inspect a data set: open every video, count classes, find leaks between splits and copies."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from praxiscope.data.label_trouble import LabelTrouble
from praxiscope.data.manifest import Manifest
from praxiscope.data.splits import leaking_groups
from praxiscope.errors import PraxiscopeError, VideoError
from praxiscope.processes import blame_script
from praxiscope.types import VideoRecord
from praxiscope.video.framefiles import edge_digest, source_files
from praxiscope.video.opening import open_video
from praxiscope.video.times import part

__all__ = ["CheckReport", "Copies", "VideoCheck", "inspect"]

#: Start and end in seconds.
Part = tuple["float | None", "float | None"]

_SPLITS = ("train", "val", "test", None)  # None: the set has no split
_EDGE_BYTES = 1 << 16


@dataclass(frozen=True)
class VideoCheck:
    """One record's video.

    Attributes:
        id, path, labels, split: of the record.
        frames: of the record's part: according to the packets, or frames that decode if all were decoded.
        duration_s: of that part.
        fps, width, height, codec: from the file; None if it cannot be read.
        readable: False if no frame decodes.
        problem: what is wrong; None for nothing.
    """

    id: str
    path: Path
    labels: tuple[str, ...] = ()
    split: str | None = None
    frames: int | None = None
    fps: float | None = None
    width: int | None = None
    height: int | None = None
    codec: str | None = None
    duration_s: float | None = None
    readable: bool = False
    problem: str | None = None


# For a file: its check, a digest, and the number of frames of its parts.
_Found = tuple[VideoCheck, str, dict[Part, int]]


@dataclass(frozen=True)
class Copies:
    """Files with the same content: the ids of their records, with their labels and splits."""

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    splits: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class CheckReport:
    """The result of ``inspect``.

    Attributes:
        name, root, notes, missing, left_out, official: of the manifest.
        full: whether every frame was decoded.
        videos: one for each record, in the manifest's order.
        classes: number of videos by class and split ("unsplit" for none).
        imbalance: training videos of the largest class over those of the smallest; 1 is balanced. If there is no
            split, of all videos.
        leaking_groups: groups, and files with parts, on several sides of the split, with the number of videos on each.
        copies: files with the same content.
        label_trouble: labels that features contradict, and near duplicates; None if no features were given.
    """

    name: str
    root: Path
    full: bool
    videos: tuple[VideoCheck, ...]
    classes: dict[str, dict[str, int]]
    imbalance: float
    leaking_groups: dict[str, dict[str, int]]
    copies: tuple[Copies, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    official: bool = False
    label_trouble: LabelTrouble | None = None

    def __str__(self) -> str:
        from praxiscope.data.check_text import report_lines

        return "\n".join(report_lines(self))

    def __repr__(self) -> str:
        return f"<CheckReport {self.name}: {len(self.videos)} videos, {len(self.broken)} broken>"

    @property
    def whole(self) -> bool:
        """Whether every listed video exists and can be read. Videos of a known set may be missing."""
        return not self.broken and (self.official or not self.missing)

    @property
    def files(self) -> int:
        """Number of different files, or folders of frames."""
        return len({video.path for video in self.videos})

    @property
    def broken(self) -> tuple[VideoCheck, ...]:
        """Videos of which no frame decodes."""
        return tuple(video for video in self.videos if not video.readable)

    @property
    def damaged(self) -> tuple[VideoCheck, ...]:
        """Videos that can be read, but have a problem."""
        return tuple(video for video in self.videos if video.readable and video.problem is not None)

    def to_dict(self) -> dict[str, Any]:
        """The report for JSON. Every key is always present."""

        def brief(video: VideoCheck) -> dict[str, Any]:
            return {"id": video.id, "path": str(video.path), "problem": video.problem}

        counts = Counter(video.split for video in self.videos)
        return {
            "name": self.name,
            "root": str(self.root),
            "full": self.full,
            "whole": self.whole,
            "videos": len(self.videos),
            "files": self.files,
            "splits": {split or "unsplit": counts[split] for split in _SPLITS if split or counts[split]},
            "classes": self.classes,
            "imbalance": self.imbalance,
            "frames": sum(video.frames or 0 for video in self.videos),
            "duration_s": sum(video.duration_s or 0.0 for video in self.videos),
            "broken": [brief(video) for video in self.broken],
            "damaged": [brief(video) for video in self.damaged],
            "missing": list(self.missing),
            "left_out": list(self.left_out),
            "leaking_groups": self.leaking_groups,
            "copies": [asdict(copies) for copies in self.copies],
            "label_trouble": None if self.label_trouble is None else self.label_trouble.to_dict(),
            "notes": list(self.notes),
            "details": [{**asdict(video), "path": str(video.path)} for video in self.videos],
        }


def inspect(
    manifest: Manifest,
    *,
    full: bool = False,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Open every video of a set and count frames, classes and problems. Broken videos are reported, not raised.

    Args:
        manifest: the set.
        full: decode every frame; otherwise only the first, and frames are counted from the packets.
        workers: processes; 1 for this process only.
        progress: called as ``progress(done, total)`` after each file.

    Returns:
        The report.
    """
    parts: dict[Path, list[Part]] = {}
    for record in manifest.records:
        inside = parts.setdefault(record.path, [])
        if _is_part(record):
            inside.append((record.start_s, record.end_s))
    found: dict[Path, _Found] = {}
    for done, (path, result) in enumerate(_check_files(parts, full, workers), start=1):
        found[path] = result
        if progress is not None:
            progress(done, len(parts))
    videos = []
    for record in manifest.records:
        check, _, frames = found[record.path]
        video = replace(check, id=record.id, labels=record.labels, split=record.split)
        videos.append(_with_part(video, record, frames))
    splits = [split for split in _SPLITS if split or any(not record.split for record in manifest.records)]
    classes = {name: {split or "unsplit": 0 for split in splits} for name in manifest.classes}
    for record in manifest.records:
        for label in record.labels:
            classes[label][record.split or "unsplit"] += 1
    learned = "unsplit" if None in splits else "train"
    trained = [counts[learned] for counts in classes.values() if counts[learned]]
    return CheckReport(
        name=manifest.name,
        root=manifest.root,
        full=full,
        videos=tuple(videos),
        classes=classes,
        imbalance=max(trained) / min(trained) if trained else 1.0,
        leaking_groups=leaking_groups(manifest.records),
        copies=_copies(manifest, {path: digest for path, (_, digest, _) in found.items()}),
        missing=manifest.missing,
        notes=manifest.notes,
        left_out=manifest.left_out,
        official=manifest.official,
    )


def _is_part(record: VideoRecord) -> bool:
    return record.start_s is not None or record.end_s is not None


def _with_part(video: VideoCheck, record: VideoRecord, frames: Mapping[Part, int]) -> VideoCheck:
    """The check of a record: for a part of a file, with the frames, duration and problem of that part."""
    length = video.duration_s
    if not _is_part(record) or not video.readable or length is None:
        return video
    start_s = record.start_s or 0.0
    end_s = length if record.end_s is None else record.end_s
    if start_s >= length:
        problem = f"ends at {length:.2f} s, before the start of the part ({start_s:g} s)"
        return replace(video, readable=False, frames=None, duration_s=None, problem=problem)
    count = frames.get((record.start_s, record.end_s), 0)
    if not count:
        problem = f"no frame between {start_s:g} and {end_s:g} s"
        return replace(video, readable=False, frames=None, duration_s=None, problem=problem)
    inside = replace(video, frames=count, duration_s=min(end_s, length) - start_s)
    # Times are often rounded: an end of one frame too late is not a problem.
    if end_s > length + 1 / (video.fps or 25) and not video.problem:
        return replace(inside, problem=f"ends at {length:.2f} s, before the end of the part ({end_s:g} s)")
    return inside


def _check_file(path: Path, full: bool, *parts: Part) -> _Found:
    """Check one file. Returns its check, a quick digest of its content ("" for none), and the frames of its parts."""
    check = VideoCheck(id="", path=path)
    digest = ""
    frames: dict[Part, int] = {}
    try:
        video = open_video(path)
        check = replace(
            check,
            frames=video.decode_all() if full else video.quick_length(),
            fps=video.fps,
            width=video.width,
            height=video.height,
            codec=video.codec,
            duration_s=video.duration_s,
            readable=True,
            problem="; ".join(video.problems) or None,
        )
        times, same_s = video.timestamps(), video.same_s
        frames = {(start_s, end_s): _frames_of(times, start_s, end_s, same_s) for start_s, end_s in parts}
    except VideoError as error:
        where = "" if error.frame is None else f" at frame {error.frame}"
        check = replace(check, readable=False, problem=f"{error.problem}{where}")
    except (PraxiscopeError, OSError, MemoryError) as error:
        check = replace(check, readable=False, problem=str(error) or type(error).__name__)
    with suppress(PraxiscopeError, OSError):
        digest = edge_digest(path)
    return check, digest, frames


def _frames_of(times: NDArray[np.float64], start_s: float | None, end_s: float | None, same_s: float) -> int:
    first, last = part(times, start_s, end_s, same_s)
    return max(last - first, 0)


def _check_files(
    files: Mapping[Path, Sequence[Part]], full: bool, workers: int
) -> Iterator[tuple[Path, _Found]]:
    if workers <= 1 or len(files) < 2:
        yield from ((path, _check_file(path, full, *parts)) for path, parts in files.items())
        return
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    context = get_context("spawn")
    left = dict(files)
    pool = ProcessPoolExecutor(min(workers, len(files)), context)
    try:
        futures = {pool.submit(_check_file, path, full, *parts): path for path, parts in files.items()}
        for future in as_completed(futures):
            result = future.result()
            del left[futures[future]]
            yield futures[future], result
    except BrokenProcessPool:
        blame_script()
    finally:
        pool.shutdown(cancel_futures=True)
    # A file that kills its process loses the results of others as well: check the rest one by one.
    pool = ProcessPoolExecutor(1, context)
    try:
        for path, parts in left.items():
            try:
                result = pool.submit(_check_file, path, full, *parts).result()
            except BrokenProcessPool:
                pool = ProcessPoolExecutor(1, context)
                result = VideoCheck(id="", path=path, problem="crashes the process that reads it"), "", {}
            yield path, result
    finally:
        pool.shutdown(cancel_futures=True)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for source in source_files(path):
        with source.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _copies(manifest: Manifest, digests: dict[Path, str]) -> tuple[Copies, ...]:
    """Files with the same content. Files with the same edges are compared by all of their bytes."""
    alike: dict[str, list[Path]] = defaultdict(list)
    for path, digest in digests.items():
        if digest:
            alike[digest].append(path)
    same: dict[str, list[Path]] = defaultdict(list)
    for paths in alike.values():
        if len(paths) > 1:
            for path in paths:
                same[_digest(path)].append(path)
    records = defaultdict(list)
    for record in manifest.records:
        records[record.path].append(record)
    copies = []
    for paths in same.values():
        if len(paths) > 1:
            mine = [record for path in paths for record in records[path]]
            copies.append(
                Copies(
                    ids=tuple(record.id for record in mine),
                    labels=tuple(sorted({label for record in mine for label in record.labels})),
                    splits=tuple(sorted({record.split or "" for record in mine})),
                )
            )
    return tuple(copies)
