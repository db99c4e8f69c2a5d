"""Lists of segments: the project's own CSV, and the lists of GMDCSA24 with their odd separators."""

from __future__ import annotations

from pathlib import Path

import pytest

from praxiscope.data.layouts.gmdcsa24 import parse_actions
from praxiscope.data.manifest import load_records
from praxiscope.data.segments import segmented_videos
from praxiscope.errors import DataError


def listed(folder: Path, text: str) -> Path:
    for name in ("a", "b", "c"):
        (folder / f"{name}.mp4").touch()
    (folder / "list.csv").write_text(text)
    return folder / "list.csv"


def test_rows_of_one_file_are_the_segments_of_one_video(tmp_path: Path) -> None:
    path = listed(
        tmp_path,
        "path,label,start_s,end_s,split\nb.mp4,jump,3,4.5,test\na.mp4,wave,1,2,train\n"
        "b.mp4,wave|walk,0,3,test\nc.mp4,,0,9,test\nb.mp4,jump,7,,test\n",
    )
    videos = segmented_videos(load_records(path, random_split=False))
    assert [(video.id, video.split) for video in videos] == [
        ("b.mp4", "test"), ("a.mp4", "train"), ("c.mp4", "test"),
    ]  # fmt: skip
    assert videos[0].path == tmp_path / "b.mp4"
    assert videos[0].actions(10) == [(0, 3, "walk"), (0, 3, "wave"), (3, 4.5, "jump"), (7, 10, "jump")]
    assert videos[0].actions(6) == [(0, 3, "walk"), (0, 3, "wave"), (3, 4.5, "jump")]
    assert videos[2].actions(10) == []


def test_lists_without_times_and_videos_in_two_splits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="start,end"):
        segmented_videos(
            load_records(listed(tmp_path, "path,label\na.mp4,jump\nb.mp4,wave\n"), random_split=False)
        )
    text = "path,label,start,end,split\na.mp4,jump,0,1,train\na.mp4,jump,2,3,test\n"
    with pytest.raises(DataError, match=r"a\.mp4"):
        segmented_videos(load_records(listed(tmp_path, text), random_split=False))


@pytest.mark.parametrize(
    ("text", "actions"),
    [
        ("Sitting[0 to 1]; Sleeping[2 to 8]", [("Sitting", 0, 1), ("Sleeping", 2, 8)]),
        ("Standing[3.3 to 5];Walking[5 to 7]; ", [("Standing", 3.3, 5), ("Walking", 5, 7)]),
        ("Falling (SW)[1.8 to 5]:; Walking[0 to 1.8]", [("Falling (SW)", 1.8, 5), ("Walking", 0, 1.8)]),
        ("Falling (SW) [ 2.8 to 6]; Sitting [0 to 2.9]", [("Falling (SW)", 2.8, 6), ("Sitting", 0, 2.9)]),
        ("Falling (BW[5.9 to 10]; Walking[0 to 1]", [("Falling (BW)", 5.9, 10), ("Walking", 0, 1)]),
        ("Eating[0.9 4.6]", [("Eating", 0.9, 4.6)]),
        ("Standing[0 to 0.5; 4.2 to 6.5]", [("Standing", 0, 0.5), ("Standing", 4.2, 6.5)]),
        ("", []),
    ],
)
def test_odd_separators_of_actions_are_read(text: str, actions: list[tuple[str, float, float]]) -> None:
    assert parse_actions(text) == (actions, [])


def test_what_cannot_be_read_is_named_and_the_rest_kept() -> None:
    text = "Sitting[9.7 to 3]; Standing[0 to x; 4 to 6]; sleeping later; Walking[1 to 2] at the end"
    actions, unread = parse_actions(text)
    assert ("Standing", 4, 6) in actions
    assert actions[-1][1:] == (1, 2)
    assert unread[:2] == ["Sitting[9.7 to 3]", "Standing[0 to x]"]
    assert unread[-1] == "at the end"


def made_set(root: Path) -> Path:
    for subject, kind, text in (
        (1, "ADL", "01.mp4,08, Day, Shirt, Bed, Sitting[0 to 1]; Reading[0 to 1]; Sleeping[2 to 8]\n"),
        (
            2,
            "Fall",
            "01.mp4,5,Day,Shirt,Left, then right,Falling (SW)[2 to 1]; Sitting[0 to 2]\n02.mp4,1,,,,x\n",
        ),
    ):
        folder = root / f"Subject {subject}"
        (folder / kind).mkdir(parents=True)
        (folder / kind / "01.mp4").touch()
        head = "File Name,Length (seconds),Time of Recording,Attire,Description, Classes\n"
        (folder / f"{kind}.csv").write_text(head + text)
    return root


def test_gmdcsa24_lists_parts_with_their_actions_and_names_what_it_cannot_read(tmp_path: Path) -> None:
    made = load_records(f"gmdcsa24:{made_set(tmp_path)}", random_split=False)
    assert [(r.id, r.labels, r.group, r.split) for r in made.records] == [
        ("Subject 1/ADL/01.mp4@0-1", ("Sitting", "Reading"), "subject 1", None),
        ("Subject 1/ADL/01.mp4@2-8", ("Sleeping",), "subject 1", None),
        ("Subject 2/Fall/01.mp4@0-2", ("Sitting",), "subject 2", None),
    ]
    assert made.missing == ("Subject 2/Fall/02.mp4",)
    note = next(note for note in made.notes if "Falling (SW)" in note)
    assert note.startswith("Subject 2/Fall.csv")
    assert "line 2" in note
    assert "line 3" in note


def test_gmdcsa24_holds_out_a_subject(tmp_path: Path) -> None:
    root = made_set(tmp_path)
    for split in (2, "2", "Subject 2"):
        videos = segmented_videos(load_records(f"gmdcsa24:{root}", split=split, random_split=False))
        assert [video.split for video in videos] == ["train", "test"]
    for wrong in ("anna", 3):
        with pytest.raises(DataError, match=str(wrong)):
            load_records(f"gmdcsa24:{root}", split=wrong, random_split=False)


def test_gmdcsa24_reads_the_real_lists(data_folder: Path) -> None:
    made = load_records(f"gmdcsa24:{data_folder / 'segments'}", random_split=False)
    videos = segmented_videos(made)
    assert len(videos) == 9
    by_name = {video.id: video for video in videos}
    assert by_name["Subject 2/Fall/12.mp4"].actions() == [
        (0, 3.6, "Walking"), (3.5, 5.3, "Drinking"), (3.6, 6.9, "Standing"), (6.9, 12, "Falling (BW)"),
    ]  # fmt: skip
    assert any("Sitting[9.7 to 3]" in note and "line 7" in note for note in made.notes)


def test_segments_of_a_missing_video_are_counted_as_segments(tmp_path: Path) -> None:
    rows = [f"{name}.mp4,x,{start},{start + 1},train" for name in ("a", "b", "gone") for start in (0, 2)]
    path = listed(tmp_path, "\n".join(["path,label,start,end,split", *rows]))
    manifest = load_records(path, random_split=False)
    assert any(note.startswith("2 of 6 listed segments") and "gone.mp4" in note for note in manifest.notes)
