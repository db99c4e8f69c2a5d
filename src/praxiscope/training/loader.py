"""Targets and batches of a training run."""

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
from praxiscope.inference.inputs import frame_grid, on_grid, stream_readers
from praxiscope.models.names import takes_flow_targets
from praxiscope.recipes.sections import InputSettings
from praxiscope.recipes.settings import TrainSettings
from praxiscope.training.checks import flow_folders, learns_on_features
from praxiscope.training.over_rows import OverRows
from praxiscope.training.teacher import Teacher
from praxiscope.types import FLOW_TARGET, STEM, Batch, VideoRecord
from praxiscope.video.geometry import kind_of
from praxiscope.video.sampling import dense_window, every_frame, segment_indices, strided_snippets
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
    "epoch_batches",
    "epoch_loader",
    "example_inputs",
    "flow_store",
    "flow_teacher",
    "preparer",
    "sample_snippets",
    "targets_of",
    "training_crop",
    "waiting_bytes",
    "weights_of_classes",
]

_PREFETCHED = 2  # batches that each worker process prefetches
_CROPS: dict[str, Callable[..., Geometry]] = {
    "multi-scale": MultiScaleCrop,
    "free-scale": partial(MultiScaleCrop, max_distort=3, more_fix_crop=False),
    "jittered": JitteredCrop,
    "random": RandomCrop,
    "center": CenterCrop,
}


def targets_of(manifest: Manifest, records: Sequence[VideoRecord]) -> list[Tensor]:
    """Targets of records: int64 [] class numbers, or multi-hot float32 [K] for records with several labels or none."""
    if not manifest.multi_label and all(len(record.labels) == 1 for record in records):
        return [torch.tensor(manifest.numbers(record)[0]) for record in records]
    targets = []
    for record in records:
        target = torch.zeros(len(manifest.classes))
        target[list(manifest.numbers(record))] = 1
        targets.append(target)
    return targets


def training_crop(wanted: InputSettings) -> Geometry:
    """The random crop of training videos."""
    scaled = wanted.crop in ("multi-scale", "free-scale")
    return _CROPS[wanted.crop](wanted.size, **({"scales": wanted.crop_scales} if scaled else {}))


def preparer(
    settings: TrainSettings, contract: InputContract, device: torch.device
) -> Callable[[Batch], Batch]:
    """A function that moves a batch to the device and makes floats of frames, augmented with the seed of each video."""
    if learns_on_features(settings):
        return lambda batch: batch.to(device, non_blocking=True)
    strength = settings.input.colour_jitter
    augment = BatchAugment(
        flip=settings.input.flip,
        jitter=ColorJitter(strength, strength, strength, strength / 4) if strength else None,
        lighting=Lighting(settings.input.lighting) if settings.input.lighting else None,
        mean=contract.mean,
        std=contract.std,
        flow_mean=contract.flow_mean,
        flow_std=contract.flow_std,
        flow_image=contract.flow_is_image,
        channels_last=channels_last(settings, device),
    )
    return lambda batch: augment(batch.to(device, non_blocking=True))


def channels_last(settings: TrainSettings, device: torch.device) -> bool:
    wish = settings.run.channels_last
    return device.type in ("cpu", "cuda") if wish == "auto" else bool(wish)


def example_inputs(model: nn.Module, contract: InputContract, videos: int, snippets: int) -> list[Tensor]:
    """Inputs of zeros for measuring a network: [B, S, C, H, W] for each stream and, for a network with several stems,
    the last stem for all snippets, which has the most channels. On stored features: one tensor of rows."""
    if isinstance(model, OverRows):
        return model.example_inputs(videos, snippets)
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
    """The stored flow of a run whose network takes flow; None for other networks.

    Raises:
        ArgumentError: flow is given but not used, or used but not given.
        DataError: the folder is not a store, has another range, or has no backward flow for a bidirectional stack.
    """
    if takes_flow_targets(settings.model.name):
        return None
    stores = _open_stores(settings)
    for store in stores.values():
        check_directions(store, settings.input.flow_kind)
    return _joined(settings, stores)


def flow_teacher(settings: TrainSettings, model: nn.Module) -> Teacher | None:
    """The stored flow that the network of a run learns to estimate; None if it does not learn flow.

    Raises: as `flow_store`.
    """
    if not settings.backprop.learns_flow:
        return None
    store = _joined(settings, _open_stores(settings))
    return None if store is None else Teacher.of(store, model)


def _open_stores(settings: TrainSettings) -> dict[str, FlowStore]:
    bound = settings.data.flow_range
    return {name: FlowStore(folder, range=bound) for name, folder in flow_folders(settings).items()}


def _joined(settings: TrainSettings, stores: Mapping[str, FlowStore]) -> FlowStore | None:
    if not stores:
        return None
    return stores[""] if settings.data.tasks is None else JoinedFlow(stores)


def sample_snippets(
    num_frames: int,
    generator: torch.Generator | None,
    *,
    snippets: int,
    length: int,
    strides: tuple[int, int] | None = None,
    window: bool = False,
) -> Tensor:
    """Starts of the snippets of a training example, int64 [snippets]."""
    if window:
        return dense_window(max(num_frames - length + 1, 1), snippets, generator=generator)
    if strides is not None:
        return strided_snippets(num_frames, snippets, length, strides, generator)
    return segment_indices(num_frames, snippets, length, generator)


