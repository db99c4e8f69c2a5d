"""The indices that this process has built, so that a file is scanned once."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from praxiscope.video.container import Deadline
from praxiscope.video.index import FrameIndex
from praxiscope.video.scan import build

__all__ = ["cached_index", "index_of"]

_MOST_PACKETS = 2_000_000

Key = tuple[str, int, int]


class _Cache(OrderedDict[Key, FrameIndex]):
    """Cache of the most recently used indices, up to a total number of packets."""

    packets = 0

    def add(self, key: Key, index: FrameIndex) -> None:
        self[key] = index
        self.packets += len(index.ranks)
        while self.packets > _MOST_PACKETS and len(self) > 1:
            self.packets -= len(self.popitem(last=False)[1].ranks)


_cache = _Cache()


def cached_index(path: Path) -> FrameIndex | None:
    """The index of a file if this process has built it and the file has not changed since."""
    key = _key(path)
    index = _cache.get(key) if key else None
    if index is not None and key is not None:
        _cache.move_to_end(key)
    return index


def index_of(path: Path, deadline: Deadline) -> FrameIndex:
    """The index of a file, from the cache or built now.

    Raises:
        VideoError: no frame decodes, or the deadline has passed.
    """
    index = cached_index(path)
    if index is None:
        key = _key(path)
        index = build(path, deadline)
        if key is not None:
            _cache.add(key, index)
    return index


def _key(path: Path) -> Key | None:
    """Return the key that shows whether a file has changed: path, size and modification time."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return str(path), stat.st_size, stat.st_mtime_ns
