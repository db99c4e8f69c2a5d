"""Runs that stop and go on: what may have changed in between, and what may not."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
import torch
import yaml

import praxiscope as px
from praxiscope.checkpoint import find_checkpoint, kept_checkpoints, load_card, read_pointer
from praxiscope.cli import main as entry
from praxiscope.commands.train import train
from praxiscope.progress import Reporter
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import TrainSettings, dump_yaml, override
from praxiscope.training.log import read_log
from runs import Stop, assert_same, weights
from support import SMALL, write_clip


def make_videos(folder: Path, count: int = 4) -> Path:
    for number, name in enumerate(("red", "green")):
        for clip in range(count):
            write_clip(folder / name / f"{clip}.mp4", number, frames=6, seed=10 * number + clip)
    return folder


def settings(data: Path | str, *assignments: str) -> TrainSettings:
    counts_steps = any(text.startswith("optim.steps") for text in assignments)
    length = ["optim.epochs=null"] if counts_steps else []
    return override(
        get_recipe("default"),
        [*SMALL, "optim.batch=2", f"data.source={data}", *length, *assignments],
    )


@pytest.mark.parametrize(
    "wish", ["run.channels_last=true", "run.channels_last=false", "optim.frozen_epochs=1"]
)
@pytest.mark.parametrize("steps", [2, 3, 4])  # three steps make an epoch; then it is validated
def test_a_stop_at_any_step_changes_nothing(tmp_path: Path, stop_after: Stop, steps: int, wish: str) -> None:
    data = make_videos(tmp_path / "videos")
    wanted = settings(data, wish, "optim.momentum=0.9", "optim.name=sgd")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert train(wanted, whole)
    stop_after(steps)
    assert not train(wanted, cut)
    stop_after(None)
    assert train(wanted, cut, resume=True)
    assert_same(cut, whole)


@pytest.mark.parametrize(
    "steps", [2, 4, 5, 6]
)  # asked after each of five steps, and after the epoch between them
def test_a_run_that_counts_steps_goes_on_from_any_of_them(
    tmp_path: Path, stop_after: Stop, steps: int
) -> None:
    data = make_videos(tmp_path / "videos")
    short = ("optim.steps=5", "optim.schedule=step", "optim.milestone_steps=[2, 4]", "optim.name=sgd")
    wanted = settings(data, "optim.epochs=null", *short)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert train(wanted, whole)
    stop_after(steps)
    assert not train(wanted, cut)
    stop_after(None)
    assert train(wanted, cut, resume=True)
    assert_same(cut, whole)
    assert [row["step"] for row in read_log(cut / "log.csv") if "val_loss" in row] == [3, 5]


def test_a_stop_at_the_end_of_an_epoch_never_writes_over_the_checkpoint_in_use(
    tmp_path: Path, stop_after: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    import praxiscope.training.validation as validation

    data, run = make_videos(tmp_path / "videos"), tmp_path / "run"
    real, used = validation.save_checkpoint, []

    def watched(folder: Path, *rest: object, **options: object) -> None:
        named = read_pointer(run)
        assert folder.name not in (named.get("last"), named.get("best"))
        used.append(folder.name)
        real(folder, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(validation, "save_checkpoint", watched)
    stop_after(3)
    assert not train(settings(data), run)
    stop_after(None)
    assert train(settings(data), run, resume=True)
    assert used == ["step-00000003-unvalidated", "step-00000003", "step-00000006"]


def test_epochs_that_are_kept_survive_a_resume(tmp_path: Path, stop_after: Stop) -> None:
    data, run = make_videos(tmp_path / "videos"), tmp_path / "run"
    wanted = settings(data, "run.keep_epochs=1", "optim.epochs=3")
    stop_after(5)  # asked after each of three steps, after their epoch, and after one more
    assert not train(wanted, run)
    assert [folder.name for folder in kept_checkpoints(run)] == ["step-00000003", "step-00000004-unvalidated"]
    stop_after(None)
    assert train(wanted, run, resume=True)
    found = sorted(folder.name for folder in (run / "checkpoints").iterdir())
    assert found == ["step-00000003", "step-00000006", "step-00000009"]
    assert [load_card(folder).training["epoch"] for folder in kept_checkpoints(run)] == [1, 2, 3]
    train(settings(data, "optim.epochs=3"), tmp_path / "none")
    assert len(list((tmp_path / "none" / "checkpoints").iterdir())) <= 2


def test_a_set_that_has_changed_is_refused(tmp_path: Path, stop_after: Stop) -> None:
    data, run = make_videos(tmp_path / "videos"), tmp_path / "run"
    stop_after(1)
    train(settings(data), run)
    stop_after(None)
    split = (run / "split.csv").read_text()
    write_clip(data / "red" / "new.mp4", 0)
    with pytest.raises(px.DataError, match=r"--resume: videos .*red/(new|\d)\.mp4"):
        train(settings(data), run, resume=True)
    assert (run / "split.csv").read_text() == split
    (data / "red" / "new.mp4").unlink()
    assert train(settings(data), run, resume=True)


def test_a_video_that_was_repaired_in_between_changes_nothing(tmp_path: Path, stop_after: Stop) -> None:
    data = make_videos(tmp_path / "videos")
    broken = data / "red" / "1.mp4"
    good = broken.read_bytes()
    broken.write_text("no video\n" * 100)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert train(settings(data), whole)
    stop_after(2)
    assert not train(settings(data), cut)
    stop_after(None)
    broken.write_bytes(good)
    assert train(settings(data), cut, resume=True)
    assert_same(cut, whole)
    assert "red/1.mp4" in (cut / "skipped.csv").read_text()


def test_start_weights_are_not_needed_again_and_paths_may_be_written_otherwise(
    tmp_path: Path, stop_after: Stop
) -> None:
    data, run = make_videos(tmp_path / "videos"), tmp_path / "run"
    stop_after(1)
    start = tmp_path / "start.safetensors"
    train(settings(data), tmp_path / "first")
    (find_checkpoint(tmp_path / "first") / "model.safetensors").rename(start)
    assert not train(settings(f"{data}/", f"model.weights={start}"), run)
    stop_after(None)
    start.unlink()
    assert train(settings(data, f"model.weights={start}"), run, resume=True)


def test_a_state_of_another_version_is_a_clear_error(tmp_path: Path, stop_after: Stop) -> None:
    data, run = make_videos(tmp_path / "videos"), tmp_path / "run"
    stop_after(1)
    train(settings(data), run)
    state = find_checkpoint(run, "last") / "state.json"
    state.write_text(state.read_text().replace('"step_in_epoch"', '"mood"'))
    with pytest.raises(px.CheckpointError, match="mood"):
        train(settings(data), run, resume=True)


def test_more_batches_for_an_update_than_an_epoch_has_are_refused(tmp_path: Path) -> None:
    data = make_videos(tmp_path / "videos")
    with pytest.raises(px.ArgumentError, match=r"optim\.accumulate = 4 .*6 videos.*3 batches of 2"):
        train(settings(data, "optim.accumulate=4"), tmp_path / "run")


def with_validation(folder: Path) -> Path:
    make_videos(folder)
    rows = ["path,label,split"]
    for name in ("red", "green"):
        rows += [f"{name}/{clip}.mp4,{name},{'train' if clip else 'val'}" for clip in range(4)]
    (folder / "list.csv").write_text("\n".join(rows) + "\n")
    return folder / "list.csv"


def test_a_run_that_never_validated_has_a_model_to_load(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(settings(with_validation(tmp_path / "videos"), "run.validate_epochs=0"), run)
    assert px.load(run).labels == ("green", "red")


def test_validation_videos_that_all_turn_out_broken_do_not_stop_a_run(tmp_path: Path) -> None:
    data, run = with_validation(tmp_path / "videos"), tmp_path / "run"
    for name in ("red", "green"):
        (data.parent / name / "0.mp4").write_text("no video\n" * 100)
    assert train(settings(data, "data.scan=0"), run)
    skipped = (run / "skipped.csv").read_text()
    assert "red/0.mp4" in skipped
    assert "green/0.mp4" in skipped
    assert not any("val_top1" in row for row in read_log(run / "log.csv"))


class Spoken(Reporter):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str = "") -> None:
        self.lines.append(text)


def files(run: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(run)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in run.rglob("*")
        if path.is_file()
    }


def rates(run: Path) -> list[float]:
    return [row["lr"] for row in read_log(run / "log.csv") if "lr" in row]


def test_a_finished_run_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, run = make_videos(tmp_path / "videos"), tmp_path / "run"
    assert train(settings(data), run)
    before, spoken = files(run), Spoken()
    assert train(settings(data, "data.workers=1"), run, resume=True, reporter=spoken)
    assert files(run) == before
    assert len(spoken.lines) == 1
    assert all(word in spoken.lines[0] for word in ("finished", "2 epochs", "6 steps"))
    monkeypatch.setattr(sys, "argv", ["praxiscope", "train", "--resume", "--out", str(run)])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 0
    assert files(run) == before
    (data / "red" / "0.mp4").unlink()  # nor does it need its videos
    assert train(settings(data), run, resume=True)


def test_what_has_no_say_in_the_weights_may_change(tmp_path: Path, stop_after: Stop) -> None:
    data, whole, cut = make_videos(tmp_path / "videos"), tmp_path / "whole", tmp_path / "cut"
    assert train(settings(data), whole)
    stop_after(2)
    assert not train(settings(data), cut)
    stop_after(None)
    others = (
        "data.workers=1",
        "data.scan=0",
        "run.accelerator=cpu",
        "run.checkpoint_steps=1",
        "data.max_skip=0.5",
    )
    assert train(settings(data, *others), cut, resume=True)
    assert_same(cut, whole)


def test_a_report_that_a_kill_at_the_very_end_cost_is_made_up_for(tmp_path: Path) -> None:
    data, run = make_videos(tmp_path / "videos"), tmp_path / "run"
    assert train(settings(data), run)
    (run / "report.html").unlink()
    assert train(settings(data), run, resume=True)
    assert (run / "report.html").is_file()


_CONSTANT = ("optim.schedule=constant", "optim.warmup_epochs=0.5")
_STEPS = ("optim.schedule=step", "optim.milestones=[1, 2.5]", "run.channels_last=true")


@pytest.mark.parametrize(
    ("length", "longer", "schedule"),
    [
        ("optim.epochs=2", "optim.epochs=3", _STEPS),
        ("optim.steps=5", "optim.steps=8", _CONSTANT),  # five steps end within an epoch
        ("optim.steps=4", "optim.epochs=2", _STEPS),
    ],
)
def test_more_epochs_of_a_schedule_that_does_not_look_ahead_are_those_of_a_longer_run(
    tmp_path: Path, length: str, longer: str, schedule: tuple[str, ...]
) -> None:
    data, whole, longer_run = make_videos(tmp_path / "videos"), tmp_path / "whole", tmp_path / "longer"
    assert train(settings(data, longer, *schedule), whole)
    assert train(settings(data, length, *schedule), longer_run)
    spoken = Spoken()
    assert train(settings(data, longer, *schedule), longer_run, resume=True, reporter=spoken)
    assert any("the same" in line for line in spoken.lines)
    assert rates(longer_run) == rates(whole)
    one, other = weights(whole), weights(longer_run)
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.mark.parametrize("stop", [None, 2])
def test_more_epochs_of_a_cosine_go_on_with_that_of_the_longer_run_and_say_so(
    tmp_path: Path, stop_after: Stop, stop: int | None
) -> None:
    data, run = make_videos(tmp_path / "videos"), tmp_path / "run"
    stop_after(stop)
    flat = "optim.warmup_epochs=0"
    train(settings(data, flat), run)  # 2 epochs of 3 steps
    stop_after(None)
    made = len(rates(run))
    spoken = Spoken()
    assert train(settings(data, flat, "optim.epochs=4"), run, resume=True, reporter=spoken)
    lr = [0.5e-3 * (1 + math.cos(math.pi * step / (6 if step < made else 12))) for step in range(12)]
    assert rates(run) == pytest.approx(lr, rel=1e-12)
    said = next(line for line in spoken.lines if "4 epochs" in line and "2 epochs" in line)
    assert all(f"{rate:.3g}" in said for rate in (lr[0], lr[made - 1], lr[made], lr[-1]))
    state = json.loads((find_checkpoint(run, "last") / "state.json").read_text())
    assert state["lengths"] == [[0, 6], [made, 12]]
    assert (state["step"], state["epoch"], state["step_in_epoch"]) == (12, 4, 0)
    assert "optim" in yaml_of(run)
    assert yaml_of(run)["optim"]["epochs"] == 4
    assert len(spoken.lines) > 1


def test_the_rates_of_a_warm_up_are_said_with_the_highest(tmp_path: Path) -> None:
    data, run = make_videos(tmp_path / "videos"), tmp_path / "run"
    assert train(settings(data), run)  # the rate rises in the first of 2 epochs of 3 steps
    spoken = Spoken()
    assert train(settings(data, "optim.epochs=3"), run, resume=True, reporter=spoken)
    made = rates(run)
    said = next(line for line in spoken.lines if "3 epochs" in line and "2 epochs" in line)
    assert max(made[:6]) == pytest.approx(1e-3)
    assert f"{made[0]:.3g} to 0.001 to {made[5]:.3g}" in said
    assert f"{made[6]:.3g} to {made[-1]:.3g}" in said


def yaml_of(run: Path) -> dict[str, dict[str, object]]:
    return yaml.safe_load((run / "settings.yaml").read_text())


def test_a_run_cannot_become_shorter_than_it_is(tmp_path: Path, stop_after: Stop) -> None:
    data, run = make_videos(tmp_path / "videos"), tmp_path / "run"
    assert train(settings(data, "optim.epochs=3"), run)
    before = files(run)
    for shorter in ("optim.epochs=2", "optim.steps=8"):
        with pytest.raises(px.ArgumentError, match=r"--resume: .* 9 steps"):
            train(settings(data, shorter), run, resume=True)
    assert files(run) == before
    cut = tmp_path / "cut"
    stop_after(4)
    assert not train(settings(data, "optim.epochs=5"), cut)
    stop_after(None)
    assert train(settings(data, "optim.epochs=2"), cut, resume=True)
    assert len(rates(cut)) == 6


def test_a_state_without_a_length_goes_on(tmp_path: Path) -> None:
    data, run = make_videos(tmp_path / "videos"), tmp_path / "run"
    assert train(settings(data), run)
    path = find_checkpoint(run, "last") / "state.json"
    state = json.loads(path.read_text())
    del state["lengths"], state["steps_per_epoch"]
    path.write_text(json.dumps(state))
    before = files(run)
    assert train(settings(data), run, resume=True)
    assert files(run) == before
    assert train(settings(data, "optim.epochs=3"), run, resume=True)
    assert len(rates(run)) == 9


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    data, run = make_videos(tmp_path / "videos"), tmp_path / "run"
    assert train(settings(data, "optim.epochs=1"), run)
    before = files(run)
    others = (
        "optim.lr=0.1",
        "input.snippets=3",
        "data.sampling=class-uniform",
        "run.seed=5",
        "model.dropout=0.1",
    )
    for change in others:
        with pytest.raises(px.ArgumentError, match=f"{change.partition('=')[0]} .* → .*--weights"):
            train(settings(data, "optim.epochs=2", change), run, resume=True)
    assert files(run) == before


def test_a_run_keeps_its_length_where_its_recipe_is_named_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: Stop
) -> None:
    data, run = make_videos(tmp_path / "videos"), tmp_path / "run"
    recipe = tmp_path / "own.yaml"
    dump_yaml(settings(data, "optim.epochs=7"), recipe)
    stop_after(2)
    assert not train(settings(data), run)
    stop_after(None)
    words = ["train", str(data), "--resume", "--out", str(run), "--recipe", str(recipe)]
    for more, epochs in (([], 2), (["--epochs", "3"], 3), (["--set", "optim.steps=11"], None)):
        monkeypatch.setattr(sys, "argv", ["praxiscope", *words, *more])
        with pytest.raises(SystemExit) as ended:
            entry.main()
        assert ended.value.code == 0
        assert yaml_of(run)["optim"]["epochs"] == epochs
    assert len(rates(run)) == 11
