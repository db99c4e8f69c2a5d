"""Values for layers inside published blocks, whose ``forward`` takes one tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import torch

__all__ = ["ForwardValue"]

T = TypeVar("T")

_values: ContextVar[Mapping[int, Any]] = ContextVar("praxiscope_forward_values", default=MappingProxyType({}))


class ForwardValue(Generic[T]):
    """A value that a network sets for one forward pass, and that its layers read.

    Each thread has its own values, so that several threads may use one network, and a network may be part of another.

    Activation checkpointing runs layers again in the backward pass, possibly in a thread of autograd. They then read
    the value of the last forward pass that recorded gradients.

    Args:
        default: the value if no forward pass has set one.

    Example:
        >>> scale = ForwardValue(1.0)
        >>> with scale.set(2.0):
        ...     scale.get()
        2.0
    """

    def __init__(self, default: T) -> None:
        self._recorded = default

    @contextmanager
    def set(self, value: T) -> Iterator[None]:
        """A context in which this thread reads ``value``."""
        if torch.is_grad_enabled():
            self._recorded = value
        token = _values.set({**_values.get(), id(self): value})
        try:
            yield
        finally:
            _values.reset(token)

    def get(self) -> T:
        """The value of this forward pass."""
        value: T = _values.get().get(id(self), self._recorded)
        return value
