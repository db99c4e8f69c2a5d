"""One file of a feature store: the rows of a block of clips, as safetensors.

    time_s      float64 [n]     seconds from the start of each video
    frame       int64 [n]       number of the frame in its video
    features    [n, *row]       float32 or float16

The header's metadata lists the clips in the order of their rows. Rows are first appended to a raw file, so that a clip
of any length takes no memory. The same rows give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from praxiscope.errors import DataError
from praxiscope.features.contract import DTYPES, FeatureContract
from praxiscope.video.picturefile import replacing

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ClipRows", "Shard", "ShardWriter", "SkippedClip", "read_shard", "writing_shard"]

_CODES = {"float32": "F32", "float16": "F16"}
_PIECE = 1 << 20
_DIGEST = 64  # characters of a SHA-256


@dataclass(frozen=True)
class ClipRows:
    """The rows of one clip in a shard.

    Attributes:
        id: of the video.
        first: its first row.
        rows: their number.
        source: a mark of the video's content and part, by which a changed one is found; in stores of earlier versions
            its size in bytes.
        damage: the frames of the video that do not decode, as a clause; empty for none.
    """

    id: str
    first: int
    rows: int
    source: str | int
    damage: str = ""


@dataclass(frozen=True)
class SkippedClip:
    """A video that could not be read: its id, the reason, and its mark, see `ClipRows`."""

    id: str
    problem: str
    source: str | int


@dataclass(frozen=True)
class Shard:
    """What the header of a shard says.

    Attributes:
        path: the file.
        clips: in the order of their rows.
        skipped: videos of the block that could not be read.
        rows: number of rows.
        contract: digest of the contract.
        places: first byte of each tensor, by its name.
        checksum: SHA-256 of all bytes after the header.
    """

    path: Path
    clips: tuple[ClipRows, ...]
    skipped: tuple[SkippedClip, ...]
    rows: int
    contract: str
    places: Mapping[str, int]
    checksum: str

    @property
    def sources(self) -> dict[str, str | int]:
        """Marks of the videos of the block by id."""
        listed: tuple[ClipRows | SkippedClip, ...] = (*self.clips, *self.skipped)
        return {one.id: one.source for one in listed}

    def verify(self) -> None:
        """Read the whole file. Raises DataError if it has changed since it was written."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            file.seek(min(self.places.values()))
            while piece := file.read(_PIECE):
                digest.update(piece)
        if digest.hexdigest() != self.checksum:
            raise _damaged(self.path, "its content does not match its checksum")


def _damaged(path: Path, problem: str) -> DataError:
    return DataError(
        f"{path}: is damaged: {problem}. Remove this file, and run the same `praxiscope features` command again."
    )


