"""The picture of gradients: whether frames with similar activations have similar gradients.

It follows the paper (Liu et al., 2021, section 4.2, figure 5; see `praxiscope.models.full_video`), as
`praxiscope.explain.frame_gradients` reads it.

Axis letters: N frames of a video, P parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from praxiscope.errors import ArgumentError
from praxiscope.explain.explanation import BLUE, ORANGE, TEXT, Explanation, new_figure, set_title, style_axes
from praxiscope.explain.frame_gradients import (
    Seen,
    first_block,
    gradient_maker,
    load_apart,
    see_frames,
)
from praxiscope.explain.networks import network_of
from praxiscope.progress import Reporter
from praxiscope.units import counted

__all__ = ["explain_gradients"]

_MOST_VIDEOS = 6  # columns


# ------------------------------------------------------------------------------------------ pairs of frames


def explain_gradients(
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
    """Draw the distance of activations against the distance of gradients, for all pairs of frames of a video.

    Figure 5 of the paper: distances between activations of the first stage (Hamming distance of their signs, and
    Euclidean) against the Euclidean distance between the gradients of the frames' losses with respect to the
    parameters of the first stage.

    Args:
        run: run or model folder of a full-video network that sees RGB frames.
        videos: up to 6 video files, one column each.
        label: the class whose loss is differentiated. Default: the class predicted for the video.
        frames: maximum number of frames of each video, evenly spaced.
        checkpoint: "last" or "best". Default: the run's choice.
        task: name of the data set whose classes to use, for a run on several.
        device: device of the network, which runs in float32.
        reporter: shows progress.

    Returns:
        The figure with the facts ``network``, ``parameters`` (of the gradients) and ``videos``: for each
        ``video``, ``label``, ``frames`` (numbers), ``pairs``, and for ``hamming`` and ``euclidean`` the ``pearson``
        and ``spearman`` correlations with the distance of the gradients.

    Raises:
        ArgumentError: the network makes no clusters of frames, the label is unknown, or a number is invalid.
        DataError: a video has fewer than 3 frames.
        CheckpointError, VideoError: a file cannot be read.
    """
    if not 1 <= len(videos) <= _MOST_VIDEOS:
        raise ArgumentError(f"expected 1 to {_MOST_VIDEOS} videos, got {len(videos)}")
    recogniser = load_apart(run, checkpoint=checkpoint, task=task, device=device)
    model = network_of(recogniser)
    named, parameters = first_block(model)
    drawn, facts = [], []
    with (reporter or Reporter()).bar("gradients of frames", len(videos)) as bar:
        for video in videos:
            seen = see_frames(recogniser, video, label, frames)
            gradient = gradient_maker(recogniser, seen.target, parameters)
            activations, gradients = [], []
            for frame in torch.split(seen.frames, 1):
                with torch.enable_grad():
                    x = model.early(frame)
                    gradients.append(gradient(x).cpu())
                activations.append(x.detach().flatten().cpu())
            distances = _pair_distances(torch.stack(activations), torch.stack(gradients))
            drawn.append((seen, distances))
            facts.append(_pair_facts(video, seen, distances))
            bar.advance()
    name = Path(run).resolve().name
    figure = _draw_pairs(
        drawn, facts, f"{name}: distances of activations and gradients ({named}) of pairs of frames"
    )
    return Explanation(figure, {"network": name, "parameters": named, "videos": facts})


@dataclass(frozen=True)
class _Pairs:
    """Distances of all pairs of frames, [N * (N - 1) / 2] each, in the order (0, 1), (0, 2), …, (1, 2), …

    Attributes:
        hamming: Hamming distance of the signs of activations, as a fraction of the activations.
        euclidean: Euclidean distance of activations.
        gradient: Euclidean distance of gradients.
        neighbours: whether the second frame follows the first.
    """

    hamming: NDArray[np.float64]
    euclidean: NDArray[np.float64]
    gradient: NDArray[np.float64]
    neighbours: NDArray[np.bool_]


def _pair_distances(activations: Tensor, gradients: Tensor) -> _Pairs:
    """The distances for activations [N, activations of a frame] and gradients [N, P]."""
    first, second = torch.triu_indices(len(activations), len(activations), 1)
    on = (activations > 0).float()
    return _Pairs(
        (F.pdist(on, p=0) / on.shape[1]).double().numpy(),
        F.pdist(activations).double().numpy(),
        F.pdist(gradients).double().numpy(),
        (second == first + 1).numpy(),
    )


def _pair_facts(video: str | Path, seen: Seen, distances: _Pairs) -> dict[str, Any]:
    known = {"hamming": distances.hamming, "euclidean": distances.euclidean}
    return {
        "video": str(video),
        "label": seen.label,
        "frames": seen.numbers,
        "pairs": len(distances.gradient),
        **{name: _correlations(values, distances.gradient) for name, values in known.items()},
    }


def _correlations(x: NDArray[np.float64], y: NDArray[np.float64]) -> dict[str, float]:
    return {"pearson": _pearson(x, y), "spearman": _pearson(_ranks(x), _ranks(y))}


def _pearson(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """The correlation; NaN where one of the two is constant."""
    return float(np.corrcoef(x, y)[0, 1]) if np.ptp(x) > 0 and np.ptp(y) > 0 else float("nan")


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rank of each value, from 1; equal values share their mean rank."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean: NDArray[np.float64] = (counts.cumsum() - (counts - 1) / 2)[which]
    return mean


def _draw_pairs(drawn: Sequence[tuple[Seen, _Pairs]], facts: Sequence[dict[str, Any]], title: str) -> Any:
    """One column for each video; for a single video, the two distances side by side."""
    single = len(drawn) == 1
    rows, columns = (1, 2) if single else (2, len(drawn))
    figure = new_figure(max(4.0 * columns, 8.4), 3.7 * rows + 0.7)
    set_title(figure, title)
    panels = figure.subplots(rows, columns, squeeze=False)
    for place, ((seen, distances), fact) in enumerate(zip(drawn, facts, strict=True)):
        for kind, (name, said) in enumerate(
            {
                "hamming": "Hamming distance of activations (fraction of signs)",
                "euclidean": "Euclidean distance of activations",
            }.items()
        ):
            axes = panels[0, kind] if single else panels[kind, place]
            values, near = getattr(distances, name), distances.neighbours
            style = {"linewidth": 0, "marker": "o", "markeredgewidth": 0, "clip_on": False, "zorder": 3}
            faint = 0.35 if len(values) < 1000 else 0.2
            axes.plot(
                values[~near], distances.gradient[~near], color=BLUE, alpha=faint, markersize=4, **style
            )
            axes.plot(
                values[near],
                distances.gradient[near],
                color=ORANGE,
                markersize=5,
                **style,
                label="neighbours",
            )
            found = "Pearson {pearson:.2f}, Spearman {spearman:.2f}".format(**fact[name])
            head = (
                f"{seen.name}, loss of {seen.label}: {counted(fact['pairs'], 'pair')}\n"
                if kind == 0 or not single
                else "\n"
            )
            axes.set_title(head + found, loc="left", fontsize=9, color=TEXT, parse_math=False)
            axes.set_xlabel(said, fontsize=9)
            if (kind if single else place) == 0:
                axes.set_ylabel("Euclidean distance of gradients", fontsize=9)
            axes.set(xlim=(0, None), ylim=(0, None))
            style_axes(axes, frame=False, grid="both")
    panels[0, 0].legend(frameon=False, fontsize=9, labelcolor=TEXT, loc="lower right", handletextpad=0.2)
    return figure


# ------------------------------------------------------------------------------------------------ clusters
