"""``praxiscope index``, ``retrieve``, ``bench retrieval`` and ``trajectories`` on small files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from narrow import narrow_resnets
from praxiscope.commands import trajectories as commands
from praxiscope.errors import ArgumentError
from praxiscope.trajectories.settings import Extraction, TrajectorySettings
from praxiscope.trajectories.store import StoredTrajectories
from praxiscope.trajectories.videos import extract_video
from praxiscope.types import VideoRecord
from support import Call, write_clip, write_moving

SMALL = ("--backbone", "resnet10", "--layer", "layer2@64", "--words", "4", "--dims", "4", "--workers", "1")


@pytest.fixture(autouse=True)
def _narrow() -> Iterator[None]:
    with narrow_resnets():
        yield


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    for number in range(4):
        write_clip(
            tmp_path / "videos" / "ab"[number % 2] / f"{number}.mp4", 40 * number, frames=12, seed=number
        )
    return tmp_path / "videos"


def image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def test_videos_are_indexed_and_found(call: Call, videos: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    made = call("index", videos, "--out", library, *SMALL, "--json")
    assert made.code == 0, made.err
    assert json.loads(made.out)["items"] == 4
    found = call(
        "retrieve", library, videos / "a" / "0.mp4", "--top", 3, "--json", "--page", tmp_path / "found.html"
    )
    assert found.code == 0, found.err
    hits = json.loads(found.out)
    assert len(hits) == 3
    assert [hit["similarity"] for hit in hits] == sorted((hit["similarity"] for hit in hits), reverse=True)
    assert all(Path(hit["path"]).is_file() for hit in hits)
    assert "a/0.mp4" not in [hit["id"] for hit in hits]
    assert "<img" in (tmp_path / "found.html").read_text()
    within = call("retrieve", library, "a/0.mp4", "--within", videos / "a" / "2.mp4", "--json")
    assert json.loads(within.out)[0].keys() == {"start_s", "end_s", "similarity"}
    assert call("retrieve", library, "a/0.mp4").code == 0
    again = call("index", videos, "--out", library, "--layer", "layer3@64")
    assert (again.code, len(again.err.strip().splitlines())) == (2, 1)
    assert "--layer" in again.err
    assert call("index", videos, "--out", library).code == 0
    assert call("index", "--out", library, "--remove", "a/0.mp4").code == 0
    assert call("retrieve", library, "a/0.mp4").code == 1


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("index", "{videos}", "--out", "{new}", "--window", "3s", "--stride", "2s"), 2),
        (("index", "{videos}", "--out", "{new}", "--layer", "layer2@7"), 2),
        (("index", "{videos}", "--out", "{new}", "--search", "fast"), 2),
        (("index", "{videos}", "--out", "{videos}"), 2),
        (("index", "--out", "{new}"), 2),
        (("index", "{new}", "--out", "{new}"), 1),
        (("retrieve", "{new}", "{videos}/a/0.mp4"), 1),
        (("retrieve", "{videos}", "{videos}/a/0.mp4"), 1),
        (("retrieve", "{new}", "x", "--page", "found.txt"), 2),
        (("bench", "retrieval", "{videos}"), 2),
        (("bench", "retrieval", "dvds:{videos}"), 2),
        (("bench", "retrieval", "dvd:{videos}"), 1),
        (("bench", "retrieval", "{videos}", "--of", "colour"), 2),
        (("bench", "retrieval", "{videos}", "--of", "label", "--whiten", "maybe"), 2),
        (("trajectories", "{new}", "--out", "{videos}"), 1),
        (("trajectories", "{videos}", "--out", "{videos}"), 2),
    ],
)
def test_bad_usage_is_one_line(
    call: Call, videos: Path, tmp_path: Path, words: tuple[str, ...], code: int
) -> None:
    places = {"videos": str(videos), "new": str(tmp_path / "new")}
    result = call(*(word.format(**places) for word in words))
    assert (result.code, result.out) == (code, ""), result.err
    assert len(result.err.strip().splitlines()) == 1
    assert not (tmp_path / "new").exists()


def test_a_set_of_retrieval_is_measured_by_layer_and_dimensions(call: Call, tmp_path: Path) -> None:
    for number in range(4):
        image(tmp_path / "covers" / "Reference" / f"{number:03}.jpg", number)
        image(tmp_path / "covers" / "Canon" / f"{number:03}.jpg", number)
    for number in range(12):
        image(tmp_path / "other" / f"{number:03}.jpg", 50 + number)
    words = ("--backbone", "resnet10", "--learn-from", tmp_path / "other", "--words", "3", "--json")
    rows = (
        "--layer",
        "layer2",
        "--layer",
        "layer1@64+layer3@96",
        "--size",
        "64",
        "--dims",
        "0",
        "--dims",
        "5",
    )
    result = call("bench", "retrieval", f"dvd:{tmp_path / 'covers'}", *words, *rows, "--whiten", "both")
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert [(row["layers"], row["dims"], row["whitened"]) for row in found] == [
        (layers, dims, whitened)
        for layers, vlad in (("layer2@64", 3 * 16), ("layer1@64+layer3@96", 3 * 8 + 3 * 32))
        for dims, whitened in ((vlad, False), (5, True), (5, False))
    ]
    assert all(row["map"] == row["recall_1"] == 1 for row in found if not row["whitened"])  # the same images
    assert {row["queries"] for row in found} == {4}
    assert len(found[0]["average_precision"]) == 4


def test_trajectories_are_stored_and_kept(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        write_moving(tmp_path / "videos" / "ab"[number % 2] / f"{number}.mp4", 2, number, frames=17)
    (tmp_path / "videos" / "a" / "bad.mp4").write_bytes(b"no video")
    words = ("trajectories", tmp_path / "videos", "--out", tmp_path / "idt", "--workers", "1", "--json")
    made = call(*words)
    assert made.code == 0, made.err
    summary = json.loads(made.out)
    assert (summary["clips"], summary["skipped"], summary["already"]) == (3, 1, 0)
    assert summary["trajectories"] > 0
    store = StoredTrajectories(tmp_path / "idt")
    path = tmp_path / "videos" / "a" / "0.mp4"
    expected = extract_video(VideoRecord("x", path, ()), Extraction())
    stored = store.clip("a/0.mp4")
    assert np.array_equal(stored.info, expected.info)
    assert np.allclose(stored.hog, expected.hog, atol=1e-3)
    extracted: list[str] = []
    original = commands.extract_video

    def watched(record: VideoRecord, *rest: object) -> object:
        extracted.append(record.id)
        return original(record, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(commands, "extract_video", watched)
    write_moving(path, -2, 9, frames=17)
    assert json.loads(call(*words).out)["already"] == 2
    assert sorted(extracted) == ["a/0.mp4", "a/bad.mp4"]
    assert call(*words, "--most", "5").code == 2  # other settings


def test_of_many_trajectories_some_are_drawn(tmp_path: Path) -> None:
    write_moving(tmp_path / "a.mp4", 2, 0, frames=17)
    record = VideoRecord("a", tmp_path / "a.mp4", ())
    whole = extract_video(record, Extraction())
    few = extract_video(record, Extraction(most=len(whole) // 3))
    assert len(few) == len(whole) // 3
    rows = {tuple(row) for row in whole.track.tolist()}
    assert {tuple(row) for row in few.track.tolist()} <= rows
    assert np.array_equal(few.info, extract_video(record, Extraction(most=len(whole) // 3)).info)
    for wrong in ({"short_side": 8}, {"most": 0}):
        with pytest.raises(ArgumentError):
            Extraction(TrajectorySettings(), **wrong)


def test_nothing_is_learned_from_queries_or_copies_of_them(call: Call, videos: Path, tmp_path: Path) -> None:
    shutil.copytree(videos, tmp_path / "copies")
    small = ("--backbone", "resnet10", "--layer", "layer2@64", "--words", "2", "--dims", "0", "--frames", "2")
    for data in (videos, tmp_path / "copies"):
        result = call("bench", "retrieval", videos, "--of", "label", "--learn-from", data, *small)
        assert (result.code, result.out) == (2, ""), result.err
        assert "queries" in result.err.strip().splitlines()[-1]
