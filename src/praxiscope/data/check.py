"""What is in a data set: every video opened, classes counted, leaks and copies found."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from praxiscope.data.manifest import Manifest
from praxiscope.data.splits import leaking_groups
from praxiscope.errors import PraxiscopeError, VideoError
from praxiscope.types import VideoRecord
from praxiscope.video.decode import open_video
from praxiscope.video.framefolder import source_bytes, source_files

__all__ = ["CheckReport", "Copies", "VideoCheck", "inspect"]

_SPLITS = ("train", "val", "test", None)  # None: the set brings no split and none was made
_EDGE_BYTES = 1 << 16


@dataclass(frozen=True)
class VideoCheck:
    """One record's video.

    Attributes:
        id, path, labels, split: of the record.
        frames: in the whole file, as its packets say, or that decode when all were decoded.
        fps, width, height, codec, duration_s: as the file says; None where it cannot be read.
        readable: False when no frame can be had: the video is broken.
        problem: what is wrong, None when nothing is.
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


@dataclass(frozen=True)
class Copies:
    """Files with the same content: their records' ids, and the labels and splits these have."""

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    splits: tuple[str, ...]


@dataclass(frozen=True)
class CheckReport:
    """What ``inspect`` found.

    Attributes:
        name, root, notes, missing: of the manifest.
        full: whether every frame was decoded.
        videos: one for each record, in the manifest's order.
        classes: number of videos by class and split ("unsplit" where none was made).
        imbalance: training videos of the largest class over those of the smallest; 1 is balanced. Of all
            videos where there is no split.
        leaking_groups: groups on several sides of the split, with the number of videos on each.
        copies: files with the same content.
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

    @property
    def broken(self) -> tuple[VideoCheck, ...]:
        """Videos of which no frame can be had."""
        return tuple(video for video in self.videos if not video.readable)

    @property
    def damaged(self) -> tuple[VideoCheck, ...]:
        """Videos that can be read, with something wrong."""
        return tuple(video for video in self.videos if video.readable and video.problem is not None)

    def to_dict(self) -> dict[str, Any]:
        """The report for JSON; every key is present whatever was found."""

        def brief(video: VideoCheck) -> dict[str, Any]:
            return {"id": video.id, "path": str(video.path), "problem": video.problem}

        counts = Counter(video.split for video in self.videos)
        return {
            "name": self.name,
            "root": str(self.root),
            "full": self.full,
            "videos": len(self.videos),
            "splits": {split or "unsplit": counts[split] for split in _SPLITS if split or counts[split]},
            "classes": self.classes,
            "imbalance": self.imbalance,
            "frames": sum(video.frames or 0 for video in self.videos),
            "duration_s": sum(video.duration_s or 0.0 for video in self.videos),
            "broken": [brief(video) for video in self.broken],
            "damaged": [brief(video) for video in self.damaged],
            "missing": list(self.missing),
            "leaking_groups": self.leaking_groups,
            "copies": [asdict(copies) for copies in self.copies],
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
    """Open every video of a set and count what there is. A broken video is reported, never raised.

    Args:
        manifest: the set.
        full: decode every frame; otherwise the first, and the count comes from the packets.
        workers: processes; 1 for none beside this one.
        progress: called as ``progress(done, total)`` after each file.

    Returns:
        The report.
    """
    paths = list(dict.fromkeys(record.path for record in manifest.records))
    found: dict[Path, tuple[VideoCheck, str]] = {}
    for done, (path, result) in enumerate(_look_at_all(paths, full, workers), start=1):
        found[path] = result
        if progress is not None:
            progress(done, len(paths))
    videos = []
    for record in manifest.records:
        video = replace(found[record.path][0], id=record.id, labels=record.labels, split=record.split)
        videos.append(_with_part(video, record))
    splits = [split for split in _SPLITS if split or any(not record.split for record in manifest.records)]
    classes = {name: {split or "unsplit": 0 for split in splits} for name in manifest.classes}
    for record in manifest.records:
        for label in record.labels:
            classes[label][record.split or "unsplit"] += 1
    learned = "train" if any(record.split for record in manifest.records) else "unsplit"
    trained = [counts[learned] for counts in classes.values() if counts[learned]]
    return CheckReport(
        name=manifest.name,
        root=manifest.root,
        full=full,
        videos=tuple(videos),
        classes=classes,
        imbalance=max(trained) / min(trained) if trained else 1.0,
        leaking_groups=leaking_groups(manifest.records),
        copies=_copies(manifest, {path: digest for path, (_, digest) in found.items()}),
        missing=manifest.missing,
        notes=manifest.notes,
    )


def _with_part(video: VideoCheck, record: VideoRecord) -> VideoCheck:
    """Add what is wrong with the part of the file that is meant."""
    length = video.duration_s
    if not video.readable or length is None:
        return video
    if record.start_s is not None and record.start_s >= length:
        return replace(
            video,
            readable=False,
            problem=f"ends at {length:.2f} s, before the part begins ({record.start_s:g} s)",
        )
    # Times are often rounded: a frame too late is no mistake.
    if record.end_s is not None and record.end_s > length + 1 / (video.fps or 25) and not video.problem:
        return replace(video, problem=f"ends at {length:.2f} s, before the part does ({record.end_s:g} s)")
    return video


def _look_at(path: Path, full: bool) -> tuple[VideoCheck, str]:
    """One file: what it is, and a quick digest of its content ("" for none)."""
    check = VideoCheck(id="", path=path)
    digest = ""
    try:
        digest = _edge_digest(path)
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
    except VideoError as error:
        where = "" if error.frame is None else f" at frame {error.frame}"
        check = replace(check, readable=False, problem=f"{error.problem}{where}")
    except (PraxiscopeError, OSError, MemoryError) as error:
        check = replace(check, readable=False, problem=str(error) or type(error).__name__)
    return check, digest


def _look_at_all(
    paths: Sequence[Path], full: bool, workers: int
) -> Iterator[tuple[Path, tuple[VideoCheck, str]]]:
    if workers <= 1 or len(paths) < 2:
        yield from ((path, _look_at(path, full)) for path in paths)
        return
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    context = get_context("spawn")
    left = dict.fromkeys(paths)
    pool = ProcessPoolExecutor(min(workers, len(paths)), context)
    try:
        futures = {pool.submit(_look_at, path, full): path for path in paths}
        for future in as_completed(futures):
            result = future.result()
            del left[futures[future]]
            yield futures[future], result
    except BrokenProcessPool:
        pass
    finally:
        pool.shutdown(cancel_futures=True)
    # A file that kills its process took the others' results with it: look at the rest one by one.
    pool = ProcessPoolExecutor(1, context)
    try:
        for path in left:
            try:
                result = pool.submit(_look_at, path, full).result()
            except BrokenProcessPool:
                pool = ProcessPoolExecutor(1, context)
                result = VideoCheck(id="", path=path, problem="ends the process that reads it"), ""
            yield path, result
    finally:
        pool.shutdown(cancel_futures=True)


def _edge_digest(path: Path) -> str:
    """Size, start and end of a file: different for almost all files that differ."""
    size = source_bytes(path)
    if size == 0:
        return ""
    first, last = (source_files(path)[edge] for edge in (0, -1))
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    with first.open("rb") as file:
        digest.update(file.read(_EDGE_BYTES))
    with last.open("rb") as file:
        file.seek(max(0, last.stat().st_size - _EDGE_BYTES))
        digest.update(file.read(_EDGE_BYTES))
    return digest.hexdigest()


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for part in source_files(path):
        with part.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _copies(manifest: Manifest, digests: dict[Path, str]) -> tuple[Copies, ...]:
    """Files of the same content; those that only look alike at their edges are told apart by all bytes."""
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
