"""Reading videos: the frames are those of a sequential decode, and damage is an error or a report."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from praxiscope.errors import ArgumentError, VideoError
from praxiscope.video import container as files
from praxiscope.video import scan, verify
from praxiscope.video.opening import open_video
from video_files import forget_indices, make_video, pixels, sequential


def b_frames(count: int, gop: int = 12) -> Any:
    def setup(context: Any) -> None:
        context.max_b_frames, context.gop_size = count, gop

    return setup


def x264(**settings: object) -> dict[str, str]:
    return {
        "preset": "veryfast",
        "x264-params": ":".join(f"{k.replace('_', '-')}={v}" for k, v in settings.items()),
    }


LATE = [500 + 10 * i for i in range(40)]
UNEVEN = [10 * i + (i % 3) * 4 for i in range(40)]
EARLY = [10 * i - 70 for i in range(40)]
HEVC = {"preset": "ultrafast", "x265-params": "keyint=12:bframes=3:log-level=none"}
HEVC_OPEN = {
    "preset": "ultrafast",
    "x265-params": "keyint=12:min-keyint=12:scenecut=0:open-gop=1:log-level=none",
}
B12 = x264(keyint=12, bframes=3)

KINDS: dict[str, dict[str, Any]] = {
    "h264.mp4": {"options": x264(keyint=12, bframes=3, b_pyramid="normal")},
    "h264.mkv": {"options": B12},
    "h264.ts": {"options": B12},
    "h264.flv": {"options": B12},
    "h264.avi": {"options": B12},
    "h264_open_groups.mkv": {"options": x264(keyint=12, min_keyint=12, scenecut=0, bframes=3, open_gop=1)},
    "h264_intra_refresh.mkv": {"options": x264(keyint=12, intra_refresh=1, bframes=0)},
    "h264_interlaced.ts": {"options": x264(keyint=12, bframes=3, interlaced=1)},
    "h264_edit_list.mp4": {
        "options": B12,
        "times": EARLY,
        "muxer": {"avoid_negative_ts": "disabled", "use_editlist": "1"},
    },
    "h264_late.mp4": {"options": B12, "times": LATE},
    "h264_late.mkv": {"options": B12, "times": LATE},
    "h264_uneven.mp4": {"options": B12, "times": UNEVEN},
    "h264_10_bit.mp4": {"pix_fmt": "yuv420p10le"},
    "h264_odd_size.mp4": {"pix_fmt": "yuv444p", "size": (101, 77)},
    "mpeg4.avi": {"codec": "mpeg4", "setup": b_frames(0)},
    "mpeg4_b.avi": {"codec": "mpeg4", "setup": b_frames(2), "size": (176, 144)},
    "mpeg4_b_still.avi": {"codec": "mpeg4", "setup": b_frames(2)},
    "mpeg4_b.mp4": {"codec": "mpeg4", "setup": b_frames(2), "size": (176, 144)},
    "mpeg2_b.mpg": {"codec": "mpeg2video", "setup": b_frames(2)},
    "h263_wrong_key_flags.avi": {"codec": "h263", "size": (176, 144)},
    "vp9.webm": {
        "codec": "libvpx-vp9",
        "options": {"deadline": "realtime", "cpu-used": "8"},
        "setup": b_frames(0),
    },
    "vp9_hidden_frames.webm": {
        "codec": "libvpx-vp9",
        "options": {"deadline": "good", "cpu-used": "5", "lag-in-frames": "16", "auto-alt-ref": "1"},
        "setup": b_frames(0),
    },
    "av1.mkv": {
        "codec": "libsvtav1",
        "options": {"preset": "12", "svtav1-params": "keyint=16"},
        "frames": 30,
    },
    "hevc.mp4": {"codec": "libx265", "options": HEVC},
    "hevc_open_groups.mkv": {"codec": "libx265", "options": HEVC_OPEN},
    "ffv1_rgb_odd_size.mkv": {"codec": "ffv1", "pix_fmt": "bgr0", "size": (101, 77)},
    "full_range.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "turned_90.mp4": {"rotation": 90},
    "turned_180.mov": {"rotation": 180},
    "turned_270.mp4": {"rotation": -90, "size": (70, 48)},
    "one_frame.mp4": {"frames": 1},
}


@pytest.fixture(autouse=True)
def _forget() -> None:
    forget_indices()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("videos")


def made(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.exists():
        try:
            make_video(path, **KINDS[name])
        except (av.error.UnknownCodecError, av.error.EncoderNotFoundError) as error:
            pytest.skip(f"this FFmpeg cannot encode it: {error}")
    return path


@pytest.fixture
def plain(folder: Path) -> Path:
    return made(folder, "h264.mp4")


def assert_same_frames(path: Path, seed: int = 0, reads: int = 6) -> None:
    truth = sequential(path)
    draw = random.Random(seed)
    for by_packets in (True, False):
        forget_indices()
        video = open_video(path)
        if by_packets:
            assert video.quick_length() == len(truth)
        else:
            assert len(video) == len(truth)
        for read in range(reads):
            numbers = [draw.randrange(len(truth)) for _ in range((1, 3, 8)[read % 3])]
            for number, frame in zip(numbers, pixels(video.frames(numbers)), strict=True):
                assert np.array_equal(frame, truth[number]), f"{path.name}: frame {number} of {numbers}"
    assert (video.height, video.width) == truth[0].shape[:2]
    for number, (frame, expected) in enumerate(zip(video, truth, strict=True)):
        assert np.array_equal(frame.permute(1, 2, 0).numpy(), expected), (
            f"{path.name}: iterated frame {number}"
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_frames_by_index_are_those_of_a_sequential_decode(folder: Path, name: str) -> None:
    assert_same_frames(made(folder, name), reads=12)


@pytest.mark.parametrize("name", KINDS)
def test_times_start_at_zero_and_rise(folder: Path, name: str) -> None:
    times = open_video(made(folder, name)).timestamps()
    assert times[0] == 0
    assert (np.diff(times) > 0).all()
    if "uneven" in name:
        assert np.allclose(times, np.array(UNEVEN) / 250, atol=1e-3)
    elif len(times) > 1:
        assert np.allclose(np.diff(times), 0.04, atol=2e-3)


def test_times_go_on_where_a_joined_stream_starts_again(tmp_path: Path) -> None:
    options = x264(g=12, bf=2)
    one = make_video(tmp_path / "one.ts", frames=40, options=options).read_bytes()
    path = tmp_path / "twice.ts"
    path.write_bytes(one + one)
    times = open_video(path).timestamps()
    assert len(times) == len(sequential(path)) > 70
    assert np.allclose(times, np.arange(len(times)) / 25, atol=0.05)
    assert (np.diff(times) > 0).all()


def test_real_odd_files_give_the_frames_of_a_sequential_decode(data_folder: Path) -> None:
    for path in sorted((data_folder / "odd_videos").rglob("*.m*")):
        assert_same_frames(path) if "corrupted" not in path.name else assert_damaged_file_is_exact(path)


def assert_damaged_file_is_exact(path: Path) -> None:
    truth = sequential(path)
    video = open_video(path)
    assert len(video) == len(truth) == 49
    numbers = [0, 29, 30, 48, 31]
    for number, frame in zip(numbers, pixels(video.frames(numbers)), strict=True):
        assert np.array_equal(frame, truth[number])
    assert any("packet 30" in problem for problem in video.problems)
    assert video.lost == [(3.0, 3.0)]


def test_weizmann_gives_the_frames_of_a_sequential_decode(data_folder: Path) -> None:
    for path in sorted((data_folder / "weizmann").rglob("*.avi")):
        assert_same_frames(path, reads=2)


def test_ucf101_gives_the_frames_of_a_sequential_decode(data_folder: Path) -> None:
    for path in sorted((data_folder / "ucf101_9").rglob("*.avi"))[::11][:20]:
        assert_same_frames(path, reads=2)


def test_packed_b_frames_are_read_exactly(data_folder: Path) -> None:
    path = data_folder / "ucf101_9" / "Archery" / "v_Archery_g03_c01.avi"
    assert_same_frames(path, reads=10)
    assert open_video(path)._index.unpack


def joined(paths: list[Path], target: Path) -> Path:
    """The packets of several files, one after the other, as they are."""
    with av.open(str(target), "w") as out:
        stream, at = None, 0
        for path in paths:
            with av.open(str(path)) as container:
                source = container.streams.video[0]
                if stream is None:
                    stream = out.add_stream_from_template(source)
                    step = round(1 / (source.average_rate * source.time_base))
                    base = source.time_base
                for packet in container.demux(source):
                    if packet.size:
                        packet.stream, packet.time_base = stream, base
                        packet.pts = packet.dts = at
                        at += step
                        out.mux(packet)
    return target


@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".mp4"])
@pytest.mark.parametrize("quick", [False, True])
def test_joined_packed_b_frames_are_read_exactly(
    data_folder: Path, tmp_path: Path, suffix: str, quick: bool
) -> None:
    clips = data_folder / "ucf101_9"
    archery = clips / "Archery" / "v_Archery_g03_c01.avi"
    path = joined([archery, archery], tmp_path / f"joined{suffix}")
    truth = sequential(path)
    video = open_video(path)
    assert (video.quick_length() if quick else len(video)) == len(truth)
    numbers = [len(truth) - 50, 140, 150, 151]
    for number, frame in zip(numbers, pixels(video.frames(numbers)), strict=True):
        assert np.array_equal(frame, truth[number])


def test_undamaged_packed_b_frames_need_no_counting(data_folder: Path) -> None:
    video = open_video(data_folder / "ucf101_9" / "Archery" / "v_Archery_g03_c01.avi")
    assert len(video) == 150
    assert not video._index.sequential


# Scaling, cropping, arguments


def test_the_short_side_is_scaled_and_the_aspect_kept(folder: Path) -> None:
    video = open_video(made(folder, "turned_270.mp4"))
    assert video.frames([0]).shape == (1, 3, 70, 48)
    assert video.frames([0, 5], short_side=24).shape == (2, 3, 35, 24)
    assert next(video.decode()).rgb(24).shape == (3, 35, 24)


def test_scaling_is_bilinear_and_keeps_colours(folder: Path) -> None:
    for name in ("h264.mp4", "h264_10_bit.mp4", "full_range.avi", "h264_odd_size.mp4"):
        video = open_video(made(folder, name))
        native = video.frames([4]).float()
        for side in (32, 100):
            scaled = video.frames([4], short_side=side)
            expected = torch.nn.functional.interpolate(
                native, size=scaled.shape[2:], mode="bilinear", antialias=side < 48
            )
            error = (scaled.float() - expected).abs().mean((0, 2, 3))
            shift = (scaled.float() - expected).mean((0, 2, 3)).abs()
            assert error.max() < 4, (name, side, error)
            assert shift.max() < 2, (name, side, shift)


def test_scaling_down_keeps_sharp_colours(data_folder: Path) -> None:
    video = open_video(next((data_folder / "odd_videos").rglob("*bt709_full_range.mp4")))
    scaled = video.frames([1], short_side=150).float()
    native = video.frames([1]).float()
    expected = torch.nn.functional.interpolate(native, size=scaled.shape[2:], mode="bilinear", antialias=True)
    assert (scaled - expected).abs().mean() < 1.5


def test_a_crop_holds_the_pixels_of_the_full_frame(plain: Path) -> None:
    video = open_video(plain)
    full = video.frames([7, 3], short_side=40)
    assert torch.equal(video.frames([7, 3], short_side=40, crop=(5, 6, 20, 30)), full[:, :, 5:25, 6:36])


@pytest.mark.parametrize("crop", [(-1, 0, 4, 4), (0, 0, 49, 4), (0, 61, 4, 4), (0, 0, 0, 4)])
def test_a_crop_outside_the_frame_is_refused(plain: Path, crop: tuple[int, int, int, int]) -> None:
    with pytest.raises(ArgumentError, match=r"\b48 .*\b64 "):
        open_video(plain).frames([0], crop=crop)


@pytest.mark.parametrize("number", [-1, 40])
@pytest.mark.parametrize("quick", [True, False])
def test_an_index_outside_names_both_numbers(plain: Path, number: int, quick: bool) -> None:
    video = open_video(plain)
    if quick:
        video.quick_length()
    with pytest.raises(ArgumentError, match=rf"frame {number}\b.* 40 frames"):
        video.frames([0, number])


def test_a_frame_has_a_whole_number(plain: Path) -> None:
    for numbers in ([0, 3.7], torch.tensor([0.5]), np.array([1.25])):
        with pytest.raises(ArgumentError, match="integers"):
            open_video(plain).frames(numbers)
    assert len(open_video(plain).frames(np.array([1.0, 2.0]))) == 2


def test_no_indices_give_no_frames(plain: Path) -> None:
    assert open_video(plain).frames([]).shape == (0, 3, 48, 64)


def test_repeats_and_any_order_are_served(plain: Path) -> None:
    video = open_video(plain)
    one, two = video.frames([30]), video.frames([2])
    assert torch.equal(video.frames([30, 2, 30]), torch.cat([one, two, one]))


def test_decode_serves_a_part_in_time(folder: Path) -> None:
    for name in ("h264.mp4", "mpeg4_b.avi", "h264.ts", "h264_intra_refresh.mkv"):
        truth = sequential(made(folder, name))
        part = list(open_video(folder / name).decode(0.9, 1.2))
        assert [f.index for f in part] == list(range(23, 30)), name
        assert part[0].time_s == pytest.approx(0.92)
        assert np.array_equal(part[3].rgb().permute(1, 2, 0).numpy(), truth[26])


def test_a_change_of_size_is_scaled_to_the_first_frame(tmp_path: Path) -> None:
    path = tmp_path / "two.ts"
    small = make_video(tmp_path / "a.ts", frames=5).read_bytes()
    large = make_video(tmp_path / "b.ts", frames=5, size=(128, 96)).read_bytes()
    path.write_bytes(small + large)
    video = open_video(path)
    assert len(video) == len(sequential(path))
    assert {f.shape for f in video} == {(3, 48, 64)}
    assert video.frames([len(video) - 1]).shape == (1, 3, 48, 64)


# Cost


class Counter:
    """Counts the packets that are decoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.packets = 0
        real = files.decode_packet

        def counted(stream: Any, packet: Any) -> Any:
            self.packets += packet is not None
            return real(stream, packet)

        for module in (files, scan, verify):
            monkeypatch.setattr(module, "decode_packet", counted)


