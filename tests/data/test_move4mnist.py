from __future__ import annotations

import gzip
import json
import struct
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from praxiscope.data.manifest import load_records
from praxiscope.data.move4mnist import make_move4mnist, read_relevance, render
from praxiscope.data.move4mnist_draw import (
    drifting_texture,
    encode,
    load_digits,
    paste,
    resize_digit,
    video_background,
)
from praxiscope.data.move4mnist_plan import CLASSES, Design, Plan, draw_plan
from praxiscope.errors import ArgumentError, DataError
from praxiscope.video.opening import open_video

LABELS = np.arange(1000) % 10


@cache
def _plans(count: int, design: Design, seed: int = 0) -> list[Plan]:
    return [draw_plan(design, LABELS, seed=seed, split="train", number=i) for i in range(count)]


def _small(out: Path, **changes: Any) -> Path:
    design: dict[str, Any] = {"size": 48, "frames": 12}
    arguments: dict[str, Any] = {"videos": (5, 4), "workers": 1}
    for name, value in changes.items():
        (design if name in Design.__dataclass_fields__ else arguments)[name] = value
    return make_move4mnist(out, Design(**design), **arguments)


def _content(out: Path) -> dict[str, bytes]:
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def test_every_plan_keeps_its_promises() -> None:
    design = Design(size=64, frames=20, chunk=(5, 9))
    for plan in _plans(400, design):
        target = [t for t, kind in enumerate(plan.kinds) if kind == "target"]
        assert 5 <= len(target) <= 9
        assert target == list(range(target[0], target[-1] + 1))
        steps = np.diff(plan.corners[target], axis=0)
        along = {"up": (1, -1), "down": (1, 1), "left": (0, -1), "right": (0, 1)}[plan.direction]
        assert np.ptp(steps, axis=0) == pytest.approx(0, abs=1e-9)
        assert (steps[:, along[0]] * along[1] > 0.5).all()
        assert (steps[:, 1 - along[0]] == 0).all()
        shown = plan.corners[~np.isnan(plan.corners[:, 0])]
        assert (shown >= 0).all()
        assert (shown + plan.side <= 64).all()
        for t, kind in enumerate(plan.kinds):
            assert (plan.images[t] >= 0) == (kind in ("target", "distractor"))
            if kind == "target":
                assert LABELS[plan.images[t]] == plan.label
            elif kind == "distractor":
                assert LABELS[plan.images[t]] != plan.label


def test_an_inserted_chunk_interrupts_a_motion_that_then_goes_on() -> None:
    design = Design(size=64, frames=20, chunk=(5, 9), inserted=True)
    before = []
    for plan in _plans(400, design):
        rest = [t for t, kind in enumerate(plan.kinds) if kind != "target"]
        assert 11 <= len(rest) <= 15
        assert rest == list(range(rest[0], rest[-1] + 1))
        assert rest[0] > 0
        assert rest[-1] < 19
        before.append(rest[0])
        target = [t for t, kind in enumerate(plan.kinds) if kind == "target"]
        steps = np.diff(plan.corners[target], axis=0)
        assert np.ptp(steps, axis=0) == pytest.approx(0, abs=1e-9)
        assert abs(steps).max() > 0.5
        assert len(set(plan.images[target])) == 1
    assert set(before) == set(range(1, 9))


def test_classes_are_balanced_and_chunks_stand_anywhere() -> None:
    plans = _plans(2000, Design())
    assert Counter(p.direction for p in plans) == dict.fromkeys(CLASSES, 500)
    starts = [p.kinds.index("target") for p in plans]
    assert set(starts) >= set(range(22))
    kinds = Counter(kind for p in plans for kind in p.kinds if kind != "target")
    assert min(kinds.values()) > 0.3 * sum(kinds.values())


def test_the_position_in_a_random_frame_has_the_same_distribution_in_all_classes() -> None:
    rng = np.random.default_rng(0)
    places: dict[str, list[np.ndarray]] = {name: [] for name in CLASSES}
    for plan in _plans(12_000, Design(frames=32)):
        target = [t for t, kind in enumerate(plan.kinds) if kind == "target"]
        places[plan.direction].append(plan.corners[rng.choice(target)])
    xy = {name: np.array(rows) for name, rows in places.items()}
    for name in CLASSES[1:]:
        for axis in (0, 1):
            assert stats.ks_2samp(xy["up"][:, axis], xy[name][:, axis]).pvalue > 0.001
    edges = [np.quantile(xy["up"][:, axis], np.linspace(0, 1, 7)[1:-1]) for axis in (0, 1)]
    cells = [np.digitize(xy[n][:, 0], edges[0]) * 6 + np.digitize(xy[n][:, 1], edges[1]) for n in CLASSES]
    table = np.array([np.bincount(c, minlength=36) for c in cells])
    assert stats.chi2_contingency(table[:, table.sum(0) > 0]).pvalue > 0.001


