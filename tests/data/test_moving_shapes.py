"""Moving shapes against closed forms, brute force, and the pixels themselves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from praxiscope.commands import moving_shapes
from praxiscope.commands.moving_shapes import Design, ShapeSet, make_moving_shapes
from praxiscope.data.flow_samples import find_flow_data, is_flow_data, load_flow_samples
from praxiscope.data.moving_shapes_draw import draw_texture, occlusion, render
from praxiscope.data.moving_shapes_scene import (
    Ellipse,
    Polygon,
    Scene,
    compose,
    draw_scene,
    invert,
    transform,
)
from praxiscope.errors import ArgumentError, DataError
from praxiscope.flow.flo import read_flo
from praxiscope.video.opening import open_video
from support import write_clip

SMALL = ShapeSet((3, 2), (1, 1), frames=4, design=Design(size=48))
SQUARE = Polygon(((-4.5, -4.5), (4.5, -4.5), (4.5, 4.5), (-4.5, 4.5)))


def at(x: float, y: float, angle: float = 0.0, scale: float = 1.0) -> list[list[float]]:
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    return [[cosine, -sine, x], [sine, cosine, y]]


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_moving_shapes(tmp_path_factory.mktemp("shapes") / "set", SMALL, workers=1)


# ------------------------------------------------------------------------------------------ flow, occlusion


def test_a_square_that_is_moved_by_hand():
    # Background still, a square of 9 pixels around (10, 12) that goes 3 to the right and 1 up.
    poses = np.array([[at(15.5, 15.5), at(10, 12)], [at(15.5, 15.5), at(13, 11)]])
    scene = Scene(32, (SQUARE,), poses, soft=False)
    colours = [np.full((3, 16, 16), level, np.uint8) for level in (50, 200)]
    frames, layers = render(scene, colours)
    square = np.zeros((2, 32, 32), dtype=np.uint8)
    square[0, 8:17, 6:15] = 1
    square[1, 7:16, 9:18] = 1
    assert np.array_equal(layers, square)
    assert np.array_equal(frames, np.repeat(np.where(square, 200, 50)[..., None], 3, -1))
    assert scene.motions.tolist() == [[[[1, 0, 0], [0, 1, 0]], [[1, 0, 3], [0, 1, -1]]]]
    covered = (square[1] == 1) & (square[0] == 0)
    assert np.array_equal(occlusion(scene, layers)[0], covered)


def test_pixels_that_leave_the_frame_are_occluded():
    poses = np.array([[at(7.5, 7.5)], [at(9.75, 7.5)]])  # 2.25 to the right
    scene = Scene(16, (), poses, soft=False)
    hidden = occlusion(scene, np.zeros((2, 16, 16), np.uint8))[0]
    assert hidden.all(0).tolist() == [False] * 13 + [True] * 3
    assert not hidden[:, :13].any()


def test_an_edge_that_is_soft_has_the_colour_of_its_covered_part():
    poses = np.array(
        [[at(15.5, 15.5), at(10.25, 12)]]
    )  # the right edge at 14.75 covers a quarter of column 15
    scene = Scene(32, (SQUARE,), poses, soft=True)
    frames, layers = render(scene, [np.full((3, 16, 16), level, np.uint8) for level in (0, 200)])
    assert frames[0, 12, 5:8, 0].tolist() == [0, 150, 200]
    assert frames[0, 12, 14:17, 0].tolist() == [200, 50, 0]
    assert layers[0, 12, 5:8].tolist() == [0, 1, 1]
    assert layers[0, 12, 14:17].tolist() == [1, 0, 0]


@pytest.mark.parametrize("seed", range(4))
def test_occlusion_is_what_a_search_through_all_layers_finds(seed):
    scene = draw_scene(Design(size=40, shapes=(3, 5), still=0, subpixel=0), 2, np.random.default_rng(seed))
    layers = render(scene, [np.zeros((3, 8, 8), np.uint8)] * (len(scene.outlines) + 1))[1]

    def top(point: np.ndarray, poses: np.ndarray) -> int:
        for layer in range(len(scene.outlines), 0, -1):
            linear, offset = poses[layer][:, :2], poses[layer][:, 2]
            own = np.linalg.solve(linear, point - offset)
            if scene.outlines[layer - 1].distance(own[None])[0] <= 0:
                return layer
        return 0

    hidden = occlusion(scene, layers)[0]
    for y in range(0, 40, 2):
        for x in range(1, 40, 2):
            point = np.array([x, y], dtype=float)
            layer = top(point, scene.poses[0])
            assert layers[0, y, x] == layer
            linear, offset = scene.poses[0, layer][:, :2], scene.poses[0, layer][:, 2]
            moved = scene.poses[1, layer] @ (*np.linalg.solve(linear, point - offset), 1)
            gone = bool((moved < 0).any() or (moved > 39).any())
            assert hidden[y, x] == (gone or top(moved, scene.poses[1]) != layer), (x, y)


def test_points_are_inside_the_outlines_where_a_drawing_program_says_so():
    from matplotlib.path import Path as Curve

    rng = np.random.default_rng(0)
    points = rng.uniform(-12, 12, (500, 2))
    corners = ((-9.0, -3.0), (2.0, -8.0), (3.0, -1.0), (10.0, 4.0), (-1.0, 3.0), (-6.0, 9.0))
    found = Polygon(corners).distance(points)
    assert np.array_equal(found <= 0, Curve((*corners, corners[0]), closed=True).contains_points(points))
    inside = Ellipse(8.0, 3.0).distance(points) <= 0
    assert np.array_equal(inside, (points[:, 0] / 8) ** 2 + (points[:, 1] / 3) ** 2 <= 1)
    assert Ellipse(5.0, 5.0).distance(np.array([[0.0, 7.0], [3.0, 0.0]])) == pytest.approx([2, -2])
    assert SQUARE.distance(np.array([[7.5, 8.5], [0.0, 2.5]])) == pytest.approx([5, -2])


def test_the_next_frame_shows_the_same_colours_where_the_flow_leads(made):
    along_flow, in_place = [], []
    for sample in load_flow_samples(made):
        count = sample.num_fields
        frames, flow, hidden = (
            sample.frames(0, count + 1).float(),
            sample.fields(0, count),
            sample.occlusion(0, count),
        )
        height, width = frames.shape[-2:]
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        places = torch.stack((x + flow[:, 0], y + flow[:, 1]), -1) * 2 / (width - 1) - 1
        warped = F.grid_sample(frames[1:], places, "bicubic", align_corners=True)
        # Pixels at edges mix two layers, which move apart.
        layers = torch.from_numpy(np.load(made / sample.id / "flow.npz")["layers"]).float()[:, None]
        edge = (F.max_pool2d(layers, 5, 1, 2) + F.max_pool2d(-layers, 5, 1, 2))[:, 0] > 0
        moved_edge = F.grid_sample(edge[1:, None].float(), places, align_corners=True)[:, 0] > 0
        good = ~(hidden | edge[:-1] | moved_edge)
        assert good.float().mean() > 0.3
        good &= torch.hypot(*flow.unbind(1)) > 0.5
        along_flow.append((warped - frames[:-1]).abs().mean(1)[good])
        in_place.append((frames[1:] - frames[:-1]).abs().mean(1)[good])
    assert torch.cat(along_flow).mean() < 1
    assert torch.cat(in_place).mean() > 5


def test_flow_has_the_precision_of_the_scene(made):
    sample = load_flow_samples(made, "train")[-1]
    assert (sample.num_fields, sample.id) == (3, "train/clips/00000")
    stored = np.load(made / sample.id / "flow.npz", allow_pickle=False)
    y, x = 17, 30
    for field in range(3):
        motion = stored["motions"][field, stored["layers"][field, y, x]]
        by_hand = motion @ (x, y, 1.0) - (x, y)
        found = sample.fields(field, 1)[0, :, y, x]
        assert found.dtype == torch.float32
        assert found.tolist() == pytest.approx(by_hand.tolist(), rel=1e-6, abs=1e-6)
    assert torch.equal(sample.fields(0, 3)[1:], sample.fields(1, 2))
    assert torch.equal(sample.frames(1, 2), sample.frames(0, 4)[1:3])
    assert torch.equal(sample.occlusion(0, 3)[2], sample.occlusion(2, 1)[0])


# -------------------------------------------------------------------------------------------------- motion


def displacements(scene: Scene) -> np.ndarray:
    """Lengths of the background's flow on a coarse grid, [F, n]."""
    points = np.stack(np.mgrid[: scene.size : 4, : scene.size : 4], -1).reshape(-1, 2).astype(float)
    return np.stack([np.hypot(*(transform(motion[0], points) - points).T) for motion in scene.motions])


