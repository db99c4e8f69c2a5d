"""Answers drawn on a video: its times, its orientation, its shape and its sound stay."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from praxiscope.commands.label_video import answer_at, label_video, written_files
from praxiscope.errors import ArgumentError
from praxiscope.types import Prediction, Segment
from praxiscope.video.opening import open_video

GREY = 120


def write_clip(path: Path, times: list[int], aspect: Fraction = Fraction(1), sound: str = "aac") -> Path:
    """Grey frames of 98 x 76 at these milliseconds, and a tone of a second."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 98, 76, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        video.codec_context.sample_aspect_ratio = aspect
        audio = container.add_stream(sound, rate=48000) if sound else None
        for at in times:
            frame = av.VideoFrame.from_ndarray(np.full((76, 98, 3), GREY, np.uint8), format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            resampler = av.AudioResampler(audio.format, audio.layout, audio.rate, frame_size=1024)
            tone = (np.sin(np.arange(48000) * 2 * np.pi * 440 / 48000) * 9000).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = 48000, 0
            for part in [*resampler.resample(frame), *resampler.resample(None)]:
                container.mux(audio.encode(part))
            container.mux(audio.encode(None))
    return path


def loudness(path: Path) -> tuple[float, float]:
    """Seconds of sound, and its root mean square."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray().astype(float) for frame in container.decode(audio=0)]
        rate = container.streams.audio[0].rate
    joined = np.concatenate([frame[0] for frame in frames])
    return len(joined) / rate, float(np.sqrt((joined**2).mean()))


@pytest.mark.parametrize(("source", "out"), [("a.mp4", "b.mp4"), ("a.mkv", "b.mp4"), ("a.mp4", "b.mkv")])
def test_times_shape_and_sound_stay(tmp_path: Path, source: str, out: str) -> None:
    times = [0, 40, 80, 500, 520, 1000]
    sound = "flac" if source.endswith("mkv") else "aac"
    clip = write_clip(tmp_path / source, times, Fraction(4, 3), sound)
    made = tmp_path / out
    label_video(Prediction(str(clip), ["walk", "run"], [0.75, 0.25]), made)
    found = open_video(made)
    # Matroska moves picture and sound by the samples with which AAC starts.
    late = found.timestamps() - open_video(clip).timestamps()
    assert np.ptp(late) <= 0.001
    assert late[0] <= (0.022 if out.endswith("mkv") else 0.001)
    assert (found.width, found.height) == (98, 76)
    with av.open(str(made)) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
    seconds, level = loudness(made)
    own_seconds, own_level = loudness(clip)
    assert seconds == pytest.approx(own_seconds, abs=0.06)
    assert level == pytest.approx(own_level, rel=0.1)
    assert not list(tmp_path.glob(".*"))
    picture = found.arrays([0])[0].astype(int)
    assert np.abs(picture[:30, 60:] - GREY).max() < 12  # the picture is seen above the text
    assert picture[40:, :40].max() > 200  # which is white
    assert picture[-3:, :3].max() < 70  # on a dark ground


def test_windows_of_a_timeline_change_the_text(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", list(range(0, 3000, 100)), sound="")
    segments = [
        Segment(0.0, 2.0, ["walk"], [0.9]),
        Segment(1.0, 3.0, ["sit down on the floor"], [0.8], True),
    ]
    made = tmp_path / "b.mp4"
    label_video(Prediction(str(clip), ["walk"], [0.5], segments), made)
    frames = open_video(made).arrays(list(range(30))).astype(int)
    ends = [int(np.flatnonzero(np.abs(frame[-4] - GREY).max(1) > 40).max()) for frame in frames]
    # The middles of the windows are 1 and 2 s: the second, with more text, is shown after 1.5 s.
    assert max(ends[:16]) + 10 < min(ends[16:])
    assert [answer_at(Prediction("", [], [], segments), time_s) for time_s in (0, 1.5, 1.51, 9)] == [
        0,
        0,
        1,
        1,
    ]


def test_a_turned_video_is_upright(tmp_path: Path, data_folder: Path) -> None:
    turned = data_folder / "odd_videos/decord/tests_test_data_video_90.mov"
    made = tmp_path / "b.mp4"
    label_video(Prediction(str(turned), ["a"], [1.0]), made)
    video, found = open_video(turned), open_video(made)
    assert (found.width, found.height) == (video.width + video.width % 2, video.height + video.height % 2)
    with av.open(str(made)) as container:
        assert next(container.decode(video=0)).rotation == 0
    corner = video.height // 4, video.width // 2
    own, seen = (one.arrays([0])[0, : corner[0], corner[1] : video.width] for one in (video, found))
    assert np.abs(own.astype(int) - seen.astype(int)).mean() < 6


def test_files(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", [0, 40], sound="")
    assert written_files(["a.avi"], "out.mkv") == {"a.avi": Path("out.mkv")}
    assert written_files(["a.avi", "c/b.avi"], "out")["c/b.avi"] == Path("out/b.mp4")
    for sources, out in (
        (["a.avi"], "out.gif"),
        (["a.avi", "b.avi"], "out.mp4"),
        (["a/c.avi", "b/c.avi"], "out"),
    ):
        with pytest.raises(ArgumentError):
            written_files(sources, out)
    with pytest.raises(ArgumentError):
        label_video(Prediction(str(clip), ["a"], [1.0]), clip)
    assert open_video(clip).quick_length() == 2
