"""What a run passes to the builder of another package's model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

import praxiscope as px
from praxiscope.data.manifest import load_records
from praxiscope.errors import ArgumentError
from praxiscope.models.registered import models
from praxiscope.progress import Reporter
from praxiscope.training.build_model import build_model
from runs import settings
from support import write_clip

pytestmark = pytest.mark.usefixtures("_narrow")

SEEN: dict[str, Any] = {}


@pytest.fixture
def builder() -> Any:
    """A model with a default backbone of its own, and two parameters without a default."""

    @px.register_model("own-builder")
    def own_builder(
        *, num_classes: int, input_size: int, in_channels: int, snippets: int = 1, backbone: str = "resnet10"
    ) -> nn.Module:
        SEEN.update(input_size=input_size, in_channels=in_channels, snippets=snippets, backbone=backbone)
        return px.create_model("tsn", num_classes=num_classes, backbone=backbone)

    yield
    models._entries.pop("own-builder")


@pytest.fixture
def small(tmp_path: Path) -> Any:
    """Settings of a run on six small videos."""
    from praxiscope.commands.train_options import DataOptions, TrainOptions, resolve

    for name in ("red", "blue"):
        for clip in range(3):
            write_clip(tmp_path / "videos" / name / f"{clip}.mp4", 0, frames=4)
    sizes = ("input.size=48", "input.short_side=56", "input.snippets=5")

    def settings_of(backbone: str | None) -> Any:
        plain = {} if backbone is None else {"backbone": backbone}
        data = DataOptions(str(tmp_path / "videos"))
        return resolve(TrainOptions(data, "own-builder", "default", None, plain, sizes), tmp_path / "run")

    return settings_of


@pytest.mark.usefixtures("builder")
def test_a_builder_gets_what_it_declares_and_keeps_its_default_backbone(small: Any, tmp_path: Path) -> None:
    for backbone, expected in ((None, "resnet10"), ("resnet18", "resnet18")):
        wanted = small(backbone)
        _, card = build_model(wanted, load_records(tmp_path / "videos"), Reporter())
        assert {"input_size": 48, "in_channels": 3, "snippets": 5, "backbone": expected} == SEEN
        assert wanted.model.backbone == card.kwargs["backbone"] == expected


@pytest.mark.usefixtures("builder")
@pytest.mark.parametrize(
    ("method", "told"), [(lambda self, flip: "9by9", "9by9"), (lambda self: "1x1", "argument")]
)
def test_a_default_protocol_that_is_none_is_named(
    small: Any, method: Any, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("praxiscope.models.snippets.SnippetNetwork.default_protocol", method)
    with pytest.raises(ArgumentError, match=rf"'own-builder'.*default_protocol.*{told}") as caught:
        build_model(small(None), load_records(tmp_path / "videos"), Reporter())
    assert "\n" not in str(caught.value)


def test_a_run_without_a_named_backbone_takes_the_models_default(tmp_path: Path) -> None:
    assert settings(tmp_path).model.backbone is not None  # of the tests' own settings
    assert px.recipes.named.get_recipe("default").model.backbone is None


@pytest.mark.parametrize(
    ("model", "changed", "told"),
    [
        ("temporal-difference", "input.snippets=1", "--snippets 2"),
        ("actionflownet-2f", "input.frames=1", "to 2"),
    ],
)
def test_an_input_that_a_model_cannot_learn_from_is_refused(
    model: str, changed: str, told: str, tmp_path: Path
) -> None:
    from praxiscope.commands.train_options import DataOptions, TrainOptions, resolve

    for name in ("red", "blue"):
        write_clip(tmp_path / "videos" / name / "0.mp4", 0, frames=4)
    weight = ("backprop.flow_weight=0",) if model.startswith("action") else ()
    sizes = ("input.size=64", "input.short_side=72", "model.backbone=resnet10", changed, *weight)
    given = TrainOptions(DataOptions(str(tmp_path / "videos")), model, f"default-{model}", None, {}, sizes)
    with pytest.raises(ArgumentError, match=told):
        build_model(resolve(given, tmp_path / "run"), load_records(tmp_path / "videos"), Reporter())
