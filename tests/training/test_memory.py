"""What becomes of memory that is freed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conftest import SMALL
from praxiscope.errors import ArgumentError
from praxiscope.progress import Reporter
from praxiscope.recipes import train as training
from praxiscope.recipes.settings import TrainSettings, get_recipe, override

_MEBIBYTES = """
import sys
import torch
from praxiscope._memory import keep_memory, trim_memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 >> 20

if sys.argv[1] == "kept":
    assert keep_memory()
before = resident()
block = torch.ones(2**26)
full = resident() - before
del block
left = resident() - before
trim_memory()
print(full, left, resident() - before)
"""


_SPACE = """
import torch
from praxiscope._memory import keep_memory

def space():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * 4096 >> 20

assert keep_memory()
before = space()
blocks = [torch.empty(2**28, dtype=torch.uint8) for _ in range(16)]  # 4 GiB, of which nothing is touched
del blocks
print(space() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_any_amount_is_kept() -> None:
    done = subprocess.run([sys.executable, "-c", _SPACE], capture_output=True, text=True, check=True)
    assert int(done.stdout) >= 4000


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("way", ["kept", "given back"])
def test_freed_memory_stays_only_where_it_is_kept(way: str) -> None:
    done = subprocess.run([sys.executable, "-c", _MEBIBYTES, way], capture_output=True, text=True, check=True)
    full, left, trimmed = map(int, done.stdout.split())
    assert full >= 250
    assert (left >= 250) == (way == "kept")
    assert trimmed < 50


def _settings(data: Path, *assignments: str) -> TrainSettings:
    return override(get_recipe("default"), [*SMALL, f"data.source={data}", "optim.epochs=1", *assignments])


def test_training_keeps_memory_when_asked_and_says_where_it_cannot(
    colour_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, said = [], []
    monkeypatch.setattr(training, "keep_memory", lambda: asked.append(True))

    class Listener(Reporter):
        def line(self, text: str) -> None:
            said.append(text)

    assert training.train(_settings(colour_set), tmp_path / "a", reporter=Listener())
    assert not asked
    assert training.train(_settings(colour_set, "run.keep_memory=true"), tmp_path / "b", reporter=Listener())
    assert asked
    assert [text for text in said if "keep_memory does nothing here" in text]


def test_memory_is_not_kept_where_it_has_a_budget() -> None:
    changes = ["backprop.name=cached", "backprop.memory=1GiB", "run.keep_memory=true"]
    with pytest.raises(ArgumentError, match="leave one of them out"):
        override(get_recipe("default"), changes)
