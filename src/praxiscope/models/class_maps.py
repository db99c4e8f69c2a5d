"""Class activation maps: the linear classifier of a network at every place of its last map.

B. Zhou, A. Khosla, A. Lapedriza, A. Oliva, A. Torralba, "Learning Deep Features for Discriminative Localization", CVPR
2016.

Axis letters: B videos, S snippets of a video, n rows of a map (snippets, or windows of snippets), C channels, h rows,
w columns, t times of a map, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from praxiscope.errors import ArgumentError
from praxiscope.layers.temporal import temporal_max
from praxiscope.models.contract import NamesLayers, VideoModel

__all__ = ["ClassMaps", "class_maps", "last_layers"]

_TOLERANCE = 1e-3  # of the largest value: float32 sums in another order differ by less


class ClassMaps(NamedTuple):
    """The class activation maps of one network.

    scores: [B, n, K, h, w], or [B, n, K, t, h, w] of a network whose maps have an axis of time. Their mean over the
        places plus ``bias`` are the scores of the n rows before softmax.
    bias: [K].
    window: how many consecutive snippets a row shows: S - n + 1. It is 1 if each snippet has a row.
    """

    scores: Tensor
    bias: Tensor
    window: int


def class_maps(model: VideoModel, *inputs: Tensor) -> dict[str, ClassMaps]:
    """Apply the classifier of a network at every place of its last map.

    This is exact where the scores are a linear layer (or a 1x1 convolution) on the mean of the last map over its
    places, so nothing else is accepted. That the features of the model are this mean is checked for the given input;
    where snippets are pooled before, the maximum over windows of the snippets' maps is taken first.

    Args:
        model: a network with the interface `praxiscope.models.contract.NamesLayers`, in evaluation mode.
        inputs: of ``forward``: normalised [B, S, C, H, W] of each stream.

    Returns:
        The maps of each of the networks of the model, by the names that its ``features`` have; a single network has the
        name "".

    Raises:
        ArgumentError: the scores are no linear function of the mean of a map; the message is a clause.
    """
    if not isinstance(model, NamesLayers) or model.sees.all_frames:
        raise ArgumentError("its layers have no maps of single snippets")
    layers = last_layers(model.layer_names(), len(model.classifiers))
    output: Any = model(*inputs, maps=tuple(layers.values()))  # type: ignore[operator]
    features = output.features if isinstance(output.features, Mapping) else {"": output.features}
    found = {}
    for (name, layer), classifier in zip(layers.items(), model.classifiers, strict=True):
        weight, bias = _linear(classifier)
        maps, row_features = output.maps[layer], features[name]
        if weight.shape[1] != maps.shape[2]:
            raise ArgumentError(
                f"its classifier takes {weight.shape[1]} features, but its last map, {layer}, has {maps.shape[2]} "
                "channels"
            )
        window = inputs[0].shape[1] - row_features.shape[1] + 1
        if maps.shape[1] != row_features.shape[1]:
            maps = temporal_max(maps, window)
        if not _alike(maps.flatten(3).mean(3), row_features):
            raise ArgumentError(f"its features are not the mean of its last map, {layer}, over the places")
        scores = (maps.movedim(2, -1) @ weight.T).movedim(-1, 2)
        found[name] = ClassMaps(scores, bias, window)
    if model.sees.scores_snippets:
        (only,) = found.values()
        if not _alike(only.scores.flatten(3).mean(3) + only.bias, output.snippet_logits):
            raise ArgumentError("its scores are no linear function of its features")
    return found


def last_layers(names: list[str], networks: int) -> dict[str, str]:
    """The last layer of each network, by the network's name. With several, layers are named NETWORK.LAYER."""
    if not names:
        raise ArgumentError("its layers have no names")
    if networks == 1:
        return {"": names[-1]}
    found = {name.partition(".")[0]: name for name in names}
    if len(found) != networks:
        raise ArgumentError(f"it has {networks} classifiers on the same maps")
    return found


def _linear(classifier: nn.Module) -> tuple[Tensor, Tensor]:
    """The weights [K, C] and the bias [K] of a linear layer or a 1x1 convolution."""
    if not isinstance(classifier, nn.Linear | nn.Conv2d | nn.Conv3d):
        raise ArgumentError(f"its classifier is a {type(classifier).__name__}, not a linear layer")
    weight = classifier.weight.detach()
    if weight[0, 0].numel() > 1:
        raise ArgumentError("its classifier is a convolution over several places")
    weight = weight.flatten(1)
    return weight, weight.new_zeros(len(weight)) if classifier.bias is None else classifier.bias.detach()


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal but for rounding."""
    if one.shape != other.shape:
        return False
    scale = torch.maximum(one.abs().max(), other.abs().max())
    return bool((one - other).abs().max() <= _TOLERANCE * scale)
