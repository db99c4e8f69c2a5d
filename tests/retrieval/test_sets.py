"""The published protocols as layouts, on folders that the tests make."""

from __future__ import annotations

from pathlib import Path

import pytest

from praxiscope.errors import ArgumentError, DataError, UnknownNameError
from praxiscope.retrieval.sets import Query, RetrievalSet, by_label, find_retrieval_set, images_below


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def ids(found: RetrievalSet, numbers: frozenset[int]) -> list[str]:
    return sorted(found.items[number].id for number in numbers)


def answers(found: RetrievalSet) -> dict[str, tuple[list[str], list[str]]]:
    """Positives and junk of each query, by ids."""
    return {
        found.items[query.item].id: (ids(found, query.positives), ids(found, query.junk))
        for query in found.queries
    }


def test_photographs_of_dvds_search_the_covers(tmp_path: Path) -> None:
    touch(tmp_path, "Reference/001.jpg", "Reference/002.jpg", "Canon/001.jpg", "Palm/002.jpg", "Palm/003.jpg")
    found = find_retrieval_set(f"dvd:{tmp_path}")
    assert answers(found) == {
        "Canon/001.jpg": (["Reference/001.jpg"], []),
        "Palm/002.jpg": (["Reference/002.jpg"], []),
    }
    assert ids(found, frozenset(found.searched)) == ["Reference/001.jpg", "Reference/002.jpg"]


def test_covers_of_dvds_search_their_photographs_in_the_way_of_holidays(tmp_path: Path) -> None:
    touch(tmp_path, "Reference/001.jpg", "Canon/001.jpg", "Palm/001.jpg", "Palm/002.jpg", "Reference/004.jpg")
    found = find_retrieval_set(f"dvd-groups:{tmp_path}")
    assert answers(found) == {"Reference/001.jpg": (["Canon/001.jpg", "Palm/001.jpg"], ["Reference/001.jpg"])}
    assert len(found.searched) == 5


def test_the_first_image_of_a_group_of_holidays_searches_the_others(tmp_path: Path) -> None:
    touch(
        tmp_path / "jpg", "100000.jpg", "100001.jpg", "100002.jpg", "100100.jpg", "100101.jpg", "100201.jpg"
    )
    touch(tmp_path / "jpg", "100202.jpg", "cover.jpg")
    (tmp_path / "holidays_images.dat").write_text("100000.jpg\n100200.jpg\n")
    found = find_retrieval_set(f"holidays:{tmp_path}")
    assert answers(found) == {
        "jpg/100000.jpg": (["jpg/100001.jpg", "jpg/100002.jpg"], ["jpg/100000.jpg"]),
        "jpg/100100.jpg": (["jpg/100101.jpg"], ["jpg/100100.jpg"]),
    }
    assert found.missing == ("100200.jpg",)
    assert "100200.jpg" in found.notes[0]


def test_the_lists_of_oxford_name_good_ok_and_junk_images(tmp_path: Path) -> None:
    images, lists = tmp_path / "images", tmp_path / "lists"
    touch(
        images, "all_souls_000013.jpg", "all_souls_000001.jpg", "all_souls_000002.jpg", "radcliffe_000003.jpg"
    )
    lists.mkdir()
    (lists / "all_souls_1_query.txt").write_text("oxc1_all_souls_000013 136.5 34.1 648.5 955.7\n")
    (lists / "all_souls_1_good.txt").write_text("all_souls_000013\nall_souls_000026\n")
    (lists / "all_souls_1_ok.txt").write_text("all_souls_000001\n")
    (lists / "all_souls_1_junk.txt").write_text("all_souls_000002\n")
    found = find_retrieval_set(f"oxford:{images}", lists)
    assert answers(found) == {
        "all_souls_000013.jpg": (
            ["all_souls_000001.jpg", "all_souls_000013.jpg"],
            ["all_souls_000002.jpg"],
        )
    }
    assert found.missing == ("all_souls_000026",)
    with pytest.raises(DataError, match="annotations"):
        find_retrieval_set(f"paris:{images}")


def test_videos_search_those_of_their_label_or_group(tmp_path: Path) -> None:
    lines = ["path,label,group", *(f"{name}.avi,{label},{group}" for name, label, group in ROWS)]
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    touch(tmp_path, *(f"{name}.avi" for name, _, _ in ROWS))
    assert answers(by_label(str(tmp_path / "list.csv"))) == {
        "a.avi": (["b.avi"], ["a.avi"]),
        "b.avi": (["a.avi"], ["b.avi"]),
    }
    assert answers(by_label(str(tmp_path / "list.csv"), "group")) == {
        "b.avi": (["c.avi"], ["b.avi"]),
        "c.avi": (["b.avi"], ["c.avi"]),
    }


ROWS = (("a", "run", "1"), ("b", "run", "2"), ("c", "walk", "2"))


def test_what_is_no_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="holidays"):
        find_retrieval_set(f"holiday:{tmp_path}")
    with pytest.raises(ArgumentError, match="LAYOUT"):
        find_retrieval_set(str(tmp_path))
    with pytest.raises(DataError, match="no such folder"):
        find_retrieval_set(f"dvd:{tmp_path / 'none'}")
    with pytest.raises(DataError, match="no query"):
        find_retrieval_set(f"dvd:{tmp_path}")
    with pytest.raises(ArgumentError, match="class"):
        by_label(str(tmp_path), "class")


def test_images_are_found_by_their_suffix_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "b.JPG", "a/c.png", "a/d.txt", ".e.jpg")
    assert [item.id for item in images_below(tmp_path)] == ["a/c.png", "b.JPG"]
    assert Query(0, frozenset({1})).junk == frozenset()
