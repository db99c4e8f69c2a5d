from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from praxiscope.data.layouts import LAYOUTS
from praxiscope.data.layouts.ucf101 import ucf101
from praxiscope.data.manifest import Manifest, load_records
from praxiscope.errors import DataError


def _touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def _lists(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.txt").write_bytes(text.encode())
    return folder


def _said(manifest: Manifest, phrase: str) -> bool:
    return any(phrase in note for note in manifest.notes)


UCF_LISTS = {
    "classInd": "1 Archery\r\n2 HandstandPushups\r\n3 YoYo\r\n",
    "trainlist02": "Archery/v_Archery_g01_c01.avi 1\r\nHandstandPushups/v_HandStandPushups_g02_c01.avi 2\r\n"
    "YoYo/v_YoYo_g20_c01.avi 3\r\n\r\n",
    "testlist02": "Archery/v_Archery_g08_c01.avi\r\nHandstandPushups/v_HandStandPushups_g09_c01.avi\r\n",
}
UCF_FILES = (
    "Archery/v_Archery_g01_c01.avi",
    "Archery/v_Archery_g08_c01.avi",
    "HandstandPushups/v_HandStandPushups_g02_c01.avi",
    "HandstandPushups/v_HandStandPushups_g09_c01.avi",
)


def test_nine_layouts_are_known() -> None:
    assert LAYOUTS.names() == [
        "breakfast", "gmdcsa24", "hmdb51", "move4mnist", "something-something", "sports1m", "thumos14", "ucf101",
        "weizmann",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "place",
    ["videos/ucfTrainTestlist", "videos", "annotations/ucf101_splits", "ucfTrainTestlist", "elsewhere"],
)
def test_ucf101_follows_the_official_lists_wherever_they_lie(tmp_path: Path, place: str) -> None:
    _touch(tmp_path / "videos", *UCF_FILES, "Archery/v_Archery_g01_c99.avi")
    lists = _lists(tmp_path / place, **UCF_LISTS)
    annotations = lists if place == "elsewhere" else None
    manifest = load_records(f"ucf101:{tmp_path / 'videos'}", split=2, annotations=annotations)
    assert manifest.classes == ("Archery", "HandstandPushups")
    assert [(r.id, r.split, r.group) for r in manifest.records] == [
        (UCF_FILES[0], "train", "Archery/g01"),
        (UCF_FILES[2], "train", "HandstandPushups/g02"),
        (UCF_FILES[1], "test", "Archery/g08"),
        (UCF_FILES[3], "test", "HandstandPushups/g09"),
    ]
    assert manifest.missing == ("YoYo/v_YoYo_g20_c01.avi",)
    assert _said(manifest, "1 of the 3 classes")
    assert _said(manifest, "YoYo/v_YoYo_g20_c01.avi")
    assert _said(manifest, "Archery/v_Archery_g01_c99.avi")


def test_ucf101_finds_clips_that_are_packed_flat_or_converted(tmp_path: Path) -> None:
    _lists(tmp_path / "ucfTrainTestlist", **UCF_LISTS)
    names = [Path(name) for name in UCF_FILES]
    _touch(tmp_path / "packed", *[f"{name}.pxv" for name in UCF_FILES])
    _touch(tmp_path / "flat", *[name.name for name in names])
    _touch(tmp_path / "converted", *[str(name.with_suffix(".mp4")) for name in names])
    for folder in ("packed", "flat", "converted"):
        manifest = load_records(f"ucf101:{tmp_path / folder}", split=2)
        assert Counter((r.labels[0], r.split) for r in manifest.records) == Counter(
            (label, split) for label in ("Archery", "HandstandPushups") for split in ("train", "test")
        )
    assert {r.id for r in load_records(f"ucf101:{tmp_path / 'packed'}", split=2).records} == set(UCF_FILES)


def test_ucf101_without_lists_goes_by_group_numbers(tmp_path: Path) -> None:
    _touch(tmp_path, *UCF_FILES, "Archery/other.avi")
    first = load_records(f"ucf101:{tmp_path}")
    assert {r.id for r in first.of("test")} == {UCF_FILES[0], UCF_FILES[2]}
    assert first.classes == ("Archery", "HandstandPushups")
    assert _said(first, "groups 1 to 7")
    assert _said(first, "split 1")
    assert _said(first, "Archery/other.avi")
    assert {r.id for r in load_records(f"ucf101:{tmp_path}", split="2").of("test")} == {
        UCF_FILES[1],
        UCF_FILES[3],
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trainlist02": "v_Archery_g01_c01.avi 1\n"}, r"trainlist02\.txt, line 1: .*CLASS/NAME\.avi"),
        ({"testlist02": "\r\nBowling/v_Bowling_g01_c01.avi\r\n"}, r"testlist02\.txt, line 2: "),
        ({"classInd": "Archery\n"}, r"classInd\.txt, line 1: "),
    ],
)
def test_damaged_ucf101_lists_are_named(tmp_path: Path, change: dict[str, str], message: str) -> None:
    _touch(tmp_path, *UCF_FILES)
    lists = _lists(tmp_path / "lists", **(UCF_LISTS | change))
    with pytest.raises(DataError, match=message):
        load_records(f"ucf101:{tmp_path}", split=2, annotations=lists)


