"""Calibrate the checkpoint that a run is used by, on its validation videos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from praxiscope.checkpoint import find_checkpoint, load_card, save_card
from praxiscope.data.flow_reader import FlowSource
from praxiscope.data.manifest import Manifest
from praxiscope.data.splitlist import Learned, SplitList, trained_on
from praxiscope.evaluation.calibration import FEWEST, calibrate
from praxiscope.features.store import FeatureStore
from praxiscope.inference.loading import load_network
from praxiscope.inference.recogniser import Recogniser
from praxiscope.inference.stored import score_stored
from praxiscope.progress import Reporter
from praxiscope.recipes.settings import TrainSettings
from praxiscope.run_folder import HELD_OUT_FILE
from praxiscope.training.checks import learns_on_features, starts_of
from praxiscope.training.loader import targets_of
from praxiscope.types import VideoRecord
from praxiscope.units import counted

__all__ = ["calibrate_run", "note_on_few"]

_MOST = 1000  # videos: one parameter and a quantile of 5 % need no more


def calibrate_run(
    folder: Path,
    settings: TrainSettings,
    manifest: Manifest,
    flow_source: FlowSource | None,
    device: torch.device,
    reporter: Reporter,
) -> None:
    """Write the calibration of the checkpoint that `praxiscope.load` loads into its ``model.json``.

    Its validation videos are scored as ``predict`` scores videos, because more views make a network more certain, or by
    their stored features, if the run learned from these. The
    checkpoint is the best on the same videos, which makes it look a little better than it is; no test video is used.
    Those that a run was trained on whose weights this run started from are left out.
    Nothing happens if the run has no validation videos, is of several data sets, or is calibrated already; of too few
    videos, only a note is made.

    Args:
        folder: of the run.
        settings: of the run.
        manifest: the data set, with its splits.
        flow_source: stored flow, for a model of flow.
        device: of the network.
        reporter: shows progress.
    """
    checkpoint = find_checkpoint(folder)
    card = load_card(checkpoint)
    records = [record for record in manifest.of("val") if record.labels]
    if card.calibration or card.tasks or not records:
        return
    store = FeatureStore(settings.data.source) if learns_on_features(settings) else None
    learned = SplitList(folder).before() | trained_on(*starts_of(settings))
    records = _without_learned(records, learned, reporter)
    if len(records) < FEWEST:
        reporter.line(note_on_few(len(records)))
        return
    if len(records) > _MOST:
        drawn = torch.randperm(len(records), generator=torch.Generator().manual_seed(settings.run.seed))
        records = [records[number] for number in sorted(drawn[:_MOST].tolist())]
    model = load_network(checkpoint, card)
    recogniser = Recogniser(model, card, device=device, flow_source=flow_source)
    targets = targets_of(manifest, records)
    if store is not None:
        scores, _ = score_stored(recogniser, store, records, targets, reporter=reporter)
    else:
        scores, _ = recogniser.score(
            records,
            targets,
            workers=settings.data.workers,
            time_limit_s=settings.data.time_limit_s,
            reporter=reporter,
        )
    several = scores.multi_label and not card.multi_label  # one label in training, several in validation
    if not len(scores) or several:
        return
    calibration = calibrate(
        scores.logits, scores.targets, source="held-out training groups", multi_label=card.multi_label
    )
    scores.save(folder / HELD_OUT_FILE)  # a fusion with other runs is calibrated on them
    save_card(checkpoint, replace(card, calibration=calibration))
    if not calibration:  # some videos cannot be read
        reporter.line(note_on_few(len(scores)))
    else:
        reporter.line(
            f"Calibrated on {counted(calibration['videos'], 'held-out video')}: temperature "
            f"{calibration['temperature']:.2f}; 'none of these' below {calibration['none_below']:.3f}, which refuses "
            f"{100 * calibration['false_refusals']:.1f} % of the known classes."
        )


def _without_learned(records: list[VideoRecord], learned: Learned, reporter: Reporter) -> list[VideoRecord]:
    """Leave out the videos that the network was trained on before, in a run whose weights this run started from."""
    new = [record for record in records if record not in learned]
    if len(new) < len(records):
        reporter.line(
            f"Note: the network was trained on {len(records) - len(new)} of {counted(len(records), 'held-out video')} "
            "before, in a run whose weights it has. So figures of the held-out videos are too high. The calibration is "
            "without them."
        )
    return new


def note_on_few(videos: int) -> str:
    """Why a model is not calibrated: fewer than `praxiscope.evaluation.calibration.FEWEST` held-out videos."""
    return (
        f"Note: {counted(videos, 'held-out video')}, and {FEWEST} are needed to say how certain answers are. So "
        "probabilities are as the model gives them, and `predict` never answers 'none of these'."
    )
