"""Start and end of actions: networks trained on video labels and on segments, with default and with learned settings.

Videos with known segments are made of clips of UCF-101: parts of clips of some classes are the actions, parts of clips
of the other classes (``--background``) the time between. A training video has two actions of one class, which is its
label; a test video has three actions of any classes. Training videos are made of the training clips of the split, test
videos of its test clips. Settings are learned on videos like those of the test, made of training clips of other groups
than the network learns. Each seed makes videos of its own.

    video labels    the network learns whole training videos with their label
    segments        the network learns the segments of the same videos

Each is tested with default and with learned settings. With ``--gmdcsa24`` the same is done with the videos of that
folder: each subject is held out in turn, and the kinds of falls are one class. Actions there overlap, and a video has
several; its label is the one that lasts longest. Network and settings are learned on the same videos, as there are few.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import Table, parser, run_command, write_tables
from films import BACKGROUND, Part, write_film
from paired import paired_t
from stores import settings_of

import praxiscope as px
from praxiscope.checkpoint import read_pointer, write_json
from praxiscope.data.manifest import load_records
from praxiscope.data.segments import segmented_videos
from praxiscope.evaluation.segments import Segment, segments_overlap, summarise_segments
from praxiscope.inference.segment_learning import TimedVideo, learn_settings
from praxiscope.inference.segment_scores import scores_over_time
from praxiscope.inference.segments import SegmentSettings, default_settings, find_segments
from praxiscope.models.names import learns_of
from praxiscope.progress import ConsoleReporter
from praxiscope.run_folder import POINTER_FILE
from praxiscope.types import VideoRecord
from praxiscope.units import counted

LEARNED_FROM = ("video labels", "segments")
SETTINGS = ("default", "learned")
SIDES = ("train", "tune", "test")  # for the network, for the settings, for the figures
FIGURES = ("map@0.3", "map@0.5", "map@0.7", "f1@50", "edit", "frame_accuracy")
MOST_S = 4.0  # of a part of a clip
SMALL_CLASSES = {"Falling (BW)": "Falling", "Falling (FW)": "Falling", "Falling (SW)": "Falling"}


class Film(NamedTuple):
    """A video with its segments."""

    path: Path
    label: str  # of the whole video
    segments: tuple[Segment, ...]
    split: str  # one of SIDES


def planned(
    actions: Sequence[VideoRecord], others: Sequence[VideoRecord], count: int, draw: np.random.Generator
) -> list[Part]:
    """``count`` actions with background before, between and after them."""

    def part(records: Sequence[VideoRecord], label: bool) -> Part:
        record = records[int(draw.integers(len(records)))]
        return Part(record, float(draw.uniform(1.5, MOST_S)), record.labels[0] if label else "")

    parts = [part(others, False)]
    for _ in range(count):
        parts += [part(actions, True), part(others, False)]
    return parts


def make_films(options: argparse.Namespace, seed: int) -> list[Film]:
    """The training and the test videos of a seed."""
    manifest = load_records(options.data, split=options.split, annotations=options.annotations)
    folder = options.out / "films" / str(seed)
    folder.mkdir(parents=True, exist_ok=True)
    films = []
    counts = (options.train_videos, options.tune_videos, options.test_videos)
    for side, split, count in zip(SIDES, ("train", "train", "test"), counts, strict=True):
        records = [record for record in manifest.of(split) if side == "test" or _half(record) == side]
        others = [record for record in records if record.labels[0] in options.background]
        actions = [record for record in records if record.labels[0] not in options.background]
        classes = sorted({record.labels[0] for record in actions})
        for number in range(count):
            draw = np.random.default_rng([seed, number, SIDES.index(side)])
            label = classes[number % len(classes)]
            own = [record for record in actions if side != "train" or record.labels[0] == label]
            parts = planned(own, others, 2 if side == "train" else 3, draw)
            path = folder / f"{side}{number:03d}.mp4"
            segments = write_film(path, parts)
            films.append(Film(path, segments[0].label, segments, side))
    return films


def _half(record: VideoRecord) -> str:
    """Whether a training clip is for networks or for settings, by its group: two thirds and one third."""
    return "tune" if int(hashlib.sha256(record.source.encode()).hexdigest(), 16) % 3 == 0 else "train"


def gmdcsa_films(folder: Path, held_out: str) -> list[Film]:
    """The videos of GMDCSA24, one subject for testing, with the classes that both subjects have."""
    films = []
    for video in segmented_videos(load_records(f"gmdcsa24:{folder}", random_split=False)):
        actions = [(a, b, SMALL_CLASSES.get(label, label)) for a, b, label in video.actions()]
        split = "test" if video.parts[0].group == f"subject {held_out}" else "train"
        films.append(Film(video.path, "", tuple(Segment(*action) for action in actions), split))
    sides = [{s.label for f in films if f.split == side for s in f.segments} for side in ("train", "test")]
    shared = sides[0] & sides[1]
    kept = []
    for film in films:
        own = tuple(segment for segment in film.segments if segment.label in shared)
        if own:
            longest = max(own, key=lambda segment: segment.end_s - segment.start_s)
            kept.append(film._replace(label=longest.label, segments=own))
    return kept


def write_list(path: Path, films: Sequence[Film], learned_from: str) -> Path:
    """A list of what a network learns: whole training videos, or their segments."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "label", "start", "end", "split", "group"))
        for film in (film for film in films if film.split == "train"):
            where, name = film.path.resolve(), film.path.name
            if learned_from == "video labels":
                rows.writerow((where, film.label, "", "", film.split, name))
                continue
            times: dict[tuple[float, float], str] = {(s.start_s, s.end_s): s.label for s in film.segments}
            rows.writerows((where, label, a, b, film.split, name) for (a, b), label in times.items())
    return path


