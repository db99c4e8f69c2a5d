"""Find the videos that a command line names, and predict each."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from praxiscope.data.files import is_video, videos_below
from praxiscope.errors import ArgumentError, DataError, VideoError
from praxiscope.fused import AnyRecogniser
from praxiscope.types import Prediction
from praxiscope.video.framefolder import is_frame_folder

__all__ = ["Failure", "find_sources", "parse_duration", "predict"]


@dataclass(frozen=True)
class Failure:
    """A video that could not be read."""

    source: str
    error: str


def find_sources(sources: Sequence[str]) -> list[str]:
    """The videos meant by files, folders (with all below, or their frames), globs and ``.txt`` lists (a path per line).

    Raises:
        ArgumentError: a source stands for nothing.
    """
    found: list[str] = []
    for source in sources:
        path = Path(source)
        if path.is_dir():
            inside = [str(video) for video in videos_below(path)]
            if not inside and not is_frame_folder(path):
                raise ArgumentError(f"{source}: no videos in this folder.")
            found += inside or [source]  # videos first: a picture beside them makes no frames of a folder
        elif path.is_file() and path.suffix.lower() in (".txt", ".list"):
            found += _listed(path)
        elif path.exists():
            found.append(source)
        elif any(sign in source for sign in "*?["):
            # "**" crosses folders, as in shells that know it.
            matches = sorted(
                m
                for m in glob.glob(source, recursive=True)  # noqa: PTH207
                if os.path.isfile(m) or is_frame_folder(m)  # noqa: PTH113
            )
            videos = [m for m in matches if is_video(Path(m)) or is_frame_folder(m)]
            if not videos:
                raise ArgumentError(f"{source}: matches no video ({len(matches)} other files).")
            found += videos
        else:
            raise ArgumentError(f"{source}: no such file or folder.")
    return list(dict.fromkeys(found))


def _listed(path: Path) -> list[str]:
    lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    names = [line for line in lines if line and not line.startswith("#")]
    if not names:
        raise ArgumentError(f"{path}: lists no videos.")
    return [name if Path(name).is_absolute() else str(path.parent / name) for name in names]


def predict(
    recogniser: AnyRecogniser,
    sources: Sequence[str],
    *,
    top: int = 5,
    protocol: str | None = None,
    average: str | None = None,
    window_s: float | None = None,
    stride_s: float | None = None,
) -> Iterator[Prediction | Failure]:
    """Predict every video, one after the other; one that cannot be read gives a Failure in its place.

    Args:
        recogniser: the model.
        sources: video files.
        top: classes to name.
        protocol: views to average over whole videos.
        average: what of the views, "logits" or "softmax"; None is the protocol's own.
        window_s: seconds; predict every window of that length instead, for a timeline.
        stride_s: from one window to the next; None is half a window.
    """
    for source in sources:
        try:
            if window_s is None:
                yield recogniser.predict(source, top=top, protocol=protocol, average=average)
            else:
                yield _timeline(recogniser, source, window_s, stride_s or window_s / 2, top)
        except (VideoError, DataError) as error:
            yield Failure(source, str(error))


def _timeline(
    recogniser: AnyRecogniser, source: str, window_s: float, stride_s: float, top: int
) -> Prediction:
    """All windows, and as the video's own labels the mean of their probabilities, of those they name."""
    segments = list(recogniser.timeline(source, window_s=window_s, stride_s=stride_s, top=top))
    total: dict[str, float] = {}
    for segment in segments:
        for label, score in zip(segment.labels, segment.scores, strict=True):
            total[label] = total.get(label, 0.0) + score / len(segments)
    best = sorted(total, key=lambda label: -total[label])[:top]
    return Prediction(source, best, [total[label] for label in best], segments)


def parse_duration(option: str, text: str) -> float:
    """Seconds of "2s", "500ms", "1.5m" or a plain number. Raises ArgumentError for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(ms|s|m|min|h)?\s*", text)
    seconds = 0.0
    if found:
        seconds = float(found[1]) * {"ms": 1e-3, "m": 60, "min": 60, "h": 3600}.get(found[2] or "s", 1.0)
    if seconds <= 0:
        raise ArgumentError(f"{option} {text}: expected a length above 0 such as 2s, 500ms or 1.5.")
    return seconds
