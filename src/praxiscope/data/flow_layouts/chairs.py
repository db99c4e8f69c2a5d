"""FlyingChairs: pairs of images with flow, ``00001_img1.ppm``, ``00001_img2.ppm``, ``00001_flow.flo``.

Dosovitskiy et al., "FlowNet: Learning Optical Flow with Convolutional Networks", ICCV 2015. Names such as
``0000000-img0.ppm``, ``-img1.ppm``, ``-gt.flo`` and ``0img0.ppm``, ``0img1.ppm``, ``0flow.flo`` of copies by others are
read, too.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from praxiscope.data.flow_layouts.common import FLOW_LAYOUTS, FileSample, FlowListing, FlowSplit
from praxiscope.data.textfile import numbered_lines, read_text
from praxiscope.errors import DataError

__all__ = ["chairs"]

LISTS = ("FlyingChairs_train_val.txt", "chairs_split.txt")

_FILE = re.compile(r"(?P<number>\d+)[-_]?(?P<part>img\d|flow|gt)\.(?:ppm|png|flo)", re.IGNORECASE)
_OFFICIAL = re.compile(r"\d{5}")
_SPLITS: dict[str, FlowSplit] = {"1": "train", "2": "test"}


@FLOW_LAYOUTS.register("chairs")
def chairs(folder: Path, annotations: Path | None = None) -> FlowListing:
    """List the pairs of FlyingChairs.

    Args:
        folder: folder of the files, or the one that contains it as ``data``.
        annotations: the official split list, or its folder; None: a list beside the data, if there is one. Line n is 1
            if the pair n is for training, and 2 if it is for testing.

    Raises:
        DataError: there is no complete pair, or the list is missing, damaged, or does not fit the names.
    """
    place = folder / "data" if (folder / "data").is_dir() else folder
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in sorted(place.iterdir()):
        if name := _FILE.fullmatch(path.name):
            found[name["number"]][name["part"].lower()] = path
    samples, missing = [], []
    for number, parts in sorted(found.items()):
        images = [path for part, path in sorted(parts.items()) if part.startswith("img")]
        flow = parts.get("flow", parts.get("gt"))
        if len(images) == 2 and flow is not None:
            samples.append(FileSample(number, tuple(images), (flow,)))
        else:
            missing.append(f"{number} ({'flow' if len(images) == 2 else 'image'})")
    if not samples:
        raise DataError(
            f"{place}: contains no pair NNNNN_img1.ppm, NNNNN_img2.ppm, NNNNN_flow.flo of FlyingChairs."
        )
    listed = _find_list(place, annotations)
    if listed is None or (annotations is None and not all(_OFFICIAL.fullmatch(each.id) for each in samples)):
        return FlowListing(samples, missing=tuple(missing))
    splits = _read_list(listed)
    for each in samples:
        if each.id not in splits:
            raise DataError(f"{listed}: has no line for the pair {each.id}. Give the official list.")
    missing += sorted(splits.keys() - found.keys())
    return FlowListing(samples, [splits[each.id] for each in samples], missing=tuple(missing))


def _find_list(place: Path, annotations: Path | None) -> Path | None:
    if annotations is not None and annotations.is_file():
        return annotations
    places = (place, place.parent) if annotations is None else (annotations, annotations / "flyingchairs")
    found = next((path for each in places for name in LISTS if (path := each / name).is_file()), None)
    if found is None and annotations is not None:
        raise DataError(
            f"{annotations}: contains no {LISTS[0]}. Give the official split list of FlyingChairs."
        )
    return found


def _read_list(path: Path) -> dict[str, FlowSplit]:
    """The split of each pair by its number in five digits."""
    splits = {}
    for count, (line, text) in enumerate(numbered_lines(read_text(path)), start=1):
        if text not in _SPLITS:
            raise DataError(f"{path}, line {line}: expected 1 (training) or 2 (test), got {text!r}.")
        splits[f"{count:05d}"] = _SPLITS[text]
    return splits