def test_most_displacements_are_small_and_none_exceeds_the_largest():
    design = Design(size=64, shapes=(0, 0))
    found = np.stack([displacements(draw_scene(design, 2, np.random.default_rng(n)))[0] for n in range(300)])
    assert 1.2 < np.median(found) < 2.8
    assert 0.15 < (found.max(1) == 0).mean() < 0.25
    assert 0.35 < (found.max(1) < 1).mean() < 0.5  # 0.2 of the rest, still ones, and small ones
    assert 15 < found.max() <= 20


def test_samples_of_small_motion_only_stay_below_a_pixel():
    design = Design(size=48, subpixel=1, still=0)
    for seed in range(10):
        scene = draw_scene(design, 2, np.random.default_rng(seed))
        layers = render(scene, [np.zeros((3, 8, 8), np.uint8)] * (len(scene.outlines) + 1))[1]
        y, x = np.mgrid[:48, :48]
        points = np.stack((x, y), -1).astype(float)
        for layer in np.unique(layers[0]):
            seen = points[layers[0] == layer]
            assert np.hypot(*(transform(scene.motions[0, layer], seen) - seen).T).max() < 1


def test_motion_in_a_clip_is_constant_or_changes_smoothly():
    steady = draw_scene(Design(size=64, varying=0, still=0), 17, np.random.default_rng(3))
    turns = np.arctan2(steady.motions[..., 1, 0], steady.motions[..., 0, 0])
    assert np.ptp(turns, axis=0).max() < 1e-9
    changing = draw_scene(Design(size=64, varying=1, still=0, subpixel=0), 17, np.random.default_rng(3))
    lengths = displacements(changing).mean(1)
    assert np.ptp(lengths) > 0.1
    assert np.abs(np.diff(lengths)).max() < 0.3 * lengths.max()
    assert displacements(changing).max() <= 20


