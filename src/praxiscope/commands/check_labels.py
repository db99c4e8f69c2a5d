"""Check the labels of a data set by stored features: labels that the features contradict, and near duplicates.

Axis letters: n clips, m rows (frames) of a clip, D features of a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from praxiscope.data.files import first_few
from praxiscope.data.label_check import REPETITIONS, held_out_predictions
from praxiscope.data.label_trouble import LabelTrouble, NearDuplicate, Suspect
from praxiscope.data.manifest import Manifest
from praxiscope.data.near_duplicates import LEAST_SIMILARITY, Pairs, near_duplicates
from praxiscope.errors import DataError
from praxiscope.features.store import FeatureStore
from praxiscope.inference.stored import frame_features
from praxiscope.progress import Reporter
from praxiscope.types import VideoRecord

__all__ = ["check_labels"]

_FRAMES = 64  # of a clip that are compared with those of another


def check_labels(
    manifest: Manifest, features: str | Path, *, reporter: Reporter | None = None
) -> LabelTrouble:
    """Find clips whose features disagree with their label, and pairs of clips that show nearly the same.

    All clips of the data are compared, those of the test part, too: data is checked before it is used, and nothing of
    what is fitted here is kept.

    Args:
        manifest: the data, with the labels to check.
        features: a feature store of its videos. In memory, each clip takes the mean and the maximum of its features.
        reporter: shows progress.

    Raises:
        DataError: the folder is no feature store, has no features of these clips, or several labels are learned at
            once.
    """
    reporter = reporter or Reporter()
    if manifest.multi_label:
        raise DataError(
            f"{manifest.name}: its videos have several labels each. Labels are compared with features where every "
            "video has one label; leave --labels out."
        )
    store = FeatureStore(features)
    records = [record for record in manifest.records if record.id in store]
    if not records:
        raise DataError(
            f"{features}: has no features of the {len(manifest.records)} videos of {manifest.name} (the first is "
            f"{manifest.records[0].id}; the store has {first_few(store.ids, 1) or 'none'}). Give the store of this "
            "data."
        )
    x = _describe(store, records, reporter)
    labelled = [number for number, record in enumerate(records) if len(record.labels) == 1]
    whole = len(labelled) == len(records)  # then nothing is copied
    suspects, unjudged = _suspects(
        [records[number] for number in labelled], x if whole else x[labelled], reporter
    )
    with reporter.bar("comparing clips", len(records)) as bar:
        found = near_duplicates(x[:, : x.shape[1] // 2], sources=_sources(records), progress=bar.advance)
    return LabelTrouble(
        features=str(features),
        suspects=suspects,
        judged=len(labelled) - len(unjudged),
        unjudged=unjudged,
        without_label=len(records) - len(labelled),
        without_features=tuple(record.id for record in manifest.records if record.id not in store),
        duplicates=_duplicates(store, records, found),
        more_duplicates=found.more,
        least_similarity=LEAST_SIMILARITY,
    )


def _describe(store: FeatureStore, records: Sequence[VideoRecord], reporter: Reporter) -> Tensor:
    """Mean over time of the features of each clip, then their maximum, float32 [n, 2 D]."""
    x = torch.empty(len(records), 2 * store.contract.shape[0])
    with reporter.bar("reading features", len(records)) as bar:
        for row, record in zip(x, records, strict=True):
            features = frame_features(store, record.id)
            torch.cat([features.mean(0), features.amax(0)], out=row)
            bar.advance()
    return x


def _suspects(
    records: Sequence[VideoRecord], x: Tensor, reporter: Reporter
) -> tuple[tuple[Suspect, ...], tuple[str, ...]]:
    """The suspects among clips of one label each, and the ids of clips that cannot be judged."""
    classes = sorted({record.labels[0] for record in records})
    if len(classes) < 2:
        return (), tuple(record.id for record in records)
    number = {name: place for place, name in enumerate(classes)}
    labels = [number[record.labels[0]] for record in records]
    with reporter.bar("predicting held-out clips", REPETITIONS) as bar:
        groups = [record.source for record in records]
        found = held_out_predictions(x, labels, len(classes), groups, progress=bar.advance)
    own = found.log_probabilities.exp()
    suspects = [
        Suspect(
            record,
            suggested=classes[int(found.suggested[row])],
            probability=float(own[row, found.suggested[row]]),
            own_probability=float(own[row, labels[row]]),
            margin=float(found.margins[row]),
        )
        for row, record in enumerate(records)
        if found.margins[row] < 0
    ]
    unjudged = [record.id for row, record in enumerate(records) if found.margins[row].isnan()]
    return tuple(sorted(suspects, key=lambda one: (one.margin, one.record.id))), tuple(unjudged)


def _sources(records: Sequence[VideoRecord]) -> list[int]:
    """Numbers of clips of one source in one split, which are expected to look alike: parts of a video, or a group."""
    number: dict[tuple[str | None, str], int] = {}
    return [number.setdefault((record.split, record.source), len(number)) for record in records]


def _duplicates(
    store: FeatureStore, records: Sequence[VideoRecord], found: Pairs
) -> tuple[NearDuplicate, ...]:
    """The pairs, those across splits first, then those with different labels."""
    pairs = []
    for one, other, similarity in found.pairs:
        both = (records[one], records[other])
        pairs.append(NearDuplicate(both, similarity, _nearest_frames(store, both)))
    return tuple(
        sorted(pairs, key=lambda pair: (not pair.splits_differ, not pair.labels_differ, -pair.similarity))
    )


def _nearest_frames(store: FeatureStore, records: tuple[VideoRecord, VideoRecord]) -> tuple[int, int]:
    """The number of the frame of each of two clips at which they are most alike."""
    units, frames = [], []
    for record in records:
        step = -(-store.lengths[record.id] // _FRAMES)
        units.append(normalize(frame_features(store, record.id)[::step]))
        frames.append(store.clip(record.id).frame[::step])
    place = int((units[0] @ units[1].T).argmax())
    row, column = divmod(place, len(units[1]))
    return int(frames[0][row]), int(frames[1][column])
