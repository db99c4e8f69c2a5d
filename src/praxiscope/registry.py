"""Registries of functions by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType, ModuleType
from typing import Any, Generic, TypeVar, cast

from praxiscope.errors import ArgumentError, PraxiscopeError, unknown_name

__all__ = ["Registry", "load_offer", "offered"]

T = TypeVar("T")


class Registry(Generic[T]):
    """A dict from name to object that rejects duplicates and suggests the nearest name.

    Args:
        kind: what is registered, for messages.
        group: entry points by which installed packages offer more: a name, and the object or the module that registers
            it. They are imported when they are asked for.
        own: names that only the package itself may register, and the module that registers each.

    Example:
        >>> models: Registry[Callable[..., object]] = Registry("model")
        >>> @models.register("tsn")
        ... def tsn() -> object: ...
        >>> models.names()
        ['tsn']
    """

    def __init__(
        self, kind: str, group: str | None = None, own: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.kind, self.group, self.own = kind, group, own
        self._entries: dict[str, T] = {}

    def register(self, name: str, module: str | None = None) -> Callable[[T], T]:
        """Return a decorator that registers its object as ``name``.

        Args:
            name: the name.
            module: the module that defines the object. None: the object's ``__module__``.

        Raises:
            ArgumentError: the name is not a non-empty string, or it is taken.
        """
        if not isinstance(name, str) or not name:
            got = getattr(name, "__name__", repr(name))
            raise ArgumentError(
                f"a {self.kind} is registered with its name in parentheses, a non-empty string such as ('mine'); "
                f"got {got}"
            )

        def add(entry: T) -> T:
            found = module or getattr(entry, "__module__", None)
            if name in self._entries or self.own.get(name, found) != found:
                raise ArgumentError(
                    f"a {self.kind} named {name!r} is already registered. Choose another name."
                )
            self._entries[name] = entry
            return entry

        return add

    def get(self, name: str) -> T:
        """Return the object registered as ``name``. Raises UnknownNameError with the nearest name."""
        if name not in self._entries:
            if (point := self._offered().get(name)) is None:
                raise unknown_name(self.kind, name, self)
            found = load_offer(point)  # the object itself, or a module that registers it
            if name not in self._entries:
                if isinstance(found, ModuleType):
                    raise ArgumentError(f"{self.kind} {name!r}: {point.value!r} does not register this name.")
                self._entries[name] = cast(T, found)
        return self._entries[name]

    def names(self) -> list[str]:
        """All names, sorted, with those that installed packages offer."""
        return sorted({*self._entries, *self._offered()})

    def _offered(self) -> dict[str, EntryPoint]:
        return offered(self.group) if self.group else {}

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())


def offered(group: str) -> dict[str, EntryPoint]:
    """What installed packages offer under a group of entry points, by name."""
    return {point.name: point for point in entry_points(group=group)}


def load_offer(point: EntryPoint) -> Any:
    """Import what an entry point names. Raises ArgumentError if its package cannot be imported."""
    try:
        return point.load()
    except PraxiscopeError:
        raise
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise ArgumentError(
            f"{point.name!r} is offered by an installed package, but {point.value!r} cannot be imported "
            f"({type(error).__name__}: {reason}). Install the package again, or remove it."
        ) from error
