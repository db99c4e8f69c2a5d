"""``praxiscope features``: resumed, verified, in several processes; the store as data of other commands."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import praxiscope as px
from praxiscope.checkpoint import ModelCard, load_card, save_checkpoint
from praxiscope.commands import feature_clips
from praxiscope.commands.feature_options import FeatureOptions, sampling_of
from praxiscope.commands.features import extract_features, features
from praxiscope.commands.locking import locked
from praxiscope.commands.train import train
from praxiscope.data.manifest import load_records
from praxiscope.errors import ArgumentError, CheckpointError, DataError, TrainingError
from praxiscope.features.store import FeatureStore, shard_path
from praxiscope.inference.extract import weights_digest
from praxiscope.inference.frame_network import create_frame_network, load_frame_network, save_frame_network
from praxiscope.inference.network import TrainedNetwork
from praxiscope.models import create_model
from praxiscope.progress import Reporter
from praxiscope.types import VideoRecord
from praxiscope.video.opening import open_video
from runs import settings
from support import Call, write_clip
from video_files import damaged, forget_indices, make_colours

TINY: dict[str, Any] = {"backbone": "resnet10", "size": 32, "sampling": {"frames": 3}, "precision": "32"}
"""Options of a pass that takes little time."""


def options(**changed: Any) -> FeatureOptions:
    return FeatureOptions(**{**TINY, "workers": 1, "devices": ("cpu",), **changed})


class Lines(Reporter):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str = "") -> None:
        self.lines.append(text)


def shards(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((root / "shards").glob("*"))}


@pytest.fixture(scope="module")
def made(colour_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of the colour set."""
    return features(colour_set, tmp_path_factory.mktemp("features") / "store", options())


def test_a_store_holds_the_features_of_every_video(made: Path, colour_set: Path) -> None:
    store = FeatureStore(made)
    manifest = load_records(colour_set)
    assert sorted(store.ids) == sorted(record.id for record in manifest.records)
    assert (store.rows, store.contract.row_shape, store.skipped) == (72, (512,), {})
    store.verify()
    record = manifest.records[5]
    clip = store.clip(record.id)
    assert clip.frame.tolist() == [2, 6, 10]
    np.testing.assert_allclose(clip.time_s, open_video(record.path).timestamps()[[2, 6, 10]])
    network = load_frame_network(store.network, precision="32")
    frames = open_video(record.path).frames(clip.frame, short_side=37)
    left = (frames.shape[-1] - 32) // 2
    with torch.inference_mode():
        found = network.model(network.prepare(frames[None, ..., 2:34, left : left + 32])).features[0]
    torch.testing.assert_close(clip.features, found, rtol=1e-3, atol=1e-4)


def test_the_store_is_the_data_to_other_commands(made: Path, colour_set: Path) -> None:
    videos, stored = load_records(colour_set), load_records(made)

    def facts(manifest: Any) -> list[tuple[Any, ...]]:
        return sorted((r.id, r.path.resolve(), r.labels, r.split, r.group) for r in manifest.records)

    assert facts(stored) == facts(videos)
    assert stored.classes == videos.classes


@pytest.mark.slow
def test_frame_models_train_on_the_videos_of_a_store_and_test_on_them(
    made: Path, colour_set: Path, call: Call, tmp_path: Path
) -> None:
    run = train(settings(made, "optim.epochs=1"), tmp_path / "run")
    assert run
    result = call("test", tmp_path / "run", made, "--protocol", "1x1", "--json")
    assert result.code == 0, result.err
    direct = call("test", tmp_path / "run", colour_set, "--protocol", "1x1", "--json")
    assert json.loads(result.out)["top1"] == json.loads(direct.out)["top1"]


@pytest.mark.parametrize(
    "words", [["check"], ["pack", "packed"], ["flow", "--out", "flow", "--method", "dis"]]
)
def test_check_pack_and_flow_take_a_store(made: Path, call: Call, words: list[str], tmp_path: Path) -> None:
    if "dis" in words:
        pytest.importorskip("cv2")
    result = call(words[0], made, *words[1:], *(["--workers", "1"] if len(words) > 1 else []))
    assert result.code == 0, result.err
    if words[0] == "pack":
        ids = {record.id for record in load_records(tmp_path / "packed").records}
        assert ids == {record.id for record in load_records(made).records}


