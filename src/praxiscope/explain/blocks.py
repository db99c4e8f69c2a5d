"""The picture of distances along a video at several depths of a network: whether they agree between blocks.

X. Liu et al., "No Frame Left Behind: Full Video Action Recognition", CVPR 2021, section 3.3 and figure 4: clusters are
made after the first block, which assumes that frames with activations of like signs there are alike in later blocks.

N frames, C channels, H rows, W columns.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from praxiscope.errors import ArgumentError
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
from praxiscope.explain.film import time_axis
from praxiscope.explain.networks import Run, load_one, name_of
from praxiscope.layers.clustering import hamming_distances
from praxiscope.models.snippets import SnippetNetwork
from praxiscope.models.stages import stage_ends
from praxiscope.progress import Reporter
from praxiscope.units import counted
from praxiscope.video.opening import open_video

__all__ = ["explain_blocks"]

_MOST_FRAMES = 2000
_BEYOND = 8  # times that the first and the last frame are repeated, as far as they reach in a ResNet-18


def explain_blocks(
    run: Run,
    video: str | Path,
    *,
    frames: int = 64,
    cuts: int = 7,
    checkpoint: str | None = None,
    reporter: Reporter | None = None,
    **options: Any,
) -> Explanation:
    """Draw the distance of each frame of a video from the next one, after each block of a network.

    The distance is the share of activations whose signs differ. The frames after which the first block changes most are
    marked in all blocks. Each frame is seen with its neighbours, if the network shifts channels along time.

    Args:
        run: run or model folder, or a loaded network, of an image network on RGB frames: full-video, tsm or tsn.
        video: video file.
        frames: N; of more frames, so many are taken, evenly spaced.
        cuts: number of the largest distances of the first block, that are marked.
        checkpoint: "last" or "best". Default: the run's choice.
        reporter: shows progress.
        options: ``task`` and ``device`` as for `praxiscope.load`.

    Returns:
        The figure with the facts ``video``, ``network``, ``frames`` (numbers) and ``times_s`` of them, ``cuts`` (places
        among the distances), and ``blocks``: for each its ``name``, ``layer``, ``distances`` [N - 1], Spearman's rank
        ``correlation`` with those of the first block, the mean distance at the cuts, ``cut``, and elsewhere, ``alike``.

    Raises:
        ArgumentError: the network is of another kind, its stages are not known, or a number is out of range.
        CheckpointError: the model is missing or damaged.
        VideoError: the video cannot be read, or has fewer than 3 frames.
    """
    if not 3 <= frames <= _MOST_FRAMES:
        raise ArgumentError(f"frames must be from 3 to {_MOST_FRAMES}, got {frames}")
    if cuts < 1:
        raise ArgumentError(f"cuts must be at least 1, got {cuts}")
    recogniser = load_one(run, checkpoint=checkpoint, **options)
    model = recogniser.model
    if (
        not isinstance(model, SnippetNetwork)
        or recogniser.streams != ("rgb",)
        or recogniser.card.input.length > 1
    ):
        raise ArgumentError(
            f"{run}: {recogniser.card.name} is no image network on single RGB frames. Give a run of full-video, tsm or "
            "tsn."
        )
    layers = _blocks(model)
    source = open_video(video)
    count = source.quick_length()
    if count < 3:
        raise ArgumentError(f"{video}: has {counted(count, 'frame')}; distances along it need at least 3")
    numbers = np.unique(np.linspace(0, count - 1, min(frames, count)).round().astype(np.int64))
    with (reporter or Reporter()).bar("comparing frames", 1) as bar, torch.inference_mode():
        # Networks that shift channels along time see zeros before the first and after the last frame.
        beyond = 0 if model.sees.instants_apart else _BEYOND
        seen = np.pad(numbers, beyond, mode="edge")
        x = recogniser.whole_frames(video, torch.from_numpy(seen))
        # As the image network that it is, also if the later stages of the model take clusters.
        maps = SnippetNetwork.forward(model, x[None], maps=tuple(layers.values())).maps
        kept = slice(beyond, len(seen) - beyond)
        shares = {name: _shares(maps[layer][0, kept]) for name, layer in layers.items()}
        bar.advance()
    first = next(iter(shares.values()))
    marked = np.sort(np.argsort(-first, kind="stable")[: min(cuts, len(first) - 1)])
    facts = {
        "video": str(video),
        "network": name_of(run),
        "frames": numbers.tolist(),
        "times_s": source.timestamps()[numbers].tolist(),
        "cuts": marked.tolist(),
        "blocks": [_facts(name, layers[name], one, first, marked) for name, one in shares.items()],
    }
    return Explanation(_draw(facts), facts)


def _blocks(model: SnippetNetwork) -> dict[str, str]:
    """The last layer of each block after the first convolution, by the block's name."""
    ends = stage_ends(model.backbone, model.backbone_name)
    blocks = {name: layer for name, layer in ends.items() if name != "conv1"}
    return {**blocks, "res5": SnippetNetwork.layer_names(model)[-1]}


