"""The files of a folder of frames, found without torch or av; `praxiscope.video.framefolder` reads them."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from praxiscope.errors import VideoError

__all__ = ["edge_digest", "is_frame_folder", "numbered_pictures", "source_bytes", "source_files"]

_PICTURE = re.compile(
    r"(?!\.)(?P<series>.*?)(?P<number>[0-9]+)\.(?:jpe?g|png|bmp|webp|tiff?|ppm)", re.IGNORECASE
)
_EDGE_BYTES = 1 << 16
_FLOW = re.compile(r"(?:flow_)?[xy]_", re.IGNORECASE)


def is_frame_folder(path: str | Path) -> bool:
    """Whether a path is a folder that directly contains numbered images."""
    return next(_numbered(Path(path)), None) is not None


def source_files(path: Path) -> list[Path]:
    """The files of a video, in order: the file itself, or the images of a folder of frames.

    Raises:
        VideoError: a folder without a series of images, or with several.
    """
    return [path / name for name in numbered_pictures(path)] if path.is_dir() else [path]


def source_bytes(path: Path) -> int:
    """The size of a video in bytes: of its file, or of all numbered images in its folder."""
    if path.is_dir():
        return sum((path / name).stat().st_size for _, _, name in _numbered(path))
    return path.stat().st_size


def edge_digest(path: Path) -> str:
    """A digest of the size, the start, the middle and the end of a video, which differs for almost all different files;
    empty for an empty file."""
    size = source_bytes(path)
    if size == 0:
        return ""
    files = source_files(path)
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    for place, source in enumerate((files[0], files[len(files) // 2], files[-1])):
        with source.open("rb") as file:
            file.seek(max(0, (source.stat().st_size - _EDGE_BYTES) * place // 2))
            digest.update(file.read(_EDGE_BYTES))
    return digest.hexdigest()


def _numbered(folder: Path) -> Iterator[tuple[str, int, str]]:
    """Return (series, number, name) of the numbered images in a folder, unordered; empty if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                found = _PICTURE.fullmatch(entry.name)
                if found and not _FLOW.fullmatch(found["series"]) and entry.is_file():
                    yield found["series"].lower(), int(found["number"]), entry.name
    except OSError:
        return


def numbered_pictures(folder: Path) -> dict[str, int]:
    """Return the numbers of a folder's images by name, in order."""
    series: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for start, number, name in _numbered(folder):
        series[start].append((number, name))
    if not series:
        raise VideoError(
            folder,
            "is a folder without numbered images (00001.jpg, 00002.jpg, …)",
            "Give a video, or the folder that contains the frames.",
        )
    if len(series) > 1:
        firsts = [min(pictures)[1] for _, pictures in sorted(series.items())]
        raise VideoError(
            folder,
            f"contains {len(series)} series of images: {', '.join(firsts[:4])}",
            "Move each series to a folder of its own.",
        )
    (pictures,) = series.values()
    counts = Counter(number for number, _ in pictures)
    if twice := [number for number, count in counts.items() if count > 1]:
        names = sorted(name for number, name in pictures if number == min(twice))
        raise VideoError(
            folder, f"contains several images with number {min(twice)}: {', '.join(names)}", "Keep one."
        )
    return {name: number for number, name in sorted(pictures)}
