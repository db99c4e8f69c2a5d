"""Prototypes: a video is compared with the mean of each class, for classes of very few clips.

Nearest class means of L2-normalised features (Wang et al. 2019, "SimpleShot", section 3), with cosine similarity.

Axis letters: B videos, S frames, D features, n clips, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from praxiscope.errors import ArgumentError
from praxiscope.fitting.folds import NEVER, grouped_folds
from praxiscope.fitting.rows import chunks
from praxiscope.models.contract import FitReport
from praxiscope.models.feature_model import FeatureModel, FeatureOutput, frame_network
from praxiscope.models.registered import register_model
from praxiscope.models.snippets import Channels, SnippetNetwork, Stream

__all__ = ["Prototypes", "prototypes"]

_SCALE = 1 / 0.05
"""The scale of cosines where it cannot be fitted."""

_SCALES = torch.logspace(0, 2.5, 101, dtype=torch.float64)


class PrototypeHead(nn.Module):
    """Cosine similarity to the prototype of each class, times a scale.

    Args:
        width: D.
        num_classes: K.

    Attributes:
        weight: [K, D], the prototypes; their lengths do not matter. 0 before they are fitted.
        scale: [], the inverse temperature.
    """

    scale: Tensor

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_classes, width))
        self.register_buffer("scale", torch.tensor(_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * F.normalize(x, dim=-1) @ F.normalize(self.weight, dim=-1).T


class Prototypes(FeatureModel):
    """Cosine similarity of the mean features of a video to the mean of each class.

    Takes the arguments of `praxiscope.models.feature_model.FeatureModel`.
    """

    head: PrototypeHead

    def __init__(self, frame: SnippetNetwork, num_classes: int, layer: str | None, frames: int) -> None:
        super().__init__(frame, num_classes, layer, frames)
        self.head = PrototypeHead(self.width, num_classes)
        self.train()

    @property
    def classifiers(self) -> list[nn.Module]:
        """The prototypes."""
        return [self.head]

    def score(self, features: Tensor) -> FeatureOutput:
        """Features [B, S, D] to scores [B, K]."""
        return FeatureOutput(self.head(features.mean(-2)), features)

    def describe(self, features: Tensor) -> Tensor:
        """Mean over time: features of one video [S, D] to [D]."""
        return features.mean(-2)

    def fit(self, x: Any, targets: Tensor, groups: Sequence[str], seed: int) -> FitReport:
        """Average the clips of each class. The scale is that with which held-out clips are most probable.

        If no clip can be held out, as with one clip for each class, the scale is 20 (a temperature of 0.05).

        Args:
            x: float [n, D], from `describe`.
            targets: classes int64 [n].
            groups: group of each clip.
            seed: seed of the folds.

        Raises:
            ArgumentError: videos have several labels.
        """
        if targets.is_floating_point():
            raise ArgumentError(
                "prototypes need one label for each video, and these have several. Use --model probe."
            )
        fold_of = grouped_folds(groups, targets, seed=seed)
        cosines = torch.full((len(targets), self.num_classes), torch.nan, dtype=torch.float64)
        for fold in set(fold_of.tolist()) - {NEVER}:
            means = self._means(x, targets, fold_of != fold)
            for part, rows in chunks(x):
                chosen = fold_of[part] == fold
                cosines[part][chosen] = F.normalize(rows[chosen]) @ means.T
        known = fold_of != NEVER
        scale, line = (
            _SCALE,
            f"scale of the cosines: {_SCALE:g}, the default, because no clip can be held out.",
        )
        if known.any():
            losses = [float(F.cross_entropy(each * cosines[known], targets[known])) for each in _SCALES]
            scale = float(_SCALES[losses.index(min(losses))])
            line = f"scale of the cosines: {scale:.3g}, from clips that were held out in whole groups."
        with torch.no_grad():
            self.head.weight.copy_(self._means(x, targets, torch.ones(len(targets), dtype=torch.bool)))
            self.head.scale.fill_(scale)
        return FitReport((scale * cosines).float(), [line[0].upper() + line[1:]], {"scale": scale})

    def _means(self, x: Any, targets: Tensor, chosen: Tensor) -> Tensor:
        """The normalised mean of each class over the chosen clips, float64 [K, D]; 0 without clips."""
        sums = torch.zeros(self.num_classes, self.width, dtype=torch.float64)
        for part, rows in chunks(x):
            kept = chosen[part]
            sums.index_add_(0, targets[part][kept], F.normalize(rows[kept]))
        return F.normalize(sums)


@register_model("prototypes", learns="features")
def prototypes(
    *,
    num_classes: int,
    backbone: str = "efficientnet_lite0",
    stream: Stream = "rgb",
    in_channels: Channels | None = None,
    layer: str | None = None,
    frames: int = 25,
    pretrained: bool = False,
    input_size: int | None = None,
) -> Prototypes:
    """Build prototypes: nearest class means of the features of a frozen network.

    Args:
        num_classes: K.
        backbone, stream, in_channels, pretrained, input_size: the network of the features, see
            `praxiscope.models.snippets.SnippetNetwork`.
        layer, frames: see `praxiscope.models.feature_model.FeatureModel`.
    """
    network = frame_network(
        backbone, stream=stream, in_channels=in_channels, pretrained=pretrained, input_size=input_size
    )
    return Prototypes(network, num_classes, layer, frames)
