"""Compute features of a data set's videos with a per-frame network, and store them."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from praxiscope.commands.feature_clips import (
    Block,
    Computing,
    Job,
    Outcome,
    Source,
    Stored,
    blocks_of,
    check_same_data,
    compute,
    expected_rows,
    is_stored,
    killers,
    lost,
    same_videos,
    sources,
)
from praxiscope.commands.feature_options import FeatureOptions
from praxiscope.commands.locking import locked, remove_parts
from praxiscope.data.flow_reader import check_directions
from praxiscope.data.manifest import MANIFEST_NAME, Manifest, load_records, write_csv
from praxiscope.data.skipped import check_skips, write_skipped
from praxiscope.data.splitlist import trained_on, write_split
from praxiscope.devices import pick_device
from praxiscope.errors import ArgumentError, DataError
from praxiscope.features.contract import FeatureContract
from praxiscope.features.shard import read_shard
from praxiscope.features.store import NETWORK, SHARDS, FeatureStore, check_store, create_store, shard_path
from praxiscope.flow.store import FlowStore
from praxiscope.inference.extract import FeatureExtractor
from praxiscope.inference.frame_network import (
    FrameNetwork,
    check_network,
    create_frame_network,
    save_frame_network,
)
from praxiscope.inference.network import TrainedNetwork
from praxiscope.jobs import run_jobs
from praxiscope.processes import run_once
from praxiscope.progress import Reporter, clock
from praxiscope.run_folder import DAMAGED_FILE, SKIPPED_FILE
from praxiscope.types import VideoRecord
from praxiscope.units import counted

__all__ = ["FeatureOptions", "FeatureSummary", "extract_features", "features"]

_WORTH = 3  # shards from which several processes are started
_OLD = ".old"  # folder of shards of blocks that the data no longer has


@dataclass(frozen=True)
class FeatureSummary:
    """The content of a feature store, and the result of a call.

    Attributes:
        clips, rows: number that have features; a row is a frame.
        shape: of the features of a row.
        skipped: videos that could not be read.
        already: clips whose features were stored before.
        bytes: on disk.
        seconds: time that this took.
        clips_per_s, rows_per_s: speed, without the start; None if there was nothing to do.
    """

    clips: int
    rows: int
    shape: tuple[int, ...]
    skipped: int
    already: int
    bytes: int
    seconds: float
    clips_per_s: float | None
    rows_per_s: float | None


def features(
    data: str | Path,
    out: str | Path,
    options: FeatureOptions | None = None,
    *,
    reporter: Reporter | None = None,
) -> Path:
    """Compute and store features; see `extract_features`. Returns the folder of the store."""
    extract_features(data, out, options, reporter=reporter)
    return Path(out)


def extract_features(
    data: str | Path,
    out: str | Path,
    options: FeatureOptions | None = None,
    *,
    reporter: Reporter | None = None,
) -> FeatureSummary:
    """Compute the features of every video of a data set, once.

    Shards that are already stored, and were computed from the same files, are kept, so an interrupted run continues
    where it stopped. However often it was interrupted, the shards have the same bytes. Features of videos that the data
    no longer list leave the store.

    Args:
        data: as for training.
        out: folder of the store.
        options: what to compute.
        reporter: shows progress.

    Raises:
        ArgumentError: options that cannot be used, or a store with another contract or of other videos.
        CheckpointError: weights that cannot be loaded.
        DataError: none of the videos could be read.
        TrainingError: more than ``max_skip`` of the videos cannot be read.
    """
    run_once()
    began = time.perf_counter()
    options, reporter, target = options or FeatureOptions(), reporter or Reporter(), Path(out)
    flow = None if options.flow is None else FlowStore(options.flow, range=options.flow_range)
    manifest = _manifest(data, target, options, reporter)
    network = create_frame_network(
        options.backbone,
        weights=options.weights,
        size=options.size,
        flow=flow,
        flow_length=options.flow_fields,
        flow_kind=options.flow_kind,
    )
    reporter.line(network.note)
    contract = _contract(network, options, flow)
    given = sources(manifest.records)
    blocks = blocks_of(manifest.records, given)
    check_store(target, contract)
    target.mkdir(parents=True, exist_ok=True)
    with locked(target):
        check_same_data(target, contract, data, given, reporter)
        create_store(target, contract, len(blocks))
        remove_parts([target, target / SHARDS])
        _save_network(target / NETWORK, network, contract, options, reporter)
        write_csv(target / MANIFEST_NAME, manifest.records, manifest.classes)
        left, stored = _plan(target, contract, blocks, given, options, reporter)
        new = [record for block in left for record in block.records if record.id not in stored]
        _announce(manifest, contract, new, given, reporter)
        started = time.perf_counter()
        computing = Computing(target, flow, time_limit_s=options.time_limit_s)
        made = _run(_jobs(left, stored, computing, options), options, reporter)
        seconds = time.perf_counter() - started
        store = FeatureStore(target)  # raises if shards are missing, which may need the old ones
        shutil.rmtree(target / SHARDS / _OLD, ignore_errors=True)
        _list_problems(target, store)
    if not store.ids:
        raise DataError(
            f"{data}: none of its {counted(len(manifest.records), 'video')} could be read; see "
            f"{target / SKIPPED_FILE}."
        )
    check_skips(len(store.skipped), len(manifest.records), options.max_skip, target / SKIPPED_FILE)
    return FeatureSummary(
        clips=len(store),
        rows=store.rows,
        shape=contract.row_shape,
        skipped=len(store.skipped),
        already=len(manifest.records) - len(new),
        bytes=store.bytes,
        seconds=time.perf_counter() - began,
        clips_per_s=made.clips / seconds if made.clips else None,
        rows_per_s=made.rows / seconds if made.clips else None,
    )


def _list_problems(target: Path, store: FeatureStore) -> None:
    write_skipped(target / SKIPPED_FILE, store.skipped)
    (target / DAMAGED_FILE).unlink(missing_ok=True)  # its videos may have been repaired
    if store.damaged:
        write_skipped(target / DAMAGED_FILE, store.damaged)


def _manifest(data: str | Path, target: Path, options: FeatureOptions, reporter: Reporter) -> Manifest:
    lists = Path(options.annotations) if options.annotations else None
    manifest = load_records(data, split=options.split, annotations=lists, random_split=False)
    for note in manifest.notes:
        reporter.line(f"Note: {note}")
    root = manifest.root.resolve()
    if not Path(data).is_file() and target.resolve().is_relative_to(root):
        raise ArgumentError(f"{target}: is inside the data set. Choose a folder outside of {manifest.root}.")
    return manifest


def _contract(network: FrameNetwork, options: FeatureOptions, flow: FlowStore | None) -> FeatureContract:
    """The contract of the features; checks that the network can compute them."""
    wanted = network.card.input.flow
    if (wanted is None) != (flow is None):
        remedy = (
            "give its stored flow: --flow FLOW"
            if flow is None
            else "leave out --flow, which it does not take"
        )
        raise ArgumentError(
            f"{options.backbone}: takes {' and '.join(network.card.input.streams)}; {remedy}."
        )
    if flow is not None and wanted is not None:
        check_directions(flow, wanted.kind)
    device = pick_device(options.devices[0])
    trained = TrainedNetwork(
        network.model, network.card, device=device, precision=options.precision, flow_source=flow
    )
    extractor = FeatureExtractor(trained, layer=options.layer, pool=options.pool, views=options.view_names)
    contract = extractor.contract(options.sampling, "float16" if options.half else "float32")
    network.model.to("cpu")
    return contract


def _save_network(
    folder: Path,
    network: FrameNetwork,
    contract: FeatureContract,
    options: FeatureOptions,
    reporter: Reporter,
) -> None:
    """Write the network, and which videos it was trained on: their features say little about new videos."""
    try:
        check_network(folder, contract)
    except DataError as error:
        if folder.exists():
            reporter.line(f"Written again: {error}")
            shutil.rmtree(folder)
        save_frame_network(folder, network)
    if learned := trained_on(options.backbone, options.weights):
        write_split(folder, (), learned)


def _plan(
    target: Path,
    contract: FeatureContract,
    blocks: Sequence[Block],
    given: Mapping[str, Source],
    options: FeatureOptions,
    reporter: Reporter,
) -> tuple[list[Block], dict[str, Stored]]:
    """The blocks that have no file yet, and the clips whose rows exist in files of other blocks, by id.

    If the data changed, its blocks did, too. Their files are put aside, and rows of the same videos are copied.
    """
    old, wanted = target / SHARDS / _OLD, {shard_path(target, block.number): block for block in blocks}
    for path in sorted((target / SHARDS).glob("*.safetensors")):
        try:
            shard = read_shard(path, contract)
            if options.verify:
                shard.verify()
        except DataError as error:
            reporter.line(f"Computed again: {error}")
            path.unlink()
            continue
        block = wanted.get(path)
        if not same_videos(block, shard, given) or (options.retry and shard.skipped):
            old.mkdir(exist_ok=True)
            path.rename(old / f"{shard.checksum}.safetensors")
    stored: dict[str, Stored] = {}
    for path in sorted(old.glob("*.safetensors")):
        try:
            shard = read_shard(path, contract)
        except DataError:
            continue
        stored |= {clip.id: (shard, clip) for clip in shard.clips if is_stored(clip, given)}
    return [block for path, block in wanted.items() if not path.is_file()], stored


def _announce(
    manifest: Manifest,
    contract: FeatureContract,
    records: Sequence[VideoRecord],
    given: Mapping[str, Source],
    reporter: Reporter,
) -> None:
    """Say what this will cost."""
    total = len(manifest.records)
    if not records:
        reporter.line(f"Nothing to compute: the features of all {counted(total, 'video')} are stored.")
        return
    rows = expected_rows(records, contract, given)
    stored = f", {total - len(records)} of {total} already stored" if len(records) < total else ""
    shape = " x ".join(map(str, contract.row_shape))
    reporter.line(
        f"{counted(len(records), 'clip')}{stored}: about {rows:,} frames with {shape} features each, "
        f"{rows * contract.row_bytes / 1e6:,.1f} MB on disk."
    )


def _run(jobs: Sequence[Job], options: FeatureOptions, reporter: Reporter) -> Outcome:
    """Run jobs. Returns the sums over all."""
    clips = sum(len(block.records) for job in jobs for block in job.blocks)
    made, lost_jobs = Outcome(), []
    with reporter.bar("computing features", clips) as bar:
        for job, outcome in _results(jobs, options, bar, reporter, clips):
            if outcome.lost:
                lost_jobs.append(job)
            _add(made, outcome, reporter)
        if lost_jobs:
            problems = killers(lost_jobs)
            again = [replace(job, known=problems) for job in lost_jobs]
            for _, outcome in run_jobs(compute, again, 1, lost=lost):
                _add(made, outcome, reporter)
    return made


def _results(
    jobs: Sequence[Job], options: FeatureOptions, bar: Any, reporter: Reporter, clips: int
) -> Iterator[tuple[Job, Outcome]]:
    """Run jobs, with progress by clip and an estimate of the time after the first shard."""
    started, shown, told = time.perf_counter(), 0, False

    def watch(rows: int, done: int) -> None:
        nonlocal shown, told
        passed = time.perf_counter() - started
        bar.advance(done - shown, f"{rows / max(passed, 1e-9):.0f} frames/s")
        shown = done
        first = len(jobs[0].blocks[0].records)
        if not told and first <= done < clips:
            told = True
            reporter.line(
                f"{done} of {clips} clips after {clock(passed)}: about {clock(passed / done * (clips - done))} left."
            )

    try:
        processes = len(jobs) if jobs and jobs[0].device != "cpu" else _processes(options)
        if (
            jobs and jobs[0].device == "cpu" and len(jobs) < _WORTH
        ):  # the start of a process takes longer than a shard
            processes = 1
        yield from run_jobs(compute, jobs, processes, lost=lost, watch=watch)
    except KeyboardInterrupt:
        reporter.line("Stopped. Run the same command to continue.")
        raise


def _add(total: Outcome, outcome: Outcome, reporter: Reporter) -> None:
    total.clips += outcome.clips
    total.rows += outcome.rows
    for problem in outcome.skipped.values():
        reporter.line(f"Skipped: {problem}")
    for name, damage in outcome.damaged.items():
        reporter.line(f"Damaged: {name}: {damage}")


def _processes(options: FeatureOptions) -> int:
    return options.workers or os.cpu_count() or 1


def _jobs(
    left: Sequence[Block], stored: Mapping[str, Stored], computing: Computing, options: FeatureOptions
) -> list[Job]:
    """On a CPU one job per shard, in processes of one thread that read and compute. On other devices one job per
    device, with processes that read for it."""
    devices = [str(pick_device(name)) for name in options.devices]
    if devices == ["cpu"]:
        shares: list[tuple[str, tuple[Block, ...]]] = [("cpu", (block,)) for block in left]
    else:
        computing = replace(computing, readers=max(1, _processes(options) // len(devices)))
        dealt = [tuple(left[number :: len(devices)]) for number in range(len(devices))]
        shares = [(device, share) for device, share in zip(devices, dealt, strict=True) if share]
    return [
        Job(
            computing,
            share,
            device,
            stored={one.id: stored[one.id] for block in share for one in block.records if one.id in stored},
        )
        for device, share in shares
    ]
