"""A section of a run's settings: frozen, and strict about its keys and values."""

from __future__ import annotations

from datetime import date
from os import PathLike, fspath
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

__all__ = ["Section", "Text"]


def as_text(value: Any) -> Any:
    """Turn a number, a date or a path into text: YAML reads 1 or 2020-01-01 where a name is meant, and Python gives a
    ``Path`` for a folder or a file."""
    if isinstance(value, PathLike):
        return fspath(value)
    return str(value) if isinstance(value, (int, float, date)) and not isinstance(value, bool) else value


Text = Annotated[str, BeforeValidator(as_text)]


class Section(BaseModel):
    """Base class of the sections. Unknown keys, infinities and NaN are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)
