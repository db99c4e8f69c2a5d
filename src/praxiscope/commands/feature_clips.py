"""Compute the shards of a feature store, in processes of their own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias

import torch

from praxiscope.data.dataset import Skip
from praxiscope.data.files import first_few
from praxiscope.errors import ArgumentError, DataError, VideoError
from praxiscope.features.contract import FeatureContract
from praxiscope.features.shard import ClipRows, Shard, ShardWriter, read_shard, writing_shard
from praxiscope.features.store import NETWORK, SHARDS, read_store_file, shard_path, stored_rows
from praxiscope.flow.store import FlowStore
from praxiscope.inference.extract import ClipFeatures, FeatureExtractor
from praxiscope.inference.frame_network import load_frame_network
from praxiscope.jobs import advance, run_jobs
from praxiscope.progress import Reporter
from praxiscope.types import VideoRecord
from praxiscope.units import counted
from praxiscope.video.framefiles import edge_digest, source_bytes
from praxiscope.video.opening import open_video

__all__ = [
    "Block",
    "Computing",
    "Job",
    "Outcome",
    "Source",
    "blocks_of",
    "check_same_data",
    "compute",
    "expected_rows",
    "is_stored",
    "killers",
    "lost",
    "same_videos",
    "sources",
]

_CLIPS, _BYTES = 16, 1 << 28  # of the videos of a block; short, so that little is lost when a run is killed
_LOOKED_AT = 8  # videos that are opened to estimate the number of frames


Stored: TypeAlias = tuple[Shard, ClipRows]
"""Where the rows of a clip are."""


@dataclass(frozen=True)
class Block:
    """The videos of one shard."""

    number: int
    records: tuple[VideoRecord, ...]


@dataclass(frozen=True)
class Computing:
    """Where and how the shards of a store are computed.

    Attributes:
        root: the store, with its contract and its network.
        flow: stored flow, for a network of flow.
        readers: processes that read videos ahead; 0 for the process that computes.
        time_limit_s: seconds that reading one video may take.
    """

    root: Path
    flow: FlowStore | None = None
    readers: int = 0
    time_limit_s: float = 300.0


@dataclass(frozen=True)
class Job:
    """Shards to compute on one device, one after the other.

    Attributes:
        computing: see there.
        blocks: the shards.
        device: name of the device.
        known: problems of videos that are not to be read, by id.
        stored: rows that exist already, in files of other blocks, by id.
    """

    computing: Computing
    blocks: tuple[Block, ...]
    device: str
    known: Mapping[str, str] = field(default_factory=dict, hash=False)
    stored: Mapping[str, Stored] = field(default_factory=dict, hash=False)


@dataclass
class Outcome:
    """Result of a job: numbers of clips and rows, problems and damage by id; or that its process was killed."""

    clips: int = 0
    rows: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    lost: bool = False


class Source(NamedTuple):
    """What a video was when its features were computed.

    bytes: its size; -1 if it does not exist.
    mark: its size and a digest of its content, then its part in seconds, if it is one.
    """

    bytes: int
    mark: str

    def is_that_of(self, stored: str | int) -> bool:
        """Whether a shard's clip is of the same video. Earlier versions stored sizes only."""
        return stored == (self.mark if isinstance(stored, str) else self.bytes)

    def has_the_file_of(self, stored: str | int) -> bool:
        """Whether a shard's clip is of the same file, of any part."""
        if isinstance(stored, int):
            return stored == self.bytes
        return stored.partition("@")[0] == self.mark.partition("@")[0]


def sources(records: Sequence[VideoRecord]) -> dict[str, Source]:
    """The sources of videos by id."""
    files: dict[Path, tuple[int, str]] = {}
    found = {}
    for record in records:
        if record.path not in files:
            files[record.path] = _file_source(record.path)
        size, mark = files[record.path]
        if record.start_s is not None or record.end_s is not None:
            mark += f"@{record.start_s}-{record.end_s}"
        found[record.id] = Source(size, mark)
    return found