def test_nothing_is_computed_twice(made: Path, colour_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(job: Any) -> Any:
        raise AssertionError("computed again")

    monkeypatch.setattr("praxiscope.commands.features.compute", never)
    before = shards(made)
    summary = extract_features(colour_set, made, options())
    assert (summary.already, summary.clips, summary.clips_per_s) == (24, 24, None)
    assert shards(made) == before


@pytest.mark.parametrize("what", ["removed", "truncated", "altered"])
def test_a_lost_or_damaged_shard_is_computed_again_with_the_same_bytes(
    made: Path, colour_set: Path, tmp_path: Path, what: str
) -> None:
    shutil.copytree(made, tmp_path / "store")
    path, whole = shard_path(tmp_path / "store", 1), shards(made)
    content = bytearray(path.read_bytes())
    path.unlink()
    if what == "truncated":
        path.write_bytes(content[:-5])
    elif what == "altered":
        content[-5] ^= 255
        path.write_bytes(content)
    lines = Lines()
    summary = extract_features(
        colour_set, tmp_path / "store", options(verify=what == "altered"), reporter=lines
    )
    assert summary.already == 16
    assert shards(tmp_path / "store") == whole
    assert any(path.name in line for line in lines.lines) == (what != "removed")


def test_a_video_that_changed_is_computed_again(made: Path, colour_set: Path, tmp_path: Path) -> None:
    shutil.copytree(colour_set, tmp_path / "videos")
    shutil.copytree(made, tmp_path / "store")
    write_clip(tmp_path / "videos" / "red" / "7.mp4", 0, seed=77, frames=20)
    extract_features(tmp_path / "videos", tmp_path / "store", options())
    old, new = FeatureStore(made), FeatureStore(tmp_path / "store")
    assert new.clip("red/7.mp4").frame.tolist() == [3, 10, 16]
    changed = [name for name in old if not torch.equal(old.clip(name).features, new.clip(name).features)]
    assert changed == ["red/7.mp4"]


def test_only_new_videos_are_computed_when_the_data_grows(
    made: Path, colour_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(colour_set, tmp_path / "videos")
    shutil.copytree(made, tmp_path / "store")
    write_clip(
        tmp_path / "videos" / "blue" / "00.mp4", 2, seed=5
    )  # the first of all: every block is another one
    monkeypatch.setattr(feature_clips.FeatureExtractor, "extract", only("blue/00.mp4"))
    lines = Lines()
    summary = extract_features(tmp_path / "videos", tmp_path / "store", options(), reporter=lines)
    assert (summary.already, summary.clips) == (24, 25)
    assert any(line.startswith("1 clip, 24 of 25 already stored") for line in lines.lines)
    monkeypatch.undo()
    assert shards(features(tmp_path / "videos", tmp_path / "fresh", options())) == shards(tmp_path / "store")


def only(id: str) -> Any:
    """The extraction of features, which must be asked for one video only."""
    real = feature_clips.FeatureExtractor.extract

    def extract(self: Any, records: Any, *given: Any, **options: Any) -> Any:
        assert {record.id for record in records} <= {id}
        return real(self, records, *given, **options)

    return extract


def test_videos_that_left_the_data_leave_the_store(made: Path, colour_set: Path, tmp_path: Path) -> None:
    shutil.copytree(colour_set, tmp_path / "videos")
    shutil.copytree(made, tmp_path / "store")
    for number in range(8):
        (tmp_path / "videos" / "red" / f"{number}.mp4").unlink()
    shutil.rmtree(tmp_path / "videos" / "red")
    extract_features(tmp_path / "videos", tmp_path / "store", options())
    assert len(shards(tmp_path / "store")) == 1
    assert len(FeatureStore(tmp_path / "store")) == 16


def test_videos_of_another_data_set_are_refused_and_nothing_is_changed(made: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "videos" / "other" / "a.mp4", 0)
    before = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
    with pytest.raises(ArgumentError, match="24 other videos"):
        features(tmp_path / "videos", made, options())
    assert {path: path.read_bytes() for path in made.rglob("*") if path.is_file()} == before


def test_the_number_of_videos_that_leave_is_said(made: Path, colour_set: Path, tmp_path: Path) -> None:
    shutil.copytree(colour_set, tmp_path / "videos")
    shutil.copytree(made, tmp_path / "store")
    shutil.rmtree(tmp_path / "videos" / "red")
    lines = Lines()
    extract_features(tmp_path / "videos", tmp_path / "store", options(), reporter=lines)
    assert any("8 videos" in line and "red/0.mp4" in line for line in lines.lines)


def test_a_store_that_another_run_writes_is_left_alone(made: Path, colour_set: Path, tmp_path: Path) -> None:
    shutil.copytree(colour_set, tmp_path / "videos")
    shutil.copytree(made, tmp_path / "store")
    for number in range(9):
        write_clip(tmp_path / "videos" / "new" / f"{number}.mp4", 0, seed=number)
    before = (tmp_path / "store" / "features.json").read_bytes()
    with locked(tmp_path / "store"), pytest.raises(ArgumentError, match="another run"):
        features(tmp_path / "videos", tmp_path / "store", options())
    assert (tmp_path / "store" / "features.json").read_bytes() == before


def test_old_rows_stay_until_every_shard_is_written(
    made: Path, colour_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(colour_set, tmp_path / "videos")
    shutil.copytree(made, tmp_path / "store")
    (tmp_path / "videos" / "blue" / "0.mp4").unlink()
    with monkeypatch.context() as patch:
        patch.setattr("praxiscope.commands.features.compute", feature_clips.lost)
        patch.setattr("praxiscope.commands.features.killers", lambda jobs: {})
        with pytest.raises(DataError, match="not been finished"):
            extract_features(tmp_path / "videos", tmp_path / "store", options())
    monkeypatch.setattr(feature_clips.FeatureExtractor, "extract", only("none"))
    assert extract_features(tmp_path / "videos", tmp_path / "store", options()).already == 23


@pytest.mark.parametrize(
    "changed",
    [
        {"size": 48},
        {"sampling": {"frames": 4}},
        {"half": True},
        {"backbone": "squeezenet1_1"},
        {"layer": "layer3"},
    ],
)
def test_another_contract_is_refused_with_both_shown(
    made: Path, colour_set: Path, changed: dict[str, Any]
) -> None:
    before = shards(made)
    with pytest.raises(ArgumentError) as caught:
        features(colour_set, made, options(**changed))
    stored = FeatureStore(made).contract
    assert str(stored) in str(caught.value)
    assert "against" in str(caught.value)
    assert shards(made) == before


@pytest.fixture
def broken_set(tmp_path: Path) -> Path:
    for number in range(3):
        write_clip(tmp_path / "videos" / "a" / f"{number}.mp4", 0, seed=number)
    whole = (tmp_path / "videos" / "a" / "0.mp4").read_bytes()
    (tmp_path / "videos" / "a" / "broken.mp4").write_bytes(whole[:40])
    return tmp_path / "videos"


def test_broken_videos_are_listed_and_read_again_only_if_asked(broken_set: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    summary = extract_features(broken_set, out, options())
    assert (summary.clips, summary.skipped) == (3, 1)
    assert (out / "skipped.csv").read_text().splitlines()[1].startswith("a/broken.mp4,")
    store = FeatureStore(out)
    assert list(store.skipped) == ["a/broken.mp4"]
    with pytest.raises(DataError, match="a/broken"):
        store.clip("a/broken.mp4")
    with pytest.raises(TrainingError, match="skipped"):
        extract_features(broken_set, out, options(max_skip=0.0))
    before = shards(out)
    extract_features(broken_set, out, options(retry=True))
    assert shards(out) == before


def test_data_without_a_readable_video_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "videos" / "a").mkdir(parents=True)
    (tmp_path / "videos" / "a" / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match="none of its 1 video"):
        features(tmp_path / "videos", tmp_path / "store", options())


@pytest.mark.parametrize("sampling", [{"every": True}, {"frames": 10}])
def test_a_damaged_video_is_listed(tmp_path: Path, sampling: dict[str, Any]) -> None:
    (tmp_path / "videos" / "a").mkdir(parents=True)
    whole = make_colours(tmp_path / "whole.mp4", red=50, blue=50)
    damaged(whole, tmp_path / "videos" / "a" / "0.mp4", 25, 75)
    write_clip(tmp_path / "videos" / "a" / "1.mp4", 0)
    forget_indices()
    out = features(tmp_path / "videos", tmp_path / "store", options(sampling=sampling))
    store = FeatureStore(out)
    assert list(store.damaged) == ["a/0.mp4"]
    assert "of 100 frames" in (out / "damaged.csv").read_text()


def test_blocks_do_not_depend_on_the_order_of_the_data() -> None:
    records = [VideoRecord(f"{number:03}", Path(f"{number}.mp4"), ("a",)) for number in range(40)]
    sizes = {record.id: feature_clips.Source(10, "") for record in records}
    blocks = feature_clips.blocks_of(records, sizes)
    assert [len(block.records) for block in blocks] == [16, 16, 8]
    assert feature_clips.blocks_of(records[::-1], sizes) == blocks
    large = feature_clips.blocks_of(records[:4], dict.fromkeys(sizes, feature_clips.Source(1 << 28, "")))
    assert [len(block.records) for block in large] == [1, 1, 1, 1]


def test_a_file_of_which_parts_are_clips_is_counted_once() -> None:
    records = [VideoRecord(f"{number:03}", Path("long.mp4"), ("a",)) for number in range(20)]
    large = feature_clips.Source(1 << 28, "")
    blocks = feature_clips.blocks_of(records, {record.id: large for record in records})
    assert [len(block.records) for block in blocks] == [1, 16, 3]


@pytest.mark.slow
def test_processes_that_read_ahead_change_no_byte(made: Path, colour_set: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "store")
    records = load_records(colour_set).records
    blocks = feature_clips.blocks_of(records, feature_clips.sources(records))
    for number in range(len(blocks)):
        shard_path(tmp_path / "store", number).unlink()
    computing = feature_clips.Computing(tmp_path / "store", readers=2)
    outcome = feature_clips.compute(feature_clips.Job(computing, tuple(blocks), "cpu"))
    assert (outcome.clips, outcome.rows) == (24, 72)
    assert shards(tmp_path / "store") == shards(made)


@pytest.mark.slow
def test_several_processes_write_the_same_bytes(
    made: Path, colour_set: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("praxiscope.commands.features._WORTH", 1)
    features(colour_set, tmp_path / "store", options(workers=2))
    assert shards(tmp_path / "store") == shards(made)


def test_the_cost_is_said_before_the_work_starts(colour_set: Path, tmp_path: Path) -> None:
    lines = Lines()
    features(colour_set, tmp_path / "store", options(sampling={"fps": 6}), reporter=lines)
    cost = next(line for line in lines.lines if line.startswith("24 clips"))
    assert 130 < float(re.search(r"about (\d+) frames", cost)[1]) < 160  # type: ignore[index]
    assert f"{144 * (512 * 4 + 16) / 1e6:.1f} MB" in cost
    assert FeatureStore(tmp_path / "store").rows == 144


def test_the_command_makes_the_store_that_the_function_makes(
    made: Path, colour_set: Path, call: Call
) -> None:
    words = ["--backbone", "resnet10", "--size", 32, "--frames", 3, "--precision", 32, "--workers", 1]
    result = call("features", colour_set, "--out", "store", *words, "--json")
    assert result.code == 0, result.err
    summary = json.loads(result.out)
    assert (summary["clips"], summary["rows"], summary["shape"]) == (24, 72, [512])
    assert shards(Path("store")) == shards(made)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--frames", "3", "--every"], "--frames and --every"),
        (["--fps", "0"], "fps"),
        (["--views", "mirror"], "views"),
        (["--pool", "time"], "pool"),
        (["--backbone", "resnet17"], "resnet18"),
        (["--stream", "flow"], "--flow"),
        (["--devices", "cuda:0,cpu"], "different GPUs"),
        (["--precision", "16"], "precision"),
    ],
)
def test_options_that_cannot_be_used_are_named(
    colour_set: Path, call: Call, words: list[str], message: str
) -> None:
    result = call("features", colour_set, "--out", "store", *words)
    assert result.code == 2
    assert message in result.err
    assert result.err.count("\n") == 1
    assert not Path("store").exists()


def test_a_folder_inside_the_data_is_refused(colour_set: Path) -> None:
    with pytest.raises(ArgumentError, match="inside the data"):
        features(colour_set, colour_set / "features", options())


def test_the_python_function_returns_the_store(colour_set: Path, tmp_path: Path) -> None:
    given = {key: value for key, value in TINY.items() if key != "sampling"}
    store = px.feature_store(colour_set, tmp_path / "store", fps=3, half=True, views="flip", **given)
    assert (store.contract.sampling, store.contract.dtype) == ({"fps": 3.0}, "float16")
    assert store.clip("red/0.mp4").features.shape == (3, 2, 512)
    with pytest.raises(ArgumentError, match="layers"):
        px.feature_store(colour_set, tmp_path / "store", layers="layer3")


def test_the_frames_of_a_store_are_chosen_by_one_option() -> None:
    assert sampling_of(None, None, False) == {"frames": 25}
    assert sampling_of(None, 2, False) == {"fps": 2.0}
    assert sampling_of(None, None, True) == {"every": True}


def test_a_run_gives_its_network_weights_and_input(colour_set: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(settings(colour_set, "optim.epochs=1"), run)
    out = features(colour_set, tmp_path / "store", options(backbone=str(run), size=None))
    recogniser: Any = px.load(run, device="cpu")
    store = FeatureStore(out)
    assert store.contract.backbone == "squeezenet1_1"
    assert (store.contract.input["size"], store.contract.input["short_side"]) == (32, 36)
    assert load_card(store.network).input.size == 32
    frames = open_video(colour_set / "red" / "0.mp4").frames([2, 6, 10], short_side=36)[..., 2:34, 8:40]
    network = TrainedNetwork(recogniser.model, recogniser.card, precision="32")
    with torch.inference_mode():
        expected = network.model(network.prepare(frames[None])).features[0]
    torch.testing.assert_close(store.clip("red/0.mp4").features, expected, rtol=1e-3, atol=1e-3)


def test_a_run_that_mixes_frames_is_refused(colour_set: Path, tmp_path: Path) -> None:
    run, kwargs = tmp_path / "run", {"backbone": "resnet18", "num_classes": 1, "snippets": 2}
    model: Any = create_model("tsm", **kwargs)
    save_checkpoint(run, model, ModelCard("tsm", kwargs, ("a",)))
    with pytest.raises(ArgumentError, match="tsm mixes"):
        features(colour_set, tmp_path / "store", options(backbone=str(run)))
    with pytest.raises(ArgumentError, match="own weights"):
        features(colour_set, tmp_path / "store", options(backbone=str(run), weights="w.pt"))


def test_a_run_on_features_gives_the_network_of_its_features(tmp_path: Path) -> None:
    kwargs = {"backbone": "resnet10", "num_classes": 2, "frames": 3}
    model: Any = create_model("probe", **kwargs)
    save_checkpoint(tmp_path / "run", model, ModelCard("probe", kwargs, ("a", "b")))
    network = create_frame_network(str(tmp_path / "run"), size=32)
    assert (network.card.name, network.card.kwargs["backbone"]) == ("frame", "resnet10")
    assert weights_digest(network.model) == weights_digest(model)


def test_random_weights_are_said_and_are_the_same_every_time(tmp_path: Path) -> None:
    one, other = (create_frame_network("resnet10", size=32) for _ in range(2))
    assert "random" in one.note
    for key, value in one.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[key])
    with pytest.raises(CheckpointError):
        create_frame_network("resnet10", weights=tmp_path / "missing.pt")


def test_features_of_flow_come_from_stored_stacks(moving: tuple[Path, Path], tmp_path: Path) -> None:
    videos, flow = moving
    given = options(flow=flow, flow_length=2, sampling={"every": True})
    store = FeatureStore(features(videos, tmp_path / "store", given))
    assert (store.contract.stream, store.contract.input["flow"]["length"]) == ("flow", 2)
    clip = store.clip("left/0.mp4")
    assert clip.frame.tolist() == list(range(12))  # of 14 frames, those where a stack of 2 fields fits
    again = load_frame_network(store.network, flow=None)
    assert again.streams == ("flow",)
    rgb = tmp_path / "rgb"
    save_frame_network(rgb, create_frame_network("resnet10", size=32))
    with pytest.raises(ArgumentError, match="leave out --flow"):
        features(videos, tmp_path / "other", options(backbone=str(rgb), flow=flow))
    with pytest.raises(ArgumentError, match="give its stored flow"):
        features(videos, tmp_path / "other", options(backbone=str(store.network)))


def test_flow_images_pass_through_a_network_of_rgb_frames(moving: tuple[Path, Path], tmp_path: Path) -> None:
    videos, flow = moving
    given = options(flow=flow, flow_kind="image", sampling={"every": True})
    store = FeatureStore(features(videos, tmp_path / "store", given))
    assert store.contract.input["flow"]["kind"] == "image"
    network = load_frame_network(store.network)
    rgb = create_frame_network(TINY["backbone"], size=TINY["size"]).model.state_dict()
    for name, value in network.model.state_dict().items():
        assert torch.equal(value, rgb[name]), name
    clip = store.clip("left/0.mp4")
    assert clip.frame.tolist() == list(range(13))  # of 14 frames, those with a field
    assert network.card.input.flow_mean == pytest.approx((0.485, 0.456, 0.406))  # of ImageNet
    with pytest.raises(ArgumentError, match="one flow field"):
        options(flow=flow, flow_kind="image", flow_length=5)
    with pytest.raises(ArgumentError, match="flow_kind"):
        options(flow=flow, flow_kind="picture")


def test_a_video_without_stored_flow_is_skipped_until_it_has_some(
    moving: tuple[Path, Path], tmp_path: Path
) -> None:
    videos, flow = moving
    shutil.copytree(flow, tmp_path / "flow")
    (stored,) = (tmp_path / "flow" / "left").glob("0.mp4.forward*")
    stored.unlink()
    given = {"flow": tmp_path / "flow", "flow_length": 2}
    assert list(FeatureStore(features(videos, tmp_path / "store", options(**given))).skipped) == [
        "left/0.mp4"
    ]
    shutil.copy(flow / "left" / stored.name, stored)
    assert FeatureStore(features(videos, tmp_path / "store", options(**given, retry=True))).skipped == {}


def test_a_clip_that_kills_its_process_is_left_out(
    colour_set: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    computed: list[dict[str, str]] = []
    real = feature_clips.compute

    def compute(job: feature_clips.Job) -> feature_clips.Outcome:
        computed.append(dict(job.known))
        return real(job) if job.known or job.blocks[0].number else feature_clips.lost(job)

    monkeypatch.setattr("praxiscope.commands.features.compute", compute)
    monkeypatch.setattr("praxiscope.commands.features.killers", lambda jobs: {"blue/3.mp4": "crashes"})
    store = FeatureStore(features(colour_set, tmp_path / "store", options()))
    assert store.skipped == {"blue/3.mp4": "crashes"}
    assert len(store) == 23
    assert computed[-1] == {"blue/3.mp4": "crashes"}
