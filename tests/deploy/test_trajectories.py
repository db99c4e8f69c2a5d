"""Exported encoders of trajectories: the scores of the model itself, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import praxiscope as px
from exported_models import LABELS, expected, predicted_without_torch, saved
from praxiscope import deploy
from praxiscope.checkpoint import InputContract, ModelCard, save_checkpoint
from praxiscope.commands.export import export
from praxiscope.deploy.trajectories import Summed
from praxiscope.errors import ArgumentError, CheckpointError
from praxiscope.inference.fused import save_fused
from praxiscope.trajectories.result import Trajectories
from support import encode, write_moving

pytest.importorskip("cv2")

EXTRACTION = {"settings": {"scales": 2}, "short_side": 64, "most": 500}
CALIBRATION = {"temperature": 2.5, "none_below": 0.1, "false_refusals": 0.05, "videos": 9, "source": "made"}


def fitted(folder: Path, **words: Any) -> Path:
    """The model folder of mixtures of random trajectories, and machines of random weights."""
    card_words = {key: words.pop(key) for key in ("multi_label", "calibration") if key in words}
    kwargs = {"num_classes": 3, "gaussians": 2, "extraction": EXTRACTION, **words}
    model: Any = px.create_model("fisher-svm", **kwargs)
    draw = np.random.default_rng(0)
    sizes = model.extraction.settings.sizes
    rows = (draw.uniform(0, 0.3, (400, width)).astype(np.float32) for width in sizes.values())
    model.learn(Trajectories(np.zeros((400, 10), np.float32), *rows))
    torch.manual_seed(0)
    for layer in (model.svm.weight, model.svm.bias):
        torch.nn.init.normal_(layer)
    save_checkpoint(
        folder, model, ModelCard("fisher-svm", kwargs, LABELS, input=InputContract(), **card_words)
    )
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a clip, a model of trajectories, and the folder of it as exported."""
    folder = tmp_path_factory.mktemp("trajectories")
    write_moving(folder / "clip.mp4", 1, 0, frames=25)
    export(fitted(folder / "model"), folder / "out", clips=[folder / "clip.mp4"])
    return folder


def test_the_scores_are_those_of_the_model(root: Path) -> None:
    clip, runner = root / "clip.mp4", deploy.load(root / "out")
    assert isinstance(runner, deploy.TrajectoryRunner)
    loaded: Any = px.load(root / "model", device="cpu")
    wanted = loaded.video_logits(clip).numpy()
    found = runner.logits(clip)
    assert found.dtype == np.float32
    assert np.abs(found - wanted).max() < 1e-5
    assert np.abs(wanted - loaded.model.svm.bias.detach().numpy()).max() > 0.1  # there are trajectories
    checked = runner.description.checked
    assert checked["clips"] == {"count": 1, "largest": pytest.approx(0, abs=1e-5), "same_class": 1}


def test_the_sums_of_parts_add_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = deploy.load(root / "out").logits(root / "clip.mp4")
    monkeypatch.setattr("praxiscope.deploy.trajectories._ROWS", 1)
    runner: Any = deploy.load(root / "out")
    counts = []
    run = runner._frames
    monkeypatch.setattr(runner, "_frames", lambda rows: counts.append(len(rows["hog"])) or run(rows))
    assert np.allclose(runner.logits(root / "clip.mp4"), whole, atol=1e-6)
    assert len(counts) > 1
    assert set(counts) == {1}


def test_a_video_without_trajectories_has_the_scores_of_the_vector_0(root: Path, tmp_path: Path) -> None:
    encode(tmp_path / "grey.mp4", np.full((20, 64, 64, 3), 128, np.uint8))
    loaded: Any = px.load(root / "model", device="cpu")
    found = deploy.load(root / "out").logits(tmp_path / "grey.mp4")
    assert np.allclose(found, loaded.model.svm.bias.detach().numpy(), atol=1e-6)
    assert np.allclose(found, loaded.video_logits(tmp_path / "grey.mp4").numpy(), atol=1e-6)


