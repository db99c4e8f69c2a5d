"""Temporal shift module (Lin et al. 2019): channels are shifted between neighbouring snippets.

The positions of the shift depend on the backbone (`praxiscope.models.shift_places`).
"""

from __future__ import annotations

from praxiscope.layers.shift import insert_shift
from praxiscope.models.contract import Sees
from praxiscope.models.registered import register_model
from praxiscope.models.shift_places import ShiftPlace, shift_places
from praxiscope.models.snippets import BatchNormMode, Channels, SnippetNetwork, Stream

__all__ = ["tsm"]


@register_model("tsm")
def tsm(
    *,
    num_classes: int,
    backbone: str = "efficientnet_lite0",
    snippets: int = 8,
    fold_div: int = 8,
    shift_place: ShiftPlace = "residual",
    stream: Stream = "rgb",
    in_channels: Channels | None = None,
    dropout: float = 0.5,
    pretrained: bool = False,
    batchnorm: BatchNormMode = "train",
    consensus: str = "average",
    input_size: int | None = None,
) -> SnippetNetwork:
    """Build a network with temporal shifts: an eighth of the channels in each direction, over 8 snippets, dropout 0.5.

    The shift spans all snippets of a forward pass; ``snippets`` is their number in training and testing.

    Args:
        snippets: number of snippets of a video in one forward pass.
        fold_div: 1 / fold_div of the channels are shifted in each direction.
        shift_place: "residual" or "block", see `shift_places`.

        The others: see `praxiscope.models.snippets.SnippetNetwork`.

    Raises:
        ArgumentError: the positions of the shift are unknown for the backbone.
    """
    network = SnippetNetwork(
        backbone=backbone,
        num_classes=num_classes,
        stream=stream,
        in_channels=in_channels,
        dropout=dropout,
        pretrained=pretrained,
        batchnorm=batchnorm,
        consensus=consensus,
        input_size=input_size,
        sees=Sees(together=snippets),
    )
    for place in shift_places(network.backbone, shift_place):
        insert_shift([place.module], network.snippet_rows, fold_div, channels_last=place.channels_last)
    return network
