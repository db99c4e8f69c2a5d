"""FlowNet on a ResNet: an encoder of RGB frames and a decoder that estimates optical flow.

J. Y.-H. Ng et al., "ActionFlowNet: Learning Motion Representation for Action Recognition", WACV 2018, sections
4.3.1 and 4.3.3.

Axis letters: N clips, T frames of a clip, H rows, W columns, F flow fields.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from praxiscope.errors import ArgumentError
from praxiscope.layers.flow_decoder import FlowDecoder
from praxiscope.models.backbones import published_normalisation
from praxiscope.models.contract import Normalisation
from praxiscope.models.encoders import create_encoder

__all__ = ["FlowNetwork"]

FLOW_UNIT = 20.0
"""Pixels per unit of the output, as in FlowNet."""

PAIR = 2

STRIDE = 4
"""Pixels of the input for one vector of the finest estimate, which is as large as the first stage."""


class FlowNetwork(nn.Module):
    """The parts of networks that estimate flow: an encoder of T frames, and a decoder. It satisfies
    `praxiscope.models.contract.EstimatesFlow`; ``forward`` is that of its subclasses.

    Args:
        backbone: name of a torchvision ResNet.
        in_channels: 3 T.
        time: convolve over time, and estimate the flow after each frame, at a quarter of the resolution. Otherwise two
            frames are stacked along the channels, and the flow from the first to the second is estimated at 1/4, 1/8,
            1/16 and 1/32.
        pretrained: start from inflated ImageNet weights.
        standardise: standardise each clip (`praxiscope.layers.standard_clips`).

    Attributes:
        flow_unit, frames, fields, flow_stride: see the contract.

    Raises:
        ArgumentError: not a ResNet, other numbers of channels, or ``standardise`` is not a bool.
    """

    streams: tuple[str, ...] = ("rgb",)
    flow_unit = FLOW_UNIT
    flow_stride = STRIDE

    def __init__(
        self,
        *,
        backbone: str,
        in_channels: int,
        time: bool,
        pretrained: bool = False,
        standardise: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(standardise, bool):
            raise ArgumentError(f"standardise must be true or false, got {standardise!r}")
        if not time and in_channels != 3 * PAIR:
            raise ArgumentError(
                f"in_channels must be {3 * PAIR}, for two RGB frames, got {in_channels}. Set input.frames to {PAIR}."
            )
        self.backbone_name = backbone
        self.in_channels = in_channels
        self.frames = in_channels // 3
        self.fields = self.frames if time else 1
        self.encoder = create_encoder(
            backbone, in_channels=in_channels, time=time, pretrained=pretrained, standardise=standardise
        )
        self.decoder: FlowDecoder | None = FlowDecoder(
            self.encoder.widths, dimensions=3 if time else 2, coarse=not time
        )
        self.normalisation: dict[str, Normalisation] = {"rgb": published_normalisation(backbone)}

    @property
    def standardise(self) -> bool:
        """Whether each clip is standardised."""
        return self.encoder.standardise

    @property
    def channels(self) -> dict[str, int]:
        """Channels of the input, by the stream's name."""
        return {"rgb": self.in_channels}

    @property
    def first_convolutions(self) -> list[nn.Module]:
        """The layer that takes the input."""
        return [self.encoder.conv1]

    @property
    def stream_networks(self) -> dict[str, nn.Module]:
        """The encoder, into which weights are loaded."""
        return {"rgb": self.encoder}

    @property
    def start_parts(self) -> dict[str, nn.Module]:
        """The parts that may start from a run."""
        return {"encoder": self.encoder, **({} if self.decoder is None else {"decoder": self.decoder})}

    def estimate(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Estimate flow.

        Args:
            frames: [N, 3 T, H, W], normalised.

        Returns:
            Flow in units of ``flow_unit`` pixels of the input, [N, F, 2, h, w], x first; the finest resolution first.

        Raises:
            ArgumentError: the decoder was not loaded.
        """
        return self.decode(self.encoder(frames).stages)

    def decode(self, stages: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Flow from the stages of the encoder, as of `estimate`."""
        if self.decoder is None:
            raise ArgumentError("this network was loaded to predict classes, without its flow decoder")
        found = self.decoder(stages)
        return tuple(x.transpose(1, 2) if self.encoder.time else x[:, None] for x in found)
