"""Find videos given as files, folders, globs or lists, and predict each."""

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
from praxiscope.evaluation.answers import NoneBelow, find_threshold
from praxiscope.types import Prediction
from praxiscope.units import counted
from praxiscope.video.framefiles import is_frame_folder
from praxiscope.video.sources import is_address, no_file

if TYPE_CHECKING:
    from praxiscope.commands.arguments import Views
    from praxiscope.inference.fused import AnyRecogniser
    from praxiscope.inference.recogniser import Recogniser

__all__ = ["Failure", "choose_runtime", "find_sources", "predict"]


@dataclass(frozen=True)
class Failure:
    """A video that could not be read."""

    source: str
    error: str


def find_sources(
    sources: Sequence[str], note: Callable[[str], None] = lambda text: None
) -> list[str | Failure]:
    """Find the videos of files, folders (videos in it or below, or its frames), globs and ``.txt`` lists.

    Args:
        sources: files, folders, globs or lists, as on a command line. A list has one path per line.
        note: called with messages about files, in a folder or matching a glob, that are left out.

    Returns:
        The videos, each once; a Failure for each line of a list whose file does not exist.

    Raises:
        ArgumentError: a source does not exist, or holds no video.
        DataError: a list is not a text file.
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
            raise ArgumentError(
                f"{source}: not a video. A list of videos is a .txt file with one path per line."
            )
        elif source and os.path.lexists(path):
            found.append(source)
            continue
        elif any(sign in source for sign in "*?[") and not is_address(source):
            videos, left_out = _matching(source)
            if not videos:
                raise ArgumentError(f"{source}: no video matches ({len(left_out)} other files do).")
            found += videos
        else:
            raise ArgumentError(no_file(source, "Give videos, folders, globs or .txt lists of paths."))
        for text in left_out_note(path if path.is_dir() else Path(), left_out):
            note(f"{source}: {text}")
    return list(dict.fromkeys(found))


def _inside(folder: Path) -> tuple[list[str], list[Path]]:
    """Return the videos in and below a folder (or the folder itself, if it contains frames), and the other files."""
    videos, left_out = search(folder)
    if videos:  # first: a folder of videos may also hold images
        return [str(video) for video in videos], left_out
    return ([str(folder)], []) if is_frame_folder(folder) else ([], left_out)


def _matching(pattern: str) -> tuple[list[str], list[Path]]:
    """The videos that match a glob, also in matching folders, and the files that are left out."""
    videos: list[str] = []
    left_out: list[Path] = []
    # "**" matches folders at any depth.
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
    """The videos in the lines of a list, relative to its folder."""
    try:
        lines = numbered_lines(read_text(path))
    except DataError as error:
        raise DataError(
            f"{error} A {path.suffix} file is read as a list of videos, one path per line."
        ) from None
    found: list[str | Failure] = []
    for number, line in lines:
        bare = line[1:-1] if len(line) > 2 and line[0] == line[-1] and line[0] in "\"'" else line
        # The name of a file may itself start with # or have quotes: take what exists.
        place = next(
            (str(path.parent / name) for name in (line, bare) if os.path.lexists(path.parent / name)), None
        )
        if place is not None:
            found.append(place)
        elif not line.startswith("#"):
            said = no_file(bare, "A list has one path per line, relative to its folder.")
            found.append(Failure(bare, f"{path}, line {number}: {said}"))
    if not found:
        raise ArgumentError(f"{path}: the list is empty.")
    if all(isinstance(item, Failure) for item in found):
        first = found[0]
        assert isinstance(first, Failure)
        raise ArgumentError(
            f"none of {counted(len(found), 'line')} is the path of a file. First: {first.error}"
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
    none_below: NoneBelow = "auto",
) -> Iterator[Prediction | Failure]:
    """Predict every video, one after the other; yields a Failure for one that cannot be read.

    Args:
        recogniser: the model.
        sources: video files; a Failure is yielded as it is.
        top: number of classes per video or window.
        protocol: views to average; None takes that of the model.
        average: how views are averaged, "logits" or "softmax"; None takes that of the protocol.
        window_s: predict every window of this length, seconds.
        stride_s: time from one window to the next, seconds; None is half a window.
        none_below: the probability of the best class below which a video or window shows none of the classes; see
            ``Recogniser.predict``.
    """
    from praxiscope.video.decode import known_damage  # imports torch, which finding videos does not need

    for source in sources:
        if isinstance(source, Failure):
            yield source
            continue
        try:
            if window_s is None:
                found = recogniser.predict(source, top, protocol, average, none_below)
            else:
                found = _timeline(recogniser, source, window_s, stride_s or window_s / 2, top, none_below)
            yield replace(found, damage=known_damage(source))
        except (VideoError, DataError) as error:
            yield Failure(source, str(error))


def choose_runtime(
    recogniser: AnyRecogniser,
    wish: str,
    sources: Sequence[str | Failure],
    views: Views,
    say: Callable[[str], None],
) -> None:
    """Choose what runs a recogniser, see `praxiscope.inference.kept_network.use_runtime`.

    Args:
        recogniser: of a run.
        wish: the runtime.
        sources, views: the videos to predict, and what is seen of each.
        say: called with lines for the user.
    """
    from praxiscope.inference.kept_network import use_runtime

    videos = [source for source in sources if isinstance(source, str)]
    network, count = recogniser.parts[0], 0.0
    # Only "auto" in float32 on a CPU depends on the number of snippets.
    if wish == "auto" and network.device.type == "cpu" and network.precision.name == "32":
        count = _snippets(network, videos, views)
    use_runtime(recogniser, wish, protocol=views.protocol, snippets=count, say=say)


def _snippets(network: Recogniser, videos: Sequence[str], views: Views) -> float:
    """About how many snippets are seen of all videos."""
    from praxiscope.evaluation.protocols import parse_protocol

    if views.window_s is not None:
        windows = sum(map(_seconds, videos)) / (views.stride_s or views.window_s / 2)
        return windows * network.card.input.snippets
    chosen = parse_protocol(views.protocol or network.default_protocol())
    if chosen.sampling == "all":
        rate = network.card.input.fps or _FRAMES_PER_S
        return sum(map(_seconds, videos)) * rate * chosen.crop_count
    return float(len(videos) * chosen.views * (network.sees.together or 1))


_FRAMES_PER_S = 25  # of most videos


def _seconds(video: str) -> float:
    """The length of a video; 0 if it cannot be read."""
    from praxiscope.video.opening import open_video

    try:
        opened = open_video(video)
        return opened.duration_s if opened.quick_length() else 0.0
    except VideoError:
        return 0.0


def _timeline(
    recogniser: AnyRecogniser,
    source: str,
    window_s: float,
    stride_s: float,
    top: int,
    none_below: NoneBelow,
) -> Prediction:
    """Predict all windows. The labels of the video are the classes with the highest mean probability over windows."""
    segments = list(
        recogniser.timeline(source, window_s=window_s, stride_s=stride_s, top=top, none_below=none_below)
    )
    total: dict[str, float] = {}
    for segment in segments:
        for label, score in zip(segment.labels, segment.scores, strict=True):
            total[label] = total.get(label, 0.0) + score / len(segments)
    best = sorted(total, key=lambda label: -total[label])[:top]
    return Prediction(
        source,
        best,
        [total[label] for label in best],
        segments,
        none_of_these=bool(segments) and all(segment.none_of_these for segment in segments),
        none_below=find_threshold(none_below, recogniser.calibration),
        runtime=recogniser.runtime,
    )
