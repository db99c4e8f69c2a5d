"""How ``praxiscope predict`` prints what it found."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from praxiscope.cli.common import print_json, print_table
from praxiscope.units import counted

if TYPE_CHECKING:
    from praxiscope.commands.predict import Failure
    from praxiscope.evaluation.answers import NoneBelow
    from praxiscope.inference.fused import AnyRecogniser
    from praxiscope.progress import Reporter
    from praxiscope.types import Prediction, Segment

__all__ = ["NONE", "DrawnVideos", "Refusals", "print_predictions", "reported_predictions", "stream_csv"]

NONE = "none of these"


def print_predictions(reported: Iterator[Prediction | Failure], json: bool, as_csv: bool) -> bool:
    """Print what was found; returns whether a video failed."""
    from praxiscope.commands.predict import Failure

    if as_csv:
        return _print_csv(reported)
    results = list(reported)
    if json:
        print_json([_as_json(result) for result in results])
    else:
        _print_tables([result for result in results if not isinstance(result, Failure)])
    return any(isinstance(result, Failure) for result in results)


class Refusals:
    """Counts the answers "none of these", and explains them once for a command."""

    def __init__(self, none_below: NoneBelow, calibration: Mapping[str, Any]) -> None:
        self.none_below, self.calibration = none_below, calibration
        self.answers = self.refused = 0
        self.what = "video"

    def add(self, answer: Prediction | Segment) -> None:
        self.answers += 1
        self.refused += answer.none_of_these

    def add_prediction(self, prediction: Prediction) -> None:
        if prediction.segments:
            self.what = "window"
            for segment in prediction.segments:
                self.add(segment)
        else:
            self.add(prediction)

    def report(self, speaker: Reporter) -> None:
        from praxiscope.evaluation.answers import find_threshold

        if not self.refused:
            return
        threshold, about = find_threshold(self.none_below, self.calibration), self.calibration
        text = f"None of these: {self.refused} of {counted(self.answers, self.what)}, with a best class below"
        if self.none_below != "auto":
            speaker.line(f"{text} {threshold:g} (--none-below).")
            return
        rate, clips = f"{100 * about['false_refusals']:.1f} %", about.get("videos")
        found = f" ({clips} clips, {about['source']})" if clips and about.get("source") else ""
        speaker.line(
            f"{text} {threshold:.3f}. Of videos of the known classes, {rate} are expected there too{found}. "
            "To turn this off: --none-below off."
        )


def reported_predictions(
    predictions: Iterator[Prediction | Failure], total: int, refusals: Refusals, speaker: Reporter
) -> Iterator[Prediction | Failure]:
    """The predictions, with progress, damage and errors on standard error."""
    from praxiscope.commands.predict import Failure

    with speaker.bar("predicting", total) as bar:
        for result in predictions:
            bar.advance()
            if isinstance(result, Failure):
                speaker.line(f"error: {result.error}")
            else:
                refusals.add_prediction(result)
                if result.damage:
                    speaker.line(f"Damaged: {result.source}: {result.damage}")
            yield result


def _print_csv(predictions: Iterator[Prediction | Failure]) -> bool:
    """Print rows as they come; returns whether a video failed."""
    from praxiscope.commands.predict import Failure

    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(["source", "rank", "label", "score", "none_of_these"])
    failed = False
    for result in predictions:
        if isinstance(result, Failure):
            failed = True
            continue
        for rank, (label, score) in enumerate(zip(result.labels, result.scores, strict=True), 1):
            rows.writerow([result.source, rank, label, f"{score:.6f}", int(result.none_of_these)])
        sys.stdout.flush()
    return failed


def _as_json(result: Prediction | Failure) -> dict[str, Any]:
    from praxiscope.commands.predict import Failure

    content = asdict(result)
    if not isinstance(result, Failure):
        content["segments"] = [segment._asdict() for segment in result.segments]
    return content


def stream_csv(
    recogniser: AnyRecogniser,
    files: list[str | Failure],
    window: tuple[float, float],
    top: int,
    refusals: Refusals,
    speaker: Reporter,
    drawn: DrawnVideos,
) -> bool:
    """Print the windows (length and stride in seconds) as they come; returns whether a video failed."""
    from praxiscope.commands.predict import Failure
    from praxiscope.errors import DataError, VideoError
    from praxiscope.progress import clock
    from praxiscope.types import Prediction
    from praxiscope.video.decode import known_damage
    from praxiscope.video.opening import open_video

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["source", "start_s", "end_s", "rank", "label", "score", "none_of_these"])
    failed = False
    refusals.what = "window"
    with speaker.bar("predicting", len(files)) as bar:
        for number, source in enumerate(files):
            bar.advance(min(number, 1))
            if isinstance(source, Failure):
                speaker.line(f"error: {source.error}")
                failed = True
                continue
            try:
                video = open_video(source)
                video.quick_length()  # so that duration_s need not decode the file
                length_s = video.duration_s
                segments = recogniser.timeline(
                    source, window_s=window[0], stride_s=window[1], top=top, none_below=refusals.none_below
                )
                kept: list[Segment] = []
                for segment in segments:
                    refusals.add(segment)
                    if drawn.asked:
                        kept.append(segment)
                    for rank, (label, score) in enumerate(
                        zip(segment.labels, segment.scores, strict=True), 1
                    ):
                        times = (f"{segment.start_s:.3f}", f"{segment.end_s:.3f}")
                        none = int(segment.none_of_these)
                        writer.writerow([source, *times, rank, label, f"{score:.6f}", none])
                    sys.stdout.flush()
                    part = min(1.0, segment.end_s / length_s) if length_s else 0.0
                    bar.advance(
                        0, f"{Path(source).name} at {clock(segment.end_s)}", (number + part) / len(files)
                    )
                drawn.add(Prediction(source, [], [], kept))
            except (VideoError, DataError) as error:
                speaker.line(f"error: {error}")
                failed = True
            if damage := known_damage(source):
                speaker.line(f"Damaged: {source}: {damage}")
        bar.advance()
    return failed


def _print_tables(results: list[Prediction]) -> None:
    for result in results:
        if result.segments:
            rows = [
                [f"{s.start_s:.2f}", f"{s.end_s:.2f}", _action(s), f"{s.scores[0]:.3f}"]
                for s in result.segments
            ]
            print_table(["start s", "end s", "action", "probability"], rows, title=result.source)
        else:
            rows = [
                [label, f"{score:.3f}"] for label, score in zip(result.labels, result.scores, strict=True)
            ]
            if result.none_of_these:
                rows.insert(0, [NONE, f"below {result.none_below:.3f}"])
            print_table(["action", "probability"], rows, title=result.source)


def _action(segment: Segment) -> str:
    best = segment.labels[0]
    return f"{NONE} (best: {best})" if segment.none_of_these else best


class DrawnVideos:
    """Writes each video with its answer drawn on it, if that is asked for.

    Args:
        files: the videos.
        out: the file to write, or a folder for several; None: nothing is written.
        speaker: shows progress.

    Raises:
        ArgumentError: ``out`` is not the name of a video, or of a folder for several.
    """

    def __init__(self, files: Sequence[str | Failure], out: Path | None, speaker: Reporter) -> None:
        self.asked, self._speaker = out is not None, speaker
        self._files: dict[str, Path] = {}
        if out is not None:
            from praxiscope.commands.label_video import written_files

            self._files = written_files([file for file in files if isinstance(file, str)], out)

    def add(self, result: Prediction | Failure) -> Prediction | Failure:
        """Write the video of a prediction; returns the prediction."""
        from praxiscope.commands.predict import Failure

        if self.asked and not isinstance(result, Failure):
            from praxiscope.commands.label_video import label_video

            label_video(result, self._files[result.source], self._speaker)
        return result
