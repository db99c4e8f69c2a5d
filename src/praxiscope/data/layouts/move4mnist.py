"""Move4MNIST as ``praxiscope dataset move4mnist`` writes it: videos, a CSV, the parameters."""

from __future__ import annotations

from pathlib import Path

from praxiscope.data.csvfile import read_csv
from praxiscope.data.files import Listing
from praxiscope.data.layouts.common import LAYOUTS
from praxiscope.errors import DataError

__all__ = ["move4mnist"]


@LAYOUTS.register("move4mnist")
def move4mnist(folder: Path, split: int | str | None = None, annotations: Path | None = None) -> Listing:
    """List a generated Move4MNIST set.

    Args:
        folder: the generator's, with ``praxiscope.csv``; a packed copy is one too.
        split: must be None, the set has one split; so must ``annotations``.

    Raises:
        DataError: no such set there, or a split was asked for.
    """
    if split is not None or annotations is not None:
        raise DataError("move4mnist has one split, in its list: leave split and annotations out.")
    listed = folder / "praxiscope.csv"
    if not listed.is_file():
        raise DataError(
            f"{folder}: contains no praxiscope.csv. Generate the set, or finish it: "
            f"praxiscope dataset move4mnist {folder}"
        )
    records = read_csv(listed)
    here = [record for record in records if record.path.is_file()]
    missing = tuple(record.id for record in records if not record.path.is_file())
    return Listing(here, ("up", "down", "left", "right"), missing)
