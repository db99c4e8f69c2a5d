"""Temporal shift module (Lin et al. 2019): channels travel between neighbouring snippets.

Where the shift goes depends on the backbone (`praxiscope.models.shift_places`).
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
    backbone: str = "resnet18",
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
    """Build a network with temporal shifts: an eighth of the channels each way, over 8 snippets, dropout 0.5.

    The shift spans the snippets of one forward, however many come; ``snippets`` is what training and testing
    should show it together.

    Args:
        snippets: snippets of a video that are seen together.
        fold_div: 1 / fold_div of the channels travel each way.
        shift_place: "residual" or "block", see `shift_places`.

        The others: see `praxiscope.models.snippets.SnippetNetwork`.

    Raises:
        ArgumentError: the backbone has no known place for a shift.
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
