"""The demo: the commands for a first recogniser, from videos to predictions.

python -m praxiscope.commands.demo demo
python -m praxiscope.commands.demo demo --data videos/        # a folder of class folders with action clips
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from praxiscope.data.manifest import load_records
from praxiscope.data.splitlist import SplitList
from praxiscope.errors import PraxiscopeError
from praxiscope.evaluation.metrics import summarise
from praxiscope.evaluation.scores import Scores
from praxiscope.recipes.sections import TaskSource
from praxiscope.recipes.settings import load_yaml
from praxiscope.run_folder import POINTER_FILE, SCORES_FILE, SETTINGS_FILE
from praxiscope.units import counted

__all__ = ["demo", "main"]


def demo(folder: Path, data: str | None = None, options: Sequence[str] = ()) -> None:
    """Run the commands of a first session, print each before it runs, and print the result.

    Commands that an earlier demo has finished are not repeated; an interrupted one is continued.

    Args:
        folder: ``videos/`` and ``run/`` are written here; with ``data``, ``run-NAME/``.
        data: a data set of action clips, as for ``praxiscope train``; None generates videos of moving digits.
        options: further options of ``praxiscope train``, such as ``--weights``.

    Raises:
        subprocess.CalledProcessError: a command failed.
        PraxiscopeError: the data set or the run cannot be read.
    """
    started = time.perf_counter()
    run = folder / ("run" if data is None else f"run-{Path(data.rpartition(':')[2]).stem}")
    source: str | Path = folder / "videos" if data is None else data
    if data is None:
        sizes = ("--size", 64, "--frames", 32)
        _type("dataset", "move4mnist", source, "--train", 800, "--test", 120, *sizes, "--seed", 0)
    scores = run / SCORES_FILE
    if not (run / POINTER_FILE).is_file():  # no checkpoint to continue from
        _type("check", source)
        chosen = ["--recipe", "demo"] if data is None else ["--recipe", "demo-own", "--model", "auto"]
        _type("train", source, *chosen, "--out", run, *options)
    else:
        _type("train", "--resume", "--out", run)
    trained_on = load_yaml(run / SETTINGS_FILE).data.sources()[""]
    if not scores.is_file() or scores.stat().st_mtime < (run / POINTER_FILE).stat().st_mtime:
        given = {"--split": trained_on.split, "--annotations": trained_on.annotations}
        words = [word for key, value in given.items() if value for word in (key, value)]
        if data is None:
            words += ["--protocol", "1x1"]
        _type("test", run, source, *words, "--out", scores)
    held_out = _held_out(run, trained_on)
    _type("predict", run, *held_out[:4], "--top", min(4, len(held_out)))
    if data is not None:
        _type("predict", run, held_out[0], "--window", "1s", "--top", 1)
    _print_result(scores)
    print(f"Report: {(run / 'report.html').resolve()}")
    print(f"Done in {(time.perf_counter() - started) / 60:.1f} minutes.")


def _held_out(run: Path, source: TaskSource) -> list[Path]:
    """A held-out video of each class, that the run was not chosen on if there is one."""
    sides = SplitList(run).sides()
    manifest = load_records(
        source.source,
        split=source.split,
        annotations=Path(source.annotations) if source.annotations else None,
        random_split=False,
    )
    by_side = {
        side: [record for record in manifest.records if sides.get(record.id) == side]
        for side in ("test", "val")
    }
    records = by_side["test"] or by_side["val"]
    return [path for _, path in sorted({record.labels: record.path for record in records}.items())]


def _print_result(scores: Path) -> None:
    found = Scores.load(scores)
    figures, classes = summarise(found), len(found.classes)
    name = "top1" if "top1" in figures else "map"
    print(
        f"\nOn {counted(len(found), 'held-out video')} of {classes} classes: {name} {figures[name]:.3f}; chance "
        f"is {1 / classes:.3f}."
    )


def _type(*words: object) -> None:
    shown = [str(word) for word in words]
    print(f"\n$ praxiscope {' '.join(shown)}", flush=True)
    subprocess.run([sys.executable, "-m", "praxiscope", *shown], check=True)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Train, test and predict on generated or own videos.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("demo"))
    parser.add_argument("--data", help="action clips: a folder of class folders, a CSV, or LAYOUT:FOLDER")
    known, options = parser.parse_known_args()
    try:
        demo(known.folder, known.data or None, options)
    except subprocess.CalledProcessError as error:
        again = " Run the same command to continue." if error.returncode in (130, -2) else ""
        sys.exit(f"The demo stopped: its last command failed with exit code {error.returncode}.{again}")
    except KeyboardInterrupt:
        sys.exit("\nThe demo stopped. Run the same command to continue.")
    except PraxiscopeError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
