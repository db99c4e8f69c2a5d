"""Libraries of stored maps: as of the videos, without reading them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from narrow import narrow_resnets
from praxiscope.commands.feature_options import FeatureOptions
from praxiscope.commands.features import features
from praxiscope.commands.index import index
from praxiscope.commands.index_options import IndexOptions
from praxiscope.commands.retrieve import retrieve
from praxiscope.data.manifest import load_records
from praxiscope.errors import ArgumentError, DataError
from praxiscope.features.store import FeatureStore
from praxiscope.layers.vlad import local_features, vlad
from praxiscope.retrieval.encode_items import Reading, encode_item
from praxiscope.retrieval.encoder import load_encoder
from praxiscope.retrieval.learning import Learning
from praxiscope.retrieval.library import Library
from praxiscope.retrieval.state import ENCODER, read_state
from praxiscope.retrieval.stored import encode_stored, stored_local
from support import Call, write_moving

MAPS = FeatureOptions(
    backbone="resnet10",
    size=64,
    sampling={"fps": 10},
    layer="layer2",
    pool="none",
    precision="32",
    workers=1,
    devices=("cpu",),
)
OPTIONS = IndexOptions(
    learning=Learning(words=4, dims=6, samples=2000),
    reading=Reading(window_s=0.4, stride_s=0.2),
    workers=1,
    device="cpu",
)


@pytest.fixture(scope="module", autouse=True)
def _narrow() -> Any:
    with narrow_resnets():
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, _narrow: Any) -> Path:
    """Five videos with labels, their maps, and the library of the maps."""
    root = tmp_path_factory.mktemp("stored")
    for number in range(5):
        name = "odd" if number % 2 else "even"
        write_moving(root / "data" / name / f"{number}.mp4", 1, number, frames=30)
    features(root / "data", root / "maps", MAPS)
    index(root / "maps", root / "library", OPTIONS)
    return root


def test_the_library_has_the_videos_with_labels_windows_and_thumbnails(made: Path) -> None:
    library = Library(made / "library")
    assert {item.id: item.labels for item in library.items} == {
        f"{label}/{number}.mp4": (label,) for number, label in enumerate(["even", "odd"] * 2 + ["even"])
    }
    assert all(len(item.thumbs) == 3 for item in library.items)
    assert all(item.rows > 1 for item in library.items)
    assert library.state.reading["sampling"] == {"fps": 10.0}
    assert library.state.contract["short_side"] == 73


def test_vectors_are_the_vlad_of_the_stored_positions(made: Path) -> None:
    store, encoder = FeatureStore(made / "maps"), load_encoder(made / "library" / ENCODER)
    library = Library(made / "library")
    for id in store.ids:
        local = local_features(store.clip(id).features).flatten(0, 1)
        plain = vlad(local, encoder.words[0]).flatten()
        assert encoder.projection is not None
        expected = (plain - encoder.projection.mean) @ encoder.projection.axes
        assert np.allclose(library.vectors_of(id)[0], expected / expected.norm(), atol=1e-4)


def test_a_video_is_encoded_as_from_its_stored_maps(made: Path) -> None:
    store, encoder = FeatureStore(made / "maps"), load_encoder(made / "library" / ENCODER)
    reading = Reading(**read_state(made / "library").reading)
    for record in load_records(made / "data").records:
        one, other = encode_stored(store, record, encoder, reading), encode_item(record, encoder, reading)
        assert np.allclose(one.place_s, other.place_s)
        assert torch.nn.functional.cosine_similarity(one.vectors, other.vectors).min() > 0.9999
        assert len(one.thumbs) == len(other.thumbs) == 3


def test_another_version_of_a_video_finds_it(made: Path, tmp_path: Path) -> None:
    write_moving(tmp_path / "query.mp4", 1, 3, frames=28)
    found = retrieve(made / "library", tmp_path / "query.mp4", top=1)
    assert found.hits[0].item.id == "odd/3.mp4"
    assert found.hits[0].similarity > 0.95


def test_parts_of_a_clip_and_all_of_it_have_the_same_local_features(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FeatureStore(made / "maps")
    whole = next(stored_local(store, "odd/1.mp4"))
    monkeypatch.setattr("praxiscope.retrieval.stored._BYTES", 1)
    parts = list(stored_local(store, "odd/1.mp4"))
    assert len(parts) == len(whole[1]) == 25
    assert torch.equal(torch.cat([local for local, _ in parts]), whole[0])
    chosen = list(stored_local(store, "odd/1.mp4", [7, 2]))
    assert torch.equal(torch.cat([local for local, _ in chosen]), whole[0][[7, 2]])


def test_videos_that_are_gone_are_still_indexed_and_others_are_named(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "data", tmp_path / "data")
    (tmp_path / "data" / "odd" / "broken.mp4").write_bytes(b"no video")
    features(tmp_path / "data", tmp_path / "maps", replace(MAPS, max_skip=1.0))
    shutil.rmtree(tmp_path / "data")
    made_of = index(tmp_path / "maps", tmp_path / "library", replace(OPTIONS, max_skip=1.0))
    assert (made_of.added, made_of.skipped) == (5, 1)
    library = Library(tmp_path / "library")
    assert all(item.thumbs == () for item in library.items)
    assert "broken.mp4" in library.state.skipped["odd/broken.mp4"][0]


def test_an_update_follows_the_store(made: Path, tmp_path: Path) -> None:
    for name in ("data", "library"):
        shutil.copytree(made / name, tmp_path / name)
    features(tmp_path / "data", tmp_path / "maps", MAPS)
    again = index(tmp_path / "maps", tmp_path / "library", OPTIONS)
    assert (again.added, again.changed, again.removed, again.kept) == (0, 0, 0, 5)
    write_moving(tmp_path / "data" / "odd" / "1.mp4", 1, 11, frames=30)
    (tmp_path / "data" / "odd" / "3.mp4").unlink()
    features(tmp_path / "data", tmp_path / "maps", MAPS)
    changed = index(tmp_path / "maps", tmp_path / "library", OPTIONS)
    assert (changed.changed, changed.removed, changed.kept) == (1, 1, 3)


def test_other_features_are_refused_before_anything_is_written(
    made: Path, tmp_path: Path, call: Call
) -> None:
    for options, named in (
        ({"pool": "space"}, "pool"),
        ({"views": "flip"}, "views"),
    ):
        others = features(made / "data", tmp_path / named, replace(MAPS, **options))
        with pytest.raises(ArgumentError, match="--pool none"):
            index(others, tmp_path / "library", OPTIONS)
    deeper = features(made / "data", tmp_path / "deeper", replace(MAPS, layer="layer3"))
    with pytest.raises(ArgumentError, match=r"layer2@64.*layer3@64"):
        index(deeper, made / "library", OPTIONS)
    with pytest.raises(ArgumentError, match=r"layer2@64.*layer3@64"):
        index(deeper, tmp_path / "library", replace(OPTIONS, encoder=str(made / "library")))
    with pytest.raises(DataError, match="layer"):
        index(deeper, tmp_path / "library", replace(OPTIONS, learn_from=str(made / "maps")))
    told = call("index", made / "maps", "--out", tmp_path / "library", "--fps", "3")
    assert told.code == 2
    assert "--fps" in told.err
    assert not (tmp_path / "library").exists()


def test_the_encoder_of_another_library_and_other_training_maps_are_taken(made: Path, tmp_path: Path) -> None:
    index(made / "maps", tmp_path / "one", replace(OPTIONS, encoder=str(made / "library")))
    one, other = Library(tmp_path / "one"), Library(made / "library")
    assert np.array_equal(one.vectors_of("odd/1.mp4"), other.vectors_of("odd/1.mp4"))
    index(made / "maps", tmp_path / "two", replace(OPTIONS, learn_from=str(made / "maps")))
    assert read_state(tmp_path / "two").contract == read_state(made / "library").contract
