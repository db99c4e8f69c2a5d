"""The sections of the page of an answer.

To add one, write a function that takes the `Subject` and a function that is told the share of the work that is done,
and returns the sections, none if the model has no such thing; and name it in `SECTIONS`. It raises `ArgumentError`
where the section cannot be made; the page says why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch

from praxiscope.errors import ArgumentError, DataError
from praxiscope.evaluation.report.html import percent
from praxiscope.explain.cam_layers import row_pictures
from praxiscope.explain.film import seconds
from praxiscope.explain.grad_cam import CamRows, see_layers
from praxiscope.explain.heat import upsampled
from praxiscope.explain.hiding import Box, Hides, SeenFrames, hides
from praxiscope.explain.sheet import spread
from praxiscope.explain.why_answer import Answer, part_names
from praxiscope.explain.why_own import OWN, own_section
from praxiscope.explain.why_page import Frame, Section, jpeg, seek, thumb
from praxiscope.explain.why_parts import Hiding, Space, heat_over, hide_parts
from praxiscope.inference.fused import AnyRecogniser
from praxiscope.video.decode import Video

__all__ = ["SECTIONS", "Subject", "omitted", "what"]

Tick = Callable[[float], None]

_COLUMNS = 6  # pictures of a row


@dataclass
class Subject:
    """What is explained.

    Attributes:
        recogniser: any.
        video: the open video.
        path: of the video.
        answer: of the recogniser.
        given_name: of the video, for display; empty for that of its file.
        omitted: sections that could not be made, and the ``reason`` of each ``section``.
    """

    recogniser: AnyRecogniser
    video: Video
    path: Path
    answer: Answer
    given_name: str = ""
    omitted: list[dict[str, str]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name of the video."""
        return self.given_name or self.path.name

    def left_out(self, section: str, reason: str) -> None:
        """Note that a section could not be made, and why."""
        self.omitted.append({"section": section, "reason": reason.rstrip(".")})

    @cached_property
    def end_s(self) -> float:
        """The last second of the video."""
        last = float(self.video.timestamps()[-1])
        return max(last, self.video.duration_s) if np.isfinite(self.video.duration_s) else last

    @cached_property
    def seen(self) -> list[Hides]:
        """The parts with the frames that they are explained with."""
        return [hides(part, self.video) for part in self.recogniser.parts]

    def at(self, time_s: float) -> str:
        """A time as text."""
        return seconds(time_s, self.end_s)


def what(subject: Subject) -> Section:
    """The answer, and how sure it is."""
    found, facts = subject.answer, subject.answer.facts()
    rows = "".join(
        f"<li{' class=of' if one['label'] == found.label else ''}><span>{escape(one['label'])}</span>"
        f'<span class="track"><span class="bar" style="width:{percent(one["probability"])}%"></span></span>'
        f"<span>{100 * one['probability']:.1f} %</span></li>"
        for one in facts["classes"]
    )
    lines = [_none_of_these(found), _calibrated(found)]
    lines += [_views(part, found.label) for part in facts["parts"]]
    notes = "".join(f"<p>{escape(line)}</p>" for line in lines)
    return Section("what", "What, and how sure", f'<ul class="answers">{rows}</ul>{notes}', facts)


def _none_of_these(found: Answer) -> str:
    if found.none_below is None:
        return "There is no threshold for “none of these”: the model has no calibration."
    best = found.probabilities[found.order[0]]
    if found.none_of_these:
        return f"None of these: the best probability, {best:.3f}, is below the threshold of {found.none_below:.3f}."
    return f"Not “none of these”: the best probability, {best:.3f}, is above the threshold of {found.none_below:.3f}."


def _calibrated(found: Answer) -> str:
    if not found.calibration:
        return "The probabilities are not calibrated; those of networks are usually too high."
    return (
        f"The probabilities are calibrated on {found.calibration['videos']} held-out videos "
        f"(temperature {found.calibration['temperature']:.2f})."
    )


def _views(part: dict[str, Any], label: str) -> str:
    if part["views"] == 1:
        return f"{part['name']}: one view ({part['protocol']}), so its spread is not known."
    return (
        f"{part['name']}: {part['views']} views ({part['protocol']}) give {label} {100 * part['mean']:.0f} % on "
        f"average, with a standard deviation of {100 * part['deviation']:.0f} points; it is the best class in "
        f"{100 * part['best']:.0f} % of them."
    )


