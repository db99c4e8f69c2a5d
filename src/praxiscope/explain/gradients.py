"""Pictures of what clusters stand on: frames with like activations have like gradients.

They are those of the paper (Liu et al., 2021, section 4.2, figures 5 and 6; see `praxiscope.models.full_video`);
how they are read here is said in `praxiscope.explain.frame_gradients`.

Axis letters: N frames of a video, G clusters of it, C channels, H rows, W columns, P parameters.
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

_MOST_VIDEOS = 6  # side by side


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
    """Draw, of all pairs of frames of a video, how far their activations and their gradients are apart.

    The paper's figure 5: distances of the first stage's activations (Hamming of their signs, and Euclidean) against the
    Euclidean distance of the gradients of the frames' losses by the first stage's parameters.

    Args:
        run: a run folder, or a model folder, of a full-video network that sees frames.
        videos: video files, up to 6; each has a column.
        label: the class whose loss is taken; None takes what the network says of the video.
        frames: at the most; of longer videos so many, evenly spread.
        checkpoint: "last" or "best"; None takes the run's choice.
        task: of a run with several data sets, whose classes are meant.
        device: where the network runs, in float32.
        reporter: shows progress.

    Returns:
        The picture with facts ``network``, ``parameters`` (by which the gradients are) and ``videos``: of each
        ``video``, ``label``, ``frames`` (numbers), ``pairs``, and of ``hamming`` and ``euclidean`` the ``pearson`` and
        ``spearman`` correlations with the gradients' distance.

    Raises:
        ArgumentError: a network that makes no clusters of frames, an unknown label, or a number that cannot be used.
        DataError: a video has fewer than 3 frames.
        CheckpointError, VideoError: a file cannot be read.
    """
    if not 1 <= len(videos) <= _MOST_VIDEOS:
        raise ArgumentError(f"name 1 to {_MOST_VIDEOS} videos to draw, got {len(videos)}")
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
    figure = _draw_pairs(drawn, facts, f"{name}: pairs of frames, activations against gradients ({named})")
    return Explanation(figure, {"network": name, "parameters": named, "videos": facts})


@dataclass(frozen=True)
class _Pairs:
    """Distances of all pairs of frames, [N * (N - 1) / 2] each, in the order 0 1, 0 2, … 1 2, …

    Attributes:
        hamming: of signs of activations, as a share of the places.
        euclidean: of activations.
        gradient: Euclidean, of gradients.
        neighbours: whether the second frame is the next.
    """

    hamming: NDArray[np.float64]
    euclidean: NDArray[np.float64]
    gradient: NDArray[np.float64]
    neighbours: NDArray[np.bool_]


def _pair_distances(activations: Tensor, gradients: Tensor) -> _Pairs:
    """Of activations [N, places] and gradients [N, P]."""
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
    """The correlation; not a number where one of the two never changes."""
    return float(np.corrcoef(x, y)[0, 1]) if np.ptp(x) > 0 and np.ptp(y) > 0 else float("nan")


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Place of each value in their order, from 1; equal ones share the mean of their places."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean: NDArray[np.float64] = (counts.cumsum() - (counts - 1) / 2)[which]
    return mean


def _draw_pairs(drawn: Sequence[tuple[Seen, _Pairs]], facts: Sequence[dict[str, Any]], title: str) -> Any:
    """A column for each video; or the two distances side by side, of a single one."""
    single = len(drawn) == 1
    rows, columns = (1, 2) if single else (2, len(drawn))
    figure = new_figure(max(4.0 * columns, 8.4), 3.7 * rows + 0.7)
    set_title(figure, title)
    panels = figure.subplots(rows, columns, squeeze=False)
    for place, ((seen, distances), fact) in enumerate(zip(drawn, facts, strict=True)):
        for kind, (name, said) in enumerate(
            {
                "hamming": "Hamming distance of activations, share of places",
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
