"""MPI Sintel: sequences of frames with the flow from each to the next.

Butler et al., "A Naturalistic Open Source Movie for Optical Flow Evaluation", ECCV 2012. As published:
``training/clean/SCENE/frame_0001.png`` and ``training/final/…`` (two renderings of the same scenes),
``training/flow/SCENE/frame_0001.flo``, ``training/occlusions/SCENE/frame_0001.png`` and ``training/invalid/…``.
"""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

from praxiscope.data.flow_layouts.common import FLOW_LAYOUTS, FileSample, FlowListing
from praxiscope.errors import DataError

__all__ = ["sintel"]

PASSES = ("clean", "final")


@FLOW_LAYOUTS.register("sintel")
def sintel(folder: Path, annotations: Path | None = None) -> FlowListing:
    """List the training sequences of Sintel, by pass and scene. A gap divides a sequence.

    Args:
        folder: the published folder, its ``training``, or the folder of one pass in it (``training/final``).
        annotations: must be None.

    Raises:
        DataError: there are no sequences with flow, or ``annotations`` is given.
    """
    if annotations is not None:
        raise DataError("sintel has no official lists. Leave annotations out.")
    root = folder / "training" if (folder / "training").is_dir() else folder
    passes = [root / name for name in PASSES if (root / name).is_dir()]
    if folder.name in PASSES:
        root, passes = folder.parent, [folder]
    samples, scenes, missing = [], [], []
    for rendering in passes:
        for scene in sorted(path for path in rendering.iterdir() if path.is_dir()):
            frames, flows = _numbered(scene, "png"), _numbered(root / "flow" / scene.name, "flo")
            last = max((*frames, *(number + 1 for number in flows)), default=0)
            lacking = [scene / f"frame_{n:04d}.png" for n in range(1, last + 1) if n not in frames]
            lacking += [
                root / "flow" / scene.name / f"frame_{n:04d}.flo" for n in range(1, last) if n not in flows
            ]
            missing += [path.relative_to(root).as_posix() for path in lacking]
            whole = [n for n in sorted(flows) if n in frames and n + 1 in frames]
            for numbers in _runs(whole):
                samples.append(_sample(root, scene, frames, flows, numbers))
                scenes.append(scene.name)
    if not samples:
        raise DataError(
            f"{folder}: contains no training/clean or training/final of Sintel with training/flow."
        )
    return FlowListing(samples, groups=scenes, missing=tuple(dict.fromkeys(missing)))


def _numbered(folder: Path, suffix: str) -> dict[int, Path]:
    """The files ``frame_NNNN`` of a folder by number; empty if there is no such folder."""
    found = {path: re.fullmatch(rf"frame_(\d{{4}})\.{suffix}", path.name) for path in folder.glob("*")}
    return {int(name[1]): path for path, name in found.items() if name}


def _runs(numbers: list[int]) -> list[list[int]]:
    """Divide ascending numbers where there is a gap."""
    groups = groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
    return [[number for _, number in group] for _, group in groups]


def _sample(
    root: Path, scene: Path, frames: dict[int, Path], flows: dict[int, Path], numbers: list[int]
) -> FileSample:
    """The sample of consecutive fields."""
    first = "" if numbers[0] == 1 else f" from frame {numbers[0]}"
    masks = {}
    for name in ("invalid", "occlusions"):
        found = _numbered(root / name / scene.name, "png")
        masks[name] = tuple(found[n] for n in numbers) if all(n in found for n in numbers) else ()
    return FileSample(
        f"{scene.parent.name}/{scene.name}{first}",
        tuple(frames[n] for n in [*numbers, numbers[-1] + 1]),
        tuple(flows[n] for n in numbers),
        invalid=masks["invalid"],
        occluded=masks["occlusions"],
    )
