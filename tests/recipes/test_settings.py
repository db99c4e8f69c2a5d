"""Settings: every mistake is named, and what is written comes back."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch

from praxiscope.errors import ArgumentError, UnknownNameError
from praxiscope.recipes.named import get_recipe, list_recipes, recipe_groups, recipes
from praxiscope.recipes.sections import InputSettings
from praxiscope.recipes.settings import TrainSettings, dump_yaml, load_yaml, override
from praxiscope.training.loader import training_crop

DEFAULT = TrainSettings()


def changed(*assignments: str) -> TrainSettings:
    return override(DEFAULT, assignments)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("optm.lr=1", "unknown section 'optm'. Did you mean 'optim'?"),
        ("optim.learning=1", "unknown setting 'optim.learning'"),
        ("optim.epoch=1", "unknown setting 'optim.epoch'. Did you mean 'optim.epochs'?"),
        ("data.sampeling=ordinary", "Did you mean 'data.sampling'?"),
        ("optim.lr=fast", "optim.lr = 'fast': Input should be a valid number"),
        ("optim.lr=0", "optim.lr = 0: Input should be greater than 0."),
        ("optim.lr=nan", "optim.lr = nan: Input should be a finite number."),
        ("optim.lr=inf", "optim.lr = inf: Input should be a finite number."),
        ("optim.epochs=1.5", "optim.epochs = 1.5: Input should be a valid integer"),
        ("optim.name=adam", "optim.name = 'adam': Input should be 'sgd' or 'adamw'."),
        ("run.channels_last=maybe", "run.channels_last = 'maybe': Input should be a valid boolean"),
        ("run.precision=64", "run.precision = '64': Input should be 'auto', '32', 'bf16' or '16'."),
        ("run.protocol=25x11", "run.protocol = '25x11': unknown protocol '25x11'."),
        ("input.mean=[1, 2]", "input.mean = [1, 2]: "),
        ("input.std=[1, 0, 1]", "input.std = [1, 0, 1]: "),
        ("input.flow_length=0", "input.flow_length = 0: "),
        ("input.flow_length=[10, 5]", "input.flow_length = [10, 5]: "),
        ("input.flow_length=[5, 5]", "input.flow_length = [5, 5]: "),
        ("input.flow_length=[]", "input.flow_length = []: "),
        ("input.flow_length=long", "input.flow_length = 'long': "),
        ("input.size=300", "--set: input: size = 300"),
        ("model.name=3", "model.name = 3: Input should be a valid string."),
        ("optim.lr", "--set optim.lr: expected section.key=value, as in --set optim.lr=0.01."),
        ("lr=0.1", "--set lr=0.1: expected section.key=value"),
        ("optim.=0.1", "--set optim.=0.1: expected section.key=value"),
    ],
)
def test_a_mistake_is_named_with_what_came_and_the_nearest(assignment: str, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        changed(assignment)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 1e-3), ("1E-3", 1e-3), ("0.5", 0.5), (" 2 ", 2.0), ("+.5", 0.5), ("3e1", 30.0)],
)
def test_numbers_are_read_in_every_usual_form(text: str, value: float) -> None:
    assert changed(f"optim.lr={text}").optim.lr == value


def test_values_are_read_as_their_setting_means_them() -> None:
    settings = changed(
        "data.split=1",
        "data.source=2020",
        "run.precision=32",
        "optim.epochs=1e1",
        "optim.milestones=[10, 20.5]",
        "optim.clip_norm=null",
        "input.flip=false",
        "data.class_weights=yes",
        "model.dropout=0.5",
        "model.weights=a=b.npz",
        "run.protocol=25X1",
    )
    assert (settings.data.split, settings.data.source) == ("1", "2020")
    assert settings.run.precision == "32"
    assert settings.optim.epochs == 10
    assert isinstance(settings.optim.epochs, int)
    assert settings.optim.milestones == (10, 20.5)
    assert settings.optim.clip_norm is None
    assert settings.input.flip is False
    assert settings.data.class_weights is True
    assert settings.model.keywords() == {"backbone": None, "dropout": 0.5}
    assert settings.model.weights == "a=b.npz"
    assert settings.run.protocol == "25x1"
    assert changed("data.split=2020-01-01").data.split == "2020-01-01"
    assert changed("data.split=").data.split is None


def test_files_and_folders_may_be_paths() -> None:
    places = {"data.source": "a", "data.annotations": "b", "data.flow": "c", "model.weights": "d"}
    given = DEFAULT.updated({key: Path(place) for key, place in places.items()})
    assert given == DEFAULT.updated(places)
    assert DEFAULT.updated({"model.start": (Path("r"), Path("m"))}).model.start == ("r", "m")
    tasks = {name: {"source": Path(name), "annotations": Path("lists")} for name in ("one", "two")}
    assert DEFAULT.updated({"data.tasks": tasks}).data.sources()["two"].annotations == "lists"


def test_flow_has_one_length_or_several_of_which_each_begins_as_the_next(tmp_path: Path) -> None:
    assert (DEFAULT.input.flow_length, DEFAULT.input.flow_lengths) == (5, (5,))
    assert changed("input.flow_length=[7]").input.flow_length == 7
    several = changed("input.flow_length=[5, 10]", "input.flow_kind=trajectory")
    assert several.input.flow_length == several.input.flow_lengths == (5, 10)
    dump_yaml(several, tmp_path / "settings.yaml")
    assert load_yaml(tmp_path / "settings.yaml") == several
    for kind in ("stack-bidirectional", "trajectory-bidirectional"):
        with pytest.raises(ArgumentError, match=rf"flow_length = \[4, 8\].*flow_kind = {kind}"):
            changed("input.flow_length=[4, 8]", f"input.flow_kind={kind}")


def test_values_that_fit_one_another_may_come_in_any_order() -> None:
    for order in (("input.size=300", "input.short_side=320"), ("input.short_side=320", "input.size=300")):
        assert changed(*order).input.size == 300
    assert DEFAULT.updated({"input.size": 100, "input.short_side": 100}).input.short_side == 100


def test_settings_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValueError, match="frozen"):
        DEFAULT.optim.lr = 1  # type: ignore[misc]


@pytest.mark.parametrize("name", ["default", "tsn-fine-tune", "tsm", "move4mnist-64"])
def test_every_recipe_comes_back_from_its_file(tmp_path: Path, name: str) -> None:
    settings = override(
        get_recipe(name), ["model.shift_place=block", "data.split=01x", "data.source=2020", "input.mean=[1]"]
    )
    dump_yaml(settings, tmp_path / "settings.yaml")
    assert load_yaml(tmp_path / "settings.yaml") == settings
    assert get_recipe(str(tmp_path / "settings.yaml")) == settings
    assert sorted(path.name for path in tmp_path.iterdir()) == ["settings.yaml"]


def test_recipes_are_found_by_name_and_typing_errors_get_a_hint() -> None:
    get_recipe("default")
    assert {"default", "tsm", "tsn-fine-tune", "move4mnist-64"} <= set(recipes.names())
    with pytest.raises(UnknownNameError, match=r"'move4mnist'.*'move4mnist-64'"):
        get_recipe("move4mnist")


def test_recipes_are_grouped_by_paper_after_those_to_start_with() -> None:
    groups = recipe_groups()
    assert next(iter(groups)) == "Start here"
    assert "default" in groups["Start here"]
    assert sorted(name for group in groups.values() for name in group) == list_recipes()
    assert all(all(group.values()) for group in groups.values())
    assert all({"tsm", "multiplier"} - group.keys() for group in groups.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optim: {lr: 1, epoch: 3}", r"'optim\.epoch'.*'optim\.epochs'"),
        ("optom: {}", "'optom'.*'optim'"),
        ("[1, 2]", "data, input, model, backprop, optim, run"),
        ("a: [1", r"run\.yaml: .*YAML"),
        ("optim: 3", "optim = 3: "),
        ("!!python/object/apply:os.system ['exit 1']", r"run\.yaml: .*YAML"),
    ],
)
def test_a_damaged_settings_file_is_a_clear_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ArgumentError, match=message) as caught:
        load_yaml(path)
    assert str(path) in str(caught.value)


def test_a_missing_or_binary_settings_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"none\.yaml"):
        get_recipe(str(tmp_path / "none.yaml"))
    (tmp_path / "run.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ArgumentError, match=r"run\.yaml"):
        load_yaml(tmp_path / "run.yaml")


def test_every_crop_that_can_be_asked_for_is_of_the_asked_size() -> None:
    frames = torch.zeros(1, 3, 64, 90)
    names = get_args(InputSettings.model_fields["crop"].annotation)
    for name in names:
        crop = training_crop(InputSettings(crop=name, size=48))
        assert crop({"rgb": frames}, torch.Generator().manual_seed(0))["rgb"].shape == (1, 3, 48, 48)  # type: ignore
    free = training_crop(InputSettings(crop="free-scale", size=56))
    drawn = {free.draw((64, 90), torch.Generator().manual_seed(n))[2:4] for n in range(200)}
    assert len(drawn) == 16  # any height with any width


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        # Of frames of 256 x 340, as TSN's code crops RGB frames and flow.
        ("tsn-fine-tune", {256, 224, 192, 168}),
        ("pbnet-6-3-rgb", {256, 224, 192, 168}),
        ("full-3-rgb", {256, 224, 192, 168}),
        ("tsn-flow", {256, 224, 192}),
        ("pbnet-8-4-flow", {256, 224, 192}),
        ("full-6-flow-hmdb51", {256, 224, 192}),
        ("pbnet-6-3-flow-thumos14", {256, 224, 192}),
    ],
)
def test_flow_is_cropped_at_three_scales_and_rgb_frames_at_four(name: str, sides: set[int]) -> None:
    crop = training_crop(get_recipe(name).input)
    drawn = {crop.draw((256, 340), torch.Generator().manual_seed(n))[2:4] for n in range(400)}
    order = sorted(sides, reverse=True)
    assert drawn == {(h, w) for i, h in enumerate(order) for j, w in enumerate(order) if abs(i - j) <= 1}


def test_settings_of_the_papers_further_tables() -> None:
    fine, added = get_recipe("two-stream-temporal-fine-tune"), get_recipe("two-stream-temporal-added-classes")
    assert (fine.optim.steps, fine.optim.milestone_steps, fine.input.flow_length) == (20_000, (14_000,), 10)
    assert added == get_recipe("two-stream-temporal")
    assert fine.model.backbone == "cnn_m_2048_temporal"
    full, thumos = get_recipe("full-6-flow-hmdb51"), get_recipe("full-3-flow-thumos14")
    assert (full.input.snippets, full.backprop.name, full.input.flow_lengths) == (6, "full", (5, 10))
    assert (full.optim.steps, full.optim.milestone_steps) == (7_000, (4_000, 6_000))
    assert (thumos.input.snippets, thumos.input.flow_lengths, thumos.optim.steps) == (3, (5,), 25_000)
    rgb = get_recipe("pbnet-6-3-rgb-thumos14")
    assert (rgb.optim.steps, rgb.optim.milestone_steps[-1], rgb.backprop.choose) == (8_000, 7_500, 3)
    assert get_recipe("full-6-rgb-thumos14").input.snippets == 6
    assert get_recipe("two-stream-spatial").input.lighting == 0.1
    assert get_recipe("two-stream-temporal").input.lighting == 0


@pytest.mark.parametrize(
    "assignment",
    ["input.crop_scales=[]", "input.crop_scales=[0, 1]", "input.crop_scales=[1.5]", "input.lighting=-1"],
)
def test_scales_and_noise_out_of_range_are_refused(assignment: str) -> None:
    with pytest.raises(ArgumentError, match=assignment.partition("=")[0].replace(".", r"\.")):
        changed(assignment)
