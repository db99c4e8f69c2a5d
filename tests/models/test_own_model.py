"""The page on writing a model: its files make a package, and its commands run on tiny data."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import praxiscope as px
from praxiscope.models.registered import models
from support import SMALL, Call, sets

PAGE = Path(__file__).parents[2] / "docs" / "write_a_model.md"
BLOCK = re.compile(r"<!-- (file: (?P<file>\S+)|not run: [^\n]*) -->\n```\w+\n(?P<text>.*?)```", re.DOTALL)
TINY = sets((*SMALL[3:], "model.backbone=resnet10", "optim.epochs=1", "run.validate_epochs=0"))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's package as pip installs it: its module, and the entry points of its pyproject.toml."""
    folder = tmp_path_factory.mktemp("package")
    for block in BLOCK.finditer(PAGE.read_text(encoding="utf-8")):
        if block["file"]:
            (folder / block["file"]).write_text(block["text"], encoding="utf-8")
    project = (folder / "pyproject.toml").read_text(encoding="utf-8")
    (group, points) = re.findall(r'\[project\.entry-points\."(.*?)"\]\n(.*?)\n\n', project, re.DOTALL)[0]
    info = folder / "frame_lstm-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: frame-lstm\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{points}".replace('"', ""))
    return folder


@pytest.fixture
def installed(package: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package in this process, whose model is unknown again afterwards."""
    monkeypatch.syspath_prepend(str(package))
    yield package
    models._entries.pop("frame-lstm", None)
    sys.modules.pop("frame_lstm", None)


def commands() -> list[list[str]]:
    text = PAGE.read_text(encoding="utf-8")
    return [line.split()[1:] for line in text.splitlines() if line.startswith("praxiscope ")]


def run(package: Path | None, words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    paths = [*([str(package)] if package else []), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "praxiscope", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_commands_of_the_page_work(installed: Path, colour_set: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "videos").symlink_to(colour_set)
    (tmp_path / "clip.mp4").symlink_to(next(iter(sorted(colour_set.rglob("*.mp4")))))
    for words in commands():
        models._entries.pop("frame-lstm", None)  # as each command finds it
        result = call(*words, *(TINY if words[0] == "train" else []))
        assert result.code == 0, f"{words}: {result.err}"
        sys.modules.pop("frame_lstm", None)
    assert (tmp_path / "filters.png").stat().st_size
    # In processes of their own: where the package is installed, and where it is not.
    done = run(installed, ["predict", "runs/lstm", "clip.mp4"], tmp_path)
    assert done.returncode == 0, done.stderr
    missing = run(None, ["predict", "runs/lstm", "clip.mp4"], tmp_path)
    assert missing.returncode == 1
    assert "'frame-lstm'" in missing.stderr
    assert "praxiscope.models" in missing.stderr


@pytest.mark.usefixtures("installed")
def test_an_installed_model_is_listed_and_built_by_its_name() -> None:
    assert "frame-lstm" in px.list_models()
    assert "frame-lstm" not in models  # only its name is known until it is used
    model = px.create_model("frame-lstm", num_classes=3, backbone="resnet10", hidden=8)
    assert model.num_classes == 3
    with pytest.raises(px.ArgumentError, match=r"'frame-lstm'.*'hiden'.*'hidden'"):
        px.create_model("frame-lstm", num_classes=3, hiden=8)


def test_an_entry_point_that_registers_nothing_is_named(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(package, tmp_path / "empty")
    (tmp_path / "empty" / "frame_lstm.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "empty"))
    monkeypatch.delitem(sys.modules, "frame_lstm", raising=False)
    with pytest.raises(px.ArgumentError, match=r"'frame-lstm'.*register_model"):
        px.create_model("frame-lstm", num_classes=3)
