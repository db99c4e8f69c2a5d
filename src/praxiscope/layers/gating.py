"""How one stream of a two-stream network acts on the other, at a residual unit.

C. Feichtenhofer, A. Pinz, R. P. Wildes, "Spatiotemporal Multiplier Networks for Video Action Recognition", CVPR 2017,
section 3.2; its additive residual gate is that of "Spatiotemporal Residual Networks" (NIPS 2016).

Let x be the input of the unit of one stream, before its ReLU f, and y the input of the other stream's unit. A plain
unit is f(x) + F(f(x)).

==========  =========================  ===================
gate        shortcut                   what F sees
==========  =========================  ===================
residual    f(x)                       x * f(y), x + f(y)
direct      f(x) * f(y), f(x) + f(y)   the same
==========  =========================  ===================

The residual gate does not change the shortcut, and its branch sees x before the ReLU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from praxiscope.registry import Registry

__all__ = ["Gate", "GatedInput", "gates"]


class GatedInput(NamedTuple):
    """The input of a residual unit, whose output is ``shortcut`` + F(``branch``)."""

    shortcut: Tensor
    branch: Tensor


Gate: TypeAlias = Callable[[Tensor, Tensor], GatedInput]
"""(x, y) -> input of the unit of x; both [..., C, H, W], before their ReLU."""

gates: Registry[Gate] = Registry("gate")


@gates.register("residual-multiplicative")
def residual_multiplicative(x: Tensor, y: Tensor) -> GatedInput:
    """f(x), x * f(y): the paper's choice."""
    return GatedInput(F.relu(x), x * F.relu(y))


@gates.register("residual-additive")
def residual_additive(x: Tensor, y: Tensor) -> GatedInput:
    """f(x), x + f(y): the spatiotemporal residual network."""
    return GatedInput(F.relu(x), x + F.relu(y))


@gates.register("direct-multiplicative")
def direct_multiplicative(x: Tensor, y: Tensor) -> GatedInput:
    """f(x) * f(y), twice."""
    both = F.relu(x) * F.relu(y)
    return GatedInput(both, both)


@gates.register("direct-additive")
def direct_additive(x: Tensor, y: Tensor) -> GatedInput:
    """f(x) + f(y), twice."""
    both = torch.add(F.relu(x), F.relu(y))
    return GatedInput(both, both)
