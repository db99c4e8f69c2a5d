"""Frames with known flow, for training flow networks and for measuring flow estimators.

Data is named ``LAYOUT:FOLDER`` (`praxiscope.data.flow_layouts`), or is a generated folder. Samples are listed without
torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from praxiscope.data.files import first_few
from praxiscope.data.flow_layouts import FLOW_LAYOUTS, FlowListing, FlowSample
from praxiscope.data.flow_layouts.common import FlowSplit
from praxiscope.data.flow_layouts.moving_shapes import DATASET_FILE
from praxiscope.errors import ArgumentError, DataError
from praxiscope.units import counted

__all__ = [
    "DATASET_FILE",
    "FlowListing",
    "FlowSample",
    "check_split",
    "find_flow_data",
    "is_flow_data",
    "list_flow_samples",
    "load_flow_samples",
]

_TEST_EVERY = 10


def is_flow_data(data: str | Path) -> bool:
    """Whether ``data`` names frames with known flow: a layout of them, or a generated folder."""
    named = re.fullmatch(r"([A-Za-z][\w-]+):(?!//)(.+)", str(data))
    if named and not Path(data).exists():
        return named[1].lower() in FLOW_LAYOUTS.names()
    return _generated_layout(Path(data)) is not None


def check_split(split: str | None) -> FlowSplit | None:
    """Return a split or None. Raises ArgumentError for another name than "train" or "test"."""
    known: dict[str | None, FlowSplit | None] = {None: None, "train": "train", "test": "test"}
    if split not in known:
        raise ArgumentError(f"split must be 'train' or 'test', got {split!r}")
    return known[split]


def find_flow_data(data: str | Path) -> tuple[str, Path]:
    """Return the layout and the folder that ``data`` names, without listing samples.

    Raises:
        DataError: the folder does not exist, or was not generated.
        UnknownNameError: the layout is unknown.
    """
    path = Path(data)
    named = re.fullmatch(r"([A-Za-z][\w-]+):(?!//)(.+)", str(data))
    if named and not path.exists():
        layout, folder = named[1].lower(), Path(named[2])
        FLOW_LAYOUTS.get(layout)
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder. Give the folder of the {layout} files.")
        return layout, folder
    made = _generated_layout(path)
    if made is None:
        layouts = ", ".join(f"{name}:FOLDER" for name in FLOW_LAYOUTS)
        problem = "contains no complete set with flow" if path.is_dir() else "no such folder"
        raise DataError(
            f"{path}: {problem}. Give a folder made by `praxiscope dataset moving-shapes`, or {layouts}."
        )
    return made, path


def list_flow_samples(
    data: str | Path, split: FlowSplit | None = None, annotations: str | Path | None = None
) -> FlowListing:
    """List samples, with what is missing and notes for the user.

    Args:
        data: ``LAYOUT:FOLDER``, or a generated folder.
        split: samples of one split; None: all. In a set without an official split every tenth sample (sintel: scene),
            beginning with the first, is for testing.
        annotations: official split list of FlyingChairs, or its folder; None: beside the data.

    Raises:
        ArgumentError: an unknown split.
        DataError: the data cannot be found or read, or a split is empty.
        UnknownNameError: the layout is unknown.
    """
    check_split(split)
    layout, folder = find_flow_data(data)
    listing = FLOW_LAYOUTS.get(layout)(folder, None if annotations is None else Path(annotations))
    notes = list(listing.notes)
    if listing.missing:
        notes.append(f"{counted(len(listing.missing), 'file or sample is', 'files or samples are')} missing: "
                     f"{first_few(listing.missing)}")  # fmt: skip
    samples, splits = listing.samples, listing.splits
    if split is not None:
        if splits is None:
            splits = _every_tenth(listing.groups or [each.id for each in samples])
            notes.append(
                f"{folder}: has no official split; every tenth {'scene' if listing.groups else 'sample'}, beginning "
                "with the first, is for testing."
            )
        samples = [each for each, part in zip(samples, splits, strict=True) if part == split]
        splits = tuple(part for part in splits if part == split)
        if not samples:
            raise DataError(f"{data}: has no sample for {'training' if split == 'train' else 'testing'}.")
    return replace(listing, samples=samples, splits=splits, notes=tuple(notes))


def load_flow_samples(
    data: str | Path, split: FlowSplit | None = None, annotations: str | Path | None = None
) -> list[FlowSample]:
    """The samples of `list_flow_samples`. They open their files when they are read.

    Example:
        >>> for sample in load_flow_samples("chairs:FlyingChairs_release", "test"):
        ...     pair, flow = sample.frames(0, 2), sample.fields(0, 1)[0]
    """
    return list(list_flow_samples(data, split, annotations).samples)


def _every_tenth(groups: Sequence[str]) -> Sequence[FlowSplit]:
    """The split of samples, given the group of each: every tenth group, beginning with the first, is for testing."""
    tested = list(dict.fromkeys(groups))[::_TEST_EVERY]
    return ["test" if group in tested else "train" for group in groups]


def _generated_layout(folder: Path) -> str | None:
    """The layout that the description of a generated set names, or None if the folder has none."""
    try:
        about = json.loads((folder / DATASET_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    layout = about.get("layout") if isinstance(about, dict) else None
    return layout if layout in FLOW_LAYOUTS.names() else None
