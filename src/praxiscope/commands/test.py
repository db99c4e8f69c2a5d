"""Test a recogniser on a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from praxiscope.checkpoint import ModelCard, find_checkpoint, is_fused, load_card
from praxiscope.commands.arguments import check_test
from praxiscope.commands.report import report_test
from praxiscope.data.dataset import Skip
from praxiscope.data.files import first_few
from praxiscope.data.labels import did_you_mean
from praxiscope.data.manifest import Manifest, load_records
from praxiscope.data.skipped import DamageList, check_skips, write_skipped
from praxiscope.data.splitlist import SplitList
from praxiscope.errors import ArgumentError, DataError
from praxiscope.evaluation.metrics import summarise
from praxiscope.evaluation.scores import Scores
from praxiscope.inference.fused import AnyRecogniser
from praxiscope.inference.loading import load
from praxiscope.processes import run_once
from praxiscope.progress import Reporter
from praxiscope.types import VideoRecord
from praxiscope.units import counted

__all__ = ["TestResult", "test"]


@dataclass
class TestResult:
    """What a test found.

    Attributes:
        scores: of every video that could be read.
        figures: the metrics, as fractions, by name.
        skipped: videos that could not be read.
        notes: sentences worth saying.
        report: the page that shows them; None where it could not be written.
    """

    __test__ = False  # pytest would take the name for a test's

    scores: Scores
    figures: dict[str, Any]
    skipped: list[Skip]
    notes: list[str]
    report: Path | None = None


def test(
    run: str | Path,
    data: str | Path,
    *,
    protocol: str | None = None,
    average: str | None = None,
    split: str | None = None,
    annotations: str | Path | None = None,
    subset: str = "test",
    out: str | Path | None = None,
    checkpoint: str | None = None,
    device: str = "auto",
    flow: str | Path | None = None,
    flow_range: float | None = None,
    flow_weights: str | Path | None = None,
    task: str | None = None,
    workers: int = 2,
    max_skip: float | None = None,
    time_limit_s: float = 300.0,
    command: str | None = None,
    reporter: Reporter | None = None,
) -> TestResult:
    """Score the held-out videos of a data set, and write a report of it into the run's folder ``tests/``.

    Of a data set without splits, the videos that the run held out are taken where they are the run's own, and
    else all of them. Videos that the run was trained on are named.

    Args:
        run: a run or model folder.
        data: as for training.
        protocol: views to average; None takes the recogniser's own.
        average: what of the views, "logits" or "softmax"; None is the protocol's own.
        split, annotations: for layouts with official splits.
        subset: which part of the data: "test", "val" or "train".
        out: scores file to write (.npz or .parquet).
        checkpoint: "last" or "best".
        flow, flow_range, flow_weights: of a model that sees flow; see ``praxiscope.load``.
        task: of a network that was trained on several data sets, which of them this one is; None takes the one whose
            classes hold all of this one's, where there is one alone.
        max_skip: largest share of unreadable videos; None is 5 %, but three never stop the test.
        command: the command line that asks for it, for the report.
        reporter: shows progress.

    Raises:
        ArgumentError: a task is to be named, or is not known.
        DataError: a label that the model does not know, or nothing to test.
        TrainingError: more than ``max_skip`` of the videos cannot be read.
    """
    run_once()
    reporter = reporter or Reporter()
    check_test(
        run,
        data,
        protocol=protocol,
        average=average,
        split=split,
        annotations=annotations,
        subset=subset,
        out=out,
        checkpoint=checkpoint,
        device=device,
    )
    tested = None if is_fused(run) else find_checkpoint(run, checkpoint)
    card = None if tested is None else load_card(tested)
    manifest = load_records(
        data, split=split, annotations=Path(annotations) if annotations else None, random_split=False
    )
    notes = list(manifest.notes)
    if card is not None and card.tasks and task is None:
        task = _find_task(card, manifest)
        notes.append(f"All classes of {manifest.name} are of the task {task}: its classifier is tested.")
    recogniser = load(
        run,
        checkpoint=checkpoint,
        device=device,
        flow=flow,
        flow_range=flow_range,
        flow_weights=flow_weights,
        task=task,
    )
    records = _choose(manifest, SplitList(Path(run), task).sides(), subset, notes)
    targets = _targets(recogniser, manifest, records)
    for note in notes:
        reporter.line(f"Note: {note}")
    listing = (Path(out).parent if out is not None else Path(run)) / "skipped_test.csv"
    note_damage = DamageList(listing.with_name("damaged_test.csv"), reporter)
    scores, skipped = recogniser.score(
        records,
        targets,
        protocol,
        average=average,
        workers=workers,
        time_limit_s=time_limit_s,
        reporter=reporter,
        note_damage=note_damage,
    )
    scores.protocol["data"] = manifest.name
    scores.protocol["split"] = split
    scores.protocol["subset"] = subset
    if task is not None:
        scores.protocol["task"] = task
    folder = Path(run)
    if out is not None and len(scores):
        scores.save(out)
    if skipped:
        listing.parent.mkdir(parents=True, exist_ok=True)
        write_skipped(listing, dict(skipped))
        notes.append(f"{counted(len(skipped), 'video')} could not be read, listed in {listing}.")
        for skip in skipped:
            reporter.line(f"Skipped: {skip.problem}")
        check_skips(len(skipped), len(records), max_skip, listing)
    if note_damage.found:
        notes.append(
            f"{counted(len(note_damage.found), 'video has', 'videos have')} lost frames, listed in {note_damage.path}."
        )
    if not len(scores):
        raise DataError(
            f"none of the {counted(len(records), 'video')} could be read. The first: {skipped[0].problem}"
        )
    figures = summarise(scores)
    said = len(notes)
    if scores.multi_label and (without := len(scores) - figures["labelled"]):
        notes.append(
            f"{without} of {len(scores)} tested videos have no label: in the mAP they are negatives of every class; "
            "other figures leave them out."
        )
    if empty := figures["classes_without_videos"]:
        notes.append(
            f"{len(empty)} of {figures['classes']} classes have no tested video and are left out of the means: "
            f"{first_few(empty)}"
        )
    report = None
    try:
        report = report_test(
            folder,
            scores,
            records,
            source=str(data),
            checkpoint=None if tested is None else tested.name,
            command=command,
            notes=notes,
            skipped=dict(skipped),
        )
    except OSError as error:  # somebody else's run: its figures are wanted all the same
        notes.append(f"The report in {folder} could not be written ({error.strerror}).")
    for note in notes[said:]:
        reporter.line(f"Note: {note}")
    return TestResult(scores, figures, skipped, notes, report)


def _find_task(card: ModelCard, manifest: Manifest) -> str:
    """The one task that has all classes of a data set."""
    fitting = [name for name in card.tasks if set(manifest.classes) <= set(card.of_task(name).labels)]
    if len(fitting) == 1:
        return fitting[0]
    who = f"{', '.join(fitting)} each have" if fitting else f"none of {', '.join(card.tasks)} has"
    raise ArgumentError(
        f"{manifest.name}: the network was trained on several data sets, and {who} all of these "
        f"{counted(len(manifest.classes), 'class', 'classes')}. Name the one that is meant: --task "
        f"{(fitting or list(card.tasks))[0]}."
    )


def _choose(manifest: Manifest, known: Mapping[str, str], subset: str, notes: list[str]) -> list[VideoRecord]:
    """The videos to test, with a note on those that the run has seen."""
    if any(record.split is None for record in manifest.records):
        if any(record.id in known for record in manifest.records):
            chosen = [r for r in manifest.records if known.get(r.id, "test") == subset]
            notes.append(
                f"{manifest.name} brings no split: the {subset} videos of this run's own split are taken."
            )
        else:
            chosen = list(manifest.records)
            notes.append(
                f"{manifest.name} brings no split: all of it is tested, {counted(len(chosen), 'video')}."
            )
    else:
        chosen = list(manifest.of(subset))
    if not chosen:
        there = sorted({str(record.split) for record in manifest.records} - {"None"})
        raise DataError(
            f"{manifest.name}: no {subset} videos. It has videos to "
            f"{' and to '.join(there) if there else 'train'}; choose them by --subset, or name another data set."
        )
    seen = [r.id for r in chosen if known.get(r.id) == "train"]
    if seen and subset != "train":
        notes.append(
            f"{len(seen)} of {counted(len(chosen), 'tested video')} {'was' if len(seen) == 1 else 'were'} "
            f"trained on, {seen[0]} for one."
        )
    return chosen


def _targets(recogniser: AnyRecogniser, manifest: Manifest, records: Sequence[VideoRecord]) -> list[Tensor]:
    """Targets in the *model's* classes, by name: class numbers, or multi-hot where videos have several labels or none,
    however the model was trained."""
    numbers = {name: number for number, name in enumerate(recogniser.labels)}
    unknown = sorted({label for record in records for label in record.labels if label not in numbers})
    if unknown:
        count = sum(any(label in unknown for label in record.labels) for record in records)
        raise DataError(
            f"{manifest.name}: {counted(count, 'video has', 'videos have')} labels that the model does not know: "
            f"{', '.join(unknown[:5])}{' …' if len(unknown) > 5 else ''}. {did_you_mean(unknown, numbers)}It knows "
            f"{len(numbers)}: {', '.join(recogniser.labels[:5])}{' …' if len(numbers) > 5 else ''}."
        )
    places = [[numbers[label] for label in record.labels] for record in records]
    if not recogniser.card.multi_label and all(len(own) == 1 for own in places):
        return [torch.tensor(own[0]) for own in places]
    targets = torch.zeros(len(records), len(numbers))
    for target, own in zip(targets, places, strict=True):
        target[own] = 1
    return list(targets)
