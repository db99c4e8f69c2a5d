"""Pictures of principal backpropagation: a video's nearest snippets, and the losses of runs."""

from __future__ import annotations

import csv
import json
import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

import praxiscope as px
from praxiscope.checkpoint import FlowInput, InputContract, ModelCard, find_checkpoint, save_checkpoint
from praxiscope.commands.train import train
from praxiscope.errors import ArgumentError, CheckpointError, VideoError
from praxiscope.explain.explanation import save_explanation
from praxiscope.explain.losses import explain_losses
from praxiscope.explain.principal import explain_principal
from praxiscope.flow.contract import FlowContract
from praxiscope.flow.estimate import create_estimator
from praxiscope.inference.fused import save_fused
from praxiscope.models import create_model
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import override
from praxiscope.training.log import read_log
from praxiscope.video.sampling import segment_indices
from support import SMALL, write_clip

pytestmark = pytest.mark.usefixtures("_narrow")

WATCHES = ("backprop.name=principal", "backprop.choose=2", "input.snippets=4", "data.test_fraction=0.3")


def train_here(data: Path, run: Path, *assignments: str) -> Path:
    assert train(override(get_recipe("default"), [*SMALL, f"data.source={data}", *assignments]), run)
    return run


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "square.mp4"
    write_clip(path, colour=1, frames=30, seed=5)
    return path