def test_maps_are_composed_and_inverted():
    rng = np.random.default_rng(0)
    one, other, points = rng.normal(size=(5, 2, 3)), rng.normal(size=(5, 2, 3)), rng.normal(size=(7, 2))
    for first, second, both in zip(one, other, compose(other, one), strict=True):
        assert transform(both, points) == pytest.approx(transform(second, transform(first, points)))
    assert compose(one, invert(one)) == pytest.approx(np.broadcast_to(np.eye(2, 3), one.shape), abs=1e-9)


def test_textures_have_colours_and_details():
    textures = [draw_texture(np.random.default_rng(seed), 48).astype(float) for seed in range(12)]
    assert len({texture.tobytes() for texture in textures}) == 12
    assert all(texture.std() > 2 for texture in textures)


# ---------------------------------------------------------------------------------------------------- sets


def test_a_set_is_data_with_flow(made):
    assert is_flow_data(made)
    assert find_flow_data(made) == ("moving-shapes", made)
    train, test = load_flow_samples(made, "train"), load_flow_samples(made, "test")
    assert [sample.num_fields for sample in train] == [1, 1, 1, 3]
    assert [sample.id for sample in test] == ["test/pairs/00000", "test/pairs/00001", "test/clips/00000"]
    assert train[0].frames(0, 2).shape == (2, 3, 48, 48)
    assert not torch.equal(train[0].frames(0, 1), test[0].frames(0, 1))
    about = json.loads((made / "dataset.json").read_text())
    assert about["settings"]["seed"] == 0
    assert about["settings"]["subpixel"] == 0.2


def test_the_folder_of_a_sample_is_a_video(made):
    sample = load_flow_samples(made, "train")[-1]
    assert torch.equal(open_video(made / sample.id).frames(range(4)), sample.frames(0, 4))


def test_a_sample_does_not_depend_on_the_number_of_samples(made, tmp_path):
    content = ShapeSet((1, 0), (0, 0), design=Design(size=48))
    other = make_moving_shapes(tmp_path / "set", content, workers=1)
    assert files(other / "train/pairs/00000") == files(made / "train/pairs/00000")


@pytest.mark.slow
def test_a_killed_run_continues_and_any_number_of_workers_writes_the_same_bytes(made, tmp_path, monkeypatch):
    out = tmp_path / "set"
    code = f"""if True:
        from praxiscope.commands.moving_shapes import *
        content = ShapeSet((3, 2), (1, 1), frames=4, design=Design(size=48))
        make_moving_shapes({str(out)!r}, content, workers=1)
    """
    process = subprocess.Popen([sys.executable, "-c", code])
    while not any(out.glob("train/pairs/0*")):
        time.sleep(0.005)
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "dataset.json").exists()
    assert not is_flow_data(out)
    kept = next(out.glob("train/pairs/0*"))
    before = kept.stat().st_mtime_ns
    left = out / "train" / "pairs" / ".00001.1.part" / "frame_00.png"
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"unfinished")
    monkeypatch.setattr(moving_shapes, "_CHUNK", 2)
    make_moving_shapes(out, SMALL, workers=2)
    assert kept.stat().st_mtime_ns == before
    assert files(out) == files(made)


