"""Sports-1M: videos by their ids, several labels, missing videos, and lists that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from praxiscope.data.layouts.sports1m import video_key
from praxiscope.data.manifest import load_records
from praxiscope.errors import DataError

ADDRESS = "http://www.youtube.com/watch?v="


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five files of seven listed videos, and a file that is not listed; ids that differ in case only."""
    videos = tmp_path / "videos"
    for name in (
        "Abcdefghij1.mp4",
        "abcdefghij1.webm",
        "deep/K-c_efghij2.mkv",
        "A title-x [Kbcdefghij3].mp4",
    ):
        (videos / name).parent.mkdir(parents=True, exist_ok=True)
        (videos / name).write_bytes(b"x")
    (videos / "Some title-dbcdefghij4.flv").write_bytes(b"x")
    (videos / "holiday.mp4").write_bytes(b"x")
    lists = tmp_path / "original"
    lists.mkdir()
    (lists / "train_partition.txt").write_text(
        f"{ADDRESS}Abcdefghij1 2\r\n{ADDRESS}abcdefghij1 0,2\r\n{ADDRESS}K-c_efghij2 1\r\n{ADDRESS}missing0001 0\r\n"
    )
    (lists / "test_partition.txt").write_text(
        f"{ADDRESS}Kbcdefghij3 2, 0\n\n{ADDRESS}dbcdefghij4 1\n{ADDRESS}missing0002 4\n"
    )
    (tmp_path / "labels.txt").write_text("beach soccer\nshot put\nüben\nunused\nnowhere\n")
    return videos


def test_videos_are_found_by_their_ids_and_have_all_of_their_labels(folder: Path) -> None:
    manifest = load_records(f"sports1m:{folder}")
    assert {record.id: (record.split, record.labels) for record in manifest.records} == {
        "Abcdefghij1.mp4": ("train", ("üben",)),
        "abcdefghij1.webm": ("train", ("beach soccer", "üben")),
        "deep/K-c_efghij2.mkv": ("train", ("shot put",)),
        "A title-x [Kbcdefghij3].mp4": ("test", ("üben", "beach soccer")),
        "Some title-dbcdefghij4.flv": ("test", ("shot put",)),
    }
    assert manifest.classes == ("beach soccer", "shot put", "üben")
    assert manifest.missing == ("missing0001", "missing0002")
    assert not manifest.multi_label
    # A training video counts once for each label, with softmax.
    assert sorted(record.labels for record in manifest.to_train()) == [
        ("beach soccer",),
        ("shot put",),
        ("üben",),
        ("üben",),
    ]
    notes = " ".join(manifest.notes)
    assert all(text in notes for text in ("2 of 7", "missing0001", "holiday.mp4", "2 of the 5"))


def test_a_label_that_is_empty_is_named_by_its_line(folder: Path) -> None:
    (folder.parent / "labels.txt").write_text("beach soccer\n \nüben\nunused\nnowhere\n")
    with pytest.raises(DataError, match=r"labels\.txt, line 2\b"):
        load_records(f"sports1m:{folder}")


def test_without_the_list_of_labels_classes_are_numbers(folder: Path) -> None:
    (folder.parent / "labels.txt").unlink()
    manifest = load_records(f"sports1m:{folder}", annotations=folder.parent / "original")
    assert manifest.classes == ("0", "1", "2")
    assert any("labels.txt" in note for note in manifest.notes)


@pytest.mark.parametrize(
    ("address", "key"),
    [
        (f"{ADDRESS}UwB5IIjAkwk", "UwB5IIjAkwk"),
        ("https://www.youtube.com/watch?feature=related&v=-wB5_IjAkwk&t=3", "-wB5_IjAkwk"),
        ("https://youtu.be/UwB5IIjAkwk", "UwB5IIjAkwk"),
        ("http://www.youtube.com/embed/UwB5IIjAkwk/", "UwB5IIjAkwk"),
        ("UwB5IIjAkwk", "UwB5IIjAkwk"),
    ],
)
def test_the_id_is_read_from_any_form_of_address(address: str, key: str) -> None:
    assert video_key(address) == key


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("http://x/watch?v=a", "line 2"),
        (f"{ADDRESS}a x", "line 2"),
        (f"{ADDRESS}a 5", "class 5"),
        ("/ 1", "line 2"),
    ],
)
def test_a_damaged_line_is_named(folder: Path, line: str, named: str) -> None:
    (folder.parent / "original" / "train_partition.txt").write_text(f"{ADDRESS}Abcdefghij1 2\n{line}\n")
    with pytest.raises(DataError, match=named):
        load_records(f"sports1m:{folder}")


def test_lists_that_contradict_the_files_or_each_other_are_reported(folder: Path) -> None:
    with (folder.parent / "original" / "test_partition.txt").open("a") as file:
        file.write(f"{ADDRESS}K-c_efghij2 1\n")
    manifest = load_records(f"sports1m:{folder}")
    assert {record.split for record in manifest.records if "K-c_" in record.id} == {"train"}
    assert any("both lists" in note and "K-c_efghij2" in note for note in manifest.notes)
    (folder / "deep" / "Abcdefghij1.avi").write_bytes(b"x")
    with pytest.raises(DataError, match=r"Abcdefghij1.*Abcdefghij1"):
        load_records(f"sports1m:{folder}")
    with pytest.raises(DataError, match="split"):
        load_records(f"sports1m:{folder}", split=1)
    with pytest.raises(DataError, match="train_partition"):
        load_records(f"sports1m:{folder / 'deep'}")


def test_the_published_labels_are_read(folder: Path, data_folder: Path) -> None:
    published = (data_folder / "annotations" / "sports1m" / "labels.txt").read_bytes()
    (folder.parent / "original" / "labels.txt").write_bytes(published)
    manifest = load_records(f"sports1m:{folder}")
    names = published.decode().splitlines()
    assert len(names) == 487
    assert manifest.classes == tuple(name.strip() for name in names[:3])
