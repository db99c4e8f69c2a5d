"""The picture of clusters: which frames of a video a full-video network averages together.

It follows the paper (Liu et al., 2021, figures 7 and 8; see `praxiscope.models.full_video`).

Axis letters: N frames of a video, G clusters of it, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from praxiscope.checkpoint import kept_checkpoints, load_card
from praxiscope.data.move4mnist import read_relevance
from praxiscope.errors import DataError
from praxiscope.explain.clusters_draw import Cluster, Row, Timeline, draw_timeline
from praxiscope.explain.explanation import Explanation
from praxiscope.explain.networks import Run, load_full_video, load_other, name_of, network_of, see_whole
from praxiscope.inference.recogniser import Recogniser, best_labels
from praxiscope.layers.clustering import clusterings
from praxiscope.progress import Reporter
from praxiscope.units import counted
from praxiscope.video.decode import Video
from praxiscope.video.opening import open_video
from praxiscope.video.sampling import segment_indices

__all__ = ["explain_clusters", "rule_name"]

_MOST_NETWORKS = 24  # rows of one figure
_MOST_CLUSTERS = 24  # whose frames are shown
_THUMBNAILS = 8  # of a cluster
_FILM = 12  # frames above the rows
_THUMBNAIL_PIXELS = 128

_Ids = NDArray[np.int64]


@dataclass(frozen=True)
class _View:
    """How one network clusters a video.

    Attributes:
        network: its name.
        label, probability: the best class of the video.
        rule: the name of its clustering rule.
        ids: by rule, the cluster of each frame, from 0, [N]. Every rule uses this network's distances and number of
            clusters.
        changed: number of activations whose sign differs between neighbouring frames, [N - 1].
        places: number of activations of a frame.
    """

    network: str
    label: str
    probability: float
    rule: str
    ids: dict[str, _Ids]
    changed: NDArray[np.int64]
    places: int


def explain_clusters(
    run: Run,
    video: str | Path,
    *,
    compare: Sequence[str | Path] = (),
    epochs: bool = False,
    checkpoint: str | None = None,
    task: str | None = None,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> Explanation:
    """Draw which frames of a video a full-video network averages together, and the frames of each cluster.

    Each network reads the video a few frames at a time, so memory does not grow with its length.

    Args:
        run: run or model folder, or a loaded network, of a full-video network that sees RGB frames.
        video: video file. For a Move4MNIST video with its labels beside it, the content of each frame is drawn as well.
        compare: other networks, one row each: run or model folders, or "last", "best" or "start" (before training) of
            this run.
        epochs: add one row for each checkpoint that the run has kept (``run.keep_epochs``), at most 24, evenly spaced.
        checkpoint: "last" or "best". Default: the run's choice.
        task: name of the data set whose classes to use, for a run on several.
        device: device of the networks.
        reporter: shows progress.

    Returns:
        The figure with the facts ``video``, ``network``, ``label``, ``probability``, ``rule``, ``frames``;
        ``clusters``: for each its ``number`` (from 1), ``start_frame``, ``end_frame``, ``start_s``, ``end_s`` (where
        the next one starts) and ``frames``; ``boundaries``: by rule, the first frame of each cluster except the
        first; ``distances`` between neighbouring frames, as fractions of the ``places`` compared; ``alike`` for a
        Move4MNIST video: by rule, the fraction of frames that show the same as most frames of their cluster;
        ``compare``: for each other network ``network``, ``label``, ``probability``, ``rule`` and ``boundaries``, by
        its own rule; ``rows_left_out`` and ``checkpoints_left_out``, where there are too many to draw.

    Raises:
        ArgumentError: the network makes no clusters of frames, or several networks are fused.
        CheckpointError: the model is missing or damaged.
        VideoError, DataError: the video cannot be read.
    """
    options = {"task": task, "device": device}
    kept, left_out = _kept(run) if epochs and not isinstance(run, Recogniser) else ([], 0)
    views = []
    with (reporter or Reporter()).bar("clustering", 1 + len(compare) + len(kept)) as bar:
        network = load_full_video(run, checkpoint=checkpoint, **options)
        views.append(_view(name_of(run), network, video))
        bar.advance()
        for other in compare:
            views.append(_view(*load_other(run, other, load_full_video, **options), video))
            bar.advance()
        for name, folder in kept:
            views.append(_view(name, load_full_video(folder, **options), video))
            bar.advance()
    own, source = views[0], open_video(video)
    times = _times(source, len(own.ids[own.rule]))
    clusters = _clusters(own.ids[own.rule], times)
    drawn = [clusters[n] for n in segment_indices(len(clusters), min(len(clusters), _MOST_CLUSTERS)).tolist()]
    # Of a loaded network nothing but the video is read.
    shown = None if isinstance(run, Recogniser) else _shown(video, len(times) - 1)
    facts = {"video": str(video), **_facts(views, clusters, shown)}
    if len(clusters) > len(drawn):
        facts["rows_left_out"] = len(clusters) - len(drawn)
    if left_out:
        facts["checkpoints_left_out"] = left_out
    timeline = Timeline(
        title=f"{Path(video).name}: frames that are averaged together",
        subtitle=_subtitle(facts),
        rows=_rows(views, shown),
        times=times,
        distance=np.concatenate([[0.0], (own.changed / own.places).cumsum()]),
        levels=len(clusters) if own.rule == "cumulative" else 0,
        clusters=clusters,
        drawn=drawn,
        film=_film(source, times),
        thumbnails=[_thumbnails(source, cluster) for cluster in drawn],
    )
    return Explanation(draw_timeline(timeline), facts)


def _facts(
    views: Sequence[_View], clusters: Sequence[Cluster], shown: Sequence[str] | None
) -> dict[str, Any]:
    own, *others = views
    shares = own.changed / own.places
    facts: dict[str, Any] = {
        "network": own.network,
        "label": own.label,
        "probability": own.probability,
        "rule": own.rule,
        "frames": len(own.ids[own.rule]),
        "clusters": [cluster.facts() for cluster in clusters],
        "boundaries": {rule: _boundaries(ids) for rule, ids in own.ids.items()},
        "distances": {
            "places": own.places,
            "total": float(shares.sum()),
            "mean": float(shares.mean()) if len(shares) else 0.0,
            "largest": float(shares.max(initial=0)),
            "largest_after_frame": int(shares.argmax()) if len(shares) else 0,
        },
    }
    if shown is not None:
        facts["alike"] = {rule: _alike(ids, shown) for rule, ids in own.ids.items()}
    if others:
        facts["compare"] = [
            {
                "network": view.network,
                "label": view.label,
                "probability": view.probability,
                "rule": view.rule,
                "boundaries": _boundaries(view.ids[view.rule]),
            }
            for view in others
        ]
    return facts


def _subtitle(facts: dict[str, Any]) -> str:
    """The network's prediction, its clusters, and how well they agree with a video's labels."""
    text = (
        f"{facts['network']}: {facts['label']}, {100 * facts['probability']:.0f} %; "
        f"{counted(facts['frames'], 'frame')} in {counted(len(facts['clusters']), 'cluster')}, rule: {facts['rule']}"
    )
    if "alike" in facts:
        alike = ", ".join(f"{rule} {100 * share:.0f} %" for rule, share in facts["alike"].items())
        text += f"; frames that show the same as most of their cluster: {alike}"
    return text


def rule_name(network: Recogniser) -> str:
    """The name of a network's clustering rule."""
    return next(name for name in clusterings.names() if clusterings.get(name) is network_of(network).cluster)