def train(data: Path, run: Path, options: argparse.Namespace, seed: int) -> Any:
    """Train a network, or continue. A model on features has ``--frames`` frames of each clip and window."""
    given: dict[str, Any] = {"out": run, "seed": seed, "model": options.model, "allow_no_test": True}
    given |= {"progress": ConsoleReporter(), **settings_of(options.assignments)}
    if learns_of(options.model) == "features":
        if not (run / POINTER_FILE).is_file():
            store = run.with_name("features")
            px.feature_store(data, store, frames=options.frames, progress=given["progress"])
            px.train(store, **given)
    else:
        given |= {"run.validate_epochs": 0, "frames": options.frames}
        px.train(data, resume=bool(read_pointer(run)), **given)
    return px.load(run)


def scored(
    recogniser: Any, films: Iterable[Film], settings: SegmentSettings, note: Callable[[str], None]
) -> dict[str, TimedVideo]:
    found = {}
    for film in films:
        note(film.path.name)
        scores = scores_over_time(recogniser, film.path, settings.window_s, settings.stride_s)
        found[str(film.path)] = TimedVideo(scores, film.segments)
    return found


def measure(recogniser: Any, films: Sequence[Film]) -> dict[str, dict[str, Any]]:
    """Figures on the test videos, by the kind of settings."""
    start = default_settings(recogniser.calibration, len(recogniser.labels), recogniser.card.multi_label)
    note = ConsoleReporter().line
    tuned = [film for film in films if film.split == "tune"]
    train_films = tuned or [film for film in films if film.split == "train"]
    test_films = [film for film in films if film.split == "test"]
    trained = list(scored(recogniser, train_films, start, note).values())
    tested = scored(recogniser, test_films, start, note)
    overlap = start.overlap or any(segments_overlap(video.segments) for video in trained)
    learned = learn_settings(trained, replace(start, overlap=overlap))
    truth = {name: list(video.segments) for name, video in tested.items()}
    times = {name: px.open_video(name).timestamps() for name in tested}
    figures = {}
    for kind, settings in zip(SETTINGS, (start, learned), strict=True):
        predicted = {name: find_segments(video.scores, settings) for name, video in tested.items()}
        figures[kind] = summarise_segments(predicted, truth, times)
    return figures