def _whole(num_frames: int, generator: torch.Generator | None, *, length: int, most: int | None) -> Tensor:
    """Every frame at which a snippet can start; at most ``most`` of them."""
    starts = max(num_frames - length + 1, 1)
    if most is not None and starts > most:
        return segment_indices(num_frames, most, length, generator)
    return every_frame(starts)


def waiting_bytes(settings: TrainSettings, contract: InputContract) -> int:
    """Bytes of the batches that wait in the main process: raw pixels or flow."""
    batches = max(2, settings.data.workers * _slots(settings))
    # Steps that are given a memory learn no flow.
    return batches * sum(_stream_bytes(settings, contract, None).values())


def _slots(settings: TrainSettings) -> int:
    return _PREFETCHED + settings.optim.accumulate + 2


def _stream_bytes(
    settings: TrainSettings, contract: InputContract, flow: FlowStore | Teacher | None
) -> dict[str, int]:
    """Bytes of a raw batch by stream: pixels are integers, flow is floats."""
    size = settings.input.size
    snippets = settings.optim.batch * settings.input.snippets
    streams = {
        name: snippets * size**2 * channels * (4 if kind_of(name) == "flow" else 1)
        for name, channels in contract.read_channels.items()
    }
    return streams | ({FLOW_TARGET: snippets * flow.values(size) * 4} if isinstance(flow, Teacher) else {})


def epoch_loader(
    settings: TrainSettings,
    manifest: Manifest,
    records: Sequence[VideoRecord],
    fabric: Any,
    skipped: Mapping[str, str],
    contract: InputContract,
    flow: FlowStore | Teacher | None,
    whole: bool = False,
) -> Callable[[int, int], Iterator[Any]]:
    """Return a function (epoch, batches to skip) -> loaded batches of this process.

    Args:
        contract: the input of the model.
        flow: stored flow, for a model that takes it, or for one that learns to estimate it.
        whole: the model takes every frame of a video (packed batches); in the first ``input.sampled_epochs`` it takes
            as many sampled frames as the contract has snippets.
        skipped: unreadable videos by id. The worker processes of an epoch skip those found in earlier epochs.
    """
    wanted = settings.input
    sampled, full = _training_clips(settings, manifest, records, skipped, contract, flow, whole)
    stems = len(wanted.flow_lengths) if isinstance(flow, FlowStore) else 1
    workers, slots = settings.data.workers, _slots(settings)
    labels = [manifest.numbers(record) for record in records]

    def together() -> Callable[..., Any]:
        if whole:
            return partial(collate_whole, padded=wanted.padded)
        # Use a new pool for every epoch, because a worker of the last epoch may still write to the old one. Each stream
        # of a batch takes one slot.
        each = _stream_bytes(settings, contract, flow)
        return partial(collate, pool=SlotPool(workers, slots * len(each), max(each.values())), stems=stems)

    return epoch_batches(
        settings, labels, fabric, lambda epoch: sampled if epoch < wanted.sampled_epochs else full, together
    )


def epoch_batches(
    settings: TrainSettings,
    labels: Sequence[Sequence[int]],
    fabric: Any,
    clips: Callable[[int], TrainingClips],
    together: Callable[[], Callable[..., Any]],
) -> Callable[[int, int], Iterator[Any]]:
    """Return a function (epoch, batches to skip) -> loaded batches of this process.

    Args:
        settings: settings of the run.
        labels: class numbers of each video.
        fabric: a launched ``Fabric``.
        clips: the training examples of an epoch.
        together: called at the start of an epoch, returns the function that makes a batch of samples.
    """
    workers = settings.data.workers

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
        return clear_errors(
            torch.utils.data.DataLoader(
                clips(epoch),
                batch_sampler=sampler,
                collate_fn=together(),
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
    flow: FlowStore | Teacher | None,
    whole: bool,
) -> tuple[TrainingClips, TrainingClips]:
    """The training videos with sampled frames, and with the frames that the model takes; see `epoch_loader`."""
    wanted, targets = settings.input, targets_of(manifest, records)
    readers, span = stream_readers(contract, wanted.short_side, flow if isinstance(flow, FlowStore) else None)
    if isinstance(flow, Teacher):
        readers[FLOW_TARGET] = flow.reader(wanted.size)
    grid, length = frame_grid(contract, span)

    def clips_by(sampler: Sampler) -> TrainingClips:
        return TrainingClips(
            ClipReader(
                records,
                targets,
                sampler=on_grid(sampler, grid),
                readers=readers,
                geometry=training_crop(wanted),
                time_limit_s=settings.data.time_limit_s,
                known_broken=skipped,
            )
        )

    few = contract.snippets if whole else wanted.snippets
    window = contract.sampling == "window"
    sampled = clips_by(
        partial(sample_snippets, snippets=few, length=length, strides=wanted.strides, window=window)
    )
    if not whole:
        return sampled, sampled
    return sampled, clips_by(partial(_whole, length=length, most=wanted.max_frames))


def weights_of_classes(
    settings: TrainSettings, manifest: Manifest, records: Sequence[VideoRecord]
) -> Tensor | None:
    """Class weights inversely proportional to the number of clips, with mean 1 in each task; None if not enabled."""
    if not settings.data.class_weights:
        return None
    counts = torch.zeros(len(manifest.classes))
    for record in records:
        for number in manifest.numbers(record):
            counts[number] += 1
    blocks = manifest.tasks.values() or [(0, len(manifest.classes))]
    return torch.cat([class_weights(counts[start:end].int().tolist()) for start, end in blocks])
