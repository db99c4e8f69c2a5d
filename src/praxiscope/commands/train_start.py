"""The files of a training run that exist before its first step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from praxiscope.commands.report import note_command
from praxiscope.data.splitlist import SplitList, note_on_learned, trained_on, write_split
from praxiscope.progress import Reporter
from praxiscope.recipes.settings import TrainSettings, dump_yaml
from praxiscope.run_folder import SETTINGS_FILE, SKIPPED_FILE, of_process
from praxiscope.training.checks import starts_of
from praxiscope.types import VideoRecord

__all__ = ["write_start"]


def write_start(
    settings: TrainSettings,
    folder: Path,
    records: Sequence[VideoRecord],
    *,
    resume: bool,
    command: str | None,
    reporter: Reporter,
) -> None:
    """Write the settings, the command and the list of samples of a run.

    Args:
        settings, folder: of the run.
        records: its videos or samples, with their splits.
        resume: whether the run is resumed. A new one removes the lists that a run without a checkpoint left.
        command: the user's command, if it is known.
        reporter: reports test videos that the initial weights were trained on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    dump_yaml(settings, folder / SETTINGS_FILE)
    note_command(folder, command)
    before = SplitList(folder).before() if resume else trained_on(*starts_of(settings))
    write_split(folder, records, before)
    if resume:
        return
    for note in note_on_learned([record for record in records if record.split == "test"], before):
        reporter.line(f"Note: {note}")
    for stale in folder.glob(of_process(SKIPPED_FILE, "*")):  # the videos may have been repaired since
        stale.unlink()
