"""Labels written in two ways: what is found, and what is left in peace."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from praxiscope.data.labels import SimilarLabels, nearest_label, similar_labels
from praxiscope.data.manifest import load_records


def pairs(**clips: int) -> list[tuple[str, str]]:
    return [(found.rare, found.common) for found in similar_labels(clips)]


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("Archrey", "Archery"),  # changed places
        ("Archry", "Archery"),
        ("Archeryy", "Archery"),
        ("Arckery", "Archery"),
        ("archrey", "Archery"),
        ("jugling bals", "JugglingBalls"),
        ("PlayinGuitar", "PlayingGuitar"),
        ("wlak", "walk"),
        ("jum", "jump"),
        ("runs", "run"),
        ("brushes", "brush"),
        ("carry body", "carry bodies"),
        ("golf_swnig", "GolfSwing"),
        ("LongJupm", "LongJump"),
    ],
)
@pytest.mark.parametrize("count", [1, 2])
def test_a_slip_of_one_or_two_clips_is_found(slip: str, meant: str, count: int) -> None:
    clips = {slip: count, meant: 100, "Something": 90}
    assert similar_labels(clips) == [SimilarLabels(slip, meant, count, 100)]
    assert similar_labels({slip: 3, meant: 100}) == []
    assert nearest_label(slip, [meant, "Something"]) == meant


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Archery", "archery"),
        ("SkyDiving", "sky_diving"),
        ("sky diving", "sky-diving"),
        ("sky diving", "skydiving "),
        ("take-1", "take 1"),
        ("caf\u00e9", unicodedata.normalize("NFD", "caf\u00e9")),
    ],
)
def test_the_same_spelling_is_found_however_many_clips(one: str, other: str) -> None:
    assert similar_labels({one: 40, other: 50}) == [SimilarLabels(one, other, 40, 50)]
    assert similar_labels({one: 1, other: 1}) == [SimilarLabels(*sorted((one, other)), 1, 1)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SkyDiving", "Diving"),
        ("hit", "sit"),
        ("walk", "talk"),
        ("kick", "pick"),
        ("push", "pushup"),
        ("PullUps", "PushUps"),
        ("PlayingGuitar", "PlayingSitar"),
        ("take 1", "take 2"),
        ("A001", "A002"),
        ("speed_a", "speed_b"),
        ("shoot_ball", "shoot_bow"),
        ("left", "right"),
        ("-1", "1"),
        ("turn -30", "turn 30"),
    ],
)
def test_names_of_two_things_are_left_in_peace(one: str, other: str) -> None:
    assert similar_labels({one: 1, other: 100}) == []
    assert similar_labels({one: 100, other: 100}) == []


def test_close_names_with_clips_and_names_that_are_all_rare_are_left_in_peace() -> None:
    assert pairs(pour=30, pours=40) == []
    assert pairs(pour=2, pours=2) == []
    assert pairs(pour=2, pours=3) == [("pour", "pours")]


def test_the_classes_of_the_usual_sets_are_left_in_peace(data_folder: Path) -> None:
    lists = data_folder / "annotations"
    ucf = (lists / "ucf101_splits" / "classInd.txt").read_text().split()[1::2]
    hmdb = sorted(
        {path.name.split("_test_split")[0] for path in (lists / "hmdb51_splits").glob("*_split1.txt")}
    )
    assert (len(ucf), len(hmdb)) == (101, 51)
    for names in (ucf, hmdb):
        for rare in names:  # even where one class has next to nothing
            assert similar_labels({name: 1 if name == rare else 100 for name in names}) == [], rare


def test_notes_of_a_set_name_both_labels_and_their_clips(tmp_path: Path) -> None:
    for label, count in (("Archery", 8), ("Archrey", 1), ("Diving", 8), ("SkyDiving", 8)):
        (tmp_path / label).mkdir()
        for clip in range(count):
            (tmp_path / label / f"{clip}.mp4").touch()
    said = [note for note in load_records(tmp_path).notes if "Archrey" in note and "Archery" in note]
    assert len(said) == 1
    assert "(1)" in said[0]
    assert "(8)" in said[0]
