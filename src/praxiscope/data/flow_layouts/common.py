"""Samples with known flow: what they promise, the registry of their layouts, and samples in files of images and .flo.

Axis letters: n frames or fields, H rows, W columns. Flow is float32 [n, 2, H, W] in pixels, x first. Layouts are listed
without torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from praxiscope.errors import ArgumentError, DataError
from praxiscope.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "FLOW_LAYOUTS",
    "FileSample",
    "FlowLayout",
    "FlowListing",
    "FlowSample",
    "FlowSplit",
    "check_range",
]

FlowSplit = Literal["train", "test"]
T = TypeVar("T")


class FlowSample(Protocol):
    """Consecutive frames with the true flow from each to the next. Samples are pickled for worker processes.

    Attributes:
        id: its name in the set.
        num_fields: number of flow fields; there is one frame more.
    """

    @property
    def id(self) -> str: ...

    @property
    def num_fields(self) -> int: ...

    def frames(self, start: int, count: int) -> Tensor:
        """RGB frames ``start`` to ``start + count - 1``, uint8 [count, 3, H, W].

        Raises:
            ArgumentError: the sample has no such frames.
            DataError: a file is missing or damaged.
        """

    def fields(self, start: int, count: int) -> Tensor:
        """Flow from frame ``start + i`` to the next, float32 [count, 2, H, W]; nan where it is unknown. The errors are
        those of `frames`."""

    def occlusion(self, start: int, count: int) -> Tensor | None:
        """The pixels of frame ``start + i`` that are not seen in the next frame, bool [count, H, W]; None if the set
        does not tell. The errors are those of `frames`."""


@dataclass(frozen=True)
class FlowListing:
    """The result of a layout.

    Attributes:
        samples: samples whose files exist, in order.
        splits: "train" or "test" of each sample; None if the set has no official split.
        groups: a name for each sample: samples of one name show the same, and a split that is not official must not
            divide them. None: each sample has its own.
        missing: names of files that are listed, or belong to a sample, but do not exist.
        notes: messages for the user.
    """

    samples: Sequence[FlowSample]
    splits: Sequence[FlowSplit] | None = None
    groups: Sequence[str] | None = None
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


#: ``layout(folder, annotations) -> FlowListing``.
FlowLayout = Callable[[Path, "Path | None"], FlowListing]

FLOW_LAYOUTS: Registry[FlowLayout] = Registry("layout of frames with known flow", "praxiscope.flow_layouts")


def check_range(sample: str, what: str, start: int, count: int, length: int) -> None:
    """Raise ArgumentError unless ``count`` (1 or more) frames or fields from ``start`` on exist."""
    if start < 0 or count < 1 or start + count > length:
        raise ArgumentError(f"{sample}: has {length} {what}, got start={start}, count={count}")


@dataclass(frozen=True)
class FileSample:
    """A sample in files: an image for each frame, a .flo file for each field.

    Attributes:
        id: its name.
        images: RGB images, one more than fields.
        flows: .flo files.
        invalid: images that are above 0 where a field is invalid; empty if there are none.
        occluded: images that are above 0 where a pixel is not seen in the next frame; empty if there are none.
    """

    id: str
    images: tuple[Path, ...]
    flows: tuple[Path, ...]
    invalid: tuple[Path, ...] = ()
    occluded: tuple[Path, ...] = ()

    @property
    def num_fields(self) -> int:
        return len(self.flows)

    def frames(self, start: int, count: int) -> Tensor:
        import torch

        check_range(self.id, "frames", start, count, len(self.images))
        paths = self.images[start : start + count]
        return torch.stack(_alike(paths, [read_image(path) for path in paths]))

    def fields(self, start: int, count: int) -> Tensor:
        import torch

        from praxiscope.flow.flo import read_flo

        check_range(self.id, "fields", start, count, len(self.flows))
        paths = self.flows[start : start + count]
        fields = torch.stack(_alike(paths, [read_flo(path)[0] for path in paths]))
        height, width = fields.shape[-2:]
        if (width, height) != (size := _image_size(self.images[start])):
            raise DataError(
                f"{paths[0]}: holds {width} x {height} pixels, but {self.images[start]} has {size[0]} x {size[1]}. "
                "Copy both again."
            )
        for field, path in zip(fields, self.invalid[start : start + count], strict=False):
            field[:, _read_mask(path, (height, width))] = torch.nan
        return fields

    def occlusion(self, start: int, count: int) -> Tensor | None:
        import torch

        check_range(self.id, "fields", start, count, len(self.flows))
        if not self.occluded:
            return None
        width, height = _image_size(self.images[start])
        return torch.stack(
            [_read_mask(path, (height, width)) for path in self.occluded[start : start + count]]
        )


def read_image(path: Path) -> Tensor:
    """Read an image as RGB, uint8 [3, H, W]. Raises DataError if it is missing or damaged."""
    import numpy as np
    import torch
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            pixels = np.array(image.convert("RGB"))
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError) as error:
        reason = "no such file" if not path.is_file() else f"{error}"
        raise DataError(f"{path}: cannot be read as an image ({reason}). Copy it again.") from error
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _read_mask(path: Path, size: tuple[int, int]) -> Tensor:
    """The pixels above 0 of an image of ``size`` rows and columns, bool [H, W]."""
    mask = read_image(path)[0] > 0
    if mask.shape != size:
        raise DataError(
            f"{path}: has {mask.shape[1]} x {mask.shape[0]} pixels, but its frame {size[1]} x {size[0]}. Copy it again."
        )
    return mask


def _image_size(path: Path) -> tuple[int, int]:
    """Width and height, from the header of an image."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"{path}: cannot be read as an image ({error}). Copy it again.") from error


def _alike(paths: Sequence[Path], tensors: list[Tensor]) -> list[Tensor]:
    """Raise DataError unless all tensors have the shape of the first."""
    for path, tensor in zip(paths, tensors, strict=True):
        if tensor.shape != tensors[0].shape:
            sizes = (f"{x.shape[-1]} x {x.shape[-2]}" for x in (tensor, tensors[0]))
            raise DataError(
                f"{path}: has {next(sizes)} pixels, but {paths[0]} has {next(sizes)}. Copy both again."
            )
    return tensors
