"""Registries of functions by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from praxiscope.errors import ArgumentError, unknown_name

__all__ = ["Registry", "load_entry_points"]

T = TypeVar("T")


class Registry(Generic[T]):
    """A dict from name to object that rejects duplicates and suggests the nearest name.

    Example:
        >>> models: Registry[Callable[..., object]] = Registry("model")
        >>> @models.register("tsn")
        ... def tsn() -> object: ...
        >>> models.names()
        ['tsn']
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers its object as ``name``. Raises ArgumentError if the name is taken."""

        def add(entry: T) -> T:
            if name in self._entries:
                raise ArgumentError(f"a {self.kind} named {name!r} is already registered")
            self._entries[name] = entry
            return entry

        return add

    def get(self, name: str) -> T:
        """Return the object registered as ``name``. Raises UnknownNameError with the nearest name."""
        if name not in self._entries:
            raise unknown_name(self.kind, name, self._entries)
        return self._entries[name]

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())


@lru_cache
def load_entry_points(group: str) -> None:
    """Load the entry points of a group from installed packages, once per process."""
    for point in entry_points(group=group):
        point.load()
