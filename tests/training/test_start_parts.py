"""Warm start of parts: which tensors a network takes from which run, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import praxiscope as px
from praxiscope.checkpoint import InputContract, ModelCard, save_checkpoint
from praxiscope.commands.start_options import split_start, warm_start_settings
from praxiscope.commands.train_options import DataOptions, TrainOptions, resolve
from praxiscope.errors import ArgumentError, CheckpointError
from praxiscope.models.weights import holds_backbone, load_weights
from praxiscope.training.expansion import expand
from praxiscope.training.start_parts import start_from_parts

pytestmark = pytest.mark.usefixtures("_narrow")

LABELS = ("run", "walk")


def saved(folder: Path, name: str, seed: int, labels: tuple[str, ...] = LABELS, **words: Any) -> Any:
    """Save a network with random weights as a model folder; return it."""
    torch.manual_seed(seed)
    kwargs = {"num_classes": len(labels), "backbone": "resnet10", **words}
    model: Any = px.create_model(name, **kwargs)
    card = ModelCard(name, kwargs, labels, input=InputContract(size=64, mean=(0.1, 0.2, 0.3)))
    save_checkpoint(folder, model, card)
    return model


def network(**words: Any) -> Any:
    torch.manual_seed(9)
    return px.create_model("temporal-difference", num_classes=2, backbone="resnet10", **words)


def same(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


def start(model: Any, *starts: tuple[str, str | None], labels: tuple[str, ...] = LABELS) -> list[str]:
    return start_from_parts("temporal-difference", model, starts, labels, None)


def test_a_run_of_another_model_starts_the_first_part(tmp_path: Path) -> None:
    run = saved(tmp_path / "tsn", "tsn", 1)
    model, before = network(), network()
    start(model, (str(tmp_path / "tsn"), None))
    assert same(model.backbone, run.backbone)
    assert same(model.difference, before.difference)
    assert model.normalisation["rgb"]["mean"] == (0.1, 0.2, 0.3)


def test_each_named_part_starts_from_its_run(tmp_path: Path) -> None:
    one = saved(tmp_path / "one", "tsn", 1)
    two = saved(tmp_path / "two", "frame", 2)
    model = network()
    start(model, (str(tmp_path / "two"), "difference"), (str(tmp_path / "one"), "image"))
    assert same(model.backbone, one.backbone)
    assert same(model.difference, two.backbone)


def test_a_part_of_the_same_name_is_preferred_and_the_normalisation_is_that_of_the_first(
    tmp_path: Path,
) -> None:
    run = saved(tmp_path / "run", "temporal-difference", 1)
    model, before = network(), network()
    start(model, (str(tmp_path / "run"), "difference"))
    assert same(model.difference, run.difference)
    assert same(model.backbone, before.backbone)
    assert model.normalisation == before.normalisation


def test_a_run_of_the_same_model_starts_all_of_it(tmp_path: Path) -> None:
    run = saved(tmp_path / "run", "temporal-difference", 1)
    model = network()
    start(model, (str(tmp_path / "run"), None))
    assert same(model, run)


def test_a_classifier_of_other_classes_keeps_its_new_weights(tmp_path: Path) -> None:
    run = saved(tmp_path / "run", "tsn", 1, labels=("bend", "jump", "skip"))
    model, before = network(), network()
    start(model, (str(tmp_path / "run"), None))
    assert same(model.backbone.layer3, run.backbone.layer3)
    assert same(model.backbone.fc, before.backbone.fc)
    renamed = network()
    saved(tmp_path / "renamed", "tsn", 1)
    start(renamed, (str(tmp_path / "renamed"), None), labels=("sit", "stand"))
    assert same(renamed.backbone.fc, before.backbone.fc)


def test_other_networks_are_refused(tmp_path: Path) -> None:
    saved(tmp_path / "tsn", "tsn", 1)
    with pytest.raises(CheckpointError, match="resnet10"):
        start(network(in_channels=9), (str(tmp_path / "tsn"), None))
    saved(tmp_path / "joint", "multiplier", 1, backbone="resnet18")
    with pytest.raises(ArgumentError, match="multiplier"):
        start(network(), (str(tmp_path / "joint"), "image"))


def test_weights_are_recommended_only_where_they_load(tmp_path: Path) -> None:
    saved(tmp_path / "tsn", "tsn", 1)
    saved(tmp_path / "motion", "actionflownet-2f", 1)
    saved(tmp_path / "over-time", "actionflownet", 1, in_channels=12)
    assert holds_backbone(tmp_path / "tsn")
    assert not holds_backbone(tmp_path / "motion")
    with pytest.raises(CheckpointError, match=r"--weights .*tsn"):
        start(network(in_channels=9), (str(tmp_path / "tsn"), None))
    own: Any = px.create_model("actionflownet-2f", num_classes=2, backbone="resnet10")
    with pytest.raises(CheckpointError, match="over time") as caught:
        start_from_parts("actionflownet-2f", own, [(str(tmp_path / "over-time"), None)], LABELS, None)
    assert "--weights" not in str(caught.value)
    tsn: Any = px.create_model("tsn", num_classes=2, backbone="resnet10")
    with pytest.raises(ArgumentError, match="holds actionflownet-2f") as refused:
        expand("tsn", tsn, str(tmp_path / "motion"), LABELS, None)
    assert "--weights" not in str(refused.value)


def test_every_part_comes_from_a_run_that_standardised_alike(tmp_path: Path) -> None:
    for name, standardise in (("one", True), ("two", False)):
        saved(tmp_path / name, "actionflownet-2f", 1, standardise=standardise)
    own: Any = px.create_model("actionflownet-2f", num_classes=2, backbone="resnet10", standardise=True)
    starts = [(str(tmp_path / "one"), "encoder"), (str(tmp_path / "two"), "decoder")]
    with pytest.raises(ArgumentError, match=r"two.*standardise = false"):
        start_from_parts("actionflownet-2f", own, starts, LABELS, None)
    start_from_parts(
        "actionflownet-2f", own, [(starts[0][0], "encoder"), (starts[0][0], "decoder")], LABELS, None
    )


def test_parts_are_told_from_paths() -> None:
    parts = ("image", "difference")
    assert split_start("runs/a", parts) == [(None, "runs/a")]
    assert split_start("image=runs/a,difference=runs/lr=1", parts) == [
        ("image", "runs/a"),
        ("difference", "runs/lr=1"),
    ]
    with pytest.raises(ArgumentError, match=r"imge.*image, difference"):
        split_start("imge=runs/a", parts)
    assert split_start("runs/lr=0.1") == [(None, "runs/lr=0.1")]


def test_settings_come_from_the_first_run(tmp_path: Path) -> None:
    saved(tmp_path / "tsn", "tsn", 1, stream="rgb", dropout=0.3)
    run = str(tmp_path / "tsn")
    taken = warm_start_settings(f"image={run}", "temporal-difference", {}, tmp_path / "out", False)
    assert taken["model.start"] == (run,)
    assert taken["model.start_parts"] == ("image",)
    assert taken["model.backbone"] == "resnet10"
    assert "model.dropout" not in taken  # a choice of the other model
    assert taken["input.size"] == 64
    with pytest.raises(ArgumentError, match="difference"):
        warm_start_settings(f"{run},{run}", "temporal-difference", {}, tmp_path / "out", False)


def test_a_file_of_weights_starts_both_networks(tmp_path: Path) -> None:
    run = saved(tmp_path / "tsn", "tsn", 1)
    torch.save(run.backbone.state_dict(), tmp_path / "weights.pt")
    model = network()
    load_weights(model, tmp_path / "weights.pt")
    assert same(model.backbone, run.backbone)
    assert same(model.difference, run.backbone)


def test_a_network_over_time_starts_from_one_of_two_frames(tmp_path: Path) -> None:
    torch.manual_seed(3)
    kwargs = {"backbone": "resnet10"}
    pairs: Any = px.create_model("flownet", **kwargs)
    for norm in (m for m in pairs.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.uniform_(-0.1, 0.1)
    save_checkpoint(
        tmp_path, pairs, ModelCard("flownet", kwargs, (), input=InputContract(length=2, channels=6))
    )
    clips: Any = px.create_model("actionflownet", num_classes=2, backbone="resnet10", in_channels=12)
    before = {key: value.clone() for key, value in clips.decoder.state_dict().items()}
    (line,) = start_from_parts("actionflownet", clips, [(str(tmp_path), None)], LABELS, None)
    assert "decoder" in line
    assert all(torch.equal(value, before[key]) for key, value in clips.decoder.state_dict().items())
    frames = torch.randn(1, 4, 3, 64, 64)
    pairs.eval(), clips.eval()
    with torch.no_grad():
        over_time = clips.encoder(frames.reshape(1, 12, 64, 64)).stages[0]  # [1, C, 4, h, w]
        for t in range(3):
            alone = pairs.encoder(frames[:, t : t + 2].reshape(1, 6, 64, 64)).stages[0]
            torch.testing.assert_close(over_time[:, :, t], alone, rtol=1e-4, atol=1e-5)
    with pytest.raises(CheckpointError, match="resnet10"):  # nothing fits
        start_from_parts(
            "actionflownet",
            px.create_model("actionflownet", num_classes=2),
            [(str(tmp_path), None)],
            LABELS,
            None,
        )


def test_one_run_can_start_both_parts(tmp_path: Path) -> None:
    run = saved(tmp_path / "run", "tsn", 1)
    model = network()
    start(model, (str(tmp_path / "run"), "image"), (str(tmp_path / "run"), "difference"))
    assert same(model.backbone, run.backbone)
    assert same(model.difference, run.backbone)


@pytest.mark.parametrize("text", ["image=", "image=RUN,image=RUN"])
def test_parts_are_named_once_with_a_run(tmp_path: Path, text: str) -> None:
    saved(tmp_path / "run", "tsn", 1)
    given = text.replace("RUN", str(tmp_path / "run"))
    with pytest.raises(ArgumentError, match="image"):
        warm_start_settings(given, "temporal-difference", {}, tmp_path / "out", False)


@pytest.mark.parametrize(
    ("run", "frames", "model", "taken"),
    [
        ("flownet-3d", 8, "actionflownet", 8),
        ("flownet", 2, "actionflownet", None),  # keeps its own 16
        ("flownet", 2, "actionflownet-2f", 2),
        ("tsn", 3, "temporal-difference", 3),
    ],
)
def test_frames_come_from_runs_of_the_same_kind(
    tmp_path: Path, run: str, frames: int, model: str, taken: int | None
) -> None:
    classes = {} if run.startswith("flownet") else {"num_classes": 2}
    kwargs = {**classes, "backbone": "resnet10", "in_channels": 3 * frames}
    contract = InputContract(length=frames, channels=3 * frames)
    labels = LABELS if classes else ()
    save_checkpoint(tmp_path, px.create_model(run, **kwargs), ModelCard(run, kwargs, labels, input=contract))
    settings = warm_start_settings(str(tmp_path), model, {}, tmp_path / "out", False)
    assert settings.get("input.frames") == taken


@pytest.mark.parametrize("standardise", [True, False])
def test_a_recipe_keeps_its_model_and_clips_are_standardised_as_in_the_run(
    tmp_path: Path, standardise: bool
) -> None:
    kwargs = {"backbone": "resnet10", "standardise": standardise}
    contract = InputContract(length=2, channels=6)
    save_checkpoint(
        tmp_path / "run",
        px.create_model("flownet", **kwargs),
        ModelCard("flownet", kwargs, (), input=contract),
    )
    for recipe, name in (
        ("actionflownet-2f-fine-tune", "actionflownet-2f"),
        ("flow-stacked", "flow-stacked"),
        ("default-flow-stacked", "flow-stacked"),
    ):
        given = TrainOptions(DataOptions(str(tmp_path)), recipe=recipe, start=str(tmp_path / "run"))
        model = resolve(given, tmp_path / "out").model
        assert (model.name, model.keywords()["standardise"]) == (name, standardise)


def test_a_recipe_for_all_models_leaves_a_run_its_model(tmp_path: Path) -> None:
    kwargs = {"backbone": "resnet10", "num_classes": 2}
    card = ModelCard("tsm", kwargs, LABELS, input=InputContract())
    save_checkpoint(tmp_path / "run", px.create_model("tsm", **kwargs), card)
    given = TrainOptions(DataOptions(str(tmp_path)), recipe="fine-tune", start=str(tmp_path / "run"))
    assert resolve(given, tmp_path / "out").model.name == "tsm"
