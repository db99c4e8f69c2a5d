"""Which videos every current web browser can play."""

from __future__ import annotations

from pathlib import Path

from praxiscope.errors import VideoError
from praxiscope.video.container import open_container

__all__ = ["PLAYED", "why_not_played"]

PLAYED = "Browsers play H.264 in .mp4, and VP8, VP9 and AV1 in .webm."

# By suffix, which browsers use for pages opened from disk: FFmpeg's name of the container, and the codecs.
_PLAYED = {
    ".mp4": ("mp4", {"h264", "vp9", "av1"}),
    ".m4v": ("mp4", {"h264"}),
    ".webm": ("webm", {"vp8", "vp9", "av1"}),
}
_PIXELS = {"yuv420p", "yuvj420p"}  # of 8 bits and halved colours


def why_not_played(path: Path, time_limit_s: float = 30.0) -> str | None:
    """Why browsers cannot play a video, as a clause ("mpeg4 in .avi"); None if they can."""
    if path.is_dir():
        return "a folder of frames"
    container_name, codecs = _PLAYED.get(path.suffix.lower(), ("", set()))
    if path.suffix.lower() == ".pxv":
        return "a packed clip"
    try:
        container, stream = open_container(path, time_limit_s)
    except VideoError as error:
        return error.problem
    with container:
        codec, pixels = stream.codec_context.codec.canonical_name, stream.codec_context.pix_fmt
        if codec not in codecs or container_name not in container.format.name.split(","):
            return f"{codec} in {path.suffix.lower() or container.format.name}"
        return None if pixels in _PIXELS else f"{codec} of {pixels} pixels"
