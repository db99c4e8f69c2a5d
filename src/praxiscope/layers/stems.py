"""Several first convolutions in place of one, for inputs of different lengths (Huang et al., section III.B.4).

Axis letters: N rows (snippets of all videos), C channels, F filters, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from praxiscope.errors import ArgumentError
from praxiscope.layers.forward_value import ForwardValue

__all__ = ["Stems"]


class Stems(nn.ModuleList):
    """Convolutions, of which each row goes through one. Outputs have one shape, so all later layers are shared.

    A convolution with c input channels takes the first c channels of its own rows.

    Args:
        convolutions: with equal filters, kernels and strides, for any numbers of input channels.

    Attributes:
        choice: which convolution each row goes through: int64 [N], or one number for all. The owner sets it for each
            forward pass; by default the last.
    """

    def __init__(self, convolutions: Iterable[nn.Conv2d]) -> None:
        super().__init__(convolutions)
        self.choice: ForwardValue[Tensor | int] = ForwardValue(-1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, F, h, w].

        Raises:
            ArgumentError: ``choice`` has another number of rows, or a number that no convolution has.
        """
        choice = self.choice.get()
        if isinstance(choice, int):
            convolution = self[choice]
            return convolution(x[:, : convolution.in_channels])
        rows = [(choice == number).nonzero()[:, 0] for number in range(len(self))]
        order = torch.cat(rows)
        if not len(order) == len(choice) == len(x):
            raise ArgumentError(
                f"choice must name one of {len(self)} stems, from 0, for each of {len(x)} rows; got {choice.tolist()}"
            )
        # A convolution without rows is called all the same: its gradient is then 0, not None, and several processes,
        # whose batches differ, agree on what has one.
        parts = [
            convolution(x[own, : convolution.in_channels])
            for own, convolution in zip(rows, self, strict=True)
        ]
        return torch.cat(parts)[order.argsort()]