def test_an_incomplete_folder_of_ucf101_lists_is_named(tmp_path: Path) -> None:
    _touch(tmp_path, *UCF_FILES)
    lists = _lists(tmp_path / "lists", **{k: v for k, v in UCF_LISTS.items() if k != "testlist02"})
    with pytest.raises(DataError, match=r"testlist02\.txt"):
        load_records(f"ucf101:{tmp_path}", split=2, annotations=lists)
    with pytest.raises(DataError, match=r"trainlist03\.txt"):
        load_records(f"ucf101:{tmp_path}", split=3, annotations=lists)


@pytest.mark.parametrize("layout", ["ucf101", "hmdb51"])
@pytest.mark.parametrize("split", [0, 4, "a", "²"])
def test_there_are_three_official_splits(tmp_path: Path, layout: str, split: int | str) -> None:
    with pytest.raises(DataError, match=f"{layout}.* 1 to 3"):
        load_records(f"{layout}:{tmp_path}", split=split)


def test_two_videos_of_one_name_are_refused(tmp_path: Path) -> None:
    _touch(tmp_path, *UCF_FILES, "Archery/v_Archery_g01_c01.mp4")
    with pytest.raises(DataError, match=r"v_Archery_g01_c01\.(avi|mp4) .*v_Archery_g01_c01\.(avi|mp4)"):
        load_records(f"ucf101:{tmp_path}")


HMDB_FILES = (
    "Film_X_brush_hair_u_nm_np1_ba_goo_0",
    "April_09_brush_hair_h_cm_np2_fr_bad_12",
    "A_run_u_nm_np1_ba_med_0",
)


def test_hmdb51_marks_are_train_test_and_unused(tmp_path: Path) -> None:
    _lists(
        tmp_path / "test_train_splits",
        brush_hair_test_split1=f"{HMDB_FILES[0]}.avi 1 \n{HMDB_FILES[1]}.avi 2 \n",
        run_test_split1=f"{HMDB_FILES[2]}.avi 1 \nB_run_u_nm_np1_ba_med_0.avi 0 \nC_run_u_nm_np1_ba_med_1.avi 2 \n",
        run_test_split2="unread\n",
    )
    _touch(
        tmp_path / "videos",
        *[f"brush_hair/{name}.avi" for name in HMDB_FILES[:2]],
        f"run/{HMDB_FILES[2]}.avi",
        "run/B_run_u_nm_np1_ba_med_0.avi",
    )
    manifest = load_records(f"hmdb51:{tmp_path / 'videos'}", split=1)
    assert [(r.labels[0], r.split, r.group) for r in manifest.records] == [
        ("brush_hair", "train", "brush_hair/Film_X"),
        ("brush_hair", "test", "brush_hair/April_09"),
        ("run", "train", "run/A"),
    ]
    assert manifest.missing == ("run/C_run_u_nm_np1_ba_med_1.avi",)
    assert _said(manifest, "B_run_u_nm_np1_ba_med_0.avi")
    with pytest.raises(DataError, match=r"run_test_split2\.txt, line 1: .*0, 1 or 2"):
        load_records(f"hmdb51:{tmp_path / 'videos'}", split=2)
    with pytest.raises(DataError, match=r"CLASS_test_split3\.txt"):
        load_records(f"hmdb51:{tmp_path / 'videos'}", split=3)