def result(
    options: argparse.Namespace, films: Sequence[Film], learned_from: str, name: str, seed: int
) -> dict[str, dict[str, Any]]:
    """Train and test once; later calls read the figures."""
    folder = options.out / f"{options.model}-{learned_from.replace(' ', '_')}-{name}"
    saved = folder / "figures.json"
    if not saved.is_file():
        data = write_list(folder / "data" / "list.csv", films, learned_from)
        figures = measure(train(data, folder / "run", options, seed), films)
        write_json(saved, figures)
    return dict(json.loads(saved.read_text(encoding="utf-8")))


Results = Mapping[tuple[str, str], list[dict[str, Any]]]
"""Figures of each seed, or of each held-out subject, by what was learned from and by the settings."""


def table(heading: str, results: Results) -> Table:
    def cell(values: Sequence[float]) -> str:
        if not values:
            return ""
        spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
        return f"{statistics.mean(values):.3f}{spread}"

    rows = [
        [*key, *(cell([each[name] for each in every if name in each]) for name in FIGURES)]
        for key, every in results.items()
    ]
    return Table(heading, ["learned from", "settings", *FIGURES], rows)


def comparisons(results: Results) -> Table:
    """Paired t tests over the seeds, of the figures that the seeds share."""
    pairs = [
        (("segments", "learned"), ("segments", "default")),
        (("video labels", "learned"), ("video labels", "default")),
        (("segments", "learned"), ("video labels", "learned")),
    ]
    rows = []
    for one, other in pairs:
        for name in ("map@0.5", "f1@50"):
            first, second = ([each[name] for each in results[key]] for key in (one, other))
            if len(first) > 1:
                difference = statistics.mean(first) - statistics.mean(second)
                p = f"{paired_t(first, second):.2g}"
                rows.append([", ".join(one), ", ".join(other), name, f"{difference:+.3f}", p])
    return Table("Paired tests", ["system", "against", "figure", "difference", "p, seeds"], rows)


def main() -> None:
    """Make the videos, train and test what is missing, then write the tables."""
    arguments = parser(__doc__, __file__)
    arguments.add_argument("data", help="clips of UCF-101 with splits, as for `praxiscope train`")
    arguments.add_argument("--split")
    arguments.add_argument("--annotations", type=Path)
    arguments.add_argument("--background", nargs="+", default=BACKGROUND, help="classes of the time between")
    arguments.add_argument("--model", default="probe")
    arguments.add_argument("--frames", type=int, default=8, help="frames of each clip and each window")
    arguments.add_argument("--train-videos", type=int, default=24)
    arguments.add_argument(
        "--tune-videos", type=int, default=12, help="training videos to learn settings from"
    )
    arguments.add_argument("--test-videos", type=int, default=24)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--gmdcsa24", type=Path, help="folder of that set")
    options = arguments.parse_args()
    made: dict[tuple[str, str], list[dict[str, Any]]] = {(a, b): [] for a in LEARNED_FROM for b in SETTINGS}
    real: dict[tuple[str, str], list[dict[str, Any]]] = {key: [] for key in made}
    for seed in range(options.seeds):
        films = make_films(options, seed)
        for learned_from in LEARNED_FROM:
            for kind, figures in result(options, films, learned_from, str(seed), seed).items():
                made[learned_from, kind].append(figures)
    for subject in ("1", "2") if options.gmdcsa24 else ():
        films = gmdcsa_films(options.gmdcsa24, subject)
        for learned_from in LEARNED_FROM:
            found = result(options, films, learned_from, f"gmdcsa24-{subject}", 0)
            for kind, figures in found.items():
                real[learned_from, kind].append(figures)
    tables = [table("Made videos", made), comparisons(made)]
    note = (
        f"Made videos: {options.train_videos} for the network, {options.tune_videos} for the settings and "
        f"{options.test_videos} for testing in each of "
        f"{counted(options.seeds, 'seed')}, network {options.model}, "
        f"{options.frames} frames of each clip and window. Mean ± sample standard deviation over the seeds; "
        "paired t tests, two-sided."
    )
    if options.gmdcsa24:
        tables.insert(1, table("GMDCSA24", real))
        videos = sum(each["videos"] for each in real["segments", "default"])
        note += (
            f" GMDCSA24: {videos} videos in all, each subject held out once; the spread is over these two."
        )
    write_tables(options, __file__, "Start and end of actions", tables, note)


if __name__ == "__main__":
    run_command(main)
