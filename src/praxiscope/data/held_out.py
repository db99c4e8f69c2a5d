"""A validation part of the training videos, so that no choice of a run has to look at the test videos."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import replace

from praxiscope.data.manifest import Manifest
from praxiscope.data.split_checks import FEW_CLIPS
from praxiscope.data.splits import group_split
from praxiscope.units import counted

__all__ = ["clips_of_a_class", "hold_out"]


def clips_of_a_class(manifest: Manifest) -> float:
    """The median over the classes of their numbers of training clips, so that one rare class does not decide."""
    counts = Counter(label for record in manifest.of("train") for label in record.labels)
    return statistics.median(counts[label] for label in manifest.classes) if manifest.classes else 0


def hold_out(manifest: Manifest, fraction: float, seed: int = 0) -> Manifest:
    """Move about ``fraction`` of the training videos to the split "val", whole groups, as `group_split` chooses them.
    Parts of one video without a group stay together, too.

    Nothing is moved if the data set has validation videos of its own, if all training videos are of one group, or if
    half of the classes have fewer than 5 training clips; a note of the manifest says so in the last two cases.

    Args:
        manifest: the data set.
        fraction: fraction of the training videos, from 0 (no change) to below 1.
        seed: seed of the random order of the groups.

    Returns:
        The manifest with the records in their order. Each class keeps training clips.

    Raises:
        ArgumentError: for a fraction outside [0, 1).
    """
    train = manifest.of("train")
    if not fraction or not train or manifest.of("val"):
        return manifest
    if (median := clips_of_a_class(manifest)) < FEW_CLIPS:
        few = f"half of the classes of {manifest.name} have {counted(int(median), 'training clip')} or fewer"
        return _noted(manifest, f"{few}, so none are held out for validation.")
    drawn = {record.id for record in group_split(train, fraction, seed) if record.split == "test"}
    if not drawn:
        one = f"no group of {manifest.name} can be spared from training"
        return _noted(manifest, f"{one}, so no videos are held out for validation.")
    records = tuple(
        replace(record, split="val") if record.id in drawn else record for record in manifest.records
    )
    held = replace(manifest, records=records)
    share = f"{len(drawn)} of {counted(len(train), 'training video')}"
    return _noted(held, f"{share} held out for validation, by group (data.validation = {fraction:g}).")


def _noted(manifest: Manifest, note: str) -> Manifest:
    return replace(manifest, notes=(*manifest.notes, note))
