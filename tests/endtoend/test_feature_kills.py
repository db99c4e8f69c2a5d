"""Features that are computed in many killed runs equal those of one run; memory does not grow with the rows."""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from praxiscope.commands import feature_clips
from praxiscope.commands import features as command
from praxiscope.commands.feature_options import FeatureOptions
from praxiscope.features.contract import FeatureContract
from praxiscope.features.shard import writing_shard
from praxiscope.features.store import FeatureStore, create_store, shard_path

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks its processes")
OPTIONS = FeatureOptions(
    backbone="resnet10", size=32, sampling={"frames": 4}, precision="32", workers=1, devices=("cpu",)
)
KILLS = 10


def in_child(work: Callable[[], None]) -> int:
    """Run a function in a process of its own. Returns the signal that killed it, or 0."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def shards(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((root / "shards").glob("*.safetensors"))}


@pytest.mark.slow
def test_ten_kills_change_no_byte(colour_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_clips, "_CLIPS", 2)
    command.features(colour_set, tmp_path / "warm", OPTIONS)
    whole = shards(tmp_path / "warm")
    assert len(whole) == 12
    began = time.perf_counter()
    in_child(lambda: _compute(colour_set, tmp_path / "again", None))
    took = time.perf_counter() - began
    draw, killed, store, counts = random.Random(0), 0, tmp_path / "killed", []
    for _ in range(20 * KILLS):
        # However slow the machine is, some shards are finished; then the kill comes in the next, or soon after.
        kill = (draw.randrange(5), draw.uniform(1e-3, took / len(whole)))
        killed += in_child(lambda: _compute(colour_set, store, kill)) == signal.SIGALRM  # noqa: B023
        if killed == KILLS:
            break
        counts.append(len(shards(store)))
        if counts[-1] == len(whole):  # go on with half of them
            for path in draw.sample(sorted((store / "shards").iterdir()), 6):
                path.unlink()
    assert killed == KILLS
    assert len(set(counts)) > 2  # in the middle of the work
    command.features(colour_set, store, OPTIONS)
    assert shards(store) == whole
    assert sorted(path.name for path in (store / "shards").iterdir()) == sorted(whole)  # nothing is left over
    FeatureStore(store).verify()


def _compute(data: Path, out: Path, kill: tuple[int, float] | None) -> None:
    """Compute features; ``kill``: after so many shards and seconds, the system kills this process."""
    real, begun = feature_clips.writing_shard, itertools.count()

    def writing(*given: Any) -> Any:
        if kill is not None and next(begun) == kill[0]:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, kill[1])
        return real(*given)

    feature_clips.writing_shard = writing
    command.features(data, out, OPTIONS)
    signal.setitimer(signal.ITIMER_REAL, 0)


def memory_mb(name: str) -> float:
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith(name))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """A clip of 60,000 rows is written, and 40 shards are read, in less than half of their 120 MB."""
    made = FeatureContract("resnet18", "rgb", "0" * 64, (500,))
    rows = torch.ones(500, 500)
    for name in ("short", "long"):
        create_store(tmp_path / name, made, 1)
    create_store(tmp_path / "many", made, 40)

    def add(name: str, times: int) -> None:
        frame = torch.arange(500)
        with writing_shard(shard_path(tmp_path / name, 0), made) as writer, writer.clip("a", 1) as clip:
            for _ in range(times):
                clip.add(rows, frame.double(), frame)

    # The first use of code reads pages of the libraries, which count as memory of a process.
    def write() -> None:
        add("short", 1)
        before = memory_mb("VmHWM")
        add("long", 120)
        assert memory_mb("VmHWM") - before < 40
        for number in range(40):
            with writing_shard(shard_path(tmp_path / "many", number), made) as writer:
                for place in range(3):
                    with writer.clip(f"{number}/{place}", 1) as clip:
                        clip.add(rows, torch.arange(500).double(), torch.arange(500))

    def read() -> None:
        assert float(FeatureStore(tmp_path / "short").clip("a").features.sum()) == 500 * 500
        before = memory_mb("VmHWM")
        store = FeatureStore(tmp_path / "many")
        assert store.rows == 60_000
        total = sum(float(store.clip(name).features.sum()) for name in store)
        assert total == 60_000 * 500
        assert memory_mb("VmHWM") - before < 40
        part = FeatureStore(tmp_path / "long").clip("a").features[30_000:30_010]
        assert float(part.sum()) == 5000
        assert memory_mb("VmHWM") - before < 45  # one clip of 120 MB, of which little is touched

    assert in_child(write) == 0
    assert in_child(read) == 0
