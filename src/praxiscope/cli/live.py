"""``praxiscope predict`` of live video: a camera, an address, standard input, or a file at its own pace."""

from __future__ import annotations

import json as json_lines
from collections import deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from praxiscope._lazy import quick_imports
from praxiscope.cli.common import reporter
from praxiscope.errors import ArgumentError
from praxiscope.progress import clock
from praxiscope.units import counted, parse_duration

if TYPE_CHECKING:
    from praxiscope.evaluation.answers import NoneBelow
    from praxiscope.inference.live import Live, LiveAnswer
    from praxiscope.inference.options import LoadOptions
    from praxiscope.video.live_frames import LiveSource

__all__ = ["Camera", "Every", "LiveFile", "LiveOptions", "Smooth", "predict_live"]

_PANEL = "Live video"
_MOST_DELAYS = 100_000  # of the last answers, so that days take no memory

Camera = Annotated[
    int | None,
    typer.Option(
        min=0, metavar="N", help="Predict the video of camera /dev/videoN live.", rich_help_panel=_PANEL
    ),
]
LiveFile = Annotated[
    bool,
    typer.Option("--live", help="Predict a file at its own pace, as live video.", rich_help_panel=_PANEL),
]
Every = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION|frame",
        help="Live: time from one answer to the next, or an answer for each frame. Default: 1s.",
        rich_help_panel=_PANEL,
    ),
]
Smooth = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION|off",
        help="Live: scores are averaged over about this time. Default: 1s.",
        rich_help_panel=_PANEL,
    ),
]


@dataclass(frozen=True)
class LiveOptions:
    """The options of live video.

    Attributes:
        camera: number of a camera.
        file: read a file at its own pace.
        every, smooth: durations as text.
    """

    camera: int | None
    file: bool
    every: str | None
    smooth: str | None

    def source(self, sources: list[str]) -> LiveSource | None:
        """The live source; None if the sources are videos to be predicted as a whole.

        Raises:
            ArgumentError: options that do not fit, several sources, or no source at all.
            VideoError: there is no such camera or file.
        """
        from praxiscope.video.live_sources import is_live, live_source

        addresses = [source for source in sources if is_live(source)]
        if self.camera is not None:
            if sources or self.file:
                given = sources[0] if sources else "--live"
                raise ArgumentError(f"--camera {self.camera} is a source; leave {given} out.")
            return live_source(self.camera)
        if not sources:
            raise ArgumentError(
                "no video is given. Name videos, an address, '-' (standard input) or --camera 0."
            )
        if not (addresses or self.file):
            for option, value in (("--every", self.every), ("--smooth", self.smooth)):
                if value:
                    raise ArgumentError(
                        f"{option} is for live video: --camera 0, an address, '-', or --live FILE."
                    )
            return None
        if len(sources) > 1:
            raise ArgumentError(
                f"live video has one source, got {', '.join(sources)}. Give {sources[0]} alone."
            )
        return live_source(sources[0])

    @property
    def every_s(self) -> float:
        """Seconds from one answer to the next."""
        return 0.0 if self.every == "frame" else parse_duration("--every", self.every or "1s")

    @property
    def smooth_s(self) -> float:
        """Seconds of smoothing."""
        return 0.0 if self.smooth == "off" else parse_duration("--smooth", self.smooth or "1s")


def predict_live(
    run: str,
    source: LiveSource,
    live: LiveOptions,
    load: LoadOptions,
    none_below: NoneBelow,
    top: int,
    json: bool,
) -> None:
    """Print a line for each answer until the source ends, or until Ctrl-C; then a summary on standard error."""
    every_s, smooth_s = live.every_s, live.smooth_s
    load.check(run)
    with quick_imports():
        from praxiscope.inference.live import live as live_answers
        from praxiscope.inference.loading import load_recogniser
    recogniser: Any = load_recogniser(run, load)
    speaker = reporter()
    delays: deque[float] = deque(maxlen=_MOST_DELAYS)
    answers = live_answers(
        recogniser,
        source,
        smooth_s=smooth_s,
        every_s=every_s,
        top=top,
        none_below=none_below,
        progress=speaker,
    )
    try:
        with answers:
            speaker.line(f"Live: {answers.name}. Ctrl-C ends.")
            for answer in answers:
                delays.append(answer.delay_s)
                print(_json(answer) if json else _text(answer), flush=True)
    except KeyboardInterrupt:
        pass
    speaker.line(_summary(answers, delays))


def _text(answer: LiveAnswer) -> str:
    pairs = "  ".join(
        f"{label} {score:.3f}" for label, score in zip(answer.labels, answer.scores, strict=True)
    )
    return f"{clock(answer.time_s)}  {f'none of these  (best: {pairs})' if answer.none_of_these else pairs}"


def _json(answer: LiveAnswer) -> str:
    return json_lines.dumps(asdict(answer), ensure_ascii=False)


def _summary(answers: Live, delays: deque[float]) -> str:
    """Frames, dropped frames and delays of all answers."""
    text = f"{counted(answers.frames, 'frame')}, {answers.dropped} dropped"
    if delays:
        ordered = sorted(delays)
        median, most = ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
        text += f"; delay from a frame's arrival to its answer: median {median:.3f} s, 99 % {most:.3f} s"
    return f"{text}."
