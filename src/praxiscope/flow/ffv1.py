"""Flow files (``.pxf``): one for each clip and direction.

A flow file (see `praxiscope.video.picturefile`) holds a grey FFV1 image for each field, dx above dy, that decodes
independently. Its description holds the contract, the source and the storage error; its rows hold the limits of the
fields. The design is explained in docs/adr/0007-flow-store.md. n fields, H rows, W columns.
"""

from __future__ import annotations

import os
import zlib
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from praxiscope.errors import DataError, VideoError
from praxiscope.flow.clip import FlowClip
from praxiscope.flow.contract import FlowContract, Loss, dequantise, quantise
from praxiscope.video.container import failures
from praxiscope.video.picturefile import PictureKind, PictureWriter

__all__ = ["FlowFile", "FlowFileWriter"]

_FLOW = PictureKind(
    magic=b"pxflow\x01\x00",
    row=np.dtype([("place", "<u8"), ("bytes", "<u4"), ("checksum", "<u4"), ("limits", "<f4", (2, 2))]),
    name="flow file",
    remedy="Remove it, and run `praxiscope flow` on its video again.",
)


class FlowFile(FlowClip):
    """Flow in ``.pxf`` files."""

    def __init__(self, forward: Path, backward: Path, contract: FlowContract) -> None:
        about, self._rows = _FLOW.read_index(forward)
        self._backward = backward
        try:
            made = FlowContract.from_dict(about["contract"])
            size = int(about["height"]), int(about["width"])
            promised, source = int(about["promised_frames"]), dict(about["source"])
            loss = Loss(**about["loss"])
        except (ValueError, KeyError, TypeError) as error:
            raise _FLOW.damaged(forward, f"its description cannot be read ({error})") from error
        direction = "backward" if forward.name.endswith(".backward.pxf") else "forward"
        if about.get("direction") != direction:
            raise _FLOW.damaged(forward, f"it holds {about.get('direction')} flow and not {direction} flow")
        if min(size) < 1:
            raise _FLOW.damaged(forward, "its description gives fields of size 0")
        if made != contract:
            raise DataError(
                f"{forward}: was computed differently from the store ({made.difference(contract)}). Clip: {made}; "
                f"store: {contract}. Remove the clip, and run `praxiscope flow` again."
            )
        super().__init__(
            forward,
            contract,
            frames=len(self._rows) + 1,
            promised=promised,
            size=size,
            source=source,
            loss=loss,
        )

    @property
    def has_backward(self) -> bool:
        return self._backward.is_file()

    @property
    def bytes(self) -> int:
        return self.path.stat().st_size

    @cached_property
    def _reverse(self) -> FlowFile:
        """The backward flow. Cached, because the index of a long video takes longer to read than a stack."""
        path = self._backward
        other = FlowFile(path, path, self.contract)
        if (len(other), other.height, other.width) != (len(self), self.height, self.width):
            raise DataError(
                f"{path}: belongs to a different video than the forward flow in the same folder. Run `praxiscope "
                "flow` again."
            )
        return other

    def _read(self, numbers: list[int], backward: bool) -> Tensor:
        path, rows = self.path, self._rows
        if backward:
            path, rows = self._backward, self._reverse._rows
        chosen = rows[numbers]
        levels = torch.empty(len(numbers), 2, self.height, self.width, dtype=torch.uint8)
        out = levels.numpy().reshape(len(numbers), 2 * self.height, self.width)
        decode = _decoder(self.width, 2 * self.height)
        try:
            with path.open("rb", buffering=0) as file:
                for number, row, image in zip(numbers, chosen, out, strict=True):
                    data = os.pread(file.fileno(), int(row["bytes"]), int(row["place"]))
                    if zlib.crc32(data) != row["checksum"]:
                        raise _FLOW.damaged(path, f"field {number} does not match its checksum")
                    if not decode(data, image):
                        raise _FLOW.damaged(path, f"field {number} does not decode")
        except VideoError:
            raise
        except failures() as error:
            raise _FLOW.damaged(path, f"it cannot be read ({getattr(error, 'strerror', error)})") from error
        limits = torch.from_numpy(chosen["limits"].astype(np.float32))
        return dequantise(levels, limits, self.contract.range)


class FlowFileWriter:
    """Writes one ``.pxf`` file."""

    def __init__(self, file: BinaryIO, contract: FlowContract, description: dict[str, Any]) -> None:
        self._file, self._contract, self._about = PictureWriter(file, _FLOW), contract, description
        # One growing block. A small object for each field would fragment the memory, and keep 100 MB for 1500 fields
        # from being freed.
        self._rows = bytearray()
        self._size = (0, 0)
        self.loss = Loss()

    @property
    def fields(self) -> int:
        """Fields written so far."""
        return len(self._rows) // _FLOW.row.itemsize

    def add(self, flow: Tensor) -> None:
        """Write fields, float32 [n, 2, H, W]."""
        levels, limits = quantise(flow, self._contract.range)
        self.loss.add(flow, dequantise(levels, limits, self._contract.range), self._contract.range)
        if not self._rows:
            self._size = (flow.shape[-2], flow.shape[-1])
            self._encode = _encoder(flow.shape[-1], 2 * flow.shape[-2])
        images = levels.numpy().reshape(len(levels), -1, levels.shape[-1])
        for image, limit in zip(images, limits.numpy(), strict=True):
            data = self._encode(image)
            row = (self._file.add(data), len(data), zlib.crc32(data), limit)
            self._rows += np.array(row, dtype=_FLOW.row).tobytes()

    def finish(self) -> None:
        """Write the index."""
        frames = self.fields + 1
        about = {
            **self._about,
            "codec": "ffv1",
            "frames": frames,
            "promised_frames": max(frames, self._about["promised_frames"]),
            "height": self._size[0],
            "width": self._size[1],
            "loss": vars(self.loss),
        }
        self._file.finish(about, np.frombuffer(self._rows, _FLOW.row))


def _encoder(width: int, height: int) -> Any:
    """Return a function from an image, uint8 [height, width], to the bytes of an FFV1 image that decodes
    independently."""
    import av

    encoder: Any = av.CodecContext.create("ffv1", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "gray"
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    encoder.gop_size, encoder.thread_count = 1, 1
    # In version 1 each image is independent. Golomb codes decode faster than the range coder.
    encoder.options = {"level": "1", "coder": "0", "context": "0"}

    def encode(image: NDArray[np.uint8]) -> bytes:
        frame: Any = av.VideoFrame(width, height, "gray")
        plane = frame.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        rows[:height, :width] = image
        rows[:height, width:] = 0
        frame.pts = 0
        (packet,) = encoder.encode(frame)
        return bytes(packet)

    return encode


def _decoder(width: int, height: int) -> Any:
    """Return a function that decodes the bytes of an FFV1 image into uint8 [height, width], and returns whether it
    succeeded."""
    import av

    decoder: Any = av.CodecContext.create("ffv1", "r")
    decoder.width, decoder.height, decoder.pix_fmt = width, height, "gray"
    decoder.thread_type, decoder.thread_count = "NONE", 1

    def decode(data: bytes, out: NDArray[np.uint8]) -> bool:
        frames = decoder.decode(av.Packet(data))
        if len(frames) != 1:
            return False
        frame = frames[0]
        if (frame.width, frame.height, frame.format.name) != (width, height, "gray"):
            return False
        plane = frame.planes[0]
        out[:] = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:height, :width]
        return True

    return decode
