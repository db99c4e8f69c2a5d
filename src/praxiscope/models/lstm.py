"""A deep LSTM over the features of frames (Ng et al., "Beyond Short Snippets", CVPR 2015, section 3.2).

B videos, T frames, n frames of an online call, D features, H cells of a layer, K classes.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from praxiscope.errors import ArgumentError
from praxiscope.layers.recurrent import PeepholeLSTM, rising_weights
from praxiscope.models.frames_then_time import FramesThenTime, OverTime, frame_part
from praxiscope.models.registered import register_model
from praxiscope.models.snippets import BatchNormMode, Channels, Stream

__all__ = ["lstm"]

Cell: TypeAlias = Literal["peephole", "plain"]
Answer: TypeAlias = Literal["weighted", "last", "max", "sum"]


class LSTMOverTime(OverTime):
    """Layers of an LSTM, and a classifier after every frame.

    Training gives the video's label to every frame, and multiplies the loss of frame t by g_t, which rises linearly
    from 0 at the first frame to 1 at the last. The answer for a video combines the probabilities of its frames.

    Args:
        inputs: D.
        hidden, layers: cells of a layer, and number of layers.
        cell: "peephole", as published, or "plain": ``torch.nn.LSTM``, which has no peepholes and is faster.
        truncate: frames after which gradients end, see `PeepholeLSTM`; only for "peephole".
        dropout: rate between the last layer and the classifier.
        answer: "weighted": the mean of the frames' probabilities, weighted by g; "sum": their mean; "max": the maximum
            of each class; "last": those of the last frame.
        num_classes: K.
    """

    level = "features"

    def __init__(
        self,
        inputs: int,
        *,
        hidden: int,
        layers: int,
        cell: Cell,
        truncate: int | None,
        dropout: float,
        answer: Answer,
        num_classes: int,
    ) -> None:
        super().__init__()
        if cell not in ("peephole", "plain"):
            raise ArgumentError(f"cell must be 'peephole' or 'plain', got {cell!r}")
        if answer not in ("weighted", "last", "max", "sum"):
            raise ArgumentError(f"answer must be 'weighted', 'last', 'max' or 'sum', got {answer!r}")
        if cell == "plain" and truncate is not None:
            raise ArgumentError("truncate needs cell='peephole'")
        self.answer = answer
        self.lstm: Any = (
            PeepholeLSTM(inputs, hidden, layers, truncate=truncate)
            if cell == "peephole"
            else nn.LSTM(inputs, hidden, layers, batch_first=True)
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(hidden, num_classes)

    def _each(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Scores after each frame [B, T, K], and the state."""
        outputs, state = self.lstm(x.to(self.classifier.weight.dtype), state)
        return self.classifier(self.dropout(outputs)), state

    def frame_logits(self, x: Tensor) -> tuple[Tensor, Tensor] | None:
        scores, _ = self._each(x, None)
        return scores, rising_weights(x.shape[1], scores)

    def forward(self, x: Tensor) -> Tensor:
        scores, _ = self._each(x, None)
        if self.answer == "last":
            return scores[:, -1]
        logs = scores.float().log_softmax(-1)
        if self.answer == "max":
            return logs.amax(1)
        weights = torch.ones_like(logs[0, :, 0]) if self.answer == "sum" else rising_weights(x.shape[1], logs)
        return (logs + (weights / weights.sum()).log()[:, None]).logsumexp(1)

    def advance(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        count, total, cells = state or (0, None, None)
        scores, cells = self._each(x[None], cells)
        scores = scores[0]
        if self.answer == "last":
            return scores, (count + len(x), None, cells)
        logs = scores.float().log_softmax(-1)
        if self.answer == "max":
            found = _cumulated(logs, total, torch.maximum)
            return found, (count + len(x), found[-1], cells)
        return self._summed(logs, count, total, cells)

    def _summed(self, logs: Tensor, count: int, total: Tensor | None, cells: Any) -> tuple[Tensor, Any]:
        """The weighted sums up to each frame. The weights rise with the number of the frame, so that those of a longer
        video are the same up to a factor."""
        numbers = torch.arange(count, count + len(logs), device=logs.device, dtype=logs.dtype)
        weights = torch.ones_like(numbers) if self.answer == "sum" else numbers
        sums = _cumulated(logs + weights.log()[:, None], total, torch.logaddexp)
        places = numbers + 1
        whole = places if self.answer == "sum" else places * (places - 1) / 2
        found = sums - whole.log()[:, None]
        if count == 0 and self.answer == "weighted":
            found = torch.cat((logs[:1], found[1:]))  # a single frame has weight 1
        return found, (count + len(logs), sums[-1], cells)


def _cumulated(x: Tensor, before: Tensor | None, combine: Any) -> Tensor:
    """Combine rows [n, K] one after the other, from ``before`` [K] on."""
    rows = []
    for row in x:
        before = row if before is None else combine(before, row)
        rows.append(before)
    return torch.stack(rows)


@register_model("lstm")
def lstm(
    *,
    num_classes: int,
    backbone: str = "efficientnet_lite0",
    snippets: int = 30,
    hidden: int = 512,
    layers: int = 5,
    cell: Cell = "peephole",
    truncate: int | None = None,
    dropout: float = 0.0,
    answer: Answer = "weighted",
    frozen: bool = False,
    stream: Stream = "rgb",
    in_channels: Channels | None = None,
    pretrained: bool = False,
    batchnorm: BatchNormMode = "frozen",
    input_size: int | None = None,
) -> FramesThenTime:
    """Build a network whose frames pass through 5 layers of 512 LSTM cells with peepholes, classified after each frame.

    Args:
        snippets: number of frames of a video in training, and at test by default; any number can be scored.
        hidden, layers, cell, truncate, dropout, answer: see `LSTMOverTime`.
        frozen: the network of the frames does not learn.

        The others: see `praxiscope.models.snippets.SnippetNetwork`.
    """
    frame = frame_part(
        backbone,
        stream=stream,
        in_channels=in_channels,
        dropout=0.0,
        pretrained=pretrained,
        batchnorm=batchnorm,
        input_size=input_size,
    )
    (own,) = frame.classifiers
    weight: Any = own.weight
    over_time = LSTMOverTime(
        int(weight.shape[1]),
        hidden=hidden,
        layers=layers,
        cell=cell,
        truncate=truncate,
        dropout=dropout,
        answer=answer,
        num_classes=num_classes,
    )
    return FramesThenTime(frame, over_time, num_classes=num_classes, frames=snippets, frozen=frozen)
