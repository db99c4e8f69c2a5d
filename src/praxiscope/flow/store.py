"""Flow stores: a folder with the flow of many videos, all computed with one contract.

    flow.json                    the contract, and how clips are stored
    CLASS/clip.avi.forward.pxf   FFV1: one file for each clip and direction, see `praxiscope.flow.ffv1`
    CLASS/clip/flow_x_00001.jpg  JPEG: two for each field, see `praxiscope.flow.jpeg`

n fields, H rows, W columns.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from praxiscope.checkpoint import write_json
from praxiscope.errors import ArgumentError, DataError, VideoError
from praxiscope.flow.clip import FlowClip
from praxiscope.flow.contract import (
    STORAGES,
    UNKNOWN,
    FlowContract,
    Loss,
    check_range,
    check_storage,
    through_store,
)
from praxiscope.flow.ffv1 import FlowFile, FlowFileWriter
from praxiscope.flow.jpeg import DESCRIPTION, JpegFlow, JpegWriter, find_folder, folders
from praxiscope.types import VideoRecord
from praxiscope.video.framefiles import source_bytes
from praxiscope.video.picturefile import replacing

__all__ = [
    "STORAGES",
    "STORE_FILE",
    "FlowClip",
    "FlowContract",
    "FlowStore",
    "FlowWriter",
    "create_store",
    "flow_key",
    "through_store",
]

STORE_FILE = "flow.json"
_SUFFIXES = {False: ".forward.pxf", True: ".backward.pxf"}
_AGAIN = "Run `praxiscope flow` on its video again."


def flow_key(record: VideoRecord) -> str:
    """The key of a record's flow in a store. Records of parts of the same file share it."""
    if record.start_s is None and record.end_s is None:
        return record.id
    return record.id.rpartition("@")[0] or record.id


class FlowWriter(Protocol):
    """Writes the fields of one clip in order.

    Attributes:
        loss: the storage error so far.
    """

    loss: Loss

    @property
    def fields(self) -> int:
        """Fields written so far."""

    def add(self, flow: Tensor) -> None:
        """Write fields, float32 [n, 2, H, W], on the CPU."""


class FlowStore:
    """A folder of stored flow, for reading. Clips are opened on demand. It can be pickled.

    Args:
        root: the folder.
        range: bound in pixels of JPEGs that another tool wrote, usually 20.

    Attributes:
        root: the folder.
        contract: how its flow was computed.
        storage: "ffv1" or "jpeg".

    Raises:
        DataError: the folder holds no flow, is damaged, or has another range.

    Example:
        >>> store = FlowStore("flow")
        >>> stack = store.clip("Punch/v_Punch_g05_c05.avi").fields(range(40, 50))
    """

    def __init__(self, root: str | Path, *, range: float | None = None) -> None:
        self.root = Path(root)
        path = self.root / STORE_FILE
        if not self.root.is_dir():
            raise DataError(f"{self.root}: no such folder. Create it: praxiscope flow DATA --out {self.root}")
        if path.is_file():
            self.contract, self.storage = _read_store_file(path)
            if range is not None and check_range(range) != self.contract.range:
                raise DataError(
                    f"{self.root}: was stored with range {self.contract.range}, not {range}. Omit --flow-range."
                )
            return
        if not any(folders(self.root)):
            raise DataError(
                f"{self.root}: holds no stored flow. Create a store: praxiscope flow DATA --out FOLDER"
            )
        if range is None:
            raise DataError(
                f"{self.root}: holds JPEGs of flow with an unknown scale. Give the displacement of the largest grey "
                "level in pixels, usually 20: --flow-range 20 (range=20)."
            )
        self.contract, self.storage = FlowContract(UNKNOWN, {}, range), "jpeg"

    def __repr__(self) -> str:
        return f"FlowStore({str(self.root)!r}, {self.contract})"

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, str):
            return False
        if self.storage == "jpeg":
            return find_folder(self.root, _place(key)) is not None
        return self.path(key).is_file()

    def keys(self) -> list[str]:
        """The keys of all clips, sorted. Keys of JPEG folders have no suffix."""
        if self.storage == "jpeg":
            return [folder.as_posix() for folder in folders(self.root)]
        return sorted(self._keys(backward=False))

    def _keys(self, *, backward: bool) -> Iterator[str]:
        suffix = _SUFFIXES[backward]
        for parent, inner, names in os.walk(self.root):
            inner[:] = [name for name in inner if not name.startswith(".")]
            below = Path(parent).relative_to(self.root)
            for name in names:
                if name.endswith(suffix) and not name.startswith("."):
                    yield (below / name.removesuffix(suffix)).as_posix()

    @property
    def has_backward(self) -> bool:
        """Whether at least one clip has backward flow."""
        return self.storage != "jpeg" and any(True for _ in self._keys(backward=True))

    def path(self, key: str, *, backward: bool = False) -> Path:
        """The path of a clip: a file, or a folder of JPEGs."""
        place = _place(key)
        if self.storage == "jpeg":
            return self.root / place.with_suffix("")
        return (self.root / place).with_name(place.name + _SUFFIXES[backward])

    def clip(self, key: str) -> FlowClip:
        """The flow of one video.

        Raises:
            DataError: the clip is not stored, or was computed differently from the store.
            VideoError: its file is damaged.
        """
        if self.storage == "jpeg":
            folder = find_folder(self.root, _place(key))
            if folder is None:
                raise self._missing(key)
            return JpegFlow(folder, self.contract)
        path = self.path(key)
        if not path.is_file():
            raise self._missing(key)
        return FlowFile(path, self.path(key, backward=True), self.contract)

    def _missing(self, key: str) -> DataError:
        return DataError(f"{self.root}: holds no flow for {key}. {_AGAIN}")

    @contextmanager
    def writing(
        self, key: str, source: Path, *, promised_frames: int = 0, backward: bool = False
    ) -> Iterator[FlowWriter]:
        """A context that writes a clip's flow, which becomes visible when the block ends without an error.

        Args:
            key: key of the clip.
            source: the video file; its name and size are recorded.
            promised_frames: number of frames according to the packets of the video.
            backward: the direction.

        Raises:
            ArgumentError: JPEG folders do not support the direction or the range.
            VideoError: no field was added.
        """
        about = {
            "key": key,
            "direction": "backward" if backward else "forward",
            "contract": self.contract.to_dict(),
            "source": describe_source(source),
            "promised_frames": promised_frames,
        }
        path = self.path(key, backward=backward)
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.storage == "jpeg":
            if backward:
                raise ArgumentError("JPEG folders cannot hold backward flow: use the format ffv1")
            jpegs = JpegWriter(path, self.contract, about)
            try:
                yield jpegs
                _refuse_empty(source, jpegs)
                jpegs.finish()
            finally:
                jpegs.discard()
            return
        with replacing(path) as file:
            writer = FlowFileWriter(file, self.contract, about)
            yield writer
            _refuse_empty(source, writer)
            writer.finish()

    def stored(self, key: str, *, backward: bool = False) -> FlowClip | None:
        """The stored flow of a clip in one direction, or None.

        Raises:
            DataError: it was computed differently from the store.
            VideoError: its file is damaged.
        """
        path = self.path(key, backward=backward)
        if self.storage == "jpeg":
            return JpegFlow(path, self.contract) if (path / DESCRIPTION).is_file() else None
        return FlowFile(path, path, self.contract) if path.is_file() else None


