"""The picture of principal backpropagation: the snippets whose mean scores are nearest to those of the whole video.

It follows the paper (Huang et al., 2019, figure 6; see `praxiscope.steps.principal`).

Axis letters: m snippets of a video, n of them chosen, T frames, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import comb
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from praxiscope.errors import ArgumentError
from praxiscope.explain.explanation import BLUE, ORANGE, TEXT, Explanation, new_figure, set_title, style_axes
from praxiscope.explain.networks import Run, load_one, load_other, name_of, settings_of
from praxiscope.inference.recogniser import Recogniser, best_labels
from praxiscope.layers.consensus import is_average
from praxiscope.steps.principal import choose as choose_snippets
from praxiscope.steps.settings.principal import PrincipalSettings
from praxiscope.steps.surrogates import divergence
from praxiscope.units import counted
from praxiscope.video.opening import open_video
from praxiscope.video.sampling import segment_indices

__all__ = ["explain_principal"]

_MOST_SUBSETS = 200_000  # a few seconds, and 100 MB
_WIDTH_INCHES = 12.0
_LEAST_INCHES = 7.0  # for the titles
_LEAST_CELL = 0.6  # inches: narrower bars have no space for their numbers


@dataclass(frozen=True)
class _View:
    """Scores of one network for the snippets of a video.

    Attributes:
        network: name of the network.
        label, probability: the best class of the mean over all snippets.
        kl: KL(p ‖ p_i) of each snippet, in nats.
        chosen: numbers, from 0, of the n snippets that are nearest to all.
        kl_chosen: KL(p ‖ p_S) of these together, in nats.
    """

    network: str
    label: str
    probability: float
    kl: list[float]
    chosen: list[int]
    kl_chosen: float


def explain_principal(
    run: Run,
    video: str | Path,
    *,
    snippets: int = 12,
    choose: int | None = None,
    compare: str | Path | None = None,
    checkpoint: str | None = None,
    **options: Any,
) -> Explanation:
    """Draw how far each snippet's class probabilities are from those of all, and which n snippets are nearest together.

    Figure 6 of the paper: KL(p ‖ p_i) of each snippet i, where p are the probabilities of all snippets, and the n
    snippets whose mean scores have the smallest KL(p ‖ p_S) among all subsets of n.

    Args:
        run: run or model folder, or a loaded network.
        video: video file.
        snippets: m, the number of snippets, each in the middle of one of m equal parts; fewer for a shorter video.
        choose: n. Default: as in the run's training, or 3.
        compare: another network, drawn below: run or model folder, or "last", "best" or "start" (before training) of
            this run.
        checkpoint: "last" or "best". Default: the run's choice.
        options: ``task``, ``flow``, ``flow_range``, ``flow_weights`` and ``device`` as for `praxiscope.load`.

    Returns:
        The figure with the facts ``video``, ``frames`` (the first of each snippet), ``times_s``, ``network``,
        ``label``, ``probability``, ``kl`` and ``kl_chosen`` (nats), ``chosen`` (numbers of snippets, from 0); and
        ``compare`` with the same for the other network.

    Raises:
        ArgumentError: a number is invalid, several networks are fused, or the network does not average its snippets.
        CheckpointError: the model is missing or damaged.
        VideoError, DataError: the video cannot be read.
    """
    if snippets < 1:
        raise ArgumentError(f"snippets must be at least 1, got {snippets}")
    networks = [(name_of(run), _load(run, checkpoint=checkpoint, **options))]
    if compare is not None:
        networks.append(load_other(run, compare, _load, **options))
    source = open_video(video)
    frames, span = source.quick_length(), networks[0][1].span
    count = min(snippets, max(frames - span + 1, 1))
    starts = segment_indices(frames, count, span)
    n = min(_learned(run) or 3, count) if choose is None else choose
    if not 1 <= n <= count:
        raise ArgumentError(f"{video}: cannot choose {n} of {counted(count, 'snippet')}. Lower --choose.")
    if comb(count, n) > _MOST_SUBSETS:
        raise ArgumentError(
            f"{count} snippets have {comb(count, n)} subsets of {n}; the limit is {_MOST_SUBSETS}. Lower --snippets or "
            "--choose."
        )
    views = [_view(name, network, video, starts, n) for name, network in networks]
    numbers, times = starts.tolist(), source.timestamps()[starts.numpy()].tolist()
    facts = {"video": str(video), "frames": numbers, "times_s": times, **asdict(views[0])}
    if compare is not None:
        facts["compare"] = asdict(views[1])
    captions = [f"{number}\n{time:.2f} s" for number, time in zip(numbers, times, strict=True)]
    pixels = source.frames(starts, short_side=min(180, source.width, source.height))
    return Explanation(_draw_views(pixels, captions, views, Path(video).name), facts)


def _load(path: Run, **options: Any) -> Recogniser:
    """Load a network that averages the scores of snippets."""
    recogniser = load_one(path, **options)
    if not is_average(recogniser.model.consensus):
        raise ArgumentError(
            f"{path}: expected a network whose consensus is the mean over snippets, as "
            "praxiscope.layers.consensus.average. Give another run."
        )
    return recogniser


def _learned(run: Run) -> int | None:
    """Return the number of snippets that a run chose in training; None if it used all, or for a model folder."""
    settings = settings_of(run)
    step = None if settings is None else settings.backprop
    return step.choose if isinstance(step, PrincipalSettings) else None


def _view(name: str, network: Recogniser, video: str | Path, starts: Tensor, n: int) -> _View:
    logits = network.snippet_logits(video, starts).double()
    whole, several = logits.mean(dim=0), network.card.multi_label
    # The rule uses only the kind of the label: one class, or several.
    label = torch.zeros_like(whole) if several else 0
    chosen = choose_snippets(logits, label, n, "kl", candidates=comb(len(logits), n))
    parts = torch.cat([logits, logits[chosen].mean(dim=0, keepdim=True)])
    *kl, kl_chosen = divergence(whole, parts, multi_label=several).tolist()
    (best,), (probability,) = best_labels(whole, network.labels, several, 1, network.card.temperature)
    return _View(name, best, probability, kl, chosen.tolist(), kl_chosen)


def _draw_views(frames: Tensor, captions: list[str], views: Sequence[_View], video: str) -> Any:
    """Frames uint8 [m, 3, H, W] side by side, and the bars of each network below them."""
    from matplotlib.patches import Rectangle

    count, _, height, width = frames.shape
    across = max(min(_WIDTH_INCHES, 2.0 * count), _LEAST_CELL * count, _LEAST_INCHES)
    tall = across / count * height / width
    figure = new_figure(across + 0.7, tall + 1.8 * len(views) + 1.1)
    title = f"{video}: distance of each snippet's class probabilities from those of all {counted(count, 'snippet')}"
    set_title(figure, title)
    film, *panels = figure.subplots(1 + len(views), 1, sharex=True, height_ratios=[tall, *[1.5] * len(views)])
    rows = 0.94 * height / width  # in units of the bars
    for place, frame in enumerate(frames):
        extent = (place - 0.47, place + 0.47, 0, rows)
        film.imshow(frame.permute(1, 2, 0).numpy(), extent=extent, interpolation="bilinear")
    for place in views[0].chosen:
        outline = Rectangle((place - 0.47, 0), 0.94, rows, fill=False, edgecolor=ORANGE, linewidth=3)
        film.add_patch(outline).set_clip_on(False)
    film.set(xlim=(-0.5, count - 0.5), ylim=(0, rows), yticks=[])
    film.tick_params(bottom=False)
    film.spines[:].set_visible(False)
    note = f"orange: the {counted(len(views[0].chosen), 'snippet')} whose mean is nearest to that of all"
    note += f" (outlined: for {views[0].network})" if len(views) > 1 else ""
    film.set_title(note, loc="left", fontsize=9, color=TEXT, parse_math=False)
    top = 1.2 * max(max(max(view.kl) for view in views), 1e-9)
    for axes, view in zip(panels, views, strict=True):
        colours = [ORANGE if place in view.chosen else BLUE for place in range(count)]
        bars = axes.bar(range(count), view.kl, width=0.6, color=colours)
        written = axes.bar_label(
            bars, [f"{value:.2g}" for value in view.kl], padding=2, fontsize=8, color=TEXT
        )
        for place in view.chosen:  # the bars of chosen snippets are often too low to be seen
            written[place].set(color=ORANGE, fontweight="bold")
        best = f"{view.network}: {view.label}, {100 * view.probability:.0f} %"
        nearest = f"{len(view.chosen)} chosen together: {view.kl_chosen:.2g} nats"
        axes.set_title(f"{best}; {nearest}", loc="left", fontsize=9, color=TEXT, parse_math=False)
        axes.set_ylabel(r"$\mathrm{KL}(p\,\|\,p_i)$, nats", fontsize=9)
        axes.set_ylim(0, top)
        style_axes(axes, frame=False)
        axes.tick_params(axis="x", length=0)
        axes.yaxis.get_offset_text().set_size(8)
    panels[-1].set_xticks(range(count), captions)
    panels[-1].set_xlabel("frame and time", fontsize=9)
    return figure
