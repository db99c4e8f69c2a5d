"""Which frame is shown when: the file's clock decides, whatever is damaged, late, paused, joined or turned."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from praxiscope.data.dataset import frame_range
from praxiscope.errors import DataError
from praxiscope.types import VideoRecord
from praxiscope.video.decode import Video
from praxiscope.video.opening import open_video
from praxiscope.video.pack import pack_video
from video_files import (
    MATRICES,
    colour,
    damaged,
    forget_indices,
    make_colours,
    pixels,
    sequential,
    shown_by_ffmpeg,
    turned,
)

CODECS: dict[str, dict[str, Any]] = {
    "h264.mp4": {},
    "h264.mkv": {},
    "hevc.mp4": {"codec": "libx265", "options": {"preset": "ultrafast", "x265-params": "log-level=none"}},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mpeg2.ts": {"codec": "mpeg2video"},
    "vp9.webm": {"codec": "libvpx-vp9", "b_frames": 0, "options": {"deadline": "realtime", "cpu-used": "8"}},
}


@pytest.fixture(autouse=True)
def _forget() -> None:
    forget_indices()


def shown(video: Video, **part: float) -> list[tuple[float, str]]:
    return [(frame.time_s, colour(frame.rgb().permute(1, 2, 0).numpy())) for frame in video.decode(**part)]


def first_blue(video: Video) -> float:
    return next(at for at, name in shown(video) if name == "blue")


def assert_as_ffmpeg(video: Video, start: float = 0.0) -> None:
    truth = shown_by_ffmpeg(video.path)
    ours = shown(video)
    assert [name for _, name in ours] == [name for _, name in truth]
    times = np.array([at - start for at, _ in truth])
    late = times < np.maximum.accumulate(times)  # behind damage a frame can come after a later one
    found = np.array([at for at, _ in ours])
    assert np.allclose(found[~late], times[~late], atol=2e-3)
    assert (np.diff(found) > 0).all()


# Damage


@pytest.mark.parametrize("name", ["h264.mp4", "h264.mkv", "hevc.mp4"])
@pytest.mark.parametrize("lost", [(10, 35), (0, 25), (60, 80), (25, 26)])
def test_lost_frames_move_no_other_frame(tmp_path: Path, name: str, lost: tuple[int, int]) -> None:
    whole = make_colours(tmp_path / f"whole-{name}", **CODECS[name])
    path = damaged(whole, tmp_path / name, *lost)
    truth = shown_by_ffmpeg(path)
    assert 0 < len(truth) < 100
    video = open_video(path)
    assert_as_ffmpeg(video)
    assert first_blue(video) == pytest.approx(next(at for at, name in truth if name == "blue"), abs=2e-3)
    before = shown(video)
    assert len(video) == len(truth)
    assert shown(video) == before, "an answer does not change once the file has been looked at"
    assert np.allclose(video.timestamps(), [at for at, _ in before])
    assert video.lost
    assert all(a <= b for a, b in video.lost)
    assert np.allclose(video.duration_s, truth[-1][0] + 0.04, atol=2e-3)


@pytest.mark.parametrize("name", ["h264.mp4", "hevc.mp4"])
def test_the_frame_on_screen_stands_in_for_a_lost_one(tmp_path: Path, name: str) -> None:
    path = damaged(make_colours(tmp_path / f"whole-{name}", **CODECS[name]), tmp_path / name, 25, 75)
    video = open_video(path)
    assert video.quick_length() == 100
    truth = shown_by_ffmpeg(path)
    for number in (0, 20, 40, 60, 74, 76, 80, 99):
        expected = [name for at, name in truth if at <= number / 25 + 1e-3][-1]
        assert colour(pixels(video.frames([number]))[0]) == expected, number
    assert video.quick_length() == 100
    assert np.allclose(video.timestamps(), np.arange(100) / 25, atol=2e-3)
    # Numbers that count what decodes, as stored flow does.
    numbers = video.renumbered(torch.tensor([0, 24, 50, 99]))
    assert [colour(pixels(open_video(path).frames([int(k)]))[0]) for k in numbers] == [
        "red",
        "red",
        "red",
        "blue",
    ]
    assert int(numbers[-1]) == len(video) - 1


@pytest.mark.parametrize("start", [0.5, 1.5, 2.5])
def test_a_part_behind_or_in_damage_is_read_to_its_end(tmp_path: Path, start: float) -> None:
    path = damaged(make_colours(tmp_path / "whole.mp4"), tmp_path / "a.mp4", 30, 40)
    truth = [(at, name) for at, name in shown_by_ffmpeg(path) if start <= at < 3.5]
    ours = shown(open_video(path), start_s=start, end_s=3.5)
    assert [name for _, name in ours] == [name for _, name in truth]
    assert np.allclose([at for at, _ in ours], [at for at, _ in truth], atol=2e-3)


@pytest.mark.parametrize("lost", [(10, 35), (20, 22), (30, 31)])
def test_damage_that_takes_the_times_too_moves_no_other_frame(tmp_path: Path, lost: tuple[int, int]) -> None:
    # In FLV the bytes before the content are those of the time, which becomes 0.
    path = damaged(make_colours(tmp_path / "whole.flv", "flv", b_frames=0), tmp_path / "a.flv", *lost)
    video = open_video(path)
    assert first_blue(video) == pytest.approx(2.0, abs=2e-3)
    assert len(video) == len(shown_by_ffmpeg(path))
    assert first_blue(video) == pytest.approx(2.0, abs=2e-3)
    assert video.duration_s == pytest.approx(4.0, abs=2e-3)
    forget_indices()
    video = open_video(path)
    video.quick_length()
    assert video.timestamps()[-1] == pytest.approx(3.96, abs=2e-3)


@pytest.mark.parametrize("packet", [29, 36, 40])
def test_damage_before_a_part_that_reaches_into_it_is_met(tmp_path: Path, packet: int) -> None:
    options = {"preset": "ultrafast", "x265-params": "log-level=none:bframes=3"}
    path = make_colours(tmp_path / "a.mkv", "libx265", b_frames=3, options=options)
    with av.open(str(path)) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    content, (place, size) = bytearray(path.read_bytes()), places[packet]
    content[place + 12 : place + size] = np.random.default_rng(6).bytes(size - 12)
    path.write_bytes(content)
    before = shown(open_video(path), start_s=1.64)
    truth = [(at, name) for at, name in shown_by_ffmpeg(path) if at >= 1.64]
    assert [name for _, name in before] == [name for _, name in truth]
    forget_indices()
    video = open_video(path)
    assert len(video) < 100
    assert shown(video, start_s=1.64) == before


def test_damage_is_named_once_with_what_was_lost(tmp_path: Path) -> None:
    path = damaged(make_colours(tmp_path / "whole.mp4", b_frames=0), tmp_path / "a.mp4", 25, 50)
    for look in (lambda video: len(video), lambda video: list(video.decode())):
        forget_indices()
        video = open_video(path)
        look(video)
        assert video.lost == [(1.0, 1.96)]
        assert sum("25 of 100 frames" in problem for problem in video.problems) == 1
        look(video)
        list(video.decode())
        assert sum("25 of 100 frames" in problem for problem in video.problems) == 1


def test_an_undamaged_file_has_lost_nothing(tmp_path: Path) -> None:
    for name, how in CODECS.items():
        try:
            video = open_video(make_colours(tmp_path / name, **how))
        except av.error.EncoderNotFoundError:
            continue
        assert len(video) == 100, name
        assert (video.lost, video.problems) == ([], []), name
        assert first_blue(video) == pytest.approx(2.0, abs=2e-3), name
        assert video.duration_s == pytest.approx(4.0, abs=3e-3), name


def test_a_packed_copy_keeps_the_times_of_a_damaged_video(tmp_path: Path) -> None:
    path = damaged(make_colours(tmp_path / "whole.mp4"), tmp_path / "a.mp4", 10, 35)
    pack_video(path, tmp_path / "a.pxv", short_side=48)
    assert first_blue(open_video(tmp_path / "a.pxv")) == pytest.approx(2.0)
    forget_indices()
    pack_video(path, tmp_path / "b.pxv", short_side=48, fps=5)
    times = [at for at, _ in shown(open_video(tmp_path / "b.pxv"))]
    assert np.allclose(times, np.arange(20) / 5)
    assert first_blue(open_video(tmp_path / "b.pxv")) == pytest.approx(2.0)


# Times that are wrong in the file


@pytest.mark.parametrize("number", [5, 29, 48])
@pytest.mark.parametrize("wrong_ms", [0, 3_000_000])
def test_one_wrong_time_changes_no_other(tmp_path: Path, number: int, wrong_ms: int) -> None:
    """A frame with the time of the one before it, or with one far off: Matroska keeps a time with every packet."""
    times = np.r_[np.arange(50) * 40, 12000 + np.arange(50) * 40]
    path = make_colours(tmp_path / "pause.mkv", times=times)
    assert first_blue(open_video(path)) == pytest.approx(12.0)
    path = retimed(path, tmp_path / "wrong.mkv", {number + 1: int(times[number]) + wrong_ms})
    pts = sorted(at for at, _ in shown_by_ffmpeg(path))
    assert min(np.diff(pts)) == 0 or max(pts) > 100, "the file has what it should have"
    video = open_video(path)
    assert first_blue(video) == pytest.approx(12.0), number
    assert len(video) == 100
    found = video.timestamps()
    assert (np.diff(found) > 0).all()
    others = np.arange(100) != number + 1
    assert np.allclose(found[others], times[others] / 1000, atol=2e-3)
    assert video.duration_s == pytest.approx(14.0, abs=2e-3)


def retimed(source: Path, target: Path, presented_ms: dict[int, int]) -> Path:
    """The same packets, with other times of presentation for the frames of these numbers."""
    with av.open(str(source)) as container, av.open(str(target), "w") as out:
        stream = container.streams.video[0]
        copy = out.add_stream_from_template(stream)
        packets = [packet for packet in container.demux(stream) if packet.size]
        order = sorted(range(len(packets)), key=lambda k: packets[k].pts)
        wrong = {order[number]: at for number, at in presented_ms.items()}
        for number, packet in enumerate(packets):
            packet.stream = copy
            if number in wrong:
                packet.pts = round(wrong[number] / 1000 / packet.time_base)
                packet.dts = None if packet.dts is None else min(packet.dts, packet.pts)
            out.mux(packet)
    return target


# Second 0 is the start of the file


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".mov"])
def test_a_late_video_stream_is_late(tmp_path: Path, suffix: str) -> None:
    times = 3000 + np.arange(100) * 40
    path = make_colours(tmp_path / f"late{suffix}", times=times, sound_s=8.0)
    video = open_video(path)
    assert_as_ffmpeg(video)
    assert first_blue(video) == pytest.approx(5.0, abs=0.1)
    assert video.timestamps()[0] == pytest.approx(3.0, abs=0.1)
    assert video.duration_s == pytest.approx(7.0, abs=0.1)
    assert [name for _, name in shown(video, start_s=3.5, end_s=4.5)] == ["red"] * 25
    for start, end, name in ((3.2, 4.8, "red"), (5.2, 6.8, "blue")):
        record = VideoRecord("late", path, ("a",), start_s=start, end_s=end)
        first, last = frame_range(record, open_video(path))
        assert {colour(frame) for frame in pixels(video.frames(range(first, last)))} == {name}
    with pytest.raises(DataError):
        frame_range(VideoRecord("late", path, ("a",), start_s=0.0, end_s=2.0), video)


def test_a_packed_copy_of_a_late_video_is_as_late(tmp_path: Path) -> None:
    path = make_colours(tmp_path / "late.mp4", times=3000 + np.arange(100) * 40, sound_s=8.0)
    for fps in (None, 25.0, 5.0):
        pack_video(path, tmp_path / "late.pxv", short_side=48, fps=fps)
        video = open_video(tmp_path / "late.pxv")
        assert first_blue(video) == pytest.approx(5.0, abs=0.03), fps
        assert video.duration_s == pytest.approx(7.0, abs=0.03), fps


def test_sound_that_comes_later_moves_nothing(tmp_path: Path) -> None:
    path = make_colours(tmp_path / "a.mkv", sound_s=2.0, sound_from_s=1.0)
    assert first_blue(open_video(path)) == pytest.approx(2.0, abs=0.01)


# How long a video is


def test_a_pause_counts_once(tmp_path: Path) -> None:
    for pause_after in (50, 97, 99):
        times = np.arange(100) * 40 + np.where(np.arange(100) >= pause_after, 10_000, 0)
        for suffix in (".mp4", ".mkv"):
            video = open_video(make_colours(tmp_path / f"pause{pause_after}{suffix}", times=times))
            assert video.timestamps()[-1] == pytest.approx(13.96, abs=2e-3)
            assert video.duration_s == pytest.approx(14.0, abs=3e-3), (pause_after, suffix)


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
@pytest.mark.parametrize("later", [0, 5000])
def test_joined_transport_streams_go_on(tmp_path: Path, codec: str, later: int) -> None:
    one = make_colours(tmp_path / "one.ts", codec, red=75, blue=0)
    two = make_colours(tmp_path / "two.ts", codec, red=0, blue=100, from_s=later)
    path = tmp_path / "joined.ts"
    path.write_bytes(one.read_bytes() + two.read_bytes())
    video = open_video(path)
    assert len(video) == len(sequential(path))
    assert video.timestamps()[0] == 0
    assert (np.diff(video.timestamps()) > 0).all()
    assert first_blue(video) == pytest.approx(3.0, abs=0.1)
    assert video.duration_s == pytest.approx(7.0, abs=0.1)
    part = shown(video, start_s=5.0, end_s=6.5)
    assert {name for _, name in part} == {"blue"}
    assert 37 <= len(part) <= 38


@pytest.mark.parametrize("share", [0.2, 0.4])
def test_a_transport_stream_that_is_cut_out_begins_with_its_first_frame(tmp_path: Path, share: float) -> None:
    data = make_colours(tmp_path / "whole.ts", gop=50, options={"x264-params": "scenecut=0"}).read_bytes()
    path = tmp_path / "cut.ts"
    path.write_bytes(data[188 * int(len(data) // 188 * share) :])
    truth = sequential(path)
    video = open_video(path)
    assert len(video) == len(truth) < 100
    assert video.timestamps()[0] == pytest.approx(0.0, abs=1e-6)
    assert video.duration_s == pytest.approx(len(truth) / 25, abs=0.05)
    assert video.lost == []


def test_the_length_of_a_file_cut_off_is_that_of_what_decodes(tmp_path: Path) -> None:
    path = damaged(make_colours(tmp_path / "whole.mp4", b_frames=0), tmp_path / "a.mp4", 60, 100)
    video = open_video(path)
    assert video.duration_s == pytest.approx(shown_by_ffmpeg(path)[-1][0] + 0.04)
    assert len(video) == 60


# Orientation


@pytest.mark.parametrize("matrix", MATRICES)
def test_every_display_matrix_is_obeyed(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Against the matrix itself: it sends pixel (p, q) to (a p + c q, b p + d q), up to a shift."""
    stored = np.zeros((32, 48, 3), np.uint8)
    stored[:16, :24, 0] = stored[:16, 24:, 1] = stored[16:, :24, 2] = 255
    stored[16:, 24:] = 255
    plain = tmp_path / "plain.mp4"
    with av.open(str(plain), "w") as out:
        stream: Any = out.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for _ in range(3):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(stored, format="rgb24")))
        out.mux(stream.encode(None))
    a, b, c, d = matrix
    path = turned(plain, tmp_path / "turned.mp4", matrix)
    corners = {}
    for p, q in ((0, 0), (1, 0), (0, 1), (1, 1)):
        x, y = a * (2 * p - 1) + c * (2 * q - 1), b * (2 * p - 1) + d * (2 * q - 1)
        corners[(x + 1) // 2, (y + 1) // 2] = stored[8 + 16 * q, 12 + 24 * p]
    video = open_video(path)
    frame = pixels(video.frames([1]))[0]
    assert frame.shape == ((48, 32, 3) if b else (32, 48, 3)) == (video.height, video.width, 3)
    pack_video(path, tmp_path / "turned.pxv", short_side=32)
    packed = pixels(open_video(tmp_path / "turned.pxv").frames([1]))[0]
    assert packed.shape == frame.shape
    small = pixels(video.frames([1], short_side=16))[0]
    for image in (frame, packed, small):
        rows, columns = image.shape[:2]
        for (x, y), expected in corners.items():
            found = image[rows * (1 + 2 * y) // 4, columns * (1 + 2 * x) // 4]
            assert np.abs(found.astype(int) - expected).max() < 60, (matrix, x, y)


# Several streams


def two_streams(path: Path, sizes: list[tuple[int, int]], counts: list[int], default: list[bool]) -> Path:
    from av.stream import Disposition

    with av.open(str(path), "w") as out:
        streams = []
        for size, is_default in zip(sizes, default, strict=True):
            stream: Any = out.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            stream.disposition = Disposition.default if is_default else Disposition(0)
            streams.append(stream)
        for stream, count in zip(streams, counts, strict=True):
            for number in range(count):
                frame = av.VideoFrame.from_ndarray(
                    np.full((stream.height, stream.width, 3), 5 * number, np.uint8), format="rgb24"
                )
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("default", [[False, True], [True, False], [True, True], [False, False]])
def test_the_stream_is_ffmpegs_best(tmp_path: Path, suffix: str, default: list[bool]) -> None:
    path = two_streams(tmp_path / f"two{suffix}", [(32, 32), (64, 48)], [1, 25], default)
    with av.open(str(path)) as container:
        best = container.streams.best("video")
        marked = [bool(stream.disposition & 1) for stream in container.streams.video]
        expected = (best.width, best.height)
    if sum(marked) == 1:
        assert expected == [(32, 32), (64, 48)][marked.index(True)]
    video = open_video(path)
    assert (video.width, video.height) == expected
    assert len(video) == (25 if expected == (64, 48) else 1)


# The kept cases


def test_the_kept_cases_are_right(data_folder: Path) -> None:
    cases = data_folder / "cases"
    assert first_blue(open_video(cases / "damaged-drift" / "damaged.mp4")) == pytest.approx(4.0)
    assert first_blue(open_video(cases / "damaged-drift" / "whole.mp4")) == pytest.approx(4.0)
    assert first_blue(open_video(cases / "equal-times-vfr" / "pausedup.mp4")) == pytest.approx(12.0)
    late = open_video(cases / "late-video-stream" / "rblate.mp4")
    assert first_blue(late) == pytest.approx(5.0)
    assert late.duration_s == pytest.approx(7.0)
    assert open_video(cases / "duration-wrong" / "pause.mp4").duration_s == pytest.approx(14.0)
    joined = open_video(cases / "duration-wrong" / "joined.ts")
    assert joined.duration_s == pytest.approx(7.0)
    for name in ("thumb_first.mkv", "thumb_first.mp4"):
        assert (open_video(cases / "first-not-default-stream" / name).width) == 128
    quadrants = {"plain": "RGBW", "hflip": "GRWB", "rot90": "BRWG", "transpose": "RBGW"}
    for name, expected in quadrants.items():
        frame = pixels(open_video(cases / "mirrored-matrix" / f"{name}.mp4").frames([2]))[0]
        rows, columns = frame.shape[:2]
        found = "".join(
            {(1, 0, 0): "R", (0, 1, 0): "G", (0, 0, 1): "B", (1, 1, 1): "W"}[
                tuple((frame[rows * y // 4, columns * x // 4] > 128).astype(int).tolist())
            ]
            for y in (1, 3)
            for x in (1, 3)
        )
        assert found == expected, name


@pytest.mark.parametrize("matrix", MATRICES)
def test_an_orientation_knows_its_angle(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    a, b, c, d = matrix
    path = turned(make_colours(tmp_path / "plain.mp4", red=2, blue=0), tmp_path / "turned.mp4", matrix)
    frame = next(open_video(path).decode())
    assert frame.upright.quarter_turns == round(frame.raw.rotation / 90) % 4
    assert frame.upright == ((True, c < 0, b < 0) if b else (False, a < 0, d < 0))


def test_frames_that_were_read_are_freed_at_once(tmp_path: Path) -> None:
    """Without waiting for the garbage collector: a decoder then uses their memory again."""
    path = make_colours(tmp_path / "a.mp4", red=30, blue=0)
    gc.collect()
    gc.disable()
    try:
        for frame in open_video(path).decode():
            frame.rgb(24)
        open_video(path).frames([3, 9])
        assert sum(type(thing) is av.VideoFrame for thing in gc.get_objects()) <= 3
    finally:
        gc.enable()
