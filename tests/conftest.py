"""Fixtures that every part of the suite shares."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from support import FLOW_PARAMETERS, PNG, Call, Result, write_clip, write_moving

# Tests that run side by side have one thread each, and so has what they start.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def _shared_data() -> Path | None:
    named = os.environ.get("PRAXISCOPE_TEST_DATA")
    root = Path(named) if named else Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
    return root.resolve() if root.is_dir() else None


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of third-party test data, or a skip that says what is missing."""
    root = _shared_data()
    if root is None:
        pytest.skip("no third-party test data: set PRAXISCOPE_TEST_DATA to its folder")
    return root


@pytest.fixture(scope="session")
def colour_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of class folders: 24 clips of red, green and blue squares, which any model learns."""
    root = tmp_path_factory.mktemp("colours")
    for number, name in enumerate(("red", "green", "blue")):
        for clip in range(8):
            write_clip(root / name / f"{clip}.mp4", number, seed=100 * number + clip)
    return root


@pytest.fixture(scope="session")
def moving(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Videos of squares that go left or right, and their stored flow, both ways."""
    from praxiscope.commands.flow import StoreOptions, extract_flow

    root = tmp_path_factory.mktemp("moving")
    for name, step in (("left", -2), ("right", 2)):
        for clip in range(10):
            write_moving(root / "videos" / name / f"{clip}.mp4", step, clip)
    extract_flow(
        root / "videos", root / "flow", StoreOptions(parameters=FLOW_PARAMETERS, backward=True, workers=1)
    )
    return root / "videos", root / "flow"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Small tensors gain nothing from threads, and on a busy machine waiting for them costs multiples."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def _narrow() -> Iterator[None]:
    """Tests of a module that uses this fixture build narrow ResNets."""
    from narrow import narrow_resnets

    with narrow_resnets():
        yield


@pytest.fixture(scope="module")
def _repeated_draws() -> Iterator[None]:
    """Large weights begin as random numbers that repeat: VGG-16 draws 138 million of them twice, in seconds.

    For tests of what a network does with its weights, and not of how they are drawn.
    """
    import torch

    block = 262_139  # a prime, so that no two rows of a matrix are alike

    def repeated(draw: Callable[..., Any]) -> Callable[..., Any]:
        def filled(x: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
            if x.numel() < 4 * block or not x.is_contiguous():
                return draw(x, *args, **options)
            flat = x.view(-1)
            draw(flat[:block], *args, **options)
            for start in range(block, len(flat), block):
                part = flat[start : start + block]
                part.copy_(flat[: len(part)])
            return x

        return filled

    with pytest.MonkeyPatch.context() as patch:
        for name in ("normal_", "uniform_"):
            patch.setattr(torch.Tensor, name, repeated(getattr(torch.Tensor, name)))
        yield


@pytest.fixture(scope="module", autouse=True)
def _report_pixels() -> Iterator[None]:
    """Reports draw their figures for a light page only, and no curves, and make no pixels of them: that takes much of
    the time of a small run.

    Which curves there are, and their values, is still found out. Where reports are tested as users get them, a fixture
    of this name replaces this one.
    """
    from praxiscope.evaluation import plots

    def panel(title: str, *_: object) -> SimpleNamespace:
        return SimpleNamespace(axes=[SimpleNamespace(get_title=lambda loc: title)])

    def light(draw: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: None if args[-1] is True else draw(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "_panel", panel)
        for name in ("draw_reliability", "draw_confusion"):
            patch.setattr(plots, name, light(getattr(plots, name)))
        patch.setattr(plots, "figure_png", lambda figure: PNG)
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_command_line() -> Iterator[None]:
    """The command line is built once, as in a process of its own, and not again for each command that a test runs."""
    import typer.main
    import typer.testing

    build = lru_cache(typer.main.get_command)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", build)
        patch.setattr(typer.testing, "_get_command", build)
        yield


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """Run a command in this process and a folder of its own, by the entry point that the console script calls.

    It is given in words, ``call("test", run, data)``, or as one line, ``call("test a b")``.
    """
    from praxiscope.cli import main as entry

    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Result:
        given = str(words[0]).split() if len(words) == 1 else [str(word) for word in words]
        monkeypatch.setattr(sys, "argv", ["praxiscope", *given])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            entry.main()
        out, err = capsys.readouterr()
        code = ended.value.code
        return Result(code if isinstance(code, int) else 0, out, err)

    return run
