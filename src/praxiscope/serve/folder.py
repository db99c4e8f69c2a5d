"""The folder whose videos can be chosen on the page."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from praxiscope.data.files import search

__all__ = ["Folder"]


class Folder:
    """Videos in and below a folder, by ids that are no paths.

    Args:
        root: the folder, or None.
    """

    def __init__(self, root: Path | None) -> None:
        self.root = root
        self._paths: dict[str, Path] = {}

    def listed(self) -> list[dict[str, Any]]:
        """Id, name (the path below the folder) and bytes of each video, as they are now."""
        if self.root is None:
            return []
        root = self.root.resolve()
        found = {}
        for path in search(root)[0]:
            real = path.resolve()
            try:
                str(real).encode()
            except UnicodeEncodeError:  # a name that neither JSON nor a CSV can hold
                continue
            if real.is_file() and real.is_relative_to(root):  # no link leads out of the folder
                name = path.relative_to(root).as_posix()
                found[hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:16]] = real
        self._paths = found
        return [
            {"id": id, "name": path.relative_to(root).as_posix(), "bytes": path.stat().st_size}
            for id, path in found.items()
        ]

    def path(self, id: str) -> Path | None:
        """The file of an id of the last list."""
        if not self._paths:
            self.listed()
        return self._paths.get(id)
