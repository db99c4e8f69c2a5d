"""Find the videos that a command line names, and predict each."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from praxiscope.data.files import is_video, left_out_note, search
from praxiscope.data.textfile import numbered_lines, read_text
from praxiscope.errors import ArgumentError, DataError, VideoError
from praxiscope.types import Prediction
from praxiscope.units import counted
from praxiscope.video.framefiles import is_frame_folder
from praxiscope.video.sources import is_address, no_file

if TYPE_CHECKING:
    from praxiscope.inference.fused import AnyRecogniser

__all__ = ["Failure", "find_sources", "predict"]


@dataclass(frozen=True)
class Failure:
    """A video that could not be read."""

    source: str
    error: str


def find_sources(
    sources: Sequence[str], note: Callable[[str], None] = lambda text: None
) -> list[str | Failure]:
    """The videos meant by files, folders (with all below, or their frames), globs and ``.txt`` lists (a path per line).

    Args:
        sources: as on a command line.
        note: is told what lies in a folder, or fits a glob, and is left out.

    Returns:
        The videos, each once; a Failure in place of a line of a list that names no file.

    Raises:
        ArgumentError: a source stands for nothing.
        DataError: a list is no text.
    """
    found: list[str | Failure] = []
    for source in sources:
        path = Path(source)
        if source and os.path.isdir(path):  # noqa: PTH112  (pathlib raises for a name too long for a file)
            videos, left_out = _inside(path)
            if not videos:
                raise ArgumentError(
                    " ".join((f"{source}: no videos in this folder.", *left_out_note(path, left_out)))
                )
            found += videos
        elif os.path.isfile(path) and path.suffix.lower() in (".txt", ".list"):  # noqa: PTH113
            found += _listed(path)
            continue
        elif path.suffix.lower() in (".csv", ".tsv"):
            raise ArgumentError(f"{source}: is no video. Lists of videos are .txt, with a path a line.")
        elif source and os.path.lexists(path):
            found.append(source)
            continue
        elif any(sign in source for sign in "*?[") and not is_address(source):
            videos, left_out = _matching(source)
            if not videos:
                raise ArgumentError(f"{source}: matches no video ({len(left_out)} other files).")
            found += videos
        else:
            raise ArgumentError(no_file(source, "Videos are files, folders, globs or .txt lists of paths."))
        for text in left_out_note(path if path.is_dir() else Path(), left_out):
            note(f"{source}: {text}")
    return list(dict.fromkeys(found))


def _inside(folder: Path) -> tuple[list[str], list[Path]]:
    """The videos below a folder, or itself where it holds frames, and what is left out there."""
    videos, left_out = search(folder)
    if videos:  # first: a picture beside them makes no frames of a folder
        return [str(video) for video in videos], left_out
    return ([str(folder)], []) if is_frame_folder(folder) else ([], left_out)


def _matching(pattern: str) -> tuple[list[str], list[Path]]:
    """The videos that a glob means, and what is left out; folders are searched, as where a shell expands it."""
    videos: list[str] = []
    left_out: list[Path] = []
    # "**" crosses folders, as in shells that know it.
    for match in map(Path, sorted(glob.glob(pattern, recursive=True))):  # noqa: PTH207
        if match.is_dir():
            inside, others = _inside(match)
            videos += inside
            left_out += others
        elif is_video(match):
            videos.append(str(match))
        else:
            left_out.append(match)
    return videos, list(dict.fromkeys(left_out))


def _listed(path: Path) -> list[str | Failure]:
    """What the lines of a list name, relative to its folder."""
    try:
        lines = numbered_lines(read_text(path))
    except DataError as error:
        raise DataError(f"{error} A {path.suffix} is read as a list of videos, a path a line.") from None
    found: list[str | Failure] = []
    for number, line in lines:
        bare = line[1:-1] if len(line) > 2 and line[0] == line[-1] and line[0] in "\"'" else line
        # A name may begin with a # or stand in quotes itself: what is on disk tells.
        place = next(
            (str(path.parent / name) for name in (line, bare) if os.path.lexists(path.parent / name)), None
        )
        if place is not None:
            found.append(place)
        elif not line.startswith("#"):
            said = no_file(bare, "A list has a path a line, relative to its folder.")
            found.append(Failure(bare, f"{path}, line {number}: {said}"))
    if not found:
        raise ArgumentError(f"{path}: lists no videos.")
    if all(isinstance(item, Failure) for item in found):
        first = found[0]
        assert isinstance(first, Failure)
        raise ArgumentError(
            f"none of the {counted(len(found), 'line')} of this list names a file that is there. {first.error}"
        )
    return found


def predict(
    recogniser: AnyRecogniser,
    sources: Sequence[str | Failure],
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
        sources: video files; a Failure comes out as it is.
        top: classes to name.
        protocol: views to average over whole videos.
        average: what of the views, "logits" or "softmax"; None is the protocol's own.
        window_s: seconds; predict every window of that length instead, for a timeline.
        stride_s: from one window to the next; None is half a window.
    """
    from praxiscope.video.decode import known_damage  # which imports torch; videos are found without it

    for source in sources:
        if isinstance(source, Failure):
            yield source
            continue
        try:
            if window_s is None:
                found = recogniser.predict(source, top=top, protocol=protocol, average=average)
            else:
                found = _timeline(recogniser, source, window_s, stride_s or window_s / 2, top)
            yield replace(found, damage=known_damage(source))
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