def test_a_path_around_a_plain_middle_would_show_in_that_comparison() -> None:
    # Without the offset across the motion, y of horizontal paths would be the middle of the vertical ones.
    rng = np.random.default_rng(0)
    middles, drawn = [], []
    for plan in _plans(12_000, Design(frames=32)):
        if plan.direction == "up":
            rows = plan.corners[[kind == "target" for kind in plan.kinds], 1]
            middles.append(rows.mean())
            drawn.append(rng.choice(rows))
    assert stats.ks_2samp(middles, drawn).pvalue < 1e-6


def test_up_backwards_is_down() -> None:
    design = Design(frames=16, chunk=(16, 16))
    rows = {name: [] for name in CLASSES}
    for plan in _plans(4000, design):
        axis = 1 if plan.direction in ("up", "down") else 0
        rows[plan.direction].append(np.sort(plan.corners[:, axis]))
    for one, other in (("up", "down"), ("left", "right")):
        for place in (0, 7, 15):
            a, b = (np.array(rows[name])[:, place] for name in (one, other))
            assert stats.ks_2samp(a, b).pvalue > 0.001


def test_a_plan_depends_on_seed_split_and_number_alone() -> None:
    design = Design()
    first = draw_plan(design, LABELS, seed=3, split="train", number=8)
    again = draw_plan(design, LABELS, seed=3, split="train", number=8)
    np.testing.assert_array_equal(first.corners, again.corners)
    for seed, split, number in ((4, "train", 8), (3, "test", 8), (3, "train", 12)):
        other = draw_plan(design, LABELS, seed=seed, split=split, number=number)
        assert not np.array_equal(first.corners, other.corners, equal_nan=True)


def test_a_rendered_video_shows_what_its_plan_says() -> None:
    design = Design(size=64, frames=32)
    images = np.full((1000, 28, 28), 255, np.uint8)
    background = drifting_texture(np.random.default_rng(1), 32, 64)
    for plan in _plans(12, design):
        frames = render(plan, images, background, 0.5)
        assert frames.shape == (32, 64, 64, 3)
        for t, kind in enumerate(plan.kinds):
            under = (background[t].astype(int) * 128) // 256
            if kind == "black":
                assert frames[t].max() == 0
            elif kind == "background":
                np.testing.assert_array_equal(frames[t], under)
            else:
                mass = (frames[t].astype(float) - under)[..., 0] / (255.0 - under[..., 0])
                ys, xs = np.mgrid[:64, :64] + 0.5
                centre = np.array([(mass * xs).sum(), (mass * ys).sum()]) / mass.sum()
                np.testing.assert_allclose(centre, plan.corners[t] + plan.side / 2, atol=0.05)


def test_a_digit_at_a_whole_pixel_is_its_image() -> None:
    frame = np.zeros((20, 20, 3), np.uint8)
    digit = np.random.default_rng(0).uniform(size=(5, 5))
    paste(frame, digit, 3.0, 15.0)
    np.testing.assert_array_equal(frame[15:20, 3:8, 1], np.rint(digit * 255))
    assert np.count_nonzero(frame.sum(-1)) == 25


def test_a_digit_resized_to_its_own_size_is_itself_and_flat_stays_flat() -> None:
    image = np.random.default_rng(0).integers(0, 256, (28, 28)).astype(np.uint8)
    np.testing.assert_allclose(resize_digit(image, 28), image / 255, atol=1e-12)
    for side in (9, 17, 60):
        np.testing.assert_allclose(resize_digit(np.full((28, 28), 51, np.uint8), side), 0.2)


def test_textures_drift_in_directions_that_have_nothing_to_do_with_each_other() -> None:
    moves = []
    for seed in range(40):
        frames = drifting_texture(np.random.default_rng(seed), 9, 48).mean(-1)
        gy, gx = np.gradient(frames[4])
        change = (frames[5] - frames[3]) / 2
        # Brightness constancy, over the middle: change = -(gx u + gy v).
        a = np.stack([gx[4:-4, 4:-4].ravel(), gy[4:-4, 4:-4].ravel()], 1)
        moves.append(np.linalg.lstsq(a, -change[4:-4, 4:-4].ravel(), rcond=None)[0])
    angles = np.arctan2(*np.array(moves).T)
    assert (np.hypot(*np.array(moves).T) > 0.05).all()
    assert min(Counter(np.digitize(angles, [-np.pi / 2, 0, np.pi / 2]).tolist()).values()) >= 3


