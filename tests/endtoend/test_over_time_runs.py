"""Runs of models over time: network expansion, and training a few frames at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import praxiscope as px
from praxiscope.checkpoint import find_checkpoint, load_card
from praxiscope.errors import ArgumentError, CheckpointError
from praxiscope.training.expansion import expand
from runs import losses, weights

pytestmark = pytest.mark.usefixtures("_narrow")
SMALL: dict[str, Any] = {
    "input.size": 32,
    "input.short_side": 36,
    "data.workers": 0,
    "run.validate_epochs": 0,
    "run.tensorboard": False,
    "optim.epochs": 1,
    "optim.warmup_epochs": 0,
    "optim.lr": 1e-3,
}
NETWORK = {
    "model.backbone": "resnet10",
    "model.width": 8,
    "model.dropout": 0.0,
    "model.pretrained": False,
}


def trained(data: Path, out: Path, model: str | None, frames: int, **more: Any) -> Path:
    network = {} if "start" in more or "weights" in more else NETWORK
    px.train(
        data, out=out, model=model, device="cpu", **{"input.snippets": frames, **SMALL, **network, **more}
    )
    return out


@pytest.fixture(scope="module")
def short(_narrow: None, colour_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(colour_set, tmp_path_factory.mktemp("runs") / "one", "conv-pool", 1)


@pytest.mark.slow
def test_a_network_of_more_frames_starts_from_one_of_fewer(
    colour_set: Path, short: Path, tmp_path: Path
) -> None:
    tiny = {"optim.lr": 1e-12, "optim.schedule": "constant"}
    longer = trained(colour_set, tmp_path / "more", None, 3, start=str(short), **tiny)
    card = load_card(find_checkpoint(longer))
    assert (card.name, card.kwargs["width"], card.kwargs["snippets"]) == ("conv-pool", 8, 3)
    before, after = weights(short), weights(longer)
    for key, value in before.items():
        torch.testing.assert_close(after[key], value, rtol=0, atol=1e-8)
    # The image network alone starts another model.
    other = trained(
        colour_set,
        tmp_path / "frame",
        "frame",
        1,
        weights=str(short),
        **tiny,
        **{"model.backbone": "resnet10"},
    )
    found = weights(other)
    torch.testing.assert_close(found["backbone.conv1.weight"], before["frame.backbone.conv1.weight"])


def test_the_classifier_of_local_pooling_is_named_if_its_windows_differ(
    tmp_path: Path, colour_set: Path
) -> None:
    run = trained(
        colour_set,
        tmp_path / "run",
        "local-pool",
        15,
        **{"optim.batch": 2, "optim.steps": 1, "optim.epochs": None},
    )
    labels = load_card(find_checkpoint(run)).labels
    keywords = {"num_classes": len(labels), "backbone": "resnet10", "width": 8}
    model: Any = px.create_model("local-pool", snippets=30, **keywords)
    new = model.over_time.classifier.weight.clone()
    line = expand("local-pool", model, str(run), labels, None)
    assert "over_time.classifier.weight" in line
    assert f"[{len(labels)}, 40]" in line
    assert f"[{len(labels)}, 16]" in line
    saved = weights(run)
    assert torch.equal(model.over_time.classifier.weight, new)
    assert torch.equal(model.over_time.fc.new[0][0].weight, saved["over_time.fc.new.0.0.weight"])
    others = tuple(reversed(labels))
    equal: Any = px.create_model("local-pool", snippets=15, **keywords)
    assert "classes differ" in expand("local-pool", equal, str(run), others, None)
    assert not torch.equal(equal.over_time.classifier.weight, saved["over_time.classifier.weight"])
    wider: Any = px.create_model("local-pool", snippets=15, **{**keywords, "width": 16})
    with pytest.raises(CheckpointError, match=r"fc\.new"):
        expand("local-pool", wider, str(run), labels, None)
    with pytest.raises(ArgumentError, match=r"local-pool.*conv-pool.*--weights"):
        expand("conv-pool", wider, str(run), labels, None)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["conv-pool", "lstm"])
def test_a_run_learns_the_same_a_few_frames_at_a_time(model: str, colour_set: Path, tmp_path: Path) -> None:
    more: dict[str, Any] = {"optim.steps": 3, "optim.epochs": None}
    if model == "lstm":
        more |= {"model.hidden": 8, "model.layers": 2}
    whole = tmp_path / "whole"
    parts = tmp_path / "parts"
    for out, step in ((whole, {}), (parts, {"backprop.name": "cached", "backprop.chunk": 5})):
        given = {key: value for key, value in NETWORK.items() if model != "lstm" or key != "model.width"}
        px.train(
            colour_set,
            out=out,
            model=model,
            device="cpu",
            **{"input.snippets": 3, **SMALL, **given, **more, **step},
        )
    torch.testing.assert_close(torch.tensor(losses(parts)), torch.tensor(losses(whole)), rtol=2e-3, atol=1e-6)
    assert losses(whole)[0] != losses(whole)[-1]


def test_two_runs_do_not_start_a_network_of_one_stream(colour_set: Path, short: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="one run"):
        trained(colour_set, tmp_path / "run", "conv-pool", 1, start=f"{short},{short}")
