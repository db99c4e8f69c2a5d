"""Single-frame recognition, the baseline without motion."""

from __future__ import annotations

from praxiscope.models.contract import Sees
from praxiscope.models.registered import register_model
from praxiscope.models.snippets import BatchNormMode, Channels, SnippetNetwork, Stream

__all__ = ["frame"]


@register_model("frame")
def frame(
    *,
    num_classes: int,
    backbone: str = "efficientnet_lite0",
    stream: Stream = "rgb",
    in_channels: Channels | None = None,
    dropout: float = 0.5,
    pretrained: bool = False,
    batchnorm: BatchNormMode = "train",
    input_size: int | None = None,
) -> SnippetNetwork:
    """Build the single-frame recogniser (Simonyan and Zisserman 2014, section 2: the spatial stream).

    It is trained on one frame of a video per step (S = 1). With more frames, scores are averaged, as in its test over
    25 frames.

    Args: see `praxiscope.models.snippets.SnippetNetwork`.
    """
    return SnippetNetwork(
        backbone=backbone,
        num_classes=num_classes,
        stream=stream,
        in_channels=in_channels,
        dropout=dropout,
        pretrained=pretrained,
        batchnorm=batchnorm,
        consensus="average",
        input_size=input_size,
        sees=Sees(),
    )
