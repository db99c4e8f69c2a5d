"""Check a data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from praxiscope.data.check import CheckReport, inspect
from praxiscope.data.manifest import Manifest, load_records
from praxiscope.errors import ArgumentError
from praxiscope.features.store import FeatureStore, is_store
from praxiscope.processes import run_once
from praxiscope.progress import Reporter

__all__ = ["check"]

_FEW_FILES = 1000


def check(
    data: str | Path | None = None,
    *,
    labels: str | Path | None = None,
    split: str | None = None,
    annotations: str | Path | None = None,
    full: bool = False,
    workers: int = 2,
    reporter: Reporter | None = None,
) -> CheckReport:
    """Open every video of a data set and report problems and class counts; see `praxiscope.check`.

    Raises:
        ArgumentError: neither data nor features are given.
        DataError: the data set cannot be listed, or its labels cannot be compared with the features.
    """
    run_once()
    reporter = reporter or Reporter()
    source = labels if data is None else data
    if source is None:
        raise ArgumentError("give the data to check, or --labels with the folder of its features")
    if data is not None and is_store(data):
        _check_store(data, full)
    manifest = load_records(source, split=split, annotations=Path(annotations) if annotations else None)
    # First, so that features that do not fit are told before all videos are opened.
    trouble = None
    if labels is not None:
        from praxiscope.commands.check_labels import check_labels

        trouble = check_labels(manifest, labels, reporter=reporter)
    report = _inspect(_existing(manifest) if is_store(source) else manifest, full, workers, reporter)
    return replace(report, label_trouble=trouble)


def _check_store(root: str | Path, full: bool) -> None:
    """Raise DataError if a feature store is not finished or is damaged; ``full``: read every byte."""
    from praxiscope.inference.frame_network import check_network

    store = FeatureStore(root)
    check_network(store.network, store.contract)
    if full:
        store.verify()


def _inspect(manifest: Manifest, full: bool, workers: int, reporter: Reporter) -> CheckReport:
    files = len({record.path for record in manifest.records})
    if not full and files < _FEW_FILES:
        workers = 1  # starting processes takes longer than opening so few files
    with reporter.bar("checking", files) as bar:
        return inspect(manifest, full=full, workers=workers, progress=lambda done, total: bar.advance())


def _existing(manifest: Manifest) -> Manifest:
    """The data of a feature store, whose videos may have been removed, with the videos that exist."""
    here = tuple(record for record in manifest.records if record.path.exists())
    kept = {record.id for record in here}
    gone = tuple(record.id for record in manifest.records if record.id not in kept)
    return replace(manifest, records=here, missing=(*manifest.missing, *gone))
