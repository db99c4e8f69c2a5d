"""The end of a run: the checkpoint is calibrated on its validation videos, as it scores videos later."""

from __future__ import annotations

import csv
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from praxiscope.checkpoint import find_checkpoint, load_card, save_card
from praxiscope.commands.train import train
from praxiscope.data.manifest import load_records
from praxiscope.data.splitlist import SplitList, write_split
from praxiscope.evaluation.calibration import FEWEST, calibrate
from praxiscope.evaluation.scores import Scores
from praxiscope.progress import Reporter
from praxiscope.training import calibrating
from runs import run_test, settings


@pytest.fixture(scope="module")
def listed(colour_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of the coloured clips: for each class 1 of training, 7 of validation."""
    path = tmp_path_factory.mktemp("list") / "data.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "split"])
        for label in ("red", "green", "blue"):
            for clip in range(8):
                rows.writerow([colour_set / label / f"{clip}.mp4", label, "val" if clip else "train"])
    return path


@pytest.fixture(scope="module")
def run(listed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "a"
    assert train(settings(listed, "optim.epochs=1"), folder)
    return folder


def assert_calibrated(checkpoint: Path, listed: Path) -> None:
    scores = run_test(checkpoint, listed, subset="val", workers=0).scores
    wanted = calibrate(scores.logits, scores.targets, source="held-out training groups")
    found = load_card(checkpoint).calibration
    assert found.pop("source") == wanted.pop("source")
    assert found == pytest.approx(wanted, rel=1e-4)
    kept = Scores.load(checkpoint.parent.parent / "held_out.npz")
    np.testing.assert_allclose(kept.logits, scores.reordered(kept.ids).logits, atol=1e-4)


@pytest.mark.slow
def test_the_checkpoint_of_a_run_is_calibrated_on_its_validation_videos(run: Path, listed: Path) -> None:
    card = load_card(find_checkpoint(run))
    assert card.calibration["videos"] == 21
    assert card.calibration["false_refusals"] == pytest.approx(1 / 22)
    assert_calibrated(find_checkpoint(run), listed)
    scores = run_test(run, listed, subset="val", workers=0).scores
    assert scores.protocol["temperature"] == card.temperature != 1.0


@pytest.mark.slow
def test_a_run_that_was_killed_at_its_end_is_calibrated_when_it_is_resumed(run: Path, listed: Path) -> None:
    card = load_card(find_checkpoint(run))
    save_card(find_checkpoint(run), replace(card, calibration={}))
    os.utime(run / "report.html", (0, 0))  # of an earlier interruption
    assert train(settings(listed, "optim.epochs=1"), run, resume=True)
    assert load_card(find_checkpoint(run)) == card


@pytest.mark.slow
def test_held_out_training_groups_are_validation_videos_and_few_of_them_calibrate_nothing(
    colour_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = settings(colour_set, "optim.epochs=1", "data.validation=0.34")
    assert train(made, tmp_path / "a")
    assert not (tmp_path / "a" / "held_out.npz").exists()
    assert load_card(find_checkpoint(tmp_path / "a")).calibration == {}
    monkeypatch.setattr(calibrating, "FEWEST", 1)
    (tmp_path / "a" / "report.html").unlink()
    assert train(made, tmp_path / "a", resume=True)
    kept = Scores.load(tmp_path / "a" / "held_out.npz")
    sides = SplitList(tmp_path / "a").sides()
    assert sorted(kept.ids) == sorted(name for name, side in sides.items() if side == "val")
    assert 0 < len(kept) < FEWEST
    assert load_card(find_checkpoint(tmp_path / "a")).calibration == {}


@pytest.mark.slow
def test_videos_that_the_start_weights_were_trained_on_are_left_out(
    run: Path, listed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    manifest = load_records(listed)
    learned = [replace(record, split="train") for record in manifest.of("val")[:2]]
    shutil.copytree(run, tmp_path / "start")
    write_split(tmp_path / "start", learned)
    save_card(find_checkpoint(folder), replace(load_card(find_checkpoint(folder)), calibration={}))
    made = settings(listed, f"model.weights={tmp_path / 'start'}")
    calibrating.calibrate_run(folder, made, manifest, None, torch.device("cpu"), Reporter())
    kept = Scores.load(folder / "held_out.npz").ids
    assert len(kept) == 19
    assert not {record.id for record in learned} & set(kept)
    assert load_card(find_checkpoint(folder)).calibration["videos"] == 19


@pytest.mark.slow
def test_a_longer_run_is_calibrated_anew(run: Path, listed: Path) -> None:
    before = find_checkpoint(run, "last")
    assert train(settings(listed, "optim.epochs=3"), run, resume=True)
    last, chosen = find_checkpoint(run, "last"), find_checkpoint(run)
    assert last != before
    assert_calibrated(chosen, listed)
    if chosen != last:  # only the checkpoint that is loaded by default is calibrated
        assert load_card(last).calibration == {}


@pytest.mark.slow
def test_a_run_without_validation_videos_is_not_calibrated(colour_set: Path, tmp_path: Path) -> None:
    assert train(settings(colour_set, "optim.epochs=1"), tmp_path / "a")
    assert load_card(find_checkpoint(tmp_path / "a")).calibration == {}
