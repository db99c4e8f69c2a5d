"""Which videos a web page plays."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from praxiscope.video.browser import why_not_played


def encode(path: Path, codec: str, pixels: str = "yuv420p") -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=12)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "problem"),
    [
        ("a.mp4", "libx264", "yuv420p", None),
        ("A.MP4", "libx264", "yuv420p", None),
        ("a.webm", "libvpx-vp9", "yuv420p", None),
        ("a.webm", "libvpx", "yuv420p", None),
        ("a.mp4", "libx264", "yuv444p", "h264 of yuv444p pixels"),
        ("a.mp4", "libx265", "yuv420p", "hevc in .mp4"),
        ("a.mp4", "mpeg4", "yuv420p", "mpeg4 in .mp4"),
        ("a.avi", "libx264", "yuv420p", "h264 in .avi"),
        ("a.avi", "mpeg4", "yuv420p", "mpeg4 in .avi"),
        ("a.mkv", "libx264", "yuv420p", "h264 in .mkv"),
    ],
)
def test_what_all_browsers_play_is_played(
    tmp_path: Path, name: str, codec: str, pixels: str, problem: str | None
) -> None:
    assert why_not_played(encode(tmp_path / name, codec, pixels)) == problem


def test_a_name_alone_does_not_make_a_video_playable(tmp_path: Path) -> None:
    encode(tmp_path / "a.mkv", "libx264").rename(tmp_path / "a.mp4")
    assert why_not_played(tmp_path / "a.mp4") == "h264 in .mp4"
    (tmp_path / "b.mp4").write_text("no video\n" * 100)
    assert why_not_played(tmp_path / "b.mp4")
    assert why_not_played(tmp_path / "gone.mp4") == "does not exist"


def test_frames_and_packed_clips_are_not_played(tmp_path: Path) -> None:
    (tmp_path / "frames.mp4").mkdir()
    assert why_not_played(tmp_path / "frames.mp4") == "a folder of frames"
    (tmp_path / "a.mp4.pxv").write_bytes(b"")
    assert why_not_played(tmp_path / "a.mp4.pxv") == "a packed clip"
