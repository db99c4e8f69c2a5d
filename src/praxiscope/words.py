"""Numbers and their nouns in sentences."""

from __future__ import annotations

__all__ = ["counted"]


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number and what there is so many of.

    Args:
        number: how many.
        one: the noun, or a clause, of a single one: "video", "video has".
        many: of another number; None adds an s.

    Example:
        >>> counted(1, "video"), counted(2, "class is", "classes are")
        ('1 video', '2 classes are')
    """
    return f"{number} {one if number == 1 else many or f'{one}s'}"