def when_and_where(subject: Subject, tick: Tick) -> list[Section]:
    """Occlusion in time, and in space."""
    hiding = hide_parts(subject.recogniser, subject.seen, subject.video, subject.answer.explained, tick)
    return [_when(subject, hiding), _where(subject, hiding)]


def _when(subject: Subject, hiding: Hiding) -> Section:
    time, label = hiding.time, subject.answer.label
    title = "When: what the answer needs of the time"
    if time is None:
        return Section("when", title, "<p>Only one moment of the video is seen.</p>", {"windows": []})
    largest = max(float(np.abs(time.drops).max()), 1e-12)
    cells, windows = "", []
    for start, end, drop in zip(time.edges_s[:-1], time.edges_s[1:], time.drops, strict=True):
        hidden = hiding.probability * (1 - drop)
        spoken = (
            f"{subject.at(start)} to {subject.at(end)}: without it {label} has {100 * hidden:.1f} % instead of "
            f"{100 * hiding.probability:.1f} %"
        )
        high = round(100 * abs(drop) / largest)
        bar = f'<i style="height:{high}%"></i>'
        body = (
            f'<span class="up">{bar if drop > 0 else ""}</span><span class="down">{bar if drop < 0 else ""}</span>'
            f"<span>{subject.at(start)}</span>"
        )
        button = seek(float(start + end) / 2, spoken, body)
        cells += button.replace("<button ", f'<button data-from="{start:.3f}" data-to="{end:.3f}" ', 1)
        windows.append({"start_s": float(start), "end_s": float(end), "drop": float(drop)})
    best = windows[time.strongest]
    lead = (
        f"<p>Each part of the video is replaced by the frames just before and after it. Upward bars: "
        f"{escape(label)} becomes less probable without this part; downward: more probable. "
        + _most(subject, best)
        + f'</p><div class="windows" role="group" aria-label="Timeline">{cells}</div>'
    )
    facts = {"probability": hiding.probability, "windows": windows, "strongest": time.strongest}
    return Section("when", title, lead, facts)


def _most(subject: Subject, best: dict[str, Any]) -> str:
    if best["drop"] <= 0:
        return "No part is needed: without any of them the class is at least as probable."
    return (
        f"The most needed part is {subject.at(best['start_s'])} to {subject.at(best['end_s'])}: without it the "
        f"probability falls by {_share(best['drop'])} of itself."
    )


def _share(drop: float) -> str:
    return f"{100 * drop:.2g} %" if drop >= 1e-4 else "less than 0.01 %"


def _where(subject: Subject, hiding: Hiding) -> Section:
    space, label = hiding.space, subject.answer.label
    top, left, bottom, right = space.region
    numbers = spread(subject.video.quick_length(), _COLUMNS)
    side = min(240, subject.video.width, subject.video.height)
    frames = subject.video.frames(numbers, short_side=side).permute(0, 2, 3, 1).numpy()
    height, width = frames.shape[1:3]
    inner = np.s_[round(top * height) : round(bottom * height), round(left * width) : round(right * width)]
    frames = frames[(slice(None), *inner)]
    heat = space.at_pixels(*frames.shape[1:3])
    largest = float(np.abs(heat).max()) or 1.0
    stamps = subject.video.timestamps()
    pictures = [
        Frame(float(stamps[number]), jpeg(heat_over(frame, heat / largest)))
        for number, frame in zip(numbers, frames, strict=True)
    ]
    most, drop = space.strongest, float(space.drops.max())
    spoken = f"What {label} needs of the picture, {_place(most, space)} most"
    strip = "".join(thumb(one, spoken, subject.end_s) for one in pictures)
    body = (
        f"<p>A square hides a part of all frames. Red: {escape(label)} becomes less probable without it, by at most "
        f"{_share(drop)} of itself, {_place(most, space)}; blue: more probable.</p>"
        f'<div class="maps" role="group" aria-label="Occlusion">{strip}</div>'
    )
    facts = {
        "probability": hiding.probability,
        "drop": space.drops.tolist(),
        "boxes": [list(box) for box in space.boxes],
        "region": list(space.region),
        "strongest": list(most),
    }
    return Section("where", "Where: what the answer needs of the picture", body, facts)


