"""Logistic regression on features of frames: standardised mean and maximum over time.

Axis letters: B videos, S frames, D features of a frame, P = 2 D features of a video, n clips, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from praxiscope.fitting.logistic import MANY, choose_l2, fit_logistic
from praxiscope.fitting.rows import Standardised, mean_and_std
from praxiscope.models.contract import FitReport
from praxiscope.models.feature_model import FeatureModel, FeatureOutput, frame_network
from praxiscope.models.registered import register_model
from praxiscope.models.snippets import Channels, SnippetNetwork, Stream
from praxiscope.units import counted

__all__ = ["Probe", "probe"]


class ProbeHead(nn.Module):
    """Standardise features of videos, then score them linearly.

    Args:
        width: P.
        num_classes: K.

    Attributes:
        mean, std: [P], of the training clips; a feature that is constant in training has no influence.
        linear: the regression; its weights are 0 before it is fitted.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))
        self.linear = nn.Linear(width, num_classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.linear((x - self.mean) / self.std)
        return scores


class Probe(FeatureModel):
    """Multinomial logistic regression on the mean and the maximum over time of each feature.

    For videos with several labels it is a binary regression for each class.

    Takes the arguments of `praxiscope.models.feature_model.FeatureModel`.
    """

    head: ProbeHead

    def __init__(self, frame: SnippetNetwork, num_classes: int, layer: str | None, frames: int) -> None:
        super().__init__(frame, num_classes, layer, frames)
        self.head = ProbeHead(2 * self.width, num_classes)
        self.train()

    @property
    def classifiers(self) -> list[nn.Module]:
        """The regression."""
        return [self.head.linear]

    def score(self, features: Tensor) -> FeatureOutput:
        """Features [B, S, D] to scores [B, K]."""
        return FeatureOutput(self.head(_mean_and_maximum(features)), features)

    def describe(self, features: Tensor) -> Tensor:
        """Mean and maximum over time: features of one video [S, D] to [2 D]."""
        return _mean_and_maximum(features)

    def fit(self, x: Any, targets: Tensor, groups: Sequence[str], seed: int) -> FitReport:
        """Fit the regression; its L2 regularisation is chosen by cross-validation that never divides a group.

        If no clip can be held out, as with one clip for each class, the regularisation is
        `praxiscope.fitting.logistic.DEFAULT_L2`. Of more than `praxiscope.fitting.logistic.MANY` clips, as many are
        drawn for the cross-validation; the others have no held-out scores.

        Args:
            x: float [n, 2 D], from `describe`.
            targets: classes int64 [n], or zeros and ones as floats [n, K].
            groups: group of each clip.
            seed: seed of the folds.
        """
        mean, std = mean_and_std(x)
        rows = Standardised(x, mean, std)
        choice = choose_l2(rows, targets, self.num_classes, groups, seed=seed, most=MANY)
        fit = fit_logistic(rows, targets, self.num_classes, l2=choice.l2)
        with torch.no_grad():
            self.head.mean.copy_(mean)
            self.head.std.copy_(std)
            self.head.linear.weight.copy_(fit.weight)
            self.head.linear.bias.copy_(fit.bias)
        how = "the default, because the clips of each class are one group"
        if choice.folds:
            drawn = f", on {choice.clips} clips drawn at random" if choice.clips < len(targets) else ""
            how = f"the best of {counted(len(choice.losses), 'value')} in {choice.folds} folds of whole groups{drawn}"
        return FitReport(
            choice.held_out_logits, [f"L2 regularisation: {choice.l2:.3g}, {how}."], {"l2": choice.l2}
        )


def _mean_and_maximum(features: Tensor) -> Tensor:
    """Mean and maximum over time, [..., S, D] to [..., 2 D]."""
    return torch.cat([features.mean(-2), features.amax(-2)], -1)


@register_model("probe", learns="features")
def probe(
    *,
    num_classes: int,
    backbone: str = "efficientnet_lite0",
    stream: Stream = "rgb",
    in_channels: Channels | None = None,
    layer: str | None = None,
    frames: int = 25,
    pretrained: bool = False,
    input_size: int | None = None,
) -> Probe:
    """Build a probe: logistic regression on features of a frozen network.

    Args:
        num_classes: K.
        backbone, stream, in_channels, pretrained, input_size: the network of the features, see
            `praxiscope.models.snippets.SnippetNetwork`.
        layer, frames: see `praxiscope.models.feature_model.FeatureModel`.
    """
    network = frame_network(
        backbone, stream=stream, in_channels=in_channels, pretrained=pretrained, input_size=input_size
    )
    return Probe(network, num_classes, layer, frames)
