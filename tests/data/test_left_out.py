"""What lies among the videos of a folder: used, or counted and named."""

from __future__ import annotations

from pathlib import Path

import pytest

from praxiscope.commands.predict import find_sources
from praxiscope.data.check import inspect
from praxiscope.data.files import is_video, left_out_note, search, walk
from praxiscope.data.joined import join
from praxiscope.data.manifest import Manifest, load_records
from praxiscope.errors import ArgumentError, DataError
from support import write_clip


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def ids(manifest: Manifest) -> list[str]:
    return [record.id for record in manifest.records]


@pytest.mark.parametrize(
    "name", ["a.gif", "a.h264", "a.264", "a.hevc", "a.MXF", "a.m2v", "a.ts", "a.Y4M", "a.mjpeg", "a.mov"]
)
def test_these_are_videos_by_their_names(name: str) -> None:
    assert is_video(Path(name))
    assert not is_video(Path(f".{name}"))


def test_other_files_are_counted_and_named_wherever_they_lie(tmp_path: Path) -> None:
    touch(
        *(tmp_path / "red" / name for name in ("1.mp4", "2.gif", "noext", "notes.txt", "t.JPG", "deep/u.jpg"))
    )
    touch(tmp_path / "red" / ".DS_Store", tmp_path / "red" / ".hidden" / "x", tmp_path / "blue" / "1.mp4")
    left_out = ["red/noext", "red/notes.txt", "red/t.JPG", "red/deep/u.jpg"]
    manifest = load_records(tmp_path, random_split=False)
    assert ids(manifest) == ["blue/1.mp4", "red/1.mp4", "red/2.gif"]
    assert manifest.left_out == tuple(left_out)
    (note,) = manifest.notes
    assert all(text in note for text in ("4 files", "2 .jpg", "1 .txt", "1 without suffix", *left_out))
    report = inspect(manifest, workers=1)
    assert report.to_dict()["left_out"] == left_out
    assert report.to_dict()["notes"] == [note]
    said: list[str] = []
    assert find_sources([str(tmp_path)], said.append) == [str(tmp_path / name) for name in ids(manifest)]
    assert said == [f"{tmp_path}: {note}"]


def test_split_folders_and_joined_sets_carry_what_is_left_out(tmp_path: Path) -> None:
    touch(*(tmp_path / side / "red" / name for side in ("train", "test") for name in ("1.mp4", "x")))
    manifest = load_records(tmp_path)
    assert manifest.left_out == ("test/red/x", "train/red/x")
    assert join({"a": manifest}).left_out == ("a/test/red/x", "a/train/red/x")


def test_a_linked_folder_is_read_like_any_other(tmp_path: Path) -> None:
    touch(tmp_path / "set" / "red" / "1.mp4", *(tmp_path / "more" / name for name in ("4.mp4", "5.mp4", "z")))
    touch(tmp_path / "greens" / "6.mp4")
    (tmp_path / "set" / "red" / "more").symlink_to("../../more")
    (tmp_path / "set" / "green").symlink_to(tmp_path / "greens")  # a class folder
    manifest = load_records(tmp_path / "set", random_split=False)
    assert ids(manifest) == ["green/6.mp4", "red/1.mp4", "red/more/4.mp4", "red/more/5.mp4"]
    assert manifest.left_out == ("red/more/z",)


@pytest.mark.parametrize("target", [".", "..", "../..", "../red", "deep", "itself"])
def test_a_link_back_is_named_and_no_circle(tmp_path: Path, target: str) -> None:
    touch(tmp_path / "set" / "red" / "1.mp4", tmp_path / "set" / "red" / "deep" / "2.mp4")
    touch(tmp_path / "set" / "blue" / "3.mp4")
    (tmp_path / "set" / "red" / "loop").symlink_to("loop" if target == "itself" else target)
    manifest = load_records(tmp_path / "set", random_split=False)
    assert ids(manifest) == ["blue/3.mp4", "red/1.mp4", "red/deep/2.mp4"]
    assert manifest.left_out == ("red/loop",)


def test_a_class_folder_that_links_back_is_no_class(tmp_path: Path) -> None:
    touch(tmp_path / "set" / "red" / "1.mp4")
    (tmp_path / "set" / "all").symlink_to(".")
    (tmp_path / "set" / "gone").symlink_to("nowhere")  # as of a disk that is not mounted
    manifest = load_records(tmp_path / "set", random_split=False)
    assert manifest.classes == ("red",)
    assert manifest.left_out == ("gone", "all")


