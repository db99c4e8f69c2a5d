"""Test clips in a report: film strips, the scores of their classes, and the videos themselves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np
from torch import Tensor

from praxiscope.evaluation import plots
from praxiscope.evaluation.metrics import probabilities
from praxiscope.evaluation.report.html import data_address, percent, section
from praxiscope.evaluation.scores import Scores
from praxiscope.video.browser import PLAYED

__all__ = ["Strip", "clips_section", "pick_clips"]


@dataclass(frozen=True)
class Strip:
    """A test clip: a film strip, and the video if a browser can play it.

    Attributes:
        id: the video's id.
        frames: uint8 [T, 3, H, W], a few frames from start to end.
        target: its class, or several classes as one string.
        predicted: the best classes with their probabilities, in descending order.
        right: whether the prediction is correct; None compares the best class with ``target``.
        video: its file, if a browser can play it.
        start_s, end_s: the part of the file that is the clip.
        unplayed: the reason why a browser cannot play it.
    """

    id: str
    frames: Tensor
    target: str
    predicted: list[tuple[str, float]]
    right: bool | None = None
    video: Path | None = None
    start_s: float | None = None
    end_s: float | None = None
    unplayed: str | None = None

    @property
    def recognised(self) -> bool:
        """Whether the prediction is correct."""
        if self.right is not None:
            return self.right
        return bool(self.predicted) and self.predicted[0][0] == self.target


def pick_clips(scores: Scores, best: int = 4, worst: int = 6) -> tuple[list[int], list[int]]:
    """Choose the clips to show.

    Args:
        scores: result of the test.
        best: number of correct clips, at most one per class; the most confident first.
        worst: number of wrong clips; those with the lowest probability of their own class first.

    Returns:
        Row numbers in ``scores`` of the best and of the worst clips.
    """
    chances = probabilities(scores)
    predicted = chances.argmax(axis=1)
    right: list[tuple[float, int]] = []
    wrong: list[tuple[float, int]] = []
    for row, chance in enumerate(chances):
        classes = np.flatnonzero(scores.targets[row]) if scores.multi_label else scores.targets[row : row + 1]
        if len(classes) and classes[0] >= 0:
            side = right if predicted[row] in classes else wrong
            side.append((float(chance[classes].max()), row))
    shown: dict[int, int] = {}
    for _, row in sorted(right, key=lambda pair: (-pair[0], pair[1])):
        shown.setdefault(int(predicted[row]), row)
    return list(shown.values())[:best], [row for _, row in sorted(wrong)[:worst]]


def clips_section(strips: Sequence[Strip], folder: Path) -> str:
    body = ""
    for title, kind, wanted in (("Not recognised", "wrong", False), ("Recognised", "right", True)):
        shown = "".join(
            _clip(strip, kind, folder) for strip in strips if strip.recognised is wanted and len(strip.frames)
        )
        if shown:
            body += f"<h3>{title}</h3>{shown}"
    if body and any(strip.unplayed for strip in strips):
        body += f'<p class="small">{PLAYED}</p>'
    return section("Clips", body) if body else ""


def _clip(strip: Strip, kind: str, folder: Path) -> str:
    film = plots.draw_strip(strip.frames)
    data = data_address("jpeg", plots.strip_jpeg(film))
    least = min(film.shape[1], 700)  # on a phone the strip scrolls instead of shrinking
    guesses = "".join(
        f'<li><span class="bar {kind if place == 0 else "other"}" style="width:{percent(chance)}%"></span>'
        f"<b>{escape(label)}</b> {percent(chance)} %</li>"
        for place, (label, chance) in enumerate(strip.predicted[:3])
    )
    return (
        f'<figure class="clip"><div class="scroll"><img src="{data}" style="min-width:{least}px" '
        f'alt="Frames of {escape(strip.id)}"></div>'
        f"<figcaption><p><b>{escape(strip.target)}</b><br><code>{escape(strip.id)}</code></p>"
        f"<ol>{guesses}</ol>{_player(strip, folder)}</figcaption></figure>"
    )


def _player(strip: Strip, folder: Path) -> str:
    """An HTML player for the video file, with the first frame of the strip as poster, or the reason why it cannot be
    played."""
    if strip.video is None:
        return f'<p class="small">Not played here: {escape(strip.unplayed)}.</p>' if strip.unplayed else ""
    part = [f"{bound or 0:g}" for bound in (strip.start_s, strip.end_s)][: 1 if strip.end_s is None else 2]
    fragment = "" if strip.start_s is None and strip.end_s is None else f"#t={','.join(part)}"
    poster = data_address("jpeg", plots.strip_jpeg(plots.draw_strip(strip.frames[:1])))
    return (
        f'<video controls muted playsinline preload="none" poster="{poster}" '
        f'src="{escape(_address(strip.video, folder))}{fragment}"></video>'
    )


def _address(file: Path, folder: Path) -> str:
    """URL of a file for a page in ``folder``: relative, so that both can move together; absolute on another drive."""
    there, here = os.path.abspath(file), os.path.abspath(folder)  # noqa: PTH100  (keeps symbolic links)
    try:
        return quote(os.fsencode(os.path.relpath(there, here).replace(os.sep, "/")))
    except ValueError:
        return Path(there).as_uri()
