"""Middlebury's image pairs with flow: folders with ``frame10.png``, ``frame11.png`` and ``flow10.flo``.

Baker et al., "A Database and Evaluation Methodology for Optical Flow", IJCV 2011. As published, the images and
the flow of a scene are in two folders of its name (``other-data/Grove2``, ``other-gt-flow/Grove2``); one folder for
both is read, too.
"""

from __future__ import annotations

from pathlib import Path

from praxiscope.data.files import walk
from praxiscope.data.flow_layouts.common import FLOW_LAYOUTS, FileSample, FlowListing
from praxiscope.errors import DataError

__all__ = ["middlebury"]

_FILES = ("frame10.png", "frame11.png", "flow10.flo")


@FLOW_LAYOUTS.register("middlebury")
def middlebury(folder: Path, annotations: Path | None = None) -> FlowListing:
    """List the pairs of Middlebury in a folder and its subfolders, in order of their names.

    Raises:
        DataError: there is no complete pair, two scenes have the same name, or ``annotations`` is given.
    """
    if annotations is not None:
        raise DataError("middlebury has no official lists. Leave annotations out.")
    scenes: dict[str, dict[str, Path]] = {}
    for parent, _, names in walk(folder):
        for name in set(names) & set(_FILES):
            other = scenes.setdefault(parent.name, {}).setdefault(name, parent / name)
            if other != parent / name:
                raise DataError(f"{other} and {parent / name} are files of the same scene. Keep one of them.")
    samples, missing = [], []
    for scene, files in sorted(scenes.items()):
        lacking = [name for name in _FILES if name not in files]
        missing += [f"{scene}/{name}" for name in lacking]
        if not lacking:
            first, second, flow = (files[name] for name in _FILES)
            samples.append(FileSample(scene, (first, second), (flow,)))
    if not samples:
        raise DataError(f"{folder}: contains no folder with {', '.join(_FILES)}.")
    return FlowListing(samples, missing=tuple(missing))
