"""Libraries: what is found, what an update does, and that readers see the old or the new content."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import praxiscope.commands.index_update as updates
from narrow import narrow_resnets
from praxiscope.commands.index import index, remove_items
from praxiscope.commands.index_options import IndexOptions
from praxiscope.commands.retrieve import moments, retrieve
from praxiscope.errors import ArgumentError, DataError, TrainingError
from praxiscope.retrieval.encode_items import Reading, encode_item
from praxiscope.retrieval.encoder import load_encoder
from praxiscope.retrieval.learning import Learning
from praxiscope.retrieval.library import Library
from praxiscope.retrieval.page import page
from praxiscope.retrieval.state import ENCODER, is_library, read_state
from praxiscope.types import VideoRecord
from support import write_clip

OPTIONS = IndexOptions(
    backbone="resnet10",
    layers=("layer2@64",),
    learning=Learning(words=4, dims=6, samples=2000),
    reading=Reading(fps=10.0, window_s=0.4, stride_s=0.2),
    workers=1,
    device="cpu",
)


@pytest.fixture(scope="module", autouse=True)
def _narrow() -> Any:
    with narrow_resnets():
        yield


def image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(small).resize((80, 60), Image.Resampling.BICUBIC).save(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, _narrow: Any) -> Path:
    """Data with six images and three videos, and their library."""
    root = tmp_path_factory.mktemp("retrieval")
    for number in range(6):
        image(root / "data" / "images" / f"{number}.png", number)
    for number in range(3):
        write_clip(root / "data" / "videos" / f"{number}.mp4", 40 * number, frames=30)
    index(root / "data", root / "library", OPTIONS)
    return root


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / "data", tmp_path / "data")
    shutil.copytree(made / "library", tmp_path / "library")
    return tmp_path


def test_an_item_is_found_by_itself_and_left_out_of_its_own_answer(made: Path) -> None:
    library = Library(made / "library")
    assert len(library) == 9
    for item in library.items:
        first = library.search(library.vectors_of(item.id)[0], top=1)[0]
        assert (first.item.id, first.whole) == (item.id, True)
        assert first.similarity == pytest.approx(1, abs=1e-5)
    found = retrieve(made / "library", made / "data" / "images" / "2.png", top=20)
    assert len(found.hits) == 8
    assert "images/2.png" not in [hit.item.id for hit in found.hits]
    by_id = retrieve(library, "images/2.png", top=20)
    assert [hit.item.id for hit in by_id.hits] == [hit.item.id for hit in found.hits]


def test_copies_of_the_query_are_found(copy: Path) -> None:
    shutil.copy(copy / "data" / "images" / "2.png", copy / "data" / "images" / "same.png")
    index(copy / "data", copy / "library", IndexOptions(workers=1))
    shutil.copy(copy / "data" / "images" / "2.png", copy / "outside.png")
    for query, found in (
        (copy / "data" / "images" / "2.png", {"images/same.png"}),
        ("images/2.png", {"images/same.png"}),
        (copy / "outside.png", {"images/2.png", "images/same.png"}),
    ):
        hits = retrieve(copy / "library", query, top=20).hits
        assert {hit.item.id for hit in hits if hit.similarity > 0.9999} == found


def test_rows_are_those_of_the_encoder(made: Path) -> None:
    library, record = Library(made / "library"), VideoRecord("x", made / "data" / "videos" / "1.mp4", ())
    encoded = encode_item(record, load_encoder(made / "library" / ENCODER), Reading(**library.state.reading))
    assert torch.allclose(library.vectors_of("videos/1.mp4"), encoded.vectors, atol=1e-5)
    assert np.allclose(library.places_of("videos/1.mp4").numpy(), encoded.place_s)
    assert library.thumbs("videos/1.mp4") == list(encoded.thumbs)
    assert library.vectors_of("videos/1.mp4").norm(dim=1).tolist() == pytest.approx(
        [1] * len(encoded.vectors)
    )


def test_search_is_that_of_all_cosines(made: Path) -> None:
    library = Library(made / "library")
    rows = {item.id: library.vectors_of(item.id) for item in library.items}
    query = torch.nn.functional.normalize(torch.randn(6, generator=torch.Generator().manual_seed(0)), dim=0)
    expected = sorted(rows, key=lambda id: -float((rows[id] @ query).max()))
    hits = library.search(query, top=9)
    assert [hit.item.id for hit in hits] == expected
    assert hits[0].similarity == pytest.approx(float((rows[expected[0]] @ query).max()), abs=1e-5)


def test_a_moment_of_a_video_is_found(made: Path) -> None:
    film = made / "data" / "videos" / "2.mp4"
    library = Library(made / "library")
    start_s, end_s = library.places_of("videos/2.mp4")[3].tolist()
    best = moments(library, film, film, start_s=start_s, end_s=end_s, top=3)
    assert best[0].start_s <= start_s + 0.2
    assert best[0].similarity > 0.9
    ends = sorted((one.start_s, one.end_s) for one in best)
    assert all(a[1] <= b[0] for a, b in pairwise(ends))
    same = moments(library, film, "videos/2.mp4", start_s=start_s, end_s=end_s, top=3)
    assert [one.start_s for one in same] == [one.start_s for one in best]


def test_an_update_encodes_only_what_changed(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert index(copy / "data", copy / "library", OPTIONS).kept == 9  # the data were moved
    library = Library(copy / "library")
    assert {library.path_of(item) for item in library.items} == {
        copy / "data" / item.id for item in library.items
    }
    encoded: list[str] = []
    original = updates.encode_job

    def watched(job: Any) -> Any:
        encoded.extend(record.id for record in job.records)
        return original(job)

    monkeypatch.setattr(updates, "encode_job", watched)
    image(copy / "data" / "images" / "new.png", 77)
    image(copy / "data" / "images" / "0.png", 78)
    (copy / "data" / "images" / "5.png").unlink()
    summary = index(copy / "data", copy / "library", OPTIONS)
    assert sorted(encoded) == ["images/0.png", "images/new.png"]
    assert (summary.added, summary.changed, summary.removed, summary.kept) == (1, 1, 1, 7)
    library = Library(copy / "library")
    assert "images/5.png" not in library
    assert "images/new.png" in library
    encoded.clear()
    again = index(copy / "data", copy / "library", OPTIONS)
    assert (encoded, again.kept) == ([], 9)
    names = {path.name for path in (copy / "library" / "blocks").iterdir()}
    assert names == set(read_state(copy / "library").blocks)


@pytest.mark.parametrize("when", ["while encoding", "before the list is replaced"])
def test_a_killed_update_leaves_the_old_content_and_is_continued(
    copy: Path, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = copy / "new"
    index(copy / "data", library, OPTIONS)
    before = {item.id: item.mark for item in Library(library).items}
    for number in range(40):
        image(copy / "data" / "more" / f"{number}.png", 100 + number)
    image(copy / "data" / "images" / "0.png", 78)

    class Killed(BaseException):
        pass

    original, jobs = updates.encode_job, []

    def dying(job: Any) -> Any:
        if len(jobs) == 2:
            raise Killed
        jobs.append(job)
        return original(job)

    def no_list(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        if when == "while encoding":
            patch.setattr(updates, "encode_job", dying)
        else:
            patch.setattr(updates, "write_json", no_list)
        with pytest.raises(Killed):
            index(copy / "data", library, OPTIONS)
    old = Library(library)
    assert {item.id: item.mark for item in old.items} == before
    assert len(list((library / "blocks").iterdir())) > len(
        old.state.blocks
    )  # what the killed run has written
    assert old.search(old.vectors_of("videos/0.mp4")[0], top=1)[0].item.id == "videos/0.mp4"
    monkeypatch.setattr(updates, "encode_job", lambda job: jobs.append(job) or original(job))
    jobs.clear()
    summary = index(copy / "data", library, OPTIONS)
    assert summary.items == 49
    assert sum(len(job.records) for job in jobs) == (9 if when == "while encoding" else 0)
    assert old.search(old.vectors_of("videos/0.mp4")[0], top=1)[0].item.id == "videos/0.mp4"


def test_a_killed_first_run_is_continued(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(40):
        image(copy / "data" / "more" / f"{number}.png", 100 + number)
    original, jobs = updates.encode_job, list[Any]()

    def dying(job: Any) -> Any:
        if len(jobs) == 2:
            raise KeyboardInterrupt
        jobs.append(job)
        return original(job)

    with monkeypatch.context() as patch:
        patch.setattr(updates, "encode_job", dying)
        with pytest.raises(KeyboardInterrupt):
            index(copy / "data", copy / "new", OPTIONS)
    assert len(Library(copy / "new")) == 0
    assert Library(copy / "new").search(torch.zeros(6), top=3) == []
    monkeypatch.setattr(updates, "encode_job", lambda job: jobs.append(job) or original(job))
    assert index(copy / "data", copy / "new", OPTIONS).items == 49
    assert sum(len(job.records) for job in jobs) == 49


def test_items_of_other_data_stay_and_can_be_removed(copy: Path) -> None:
    library = copy / "new"
    index(copy / "data" / "images", library, OPTIONS)
    index(copy / "data" / "videos", library, OPTIONS)
    assert len(Library(library)) == 9
    shutil.copytree(copy / "data" / "images", copy / "other")
    image(copy / "other" / "0.png", 5)
    with pytest.raises(ArgumentError, match=r"same names.*0\.png"):
        index(copy / "other", library, OPTIONS)
    assert remove_items(library, ["0.mp4"]) == 1
    assert remove_items(library, [str(copy / "data" / "images")]) == 6
    assert sorted(item.id for item in Library(library).items) == ["1.mp4", "2.mp4"]
    with pytest.raises(DataError, match="unknown"):
        remove_items(library, ["unknown"])


def test_what_cannot_be_read_is_listed_and_not_read_again(copy: Path) -> None:
    library = copy / "new"
    (copy / "data" / "images" / "bad.png").write_bytes(b"no image")
    summary = index(copy / "data", library, OPTIONS)
    assert (summary.items, summary.skipped) == (9, 1)
    assert "bad.png" in (library / "skipped.csv").read_text()
    assert index(copy / "data", library, OPTIONS).skipped == 1
    image(copy / "data" / "images" / "bad.png", 3)
    assert index(copy / "data", library, OPTIONS).skipped == 0
    for number in range(6):
        (copy / "data" / "images" / f"{number}.png").write_bytes(b"no image")
    with pytest.raises(TrainingError, match=r"skipped\.csv"):
        index(copy / "data", library, OPTIONS)


def test_the_encoder_of_another_library_is_taken(copy: Path) -> None:
    from dataclasses import replace

    index(copy / "data" / "videos", copy / "new", replace(OPTIONS, encoder=str(copy / "library")))
    one, other = Library(copy / "library"), Library(copy / "new")
    assert one.state.contract == other.state.contract
    assert torch.allclose(one.vectors_of("videos/1.mp4"), other.vectors_of("1.mp4"), atol=1e-5)


def test_the_page_has_the_strips_and_nothing_from_outside(made: Path) -> None:
    found = retrieve(made / "library", "videos/0.mp4", top=4)
    text = page("<clip>", found.thumbs, found.hits, found.library)
    assert text.count("<img") == len(found.thumbs) + sum(
        len(found.library.thumbs(hit.item.id)) for hit in found.hits
    )
    assert "<clip>" not in text.replace("&lt;clip&gt;", "")
    assert "http" not in text.partition("<body>")[2]


def test_damage_and_wrong_folders_are_named(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        Library(tmp_path / "none")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").write_text("a")
    with pytest.raises(ArgumentError, match="not empty"):
        index(copy / "data", tmp_path / "full", OPTIONS)
    with pytest.raises(DataError, match="no images or videos"):
        index(tmp_path / "full", tmp_path / "new", OPTIONS)
    assert not is_library(tmp_path / "new")
    (block,) = (copy / "library" / "blocks").iterdir()
    block.write_bytes(block.read_bytes()[:-100])
    with pytest.raises(DataError, match=block.name):
        Library(copy / "library")
    for wrong in ({"fps": 0.0}, {"window_s": -1.0}, {"window_s": 3.0, "stride_s": 2.0}):
        with pytest.raises(ArgumentError):
            Reading(**wrong)


def test_a_library_that_was_built_again_is_searched_with_its_new_encoder(copy: Path) -> None:
    from dataclasses import replace

    library, video = copy / "new", copy / "data" / "videos" / "1.mp4"
    contracts = []
    for seed in (0, 1):
        shutil.rmtree(library, ignore_errors=True)
        index(copy / "data", library, replace(OPTIONS, learning=replace(OPTIONS.learning, seed=seed)))
        found = retrieve(library, video, start_s=0, end_s=100, top=1)  # the whole video, as a part
        assert (found.hits[0].item.id, found.hits[0].similarity) == (
            "videos/1.mp4",
            pytest.approx(1, abs=1e-4),
        )
        contracts.append(found.library.state.contract)
    assert contracts[0]["tensors"] != contracts[1]["tensors"]


def test_nothing_is_made_of_wrong_options_and_unreadable_data(copy: Path) -> None:
    from dataclasses import replace

    for wrong, error in (
        ({"layers": ("layer22@64",)}, ArgumentError),
        ({"learn_from": str(copy / "none")}, DataError),
        ({"encoder": str(copy / "none")}, DataError),
    ):
        with pytest.raises(error):
            index(copy / "data", copy / "new", replace(OPTIONS, **wrong))
        assert not (copy / "new").exists()
    (copy / "bad").mkdir()
    (copy / "bad" / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"none of 1 item.*a\.png"):
        index(copy / "bad", copy / "new", OPTIONS)


def test_parts_of_a_video_and_windows_are_placed_in_its_file(made: Path) -> None:
    encoder = load_encoder(made / "library" / ENCODER)
    path = made / "data" / "videos" / "1.mp4"
    reading = Reading(fps=10.0, window_s=0.4, stride_s=0.2)
    whole = encode_item(VideoRecord("whole", path, ()), encoder, reading)
    end_s = whole.place_s[0, 1]
    part = encode_item(VideoRecord("part", path, (), start_s=0.5, end_s=1.1), encoder, reading)
    assert part.place_s[0, 0] == pytest.approx(0.5, abs=0.05)
    assert (part.place_s[:, 0] >= 0.45).all()
    assert (part.place_s[:, 1] <= 1.15).all()
    assert (whole.place_s[1:, 1] <= end_s + 1e-9).all()
    assert np.diff(whole.place_s[1:, 0]) == pytest.approx([0.2] * (len(whole.place_s) - 2))
    short = encode_item(VideoRecord("short", path, (), start_s=0.5, end_s=0.8), encoder, reading)
    assert len(short.vectors) == 1  # not longer than a window
    still = encode_item(VideoRecord("image", made / "data" / "images" / "1.png", ()), encoder, reading)
    assert (len(still.vectors), still.place_s.tolist(), len(still.thumbs)) == (1, [[0, 0]], 1)
