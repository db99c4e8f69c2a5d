from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from praxiscope.data.csvfile import read_class_list, read_csv, write_csv
from praxiscope.errors import DataError
from praxiscope.types import VideoRecord


def _csv(folder: Path, text: str) -> Path:
    path = folder / "list.csv"
    path.write_bytes(text.encode())
    return path


def test_paths_are_relative_to_the_list_and_cells_are_read(tmp_path: Path) -> None:
    path = _csv(
        tmp_path, "path,label,start,end,split,group\na/x.mp4,run|jump,1.5,4,train,anna\nb.mp4,run,,,,\n"
    )
    first, second = read_csv(path)
    assert first == VideoRecord(
        "a/x.mp4@1.5-4", tmp_path / "a" / "x.mp4", ("run", "jump"), 1.5, 4.0, "train", "anna"
    )
    assert second == VideoRecord("b.mp4", tmp_path / "b.mp4", ("run",))


def test_line_ends_byte_marks_blank_lines_and_blanks_do_not_matter(tmp_path: Path) -> None:
    path = _csv(tmp_path, "\ufeffLabel , PATH\r\n\r\n walk , a.mp4\r\nrun,b.mp4\r\n")
    assert [(r.id, r.labels) for r in read_csv(path)] == [("a.mp4", ("walk",)), ("b.mp4", ("run",))]


def test_an_absolute_path_stays_and_quotes_hold_commas(tmp_path: Path) -> None:
    path = _csv(tmp_path, f'path,label\n{tmp_path}/far.mp4,run\n"a,b.mp4","go, slowly"\n')
    first, second = read_csv(path)
    assert first.path == tmp_path / "far.mp4"
    assert (second.id, second.labels) == ("a,b.mp4", ("go, slowly",))


def test_splits_may_be_spelled_in_other_usual_ways(tmp_path: Path) -> None:
    path = _csv(tmp_path, "path,label,split\na,x,Training\nb,x,validation\nc,x,TEST\n")
    assert [r.split for r in read_csv(path)] == ["train", "val", "test"]