def test_one_frame_costs_its_group_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(
        folder / "many_groups.mp4", frames=200, options=x264(keyint=10, min_keyint=10, bframes=2)
    )
    video = open_video(path)
    video.quick_length()
    counter = Counter(monkeypatch)
    video.frames([155])
    assert 1 <= counter.packets <= 10


def test_an_index_is_made_once_per_process(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(open_video(plain)) == 40
    counter = Counter(monkeypatch)
    assert len(open_video(plain)) == 40
    assert counter.packets == 0


def test_a_changed_file_is_indexed_again(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=10)
    assert len(open_video(path)) == 10
    make_video(path, frames=12)
    assert len(open_video(path)) == 12


@pytest.mark.slow
def test_far_packets_are_reached_by_a_seek(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("long.mp4", "long.mkv", "long.avi"):
        codec = {"codec": "mpeg4", "setup": b_frames(0)} if name.endswith("avi") else {"options": B12}
        path = make_video(folder / name, frames=700, size=(32, 32), **codec)
        truth = sequential(path)
        video = open_video(path)
        assert video.quick_length() == 700
        real, seen = files.demux, []

        def watched(*args: Any, _real: Any = real, _seen: list[int] = seen) -> Any:
            for packet in _real(*args):
                _seen.append(1)
                yield packet

        monkeypatch.setattr(files, "demux", watched)
        assert np.array_equal(pixels(video.frames([650]))[0], truth[650])
        monkeypatch.setattr(files, "demux", real)
        assert len(seen) < 60, name


# What is not a video


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"gone\.mp4"):
        open_video(tmp_path / "gone.mp4")


def test_a_folder_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"00001\.jpg"):
        open_video(tmp_path)


