from __future__ import annotations

from pathlib import Path

import pytest

from praxiscope.data.manifest import Manifest, load_records, write_csv
from praxiscope.errors import ArgumentError, DataError, UnknownNameError
from praxiscope.types import VideoRecord


def _touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def _many(root: Path, *folders: str, count: int = 10) -> Path:
    return _touch(root, *[f"{folder}/{i}.mp4" for folder in folders for i in range(count)])


def _csv(folder: Path, text: str) -> Path:
    (folder / "list.csv").write_text(text)
    return folder / "list.csv"


def _said(manifest: Manifest, phrase: str) -> bool:
    return any(phrase in note for note in manifest.notes)


def test_class_folders_become_classes_with_a_seeded_split(tmp_path: Path) -> None:
    manifest = load_records(_many(tmp_path, "walk", "run"), seed=4)
    assert manifest.classes == ("run", "walk")
    assert (len(manifest.of("train")), len(manifest.of("val")), len(manifest.of("test"))) == (16, 0, 4)
    assert manifest.records[0].id == "run/0.mp4"
    assert manifest.numbers(manifest.records[-1]) == (1,)
    assert not manifest.multi_label
    assert manifest.name == tmp_path.name
    assert _said(manifest, "seed 4: 16 train, 4 test")


def test_hidden_and_other_files_are_passed_over_and_folders_searched_through(tmp_path: Path) -> None:
    _many(tmp_path, "run")
    _touch(
        tmp_path,
        "run/.x.mp4",
        "run/notes.txt",
        ".git/a/x.mp4",
        "run/deep/er/Y.AVI",
        "run/.h/z.mp4",
        "run/p.avi.pxv",
    )
    manifest = load_records(tmp_path)
    found = {r.id for r in manifest.records} - {f"run/{i}.mp4" for i in range(10)}
    assert found == {"run/deep/er/Y.AVI", "run/p.avi"}


def test_a_packed_copy_keeps_its_id_and_may_not_lie_beside_the_original(tmp_path: Path) -> None:
    _many(tmp_path, "run")
    _touch(tmp_path, "run/a.avi.pxv")
    assert "run/a.avi" in {r.id for r in load_records(tmp_path).records}
    _touch(tmp_path, "run/a.avi")
    with pytest.raises(DataError, match=r"packed.*run/a\.avi"):
        load_records(tmp_path)


def test_an_id_that_is_given_twice_is_told_with_its_column(tmp_path: Path) -> None:
    _touch(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "list.csv").write_text("path,label,id\na.mp4,run,one\nb.mp4,walk,one\n")
    with pytest.raises(DataError, match=r"column id.*one"):
        load_records(tmp_path / "list.csv")


def test_a_set_may_be_listed_without_a_split(tmp_path: Path) -> None:
    manifest = load_records(_many(tmp_path, "a", "b"), random_split=False)
    assert {r.split for r in manifest.records} == {None}
    assert manifest.of("test") == ()
    assert not _said(manifest, "Random split")


def test_split_folders_are_the_split(tmp_path: Path) -> None:
    _many(tmp_path, "train/a", "train/b")
    _touch(tmp_path, "validation/a/v.mp4", "test/b/t.mp4", "test/a/t.mp4")
    manifest = load_records(tmp_path)
    assert manifest.classes == ("a", "b")
    assert [r.id for r in manifest.of("val")] == ["validation/a/v.mp4"]
    assert [r.id for r in manifest.of("test")] == ["test/a/t.mp4", "test/b/t.mp4"]
    assert not _said(manifest, "Random split")


def test_a_class_may_be_called_test(tmp_path: Path) -> None:
    assert load_records(_many(tmp_path, "test", "rest")).classes == ("rest", "test")
    assert load_records(_many(tmp_path / "only", "train", "test")).classes == ("test", "train")


def test_a_packed_folder_is_read_from_its_list(tmp_path: Path) -> None:
    _many(tmp_path, "x", count=2)
    records = [VideoRecord(f"x/{i}.mp4", tmp_path / f"x/{i}.mp4", (c,), split=s, group="g") for i, c, s in
               [(0, "b", "train"), (1, "a", "train")]]  # fmt: skip
    write_csv(tmp_path / "praxiscope.csv", records, ["b", "a"])
    manifest = load_records(tmp_path)
    assert list(manifest.records) == records
    assert manifest.classes == ("b", "a")
    assert manifest.root == tmp_path


def test_a_list_gives_labels_splits_and_groups(tmp_path: Path) -> None:
    _touch(tmp_path, "1.mp4", "2.mp4", "3.mp4")
    manifest = load_records(
        _csv(tmp_path, "path,label,split,group\n1.mp4,a|b,train,g\n2.mp4,b,train,h\n3.mp4,a,test,g\n")
    )
    assert manifest.multi_label
    assert manifest.numbers(manifest.records[0]) == (0, 1)
    assert manifest.name == "list"
    assert _said(manifest, "g (1 train, 1 test)")


def test_the_training_videos_decide_whether_labels_are_learned_together(tmp_path: Path) -> None:
    _touch(tmp_path, *[f"{i}.mp4" for i in range(4)])
    text = "path,label,split\n0.mp4,a,train\n1.mp4,b,train\n2.mp4,a|b,test\n3.mp4,,test\n"
    manifest = load_records(_csv(tmp_path, text))
    assert not manifest.multi_label
    assert manifest.to_train() == manifest.of("train")
    together = load_records(_csv(tmp_path, text.replace("0.mp4,a,", "0.mp4,b|a,")))
    assert together.multi_label
    assert together.to_train() == together.of("train")


