"""RAFT's weights under the names of its authors, which are written out here by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from praxiscope._compat import import_torchvision
from praxiscope.data.flow_samples import load_flow_samples
from praxiscope.errors import CheckpointError
from praxiscope.flow.error import end_point_error
from praxiscope.flow.estimate import create_estimator, estimate_flow
from praxiscope.flow.raft_names import is_authors, to_torchvision


def authors_names(size: str) -> dict[str, str]:
    """torchvision's name of each layer of the authors' networks."""
    names = {}
    for ours, theirs in (("fnet", "feature_encoder"), ("cnet", "context_encoder")):
        names[f"{ours}.conv1"] = f"{theirs}.convnormrelu.0"
        names[f"{ours}.norm1"] = f"{theirs}.convnormrelu.1"
        names[f"{ours}.conv2"] = f"{theirs}.conv"
        for layer in ("1", "2", "3"):
            for block in ("0", "1"):
                for number in "12" if size == "large" else "123":
                    inner = f"layer{layer}.{block}"
                    names[f"{ours}.{inner}.conv{number}"] = f"{theirs}.{inner}.convnormrelu{number}.0"
                    names[f"{ours}.{inner}.norm{number}"] = f"{theirs}.{inner}.convnormrelu{number}.1"
            for part in ("0", "1"):
                names[f"{ours}.layer{layer}.0.downsample.{part}"] = (
                    f"{theirs}.layer{layer}.0.downsample.{part}"
                )
    update = "update_block"
    names[f"{update}.encoder.convc1"] = f"{update}.motion_encoder.convcorr1.0"
    names[f"{update}.encoder.convc2"] = f"{update}.motion_encoder.convcorr2.0"
    names[f"{update}.encoder.convf1"] = f"{update}.motion_encoder.convflow1.0"
    names[f"{update}.encoder.convf2"] = f"{update}.motion_encoder.convflow2.0"
    names[f"{update}.encoder.conv"] = f"{update}.motion_encoder.conv.0"
    for gate in "zrq":
        if size == "large":
            names[f"{update}.gru.conv{gate}1"] = f"{update}.recurrent_block.convgru1.conv{gate}"
            names[f"{update}.gru.conv{gate}2"] = f"{update}.recurrent_block.convgru2.conv{gate}"
        else:
            names[f"{update}.gru.conv{gate}"] = f"{update}.recurrent_block.convgru1.conv{gate}"
    for number in "12":
        names[f"{update}.flow_head.conv{number}"] = f"{update}.flow_head.conv{number}"
    if size == "large":
        names[f"{update}.mask.0"] = "mask_predictor.convrelu.0"
        names[f"{update}.mask.2"] = "mask_predictor.conv"
    return names


def networks(size: str, device: str = "meta") -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The same weights under torchvision's and under the authors' names: random, or without values on "meta"."""
    import_torchvision()
    from torchvision.models import optical_flow

    torch.manual_seed(0)
    with torch.device(device):
        theirs = getattr(optical_flow, f"raft_{size}")(weights=None, progress=False).state_dict()
    back = {name: ours for ours, name in authors_names(size).items()}
    ours = {}
    for name, value in theirs.items():
        layer, _, kind = name.rpartition(".")
        ours[f"module.{back[layer]}.{kind}"] = value
    copies = {
        name.replace("downsample.1", "norm3" if size == "large" else "norm4"): value
        for name, value in ours.items()
        if "downsample.1" in name
    }
    return theirs, ours | copies


@pytest.mark.parametrize("size", ["large", "small"])
def test_each_weight_of_the_authors_has_its_place_in_torchvisions_network(size):
    theirs, ours = networks(size)
    assert is_authors(ours)
    assert not is_authors(theirs)
    renamed = to_torchvision(ours)
    assert renamed.keys() == theirs.keys()
    assert all(renamed[name] is theirs[name] for name in theirs)
    assert to_torchvision(theirs) == theirs


def test_the_copies_of_a_normalisation_are_left_out_and_no_others():
    _, ours = networks("large")
    copies = {name for name in ours if ".norm3." in name}
    assert len(copies) == 10  # weight, bias, mean, variance and count in two blocks; layer 1 does not resize
    assert to_torchvision({name: ours[name] for name in copies}) == {}


def test_the_record_depends_on_the_values_and_not_on_their_names(tmp_path):
    theirs, ours = networks("small", "cpu")
    for name, state in (("theirs", theirs), ("ours", ours)):
        torch.save(state, tmp_path / f"{name}.pth")
    made = [
        create_estimator("raft", weights=str(tmp_path / f"{n}.pth"), size="small") for n in ("theirs", "ours")
    ]
    assert made[0].parameters == made[1].parameters
    with pytest.raises(CheckpointError, match=r"ours\.pth: .* raft_large"):
        create_estimator("raft", weights=str(tmp_path / "ours.pth"), size="large")


@pytest.mark.slow
def test_the_authors_small_network_has_its_published_errors(data_folder):
    estimator = create_estimator(
        "raft", weights=str(data_folder / "weights" / "raft-small.pth"), size="small"
    )
    errors = {
        sample.id: end_point_error(
            estimate_flow(sample.frames(0, 2), estimator), sample.fields(0, 1)
        ).nanmean()
        for sample in load_flow_samples(f"middlebury:{data_folder / 'flow'}")
        if sample.id in ("Grove2", "Urban2")
    }
    # Measured with the authors' code, 12 updates.
    assert errors["Grove2"] == pytest.approx(0.355, abs=0.02)
    assert errors["Urban2"] == pytest.approx(0.530, abs=0.02)
