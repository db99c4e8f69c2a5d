"""Temporal segment networks (Wang et al. 2016): one loss on the consensus over the snippets of a video."""

from __future__ import annotations

from praxiscope.models.contract import Sees
from praxiscope.models.registered import register_model
from praxiscope.models.snippets import BatchNormMode, Channels, SnippetNetwork, Stream

__all__ = ["tsn"]

# Section 3.3: 0.8 for the spatial and 0.7 for the temporal stream.
_DROPOUT = {"rgb": 0.8, "flow": 0.7}


@register_model("tsn")
def tsn(
    *,
    num_classes: int,
    backbone: str = "efficientnet_lite0",
    stream: Stream = "rgb",
    in_channels: Channels | None = None,
    dropout: float | None = None,
    pretrained: bool = False,
    batchnorm: BatchNormMode = "train",
    consensus: str = "average",
    input_size: int | None = None,
) -> SnippetNetwork:
    """Build a temporal segment network.

    The number of segments is that of the input (the paper trains with 3, and tests with 25). The paper's "partial BN"
    is ``batchnorm="partial"``; it is for pretrained weights, so by default all layers learn.

    Args: see `praxiscope.models.snippets.SnippetNetwork`; ``dropout`` is by default the paper's 0.8 for "rgb"
        and 0.7 for "flow".
    """
    return SnippetNetwork(
        backbone=backbone,
        num_classes=num_classes,
        stream=stream,
        in_channels=in_channels,
        dropout=_DROPOUT.get(stream, 0.8) if dropout is None else dropout,
        pretrained=pretrained,
        batchnorm=batchnorm,
        consensus=consensus,
        input_size=input_size,
        sees=Sees(),
    )
