"""The page of an answer: plain HTML, styles and a script, with nothing outside of it."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from html import escape
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from praxiscope.evaluation.report.html import PAGE, STYLE, data_address
from praxiscope.explain.film import seconds

__all__ = ["Frame", "Player", "Section", "jpeg", "page", "seek", "thumb"]


class Frame(NamedTuple):
    """A picture with its time, seconds, as JPEG."""

    time_s: float
    picture: bytes


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        name: in ``facts``, and of its place in the page.
        title: its heading.
        body: HTML.
        facts: its numbers, for JSON.
    """

    name: str
    title: str
    body: str
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Player:
    """What plays the video.

    Attributes:
        name: of the video.
        end_s: its last second.
        film: frames, evenly spaced.
        video: MIME type and content of a file that browsers play; None to show the frames of the film.
        note: why the video is not in the page; empty if it is.
    """

    name: str
    end_s: float
    film: Sequence[Frame]
    video: tuple[str, bytes] | None = None
    note: str = ""


def jpeg(picture: NDArray[np.uint8], quality: int = 80) -> bytes:
    """uint8 [H, W, 3] as JPEG."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(content, format="JPEG", quality=quality)
    return content.getvalue()


def seek(time_s: float, spoken: str, body: str, classes: str = "") -> str:
    """A button that moves the player to a time; ``spoken`` is read aloud, ``body`` is HTML."""
    return (
        f'<button type="button" class="seek {classes}" data-t="{time_s:.3f}" title="{escape(spoken)}" '
        f'aria-label="{escape(spoken)}">{body}</button>'
    )


def thumb(frame: Frame, spoken: str, end_s: float, caption: str = "") -> str:
    """A button with a picture and its time."""
    image = f'<img src="{data_address("jpeg", frame.picture)}" alt="{escape(spoken)}">'
    shown = caption or seconds(frame.time_s, end_s)
    return seek(
        frame.time_s,
        f"{spoken}: go to {seconds(frame.time_s, end_s)}",
        f"{image}<span>{escape(shown)}</span>",
    )


def page(
    title: str, subtitle: str, player: Player, sections: Sequence[Section], video_src: str | None
) -> str:
    """The page.

    Args:
        title: its heading.
        subtitle: one line below.
        player: the player.
        sections: from top to bottom.
        video_src: address of the video for the player, which is not in the page then.
    """
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode("ascii")
    media = "'self' data: blob:"
    if video_src is not None and (parts := urlsplit(video_src)).netloc:
        media = escape(f"{parts.scheme or 'https'}://{parts.netloc}")
    links = "".join(f'<a href="#{one.name}">{escape(one.title)}</a>' for one in sections)
    body = (
        f'<p class="lead">{escape(subtitle)}</p>{_player(player, video_src)}'
        f'<nav aria-label="Sections">{links}</nav><main>'
        + "".join(
            f'<section id="{one.name}"><h2>{escape(one.title)}</h2>{one.body}</section>' for one in sections
        )
        + f"</main><script>{_SCRIPT}</script>"
    )
    return PAGE.format(
        media=f"media-src {media}; script-src 'sha256-{digest}'; ",
        title=escape(title),
        style=STYLE + _STYLE,
        written=date.today().isoformat(),
        up="",
        body=body,
    )


def _player(player: Player, video_src: str | None) -> str:
    source = video_src
    if source is None and player.video is not None:
        kind, content = player.video
        source = f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
    name = escape(player.name)
    film = "".join(thumb(frame, f"Frame of {player.name}", player.end_s) for frame in player.film)
    book = (
        f'<div id="book"{" hidden" if source else ""}><img id="shown" alt="Frame of {name}" '
        f'src="{data_address("jpeg", player.film[0].picture)}">'
        '<div class="controls"><button type="button" id="play">Play</button>'
        f'<input id="time" type="range" min="0" max="{len(player.film) - 1}" value="0" step="1" '
        f'aria-label="Frame of {name}"><output id="at" for="time"></output></div></div>'
    )
    video = (
        ""
        if source is None
        else f'<video id="video" controls muted playsinline preload="auto" aria-label="{name}" '
        f'src="{escape(source)}"></video>'
    )
    note = f'<p class="small">{escape(player.note)}</p>' if player.note and video_src is None else ""
    return (
        f'<div class="player">{video}{book}</div>{note}'
        f'<div class="strip" role="group" aria-label="Film strip of {name}">{film}</div>'
    )


_STYLE = """
.lead { font-size: 1.05rem; overflow-wrap: anywhere; }
.player { position: sticky; top: 0; z-index: 2; margin: .6rem -1rem 0; padding: .4rem 1rem; background: var(--page);
  border-bottom: 1px solid var(--line); text-align: center; }
.player video, #shown { display: block; margin: 0 auto; height: min(15rem, 32vh); width: auto; max-width: 100%;
  min-width: 0; object-fit: contain; border-radius: .3rem; }
.controls { display: flex; gap: .6rem; align-items: center; max-width: 34rem; margin: .4rem auto 0; }
.controls input { flex: 1 1 auto; min-width: 0; accent-color: var(--right); }
.controls output { min-width: 4.5rem; font-size: .85rem; font-variant-numeric: tabular-nums; }
#book[hidden] { display: none; }
button { font: inherit; color: inherit; background: none; border: 1px solid var(--line); border-radius: .3rem;
  cursor: pointer; }