def test_a_random_split_of_a_list_goes_by_its_groups(tmp_path: Path) -> None:
    _touch(tmp_path, *[f"{i}.mp4" for i in range(12)])
    rows = "".join(f"{i}.mp4,{'ab'[i % 2]},g{i // 4}\n" for i in range(12))
    manifest = load_records(_csv(tmp_path, f"path,label,group\n{rows}"), test_fraction=0.33)
    assert len({r.group for r in manifest.of("test")}) == 1
    assert len(manifest.of("test")) == 4
    assert _said(manifest, "(by group)")


def test_parts_of_one_file_are_different_videos(tmp_path: Path) -> None:
    _touch(tmp_path, "1.mp4")
    manifest = load_records(_csv(tmp_path, "path,label,start,end\n1.mp4,a,0,2\n1.mp4,b,2,4\n"))
    assert [r.id for r in manifest.records] == ["1.mp4@0-2", "1.mp4@2-4"]


def test_missing_files_are_named_and_left_out(tmp_path: Path) -> None:
    _touch(tmp_path, "1.mp4", "2.mp4")
    manifest = load_records(_csv(tmp_path, "path,label\n1.mp4,a\ngone.mp4,a\n2.mp4,b\n"))
    assert manifest.missing == ("gone.mp4",)
    assert len(manifest.records) == 2
    assert _said(manifest, "gone.mp4")


def test_small_classes_and_a_single_class_are_noted(tmp_path: Path) -> None:
    assert _said(load_records(_many(tmp_path, "videos")), "'videos'")
    manifest = load_records(_many(tmp_path, "few", count=3))
    assert _said(manifest, "few (2)")


def test_a_folder_without_videos_is_left_out_with_a_note(tmp_path: Path) -> None:
    _touch(_many(tmp_path, "a", "b"), "lists/readme.txt", "stray.mp4")
    manifest = load_records(tmp_path)
    assert manifest.classes == ("a", "b")
    assert _said(manifest, "lists ")
    assert _said(manifest, "stray.mp4")


def test_a_set_of_test_videos_alone_is_allowed(tmp_path: Path) -> None:
    manifest = load_records(_many(tmp_path, "test/a", "test/b"))
    assert len(manifest.of("test")) == 20
    assert _said(manifest, "has no training videos")


def test_nothing_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        load_records(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"CLASS|class"):
        load_records(tmp_path)
    _touch(tmp_path, "flat/x.mp4", "flat/y.mp4")
    with pytest.raises(DataError, match="2 videos"):
        load_records(tmp_path / "flat")
    with pytest.raises(DataError, match=r"x\.mp4"):
        load_records(tmp_path / "flat" / "x.mp4")
    with pytest.raises(DataError, match=r"u.mp4, v.mp4"):
        load_records(_csv(tmp_path, "path,label\nu.mp4,a\nv.mp4,b\n"))


def test_a_class_without_training_videos_is_an_error(tmp_path: Path) -> None:
    _many(tmp_path, "a", "b")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"'empty' \(0 videos\)"):
        load_records(tmp_path)


def test_a_class_whose_files_are_all_missing_is_an_error(tmp_path: Path) -> None:
    _touch(tmp_path, "1.mp4")
    with pytest.raises(DataError, match=r"'b' \(2 missing\).*2.mp4"):
        load_records(_csv(tmp_path, "path,label\n1.mp4,a\n2.mp4,b\n3.mp4,b\n"))


def test_a_label_that_is_only_tested_is_an_error(tmp_path: Path) -> None:
    _many(tmp_path, "train/a", "train/b")
    _many(tmp_path, *[f"test/{c}" for c in "acdefghi"], count=2)
    with pytest.raises(DataError, match=r"7 classes, 'c' \(2 .*'g' \(2 .*…"):
        load_records(tmp_path)


def test_duplicates_are_an_error(tmp_path: Path) -> None:
    _touch(tmp_path, "1.mp4", "d/2.mp4")
    with pytest.raises(DataError, match=r"1\.mp4 \(2 times\)"):
        load_records(_csv(tmp_path, "path,label\n1.mp4,a\nd/../1.mp4,b\n"))


def test_a_split_for_some_videos_only_is_an_error(tmp_path: Path) -> None:
    _touch(tmp_path, "1.mp4", "2.mp4")
    with pytest.raises(DataError, match=r"1 of 2 videos .*2\.mp4"):
        load_records(_csv(tmp_path, "path,label,split\n1.mp4,a,train\n2.mp4,a,\n"))


def test_a_class_list_may_not_name_classes_without_videos(tmp_path: Path) -> None:
    _touch(tmp_path, "1.mp4")
    (tmp_path / "classes.txt").write_text("a\nb\n")
    with pytest.raises(DataError, match=r"'b' \(0 videos\)"):
        load_records(_csv(tmp_path, "path,label\n1.mp4,0\n"))


def test_arguments_for_known_sets_are_refused_elsewhere(tmp_path: Path) -> None:
    _many(tmp_path, "a", "b")
    with pytest.raises(ArgumentError, match="split=1"):
        load_records(tmp_path, split=1)
    with pytest.raises(ArgumentError, match="annotations="):
        load_records(tmp_path, annotations=tmp_path)


def test_an_unknown_layout_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"'ufc101'.*'ucf101'"):
        load_records(f"ufc101:{tmp_path}")
    with pytest.raises(DataError, match="folder"):
        load_records(f"ucf101:{tmp_path}/nowhere")


def test_a_label_or_split_that_the_set_lacks_is_refused(tmp_path: Path) -> None:
    manifest = load_records(_many(tmp_path, "a", "b"))
    with pytest.raises(DataError, match="'c'"):
        manifest.numbers(VideoRecord("v", Path("v"), ("c",)))
    with pytest.raises(ArgumentError, match=r"'train'.*'val'.*'test'.*'dev'"):
        manifest.of("dev")
