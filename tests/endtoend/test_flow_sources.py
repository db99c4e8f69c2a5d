"""Where a trained network's flow comes from: raft's weights from a file, or a store."""

from __future__ import annotations

import gc
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

import praxiscope as px
from praxiscope._compat import import_torchvision
from praxiscope.checkpoint import FlowInput, InputContract, ModelCard, save_checkpoint
from praxiscope.cli.main import app
from praxiscope.commands.flow import StoreOptions, extract_flow
from praxiscope.commands.train import train
from praxiscope.data.joined_flow import JoinedFlow
from praxiscope.flow.contract import FlowContract
from praxiscope.flow.store import FlowStore, create_store
from praxiscope.inference.fused import save_fused
from praxiscope.inference.timeline import windows
from praxiscope.models import create_model
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import TrainSettings, load_yaml, override
from runs import run_test
from support import SMALL, write_clip

LENGTH = 2


def save_model(folder: Path, made: dict[str, object] | None, seed: int = 0, kind: str = "stack") -> Path:
    """A model folder: of a network of random weights that sees flow made so, or with None pictures."""
    torch.manual_seed(seed)
    kwargs: dict[str, object] = {"backbone": "squeezenet1_1", "num_classes": 2}
    contract = InputContract(size=32, short_side=36, snippets=2)
    if made is not None:
        kwargs |= {"stream": "flow", "in_channels": 2 * LENGTH}
        contract = replace(contract, channels=2 * LENGTH, flow=FlowInput(LENGTH, kind, True, made))
    save_checkpoint(
        folder, create_model("tsn", **kwargs), ModelCard("tsn", kwargs, ("a", "b"), input=contract)
    )
    return folder


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    for number, name in enumerate("ab"):
        for clip in range(2):
            write_clip(root / name / f"{name}{clip}.mp4", number, frames=5, seed=10 * number + clip)
    return root


