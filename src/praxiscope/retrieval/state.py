"""The list of a library, ``library.json``. Does not import torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from praxiscope.errors import DataError

__all__ = ["ENCODER", "LIBRARY_FILE", "State", "block_path", "digest_of_contract", "is_library", "read_state"]

LIBRARY_FILE = "library.json"
ENCODER = "encoder"
_VERSION = 1


@dataclass(frozen=True)
class State:
    """The content of ``library.json``.

    Attributes:
        contract: of the encoder.
        reading: how videos are read: their sampling, and the seconds of windows.
        sources: the data whose items the library holds, as they were given, made absolute; by their keys.
        blocks: names of the files that count, in the order of their rows.
        index: name of the file of an approximate index; "" for exact search.
        skipped: why items could not be read, and the marks of their files, by id.
        made_with: the options that decide the encoder and the reading, by their names, as far as they are known.
    """

    contract: Mapping[str, Any]
    reading: Mapping[str, Any]
    sources: Mapping[str, str] = field(default_factory=dict)
    blocks: tuple[str, ...] = ()
    index: str = ""
    skipped: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    made_with: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The content as plain values for JSON."""
        return {"version": _VERSION, **asdict(self)}


def is_library(path: str | Path) -> bool:
    """Whether a path is the folder of a library."""
    return (Path(path) / LIBRARY_FILE).is_file()


def digest_of_contract(contract: Mapping[str, Any], reading: Mapping[str, Any]) -> str:
    """A digest of an encoder and of how videos are read: vectors of equal ones can be compared."""
    text = json.dumps([contract, reading], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def block_path(root: Path, name: str) -> Path:
    """The file of a block."""
    return root / "blocks" / name


def read_state(root: Path) -> State:
    """Read ``library.json``.

    Raises:
        DataError: the folder is no library that can be read.
    """
    path = root / LIBRARY_FILE
    if not path.is_file():
        what = "holds no library" if root.is_dir() else "no such folder"
        raise DataError(f"{root}: {what}. Create one: praxiscope index DATA --out {root}")
    try:
        content = dict(json.loads(path.read_text(encoding="utf-8")))
        version = content.pop("version")
        if version == _VERSION:
            skipped = {name: (problem, mark) for name, (problem, mark) in content.pop("skipped").items()}
            return State(
                **{
                    **content,
                    "blocks": tuple(content["blocks"]),
                    "sources": dict(content["sources"]),
                    "skipped": skipped,
                }
            )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}). Remove the folder, and run `praxiscope index` again."
        ) from error
    raise DataError(f"{path}: has version {version!r}, which is not supported. Update praxiscope.")
