"""Runs that stop and go on: what may have changed in between, and what may not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import praxiscope as px
import praxiscope.training.loop as loop
from conftest import SMALL, write_clip
from praxiscope.checkpoint import find_checkpoint, kept_checkpoints, load_card, read_pointer
from praxiscope.recipes.settings import TrainSettings, get_recipe, override
from praxiscope.recipes.train import train
from praxiscope.training.log import read_log

Stop = Callable[[int | None], None]


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Stop:
    """Make runs stop, as by Ctrl-C, after so many steps; None lets them run."""
    real = loop.StopRequest

    def arm(steps: int | None) -> None:
        asked = [0]

        class Stopping(real):  # type: ignore[misc, valid-type]
            @property
            def requested(self) -> bool:
                asked[0] += 1
                return asked[0] >= (steps or 0)

            @requested.setter
            def requested(self, value: bool) -> None: ...

        monkeypatch.setattr(loop, "StopRequest", real if steps is None else Stopping)

    return arm


def make_videos(folder: Path, count: int = 4) -> Path:
    for number, name in enumerate(("red", "green")):
        for clip in range(count):
            write_clip(folder / name / f"{clip}.mp4", number, frames=6, seed=10 * number + clip)
    return folder


def settings(data: Path | str, *assignments: str) -> TrainSettings:
    return override(
        get_recipe("default"),
        [*SMALL, "optim.batch=2", f"data.source={data}", *assignments],
    )


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(str(find_checkpoint(run, "last") / "model.safetensors"))


def assert_same(first: Path, second: Path) -> None:
    def losses(run: Path) -> list[tuple[float, ...]]:
        keys = ("step", "loss", "val_loss")
        return [tuple(row.get(key, -1) for key in keys) for row in read_log(run / "log.csv")]

    assert losses(first) == losses(second)
    one, other = weights(first), weights(second)
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


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
    "steps", range(1, 7)
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
    import praxiscope.recipes.monitor as monitor

    data, run = make_videos(tmp_path / "videos"), tmp_path / "run"
    real, used = monitor.save_checkpoint, []

    def watched(folder: Path, *rest: object, **options: object) -> None:
        named = read_pointer(run)
        assert folder.name not in (named.get("last"), named.get("best"))
        used.append(folder.name)
        real(folder, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(monitor, "save_checkpoint", watched)
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
    with pytest.raises(
        px.DataError, match=r"--resume: videos is not what it was .*red/new\.mp4|changed sides"
    ):
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
    with pytest.raises(px.CheckpointError, match="no training state of this version"):
        train(settings(data), run, resume=True)


def test_more_batches_for_an_update_than_an_epoch_has_are_refused(tmp_path: Path) -> None:
    data = make_videos(tmp_path / "videos")
    with pytest.raises(
        px.ArgumentError, match=r"optim\.accumulate = 4: an epoch of 6 videos has 3 batches of 2"
    ):
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
