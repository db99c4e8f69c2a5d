"""Why a recogniser answers as it does: one page with what, how sure, when in the video and where in the picture.

The sections are functions of `praxiscope.explain.why_sections`. A section that a model cannot have is left out, with a
line that says why.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from praxiscope.errors import ArgumentError
from praxiscope.explain.checks import check_page_path
from praxiscope.explain.sheet import spread
from praxiscope.explain.why_answer import answer, part_names
from praxiscope.explain.why_page import Frame, Player, Section, jpeg, page
from praxiscope.explain.why_sections import SECTIONS, Subject, omitted, what
from praxiscope.inference.fused import AnyRecogniser
from praxiscope.video.browser import why_not_played
from praxiscope.video.opening import open_video

__all__ = ["Why", "explain_video", "save_page"]

Progress = Callable[[float, str], None]
"""Called with the share of the work that is done, from 0 to 1, and what is done next."""

_EMBEDDED = 8 << 20  # bytes of a video that is put into the page
_TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm"}
_FILM, _FILM_PIXELS = 24, 200


@dataclass(frozen=True)
class Why:
    """Why a recogniser answers as it does.

    Attributes:
        facts: the numbers, which JSON can hold: ``video``, ``duration_s``; ``what`` (see
            `praxiscope.explain.why_answer.Answer.facts`); for each section that could be made its numbers by its name;
            and ``left_out``: for each of the others its ``section`` and the ``reason``.
    """

    facts: dict[str, Any]
    _title: str
    _subtitle: str
    _player: Player
    _sections: list[Section]

    def html(self, video_src: str | None = None) -> str:
        """A page of HTML without anything outside of it.

        Args:
            video_src: address of the video, absolute or relative to that of the page, for the player. Default: the
                video itself is in the page if browsers can play it and it has at most 8 MiB, otherwise frames of it.
        """
        return page(self._title, self._subtitle, self._player, self._sections, video_src)


def explain_video(
    recogniser: AnyRecogniser,
    path: str | Path,
    *,
    label: str | None = None,
    name: str = "",
    progress: Progress | None = None,
) -> Why:
    """Explain the answer of any recogniser for a video, also of fused ones and of models on trajectories.

    Only the video is read, and nothing is written.

    Args:
        recogniser: as `praxiscope.load` returns it.
        path: a video file, a packed clip or a folder of frames.
        label: class that is explained. Default: the most probable one.
        name: of the video, for display. Default: that of the file.
        progress: called from time to time; what it raises ends the work.

    Raises:
        UnknownNameError: the recogniser does not know the label.
        CheckpointError: the scores are not finite.
        VideoError, DataError: the video cannot be read.

    Example:
        >>> why = explain_video(px.load("runs/a"), "clip.mp4")
        >>> why.facts["what"]["label"]
        >>> page = why.html()
    """
    told = progress or (lambda share, text: None)
    told(0.0, "scoring the video")
    video = open_video(path)
    subject = Subject(recogniser, video, Path(path), answer(recogniser, video, label), name)
    sections, start = [what(subject)], 0.1
    for title, share, make in SECTIONS:
        tick = partial(_tell, told, f"{title[0].lower()}{title[1:]}", start, share)
        tick(0.0)
        try:
            sections += make(subject, tick)
        except ArgumentError as error:
            subject.left_out(title, str(error))
        start += share
    player = _player(subject)
    told(1.0, "done")
    facts = {
        "video": str(path),
        "duration_s": subject.end_s,
        **{one.name: one.facts for one in sections},
        "left_out": subject.omitted,
    }
    names = ", ".join(part_names(recogniser))
    title = f"Why {subject.answer.label}?"
    return Why(facts, title, f"{subject.name}, seen by {names}", player, [*sections, *omitted(subject)])


def save_page(why: Why, path: str | Path) -> Path:
    """Write the page to a file. The file is replaced only when the new one is complete.

    Raises:
        ArgumentError: the folder does not exist, or the name does not end in .html.
    """
    path = check_page_path(path)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(why.html(), encoding="utf-8")
    os.replace(temporary, path)
    return path


def _tell(told: Progress, text: str, start: float, share: float, done: float) -> None:
    told(min(start + share * done, 1.0), text)


def _player(subject: Subject) -> Player:
    """The film strip, and the video itself if browsers play it and it is small."""
    path, stamps = subject.path, subject.video.timestamps()
    numbers = spread(subject.video.quick_length(), _FILM)
    side = min(_FILM_PIXELS, subject.video.width, subject.video.height)
    pictures = subject.video.frames(numbers, short_side=side).permute(0, 2, 3, 1).numpy()
    film = [Frame(float(stamps[number]), jpeg(one)) for number, one in zip(numbers, pictures, strict=True)]
    reason = why_not_played(path)
    if reason is None and (size := path.stat().st_size) > _EMBEDDED:
        reason = f"a file of {size / 2**20:.0f} MiB"
    if reason is not None:
        return Player(
            subject.name, subject.end_s, film, None, f"Frames of the video; it is not in the page: {reason}."
        )
    return Player(subject.name, subject.end_s, film, (_TYPES[path.suffix.lower()], path.read_bytes()))
