"""The five-minute path, command by command: make videos, train, test, predict, look.

python -m praxiscope.recipes.demo demo
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["demo", "main"]


def demo(folder: Path) -> None:
    """Run the commands a newcomer would type, each shown before it runs.

    Args:
        folder: gets ``videos/``, ``unseen/`` and ``run/``. A ``run/`` of an earlier demo is replaced.

    Raises:
        subprocess.CalledProcessError: a command failed.
    """
    videos, unseen, run = folder / "videos", folder / "unseen", folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    started = time.perf_counter()
    small = ["--size", "64", "--frames", "32"]
    _type("dataset", "move4mnist", videos, "--train", 800, "--test", 120, *small, "--seed", 0)
    # Videos of another seed, none of which is in the set above.
    _type("dataset", "move4mnist", unseen, "--train", 4, "--test", 4, *small, "--seed", 1)
    _type("check", videos)
    _type("train", videos, "--recipe", "move4mnist-64", "--epochs", 7, "--out", run)
    _type("test", run, videos, "--protocol", "1x1", "--out", run / "scores.npz")
    clips = sorted((unseen / "test").rglob("*.mp4"))
    _type("predict", run, *clips[:2], "--top", 4)
    minutes = (time.perf_counter() - started) / 60
    print(
        f"\nDone in {minutes:.1f} minutes. Open the report with its pictures: {(run / 'report.html').resolve()}"
    )


def _type(*words: object) -> None:
    shown = [str(word) for word in words]
    print(f"\n$ praxiscope {' '.join(shown)}", flush=True)
    subprocess.run([sys.executable, "-m", "praxiscope", *shown], check=True)


def main() -> None:
    """Entry point: the folder is the only argument."""
    try:
        demo(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
    except subprocess.CalledProcessError as error:
        sys.exit(f"The demo stopped: its last command ended with exit code {error.returncode}.")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