def describe_source(source: Path) -> dict[str, Any]:
    """Identify the source of flow, a file or a folder of frames."""
    return {"name": source.name, "bytes": source_bytes(source)}


def _refuse_empty(source: Path, writer: FlowWriter) -> None:
    if not writer.fields:
        raise VideoError(source, "has one frame, but flow needs two", "Remove it from the data.")


def create_store(root: str | Path, contract: FlowContract, storage: str = "ffv1") -> FlowStore:
    """Create a store, or open an existing one.

    A folder of JPEGs of another tool becomes a store that records how to read them.

    Args:
        root: the folder.
        contract: how the flow is computed.
        storage: "ffv1", or "jpeg" for folders with TSN's file names.

    Raises:
        ArgumentError: the folder holds flow of another contract or format, or other files.
    """
    root = Path(root)
    check_storage(storage)
    if storage == "jpeg" and isinstance(contract.range, str):
        raise ArgumentError(
            "JPEG folders cannot hold a range for each field: use a bound in pixels, or the format ffv1"
        )
    if root.is_file():
        raise ArgumentError(f"{root}: is a file; give a folder.")
    if (root / STORE_FILE).is_file():
        store = FlowStore(root)
        if store.contract != contract or store.storage != storage:
            raise ArgumentError(
                f"{root}: holds flow that was computed differently ({store.contract.difference(contract)}): "
                f"{store.contract}, as {store.storage}, instead of {contract}, as {storage}. Choose another folder, or "
                "remove this one."
                if store.contract != contract
                else f"{root}: holds flow as {store.storage}, not as {storage}. Choose another folder."
            )
        return store
    if root.is_dir() and any(root.iterdir()) and not (storage == "jpeg" and any(folders(root))):
        raise ArgumentError(f"{root}: is not empty and holds no stored flow; choose another folder.")
    root.mkdir(parents=True, exist_ok=True)
    write_json(root / STORE_FILE, {"version": 1, "storage": storage, "contract": contract.to_dict()})
    return FlowStore(root)


def _read_store_file(path: Path) -> tuple[FlowContract, str]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        contract, storage = FlowContract.from_dict(content["contract"]), content["storage"]
        version = content["version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: cannot be read ({type(error).__name__}: {error}). Remove the folder, and run `praxiscope flow` "
            "again."
        ) from None
    if version != 1 or storage not in STORAGES:
        raise DataError(
            f"{path}: has version {version} and storage {storage!r}, which this version cannot read. Update praxiscope."
        )
    return contract, storage


def _place(key: str) -> Path:
    """The path of a clip relative to the root of a store."""
    parts = [part for part in Path(key).parts if part not in ("/", "..", ".")]
    if not parts:
        raise ArgumentError(f"not the name of a clip: {key!r}")
    return Path(*parts)
