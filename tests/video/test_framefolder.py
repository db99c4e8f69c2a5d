"""Folders of frames: the pixels are Pillow's, the order is that of the numbers, and damage is an error."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import praxiscope as px
from praxiscope.commands.predict import find_sources
from praxiscope.data.check import inspect
from praxiscope.data.manifest import load_records
from praxiscope.errors import ArgumentError, VideoError
from praxiscope.video.framefolder import FrameFolder, is_frame_folder, source_bytes
from praxiscope.video.pack import pack_video
from video_files import make_video, picture, pixels


def write_frames(
    folder: Path, names: list[str], size: tuple[int, int] = (64, 48), first: int = 0, **options: object
) -> Path:
    """Picture k of the moving pattern under the k-th name."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names, start=first):
        Image.fromarray(picture(number, *size)).save(folder / name, **options)
    return folder


def decoded(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="module")
def jpegs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 frames as Something-Something v1 has them."""
    names = [f"{number:05d}.jpg" for number in range(1, 25)]
    return write_frames(tmp_path_factory.mktemp("frames") / "78687", names)


def test_frames_are_what_pillow_decodes_in_any_order_with_repeats(jpegs: Path) -> None:
    video = px.open_video(jpegs)
    assert (len(video), video.quick_length(), video.width, video.height) == (24, 24, 64, 48)
    numbers = [23, 0, 7, 7]
    wanted = [decoded(jpegs / f"{number + 1:05d}.jpg") for number in numbers]
    assert np.array_equal(pixels(video.frames(numbers)), np.stack(wanted))
    assert np.array_equal(pixels(video.frames([7], crop=(3, 5, 20, 30)))[0], wanted[2][3:23, 5:35])
    with pytest.raises(ArgumentError, match=r"\b24\b.*24 frames"):
        video.frames([24])


def test_they_are_shown_twelve_times_a_second(jpegs: Path) -> None:
    video = px.open_video(jpegs)
    assert (video.fps, video.duration_s, video.codec, video.problems) == (12.0, 2.0, "mjpeg", [])
    assert np.allclose(video.timestamps(), [k / 12 for k in range(24)])
    part = list(video.decode(0.5, 1.0))
    assert [frame.index for frame in part] == [6, 7, 8, 9, 10, 11]
    assert [frame.time_s for frame in part] == pytest.approx([k / 12 for k in range(6, 12)])
    assert all(torch.equal(frame.rgb(), video.frames([frame.index])[0]) for frame in part)


def test_scaled_frames_are_those_of_a_lossless_video_of_the_same_pixels(tmp_path: Path) -> None:
    # FFV1 in RGB: the same pictures, through the reader of video files.
    made = make_video(tmp_path / "a.mkv", "ffv1", frames=6, pix_fmt="bgr0", rate=12, options={"level": "3"})
    folder = write_frames(tmp_path / "a", [f"{number}.png" for number in range(6)])
    video, frames = px.open_video(made), px.open_video(folder)
    assert torch.equal(frames.frames(range(6)), video.frames(range(6)))
    for short_side in (24, 96):
        one, other = (v.frames([1, 5], short_side=short_side).int() for v in (frames, video))
        assert one.shape == other.shape == (2, 3, short_side, short_side * 4 // 3)
        assert (one - other).abs().max() <= 1
        assert torch.equal(list(frames.decode())[5].rgb(short_side), one[1].byte())


@pytest.mark.parametrize(
    "names",
    [
        ["1.jpg", "2.jpg", "3.jpg", "10.jpg"],
        ["img_00001.jpg", "img_00002.JPG", "IMG_00003.jpeg", "img_00004.jpg"],
        ["frame000009.png", "frame000010.png", "frame000011.png", "frame000012.png"],
        ["clip2-été-9.bmp", "clip2-été-10.bmp", "clip2-été-99.bmp", "clip2-été-100.bmp"],
        ["8.webp", "09.webp", "0010.webp", "011.webp"],
    ],
)
def test_pictures_come_in_the_order_of_their_numbers(tmp_path: Path, names: list[str]) -> None:
    folder = write_frames(tmp_path / "été", names)
    for other in ("cover.jpg", ".00000.jpg", "._00001.jpg", "Thumbs.db", "notes1.txt", "flow_x_00001.jpg",
                  "flow_y_00001.jpg", "x_00001.jpg"):  # fmt: skip
        (folder / other).write_bytes(b"no frame")
    video = px.open_video(str(folder))
    assert np.array_equal(
        pixels(video.frames(range(4))), np.stack([decoded(folder / name) for name in names])
    )


def test_grey_transparent_and_palette_pictures_become_rgb(tmp_path: Path) -> None:
    base = Image.fromarray(picture(0, 64, 48))
    for number, mode in enumerate(("L", "RGBA", "P", "1", "CMYK")):
        base.convert(mode).save(tmp_path / f"{number}.{'tif' if mode == 'CMYK' else 'png'}")
    found = pixels(px.open_video(tmp_path).frames(range(5)))
    wanted = [decoded(path) for path in sorted(tmp_path.iterdir())]
    assert np.array_equal(found, np.stack(wanted))


def test_pictures_are_set_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise sets it upright
    write_frames(tmp_path, ["1.jpg", "2.jpg"], exif=exif)
    video = px.open_video(tmp_path)
    assert (video.width, video.height) == (48, 64)
    assert np.array_equal(pixels(video.frames([1]))[0], np.rot90(decoded(tmp_path / "2.jpg"), -1))


def test_a_gap_in_the_numbers_is_told_and_closed(jpegs: Path, tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "a", ["3.png", "4.png", "7.png"])
    video = px.open_video(folder)
    assert len(video) == 3
    (problem,) = video.problems
    assert re.fullmatch(r"2 .* 3 to 7, .* 4", problem)
    assert np.array_equal(pixels(video.frames([2]))[0], picture(2, 64, 48))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "cannot identify image"), (b"words", "cannot identify image"), (None, "truncated")],
)
def test_a_damaged_picture_is_named_with_the_remedy(
    jpegs: Path, tmp_path: Path, content: bytes | None, reason: str
) -> None:
    names = [f"{number:05d}.jpg" for number in range(1, 5)]
    folder = write_frames(tmp_path / "a", names)
    broken = folder / "00003.jpg"
    broken.write_bytes(broken.read_bytes()[:900] if content is None else content)
    video = px.open_video(folder)
    assert video.frames([0, 1, 3]).shape[0] == 3
    says = rf"^{folder}: .*00003\.jpg .*\([^/]*{reason}[^/]*\)"
    for read in (lambda: video.frames([0, 2]), video.decode_all):
        with pytest.raises(VideoError, match=says) as caught:
            read()
        assert "\n" not in str(caught.value)
    (folder / "00001.jpg").write_bytes(b"")  # its size is that of the video
    with pytest.raises(VideoError, match=r"00001\.jpg"):
        px.open_video(folder)


def test_a_picture_of_another_size_is_an_error(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "a", ["1.png", "2.png"])
    write_frames(folder, ["3.png"], size=(48, 64))
    with pytest.raises(VideoError, match=r"3\.png .*48 x 64 .*1\.png 64 x 48"):
        px.open_video(folder).frames([2])


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([], r"00001\.jpg"),
        (["cover.jpg", "flow_x_00001.jpg"], r"00001\.jpg"),
        (["1.jpg", "001.png"], r"\b1: 001\.png, 1\.jpg"),
        (
            ["a_1.jpg", "a_2.jpg", "b_1.jpg"],
            r"\b2 .*a_1\.jpg, b_1\.jpg",
        ),
    ],
)
def test_a_folder_that_is_not_one_series_of_pictures_is_refused(
    tmp_path: Path, names: list[str], says: str
) -> None:
    with pytest.raises(VideoError, match=says):
        px.open_video(write_frames(tmp_path / "a", names))


def test_a_slow_folder_is_given_up(jpegs: Path) -> None:
    with pytest.raises(VideoError, match=r"\b0 s\b"):
        px.open_video(jpegs, time_limit_s=0).frames([0])


def test_it_can_be_pickled(jpegs: Path) -> None:
    again = pickle.loads(pickle.dumps(px.open_video(jpegs, time_limit_s=7)))
    assert isinstance(again, FrameFolder)
    assert again.time_limit_s == 7
    assert torch.equal(again.frames([3]), px.open_video(jpegs).frames([3]))


def test_a_packed_copy_has_its_frames_times_and_size(jpegs: Path, tmp_path: Path) -> None:
    report = pack_video(jpegs, tmp_path / "a.pxv", short_side=48, quality=1)
    packed, frames = px.open_video(tmp_path / "a.pxv"), px.open_video(jpegs)
    total = sum(path.stat().st_size for path in jpegs.iterdir())
    assert report.bytes_in == total == source_bytes(jpegs)
    assert (packed.fps, len(packed)) == (12.0, 24)
    assert np.allclose(packed.timestamps(), frames.timestamps())
    difference = (packed.frames([5, 20]).float() - frames.frames([5, 20]).float()).abs().mean()
    assert difference < 6  # 4:2:0 and quantised


def test_prediction_takes_a_folder_of_frames_for_one_video(jpegs: Path, tmp_path: Path) -> None:
    assert is_frame_folder(jpegs)
    assert find_sources([str(jpegs)]) == [str(jpegs)]
    assert find_sources([f"{jpegs.parent}/*"]) == [str(jpegs)]
    (tmp_path / "list.txt").write_text(f"{jpegs}\n")
    assert find_sources([str(tmp_path / "list.txt")]) == [str(jpegs)]


def test_a_folder_of_videos_stays_one_whatever_pictures_lie_there(tmp_path: Path) -> None:
    write_frames(tmp_path, ["img_1.jpg", "img_2.jpg"])
    clip = tmp_path / "wave" / "a.mp4"
    clip.parent.mkdir()
    make_video(clip, frames=3)
    assert find_sources([str(tmp_path)]) == [str(clip)]
    assert [record.path for record in load_records(tmp_path).records] == [clip]
    clip.unlink()
    with pytest.raises(ArgumentError, match=r"wave\b"):
        find_sources([str(tmp_path / "wave")])


def test_a_csv_lists_folders_of_frames_and_the_check_reads_them(tmp_path: Path) -> None:
    names = ["1.png", "2.png"]
    for number, name in enumerate(("a", "b", "c", "d", "broken")):
        write_frames(tmp_path / name, names, first=5 * number)
    write_frames(tmp_path / "copy", names)
    (tmp_path / "broken" / "2.png").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    lines = [f"{name},{'xy'[k % 2]},{'train' if k < 2 else 'test'}" for k, name in enumerate(
        ("a", "b", "c", "d", "broken", "copy", "empty"))]  # fmt: skip
    (tmp_path / "list.csv").write_text("path,label,split\n" + "\n".join(lines) + "\n")
    manifest = load_records(tmp_path / "list.csv")
    assert manifest.missing == ("empty",)
    report = inspect(manifest, full=True, workers=1)
    assert [video.id for video in report.broken] == ["broken"]
    assert {video.id: video.frames for video in report.videos if video.readable} == dict.fromkeys(
        ("a", "b", "c", "d", "copy"), 2
    )
    assert [copies.ids for copies in report.copies] == [("a", "copy")]


def test_copies_are_told_by_all_pictures(tmp_path: Path) -> None:
    names = ["1.bmp", "2.bmp", "3.bmp"]  # of equal bytes, whatever they show
    for name in ("a", "copy", "alike", "other"):
        write_frames(tmp_path / name, names)
    write_frames(tmp_path / "alike", names[1:2], first=50)  # the edges are the same
    write_frames(tmp_path / "other", names[2:], first=50)
    (tmp_path / "list.csv").write_text(
        "path,label,split\na,x,train\ncopy,x,train\nalike,x,train\nother,x,train\n"
    )
    report = inspect(load_records(tmp_path / "list.csv"), workers=1)
    assert [copies.ids for copies in report.copies] == [("a", "copy")]


def test_pictures_of_sixteen_bits_are_refused_and_not_cut_off(tmp_path: Path) -> None:
    grey = np.full((48, 64), 30_000, dtype=np.uint16)
    for number in range(3):
        Image.fromarray(grey).save(tmp_path / f"{number}.png")
    with pytest.raises(VideoError, match=r"0\.png .*16 bits.*8 bits"):
        px.open_video(tmp_path).frames([0])
