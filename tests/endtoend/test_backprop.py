"""Runs that watch many snippets: what they learn, log, resume and share between processes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import praxiscope as px
from praxiscope.checkpoint import find_checkpoint, load_state
from praxiscope.commands.train import train
from praxiscope.recipes.named import get_recipe, recipes
from praxiscope.recipes.settings import TrainSettings
from praxiscope.training.log import ChoiceLog, read_choices, read_log
from praxiscope.training.memory import PeakMemory, fit_snippets
from praxiscope.units import parse_size
from runs import (
    ONE_THREAD,
    assert_same_course,
    assert_same_weights,
    command,
    losses,
    settings,
    train_by,
    weights,
)
from support import SMALL, Call, sets

PRINCIPAL = ("input.snippets=6", "backprop.name=principal", "backprop.choose=2")
CACHED = ("input.snippets=5", "backprop.name=cached", "backprop.chunk=7")


@pytest.fixture(scope="module")
def principal(colour_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "principal"
    assert train(settings(colour_set, *PRINCIPAL, "backprop.rule=max", "optim.epochs=3"), run)
    return run


def test_a_principal_run_logs_its_losses_and_its_choices(principal: Path) -> None:
    rows = [row for row in read_log(principal / "log.csv") if "loss" in row]
    assert len(rows) == 12
    for row in rows:
        # The largest partial loss bounds the full one, which lies between the two parts'.
        assert row["loss_full"] <= row["loss_chosen"] + 1e-6
        assert row["loss_unchosen"] <= row["loss_chosen"] + 1e-6
    choices = read_choices(principal / "chosen.csv")
    assert [step for step, _, _ in choices] == [step for step in range(1, 13) for _ in range(4)]
    assert all(len(chosen) == 2 and 0 <= chosen[0] < chosen[1] < 6 for _, _, chosen in choices)
    assert len({tuple(chosen) for _, _, chosen in choices}) > 1


@pytest.mark.parametrize("way", [(*PRINCIPAL, "backprop.rule=random"), (*CACHED, "model.dropout=0.3")])
def test_a_run_stopped_inside_an_epoch_goes_on_as_if_it_had_not(
    colour_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: tuple[str, ...]
) -> None:
    import praxiscope.training.loop as loop

    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    wanted = settings(colour_set, *way)
    assert train(wanted, whole)
    calls = iter(range(100))
    monkeypatch.setattr(loop, "_anyone", lambda fabric, wish: next(calls) == 4)
    assert train(wanted, stopped) is False
    monkeypatch.undo()
    assert train(wanted, stopped, resume=True)
    assert losses(stopped) == losses(whole)
    assert_same_weights(stopped, whole)
    assert read_choices(stopped / "chosen.csv") == read_choices(whole / "chosen.csv")


def test_backpropagation_in_chunks_makes_the_run_of_all_snippets(colour_set: Path, tmp_path: Path) -> None:
    same = ("model.dropout=0", "optim.name=sgd", "optim.lr=0.01", "input.snippets=5")
    assert train(settings(colour_set, *same), tmp_path / "full")
    assert train(settings(colour_set, *same, *CACHED), tmp_path / "cached")
    one, two = weights(tmp_path / "full"), weights(tmp_path / "cached")
    for name in one:
        # Rounding can turn a ReLU or the winner of a pooling, which moves a weight by a little.
        torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=2e-4, msg=name)


def test_one_process_two_and_accumulated_batches_choose_the_same(
    colour_set: Path, tmp_path: Path, call: Call
) -> None:
    # By kl, before training: divergences of 1e-6, which rounding must not order. The weights stay: two halves' sums
    # of gradients differ from the whole's in their last bits, and after some steps the choices do, too.
    still = ("input.snippets=6", "backprop.name=principal", "backprop.choose=3", "backprop.rule=kl")
    still += (
        "model.dropout=0",
        "optim.name=sgd",
        "optim.lr=1e-12",
        "optim.epochs=1",
        "run.validate_epochs=0",
    )
    assert train(settings(colour_set, *still, "optim.batch=8"), tmp_path / "one")
    assert train(settings(colour_set, *still, "optim.batch=4", "optim.accumulate=2"), tmp_path / "halves")
    train_by(2, call, colour_set, tmp_path / "two", *still, "optim.batch=4")
    one, halves, two = (sorted(read_choices(tmp_path / n / "chosen.csv")) for n in ("one", "halves", "two"))
    assert one
    assert one == halves == two


# Not by kl: rounding of the gradients' sums moves its choices after some steps.
@pytest.mark.parametrize("way", [(*PRINCIPAL, "backprop.rule=max", "backprop.chunk=3"), CACHED])
def test_two_processes_choose_and_learn_as_one(
    colour_set: Path, tmp_path: Path, call: Call, way: tuple[str, ...]
) -> None:
    same = ("model.dropout=0", "model.batchnorm=frozen", "optim.name=sgd", "optim.lr=0.01", *way)
    one, two = tmp_path / "one", tmp_path / "two"
    for run, devices in ((one, 1), (two, 2)):
        batch = f"optim.batch={4 // devices}"
        train_by(devices, call, colour_set, run, *same, batch, "run.validate_epochs=0")
    assert_same_course(one, two, colour_set, tmp_path / "start")
    if way != CACHED:
        assert sorted(read_choices(two / "chosen.csv")) == sorted(read_choices(one / "chosen.csv"))
        assert not (two / "chosen.1.csv").exists()


def test_the_command_line_watches_and_chooses(colour_set: Path, tmp_path: Path, call: Call) -> None:
    options = sets(tuple(text for text in SMALL if not text.startswith("input.snippets")))
    done = call("train", colour_set, "--out", "run", "--watch", 4, "--choose", 2, *options, "--epochs", 1)
    assert done.code == 0, done.err
    assert re.search(r"4 snippets .* 2 of them .*\bkl\b", done.out + done.err)
    assert all(len(chosen) == 2 for _, _, chosen in read_choices(tmp_path / "run" / "chosen.csv"))


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (("backprop.name=principal",), "principal.*choose"),
        (("backprop.name=principal", "backprop.choose=3"), r"choose = 3.*input.snippets = 2"),
        (("backprop.choose=1",), "choose = 1.*principal.*full"),
        (("backprop.name=cached", "backprop.rule=max"), "rule = 'max'.*principal"),
        (("backprop.memory=2GB",), "memory = '2GB'.*cached"),
        (("backprop.name=cached", "backprop.memory=much"), "memory = 'much'"),
        (("backprop.name=cached", "backprop.memory=2GB", "backprop.chunk=3"), "memory = 2GB.*chunk = 3"),
        (("backprop.name=cahced",), "full"),
        (("backprop.watch_size=16",), "watch_size = 16.*principal"),
        ((*PRINCIPAL, "backprop.watch_size=64"), "watch_size = 64.*input.size = 32"),
    ],
)
def test_settings_that_exclude_each_other_are_named(
    assignments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(px.ArgumentError, match=message):
        settings(tmp_path, *assignments)


def test_all_recipes_are_settings_and_those_of_the_paper_say_what_it_says() -> None:
    for name in recipes.names():
        assert isinstance(get_recipe(name), TrainSettings)
    flow, rgb = get_recipe("pbnet-8-4-flow"), get_recipe("pbnet-6-3-rgb")
    assert (flow.backprop.rule, flow.input.snippets, flow.backprop.choose) == ("max", 8, 4)
    assert (rgb.backprop.rule, rgb.input.snippets, rgb.backprop.choose) == ("kl", 6, 3)
    assert (flow.optim.steps, rgb.optim.milestone_steps) == (18_000, (1_500, 3_000, 4_500))
    assert rgb.optim.batch * rgb.optim.accumulate == 128
    assert get_recipe("full-6-rgb").backprop.name == "full"


# --- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [("6GiB", 6 * 2**30), ("1.5 gb", 1_500_000_000), ("800M", 800_000_000), ("512ki", 512 * 1024)],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-3GB", "0MB", "3 apples"])
def test_a_text_that_is_not_a_size_is_refused(text: str) -> None:
    with pytest.raises(px.ArgumentError, match="6GiB"):
        parse_size(text)


needs_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="the peak of a process can be set back on Linux only"
)


@needs_linux
def test_the_peak_is_what_was_taken_since() -> None:
    before = PeakMemory("cpu").read()
    block = torch.ones(40 * 2**20)  # 160 MiB
    del block
    peak = PeakMemory("cpu")
    assert peak.read() < before + 80 * 2**20
    block = torch.ones(40 * 2**20)
    del block
    assert peak.read() == pytest.approx(before + 160 * 2**20, abs=40 * 2**20)


@needs_linux
def test_as_many_snippets_are_taken_as_fit() -> None:
    each, passes = 8 * 2**20, []

    def run(count: int) -> None:
        passes.append(count)
        torch.ones(count * each // 4)

    base = PeakMemory("cpu").read()
    # 8 % of all are left as a margin.
    count = fit_snippets(run, int((base + 50 * each) * 1.08), torch.device("cpu"), most=1000, unit=2)
    assert count == 48
    assert max(passes) == 48  # nothing was tried that would not fit
    assert fit_snippets(run, base + 50 * each, torch.device("cpu"), most=5) == 5
    with pytest.raises(px.ArgumentError, match=r"1 MiB.*2 snippets"):
        fit_snippets(run, 2**20, torch.device("cpu"), most=9, unit=2)


@needs_linux
def test_a_run_stays_within_its_memory_and_cuts_alike_when_it_goes_on(
    colour_set: Path, tmp_path: Path
) -> None:
    # The report's libraries come after the last step, and are not what a step takes.
    code = """