def _kept(run: str | Path) -> tuple[list[tuple[str, Path]], int]:
    """Names and folders of the kept checkpoints of a run, evenly spaced, and how many are left out."""
    found = kept_checkpoints(run)
    chosen = [found[n] for n in segment_indices(len(found), min(len(found), _MOST_NETWORKS)).tolist()]
    named = []
    for folder in chosen:
        training = load_card(folder).training
        whole = not folder.name.endswith("-unvalidated")  # saved when a run was stopped within an epoch
        named.append((f"epoch {training['epoch']}" if whole else f"step {training['step']}", folder))
    return named, len(found) - len(chosen)


def _view(name: str, recogniser: Recogniser, video: str | Path) -> _View:
    output, own = see_whole(recogniser, video), rule_name(recogniser)
    count = int(output.ids[-1]) + 1
    distances = output.distances.cpu()
    others = {rule: clusterings.get(rule)(distances, count) for rule in clusterings.names() if rule != own}
    ids = {own: output.ids.cpu().numpy(), **{rule: found.numpy() for rule, found in others.items()}}
    with torch.inference_mode():
        first = network_of(recogniser).early(recogniser.whole_frames(video, torch.tensor([0])))
    (label,), (probability,) = best_labels(
        output.logits[0].float().cpu(),
        recogniser.labels,
        recogniser.card.multi_label,
        1,
        recogniser.card.temperature,
    )
    return _View(name, label, probability, own, ids, distances.numpy(), first.numel())


