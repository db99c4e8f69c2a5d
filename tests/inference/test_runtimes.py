"""The network of a run by other runtimes: the scores of PyTorch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import praxiscope as px
from exported_models import each_exported_once
from narrow import narrow_resnets
from praxiscope.checkpoint import InputContract, ModelCard
from praxiscope.deploy.runtimes import RUNTIMES
from praxiscope.errors import UnknownNameError
from praxiscope.inference import kept_network
from praxiscope.inference.kept_network import use_runtime
from praxiscope.inference.options import RUNTIME_NAMES
from praxiscope.inference.recogniser import Recogniser
from support import write_moving

pytestmark = pytest.mark.slow
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module", autouse=True)
def _narrow() -> Iterator[None]:
    with narrow_resnets(stages=2), each_exported_once():
        yield


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_moving(path, 1, 0, frames=30)
    return path


def loaded(folder: Path, name: str = "tsn", **words: Any) -> Any:
    """A network with random weights, in float32, as it is loaded from a folder."""
    torch.manual_seed(0)
    kwargs = {"num_classes": 3, "backbone": "resnet10", **words}
    if not folder.exists():
        model: Any = px.create_model(name, **kwargs)
        for layer in model.classifiers:
            torch.nn.init.normal_(layer.weight, std=0.5)
        contract = InputContract(size=32, short_side=36, channels=model.channels["rgb"], snippets=4)
        Recogniser(model, ModelCard(name, kwargs, ("a", "b", "c"), input=contract)).save(folder)
    found: Any = px.load(folder, device="cpu")
    plain = Recogniser(found.model, found.card, precision="32")
    plain.folder = found.folder
    return plain


@pytest.mark.parametrize(
    ("name", "words", "protocols", "file"),
    [
        ("tsn", {}, ("5x1", "3x10"), "network.onnx"),
        ("tsm", {"snippets": 4}, ("1x1", "2x3"), "network.onnx"),
        ("late-pool", {"width": 8}, ("6x1", "9x1"), "frames.onnx"),
    ],
)
def test_the_scores_are_those_of_pytorch(
    tmp_path: Path, clip: Path, name: str, words: dict[str, Any], protocols: tuple[str, ...], file: str
) -> None:
    recogniser = loaded(tmp_path / "model", name, **words)
    expected = [recogniser.video_logits(clip, protocol) for protocol in protocols]
    windows = list(recogniser.window_logits(clip, 0.6, 0.3))
    assert recogniser.runtime == "torch"
    assert use_runtime(recogniser, "onnxruntime") == "onnxruntime"
    assert [path.name for path in (tmp_path / "model" / "exported").glob("*/*.onnx") if path.name == file]
    for protocol, logits in zip(protocols, expected, strict=True):
        torch.testing.assert_close(recogniser.video_logits(clip, protocol), logits, atol=1e-4, rtol=0)
        assert recogniser.runtime == recogniser.predict(clip, 1, protocol).runtime == "onnxruntime"
    for (start, end, row), (own_start, own_end, own) in zip(
        recogniser.window_logits(clip, 0.6, 0.3), windows, strict=True
    ):
        assert (start, end) == (own_start, own_end)
        torch.testing.assert_close(row, own, atol=1e-4, rtol=0)
    assert recogniser.runtime == "onnxruntime"


def test_other_shapes_are_left_to_pytorch(tmp_path: Path, clip: Path) -> None:
    recogniser = loaded(tmp_path / "model")
    expected = recogniser.video_logits(clip, "2xfull")
    use_runtime(recogniser, "onnxruntime", protocol="2x1")
    assert torch.equal(recogniser.video_logits(clip, "2xfull"), expected)
    assert recogniser.predict(clip, protocol="2xfull").runtime == "torch"


def test_one_export_for_the_same_weights(tmp_path: Path) -> None:
    said: list[str] = []
    recogniser = loaded(tmp_path / "model")
    for _ in range(2):
        use_runtime(recogniser, "onnxruntime", say=said.append)
    assert len(said) == 1
    with torch.no_grad():
        recogniser.model.classifiers[0].weight += 1
    shutil.rmtree(tmp_path / "other", ignore_errors=True)
    recogniser.save(tmp_path / "other")
    shutil.copytree(tmp_path / "model" / "exported", tmp_path / "other" / "exported")
    use_runtime(loaded(tmp_path / "other"), "onnxruntime", say=said.append)
    assert len(said) == 2
    assert len(list((tmp_path / "other" / "exported").glob("*/kept.json"))) == 2


def test_auto_takes_the_fastest_and_exports_only_for_much_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recogniser = loaded(tmp_path / "model")
    monkeypatch.setattr(kept_network, "_seconds", lambda *args, turns=3: 0.1)
    assert use_runtime(recogniser, "auto", snippets=590) == "torch"
    assert not (tmp_path / "model" / "exported").exists()
    times = {"torch": 0.1, "onnxruntime": 0.04, "openvino": 0.05}

    def seconds(network: Recogniser, views: Any, turns: int = 3) -> float:
        return times["torch" if network.exported is None else network.exported.name]

    monkeypatch.setattr(kept_network, "_seconds", seconds)
    assert use_runtime(recogniser, "auto", snippets=610) == "onnxruntime"
    (kept,) = (tmp_path / "model" / "exported").glob("*/kept.json")
    (known,) = json.loads(kept.read_text())["seconds"].values()
    assert known["onnxruntime"] == 0.04
    times["onnxruntime"] = 1.0  # it is not measured again
    assert use_runtime(recogniser, "auto", snippets=1) == "onnxruntime"


def test_what_cannot_be_exported_is_left_to_pytorch(tmp_path: Path, clip: Path) -> None:
    said: list[str] = []
    recogniser = loaded(tmp_path / "model")
    recogniser.folder = None
    assert use_runtime(recogniser, "auto", say=said.append) == "torch"
    assert said == []
    assert use_runtime(recogniser, "openvino", say=said.append) == "torch"
    assert len(said) == 1
    assert "openvino" in said[0]


def test_a_run_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recogniser = loaded(tmp_path / "model")
    (tmp_path / "model" / "exported").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert use_runtime(recogniser, "onnxruntime") == "onnxruntime"
    assert list((tmp_path / "cache" / "praxiscope" / "exported").glob("*/network.onnx"))


def test_names() -> None:
    assert {"auto", "torch", *RUNTIMES} == set(RUNTIME_NAMES)
    with pytest.raises(UnknownNameError, match="onnxruntime"):
        use_runtime(None, "onnxruntme")


def test_load_with_a_runtime(tmp_path: Path, clip: Path) -> None:
    expected = loaded(tmp_path / "model").video_logits(clip, "3x1")
    found: Any = px.load(tmp_path / "model", device="cpu", runtime="onnxruntime")
    torch.testing.assert_close(found.video_logits(clip, "3x1"), expected, atol=1e-4, rtol=0)
    assert found.runtime == "onnxruntime"
