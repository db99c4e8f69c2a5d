"""Stored trajectories: a folder with one file for each video.

    trajectories.json        how they were extracted
    praxiscope.csv           the videos with labels, splits and groups, so that the folder can be given as data
    clips/ID.safetensors     info float32 [N, 10]; track, hog, hof, mbhx and mbhy float16 [N, …]
    skipped.csv              videos that could not be read

N trajectories.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from praxiscope.data.skipped import read_skipped
from praxiscope.errors import DataError
from praxiscope.run_folder import SKIPPED_FILE, TRAJECTORIES_FILE
from praxiscope.trajectories.result import Trajectories
from praxiscope.trajectories.settings import DESCRIPTORS, Extraction
from praxiscope.video.picturefile import replacing

__all__ = [
    "StoredTrajectories",
    "clip_path",
    "is_trajectories",
    "read_clip",
    "store_file",
    "write_clip",
]

_VERSION = 1


def is_trajectories(path: str | Path) -> bool:
    """Whether a path is a folder of stored trajectories."""
    return (Path(path) / TRAJECTORIES_FILE).is_file()


def clip_path(root: Path, id: str) -> Path:
    """The file of a video's trajectories."""
    return root / "clips" / f"{id}.safetensors"


def write_clip(path: Path, found: Trajectories, mark: str, damage: str = "") -> None:
    """Write the trajectories of a video; the file appears complete.

    Args:
        path: the file.
        found: the trajectories.
        mark: of the video's content.
        damage: its frames that do not decode, as a clause.
    """
    from safetensors.numpy import save

    tensors = {name: getattr(found, name).astype(np.float16) for name in DESCRIPTORS}
    tensors["info"] = found.info.astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(save(tensors, {"mark": mark, "damage": damage}))


def read_clip(path: Path) -> tuple[Trajectories, dict[str, str]]:
    """The trajectories of a video, float32, and the metadata of the file.

    Raises:
        DataError: the file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            tensors = [file.get_tensor(name).astype(np.float32) for name in ("info", *DESCRIPTORS)]
            return Trajectories(*tensors), dict(file.metadata() or {})
    except (OSError, SafetensorError, ValueError) as error:
        raise DataError(
            f"{path}: is missing or damaged ({error}). Run the same `praxiscope trajectories` command again."
        ) from error


class StoredTrajectories:
    """A folder of trajectories, for reading.

    Args:
        root: the folder.

    Attributes:
        root: the folder.
        extraction: how they were extracted.

    Raises:
        DataError: the folder has no trajectories that can be read.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        path = self.root / TRAJECTORIES_FILE
        if not path.is_file():
            what = "holds no trajectories" if self.root.is_dir() else "no such folder"
            raise DataError(
                f"{self.root}: {what}. Extract them: praxiscope trajectories DATA --out {self.root}"
            )
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["version"] != _VERSION:
                raise DataError(
                    f"{path}: has version {content['version']!r}, which is not supported. Update praxiscope."
                )
            self.extraction = Extraction.from_dict(content["extraction"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}: cannot be read ({error}). Remove the folder, and run `praxiscope trajectories` again."
            ) from error

    @property
    def skipped(self) -> dict[str, str]:
        """Videos that could not be read, with the reason, by id."""
        return read_skipped(self.root / SKIPPED_FILE)

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and clip_path(self.root, id).is_file()

    def clip(self, id: str) -> Trajectories:
        """The trajectories of a video, float32. Raises DataError if it has none."""
        return read_clip(clip_path(self.root, id))[0]

    def mark(self, id: str) -> str:
        """The mark of the video's content when they were extracted; "" if there are none."""
        if id not in self:
            return ""
        try:
            return read_clip(clip_path(self.root, id))[1].get("mark", "")
        except DataError:
            return ""


def store_file(extraction: Extraction) -> dict[str, Any]:
    """The content of ``trajectories.json``."""
    return {"version": _VERSION, "extraction": extraction.to_dict()}
