"""What is done with a video, step by step: each kind of job is a generator of messages."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from praxiscope.errors import ArgumentError, DataError, PraxiscopeError
from praxiscope.serve.options import LONG_S

if TYPE_CHECKING:
    from praxiscope.inference.fused import AnyRecogniser

__all__ = ["KINDS", "Steps", "Worker", "error_text", "predict_together"]

_THUMBS, _THUMB_ROWS = 12, 120
Steps = Iterator[dict[str, Any]]


class Worker:
    """The network and the library of a server.

    Args:
        run: folder of the network.
        library: of `praxiscope.commands.index`, or None.
        device, checkpoint, task, runtime: see `praxiscope.load`.
    """

    def __init__(
        self,
        run: str,
        library: str | None,
        device: str,
        checkpoint: str | None,
        task: str | None,
        runtime: str,
    ) -> None:
        from praxiscope.inference.loading import load

        self.recogniser: AnyRecogniser = load(
            run, checkpoint=checkpoint, device=device, task=task, runtime=runtime
        )
        self.library = None
        self.device = device
        self.progress: Callable[[float, str], None] = lambda share, text: None  # of the job that goes on
        if library is not None:
            from praxiscope.retrieval.library import Library

            self.library = Library(library)

    @property
    def takes_all(self) -> bool:
        """Whether the answer is, by default, one of all frames."""
        from praxiscope.evaluation.protocols import parse_protocol

        parts: Sequence[Any] = self.recogniser.parts
        return any(parse_protocol(part.default_protocol()).sampling == "all" for part in parts)

    @property
    def none_below(self) -> float | None:
        """The probability below which an answer is none of the classes."""
        from praxiscope.evaluation.answers import find_threshold

        return find_threshold("auto", self.recogniser.calibration)

    def answer(self, path: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of ``praxiscope predict``, as its ``--json`` has it."""
        found = self.recogniser.predict(path, settings.get("top", 5), settings.get("protocol"))
        return {
            "labels": found.labels,
            "scores": found.scores,
            "none_of_these": found.none_of_these,
            "none_below": found.none_below,
        }


def predict(worker: Worker, path: str, settings: Mapping[str, Any]) -> Steps:
    """The answer for one video; of all frames of a long one the mean over windows, which other jobs can interrupt."""
    if not (settings["long"] and settings["protocol"] is None and worker.takes_all):
        yield {"kind": "answer", "answer": worker.answer(path, settings)}
        return
    windows = _Windows()
    for segment in _timeline(worker, path, settings):
        windows.add(segment)
        yield {"kind": "beat"}
    yield {"kind": "answer", "answer": windows.answer(settings["top"], worker.none_below)}


def predict_together(
    worker: Worker,
    jobs: Mapping[str, str],
    settings: Mapping[str, Any],
    begin: Callable[[str], bool],
    say: Callable[[dict[str, Any]], None],
) -> None:
    """The answers for several videos, whose views share the batches of the network.

    Args:
        worker: has the network.
        jobs: paths by job.
        settings: of all of them.
        begin: called with a job before its video is read; whether it is still wanted.
        say: called with the messages about the jobs.
    """
    import torch

    from praxiscope.evaluation.answers import find_threshold, is_none
    from praxiscope.evaluation.protocols import parse_protocol
    from praxiscope.inference.recogniser import best_labels
    from praxiscope.types import Clip, VideoRecord

    network: Any = worker.recogniser
    protocol = parse_protocol(settings.get("protocol") or network.default_protocol())
    ids = list(jobs)
    records = [VideoRecord(id, Path(jobs[id]), ()) for id in ids]
    reader = network.clip_reader(records, [torch.tensor(-1)] * len(ids), protocol)

    def clips() -> Iterator[Clip]:
        for number, id in enumerate(ids):
            if not begin(id):
                continue
            try:
                clip = reader.read(number)
                if clip.long:
                    say({"job": id, "kind": "answer", "answer": worker.answer(jobs[id], settings)})
                    say({"job": id, "kind": "done"})
                    continue
            except Exception as error:  # the others go on
                say({"job": id, "kind": "failed", "error": error_text(error)})
                continue
            yield clip

    threshold = find_threshold("auto", network.calibration)
    card = network.card
    for clip, logits in network.scorer(protocol).score(clips()):
        top = settings.get("top", 5)
        labels, scores = best_labels(logits, card.labels, card.multi_label, top, card.temperature)
        answer = {"labels": labels, "scores": scores, "none_of_these": is_none(scores, threshold)}
        say({"job": clip.id, "kind": "answer", "answer": {**answer, "none_below": threshold}})
        say({"job": clip.id, "kind": "done"})


def error_text(error: Exception) -> str:
    """What is said of an error: its message if it is one of praxiscope's."""
    if isinstance(error, (PraxiscopeError, OSError)):
        return str(error)
    return f"internal error: {type(error).__name__}: {error}"


def analyse(worker: Worker, path: str, settings: Mapping[str, Any]) -> Steps:
    """Thumbnails, the answer, and the timeline of one video as it is computed."""
    from praxiscope.video.decode import known_damage

    yield {"kind": "thumbs", "thumbs": thumbnails(path)}
    answered = float(settings["duration_s"]) <= LONG_S or not worker.takes_all
    if answered:
        yield {"kind": "answer", "answer": worker.answer(path, settings)}
    windows = _Windows()
    try:
        for segment in _timeline(worker, path, settings):
            windows.add(segment)
            labels, scores = segment.labels[:3], segment.scores[:3]
            row = [segment.start_s, segment.end_s, labels, scores, segment.none_of_these]
            yield {"kind": "window", "window": row}
    except (ArgumentError, DataError) as error:  # a model without windows
        yield {"kind": "note", "note": f"No timeline: {error}"}
    if windows.count:
        if not answered:
            yield {"kind": "answer", "answer": windows.answer(settings["top"], worker.none_below)}
        yield {"kind": "spread", "spread": windows.spread()}
    if damage := known_damage(path):
        yield {"kind": "note", "note": damage}


