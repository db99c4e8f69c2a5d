"""Names that look like something else, and files that are no videos whatever their names say."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from praxiscope.commands.flow import StoreOptions, extract_flow
from praxiscope.commands.pack import PackFormat, pack
from praxiscope.commands.predict import Failure, find_sources
from praxiscope.data.check import inspect
from praxiscope.data.manifest import load_records
from praxiscope.errors import ArgumentError, DataError, VideoError
from praxiscope.video.opening import open_video
from praxiscope.video.sources import meant
from support import write_clip

COLONS = (
    "12:30.mp4",
    "file:x.mp4",
    "c:x.avi",
    "concat:a|b.mp4",
    "http:x.mp4",
    "pipe:1.mp4",
    "a:b/1.mp4",
    "%d:1.mp4",
)
ADDRESSES = (
    "http://a.b/c.mp4",
    "https://a.b/c?d=e",
    "rtsp://cam",
    "file:///x.mp4",
    "s3://bucket/x.mp4",
    "pipe:0",
)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_clip(path, 0, frames=6)
    return path


def place(clip: Path, *names: str | Path) -> None:
    for name in map(Path, names):
        name.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, name)


@pytest.mark.parametrize("name", COLONS)
def test_a_relative_name_with_a_colon_is_a_file(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    place(clip, name)
    truth = open_video(clip).frames([0, 5])
    video = open_video(name)
    assert len(video) == 6
    assert np.array_equal(video.frames([0, 5]), truth)
    assert np.array_equal(open_video(tmp_path / name).frames([0, 5]), truth)
    assert find_sources([name]) == [name]


def test_folders_and_lists_of_names_with_colons_are_packed_and_get_flow(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [f"s/a:b/{name}" for name in ("1.mp4", "12:30.mp4")] + [
        f"s/http:/{name}" for name in ("1.mp4", "2.mp4")
    ]
    place(clip, *names)
    manifest = load_records("s", random_split=False)
    assert manifest.classes == ("a:b", "http:")
    assert inspect(manifest, full=True, workers=1).whole
    Path("list:1.csv").write_text("path,label\n" + "".join(f"{name},x\n" for name in names))
    listed = load_records("list:1.csv", random_split=False)
    assert {str(record.path) for record in listed.records} == set(names)
    assert pack("s", "p:q", format=PackFormat(16), workers=1).clips == 4
    assert inspect(load_records("p:q", random_split=False), full=True, workers=1).whole
    assert extract_flow("p:q", "f:g", StoreOptions(method="dis", workers=1)).clips == 4


@pytest.mark.parametrize("name", [*ADDRESSES, "-", "0", "1", "camera 0"])
def test_what_is_no_file_is_explained_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert meant(name) is not None
    with pytest.raises(VideoError, match=re.escape(str(Path(name)))):
        open_video(name)
    with pytest.raises(ArgumentError, match=re.escape(name)) as caught:
        find_sources([name])
    assert "\n" not in str(caught.value)
    with pytest.raises((DataError, ArgumentError), match=r"LAYOUT:FOLDER|'pipe'"):
        load_records(name)


@pytest.mark.parametrize("name", ["gone.mp4", "a/b.mp4", "12:30.mp4", "C:x.mp4", "100.mp4", "2024"])
def test_a_plain_mistake_is_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert meant(name) is None
    with pytest.raises(VideoError, match=re.escape(name)):
        open_video(name)
    with pytest.raises(ArgumentError, match=re.escape(name)):
        find_sources([name])


def test_a_file_may_have_the_name_of_a_camera(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place(clip, "0", "-")
    assert find_sources(["0", "-"]) == ["0", "-"]
    assert len(open_video("0")) == len(open_video("-")) == 6


def test_addresses_in_a_list_are_missing_and_named(clip: Path, tmp_path: Path) -> None:
    place(clip, tmp_path / "a.mp4", tmp_path / "b.mp4")
    (tmp_path / "l.csv").write_text("path,label\na.mp4,x\nhttps://a.b/c.mp4,x\nb.mp4,x\n")
    manifest = load_records(tmp_path / "l.csv", random_split=False)
    assert len(manifest.records) == 2
    assert len(manifest.missing) == 1
    assert "addresses" in manifest.notes[0]
    (tmp_path / "l.csv").write_text("path,label\nnone.mp4,x\nhttps://a.b/c.mp4,x\n")
    with pytest.raises(DataError, match="addresses"):
        load_records(tmp_path / "l.csv")


def test_a_broken_link_is_said_alike_everywhere(clip: Path, tmp_path: Path) -> None:
    place(clip, tmp_path / "red" / "1.mp4")
    link = tmp_path / "red" / "2.mp4"
    link.symlink_to("nowhere.mp4")
    with pytest.raises(VideoError, match=r"2\.mp4: .*\bnowhere\.mp4\b") as caught:
        open_video(link)
    (broken,) = inspect(load_records(tmp_path, random_split=False), workers=1).broken
    assert (broken.id, broken.problem) == ("red/2.mp4", caught.value.problem)
    assert find_sources([str(tmp_path), str(link)]) == [str(tmp_path / "red" / "1.mp4"), str(link)]


@pytest.mark.parametrize("source", [0, None, 1.5, [b"a.mp4"]])
def test_what_is_no_path_is_an_argument_s_error(source: object) -> None:
    with pytest.raises(ArgumentError, match=rf"\bpath\b.*{type(source).__name__}|{re.escape(repr(source))}"):
        open_video(source)  # type: ignore[arg-type]


def test_an_empty_name_is_not_the_folder_that_one_is_in(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clip.parent)
    with pytest.raises(ArgumentError, match="''"):
        find_sources([""])
    with pytest.raises(VideoError, match="''"):
        open_video("")
    with pytest.raises(DataError, match="''"):
        load_records("")


def test_no_file_has_a_zero_byte_in_its_name() -> None:
    with pytest.raises(VideoError, match=r"'a\\x00\.mp4'"):
        open_video("a\0.mp4")


def test_a_csv_is_no_source_of_predictions(clip: Path, tmp_path: Path) -> None:
    place(clip, tmp_path / "a.mp4")
    (tmp_path / "l.csv").write_text("path,label\na.mp4,x\n")
    with pytest.raises(ArgumentError, match=r"l\.csv.*\.txt"):
        find_sources([str(tmp_path / "l.csv")])


# Pictures


def pictures(folder: Path) -> dict[str, Path]:
    """A still picture in several formats."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8))
    made = {}
    for kind in ("jpg", "png", "bmp", "gif", "webp", "tiff", "ppm", "ico", "pcx", "avif"):
        made[kind] = folder / f"still.{kind}"
        image.save(made[kind])
    return made


