"""Single images, as upright RGB."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from praxiscope.errors import VideoError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["IMAGE_SUFFIXES", "SixteenBits", "decode_image", "is_image", "read_image"]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})
"""Suffixes of image files, in lower case."""


class SixteenBits(Exception):
    """An image with 16 bits for each channel, whose values Pillow would clip at 255."""


def is_image(path: Path) -> bool:
    """Whether a name has a suffix of image files and is not hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def decode_image(path: Path) -> NDArray[np.uint8]:
    """The pixels of an image file, uint8 [H, W, 3], RGB, turned as its EXIF data say.

    Raises:
        SixteenBits: see there.
        Exception: Pillow raises many types of exceptions for files that it cannot read.
    """
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        if image.mode.startswith("I"):
            raise SixteenBits
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))


def read_image(path: str | Path) -> Tensor:
    """Read an image file.

    Returns:
        uint8 [3, H, W], RGB, upright. The memory layout is [H, W, 3].

    Raises:
        VideoError: the file is missing or not an image, or does not decode.
    """
    import torch

    path = Path(path)
    try:
        pixels = decode_image(path)
    except FileNotFoundError as error:
        raise VideoError(path, "does not exist", "Check the path.") from error
    except SixteenBits as error:
        raise VideoError(path, "has 16 bits per channel", "Convert it to 8 bits.") from error
    except Exception as error:
        reason = str(error).replace(str(path), path.name) or type(error).__name__
        raise VideoError(
            path, f"is not an image that can be read ({reason})", "Replace it, or leave it out."
        ) from error
    return torch.from_numpy(pixels).permute(2, 0, 1)
