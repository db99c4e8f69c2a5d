"""Files of images that can be read and checked one by one: the common format of packed clips and stored flow.

Such a file holds its images one after the other, then an index:

    head      magic, place of the index, number of rows, bytes of the description, CRC of the index
    pictures  bytes that a codec understands
    index     the description (JSON), then a row for each frame: place, bytes, checksum, and what the kind adds

Reading needs no demuxer: the row of a frame gives the bytes to read with ``pread``.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from praxiscope.errors import VideoError

__all__ = ["HEAD", "PictureKind", "PictureWriter", "replacing"]

HEAD = struct.Struct("<8sQQII")


@dataclass(frozen=True)
class PictureKind:
    """A kind of such files.

    Attributes:
        magic: its first eight bytes.
        row: of the table; has at least the unsigned fields ``place``, ``bytes`` and ``checksum``.
        name: of the kind, for error messages.
        remedy: for a damaged file, a sentence.
    """

    magic: bytes
    row: np.dtype[Any]
    name: str
    remedy: str

    def damaged(self, path: Path, problem: str, frame: int | None = None) -> VideoError:
        """The error for a damaged file."""
        return VideoError(path, f"is a damaged {self.name}: {problem}", self.remedy, frame)

    def begins(self, path: str | Path) -> bool:
        """Whether a file is of this kind, according to its first bytes."""
        try:
            if not Path(path).is_file():  # opening a pipe could wait for ever
                return False
            with Path(path).open("rb", buffering=0) as file:
                return file.read(len(self.magic)) == self.magic
        except OSError:
            return False

    def read_index(self, path: Path) -> tuple[dict[str, Any], NDArray[Any]]:
        """Read the description and the table.

        Raises:
            VideoError: the file cannot be read, is of another kind, or is damaged.
        """
        try:
            with path.open("rb", buffering=0) as file:
                return self._read_index(path, file.fileno())
        except OSError as error:
            raise VideoError(path, f"cannot be read ({error.strerror})", "Check the path.") from error

    def _read_index(self, path: Path, file: int) -> tuple[dict[str, Any], NDArray[Any]]:
        size = os.fstat(file).st_size
        head = os.pread(file, HEAD.size, 0)
        if len(head) < HEAD.size:
            raise self.damaged(path, "it ends within its header")
        magic, place, count, text_bytes, crc = HEAD.unpack(head)
        # The size of the file limits what is read, even if the head is wrong.
        if magic != self.magic or count < 1 or place + text_bytes + count * self.row.itemsize != size:
            raise self.damaged(path, f"its size of {size} bytes does not match its header")
        index = os.pread(file, size - place, place)
        if zlib.crc32(index) != crc:
            raise self.damaged(path, "its index does not match its checksum")
        try:
            about = dict(json.loads(index[:text_bytes]))
        except (ValueError, TypeError) as error:
            raise self.damaged(path, "its header cannot be read") from error
        rows = np.frombuffer(index, self.row, count, text_bytes)
        if int((rows["place"] + rows["bytes"]).max()) > place:
            raise self.damaged(path, "its index refers to places outside the file")
        return about, rows


class PictureWriter:
    """Write a file of a kind: first its images, then with `finish` its index and head."""

    def __init__(self, file: BinaryIO, kind: PictureKind) -> None:
        self._file, self._kind = file, kind
        self._place = HEAD.size
        file.write(bytes(HEAD.size))

    def add(self, data: bytes) -> int:
        """Write an image and return its place."""
        place = self._place
        self._file.write(data)
        self._place += len(data)
        return place

    def finish(self, description: dict[str, Any], rows: NDArray[Any]) -> None:
        """Write the index and the head, and flush the file to disk."""
        text = json.dumps(description, sort_keys=True).encode()
        table = rows.astype(self._kind.row).tobytes()
        self._file.write(text + table)
        self._file.seek(0)
        crc = zlib.crc32(text + table)
        self._file.write(HEAD.pack(self._kind.magic, self._place, len(rows), len(text), crc))
        self._file.flush()
        os.fsync(self._file.fileno())


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """A temporary file that replaces ``target`` at the end of the block, or is removed if the block fails."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
