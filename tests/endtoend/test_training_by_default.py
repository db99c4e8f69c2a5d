"""Fine-tuning by default: the start by a regression, the held-out groups, the end, and the model for few clips."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression

import praxiscope as px
from praxiscope.checkpoint import find_checkpoint, kept_checkpoints, load_card, load_state, read_pointer
from praxiscope.commands.train import train
from praxiscope.commands.train_options import DataOptions, TrainOptions, resolve
from praxiscope.data.splitlist import SplitList
from praxiscope.fitting.logistic import choose_l2
from praxiscope.models import create_model
from praxiscope.models.installed_weights import has_installed_weights
from praxiscope.progress import Reporter
from praxiscope.recipes.named import get_recipe, list_recipes
from praxiscope.recipes.settings import TrainSettings, override
from praxiscope.training.log import read_log
from praxiscope.training.loop import TrainState
from praxiscope.training.run_data import load_data
from praxiscope.training.validation import Validation
from praxiscope.video.sampling import segment_indices
from praxiscope.video.transforms import BatchAugment, CenterCrop
from runs import Stop, assert_same, train_by
from runs import settings as run_settings
from support import Call, write_clip

pytestmark = pytest.mark.usefixtures("_narrow")

SNIPPETS = 8  # whose features the regression averages
STILL = ("optim.name=sgd", "optim.lr=1e-30")  # no weight changes, so no validation is better than the first


class Said(Reporter):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files that stand for trained weights, by backbone."""
    torch.manual_seed(0)
    files = {}
    for backbone in ("squeezenet1_1", "resnet10"):  # a convolution and a linear layer as classifiers
        files[backbone] = tmp_path_factory.mktemp("weights") / f"{backbone}.pt"
        network: Any = create_model("tsn", backbone=backbone, num_classes=7)
        torch.save(network.backbone.state_dict(), files[backbone])
    return files


def settings(data: Path, weights: Path, *assignments: str) -> TrainSettings:
    given = (f"model.weights={weights}", "data.validation=0.3", f"model.backbone={weights.stem}")
    return run_settings(data, *given, *assignments)


def features(run: Path, backbone: str, ids: list[str], data: Path) -> tuple[np.ndarray, np.ndarray]:
    """Mean features of videos in centre crops [n, D], read and normalised by hand, and the network's scores [n, K]."""
    model: Any = px.load(run).model.eval()
    rgb = model.normalisation["rgb"]
    augment = BatchAugment(flip=False, mean=rgb["mean"], std=rgb["std"])
    rows, scores = [], []
    for name in ids:
        video = px.open_video(data / name)
        frames = video.frames(segment_indices(video.quick_length(), SNIPPETS), short_side=36)
        pixels = augment.stream(CenterCrop(32)({"rgb": frames})["rgb"][None], ())[0]
        with torch.inference_mode():
            body = deepcopy(model.backbone)
            scores.append(model(pixels[None]).logits[0].numpy())
            if backbone == "squeezenet1_1":
                rows.append(body.features(pixels).mean((0, 2, 3)).numpy())
            else:
                body.fc = torch.nn.Identity()
                rows.append(body(pixels).mean(0).numpy())
    return np.stack(rows), np.stack(scores)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["squeezenet1_1", "resnet10"])
def test_the_classifier_starts_as_scikit_learns_regression(
    tmp_path: Path, colour_set: Path, weights: dict[str, Path], backbone: str
) -> None:
    run = tmp_path / "run"
    wanted = settings(
        colour_set, weights[backbone], "optim.probe=true", "optim.epochs=1", "run.keep_epochs=1"
    )
    assert train(override(wanted, ["run.protocol=8x1", *STILL]), run)
    first = kept_checkpoints(run)[0]
    assert load_card(first).training == {"step": 0, "epoch": 0}

    manifest = load_data(wanted)
    sides = SplitList(run).sides()
    by_side = {side: sorted(id for id, own in sides.items() if own == side) for side in ("train", "val")}
    labels = {record.id: manifest.numbers(record)[0] for record in manifest.records}
    (x, _), (held, ours) = (features(first, backbone, by_side[side], colour_set) for side in ("train", "val"))
    y, expected = (np.array([labels[id] for id in by_side[side]]) for side in ("train", "val"))

    mean, std = x.mean(0), x.std(0)
    std[std <= 1e-6] = 1
    z = (x - mean) / std
    sources = {record.id: record.source for record in manifest.records}
    groups = [sources[id] for id in by_side["train"]]
    l2 = choose_l2(torch.from_numpy(z), torch.from_numpy(y), 3, groups, seed=0).l2
    theirs = LogisticRegression(C=1 / (l2 * len(z)), tol=1e-8, max_iter=10000).fit(z, y)
    logits = theirs.decision_function((held - mean) / std)

    # Standardising amplifies the rounding of features that hardly differ, as those of random residual networks.
    close = {"squeezenet1_1": 5e-3, "resnet10": 0.1}[backbone]
    np.testing.assert_allclose(ours - ours.mean(1, keepdims=True), logits, atol=close)

    row = read_log(run / "log.csv")[0]
    assert row["step"] == 0
    assert row["val_top1"] == pytest.approx(float((logits.argmax(1) == expected).mean()))


