"""Feature stores: a folder with the features of many videos, all computed with one contract.

    features.json            the contract, and the number of shards
    praxiscope.csv           the videos with labels, splits and groups, so that a store can be given as data
    network/                 the network that computed the features, a model folder
    shards/00000.safetensors the rows of a block of clips each, see `praxiscope.features.shard`
    skipped.csv, damaged.csv videos that could not be read, or only in part

n rows (frames) of a clip. Importing this file does not import torch.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from praxiscope.checkpoint import write_json
from praxiscope.errors import ArgumentError, DataError
from praxiscope.features.contract import FeatureContract
from praxiscope.features.shard import ClipRows, Shard, read_shard
from praxiscope.units import counted

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = [
    "NETWORK",
    "SHARDS",
    "STORE_FILE",
    "FeatureStore",
    "StoredClip",
    "check_store",
    "create_store",
    "is_store",
    "read_store_file",
    "shard_path",
    "stored_rows",
]

STORE_FILE = "features.json"
NETWORK = "network"
SHARDS = "shards"
_VERSION = 1
_LOCK = ".lock"  # of the run that writes to the store
_MAPPED = 4  # shards whose memory maps are kept; clips in use keep theirs


def is_store(path: str | Path) -> bool:
    """Whether a path is the folder of a feature store."""
    return (Path(path) / STORE_FILE).is_file()


class StoredClip(NamedTuple):
    """The rows of one clip. They are mapped into memory: only the parts that are used are read.

    features: float32 or float16 [n, D], [n, C, h, w], or with an axis V after n (`FeatureContract.row_shape`). A
        change of it does not reach the file.
    time_s: float64 [n], seconds from the start of the video.
    frame: int64 [n], number of the frame in the video.
    """

    features: Tensor
    time_s: Tensor
    frame: Tensor


class FeatureStore:
    """A folder of features, for reading. It can be pickled.

    Args:
        root: the folder.
        partial: also accept a store that ``praxiscope features`` has not finished.

    Attributes:
        root: the folder.
        contract: how its features were computed.
        ids: of the videos that have features, in the order of the shards.
        lengths: number of rows by id.
        skipped: the reasons for videos without features, by id.
        damaged: the damage of videos that were read in part, by id.

    Raises:
        DataError: the folder is no store, is not finished, or a shard is damaged.

    Example:
        >>> store = FeatureStore("features")
        >>> clip = store.clip("Punch/v_Punch_g05_c05.avi")
        >>> mean = clip.features.float().mean(0)
    """

    def __init__(self, root: str | Path, *, partial: bool = False) -> None:
        self.root = Path(root)
        self.contract, count = read_store_file(self.root)
        shards = []
        for number in range(count):
            path = shard_path(self.root, number)
            if path.is_file():
                shards.append(read_shard(path, self.contract))
            elif not partial:
                raise DataError(
                    f"{self.root}: has not been finished ({path.name} is missing, number {number + 1} of "
                    f"{counted(count, 'shard')}). Run the same `praxiscope features` command again; it continues."
                )
        self._places: dict[str, tuple[Shard, ClipRows]] = {
            clip.id: (shard, clip) for shard in shards for clip in shard.clips
        }
        self.ids = tuple(self._places)
        self.lengths = {name: clip.rows for name, (_, clip) in self._places.items()}
        self.skipped = {one.id: one.problem for shard in shards for one in shard.skipped}
        self.damaged = {name: clip.damage for name, (_, clip) in self._places.items() if clip.damage}
        self._shards = tuple(shards)
        self._mapped: OrderedDict[Path, Any] = OrderedDict()

    def __repr__(self) -> str:
        return f"FeatureStore({str(self.root)!r}, {len(self)} clips, {self.rows} rows)"

    def __len__(self) -> int:
        """Number of clips with features."""
        return len(self.ids)

    def __contains__(self, id: object) -> bool:
        return id in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mapped": OrderedDict()}

    @cached_property
    def marks(self) -> dict[str, str]:
        """Marks of the files of all videos as they were read, also of those without features, by id."""
        return {id: str(mark) for shard in self._shards for id, mark in shard.sources.items()}

    @cached_property
    def rows(self) -> int:
        """Number of rows of all clips."""
        return sum(self.lengths.values())

    @property
    def network(self) -> Path:
        """The model folder of the network that computed the features."""
        return self.root / NETWORK

    @property
    def bytes(self) -> int:
        """Size of all shards."""
        return sum(shard.path.stat().st_size for shard in self._shards)

    def clip(self, id: str) -> StoredClip:
        """The rows of a video.

        Raises:
            DataError: the video has no features; or its shard was removed or cut off after the store was opened.
        """
        if id not in self._places:
            raise DataError(self._missing(id))
        shard, clip = self._places[id]
        storage = self._map(shard)

        return stored_rows(shard, clip, self.contract, storage)

    def verify(self) -> None:
        """Read every byte of the store. Raises DataError, which names the shard, if one has changed."""
        for shard in self._shards:
            shard.verify()

    def _map(self, shard: Shard) -> Any:
        """A private map of a shard. Few are kept, so that a pass over a large store does not fill the memory."""
        if shard.path in self._mapped:
            self._mapped.move_to_end(shard.path)
            return self._mapped[shard.path]
        storage = _mapped(shard)
        self._mapped[shard.path] = storage
        if len(self._mapped) > _MAPPED:
            self._mapped.popitem(last=False)
        return storage

    def _missing(self, id: str) -> str:
        if id in self.skipped:
            return f"{id}: has no features in {self.root}, because it could not be read: {self.skipped[id]}"
        return (
            f"{id}: has no features in {self.root}. Add its video to the data, and run the same `praxiscope features` "
            "command again."
        )


def stored_rows(shard: Shard, clip: ClipRows, contract: FeatureContract, storage: Any = None) -> StoredClip:
    """The rows of a clip of a shard, mapped into memory.

    Args:
        shard, clip: from `praxiscope.features.shard.read_shard`.
        contract: of the store.
        storage: the shard's map, if there is one.

    Raises:
        DataError: the file was removed or cut off after its header was read.
    """
    import torch

    storage = _mapped(shard) if storage is None else storage

    def tensor(name: str, dtype: torch.dtype, *shape: int) -> Tensor:
        place = shard.places[name] // dtype.itemsize + clip.first * math.prod(shape)
        strides = [math.prod(shape[axis:]) for axis in range(len(shape) + 1)]
        return torch.empty(0, dtype=dtype).set_(storage, place, [clip.rows, *shape], strides)

    kind = torch.float16 if contract.dtype == "float16" else torch.float32
    return StoredClip(
        tensor("features", kind, *contract.row_shape),
        tensor("time_s", torch.float64),
        tensor("frame", torch.int64),
    )


def _mapped(shard: Shard) -> Any:
    """A private map of the file of a shard: changes of the memory do not reach it."""
    import torch

    try:
        return torch.UntypedStorage.from_file(str(shard.path), False, shard.path.stat().st_size)
    except (OSError, RuntimeError) as error:
        raise DataError(f"{shard.path}: cannot be read ({error}). Open the store again.") from error


def shard_path(root: Path, number: int) -> Path:
    """The file of a block of clips."""
    return root / SHARDS / f"{number:05}.safetensors"


def read_store_file(root: Path) -> tuple[FeatureContract, int]:
    """The contract of a store, and the number of its shards. Raises DataError if the folder is no readable store."""
    path = root / STORE_FILE
    if not path.is_file():
        what = "holds no features" if root.is_dir() else "no such folder"
        raise DataError(f"{root}: {what}. Create them: praxiscope features DATA --out {root}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version, shards = content["version"], int(content["shards"])
        contract = FeatureContract.from_dict(content["contract"]) if version == _VERSION else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}). Remove the folder, and run `praxiscope features` again."
        ) from error
    if contract is None:
        raise DataError(f"{path}: has version {version!r}, which is not supported. Update praxiscope.")
    return contract, shards


def check_store(root: str | Path, contract: FeatureContract) -> FeatureContract:
    """Check that features with a contract can be stored in a folder, without changing it.

    Args:
        root: the folder; it need not exist.
        contract: how the features are computed.

    Returns:
        The contract of the store that the folder holds, with the versions that began it; ``contract`` if it holds none.

    Raises:
        ArgumentError: the folder holds features with another contract, or other files.
    """
    root = Path(root)
    if root.is_file():
        raise ArgumentError(f"{root}: is a file; give a folder.")
    if not is_store(root):
        if root.is_dir() and any(path.name != _LOCK for path in root.iterdir()):
            raise ArgumentError(f"{root}: is not empty and holds no features; choose another folder.")
        return contract
    stored, _ = read_store_file(root)
    found = stored.differences(contract)
    if stored.precision != contract.precision:
        found.append(f"precision={stored.precision} against {contract.precision}")
    if found:
        raise ArgumentError(
            f"{root}: holds features that were computed differently ({'; '.join(found)}): {stored}, instead of "
            f"{contract}. Choose another folder, or remove this one."
        )
    return stored


def create_store(root: str | Path, contract: FeatureContract, shards: int) -> None:
    """Create a store, or continue an existing one.

    Args:
        root: the folder.
        contract: how its features are computed.
        shards: their number, once the store is finished.

    Raises:
        ArgumentError: the folder holds features with another contract, or other files.
    """
    root, contract = Path(root), check_store(root, contract)
    (root / SHARDS).mkdir(parents=True, exist_ok=True)
    write_json(root / STORE_FILE, {"version": _VERSION, "shards": shards, "contract": contract.to_dict()})
