"""Grad-CAM: where in its frames any layer of a network sees a class.

R. R. Selvaraju, M. Cogswell, A. Das, R. Vedantam, D. Parikh, D. Batra, "Grad-CAM: Visual Explanations from Deep
Networks via Gradient-based Localization", ICCV 2017.

Axis letters: B views, S snippets of a view, n rows of a map (snippets, or windows of snippets), C channels, t times, h
rows, w columns, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from praxiscope.errors import ArgumentError
from praxiscope.explain.hiding import SeenFrames
from praxiscope.layers.clustering import cluster_offsets, hamming_distances, segment_mean
from praxiscope.models.class_maps import last_layers
from praxiscope.models.contract import ClustersFrames, NamesLayers
from praxiscope.models.named_layers import check_layers

__all__ = ["CamRows", "grad_cam", "see_layers"]

_AT_ONCE = 4  # snippets whose activations are kept for the gradient, of a network that takes each by itself


@dataclass(frozen=True)
class CamRows:
    """The maps of one layer for a video.

    Attributes:
        name: of the network, "" for a single one.
        layer: its name.
        maps: with their sign, float64 [n, h, w].
        places: the snippets that each map stands for, numbers among those of `SeenFrames`.
        times_s: the middle of their time, [n].
    """

    name: str
    layer: str
    maps: NDArray[np.float64]
    places: list[list[int]]
    times_s: NDArray[np.float64]

    @property
    def strongest(self) -> tuple[int, float, float]:
        """The map with the largest value, and its place in it: x and y as fractions of the crop."""
        number, row, column = np.unravel_index(int(self.maps.argmax()), self.maps.shape)
        _, height, width = self.maps.shape
        return int(number), (int(column) + 0.5) / width, (int(row) + 0.5) / height


def grad_cam(
    maps: Sequence[Tensor], scores: Tensor, number: int, *, several: bool = False, channels: int = 2
) -> list[Tensor]:
    """Weigh the channels of each map by the mean of the gradient over its places, and add them.

    Softmax only sees differences of scores, so the gradient is that of the score of a class minus the mean of all
    scores; for a network of several labels, that of the score. The ReLU of the paper is left to the picture.

    Args:
        maps: [B, n, C, h, w], or [B, n, C, t, h, w], on which the scores depend.
        scores: before softmax, [B, K].
        number: of the class.
        several: whether a video may have several labels.
        channels: the axis of the channels, followed by those of the places.

    Returns:
        The maps without the axis of the channels. Zero where the scores do not depend on a map.

    Raises:
        ArgumentError: the scores have no gradient by any of the maps; the message is a clause.
    """
    target = scores[:, number] if several else scores[:, number] - scores.mean(1)
    try:
        gradients = torch.autograd.grad(target.sum(), list(maps), allow_unused=True)
    except RuntimeError as error:
        raise ArgumentError("its scores have no gradient by this layer") from error
    if all(gradient is None for gradient in gradients):
        raise ArgumentError("its scores have no gradient by this layer")
    found = []
    for one, gradient in zip(maps, gradients, strict=True):
        places = tuple(range(channels + 1, one.dim()))
        weights = torch.zeros_like(one) if gradient is None else gradient.mean(places, keepdim=True)
        found.append((weights * one).sum(channels).detach())
    return found


def see_layers(seen: SeenFrames, number: int, layer: str | None = None) -> list[CamRows]:
    """The Grad-CAM maps of a class.

    Args:
        seen: the frames.
        number: of the class.
        layer: name of a layer, see `praxiscope.models.contract.NamesLayers`. Default: the last of each network.

    Raises:
        ArgumentError: the layers have no names, or the scores have no gradient by them; the message is a clause.
        UnknownNameError: the network has no such layer; the message names the nearest.
    """
    model = seen.network.model
    if not isinstance(model, NamesLayers) or not model.layer_names():
        raise ArgumentError("its layers have no names")
    known = model.layer_names()
    layers = _last(model)
    if layer is not None:
        check_layers([layer], known)
        layers = {"" if "" in layers else layer.partition(".")[0]: layer}
    several = seen.network.card.multi_label
    with (
        torch.enable_grad(),
        torch.backends.cudnn.flags(enabled=False),
    ):  # cudnn's LSTM has no gradient in this mode
        if isinstance(model, ClustersFrames):
            return _clusters(seen, number, layers, several)
        return _snippets(seen, number, layers, several)


def _last(model: Any) -> dict[str, str]:
    """The last layer of each network, by its name."""
    names = model.layer_names()
    try:
        return last_layers(names, len(model.classifiers))
    except ArgumentError:
        return {"": names[-1]}


def _snippets(seen: SeenFrames, number: int, layers: dict[str, str], several: bool) -> list[CamRows]:
    model, names = seen.network.model, tuple(layers.values())
    views = len(seen.starts) // seen.together
    step = max(1, _AT_ONCE // seen.together)
    parts: list[list[Tensor]] = []
    for first in range(0, views, step):
        # A gradient by the input, because the layers of frozen networks need none by their weights.
        inputs = [x.detach().clone().requires_grad_() for x in seen.inputs(slice(first, first + step))]
        output = model(*inputs, maps=names)
        found = grad_cam([output.maps[name] for name in names], output.logits, number, several=several)
        parts.append([one.double().cpu() for one in found])
    return [
        _rows(seen, name, layer, torch.cat([part[place] for part in parts]))
        for place, (name, layer) in enumerate(layers.items())
    ]


def _rows(seen: SeenFrames, name: str, layer: str, maps: Tensor) -> CamRows:
    """Maps [B, n, h, w] or [B, n, t, h, w] of the views of a video."""
    if maps.dim() == 4:
        maps = maps[:, :, None]
    views, rows, times = maps.shape[:3]
    together = seen.together
    middles, window = seen.middle_s(), together - rows + 1
    places = [
        list(range(view * together + row, view * together + row + window))
        for view in range(views)
        for row in range(rows)
        for _ in range(times)
    ]
    times_s = np.array([middles[some].mean() for some in places])
    if times > 1:
        start, end = seen.frame_s(0), seen.frame_s(-1)
        share = np.tile((2 * np.arange(times) + 1) / (2 * times), views * rows)
        firsts = [some[0] for some in places]
        times_s = start[firsts] + share * (end[firsts] - start[firsts])
    return CamRows(name, layer, maps.flatten(0, 2).numpy(), places, times_s)


def _clusters(seen: SeenFrames, number: int, layers: dict[str, str], several: bool) -> list[CamRows]:
    """The maps of the later stages, whose rows are clusters of frames."""
    model: Any = seen.network.model
    with torch.no_grad():
        step = seen.network.at_once(*next(iter(seen.clip.streams.values())).shape[-2:])
        (frames,) = seen.inputs(slice(None))
        early = torch.cat([model.early(part) for part in torch.split(frames[0], step)])
        offsets = torch.tensor([0, len(early)], device=early.device)
        ids = model.cluster(hamming_distances(early), model.clusters, offsets)
        segments, own = cluster_offsets(ids, offsets)
        means = segment_mean(early, segments, int(own[-1]))
    scores, output = model.late(means.detach().clone().requires_grad_(), own, tuple(layers.values()))
    kept = [output.maps[layer] for layer in layers.values()]
    found = grad_cam(kept, scores, number, several=several, channels=1)
    groups = [np.flatnonzero(ids.cpu().numpy() == one).tolist() for one in range(int(own[-1]))]
    middles = seen.middle_s()
    times_s = np.array([middles[group].mean() for group in groups])
    return [
        CamRows(
            name, layer, one.double().cpu().numpy(), [[group[len(group) // 2]] for group in groups], times_s
        )
        for (name, layer), one in zip(layers.items(), found, strict=True)
    ]