def test_a_test_video_may_show_no_class(tmp_path: Path) -> None:
    path = _csv(tmp_path, "path,label,split\na,x,train\nb,,test\n")
    records = read_csv(path)
    assert [r.labels for r in records] == [("x",), ()]
    write_csv(tmp_path / "again.csv", records)
    assert read_csv(tmp_path / "again.csv") == records


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"list\.csv"),
        ("path,label\n", r"list\.csv"),
        ("a.mp4,run\nb.mp4,walk\n", "path,label"),
        ("path,label,spilt\na,b,train\n", "'spilt'.*'split'"),
        ("path;label\na;b\n", "semicolons.*commas"),
        ("path\tlabel\na\tb\n", "tabs"),
        ("path,split\na,train\n", "'label'"),
        ("path,label,label\na,b,c\n", "label"),
        ("path,label\na,b,c\n", "line 2: 3 .* 2 "),
        ("path,label\na,b\n\n,c\n", "line 4: .*path"),
        ("path,label\na,\n", "line 2: .*label"),
        ("path,label\na,run|\n", "line 2: .*label"),
        ("path,label,split\na,,train\n", "line 2: .*label"),
        ("path,label,split\na,|,test\n", "line 2: .*label"),
        ("path,label\na,run|run\n", "line 2: .*label"),
        ("path,label,start\na,b,soon\n", "line 2: start .*'soon'"),
        ("path,label,start\na,b,-1\n", "start .*-1"),
        ("path,label,end\na,b,nan\n", "end .*nan"),
        ("path,label,start,end\na,b,3,2\n", r"end \(2 s\).*start \(3 s\)"),
        ("path,label,end\na,b,0\n", "end .*start"),
        ("path,label,split\na,b,dev\n", "line 2: split .*train, val or test.*'dev'"),
        ('path,label\n"a,b\n', "CSV"),
    ],
)
def test_a_bad_list_names_file_line_and_reason(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_csv(_csv(tmp_path, text))
    assert "list.csv" in str(caught.value)


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(b"path,label\n\xff\xfe\x00,run\n")
    with pytest.raises(DataError, match="UTF-8"):
        read_csv(path)


def test_numbers_are_names_without_a_class_list(tmp_path: Path) -> None:
    assert [r.labels for r in read_csv(_csv(tmp_path, "path,label\na,10\nb,9\n"))] == [("10",), ("9",)]


def test_numbers_are_positions_in_the_class_list_beside(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("walk\nrun\n")
    assert [r.labels for r in read_csv(_csv(tmp_path, "path,label\na,1\nb,0|1\n"))] == [
        ("run",),
        ("walk", "run"),
    ]


@pytest.mark.parametrize("number", ["2", "-1"])
def test_a_number_out_of_range_names_line_number_and_range(tmp_path: Path, number: str) -> None:
    (tmp_path / "classes.txt").write_text("walk\nrun\n")
    with pytest.raises(DataError, match=rf"line 3: .*{number}.* 0 to 1"):
        read_csv(_csv(tmp_path, f"path,label\na,1\nb,{number}\n"))


def test_names_are_looked_up_in_the_class_list(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("walk\nrun\n")
    assert [r.labels for r in read_csv(_csv(tmp_path, "path,label\na,run\n"))] == [("run",)]
    with pytest.raises(DataError, match=r"line 2: .*'wlak'.*classes\.txt.*'walk'"):
        read_csv(_csv(tmp_path, "path,label\na,wlak\n"))


def test_classes_may_be_named_by_numbers(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("1\n2\n3\n")
    assert [r.labels for r in read_csv(_csv(tmp_path, "path,label\na,3\n"))] == [("3",)]


@pytest.mark.parametrize(("text", "message"), [("\n", r"classes\.txt"), ("a\nb\na\n", ": a")])
def test_a_bad_class_list_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        read_class_list(tmp_path / "classes.txt")


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    records = [
        VideoRecord(
            "a/x, y.mp4@0.1-0.30000000000000004",
            tmp_path / "a" / "x, y.mp4",
            ("run", "jümp"),
            0.1,
            0.1 + 0.2,
            "val",
            'g "1"',
        ),
        VideoRecord("b.mp4", tmp_path / "b.mp4", ("run",), split="train"),
        VideoRecord("b.mp4@-2", tmp_path / "b.mp4", ("run",), end_s=2.0),
    ]
    write_csv(tmp_path / "list.csv", records)
    assert read_csv(tmp_path / "list.csv") == records
    assert [path.name for path in tmp_path.iterdir()] == ["list.csv"]


def test_a_video_elsewhere_is_written_with_its_whole_path(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    write_csv(tmp_path / "lists" / "l.csv", [VideoRecord("a", tmp_path / "a.mp4", ("run",))])
    assert read_csv(tmp_path / "lists" / "l.csv")[0].path == tmp_path / "a.mp4"


def test_the_order_of_classes_is_written_beside_the_list(tmp_path: Path) -> None:
    write_csv(tmp_path / "l.csv", [VideoRecord("a", tmp_path / "a.mp4", ("run",))], ["walk", "run"])
    assert read_class_list(tmp_path / "classes.txt") == ("walk", "run")


@pytest.mark.parametrize("label", ["a|b", " a", ""])
def test_a_label_that_a_list_cannot_hold_is_refused(tmp_path: Path, label: str) -> None:
    with pytest.raises(DataError, match="CSV"):
        write_csv(tmp_path / "l.csv", [VideoRecord("a", tmp_path / "a.mp4", (label,))])
    assert not (tmp_path / "l.csv").exists()


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        ('v.mp4, "r"', ("v.mp4", "r")),
        (' "v.mp4" ,"r"', ("v.mp4", "r")),
        ('v.mp4,\t"r" \t', ("v.mp4", "r")),
        ('v.mp4,\u00a0"r"\r', ("v.mp4", "r")),
        ('"a, b.mp4" , "jump, high"', ("a, b.mp4", "jump, high")),
        ('v.mp4, "say ""hi"", twice"', ("v.mp4", 'say "hi", twice')),
        ('"a, ""b"", c.mp4",r', ('a, "b", c.mp4', "r")),
        ('v.mp4, r 5" wide', ("v.mp4", 'r 5" wide')),
        ('"a\n ,"" ,b.mp4", r', ('a\n ," ,b.mp4', "r")),
    ],
)
def test_blanks_around_a_quoted_cell_are_no_part_of_it(
    tmp_path: Path, line: str, cells: tuple[str, str]
) -> None:
    path = _csv(tmp_path, f"path, label\n{line}\nlast.mp4,r\n")
    first, second = read_csv(path)
    assert (first.path, first.labels) == (tmp_path / cells[0], (cells[1],))
    assert (second.id, second.labels) == ("last.mp4", ("r",))


def test_the_case_of_a_blank_before_a_quote_has_one_class(data_folder: Path) -> None:
    folder = data_folder / "cases" / "csv-blank-before-quote"
    assert {record.labels for record in read_csv(folder / "list.csv")} == {("r",)}
    assert [record.labels for record in read_csv(folder / "comma.csv")] == [("jump, high",)] * 2


def test_ids_that_do_not_follow_from_the_paths_survive(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    records = [
        VideoRecord("red/0.mp4", tmp_path / "videos" / "red" / "0.mp4", ("red",)),
        VideoRecord("red/1.mp4@1-2", tmp_path / "videos" / "red" / "1.mp4", ("red",), 1.0, 2.0),
    ]
    write_csv(tmp_path / "store" / "list.csv", records)
    assert read_csv(tmp_path / "store" / "list.csv") == records
    write_csv(tmp_path / "videos.csv", [replace(records[0], id="videos/red/0.mp4")])
    assert (tmp_path / "videos.csv").read_text().splitlines()[0] == "path,label,start,end,split,group"
