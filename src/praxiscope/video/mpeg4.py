"""The order of frames in MPEG-4 part 2, from the picture types in its packets.

Timestamps in AVI files are guesses, and old encoders pack a B-frame into the packet of another frame.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Mpeg4Pictures"]

_SMALLEST_FRAME = 19  # bytes; a packet up to this size may mean "not coded" (FFmpeg's MAX_NVOP_SIZE)
_VOP = b"\0\0\1\xb6"


class Mpeg4Pictures:
    """The coded pictures in the packets of a stream.

    Attributes:
        types: the type (I, P, B, S) of the first picture of each packet, "?" where it has none.
        packed: whether a packet holds more than one picture.
        clean: whether every packet holds a picture that is large enough to be coded.
    """

    def __init__(self) -> None:
        self.types: list[str] = []
        self.packed, self.clean = False, True
        self._packets: list[tuple[str, int]] = []  # all types in a packet, and its bytes
        self._headers: list[set[bytes]] = []

    def add(self, packet: Any) -> None:
        """Take the next packet of the stream."""
        content = bytes(packet)
        types = _picture_types(content)
        self._packets.append((types, packet.size))
        headers = _headers(content)
        if headers and headers not in self._headers:
            self._headers.append(headers)
        self.packed |= len(types) > 1
        self.types.append(types[:1] or "?")
        self.clean &= bool(types) and packet.size > _SMALLEST_FRAME

    @property
    def joined(self) -> bool:
        """Whether the settings in the headers change: the file was made of several."""
        return len(self._headers) > 1

    @property
    def complete(self) -> bool:
        """Whether the types of all pictures are known, from a first key frame on."""
        return "?" not in self.types and self.types[:1] == ["I"]

    def ranks(self) -> NDArray[np.int64]:
        """The number of each packet's frame in presentation order, int64 [packets].

        A picture that others refer to is shown when the next such picture arrives.
        """
        ranks = np.empty(len(self.types), dtype=np.int64)
        held, rank = -1, 0
        for number, kind in enumerate(self.types):
            if kind == "B" and held >= 0:
                ranks[number] = rank
            else:
                if held >= 0:
                    ranks[held] = rank
                else:
                    rank -= 1
                held = number
            rank += 1
        if held >= 0:
            ranks[held] = rank
        return ranks

    def unpacks_cleanly(self) -> bool:
        """Whether the filter that unpacks B-frames loses no picture.

        The filter holds the second picture of a packet back, returns it in place of the next packet, and holds that
        one instead unless it is a filler. Where two streams are joined it may hold a picture that others refer to.
        """
        held = ""
        for types, size in self._packets:
            if len(types) == 2:
                if held:
                    return False
                held = types[1]
            elif len(types) != 1:
                return False
            elif held:
                held = "" if size <= _SMALLEST_FRAME else types
            if held not in ("", "B"):
                return False
        return True


def _picture_types(packet: bytes) -> str:
    """The types (I, P, B, S) of the pictures in a packet."""
    types, at = "", packet.find(_VOP)
    while 0 <= at < len(packet) - 4:
        types += "IPBS"[packet[at + 4] >> 6]
        at = packet.find(_VOP, at + 4)
    return types


def _headers(packet: bytes) -> set[bytes]:
    """The settings (layer header and the encoder's name) in front of the pictures of a packet."""
    parts = packet.partition(_VOP)[0].split(b"\0\0\1")
    return {part for part in parts if part and (part[0] == 0xB2 or 0x20 <= part[0] <= 0x2F)}
