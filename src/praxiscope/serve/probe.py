"""Look at an uploaded file before a network does: its kind, its length, its size, its first frame.

Runs in a process of its own, which may die of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from praxiscope.errors import PraxiscopeError, VideoError
from praxiscope.serve.child import Line

__all__ = ["is_container", "probe", "probe_files"]

# Beginnings of the containers that are accepted. Playlists, which name other files, are not among them.
_BEGINNINGS = (
    (0, b"\x1aE\xdf\xa3"),  # Matroska, WebM
    (0, b"OggS"),
    (0, b"FLV\x01"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),  # ASF, WMV
    (0, b"\x00\x00\x01\xba"),  # MPEG programme stream
    (0, b"\x00\x00\x01\xb3"),  # MPEG video
    (0, b"\x00\x00\x00\x01"),  # raw H.264 and H.265
    (0, b"GIF87a"),
    (0, b"GIF89a"),
    (0, b"YUV4MPEG2"),
    (0, b"DKIF"),  # IVF
    (0, b"\x06\x0e\x2b\x34"),  # MXF
    (0, b"pxvideo\x01"),  # packed clips
    *((4, kind) for kind in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")),
)
_TIME_LIMIT_S = 30.0


def is_container(head: bytes) -> bool:
    """Whether the first bytes of a file (400 or more, or all) are those of a video container."""
    if any(head[place : place + len(start)] == start for place, start in _BEGINNINGS):
        return True
    if head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"AVIX"):
        return True
    # MPEG transport stream: a byte 0x47 every 188 bytes, or every 192 after four bytes.
    return any(head[start : start + 2 * step + 1 : step] == b"GGG" for start, step in ((0, 188), (4, 192)))


def probe(path: str, limits: Mapping[str, float]) -> dict[str, Any]:
    """Facts of a video: ``duration_s``, ``fps``, ``width``, ``height``, ``codec`` and ``playable`` (by browsers).

    Args:
        path: the file.
        limits: the largest ``seconds``, ``pixels`` and ``frames``.

    Raises:
        VideoError: not a video, damaged from its first frame, too long or too large.
    """
    from praxiscope.video.browser import why_not_played
    from praxiscope.video.opening import open_video

    with Path(path).open("rb") as file:
        head = file.read(512)
    if not is_container(head):
        raise VideoError(
            path, "is not a video file", "Upload a video, such as .mp4, .mov, .mkv, .webm or .avi."
        )
    video = open_video(path, time_limit_s=_TIME_LIMIT_S)
    if video.width * video.height > limits["pixels"]:
        most = limits["pixels"] / 1e6
        raise VideoError(
            path,
            f"has frames of {video.width} x {video.height} pixels",
            f"The limit is {most:.1f} megapixels.",
        )
    if video.quick_length() > limits["frames"]:
        most = int(limits["frames"])
        raise VideoError(path, f"has {video.quick_length()} frames", f"The limit is {most}. Cut it.")
    if video.duration_s > limits["seconds"]:
        raise VideoError(
            path, f"lasts {video.duration_s:.0f} s", f"The limit is {limits['seconds']:.0f} s. Cut it."
        )
    video.arrays([0], short_side=32)
    return {
        "duration_s": float(video.duration_s),
        "fps": float(video.fps),
        "width": video.width,
        "height": video.height,
        "codec": video.codec,
        "playable": why_not_played(Path(path)) is None,
    }


def probe_files(line: Line, limits: Mapping[str, float]) -> None:
    """Answer each message ``{"job", "path"}`` with facts or an error, until the line ends."""
    line.send({"kind": "ready"})
    while True:
        asked = line.receive(wait=True)
        assert asked is not None
        line.send({"kind": "step", "job": asked["job"]})
        try:
            line.send({"job": asked["job"], "kind": "done", "facts": probe(asked["path"], limits)})
        except (PraxiscopeError, OSError) as error:
            line.send({"job": asked["job"], "kind": "failed", "error": str(error)})
