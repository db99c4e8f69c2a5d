"""Which maps of a network are encoded: ``LAYER@SIZE``. Does not import torch."""

from __future__ import annotations

from typing import NamedTuple

from praxiscope.errors import ArgumentError

__all__ = ["Part"]

_LEAST = 32


class Part(NamedTuple):
    """A layer, and the height and width in pixels to which a frame is warped for it."""

    layer: str
    size: int

    def __str__(self) -> str:
        return f"{self.layer}@{self.size}"

    @staticmethod
    def parse(text: str, size: int = 224) -> Part:
        """Read ``LAYER@SIZE``, or ``LAYER`` for the given size.

        Raises:
            ArgumentError: the size is no whole number of at least 32.

        Example:
            >>> Part.parse("features.9@448")
            Part(layer='features.9', size=448)
        """
        layer, _, number = text.partition("@")
        if not layer or (("@" in text) and not (number.isdecimal() and int(number) >= _LEAST)):
            raise ArgumentError(
                f"a layer must be LAYER or LAYER@SIZE with a size of at least {_LEAST} pixels, got {text!r}"
            )
        return Part(layer, int(number) if number else size)
