"""What is done with the features of a view between the two networks of an exported model.

A step is a class in a file of this folder, and a line in `JOINS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from praxiscope.deploy.runtimes import Outputs
from praxiscope.errors import unknown_name

__all__ = ["JOINS", "Join", "Parts", "Together", "find_join"]

JOINS = {
    "clusters": ("praxiscope.deploy.clusters", "Clusters"),
    "state": ("praxiscope.deploy.state", "Carried"),
    "sums": ("praxiscope.deploy.trajectories", "Summed"),
    "together": ("praxiscope.deploy.joins", "Together"),
}
"""The module and the class of each step."""

Parts: TypeAlias = Callable[[], Iterator[NDArray[np.float32]]]
"""Yields the features of the snippets of a view, [n, ...] at a time, the same at each call."""


class Join(Protocol):
    """A step with the network that follows it."""

    def __call__(self, parts: Parts) -> NDArray[np.float32]:
        """Features to scores before softmax, [1, K]."""
        ...


class JoinClass(Protocol):
    """The class of a step."""

    def __call__(self, network: Outputs, settings: Mapping[str, Any]) -> Join: ...

    def outputs(self, settings: Mapping[str, Any]) -> Sequence[str]:
        """Names of the outputs of the network that follows."""
        ...


class Together:
    """The network takes the features of all snippets together.

    Args:
        network: ``features`` [1, S, ...] to ``logits``.
        settings: none.
    """

    def __init__(self, network: Outputs, settings: Mapping[str, Any]) -> None:
        self._network = network

    @staticmethod
    def outputs(settings: Mapping[str, Any]) -> Sequence[str]:
        """See `JoinClass`."""
        return ("logits",)

    def __call__(self, parts: Parts) -> NDArray[np.float32]:
        return self._network({"features": np.concatenate(list(parts()))[None]})[0]


def find_join(name: str) -> JoinClass:
    """The class of a step. Raises UnknownNameError for an unknown name."""
    if name not in JOINS:
        raise unknown_name("step of an exported network", name, JOINS)
    module, kind = JOINS[name]
    found: JoinClass = getattr(importlib.import_module(module), kind)
    return found
