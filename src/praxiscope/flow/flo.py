"""Middlebury's file format for flow.

A ``.flo`` file holds four bytes ``PIEH``, the width and the height as 32-bit integers, then dx and dy of every pixel
row by row as 32-bit floats, all little-endian (Baker et al., 2007). Components beyond 1e9 mark unknown flow.

Axis letters: H rows, W columns.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from praxiscope.errors import ArgumentError, DataError
from praxiscope.flow.error import known_flow

__all__ = ["read_flo", "write_flo"]

_TAG = b"PIEH"  # the float 202021.25
_HEADER_BYTES = 12
_MARK = 1.666666752e9  # the value in Middlebury's own files


def read_flo(path: str | Path) -> tuple[Tensor, Tensor]:
    """Read a ``.flo`` file.

    Returns:
        The flow, float32 [2, H, W] in pixels, x first, nan where unknown; and the mask of known pixels, bool [H, W].

    Raises:
        DataError: the file is missing, has another format, or its length differs from its header.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    if len(content) < _HEADER_BYTES or content[:4] != _TAG:
        raise DataError(f"{path}: not a .flo file: it does not start with {_TAG.decode()}.")
    width, height = (int(side) for side in np.frombuffer(content, "<i4", 2, offset=4))
    expected = _HEADER_BYTES + 8 * width * height
    if min(width, height) < 1 or len(content) != expected:
        raise DataError(
            f"{path}: the header gives {width} x {height} pixels ({expected} bytes), but it has {len(content)} bytes. "
            "Copy it again."
        )
    values = np.frombuffer(content, "<f4", offset=_HEADER_BYTES).reshape(height, width, 2)
    flow = torch.from_numpy(values.astype(np.float32)).permute(2, 0, 1).contiguous()
    known = known_flow(flow)
    flow[:, ~known] = torch.nan
    return flow, known


def write_flo(path: str | Path, flow: Tensor, known: Tensor | None = None) -> None:
    """Write a ``.flo`` file atomically.

    Args:
        path: the file; an existing file is replaced.
        flow: float [2, H, W] in pixels, x first.
        known: bool [H, W]; other pixels and nan are marked as unknown. None: all are known.

    Raises:
        ArgumentError: the shape is wrong.
    """
    if flow.ndim != 3 or flow.shape[0] != 2 or not flow.is_floating_point() or not flow.numel():
        raise ArgumentError(f"a .flo file holds float flow [2, H, W], got {flow.dtype} {list(flow.shape)}")
    if known is not None and (known.dtype != torch.bool or known.shape != flow.shape[1:]):
        raise ArgumentError(
            f"known must be bool {list(flow.shape[1:])}, got {known.dtype} {list(known.shape)}"
        )
    flow = flow.detach().cpu().float()
    there = flow.isfinite().all(dim=0)
    if known is not None:
        there &= known.cpu()
    flow = torch.where(there, flow, torch.full_like(flow, _MARK))
    height, width = flow.shape[1:]
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    pixels = flow.permute(1, 2, 0).contiguous().numpy().astype("<f4")
    temporary.write_bytes(_TAG + np.array([width, height], "<i4").tobytes() + pixels.tobytes())
    os.replace(temporary, path)
