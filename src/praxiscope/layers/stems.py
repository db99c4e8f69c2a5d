"""Several first convolutions instead of one, for inputs of different lengths (Huang et al., section III.B.4).

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
    """A list of convolutions; each row is processed by one of them. Their outputs have the same shape, so all later
    layers are shared.

    A convolution with c input channels takes the first c channels of its own rows.

    Args:
        convolutions: convolutions with equal numbers of filters, kernels and strides; the numbers of input channels
            may differ.

    Attributes:
        choice: the convolution of each row: int64 [N], or one index for all rows. The owner sets it for each forward
            pass; by default the last.
    """

    def __init__(self, convolutions: Iterable[nn.Conv2d]) -> None:
        super().__init__(convolutions)
        self.choice: ForwardValue[Tensor | int] = ForwardValue(-1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, F, h, w].

        Raises:
            ArgumentError: ``choice`` has the wrong number of rows, or an index out of range.
        """
        choice = self.choice.get()
        if isinstance(choice, int):
            convolution = self[choice]
            return convolution(x[:, : convolution.in_channels])
        rows = [(choice == number).nonzero()[:, 0] for number in range(len(self))]
        order = torch.cat(rows)
        if not len(order) == len(choice) == len(x):
            raise ArgumentError(
                f"choice must hold an index from 0 to {len(self) - 1} for each of {len(x)} rows; got {choice.tolist()}"
            )
        # Call a convolution even if it has no rows. Its gradient is then 0 instead of None, so that all processes,
        # whose batches differ, have the same set of gradients.
        parts = [
            convolution(x[own, : convolution.in_channels])
            for own, convolution in zip(rows, self, strict=True)
        ]
        return torch.cat(parts)[order.argsort()]
