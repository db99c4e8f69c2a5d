"""What models share that pass the frames of a video through one network, before they work over time.

B videos, S frames, C channels, H rows, W columns, K classes.
"""

from __future__ import annotations

from torch import nn

from praxiscope.errors import ArgumentError
from praxiscope.models.contract import Normalisation, Sees
from praxiscope.models.snippets import BatchNormMode, Channels, SnippetNetwork, Stream

__all__ = ["OverFrames", "frame_network"]


def frame_network(
    backbone: str,
    *,
    stream: Stream,
    in_channels: Channels | None,
    pretrained: bool,
    input_size: int | None,
    dropout: float = 0.0,
    batchnorm: BatchNormMode = "frozen",
) -> SnippetNetwork:
    """The network of each frame. Its classifier, of one class, is not used; ``dropout`` is that of its own fully
    connected layers, if it has some.

    Args: see `praxiscope.models.snippets.SnippetNetwork`.
    """
    return SnippetNetwork(
        backbone=backbone,
        num_classes=1,
        stream=stream,
        in_channels=in_channels,
        dropout=dropout,
        pretrained=pretrained,
        batchnorm=batchnorm,
        consensus="average",
        input_size=input_size,
        sees=Sees(),
    )


class OverFrames(nn.Module):
    """A network for each frame, and the part of the contract that follows from it.

    Args:
        frame: the network of each frame, of one stream; its own classifier is not used.
        num_classes: K.
        frames: number of frames of a video that are scored together by default.

    Raises:
        ArgumentError: the network has several stems, or ``frames`` is less than 1.
    """

    sees = Sees(together=None)
    consensus = None

    def __init__(self, frame: SnippetNetwork, num_classes: int, frames: int) -> None:
        super().__init__()
        if frame.stems is not None:
            raise ArgumentError("this model needs one length of stacks; give in_channels one number")
        if frames < 1:
            raise ArgumentError(f"the number of frames must be at least 1, got {frames}")
        self.frame, self.num_classes, self.frames = frame, num_classes, frames

    @property
    def streams(self) -> tuple[str, ...]:
        """The stream of the network."""
        return self.frame.streams

    @property
    def channels(self) -> dict[str, int]:
        """Channels of the input, by the stream's name."""
        return self.frame.channels

    @property
    def normalisation(self) -> dict[str, Normalisation]:
        """Mean and std of the input, by the stream's name."""
        return self.frame.normalisation

    @property
    def stream_networks(self) -> dict[str, nn.Module]:
        """The backbone, by the stream's name."""
        return self.frame.stream_networks

    @property
    def first_convolutions(self) -> list[nn.Module]:
        """The layer that takes the input."""
        return self.frame.first_convolutions

    def default_protocol(self, flip: bool) -> str:
        """As many frames as in training, in the centre crop."""
        return f"{self.frames}x1"

    def layer_names(self) -> list[str]:
        """The names of the layers whose maps ``forward`` can return."""
        return self.frame.layer_names()
