"""Find who does what from when to when in videos, with the settings of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from praxiscope.commands.arguments import SegmentOptions
from praxiscope.commands.predict import Failure
from praxiscope.errors import DataError, PraxiscopeError, VideoError
from praxiscope.evaluation.segment_plots import TimedPicture
from praxiscope.evaluation.segments import Segment
from praxiscope.inference.fused import AnyRecogniser
from praxiscope.inference.segment_scores import default_windows, scores_over_time
from praxiscope.inference.segments import (
    ScoresOverTime,
    SegmentSettings,
    default_settings,
    find_segments,
    load_settings,
    smooth_over_time,
)
from praxiscope.progress import Bar, Reporter, clock
from praxiscope.video.decode import known_damage
from praxiscope.video.opening import open_video

__all__ = ["VideoSegments", "find_settings", "follow", "picture_of", "segments", "with_windows"]


@dataclass(frozen=True)
class VideoSegments:
    """What was found in one video.

    Attributes:
        source: the file.
        segments: by their starts.
        scores: the probabilities over time that they were found in.
        damage: the frames of the video that do not decode, as a clause; empty for none.
    """

    source: str
    segments: list[Segment]
    scores: ScoresOverTime
    damage: str = ""


def find_settings(
    run: str | Path | None, recogniser: AnyRecogniser, options: SegmentOptions
) -> SegmentSettings:
    """The settings that were learned for a run, else the defaults of its model; with the given window and stride."""
    saved = None if run is None or options.settings == "default" else load_settings(run)
    if saved is None:
        window_s, stride_s = default_windows(recogniser)
        saved = replace(
            default_settings(recogniser.calibration, len(recogniser.labels), recogniser.card.multi_label),
            window_s=window_s,
            stride_s=stride_s,
        )
    return with_windows(saved, options)


def with_windows(settings: SegmentSettings, options: SegmentOptions) -> SegmentSettings:
    """Settings with the window and the stride of the options, if there are some."""
    if options.window_s is not None:
        settings = replace(settings, window_s=options.window_s, stride_s=options.window_s / 2)
    if options.stride_s is not None:
        settings = replace(settings, stride_s=options.stride_s)
    return settings


def segments(
    recogniser: AnyRecogniser,
    sources: Sequence[str | Failure],
    settings: SegmentSettings,
    reporter: Reporter | None = None,
) -> Iterator[VideoSegments | Failure]:
    """Find the segments of every video, one after the other; yields a Failure for one that cannot be read."""
    with (reporter or Reporter()).bar("finding segments", len(sources)) as bar:
        for number, source in enumerate(sources):
            if isinstance(source, Failure):
                yield source
            else:
                try:
                    note = follow(bar, source, number, len(sources))
                    scores = scores_over_time(
                        recogniser, source, settings.window_s, settings.stride_s, advance=note
                    )
                    yield VideoSegments(source, find_segments(scores, settings), scores, known_damage(source))
                except (VideoError, DataError) as error:
                    yield Failure(source, str(error))
            bar.advance()


def follow(bar: Bar, source: str | Path, number: int, total: int) -> Callable[[float], None]:
    """Return a function that shows on a bar how far into a video, one of several, the work has come.

    Raises:
        VideoError: the file cannot be read.
    """
    video = open_video(source)
    video.quick_length()  # so that duration_s need not decode the file
    length_s = video.duration_s

    def note(end_s: float) -> None:
        part = min(1.0, end_s / length_s) if length_s else 0.0
        bar.advance(0, f"{Path(source).name} at {clock(end_s)}", (number + part) / total)

    return note


def picture_of(
    source: str | Path,
    scores: ScoresOverTime,
    found: Sequence[Segment],
    settings: SegmentSettings,
    truth: Sequence[Segment] | None = None,
    *,
    title: str | None = None,
    frames: int = 16,
) -> TimedPicture:
    """A picture of a video over time, with a film strip if its frames can be read.

    Args:
        source: the file.
        scores, found, settings: its scores, the segments in them, and how they were found.
        truth: the true segments, if they are known.
        title: None: the name of the file.
        frames: frames of the strip, in the middles of as many equal parts.
    """
    strip = None
    try:
        video = open_video(source)
        video.quick_length()
        start_s, end_s = scores.edges[0], scores.edges[-1]
        middles = start_s + (torch.arange(frames).double() + 0.5) / frames * (end_s - start_s)
        shown = torch.from_numpy(video.timestamps())
        numbers = (torch.searchsorted(shown, middles, right=True) - 1).clamp(min=0)
        strip = video.frames(numbers, short_side=96)
    except PraxiscopeError:  # the picture is drawn without it
        pass
    return TimedPicture(
        title or Path(source).name,
        scores.edges,
        smooth_over_time(scores, settings.smooth_s),
        scores.labels,
        found,
        truth,
        strip,
    )
