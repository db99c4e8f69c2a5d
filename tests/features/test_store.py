"""Feature stores: what is written is read, from any clip, in any order; damage is found; contracts are compared."""

from __future__ import annotations

import json
import pickle
import struct
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from praxiscope.data.manifest import load_records
from praxiscope.errors import ArgumentError, DataError
from praxiscope.features.contract import FeatureContract, check_sampling, views_of
from praxiscope.features.shard import read_shard, writing_shard
from praxiscope.features.store import FeatureStore, create_store, is_store, shard_path
from support import make_store


def contract(**changed: Any) -> FeatureContract:
    given = {"backbone": "resnet18", "stream": "rgb", "weights": "ab" * 32, "shape": (3,), **changed}
    return FeatureContract(**given)


def some_clips(count: int = 6, shape: tuple[int, ...] = (3,)) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    return {
        f"c{number % 2}/{number}.mp4": draw.normal(size=(number + 1, *shape)).astype(np.float32)
        for number in range(count)
    }


def store_of(root: Path, clips: dict[str, np.ndarray], **changed: Any) -> FeatureStore:
    return make_store(root, clips, {name: name.partition("/")[0] for name in clips}, **changed)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("shape", [(3,), (2, 3, 3)])
def test_a_store_returns_every_row_that_was_written(
    tmp_path: Path, dtype: str, shape: tuple[int, ...]
) -> None:
    clips = some_clips(shape=shape)
    store = store_of(tmp_path / "store", clips, dtype=dtype)
    assert (len(store), store.rows, set(store)) == (6, 21, set(clips))
    for name in reversed(list(clips)):
        found = store.clip(name)
        assert found.features.dtype == getattr(torch, dtype)
        np.testing.assert_array_equal(found.features.numpy(), clips[name].astype(dtype))
        assert found.frame.tolist() == list(range(len(clips[name])))
        np.testing.assert_array_equal(found.time_s.numpy(), np.arange(len(clips[name])) / 10)
    assert store.lengths == {name: len(x) for name, x in clips.items()}


def test_safetensors_reads_a_shard_and_finds_the_same_tensors(tmp_path: Path) -> None:
    clips = some_clips()
    store = store_of(tmp_path / "store", clips, dtype="float16", block=6)
    with safe_open(shard_path(store.root, 0), "np") as file:
        np.testing.assert_array_equal(
            file.get_tensor("features"), np.concatenate(list(clips.values())).astype("float16")
        )
        assert file.get_tensor("frame").dtype == np.int64
        assert [entry[0] for entry in json.loads(file.metadata()["clips"])] == list(clips)


def test_views_are_an_axis_after_the_rows(tmp_path: Path) -> None:
    clips = some_clips(shape=(2, 5))
    store = store_of(tmp_path / "store", clips, views=views_of("flip"))
    assert store.contract.row_shape == (2, 5)
    assert store.clip("c1/3.mp4").features.shape == (4, 2, 5)