@pytest.mark.slow
def test_a_pipe_or_device_is_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    device = tmp_path / "device.mp4"
    device.symlink_to("/dev/zero")
    script = "import sys, praxiscope; praxiscope.open_video(sys.argv[1])"
    for path in (pipe, device):
        done = subprocess.run(
            [sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=60, check=False
        )
        assert "pipe" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("content", "name", "says"),
    [
        (b"", "empty.mp4", r"empty\.mp4: .*\b0 bytes\b"),
        (b"These are words, not pictures.\n" * 200, "text.mp4", r"text\.mp4: "),
        (b"These are words, not pictures.\n" * 200, "text.txt", r"text\.txt: "),
        (bytes(range(256)) * 64, "noise.avi", r"noise\.avi: "),
    ],
)
def test_a_file_that_is_no_video_says_so(tmp_path: Path, content: bytes, name: str, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(VideoError, match=says):
        open_video(tmp_path / name)


def test_audio_alone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("aac", rate=16000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with pytest.raises(VideoError, match=r"audio"):
        open_video(path)


# Damage


@pytest.mark.parametrize("name", ["h264.mkv", "mpeg4_b.avi", "h264.ts", "mpeg2_b.mpg", "h264.mp4"])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_truncated_file_serves_what_is_there(folder: Path, tmp_path: Path, name: str, share: float) -> None:
    source = made(folder, name)
    if name == "h264.mp4":  # with its index at the front, as on the web
        source = make_video(
            tmp_path / "front.mp4", options=B12, size=(176, 144), muxer={"movflags": "faststart"}
        )
    data = source.read_bytes()
    path = tmp_path / f"cut{source.suffix}"
    path.write_bytes(data[: int(len(data) * share)])
    truth = sequential(path)
    video = open_video(path)
    assert 0 < len(video) == len(truth) < 40
    assert np.array_equal(pixels(video.frames([len(truth) - 1]))[0][:4], truth[-1][:4])
    assert len(video.timestamps()) == len(list(video)) == len(truth)
    if not name.endswith(("ts", "mpg")):  # these have no header that could promise more
        assert video.problems


def test_an_mp4_without_its_index_is_an_error(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    data = made(folder, "h264.mp4").read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(VideoError, match=r"cut\.mp4"):
        open_video(path)


@pytest.mark.parametrize("name", ["h264.mp4", "mpeg4_b.avi", "hevc.mp4", "vp9.webm", "h264.ts"])
def test_flipped_bits_never_crash_and_frames_agree_with_a_sequential_decode(
    folder: Path, tmp_path: Path, name: str
) -> None:
    draw = random.Random(name)
    data = made(folder, name).read_bytes()
    for trial in range(8):
        damaged = bytearray(data)
        for _ in range((1, 5, 30)[trial % 3]):
            damaged[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path = tmp_path / f"{trial}-{name}"
        path.write_bytes(damaged)
        try:
            video = open_video(path)
            count = len(video)
        except VideoError:
            continue
        truth, other = sequential(path), sequential(path, hold=True)
        assert count == len(truth) == len(other)
        numbers = sorted({draw.randrange(count) for _ in range(4)})
        frames = pixels(video.frames(numbers))
        for number, frame in zip(numbers, frames, strict=True):
            if truth[number].shape == frame.shape == other[number].shape:
                defined = truth[number] == other[number]
                assert np.array_equal(frame[defined], truth[number][defined]), (
                    f"trial {trial}, frame {number}"
                )
        assert len(list(video.decode())) == count


def test_a_stream_that_damage_makes_up_is_passed_over() -> None:
    class Packet:
        size = 1

    class Container:
        """Gives three packets; PyAV stumbles at the second."""

        at = 0

        def demux(self, stream: object) -> Any:
            while self.at < 3:
                self.at += 1
                if self.at == 2:
                    raise IndexError("list index out of range")
                yield Packet()

    assert len(list(files.demux(Container(), None))) == 2


def test_damage_that_only_the_read_meets_falls_back_to_frames_that_exist(data_folder: Path) -> None:
    path = next((data_folder / "odd_videos").rglob("*corrupted.mp4"))
    video = open_video(path)
    assert video.quick_length() == 50
    assert np.array_equal(pixels(video.frames([49]))[0], sequential(path)[48])
    assert video.quick_length() == 50, "what was promised stays"
    assert open_video(path).quick_length() == 49
    assert video.lost == [(3.0, 3.0)]


def test_a_header_that_promises_billions_of_frames_allocates_nothing(folder: Path, tmp_path: Path) -> None:
    data = bytearray(made(folder, "mpeg4.avi").read_bytes())
    main, stream = data.index(b"avih") + 8, data.index(b"strh") + 8
    data[main + 16 : main + 20] = struct.pack("<I", 2147483632)
    data[stream + 32 : stream + 36] = struct.pack("<I", 2147483632)
    path = tmp_path / "liar.avi"
    path.write_bytes(data)
    code = (
        "import resource, sys; from praxiscope.video.opening import open_video; v = open_video(sys.argv[1]);"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "print(v.quick_length(), len(v), len(v.timestamps()), v.frames([39]).shape[0], v.duration_s,"
        "(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    out = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    quick, length, times, frames, duration, grown = out.stdout.split()
    assert (quick, length, times, frames) == ("40", "40", "40", "1")
    assert float(duration) == pytest.approx(1.6)
    assert int(grown) < 100


def test_a_file_without_a_frame_that_decodes_is_an_error(folder: Path, tmp_path: Path) -> None:
    data = bytearray(made(folder, "mpeg4.avi").read_bytes())
    start = data.index(b"movi")
    data[start + 12 :] = b"\xff" * (len(data) - start - 12)
    path = tmp_path / "nothing.avi"
    path.write_bytes(data)
    with pytest.raises(VideoError, match=r"nothing\.avi: "):
        len(open_video(path))


def test_the_time_limit_is_kept(plain: Path) -> None:
    video = open_video(plain)
    video.time_limit_s = 0.0
    with pytest.raises(VideoError, match=r"\b0 s\b"):
        len(video)


def test_a_file_that_vanishes_is_an_error(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=5)
    video = open_video(path)
    assert len(video) == 5
    path.unlink()
    with pytest.raises(VideoError, match=r"a\.mp4: "):
        video.frames([0])


# Processes


def test_a_video_pickles_as_its_path(plain: Path) -> None:
    video = open_video(plain)
    copy = pickle.loads(pickle.dumps(video))
    assert len(pickle.dumps(video)) < 1000
    assert torch.equal(copy.frames([5, 9]), video.frames([5, 9]))


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_a_forked_child_and_its_parent_read_the_same_frames(plain: Path) -> None:
    video = open_video(plain)
    open_files = len(list(Path("/dev/fd").iterdir()))
    before = video.frames([3, 30])
    assert len(list(Path("/dev/fd").iterdir())) == open_files
    with multiprocessing.get_context("fork").Pool(1) as pool:
        child = pool.apply(_sum_of_frames, (video,))
    assert child == int(before.sum())
    assert torch.equal(video.frames([3, 30]), before)


def _sum_of_frames(video: Any) -> int:
    return int(video.frames([3, 30]).sum())
