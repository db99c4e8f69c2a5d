"""Write the body of a request to a file."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

__all__ = ["suffix_of", "write_body"]

# FFmpeg tells kinds by content; a suffix is only kept for those who open the folder.
_SUFFIXES = (
    ".mp4",
    ".m4v",
    ".mov",
    ".mkv",
    ".webm",
    ".avi",
    ".mpg",
    ".mpeg",
    ".ts",
    ".m2ts",
    ".wmv",
    ".flv",
    ".ogv",
    ".3gp",
    ".gif",
    ".pxv",
)


def suffix_of(name: str) -> str:
    """The suffix of the file that an upload is kept in: that of its name, if it is one of a video."""
    found = Path(name).suffix.lower()
    return found if found in _SUFFIXES else ".video"


async def write_body(request: Request, path: Path) -> int:
    """Write the body of a request; returns its bytes. The file is removed if the client goes before the end.

    Raises:
        HTTPException: no body, or no room.
    """
    size = 0
    try:
        with path.open("wb") as file:
            async for chunk in request.stream():
                size += len(chunk)
                await asyncio.to_thread(file.write, chunk)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise HTTPException(507, f"The video cannot be kept: {error.strerror}.") from error
    except (HTTPException, ClientDisconnect, asyncio.CancelledError):
        path.unlink(missing_ok=True)
        raise
    if not size:
        path.unlink(missing_ok=True)
        raise HTTPException(400, "The body is empty: send the bytes of a video.")
    return size
