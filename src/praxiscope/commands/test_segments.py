"""Test a recogniser on videos whose segments are known, after learning on training videos how to find them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from praxiscope.checkpoint import find_checkpoint, is_fused, write_json
from praxiscope.commands.arguments import SegmentOptions, TestOptions, check_test
from praxiscope.commands.report import write_test
from praxiscope.commands.segments import find_settings, follow, picture_of
from praxiscope.data.files import first_few
from praxiscope.data.labels import did_you_mean
from praxiscope.data.manifest import Manifest, load_records
from praxiscope.data.segments import SegmentedVideo, segmented_videos
from praxiscope.data.skipped import check_skips, write_skipped
from praxiscope.data.splitlist import Learned, SplitList
from praxiscope.errors import DataError, VideoError
from praxiscope.evaluation.report import Report, SegmentResults
from praxiscope.evaluation.segment_plots import TimedPicture
from praxiscope.evaluation.segments import (
    Segment,
    average_precisions,
    segments_overlap,
    summarise_segments,
)
from praxiscope.inference.fused import AnyRecogniser
from praxiscope.inference.loading import load_recogniser
from praxiscope.inference.options import LoadOptions
from praxiscope.inference.segment_learning import TimedVideo, learn_settings
from praxiscope.inference.segment_scores import scores_over_time
from praxiscope.inference.segments import (
    SegmentSettings,
    find_segments,
    load_settings,
    save_settings,
)
from praxiscope.processes import run_once
from praxiscope.progress import Reporter
from praxiscope.units import counted
from praxiscope.video.opening import open_video

__all__ = ["SegmentTest", "test_segments"]

_PICTURES = 6


@dataclass
class SegmentTest:
    """The result of a test on segments.

    Attributes:
        figures: the metrics, as fractions, by name; see `summarise_segments`.
        classes: a row for each class with true or predicted segments.
        settings: how the segments were found.
        predicted, truth: segments by the id of the video.
        skipped: problems of the videos that could not be read, by id.
        notes: remarks for the user.
        report: the HTML page; None if it could not be written.
    """

    figures: dict[str, Any]
    classes: list[dict[str, Any]]
    settings: SegmentSettings
    predicted: dict[str, list[Segment]]
    truth: dict[str, list[Segment]]
    skipped: dict[str, str]
    notes: list[str]
    report: Path | None = None


class _Read(NamedTuple):
    """A video with its scores over time, the times of its frames, and its true segments."""

    video: SegmentedVideo
    timed: TimedVideo
    times_s: Any  # float64 [T]


def test_segments(
    run: str | Path,
    data: str | Path,
    options: TestOptions = TestOptions(segments=SegmentOptions()),
    *,
    load: LoadOptions = LoadOptions(),
    command: str | None = None,
    reporter: Reporter | None = None,
) -> SegmentTest:
    """Find the segments of the held-out videos of a list with starts and ends, and compare them with the list.

    How segments are found is read from ``segments.json`` in the run's folder. If it does not exist, or is to be learned
    again, it is learned from the training videos of the list, if there are any, and written there.

    Args:
        run: a run or model folder.
        data: a CSV with starts and ends, or a layout that has them.
        options: which videos are tested; ``options.out`` is a .json file for figures and segments.
        load: how the model is loaded.
        command: the command line, for the report.
        reporter: shows progress.

    Raises:
        DataError: the list has no starts and ends, or labels that the model does not have, or no videos to test.
        TrainingError: more than ``options.max_skip`` of the videos cannot be read.
    """
    run_once()
    reporter, how = reporter or Reporter(), options.segments or SegmentOptions()
    check_test(run, data, options, load)
    manifest = load_records(
        data,
        split=options.split,
        annotations=Path(options.annotations) if options.annotations else None,
        random_split=False,
    )
    recogniser = load_recogniser(run, load)
    notes = list(manifest.notes)
    split = SplitList(Path(run), load.task)
    sides, known = _sides(segmented_videos(manifest), split.sides()), split.trained() | split.before()
    tested = sides.get(options.subset, [])
    if not tested:
        raise DataError(
            f"{manifest.name}: no {options.subset} videos. Use --subset {' or '.join(sides)}, or another list."
        )
    if options.subset != "train" and (seen := [video.id for video in tested if _seen(video, known)]):
        notes.append(
            f"The model was trained on {len(seen)} of {counted(len(tested), 'tested video')}, such as {seen[0]}."
        )
    for note in notes:
        reporter.line(f"Note: {note}")
    printed = len(notes)
    _check_labels(manifest, tested, recogniser)
    settings = find_settings(run, recogniser, how)
    if how.settings == "learn" or (how.settings == "auto" and load_settings(run) is None):
        training = [v for side in ("train", "val") if side != options.subset for v in sides.get(side, [])]
        training = _to_learn_from(training, known, notes)
        settings = _learn(Path(run), recogniser, training, settings, notes, reporter)
    found, skipped = _read(recogniser, tested, settings, "testing", reporter)
    _note_skips(skipped, len(tested), options, Path(run), notes, reporter)
    result = _measure(found, settings, skipped, notes)
    content = {"figures": result.figures, "classes": result.classes, **_plain(result)}
    if options.out is not None:
        Path(options.out).parent.mkdir(parents=True, exist_ok=True)
        write_json(Path(options.out), content)
    try:
        checkpoint = None if is_fused(run) else find_checkpoint(run, load.checkpoint).name
        asked = {"source": str(data), "checkpoint": checkpoint, "command": command}
        result.report = _report(Path(run), manifest, options, result, content, found, asked)
    except OSError as error:  # the run's folder may be read-only
        notes.append(f"The report in {run} cannot be written ({error.strerror}).")
    for note in notes[printed:]:
        reporter.line(f"Note: {note}")
    return result


def _sides(videos: Sequence[SegmentedVideo], known: Mapping[str, str]) -> dict[str, list[SegmentedVideo]]:
    """Videos by split: that of the list, else that of the run; without both, all are for testing."""
    sides: dict[str, list[SegmentedVideo]] = {}
    for video in videos:
        side = video.split or next((known[part.id] for part in video.parts if part.id in known), "test")
        sides.setdefault(side, []).append(video)
    return sides


def _check_labels(manifest: Manifest, videos: Sequence[SegmentedVideo], recogniser: AnyRecogniser) -> None:
    """Raise DataError for labels that the model does not have."""
    counts = Counter(label for video in videos for part in video.parts for label in part.labels)
    if unknown := sorted(label for label in counts if label not in recogniser.labels):
        total = sum(counts[label] for label in unknown)
        raise DataError(
            f"{manifest.name}: {counted(total, 'segment has', 'segments have')} labels that the model does not have: "
            f"{first_few(unknown)}. {did_you_mean(unknown, recogniser.labels)}It has {len(recogniser.labels)}: "
            f"{first_few(recogniser.labels)}."
        )


def _read(
    recogniser: AnyRecogniser,
    videos: Sequence[SegmentedVideo],
    settings: SegmentSettings,
    description: str,
    reporter: Reporter,
) -> tuple[list[_Read], dict[str, str]]:
    """Scores over time and true segments of the videos that can be read; the problems of the others, by id."""
    found: list[_Read] = []
    skipped: dict[str, str] = {}
    with reporter.bar(description, len(videos)) as bar:
        for number, video in enumerate(videos):
            try:
                note = follow(bar, video.path, number, len(videos))
                scores = scores_over_time(
                    recogniser, video.path, settings.window_s, settings.stride_s, advance=note
                )
                times_s = open_video(video.path).timestamps()
                truth = [Segment(*action) for action in video.actions(float(scores.edges[-1]))]
                found.append(_Read(video, TimedVideo(scores, truth), times_s))
            except (VideoError, DataError) as error:
                skipped[video.id] = str(error)
            bar.advance()
    return found, skipped


def _seen(video: SegmentedVideo, known: Learned) -> bool:
    return any(part in known for part in video.parts)


def _to_learn_from(
    videos: Sequence[SegmentedVideo], known: Learned, notes: list[str]
) -> list[SegmentedVideo]:
    """The training videos with segments that the network has not learned, since it is less certain of new videos; all
    of them if it has learned them all."""
    labelled = [video for video in videos if any(part.labels for part in video.parts)]
    fresh = [video for video in labelled if not _seen(video, known)]
    if not labelled:
        notes.append("The list has no training videos with segments: default thresholds are used.")
    elif not fresh:
        notes.append(
            "The network was trained on all training videos of the list, so thresholds learned from them may be too "
            "high. Other videos in the list, with the split train, avoid this."
        )
    return fresh or labelled


def _learn(
    run: Path,
    recogniser: AnyRecogniser,
    videos: Sequence[SegmentedVideo],
    start: SegmentSettings,
    notes: list[str],
    reporter: Reporter,
) -> SegmentSettings:
    """Learn the settings on the segments of videos, and write them; the given ones if there are none."""
    if not videos:
        return start
    found, skipped = _read(recogniser, videos, start, "reading training videos", reporter)
    timed = [each.timed for each in found]
    if not any(video.segments for video in timed):
        notes.append("No training video with segments can be read: default thresholds are used.")
        return start
    overlap = recogniser.card.multi_label or any(segments_overlap(video.segments) for video in timed)
    with reporter.bar("choosing thresholds", None) as bar:
        learned = learn_settings(
            timed, replace(start, overlap=overlap), lambda done, total: bar.advance(1, f"{done} of {total}")
        )
    used = f"learned from {counted(len(timed), 'training video')}"
    if skipped:
        used += f" ({len(skipped)} cannot be read)"
    try:
        notes.append(f"How to find segments was {used}, and written to {save_settings(run, learned)}.")
    except OSError as error:
        notes.append(f"How to find segments was {used}; it cannot be written to {run} ({error.strerror}).")
    return learned


def _note_skips(
    skipped: Mapping[str, str],
    total: int,
    options: TestOptions,
    run: Path,
    notes: list[str],
    reporter: Reporter,
) -> None:
    """List the videos that cannot be read. Raises TrainingError for too many, DataError where none is left."""
    if not skipped:
        return
    listing = (run if options.out is None else Path(options.out).parent) / "skipped_test.csv"
    listing.parent.mkdir(parents=True, exist_ok=True)
    write_skipped(listing, skipped)
    notes.append(f"{counted(len(skipped), 'video')} cannot be read, see {listing}.")
    for problem in skipped.values():
        reporter.line(f"Skipped: {problem}")
    if len(skipped) == total:
        raise DataError(
            f"none of {counted(total, 'video')} can be read. First: {next(iter(skipped.values()))}"
        )
    check_skips(len(skipped), total, options.max_skip, listing)


def _measure(
    found: Sequence[_Read], settings: SegmentSettings, skipped: dict[str, str], notes: list[str]
) -> SegmentTest:
    predicted = {each.video.id: find_segments(each.timed.scores, settings) for each in found}
    truth = {each.video.id: list(each.timed.segments) for each in found}
    figures = summarise_segments(predicted, truth, {each.video.id: each.times_s for each in found})
    precisions = average_precisions(predicted, truth, 0.5)
    counts = [
        Counter(one.label for segments in side.values() for one in segments) for side in (truth, predicted)
    ]
    classes = [
        {
            "class": label,
            "segments": counts[0][label],
            "predicted": counts[1][label],
            "average_precision": precisions.get(label),
        }
        for label in sorted(counts[0] | counts[1])
    ]
    if "edit" not in figures:
        notes.append(
            "True segments overlap: edit score and frame accuracy, of one action at a time, are left out."
        )
    return SegmentTest(figures, classes, settings, predicted, truth, skipped, notes)


def _plain(result: SegmentTest) -> dict[str, Any]:
    """Settings and segments as plain values for JSON."""

    def rows(segments: Mapping[str, Sequence[Segment]]) -> dict[str, Any]:
        return {video: [segment._asdict() for segment in own] for video, own in segments.items()}

    truth = {
        video: [{key: value for key, value in row.items() if key != "score"} for row in own]
        for video, own in rows(result.truth).items()
    }
    return {
        "settings": dataclasses.asdict(result.settings),
        "predicted": rows(result.predicted),
        "truth": truth,
    }


def _report(
    run: Path,
    manifest: Manifest,
    options: TestOptions,
    result: SegmentTest,
    content: Mapping[str, Any],
    found: Sequence[_Read],
    asked: Mapping[str, Any],
) -> Path:
    now = datetime.now(timezone.utc)
    part = [f"split {options.split}"] if options.split is not None else []
    part += [options.subset] if options.subset != "test" else []
    about = {
        "date": now.isoformat(timespec="seconds"),
        "data": " ".join([manifest.name, *part]),
        "protocol": {"name": "segments"},
        **asked,
        "notes": list(result.notes),
        "skipped": result.skipped,
        **content,
    }
    pictures: list[TimedPicture] = [
        picture_of(
            each.video.path,
            each.timed.scores,
            result.predicted[each.video.id],
            result.settings,
            each.timed.segments,
            title=each.video.id,
        )
        for each in found[:_PICTURES]
    ]
    report = Report(
        title=f"Segments of {about['data']}, {now:%Y-%m-%d}",
        segments=SegmentResults(result.figures, result.classes, content["settings"], pictures),
        notes=result.notes,
    )
    return write_test(run, [manifest.name, *part, "segments"], about, report)


test_segments.__test__ = False  # type: ignore[attr-defined]  # pytest would take the name for a test's
