"""Improved dense trajectories beside published output: number, agreement, the motion of the camera, frames per second.

`python benchmarks/trajectories.py REFERENCE --videos VIDEOS`. REFERENCE has release/ with a video and the
published output for it (.gz) and original/ with that of the dense trajectories before camera motion was removed.
--videos are timed, and their frames are moved by known homographies, with a patch of another frame that moves in front
of them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import Table, parser, run_command, write_tables
from numpy.typing import NDArray

from praxiscope.trajectories.camera import MATCHERS, CameraMotion
from praxiscope.trajectories.extraction import extract
from praxiscope.trajectories.farneback import expand, pyramid_flow
from praxiscope.trajectories.result import Trajectories
from praxiscope.trajectories.settings import DESCRIPTORS, TrajectorySettings
from praxiscope.video.opening import open_video

NEAR = 2.5  # pixels of the scale between the mean places of matched trajectories
COLUMNS = (1, 2, 3, 4, 5, 6)  # of info, that both programs write
MOVES = (2, 8, 20)
PUBLISHED = 2.8  # frames per second at 320 x 240 (Kantorov and Laptev, CVPR 2014)


def published(folder: Path) -> Trajectories:
    """The output of a published program; of the first one the places in the video are missing."""
    (path,) = folder.glob("*.gz")
    table = np.loadtxt(path, dtype=np.float32)
    sizes = list(TrajectorySettings().sizes.values())
    info = table[:, : table.shape[1] - sum(sizes)]
    parts = np.split(table[:, info.shape[1] :], np.cumsum(sizes)[:-1], axis=1)
    return Trajectories(info, *parts)


def matched(theirs: Trajectories, ours: Trajectories, frames: int = 0) -> NDArray[np.int64]:
    """Pairs of rows, [n, 2]: to each published trajectory the nearest of ours, if it is near.

    Args:
        theirs, ours: trajectories.
        frames: largest difference of the last frames.
    """
    pairs = []
    for number, row in enumerate(theirs.info):
        same = np.abs(ours.info[:, 6] - row[6]) < 0.01
        near = np.nonzero(same & (np.abs(ours.info[:, 0] - row[0]) <= frames))[0]
        if len(near):
            away = np.hypot(*(ours.info[near, 1:3] - row[1:3]).T)
            if away.min() <= NEAR * row[6]:
                pairs.append((number, near[away.argmin()]))
    return np.array(pairs, np.int64).reshape(-1, 2)


def agreement(name: str, theirs: Trajectories, ours: Trajectories) -> list[str]:
    """A row: numbers, shares, and median differences of matched trajectories."""
    pairs = matched(theirs, ours)
    one, other = theirs.take(pairs[:, 0]), ours.take(pairs[:, 1])
    place = np.median(np.hypot(*(one.info[:, 1:3] - other.info[:, 1:3]).T))
    late = len(matched(theirs, ours, frames=7)) / len(theirs)
    cells = [
        name,
        f"{len(ours):,}",
        f"{len(theirs):,}",
        f"{len(pairs) / len(theirs):.2f}",
        f"{late:.2f}",
        f"{place:.2f}",
    ]
    shuffled = np.random.default_rng(0).permutation(len(one))
    for part in DESCRIPTORS:
        a, b = getattr(one, part), getattr(other, part)
        norm = np.abs if part == "track" else np.square
        apart, random = (norm(a - x).sum(1) ** (1 if part == "track" else 0.5) for x in (b, a[shuffled]))
        cells.append(f"{np.median(apart):.3f} ({np.median(random):.2f})")
    return cells


def scales(theirs: Trajectories, ours: Trajectories) -> str:
    """Numbers by scale."""
    found = []
    for scale in np.unique(theirs.info[:, 6].round(3)):
        counts = [int((np.abs(one.info[:, 6] - scale) < 0.01).sum()) for one in (ours, theirs)]
        found.append(f"{scale:.2f}: {counts[0]} and {counts[1]}")
    return ", ".join(found)


def gray_frames(path: Path, numbers: Iterable[int]) -> list[NDArray[np.uint8]]:
    """Grey frames of a video."""
    frames = open_video(path).frames(list(numbers)).numpy()
    return [cv2.cvtColor(np.ascontiguousarray(one.transpose(1, 2, 0)), cv2.COLOR_RGB2GRAY) for one in frames]


def moved(
    before: NDArray[np.uint8], patch: NDArray[np.uint8], pixels: float, rng: Any
) -> tuple[Any, Any, Any]:
    """Two frames of a moving camera with something else in front, and the homography."""
    height, width = before.shape
    angle, size = rng.normal(0, 0.00075 * pixels, 2)
    turn = (1 + size) * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    truth = np.eye(3)
    truth[:2, :2], truth[:2, 2] = turn, rng.normal(0, pixels, 2)
    truth[2, :2] = rng.normal(0, 1e-6 * pixels, 2)
    after = cv2.warpPerspective(before, truth, (width, height), borderMode=cv2.BORDER_REFLECT)
    before, rows, columns = before.copy(), int(0.7 * height), width // 3
    left = int(rng.integers(0, width - columns - 20))
    then = int(np.clip(left + rng.integers(-10, 20), 0, width - columns))
    for frame, at in ((before, left), (after, then)):
        frame[height - rows :, at : at + columns] = patch[height - rows :, left : left + columns]
    return before, after, truth


def flow_of(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Flow, as the extraction computes it."""

    def views(frame: NDArray[np.uint8]) -> list[Any]:
        found = [expand(frame)]
        for level in range(1, 6):
            smooth = cv2.GaussianBlur(frame, (0, 0), (2 ** (level / 2) - 1) / 2)
            found.append(expand(cv2.resize(smooth, None, fx=2 ** (-level / 2), fy=2 ** (-level / 2))))
        return found

    return pyramid_flow(views(before), views(after))[0]


