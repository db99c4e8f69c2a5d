"""Feature stores whose videos, parts, network or rows are no longer what they were."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import praxiscope as px
from praxiscope.commands.check import check
from praxiscope.commands.feature_clips import expected_rows, sources
from praxiscope.commands.feature_options import FeatureOptions
from praxiscope.commands.features import features
from praxiscope.data.manifest import load_records
from praxiscope.errors import ArgumentError, DataError
from praxiscope.features.contract import FeatureContract
from praxiscope.features.shard import read_shard
from praxiscope.features.store import FeatureStore, shard_path
from praxiscope.inference.extract import sampled_frames, weights_digest
from praxiscope.inference.frame_network import load_frame_network
from praxiscope.inference.stored import frame_features
from praxiscope.progress import Reporter
from support import Call, write_clip

pytestmark = pytest.mark.usefixtures("_narrow")

OPTIONS: dict[str, Any] = {
    "backbone": "resnet10",
    "size": 32,
    "sampling": {"frames": 2},
    "precision": "32",
    "workers": 1,
    "devices": ("cpu",),
}


class Lines(Reporter):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str = "") -> None:
        self.lines.append(text)


def computed(data: Path, out: Path, **changed: Any) -> list[str]:
    reporter = Lines()
    features(data, out, FeatureOptions(**{**OPTIONS, **changed}), reporter=reporter)
    return reporter.lines


def clips(folder: Path, *, shade: int = 0) -> Path:
    """Two classes of two clips."""
    for number in range(4):
        write_clip(folder / "ab"[number % 2] / f"{number}.mp4", number, frames=6, seed=shade + number)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return clips(tmp_path / "data")


def listed(path: Path, video: Path, parts: list[tuple[float, float]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "start", "end", "id"])
        for number, (start, end) in enumerate(parts):
            writer.writerow([video, "ab"[number % 2], start, end, f"clip{number}"])
    return path


def test_another_part_of_the_same_clip_is_computed_again(data: Path, tmp_path: Path) -> None:
    video = tmp_path / "long.mp4"
    write_clip(video, 0, frames=30)
    table, out = tmp_path / "parts.csv", tmp_path / "store"
    computed(listed(table, video, [(0, 0.4), (0, 0.5)]), out)
    before, kept = (FeatureStore(out).clip(id).time_s.clone() for id in ("clip0", "clip1"))
    lines = computed(listed(table, video, [(0.5, 1), (0, 0.5)]), out)
    store = FeatureStore(out)
    assert store.clip("clip0").time_s.min() >= 0.5 > before.max()
    assert torch.equal(store.clip("clip1").time_s, kept)
    assert any("clip0" in line and "clip1" not in line for line in lines)


def test_another_video_of_the_same_size_is_computed_again(data: Path, tmp_path: Path) -> None:
    out, path = tmp_path / "store", data / "a" / "0.mp4"
    computed(data, out)
    before = FeatureStore(out).clip("a/0.mp4").features.clone()
    content = (data / "a" / "2.mp4").read_bytes()
    size = max(len(content), path.stat().st_size)
    path.write_bytes(path.read_bytes().ljust(size, b"\0"))
    computed(data, out)
    path.write_bytes(content.ljust(size, b"\0"))
    assert any("a/0.mp4" in line for line in computed(data, out))
    after = FeatureStore(out)
    assert not torch.equal(after.clip("a/0.mp4").features, before)
    torch.testing.assert_close(after.clip("a/0.mp4").features, after.clip("a/2.mp4").features)


def test_other_videos_under_the_same_names_are_refused(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    computed(data, out)
    before = {path.name: path.read_bytes() for path in (out / "shards").iterdir()}
    with pytest.raises(ArgumentError, match=r"store.*a/0\.mp4"):
        computed(clips(tmp_path / "other", shade=10), out)
    assert {path.name: path.read_bytes() for path in (out / "shards").iterdir()} == before


def test_a_store_of_sizes_alone_is_kept(data: Path, tmp_path: Path) -> None:
    from praxiscope.features.shard import writing_shard

    out = tmp_path / "store"
    computed(data, out)
    store = FeatureStore(out)
    path = shard_path(out, 0)
    rows = {id: [x.clone() for x in store.clip(id)] for id in store.ids}
    with writing_shard(path, store.contract) as writer:  # as earlier versions wrote it
        for id, columns in rows.items():
            with writer.clip(id, (data / id).stat().st_size) as clip:
                clip.add(*columns)
    content = path.read_bytes()
    assert any("Nothing to compute" in line for line in computed(data, out))
    assert path.read_bytes() == content
    assert set(read_shard(path, store.contract).sources.values()) == {
        (data / id).stat().st_size for id in store.ids
    }


@pytest.mark.parametrize("trouble", ["other weights", "no weights", "no network"])
def test_the_network_of_a_store_is_checked_and_written_again(
    data: Path, tmp_path: Path, trouble: str
) -> None:
    out = tmp_path / "store"
    computed(data, out)
    network, run = out / "network", tmp_path / "run"
    file = network / "model.safetensors"
    if trouble == "other weights":
        tensors = load_file(file)
        save_file(
            {name: -value if value.is_floating_point() else value for name, value in tensors.items()}, file
        )
    elif trouble == "no weights":
        file.unlink()
    else:
        shutil.rmtree(network)
    for use in (lambda: px.train(out, out=run, model="probe"), lambda: check(out)):
        with pytest.raises(DataError, match=r"network.*praxiscope features"):
            use()
    assert not run.exists()
    computed(data, out)
    found = load_frame_network(network, precision="32")
    assert weights_digest(found.model) == FeatureStore(out).contract.weights
    check(out)


def test_a_truncated_shard_is_told_by_check(data: Path, tmp_path: Path, call: Call) -> None:
    out = tmp_path / "store"
    computed(data, out)
    path = shard_path(out, 0)
    path.write_bytes(path.read_bytes()[:-100])
    result = call("check", out)
    assert result.code != 0
    assert "00000.safetensors" in result.err


def test_repaired_videos_leave_the_list_of_damaged_ones(data: Path, tmp_path: Path) -> None:
    from video_files import damaged, forget_indices

    out, path = tmp_path / "store", data / "a" / "0.mp4"
    whole = tmp_path / "whole.mp4"
    shutil.copy(path, whole)
    damaged(whole, path, 1, 2)
    forget_indices()
    computed(data, out)
    assert "a/0.mp4" in (out / "damaged.csv").read_text()
    shutil.copy(whole, path)
    forget_indices()
    computed(data, out)
    assert not (out / "damaged.csv").exists()


def test_rows_that_are_not_finite_are_told_with_their_clip(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    computed(data, out)
    path = shard_path(out, 0)
    store = FeatureStore(out)
    shard = read_shard(path, store.contract)
    content = bytearray(path.read_bytes())
    content[shard.places["features"] : shard.places["features"] + 4] = np.float32("nan").tobytes()
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a/0\.mp4.*--verify"):
        frame_features(FeatureStore(out), "a/0.mp4")
    for model in ("probe", "prototypes"):
        with pytest.raises(DataError, match=r"a/0\.mp4.*--verify"):
            px.train(out, out=tmp_path / model, model=model)
    computed(data, out, verify=True)
    assert frame_features(FeatureStore(out), "a/0.mp4").isfinite().all()


def test_a_frame_rate_above_that_of_the_video_takes_every_frame() -> None:
    times = np.array([0.0, 0.1, 0.15, 0.4])
    for fps in (41.0, 1e3, 1e9, 1e300):
        assert sampled_frames({"fps": fps}, times).tolist() == [0, 1, 2, 3]
    assert sampled_frames({"fps": 5.0}, times).tolist() == [0, 2, 3]
    assert sampled_frames({"fps": 1e9}, np.array([2.0])).tolist() == [0]


def test_weights_that_are_not_finite_predict_nothing(data: Path, tmp_path: Path) -> None:
    from praxiscope.errors import CheckpointError

    px.train(
        data, out=tmp_path / "run", model="frame", backbone="resnet10", epochs=1, size=32, pretrained=False
    )
    recogniser: Any = px.load(tmp_path / "run")
    with torch.no_grad():
        recogniser.model.classifiers[0].weight.fill_(torch.nan)
    with pytest.raises(CheckpointError, match="finite"):
        recogniser.predict(data / "a" / "0.mp4")


@pytest.mark.parametrize(("fps", "rows"), [(1e9, 24), (2.0, 4)])
def test_no_more_frames_are_announced_than_the_videos_have(data: Path, fps: float, rows: int) -> None:
    records = load_records(data).records
    contract = FeatureContract(
        backbone="resnet10", stream="rgb", weights="0" * 64, shape=(3,), sampling={"fps": fps}
    )
    assert expected_rows(records, contract, sources(records)) == pytest.approx(rows, abs=1)