def _file_source(path: Path) -> tuple[int, str]:
    try:
        size = source_bytes(path)
        return size, f"{size}-{edge_digest(path)}"
    except (OSError, VideoError):
        return -1, "missing"


def check_same_data(
    target: Path,
    contract: FeatureContract,
    data: str | Path,
    given: Mapping[str, Source],
    reporter: Reporter,
) -> None:
    """Say which stored clips the data no longer have, and which have changed. Raises ArgumentError if the data have
    none of them, or other videos under all of their names."""
    stored: dict[str, str | int] = {}
    for path in sorted((target / SHARDS).glob("**/*.safetensors")):
        with suppress(DataError):
            stored |= read_shard(path, contract).sources
    gone = stored.keys() - given.keys()
    here = sorted(id for id in stored.keys() & given.keys() if given[id].bytes >= 0)
    other = [id for id in here if not given[id].has_the_file_of(stored[id])]
    if len(other) > 1 and len(other) == len(here):
        raise ArgumentError(
            f"{target}: holds features of {counted(len(here), 'video')} with the same names as those of {data}, but "
            f"all of these files are others now ({first_few(other)}). Choose another folder, or remove this one."
        )
    if changed := [id for id in here if not given[id].is_that_of(stored[id])]:
        reporter.line(
            f"Note: {counted(len(changed), 'video')} changed since the features were computed, which are computed "
            f"again: {first_few(changed)}"
        )
    if stored and gone == stored.keys():
        raise ArgumentError(
            f"{target}: holds features of {counted(len(stored), 'other video')} ({first_few(sorted(stored))}), none "
            f"of which is in {data}. Choose another folder, or remove this one."
        )
    if gone:
        reporter.line(
            f"Note: the features of {counted(len(gone), 'video')} leave {target}, because {data} no longer has them: "
            f"{first_few(sorted(gone))}"
        )


def blocks_of(records: Sequence[VideoRecord], given: Mapping[str, Source]) -> list[Block]:
    """Divide videos into the blocks of shards: by id, so that the order and the split of the data do not matter."""
    blocks: list[list[VideoRecord]] = []
    room, known = 0, set[Path]()  # files of which another part was counted
    for record in sorted(records, key=lambda record: record.id):
        if not blocks or len(blocks[-1]) == _CLIPS or room <= 0:
            blocks.append([])
            room = _BYTES
        blocks[-1].append(record)
        if record.path not in known:
            room -= max(0, given[record.id].bytes)
            known.add(record.path)
    return [Block(number, tuple(block)) for number, block in enumerate(blocks)]


def same_videos(block: Block | None, shard: Shard, given: Mapping[str, Source]) -> bool:
    """Whether a shard has the clips of a block, in the state of now."""
    stored = shard.sources
    ids = [] if block is None else [record.id for record in block.records]
    return set(ids) == stored.keys() and all(given[id].is_that_of(stored[id]) for id in ids)


def is_stored(clip: ClipRows, given: Mapping[str, Source]) -> bool:
    """Whether the rows of a clip are those of its video as it is now."""
    now = given.get(clip.id)
    return now is not None and now.bytes >= 0 and now.is_that_of(clip.source)


