"""TODO."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from praxiscope.errors import ArgumentError
from praxiscope.explain.clusters import rule_name
from praxiscope.explain.explanation import (
    BLUE,
    GREY,
    ORANGE,
    TEXT,
    Explanation,
    new_figure,
    set_title,
    style_axes,
)
from praxiscope.explain.frame_gradients import (
    gradient_maker,
    load_apart,
    see_frames,
    third_block,
)
from praxiscope.explain.networks import network_of
from praxiscope.layers.clustering import clusterings, hamming_distances
from praxiscope.progress import Reporter
from praxiscope.units import counted

__all__ = ["explain_cluster_gradients"]


_COLOURS = {"cumulative": BLUE, "slope": ORANGE, "uniform": GREY}


_NAMED_VIDEOS = 12  # names are written up to here


def explain_cluster_gradients(
    run: str | Path,
    videos: Sequence[str | Path],
    *,
    label: str | None = None,
    frames: int = 64,
    checkpoint: str | None = None,
    task: str | None = None,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> Explanation:
    """Draw how far the single gradient of a cluster's mean is from the sum of the gradients of its frames.

    The paper's figure 6: for clusters by each rule, as many as the network makes of the video, the Euclidean distance
    of n ∇L(mean of x_i) and Σ ∇L(x_i), n the cluster's frames, by the parameters of the third block.

    Args:
        run: a run folder, or a model folder, of a full-video network that sees frames.
        videos: video files; the clusters of all are pooled.
        label, frames, checkpoint, task, device, reporter: as `explain_gradients` takes them. Clusters are of the frames
            that are looked at.

    Returns:
        The picture with facts ``network``, ``parameters``; ``videos``: of each ``video``, ``label``, ``frames``
        (numbers) and ``rules``: of each clustering the clusters' ``frames`` (how many), ``distance`` and ``sum_norm``
        (of Σ ∇L(x_i)); and ``mean``: by rule, over the clusters of all videos, of ``distance``, and as a share of
        the mean of ``sum_norm`` (``relative``).

    Raises:
        ArgumentError: a network that makes no clusters of frames, an unknown label, or a number that cannot be used.
        DataError: a video has fewer than 3 frames.
        CheckpointError, VideoError: a file cannot be read.
    """
    if not videos:
        raise ArgumentError("name the videos to draw, got none")
    recogniser = load_apart(run, checkpoint=checkpoint, task=task, device=device)
    model = network_of(recogniser)
    named, parameters = third_block(model)
    facts: list[dict[str, Any]] = []
    with (reporter or Reporter()).bar("gradients of clusters", len(videos)) as bar:
        for video in videos:
            seen = see_frames(recogniser, video, label, frames)
            gradient = gradient_maker(recogniser, seen.target, parameters)
            with torch.no_grad():
                parts = torch.split(seen.frames, recogniser.at_once(*seen.frames.shape[-2:]))
                x = torch.cat([model.early(part) for part in parts])
            rules = _cluster_distances(x, seen.clusters, gradient)
            facts.append({"video": str(video), "label": seen.label, "frames": seen.numbers, "rules": rules})
            bar.advance()
    mean = {rule: _means([fact["rules"][rule] for fact in facts]) for rule in _COLOURS}
    name = Path(run).resolve().name
    title = f"{name}: the gradient of a cluster's mean against the sum of its frames' gradients ({named})"
    figure = _draw_clusters(facts, mean, rule_name(recogniser), title)
    return Explanation(figure, {"network": name, "parameters": named, "videos": facts, "mean": mean})


def _cluster_distances(
    x: Tensor, clusters: int, gradient: Callable[[Tensor], Tensor]
) -> dict[str, dict[str, list[float]]]:
    """By rule, of each cluster its frames, its distance and the norm of the sum; of activations [N, C, H, W]."""
    distances, count = hamming_distances(x), min(clusters, len(x))
    ids = {rule: clusterings.get(rule)(distances, count).tolist() for rule in _COLOURS}
    found: dict[str, dict[str, list[float]]] = {
        rule: {"frames": [], "distance": [], "sum_norm": []} for rule in ids
    }
    # Clusters are runs of frames: one running sum for each rule is all that is kept of the frames' gradients.
    starts: dict[str, int] = dict.fromkeys(ids, 0)
    sums: dict[str, Tensor] = {}
    for number in range(len(x)):
        own = gradient(x[number : number + 1])
        for rule, of_frame in ids.items():
            sums[rule] = sums[rule] + own if rule in sums else own
            if number + 1 < len(x) and of_frame[number + 1] == of_frame[number]:
                continue
            size = number + 1 - starts[rule]
            mean = x[starts[rule] : number + 1].mean(dim=0, keepdim=True)
            total = sums.pop(rule)
            found[rule]["frames"].append(size)
            # Equation (1) sums activations, the method (4) averages them: so that both sides have one scale, the
            # gradient of a mean counts as often as it has frames.
            found[rule]["distance"].append(float((size * gradient(mean) - total).norm()))
            found[rule]["sum_norm"].append(float(total.norm()))
            starts[rule] = number + 1
    return found


def _means(found: Sequence[dict[str, list[float]]]) -> dict[str, float]:
    distance = float(np.mean([value for one in found for value in one["distance"]]))
    whole = float(np.mean([value for one in found for value in one["sum_norm"]]))
    return {"distance": distance, "relative": distance / whole if whole else 0.0}


def _draw_clusters(
    facts: Sequence[dict[str, Any]], mean: dict[str, dict[str, float]], own: str, title: str
) -> Any:
    """Bars of clusters (of a single video) or of videos, by rule; beside them all clusters as boxes."""
    figure = new_figure(12.0, 4.3)
    set_title(figure, title)
    bars, boxes = figure.subplots(1, 2, width_ratios=[2.2, 1])
    single = len(facts) == 1
    for place, rule in enumerate(_COLOURS):
        of_videos = [fact["rules"][rule]["distance"] for fact in facts]
        heights = of_videos[0] if single else [float(np.mean(one)) for one in of_videos]
        label = f"{rule} (this run's)" if rule == own else rule
        at = np.arange(len(heights)) + 0.27 * (place - 1)
        bars.bar(at, heights, 0.25, color=_COLOURS[rule], label=label)
        pooled = np.concatenate(of_videos)
        dots = {"alpha": 0.6, "markersize": 4, "markeredgewidth": 0, "clip_on": False, "zorder": 3}
        line = {"color": TEXT, "linewidth": 1}
        boxes.boxplot(
            pooled, positions=[place], widths=0.5, showfliers=False,
            medianprops=line, boxprops=line, whiskerprops=line, capprops=line,
        )  # fmt: skip
        spread = 0.18 * np.sin(2.4 * np.arange(len(pooled)))  # beside one another, the same at every drawing
        boxes.plot(place + spread, pooled, "o", color=_COLOURS[rule], **dots)
        boxes.plot(
            [place - 0.36, place + 0.36], 2 * [mean[rule]["distance"]], color=_COLOURS[rule], linewidth=3
        )
    what = "$\\|\\,n\\,\\nabla L(\\overline{x}) - \\Sigma\\,\\nabla L(x_i)\\,\\|$"
    bars.set_ylabel(what, fontsize=10)
    if single:
        bars.set_xticks(range(len(heights)), [str(number + 1) for number in range(len(heights))])
        bars.set_xlabel("cluster", fontsize=9)
        frames = counted(len(facts[0]["frames"]), "frame")
        head = f"{Path(facts[0]['video']).name}, loss of {facts[0]['label']}: {frames}"
    else:
        few = len(facts) <= _NAMED_VIDEOS
        names = [Path(fact["video"]).stem[:16] if few else str(n) for n, fact in enumerate(facts, start=1)]
        bars.set_xticks(range(len(facts)), names, rotation=25 if few else 0, ha="right" if few else "center")
        bars.set_xlabel("video", fontsize=9)
        head = f"{counted(len(facts), 'video')}: mean over the clusters of each"
    bars.set_title(head, loc="left", fontsize=9, color=TEXT, parse_math=False)
    bars.legend(
        frameon=False, fontsize=9, labelcolor=TEXT, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.01)
    )
    bars.set_ylim(0, 1.15 * (bars.get_ylim()[1] or 1.0))
    boxes.set_xticks(
        range(len(_COLOURS)), [f"{rule}\nmean {mean[rule]['distance']:.3g}" for rule in _COLOURS], fontsize=9
    )
    boxes.set_title("all clusters; thick: mean", loc="left", fontsize=9, color=TEXT)
    for axes in (bars, boxes):
        axes.set_ylim(bottom=0)
        style_axes(axes, frame=False, grid="y")
    return figure
