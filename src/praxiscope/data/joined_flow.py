"""Stored flow of joined data sets (`praxiscope.data.joined`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from praxiscope.errors import DataError, unknown_name
from praxiscope.flow.clip import FlowClip
from praxiscope.flow.store import FlowStore

__all__ = ["JoinedFlow", "store_of"]


class JoinedFlow(FlowStore):
    """The stored flow of joined sets. A clip's key begins with the name of its task.

    Args:
        stores: one for each task.

    Raises:
        DataError: two of them have different settings.
    """

    def __init__(self, stores: Mapping[str, FlowStore]) -> None:
        self.stores = dict(stores)
        first, *others = self.stores
        self.root, self.contract = self.stores[first].root, self.stores[first].contract
        self.storage = self.stores[first].storage
        for name in others:
            store = self.stores[name]
            if store.contract != self.contract:
                raise DataError(
                    f"the flow of {first} and of {name} has different settings "
                    f"({self.contract.difference(store.contract)}): {self.root} contains {self.contract}, {store.root} "
                    f"contains {store.contract}. Extract one of them again with the settings of the other."
                )

    def __repr__(self) -> str:
        return f"JoinedFlow({self.stores})"

    def __contains__(self, key: object) -> bool:
        task, _, inner = str(key).partition("/")
        return task in self.stores and inner in self.stores[task]

    def keys(self) -> list[str]:
        """All clips, in the order of the tasks."""
        return [f"{task}/{key}" for task, store in self.stores.items() for key in store.keys()]  # noqa: SIM118

    @property
    def has_backward(self) -> bool:
        """Whether all stores contain backward flow."""
        return all(store.has_backward for store in self.stores.values())

    def path(self, key: str, *, backward: bool = False) -> Path:
        """Return the path of a clip's flow."""
        store, inner = self.of(key)
        return store.path(inner, backward=backward)

    def clip(self, key: str) -> FlowClip:
        """Return the flow of one video. Raises the errors of the store of its task."""
        store, inner = self.of(key)
        return store.clip(inner)

    def of(self, key: str) -> tuple[FlowStore, str]:
        """Return the store of a clip, and its key there. Raises UnknownNameError for a task without a store."""
        task, _, inner = key.partition("/")
        if task not in self.stores:
            raise unknown_name("data set with stored flow", task, self.stores)
        return self.stores[task], inner


def store_of(store: FlowStore, key: str) -> FlowStore:
    """Return the store of a clip: ``store`` itself, or the one of the clip's task if it is joined."""
    return store.of(key)[0] if isinstance(store, JoinedFlow) else store
