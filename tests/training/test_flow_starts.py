"""Networks of flow that start from runs: of flow networks, and of image networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import praxiscope as px
from narrow import narrow_resnets
from praxiscope.checkpoint import InputContract, ModelCard, save_checkpoint
from praxiscope.errors import ArgumentError
from praxiscope.models.weights import load_weights
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import override
from praxiscope.training.start_parts import start_from_parts

MEAN = (0.1, 0.2, 0.3)


@pytest.fixture(autouse=True)
def _narrow() -> Any:
    with narrow_resnets():
        yield


def saved(folder: Path, name: str, labels: tuple[str, ...] = (), **keywords: Any) -> Any:
    torch.manual_seed(1)
    model: Any = px.create_model(name, backbone="resnet10", **keywords)
    channels = model.channels["rgb"]
    contract = InputContract(32, 36, channels, mean=MEAN, length=channels // 3)
    card = ModelCard(name, {"backbone": "resnet10", **keywords}, labels, input=contract)
    save_checkpoint(folder, model, card)
    return model


def started(name: str, run: Path) -> Any:
    torch.manual_seed(2)
    model: Any = px.create_model(name, backbone="resnet10", num_classes=3)
    start_from_parts(name, model, [(str(run), None)], ("a", "b", "c"), None)
    assert model.normalisation["rgb"]["mean"] == MEAN
    return model


@pytest.mark.parametrize(
    ("source", "name"),
    [("flownet", "actionflownet-2f"), ("flownet", "flow-stacked"), ("flownet-3d", "actionflownet")],
)
def test_both_parts_start_from_a_flow_network(tmp_path: Path, source: str, name: str) -> None:
    trained = saved(tmp_path / "run", source)
    model = started(name, tmp_path / "run")
    for key, value in trained.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


@pytest.mark.parametrize("name", ["actionflownet-2f", "actionflownet"])
def test_the_encoder_is_inflated_from_a_run_on_single_frames(tmp_path: Path, name: str) -> None:
    trained = saved(tmp_path / "run", "tsn", ("a", "b", "c"), num_classes=3, in_channels=3)
    torch.manual_seed(2)
    model: Any = px.create_model(name, backbone="resnet10", num_classes=3)
    report = load_weights(model, tmp_path / "run")
    assert (report.missing, report.unexpected, report.mismatched) == ((), (), ())
    came, own = trained.backbone.layer3[0].conv1.weight, model.encoder.layer3[0].conv1.weight
    torch.testing.assert_close(own.sum(2) if own.dim() == 5 else own, came)
    assert torch.equal(model.encoder.bn1.running_mean, trained.backbone.bn1.running_mean)
    assert model.normalisation["rgb"]["mean"] == MEAN


def test_a_frozen_network_needs_trained_weights(moving: tuple[Path, Path], tmp_path: Path) -> None:
    from praxiscope.commands.train import train

    settings = override(get_recipe("default-flow-stacked"), [f"data.source={moving[0]}", "data.workers=0"])
    with pytest.raises(ArgumentError, match=r"flow-stacked.*encoder.*--from"):
        train(settings, tmp_path / "run")
