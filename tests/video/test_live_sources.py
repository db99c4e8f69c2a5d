"""Sources of live video: what names them, what they refuse, and streams that end and come back."""

from __future__ import annotations

import itertools
import math
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from praxiscope.errors import ArgumentError, VideoError
from praxiscope.video.live_frames import LiveFrame, LiveSource, StreamClock
from praxiscope.video.live_sources import (
    Camera,
    FileAtItsPace,
    GivenFrames,
    NetworkStream,
    StandardInput,
    is_live,
    live_source,
)
from support import write_clip


def test_names_choose_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(tmp_path / "a.mp4", 0, frames=2)
    monkeypatch.chdir(tmp_path)
    kinds = {
        "-": StandardInput,
        "rtsp://host/a": NetworkStream,
        "http://host/a.ts": NetworkStream,
        "udp://127.0.0.1:5000": NetworkStream,
        "a.mp4": FileAtItsPace,
    }
    for name, kind in kinds.items():
        source = live_source(name)
        assert isinstance(source, kind)
        assert isinstance(source, LiveSource)
        assert is_live(name) == (kind is not FileAtItsPace)
        assert live_source(source) is source
    assert isinstance(live_source(iter([])), GivenFrames)
    Path("-").write_bytes(b"")
    assert not is_live("-")
    assert isinstance(live_source("-"), FileAtItsPace)


def test_other_addresses_and_those_that_wait_for_connections_are_refused() -> None:
    for address in ("ftp://host/a", "tcp://host:1", "rtp://host:1", "file:/etc/passwd"):
        with pytest.raises(ArgumentError, match="rtsp"):
            live_source(address)
    with pytest.raises(ArgumentError, match="listen"):
        live_source("http://0.0.0.0:80/a?listen=1")
    with pytest.raises(VideoError, match="nowhere"):
        live_source("nowhere.mp4")


def test_a_camera_that_is_not_there_is_named_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    real = os.path.exists
    monkeypatch.setattr(os.path, "exists", lambda path: False if "video" in str(path) else real(path))
    for source in (97, "/dev/video97"):
        with pytest.raises(VideoError, match="/dev/video97"):
            live_source(source)
    monkeypatch.setattr(os.path, "exists", lambda path: True)
    assert live_source(97).name == "/dev/video97"
    with pytest.raises(ArgumentError, match="-1"):
        Camera(-1)
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ArgumentError, match="Linux"):
        Camera(0)


def test_messages_name_an_address_without_its_password() -> None:
    stream = NetworkStream("rtsp://user:secret@host:554/a")
    assert stream.name == "rtsp://host:554/a"
    assert stream.address == "rtsp://user:secret@host:554/a"


def test_the_clock_goes_on_where_the_streams_jumps_back_ahead_or_is_missing() -> None:
    clock = StreamClock()
    stamps = [95000.0, 95000.5, 3.0, 3.5, 500.0, None, 500.6, 500.7]
    arrivals = [0.0, 0.5, 1.1, 1.6, 2.0, 2.3, 2.9, 3.0]
    found = [clock.time_s(stamp, at) for stamp, at in zip(stamps, arrivals, strict=True)]
    assert found == pytest.approx([0, 0.5, 1.1, 1.6, 2.0, 2.3, 2.9, 3.0])
    assert clock.time_s(501.0, 10.0, again=True) == pytest.approx(10.0)
    assert found == sorted(found)


class Scripted(NetworkStream):
    """A stream whose connections are written by the test: a number of frames and how they end."""

    def __init__(self, *connections: Any) -> None:
        super().__init__("rtsp://host/a", timeout_s=1, pauses_s=(0.01, 0.02))
        self.connections = [one if one[0] is None else (Container(*one), None) for one in connections]

    def _open(self, stop: threading.Event) -> Any:
        if not self.connections:
            stop.set()
            raise OSError("no more")
        container, error = self.connections.pop(0)
        if error is not None:
            raise error
        return container


class Container:
    """As much of PyAV's container as a stream uses."""

    duration = None
    size = 0
    name = "rtsp"

    def __init__(self, frames: int, ending: Exception | None, late_s: float = 0) -> None:
        self.count, self.ending, self.closed, self.late_s = frames, ending, False, late_s
        self.streams = self.format = self
        self.video = [self]
        self.thread_type = ""

    def demux(self, stream: Any) -> Iterator[Any]:
        for number in range(self.count):
            if number == self.count - 1:
                time.sleep(self.late_s)
            yield Packet(number)
        if self.ending is not None:
            raise self.ending

    def close(self) -> None:
        self.closed = True


class Packet:
    def __init__(self, number: int) -> None:
        self.number = number

    def decode(self) -> list[Any]:
        frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), self.number, np.uint8), format="rgb24")
        frame.pts, frame.time_base = self.number, Fraction(1, 10)
        return [frame]


def test_a_stream_that_is_lost_is_opened_again_and_says_how_long_it_was_away() -> None:
    source = Scripted((3, OSError("reset")), (None, OSError("refused")), (2, None), (1, None))
    notes: list[str] = []
    found = list(source.frames(threading.Event(), notes.append))
    assert [frame.stretch for frame in found] == [0, 0, 0, 1, 1, 2]
    times = [frame.time_s for frame in found]
    assert times == sorted(times)
    assert times[:3] == pytest.approx([0, 0.1, 0.2])
    assert times[3] - times[2] < 1  # what has passed, not the stream's clock, which started again
    assert found[0].pixels(16).shape == (3, 16, 24)
    assert [("0.01" in note, "0.02" in note, "back" in note) for note in notes[:4]] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
        (True, False, False),
    ]
    assert "reset" in notes[0]


