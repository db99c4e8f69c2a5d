"""Generate a set of moving shapes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from praxiscope.commands.locking import locked, remove_parts
from praxiscope.data.files import is_video, walk
from praxiscope.data.flow_layouts.moving_shapes import DATASET_FILE, LAYOUT, MovingShapesSample, sample_ids
from praxiscope.data.moving_shapes import Maker
from praxiscope.data.moving_shapes_scene import Design
from praxiscope.errors import ArgumentError, DataError
from praxiscope.jobs import advance, run_jobs
from praxiscope.processes import run_once
from praxiscope.progress import Reporter

__all__ = ["Design", "ShapeSet", "make_moving_shapes"]

_FORMAT = 1
_UNFINISHED = "dataset.unfinished.json"
_IMAGES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})
_CHUNK = 8  # samples in a job


@dataclass(frozen=True)
class ShapeSet:
    """The content of a set of moving shapes.

    Attributes:
        pairs: number of image pairs for (training, testing).
        clips: number of clips for (training, testing).
        frames: frames of a clip: one more than a network is shown, for the flow from its last frame.
        seed: of the set.
        textures: folder of images and videos whose crops are textures, different files for training and testing; None:
            generated textures.
        flo: also write the flow as .flo files.
        design: what samples show.

    Raises:
        ArgumentError: a value is out of its range.
    """

    pairs: tuple[int, int] = (2000, 200)
    clips: tuple[int, int] = (200, 20)
    frames: int = 17
    seed: int = 0
    textures: str | Path | None = None
    flo: bool = False
    design: Design = field(default_factory=Design)

    def __post_init__(self) -> None:
        counts = (*self.pairs, *self.clips)
        if min(counts) < 0 or sum(counts) == 0:
            raise ArgumentError(f"numbers of samples must be 0 or more, and not all 0, got {counts}")
        if not 2 <= self.frames <= 100:
            raise ArgumentError(f"frames must be from 2 to 100, got {self.frames}")
        if self.seed < 0:
            raise ArgumentError(f"seed must be 0 or more, got {self.seed}")


def make_moving_shapes(
    out: str | Path,
    content: ShapeSet = ShapeSet(),
    *,
    workers: int | None = None,
    reporter: Reporter | None = None,
) -> Path:
    """Generate a set, or finish an interrupted one of the same content. Any number of workers writes the same bytes.

    Args:
        out: the folder to write.
        content: what the set contains.
        workers: processes; None for one per processor core.
        reporter: shows progress.

    Returns:
        ``out``.

    Raises:
        ArgumentError: another run writes to the folder.
        DataError: the textures cannot be read, or the folder contains something else.
    """
    run_once()
    root, reporter = Path(out), reporter or Reporter()
    textures = {} if content.textures is None else _find_textures(Path(content.textures), content)
    settings = _settings(content, textures)
    if _claim(root, settings):
        reporter.line(f"Nothing to do: {root} is complete.")
        return root
    maker = Maker(root, content.design, content.seed, textures, content.flo)
    fields = {"pairs": 1, "clips": content.frames - 1}
    listed = sample_ids(content.pairs, content.clips)
    samples = [MovingShapesSample(root, name, fields[kind]) for _, kind, name in listed]
    with locked(root):
        folders = {(root / sample.id).parent for sample in samples}
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        remove_parts(folders)
        _make_all(maker, samples, workers or os.cpu_count() or 1, reporter)
        _write_json(root / DATASET_FILE, settings)
        (root / _UNFINISHED).unlink(missing_ok=True)
    return root


def _make_all(maker: Maker, samples: Sequence[MovingShapesSample], workers: int, reporter: Reporter) -> None:
    waiting = [sample for sample in samples if not (maker.root / sample.id).is_dir()]
    frames = sum(sample.num_fields + 1 for sample in samples)
    left = sum(sample.num_fields + 1 for sample in waiting)
    jobs = [(maker, chunk) for chunk in _chunks(waiting)]
    with reporter.bar("drawing frames", frames, frames - left) as bar:
        seen = 0

        def watch(pieces: int, weight: int) -> None:
            nonlocal seen
            bar.advance(weight - seen)
            seen = weight

        for _ in run_jobs(_work, jobs, workers, lost=_lost, watch=watch):
            pass
        bar.advance(left - seen)


def _chunks(samples: Sequence[MovingShapesSample]) -> Iterator[list[MovingShapesSample]]:
    rest = iter(samples)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def _work(job: tuple[Maker, list[MovingShapesSample]]) -> None:
    maker, samples = job
    for sample in samples:
        maker.make(sample)
        advance(1, sample.num_fields + 1)


def _lost(job: tuple[Maker, list[MovingShapesSample]]) -> None:
    raise DataError(
        f"{job[0].root}: a worker process died (out of memory). Run again to continue, with workers=1 if it happens "
        "again."
    )


def _find_textures(folder: Path, content: ShapeSet) -> dict[str, list[Path]]:
    """Images and videos for each split: different ones, in proportion, if there are two or more."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of textures")
    found = [
        parent / name
        for parent, _, names in walk(folder)
        for name in names
        if is_video(Path(name)) or (Path(name).suffix.lower() in _IMAGES and not name.startswith("."))
    ]
    if not found:
        raise DataError(f"{folder}: contains no images and no videos to use as textures")
    train, test = (sum(counts) for counts in zip(content.pairs, content.clips, strict=True))
    if len(found) == 1 or train == 0 or test == 0:
        return {"train": found, "test": found}
    order = [found[i] for i in np.random.default_rng(content.seed).permutation(len(found))]
    tested = min(max(1, round(len(found) * test / (train + test))), len(found) - 1)
    return {"train": order[tested:], "test": order[:tested]}


def _settings(content: ShapeSet, textures: dict[str, list[Path]]) -> dict[str, Any]:
    """All that determines the set, to compare with a later run wherever the folder of textures is."""
    described: Any = "generated"
    if content.textures is not None:
        base = Path(content.textures)
        names = sorted({path.relative_to(base).as_posix() for files in textures.values() for path in files})
        digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
        described = {"files": len(names), "names_sha256": digest}
    settings = {**asdict(content), "textures": described, **asdict(content.design)}
    del settings["design"]
    return json.loads(json.dumps(settings))


def _claim(root: Path, settings: dict[str, Any]) -> bool:
    """Begin a set in a folder, or check that the set there has the same settings. Returns whether it is complete."""
    there = next((path for name in (DATASET_FILE, _UNFINISHED) if (path := root / name).is_file()), None)
    if there is None:
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise DataError(f"{root}: exists and is not a set of moving shapes. Give a new or empty folder.")
        root.mkdir(parents=True, exist_ok=True)
        _write_json(root / _UNFINISHED, settings)
        return False
    try:
        about = json.loads(there.read_text(encoding="utf-8"))
        before = dict(about["settings"])
        if about["layout"] != LAYOUT:
            raise DataError(f"{root}: contains a set of {about['layout']}. Give another folder.")
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{there}: is damaged. Remove {root} and run again.") from None
    changed = [
        f"{name} ({before.get(name)} in the folder, {settings.get(name)} given)"
        for name in sorted({*before, *settings})
        if before.get(name) != settings.get(name)
    ]
    if changed:
        raise DataError(
            f"{root}: contains a set with other settings: {'; '.join(changed)}. Use the same settings to finish it, or "
            "another folder."
        )
    return there.name == DATASET_FILE


def _write_json(path: Path, settings: dict[str, Any]) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    content = {"layout": LAYOUT, "format": _FORMAT, "settings": settings}
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    part.replace(path)
