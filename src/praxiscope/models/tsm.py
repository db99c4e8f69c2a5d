"""Temporal shift module (Lin et al. 2019): channels are shifted between neighbouring snippets.

The positions of the shift depend on the backbone (`praxiscope.models.shift_places`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from praxiscope.errors import ArgumentError
from praxiscope.layers.consensus import average, maximum
from praxiscope.layers.forward_value import ForwardValue
from praxiscope.layers.shift import Direction, ShiftMemory, insert_shift
from praxiscope.models.contract import Sees
from praxiscope.models.registered import register_model
from praxiscope.models.shift_places import ShiftPlace, shift_places
from praxiscope.models.snippets import BatchNormMode, Channels, SnippetNetwork, Stream

__all__ = ["CausalTSM", "tsm"]


class OnlineState(NamedTuple):
    """What a causal network keeps of the frames of one video so far.

    memory: the shifted channels of the last frame.
    frames: their number.
    total: the sum, or the maximum, of their scores, [K]; None before the first.
    """

    memory: ShiftMemory
    frames: int = 0
    total: Tensor | None = None


class CausalTSM(SnippetNetwork):
    """TSM with a shift from the past only, which also scores a video while it is going on.

    Online it equals ``forward`` of all frames so far, in memory that does not grow with their number
    (`praxiscope.models.contract.ScoresSnippetsOnline`; Lin et al. 2019, section 4.2).

    Takes the arguments of `SnippetNetwork`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if self.stems is not None:
            raise ArgumentError(
                'shift="causal" takes flow stacks of one length; give one number as in_channels'
            )
        self.memory: ForwardValue[ShiftMemory | None] = ForwardValue(None)

    def begin(self) -> OnlineState:
        """The state of a video of which no frame was seen."""
        return OnlineState({})

    def advance_snippets(self, frames: Tensor, state: OnlineState) -> tuple[Tensor, OnlineState]:
        """Score the next frames of one video, each by itself and the past.

        Args:
            frames: normalised floats [n, C, H, W], n at least 1.
            state: from `begin` or the last call; it is not changed.

        Returns:
            The scores of the frames before softmax, [n, K]: those of ``forward(all frames).snippet_logits``; and the
            new state.
        """
        memory = dict(state.memory)
        with self.memory.set(memory):
            scores = self(frames[None]).snippet_logits[0]
        exact = scores.double()  # the sum over hours needs more digits
        if self.consensus is maximum:
            total = exact.amax(0) if state.total is None else torch.maximum(state.total, exact.amax(0))
        else:
            total = exact.sum(0) if state.total is None else state.total + exact.sum(0)
        return scores, OnlineState(memory, state.frames + len(frames), total)

    def advance(self, frames: Tensor, state: OnlineState) -> tuple[Tensor, OnlineState]:
        """Score a video after each of its next frames.

        Args:
            frames, state: see `advance_snippets`.

        Returns:
            The scores of the video after each frame before softmax, [n, K]: those of ``forward`` of all frames so far;
            and the new state.

        Raises:
            ArgumentError: the consensus is neither "average" nor "maximum".
        """
        found, _, after = self.advance_each(frames, state)
        return found, after

    def advance_each(self, seen: Tensor, state: OnlineState) -> tuple[Tensor, Tensor, OnlineState]:
        """Score a video after each of its next frames, and each frame by itself and the past.

        Args:
            seen: the frames; see `advance_snippets`.
            state: see `advance_snippets`.

        Returns:
            What `advance` returns first, what `advance_snippets` returns first, and the new state.

        Raises:
            ArgumentError: see `advance`.
        """
        if self.consensus not in (average, maximum):
            raise ArgumentError(
                'a network that scores online needs the consensus "average" or "maximum"; set model.consensus'
            )
        scores, after = self.advance_snippets(seen, state)
        exact = scores.double()
        if self.consensus is maximum:
            known = exact if state.total is None else torch.cat([state.total[None], exact])
            return known.cummax(0).values[-len(scores) :].to(scores), scores, after
        sums = exact.cumsum(0) if state.total is None else state.total + exact.cumsum(0)
        counts = torch.arange(1, len(scores) + 1, device=scores.device) + state.frames
        return (sums / counts[:, None]).to(scores), scores, after


@register_model("tsm")
def tsm(
    *,
    num_classes: int,
    backbone: str = "efficientnet_lite0",
    snippets: int = 8,
    fold_div: int = 8,
    shift_place: ShiftPlace = "residual",
    shift: Direction = "both",
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
        shift: "both": towards the past and the future. "causal": only channels from the past move, so that the network
            also scores videos that are still going on, see `CausalTSM`.

        The others: see `praxiscope.models.snippets.SnippetNetwork`.

    Raises:
        ArgumentError: the positions of the shift are unknown for the backbone, or a value is unknown.
    """
    if shift not in ("both", "causal"):
        raise ArgumentError(f"shift must be 'both' or 'causal', got {shift!r}")
    network = (CausalTSM if shift == "causal" else SnippetNetwork)(
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
    memory = network.memory if isinstance(network, CausalTSM) else None
    for number, place in enumerate(shift_places(network.backbone, shift_place)):
        insert_shift(
            [place.module],
            network.snippet_rows,
            fold_div,
            channels_last=place.channels_last,
            memory=memory,
            first_place=number,
        )
    return network
