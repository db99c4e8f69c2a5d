"""Move4MNIST: videos in which a digit moves up, down, left or right in some of the frames.

The data set follows its description in the full-video paper (section 4): 1,800 and 600 videos of 32 frames, four
classes, a digit that moves over a background video, and a stretch of background, black frames or other digits. The
paper gives no more details. Every open choice is a parameter of `Design` and is recorded beside the videos.
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

__all__ = [
    "CLASSES",
    "KINDS",
    "Design",
    "Plan",
    "digest_of_set",
    "draw_plan",
    "make_move4mnist",
    "read_relevance",
    "render",
]

_SETTINGS_NAME = "move4mnist.json"
_FORMAT = 1


def render(plan: Plan, pool: Pixels, background: Pixels, background_gain: float) -> Pixels:
    """Draw the frames of a video.

    Args:
        plan: what the video shows.
        pool: digit images, to which the plan's numbers refer, uint8 [n, h, w].
        background: uint8 [T, S, S, 3].
        background_gain: factor on the background's brightness.

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
        DataError: there are no labels beside the video.
    """
    path = Path(video).with_suffix(".json")
    try:
        kinds = json.loads(path.read_text(encoding="utf-8"))["kinds"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: cannot read the frame labels of a Move4MNIST video: {error}") from None
    return [str(kind) for kind in kinds]


def digest_of_set(folder: str | Path) -> str:
    """A digest of the labels of all frames of all videos of a generated set: what each shows and where, 16 digits.

    Sets with the same digest show the same; their pixels may differ by the version of the encoder.

    Raises:
        DataError: the labels of a video cannot be read.
    """
    root, found = Path(folder), hashlib.sha256()
    for path in sorted(root.glob("*/*/*.json"), key=lambda path: path.relative_to(root).as_posix()):
        try:
            labels = json.loads(path.read_text(encoding="utf-8"))
            kept = [labels[name] for name in ("class", "digit", "digit_side", "kinds", "centres")]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: cannot read the labels of a Move4MNIST video: {error}") from None
        found.update(json.dumps([path.relative_to(root).as_posix(), kept]).encode())
    return found.hexdigest()[:16]


def make_move4mnist(
    out: str | Path,
    design: Design = Design(),
    *,
    videos: tuple[int, int] = (1800, 600),
    seed: int = 0,
    digits: str | Path | None = None,
    backgrounds: str | Path | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Generate a Move4MNIST set, or finish an interrupted one with the same parameters.

    Writes ``OUT/SPLIT/CLASS/NNNNN.mp4`` with the labels of its frames beside it (``.json``), the list
    ``praxiscope.csv``, and ``move4mnist.json`` with all parameters. The same seed gives the same set for any number of
    workers.

    Args:
        out: the folder to write.
        design: what the videos show.
        videos: number of training and test videos. Classes alternate, so they are balanced to within one video.
        seed: of the set.
        digits: folder of MNIST's idx files; None for the handwritten digits of scikit-learn.
        backgrounds: folder of videos, different ones for training and test; None for generated textures.
        workers: processes; None for one per processor core, 1 for this process only.
        progress: called as ``progress(done, total)`` after each video.

    Returns:
        ``out``.

    Raises:
        ArgumentError: a parameter is out of its range.
        DataError: digits or backgrounds cannot be read, or ``out`` holds something else.
    """
    train, test = videos
    require(train >= 0 and test >= 0 and train + test > 0, "videos (train, test)", "0 or more", videos)
    require(seed >= 0, "seed", "0 or more", seed)
    require(workers is None or workers >= 1, "workers", "1 or more", workers)
    root = Path(out)
    run_once()
    digit_folder = None if digits is None else Path(digits)
    filmed = None if backgrounds is None else _background_videos(Path(backgrounds), train, test, seed)
    parameters = {
        "train": train,
        "test": test,
        "seed": seed,
        **asdict(design),
        "digits": _describe_digits(digit_folder),
        "backgrounds": "drifting textures" if filmed is None else _describe_videos(filmed, backgrounds),
    }
    _claim(root, parameters)
    maker = _Maker(root, design, seed, digit_folder, filmed)
    tasks = [(split, i) for split, count in zip(SPLITS, videos, strict=True) for i in range(count)]
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
    """Generate single videos. It is sent to the worker processes."""

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
        """Generate a video and its labels unless they exist. Returns the names of broken background videos."""
        split, number = task
        path = self.path(split, number)
        labels_path = path.with_suffix(".json")
        # The labels are written last: where they exist, the video is complete.
        if path.is_file() and labels_path.is_file():
            return list(json.loads(labels_path.read_text(encoding="utf-8"))["broken_backgrounds"])
        if split not in self._pools:
            self._pools[split] = load_digits(self.digits, split)
        images, digit_labels = self._pools[split]
        plan = draw_plan(self.design, digit_labels, seed=self.seed, split=split, number=number)
        # A generator of its own, so that the labels do not depend on the background.
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
    """Limit numpy to one thread, permanently or as a context, because threads slow down its small products."""
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
            f"{maker.root}: a worker process died (out of memory). Run again to continue, with workers=1 if it happens "
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
    """Background videos for each split: different ones, in proportion, if there are two or more."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of background videos")
    found = list(videos_below(folder))
    if not found:
        raise DataError(f"{folder}: contains no videos to use as backgrounds")
    if len(found) == 1 or train == 0 or test == 0:
        return {"train": found, "test": found}
    order = [found[i] for i in np.random.default_rng(seed).permutation(len(found))]
    tested = min(max(1, round(len(found) * test / (train + test))), len(found) - 1)
    return {"train": order[tested:], "test": order[:tested]}


def _describe_videos(videos: dict[str, list[Path]], folder: str | Path | None) -> dict[str, Any]:
    """Number and names of the videos, to compare with a later run wherever the folder is."""
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
    """Begin a set in ``root``, or check that the set there has the same parameters."""
    settings = root / _SETTINGS_NAME
    if not settings.is_file():
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise DataError(f"{root}: exists and is not a Move4MNIST set. Give a new or empty folder.")
        root.mkdir(parents=True, exist_ok=True)
        _write_settings(root, parameters, [])
        return
    try:
        before = json.loads(settings.read_text(encoding="utf-8"))["parameters"]
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{settings}: is damaged. Remove {root} and run again.") from None
    before = {"inserted": Design.inserted, **before}  # earlier versions did not record it
    now = json.loads(json.dumps(parameters))
    changed = [
        f"{name} ({before.get(name)} in the folder, {now.get(name)} given)"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
    if changed:
        raise DataError(
            f"{root}: contains a set with other parameters: {'; '.join(changed)}. "
            "Use the same parameters to finish it, or another folder."
        )


def _write_settings(root: Path, parameters: dict[str, Any], broken: list[str]) -> None:
    content = {"format": _FORMAT, "classes": CLASSES, "parameters": parameters, "broken_backgrounds": broken}
    _write_json(root / _SETTINGS_NAME, content)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)
