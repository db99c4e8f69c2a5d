"""The registry that model files enter their builders into."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from praxiscope.registry import Registry

__all__ = ["models"]

models: Registry[Callable[..., nn.Module]] = Registry("model")