def _times(source: Video, count: int) -> NDArray[np.float64]:
    """Seconds at which frames appear, and at which the last one ends, [N + 1]."""
    times = np.append(source.timestamps(), source.duration_s)
    # The index of a long damaged file may have fewer frames than the decoder returned.
    more = np.arange(1, count + 2 - len(times)) / source.fps
    return np.append(times, times[-1] + more)[: count + 1]


def _boundaries(ids: _Ids) -> list[int]:
    return (np.flatnonzero(np.diff(ids)) + 1).tolist()


def _clusters(ids: _Ids, times: NDArray[np.float64]) -> list[Cluster]:
    edges = [0, *_boundaries(ids), len(ids)]
    return [
        Cluster(number, start, end - 1, float(times[start]), float(times[end]))
        for number, (start, end) in enumerate(pairwise(edges), start=1)
    ]


def _shown(video: str | Path, count: int) -> list[str] | None:
    """The content of each frame of a Move4MNIST video with its labels beside it; else None."""
    try:
        shown = read_relevance(video)
    except DataError:
        return None
    return shown if len(shown) == count else None


def _alike(ids: _Ids, shown: Sequence[str]) -> float:
    """The fraction of frames that show the same as most frames of their cluster."""
    kinds = np.unique(shown, return_inverse=True)[1]
    return sum(int(np.bincount(kinds[ids == k]).max()) for k in np.unique(ids)) / len(ids)


def _rows(views: Sequence[_View], shown: Sequence[str] | None) -> list[Row]:
    """The rows, from top to bottom: content of frames, the network's clusters, those of other rules and networks."""
    own = views[0]
    rows = []
    if shown is not None:
        starts, at = [], 0
        for _, group in groupby(shown):
            starts.append(at)
            at += len(list(group))
        rows.append(Row("content of frames", starts, [shown[start] for start in starts]))
    for rule, ids in own.ids.items():
        mark = f" ({own.network})" if len(views) > 1 else " (this run)"
        rows.append(
            Row(rule + (mark if rule == own.rule else ""), [0, *_boundaries(ids)], own=rule == own.rule)
        )
    for view in views[1:]:
        rule = "" if view.rule == own.rule else f", {view.rule}"
        rows.append(Row(view.network + rule, [0, *_boundaries(view.ids[view.rule])]))
    return rows


def _film(source: Video, times: NDArray[np.float64]) -> tuple[list[int], NDArray[np.uint8]]:
    """The frames at the middle of equal parts of the time."""
    count = min(len(times) - 1, _FILM)
    middles = times[-1] * (np.arange(count) + 0.5) / count
    numbers = (np.searchsorted(times[:-1], middles, side="right") - 1).tolist()
    return numbers, _pixels(source, numbers)


def _thumbnails(source: Video, cluster: Cluster) -> tuple[list[int], NDArray[np.uint8]]:
    """Frames of a cluster, evenly spaced."""
    chosen = segment_indices(cluster.frames, min(cluster.frames, _THUMBNAILS))
    numbers = (cluster.start_frame + chosen).tolist()
    return numbers, _pixels(source, numbers)


def _pixels(source: Video, numbers: Sequence[int]) -> NDArray[np.uint8]:
    last = len(source) - 1
    short_side = min(_THUMBNAIL_PIXELS, source.width, source.height)
    frames = source.frames([min(number, last) for number in numbers], short_side=short_side)
    return frames.permute(0, 2, 3, 1).numpy()