def read_shard(path: Path, contract: FeatureContract) -> Shard:
    """Read the header of a shard, and check that the file is complete.

    Raises:
        DataError: the file is truncated or damaged, or belongs to a store with another contract.
    """
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(8)
            length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
            header = json.loads(file.read(length)) if length <= size - 8 else None
    except (OSError, ValueError) as error:
        raise _damaged(path, f"its header cannot be read ({error})") from error
    if header is None:
        raise _damaged(path, "it ends within its header")
    try:
        about = header.pop("__metadata__")
        rows = int(header["frame"]["shape"][0])
        expected, end = _layout(rows, contract)
        clips, first = [], 0
        for name, count, source, damage in json.loads(about["clips"]):
            clips.append(ClipRows(name, first, count, source, damage))
            first += count
        skipped = tuple(SkippedClip(*entry) for entry in json.loads(about["skipped"]))
        found = Shard(
            path=path,
            clips=tuple(clips),
            skipped=skipped,
            rows=rows,
            contract=about["contract"],
            places={name: 8 + length + one["data_offsets"][0] for name, one in expected.items()},
            checksum=about["checksum"],
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise _damaged(path, f"its header lacks an entry ({type(error).__name__}: {error})") from error
    if found.contract != contract.digest:
        raise DataError(
            f"{path}: belongs to a store with another contract. Remove this file, and run the same `praxiscope "
            "features` command again."
        )
    if header != expected or first != rows:
        raise _damaged(path, "its header contradicts the contract of the store")
    if 8 + length + end != size:
        raise _damaged(path, f"it has {size} bytes instead of {8 + length + end}")
    return found


def _layout(rows: int, contract: FeatureContract) -> tuple[dict[str, Any], int]:
    """The entries of the tensors in a header, and the number of bytes after it.

    Times and numbers are first, so that every tensor is aligned to the size of its values.
    """
    entries, end = {}, 0
    for name, code, width, shape in (
        ("time_s", "F64", 8, ()),
        ("frame", "I64", 8, ()),
        ("features", _CODES[contract.dtype], DTYPES[contract.dtype], contract.row_shape),
    ):
        count = rows * math.prod(shape) * width
        entries[name] = {"dtype": code, "shape": [rows, *shape], "data_offsets": [end, end + count]}
        end += count
    return entries, end


class ShardWriter:
    """Collects the rows of a block of clips, clip by clip; see `writing_shard`.

    Args:
        raw: file for the features.
        contract: of the store.
    """

    def __init__(self, raw: BinaryIO, contract: FeatureContract) -> None:
        self._raw, self._contract = raw, contract
        self._clips: list[ClipRows] = []
        self._skipped: list[SkippedClip] = []
        self._rows = 0
        # Times and numbers in two growing blocks: small pieces between the rows would split the memory of the process.
        self._places = (bytearray(), bytearray())

    @contextmanager
    def clip(self, id: str, source: str | int) -> Iterator[ShardWriter]:
        """Write one clip: call `add` in the block. If the block fails, nothing of the clip is kept."""
        first, parts, place = self._rows, len(self._places[0]), self._raw.tell()
        try:
            yield self
        except BaseException:
            self._rows = first
            for column in self._places:
                del column[parts:]
            self._raw.seek(place)
            self._raw.truncate()
            raise
        self._clips.append(ClipRows(id, first, self._rows - first, source))

    def note_damage(self, damage: str) -> None:
        """Record that frames of the last clip do not decode."""
        last = self._clips[-1]
        self._clips[-1] = ClipRows(last.id, last.first, last.rows, last.source, damage)

    def add(self, features: Tensor, time_s: Tensor, frame: Tensor) -> None:
        """Append rows to the current clip.

        Args:
            features: float [n, *row_shape]; converted to the contract's type.
            time_s: float64 [n].
            frame: int64 [n].

        Raises:
            DataError: another shape, or features that are not finite in the contract's type.
        """
        import torch

        shape = (len(frame), *self._contract.row_shape)
        if tuple(features.shape) != shape or time_s.shape != frame.shape:
            raise DataError(f"features must be {list(shape)}, got {list(features.shape)}")
        rows = features.detach().to("cpu", getattr(torch, self._contract.dtype)).contiguous()
        if not bool(torch.isfinite(rows).all()):
            too_large = " or too large for float16" if self._contract.dtype == "float16" else ""
            raise DataError(f"its features are not finite{too_large}")
        self._raw.write(rows.numpy().data)
        self._places[0].extend(time_s.to(torch.float64).cpu().numpy().tobytes())
        self._places[1].extend(frame.to(torch.int64).cpu().numpy().tobytes())
        self._rows += len(frame)

    def skip(self, id: str, problem: str, source: str | int) -> None:
        """Record a video that could not be read."""
        self._skipped.append(SkippedClip(id, problem, source))

    def finish(self, file: BinaryIO, raw: BinaryIO) -> None:
        """Write the header and all rows, and flush the file to disk."""
        digest = hashlib.sha256()
        file.write(self._header("0" * _DIGEST))
        for column in self._places:
            digest.update(column)
            file.write(column)
        while piece := raw.read(_PIECE):
            digest.update(piece)
            file.write(piece)
        file.seek(0)
        file.write(self._header(digest.hexdigest()))
        file.flush()
        os.fsync(file.fileno())

    def _header(self, checksum: str) -> bytes:
        about = {
            "clips": _compact([[one.id, one.rows, one.source, one.damage] for one in self._clips]),
            "skipped": _compact([[one.id, one.problem, one.source] for one in self._skipped]),
            "contract": self._contract.digest,
            "checksum": checksum,
        }
        text = _compact({"__metadata__": about, **_layout(self._rows, self._contract)[0]}).encode()
        text += b" " * (-len(text) % 8)
        return struct.pack("<Q", len(text)) + text


def _compact(value: Mapping[str, Any] | Sequence[Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@contextmanager
def writing_shard(path: Path, contract: FeatureContract) -> Iterator[ShardWriter]:
    """A writer of a shard. The file replaces ``path`` at the end of the block, or nothing does if the block fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw_path = path.with_name(f".{path.name}.{os.getpid()}.rows.part")
    try:
        with raw_path.open("wb") as raw:
            writer = ShardWriter(raw, contract)
            yield writer
        with replacing(path) as file, raw_path.open("rb") as rows:
            writer.finish(file, rows)
    finally:
        raw_path.unlink(missing_ok=True)