def test_the_start_is_the_result_if_training_makes_nothing_better(
    tmp_path: Path, colour_set: Path, weights: dict[str, Path], stop_after: Stop
) -> None:
    wanted = settings(colour_set, weights["squeezenet1_1"], "optim.probe=true", "optim.epochs=2", *STILL)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert train(wanted, whole)
    assert (read_pointer(whole)["best"], read_pointer(whole)["prefer"]) == ("step-00000000", "best")
    assert find_checkpoint(whole).name == "step-00000000"
    stop_after(1)
    assert not train(wanted, cut)
    stop_after(None)
    assert train(wanted, cut, resume=True)
    assert_same(cut, whole)
    assert next(row["step"] for row in read_log(cut / "log.csv") if "val_loss" in row) == 0


def test_patience_ends_a_run_and_a_resumed_one_alike(
    tmp_path: Path, colour_set: Path, weights: dict[str, Path], stop_after: Stop
) -> None:
    wanted = settings(colour_set, weights["squeezenet1_1"], "optim.patience=1", "optim.epochs=4", *STILL)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert train(wanted, whole)
    last = load_state(find_checkpoint(whole, "last"))
    assert (last["epoch"], last["not_better"], last["step_in_epoch"]) == (2, 1, 0)
    steps = last["step"]
    stop_after(steps // 2 + 2)  # in the second epoch
    assert not train(wanted, cut)
    stop_after(None)
    assert train(wanted, cut, resume=True)
    assert_same(cut, whole)

    said = Said()
    assert train(wanted, cut, resume=True, reporter=said)  # it has ended
    assert load_state(find_checkpoint(cut, "last"))["step"] == steps
    assert any("optim.patience" in line for line in said.lines)
    assert train(override(wanted, ["optim.patience=null", "optim.epochs=3"]), cut, resume=True)
    assert load_state(find_checkpoint(cut, "last"))["epoch"] == 3


def test_no_run_ends_because_of_test_videos(
    tmp_path: Path, colour_set: Path, weights: dict[str, Path]
) -> None:
    changes = ("data.validation=0", "optim.patience=1", "optim.epochs=3", *STILL)
    run = tmp_path / "run"
    assert train(settings(colour_set, weights["squeezenet1_1"], *changes), run)
    state = load_state(find_checkpoint(run, "last"))
    assert (state["epoch"], state["not_better"]) == (3, 0)
    assert read_pointer(run)["prefer"] == "last"


@pytest.mark.parametrize(
    ("figures", "best"),
    [
        ([(0.5, 2.0), (0.7, 3.0), (0.6, 1.0)], 1),
        ([(0.5, 2.0), (0.5, 1.0), (0.5, 1.5)], 1),
        ([(0.5, 1.0), (0.5, 1.0)], 0),
    ],
)
def test_the_best_has_the_highest_metric_then_the_lowest_loss(
    figures: list[tuple[float, float]], best: int
) -> None:
    validation: Any = Validation.__new__(Validation)
    validation.prefer = "best"
    state = TrainState()
    for step, (metric, loss) in enumerate(figures):
        state.step = step
        validation._compare(state, metric, loss)
    assert (state.best_step, state.best, state.best_loss) == (best, *figures[best])
    assert state.not_better == len(figures) - 1 - best


def test_random_weights_and_few_clips_are_told(tmp_path: Path) -> None:
    for number, name in enumerate(("red", "green")):
        for clip in range(5):
            write_clip(tmp_path / "videos" / name / f"{clip}.mp4", number, frames=4, seed=clip)
    said = Said()
    wanted = run_settings(
        tmp_path / "videos",
        "optim.probe=true",
        "optim.epochs=1",
        "data.validation=0.2",
        "data.test_fraction=0.3",
    )
    assert train(wanted, tmp_path / "run", reporter=said)
    assert [line for line in said.lines if "regression" in line and "random weights" in line]
    assert [line for line in said.lines if "--model probe" in line]
    assert set(SplitList(tmp_path / "run").sides().values()) == {"train", "test"}


@pytest.mark.slow
def test_two_processes_start_from_the_same_regression_and_end_together(
    tmp_path: Path, colour_set: Path, weights: dict[str, Path], call: Call
) -> None:
    same = ("optim.probe=true", "optim.epochs=3", "optim.patience=1", "run.keep_epochs=1", *STILL)
    given = (f"model.weights={weights['squeezenet1_1']}", "data.validation=0.3", *same)
    for name, devices in (("one", 1), ("two", 2)):
        train_by(devices, call, colour_set, tmp_path / name, *given, f"optim.batch={4 // devices}")
    one, two = (
        load_file(kept_checkpoints(tmp_path / name)[0] / "model.safetensors") for name in ("one", "two")
    )
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-3)
    ends = [load_state(find_checkpoint(tmp_path / name, "last")) for name in ("one", "two")]
    assert [(end["epoch"], end["best"], end["not_better"]) for end in ends] == [(1, ends[0]["best"], 1)] * 2


