"""Two fully connected layers behind a map or features: those of the network itself, or new ones.

N maps, C channels, h rows, w columns, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from praxiscope.layers.standardise import RunningStandardise
from praxiscope.models.named_layers import named_layers

__all__ = ["FCLayers", "own_fc_layers"]


def own_fc_layers(backbone: nn.Module) -> list[list[nn.Module]]:
    """The two fully connected layers of AlexNet, VGG or CNN-M before their classifier, each with its ReLU and dropout;
    an empty list for other networks."""
    head = dict(backbone.named_children()).get("classifier")
    modules = list(head) if isinstance(head, nn.Sequential) else []
    if len(modules) != 7 or not isinstance(modules[-1], nn.Linear):
        return []
    return [modules[:3], modules[3:6]]


class FCLayers(nn.Module):
    """Two fully connected layers of one width, each with ReLU and dropout, and what makes a vector of a map.

    A network with such layers of its own keeps and uses them, so that its published weights load under their names;
    they are modules of the network, not of this one.

    Args:
        backbone: the network of the frames.
        inputs: number of features of a frame: the width of its classifier's input.
        width: width of new layers.
        dropout: rate of new layers.
        after_features: the layers follow the features of the frames, in which own layers are already included; then
            there is nothing to add to a network that has own ones.
        maps: channels of the maps, if they are not those of the network's last map; then the layers are new.
        standardise: new layers take standardised features (`praxiscope.layers.standardise.RunningStandardise`).

    Attributes:
        width: width of the output.
    """

    def __init__(
        self,
        backbone: nn.Module,
        inputs: int,
        *,
        width: int,
        dropout: float,
        after_features: bool = False,
        maps: int | None = None,
        standardise: bool = False,
    ) -> None:
        super().__init__()
        own = [] if maps is not None else own_fc_layers(backbone)
        self.flatten: Callable[[Tensor], Tensor] = _mean_over_places
        self._own: Sequence[Sequence[nn.Module]] = ()
        self.standardise: nn.Module = nn.Identity()
        if own:
            self.width = inputs
            self.new = nn.ModuleList()
            if not after_features:
                # Not registered: the state dict has them in the network.
                self._own = tuple(tuple(layers) for layers in own)
                self.flatten = partial(_pooled, backbone)
            return
        self.width = width
        sizes = (maps or inputs, width)
        if standardise:
            self.standardise = RunningStandardise(sizes[0])
        self.new = nn.ModuleList(
            nn.Sequential(nn.Linear(size, width), nn.ReLU(), nn.Dropout(dropout)) for size in sizes
        )
        if not after_features and maps is None:
            self.flatten = partial(_features, backbone)

    def vector(self, x: Tensor) -> Tensor:
        """Maps [..., C, h, w] to vectors [..., D]."""
        return self.flatten(x.reshape(-1, *x.shape[-3:])).reshape(*x.shape[:-3], -1)

    def first(self, x: Tensor) -> Tensor:
        """The first layer, [..., D] to [..., width]; the identity where the features already include it."""
        return self._run(0, self.standardise(x))

    def second(self, x: Tensor) -> Tensor:
        """The second layer, [..., width] to [..., width]; the identity where the features already include it."""
        return self._run(1, x)

    def both(self, x: Tensor) -> Tensor:
        """Both layers."""
        return self.second(self.first(x))

    def _run(self, number: int, x: Tensor) -> Tensor:
        if len(self.new):
            found: Tensor = self.new[number](x)
            return found
        for module in self._own[number] if self._own else ():
            x = module(x)
        return x


def _mean_over_places(x: Tensor) -> Tensor:
    return x.mean((-2, -1))


def _pooled(backbone: nn.Module, x: Tensor) -> Tensor:
    """The input of the network's own fully connected layers, [N, D]."""
    pool = dict(backbone.named_children()).get("avgpool")
    return torch.flatten(x if pool is None else pool(x), 1)


def _features(backbone: nn.Module, x: Tensor) -> Tensor:
    """The input of the network's classifier, [N, D]."""
    found = named_layers(backbone).pool(x)
    return found if found.dim() == 2 else found.mean((2, 3))
