"""Compute the shards of a feature store, in processes of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

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
from praxiscope.video.framefiles import source_bytes
from praxiscope.video.opening import open_video

__all__ = [
    "Block",
    "Computing",
    "Job",
    "Outcome",
    "blocks_of",
    "check_same_data",
    "compute",
    "killers",
    "lost",
    "sources",
]

_CLIPS, _BYTES = 16, 1 << 28  # of the videos of a block; short, so that little is lost when a run is killed


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


def sources(records: Sequence[VideoRecord]) -> dict[str, int]:
    """Sizes of videos in bytes by id; -1 for one that does not exist."""
    found = {}
    for record in records:
        try:
            found[record.id] = source_bytes(record.path)
        except OSError:
            found[record.id] = -1
    return found


def check_same_data(
    target: Path,
    contract: FeatureContract,
    data: str | Path,
    sizes: Mapping[str, int],
    reporter: Reporter,
) -> None:
    """Say how many stored clips the data no longer have. Raises ArgumentError if they have none of them."""
    stored: set[str] = set()
    for path in sorted((target / SHARDS).glob("**/*.safetensors")):
        with suppress(DataError):
            stored |= read_shard(path, contract).sources.keys()
    gone = stored - sizes.keys()
    if stored and gone == stored:
        raise ArgumentError(
            f"{target}: holds features of {counted(len(stored), 'other video')} ({first_few(sorted(stored))}), none "
            f"of which is in {data}. Choose another folder, or remove this one."
        )
    if gone:
        reporter.line(
            f"Note: the features of {counted(len(gone), 'video')} leave {target}, because {data} no longer has them: "
            f"{first_few(sorted(gone))}"
        )


def blocks_of(records: Sequence[VideoRecord], sizes: Mapping[str, int]) -> list[Block]:
    """Divide videos into the blocks of shards: by id, so that the order and the split of the data do not matter."""
    blocks: list[list[VideoRecord]] = []
    room, known = 0, set[Path]()  # files of which another part was counted
    for record in sorted(records, key=lambda record: record.id):
        if not blocks or len(blocks[-1]) == _CLIPS or room <= 0:
            blocks.append([])
            room = _BYTES
        blocks[-1].append(record)
        if record.path not in known:
            room -= max(0, sizes[record.id])
            known.add(record.path)
    return [Block(number, tuple(block)) for number, block in enumerate(blocks)]


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
        sizes = sources(block.records)
        with writing_shard(shard_path(computing.root, block.number), contract) as writer:
            for record in block.records:
                size = sizes[record.id]
                if record.id in job.stored:
                    _copy(writer, job.stored[record.id], contract)
                elif record.id in job.known:
                    _skip(writer, outcome, Skip(record.id, job.known[record.id]), size)
                else:
                    _write(writer, outcome, next(clips), size)
                advance(0, 1)
    return outcome


def _copy(writer: ShardWriter, stored: Stored, contract: FeatureContract) -> None:
    shard, place = stored
    with writer.clip(place.id, place.source) as clip:
        clip.add(*stored_rows(shard, place, contract))
    writer.note_damage(place.damage)


def _write(writer: ShardWriter, outcome: Outcome, item: ClipFeatures | Skip, size: int) -> None:
    """Compute and write the rows of a clip, or the reason why there are none."""
    if isinstance(item, Skip):
        _skip(writer, outcome, item, size)
        return
    try:
        with writer.clip(item.id, size) as clip:
            for rows in item.parts:
                clip.add(*rows)
                outcome.rows += len(rows.frame)
                advance(len(rows.frame), 0)
    except (VideoError, DataError) as error:
        _skip(writer, outcome, Skip(item.id, str(error)), size)
        return
    outcome.clips += 1
    if damage := item.damage():
        writer.note_damage(damage)
        outcome.damaged[item.id] = damage


def _skip(writer: ShardWriter, outcome: Outcome, skip: Skip, size: int) -> None:
    writer.skip(skip.id, skip.problem, size)
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
