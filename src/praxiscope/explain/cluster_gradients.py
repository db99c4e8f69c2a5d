"""The picture of cluster gradients: whether clusters keep the gradients of their frames.

It follows the paper (Liu et al., 2021, section 4.2, figure 6; see `praxiscope.models.full_video`), as
`praxiscope.explain.frame_gradients` reads it.

Axis letters: N frames of a video, C channels, H rows, W columns.
"""

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


_NAMED_VIDEOS = 12  # more videos are numbered


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
    """Draw the distance between the gradient of each cluster's mean and the sum of the gradients of its frames.

    Figure 6 of the paper: the Euclidean distance between n ∇L(mean of x_i) and Σ ∇L(x_i) with respect to the parameters
    of the third block, where a cluster has n frames. Each rule has the number of clusters of the network.

    Args:
        run: run or model folder of a full-video network that sees RGB frames.
        videos: video files, whose clusters are pooled.
        label: the class whose loss is differentiated. Default: the class predicted for the video.
        frames: maximum number of frames of each video, evenly spaced; these are clustered.
        checkpoint: "last" or "best". Default: the run's choice.
        task: name of the data set whose classes to use, for a run on several.
        device: device of the network, which runs in float32.
        reporter: shows progress.

    Returns:
        The figure with the facts ``network``, ``parameters``; ``videos``: for each ``video``, ``label``, ``frames``
        (numbers) and ``rules``: for each rule and cluster the number of ``frames``, the ``distance`` and ``sum_norm``
        (of Σ ∇L(x_i)); and ``mean``: by rule, the mean ``distance`` over the clusters of all videos, and ``relative``
        to the mean ``sum_norm``.

    Raises:
        ArgumentError: the network makes no clusters of frames, the label is unknown, or a number is invalid.
        DataError: a video has fewer than 3 frames.
        CheckpointError, VideoError: a file cannot be read.
    """
    if not videos:
        raise ArgumentError("expected at least 1 video, got 0")
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
    title = f"{name}: distance between the gradient of a cluster's mean and the sum of its frames' gradients ({named})"
    figure = _draw_clusters(facts, mean, rule_name(recogniser), title)
    return Explanation(figure, {"network": name, "parameters": named, "videos": facts, "mean": mean})


def _cluster_distances(
    x: Tensor, clusters: int, gradient: Callable[[Tensor], Tensor]
) -> dict[str, dict[str, list[float]]]:
    """By rule and cluster: number of frames, distance and norm of the sum, for activations [N, C, H, W]."""
    distances, count = hamming_distances(x), min(clusters, len(x))
    ids = {rule: clusterings.get(rule)(distances, count).tolist() for rule in _COLOURS}
    found: dict[str, dict[str, list[float]]] = {
        rule: {"frames": [], "distance": [], "sum_norm": []} for rule in ids
    }
    # Clusters are consecutive frames, so one running sum of gradients per rule is enough.
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
            # Equation (1) sums activations, the method (4) averages them. The gradient of the mean is multiplied by
            # the number of frames, so that both sides have the same scale.
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
    """Bars by rule, for the clusters of one video or for several videos; at the right, box plots of all clusters."""
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
        spread = 0.18 * np.sin(2.4 * np.arange(len(pooled)))  # spread horizontally, without randomness
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
    boxes.set_title("all clusters (thick line: mean)", loc="left", fontsize=9, color=TEXT)
    for axes in (bars, boxes):
        axes.set_ylim(bottom=0)
        style_axes(axes, frame=False, grid="y")
    return figure
