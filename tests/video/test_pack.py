"""Packed clips: every frame decodes alone, and a damaged file is an error."""

from __future__ import annotations

import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from praxiscope.errors import ArgumentError, VideoError
from praxiscope.video import pack as packing
from praxiscope.video.opening import open_video
from praxiscope.video.pack import is_packed, pack_video
from video_files import make_video, pixels


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(10 * torch.log10(255**2 / ((a.float() - b.float()) ** 2).mean()))


def smooth_video(path: Path, **settings: object) -> Path:
    return make_video(path, options={"crf": "28"}, size=(96, 64), **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packed")


@pytest.fixture(scope="module")
def source(folder: Path) -> Path:
    return smooth_video(folder / "source.mp4")


@pytest.fixture(scope="module")
def packed(folder: Path, source: Path) -> Path:
    pack_video(source, folder / "source.pxv", short_side=64)
    return folder / "source.pxv"


def test_a_packed_clip_has_the_frames_and_times_of_its_source(source: Path, packed: Path) -> None:
    a, b = open_video(source), open_video(packed)
    assert (len(b), b.quick_length(), b.width, b.height) == (len(a), len(a), 96, 64)
    assert (b.fps, b.codec, b.problems) == (a.fps, "mpeg2video", [])
    assert b.duration_s == pytest.approx(1.6)
    assert np.allclose(a.timestamps(), b.timestamps())
    for number in range(len(a)):
        same = psnr(a.frames([number]), b.frames([number]))
        assert same > 30
        if number:
            assert same > psnr(a.frames([number - 1]), b.frames([number])) + 3


def test_best_quality_is_nearer_than_low_quality(source: Path, tmp_path: Path) -> None:
    truth = open_video(source).frames([3, 20])
    found = []
    for quality in (1, 3, 20):
        report = pack_video(source, tmp_path / "a.pxv", short_side=64, quality=quality)
        found.append((psnr(open_video(tmp_path / "a.pxv").frames([3, 20]), truth), report.bytes_out))
    assert found == sorted(found, reverse=True)


def test_any_frame_decodes_alone_and_equals_itself_in_order(packed: Path) -> None:
    video = open_video(packed)
    in_order = list(video)
    numbers = [39, 0, 7, 7, 38]
    for number, frame in zip(numbers, video.frames(numbers), strict=True):
        assert torch.equal(frame, in_order[number])
    assert [f.index for f in video.decode(0.5, 0.7)] == [13, 14, 15, 16, 17]
    assert torch.equal(next(video.decode(0.5)).rgb(), in_order[13])


def test_scale_and_crop_are_those_of_any_video(packed: Path) -> None:
    video = open_video(packed)
    full = video.frames([4], short_side=32)
    assert full.shape == (1, 3, 32, 48)
    assert torch.equal(video.frames([4], short_side=32, crop=(2, 3, 20, 30)), full[:, :, 2:22, 3:33])
    assert video.frames([]).shape == (0, 3, 64, 96)
    with pytest.raises(ArgumentError, match=r"frame 40\b"):
        video.frames([40])
    with pytest.raises(ArgumentError, match="crop"):
        video.frames([0], crop=(0, 0, 65, 10))


@pytest.mark.parametrize("fps", [10.0, 12.5, 25.0, 40.0])
def test_resampling_takes_the_nearest_earlier_frame(source: Path, tmp_path: Path, fps: float) -> None:
    report = pack_video(source, tmp_path / "a.pxv", short_side=64, fps=fps, quality=1)
    video, original = open_video(tmp_path / "a.pxv"), open_video(source)
    assert len(video) == report.frames == round(1.6 * fps)
    assert video.fps == fps
    times = video.timestamps()
    assert np.allclose(times, np.arange(len(video)) / fps)
    for number, at in enumerate(times):
        earlier = int(np.flatnonzero(original.timestamps() <= at + 1e-6)[-1])
        frame = video.frames([number])
        near = range(max(0, earlier - 1), min(40, earlier + 2))
        assert max(near, key=lambda k: psnr(original.frames([k]), frame)) == earlier


def test_a_part_starts_at_its_own_zero(source: Path, tmp_path: Path) -> None:
    pack_video(source, tmp_path / "a.pxv", short_side=64, start_s=0.4, end_s=0.8)
    video = open_video(tmp_path / "a.pxv")
    assert len(video) == 10
    assert video.timestamps()[0] == 0
    assert psnr(video.frames([0]), open_video(source).frames([10])) > 30


def test_a_turned_video_is_packed_upright(tmp_path: Path) -> None:
    path = smooth_video(tmp_path / "a.mp4", frames=4, rotation=90)
    pack_video(path, tmp_path / "a.pxv", short_side=64)
    assert open_video(tmp_path / "a.pxv").height == 96
    assert psnr(open_video(path).frames([2]), open_video(tmp_path / "a.pxv").frames([2])) > 30


@pytest.mark.parametrize(
    ("codec", "pix_fmt"), [("mjpeg", "yuvj420p"), ("ffv1", "bgr0"), ("libx264", "yuv420p10le")]
)
def test_colours_survive_other_formats(tmp_path: Path, codec: str, pix_fmt: str) -> None:
    path = make_video(tmp_path / "a.mkv", codec, frames=3, size=(96, 64), pix_fmt=pix_fmt)
    pack_video(path, tmp_path / "a.pxv", short_side=64, quality=1)
    a, b = open_video(path).frames([1]).float(), open_video(tmp_path / "a.pxv").frames([1]).float()
    assert (a.mean((0, 2, 3)) - b.mean((0, 2, 3))).abs().max() < 1.5


@pytest.mark.parametrize("size", [(96, 64), (101, 64), (96, 63), (101, 77)])
def test_planes_are_kept_as_they_are_and_any_crop_is_exact(tmp_path: Path, size: tuple[int, int]) -> None:
    path = make_video(tmp_path / "a.mkv", "ffv1", frames=6, size=size)
    pack_video(path, tmp_path / "a.pxv", short_side=min(size), quality=0)
    video, draw = open_video(tmp_path / "a.pxv"), random.Random(0)
    assert video.codec == "rawvideo"
    full = video.frames(range(6))
    assert torch.equal(full, open_video(path).frames(range(6)))
    assert torch.equal(torch.stack(list(video)), full)
    for _ in range(40):
        rows, columns = draw.randint(1, size[1]), draw.randint(1, size[0])
        top, left = draw.randint(0, size[1] - rows), draw.randint(0, size[0] - columns)
        cut = video.frames([4, 1], crop=(top, left, rows, columns))
        assert torch.equal(cut, full[[4, 1], :, top : top + rows, left : left + columns])
    scaled = video.frames([4], short_side=40)
    assert torch.equal(video.frames([4], short_side=40, crop=(3, 5, 20, 30)), scaled[:, :, 3:23, 5:35])


def test_damaged_planes_are_noticed(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.pxv"
    pack_video(source, path, short_side=64, quality=0)
    data = bytearray(path.read_bytes())
    data[5000] ^= 128
    path.write_bytes(data)
    with pytest.raises(VideoError, match="frame 0"):
        open_video(path).frames([0])


def test_odd_sizes_are_packed(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", "ffv1", frames=3, size=(101, 77), pix_fmt="bgr0")
    report = pack_video(path, tmp_path / "a.pxv", short_side=51)
    assert (report.width, report.height) == (67, 51)
    assert open_video(tmp_path / "a.pxv").frames([2]).shape == (1, 3, 51, 67)


def test_the_magic_tells_a_packed_clip_whatever_its_name(source: Path, packed: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "clip.mp4"
    renamed.write_bytes(packed.read_bytes())
    assert is_packed(renamed)
    assert is_packed(packed)
    assert not is_packed(source)
    assert not is_packed(tmp_path / "none")
    assert len(open_video(renamed)) == 40


def test_a_packed_video_pickles_as_its_path(packed: Path) -> None:
    video = open_video(packed)
    assert len(pickle.dumps(video)) < 1000
    assert torch.equal(pickle.loads(pickle.dumps(video)).frames([3]), video.frames([3]))


def test_every_flipped_bit_is_noticed(packed: Path, tmp_path: Path) -> None:
    data, draw = packed.read_bytes(), random.Random(0)
    truth = pixels(open_video(packed).frames(range(40)))
    path = tmp_path / "a.pxv"
    for _ in range(60):
        damaged = bytearray(data)
        damaged[draw.randrange(8, len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(VideoError, match=r"a\.pxv: "):
            assert np.array_equal(pixels(open_video(path).frames(range(40))), truth)


@pytest.mark.parametrize("share", [0.0001, 0.3, 0.9, 0.999])
def test_a_truncated_packed_clip_is_an_error(packed: Path, tmp_path: Path, share: float) -> None:
    data = packed.read_bytes()
    path = tmp_path / "a.pxv"
    path.write_bytes(data[: max(10, int(len(data) * share))])
    with pytest.raises(VideoError, match=r"a\.pxv"):
        open_video(path)


def test_a_head_that_promises_billions_of_frames_allocates_nothing(packed: Path, tmp_path: Path) -> None:
    data = bytearray(packed.read_bytes())
    data[16:24] = (2**40).to_bytes(8, "little")
    (tmp_path / "a.pxv").write_bytes(data)
    with pytest.raises(VideoError, match="bytes"):
        open_video(tmp_path / "a.pxv")


def test_a_failure_leaves_the_old_file_and_no_part(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.pxv"
    target.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(packing._Encoder, "finish", fail)
    with pytest.raises(KeyboardInterrupt):
        pack_video(source, target, short_side=64)
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.pxv"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"quality": -1}, "quality"),
        ({"quality": 32}, "quality"),
        ({"fps": 0.0}, "fps"),
        ({"start_s": 1.0, "end_s": 1.0}, r"start_s .*end_s"),
        ({"short_side": 0}, "short_side"),
        ({"short_side": 5000}, r"\b5000\b.*\b4095\b"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(
    source: Path, tmp_path: Path, settings: dict[str, float], says: str
) -> None:
    with pytest.raises(ArgumentError, match=says):
        pack_video(source, tmp_path / "a.pxv", **settings)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_part_without_frames_is_an_error(source: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="part"):
        pack_video(source, tmp_path / "a.pxv", start_s=100.0)
    assert not list(tmp_path.iterdir())


def test_damage_in_the_source_is_reported(data_folder: Path, tmp_path: Path) -> None:
    path = next((data_folder / "odd_videos").rglob("*corrupted.mp4"))
    report = pack_video(path, tmp_path / "a.pxv", short_side=64)
    assert report.frames == 49
    assert report.problems


def test_real_clips_are_packed_well(data_folder: Path, tmp_path: Path) -> None:
    found = []
    for path in sorted((data_folder / "ucf101_9").rglob("*.avi"))[::45]:
        pack_video(path, tmp_path / "a.pxv")
        numbers = list(range(0, 50, 7))
        truth = open_video(path).frames(numbers, short_side=256)
        found.append(psnr(open_video(tmp_path / "a.pxv").frames(numbers), truth))
    assert np.mean(found) > 38