def test_weizmann_leaves_out_a_person_by_name_or_number(tmp_path: Path) -> None:
    _touch(
        tmp_path, "walk/lena_walk1.avi", "walk/lena_walk2.avi", "walk/ido_walk.avi",
        "wave2/ido_wave2.avi", "lena_wave2.avi.pxv", "eli_dance.avi",
    )  # fmt: skip
    manifest = load_records(f"weizmann:{tmp_path}", split="lena")
    assert manifest == load_records(f"weizmann:{tmp_path}", split=6)
    assert manifest.classes == ("walk", "wave2")
    assert {r.id for r in manifest.of("test")} == {
        "walk/lena_walk1.avi", "walk/lena_walk2.avi", "lena_wave2.avi",
    }  # fmt: skip
    assert {r.group for r in manifest.of("train")} == {"ido"}
    assert len(manifest.missing) == 90 - 4
    assert _said(manifest, "eli_dance.avi")


@pytest.mark.parametrize("split", ["anna", 0, 10, "-1"])
def test_weizmann_names_its_people(tmp_path: Path, split: int | str) -> None:
    _touch(tmp_path, "walk/ido_walk.avi")
    with pytest.raises(DataError, match="daria, denis"):
        load_records(f"weizmann:{tmp_path}", split=split)
    with pytest.raises(DataError, match=r"moshe.*ido"):
        load_records(f"weizmann:{tmp_path}", split="moshe")


def test_a_set_with_one_split_takes_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"split.*annotations"):
        load_records(f"move4mnist:{tmp_path}", split=1)
    with pytest.raises(DataError, match="praxiscope dataset move4mnist"):
        load_records(f"move4mnist:{tmp_path}")


def test_real_ucf101_clips_split_as_published(data_folder: Path) -> None:
    for split in (1, 2, 3):
        manifest = load_records(f"ucf101:{data_folder / 'ucf101_9'}", split=split)
        assert len(manifest.classes) == 9
        assert (len(manifest.of("train")), len(manifest.of("test"))) == (162, 63)
        groups = {int(r.group.rpartition("g")[2]) for r in manifest.of("test") if r.group}
        assert groups == set(range(7 * split - 6, 7 * split + 1))
        assert len(manifest.missing) == 13320 - 225


@pytest.mark.parametrize("split", [1, 2, 3])
def test_the_rule_without_lists_is_the_official_split(data_folder: Path, tmp_path: Path, split: int) -> None:
    lists = data_folder / "annotations" / "ucf101_splits"
    names = [
        line.split()[0]
        for side in ("train", "test")
        for line in (lists / f"{side}list{split:02d}.txt").read_text().split("\n")
        if line.strip()
    ]
    _touch(tmp_path, *names)
    listed, ruled = ucf101(tmp_path, split, lists), ucf101(tmp_path, split)
    assert len(listed.records) == 13320
    assert listed.classes is not None
    assert len(listed.classes) == 101
    assert ruled.classes == listed.classes
    assert sorted(map(repr, listed.records)) == sorted(map(repr, ruled.records))


@pytest.mark.parametrize("split", [1, 2, 3])
def test_real_hmdb51_lists_are_read_whole_and_keep_sources_together(
    data_folder: Path, tmp_path: Path, split: int
) -> None:
    lists = data_folder / "annotations" / "hmdb51_splits"
    for path in lists.glob(f"*_test_split{split}.txt"):
        label = path.name.partition("_test_split")[0]
        _touch(tmp_path, *[f"{label}/{line.split()[0]}" for line in path.read_text().splitlines()])
    manifest = load_records(f"hmdb51:{tmp_path}", split=split, annotations=lists)
    assert len(manifest.classes) == 51
    assert Counter(r.split for r in manifest.records) == {"train": 51 * 70, "test": 51 * 30}
    assert manifest.missing == ()
    assert not _said(manifest, "groups")


def test_the_real_weizmann_set_is_complete(data_folder: Path) -> None:
    manifest = load_records(f"weizmann:{data_folder / 'weizmann'}", split="shahar")
    assert (len(manifest.of("train")), len(manifest.of("test"))) == (80, 10)
    assert len(manifest.classes) == 10
    assert manifest.missing == ()
    assert manifest.notes == ()
