"""Fused runs as one folder with several networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import praxiscope as px
from exported_models import LABELS, dis, predicted_without_torch, saved
from praxiscope import deploy
from praxiscope.commands.export import export
from praxiscope.errors import ArgumentError, CheckpointError
from praxiscope.evaluation.fusion import combine
from praxiscope.evaluation.svm import SvmFusion
from praxiscope.inference.fused import save_fused
from support import write_moving

pytest.importorskip("cv2")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a clip, a network of RGB frames and one of flow, and the folders of both as exported."""
    folder = tmp_path_factory.mktemp("fused")
    write_moving(folder / "clip.mp4", 1, 0, frames=21)
    saved(folder / "rgb")
    saved(folder / "flow", flow=dis(3))
    return folder


@pytest.mark.parametrize(("kind", "weights"), [("average", None), ("weighted", (1.0, 3.0)), ("l2", None)])
def test_the_scores_are_those_of_the_fused_run(tmp_path: Path, root: Path, kind: str, weights: Any) -> None:
    save_fused(tmp_path / "fused", [root / "rgb", root / "flow"], kind=kind, weights=weights)
    made = export(tmp_path / "fused", tmp_path / "out", protocol="3x1", clips=[root / "clip.mp4"])
    assert made.description.checked["clips"]["largest"] < 1e-4
    assert made.bytes == sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file())
    runner = deploy.load(tmp_path / "out")
    assert isinstance(runner, deploy.FusedRunner)
    each = [part.logits(root / "clip.mp4") for part in runner.parts]
    wanted = combine([row[None] for row in each], kind=kind, weights=weights)[0]
    assert np.allclose(runner.logits(root / "clip.mp4"), wanted, atol=1e-5)
    assert not np.allclose(each[0], each[1], atol=1e-2)
    run: Any = px.load(tmp_path / "fused", device="cpu")
    found, answer = runner.predict(root / "clip.mp4", top=3), run.predict(root / "clip.mp4", 3, "3x1")
    assert np.allclose(found.scores, answer.scores, atol=0.01)  # that network may run in bfloat16


def test_a_fused_run_with_a_machine_predicts_without_torch(tmp_path: Path, root: Path) -> None:
    rng = np.random.default_rng(0)
    machine = SvmFusion(rng.normal(size=(3, 6)), rng.normal(size=3), LABELS, c=1.0)
    save_fused(tmp_path / "fused", [root / "rgb", root / "flow"], kind="svm", svm=machine)
    export(tmp_path / "fused", tmp_path / "out", protocol="3x1")
    runner = deploy.load(tmp_path / "out")
    assert isinstance(runner, deploy.FusedRunner)
    each = [part.logits(root / "clip.mp4")[None] for part in runner.parts]
    wanted = torch.from_numpy(machine.decide(each)[0]).softmax(0).sort(descending=True)
    found = predicted_without_torch(tmp_path / "out", root / "clip.mp4")
    assert found["labels"] == [LABELS[number] for number in wanted.indices.tolist()]
    assert np.allclose(found["scores"], wanted.values.numpy(), atol=1e-5)
    (tmp_path / "out" / "svm.npz").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"svm\.npz"):
        deploy.load(tmp_path / "out")


def test_a_part_that_cannot_be_exported_is_named(tmp_path: Path, root: Path) -> None:
    saved(tmp_path / "slow", flow=dis(3, method="tvl1"))
    save_fused(tmp_path / "fused", [root / "rgb", tmp_path / "slow"])
    with pytest.raises(ArgumentError, match="tvl1"):
        export(tmp_path / "fused", tmp_path / "out")
    assert not (tmp_path / "out").exists()
