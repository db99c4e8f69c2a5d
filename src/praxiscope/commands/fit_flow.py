"""Train a network that estimates flow: from frames with known flow, or videos with stored flow, to a run folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from praxiscope.checkpoint import (
    InputContract,
    ModelCard,
    find_checkpoint,
)
from praxiscope.commands.report import report_run
from praxiscope.commands.train_end import summarise
from praxiscope.commands.train_start import write_start
from praxiscope.data.batch import EpochBatches, mix_seeds
from praxiscope.data.dataset import TrainingClips, collate
from praxiscope.data.flow_examples import FlowExamples, NearNativeCrop
from praxiscope.data.flow_layouts import FlowSample
from praxiscope.data.flow_samples import find_flow_data, is_flow_data, list_flow_samples
from praxiscope.data.flow_videos import video_samples
from praxiscope.data.skipped import DamageList, check_skips, merge_skipped, write_skipped
from praxiscope.data.splitlist import SplitList
from praxiscope.errors import ArgumentError, DataError, VideoError
from praxiscope.flow.store import FlowStore
from praxiscope.layers.memory_format import to_channels_last
from praxiscope.models import create_model
from praxiscope.processes import run_once
from praxiscope.progress import Reporter
from praxiscope.recipes.settings import TrainSettings, load_yaml
from praxiscope.run_folder import DAMAGED_FILE, SETTINGS_FILE, SKIPPED_FILE, of_process
from praxiscope.steps.flow_only import flow_only
from praxiscope.steps.settings.action_flow import ActionFlowSettings
from praxiscope.training.checks import model_keywords, with_known_start
from praxiscope.training.duration import Duration, length_of
from praxiscope.training.flow_checks import check_flow_training
from praxiscope.training.flow_validation import FlowValidation
from praxiscope.training.launch import launch
from praxiscope.training.loader import channels_last, epoch_batches, preparer, training_crop
from praxiscope.training.log import open_log
from praxiscope.training.loop import Callbacks, TrainState, fit
from praxiscope.training.network import Network
from praxiscope.training.resuming import check_resumable, is_finished, update_length
from praxiscope.training.run_data import load_data
from praxiscope.training.set_up import make_plan, set_up
from praxiscope.training.start_parts import start_from_parts
from praxiscope.training.validation import save
from praxiscope.types import Batch, VideoRecord
from praxiscope.units import counted

__all__ = ["fit_flow_run", "flow_data"]


@dataclass(frozen=True)
class FlowData:
    """The samples of a run.

    Attributes:
        train, test: samples.
        exact: whether their flow is the true one, not an estimate.
        name: what the user calls them.
        records: all of them, with their splits.
    """

    train: Sequence[FlowSample]
    test: Sequence[FlowSample]
    exact: bool
    name: str
    records: Sequence[VideoRecord]


def flow_data(settings: TrainSettings, reporter: Reporter) -> FlowData:
    """List the samples of a run: of a layout of known flow, or the videos of a data set with stored flow.

    Raises:
        ArgumentError, DataError: the data cannot be found or read.
    """
    data = settings.data
    if is_flow_data(data.source):
        listing = list_flow_samples(data.source, annotations=data.annotations)
        parts = {side: list_flow_samples(data.source, side, data.annotations) for side in ("train", "test")}
        for note in dict.fromkeys((*listing.notes, *parts["train"].notes)):
            reporter.line(f"Note: {note}")
        _, folder = find_flow_data(data.source)
        records = [
            VideoRecord(sample.id, folder / sample.id, (), split=side)
            for side, part in parts.items()
            for sample in part.samples
        ]
        return FlowData(parts["train"].samples, parts["test"].samples, True, str(data.source), records)
    manifest = load_data(settings)
    for note in manifest.notes:
        reporter.line(f"Note: {note}")
    store = FlowStore(str(data.flow), range=data.flow_range)
    train, test = (
        video_samples(records, store, data.time_limit_s)
        for records in (manifest.to_train(), manifest.of("test"))
    )
    return FlowData(train, test, False, manifest.name, manifest.records)


def long_enough(samples: Sequence[FlowSample], fields: int) -> list[FlowSample]:
    """The samples with at least so many fields; all if none has as many. Those that cannot be read are kept: training
    skips and lists them."""

    enough = [sample for sample in samples if _has_fields(sample, fields) is not False] if fields > 1 else []
    return enough or list(samples)


def _has_fields(sample: FlowSample, fields: int) -> bool | None:
    """Whether a sample has so many fields; None if it cannot be read."""
    try:
        return sample.num_fields >= fields
    except (DataError, VideoError):
        return None


def _enough(samples: Sequence[FlowSample], fields: int, reporter: Reporter) -> list[FlowSample]:
    """`long_enough`, with a note if no sample is."""
    found = long_enough(samples, fields)
    if fields > 1 and found and _has_fields(found[0], fields) is False:
        reporter.line(
            f"Note: the network sees {fields} frames, and no sample has the flow of so many: the last frame is "
            "repeated, without flow. praxiscope dataset moving-shapes makes longer ones with --clips."
        )
    return found


def fit_flow_run(
    settings: TrainSettings,
    out: str | Path,
    *,
    resume: bool = False,
    command: str | None = None,
    reporter: Reporter | None = None,
) -> bool:
    """Train a flow network and write a run folder.

    Arguments, result and errors are those of `praxiscope.commands.train.train`.
    """
    run_once()
    folder = Path(out)
    settings = with_known_start(settings, folder if resume else None)
    check_flow_training(settings, folder, resume)
    state, before = TrainState(), settings
    if resume:
        state, before = check_resumable(folder, settings), load_yaml(folder / SETTINGS_FILE)
        if is_finished(state, settings.optim):
            (reporter or Reporter()).line(
                f"{folder} is already finished ({length_of(settings.optim)}). To train longer, use --resume --epochs N."
            )
            return True
    fabric = launch(settings)
    said = (fabric.is_global_zero and reporter) or Reporter()
    data = flow_data(settings, said)
    if resume and (split := SplitList(folder)).path.is_file():  # runs of earlier versions have none
        split.check_unchanged(data.records, data.name)
    network = _network(settings, resume, fabric, said)
    model: Any = network.model
    train, test = (_enough(samples, model.fields, said) for samples in (data.train, data.test))
    if fabric.is_global_zero:
        write_start(settings, folder, data.records, resume=resume, command=command, reporter=said)
    fabric.barrier()
    duration = _duration(settings, len(train), fabric.world_size)
    notes = update_length(state, before, settings, duration)
    _report_start(settings, data, network, (len(train), len(test)), duration, said)
    started = time.perf_counter()
    job = _Job(settings, folder, resume, fabric, said)
    complete = job.run(network, train, test, data.exact, duration, state, notes)
    if fabric.is_global_zero:
        merge_skipped(folder)
        report_run(folder)
        summarise(folder, settings, state, complete, time.perf_counter() - started, said)
    fabric.barrier()
    return complete


def _network(settings: TrainSettings, resume: bool, fabric: Any, reporter: Reporter) -> Network:
    """The network with its initial weights, on the device; those of a resumed run are loaded later."""
    torch.manual_seed(mix_seeds(settings.run.seed, 0))
    given, wanted = settings.model, settings.input
    words = {**model_keywords(given), "in_channels": 3 * wanted.frames}
    model: Any = create_model(given.name, **words)
    if given.start and not resume:
        parts = given.start_parts or [None] * len(given.start)
        starts = zip(given.start, parts, strict=True)
        for line in start_from_parts(given.name, model, starts, (), None):
            reporter.line(line)
    words.pop("pretrained", None)
    rgb = model.normalisation["rgb"]
    contract = InputContract(
        size=wanted.size,
        short_side=wanted.short_side,
        channels=3 * wanted.frames,
        mean=tuple(wanted.mean or rgb["mean"]),
        std=tuple(wanted.std or rgb["std"]),
        snippets=1,
        length=wanted.frames,
        flip=wanted.flip,
    )
    if channels_last(settings, fabric.device):
        to_channels_last(model)
    return Network(fabric.to_device(model), ModelCard(given.name, words, (), input=contract))


def _duration(settings: TrainSettings, samples: int, processes: int) -> Duration:
    optim = settings.optim
    if optim.batch > samples:
        raise ArgumentError(
            f"optim.batch = {optim.batch} is larger than the data set, which has "
            f"{counted(samples, 'training sample')}. Decrease --batch."
        )
    steps = EpochBatches.count(samples, optim.batch, processes) // optim.accumulate
    if not steps:
        raise ArgumentError(
            f"optim.accumulate = {optim.accumulate} is larger than the number of batches in an epoch. Decrease "
            "optim.accumulate or optim.batch."
        )
    return Duration.of(settings, steps)


def _report_start(
    settings: TrainSettings,
    data: FlowData,
    network: Network,
    counts: tuple[int, int],
    duration: Duration,
    reporter: Reporter,
) -> None:
    optim, given, model = settings.optim, settings.input, network.model
    train, test = counts
    kind = "known flow" if data.exact else "stored flow"
    reporter.line(
        f"{data.name}: {counted(train, 'training sample')} and {counted(test, 'test sample')} with {kind}."
    )
    length, *notes = duration.describe(optim)
    reporter.line(
        f"{length} of {optim.batch * optim.accumulate} clips of {given.frames} frames of {given.size} px; "
        f"{optim.name}, lr {optim.lr:g}, {optim.schedule} schedule."
    )
    for note in notes:
        reporter.line(note)
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    reporter.line(f"{network.card.name} on {settings.model.backbone}: {parameters:.2f} M parameters.")


@dataclass(frozen=True)
class _Job:
    """The objects that the parts of a run share."""

    settings: TrainSettings
    folder: Path
    resume: bool
    fabric: Any
    reporter: Reporter

    def run(
        self,
        network: Network,
        train: Sequence[FlowSample],
        test: Sequence[FlowSample],
        exact: bool,
        duration: Duration,
        state: TrainState,
        notes: Sequence[str],
    ) -> bool:
        """Run the training loop. Returns whether the run is complete."""
        settings, fabric = self.settings, self.fabric
        resumed = find_checkpoint(self.folder, "last") if self.resume else None
        model, optimizer = set_up(settings, network, fabric, state, resumed, notes, self.reporter)
        validation = FlowValidation(settings, network, fabric, test, self.reporter, duration.steps)
        log = None
        if fabric.is_global_zero:
            step = state.step if self.resume else None
            log = open_log(settings, self.folder, step, self.reporter)
        prepare = preparer(settings, network.card.input, fabric.device)
        step_of = settings.backprop
        weights = step_of.resolution_weights if isinstance(step_of, ActionFlowSettings) else None
        try:
            return fit(
                fabric,
                model,
                optimizer,
                flow_only(weights, prepare=prepare),
                plan=make_plan(settings, duration),
                state=state,
                batches=self._batches(network.model, train, exact),
                callbacks=Callbacks(
                    log=log.write if log else lambda row: None,
                    save=partial(save, run=self.folder, optimizer=optimizer, validation=validation),
                    end_epoch=validation,
                    record_skips=self._skips(state, len(train)),
                    record_damage=DamageList(
                        self.folder / of_process(DAMAGED_FILE, fabric.global_rank), self.reporter
                    ),
                    before_update=_nothing,
                    reporter=self.reporter,
                ),
            )
        finally:
            if log:
                log.close()

    def _batches(
        self, model: Any, train: Sequence[FlowSample], exact: bool
    ) -> Callable[[int, int], Iterator[Any]]:
        wanted = self.settings.input
        examples = FlowExamples(
            train,
            # A flow method sees frames at their own size; a network of videos those of `input.short_side`.
            NearNativeCrop(wanted.size) if exact else training_crop(wanted),
            model.frames,
            model.fields,
            model.flow_stride,
            rotation=wanted.rotation if exact else 0.0,
        )
        clips = TrainingClips(examples)
        return epoch_batches(
            self.settings, [(0,)] * len(train), self.fabric, lambda epoch: clips, lambda: collate
        )

    def _skips(self, state: TrainState, samples: int) -> Callable[[list[Any]], None]:
        """Record samples that cannot be read, and raise if they are too many."""
        path = self.folder / of_process(SKIPPED_FILE, self.fabric.global_rank)

        def record(skips: list[Any]) -> None:
            new = {skip.id: skip.problem for skip in skips if skip.id not in state.skipped}
            if not new:
                return
            state.skipped |= new
            write_skipped(path, state.skipped)
            for problem in new.values():
                self.reporter.line(f"Skipped: {problem}")
            check_skips(len(state.skipped), samples, self.settings.data.max_skip, path)

        return record


def _nothing(number: int, batches: list[Batch]) -> None:
    """Nothing is done before an update."""
