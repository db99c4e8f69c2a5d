"""``praxiscope predict`` of live video."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from praxiscope.checkpoint import InputContract, ModelCard, save_checkpoint
from praxiscope.models import create_model
from support import Call, write_clip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of a network of single frames."""
    torch.manual_seed(0)
    kwargs = {"num_classes": 2, "backbone": "squeezenet1_1"}
    folder = tmp_path_factory.mktemp("live") / "run"
    card = ModelCard("tsn", kwargs, ("jump", "wave"), input=InputContract(size=32, short_side=36, snippets=1))
    save_checkpoint(folder, create_model("tsn", **kwargs), card)
    return folder


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    write_clip(tmp_path / "a.mkv", 0, frames=4)
    return tmp_path / "a.mkv"


def test_a_file_at_its_pace_gives_a_line_for_each_answer_and_a_summary(
    run: Path, clip: Path, call: Call
) -> None:
    result = call("predict", run, clip, "--live", "--every", "frame", "--smooth", "off", "--json")
    assert result.code == 0
    answers = [json.loads(line) for line in result.out.splitlines()]
    assert {"time_s", "clock_s", "labels", "scores", "frames", "dropped", "delay_s"} <= set(answers[0])
    assert answers[-1]["time_s"] == pytest.approx(3 / 12, abs=2e-3)
    assert answers[-1]["frames"] + answers[-1]["dropped"] == 4
    assert len(answers) == answers[-1]["frames"]
    assert f"{answers[-1]['frames']} frame" in result.err
    assert "99 %" in result.err
    result = call("predict", run, clip, "--live", "--top", 2)  # an answer a second
    assert len(result.out.splitlines()) == 1
    assert {"jump", "wave"} <= set(result.out.split())


def test_standard_input_is_a_source(
    run: Path, clip: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    with clip.open("rb") as content:
        monkeypatch.setattr(sys, "stdin", content)
        result = call("predict", run, "-", "--every", "frame", "--json")
    assert result.code == 0
    assert json.loads(result.out.splitlines()[-1])["time_s"] == pytest.approx(0.25, abs=2e-3)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("", ["--camera"]),
        ("--camera 0 a.mp4", ["--camera 0", "a.mp4"]),
        ("rtsp://h/a rtsp://h/b", ["rtsp://h/a"]),
        ("ftp://h/a", ["rtsp://"]),
        ("- --window 2s", ["--window"]),
        ("- --csv", ["--csv"]),
        ("- --segments", ["--segments"]),
        ("- --segments --srt a.srt", ["--segments", "live"]),
        ("- --every 2x", ["--every 2x"]),
        ("{clip} --every 1s", ["--every", "--live"]),
        ("udp://h:1 --srt a.srt", ["--srt"]),
    ],
)
def test_options_that_do_not_fit_are_named(
    run: Path, clip: Path, call: Call, words: str, named: list[str]
) -> None:
    result = call("predict", run, *words.format(clip=clip).split())
    assert result.code == 2
    assert len(result.err.splitlines()) == 1
    assert all(name in result.err for name in named)


@pytest.mark.slow
def test_ctrl_c_ends_with_a_summary_and_code_0(run: Path) -> None:
    words = [sys.executable, "-m", "praxiscope", "predict", str(run), "-", "--every", "frame"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # A shell's background jobs ignore SIGINT, and so would a program that a test among them starts.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(words, text=True, **pipes, env=dict(os.environ), preexec_fn=heed) as process:
        assert process.stderr is not None
        assert "standard input" in process.stderr.readline()  # it waits for a frame
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)  # with standard input open: its end without a frame would be an error
        err = process.stderr.read()
    assert process.returncode == 0, err
    assert err.splitlines() == ["0 frames, 0 dropped."]
