from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from praxiscope.data.csvfile import read_class_list, read_csv
from praxiscope.data.manifest import load_records
from praxiscope.data.textfile import numbered_lines, read_text
from praxiscope.errors import DataError

TEXT = "path,label\nü/a b.mp4,jümp\n\n王.mp4,走\n"


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [
        ("utf-8", b""),
        ("utf-8", codecs.BOM_UTF8),
        ("utf-16-le", b""),
        ("utf-16-le", codecs.BOM_UTF16_LE),
        ("utf-16-be", b""),
        ("utf-16-be", codecs.BOM_UTF16_BE),
        ("utf-32-le", codecs.BOM_UTF32_LE),
        ("utf-32-be", codecs.BOM_UTF32_BE),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_text_does_not_depend_on_encoding_mark_and_line_ends(
    tmp_path: Path, encoding: str, mark: bytes, end: str
) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(mark + TEXT.replace("\n", end).encode(encoding))
    assert read_text(path) == TEXT
    assert [(r.id, r.labels) for r in read_csv(path)] == [("ü/a b.mp4", ("jümp",)), ("王.mp4", ("走",))]


def test_a_class_list_may_be_in_utf_16(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_bytes("läuft\r\nspringt\r\n".encode("utf-16"))
    assert read_class_list(tmp_path / "classes.txt") == ("läuft", "springt")


def test_official_lists_may_be_in_utf_16(tmp_path: Path) -> None:
    for name, text in (
        ("classInd", "1 Punch\n2 Rowing\n"),
        ("trainlist01", "Punch/v_Punch_g08_c01.avi 1\nRowing/v_Rowing_g09_c01.avi 2\n"),
        ("testlist01", "Punch/v_Punch_g01_c01.avi\n"),
    ):
        (tmp_path / f"{name}.txt").write_bytes(text.replace("\n", "\r\n").encode("utf-16"))
    for name in ("v_Punch_g08_c01", "v_Rowing_g09_c01", "v_Punch_g01_c01"):
        (tmp_path / f"{name}.avi").touch()
    manifest = load_records(f"ucf101:{tmp_path}", split=1)
    assert [(r.labels, r.split) for r in manifest.records] == [
        (("Punch",), "train"), (("Rowing",), "train"), (("Punch",), "test"),
    ]  # fmt: skip


def test_lists_that_a_shell_joined_have_marks_inside(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_bytes(codecs.BOM_UTF8 + b"a\n" + codecs.BOM_UTF8 + b"b\n")
    assert numbered_lines(read_text(tmp_path / "l.txt")) == [(1, "a"), (2, "b")]


def test_lines_end_at_line_ends_alone(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("a\x0bb\u2028c\x85d \n\n e\n")
    assert numbered_lines(read_text(tmp_path / "l.txt")) == [(1, "a\x0bb\u2028c\x85d"), (3, "e")]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a\ncafé.mp4\n".encode("cp1252"), r".*UTF-8.*byte 5, line 2"),
        (bytes(range(256)) * 40, ".*UTF-8"),
        (b"a.mp4\nb\0.mp4\nc.mp4\n", ".*UTF-8.*zero bytes"),
        (codecs.BOM_UTF16_LE + b"a", ".*UTF-8"),
    ],
)
def test_other_encodings_are_one_line_with_the_place(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "l.txt").write_bytes(content)
    with pytest.raises(DataError, match=rf"l\.txt: {says}") as caught:
        read_text(tmp_path / "l.txt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["gone.txt", "folder"])
def test_what_cannot_be_opened_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=name):
        read_text(tmp_path / name)
