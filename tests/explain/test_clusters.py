"""Pictures of clusters: which frames went together, by rule, over epochs, and what each cluster averages."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba

import praxiscope as px
from full_video_models import LABELS, save_model
from praxiscope.checkpoint import find_checkpoint
from praxiscope.commands.train import train
from praxiscope.data.move4mnist import Design, make_move4mnist
from praxiscope.errors import ArgumentError, CheckpointError, VideoError
from praxiscope.explain.clusters import explain_clusters
from praxiscope.explain.clusters_draw import colour_of
from praxiscope.explain.explanation import save_explanation
from praxiscope.inference.fused import save_fused
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import override
from praxiscope.video.decode import Video
from support import SMALL, write_clip

pytestmark = pytest.mark.usefixtures("_narrow")

FRAMES, CLUSTERS = 30, 4


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "square.mp4"
    write_clip(path, colour=1, frames=FRAMES, seed=5)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("models") / "full", clusters=CLUSTERS)


@pytest.fixture(scope="module")
def run(colour_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "kept"
    wanted = [
        *SMALL,
        f"data.source={colour_set}",
        "model.name=full-video",
        "model.backbone=resnet18",
        "model.clusters=3",
        "run.keep_epochs=1",
    ]
    assert train(override(get_recipe("default"), wanted), folder)
    return folder


def signs(folder: Path, clip: Path) -> np.ndarray:
    """Signs of all frames' activations, bool [N, places], of one dense pass, in the numbers of a test."""
    recogniser = px.load(folder, device="cpu")
    with torch.inference_mode(), recogniser.precision.context(recogniser.device):
        frames = recogniser.whole_frames(clip, torch.arange(FRAMES))
        activations = recogniser.model.early(frames)
    return (activations.float().numpy() > 0).reshape(FRAMES, -1)


def cut_by_hand(distances: list[int], clusters: int) -> list[int]:
    """First frames of the parts of equal distance, frame by frame: g C_i <= k C."""
    total, part = sum(distances), []
    for frame in range(len(distances) + 1):
        gone = sum(distances[:frame])
        part.append(next(k for k in range(1, clusters + 1) if clusters * gone <= k * total))
    return [frame for frame in range(1, len(part)) if part[frame] != part[frame - 1]]


