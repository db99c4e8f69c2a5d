"""The registry that model files enter their builders into."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from praxiscope.registry import Registry

if TYPE_CHECKING:
    from torch import nn

__all__ = ["models"]

models: Registry[Callable[..., nn.Module]] = Registry("model")