def camera_table(videos: list[Path]) -> Table:
    """Errors of homographies by matcher and size of the motion."""
    rng = np.random.default_rng(0)
    errors: dict[tuple[int, str], list[float]] = {}
    seconds: dict[str, list[float]] = {}
    for path in videos:
        count = len(open_video(path))
        frame, patch = gray_frames(path, (0, count // 2))
        places = np.stack(np.meshgrid(np.arange(0, frame.shape[1], 8), np.arange(0, frame.shape[0], 8)), -1)
        grid = places.reshape(-1, 1, 2).astype(np.float32)
        for pixels in MOVES:
            before, after, truth = moved(frame, patch, pixels, rng)
            flow = flow_of(before, after)
            for name in MATCHERS.names():
                began = time.process_time()
                found = CameraMotion(name).homography(before, after, flow)
                seconds.setdefault(name, []).append(time.process_time() - began)
                apart = cv2.perspectiveTransform(grid, found) - cv2.perspectiveTransform(grid, truth)
                errors.setdefault((pixels, name), []).append(float(np.linalg.norm(apart, axis=2).mean()))
    rows = []
    for name in MATCHERS.names():
        cells = []
        for pixels in MOVES:
            own = np.array(errors[pixels, name])
            cells += [f"{np.median(own):.3f}", f"{(own > 1).mean():.2f}"]
        rows.append([name, *cells, f"{1e3 * np.mean(seconds[name]):.0f}"])
    header = [
        "matches",
        *(text for pixels in MOVES for text in (f"{pixels} px: median error, px", "above 1 px")),
    ]
    title = f"Motion of the camera, known: {len(videos)} frames, each moved by three random homographies"
    return Table(title, [*header, "ms for a pair"], rows)


def speed_table(videos: list[Path]) -> Table:
    """Frames per second of one core."""
    rows, rates = [], []
    for path in videos:
        frames = open_video(path).frames(range(min(60, len(open_video(path))))).numpy()
        extract(frames[:3])
        began = time.process_time()
        found = extract(frames)
        rates.append(len(frames) / (time.process_time() - began))
        size = f"{frames.shape[3]} x {frames.shape[2]}"
        rows.append([path.stem, size, f"{len(found) / len(frames):.0f}", f"{rates[-1]:.1f}"])
    spread = f"{np.std(rates, ddof=1):.1f}" if len(rates) > 1 else ""
    rows.append([f"mean of {len(rates)}, and spread", "", "", f"{np.mean(rates):.1f}, {spread}"])
    header = (
        "video, first 60 frames",
        "pixels",
        "trajectories for each frame",
        "frames per second of processor time",
    )
    return Table(f"Speed, one thread (published: {PUBLISHED} at 320 x 240, another machine)", header, rows)


def main() -> None:
    """Extract, compare, and write the tables."""
    options = _options()
    cv2.setNumThreads(1)
    release, original = (published(options.reference / name) for name in ("release", "original"))
    (path,) = (options.reference / "release").glob("*.avi")
    frames = open_video(path).frames(range(len(open_video(path)))).numpy()
    rows, by_scale = [], ""
    for name in MATCHERS.names():
        ours = extract(frames, settings=TrajectorySettings(camera=name))
        rows.append(agreement(f"improved, {name}", release, ours))
        if name == TrajectorySettings().camera:
            by_scale = scales(release, ours)
    rows.append(
        agreement("without removing the motion of the camera", original, extract(frames, camera_motion=False))
    )
    header = (
        "trajectories",
        "ours",
        "published",
        "found",
        "found, up to 7 frames apart",
        "place, px",
        "track, L1",
    )
    tables = [
        Table(f"Published output for one video of {len(frames)} frames", (*header, *DESCRIPTORS[1:]), rows),
        camera_table(options.videos),
        speed_table(options.videos[: options.timed]),
    ]
    note = (
        "Found: the share of published trajectories of which one of ours has the same last frame and scale and a mean "
        f"place within {NEAR} pixels of the scale. For these: median differences, of the descriptors the L2 "
        "distance, in "
        f"brackets that of random pairs. By scale, ours and published, improved: {by_scale}."
    )
    write_tables(options, __file__, "Improved dense trajectories", tables, note)


def _options() -> argparse.Namespace:
    found = parser(__doc__, __file__, assignments=False)
    found.add_argument("reference", type=Path, help="folder with release/ and original/")
    found.add_argument(
        "--videos", type=Path, action="append", default=[], help="a video, or a folder of videos"
    )
    found.add_argument("--timed", type=int, default=9, help="number of videos that are timed")
    options = found.parse_args()
    given = [sorted(path.rglob("*.avi")) if path.is_dir() else [path] for path in options.videos]
    # One of each folder first: the timed ones are then of all classes.
    options.videos = sorted(
        (path for paths in given for path in paths), key=lambda path: path.name.split("_g")[-1]
    )
    return options


if __name__ == "__main__":
    run_command(main)