def test_a_still_picture_is_refused_in_every_format_under_every_name(tmp_path: Path) -> None:
    folder = tmp_path / "red"
    folder.mkdir()
    for kind, path in pictures(tmp_path).items():
        shutil.copy(path, folder / f"{kind}.mp4")
        for name in (path, folder / f"{kind}.mp4"):
            with pytest.raises(VideoError, match="image"):
                open_video(name)
    report = inspect(load_records(tmp_path, random_split=False), workers=1)
    assert len(report.broken) == len(report.videos) == 10
    assert {video.problem for video in report.broken} == {"is an image, not a video"}


@pytest.mark.parametrize("kind", ["gif", "png"])
def test_an_animation_is_a_video(tmp_path: Path, kind: str) -> None:
    draw = np.random.default_rng(0)
    frames = [Image.fromarray(draw.integers(0, 255, (48, 64, 3), dtype=np.uint8)) for _ in range(3)]
    path = tmp_path / f"moving.{kind}"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    video = open_video(path)
    assert (len(video), video.width, video.height, video.duration_s) == (3, 64, 48, pytest.approx(0.3))
    if kind == "png":  # without loss
        assert np.array_equal(video.frames([2])[0].permute(1, 2, 0), np.asarray(frames[2]))


@pytest.mark.parametrize(("kind", "name"), [("jpg", "a.mjpeg"), ("jpg", "a.mp4"), ("png", "a.mp4")])
def test_pictures_one_after_the_other_in_a_file_are_a_video(tmp_path: Path, kind: str, name: str) -> None:
    content = pictures(tmp_path)[kind].read_bytes()
    (tmp_path / name).write_bytes(4 * content)
    assert len(open_video(tmp_path / name)) == 4
    (tmp_path / "one.mp4").write_bytes(content)
    with pytest.raises(VideoError, match="image"):
        open_video(tmp_path / "one.mp4")


