"""What feeds a training run: targets, batches of an epoch, and the list of videos that could not be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from praxiscope._memory import keep_worker_memory
from praxiscope.checkpoint import InputContract
from praxiscope.data.batch import EpochBatches
from praxiscope.data.dataset import (
    ClipReader,
    Geometry,
    Sampler,
    TrainingClips,
    clear_errors,
    collate,
    collate_whole,
)
from praxiscope.data.flow_reader import check_directions
from praxiscope.data.joined_flow import JoinedFlow
from praxiscope.data.manifest import Manifest
from praxiscope.data.shared_memory import SlotPool
from praxiscope.data.splits import class_weights, epoch_order
from praxiscope.flow.store import FlowStore
from praxiscope.inference.inputs import stream_readers
from praxiscope.recipes.sections import InputSettings
from praxiscope.recipes.settings import TrainSettings
from praxiscope.training.checks import flow_folders
from praxiscope.types import STEM, Batch, VideoRecord
from praxiscope.video.geometry import kind_of
from praxiscope.video.sampling import every_frame, segment_indices, strided_snippets
from praxiscope.video.transforms import (
    BatchAugment,
    CenterCrop,
    ColorJitter,
    JitteredCrop,
    Lighting,
    MultiScaleCrop,
    RandomCrop,
)

__all__ = [
    "channels_last",
    "epoch_loader",
    "example_inputs",
    "flow_store",
    "preparer",
    "targets_of",
    "training_crop",
    "waiting_bytes",
    "weights_of_classes",
]

_PREFETCHED = 2  # batches that each reading process keeps ready
_CROPS: dict[str, Callable[..., Geometry]] = {
    "multi-scale": MultiScaleCrop,
    "free-scale": partial(MultiScaleCrop, max_distort=3, more_fix_crop=False),
    "jittered": JitteredCrop,
    "random": RandomCrop,
    "center": CenterCrop,
}


def targets_of(manifest: Manifest, records: Sequence[VideoRecord]) -> list[Tensor]:
    """Targets of records: int64 [] class numbers, or multi-hot float32 [K] where they have several labels or none."""
    if not manifest.multi_label and all(len(record.labels) == 1 for record in records):
        return [torch.tensor(manifest.numbers(record)[0]) for record in records]
    targets = []
    for record in records:
        target = torch.zeros(len(manifest.classes))
        target[list(manifest.numbers(record))] = 1
        targets.append(target)
    return targets


def training_crop(wanted: InputSettings) -> Geometry:
    """The crop that is drawn of training videos."""
    scaled = wanted.crop in ("multi-scale", "free-scale")
    return _CROPS[wanted.crop](wanted.size, **({"scales": wanted.crop_scales} if scaled else {}))


def preparer(
    settings: TrainSettings, contract: InputContract, device: torch.device
) -> Callable[[Batch], Batch]:
    """What brings a batch to the device and to floats, augmented by its videos' own seeds."""
    strength = settings.input.colour_jitter
    augment = BatchAugment(
        flip=settings.input.flip,
        jitter=ColorJitter(strength, strength, strength, strength / 4) if strength else None,
        lighting=Lighting(settings.input.lighting) if settings.input.lighting else None,
        mean=contract.mean,
        std=contract.std,
        flow_mean=contract.flow_mean,
        flow_std=contract.flow_std,
        channels_last=channels_last(settings, device),
    )
    return lambda batch: augment(batch.to(device, non_blocking=True))


def channels_last(settings: TrainSettings, device: torch.device) -> bool:
    wish = settings.run.channels_last
    return device.type in ("cpu", "cuda") if wish == "auto" else bool(wish)


def example_inputs(model: nn.Module, contract: InputContract, videos: int, snippets: int) -> list[Tensor]:
    """What a network is given in training, without content, to measure it with: frames [B, S, C, H, W] of each stream
    and, where it has several stems, the last one for all snippets, which sees the most."""
    device = next(model.parameters()).device
    shape, size = (videos, snippets), (contract.size, contract.size)
    inputs = [
        torch.zeros(*shape, channels, *size, device=device) for channels in contract.stream_channels.values()
    ]
    if STEM in model.streams:  # type: ignore[operator]
        last = len(model.first_convolutions) - 1  # type: ignore[arg-type]
        inputs.append(torch.full(shape, last, device=device))
    return inputs


def flow_store(settings: TrainSettings) -> FlowStore | None:
    """The stored flow of a run that trains on flow.

    Raises:
        ArgumentError: flow is given and not used, or used and not given.
        DataError: the folder is no store, one of another range, or one without backward flow for a bidirectional stack.
    """
    given = flow_folders(settings)
    if not given:
        return None
    bound = settings.data.flow_range
    stores = {name: FlowStore(folder, range=bound) for name, folder in given.items()}
    for store in stores.values():
        check_directions(store, settings.input.flow_kind)
    return stores[""] if settings.data.tasks is None else JoinedFlow(stores)


def _sample(
    num_frames: int,
    generator: torch.Generator | None,
    *,
    snippets: int,
    length: int,
    strides: tuple[int, int] | None = None,
) -> Tensor:
    if strides is not None:
        return strided_snippets(num_frames, snippets, length, strides, generator)
    return segment_indices(num_frames, snippets, length, generator)