def test_it_predicts_where_torch_is_not_installed(root: Path) -> None:
    found = predicted_without_torch(root / "out", root / "clip.mp4")
    loaded: Any = px.load(root / "model", device="cpu")
    wanted = loaded.video_logits(root / "clip.mp4").softmax(0).sort(descending=True)
    assert found["labels"] == [LABELS[number] for number in wanted.indices]
    assert found["scores"] == pytest.approx(wanted.values.tolist(), abs=1e-5)


def test_it_is_a_part_of_a_fusion(root: Path, tmp_path: Path) -> None:
    clip = root / "clip.mp4"
    save_fused(tmp_path / "fused", [saved(tmp_path / "rgb"), root / "model"], kind="l2")
    made = export(tmp_path / "fused", tmp_path / "out", protocol="3x1", clips=[clip])
    assert made.description.checked["clips"]["largest"] < 1e-4
    each = [part.logits(clip, "3x1") for part in deploy.load(tmp_path / "out").parts]  # type: ignore[union-attr]
    assert np.allclose(each[0], expected(tmp_path / "rgb", clip, "3x1"), atol=1e-4)
    loaded: Any = px.load(root / "model", device="cpu")
    assert np.allclose(each[1], loaded.video_logits(clip).numpy(), atol=1e-5)


@pytest.mark.parametrize("to", ["openvino", "pt2"])
def test_other_formats_score_alike(root: Path, tmp_path: Path, to: str) -> None:
    pytest.importorskip("openvino")
    made = export(root / "model", tmp_path / "out", to=to, clips=[root / "clip.mp4"])
    assert made.description.checked["clips"]["largest"] < 1e-4


def test_8_bits_are_refused_before_anything_is_written(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_fused(tmp_path / "fused", [saved(tmp_path / "rgb"), root / "model"], kind="l2")
    monkeypatch.setattr("praxiscope.commands.export._single", None)
    for run in (root / "model", tmp_path / "fused"):
        with pytest.raises(ArgumentError, match="--int8"):
            export(run, tmp_path / "out", int8=[root / "clip.mp4"])
    assert not list(tmp_path.glob("*out*"))


def test_several_labels_and_the_calibration_are_kept(tmp_path: Path, root: Path) -> None:
    found = {}
    for name, words in {
        "one": {"calibration": CALIBRATION},
        "several": {"multi_label": True},
    }.items():
        folder = fitted(tmp_path / name, **words)
        export(folder, tmp_path / f"{name}_out")
        found[name] = deploy.load(tmp_path / f"{name}_out").predict(root / "clip.mp4", top=3).scores
        loaded: Any = px.load(folder, device="cpu")
        assert found[name] == pytest.approx(loaded.predict(root / "clip.mp4", top=3).scores, abs=1e-5)
    assert sum(found["one"]) == pytest.approx(1)
    assert sum(found["several"]) != pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("old", "new"), [('"short_side"', '"wrong"'), ('"length": 15', '"length": 7')])
def test_a_damaged_extraction_is_named(root: Path, tmp_path: Path, old: str, new: str) -> None:
    text = (root / "out" / "deploy.json").read_text()
    assert old in text
    (tmp_path / "deploy.json").write_text(text.replace(old, new))
    for file in ("frames.onnx", "network.onnx"):
        (tmp_path / file).write_bytes((root / "out" / file).read_bytes())
    with pytest.raises(CheckpointError, match=rf"{tmp_path}.*(wrong|length)"):
        deploy.load(tmp_path)


def test_sums_start_at_0() -> None:
    seen = []

    def network(inputs: Any) -> Any:
        seen.append(inputs["features"].copy())
        return [np.zeros((1, 2), np.float32)]

    step = Summed(network, {"size": 3})
    assert step(lambda: iter([])).shape == (1, 2)
    step(lambda: iter([np.array([[1.0, 2, 3]]), np.array([[0.5, 0, 0]])]))
    assert [x.tolist() for x in seen] == [[[0, 0, 0]], [[1.5, 2, 3]]]