def _place(box: Box, space: Space) -> str:
    """A box in words."""
    top, left, bottom, right = space.region
    down = ((box.top + box.bottom) / 2 - top) / (bottom - top)
    across = ((box.left + box.right) / 2 - left) / (right - left)
    rows = "upper" if down < 1 / 3 else "middle" if down < 2 / 3 else "lower"
    columns = "left" if across < 1 / 3 else "centre" if across < 2 / 3 else "right"
    return f"at the {rows} {columns}"


def maps(subject: Subject, tick: Tick) -> list[Section]:
    """Grad-CAM of the last layer of each network."""
    bodies, facts, reasons = "", [], []
    for name, seen in zip(part_names(subject.recogniser), subject.seen, strict=True):
        if not isinstance(seen, SeenFrames):
            reasons.append(f"{name} has no layers with places")
            continue
        try:
            rows = see_layers(seen, subject.answer.explained)
        except ArgumentError as error:
            reasons.append(f"{name}: {error}")
            continue
        for one in rows:
            body, found = _map_row(subject, name, seen, one)
            bodies += body
            facts.append(found)
        tick(1.0)
    if not facts:
        raise ArgumentError("; ".join(reasons))
    notes = "".join(f'<p class="small">{escape(one)}</p>' for one in reasons)
    lead = (
        f"<p>Red: the places of a layer that speak for {escape(subject.answer.label)}, more than for the other "
        "classes, by its gradient.</p>"
    )
    return [
        Section("grad_cam", "Where: what the layers see (Grad-CAM)", lead + bodies + notes, {"maps": facts})
    ]


def _map_row(subject: Subject, part: str, seen: SeenFrames, rows: CamRows) -> tuple[str, dict[str, Any]]:
    """The pictures of a network, and its numbers."""
    chosen = spread(len(rows.maps), _COLUMNS)
    pictures = row_pictures(seen, rows, chosen)

    heat = upsampled(torch.from_numpy(rows.maps[chosen]), *pictures.shape[1:3]).clip(min=0)
    largest = float(rows.maps.max())
    strip = "".join(
        thumb(
            Frame(
                float(rows.times_s[number]),
                jpeg(heat_over(picture, one / largest if largest > 0 else one)),
            ),
            f"{rows.layer}, what speaks for {subject.answer.label}",
            subject.end_s,
        )
        for number, picture, one in zip(chosen, pictures, heat, strict=True)
    )
    at, x, y = rows.strongest
    facts = {
        "part": part,
        "network": rows.name,
        "layer": rows.layer,
        "times_s": rows.times_s.tolist(),
        "maps": rows.maps.tolist(),
        "strongest": {"time_s": float(rows.times_s[at]), "x": x, "y": y},
    }
    title = f"{part}, {f'{rows.name} network, ' if rows.name else ''}layer {rows.layer}"
    note = "" if largest > 0 else '<p class="small">No place speaks for the class.</p>'
    body = (
        f"<h3>{escape(title)}</h3>{note}"
        f'<div class="maps" role="group" aria-label="{escape(title)}">{strip}</div>'
    )
    return body, facts


def omitted(subject: Subject) -> list[Section]:
    """What could not be made, and why; none if there is nothing."""
    if not subject.omitted:
        return []
    lines = "".join(f"<li>{escape(one['section'])}: {escape(one['reason'])}.</li>" for one in subject.omitted)
    return [Section("left_out", "Left out", f'<ul class="small">{lines}</ul>')]


def own_pictures(subject: Subject, tick: Tick) -> list[Section]:
    """The pictures that only some models have. One that fails is said to be left out; the others are made."""
    parts = subject.recogniser.parts
    wanted = [
        (own, part, name, f"_{number}" if len(parts) > 1 else "")
        for number, (part, name) in enumerate(zip(parts, part_names(subject.recogniser), strict=True), 1)
        for own in OWN
        if own.has(part)
    ]
    made = []
    for done, (own, part, name, end) in enumerate(wanted, 1):
        try:
            made.append(own_section(own, part, name, subject.path, subject.answer.label, end))
        except (ArgumentError, DataError) as error:
            subject.left_out(own.title, str(error))
        tick(done / len(wanted))
    return made


Make = Callable[[Subject, Tick], list[Section]]

SECTIONS: list[tuple[str, float, Make]] = [
    ("When and where", 0.5, when_and_where),
    ("Grad-CAM", 0.15, maps),
    ("The model's own pictures", 0.25, own_pictures),
]
"""Title, share of the work, and function of each section after the first."""