@pytest.fixture(scope="module")
def raft(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of raft's small network: as safetensors, as a state dict, and others."""
    import_torchvision()
    from torchvision.models.optical_flow import raft_small

    folder = tmp_path_factory.mktemp("raft")
    for seed, name in ((7, "raft"), (8, "other")):
        torch.manual_seed(seed)
        state = raft_small(weights=None, progress=False).state_dict()
        save_file(state, str(folder / f"{name}.safetensors"))
        torch.save(state, folder / f"{name}.pt")
    return folder


@pytest.fixture(scope="module")
def by_raft(videos: Path, raft: Path) -> tuple[Path, Path]:
    """A network that sees flow by raft, and the videos' flow, stored."""
    parameters = {"weights": str(raft / "raft.pt"), "size": "small", "updates": 2}
    extract_flow(videos, raft / "flow", StoreOptions(method="raft", parameters=parameters, workers=1))
    return save_model(raft / "model", FlowStore(raft / "flow").contract.to_dict()), raft / "flow"


# ------------------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize("file", ["raft.safetensors", "raft.pt"])
def test_rafts_weights_give_the_scores_of_its_stored_flow(
    by_raft: tuple[Path, Path], videos: Path, raft: Path, file: str
) -> None:
    model, flow = by_raft
    recogniser = px.load(model, flow_weights=raft / file)
    stored = px.load(model, flow=flow).video_logits(videos / "a" / "a0.mp4")
    torch.testing.assert_close(recogniser.video_logits(videos / "a" / "a0.mp4"), stored, rtol=1e-4, atol=1e-5)
    assert len(list(recogniser.timeline(videos / "a" / "a0.mp4", window_s=0.2, stride_s=0.2))) >= 2


def test_other_weights_are_refused_before_anything_is_read(by_raft: tuple[Path, Path], raft: Path) -> None:
    model, flow = by_raft
    digest = FlowStore(flow).contract.parameters["weights"]
    with pytest.raises(px.ArgumentError, match=rf"other\.pt: .*{digest}"):
        px.load(model, flow_weights=raft / "other.pt")
    with pytest.raises(px.CheckpointError, match=r"none\.pt"):
        px.load(model, flow_weights=raft / "none.pt")
    with pytest.raises(px.ArgumentError, match=r"flow_weights|--flow-weights"):
        px.load(model, flow_weights=raft / "raft.pt", flow=flow)


def test_without_the_weights_they_are_asked_for(by_raft: tuple[Path, Path], videos: Path) -> None:
    with pytest.raises(px.ArgumentError, match=r"raft.*--flow-weights.*--flow\)"):
        px.load(by_raft[0]).predict(videos / "a" / "a0.mp4")


def test_networks_without_a_use_for_the_weights_say_so(tmp_path: Path, raft: Path) -> None:
    made = {"method": "tvl1", "parameters": {}, "range": 20.0, "short_side": None}
    with pytest.raises(px.ArgumentError, match=r"raft\.pt: .*tvl1"):
        px.load(save_model(tmp_path / "tvl1", made), flow_weights=raft / "raft.pt")
    with pytest.raises(px.ArgumentError, match=r"raft\.pt"):
        px.load(save_model(tmp_path / "rgb", None), flow_weights=raft / "raft.pt")
    save_fused(tmp_path / "both", [tmp_path / "tvl1", tmp_path / "rgb"])
    with pytest.raises(px.ArgumentError, match=r"raft\.pt"):
        px.load(tmp_path / "both", flow_weights=raft / "raft.pt")


def test_commands_hand_the_weights_to_the_networks_that_need_them(
    by_raft: tuple[Path, Path], videos: Path, raft: Path, tmp_path: Path
) -> None:
    model, flow = by_raft
    tvl1 = {"method": "tvl1", "parameters": {"warps": 1}, "range": 20.0, "short_side": None}
    both = tmp_path / "both"
    save_fused(both, [save_model(tmp_path / "rgb", None), model, save_model(tmp_path / "tvl1", tvl1)])
    weights = ["--flow-weights", str(raft / "raft.safetensors")]
    for words in (
        ["predict", both, videos, *weights, "--protocol", "1x1"],
        ["predict", model, videos / "a" / "a0.mp4", *weights, "--window", "0.2s"],
        ["test", model, videos, *weights, "--protocol", "1x1", "--out", tmp_path / "a.npz", "--workers", 1],
    ):
        result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
        assert result.exit_code == 0, result.stderr
    expected = run_test(model, videos, protocol="1x1", flow=flow, workers=0).scores
    found = px.Scores.load(tmp_path / "a.npz")
    np.testing.assert_allclose(found.reordered(expected.ids).logits, expected.logits, rtol=1e-4, atol=1e-5)


# ----------------------------------------------------------------------------------------------- timelines

TVL1 = {"warps": 1, "iterations": 3}


@pytest.fixture(scope="module")
def by_tvl1(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The videos' flow by TV-L1, both ways."""
    flow = tmp_path_factory.mktemp("tvl1") / "flow"
    extract_flow(videos, flow, StoreOptions(parameters=TVL1, backward=True, workers=1))
    return flow


@pytest.mark.parametrize("kind", ["stack", "trajectory", "stack-bidirectional", "trajectory-bidirectional"])
def test_a_timeline_of_stored_flow_estimates_nothing_and_is_the_same(
    by_tvl1: Path, videos: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_model(tmp_path / "model", FlowStore(by_tvl1).contract.to_dict(), kind=kind)
    video = videos / "b" / "b0.mp4"
    estimated = list(px.load(model).timeline(video, window_s=0.25, stride_s=0.1, top=2))
    monkeypatch.setattr(px.flow.tvl1.TVL1, "__call__", lambda *_, **__: pytest.fail("flow was estimated"))
    stored = list(px.load(model, flow=by_tvl1).timeline(video, window_s=0.25, stride_s=0.1, top=2))
    assert [(s.start_s, s.end_s, s.labels) for s in stored] == [
        (s.start_s, s.end_s, s.labels) for s in estimated
    ]
    assert len({tuple(s.scores) for s in stored}) > 1
    for one, other in zip(stored, estimated, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-5)


def test_a_timeline_without_its_stored_flow_is_an_error_of_the_video(
    by_tvl1: Path, videos: Path, tmp_path: Path
) -> None:
    model = save_model(tmp_path / "model", FlowStore(by_tvl1).contract.to_dict())
    write_clip(tmp_path / "new.mp4", 0, frames=5)
    for form in ("--csv", "--json"):
        words = [
            "predict",
            model,
            tmp_path / "new.mp4",
            videos / "a",
            "--window",
            "0.2s",
            "--flow",
            by_tvl1,
            form,
        ]
        result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
        assert result.exit_code == 1
        assert re.search(rf"error: {re.escape(str(by_tvl1))}: .*new\.mp4", result.output)
        assert str(videos / "a" / "a0.mp4") in result.stdout  # the others are predicted all the same


@pytest.mark.parametrize("kind", ["stack", "stack-bidirectional"])
def test_the_memory_of_a_timeline_of_stored_flow_does_not_grow(tmp_path: Path, kind: str) -> None:
    write_clip(tmp_path / "long.mp4", 0, frames=400)
    store = create_store(tmp_path / "flow", FlowContract("tvl1", {}))
    for backward in (False, True):
        with store.writing("long.mp4", tmp_path / "long.mp4", backward=backward) as writer:
            writer.add(torch.zeros(399, 2, 48, 64))
    contract = InputContract(size=32, short_side=36, snippets=2, channels=2 * LENGTH)
    contract = replace(contract, flow=FlowInput(LENGTH, kind, True, store.contract.to_dict()))

    def living() -> int:
        return sum(type(x) is torch.Tensor and x.ndim > 2 for x in gc.get_objects())

    gc.collect()
    most, before = 0, living()
    for number, _ in enumerate(windows(tmp_path / "long.mp4", 1.0, 0.25, contract, store)):
        if number % 20 == 5:
            most = max(most, living() - before)
    assert number > 120
    assert 0 < most <= (1 / 0.25 + 2) * contract.snippets + 1


# ------------------------------------------------------------------------------- what other tools have made


@pytest.fixture(scope="module")
def listed(videos: Path) -> Path:
    """The videos, one of each class to train and one to test on."""
    rows = [
        f"{name}/{name}{number}.mp4,{name},{split}"
        for name in "ab"
        for number, split in enumerate(("train", "test"))
    ]
    (videos / "list.csv").write_text("\n".join(["path,label,split", *rows]) + "\n")
    return videos / "list.csv"


@pytest.fixture(scope="module")
def foreign(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The videos' flow as TSN's tools leave it: JPEGs in a folder for each clip, and no word of how they were made."""
    flow = tmp_path_factory.mktemp("foreign") / "flow"
    extract_flow(videos, flow, StoreOptions(parameters=TVL1, storage="jpeg", workers=1))
    for path in (flow / "flow.json", *flow.rglob("source.json")):
        path.unlink()
    for folder in flow.glob("*/*"):
        folder.rename(flow / folder.name)
    return flow


def wanted(listed: Path, *assignments: str) -> TrainSettings:
    few = ("input.flow_length=2", "optim.epochs=1", "optim.batch=2", f"data.source={listed}")
    return override(get_recipe("default"), [*SMALL, *few, *assignments])


def test_jpegs_of_other_tools_are_trained_and_tested_on_with_their_range(
    listed: Path, foreign: Path, tmp_path: Path
) -> None:
    def run(*words: object) -> str:
        return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False).output

    given = [word for text in (*SMALL, "optim.epochs=1", "optim.batch=2") for word in ("--set", text)]
    model, bound = tmp_path / "run", ("--flow", foreign, "--flow-range", 20)
    assert "Done" in run("train", listed, *bound, "--out", model, *given)
    assert load_yaml(model / "settings.yaml").data.flow_range == 20
    assert "top1" in run("test", model, listed, *bound, "--workers", 0)
    assert "a/a0.mp4,1," in run("predict", model, listed.parent / "a" / "a0.mp4", *bound, "--csv")
    with pytest.raises(px.DataError, match="--flow-range"):
        px.load(model, flow=foreign)
    with pytest.raises(px.DataError, match=r"range=20 .*\b10\b"):
        px.load(model, flow=foreign, flow_range=10)
    save_fused(tmp_path / "mixed", [save_model(tmp_path / "rgb0", None), model])
    mixed = px.load(
        tmp_path / "mixed", flow=foreign, flow_range=20
    )  # which its part of pictures has no use of
    assert [part.flow_source is None for part in mixed.parts] == [True, False]
    save_fused(tmp_path / "both", [save_model(tmp_path / "rgb", None), save_model(tmp_path / "rgb2", None)])
    for folder in (model, tmp_path / "both"):
        with pytest.raises(px.ArgumentError, match="flow_range = 20 "):
            px.load(folder, flow_range=20)


def test_a_range_that_does_not_fit_is_said_before_training(
    listed: Path, foreign: Path, by_tvl1: Path, tmp_path: Path
) -> None:
    def start(*assignments: str) -> None:
        train(wanted(listed, *assignments), tmp_path / "run")

    with pytest.raises(px.DataError, match="--flow-range"):
        start("model.stream=flow", f"data.flow={foreign}")
    with pytest.raises(px.DataError, match=r"flow: .*\b20\.0\b.*\b10\.0\b"):
        start("model.stream=flow", f"data.flow={by_tvl1}", "data.flow_range=10")
    with pytest.raises(px.ArgumentError, match=r"data\.flow_range = 20\b.*--flow"):
        start("data.flow_range=20")
    with pytest.raises(px.ArgumentError, match=r"data\.flow_range = -1"):
        start("data.flow_range=-1")
    assert not (tmp_path / "run").exists()


# ------------------------------------------------------------------------------------------- backward flow


def test_a_store_without_backward_flow_is_refused_at_once(
    listed: Path, foreign: Path, by_tvl1: Path, videos: Path, tmp_path: Path
) -> None:
    forward = tmp_path / "flow"
    extract_flow(videos, forward, StoreOptions(parameters=TVL1, workers=1))
    assert FlowStore(by_tvl1).has_backward
    assert not FlowStore(forward).has_backward
    asked = "model.stream=flow", "input.flow_kind=stack-bidirectional"
    remedy = r"flow: .*stack-bidirectional.*--backward"
    with pytest.raises(px.DataError, match=remedy):
        train(wanted(listed, *asked, f"data.flow={forward}"), tmp_path / "run")
    with pytest.raises(px.DataError, match=remedy):
        train(wanted(listed, *asked, f"data.flow={foreign}", "data.flow_range=20"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    made = FlowStore(forward).contract.to_dict()
    model = save_model(tmp_path / "model", made, kind="stack-bidirectional")
    with pytest.raises(px.DataError, match=remedy):
        px.load(model, flow=forward)
    assert px.load(save_model(tmp_path / "other", made), flow=forward)


def test_each_of_several_stores_must_have_backward_flow(listed: Path, by_tvl1: Path, tmp_path: Path) -> None:
    shutil.copytree(by_tvl1, tmp_path / "flow")
    for path in (tmp_path / "flow").rglob("*.backward.pxf"):
        path.unlink()
    both = FlowStore(by_tvl1), FlowStore(tmp_path / "flow")
    assert [JoinedFlow({"a": both[0], "b": other}).has_backward for other in both] == [True, False]
    tasks = {name: {"source": str(listed), "flow": str(s.root)} for name, s in zip("ab", both, strict=True)}
    asked = {
        "data.source": "",
        "data.tasks": tasks,
        "model.stream": "flow",
        "input.flow_kind": "stack-bidirectional",
    }
    with pytest.raises(px.DataError, match=f"{tmp_path / 'flow'}: .*--backward"):
        train(wanted(listed).updated(asked), tmp_path / "run")


def test_a_clip_without_backward_flow_is_skipped_before_training(
    listed: Path, by_tvl1: Path, tmp_path: Path
) -> None:
    shutil.copytree(by_tvl1, tmp_path / "flow")
    (tmp_path / "flow" / "a" / "a1.mp4.backward.pxf").unlink()
    asked = "model.stream=flow", "input.flow_kind=stack-bidirectional", f"data.flow={tmp_path / 'flow'}"
    assert train(wanted(listed, *asked), tmp_path / "run")
    skipped = (tmp_path / "run" / "skipped.csv").read_text()
    assert "a/a1.mp4: " in skipped
    assert "--backward" in skipped
    assert skipped.count("--backward") == 1
