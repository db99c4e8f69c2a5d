"""Flow as folders of JPEGs with the file names of TSN's tools: ``CLIP/flow_x_00001.jpg`` and ``CLIP/flow_y_00001.jpg``.

dense_flow, the tool of TSN and its successors, writes grey level ``round(255 (v + B) / 2B)``; a static pixel is 128.
Files are numbered from 1, by some tools from 0; some archives name them ``x_00001.jpg``. Backward flow is not
supported. H rows, W columns.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from praxiscope.checkpoint import write_json
from praxiscope.errors import ArgumentError, DataError
from praxiscope.flow.clip import FlowClip
from praxiscope.flow.contract import FRAME, FlowContract, Loss, dequantise, quantise

__all__ = ["DESCRIPTION", "JpegFlow", "JpegWriter", "find_folder", "folders"]

DESCRIPTION = "source.json"
"""In a clip's folder: the description of its source. Written last; folders of other tools have none."""

_PICTURE = re.compile(r"((?:flow_)?[xy]_)(\d+)\.jpe?g", re.IGNORECASE)
_QUALITY = 95


def _image_names(folder: Path) -> dict[str, dict[int, str]]:
    """Image file names by prefix ("flow_x_", …) and number."""
    found: dict[str, dict[int, str]] = {}
    for name in os.listdir(folder):  # noqa: PTH208  (names only: a folder may hold thousands of files)
        if match := _PICTURE.fullmatch(name):
            found.setdefault(match[1].lower(), {})[int(match[2])] = name
    return found


def find_folder(root: Path, place: Path) -> Path | None:
    """The folder of a clip: its key, or, as in TSN's tools, without the suffix, without the class folder, or both."""
    for candidate in (place, place.with_suffix(""), Path(place.name), Path(place.name).with_suffix("")):
        if (root / candidate).is_dir() and _image_names(root / candidate):
            return root / candidate
    return None


def folders(root: Path) -> Iterator[Path]:
    """Yield the folders of clips below ``root``, relative to it, sorted within each folder."""
    for parent, inner, names in os.walk(root):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        if any(_PICTURE.fullmatch(name) for name in names):
            yield Path(parent).relative_to(root)


class JpegFlow(FlowClip):
    """The flow of a clip as a folder of JPEGs.

    Raises:
        DataError: images are missing, or JPEGs cannot have this range.
    """

    backward_remedy = (
        "JPEG folders do not support it: run `praxiscope flow --format ffv1 --backward` with another folder."
    )

    def __init__(self, folder: Path, contract: FlowContract) -> None:
        if contract.range == FRAME:
            raise DataError(f"{folder}: JPEGs cannot hold a range for each field; give a bound in pixels")
        found = _image_names(folder)
        for prefix in ("flow_", ""):
            self._names = (found.get(f"{prefix}x_", {}), found.get(f"{prefix}y_", {}))
            if any(self._names):
                break
        x, y = self._names
        self._first = min((*x, *y), default=1)
        expected = set(range(self._first, self._first + max(len(x), len(y))))
        if not expected or self._first > 1:
            raise DataError(f"{folder}: holds no flow_x_00001.jpg or flow_x_00000.jpg")
        for names, axis in ((x, "x"), (y, "y")):
            if missing := expected ^ set(names):
                raise DataError(
                    f"{folder}: image number {min(missing)} of {axis} is missing, or has no counterpart"
                )
        about = _description(folder)
        height, width = _grey(folder / x[self._first]).shape
        super().__init__(
            folder,
            contract,
            frames=len(expected) + 1,
            promised=int(about.get("promised_frames", 0)),
            size=(height, width),
            source=dict(about.get("source", {})),
            loss=Loss(**about.get("loss", {})),
        )

    @property
    def has_backward(self) -> bool:
        """Always False: the format has no backward flow."""
        return False

    @property
    def bytes(self) -> int:
        """Size of the images of both axes in bytes."""
        return sum((self.path / name).stat().st_size for names in self._names for name in names.values())

    def _read(self, numbers: list[int], backward: bool) -> Tensor:
        levels = torch.empty(len(numbers), 2, self.height, self.width, dtype=torch.uint8)
        for place, number in enumerate(numbers):
            for axis, names in enumerate(self._names):
                path = self.path / names[self._first + number]
                pixels = _grey(path)
                if pixels.shape != (self.height, self.width):
                    raise DataError(
                        f"{path}: has {pixels.shape[1]} x {pixels.shape[0]} pixels, but the clip's first image has "
                        f"{self.width} x {self.height}"
                    )
                levels[place, axis] = torch.from_numpy(pixels)
        return dequantise(levels, torch.zeros(len(numbers), 2, 2), self.contract.range)


def _description(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / DESCRIPTION).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{folder / DESCRIPTION}: cannot be read ({error}). Remove the folder.") from None


def _grey(path: Path) -> NDArray[np.uint8]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.array(image.convert("L"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not a readable JPEG ({error}). Extract the clip's flow again.") from None


class JpegWriter:
    """Writes a folder of JPEGs, which gets its name when it is complete.

    Args:
        folder: the clip's folder; a folder of an earlier run is replaced.
        contract: contract with a bound.
        description: content of ``source.json``.

    Attributes:
        loss: error of quantisation and JPEG so far.
        fields: number of fields written so far.
    """

    def __init__(self, folder: Path, contract: FlowContract, description: dict[str, Any]) -> None:
        if contract.range == FRAME:
            raise ArgumentError(
                "JPEGs cannot hold a range for each field: give --range in pixels, or use the format ffv1"
            )
        if folder.is_dir() and not (folder / DESCRIPTION).is_file():
            raise ArgumentError(f"{folder}: holds files of another tool. Choose another folder.")
        self._target, self._contract, self._about = folder, contract, description
        self._part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
        shutil.rmtree(self._part, ignore_errors=True)
        self._part.mkdir(parents=True)
        self.loss = Loss()
        self.fields = 0

    def add(self, flow: Tensor) -> None:
        """Write fields, float32 [n, 2, H, W]."""
        from PIL import Image

        levels, limits = quantise(flow, self._contract.range)
        stored = torch.empty_like(levels)
        for number, field in enumerate(levels):
            self.fields += 1
            for axis, name in enumerate("xy"):
                path = self._part / f"flow_{name}_{self.fields:05d}.jpg"
                Image.fromarray(field[axis].numpy()).save(path, quality=_QUALITY)
                stored[number, axis] = torch.from_numpy(_grey(path))
        self.loss.add(flow, dequantise(stored, limits, self._contract.range), self._contract.range)

    def finish(self) -> None:
        """Write the description, and rename the folder to its final name."""
        frames = self.fields + 1
        promised = max(frames, self._about["promised_frames"])
        loss = vars(self.loss)
        about = {**self._about, "frames": frames, "promised_frames": promised, "loss": loss}
        write_json(self._part / DESCRIPTION, about)
        shutil.rmtree(self._target, ignore_errors=True)
        self._part.replace(self._target)

    def discard(self) -> None:
        """Remove an unfinished folder."""
        shutil.rmtree(self._part, ignore_errors=True)
