"""What becomes of memory that is freed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from praxiscope import _memory
from praxiscope.commands import train as training
from praxiscope.errors import ArgumentError
from praxiscope.progress import Reporter
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import TrainSettings, override
from support import SMALL

_MEBIBYTES = """
import sys
import torch
from praxiscope._memory import keep_memory, release_memory, trim_memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 >> 20

if sys.argv[1] != "given back":
    assert keep_memory()
before = resident()
block = torch.ones(2**26)
full = resident() - before
del block
left = resident() - before
if sys.argv[1] == "released":
    release_memory()
    block = torch.ones(2**26)
    del block
    print(full, left, resident() - before)
    sys.exit()
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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_any_amount_is_kept() -> None:
    done = subprocess.run([sys.executable, "-c", _SPACE], capture_output=True, text=True, check=True)
    assert int(done.stdout) >= 4000


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("way", ["kept", "given back", "released"])
def test_freed_memory_stays_only_where_it_is_kept(way: str) -> None:
    done = subprocess.run([sys.executable, "-c", _MEBIBYTES, way], capture_output=True, text=True, check=True)
    full, left, trimmed = map(int, done.stdout.split())
    assert full >= 250
    assert (left >= 250) == (way != "given back")
    assert trimmed < 50


def _settings(data: Path, *assignments: str) -> TrainSettings:
    return override(get_recipe("default"), [*SMALL, f"data.source={data}", "optim.epochs=1", *assignments])


@pytest.mark.slow
def test_training_keeps_memory_when_asked_and_says_where_it_cannot(
    colour_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, said = [], []
    monkeypatch.setattr(training, "keep_memory", lambda: asked.append(True))

    class Listener(Reporter):
        def line(self, text: str) -> None:
            said.append(text)

    without = _settings(colour_set, "run.keep_memory=false")
    assert training.train(without, tmp_path / "a", reporter=Listener())
    assert not asked
    assert training.train(_settings(colour_set, "run.keep_memory=true"), tmp_path / "b", reporter=Listener())
    assert asked
    assert [text for text in said if "run.keep_memory" in text]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("room", "epochs", "changes", "kept"),
    [
        (2**40, 2, (), True),
        (2**20, 2, (), False),  # a mebibyte
        (2**40, 1, (), False),  # one step, and nothing to keep memory for
        (2**40, 2, ("run.keep_memory=false",), False),
        (2**40, 2, ("backprop.name=cached", "backprop.memory=64GiB"), False),
    ],
)
def test_training_keeps_memory_by_itself_where_there_is_room(
    colour_set: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    room: int,
    epochs: int,
    changes: tuple[str, ...],
    kept: bool,
) -> None:
    done: list[str] = []
    monkeypatch.setattr(_memory, "available_memory", lambda: room)
    monkeypatch.setattr(_memory, "keep_memory", lambda: done.append("kept") or True)
    monkeypatch.setattr(_memory, "release_memory", lambda: done.append("released"))
    monkeypatch.setattr(training, "snippets_at_once", lambda *_: 1)  # of a budget: not measured
    wanted = [f"optim.epochs={epochs}", "optim.batch=18", "run.accelerator=cpu", *changes]
    assert training.train(_settings(colour_set, *wanted), tmp_path / "run")
    assert done == (["kept", "released"] if kept else [])


def test_memory_is_kept_after_the_first_step_and_for_as_long_as_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own, room = (1000, 1000), 10_000
    done: list[str] = []
    monkeypatch.setattr(_memory, "_own_memory", lambda: own)
    monkeypatch.setattr(_memory, "available_memory", lambda: room)
    monkeypatch.setattr(_memory, "keep_memory", lambda: done.append("kept") or True)
    monkeypatch.setattr(_memory, "release_memory", lambda: done.append("released"))
    memory = _memory.KeptMemory(2)
    memory()
    assert not done
    own, room = (1000, 6000), 2 * (10_200 - 1000)
    memory()
    assert done == ["kept"]
    own, room = (9000, 9000), 1800  # all that was asked for is taken, and no more room than a tenth
    memory()
    assert done == ["kept"]
    room = 1799
    memory()
    assert done == ["kept", "released"]
    room = 10**9  # once it was short, it may be again
    memory()
    memory.close()
    assert done == ["kept", "released"]

    short = _memory.KeptMemory(2)
    short()
    own, room = (1000, 6000), 2 * (10_200 - 1000) - 1
    short()
    short.close()
    assert done == ["kept", "released"]


def test_available_memory_is_the_least_of_the_machines_and_of_all_groups_around(tmp_path: Path) -> None:
    def write(name: str, text: object) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")

    assert _memory.available_memory(tmp_path) is None
    write("proc/meminfo", "MemTotal: 9000 kB\nMemAvailable: 5000 kB")
    assert _memory.available_memory(tmp_path) == 5000 * 1024
    write("proc/self/cgroup", "4:cpu,memory:/outer/inner\n0::/one/two")
    write("sys/fs/cgroup/one/two/memory.max", "max")
    write("sys/fs/cgroup/one/two/memory.current", 100)
    write("sys/fs/cgroup/one/two/memory.stat", "inactive_file 7")
    assert _memory.available_memory(tmp_path) == 5000 * 1024
    write("sys/fs/cgroup/one/memory.max", 1_000_000)
    write("sys/fs/cgroup/one/memory.current", 400_000)
    write("sys/fs/cgroup/one/memory.stat", "anon 3\ninactive_file 50000")
    assert _memory.available_memory(tmp_path) == 650_000
    write("sys/fs/cgroup/memory/outer/memory.limit_in_bytes", 500_000)
    write("sys/fs/cgroup/memory/outer/memory.usage_in_bytes", 500_001)
    write("sys/fs/cgroup/memory/outer/memory.stat", "inactive_file 9\ntotal_inactive_file 1000")
    assert _memory.available_memory(tmp_path) == 999
    write("sys/fs/cgroup/memory/outer/inner/memory.limit_in_bytes", 500)
    write("sys/fs/cgroup/memory/outer/inner/memory.usage_in_bytes", 600)
    write("sys/fs/cgroup/memory/outer/inner/memory.stat", "total_inactive_file 0")
    assert _memory.available_memory(tmp_path) == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_available_memory_of_this_machine() -> None:
    room = _memory.available_memory()
    assert room is not None
    assert 0 < room < 2**50


def test_memory_is_not_kept_where_it_has_a_budget() -> None:
    changes = ["backprop.name=cached", "backprop.memory=1GiB", "run.keep_memory=true"]
    with pytest.raises(ArgumentError, match=r"run\.keep_memory.*backprop\.memory = "):
        override(get_recipe("default"), changes)
