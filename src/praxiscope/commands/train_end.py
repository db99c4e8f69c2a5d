"""What ``praxiscope train`` reports at the end of a run."""

from __future__ import annotations

from pathlib import Path

import torch

from praxiscope.commands.report import report_run
from praxiscope.data.skipped import merge_skipped
from praxiscope.progress import Reporter
from praxiscope.recipes.settings import TrainSettings
from praxiscope.run_folder import POINTER_FILE, REPORT_FILE, SKIPPED_FILE
from praxiscope.training.calibrating import calibrate_run
from praxiscope.training.checks import learns_on_features
from praxiscope.training.duration import length_of
from praxiscope.training.loader import flow_store
from praxiscope.training.log import merge_choices
from praxiscope.training.loop import TrainState
from praxiscope.training.run_data import load_data
from praxiscope.units import counted

__all__ = ["report_finished", "summarise"]


def report_finished(folder: Path, settings: TrainSettings, state: TrainState, reporter: Reporter) -> bool:
    """Report that a run is finished. What it lacks because it was killed at its end is made up."""
    if not _is_reported(folder):
        merge_skipped(folder)
        merge_choices(folder)
        flow = None if learns_on_features(settings) else flow_store(settings)
        calibrate_run(folder, settings, load_data(settings), flow, torch.device("cpu"), reporter)
        report_run(folder)
    length = length_of(settings.optim)
    if not settings.optim.steps:
        length += f", {counted(state.step, 'step')}"
    longer = "--epochs N"
    if state.is_settled(settings.optim.patience):
        length += f", {state.not_better} validations after the best"
        longer = "--set optim.patience=null"
    reporter.line(
        f"{folder} is already finished ({length}). To train longer, use --resume {longer}. "
        f"Report: {folder / REPORT_FILE}"
    )
    return True


def _is_reported(folder: Path) -> bool:
    """Whether the report of a run is that of its last checkpoint, and not of an earlier interruption."""
    report = folder / REPORT_FILE
    return report.is_file() and report.stat().st_mtime_ns >= (folder / POINTER_FILE).stat().st_mtime_ns


def summarise(
    folder: Path,
    settings: TrainSettings,
    state: TrainState,
    complete: bool,
    seconds: float,
    reporter: Reporter,
) -> None:
    """Report how a run ended."""
    if state.skipped:
        videos = counted(len(state.skipped), "video")
        reporter.line(f"{videos} could not be read: {folder / SKIPPED_FILE}")
    if complete:
        report = folder / REPORT_FILE
        if state.is_settled(settings.optim.patience):
            reporter.line(
                f"Ended after epoch {state.epoch}: {counted(state.not_better, 'validation')} without a better one "
                f"than that of step {state.best_step} (optim.patience)."
            )
        reporter.line(f"Done: {counted(state.step, 'step')} in {seconds:.0f} s. Report: {report}")
    else:
        reporter.line(f"Stopped and saved after step {state.step}. Continue with --resume --out {folder}")
