"""Values for layers inside published blocks, whose ``forward`` takes one tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar, Token
from threading import local
from typing import Any, Generic, TypeVar

import torch

from praxiscope.errors import ArgumentError

__all__ = ["ForwardValue", "same_values"]

T = TypeVar("T")

_Values = Mapping["ForwardValue[Any]", Any]

_values: ContextVar[_Values | None] = ContextVar("praxiscope_forward_values", default=None)


class _Reading(local):
    """A context in which a thread reads these values; it may be entered again, as by a second backward pass."""

    def __init__(self, values: _Values) -> None:
        self.values = values
        self.tokens: list[Token[_Values | None]] = []

    def __enter__(self) -> None:
        self.tokens.append(_values.set(self.values))

    def __exit__(self, *_: object) -> None:
        _values.reset(self.tokens.pop())


class ForwardValue(Generic[T]):
    """A value that a network sets for one forward pass, and that its layers read.

    Each thread has its own values, so that several threads may use one network, and a network may be part of another.
    Nothing is kept after the forward pass: layers that are called outside one read the default.

    Activation checkpointing runs layers again in the backward pass. `same_values` gives them the values of their own
    forward pass.

    Args:
        default: the value if no forward pass has set one.

    Example:
        >>> scale = ForwardValue(1.0)
        >>> with scale.set(2.0):
        ...     scale.get()
        2.0
        >>> scale.get()
        1.0
    """

    def __init__(self, default: T) -> None:
        self.default = default

    @contextmanager
    def set(self, value: T) -> Iterator[None]:
        """A context in which this thread reads ``value``."""
        with _Reading({**(_values.get() or {}), self: value}):
            yield

    def get(self) -> T:
        """The value of this forward pass.

        Raises:
            ArgumentError: activation checkpointing runs the layer again without `same_values`; the gradient would be
                wrong.
        """
        values = _values.get()
        if values is None:
            if torch._C._current_graph_task_id() != -1:  # in a backward pass
                raise ArgumentError(
                    "activation checkpointing runs a layer again without the values of its forward pass. Call "
                    "checkpoint(..., use_reentrant=False, context_fn=praxiscope.layers.forward_value.same_values)."
                )
            return self.default
        value: T = values.get(self, self.default)
        return value


def same_values() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """The ``context_fn`` of `torch.utils.checkpoint.checkpoint` for layers that read a `ForwardValue`.

    Layers that run again in the backward pass, in any thread, then read the values of their own forward pass, also if
    other forward passes came later. Only ``use_reentrant=False`` takes a ``context_fn``. A backbone of another package
    that calls ``checkpoint`` without it can be used only if its checkpointed layers read no `ForwardValue`, as those of
    ``tsn`` with one first convolution; otherwise the backward pass raises ArgumentError.

    Returns:
        The contexts of the forward pass, and of the layers that run again.

    Example:
        >>> from torch.utils.checkpoint import checkpoint
        >>> scale = ForwardValue(1.0)
        >>> x = torch.ones(1, requires_grad=True)
        >>> with scale.set(3.0):
        ...     y = checkpoint(lambda x: (x * scale.get()).square(), x, use_reentrant=False, context_fn=same_values)
        >>> y.backward()
        >>> x.grad
        tensor([18.])
    """
    return nullcontext(), _Reading(_values.get() or {})