def _shares(activations: torch.Tensor) -> NDArray[np.float64]:
    """Shares of the signs that differ between neighbours of [N, C, H, W], [N - 1]."""
    found: NDArray[np.float64] = hamming_distances(activations).cpu().numpy() / activations[0].numel()
    return found


def _facts(
    name: str, layer: str, own: NDArray[np.float64], first: NDArray[np.float64], cuts: NDArray[np.int64]
) -> dict[str, Any]:
    return {
        "name": name,
        "layer": layer,
        "distances": own.tolist(),
        "correlation": _rank_correlation(first, own),
        "cut": float(own[cuts].mean()),
        "alike": float(np.delete(own, cuts).mean()),
    }


def _rank_correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float | None:
    """Spearman's: the correlation of the ranks, equal values sharing theirs; None for equal values only."""
    ranks = []
    for values in (one, other):
        _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((counts.cumsum() - (counts - 1) / 2)[which])
    if min(np.ptp(rank) for rank in ranks) == 0:
        return None
    one_rank, other_rank = (rank - rank.mean() for rank in ranks)
    return float(one_rank @ other_rank / np.sqrt((one_rank @ one_rank) * (other_rank @ other_rank)))


def _draw(facts: dict[str, Any]) -> Any:
    blocks, times = facts["blocks"], np.array(facts["times_s"])
    middles, cuts = (times[1:] + times[:-1]) / 2, facts["cuts"]
    figure = new_figure(9.5, 1.45 * len(blocks) + 1.1)
    name = Path(facts["video"]).name
    set_title(figure, f"{name}: distance of each frame from the next one, by block of {facts['network']}")
    panels = figure.subplots(len(blocks), 1, sharex=True, squeeze=False)[:, 0]
    for axes, block in zip(panels, blocks, strict=True):
        values = np.array(block["distances"])
        axes.plot(middles, values, color=GREY, linewidth=0.8, zorder=1)
        others = np.delete(np.arange(len(values)), cuts)
        axes.scatter(middles[others], values[others], s=14, color=BLUE, zorder=2)
        axes.scatter(middles[cuts], values[cuts], s=22, color=ORANGE, marker="s", zorder=3)
        correlation = block["correlation"]
        title = (
            f"{block['layer']}: {block['cut']:.3f} at the orange frames, {block['alike']:.3f} at the others"
        )
        if block is not blocks[0] and correlation is not None:
            title += f"; rank correlation with the first: {correlation:.2f}"
        axes.set_title(title, loc="left", fontsize=9, color=TEXT, parse_math=False)
        axes.set_ylim(0, 1.15 * max(float(values.max()), 1e-6))
        style_axes(axes, frame=False, grid="y")
    time_axis(panels[-1], float(times[0]), float(times[-1]))
    text = f"orange: the {counted(len(cuts), 'largest distance', 'largest distances')} of the first block"
    panels[-1].set_xlabel(text, fontsize=9)
    figure.supylabel("share of activations whose sign changes", fontsize=9)
    return figure