def test_a_frame_that_ffmpeg_gives_at_its_time_limit_is_too_old_and_does_not_count_as_the_last() -> None:
    source = Scripted((4, av.error.ExitError(0, ""), 0.6), (1, None))
    source.timeout_s = 0.5
    notes: list[str] = []
    found = list(source.frames(threading.Event(), notes.append))
    assert [frame.stretch for frame in found] == [0, 0, 0, 1]
    assert found[3].time_s - found[2].time_s >= 0.6
    assert "back after 1 s" in notes[1]


def test_the_pauses_grow_to_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    source = NetworkStream("rtsp://host/a", pauses_s=(1.0, 30.0))
    stop = threading.Event()
    waited: list[float] = []

    def wait(seconds: float) -> bool:
        waited.append(seconds)
        if len(waited) == 8:
            stop.set()
        return False

    monkeypatch.setattr(stop, "wait", wait)
    first = itertools.chain([Container(1, OSError("gone"))], itertools.repeat(None))

    def opened(stop: threading.Event) -> Any:
        container = next(first)
        if container is None:
            raise OSError("refused")
        return container

    monkeypatch.setattr(source, "_open", opened)
    assert len(list(source.frames(stop, lambda text: None))) == 1
    assert waited == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_stream_that_is_never_there_is_an_error_at_once() -> None:
    with pytest.raises(VideoError, match="host"):
        next(Scripted((None, OSError("refused"))).frames(threading.Event(), print))


@pytest.mark.parametrize(
    ("known", "ends"),
    [
        ({"duration": 200000}, True),
        ({"size": 5000}, True),
        ({"size": 5000, "name": "hls"}, False),
        ({}, False),
    ],
)
def test_a_file_behind_an_address_ends_and_comes_at_its_own_pace(known: dict[str, Any], ends: bool) -> None:
    source = Scripted((3, None), (3, None))
    for container in source.connections:
        container[0].__dict__.update(known)
    begin = time.monotonic()
    found = list(source.frames(threading.Event(), lambda text: None))
    assert len(found) == (3 if ends else 6)
    assert (found[2].arrived_s - found[0].arrived_s >= 0.2 - 1e-6) == ends
    assert time.monotonic() - begin < 5


def test_standard_input_is_read_as_it_comes_and_a_wait_ends_with_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(tmp_path / "a.mkv", 0, frames=5)
    read, write = os.pipe()
    monkeypatch.setattr("sys.stdin", os.fdopen(read, "rb"))
    threading.Thread(target=_send, args=(write, (tmp_path / "a.mkv").read_bytes()), daemon=True).start()
    found = list(StandardInput().frames(threading.Event(), print))
    assert [round(frame.time_s * 12) for frame in found] == [0, 1, 2, 3, 4]

    read, write = os.pipe()  # nothing comes
    monkeypatch.setattr("sys.stdin", os.fdopen(read, "rb"))
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    begin = time.monotonic()
    assert list(StandardInput().frames(stop, print)) == []
    assert time.monotonic() - begin < 5
    os.close(write)


def test_standard_input_without_a_byte_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    for content, problem in ((b"", "is empty"), (b"no video" * 99, "is not a video")):
        read, write = os.pipe()
        _send(write, content)
        monkeypatch.setattr("sys.stdin", os.fdopen(read, "rb"))
        with pytest.raises(VideoError, match=problem):
            list(StandardInput().frames(threading.Event(), print))


def _send(descriptor: int, content: bytes) -> None:
    with os.fdopen(descriptor, "wb") as pipe:
        pipe.write(content)


def test_frames_of_a_program_must_be_pairs_of_a_time_and_a_frame() -> None:
    good = np.zeros((8, 8, 3), np.uint8)
    (one,) = GivenFrames([(5.0, good)]).frames(threading.Event(), print)
    assert (one.time_s, one.stretch) == (0.0, 0)
    for bad in (good, (1.0, good.astype(float)), (1.0, good[0]), ("x", good), (math.nan, good)):
        with pytest.raises(ArgumentError):
            list(GivenFrames([bad]).frames(threading.Event(), print))


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        return int(udp.getsockname()[1])


def send(port: int, stop: threading.Event, fps: int = 30) -> None:
    """Send a video to a port of this machine until ``stop`` is set, as MPEG-TS."""
    with av.open(f"udp://127.0.0.1:{port}?pkt_size=1316", "w", format="mpegts") as out:
        stream = out.add_stream("mpeg2video", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.gop_size = 5
        begin = time.monotonic()
        for number in itertools.count():
            image = np.full((48, 64, 3), number % 250, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            if stop.wait(max(begin + (number + 1) / fps - time.monotonic(), 0)):
                return


@pytest.mark.slow
def test_a_udp_stream_is_read_and_read_again_after_its_sender_was_gone() -> None:
    port, stop, quiet = free_port(), threading.Event(), threading.Event()
    source = NetworkStream(f"udp://127.0.0.1:{port}", timeout_s=1.0, pauses_s=(0.1, 0.2))
    notes: list[str] = []
    sender = threading.Thread(target=send, args=(port, quiet), daemon=True)
    sender.start()
    found: list[LiveFrame] = []
    limit = time.monotonic() + 40
    for frame in source.frames(stop, notes.append):
        found.append(frame)
        if len(found) == 20:
            quiet.set()
            sender.join()
            again = threading.Event()
            threading.Timer(1.5, send, args=(port, again)).start()
        if (frame.stretch and len(found) > 30) or time.monotonic() > limit:
            again.set()
            break
    stop.set()
    assert {frame.stretch for frame in found} == {0, 1}
    steps = np.diff([frame.time_s for frame in found])
    assert np.median(steps) == pytest.approx(1 / 30, abs=0.005)
    assert 1.0 < steps.max() < 10
    assert any("back after" in note for note in notes)
