"""Search a library for images and videos like one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from praxiscope.devices import pick_device
from praxiscope.errors import ArgumentError, DataError
from praxiscope.retrieval.encode_items import Encoded, Reading, encode_item
from praxiscope.retrieval.encoder import Encoder, load_encoder
from praxiscope.retrieval.library import Hit, Library
from praxiscope.retrieval.moments import Moment, best_moments
from praxiscope.retrieval.state import ENCODER
from praxiscope.types import VideoRecord

__all__ = ["Found", "moments", "retrieve"]


@dataclass(frozen=True)
class Found:
    """The answer to a query.

    Attributes:
        query: its name, for display.
        thumbs: thumbnails of the query, JPEG.
        hits: the items that were found, the most similar first.
        library: the library.
    """

    query: str
    thumbs: Sequence[bytes]
    hits: Sequence[Hit]
    library: Library


def retrieve(
    library: str | Path | Library,
    query: str | Path,
    *,
    top: int = 10,
    start_s: float | None = None,
    end_s: float | None = None,
    device: str = "auto",
) -> Found:
    """Search a library for what is like an image, a video, or a part of one.

    Args:
        library: its folder, or an open library.
        query: a file, or the id of an item of the library. A file that is itself in the library is not found.
        top: largest number of items.
        start_s, end_s: the part of the query, in seconds; None is its start or end.
        device: name of the device, for a file.

    Raises:
        ArgumentError: numbers that cannot be used.
        DataError: the library is damaged.
        VideoError: the query cannot be read.
    """
    found = library if isinstance(library, Library) else Library(library)
    _check(top, start_s, end_s)
    encoded = _query(found, query, start_s, end_s, device)
    whole = start_s is None and end_s is None
    same = _same_item(found, query) if whole else []
    return Found(str(query), encoded.thumbs, found.search(encoded.vectors[0], top, without=same), found)


def moments(
    library: str | Path | Library,
    query: str | Path,
    within: str | Path,
    *,
    top: int = 10,
    start_s: float | None = None,
    end_s: float | None = None,
    device: str = "auto",
) -> list[Moment]:
    """Find the moments of one video that are most like a query.

    Args:
        library: its folder, or an open library; its encoder is used.
        query, start_s, end_s, device: see `retrieve`.
        within: the video: a file, or the id of an item of the library.
        top: largest number of moments.

    Raises:
        ArgumentError: the library has no windows, or numbers cannot be used.
        DataError, VideoError: see `retrieve`.
    """
    _check(top, start_s, end_s)
    found = library if isinstance(library, Library) else Library(library)
    reading = Reading(**found.state.reading)
    if not reading.window_s:
        raise ArgumentError(
            f"{found.root}: was indexed without windows, so that it has no moments. See --window."
        )
    wanted = _query(found, query, start_s, end_s, device)
    if str(within) in found and not Path(within).exists():
        vectors, place_s = found.vectors_of(str(within)), found.places_of(str(within)).numpy()
    else:
        encoded = _encode(found, within, None, None, device)
        vectors, place_s = encoded.vectors, encoded.place_s
    first = 1 if len(vectors) > 1 else 0  # a video that is not longer than a window is one moment
    return best_moments(wanted.vectors[0], vectors[first:], np.asarray(place_s)[first:], top)


def _check(top: int, start_s: float | None, end_s: float | None) -> None:
    if top < 1:
        raise ArgumentError(f"top must be at least 1, got {top}")
    if (start_s or 0) < 0 or (end_s is not None and end_s <= (start_s or 0)):
        raise ArgumentError(f"the part of the query must end after it starts, got {start_s} to {end_s} s")


def _query(
    library: Library, query: str | Path, start_s: float | None, end_s: float | None, device: str
) -> Encoded:
    """The query, encoded; or what the library has of it."""
    name = str(query)
    if start_s is None and end_s is None and name in library and not Path(query).exists():
        places = library.places_of(name).numpy()
        return Encoded(library.vectors_of(name), places, tuple(library.thumbs(name)), "")
    return _encode(library, query, start_s, end_s, device)


def _encode(
    library: Library, query: str | Path, start_s: float | None, end_s: float | None, device: str
) -> Encoded:
    path = Path(query)
    record = VideoRecord(str(query), path, (), start_s=start_s, end_s=end_s)
    if not path.exists() and "/" not in str(query):
        raise DataError(f"{query}: is neither a file nor an item of {library.root}")
    return encode_item(record, encoder_of(library, device), Reading(**library.state.reading))


_loaded: dict[tuple[Path, str, str], Encoder] = {}


def encoder_of(library: Library, device: str = "auto") -> Encoder:
    """The encoder of a library; the last one is kept in memory."""
    key = (library.root.resolve(), str(library.state.contract), device)
    if key not in _loaded:
        _loaded.clear()
        _loaded[key] = load_encoder(library.root / ENCODER, device=pick_device(device))
        if _loaded[key].contract() != dict(library.state.contract):
            _loaded.clear()
            raise DataError(
                f"{library.root}: the encoder is not the one of its vectors. Build the library again."
            )
    return _loaded[key]


def _same_item(library: Library, query: str | Path) -> list[str]:
    """Ids of the query itself: of the item, or of all items that are of this file; copies of it are others."""
    if not Path(query).exists():
        return [str(query)]
    path = Path(query).resolve()
    return [item.id for item in library.items if library.path_of(item).resolve() == path]
