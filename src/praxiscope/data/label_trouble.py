"""What a check of labels by features found: clips that look like another class, and clips that look alike."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from praxiscope.data.files import first_few
from praxiscope.types import VideoRecord
from praxiscope.units import counted
from praxiscope.video.picturefile import replacing

__all__ = ["COLUMNS", "LabelTrouble", "NearDuplicate", "Suspect", "trouble_lines", "write_trouble"]

#: Of the CSV file: a clip whose label is doubtful, or ("duplicate") a clip and another that shows nearly the same.
COLUMNS = (
    "trouble",
    "id",
    "label",
    "split",
    "group",
    "suggested",
    "probability",
    "other_id",
    "other_label",
    "other_split",
    "other_group",
    "similarity",
)


@dataclass(frozen=True)
class Suspect:
    """A clip whose features disagree with its label.

    Attributes:
        record: the clip.
        suggested: the most probable other class.
        probability: of this class.
        own_probability: of the given label.
        margin: logarithm of ``own_probability / probability``; negative, and lower for worse.
    """

    record: VideoRecord
    suggested: str
    probability: float
    own_probability: float
    margin: float

    def to_dict(self) -> dict[str, Any]:
        """The clip for JSON and CSV."""
        return {
            "id": self.record.id,
            "path": str(self.record.path),
            "label": self.record.labels[0],
            "suggested": self.suggested,
            "probability": self.probability,
            "own_probability": self.own_probability,
            "margin": self.margin,
            "group": self.record.group,
            "split": self.record.split,
        }


@dataclass(frozen=True)
class NearDuplicate:
    """Two clips that show the same, or nearly the same.

    Attributes:
        records: the two clips.
        similarity: of their features, at most 1; see `praxiscope.data.near_duplicates`.
        frames: number of the frame of each at which they are most alike.
    """

    records: tuple[VideoRecord, VideoRecord]
    similarity: float
    frames: tuple[int, int]

    @property
    def splits_differ(self) -> bool:
        """Whether they are in different parts of the data, such as train and test."""
        one, other = self.records
        return one.split != other.split

    @property
    def labels_differ(self) -> bool:
        """Whether their labels differ."""
        one, other = self.records
        return set(one.labels) != set(other.labels)

    def to_dict(self) -> dict[str, Any]:
        """The pair for JSON and CSV."""
        return {
            "ids": [record.id for record in self.records],
            "paths": [str(record.path) for record in self.records],
            "similarity": self.similarity,
            "labels": [list(record.labels) for record in self.records],
            "splits": [record.split for record in self.records],
            "groups": [record.group for record in self.records],
        }


@dataclass(frozen=True, repr=False)
class LabelTrouble:
    """The result of a check of labels by stored features.

    Attributes:
        features: the feature store.
        suspects: clips whose features disagree with their label, the most suspicious first.
        judged: number of clips whose label was compared with the others.
        unjudged: ids of labelled clips that are the only group of their class, so that nothing can be said.
        without_label: number of clips without a label, or with several.
        without_features: ids of clips that have none in the store.
        duplicates: pairs of clips that show nearly the same: first those in different splits, then those with different
            labels, then the others; the most similar first.
        more_duplicates: number of further pairs, less similar than those.
        least_similarity: similarity from which on a pair is listed.
    """

    features: str
    suspects: tuple[Suspect, ...]
    judged: int
    unjudged: tuple[str, ...]
    without_label: int
    without_features: tuple[str, ...]
    duplicates: tuple[NearDuplicate, ...]
    more_duplicates: int
    least_similarity: float

    def __str__(self) -> str:
        return "\n".join(trouble_lines(self))

    def __repr__(self) -> str:
        return (
            f"<LabelTrouble of {self.features}: {len(self.suspects)} of {self.judged} labels doubtful, "
            f"{len(self.duplicates)} near duplicates>"
        )

    def to_dict(self) -> dict[str, Any]:
        """The result for JSON. Every key is always present."""
        return {
            "features": self.features,
            "suspects": [suspect.to_dict() for suspect in self.suspects],
            "judged": self.judged,
            "unjudged": list(self.unjudged),
            "without_label": self.without_label,
            "without_features": list(self.without_features),
            "duplicates": [pair.to_dict() for pair in self.duplicates],
            "more_duplicates": self.more_duplicates,
            "least_similarity": self.least_similarity,
        }


def trouble_lines(found: LabelTrouble) -> list[str]:
    """The result as lines of text, without the lists of clips and pairs."""
    lines = []
    if found.without_features:
        lines.append(f"Without features, not compared: {first_few(found.without_features)}")
    if found.without_label:
        lines.append(
            f"Without a label, or with several, not compared: {counted(found.without_label, 'clip')}"
        )
    if found.unjudged:
        lines.append(f"Not compared, because {_why_unjudged(found)}: {first_few(found.unjudged)}")
    total = len(found.duplicates) + found.more_duplicates
    across = sum(pair.splits_differ for pair in found.duplicates)
    conflicting = sum(pair.labels_differ for pair in found.duplicates)
    lines.append(
        f"{counted(len(found.suspects), 'label')} of {found.judged} disagree with the features of their clips; "
        f"{counted(total, 'pair')} of clips nearly the same (similarity {found.least_similarity:g} or more), "
        f"{across} in different splits, {conflicting} with different labels."
    )
    return lines


def write_trouble(found: LabelTrouble, path: Path) -> Path:
    """Write all suspicious clips, then all near duplicates, into a CSV file with the columns `COLUMNS`.

    The file is replaced only when the new one is complete.
    """

    def about(record: VideoRecord, prefix: str = "") -> dict[str, str]:
        return {
            f"{prefix}id": record.id,
            f"{prefix}label": "|".join(record.labels),
            f"{prefix}split": record.split or "",
            f"{prefix}group": record.group or "",
        }

    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for suspect in found.suspects:
        probability = f"{suspect.probability:.4f}"
        row = {"trouble": "label", "suggested": suspect.suggested, "probability": probability}
        writer.writerow({**about(suspect.record), **row})
    for pair in found.duplicates:
        one, other = pair.records
        row = {"trouble": "duplicate", "similarity": f"{pair.similarity:.4f}"}
        writer.writerow({**about(one), **about(other, "other_"), **row})
    with replacing(path) as file:
        file.write(text.getvalue().encode())
    return path


def _why_unjudged(found: LabelTrouble) -> str:
    if found.judged:
        return "all clips of the class are of one group"
    return "there is only one class, or all clips of each class are of one group"
