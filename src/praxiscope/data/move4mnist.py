"""Move4MNIST: videos in which a digit moves up, down, left or right in some of the frames.

Made as the full-video paper describes its set (section 4). It gives no more than: 1,800 and 600 videos of
32 frames, four classes, a digit moving over a video, and a stretch of background, black or other digits.
Every choice that this leaves open is a parameter here and is recorded beside the videos.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from praxiscope.data.csvfile import write_csv
from praxiscope.data.files import videos_below
from praxiscope.data.move4mnist_draw import (
    Pixels,
    drifting_texture,
    encode,
    load_digits,
    paste,
    resize_digit,
    video_background,
)
from praxiscope.data.move4mnist_plan import CLASSES, KINDS, SPLITS, Design, Plan, draw_plan, require
from praxiscope.errors import DataError
from praxiscope.processes import blame_script, run_once
from praxiscope.types import VideoRecord

__all__ = ["CLASSES", "KINDS", "Design", "Plan", "draw_plan", "make_move4mnist", "read_relevance", "render"]

_SETTINGS_NAME = "move4mnist.json"
_FORMAT = 1


def render(plan: Plan, pool: Pixels, background: Pixels, background_gain: float) -> Pixels:
    """Draw a video.

    Args:
        plan: what it shows.
        pool: digit images that the plan's numbers mean, uint8 [n, h, w].
        background: uint8 [T, S, S, 3].
        background_gain: factor on its brightness.

    Returns:
        uint8 [T, S, S, 3].
    """
    frames = (background.astype(np.uint16) * round(256 * background_gain) >> 8).astype(np.uint8)
    drawn = {int(i): resize_digit(pool[i], plan.side) for i in np.unique(plan.images) if i >= 0}
    for t, kind in enumerate(plan.kinds):
        if kind == "black":
            frames[t] = 0
        elif kind in ("target", "distractor"):
            x, y = plan.corners[t]
            paste(frames[t], drawn[int(plan.images[t])], float(x), float(y))
    return frames


def read_relevance(video: str | Path) -> list[str]:
    """Read what each frame of a generated video shows: names of ``KINDS``, [T].

    Raises:
        DataError: no labels beside the video.
    """
    path = Path(video).with_suffix(".json")
    try:
        kinds = json.loads(path.read_text(encoding="utf-8"))["kinds"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: no frame labels of a Move4MNIST video: {error}") from None
    return [str(kind) for kind in kinds]


def make_move4mnist(
    out: str | Path,
    *,
    train: int = 1800,
    test: int = 600,
    seed: int = 0,
    digits: str | Path | None = None,
    backgrounds: str | Path | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    size: int = Design.size,
    frames: int = Design.frames,
    fps: int = Design.fps,
    chunk: tuple[int, int] | None = None,
    run: tuple[int, int] = Design.run,
    fill: tuple[float, float, float] = Design.fill,
    still: float = Design.still,
    digit: tuple[float, float] = Design.digit,
    speed: tuple[float, float] = Design.speed,
    reach: float = Design.reach,
    background_gain: float = Design.background_gain,
    crf: int = Design.crf,
    gop: int = Design.gop,
    inserted: bool = Design.inserted,
) -> Path:
    """Make a Move4MNIST set, or finish one that was begun with the same parameters.

    Writes ``OUT/SPLIT/CLASS/NNNNN.mp4`` with the labels of its frames beside it (``.json``), the list
    ``praxiscope.csv``, and ``move4mnist.json`` with all parameters. The same seed gives the same set,
    whatever the number of workers.

    Args:
        out: the folder to write.
        train, test: number of videos; the classes take turns, so they are balanced to within one.
        seed: of the set.
        digits: folder of MNIST's idx files; None for the handwritten digits of scikit-learn.
        backgrounds: folder of videos, of which training and test use different ones; None to draw
            drifting textures.
        workers: processes; None for one per processor core, 1 for none beside this one.
        progress: called as ``progress(done, total)`` after each video.
        size, frames, …: see ``Design``.

    Returns:
        ``out``.

    Raises:
        ArgumentError: a parameter out of its range.
        DataError: digits or backgrounds cannot be read, or ``out`` holds something else.
    """
    design = Design(
        size, frames, fps, chunk, run, fill, still, digit, speed, reach, background_gain, crf, gop, inserted
    )
    require(train >= 0 and test >= 0 and train + test > 0, "train, test", "0 or more", (train, test))
    require(seed >= 0, "seed", "0 or more", seed)
    require(workers is None or workers >= 1, "workers", "1 or more", workers)
    root = Path(out)
    run_once()
    digit_folder = None if digits is None else Path(digits)
    videos = None if backgrounds is None else _background_videos(Path(backgrounds), train, test, seed)
    parameters = {
        "train": train,
        "test": test,
        "seed": seed,
        **asdict(design),
        "digits": _describe_digits(digit_folder),
        "backgrounds": "drifting textures" if videos is None else _describe_videos(videos, backgrounds),
    }
    _claim(root, parameters)
    maker = _Maker(root, design, seed, digit_folder, videos)
    tasks = [(split, i) for split, count in (("train", train), ("test", test)) for i in range(count)]
    for split, i in tasks[: len(CLASSES)] + tasks[train : train + len(CLASSES)]:
        maker.path(split, i).parent.mkdir(parents=True, exist_ok=True)
    broken: set[str] = set()
    for done, names in enumerate(_make_all(maker, tasks, workers or os.cpu_count() or 1), start=1):
        broken.update(names)
        if progress is not None:
            progress(done, len(tasks))
    records = [
        VideoRecord("", maker.path(split, i), (CLASSES[i % len(CLASSES)],), split=split) for split, i in tasks
    ]
    write_csv(root / "praxiscope.csv", records, CLASSES)
    _write_settings(root, parameters, sorted(broken))
    return root


@dataclass(frozen=True)
class _Maker:
    """Makes single videos; travels to the worker processes."""

    root: Path
    design: Design
    seed: int
    digits: Path | None
    videos: dict[str, list[Path]] | None

    @cached_property
    def _pools(self) -> dict[str, tuple[Pixels, NDArray[np.int64]]]:
        return {}

    def path(self, split: str, number: int) -> Path:
        return self.root / split / CLASSES[number % len(CLASSES)] / f"{number:05d}.mp4"

    def make(self, task: tuple[str, int]) -> list[str]:
        """Make a video and its labels, or keep them; return the names of broken backgrounds it met."""
        split, number = task
        path = self.path(split, number)
        labels_path = path.with_suffix(".json")
        # The labels are written last: where they are, the video is whole.
        if path.is_file() and labels_path.is_file():
            return list(json.loads(labels_path.read_text(encoding="utf-8"))["broken_backgrounds"])
        if split not in self._pools:
            self._pools[split] = load_digits(self.digits, split)
        images, digit_labels = self._pools[split]
        plan = draw_plan(self.design, digit_labels, seed=self.seed, split=split, number=number)
        # Backgrounds have draws of their own: the labels do not depend on them.
        rng = np.random.default_rng([self.seed, SPLITS.index(split), number, 1])
        source, broken = "", list[Path]()
        if self.videos is None:
            background = drifting_texture(rng, self.design.frames, self.design.size)
        else:
            background, video, broken = video_background(
                rng, self.videos[split], self.design.frames, self.design.size
            )
            source = video.name
        pixels = render(plan, images, background, self.design.background_gain)
        encode(path, pixels, fps=self.design.fps, crf=self.design.crf, gop=self.design.gop)
        names = [video.name for video in broken]
        _write_json(labels_path, _labels(plan, source, names))
        return names


_worker: _Maker | None = None


def _start_worker(maker: _Maker) -> None:
    import torch

    global _worker
    _worker = maker
    torch.set_num_threads(1)
    _one_thread()


def _one_thread() -> AbstractContextManager[Any]:
    """Keep numpy to one thread, from now on or as a context: its products are small, threads slow them down."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # of scikit-learn

    return threadpool_limits(1, "blas")


