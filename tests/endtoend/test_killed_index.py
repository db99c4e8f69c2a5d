"""``praxiscope index`` that is killed, by signal, while the library is read."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from praxiscope.retrieval.library import Library
from praxiscope.retrieval.state import is_library
from support import Call, write_clip

pytestmark = pytest.mark.slow


def words(videos: Path, library: Path) -> list[str]:
    options = "--backbone resnet10 --layer layer1@32 --words 2 --dims 0 --workers 1"
    return ["index", str(videos), "--out", str(library), *options.split()]


def start(videos: Path, library: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "praxiscope", *words(videos, library)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def contents(library: Path) -> set[str]:
    return {item.id for item in Library(library).items}


def test_a_killed_index_leaves_the_old_library_or_the_new_one(tmp_path: Path, call: Call) -> None:
    videos, library = tmp_path / "videos", tmp_path / "library"
    for number in range(2):
        write_clip(videos / f"{number}.mp4", number, seed=number)
    assert call(*words(videos, library)).code == 0
    old = {"0.mp4", "1.mp4"}
    assert contents(library) == old
    blocks = set((library / "blocks").iterdir())
    for number in range(2, 50):
        write_clip(videos / f"{number}.mp4", number, frames=24, seed=number)
    new = {f"{number}.mp4" for number in range(50)}
    kept = 0
    for wait_s in (0.0, 0.05, 0.3):  # after the first block of the update
        running = start(videos, library)
        while running.poll() is None and not set((library / "blocks").iterdir()) - blocks:
            assert contents(library) == old
            time.sleep(0.04)
        time.sleep(wait_s)
        running.kill()
        assert running.wait() in (-9, 0)
        assert contents(library) in (old, new)
        left = {path for path in (library / "blocks").iterdir() if path.suffix == ".safetensors"}
        assert len(left) >= kept  # what a killed run has encoded is not encoded again
        kept, blocks = len(left), set((library / "blocks").iterdir())
    assert call(*words(videos, library)).code == 0
    assert contents(library) == new


def test_a_first_index_that_is_killed_can_be_continued(tmp_path: Path, call: Call) -> None:
    for number in range(40):
        write_clip(tmp_path / "videos" / f"{number}.mp4", number, frames=24, seed=number)
    library = tmp_path / "library"
    running = start(tmp_path / "videos", library)
    while running.poll() is None and not list(library.glob("blocks/*.safetensors")):
        time.sleep(0.01)
    running.kill()
    running.wait()
    if is_library(library):
        assert contents(library) <= {f"{number}.mp4" for number in range(40)}
    assert call(*words(tmp_path / "videos", library)).code == 0
    assert len(contents(library)) == 40
