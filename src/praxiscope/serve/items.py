"""The videos of a server: what is known of each, on disk and for those who watch it."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from praxiscope.checkpoint import write_json
from praxiscope.data.csvfile import write_csv
from praxiscope.types import VideoRecord

__all__ = ["CORRECTIONS", "PREVIEW", "Item", "Items", "display_name"]

CORRECTIONS = "corrections.csv"
PREVIEW = "preview.mp4"
_ID = re.compile(r"[0-9a-f]{16}")
_ENDED = ("done", "failed", "stopped")


@dataclass
class Item:
    """One video.

    Attributes:
        id: of the server's making.
        name: for display; never a path.
        path: the file.
        owned: the file was uploaded, and is removed with the item.
        bytes: of the file.
        created: seconds since 1970.
        facts: see `praxiscope.serve.probe.probe`.
        status: "queued", "running", "done", "failed" or "stopped".
        error, notes: what went wrong, or is to be known.
        answer: as ``praxiscope predict --json``.
        windows: start and end in seconds, three labels, their probabilities, whether none of these.
        spread: mean and sample deviation over windows, by label.
        thumbs: times of the thumbnails, seconds.
        why, similar, preview: "queued", "done" or an error; empty if not asked for.
        corrections: ``label``, ``start_s``, ``end_s`` (None: of the whole video).
        keep: the analysis goes on if nobody watches.
        progress: of the explanation ("why") and the copy ("preview"), from 0 to 1.
    """

    id: str
    name: str
    path: str
    owned: bool
    bytes: int
    facts: dict[str, Any]
    created: float = field(default_factory=time.time)
    status: str = "queued"
    error: str = ""
    notes: list[str] = field(default_factory=list)
    answer: dict[str, Any] | None = None
    windows: list[Any] = field(default_factory=list)
    spread: dict[str, Any] = field(default_factory=dict)
    thumbs: list[float] = field(default_factory=list)
    why: str = ""
    similar: str = ""
    preview: str = ""
    corrections: list[dict[str, Any]] = field(default_factory=list)
    keep: bool = False
    progress: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.version, self.watchers, self.seen = 0, 0, time.monotonic()
        self.removed = False
        self._changed = asyncio.Event()

    @property
    def ended(self) -> bool:
        """Whether the analysis has ended."""
        return self.status in _ENDED

    def public(self) -> dict[str, Any]:
        """What clients see: everything but the path, and the number of windows in place of the windows."""
        names = (one.name for one in fields(self) if one.name not in ("path", "owned", "windows"))
        return {**{name: getattr(self, name) for name in names}, "windows": len(self.windows)}

    def change(self) -> None:
        """Wake those who watch."""
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self, version: int, wait_s: float) -> None:
        """Wait until the item is no longer of this version, or the time is over."""
        if self.version == version:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), wait_s)


def display_name(text: str) -> str:
    """A name that can be shown: one line of printable characters, of 120 at most."""
    last = re.split(r"[/\\]", text)[-1]
    shown = (" " if sign.isspace() else sign for sign in last)
    # Joiners make emoji of families; other signs of format, and those of direction, could show another name.
    kept = (sign for sign in shown if sign.isprintable() or sign == "\u200d")
    return "".join(kept)[:120].strip() or "video"


class Items:
    """The items of a folder.

    Args:
        root: the folder; made if there is none. Each item is a folder in ``items``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folder = root / "items"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._items: dict[str, Item] = {}
        self.problems: list[str] = []  # of items that could not be opened, and were left as they are
        for folder in root.glob("upload-*"):  # of a server that was killed
            shutil.rmtree(folder, ignore_errors=True)
        for folder in sorted(self._folder.iterdir()):
            if _ID.fullmatch(folder.name):
                self._open(folder)

    def _open(self, folder: Path) -> None:
        file = folder / "item.json"
        if not file.exists():  # an upload that was interrupted
            shutil.rmtree(folder, ignore_errors=True)
            return
        known = {one.name for one in fields(Item)}
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            item = Item(**{name: value for name, value in found.items() if name in known})
        except (OSError, ValueError, TypeError, AttributeError) as error:
            self.problems.append(f"{file}: cannot be read ({error}), and is left out.")
            return
        if item.owned:
            item.path = str((folder / Path(item.path).name).resolve())
        if not item.ended:
            item.status, item.windows = "stopped", []
        for name in ("why", "similar", "preview"):
            if getattr(item, name) != "done":
                setattr(item, name, "")
        self._items[item.id] = item

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Item]:
        """The newest first."""
        return iter(sorted(self._items.values(), key=lambda item: -item.created))

    def get(self, id: str) -> Item | None:
        """An item by its id."""
        return self._items.get(id)

    def folder(self, id: str) -> Path:
        """The folder of an item."""
        assert _ID.fullmatch(id)
        return self._folder / id

    def add(self, item: Item) -> None:
        """Add an item and write it."""
        self.folder(item.id).mkdir(exist_ok=True)
        self._items[item.id] = item
        self.save(item)

    def save(self, item: Item) -> None:
        """Write an item, and wake those who watch it."""
        try:
            if item.id in self._items:
                kept = asdict(item)
                if item.owned:  # the folder may be moved
                    kept["path"] = Path(item.path).name
                write_json(self.folder(item.id) / "item.json", kept)
        finally:
            item.change()

    def keep(self, item: Item) -> None:
        """Write an item if possible, and wake those who watch it; the reason why not is noted in it."""
        try:
            self.save(item)
        except OSError as error:
            item.notes = [*item.notes, f"This is not saved: {error.strerror}."]
            item.change()

    def remove(self, item: Item) -> None:
        """Remove an item, its results and its corrections; and its file if it was uploaded."""
        del self._items[item.id]
        shutil.rmtree(self.folder(item.id), ignore_errors=True)
        item.status, item.removed = "stopped", True
        item.change()
        self.write_corrections()

    def write_thumbs(self, item: Item, thumbs: list[dict[str, Any]]) -> None:
        """Write the thumbnails of an item."""
        item.thumbs = [thumb["time_s"] for thumb in thumbs]
        for number, thumb in enumerate(thumbs):
            (self.folder(item.id) / f"thumb-{number}.jpg").write_bytes(base64.b64decode(thumb["jpeg"]))

    def write_corrections(self) -> int:
        """Write all corrections as a CSV that ``praxiscope train`` reads; returns how many there are."""
        records = [
            VideoRecord(
                f"{item.id}-{number}",
                Path(item.path),
                (one["label"],),
                start_s=one["start_s"],
                end_s=one["end_s"],
                group=item.id,
            )
            for item in sorted(self._items.values(), key=lambda item: item.created)
            for number, one in enumerate(item.corrections)
        ]
        write_csv(self.root / CORRECTIONS, records)
        return len(records)
