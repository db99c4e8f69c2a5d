"""The report of a run: its log, its scores and film strips of its best and worst clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from praxiscope._version import __version__
from praxiscope.checkpoint import find_checkpoint, read_pointer
from praxiscope.data.dataset import frame_range
from praxiscope.errors import PraxiscopeError
from praxiscope.evaluation.metrics import probabilities
from praxiscope.evaluation.report import Strip, pick_clips, write_report
from praxiscope.evaluation.scores import Scores
from praxiscope.recipes.settings import load_yaml
from praxiscope.training.log import read_log
from praxiscope.types import VideoRecord
from praxiscope.video.decode import open_video
from praxiscope.video.sampling import segment_indices

__all__ = ["report_run"]


def report_run(run: str | Path, *, scores: Scores | None = None, records: Sequence[VideoRecord] = ()) -> Path:
    """Write ``report.html`` into a run's folder.

    Args:
        run: the run's folder.
        scores: of the latest test, if there was one.
        records: the tested videos, from which the film strips are cut.

    Returns:
        The report's path.
    """
    folder = Path(run)
    settings: dict[str, Any] = {}
    if (folder / "settings.yaml").is_file():
        settings = load_yaml(folder / "settings.yaml").model_dump(mode="json")
    settings["versions"] = {"praxiscope": __version__, "torch": torch.__version__}
    notes = []
    if read_pointer(folder):
        notes.append(f"Checkpoint of this run: {find_checkpoint(folder).name}.")
    skipped = folder / "skipped.csv"
    if skipped.is_file() and (count := len(skipped.read_text(encoding="utf-8").splitlines()) - 1):
        notes.append(f"{count} videos could not be read in training; see skipped.csv.")
    history = read_log(folder / "log.csv")
    if by_task := _by_task(history):
        notes.append(f"Trained on several data sets. Held-out top-1 at the last look: {by_task}.")
    strips = [] if scores is None else _strips(scores, records)
    return write_report(
        folder,
        scores=scores,
        history=history,
        strips=strips,
        settings=settings,
        notes=notes,
    )


def _by_task(history: Sequence[Mapping[str, float]]) -> str:
    """The last validation's figure of each data set, in words; nothing where there is one data set."""
    prefix = "val_top1_"
    rows = [{key: value for key, value in row.items() if key.startswith(prefix)} for row in history]
    last = next((row for row in reversed(rows) if row), {})
    return ", ".join(f"{key.removeprefix(prefix)} {100 * value:.1f} %" for key, value in last.items())


def _strips(scores: Scores, records: Sequence[VideoRecord], frames: int = 6, side: int = 96) -> list[Strip]:
    by_id = {record.id: record for record in records}
    certainty = probabilities(scores)
    best, worst = pick_clips(scores)
    strips = []
    for row in [*best, *worst]:
        record = by_id.get(scores.ids[row])
        if record is None:
            continue
        try:
            video = open_video(record.path)
            first, last = frame_range(record, video)
            pixels = video.frames(first + segment_indices(last - first, frames), short_side=side)
        except PraxiscopeError:  # it was readable a moment ago; a report without one strip is still a report
            continue
        order = np.argsort(-certainty[row], kind="stable")[:3]
        predicted = [(scores.classes[i], float(certainty[row, i])) for i in order]
        right = scores.classes[order[0]] in record.labels
        strips.append(Strip(record.id, pixels, " | ".join(record.labels), predicted, right))
    return strips
