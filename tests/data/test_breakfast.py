"""Breakfast Actions as it is published: a folder for each person and camera, the activity in the file's name."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from praxiscope.data.layouts.breakfast import ACTIVITIES
from praxiscope.data.manifest import Manifest, load_records
from praxiscope.errors import DataError

ROOT = "BreakfastII_15fps_qvga_sync"


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def said(manifest: Manifest, phrase: str) -> bool:
    return any(phrase in note for note in manifest.notes)


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Every person's ten activities by one camera, and what else lies there."""
    for person in range(3, 55):
        touch(
            tmp_path / ROOT / f"P{person:02d}" / "cam01",
            *[f"P{person:02d}_{name}.avi" for name in ACTIVITIES],
        )
    touch(
        tmp_path / ROOT / "P03",
        "cam01/P03_tea.avi.labels", "cam01/P03_tea.txt", "cam01/P03_cereals.xml",
        "cam02/P03_tea.avi", "webcam01/P03_tea.avi", "webcam02/P03_TEA.AVI",
        "stereo/P03_tea_ch0.avi", "stereo/P03_tea_ch1.avi", "stereo/P03_milk_ch0.avi",
    )  # fmt: skip
    return tmp_path


@pytest.mark.parametrize(
    ("split", "first", "last"), [(1, 3, 15), ("2", 16, 28), (3, 29, 41), (4, 42, 54), (None, 3, 15)]
)
def test_each_split_tests_thirteen_people(
    videos: Path, split: int | str | None, first: int, last: int
) -> None:
    manifest = load_records(f"breakfast:{videos / ROOT}", split=split)
    assert {r.group for r in manifest.of("test")} == {f"P{person:02d}" for person in range(first, last + 1)}
    assert {r.group for r in manifest.of("train")} == {
        f"P{person:02d}" for person in range(3, 55) if not first <= person <= last
    }
    assert manifest.classes == ACTIVITIES
    assert said(manifest, "split 1 of 4") == (split is None)
    assert not said(manifest, "left out")


def test_label_person_and_camera_come_from_the_names(videos: Path) -> None:
    manifest = load_records(f"Breakfast:{videos}", split=2)  # the folder above the set's own
    by_id = {record.id: record for record in manifest.records}
    assert len(by_id) == 520 + 6
    assert Counter(record.labels for record in manifest.records)["tea",] == 52 + 5
    for name in ("cam02/P03_tea.avi", "webcam02/P03_TEA.AVI", "stereo/P03_tea_ch1.avi"):
        record = by_id[f"{ROOT}/P03/{name}"]
        assert (record.labels, record.group, record.split) == (("tea",), "P03", "train")
        assert record.path == videos / ROOT / "P03" / name
    assert said(manifest, "1 stereo recording")


def test_videos_of_other_names_are_told_and_left_out(videos: Path) -> None:
    touch(
        videos / ROOT,
        "P03/cam01/P03_toast.avi", "P02/cam01/P02_tea.avi", "P55/cam01/P55_tea.avi", "P03/stereo/P03_tea_ch2.avi",
        "intro.mp4",
    )  # fmt: skip
    manifest = load_records(f"breakfast:{videos}", split=1)
    assert len(manifest.records) == 526
    assert said(manifest, "PXX_ACTIVITY (P03 to P54)")


def test_activities_that_are_not_there_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "P03/cam01/P03_tea.avi.pxv", "P03/cam01/P03_milk.mp4", "P20/cam01/P20_tea.avi",
          "P20/cam01/P20_milk.avi")  # fmt: skip
    manifest = load_records(f"breakfast:{tmp_path}", split=1)
    assert manifest.classes == ("milk", "tea")
    assert {r.id for r in manifest.of("test")} == {"P03/cam01/P03_tea.avi", "P03/cam01/P03_milk.mp4"}
    assert said(manifest, "8 of the 10 activities")


def test_what_breakfast_has_not_is_refused(videos: Path, tmp_path: Path) -> None:
    for split in (0, 5, "s1"):
        with pytest.raises(DataError, match=r"breakfast.* 1 to 4"):
            load_records(f"breakfast:{videos}", split=split)
    with pytest.raises(DataError, match="annotations"):
        load_records(f"breakfast:{videos}", annotations=tmp_path)
    touch(videos / ROOT / "P03" / "cam01", "P03_tea.mp4")
    with pytest.raises(DataError, match=r"P03_tea\.avi.*P03_tea\.mp4"):
        load_records(f"breakfast:{videos}")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="none"):
        load_records(f"breakfast:{tmp_path / 'none'}")
