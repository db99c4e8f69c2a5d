"""Several first convolutions in the place of one, for inputs of different lengths (Huang et al., section III.B.4).

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
    """Convolutions of which every row goes through one; their outputs have one shape, so all later layers are shared.

    A convolution of c channels sees the first c of the input's, and only its own rows.

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
            ArgumentError: ``choice`` has another number of rows, or names a convolution that there is not.
        """
        choice = self.choice.get()
        if isinstance(choice, int):
            convolution = self[choice]
            return convolution(x[:, : convolution.in_channels])
        rows = [(choice == number).nonzero()[:, 0] for number in range(len(self))]
        order = torch.cat(rows)
        if not len(order) == len(choice) == len(x):
            raise ArgumentError(
                f"each of {len(x)} rows takes one of {len(self)} stems, numbered from 0, got {choice.tolist()}"
            )
        # A convolution without rows is called all the same: its gradient is then 0, not None, and several processes,
        # whose batches differ, agree on what has one.
        parts = [
            convolution(x[own, : convolution.in_channels])
            for own, convolution in zip(rows, self, strict=True)
        ]
        return torch.cat(parts)[order.argsort()]