def test_a_changed_tensor_does_not_reach_the_file(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", some_clips())
    store.clip("c0/0.mp4").features.zero_()
    store.verify()
    assert FeatureStore(store.root).clip("c0/0.mp4").features.abs().sum() > 0


def test_a_clip_outlives_its_store_and_other_shards(tmp_path: Path) -> None:
    clips = some_clips(20)
    store = pickle.loads(pickle.dumps(store_of(tmp_path / "store", clips, block=1)))
    kept = store.clip("c0/2.mp4").features
    for name in clips:
        store.clip(name)
    del store
    np.testing.assert_array_equal(kept.numpy(), clips["c0/2.mp4"])


def test_a_clip_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    made, rows = contract(), torch.ones(2, 3)
    with writing_shard(tmp_path / "one.safetensors", made) as writer:
        with writer.clip("a", 5) as clip:
            clip.add(rows, torch.zeros(2), torch.arange(2))
        with suppress(ZeroDivisionError), writer.clip("b", 6) as clip:
            clip.add(rows, torch.zeros(2), torch.arange(2))
            1 / 0  # noqa: B018
        writer.skip("b", "broken", 6)
        with writer.clip("c", 7) as clip:
            clip.add(2 * rows, torch.zeros(2), torch.arange(2))
    found = read_shard(tmp_path / "one.safetensors", made)
    assert [(one.id, one.first, one.rows) for one in found.clips] == [("a", 0, 2), ("c", 2, 2)]
    assert found.sources == {"a": 5, "b": 6, "c": 7}
    assert [path.name for path in tmp_path.iterdir()] == ["one.safetensors"]
    with safe_open(tmp_path / "one.safetensors", "pt") as file:
        assert file.get_tensor("features")[:, 0].tolist() == [1, 1, 2, 2]


def test_values_too_large_for_float16_are_refused(tmp_path: Path) -> None:
    made = contract(dtype="float16")
    with (
        writing_shard(tmp_path / "one.safetensors", made) as writer,
        writer.clip("a", 5) as clip,
        pytest.raises(DataError, match="float16"),
    ):
        clip.add(torch.full((1, 3), 1e6), torch.zeros(1), torch.arange(1))


@pytest.mark.parametrize("bytes_left", [0, 4, 100, -1])
def test_a_truncated_shard_is_found_when_the_store_is_opened(tmp_path: Path, bytes_left: int) -> None:
    store = store_of(tmp_path / "store", some_clips())
    path = shard_path(store.root, 1)
    path.write_bytes(path.read_bytes()[:bytes_left])
    with pytest.raises(DataError, match=r"00001\.safetensors.*Remove this file"):
        FeatureStore(store.root)


def test_a_changed_byte_is_found_by_verify(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", some_clips())
    path = shard_path(store.root, 1)
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"00001\.safetensors.*Remove this file"):
        FeatureStore(store.root).verify()


def test_a_shard_with_a_header_that_lies_is_refused(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", some_clips())
    path = shard_path(store.root, 0)
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = content[8 : 8 + length].replace(rb"c0/0.mp4\",1,", rb"c0/0.mp4\",2,")
    path.write_bytes(content[:8] + header + content[8 + length :])
    with pytest.raises(DataError, match=r"00000\.safetensors"):
        FeatureStore(store.root)


def test_a_shard_of_another_store_is_refused(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", some_clips())
    other = store_of(tmp_path / "other", some_clips(), weights="1" * 64)
    shard_path(store.root, 0).write_bytes(shard_path(other.root, 0).read_bytes())
    with pytest.raises(DataError, match=r"00000\.safetensors: belongs to a store with another contract"):
        FeatureStore(store.root)


def test_an_unfinished_store_opens_only_if_asked(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", some_clips())
    shard_path(store.root, 0).unlink()
    with pytest.raises(DataError, match="not been finished"):
        FeatureStore(store.root)
    assert FeatureStore(store.root, partial=True).ids == ("c0/4.mp4", "c1/5.mp4")
    with pytest.raises(DataError, match=r"c0/0\.mp4"):
        FeatureStore(store.root, partial=True).clip("c0/0.mp4")


def test_a_contract_survives_json_and_names_its_differences() -> None:
    one = contract(input={"size": 224, "mean": (0.5, 0.5)}, sampling={"fps": 2}, versions={"torch": "2"})
    again = FeatureContract.from_dict(json.loads(json.dumps(one.to_dict())))
    assert again == one
    assert again.digest == one.digest
    other = contract(input={"size": 192, "mean": (0.5, 0.5)}, sampling={"every": True}, precision="bf16")
    assert [text.partition("=")[0] for text in one.differences(other)] == ["sampling", "input.size"]
    with pytest.raises(DataError) as caught:
        one.check_same(other)
    assert str(one) in str(caught.value)
    assert str(other) in str(caught.value)


@pytest.mark.parametrize(
    "content", [{}, {"frames": 0}, {"frames": 2.5}, {"fps": 0.0}, {"every": False}, {"frames": 2, "fps": 2}]
)
def test_other_samplings_are_refused(content: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match="sampling"):
        check_sampling(content)


def test_a_folder_with_another_contract_is_not_written_to(tmp_path: Path) -> None:
    create_store(tmp_path / "store", contract(), 3)
    create_store(tmp_path / "store", contract(versions={"torch": "later"}), 4)
    for changed in ({"weights": "1" * 64}, {"precision": "bf16"}, {"layer": "layer3"}):
        with pytest.raises(ArgumentError, match=next(iter(changed))):
            create_store(tmp_path / "store", contract(**changed), 3)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(ArgumentError, match="not empty"):
        create_store(tmp_path / "other", contract(), 3)


def test_the_data_of_a_store_needs_no_videos_and_keeps_ids_groups_and_splits(tmp_path: Path) -> None:
    clips = some_clips()
    groups = {name: name[-5] for name in clips}
    splits = dict(zip(clips, ["train", "train", "train", "train", "test", "test"], strict=True))
    store = store_of(tmp_path / "store", clips, groups=groups, splits=splits)
    manifest = load_records(store.root)
    assert {record.id: (record.group, record.split) for record in manifest.records} == {
        name: (groups[name], splits[name]) for name in clips
    }
    assert manifest.classes == ("c0", "c1")


def test_whether_a_folder_is_a_store_is_known_without_torch(tmp_path: Path) -> None:
    store_of(tmp_path / "store", some_clips())
    assert is_store(tmp_path / "store")
    assert not is_store(tmp_path)
    code = (
        "import sys; from praxiscope.features.store import FeatureStore, is_store;"
        f"assert is_store({str(tmp_path / 'store')!r}); FeatureStore({str(tmp_path / 'store')!r});"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_opening_reads_headers_only(tmp_path: Path) -> None:
    made = contract(shape=(1,))
    create_store(tmp_path / "store", made, 160)
    rows = torch.zeros(100, 1)
    for number in range(160):
        with writing_shard(shard_path(tmp_path / "store", number), made) as writer:
            for place in range(64):
                with writer.clip(f"{number}/{place}", 1) as clip:
                    clip.add(rows, torch.zeros(100), torch.arange(100))
    began = time.process_time()
    store = FeatureStore(tmp_path / "store")
    assert store.rows == 1_024_000
    assert time.process_time() - began < 1