def test_another_set_in_the_folder_is_refused(made, tmp_path):
    with pytest.raises(DataError, match=r"seed \(0 in the folder, 1 given\)"):
        make_moving_shapes(made, ShapeSet((3, 2), (1, 1), frames=4, seed=1, design=Design(size=48)))
    with pytest.raises(DataError, match="motion"):
        make_moving_shapes(made, ShapeSet((3, 2), (1, 1), frames=4, design=Design(size=48, motion=5)))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="not a set of moving shapes"):
        make_moving_shapes(tmp_path, SMALL)


def test_textures_come_from_images_and_videos(tmp_path):
    (tmp_path / "textures").mkdir()
    blue = np.zeros((40, 60, 3), dtype=np.uint8)
    blue[..., 2] = np.arange(60) * 2 + 100
    Image.fromarray(blue).save(tmp_path / "textures" / "a.png")
    (tmp_path / "textures" / "broken.jpg").write_bytes(b"no image")
    content = ShapeSet((2, 0), (0, 0), textures=tmp_path / "textures", design=Design(size=32))
    made = make_moving_shapes(tmp_path / "set", content, workers=1)
    frames = load_flow_samples(made)[0].frames(0, 2)
    assert frames[:, :2].max() == 0
    assert frames[:, 2].min() >= 95
    about = json.loads((made / "dataset.json").read_text())
    assert about["settings"]["textures"]["files"] == 2
    write_clip(tmp_path / "videos" / "a.mp4", 0)
    content = ShapeSet((1, 0), (0, 0), textures=tmp_path / "videos", design=Design(size=32))
    assert len(load_flow_samples(make_moving_shapes(tmp_path / "from-videos", content, workers=1))) == 1
    for folder, named in ((tmp_path / "none", "none"), (made / "train" / "none", "none")):
        with pytest.raises(DataError, match=named):
            make_moving_shapes(tmp_path / "x", ShapeSet(textures=folder))


def test_flow_is_also_written_as_flo_files(tmp_path):
    content = ShapeSet((0, 0), (0, 1), frames=3, flo=True, design=Design(size=32))
    sample = load_flow_samples(make_moving_shapes(tmp_path / "set", content, workers=1))[0]
    for field in range(2):
        flow, known = read_flo(tmp_path / "set" / sample.id / f"flow_{field:02d}.flo")
        assert known.all()
        assert torch.equal(flow, sample.fields(field, 1)[0])


def test_damaged_samples_are_named(tmp_path):
    made = make_moving_shapes(tmp_path / "set", ShapeSet((1, 0), (0, 0), design=Design(size=32)), workers=1)
    sample = load_flow_samples(made)[0]
    path = made / sample.id / "flow.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"flow\.npz.*moving-shapes"):
        sample.fields(0, 1)
    path.unlink()
    with pytest.raises(DataError, match=r"flow\.npz.*no such file"):
        sample.occlusion(0, 1)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: ShapeSet(pairs=(0, 0), clips=(0, 0)), r"\(0, 0, 0, 0\)"),
        (lambda: ShapeSet(pairs=(-1, 3)), "-1"),
        (lambda: ShapeSet(frames=1), "frames.*1"),
        (lambda: ShapeSet(seed=-1), "seed.*-1"),
        (lambda: Design(size=8), "size.*8"),
        (lambda: Design(shapes=(4, 2)), r"shapes.*\(4, 2\)"),
        (lambda: Design(motion=0), "motion.*0"),
        (lambda: Design(still=1.5), r"1\.5"),
    ],
)
def test_other_content_is_refused(make, named):
    with pytest.raises(ArgumentError, match=named):
        make()


def test_the_command_makes_a_set(call, tmp_path):
    done = call(
        "dataset moving-shapes set --train 2 --test 1 --clips 1,0 --frames 3 --size 32 --workers 1 --json"
    )
    assert (done.code, json.loads(done.out)) == (0, {"out": "set", "pairs": [2, 1], "clips": [1, 0]})
    assert len(load_flow_samples(tmp_path / "set")) == 4
    again = call("dataset moving-shapes set --train 2 --test 1 --clips 1,0 --frames 3 --size 64")
    assert again.code != 0
    assert "size (32 in the folder, 64 given)" in again.err
    assert call("dataset moving-shapes other --clips 3").code != 0
    assert not (tmp_path / "other").exists()
