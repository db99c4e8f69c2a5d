"""Scripts that run again in each process that they start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from praxiscope.processes import _is_guarded
from support import write_clip

CALLS = {
    "flow": "from praxiscope.commands.flow import StoreOptions, extract_flow as work\n"
    "said = lambda: work('videos', 'flow', StoreOptions(parameters={'warps': 1, 'iterations': 1}, workers=2)).clips\n",
    "check": "from praxiscope.commands.check import check as work\n"
    "said = lambda: len(work('videos', full=True, workers=2).videos)\n",
    # A loader of data, whose processes are spawned where the system spawns them.
    "score": "import torch, multiprocessing\n"
    "from praxiscope.data.dataset import clear_errors\n"
    "from praxiscope.processes import run_once\n"
    "def said():\n"
    "    run_once()\n"
    "    loader = torch.utils.data.DataLoader(range(3), num_workers=1, multiprocessing_context='spawn')\n"
    "    return len(list(clear_errors(loader)))\n",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips of two classes."""
    folder = tmp_path_factory.mktemp("place")
    for number, name in enumerate(("a/0", "a/1", "b/0")):
        write_clip(folder / "videos" / f"{name}.mp4", number, frames=3, size=(32, 48))
    return folder


def run(place: Path, call: str, last: str) -> subprocess.CompletedProcess[str]:
    script = place / "script.py"
    script.write_text(CALLS[call] + last)
    return subprocess.run(
        [sys.executable, str(script)],
        cwd=place,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS)
def test_a_script_without_a_guard_is_told_so(place: Path, call: str) -> None:
    done = run(
        place,
        call,
        "from praxiscope.errors import ArgumentError\n"
        "try:\n    print(said())\nexcept ArgumentError as error:\n    print('told:', error)\n",
    )
    assert done.stdout.startswith("told: "), done.stderr
    assert "__main__" in done.stdout
    assert "script.py" in done.stdout
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2  # a line from each process, of which none has started others


@pytest.mark.slow
def test_a_script_with_a_guard_works(place: Path) -> None:
    done = run(place, "check", "if __name__ == '__main__':\n    print(said())\n")
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr


def test_guards_are_found_wherever_they_stand(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    lines = ["import x", "if '__main__' == __name__ and x:", "    for i in x:", "        work(i)", "work(0)"]
    script.write_text("\n".join(lines))
    assert [_is_guarded(script, line) for line in range(1, 6)] == [False, True, True, True, False]
    assert _is_guarded(tmp_path / "none.py", 1)