def test_scikit_learn_digits_serve_when_no_others_are_given() -> None:
    images, labels = load_digits(None, "train")
    others, other_labels = load_digits(None, "test")
    assert len(images) + len(others) == 1797
    assert set(labels) == set(other_labels) == set(range(10))
    assert images.dtype == np.uint8
    assert images.max() == 255
    assert images[:, 0].max() == 0


def _idx(path: Path, values: np.ndarray) -> None:
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    data = header + values.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def test_idx_files_are_read_plain_and_gzipped(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 6, 5)).astype(np.uint8)
    _idx(tmp_path / "train-images-idx3-ubyte.gz", images)
    _idx(tmp_path / "train-labels.idx1-ubyte", np.arange(20, dtype=np.uint8) % 10)
    read, labels = load_digits(tmp_path, "train")
    np.testing.assert_array_equal(read, images)
    np.testing.assert_array_equal(labels, np.arange(20) % 10)
    with pytest.raises(DataError, match="t10k-images-idx3-ubyte"):
        load_digits(tmp_path, "test")


@pytest.mark.parametrize("damage", ["cut", "magic", "gzip", "huge", "empty"])
def test_damaged_idx_files_are_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    _idx(path, np.zeros((3, 4, 4), np.uint8))
    data = path.read_bytes()
    if damage == "gzip":
        path.unlink()
        path = path.with_suffix(".gz")
        data = gzip.compress(data)[:-12]
    huge = struct.pack(">4I", 0x803, 1 << 31, 1 << 31, 1 << 31)
    path.write_bytes(
        {"cut": data[:-1], "magic": b"\1" + data[1:], "gzip": data, "huge": huge, "empty": b""}[damage]
    )
    with pytest.raises(DataError, match="train-images-idx3-ubyte"):
        load_digits(tmp_path, "train")


def test_real_mnist_is_read(data_folder: Path) -> None:
    images, labels = load_digits(data_folder / "mnist", "test")
    assert images.shape == (10_000, 28, 28)
    assert labels[:5].tolist() == [7, 2, 1, 0, 4]


