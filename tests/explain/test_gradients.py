"""Pictures of gradients: of pairs of frames, and of clusters against their frames."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from torch.nn import functional as F

import praxiscope as px
from full_video_models import LABELS, save_model
from praxiscope.checkpoint import find_checkpoint, load_card, load_model_weights
from praxiscope.errors import ArgumentError, DataError, UnknownNameError
from praxiscope.explain.cluster_gradients import explain_cluster_gradients
from praxiscope.explain.explanation import save_explanation
from praxiscope.explain.gradients import explain_gradients
from praxiscope.layers.clustering import clusterings
from praxiscope.models import create_model
from praxiscope.video.sampling import segment_indices
from support import write_clip

pytestmark = pytest.mark.usefixtures("_narrow")

FRAMES, CLUSTERS = 12, 4
RULES = ("cumulative", "slope", "uniform")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "square.mp4"
    write_clip(path, colour=1, frames=FRAMES, seed=5)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("models") / "full", clusters=CLUSTERS)


def network(folder: Path, **arguments: object) -> torch.nn.Module:
    """The saved network, built anew; with other arguments where they change no weight."""
    card = load_card(find_checkpoint(folder))
    built = create_model(card.name, **{**card.kwargs, **arguments})
    load_model_weights(find_checkpoint(folder), built)
    return built.eval()


def pixels(folder: Path, clip: Path, numbers: list[int] | None = None) -> torch.Tensor:
    """Frames prepared by hand, float [N, 3, H, W]."""
    contract = load_card(find_checkpoint(folder)).input
    video = px.open_video(clip)
    frames = video.frames(range(len(video)) if numbers is None else numbers, short_side=contract.short_side)
    mean, std = torch.tensor(contract.mean), torch.tensor(contract.std)
    return (frames / 255 - mean[:, None, None]) / std[:, None, None]


def gradient(
    net: torch.nn.Module, block: str, frames: torch.Tensor, label: int, scale: float = 1.0
) -> np.ndarray:
    """By an ordinary backward pass of the whole network over frames of one video."""
    net.zero_grad()
    logits = net(frames, torch.tensor([0, len(frames)])).logits
    (scale * -F.log_softmax(logits, dim=-1)[0, label]).backward()
    found = [p.grad.flatten() for name, p in net.named_parameters() if name.startswith(f"backbone.{block}.")]
    assert found
    return torch.cat(found).numpy().astype(np.float64)


# Near a ReLU's corner a rounded place can flip, and with it a little of one frame's gradient.
FLIP = 0.02


def points(axes: object) -> tuple[np.ndarray, np.ndarray]:
    """All points of a panel, in order of their x."""
    x, y = (
        np.concatenate([getattr(line, get)() for line in axes.lines]) for get in ("get_xdata", "get_ydata")
    )
    order = np.lexsort((y, x))
    return x[order], y[order]


# ----------------------------------------------------------------------------------------------- pairs


def test_pairs_are_those_of_backward_passes_and_plain_numpy(model, clip):
    made = explain_gradients(model, [clip], label="green", device="cpu")
    net, frames = network(model), pixels(model, clip)
    gradients = [gradient(net, "layer1", frame[None], 1) for frame in frames]
    with torch.no_grad():
        activations = net.early(frames).flatten(1).double().numpy()
    pairs = list(combinations(range(FRAMES), 2))
    apart = np.array([np.linalg.norm(gradients[i] - gradients[j]) for i, j in pairs])
    expected = {
        "hamming": np.array([((activations[i] > 0) != (activations[j] > 0)).mean() for i, j in pairs]),
        "euclidean": np.array([np.linalg.norm(activations[i] - activations[j]) for i, j in pairs]),
    }
    (facts,) = made.facts["videos"]
    assert (facts["pairs"], facts["label"], facts["frames"]) == (66, "green", list(range(FRAMES)))
    for axes, (name, values) in zip(made.figure.axes, expected.items(), strict=True):
        x, y = points(axes)
        np.testing.assert_allclose(x, np.sort(values), rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(np.sort(y), np.sort(apart), rtol=FLIP)
        assert facts[name]["pearson"] == pytest.approx(pearsonr(values, apart)[0], abs=FLIP)
        assert facts[name]["spearman"] == pytest.approx(spearmanr(values, apart)[0], abs=FLIP)
        said = f"Pearson {facts[name]['pearson']:.2f}, Spearman {facts[name]['spearman']:.2f}"
        assert axes.get_title(loc="left").endswith(said)
        near = axes.lines[1]
        neighbours = [values[pairs.index((n, n + 1))] for n in range(FRAMES - 1)]
        np.testing.assert_allclose(np.sort(near.get_xdata()), np.sort(neighbours), rtol=1e-3, atol=1e-3)


def test_equal_values_share_a_rank():
    from praxiscope.explain.gradients import _correlations

    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 5, 40).astype(float), rng.integers(0, 4, 40).astype(float)
    found = _correlations(x, y)
    assert found["spearman"] == pytest.approx(spearmanr(x, y)[0])
    assert found["pearson"] == pytest.approx(pearsonr(x, y)[0])
    assert np.isnan(_correlations(x, np.ones(40))["pearson"])


def test_the_loss_is_that_of_the_predicted_label_where_none_is_named(model, clip):
    best = px.load(model).predict(clip, top=1).labels[0]
    (facts,) = explain_gradients(model, [clip], frames=5).facts["videos"]
    assert facts["label"] == best
    again = explain_gradients(model, [clip], frames=5, label=best).facts["videos"][0]
    assert facts["euclidean"]["pearson"] == pytest.approx(again["euclidean"]["pearson"], abs=FLIP)
    other = next(label for label in LABELS if label != best)
    found = explain_gradients(model, [clip], frames=5, label=other).facts["videos"][0]
    assert found["label"] == other
    assert found["euclidean"]["pearson"] != pytest.approx(again["euclidean"]["pearson"], abs=1e-3)


def test_of_a_longer_video_frames_are_evenly_spread(model, clip):
    for explain in (explain_gradients, explain_cluster_gradients):
        (facts,) = explain(model, [clip], frames=5).facts["videos"]
        assert facts["frames"] == segment_indices(FRAMES, 5).tolist()


def test_several_videos_have_a_column_each(model, clip, tmp_path):
    write_clip(tmp_path / "b.mp4", 2, frames=6)
    made = explain_gradients(model, [clip, tmp_path / "b.mp4"])
    assert len(made.figure.axes) == 4
    assert [one["pairs"] for one in made.facts["videos"]] == [66, 15]
    alone = explain_gradients(model, [tmp_path / "b.mp4"]).facts["videos"][0]
    assert made.facts["videos"][1]["frames"] == alone["frames"] == list(range(6))
    found = made.facts["videos"][1]["hamming"]["pearson"]
    assert found == pytest.approx(alone["hamming"]["pearson"], abs=FLIP)


# -------------------------------------------------------------------------------------------- clusters


@pytest.mark.slow
def test_clusters_are_compared_as_networks_of_one_cluster_have_their_gradient(model, clip):
    made = explain_cluster_gradients(model, [clip], label="blue", device="cpu")
    net, one, frames = network(model), network(model, clusters=1), pixels(model, clip)
    of_frames = [gradient(net, "layer3", frame[None], 2) for frame in frames]
    with torch.no_grad():
        on = net.early(frames).flatten(1) > 0
    distances = (on[1:] != on[:-1]).sum(1)
    for rule in RULES:
        ids = clusterings.get(rule)(distances, CLUSTERS).numpy()
        facts = made.facts["videos"][0]["rules"][rule]
        assert facts["frames"] == np.bincount(ids).tolist()
        for cluster, (distance, norm) in enumerate(zip(facts["distance"], facts["sum_norm"], strict=True)):
            mine = np.flatnonzero(ids == cluster)
            total = sum(of_frames[n] for n in mine)
            single = gradient(one, "layer3", frames[mine], 2, scale=len(mine))
            assert norm == pytest.approx(np.linalg.norm(total), rel=FLIP)
            assert distance == pytest.approx(np.linalg.norm(single - total), rel=0.05, abs=1e-3 * norm)
        assert made.facts["mean"][rule]["distance"] == pytest.approx(np.mean(facts["distance"]))
        relative = np.mean(facts["distance"]) / np.mean(facts["sum_norm"])
        assert made.facts["mean"][rule]["relative"] == pytest.approx(relative)
    bars, boxes = made.figure.axes
    heights = [patch.get_height() for patch in bars.patches]
    assert heights == [
        value for rule in RULES for value in made.facts["videos"][0]["rules"][rule]["distance"]
    ]
    assert len(boxes.get_xticklabels()) == 3


def test_a_cluster_of_one_frame_loses_nothing(clip, tmp_path):
    made = explain_cluster_gradients(save_model(tmp_path / "m", clusters=FRAMES + 5), [clip])
    for rule in RULES:
        facts = made.facts["videos"][0]["rules"][rule]
        assert facts["frames"] == [1] * FRAMES
        assert max(facts["distance"]) < 1e-2 * min(facts["sum_norm"])


def test_clusters_of_several_videos_are_pooled(model, clip, tmp_path):
    write_clip(tmp_path / "b.mp4", 2, frames=6)
    made = explain_cluster_gradients(model, [clip, tmp_path / "b.mp4"])
    for rule in RULES:
        pooled = [value for one in made.facts["videos"] for value in one["rules"][rule]["distance"]]
        assert len(pooled) == 2 * CLUSTERS
        assert made.facts["mean"][rule]["distance"] == pytest.approx(np.mean(pooled))
    assert len(made.figure.axes[0].patches) == 2 * len(RULES)


def test_means_before_the_last_relu_are_compared_as_the_network_takes_them(clip, tmp_path):
    folder = save_model(tmp_path / "m", clusters=CLUSTERS, aggregate="pre")
    facts = explain_cluster_gradients(folder, [clip], label="red").facts["videos"][0]["rules"]["uniform"]
    net, one, frames = network(folder), network(folder, clusters=1), pixels(folder, clip)[:3]
    total = sum(gradient(net, "layer3", frame[None], 0) for frame in frames)
    single = gradient(one, "layer3", frames, 0, scale=3)
    assert facts["frames"][0] == 3
    assert facts["distance"][0] == pytest.approx(np.linalg.norm(single - total), rel=0.05)


def test_of_other_networks_the_first_stage_and_the_rest_are_taken(clip, tmp_path):
    folder = save_model(tmp_path / "m", backbone="squeezenet1_1", clusters=3)
    pairs = explain_gradients(folder, [clip], frames=4)
    assert pairs.facts["parameters"] == "the first stage"
    assert np.isfinite(pairs.facts["videos"][0]["hamming"]["pearson"])
    clusters = explain_cluster_gradients(folder, [clip], frames=4)
    assert clusters.facts["parameters"] == "all layers after the first stage"


def test_several_labels_are_questions_of_yes_and_no(clip, tmp_path):
    folder = save_model(tmp_path / "m", clusters=3, multi_label=True)
    found = explain_cluster_gradients(folder, [clip], frames=3, label="green").facts["videos"][0]["rules"][
        "uniform"
    ]
    net, frame = network(folder), pixels(folder, clip, segment_indices(FRAMES, 3).tolist())[:1]
    logits = net(frame, torch.tensor([0, 1])).logits
    F.binary_cross_entropy_with_logits(logits, torch.tensor([[0.0, 1.0, 0.0]])).backward()
    squares = [float(p.grad.double().square().sum()) for p in net.backbone.layer3.parameters()]
    assert found["sum_norm"][0] == pytest.approx(sum(squares) ** 0.5, rel=FLIP)


def test_what_cannot_be_compared_is_said_in_one_line(model, clip, tmp_path):
    write_clip(tmp_path / "b.mp4", 2, frames=2)
    for explain in (explain_gradients, explain_cluster_gradients):
        with pytest.raises(UnknownNameError, match=r"'gren'.*'green'"):
            explain(model, [clip], label="gren")
        with pytest.raises(ArgumentError, match=r"frames .*3.*2"):
            explain(model, [clip], frames=2)
        with pytest.raises(DataError, match=r"b\.mp4: .*2 frames"):
            explain(model, [tmp_path / "b.mp4"])
        with pytest.raises(ArgumentError, match="0"):
            explain(model, [])
    with pytest.raises(ArgumentError, match=r"6 videos.*7"):
        explain_gradients(model, [clip] * 7)
    mixed = save_model(tmp_path / "mixed", clusters=3, early_shift=True)
    with pytest.raises(ArgumentError, match="early_shift"):
        explain_gradients(mixed, [clip])
    with pytest.raises(ArgumentError, match="tsn "):
        explain_gradients(save_model(tmp_path / "tsn", "tsn"), [clip])


# ------------------------------------------------------------------------------------------- the command


@pytest.mark.slow
def test_the_command_draws_gradients(call, model, clip, tmp_path):
    words = (model, clip, "--frames", 4, "--label", "red")
    code, out, err = call("explain", "gradients", *words, "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert (facts["picture"], facts["videos"][0]["pairs"]) == ("square_gradients.png", 6)
    found = [facts["videos"][0][name]["pearson"] for name in ("hamming", "euclidean")]
    said = f"square.mp4: 6 pairs, Pearson {found[0]:.2f} (Hamming), {found[1]:.2f} (Euclidean)"
    assert call("explain", "gradients", *words).out == f"square_gradients.png: {said}\n"
    words = (model, clip, clip, "--frames", 6)
    means = json.loads(call("explain", "cluster-gradients", *words, "--json").out)["mean"]
    said = ", ".join(f"{rule} {means[rule]['distance']:.3g}" for rule in RULES)
    out = call("explain", "cluster-gradients", *words).out
    assert out == f"square_cluster_gradients.png: mean distance of a cluster's gradient (layer3): {said}\n"
    for name in ("square_gradients.png", "square_cluster_gradients.png"):
        assert Path(name).read_bytes().startswith(b"\x89PNG")
    assert save_explanation(explain_gradients(model, [clip], frames=3), tmp_path / "b.svg").is_file()