def test_a_video_of_one_frame_is_a_video(tmp_path: Path) -> None:
    write_clip(tmp_path / "one.mp4", 0, frames=1)
    assert len(open_video(tmp_path / "one.mp4")) == 1


def test_the_case_of_pictures_is_refused(data_folder: Path) -> None:
    folder = data_folder / "cases" / "picture-as-video"
    for name in ("p.bmp", "pic.jpg", "pic.png", "thumb.mp4"):
        with pytest.raises(VideoError, match="image"):
            open_video(folder / name)


# Lists of paths


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_list_of_paths_may_be_in_these_encodings(clip: Path, tmp_path: Path, encoding: str) -> None:
    names = ["a.mp4", "b c.mp4", "ü.mp4", "#1.mp4", '"d".mp4']
    place(clip, *(tmp_path / name for name in names))
    lines = ["# mine", "a.mp4", '"b c.mp4"', " ü.mp4 \t", "", "#1.mp4", '"d".mp4', "'a.mp4'"]
    (tmp_path / "l.txt").write_bytes("\r\n".join(lines).encode(encoding))
    assert find_sources([str(tmp_path / "l.txt")]) == [str(tmp_path / name) for name in names]


def test_a_line_that_names_no_file_costs_only_itself(clip: Path, tmp_path: Path) -> None:
    place(clip, tmp_path / "a.mp4")
    (tmp_path / "l.list").write_text("a.mp4\nnone.mp4\nhttp://a.b/c.mp4\n" + "x" * 5000 + "\n")
    found = find_sources([str(tmp_path / "l.list")])
    assert found[0] == str(tmp_path / "a.mp4")
    failures = [item for item in found[1:] if isinstance(item, Failure)]
    assert [item.source[:8] for item in failures] == ["none.mp4", "http://a", "x" * 8]
    for line, item in enumerate(failures, start=2):
        assert item.error.startswith(f"{tmp_path / 'l.list'}, line {line}: ")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"some words\nof a letter\n", "l.txt, line 1: some words"),
        (b"a.mp4\t1\n", "l.txt, line 1: a.mp4"),
        (b"\n# nothing\n", "l.txt"),
        ("caf\u00e9.mp4\n".encode("cp1252"), "l.txt: not UTF-8"),
        (b"", "l.txt"),
    ],
)
def test_a_text_file_that_is_no_list_is_named(clip: Path, tmp_path: Path, content: bytes, says: str) -> None:
    place(clip, tmp_path / "a.mp4")
    (tmp_path / "l.txt").write_bytes(content)
    with pytest.raises((ArgumentError, DataError)) as caught:
        find_sources([str(tmp_path / "l.txt")])
    assert says in str(caught.value)


def test_the_case_of_list_encodings_is_read(data_folder: Path) -> None:
    folder = data_folder / "cases" / "list-encodings"
    for name in ("bom.txt", "u16.txt"):
        assert find_sources([str(folder / name)]) == [str(folder / "a.mp4")]


def test_the_case_of_colons_is_read(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data_folder / "cases" / "colon-in-name")
    for name in ("12:30.mp4", "file:x.mp4"):
        assert np.array_equal(open_video(name).frames([3]), open_video(Path(name).absolute()).frames([3]))
    report = inspect(load_records(".", random_split=False), workers=1)
    assert (report.whole, set(report.classes)) == (True, {"a:b", "c"})