def test_a_set_is_complete_and_reads_back(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    out = _small(tmp_path / "set", progress=lambda *now: seen.append(now))
    assert seen == [(i, 9) for i in range(1, 10)]
    for data in (str(out), f"move4mnist:{out}"):
        manifest = load_records(data)
        assert manifest.classes == CLASSES
        assert Counter(r.labels[0] for r in manifest.of("train")) == {
            "up": 2,
            "down": 1,
            "left": 1,
            "right": 1,
        }
        assert Counter(r.labels[0] for r in manifest.of("test")) == dict.fromkeys(CLASSES, 1)
    images, labels = load_digits(None, "train")
    plan = draw_plan(Design(size=48, frames=12), labels, seed=0, split="train", number=4)
    path = out / "train" / "up" / "00004.mp4"
    video = open_video(path)
    assert (len(video), video.width, video.height, video.codec, video.fps) == (12, 48, 48, "h264", 16.0)
    assert read_relevance(path) == list(plan.kinds)
    background = drifting_texture(np.random.default_rng([0, 0, 4, 1]), 12, 48)
    expected = render(plan, images, background, 0.6)
    decoded = video.frames(range(12)).permute(0, 2, 3, 1).numpy()
    assert np.abs(decoded.astype(int) - expected).mean() < 6
    content = json.loads((out / "move4mnist.json").read_text())
    assert content["parameters"]["chunk"] == [3, 6]
    assert content["parameters"]["digits"]["source"] == "scikit-learn"
    assert not [p for p in out.rglob("*") if ".part" in p.name]


@pytest.mark.parametrize("side", [48, 64])
def test_encoding_the_same_pixels_gives_the_same_bytes(tmp_path: Path, side: int) -> None:
    pixels = drifting_texture(np.random.default_rng(0), 12, side)
    found = set()
    for _ in range(20):
        encode(tmp_path / "v.mp4", pixels, fps=16, crf=18, gop=8)
        found.add((tmp_path / "v.mp4").read_bytes())
    assert len(found) == 1


@pytest.mark.slow
def test_workers_make_the_same_bytes(tmp_path: Path) -> None:
    assert _content(_small(tmp_path / "one")) == _content(_small(tmp_path / "two", workers=2))


def test_a_broken_off_set_is_finished_without_making_videos_twice(tmp_path: Path) -> None:
    whole = _content(_small(tmp_path / "whole"))

    def stop(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _small(tmp_path / "set", progress=stop)
    made = {p: p.stat().st_mtime_ns for p in (tmp_path / "set").rglob("*.mp4")}
    assert len(made) == 4
    next(iter(made)).with_suffix(".json").unlink()  # as if it had been stopped between video and labels
    assert _content(_small(tmp_path / "set")) == whole
    assert [p.stat().st_mtime_ns == time for p, time in made.items()] == [False, True, True, True]


def test_other_parameters_do_not_go_into_a_set(tmp_path: Path) -> None:
    out = _small(tmp_path / "set")
    with pytest.raises(DataError, match=r"frames \(12 .*16 .*\); seed \(0 .*1 .*\)"):
        _small(out, seed=1, frames=16, chunk=(3, 6))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(DataError, match="full"):
        _small(tmp_path / "full")
    (out / "move4mnist.json").write_text("{")
    with pytest.raises(DataError, match=r"move4mnist\.json"):
        _small(out)


def test_a_set_of_before_there_were_inserted_chunks_is_finished(tmp_path: Path) -> None:
    path = _small(tmp_path / "set") / "move4mnist.json"
    content = json.loads(path.read_text())
    del content["parameters"]["inserted"]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"inserted \(False .*True "):
        _small(tmp_path / "set", inserted=True)
    assert _small(tmp_path / "set") == tmp_path / "set"


def test_background_videos_differ_between_splits_and_broken_ones_are_passed_over(tmp_path: Path) -> None:
    source = _small(tmp_path / "source", videos=(8, 0), frames=5)
    good = sorted(source.rglob("*.mp4"))
    (source / "train" / "up" / "broken.mp4").write_text("nothing")
    (source / "train" / "up" / "also.mp4").write_text("nothing")
    out = _small(tmp_path / "set", videos=(12, 8), backgrounds=source)
    used = {
        split: {json.loads(p.read_text())["background"] for p in (out / split).rglob("*.json")}
        for split in ("train", "test")
    }
    assert used["train"]
    assert used["test"]
    assert not used["train"] & used["test"]
    assert used["train"] | used["test"] <= {p.name for p in good}
    met = {name for p in out.glob("t*/*/*.json") for name in json.loads(p.read_text())["broken_backgrounds"]}
    assert met
    assert met <= {"also.mp4", "broken.mp4"}
    assert json.loads((out / "move4mnist.json").read_text())["broken_backgrounds"] == sorted(met)


def test_a_background_is_a_moving_window_of_its_video(data_folder: Path) -> None:
    videos = sorted((data_folder / "ucf101_9" / "Surfing").iterdir())
    pixels, source, broken = video_background(np.random.default_rng(5), videos, 32, 64)
    again, _, _ = video_background(np.random.default_rng(5), videos, 32, 64)
    assert pixels.shape == (32, 64, 64, 3)
    assert source in videos
    assert broken == []
    np.testing.assert_array_equal(pixels, again)
    assert (np.abs(np.diff(pixels.astype(int), axis=0)).mean((1, 2, 3)) > 0).sum() > 20


def test_backgrounds_that_cannot_be_used_are_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none"):
        _small(tmp_path / "set", backgrounds=tmp_path / "none")
    (tmp_path / "videos").mkdir()
    with pytest.raises(DataError, match="videos"):
        _small(tmp_path / "set", backgrounds=tmp_path / "videos")
    (tmp_path / "videos" / "x.mp4").write_text("nothing")
    with pytest.raises(DataError, match=r"x\.mp4"):
        _small(tmp_path / "set", backgrounds=tmp_path / "videos")


@pytest.mark.parametrize(
    "change",
    [
        {"size": 47}, {"size": 16}, {"frames": 1}, {"chunk": (1, 5)}, {"chunk": (5, 13)}, {"chunk": (6, 5)},
        {"run": (0, 3)}, {"fill": (0.0, 0.0, 0.0)}, {"still": 1.5}, {"digit": (0.5, 0.9)}, {"speed": (0.0, 0.1)},
        {"reach": 1.0}, {"background_gain": 2.0}, {"crf": 60}, {"videos": (-1, 4)}, {"videos": (0, 0)},
        {"seed": -1}, {"workers": 0}, {"fps": 0},
    ],
)  # fmt: skip
def test_parameters_out_of_range_are_named(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(ArgumentError, match=f"move4mnist: .*{next(iter(change))}"):
        _small(tmp_path / "set", **change)
    assert not (tmp_path / "set").exists()


def test_frame_labels_of_another_video_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"v\.json"):
        read_relevance(tmp_path / "v.mp4")
