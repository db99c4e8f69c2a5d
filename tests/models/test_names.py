"""What is known of models and backbones without importing them."""

from __future__ import annotations

import inspect

import pytest
import torch

from praxiscope.errors import ArgumentError, UnknownNameError
from praxiscope.models import create_model, list_models, names
from praxiscope.models.backbones import _FAMILIES, create_backbone
from praxiscope.models.registered import models
from praxiscope.models.undrawn import Undrawn
from praxiscope.registry import Registry


@pytest.mark.parametrize("name", list(names.FILES))
def test_keywords_are_read_from_a_models_file(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    classes = {} if names.learns_of(name) == "flow" else {"num_classes": 2}
    words = {} if names.learns_of(name) == "trajectories" else {"backbone": "resnet18"}
    create_model(name, **classes, **words)  # imported, and so registered
    signature = inspect.signature(models.get(name).build).parameters
    monkeypatch.setattr(names, "models", Registry("model"))  # as if it were not
    assert names.keywords_of(name) == {key: parameter.default for key, parameter in signature.items()}
    assert all(names.keywords_of(name)[key] is names.REQUIRED for key in classes)
    assert ("num_classes" in names.keywords_of(name)) is bool(classes)
    known = "backbone" if words else "samples"
    with pytest.raises(ArgumentError, match=f"'{known}'"):
        names.check_keywords(name, [f"{known[:2]}x{known[2:]}"])


def test_names_are_those_of_what_can_be_built() -> None:
    assert set(names.BACKBONES) == set(_FAMILIES)
    assert list_models() == sorted(names.FILES)
    assert {name for name in names.FILES if names.takes_flow_targets(name)} == {
        "actionflownet",
        "actionflownet-2f",
    }
    assert names.default_stream("multiplier") == "both"
    assert {names.default_stream(name) for name in names.FILES if name != "multiplier"} == {"rgb"}
    names.check_backbone("timm/anything")
    with pytest.raises(UnknownNameError, match="'resnet18'"):
        names.check_backbone("resnet81")


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("mean", "low", "high"), [(0.0, -2.0, 2.0), (0.0, 3.0, 5.0), (9.0, -1.0, 1.0)])
@pytest.mark.filterwarnings("ignore:mean is more than 2 std")
def test_truncated_draws_end_whatever_memory_holds(mean: float, low: float, high: float) -> None:
    for held in (1e30, float("nan"), -7.0):
        weight = torch.full((4, 5), held)
        with Undrawn():
            torch.nn.init.trunc_normal_(weight, mean, 1.0, low, high)
        assert ((weight >= low) & (weight <= high)).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "googlenet", "mobilenet_v1", "cnn_m_2048"])
def test_a_network_to_be_loaded_draws_nothing(name: str) -> None:
    drawn = create_backbone(name, num_classes=3)
    before = torch.random.get_rng_state()
    with Undrawn():
        network = create_backbone(name, num_classes=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert {k: v.shape for k, v in network.state_dict().items()} == {
        k: v.shape for k, v in drawn.state_dict().items()
    }
    network.load_state_dict(drawn.state_dict())
    x = torch.zeros(1, 3, 224 if name.startswith("cnn") else 64, 224 if name.startswith("cnn") else 64)
    assert torch.equal(network.eval()(x), drawn.eval()(x))
