from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from praxiscope.data import check
from praxiscope.data.check import _check_file, inspect
from praxiscope.data.check_text import report_lines
from praxiscope.data.manifest import load_records
from praxiscope.video.pack import pack_video


def _video(path: Path, frames: int = 5, value: int = 0, noise: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(value)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for i in range(frames):
            pixels = np.full((32, 48, 3), (value + 9 * i) % 256, np.uint8)
            pixels += generator.integers(0, noise, pixels.shape, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(3):
        _video(tmp_path / "train" / "a" / f"{i}.mp4", frames=5 + i, value=40 * i)
    _video(tmp_path / "train" / "b" / "0.mp4", value=7)
    _video(tmp_path / "test" / "b" / "1.mp4", value=200)
    shutil.copy(tmp_path / "train" / "a" / "1.mp4", tmp_path / "test" / "b" / "copy.mp4")
    (tmp_path / "train" / "a" / "empty.mp4").touch()
    (tmp_path / "train" / "a" / "empty2.mp4").touch()
    (tmp_path / "train" / "a" / "text.mp4").write_text("no video at all\n" * 99)
    return tmp_path


@pytest.mark.parametrize("workers", [1, 2])
def test_every_file_is_looked_at_and_broken_ones_are_listed(folder: Path, workers: int) -> None:
    steps: list[tuple[int, int]] = []
    report = inspect(
        load_records(folder), full=workers == 1, workers=workers, progress=lambda *now: steps.append(now)
    )
    assert steps == [(i, 9) for i in range(1, 10)]
    good = {v.id: v for v in report.videos if v.readable}
    assert {v.id for v in report.broken} == {f"train/a/{n}.mp4" for n in ("empty", "empty2", "text")}
    assert all(v.problem and str(folder) not in v.problem for v in report.broken)
    assert report.damaged == ()
    assert {name: v.frames for name, v in good.items()} == {
        "train/a/0.mp4": 5, "train/a/1.mp4": 6, "train/a/2.mp4": 7,
        "train/b/0.mp4": 5, "test/b/1.mp4": 5, "test/b/copy.mp4": 6,
    }  # fmt: skip
    video = good["train/a/2.mp4"]
    assert (video.width, video.height, video.codec, video.fps) == (48, 32, "mpeg4", 10.0)
    assert video.duration_s == pytest.approx(0.7)


def test_full_names_damage_in_files_too_long_to_be_confirmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("praxiscope.video.decode._SHORT_FILE", 10)
    path = tmp_path / "a" / "long.mp4"
    _video(path, frames=60, noise=90)
    with av.open(str(path)) as container:
        packets = [(p.pos, bytes(p)) for p in container.demux(video=0) if p.size]
    place, content = packets[40]
    start = content.index(b"\0\0\1\xb6") + 7  # the picture's type stays, so the packets alone show nothing
    with path.open("r+b") as file:
        file.seek(place + start)
        file.write(bytes(len(content) - start))
    _video(tmp_path / "b" / "good.mp4", frames=60, noise=90)
    manifest = load_records(tmp_path)
    assert inspect(manifest, workers=1).damaged == ()
    report = inspect(manifest, full=True, workers=1)
    assert [video.id for video in report.damaged] == ["a/long.mp4"]


def test_full_reads_every_picture_of_a_packed_clip(tmp_path: Path) -> None:
    source = tmp_path / "source.mp4"
    _video(source, frames=12)
    clip = tmp_path / "clip.pxv"
    pack_video(source, clip, short_side=32, quality=0)
    content = bytearray(clip.read_bytes())
    assert _check_file(clip, True)[0].problem is None
    content[len(content) // 2] ^= 255
    clip.write_bytes(content)
    assert not _check_file(clip, True)[0].readable


def _look_or_die(path: Path, full: bool) -> tuple[check.VideoCheck, str]:
    if path.name == "2.mp4":
        os._exit(11)
    return _check_file(path, full)


@pytest.mark.slow
def test_a_file_that_kills_its_process_is_named_and_the_rest_is_seen(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "_check_file", _look_or_die)
    report = inspect(load_records(folder), workers=2)
    found = {v.id: v.problem for v in report.broken}
    assert "process" in found.pop("train/a/2.mp4")
    assert set(found) == {f"train/a/{n}.mp4" for n in ("empty", "empty2", "text")}


def test_classes_copies_and_leaks_are_counted(folder: Path) -> None:
    report = inspect(load_records(folder), workers=1)
    assert report.classes == {"a": {"train": 6, "val": 0, "test": 0}, "b": {"train": 1, "val": 0, "test": 2}}
    assert report.imbalance == 6.0
    (copies,) = report.copies
    assert copies.ids == ("test/b/copy.mp4", "train/a/1.mp4")
    assert (copies.labels, copies.splits) == (("a", "b"), ("test", "train"))


def test_files_that_differ_in_the_middle_alone_are_no_copies(tmp_path: Path) -> None:
    for i in range(2):
        (tmp_path / f"{i}.mp4").write_bytes(bytes(200_000) + bytes([i]) + bytes(200_000))
    (tmp_path / "l.csv").write_text("path,label\n0.mp4,a\n1.mp4,a\n")
    assert inspect(load_records(tmp_path / "l.csv"), workers=1).copies == ()


def test_parts_beyond_a_file_s_end_are_found(tmp_path: Path) -> None:
    _video(tmp_path / "v.mp4", frames=20)
    rows = "v.mp4,a,0,1\nv.mp4,a,1,2\nv.mp4,a,1.5,9\nv.mp4,a,3,4\nv.mp4,a,,\n"
    (tmp_path / "l.csv").write_text(f"path,label,start,end\n{rows}")
    report = inspect(load_records(tmp_path / "l.csv"), workers=1)
    assert [v.readable for v in report.videos] == [True, True, True, False, True]
    assert [v.problem is None for v in report.videos] == [True, True, False, False, True]
    late, outside = report.videos[2].problem or "", report.videos[3].problem or ""
    assert "2.00 s" in late
    assert "9 s" in late
    assert "2.00 s" in outside
    assert "3 s" in outside
    assert report.copies == ()


def test_parts_are_counted_as_parts(tmp_path: Path) -> None:
    _video(tmp_path / "v.mp4", frames=20)
    _video(tmp_path / "w.mp4", frames=30, value=9)
    rows = "v.mp4,a,,0.5\nv.mp4,b,0.5,2\nv.mp4,a,1.5,2.05\nv.mp4,a,0.31,0.39\nw.mp4,b,,\nw.mp4,a,1,\n"
    (tmp_path / "l.csv").write_text(f"path,label,start,end\n{rows}")
    report = inspect(load_records(tmp_path / "l.csv", random_split=False), workers=1)
    # At 10 frames a second: the times are those of frames.
    assert [video.frames for video in report.videos] == [5, 15, 5, None, 30, 20]
    lengths = [video.duration_s for video in report.videos]
    assert lengths[3] is None
    assert [x for x in lengths if x is not None] == pytest.approx([0.5, 1.5, 0.5, 3.0, 2.0])
    (empty,) = report.broken
    assert empty.id == "v.mp4@0.31-0.39"
    content = report.to_dict()
    assert (content["videos"], content["files"], content["frames"]) == (6, 2, 75)
    assert content["duration_s"] == pytest.approx(7.5)
    assert content["classes"] == {"a": {"train": 0, "val": 0, "test": 0, "unsplit": 4}, "b": {
        "train": 0, "val": 0, "test": 0, "unsplit": 2}}  # fmt: skip


def test_parts_of_a_damaged_file_hold_the_frames_that_decode(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "10", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        draw = np.random.default_rng(0)
        for _ in range(30):
            pixels = draw.integers(0, 255, (48, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for place, size in places[10:20]:
        content[place : place + size] = bytes(size)
    path.write_bytes(content)
    (tmp_path / "l.csv").write_text(
        "path,label,start,end\nv.mp4,a,0,1\nv.mp4,a,1,2\nv.mp4,a,2,3\nv.mp4,a,,\n"
    )
    manifest = load_records(tmp_path / "l.csv", random_split=False)
    report = inspect(manifest, full=True, workers=1)
    assert [video.frames for video in report.videos] == [10, None, 10, 20]
    assert [video.readable for video in report.videos] == [True, False, True, True]
    assert [video.id for video in report.damaged] == ["v.mp4@0-1", "v.mp4@2-3", "v.mp4"]
    assert sum(line.startswith("Damaged: ") for line in report_lines(report)) == 1, "of one file"


def test_a_list_with_missing_files_is_not_whole(tmp_path: Path) -> None:
    _video(tmp_path / "v.mp4")
    (tmp_path / "l.csv").write_text("path,label\nv.mp4,a\n")
    assert inspect(load_records(tmp_path / "l.csv", random_split=False), workers=1).whole
    (tmp_path / "l.csv").write_text("path,label\nv.mp4,a\nw.mp4,a\n")
    report = inspect(load_records(tmp_path / "l.csv", random_split=False), workers=1)
    assert (report.whole, report.broken, report.missing) == (False, (), ("w.mp4",))
    assert report.to_dict()["whole"] is False


def test_a_part_of_a_known_set_is_whole(tmp_path: Path) -> None:
    for person in ("daria", "ido"):
        _video(tmp_path / f"{person}_bend.avi")
    report = inspect(load_records(f"weizmann:{tmp_path}", random_split=False), workers=1)
    assert (report.whole, len(report.missing)) == (True, 88)


def test_the_report_is_json(folder: Path) -> None:
    content = json.loads(json.dumps(inspect(load_records(folder), workers=1).to_dict()))
    assert content["videos"] == 9
    assert content["splits"] == {"train": 7, "val": 0, "test": 2}
    assert content["frames"] == 34
    assert [entry["id"] for entry in content["broken"]] == [
        "train/a/empty.mp4", "train/a/empty2.mp4", "train/a/text.mp4",
    ]  # fmt: skip
    assert content["details"][0]["path"] == str(folder / "test" / "b" / "1.mp4")


def test_a_set_without_a_split_is_counted_as_such(folder: Path) -> None:
    report = inspect(load_records(folder / "train", random_split=False), workers=1)
    assert report.classes["a"]["unsplit"] == 6
    assert report.imbalance == 6.0
    assert report.to_dict()["splits"]["unsplit"] == 7


def test_the_real_weizmann_set_is_whole(data_folder: Path) -> None:
    report = inspect(load_records(f"weizmann:{data_folder / 'weizmann'}", split=1), workers=1)
    assert (report.broken, report.damaged, report.copies, report.imbalance) == ((), (), (), 1.0)
    assert {(v.width, v.height) for v in report.videos} == {(180, 144)}
    assert all(v.frames and 36 <= v.frames <= 146 for v in report.videos)