def _work(task: tuple[str, int]) -> list[str]:
    assert _worker is not None
    return _worker.make(task)


def _make_all(maker: _Maker, tasks: Sequence[tuple[str, int]], workers: int) -> Iterator[list[str]]:
    if workers == 1 or len(tasks) < 4:
        with _one_thread():
            yield from map(maker.make, tasks)
        return
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    pool = ProcessPoolExecutor(min(workers, len(tasks)), get_context("spawn"), _start_worker, (maker,))
    try:
        for future in as_completed([pool.submit(_work, task) for task in tasks]):
            yield future.result()
    except BrokenProcessPool:
        blame_script()
        raise DataError(
            f"{maker.root}: a worker process died (out of memory). Run again to go on, with workers=1 if it happens "
            "again."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _labels(plan: Plan, source: str, broken: list[str]) -> dict[str, Any]:
    centres = plan.corners + plan.side / 2
    return {
        "class": plan.direction,
        "digit": plan.label,
        "digit_side": plan.side,
        "kinds": list(plan.kinds),
        "centres": [None if np.isnan(x) else [round(float(x), 3), round(float(y), 3)] for x, y in centres],
        "background": source,
        "broken_backgrounds": broken,
    }


def _background_videos(folder: Path, train: int, test: int, seed: int) -> dict[str, list[Path]]:
    """Background videos for each split: different ones, in proportion, where there are two or more."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of background videos")
    found = list(videos_below(folder))
    if not found:
        raise DataError(f"{folder}: holds no videos to use as backgrounds")
    if len(found) == 1 or train == 0 or test == 0:
        return {"train": found, "test": found}
    order = [found[i] for i in np.random.default_rng(seed).permutation(len(found))]
    tested = min(max(1, round(len(found) * test / (train + test))), len(found) - 1)
    return {"train": order[tested:], "test": order[:tested]}


def _describe_videos(videos: dict[str, list[Path]], folder: str | Path | None) -> dict[str, Any]:
    """Enough to see whether a later run means the same videos, wherever the folder lies."""
    base = Path(folder or ".")
    names = sorted({path.relative_to(base).as_posix() for side in videos.values() for path in side})
    return {"videos": len(names), "names_sha256": hashlib.sha256("\n".join(names).encode()).hexdigest()}


def _describe_digits(folder: Path | None) -> dict[str, Any]:
    digest = hashlib.sha256()
    for split in SPLITS:
        for array in load_digits(folder, split):
            digest.update(np.ascontiguousarray(array).tobytes())
    return {"source": "scikit-learn" if folder is None else "idx files", "sha256": digest.hexdigest()}


def _claim(root: Path, parameters: dict[str, Any]) -> None:
    """Begin a set in ``root``, or see that the one begun there has the same parameters."""
    settings = root / _SETTINGS_NAME
    if not settings.is_file():
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise DataError(f"{root}: exists and is no Move4MNIST set. Give a new or empty folder.")
        root.mkdir(parents=True, exist_ok=True)
        _write_settings(root, parameters, [])
        return
    try:
        before = json.loads(settings.read_text(encoding="utf-8"))["parameters"]
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{settings}: is damaged. Remove {root} and start again.") from None
    before = {"inserted": Design.inserted, **before}  # what sets were before there was a choice
    now = json.loads(json.dumps(parameters))
    changed = [
        f"{name} ({before.get(name)} there, {now.get(name)} now)"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    if changed:
        raise DataError(
            f"{root}: holds a set made with other parameters: {'; '.join(changed)}. "
            "Use the same ones to finish it, or another folder."
        )


def _write_settings(root: Path, parameters: dict[str, Any], broken: list[str]) -> None:
    content = {"format": _FORMAT, "classes": CLASSES, "parameters": parameters, "broken_backgrounds": broken}
    _write_json(root / _SETTINGS_NAME, content)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)