def _whole(num_frames: int, generator: torch.Generator | None, *, length: int, most: int | None) -> Tensor:
    """Every frame with which a snippet can start; of a longer video, as many as are wanted."""
    places = max(num_frames - length + 1, 1)
    if most is not None and places > most:
        return segment_indices(num_frames, most, length, generator)
    return every_frame(places)


def waiting_bytes(settings: TrainSettings, contract: InputContract) -> int:
    """What the batches of a run take in its main process, read and not yet used: of raw pixels or flow."""
    batches = max(2, settings.data.workers * _slots(settings))
    return batches * sum(_stream_bytes(settings, contract).values())


def _slots(settings: TrainSettings) -> int:
    return _PREFETCHED + settings.optim.accumulate + 2


def _stream_bytes(settings: TrainSettings, contract: InputContract) -> dict[str, int]:
    """Bytes of a batch as it was read, by stream: pixels are whole numbers, flow is floats."""
    places = settings.optim.batch * settings.input.snippets * settings.input.size**2
    return {
        name: places * channels * (4 if kind_of(name) == "flow" else 1)
        for name, channels in contract.stream_channels.items()
    }


def epoch_loader(
    settings: TrainSettings,
    manifest: Manifest,
    records: Sequence[VideoRecord],
    fabric: Any,
    skipped: Mapping[str, str],
    contract: InputContract,
    store: FlowStore | None,
    whole: bool = False,
) -> Callable[[int, int], Iterator[Any]]:
    """(epoch, batches to leave out) -> the loaded batches of this process.

    Args:
        contract: what the model must be fed.
        store: stored flow, for a model that sees flow.
        whole: the model takes every frame of a video (packed batches); in ``input.sampled_epochs`` it takes as many
            sampled ones as the contract has snippets.
        skipped: videos found to be unreadable, by id; the reading processes of an epoch start with what the
            epochs before it found, and lose no time on them.
    """
    wanted = settings.input
    sampled, full = _training_clips(settings, manifest, records, skipped, contract, store, whole)
    stems = len(wanted.flow_lengths) if store is not None else 1
    workers, slots = settings.data.workers, _slots(settings)
    labels = [manifest.numbers(record) for record in records]

    def batches(epoch: int, start: int) -> Iterator[Any]:
        order = epoch_order(
            labels, seed=settings.run.seed, epoch=epoch, uniform=settings.data.sampling == "class-uniform"
        )
        sampler = EpochBatches(
            order,
            batch=settings.optim.batch,
            seed=settings.run.seed,
            epoch=epoch,
            rank=fabric.global_rank,
            world_size=fabric.world_size,
            start=start,
        )
        # A new pool for every epoch: a process of the last one may still be writing to the old.
        # A stream of a batch takes a slot.
        each = _stream_bytes(settings, contract)
        pool = SlotPool(workers, slots * len(each), max(each.values()))
        together = (
            partial(collate_whole, padded=wanted.padded)
            if whole
            else partial(collate, pool=pool, stems=stems)
        )
        return clear_errors(
            torch.utils.data.DataLoader(
                sampled if epoch < wanted.sampled_epochs else full,
                batch_sampler=sampler,
                collate_fn=together,
                num_workers=workers,
                pin_memory=fabric.device.type == "cuda",
                prefetch_factor=_PREFETCHED if workers else None,
                worker_init_fn=keep_worker_memory,
            )
        )

    return batches


def _training_clips(
    settings: TrainSettings,
    manifest: Manifest,
    records: Sequence[VideoRecord],
    skipped: Mapping[str, str],
    contract: InputContract,
    store: FlowStore | None,
    whole: bool,
) -> tuple[TrainingClips, TrainingClips]:
    """The training videos with sampled frames, and as the model sees them; see `epoch_loader`."""
    wanted, targets = settings.input, targets_of(manifest, records)
    readers, span = stream_readers(contract, wanted.short_side, store)

    def clips_by(sampler: Sampler) -> TrainingClips:
        return TrainingClips(
            ClipReader(
                records,
                targets,
                sampler=sampler,
                readers=readers,
                geometry=training_crop(wanted),
                time_limit_s=settings.data.time_limit_s,
                known_broken=skipped,
            )
        )

    few = contract.snippets if whole else wanted.snippets
    sampled = clips_by(partial(_sample, snippets=few, length=span, strides=wanted.strides))
    if not whole:
        return sampled, sampled
    return sampled, clips_by(partial(_whole, length=span, most=wanted.max_frames))


def weights_of_classes(
    settings: TrainSettings, manifest: Manifest, records: Sequence[VideoRecord]
) -> Tensor | None:
    """Weights inverse to the classes' clip counts, with mean 1 in each task; None where they are not wanted."""
    if not settings.data.class_weights:
        return None
    counts = torch.zeros(len(manifest.classes))
    for record in records:
        for number in manifest.numbers(record):
            counts[number] += 1
    blocks = manifest.tasks.values() or [(0, len(manifest.classes))]
    return torch.cat([class_weights(counts[start:end].int().tolist()) for start, end in blocks])