#play { padding: .15rem .8rem; background: var(--paper); }
button:focus-visible, input:focus-visible, a:focus-visible { outline: 3px solid var(--right); outline-offset: 1px; }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: .6rem 0; }
section { scroll-margin-top: min(20rem, 42vh); }
.strip { display: flex; gap: 3px; overflow-x: auto; padding: .3rem 3px; }
.strip .seek { flex: 0 0 auto; }
.seek { padding: 0; border: 2px solid transparent; overflow: hidden; text-align: center; }
.seek:hover { border-color: var(--faint); }
.seek.now { border-color: var(--right); }
.seek img { height: 5rem; width: auto; max-width: none; }
.seek span { display: block; font-size: .75rem; color: var(--faint); }
.answers { list-style: none; margin: .6rem 0; padding: 0; }
.answers li { display: grid; grid-template-columns: minmax(6rem, 14rem) 1fr 4.6rem; gap: .2rem .8rem;
  align-items: center; padding: .1rem 0; overflow-wrap: anywhere; }
.answers .track { width: 100%; margin: 0; }
.answers .of { font-weight: 600; }
.answers span:last-child { text-align: right; font-variant-numeric: tabular-nums; }
.windows { display: grid; grid-auto-flow: column; grid-auto-columns: minmax(2.6rem, 1fr); gap: 2px; overflow-x: auto;
  padding: 3px; }
.windows .seek { display: grid; grid-template-rows: 3.4rem 3.4rem auto; }
.windows .up, .windows .down { display: flex; }
.windows .up { align-items: flex-end; border-bottom: 1px solid var(--faint); }
.windows i { display: block; width: 100%; border-radius: 2px; background: var(--for); }
.windows .down i { background: var(--against); }
.maps { display: flex; gap: 3px; overflow-x: auto; padding: 3px; }
.maps .seek { flex: 0 0 auto; }
.maps .seek img { height: 8.5rem; }
.times { display: flex; flex-wrap: wrap; gap: .3rem; margin: .5rem 0; }
.times .seek { padding: .1rem .5rem; border: 1px solid var(--line); font-size: .85rem; }
.drawn { overflow-x: auto; background: #fff; border-radius: .3rem; padding: .4rem; }
.drawn img { min-width: 40rem; width: 100%; }
:root { --for: #d5280f; --against: #2456d6; }
@media (prefers-color-scheme: dark) { :root { --for: #ff6a50; --against: #7da2ff; } }
@media (max-width: 40rem) { .answers li { grid-template-columns: 1fr 4.6rem; }
  .answers .track { grid-column: 1 / -1; grid-row: 2; } body { padding: .6rem; } section { padding: .7rem; }
  .player { margin: .6rem -.6rem 0; padding: .4rem .6rem; } }
@media (prefers-reduced-motion: no-preference) { html { scroll-behavior: smooth; } }
"""

_SCRIPT = """
'use strict';
const video = document.getElementById('video'), book = document.getElementById('book');
const shown = document.getElementById('shown'), play = document.getElementById('play');
const range = document.getElementById('time'), at = document.getElementById('at');
const film = [...document.querySelectorAll('.player ~ .strip .seek')];
const times = film.map(one => Number(one.dataset.t));
const all = [...document.querySelectorAll('.seek')];
let timer = null;
const playing = () => video && book.hidden;
function nearest(t) {
  let best = 0;
  times.forEach((one, place) => { if (Math.abs(one - t) < Math.abs(times[best] - t)) best = place; });
  return best;
}
function mark(t) {
  film.forEach((one, place) => one.classList.toggle('now', place === nearest(t)));
  document.querySelectorAll('.windows .seek').forEach(one => {
    one.classList.toggle('now', Number(one.dataset.from) <= t && t < Number(one.dataset.to));
  });
}
function turn(place) {
  range.value = place;
  shown.src = film[place].querySelector('img').src;
  at.textContent = film[place].querySelector('span').textContent;
  range.setAttribute('aria-valuetext', at.textContent);
  mark(times[place]);
}
function stop() {
  if (timer !== null) clearInterval(timer);
  timer = null;
  play.textContent = 'Play';
}
function seek(t) {
  stop();
  if (playing()) { video.pause(); video.currentTime = t; mark(t); } else turn(nearest(t));
}
play.addEventListener('click', () => {
  if (timer !== null) { stop(); return; }
  if (Number(range.value) >= film.length - 1) turn(0);
  play.textContent = 'Pause';
  const step = times.length > 1 ? 1000 * (times[times.length - 1] - times[0]) / (times.length - 1) : 500;
  timer = setInterval(() => {
    const next = Number(range.value) + 1;
    if (next >= film.length) stop(); else turn(next);
  }, Math.min(Math.max(step, 60), 1000));
});
range.addEventListener('input', () => { stop(); turn(Number(range.value)); });
document.addEventListener('click', event => {
  const one = event.target.closest('.seek');
  if (one) seek(Number(one.dataset.t));
});
document.addEventListener('keydown', event => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const one = event.target.closest('.seek');
  if (!step || !one) return;
  const row = [...one.parentElement.querySelectorAll('.seek')];
  const next = row[row.indexOf(one) + step];
  if (next) { next.focus(); seek(Number(next.dataset.t)); event.preventDefault(); }
});
if (video) {
  video.addEventListener('timeupdate', () => mark(video.currentTime));
  video.addEventListener('error', () => { video.hidden = true; book.hidden = false; turn(0); });
}
turn(0);
"""
