"""Test a recogniser on a data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from praxiscope.checkpoint import ModelCard, find_checkpoint, is_fused, load_card
from praxiscope.commands.arguments import TestOptions, check_test
from praxiscope.commands.report import report_test
from praxiscope.data.dataset import Skip
from praxiscope.data.files import first_few
from praxiscope.data.labels import did_you_mean
from praxiscope.data.manifest import Manifest, load_records
from praxiscope.data.skipped import DamageList, check_skips, write_skipped
from praxiscope.data.splitlist import SplitList, note_on_learned
from praxiscope.errors import ArgumentError, DataError
from praxiscope.evaluation.metrics import summarise
from praxiscope.evaluation.scores import Scores
from praxiscope.features.store import FeatureStore, is_store
from praxiscope.inference.fused import AnyRecogniser
from praxiscope.inference.loading import load_recogniser
from praxiscope.inference.options import LoadOptions
from praxiscope.inference.recogniser import Recogniser
from praxiscope.inference.stored import needed_features, score_stored
from praxiscope.inference.trajectories import TrajectoryRecogniser
from praxiscope.processes import run_once
from praxiscope.progress import Reporter
from praxiscope.trajectories.store import StoredTrajectories, is_trajectories
from praxiscope.types import VideoRecord
from praxiscope.units import counted

__all__ = ["TestResult", "test"]


_Score: TypeAlias = Callable[[Sequence[VideoRecord], Sequence[Tensor], DamageList], tuple[Scores, list[Skip]]]


@dataclass
class TestResult:
    """The result of a test.

    Attributes:
        scores: of the videos that could be read.
        figures: the metrics, as fractions, by name.
        skipped: the other videos.
        notes: remarks for the user.
        report: the HTML page; None if it could not be written.
    """

    __test__ = False  # not a test of pytest

    scores: Scores
    figures: dict[str, Any]
    skipped: list[Skip]
    notes: list[str]
    report: Path | None = None


def test(
    run: str | Path,
    data: str | Path,
    options: TestOptions = TestOptions(),
    *,
    load: LoadOptions = LoadOptions(),
    command: str | None = None,
    reporter: Reporter | None = None,
) -> TestResult:
    """Score the held-out videos of a data set, and write a report into ``tests/`` of the run's folder.

    If the data are a feature store, a model that learned from features scores the stored ones; others read the videos.

    A data set without splits is split as in training if it is the run's own; otherwise all of it is tested. Videos that
    the run was trained on are reported.

    Args:
        run: a run or model folder.
        data: a folder of class folders, a CSV file, ``LAYOUT:FOLDER``, or a feature store.
        options: what is scored, and how.
        load: how the model is loaded. For a network that was trained on several data sets, ``task`` may be left out if
            one of them alone has all classes of ``data``.
        command: the command line, for the report.
        reporter: shows progress.

    Raises:
        ArgumentError: the task is missing or unknown.
        DataError: a label is not a class of the model, or there are no videos to test.
        TrainingError: more than ``options.max_skip`` of the videos cannot be read.
    """
    run_once()
    reporter = reporter or Reporter()
    check_test(run, data, options, load)
    tested = None if is_fused(run) else find_checkpoint(run, load.checkpoint)
    manifest = load_records(
        data,
        split=options.split,
        annotations=Path(options.annotations) if options.annotations else None,
        random_split=False,
    )
    notes = list(manifest.notes)
    card = None if tested is None else load_card(tested)
    if card is not None and card.tasks and load.task is None:
        load = replace(load, task=_find_task(card, manifest))
        notes.append(f"{manifest.name} has classes of the data set {load.task}: this classifier is tested.")
    recogniser = load_recogniser(run, load)
    records = _choose(manifest, SplitList(Path(run), load.task), options.subset, notes)
    targets = _targets(recogniser, manifest, records)
    for note in notes:
        reporter.line(f"Note: {note}")
    printed = len(notes)
    about = {"data": manifest.name, "split": options.split, "subset": options.subset}
    about |= {} if load.task is None else {"task": load.task}
    score = _scorer(recogniser, data, options, notes, reporter)
    scores, skipped = _score(score, records, targets, options, Path(run), about, notes, reporter)
    figures = summarise(scores)
    notes += _notes_on(scores, figures)
    report = None
    try:
        report = report_test(
            run,
            scores,
            records,
            source=str(data),
            checkpoint=None if tested is None else tested.name,
            command=command,
            notes=notes,
            skipped=dict(skipped),
        )
    except OSError as error:  # the run's folder may be read-only
        notes.append(f"The report in {run} cannot be written ({error.strerror}).")
    for note in notes[printed:]:
        reporter.line(f"Note: {note}")
    return TestResult(scores, figures, skipped, notes, report)


def _scorer(
    recogniser: AnyRecogniser, data: str | Path, options: TestOptions, notes: list[str], reporter: Reporter
) -> _Score:
    """Return the function that scores videos: by stored features, if the data have them and the model takes them."""
    if isinstance(recogniser, Recogniser) and is_store(data) and needed_features(recogniser) is not None:
        store = FeatureStore(data)
        notes.append(f"Scored by the features in {data}, without reading the videos.")
        return lambda records, targets, note_damage: score_stored(
            recogniser, store, records, targets, options.protocol, reporter=reporter
        )
    if isinstance(recogniser, TrajectoryRecogniser) and is_trajectories(data):
        stored = StoredTrajectories(data)
        notes.append(f"Scored by the trajectories in {data}, without reading the videos.")
        return lambda records, targets, note_damage: recogniser.score_stored(
            stored, records, targets, reporter=reporter
        )
    return lambda records, targets, note_damage: recogniser.score(
        records,
        targets,
        options.protocol,
        average=options.average,
        workers=options.workers,
        time_limit_s=options.time_limit_s,
        reporter=reporter,
        note_damage=note_damage,
    )


def _score(
    score: _Score,
    records: Sequence[VideoRecord],
    targets: Sequence[Tensor],
    options: TestOptions,
    run: Path,
    about: Mapping[str, Any],
    notes: list[str],
    reporter: Reporter,
) -> tuple[Scores, list[Skip]]:
    """Score the videos and write their scores; list those that cannot be read, and those that have lost frames.

    Raises:
        DataError: no video can be read.
        TrainingError: too many videos cannot be read.
    """
    listing = (Path(options.out).parent if options.out is not None else run) / "skipped_test.csv"
    note_damage = DamageList(listing.with_name("damaged_test.csv"), reporter)
    scores, skipped = score(records, targets, note_damage)
    scores.protocol |= about
    if options.out is not None and len(scores):
        scores.save(options.out)
    if skipped:
        listing.parent.mkdir(parents=True, exist_ok=True)
        write_skipped(listing, dict(skipped))
        notes.append(f"{counted(len(skipped), 'video')} cannot be read, see {listing}.")
        for skip in skipped:
            reporter.line(f"Skipped: {skip.problem}")
        check_skips(len(skipped), len(records), options.max_skip, listing)
    if found := note_damage.found:
        notes.append(
            f"{counted(len(found), 'video has', 'videos have')} lost frames, see {note_damage.path}."
        )
    if not len(scores):
        raise DataError(f"none of {counted(len(records), 'video')} can be read. First: {skipped[0].problem}")
    return scores, skipped


def _notes_on(scores: Scores, figures: Mapping[str, Any]) -> list[str]:
    """Remarks on videos without a label, and on classes without a video."""
    notes = []
    if scores.multi_label and (without := len(scores) - figures["labelled"]):
        notes.append(
            f"{without} of {len(scores)} tested videos have no label. The mAP counts them as negatives of every class; "
            "other figures leave them out."
        )
    if empty := figures["classes_without_videos"]:
        notes.append(
            f"{len(empty)} of {figures['classes']} classes have no tested video and are left out of the means: "
            f"{first_few(empty)}"
        )
    return notes


def _find_task(card: ModelCard, manifest: Manifest) -> str:
    """Return the task that has all classes of a data set."""
    fitting = [name for name in card.tasks if set(manifest.classes) <= set(card.of_task(name).labels)]
    if len(fitting) == 1:
        return fitting[0]
    which = f"each of {', '.join(fitting)} has" if fitting else f"none of {', '.join(card.tasks)} has"
    raise ArgumentError(
        f"{manifest.name}: --task is needed. The network was trained on several data sets, and {which} all "
        f"{counted(len(manifest.classes), 'class', 'classes')} of this one. For example: --task "
        f"{(fitting or list(card.tasks))[0]}."
    )


def _choose(manifest: Manifest, split: SplitList, subset: str, notes: list[str]) -> list[VideoRecord]:
    """Return the videos to test, and report those that the run, or an earlier one, was trained on."""
    known = split.sides()
    if any(record.split is None for record in manifest.records):
        if any(record.id in known for record in manifest.records):
            chosen = [r for r in manifest.records if known.get(r.id, "test") == subset]
            notes.append(f"{manifest.name} has no split: the {subset} videos of the run's split are tested.")
        else:
            chosen = list(manifest.records)
            notes.append(
                f"{manifest.name} has no split: all of it is tested, {counted(len(chosen), 'video')}."
            )
    else:
        chosen = list(manifest.of(subset))
        if subset == "val" and not chosen:  # those that the run held out of the training videos
            chosen = [record for record in manifest.of("train") if known.get(record.id) == "val"]
    if not chosen:
        there = sorted({str(record.split) for record in manifest.records} - {"None"})
        raise DataError(
            f"{manifest.name}: no {subset} videos. Use --subset {' or '.join(there) or 'train'}, or another data set."
        )
    if subset != "train":
        trained = split.trained()
        if seen := [record.id for record in chosen if record in trained]:
            notes.append(
                f"The model was trained on {len(seen)} of {counted(len(chosen), 'tested video')}, such as {seen[0]}."
            )
        notes += note_on_learned(chosen, split.before())
    return chosen


def _targets(recogniser: AnyRecogniser, manifest: Manifest, records: Sequence[VideoRecord]) -> list[Tensor]:
    """Targets as numbers of the *model's* classes; multi-hot if a video has several labels or none."""
    numbers = {name: number for number, name in enumerate(recogniser.labels)}
    unknown = sorted({label for record in records for label in record.labels if label not in numbers})
    if unknown:
        count = sum(any(label in unknown for label in record.labels) for record in records)
        raise DataError(
            f"{manifest.name}: {counted(count, 'video has', 'videos have')} labels that the model does not have: "
            f"{', '.join(unknown[:5])}{' …' if len(unknown) > 5 else ''}. {did_you_mean(unknown, numbers)}It has "
            f"{len(numbers)}: {', '.join(recogniser.labels[:5])}{' …' if len(numbers) > 5 else ''}."
        )
    places = [[numbers[label] for label in record.labels] for record in records]
    if not recogniser.card.multi_label and all(len(own) == 1 for own in places):
        return [torch.tensor(own[0]) for own in places]
    targets = torch.zeros(len(records), len(numbers))
    for target, own in zip(targets, places, strict=True):
        target[own] = 1
    return list(targets)