def test_clusters_of_every_rule_are_cut_from_the_same_distances(model, clip):
    facts = explain_clusters(model, clip, device="cpu").facts
    on = signs(model, clip)
    distances = [int((first != second).sum()) for first, second in itertools.pairwise(on)]
    assert facts["distances"]["places"] == on.shape[1]
    assert facts["distances"]["total"] == pytest.approx(sum(distances) / on.shape[1])
    assert facts["distances"]["mean"] == pytest.approx(np.mean(distances) / on.shape[1])
    assert facts["distances"]["largest"] == pytest.approx(max(distances) / on.shape[1])
    assert distances[facts["distances"]["largest_after_frame"]] == max(distances)
    jumps = sorted(range(FRAMES - 1), key=lambda n: (-distances[n], -n))[: CLUSTERS - 1]
    assert facts["boundaries"] == {
        "cumulative": cut_by_hand(distances, CLUSTERS),
        "slope": sorted(n + 1 for n in jumps),
        "uniform": [n for n in range(1, FRAMES) if CLUSTERS * n // FRAMES != CLUSTERS * (n - 1) // FRAMES],
    }
    assert len({tuple(found) for found in facts["boundaries"].values()}) == 3  # the rules differ here


def test_clusters_span_every_frame_once_and_all_of_the_time(model, clip):
    facts = explain_clusters(model, clip, device="cpu").facts
    assert [one["number"] for one in facts["clusters"]] == list(range(1, CLUSTERS + 1))
    spans = [range(one["start_frame"], one["end_frame"] + 1) for one in facts["clusters"]]
    assert [frame for span in spans for frame in span] == list(range(FRAMES))
    assert [len(span) for span in spans] == [one["frames"] for one in facts["clusters"]]
    assert [one["start_frame"] for one in facts["clusters"]][1:] == facts["boundaries"]["cumulative"]
    for one in facts["clusters"]:  # 12 frames a second
        assert one["start_s"] == pytest.approx(one["start_frame"] / 12)
        assert one["end_s"] == pytest.approx((one["end_frame"] + 1) / 12)


def test_label_and_probability_are_those_of_the_prediction(model, clip):
    facts, said = explain_clusters(model, clip).facts, px.load(model).predict(clip, top=1)
    assert (facts["label"], facts["probability"]) == (said.labels[0], pytest.approx(said.scores[0], rel=1e-4))


def test_strips_change_colour_at_the_times_of_frames(model, clip):
    made = explain_clusters(model, clip)
    _, strips, curve, *_ = made.figure.axes
    names = [label.get_text() for label in strips.get_yticklabels()]
    assert names == ["cumulative (this run)", "slope", "uniform"]
    bold = [label.get_fontweight() == "bold" for label in strips.get_yticklabels()]
    assert bold == [True, False, False]
    for line, found in enumerate(made.facts["boundaries"].values()):
        cells = strips.patches[line * CLUSTERS : (line + 1) * CLUSTERS]
        assert [cell.get_x() for cell in cells] == pytest.approx([0, *(n / 12 for n in found)])
        assert cells[-1].get_x() + cells[-1].get_width() == pytest.approx(FRAMES / 12)
        assert [cell.get_facecolor() for cell in cells] == [
            to_rgba(colour_of(n + 1)) for n in range(CLUSTERS)
        ]
    assert curve.get_xlim() == strips.get_xlim() == (0, pytest.approx(FRAMES / 12))
    whole = next(line for line in curve.lines if len(line.get_xdata()) == FRAMES)
    np.testing.assert_allclose(whole.get_xdata(), np.arange(FRAMES) / 12)
    on = signs(model, clip)
    gone = np.concatenate([[0], (on[1:] != on[:-1]).mean(axis=1).cumsum()])
    np.testing.assert_allclose(whole.get_ydata(), gone)


def test_each_cluster_has_a_row_of_its_own_frames(model, clip):
    made = explain_clusters(model, clip)
    rows = made.figure.axes[3:]
    assert len(rows) == CLUSTERS
    for axes, cluster in zip(rows, made.facts["clusters"], strict=True):
        number, span, *frames = [text.get_text() for text in axes.texts]
        assert number == str(cluster["number"])
        assert span.startswith(f"frames {cluster['start_frame']}–{cluster['end_frame']}\n")
        numbers = [int(text) for text in frames]
        assert len(numbers) == min(cluster["frames"], 8) == len(set(numbers))
        assert all(cluster["start_frame"] <= number <= cluster["end_frame"] for number in numbers)
        pixels = px.open_video(clip).frames(numbers, short_side=48)
        for image, frame in zip(axes.images, pixels, strict=True):
            np.testing.assert_array_equal(np.asarray(image.get_array()), frame.permute(1, 2, 0).numpy())


def test_the_film_shows_frames_of_the_middles_of_equal_parts(model, clip):
    film = explain_clusters(model, clip).figure.axes[0]
    numbers = [int((n + 0.5) * FRAMES / 12) for n in range(12)]
    assert [text.get_text() for text in film.texts] == [f"frame {number}" for number in numbers]
    pixels = px.open_video(clip).frames(numbers, short_side=48)
    for image, frame in zip(film.images, pixels, strict=True):
        np.testing.assert_array_equal(np.asarray(image.get_array()), frame.permute(1, 2, 0).numpy())


def test_what_a_move4mnist_video_shows_is_drawn_above_and_compared(model, tmp_path):
    make_move4mnist(tmp_path / "m4", Design(size=48, frames=16), videos=(4, 0), seed=3, workers=1)
    video = sorted((tmp_path / "m4").glob("train/*/*.mp4"))[0]
    made = explain_clusters(model, video)
    kinds = json.loads(video.with_suffix(".json").read_text())["kinds"]
    strips = made.figure.axes[1]
    assert strips.get_yticklabels()[0].get_text() == "content of frames"
    changes = [0, *(n for n in range(1, 16) if kinds[n] != kinds[n - 1])]
    times = px.open_video(video).timestamps()
    assert [cell.get_x() for cell in strips.patches[: len(changes)]] == pytest.approx(times[changes].tolist())
    for rule, found in made.facts["boundaries"].items():
        edges = [0, *found, 16]
        most = [Counter(kinds[start:end]).most_common(1)[0][1] for start, end in itertools.pairwise(edges)]
        assert made.facts["alike"][rule] == pytest.approx(sum(most) / 16)
    video.with_suffix(".json").unlink()
    made = explain_clusters(model, video)
    assert "alike" not in made.facts
    assert made.figure.axes[1].get_yticklabels()[0].get_text() == "cumulative (this run)"


def test_of_many_clusters_24_have_rows_and_the_picture_says_so(clip, tmp_path):
    made = explain_clusters(save_model(tmp_path / "m", clusters=28), clip)
    assert (len(made.facts["clusters"]), made.facts["rows_left_out"]) == (28, 4)
    assert len(made.figure.axes) == 3 + 24
    assert any("24 of 28" in text.get_text() for text in made.figure.texts)


def test_few_frames_are_read_by_number_however_long_the_video_is(model, tmp_path, monkeypatch):
    write_clip(tmp_path / "long.mp4", 0, frames=300, size=(48, 400))
    asked, real = [], Video.frames

    def noted(self: Video, indices: object, **options: object) -> torch.Tensor:
        asked.append(len(indices))  # type: ignore[arg-type]
        return real(self, indices, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Video, "frames", noted)
    made = explain_clusters(model, tmp_path / "long.mp4")
    assert made.facts["frames"] == 300
    assert max(asked) <= 12
    assert sum(asked) <= 12 + 8 * CLUSTERS + 1


def test_a_video_of_one_frame_is_one_cluster(model, tmp_path):
    write_clip(tmp_path / "a.mp4", 0, frames=1)
    made = explain_clusters(model, tmp_path / "a.mp4")
    assert [one["frames"] for one in made.facts["clusters"]] == [1]
    assert made.facts["distances"]["total"] == 0
    assert save_explanation(made, tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_epochs_have_a_strip_for_each_kept_checkpoint(run, clip):
    made = explain_clusters(run, clip, compare=["start"], epochs=True)
    others = made.facts["compare"]
    assert [one["network"] for one in others] == ["kept, before training", "epoch 1", "epoch 2"]
    names = [label.get_text() for label in made.figure.axes[1].get_yticklabels()]
    assert names == ["cumulative (kept)", "slope", "uniform", *(one["network"] for one in others)]
    folders = sorted((run / "checkpoints").iterdir())
    for one, folder in zip(others[1:], folders, strict=True):
        alone = explain_clusters(folder, clip).facts
        assert one["boundaries"] == alone["boundaries"]["cumulative"]
        assert (one["label"], one["probability"]) == (alone["label"], alone["probability"])


def test_another_network_is_drawn_by_its_own_rule(model, clip, tmp_path):
    other = save_model(tmp_path / "other", clusters=6, clustering="slope", seed=1)
    made = explain_clusters(model, clip, compare=[other, model])
    alone = explain_clusters(other, clip).facts
    assert made.facts["compare"][0] == {
        "network": "other",
        "label": alone["label"],
        "probability": alone["probability"],
        "rule": "slope",
        "boundaries": alone["boundaries"]["slope"],
    }
    assert list(alone["boundaries"]) == ["slope", "cumulative", "uniform"]  # its own first
    names = [label.get_text() for label in made.figure.axes[1].get_yticklabels()]
    assert names[3:] == ["other, slope", "full"]


def test_neighbouring_clusters_have_different_colours():
    colours = [colour_of(number) for number in range(1, 25)]
    assert len(set(colours)) == 24


def test_what_cannot_be_drawn_is_said_in_one_line(model, clip, tmp_path):
    save_model(tmp_path / "tsn", "tsn")
    with pytest.raises(ArgumentError, match=r"tsn .*--model full-video"):
        explain_clusters(tmp_path / "tsn", clip)
    with pytest.raises(ArgumentError, match="tsn "):
        explain_clusters(model, clip, compare=[tmp_path / "tsn"])
    save_fused(tmp_path / "both", [model, tmp_path / "tsn"])
    with pytest.raises(ArgumentError, match="1-"):
        explain_clusters(tmp_path / "both", clip)
    with pytest.raises(CheckpointError, match="checkpoint"):
        explain_clusters(model, clip, epochs=True)
    with pytest.raises(VideoError, match=r"none\.mp4"):
        explain_clusters(model, tmp_path / "none.mp4")


# ------------------------------------------------------------------------------------------- the command


def test_without_out_the_picture_is_named_after_video_or_run_and_kind(call, model, clip, tmp_path):
    save_model(tmp_path / "tsn", "tsn")
    for words, name in (
        (("clusters", model, clip), "square_clusters.png"),
        (("principal", tmp_path / "tsn", clip), "square_principal.png"),
        (("cluster-gradients", model, clip, "--frames", 4), "square_cluster_gradients.png"),
        (("filters", f"{model}/"), "full_filters.png"),
        (("flow", clip, "--method", "farneback", "--frames", 1), "square_flow.png"),
    ):
        code, out, err = call("explain", *words)
        assert code == 0, err
        assert out.startswith(f"{name}: ")
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_the_command_draws_clusters_with_several_networks(call, run, model, clip, tmp_path):
    words = ("clusters", run, clip, "--compare", "start", "--compare", model, "--epochs")
    code, out, err = call("explain", *words, "--json", "--out", "a.png")
    assert code == 0, err
    facts = json.loads(out)
    assert (facts["picture"], len(facts["compare"]), len(facts["clusters"])) == ("a.png", 4, 3)
    assert facts["label"] in LABELS
    code, out, err = call("explain", "clusters", run, clip)
    assert out == f"square_clusters.png: {facts['label']}; {FRAMES} frames in 3 clusters, cumulative\n"
    assert find_checkpoint(run)  # nothing was written there
