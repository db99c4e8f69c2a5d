"""The command line: what a person types, what comes out where, and with which exit code."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from praxiscope.checkpoint import find_checkpoint, load_tensors
from support import SMALL, Call, Result, sets, write_clip


@pytest.fixture(scope="module")
def run(colour_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, made by the command that makes runs."""
    folder = tmp_path_factory.mktemp("runs") / "a"
    words = ["train", str(colour_set), "--out", str(folder), *sets(SMALL), "--epochs", "1", "--seed", "1"]
    done = subprocess.run([sys.executable, "-m", "praxiscope", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of 2 s, one of them in a folder, and a broken one apart."""
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "good" / "a.mp4", 0, frames=24)
    write_clip(folder / "good" / "deep" / "b.mp4", 1, frames=24)
    (folder / "broken.mp4").write_text("no video\n" * 100)
    return folder


def document(result: Result) -> Any:
    """The JSON document that is all of standard output."""
    return json.loads(result.out)


def rows(result: Result) -> list[dict[str, str]]:
    assert "\r" not in result.out
    return list(csv.DictReader(io.StringIO(result.out)))


COMMANDS = [
    "check",
    "pack",
    "flow",
    "explain flow",
    "fuse",
    "train",
    "test",
    "predict",
    "recipes",
    "dataset move4mnist",
    "bench load",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(call: Call, command: str) -> None:
    result = call(*command.split(), "--help")
    assert (result.code, result.err) == (0, "")
    assert f"Example: praxiscope {command}" in " ".join(result.out.split())


def test_the_help_lists_all_commands(call: Call) -> None:
    result = call("--help")
    assert result.code == 0
    for command in COMMANDS:
        assert f"\n  {command.split()[0]} " in result.out, command


def assert_one_line(result: Result, code: int, *parts: str) -> None:
    """A clear end: the exit code, nothing on standard output, one line of error and no traceback."""
    errors = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert result.code == code, result.err
    assert result.out == ""
    assert len(errors) == 1, result.err
    assert result.err.endswith(errors[0] + "\n")
    assert "Traceback" not in result.err
    for part in parts:
        assert part in errors[0]


@pytest.mark.parametrize(
    ("words", "code", "parts"),
    [
        ("check nowhere", 1, ["nowhere"]),
        ("train nowhere --out o", 1, ["nowhere"]),
        ("pack nowhere o", 1, ["nowhere"]),
        ("train ucf101:nowhere --out o", 1, ["nowhere"]),
        ("train ucf100:{clips} --out o", 2, ["'ucf100'", "'ucf101'"]),
        ("train --out o", 2, ["--resume"]),
        ("train --out o --resume", 2, ["--resume", "--out"]),
        ("train {colours} --out o --resume", 2, ["--resume", "o "]),
        ("train {colours} --out {run}", 2, ["{run}", "--resume"]),
        ("train {colours} --out o --model tsmm", 2, ["'tsmm'", "'tsm'"]),
        ("train {colours} --out o --recipe tsn-fine", 2, ["'tsn-fine'", "'tsn-fine-tune'"]),
        ("train {colours} --out o --recipe none.yaml", 2, ["none.yaml"]),
        ("train {colours} --out o --set optim.lrr=1", 2, ["optim.lrr", "'optim.lr'"]),
        ("train {colours} --out o --set optim.lr", 2, ["--set optim.lr"]),
        ("train {colours} --out o --set model.dropot=1", 2, ["'dropot'", "'dropout'"]),
        ("train {colours} --out o --set model.dropout=much", 2, ["'tsn'"]),
        ("train {colours} --out o --set model.backbone=resnet19", 2, ["resnet19"]),
        ("train {colours} --out o --weights none.npz", 1, ["none.npz"]),
        ("train {colours} --out o --split 1", 2, ["split=1"]),
        ("train {colours} --out o --clusters 4 --watch 8", 2, ["--watch 8", "full-video"]),
        ("train {colours} --out o --clusters auto", 2, ["--clusters auto", "--clusters 8"]),
        ("train {colours} --out o --clusters 0", 2, ["--clusters 0"]),
        ("train {colours}/red --out o", 1, ["red"]),
        ("test nowhere {colours}", 1, ["nowhere"]),
        ("test {colours} {colours}", 1, []),
        ("test {run} nowhere", 1, ["nowhere"]),
        ("test {run} {colours} --protocol 25by10", 2, ["'25by10'"]),
        ("test {run} {colours} --subset tset", 2, ["'tset'"]),
        ("test {run} {colours} --out s.csv", 2, ["s.csv", ".npz", ".parquet"]),
        ("test {run} {colours} --checkpoint newest", 2, ["'last'", "'best'"]),
        ("test {run} {colours} --device tpu", 2, ["'tpu'", "cpu"]),
        ("test {run} {clips}/good", 1, ["deep"]),
        ("predict nowhere {clips}/good/a.mp4", 1, ["nowhere"]),
        ("predict {clips} {clips}/good/a.mp4", 1, []),
        ("predict {run} none.mp4", 2, ["none.mp4"]),
        ("predict {run} *.mp4", 2, ["*.mp4"]),
        ("predict {run} {run}/checkpoints", 2, ["checkpoints"]),
        ("predict {run} {clips}/good --protocol 3x2", 2, ["'3x2'"]),
        ("predict {run} {clips}/good --stride 1s", 2, ["--stride", "--window"]),
        ("predict {run} {clips}/good --window 2x", 2, ["--window 2x"]),
        ("predict {run} {clips}/good --window 0s", 2, ["--window 0s"]),
        ("predict {run} {clips}/good --window 2s --protocol 1x1", 2, ["--protocol", "--window"]),
        ("predict {run} {clips}/good --json --csv", 2, ["--json", "--csv"]),
        ("predict {run} {clips}/good --none-below 2", 2, ["--none-below 2"]),
        ("predict {run} {clips}/good --none-below nan", 2, ["--none-below nan"]),
        ("predict {run} {clips}/good --none-below maybe", 2, ["--none-below maybe"]),
        ("predict {run} {clips}/broken.mp4", 1, []),
        ("predict {run} {clips}/good/a.mp4 --video out.gif", 2, ["out.gif", ".mp4"]),
        ("predict {run} {clips}/good --video out.mp4", 2, ["--video out.mp4"]),
        ("predict {run} {clips}/good --segments --video out", 2, ["--video", "--window"]),
        ("predict {run} {clips}/good --runtime onnx", 2, ["'onnx'", "onnxruntime"]),
        ("explain {clips}/good/a.mp4 --flow", 2, ["praxiscope explain flow"]),
        ("explain {run} {clips}/good/a.mp4 --clusters", 2, ["praxiscope explain clusters"]),
        ("explain {run} --filters", 2, ["praxiscope explain filters"]),
        ("recipes tsmm", 2, ["'tsmm'", "'tsm'"]),
    ],
)
def test_mistakes_end_with_one_line_and_no_traceback(
    call: Call,
    run: Path,
    colour_set: Path,
    clips: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    code: int,
    parts: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call(*words.format(run=run, colours=colour_set, clips=clips).split())
    if "broken.mp4" in words:  # the head of the table has been written by then
        result = result._replace(out=result.out.removeprefix("source,rank,label,score,none_of_these\n"))
    assert_one_line(result, code, *(part.format(run=run) for part in parts))
    assert not (tmp_path / "o").exists()  # nothing is left that looks like a run


def test_an_empty_folder_is_named(call: Call, tmp_path: Path) -> None:
    for words in (["check", tmp_path], ["train", tmp_path, "--out", tmp_path / "o"], ["pack", tmp_path, "o"]):
        assert_one_line(call(*words), 1, str(tmp_path))


@pytest.mark.parametrize("words", ["trian", "train --epochs many", "predict", "test --what"])
def test_usage_errors_show_how_and_exit_with_2(call: Call, words: str) -> None:
    result = call(*words.split())
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("Usage: praxiscope")


def test_an_error_of_several_lines_becomes_one(call: Call, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("a: [1,\n  b\nc: }")
    assert_one_line(call("train", tmp_path, "--recipe", tmp_path / "run.yaml"), 2, "run.yaml")


def test_a_full_disk_is_one_line(
    call: Call, colour_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("praxiscope.commands.pack.write_json", full)
    result = call("pack", colour_set, tmp_path / "out", "--short-side", 36, "--workers", 1)
    assert_one_line(result, 1, "pack.json: No space left on device")


def test_check_prints_a_table_or_one_document(call: Call, colour_set: Path, tmp_path: Path) -> None:
    table = call("check", colour_set, "--workers", 1)
    assert table.code == 0
    assert "red" in table.out
    assert "0 broken" in table.out
    report = document(call("check", colour_set, "--workers", 1, "--json"))
    assert report["videos"] == 24
    assert set(report["classes"]) == {"red", "green", "blue"}
    for number in range(2):
        write_clip(tmp_path / "v" / "a" / f"{number}.mp4", number, frames=4)
    (tmp_path / "v" / "a" / "x.mp4").write_bytes(b"")
    broken = call("check", tmp_path / "v", "--workers", 1, "--json")
    assert broken.code == 1
    assert [video["id"] for video in document(broken)["broken"]] == ["a/x.mp4"]


def test_check_counts_parts_and_fails_where_listed_files_are_missing(call: Call, tmp_path: Path) -> None:
    for name in ("0.mp4", "1.mp4"):
        write_clip(tmp_path / name, 0, frames=12)
    rows = "0.mp4,a,0,0.5\n0.mp4,b,0.5,1\n1.mp4,a,0,0.5\n1.mp4,b,0.5,1\n"
    (tmp_path / "parts.csv").write_text(f"path,label,start,end\n{rows}")
    parts = call("check", tmp_path / "parts.csv")
    assert parts.code == 0
    assert "4 readable videos, parts of 2 files" in parts.out
    assert "6 to 6 frames" in parts.out
    (tmp_path / "lost.csv").write_text(f"path,label,start,end\n{rows}2.mp4,a,,\n")
    for words in (["check", tmp_path / "lost.csv"], ["check", tmp_path / "lost.csv", "--json"]):
        assert call(*words).code == 1


def test_training_starts_from_a_run(call: Call, run: Path, colour_set: Path, tmp_path: Path) -> None:
    words = [
        "train",
        colour_set,
        "--out",
        tmp_path / "o",
        *sets(SMALL),
        "--epochs",
        1,
        "--set",
        "optim.lr=1e-30",
    ]
    assert call(*words, "--weights", run).code == 0
    first, second = (load_tensors(find_checkpoint(folder)) for folder in (run, tmp_path / "o"))
    for name in first:  # nothing is learnt from there
        torch.testing.assert_close(second[name], first[name], rtol=0, atol=1e-9)


def test_recipes_are_listed_and_shown(call: Call) -> None:
    assert "move4mnist-64" in call("recipes").out
    assert set(document(call("recipes", "--json"))) >= {"default", "tsm"}
    assert document(call("recipes", "tsm", "--json"))["model"]["name"] == "tsm"
    assert "milestones:" in call("recipes", "tsm").out


def test_move4mnist_is_made_and_goes_on(call: Call, tmp_path: Path) -> None:
    words = ["dataset", "move4mnist", tmp_path / "m", "--train", 4, "--test", 4, "--size", 32, "--frames", 4]
    made = call(*words, "--workers", 1, "--json")
    assert made.code == 0
    assert document(made) == {"out": str(tmp_path / "m"), "train": 4, "test": 4}
    assert document(call("check", f"move4mnist:{tmp_path / 'm'}", "--workers", 1, "--json"))["videos"] == 8


def test_pack_prints_figures_or_one_document(call: Call, clips: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "v" / "a" / "0.mp4", 0)
    packed = call("pack", tmp_path / "v", tmp_path / "p", "--short-side", 36, "--workers", 1)
    assert packed.code == 0
    assert "1 clip, 12 frames" in packed.out
    again = call("pack", tmp_path / "v", tmp_path / "p", "--short-side", 36, "--workers", 1, "--json")
    summary = document(again)
    assert (summary["clips"], summary["frames"], summary["already"], summary["skipped"]) == (1, 12, 1, 0)


def test_testing_prints_tables_or_one_document(
    call: Call, run: Path, colour_set: Path, tmp_path: Path
) -> None:
    words = ["test", run, colour_set, "--protocol", "2x1", "--workers", 0]
    table = call(*words)
    assert table.code == 0
    assert "mean_class_accuracy" in table.out
    figures = document(call(*words, "--out", tmp_path / "scores.npz", "--json"))
    assert 0 <= figures["top1"] <= 1
    assert figures["protocol"] == "2x1"
    assert figures["scores"] == str(tmp_path / "scores.npz")
    assert figures["skipped"] == []
    assert (tmp_path / "scores.npz").is_file()


def names(found: list[dict[str, Any]]) -> list[str]:
    return [Path(entry["source"]).name for entry in found]


def test_files_folders_globs_and_lists_are_predicted_once_each(
    call: Call, run: Path, clips: Path, tmp_path: Path
) -> None:
    first, second = clips / "good" / "a.mp4", clips / "good" / "deep" / "b.mp4"
    (tmp_path / "list.txt").write_text(f"# my videos\n{second}\n\n{first}\n")
    for source, expected in (
        (first, ["a.mp4"]),
        (clips / "good", ["a.mp4", "b.mp4"]),
        (clips / "good" / "*.mp4", ["a.mp4"]),
        (clips / "good" / "**" / "*.mp4", ["a.mp4", "b.mp4"]),
        (tmp_path / "list.txt", ["b.mp4", "a.mp4"]),
    ):
        result = call("predict", run, source, "--protocol", "1x1", "--json")
        assert result.code == 0
        assert names(document(result)) == expected
    both = document(call("predict", run, second, clips / "good", "--protocol", "1x1", "--top", 2, "--json"))
    assert names(both) == ["b.mp4", "a.mp4"]
    for found in both:
        assert len(found["labels"]) == len(found["scores"]) == 2
        assert found["scores"][0] >= found["scores"][1]
        assert found["segments"] == []


def test_a_broken_video_costs_only_itself(call: Call, run: Path, clips: Path) -> None:
    words = ["predict", run, clips / "broken.mp4", clips / "good" / "a.mp4", "--protocol", "1x1"]
    result = call(*words, "--json")
    assert result.code == 1
    failed, fine = document(result)
    assert "broken.mp4" in failed["error"]
    assert fine["labels"]
    assert [line.startswith("error: ") for line in result.err.splitlines()] == [True]
    table = call(*words, "--csv")
    assert table.code == 1
    assert {Path(row["source"]).name for row in rows(table)} == {"a.mp4"}
    timeline = call(*words[:-2], "--window", "1s", "--csv")
    assert timeline.code == 1
    assert {Path(row["source"]).name for row in rows(timeline)} == {"a.mp4"}
    assert "error: " in timeline.err


def test_csv_is_what_a_pipe_gets(call: Call, run: Path, clips: Path) -> None:
    plain = call("predict", run, clips / "good", "--protocol", "1x1", "--top", 3)
    assert plain.out == call("predict", run, clips / "good", "--protocol", "1x1", "--top", 3, "--csv").out
    table = rows(plain)
    assert [row["rank"] for row in table] == ["1", "2", "3"] * 2
    assert sum(float(row["score"]) for row in table) == pytest.approx(2, abs=1e-4)


def test_a_terminal_gets_tables(call: Call, run: Path, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    words = ["predict", run, clips / "good" / "a.mp4"]
    assert "probability" in call(*words, "--protocol", "1x1").out
    assert "start s" in call(*words, "--window", "1s").out


@pytest.mark.parametrize("window", [(), ("--window", "500ms")])
def test_the_answer_is_drawn_on_the_video(
    call: Call, run: Path, clips: Path, tmp_path: Path, window: tuple[str, ...]
) -> None:
    from praxiscope.video.opening import open_video

    result = call("predict", run, clips / "good", *window, "--video", tmp_path / "drawn")
    assert result.code == 0
    sources = sorted({line.split(",")[0] for line in result.out.splitlines()[1:]})
    assert [Path(source).stem for source in sources] == [
        path.stem for path in sorted((tmp_path / "drawn").iterdir())
    ]
    for source in sources:
        video, drawn = open_video(source), open_video(tmp_path / "drawn" / f"{Path(source).stem}.mp4")
        assert (len(drawn), drawn.width, drawn.height) == (len(video), video.width, video.height)
        one, other = (each.arrays([0])[0].astype(int) for each in (video, drawn))
        assert abs(one[-3:, :3] - other[-3:, :3]).max() > abs(one[:8, -8:] - other[:8, -8:]).mean()


def test_a_timeline_comes_as_csv_and_as_json(call: Call, run: Path, clips: Path) -> None:
    words = ["predict", run, clips / "good" / "a.mp4", "--window", "1s", "--stride", "500ms", "--top", 2]
    table = rows(call(*words))
    assert list(table[0]) == ["source", "start_s", "end_s", "rank", "label", "score", "none_of_these"]
    spans = [(row["start_s"], row["end_s"]) for row in table if row["rank"] == "1"]
    assert spans == [("0.000", "1.000"), ("0.500", "1.500"), ("1.000", "2.000")]
    [found] = document(call(*words, "--json"))
    assert [(s["start_s"], s["end_s"]) for s in found["segments"]] == [(0, 1), (0.5, 1.5), (1, 2)]
    assert [s["labels"][0] for s in found["segments"]] == [r["label"] for r in table if r["rank"] == "1"]
    assert all(len(s["labels"]) == len(s["scores"]) == 2 for s in found["segments"])
    half = document(call(*words[:-4], "--json"))[0]["segments"]  # the stride is half a window by itself
    assert [s["start_s"] for s in half] == [0, 0.5, 1]


@pytest.fixture
def wary(run: Path, tmp_path: Path) -> Path:
    """The run, with a threshold that no answer of this hardly trained network reaches."""
    folder = tmp_path / "wary"
    shutil.copytree(find_checkpoint(run), folder)
    card = json.loads((folder / "model.json").read_text())
    card["calibration"] = {
        "temperature": 2.0,
        "none_below": 0.99,
        "false_refusals": 0.05,
        "videos": 39,
        "source": "x",
    }
    (folder / "model.json").write_text(json.dumps(card))
    return folder


@pytest.mark.parametrize("window", [(), ("--window", "1s")])
def test_none_of_these_is_said_with_its_reason(
    call: Call, run: Path, wary: Path, clips: Path, monkeypatch: pytest.MonkeyPatch, window: tuple[str, ...]
) -> None:
    words = ["predict", wary, clips / "good", *window]
    result = call(*words, "--json")
    found = document(result)
    assert [(each["none_of_these"], each["none_below"]) for each in found] == [(True, 0.99)] * 2
    assert all(segment["none_of_these"] for each in found for segment in each["segments"])
    assert all(each["labels"] and each["scores"] for each in found)
    [said] = result.err.splitlines()
    count = 2 if not window else sum(len(each["segments"]) for each in found)
    assert [part for part in (f"{count} of {count}", "0.990", "5.0 %", "39 clips") if part not in said] == []
    table = call(*words, "--csv")
    assert table.err.splitlines() == [said]
    assert {row["none_of_these"] for row in rows(table)} == {"1"}
    for off in ("off", "0"):
        plain = call(*words, "--csv", "--none-below", off)
        assert plain.err == ""
        assert [{**row, "none_of_these": "1"} for row in rows(plain)] == rows(table)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert "none of these" in call(*words).out
    assert "none of these" not in call(*words, "--none-below", "off").out


def test_a_threshold_of_ones_own_needs_no_calibration(call: Call, run: Path, clips: Path) -> None:
    words = ["predict", run, clips / "good" / "a.mp4", "--json"]
    [plain] = document(call(*words))
    assert (plain["none_of_these"], plain["none_below"]) == (False, None)
    result = call(*words, "--none-below", "1.0")
    assert document(result) == [{**plain, "none_of_these": True, "none_below": 1.0}]
    assert "1 of 1" in result.err


def test_a_reader_that_goes_away_gets_no_traceback(run: Path, clips: Path) -> None:
    words = [sys.executable, "-m", "praxiscope", "predict", str(run), str(clips / "good" / "a.mp4")]
    process = subprocess.Popen(
        [*words, "--window", "0.1s", "--stride", "0.01s", "--csv"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith(b"source,")
    process.stdout.close()
    error = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait() in (0, 1)
    assert "Traceback" not in error
    assert "Exception ignored" not in error


def test_ctrl_c_before_the_first_step_exits_with_130(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "run.yaml")  # reading it waits for ever
    words = [
        sys.executable,
        "-m",
        "praxiscope",
        "train",
        str(tmp_path),
        "--recipe",
        str(tmp_path / "run.yaml"),
    ]
    # A job in the background ignores interrupts, and its children inherit that.
    process = subprocess.Popen(
        words,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    writer = os.open(tmp_path / "run.yaml", os.O_WRONLY)  # returns when the command has opened it
    # On a loaded machine an interrupt can come while a library that swallows it is being imported: press it again.
    for _ in range(12):
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=5)
            break
        except subprocess.TimeoutExpired:
            continue
    else:
        process.kill()
    _, error = process.communicate(timeout=5)
    os.close(writer)
    assert process.returncode == 130
    assert "Traceback" not in error
