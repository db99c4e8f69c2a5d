"""The picture of distances by block: against sign changes counted by hand, and scipy's rank correlation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import praxiscope as px
from praxiscope.checkpoint import InputContract, ModelCard, save_checkpoint
from praxiscope.errors import ArgumentError
from praxiscope.evaluation.views import Precision
from praxiscope.explain.blocks import _rank_correlation, explain_blocks
from support import write_clip

pytestmark = pytest.mark.usefixtures("_narrow")


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("praxiscope.inference.network.inference_precision", lambda *_: Precision())


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_clip(path, 0, frames=16)
    return path


def saved(folder: Path, name: str, **keywords: Any) -> Path:
    torch.manual_seed(0)
    given = {"num_classes": 3, "backbone": "resnet10", **keywords}
    contract = InputContract(size=48, short_side=48, snippets=4)
    save_checkpoint(
        folder / name, px.create_model(name, **given), ModelCard(name, given, ("a", "b", "c"), input=contract)
    )
    return folder / name


def test_distances_are_shares_of_signs_that_change(clip: Path, tmp_path: Path) -> None:
    run = saved(tmp_path, "tsn")
    facts = explain_blocks(run, clip, frames=9, cuts=2, device="cpu").facts
    assert facts["frames"] == [0, 2, 4, 6, 8, 9, 11, 13, 15]
    assert [block["layer"] for block in facts["blocks"]] == ["layer1", "layer2", "layer3", "layer4"]
    network: Any = px.load(run, device="cpu")
    found: dict[str, Any] = {}
    for name in ("layer1", "layer4"):
        layer = getattr(network.model.backbone, name)
        layer.register_forward_hook(
            lambda _, given, output, name=name: found.update({name: output.numpy() > 0})
        )
    with torch.inference_mode():
        network.model(network.whole_frames(clip, torch.tensor(facts["frames"]))[None])
    for block in facts["blocks"]:
        if block["layer"] in found:
            signs = found[block["layer"]].reshape(9, -1)
            assert block["distances"] == pytest.approx((signs[1:] != signs[:-1]).mean(1))
    first, last = (np.array(facts["blocks"][n]["distances"]) for n in (0, 3))
    assert facts["blocks"][3]["correlation"] == pytest.approx(spearmanr(first, last).statistic)
    assert facts["cuts"] == sorted(np.argsort(-first)[:2].tolist())
    assert facts["blocks"][3]["cut"] == pytest.approx(last[facts["cuts"]].mean())


def test_equal_values_share_their_rank() -> None:
    one, other = np.array([1.0, 2.0, 2.0, 3.0, 5.0]), np.array([2.0, 2.0, 1.0, 4.0, 3.0])
    assert _rank_correlation(one, other) == pytest.approx(spearmanr(one, other).statistic)
    assert _rank_correlation(one, np.ones(5)) is None


def test_the_later_blocks_of_a_full_video_network_see_single_frames(clip: Path, tmp_path: Path) -> None:
    facts = explain_blocks(saved(tmp_path, "full-video", clusters=3), clip, frames=6, device="cpu").facts
    assert [len(block["distances"]) for block in facts["blocks"]] == [5] * 4


def test_other_networks_and_numbers_are_refused(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="image network"):
        explain_blocks(saved(tmp_path, "lstm", hidden=8), clip, device="cpu")
    for words in ({"frames": 2}, {"cuts": 0}):
        with pytest.raises(ArgumentError, match=next(iter(words))):
            explain_blocks(tmp_path, clip, **words)  # type: ignore[arg-type]


def test_the_command_writes_the_picture_and_its_numbers(call: Any, clip: Path, tmp_path: Path) -> None:
    run, path = saved(tmp_path, "tsn"), tmp_path / "blocks.png"
    code, out, err = call("explain", "blocks", run, clip, "--device", "cpu", "--out", path, "--json")
    assert code == 0, err
    assert len(json.loads(out)["blocks"]) == 4
    assert path.read_bytes().startswith(b"\x89PNG")