def _timeline(worker: Worker, path: str, settings: Mapping[str, Any]) -> Iterator[Any]:
    """The windows: the model's, further apart in a video that would have too many."""
    from praxiscope.inference.timeline import default_window

    contract = worker.recogniser.card.input
    window_s = default_window(contract)
    stride_s = 1.0 if contract.fps is None else window_s / 2
    stride_s = max(stride_s, float(settings["duration_s"]) / float(settings["windows"]))
    count = len(worker.recogniser.labels)
    yield from worker.recogniser.timeline(path, window_s=window_s, stride_s=stride_s, top=count)


class _Windows:
    """Mean and standard deviation of the probability of each class, over windows."""

    def __init__(self) -> None:
        self.count = 0
        self.none = True  # all of them show none of the classes
        self._sums: dict[str, tuple[float, float]] = {}

    def add(self, segment: Any) -> None:
        self.count += 1
        self.none = self.none and segment.none_of_these
        for label, score in zip(segment.labels, segment.scores, strict=True):
            once, twice = self._sums.get(label, (0.0, 0.0))
            self._sums[label] = once + score, twice + score * score

    def answer(self, top: int, none_below: float | None) -> dict[str, Any]:
        """The classes with the highest mean, as ``praxiscope predict --window`` gives them."""
        means = {label: once / self.count for label, (once, _) in self._sums.items()}
        best = sorted(means, key=lambda label: -means[label])[:top]
        scores = [means[label] for label in best]
        return {
            "labels": best,
            "scores": scores,
            "none_of_these": self.none,
            "none_below": none_below,
            "windows": self.count,
        }

    def spread(self) -> dict[str, list[float]]:
        """Mean and sample deviation by class."""
        found = {}
        for label, (once, twice) in self._sums.items():
            mean = once / self.count
            square = max(0.0, twice - self.count * mean * mean) / max(1, self.count - 1)
            found[label] = [mean, square**0.5]
        return found


def thumbnails(path: str, count: int = _THUMBS) -> list[dict[str, Any]]:
    """Frames in the middles of equal parts of a video: ``time_s``, and ``jpeg`` in base 64."""
    import numpy as np
    from PIL import Image

    from praxiscope.video.opening import open_video

    video = open_video(path)
    total = video.quick_length()
    numbers = np.unique(((np.arange(count) + 0.5) * total / count).astype(np.int64).clip(0, total - 1))
    times_s = video.timestamps()[numbers]
    side = min(_THUMB_ROWS, video.height, video.width)
    found = []
    for time_s, pixels in zip(times_s, video.arrays(numbers, short_side=side), strict=True):
        image = Image.fromarray(pixels)
        image.thumbnail((3 * _THUMB_ROWS, _THUMB_ROWS))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=80)
        found.append({"time_s": float(time_s), "jpeg": base64.b64encode(file.getvalue()).decode()})
    return found


def similar(worker: Worker, path: str, settings: Mapping[str, Any]) -> Steps:
    """The items of the library that are most like one video."""
    from praxiscope.commands.retrieve import retrieve

    if worker.library is None:
        raise ArgumentError("no library is served. Start the server with --library.")
    found = retrieve(worker.library, path, top=settings.get("top", 8), device=worker.device)
    hits = [
        {
            "id": hit.item.id,
            "labels": list(hit.item.labels),
            "similarity": float(hit.similarity),
            "start_s": float(hit.start_s),
            "end_s": float(hit.end_s),
            "whole": hit.whole,
            "thumbs": [base64.b64encode(image).decode() for image in worker.library.thumbs(hit.item.id)],
        }
        for hit in found.hits
    ]
    yield {"kind": "similar", "hits": hits}


def why(worker: Worker, path: str, settings: Mapping[str, Any]) -> Steps:
    """The page of ``praxiscope explain RUN VIDEO``."""
    from praxiscope.explain.why import explain_video

    found = explain_video(
        worker.recogniser, path, label=settings["label"], name=settings["name"], progress=worker.progress
    )
    yield {"kind": "page", "page": found.html(video_src=settings.get("video_src"))}


def preview(worker: Worker, path: str, settings: Mapping[str, Any]) -> Steps:
    """A copy of the video that browsers play, with its times and its sound."""
    from praxiscope.video.opening import open_video
    from praxiscope.video.redraw import redraw

    video = open_video(path)
    total, done = video.quick_length(), 0

    def advance() -> None:
        nonlocal done
        done += 1
        if done % 50 == 0:
            worker.progress(min(done / total, 1.0), "")

    if not Path(settings["out"]).parent.is_dir():
        raise ArgumentError("the video was removed")
    redraw(video, settings["out"], lambda pixels, time_s: pixels, advance)
    yield from ()


#: What can be done with a video, by name.
KINDS: dict[str, Callable[[Worker, str, Mapping[str, Any]], Steps]] = {
    "predict": predict,
    "analyse": analyse,
    "similar": similar,
    "why": why,
    "preview": preview,
}