import sys
from praxiscope.cli.main import main
from praxiscope.training.log import RunLog

write = RunLog.write
def peak(log, row):
    status = open("/proc/self/status").read()
    print("PEAK", status.split("VmHWM:")[1].split()[0])
    write(log, row)
RunLog.write = peak
sys.argv = sys.argv[1:]
main()
"""
    large = ("input.size=96", "input.short_side=96", "input.snippets=24", "run.validate_epochs=0")
    options = sets((*SMALL, *large, "optim.epochs=null", "optim.warmup_epochs=0", "optim.steps=2"))

    def peak(run: str, *more: Any) -> tuple[int, str]:
        words = command("train", colour_set, "--out", tmp_path / run, *options, *more)[2:]
        done = subprocess.run(
            [sys.executable, "-c", code, *words], env=ONE_THREAD, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stderr
        return max(
            int(text.split()[0]) for text in done.stdout.split("PEAK")[1:]
        ) * 1024, done.stdout + done.stderr

    whole, _ = peak("whole")
    bound = int(whole * 0.8)
    within, output = peak("within", "--backprop", "cached", "--memory", f"{bound // 2**20}MiB")
    assert within <= bound
    found = re.search(r"(\d+) of the 96 snippets", output)
    assert found
    assert 1 <= int(found.group(1)) < 96
    state = load_state(find_checkpoint(tmp_path / "within", "last"))
    assert state["at_once"] == int(found.group(1))


def test_options_and_settings_are_checked_together(colour_set: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from praxiscope.cli.main import app

    def answer(*words: object) -> str:
        result = CliRunner().invoke(app, ["train", str(tmp_path / "nothing"), *map(str, words)])
        return f"{result.output} {result.exception}"

    # Both get as far as the data, which is not there.
    for words in (
        ("--watch", 3, "--backprop", "principal", "--set", "backprop.choose=2"),
        ("--recipe", "pbnet-6-3-rgb", "--backprop", "cached"),
    ):
        assert "nothing" in answer(*words)
        assert "choose" not in answer(*words)


def test_watched_frames_that_are_too_small_are_refused(colour_set: Path, tmp_path: Path) -> None:
    wanted = settings(colour_set, *PRINCIPAL, "backprop.watch_size=8")
    with pytest.raises(px.ArgumentError, match=r"backprop.watch_size = 8\b"):
        train(wanted, tmp_path / "run")


def test_choices_are_written_and_cut_back(tmp_path: Path) -> None:
    log = ChoiceLog(tmp_path / "chosen.csv")
    log.write(1, ["a, b", "c"], [[0, 2], [1, 3]])
    log.write(2, ["d"], [[4, 5]])
    assert read_choices(log.path) == [(1, "a, b", [0, 2]), (1, "c", [1, 3]), (2, "d", [4, 5])]
    ChoiceLog(log.path, resume_step=1)
    assert [row[0] for row in read_choices(log.path)] == [1, 1]
    with log.path.open("a") as file:
        file.write("3,x")
    assert len(read_choices(log.path)) == 2
