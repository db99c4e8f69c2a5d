"""Flow as images of three channels, for networks of RGB frames (Ng, 2018, chapter 3)."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

import praxiscope as px
from praxiscope.checkpoint import InputContract, ModelCard, find_checkpoint, load_card, save_checkpoint
from praxiscope.commands.train import train
from praxiscope.errors import ArgumentError
from praxiscope.explain.filters import explain_filters
from praxiscope.flow.stack import check_kind
from praxiscope.models import create_model
from praxiscope.models.weights import load_weights
from praxiscope.types import Batch
from praxiscope.video.colour import flow_levels, normalise_rgb
from praxiscope.video.transforms import BatchAugment
from runs import run_test, settings

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_levels_are_those_of_the_formula() -> None:
    values = [*range(-45, 46), 0.1, -0.1, 39.99, 1e6, -1e6]
    wanted = []
    for value in values:
        exact = Fraction(255, 2) + Fraction(255, 2) * Fraction(max(-40.0, min(40.0, value))) / 40
        wanted.append(round(exact))  # of two equally near, the even one
    found = flow_levels(torch.tensor(values, dtype=torch.float64))
    assert found.tolist() == wanted
    assert (found.min(), found.max(), flow_levels(torch.zeros(1)).item()) == (0, 255, 128)


@pytest.mark.parametrize("channels_last", [False, True])
def test_an_image_is_normalised_as_a_frame_whose_third_channel_has_the_mean(channels_last: bool) -> None:
    flow = 60 * torch.randn(2, 3, 2, 6, 8, generator=torch.Generator().manual_seed(0))
    before = flow.clone()
    augment = BatchAugment(
        flip=True, flow_mean=MEAN, flow_std=STD, flow_image=True, channels_last=channels_last
    )
    seeds = [seed for seed in range(50) if augment.draw(seed)[0]][:1] + [
        seed for seed in range(50) if not augment.draw(seed)[0]
    ][:1]
    found = augment(Batch({"flow": flow}, torch.zeros(2), ["a", "b"], seeds)).streams["flow"]
    assert torch.equal(flow, before)
    mirrored = flow[0].flip(-1) * torch.tensor([-1.0, 1.0])[:, None, None]
    for number, fields in enumerate((mirrored, flow[1])):
        image = torch.full((3, 3, 6, 8), 255 * MEAN[2])
        image[:, :2] = (127.5 + 127.5 * fields.clamp(-40, 40) / 40).round()
        expected = normalise_rgb(image, torch.zeros(3, dtype=torch.int64), None, None, MEAN, STD, False)
        torch.testing.assert_close(found[number], expected, rtol=1e-5, atol=1e-5)
        assert (found[number][:, 2] == 0).all()


def test_weights_of_an_rgb_network_are_loaded_as_they_are(tmp_path: Path) -> None:
    torch.manual_seed(0)
    rgb = create_model("tsn", backbone="resnet18", num_classes=4)
    torch.save(rgb.backbone.state_dict(), tmp_path / "rgb.pt")
    motion = create_model("tsn", backbone="resnet18", num_classes=4, stream="flow", in_channels=3)
    report = load_weights(motion, tmp_path / "rgb.pt")
    assert not report.cross_modality
    for name, value in rgb.backbone.state_dict().items():
        assert torch.equal(motion.backbone.state_dict()[name], value), name
    assert motion.normalisation["flow"] == rgb.normalisation["rgb"]


def test_a_network_on_flow_images_trains_from_an_rgb_run_and_predicts(
    moving: tuple[Path, Path], tmp_path: Path
) -> None:
    videos, flow = moving
    image = ("model.stream=flow", f"data.flow={flow}", "input.flow_kind=image", "input.subtract_mean=false")
    rgb, run = tmp_path / "rgb", tmp_path / "run"
    kwargs = {"backbone": "squeezenet1_1", "num_classes": 2}
    contract = InputContract(size=32, short_side=36, mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.3))
    save_checkpoint(
        rgb, create_model("tsn", **kwargs), ModelCard("tsn", kwargs, ("left", "right"), input=contract)
    )
    weights = (f"model.weights={rgb}", "input.flow_length=1", "optim.epochs=1")
    assert train(settings(videos, *image, *weights), run)
    card = load_card(find_checkpoint(run))
    assert card.kwargs["in_channels"] == card.input.channels == 3
    # The normalisation of the weights is that of the RGB run.
    assert (card.input.flow_mean, card.input.flow_std) == ((0.4, 0.5, 0.6), (0.2, 0.2, 0.3))
    assert card.input.flow is not None
    assert (card.input.flow.kind, card.input.flow.length) == ("image", 1)
    stored = run_test(run, videos, protocol="2x1", flow=flow, workers=0).scores
    estimated = run_test(run, videos, protocol="2x1", workers=0).scores
    np.testing.assert_allclose(estimated.reordered(stored.ids).logits, stored.logits, rtol=1e-4, atol=1e-4)
    assert len(list(px.load(run).timeline(videos / "left" / "0.mp4", window_s=0.5, stride_s=0.25))) >= 3
    facts = explain_filters(run).facts["streams"][0]
    assert facts["shape"][1] == 2
    assert math.isfinite(facts["dx_energy"])


def test_settings_that_do_not_fit_an_image_are_named(moving: tuple[Path, Path], tmp_path: Path) -> None:
    videos, _ = moving
    with pytest.raises(ArgumentError, match="flow_length"):
        settings(videos, "input.flow_kind=image")
    with pytest.raises(ArgumentError, match="image"):
        check_kind("image", 2)
    joint = ("input.flow_kind=image", "input.flow_length=1")
    with pytest.raises(ArgumentError, match="flow_kind"):
        train(settings(videos, *joint), tmp_path / "run")