def test_only_the_recipes_to_fine_tune_hold_out_and_stop_early() -> None:
    changed = set()
    for name in list_recipes():
        made = get_recipe(name)
        optim = made.optim
        if made.data.validation or optim.probe or optim.patience or optim.trunk_lr_scale != 1:
            changed.add(name)
    tuned = {name for name in list_recipes() if name.startswith(("fine-tune", "features"))}
    assert changed == {"demo-own", *tuned}


def test_trained_weights_of_rgb_choose_the_recipe_to_fine_tune(
    tmp_path: Path, colour_set: Path, weights: dict[str, Path]
) -> None:
    def made(model: str | None, *assignments: str, **plain: Any) -> TrainSettings:
        options = TrainOptions(DataOptions(str(colour_set)), model, plain=plain, assignments=assignments)
        return resolve(options, tmp_path / "run")

    trained = {"weights": str(weights["resnet10"]), "backbone": "resnet10"}
    tuned = made(None, **trained)
    assert (tuned.optim.probe, tuned.optim.trunk_lr_scale, tuned.input.snippets) == (True, 0.1, 3)
    assert made("tsm", **trained).input.snippets == 8
    assert made("frame", **trained).data.validation == 0.2
    assert made("tsn", "optim.probe=false", epochs=4, **trained).optim.model_dump()["epochs"] == 4
    scratch = made(None, backbone="resnet10", pretrained=False)
    assert scratch.model_dump()["optim"] == get_recipe("default").model_dump()["optim"]
    assert scratch.data.validation == 0


@pytest.mark.parametrize(("clips", "model"), [(1, "prototypes"), (2, "probe"), (4, "probe"), (5, "tsn")])
def test_auto_chooses_the_model_by_the_number_of_training_clips(
    tmp_path: Path, clips: int, model: str
) -> None:
    for number, name in enumerate(("red", "green")):
        for clip in range(clips):
            write_clip(tmp_path / "videos" / "train" / name / f"{clip}.mp4", number, frames=4, seed=clip)
        write_clip(tmp_path / "videos" / "test" / name / "t.mp4", number, frames=4, seed=9)
    options = TrainOptions(DataOptions(str(tmp_path / "videos")), "auto", plain={"backbone": "resnet10"})
    assert resolve(options, tmp_path / "run").model.name == model
    # The note on few clips names the same model, whatever is held out of them.
    made = run_settings(tmp_path / "videos", "model.backbone=resnet10", "data.validation=0.2")
    named = [note for note in load_data(made).notes if f"--model {model} is" in note]
    assert named == [note for note in load_data(made).notes if "--model" in note]
    assert len(named) == (model != "tsn")


@pytest.mark.slow
def test_streams_that_are_trained_without_options_are_fused(
    tmp_path: Path, moving: tuple[Path, Path], call: Call
) -> None:
    if not has_installed_weights("efficientnet_lite0"):
        pytest.skip("the weights are not installed")
    small = ("--epochs", 1, "--size", 32, "--watch", 1, "--workers", 0, "--set", "run.tensorboard=false")
    for name, flow in (("rgb", ()), ("motion", ("--flow", moving[1]))):
        result = call("train", moving[0], *flow, *small, "--out", name)
        assert result.code == 0, result.err
    sides = [set(SplitList(tmp_path / name).sides().values()) for name in ("rgb", "motion")]
    assert sides == [{"train", "val", "test"}, {"train", "test"}]  # flow is not fine-tuned
    result = call("fuse", "rgb", "motion", "--out", "both")
    assert result.code == 0, result.err
    assert len(px.load("both").labels) == 2