def test_two_links_to_one_folder_read_it_once(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "x" / "1.mp4", tmp_path / "more" / "2.mp4")
    for name in ("first", "second"):
        (tmp_path / "a" / name).symlink_to("../more")
    (tmp_path / "more" / "back").symlink_to("../a")
    videos, left_out = search(tmp_path / "a")
    assert videos == [tmp_path / "a" / "first" / "2.mp4", tmp_path / "a" / "x" / "1.mp4"]
    assert left_out == [tmp_path / "a" / "second", tmp_path / "a" / "first" / "back"]


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    touch(tmp_path / "a" / "1.mp4", tmp_path / "locked" / "2.mp4")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert search(tmp_path) == ([tmp_path / "a" / "1.mp4"], [tmp_path / "locked"])


def test_folders_taken_out_of_a_walk_are_not_entered(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "1", tmp_path / "b" / "2")
    seen = []
    for parent, folders, files in walk(tmp_path):
        seen += [(parent.name, name) for name in files]
        if "a" in folders:
            folders.remove("a")
    assert seen == [("b", "2")]


def test_linked_folders_of_something_something_are_read(tmp_path: Path) -> None:
    touch(tmp_path / "disk" / "1.webm", tmp_path / "disk" / "2.webm")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "20bn-something-something-v2").symlink_to("../disk")
    for name, text in (
        ("labels", '{"Moving something": "0"}'),
        ("train", '[{"id": "1", "template": "Moving [something]"}]'),
        ("validation", '[{"id": "2", "template": "Moving [something]"}]'),
    ):
        (tmp_path / "set" / f"something-something-v2-{name}.json").write_text(text)
    manifest = load_records(f"something-something:{tmp_path / 'set'}")
    assert ids(manifest) == [f"20bn-something-something-v2/{number}.webm" for number in (1, 2)]


def test_known_sets_name_what_is_no_video_and_no_list(tmp_path: Path) -> None:
    touch(*(tmp_path / f"{person}_bend.avi" for person in ("daria", "ido")))
    touch(*(tmp_path / name for name in ("ido_run", "lists/classes.txt", "masks.mat", "lena_run.xyz")))
    manifest = load_records(f"weizmann:{tmp_path}", random_split=False)
    assert manifest.left_out == ("ido_run", "lena_run.xyz")
    assert sum("ido_run, lena_run.xyz" in note for note in manifest.notes) == 1


def test_nothing_left_out_is_no_note(tmp_path: Path) -> None:
    assert left_out_note(tmp_path, []) == ()


def test_a_glob_means_what_the_shell_would_make_of_it(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("v1.mp4", "v2/a.mxf", "v2/b.txt", "v3.csv", "v4/c.dat")))
    said: list[str] = []
    assert find_sources([f"{tmp_path}/v*"], said.append) == [
        str(tmp_path / "v1.mp4"),
        str(tmp_path / "v2/a.mxf"),
    ]
    assert len(said) == 1
    assert all(str(tmp_path / name) in said[0] for name in ("v2/b.txt", "v3.csv", "v4/c.dat"))
    with pytest.raises(ArgumentError, match=r"v4: .*1 file.*c\.dat"):
        find_sources([str(tmp_path / "v4")])


def test_the_case_of_files_left_out_uses_or_names_all(data_folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(data_folder / "cases" / "silently-left-out", tmp_path / "case")
    (tmp_path / "case" / "s" / "red" / "more").symlink_to("../../more")
    manifest = load_records(tmp_path / "case" / "s")
    used = {record.id for record in manifest.records if record.labels == ("red",)}
    names = ("1.mp4", "2.mp4", "p.gif", "raw.h264", "more/4.mp4", "more/5.mp4")
    assert used == {f"red/{name}" for name in names}
    assert manifest.left_out == ("red/noext",)
    assert inspect(manifest, workers=1).whole


def test_a_gif_and_raw_streams_are_read_to_their_end(tmp_path: Path) -> None:
    import av
    import numpy as np

    write_clip(tmp_path / "red" / "a.mp4", 0, frames=6)
    for name, codec, pixels in (
        ("b.gif", "gif", "rgb8"),
        ("c.h264", "libx264", "yuv420p"),
        ("d.hevc", "libx265", "yuv420p"),
        ("e.m2v", "mpeg2video", "yuv420p"),
        ("f.mxf", "mpeg2video", "yuv420p"),
        ("g.ts", "libx264", "yuv420p"),
    ):
        with av.open(str(tmp_path / "red" / name), "w") as container:
            stream = container.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
            for number in range(6):
                frame = np.full((48, 64, 3), 40 * number, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode(None))
    report = inspect(load_records(tmp_path, random_split=False), full=True, workers=1)
    assert {video.id: (video.frames, video.readable) for video in report.videos} == {
        f"red/{name}": (6, True) for name in ("a.mp4", "b.gif", "c.h264", "d.hevc", "e.m2v", "f.mxf", "g.ts")
    }


def test_a_folder_without_videos_names_what_it_holds(tmp_path: Path) -> None:
    touch(tmp_path / "red" / "1.xyz", tmp_path / "blue" / "2.xyz")
    with pytest.raises(DataError, match=r"2 files.*2 \.xyz"):
        load_records(tmp_path)