@pytest.fixture(scope="module")
def chosen_run(colour_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Watches 4 snippets, learns from 2."""
    return train_here(colour_set, tmp_path_factory.mktemp("runs") / "pb", *WATCHES, "optim.epochs=4")


@pytest.fixture(scope="module")
def full_run(colour_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_here(colour_set, tmp_path_factory.mktemp("runs") / "full", "run.validate_epochs=1")


def snippet_scores(run: Path, clip: Path, frames: list[int]) -> np.ndarray:
    """Scores [m, K] in float64: each frame as a video of its own, one after the other."""
    recogniser = px.load(run, device="cpu")
    return np.stack([recogniser.snippet_logits(clip, torch.tensor([n]))[0].double().numpy() for n in frames])


def softmax(z: np.ndarray) -> np.ndarray:
    powers = np.exp(z - z.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def kl(whole: np.ndarray, part: np.ndarray) -> np.ndarray:
    p, q = softmax(whole), softmax(part)
    return (p * np.log(p / q)).sum(axis=-1)


# --------------------------------------------------------------------------------------------- snippets


def test_the_mean_of_snippet_scores_is_the_score_of_the_protocol(chosen_run, clip):
    recogniser = px.load(chosen_run, device="cpu")
    rows = recogniser.snippet_logits(clip, segment_indices(30, 12))
    assert rows.shape == (12, 3)
    torch.testing.assert_close(rows.mean(dim=0), recogniser.video_logits(clip, "12x1"))
    assert rows.std(dim=0).min() > 1e-6  # the snippets differ
    recogniser.chunk_snippets = 5
    torch.testing.assert_close(recogniser.snippet_logits(clip, segment_indices(30, 12)), rows)


def test_snippets_of_a_model_that_mixes_them_are_seen_together(clip):
    model = create_model("tsm", backbone="resnet18", num_classes=2, snippets=4, input_size=32)
    card = ModelCard("tsm", {}, ("a", "b"), input=InputContract(size=32, short_side=36, snippets=4))
    recogniser = px.Recogniser(model, card, precision="32", chunk_snippets=1)
    starts = segment_indices(30, 4)
    together = recogniser.snippet_logits(clip, starts)
    torch.testing.assert_close(together.mean(dim=0), recogniser.video_logits(clip, "1x1"))
    assert not torch.allclose(together[0], recogniser.snippet_logits(clip, starts[:1])[0], atol=1e-4)


def test_divergences_and_choice_are_those_of_plain_numpy(chosen_run, clip):
    frames = segment_indices(30, 12).tolist()
    scores = snippet_scores(chosen_run, clip, frames)
    whole = scores.mean(axis=0)
    for n in (3, 4, 5, 6):  # 220 subsets and more: a training step compares 100
        facts = explain_principal(chosen_run, clip, choose=n, device="cpu").facts
        np.testing.assert_allclose(facts["kl"], kl(whole, scores), rtol=1e-3, atol=1e-9)
        subsets = [list(subset) for subset in combinations(range(12), n)]
        values = kl(whole, np.stack([scores[subset].mean(axis=0) for subset in subsets]))
        second = np.sort(values)[1]
        assert facts["kl_chosen"] == pytest.approx(values.min(), rel=0.05, abs=0.2 * second)
        assert values[subsets.index(facts["chosen"])] <= 1.05 * values.min() + 0.2 * second
    assert facts["frames"] == frames
    np.testing.assert_allclose(facts["times_s"], np.array(frames) / 12, atol=1e-6)
    assert facts["label"] == px.load(chosen_run).labels[int(whole.argmax())]
    assert facts["probability"] == pytest.approx(softmax(whole).max(), rel=1e-4)


def test_so_many_are_chosen_as_the_run_learned_from(chosen_run, full_run, clip):
    assert len(explain_principal(chosen_run, clip).facts["chosen"]) == 2
    assert len(explain_principal(find_checkpoint(chosen_run), clip).facts["chosen"]) == 3  # not known there
    assert len(explain_principal(full_run, clip).facts["chosen"]) == 3
    assert len(explain_principal(chosen_run, clip, choose=1).facts["chosen"]) == 1


def test_the_film_shows_the_snippets_and_outlines_the_chosen(chosen_run, clip):
    made = explain_principal(chosen_run, clip, snippets=5)
    film, bars = made.figure.axes
    frames = px.open_video(clip).frames(made.facts["frames"], short_side=48)
    for image, frame in zip(film.images, frames, strict=True):
        np.testing.assert_array_equal(np.asarray(image.get_array()), frame.permute(1, 2, 0).numpy())
    outlined = [round(patch.get_x() + patch.get_width() / 2) for patch in film.patches]
    assert outlined == made.facts["chosen"]
    assert [patch.get_height() for patch in bars.patches] == pytest.approx(made.facts["kl"])
    colours = [patch.get_facecolor() for patch in bars.patches]
    assert [colours[n] == colours[outlined[0]] for n in range(5)] == [n in outlined for n in range(5)]
    assert bars.get_xticklabels()[0].get_text() == "3\n0.25 s"


def test_a_short_video_has_as_many_snippets_as_frames(chosen_run, tmp_path):
    write_clip(tmp_path / "a.mp4", 0, frames=3)
    assert explain_principal(chosen_run, tmp_path / "a.mp4").facts["frames"] == [0, 1, 2]
    write_clip(tmp_path / "b.mp4", 0, frames=1)
    facts = explain_principal(chosen_run, tmp_path / "b.mp4").facts
    assert (facts["kl"], facts["chosen"]) == ([0.0], [0])


def test_the_network_before_training_is_that_of_a_run_that_hardly_moved(colour_set, clip, tmp_path):
    run = train_here(colour_set, tmp_path / "still", *WATCHES, "optim.lr=1e-12", "optim.epochs=1")
    facts = explain_principal(run, clip, compare="start").facts
    assert facts["compare"]["network"] == "still, before training"
    assert max(facts["kl"]) > 1e-6
    np.testing.assert_allclose(facts["compare"]["kl"], facts["kl"], rtol=1e-3, atol=1e-9)
    other = train_here(colour_set, tmp_path / "b", *WATCHES, "optim.lr=1e-12", "optim.epochs=1", "run.seed=1")
    assert not np.allclose(explain_principal(other, clip).facts["kl"], facts["kl"], rtol=0.05)


def test_another_network_has_a_row_of_its_own_at_the_same_frames(chosen_run, full_run, clip):
    made = explain_principal(chosen_run, clip, compare=full_run, choose=2)
    alone = explain_principal(full_run, clip, choose=2).facts
    assert made.facts["compare"] == {key: alone[key] for key in made.facts["compare"]}
    assert made.facts["network"] == "pb"
    _, own, other = made.figure.axes
    assert [patch.get_height() for patch in other.patches] == pytest.approx(alone["kl"])
    assert own.get_ylim() == other.get_ylim()
    assert explain_principal(chosen_run, clip, compare="last").facts["compare"]["network"] == "pb, last"


def test_a_network_that_sees_flow_shows_the_first_frame_of_each_stack(clip, tmp_path):
    arguments = {"backbone": "squeezenet1_1", "num_classes": 2, "stream": "flow", "in_channels": 4}
    flow = FlowContract("farneback", create_estimator("farneback").parameters)
    contract = InputContract(
        size=32, short_side=36, channels=4, flow_mean=(0.0,) * 4, flow_std=(1.0,) * 4,
        flow=FlowInput(length=2, made=flow.to_dict()),
    )  # fmt: skip
    save_checkpoint(
        tmp_path / "m",
        create_model("tsn", **arguments),
        ModelCard("tsn", arguments, ("a", "b"), input=contract),
    )
    made = explain_principal(tmp_path / "m", clip, snippets=4)
    assert made.facts["frames"] == segment_indices(30, 4, 3).tolist()
    assert len(made.figure.axes[0].images) == 4


def test_several_labels_diverge_as_questions_of_yes_and_no(clip, tmp_path):
    arguments = {"backbone": "squeezenet1_1", "num_classes": 3}
    card = ModelCard("tsn", arguments, ("a", "b", "c"), multi_label=True, input=InputContract(32, 36))
    save_checkpoint(tmp_path / "m", create_model("tsn", **arguments), card)
    facts = explain_principal(tmp_path / "m", clip, snippets=4, choose=2).facts
    scores = snippet_scores(tmp_path / "m", clip, facts["frames"])
    binary = np.stack([scores, np.zeros_like(scores)], axis=-1)  # a sigmoid is the softmax beside a 0
    np.testing.assert_allclose(
        facts["kl"], kl(binary.mean(axis=0), binary).sum(axis=-1), rtol=1e-3, atol=1e-9
    )


def test_what_cannot_be_drawn_is_said_in_one_line(chosen_run, full_run, clip, tmp_path):
    save_fused(tmp_path / "both", [chosen_run, full_run])
    with pytest.raises(ArgumentError, match=r"both/1-rgb, .*both/2-rgb"):
        explain_principal(tmp_path / "both", clip)
    with pytest.raises(ArgumentError, match="1-rgb"):
        explain_principal(chosen_run, clip, compare=tmp_path / "both")
    with pytest.raises(ArgumentError, match=r"choose 5 of 4 .*--choose"):
        explain_principal(chosen_run, clip, snippets=4, choose=5)
    with pytest.raises(ArgumentError, match=r"snippets .*0"):
        explain_principal(chosen_run, clip, snippets=0)
    with pytest.raises(ArgumentError, match=r"\b30\b.*\b86493225\b.*\b12\b"):
        explain_principal(chosen_run, clip, snippets=30, choose=12)
    with pytest.raises(ArgumentError, match=r"settings\.yaml"):
        explain_principal(find_checkpoint(chosen_run), clip, compare="start")
    with pytest.raises(CheckpointError, match="nowhere"):
        explain_principal(chosen_run, clip, compare="nowhere")
    with pytest.raises(VideoError, match=r"none\.mp4"):
        explain_principal(chosen_run, tmp_path / "none.mp4")
    arguments = {"backbone": "squeezenet1_1", "num_classes": 2, "consensus": "maximum"}
    save_checkpoint(
        tmp_path / "max", create_model("tsn", **arguments), ModelCard("tsn", arguments, ("a", "b"))
    )
    with pytest.raises(ArgumentError, match="consensus"):
        explain_principal(tmp_path / "max", clip)


# ----------------------------------------------------------------------------------------------- losses


def write_log(run: Path, rows: list[dict[str, float]]) -> Path:
    run.mkdir(exist_ok=True)
    with (run / "log.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, sorted({key for row in rows for key in row}))
        writer.writeheader()
        writer.writerows(rows)
    return run


def test_curves_are_the_log_and_its_mean_over_a_twentieth(tmp_path):
    values = np.random.default_rng(0).random((3, 200))
    names = ("loss_full", "loss_chosen", "loss_unchosen")
    rows = [{"step": n + 1, "loss": 9.0, **dict(zip(names, values[:, n], strict=True))} for n in range(200)]
    made = explain_losses([write_log(tmp_path / "a", [*rows, {"step": 200, "val_loss": 1.0}])])
    (facts,) = made.facts["runs"]
    assert (facts["run"], facts["steps"], facts["window"], facts["setting"]) == ("a", 200, 11, "")
    lines = made.figure.axes[0].lines
    for place, name in enumerate(names):
        raw, smooth = lines[2 * place], lines[2 * place + 1]
        np.testing.assert_array_equal(raw.get_xdata(), np.arange(1, 201))
        np.testing.assert_allclose(raw.get_ydata(), values[place])
        assert smooth.get_ydata()[100] == pytest.approx(values[place, 95:106].mean())
        assert smooth.get_ydata()[0] == pytest.approx(values[place, :6].mean())
        assert facts["losses"][name]["last_tenth"] == pytest.approx(values[place, 180:].mean())
        assert facts["losses"][name]["first_tenth"] == pytest.approx(values[place, :20].mean())
    assert raw.get_alpha() < 0.5
    assert list(facts["losses"]) == list(names)


def test_runs_stand_side_by_side_on_one_scale(chosen_run, full_run):
    made = explain_losses([chosen_run, full_run, full_run, full_run])
    first, second, _, _, *empty = made.figure.axes
    assert not any(axes.get_visible() for axes in empty)
    assert first.get_ylim() == second.get_ylim()
    assert first.get_title(loc="left") == "pb\n2 of 4 snippets, rule kl"
    assert second.get_title(loc="left") == "full\nfull backpropagation of 2 snippets"
    assert [text.get_text() for text in second.get_legend().texts] == ["training loss (with dropout)"]
    assert [list(run["losses"]) for run in made.facts["runs"][:2]] == [
        ["loss_full", "loss_chosen", "loss_unchosen"],
        ["loss"],
    ]
    rows = [row["loss"] for row in read_log(full_run / "log.csv") if "loss" in row]
    np.testing.assert_allclose(second.lines[0].get_ydata(), rows)


def test_a_run_is_drawn_from_its_first_step_on_and_while_a_row_is_written(chosen_run, tmp_path):
    for name in ("log.csv", "settings.yaml"):
        (tmp_path / "pb").mkdir(exist_ok=True)
        shutil.copy(chosen_run / name, tmp_path / "pb" / name)
    lines = (chosen_run / "log.csv").read_text().splitlines(keepends=True)
    (tmp_path / "pb" / "log.csv").write_text("".join(lines[:2]) + lines[2][:1])
    made = explain_losses([tmp_path / "pb"])
    assert made.facts["runs"][0]["window"] == 1
    assert save_explanation(made, tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    for text in ("", "".join(lines[:1])):
        (tmp_path / "pb" / "log.csv").write_text(text)
        with pytest.raises(ArgumentError, match=r"pb: .*log\.csv"):
            explain_losses([tmp_path / "pb"])
    with pytest.raises(ArgumentError, match="0"):
        explain_losses([])


def test_one_wild_step_does_not_set_the_scale(tmp_path):
    rows = [{"step": n, "loss": 1000.0 if n == 50 else 1.0 + 0.01 * (n % 7)} for n in range(1, 401)]
    made = explain_losses([write_log(tmp_path / "a", rows)])
    assert made.figure.axes[0].get_ylim()[1] < 100


# ------------------------------------------------------------------------------------------- the command


def test_the_command_draws_the_nearest_snippets(call, chosen_run, clip, tmp_path):
    path = tmp_path / "a.png"
    words = ("principal", chosen_run, clip, "--snippets", 6, "--choose", 2, "--compare", "start")
    code, out, err = call("explain", *words, "--out", path, "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert facts["picture"] == str(path)
    assert len(facts["kl"]) == len(facts["compare"]["kl"]) == 6
    assert path.read_bytes().startswith(b"\x89PNG")
    code, out, err = call("explain", *words, "--out", path)
    first, second = (facts["frames"][number] for number in facts["chosen"])
    assert out == f"{path}: {facts['label']}; nearest to all 6 snippets: frames {first}, {second}\n"


def test_the_command_draws_losses(call, chosen_run, full_run, tmp_path):
    path = tmp_path / "a.png"
    code, out, err = call("explain", "losses", chosen_run, full_run, "--out", path)
    assert code == 0, err
    steps = [read_log(run / "log.csv")[-1]["step"] for run in (chosen_run, full_run)]
    assert out == f"{path}: pb {steps[0]} steps, full {steps[1]} steps\n"
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_network_of_two_streams_has_the_losses_of_both(tmp_path):
    rows = [{"step": n + 1, "loss": 3.0, "loss_rgb": 1.0 + n, "loss_flow": 2.0} for n in range(20)]
    (facts,) = explain_losses([write_log(tmp_path / "joint", rows)]).facts["runs"]
    assert list(facts["losses"]) == ["loss_rgb", "loss_flow"]
    assert facts["losses"]["loss_rgb"] == {"first_tenth": 1.5, "last_tenth": 19.5}
