"""VLAD or Fisher vectors of the local features of a network, and a linear support vector machine for each class.

Each position of a layer's map in each frame is a local feature; all of a video are aggregated to one vector.

Z. Xu, Y. Yang, A. G. Hauptmann, "A Discriminative CNN Video Representation for Event Detection", CVPR 2015 (VLAD of the
positions of maps, "latent concept descriptors").
M. Cimpoi, S. Maji, A. Vedaldi, "Deep Filter Banks for Texture Recognition and Segmentation", CVPR 2015 (Fisher vectors
of them, "FV-CNN").

Axis letters: B videos, S frames, D channels, h rows and w columns of a map, N local features, n clips, P values of a
vector, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from praxiscope.errors import ArgumentError
from praxiscope.layers.codebook import Codebook
from praxiscope.layers.vlad import local_features
from praxiscope.models.contract import FitReport
from praxiscope.models.feature_model import FeatureModel, FeatureOutput, frame_network
from praxiscope.models.linear_svm import LinearSvm
from praxiscope.models.registered import register_model
from praxiscope.models.snippets import Channels, SnippetNetwork, Stream

__all__ = ["VladSvm", "Words", "vlad_svm"]


class Words(NamedTuple):
    """How local features are aggregated.

    encoding: see `praxiscope.layers.codebook.Codebook`.
    words: their number.
    dims: after PCA; of narrower maps all channels.
    samples: largest number of local features from which words are learned.
    """

    encoding: str = "vlad"
    words: int = 16
    dims: int = 128
    samples: int = 100_000


class VladHead(nn.Module):
    """Local features of a video to its scores.

    codebook: local features to a vector.
    svm: the vector to scores.
    """

    def __init__(self, codebook: Codebook, svm: LinearSvm) -> None:
        super().__init__()
        self.codebook, self.svm = codebook, svm


class VladSvm(FeatureModel):
    """See the file. The features of a frame are a map, [D, h, w]; the model has the interface
    `praxiscope.models.contract.LearnsWords`.

    Args:
        frame, num_classes, frames: see `praxiscope.models.feature_model.FeatureModel`.
        layer: name of the layer; None: the last that has a map.
        words: see there.
        c: cost of the loss of the support vector machines.
    """

    head: VladHead

    def __init__(
        self,
        frame: SnippetNetwork,
        num_classes: int,
        layer: str | None,
        frames: int,
        words: Words,
        c: float,
    ) -> None:
        super().__init__(frame, num_classes, layer or frame.layer_names()[-1], frames)
        if type(words.samples) is not int or words.samples < 1:
            raise ArgumentError(f"samples must be a whole number of at least 1, got {words.samples!r}")
        self.samples = words.samples
        dims = min(words.dims, self.width) if type(words.dims) is int else words.dims
        codebook = Codebook(self.width, dims, words.words, words.encoding)
        self.head = VladHead(codebook, LinearSvm(codebook.size, num_classes, c))
        self.train()

    @property
    def classifiers(self) -> list[nn.Module]:
        """The support vector machines."""
        return [self.head.svm]

    def local(self, features: Tensor) -> Tensor:
        """Local features of length 1: maps [S, D, h, w] to [N, D], N = S h w."""
        return local_features(features).flatten(0, 1)

    def learn(self, samples: Tensor, seed: int) -> None:
        """Learn PCA and words from local features of training videos, float32 [N, D], in place.

        Raises:
            DataError: fewer features than words or dimensions.
        """
        self.head.codebook.learn(samples, seed=seed)

    def describe(self, features: Tensor) -> Tensor:
        """Maps of one video [S, D, h, w] to its vector [P]."""
        described: Tensor = self.head.codebook(self.local(features))
        return described

    def score(self, features: Tensor) -> FeatureOutput:
        """Maps [B, S, D, h, w] to scores [B, K]."""
        described = torch.stack([self.describe(video) for video in features])
        return FeatureOutput(self.head.svm(described), features.mean((-2, -1)))

    def fit(self, x: Any, targets: Tensor, groups: Sequence[str], seed: int) -> FitReport:
        """Fit the machines; see `praxiscope.models.contract.FitsFeatures.fit`."""
        return self.head.svm.fit(x, targets, groups, seed)

    def _seen(self, frames: Tensor, maps: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Maps of the frames, [B, S, D, h, w], and the requested ones."""
        assert self.layer is not None
        if isinstance(maps, str):
            self.frame(frames, maps=maps)  # refuses a string
        seen = self.frame(frames, maps=tuple({*maps, self.layer}))
        return seen.maps[self.layer].float(), {name: seen.maps[name] for name in maps}


@register_model("vlad-svm", learns="features")
def vlad_svm(
    *,
    num_classes: int,
    backbone: str = "efficientnet_lite0",
    stream: Stream = "rgb",
    in_channels: Channels | None = None,
    layer: str | None = None,
    pool: Literal["none"] = "none",
    frames: int = 25,
    encoding: str = "vlad",
    words: int = 16,
    dims: int = 128,
    samples: int = 100_000,
    c: float = 10.0,
    pretrained: bool = False,
    input_size: int | None = None,
) -> VladSvm:
    """Build VLAD, or Fisher vectors, of the local features of a frozen network.

    Args:
        num_classes: K.
        backbone, stream, in_channels, pretrained, input_size: the network of the features, see
            `praxiscope.models.snippets.SnippetNetwork`.
        layer: whose map's positions are the local features; None: the last that has a map.
        pool: how features are stored: "none", maps as they are.
        frames: see `praxiscope.models.feature_model.FeatureModel`.
        encoding: "vlad", or "fisher" for Fisher vectors of a mixture of Gaussians.
        words: number of words, or of Gaussians.
        dims: of a local feature after PCA; of a narrower map all channels.
        samples: local features from which PCA and words are learned.
        c: cost of the loss of the support vector machines.
    """
    if pool != "none":
        raise ArgumentError(
            f"vlad-svm needs maps, not their means over space (pool = {pool}). Compute them: praxiscope features DATA "
            "--layer LAYER --pool none"
        )
    network = frame_network(
        backbone, stream=stream, in_channels=in_channels, pretrained=pretrained, input_size=input_size
    )
    return VladSvm(network, num_classes, layer, frames, Words(encoding, words, dims, samples), c)
