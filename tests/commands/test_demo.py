"""The demo: which commands it runs, and that a second one does what the first has left."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from praxiscope.cli import main as entry
from praxiscope.commands import demo as demo_module
from praxiscope.commands.demo import demo
from praxiscope.evaluation.metrics import summarise
from praxiscope.evaluation.scores import Scores
from praxiscope.recipes.named import get_recipe
from support import SMALL

QUICK = [
    word
    for text in (*SMALL, "optim.steps=2", "data.test_fraction=0.4")
    if not text.startswith("optim.epochs")
    for word in ("--set", text)
]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands, run in this process."""
    commands: list[list[str]] = []

    def run(words: list[str], check: bool) -> None:
        command = words[3:]
        commands.append(command)
        monkeypatch.setattr(sys, "argv", ["praxiscope", *command])
        with pytest.raises(SystemExit) as ended:
            entry.main()
        if ended.value.code:
            raise subprocess.CalledProcessError(int(str(ended.value.code)), words)

    monkeypatch.setattr(demo_module.subprocess, "run", run)
    return commands


def test_a_second_demo_goes_on_where_the_first_was_stopped(
    colour_set: Path, tmp_path: Path, typed: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / f"run-{colour_set.name}"

    def stages() -> list[str]:
        names = [command[0] for command in typed]
        typed.clear()
        return names

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_module, "_type", _until("test", demo_module._type))
        with pytest.raises(KeyboardInterrupt):
            demo(tmp_path, str(colour_set), QUICK)
    assert [typed[1][typed[1].index(option) + 1] for option in ("--recipe", "--model")] == [
        "demo-own",
        "auto",
    ]
    assert stages() == ["check", "train"]
    assert not (run / "scores.npz").exists()

    demo(tmp_path, str(colour_set), QUICK)
    assert "--resume" in typed[0]
    assert stages() == ["train", "test", "predict", "predict"]
    scores = Scores.load(run / "scores.npz")
    out = capsys.readouterr().out
    assert f"top1 {summarise(scores)['top1']:.3f}" in out
    assert str(run / "report.html") in out

    demo(tmp_path, str(colour_set), QUICK)  # all is there: it is shown again
    predicted = typed[1]
    assert stages() == ["train", "predict", "predict"]
    # A held-out clip of each class.
    clips = [Path(word) for word in predicted if word.endswith(".mp4")]
    assert {clip.parent.name for clip in clips} == {"red", "green", "blue"}
    assert {f"{clip.parent.name}/{clip.name}" for clip in clips} <= set(scores.ids)


def _until(name: str, run: Callable[..., None]) -> Callable[..., None]:
    """``run``, until a command of this name is to be run: then the user stops the demo."""

    def typing(*words: object) -> None:
        if words[0] == name:
            raise KeyboardInterrupt
        run(*words)

    return typing


def test_without_data_the_demo_makes_videos_first(
    tmp_path: Path, typed: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            demo_module, "_type", _until("check", lambda *words: typed.append(list(map(str, words))))
        )
        with pytest.raises(KeyboardInterrupt):
            demo(tmp_path)
    (command,) = typed
    assert command[:3] == ["dataset", "move4mnist", str(tmp_path / "videos")]
    assert get_recipe("demo").input.size == int(command[command.index("--size") + 1])


def test_a_command_that_fails_ends_the_demo_with_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: list[list[str]]
) -> None:
    monkeypatch.setattr(sys, "argv", ["demo", str(tmp_path), "--data", str(tmp_path / "none")])
    with pytest.raises(SystemExit, match="exit code 1"):
        demo_module.main()


def test_other_words_are_options_of_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(demo_module, "demo", lambda *given: asked.extend(given))
    options = ["--weights", "w.npz", "--set", "run.precision=32"]
    monkeypatch.setattr(sys, "argv", ["demo", str(tmp_path), "--data", "clips/", *options])
    demo_module.main()
    assert asked == [tmp_path, "clips/", options]