def expected_rows(
    records: Sequence[VideoRecord], contract: FeatureContract, given: Mapping[str, Source]
) -> int:
    """The number of frames, from a few of the videos if it depends on their lengths."""
    if "frames" in contract.sampling:
        return len(records) * int(contract.sampling["frames"])
    seen_rows = seen_bytes = 0.0
    step = max(1, len(records) // _LOOKED_AT)
    for record in records[::step][:_LOOKED_AT]:
        try:
            video = open_video(record.path)
            frames = video.quick_length()
            seconds = video.duration_s
        except VideoError:
            continue
        if record.end_s is not None or record.start_s is not None:
            part = (record.end_s or seconds) - (record.start_s or 0.0)
            frames = round(frames * min(1.0, part / max(seconds, 1e-9)))
            seconds = part
        seen_rows += min(seconds * contract.sampling.get("fps", math.inf), frames)
        seen_bytes += max(1, given[record.id].bytes)
    total = sum(max(0, given[record.id].bytes) for record in records)
    return round(seen_rows / seen_bytes * total) if seen_bytes else 0


_built: dict[tuple[Path, str, str], FeatureExtractor] = {}  # the one of this process, for its next job


def _extractor(job: Job, contract: FeatureContract) -> FeatureExtractor:
    key = (job.computing.root, job.device, contract.digest)
    if key not in _built:
        _built.clear()
        network = load_frame_network(
            job.computing.root / NETWORK,
            device=torch.device(job.device),
            precision=contract.precision,
            flow=job.computing.flow,
        )
        _built[key] = FeatureExtractor(
            network, layer=contract.layer, pool=contract.pool, views=contract.views
        )
    return _built[key]


def compute(job: Job) -> Outcome:
    """Compute and write the shards of a job."""
    computing, outcome = job.computing, Outcome()
    contract, _ = read_store_file(computing.root)
    extractor = _extractor(job, contract)
    elsewhere = {*job.known, *job.stored}
    clips = extractor.extract(
        [record for block in job.blocks for record in block.records if record.id not in elsewhere],
        contract.sampling,
        workers=computing.readers,
        time_limit_s=computing.time_limit_s,
    )
    for block in job.blocks:
        given = sources(block.records)
        with writing_shard(shard_path(computing.root, block.number), contract) as writer:
            for record in block.records:
                source = given[record.id].mark
                if record.id in job.stored:
                    _copy(writer, job.stored[record.id], contract)
                elif record.id in job.known:
                    _skip(writer, outcome, Skip(record.id, job.known[record.id]), source)
                else:
                    _write(writer, outcome, next(clips), source)
                advance(0, 1)
    return outcome


def _copy(writer: ShardWriter, stored: Stored, contract: FeatureContract) -> None:
    shard, place = stored
    with writer.clip(place.id, place.source) as clip:
        clip.add(*stored_rows(shard, place, contract))
    writer.note_damage(place.damage)


def _write(writer: ShardWriter, outcome: Outcome, item: ClipFeatures | Skip, source: str) -> None:
    """Compute and write the rows of a clip, or the reason why there are none."""
    if isinstance(item, Skip):
        _skip(writer, outcome, item, source)
        return
    try:
        with writer.clip(item.id, source) as clip:
            for rows in item.parts:
                clip.add(*rows)
                outcome.rows += len(rows.frame)
                advance(len(rows.frame), 0)
    except (VideoError, DataError) as error:
        _skip(writer, outcome, Skip(item.id, str(error)), source)
        return
    outcome.clips += 1
    if damage := item.damage():
        writer.note_damage(damage)
        outcome.damaged[item.id] = damage


def _skip(writer: ShardWriter, outcome: Outcome, skip: Skip, source: str) -> None:
    writer.skip(skip.id, skip.problem, source)
    outcome.skipped[skip.id] = skip.problem


def lost(job: Job) -> Outcome:
    """The result of a job whose process was killed."""
    return Outcome(lost=True)


def killers(jobs: Sequence[Job]) -> dict[str, str]:
    """Read the videos of lost jobs, each in a process that it may kill. Returns the problems of those that do."""
    singles = [record for job in jobs for block in job.blocks for record in block.records]
    found = run_jobs(_read_all, singles, 2, lost=lambda record: False)
    return {
        record.id: f"{record.path}: the process that reads it crashes. Leave it out."
        for record, survived in found
        if not survived
    }


def _read_all(record: VideoRecord) -> bool:
    """Decode a video. Whether its errors are ordinary is found out when its features are computed."""
    with suppress(VideoError, DataError):
        open_video(record.path).decode_all()
    return True
