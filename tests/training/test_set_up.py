"""The set-up of a training run."""

from __future__ import annotations

import torch
from lightning_fabric import Fabric

from praxiscope.checkpoint import ModelCard
from praxiscope.checkpoint.card import InputContract
from praxiscope.models import create_model
from praxiscope.progress import Reporter
from praxiscope.recipes.named import get_recipe
from praxiscope.training.loop import TrainState
from praxiscope.training.network import Network
from praxiscope.training.set_up import set_up


def test_depthwise_convolutions_are_trained_in_float32_on_a_cpu(monkeypatch):
    model = create_model("tsn", num_classes=2, backbone="mobilenet_v2")
    network = Network(model, ModelCard("tsn", {}, ("a", "b"), input=InputContract()))
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    wrapped, _ = set_up(get_recipe("default"), network, fabric, TrainState(), None, (), Reporter())
    kinds = set()
    plain = torch.conv2d

    def watched(x, weight, bias, stride, padding, dilation, groups):
        kinds.add((groups > 1, x.dtype, torch.is_autocast_enabled("cpu")))
        return plain(x, weight, bias, stride, padding, dilation, groups)

    monkeypatch.setattr("torch.nn.functional.conv2d", watched)
    wrapped(torch.rand(1, 1, 3, 64, 64))
    assert {(kind, half) for kind, _, half in kinds} == {(True, False), (False, True)}
    assert {dtype for depthwise, dtype, _ in kinds if depthwise} == {torch.float32}
