"""A deep LSTM over the features of frames (Ng et al., "Beyond Short Snippets", CVPR 2015, section 3.2).

B videos, T frames, n frames of an online call, D features, H cells of a layer, K classes.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from praxiscope.errors import ArgumentError
from praxiscope.layers.recurrent import PeepholeLSTM, frame_gain
from praxiscope.models.frames_then_time import OnlineFramesThenTime, OverTime
from praxiscope.models.in_parts import PartsToExport
from praxiscope.models.over_frames import frame_network
from praxiscope.models.registered import register_model
from praxiscope.models.snippets import BatchNormMode, Channels, Stream

__all__ = ["lstm"]

Cell: TypeAlias = Literal["peephole", "plain"]
Answer: TypeAlias = Literal["weighted", "last", "max", "sum"]

_NOTHING = -1e30


class LSTMOverTime(OverTime):
    """Layers of an LSTM, and a classifier after every frame.

    Training gives the video's label to every frame, and multiplies the loss of frame t by g_t, which rises linearly
    from 0 at the first frame to 1 at the last. The answer for a video combines the probabilities of its frames.

    Args:
        lstm: the layers: from inputs [B, T, D] and a state to outputs [B, T, H] and the next state, see `cells`.
        hidden: H.
        truncate: for layers that do not do it themselves: gradients end after as many frames (truncated backpropagation
            through time); None: they pass through all frames.
        dropout: rate between the last layer and the classifier.
        answer: "weighted": the mean of the frames' probabilities, weighted by g; "sum": their mean; "max": the maximum
            of each class; "last": those of the last frame.
        num_classes: K.
        multi_label: videos have several labels, so the probabilities are those of each class by itself (sigmoid), not
            of one among all (softmax).
    """

    level = "features"

    def __init__(
        self,
        lstm: nn.Module,
        *,
        hidden: int,
        truncate: int | None,
        dropout: float,
        answer: Answer,
        num_classes: int,
        multi_label: bool = False,
    ) -> None:
        super().__init__()
        if answer not in ("weighted", "last", "max", "sum"):
            raise ArgumentError(f"answer must be 'weighted', 'last', 'max' or 'sum', got {answer!r}")
        self.answer, self.truncate, self.multi_label = answer, truncate, multi_label
        self.lstm = lstm
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(hidden, num_classes)

    def _each(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Scores after each frame [B, T, K], and the state."""
        x, outputs = x.to(self.classifier.weight.dtype), []
        for part in torch.split(x, self.truncate or x.shape[1], 1):
            found, state = self.lstm(part, state if self.truncate is None else _constant(state))
            outputs.append(found)
        return self.classifier(self.dropout(torch.cat(outputs, 1))), state

    def _logs(self, scores: Tensor) -> Tensor:
        """Logarithms of what is combined over frames: the probabilities of the classes; with several labels, those of
        yes and of no for each class, [..., 2 K]."""
        scores = scores if scores.dtype == torch.float64 else scores.float()
        if self.multi_label:
            return nn.functional.logsigmoid(torch.cat((scores, -scores), -1))
        return scores.log_softmax(-1)

    def _scores(self, logs: Tensor) -> Tensor:
        """Combined logarithms to scores before softmax or sigmoid."""
        if not self.multi_label:
            return logs
        yes, no = logs.chunk(2, -1)
        return yes - no

    def frame_logits(self, x: Tensor) -> tuple[Tensor, Tensor] | None:
        scores, _ = self._each(x, None)
        return scores, frame_gain(x.shape[1], scores)

    def forward(self, x: Tensor) -> Tensor:
        scores, _ = self._each(x, None)
        if self.answer == "last":
            return scores[:, -1]
        if self.answer == "max":
            return self._of_maximum(scores).amax(1)
        logs = self._logs(scores)
        weights = torch.ones_like(logs[0, :, 0]) if self.answer == "sum" else frame_gain(x.shape[1], logs)
        return self._scores((logs + (weights / weights.sum()).log()[:, None]).logsumexp(1))

    def _of_maximum(self, scores: Tensor) -> Tensor:
        """Scores whose maximum over frames has the order of the probabilities'."""
        return scores if self.multi_label else self._logs(scores)

    def advance(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        found, _, state = self.advance_each(x, state)
        return found, state

    def advance_each(self, x: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        """As `advance`, with the scores of each frame by itself and the past, [n, K], in the second place."""
        count, total, cells = state or (0, None, None)
        scores, cells = self._each(x[None], cells)
        scores = scores[0]
        if self.answer == "last":
            return scores, scores, (count + len(x), None, cells)
        if self.answer == "max":
            found = _cumulated(self._of_maximum(scores), total, torch.maximum)
            return found, scores, (count + len(x), found[-1], cells)
        logs, state = self._summed(self._logs(scores), count, total, cells)
        return self._scores(logs), scores, state

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

    def state(self) -> dict[str, Tensor]:
        """The state before the first frame, as tensors. ``total`` holds logarithms: ``_NOTHING`` stands for zero, as
        not all runtimes add infinities."""
        weight: Any = self.classifier.weight
        layers: Any = self.lstm
        cells = weight.new_zeros(layers.num_layers, 1, layers.hidden_size)
        width = weight.shape[0] * (2 if self.multi_label and self.answer in ("weighted", "sum") else 1)
        return {
            "count": weight.new_zeros(1),
            "total": weight.new_full((1, width), _NOTHING),
            "outputs": cells,
            "cells": cells.clone(),
        }

    def step(
        self, x: Tensor, count: Tensor, total: Tensor, outputs: Tensor, cells: Tensor
    ) -> tuple[Tensor, ...]:
        """The features of one frame, [1, 1, D], and the state to what `advance` returns for it, [1, K], and the next
        state, without branches by values."""
        scores, (outputs, cells) = self._each(x, (outputs, cells))
        scores = scores[:, 0]
        if self.answer == "last":
            return scores, count + 1, total, outputs, cells
        if self.answer == "max":
            total = torch.maximum(total, self._of_maximum(scores))
            return total, count + 1, total, outputs, cells
        logs, number = self._logs(scores), count.clamp(min=1)
        if self.answer == "sum":
            total = torch.logaddexp(total, logs)
            return self._scores(total - (count + 1).log()), count + 1, total, outputs, cells
        # The first frame has weight 0, and a single one weight 1.
        total = torch.where(count > 0, torch.logaddexp(total, logs + number.log()), total)
        found = torch.where(count > 0, total - (number * (number + 1) / 2).log(), logs)
        return self._scores(found), count + 1, total, outputs, cells


class _Step(nn.Module):
    def __init__(self, over_time: LSTMOverTime) -> None:
        super().__init__()
        self.over_time = over_time

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self.over_time.step(*inputs)


class LSTMNetwork(OnlineFramesThenTime):
    """A network for each frame, then the LSTM (`praxiscope.models.contract.AnswersEachFrame`)."""

    over_time: LSTMOverTime

    def advance_each(self, seen: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        """The features of the next frames, [n, D], to the scores of the video after each and of each by itself and the
        past, [n, K], and the next state."""
        return self.over_time.advance_each(seen, state)

    def parts_to_export(self) -> PartsToExport:
        """See `praxiscope.models.in_parts.ExportsInParts`."""
        return PartsToExport("state", self.features, _Step(self.over_time), self.over_time.state())


def _constant(state: Any) -> Any:
    """A state through which no gradient passes."""
    return None if state is None else tuple(part.detach() for part in state)


def _cumulated(x: Tensor, before: Tensor | None, combine: Any) -> Tensor:
    """Combine rows [n, K] one after the other, from ``before`` [K] on."""
    rows = []
    for row in x:
        before = row if before is None else combine(before, row)
        rows.append(before)
    return torch.stack(rows)


def cells(cell: Cell, inputs: int, hidden: int, layers: int, truncate: int | None) -> nn.Module:
    """The layers of an LSTM.

    Args:
        cell: "peephole", as published, or "plain": ``torch.nn.LSTM``, which has no peepholes and is faster.
        inputs, hidden, layers: D, H, and the number of layers.
        truncate: see `PeepholeLSTM`; the plain cell leaves this to its caller.
    """
    if cell == "peephole":
        return PeepholeLSTM(inputs, hidden, layers, truncate=truncate)
    if cell == "plain":
        return nn.LSTM(inputs, hidden, layers, batch_first=True)
    raise ArgumentError(f"cell must be 'peephole' or 'plain', got {cell!r}")


@register_model("lstm", learns="either")
def lstm(
    *,
    num_classes: int,
    multi_label: bool = False,
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
) -> LSTMNetwork:
    """Build a network whose frames pass through 5 layers of 512 LSTM cells with peepholes, classified after each frame.

    Args:
        multi_label: see `LSTMOverTime`; a run passes whether its videos have several labels.
        snippets: number of frames of a video in training, and at test by default; any number can be scored.
        hidden, layers, cell: see `cells`.
        truncate, dropout, answer: see `LSTMOverTime`.
        frozen: the network of the frames does not learn.

        The others: see `praxiscope.models.snippets.SnippetNetwork`.
    """
    frame = frame_network(
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
    if truncate is not None and truncate < 1:
        raise ArgumentError(f"truncate must be at least 1, got {truncate}")
    over_time = LSTMOverTime(
        cells(cell, int(weight.shape[1]), hidden, layers, truncate),
        hidden=hidden,
        truncate=truncate if cell == "plain" else None,
        dropout=dropout,
        answer=answer,
        num_classes=num_classes,
        multi_label=multi_label,
    )
    return LSTMNetwork(frame, over_time, num_classes=num_classes, frames=snippets, frozen=frozen)
