"""Scripts that are run again by every process that they start, because nothing in them says that they must not be.

Where processes are spawned (on macOS and Windows, and everywhere for work that lasts) each of them imports the script
that began: what stands there outside of ``if __name__ == "__main__":`` runs once more in each.
"""

from __future__ import annotations

import ast
import multiprocessing
import sys
from pathlib import Path
from types import FrameType

from praxiscope.errors import ArgumentError

__all__ = ["blame_script", "run_once"]


def run_once() -> None:
    """End this process, with one line, where it is being started and runs what has started it: for all that lasts."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        print(f"error: {_told(_script())}", file=sys.stderr, flush=True)
        raise SystemExit(1)


def blame_script() -> None:
    """To be called when a process that was started has ended by itself.

    Raises:
        ArgumentError: the script that calls says nowhere that a process must not run it again, so that each has.
    """
    line, path = _line_of_script(), _script()
    if line is not None and path is not None and not _is_guarded(path, line):
        raise ArgumentError(_told(path)) from None


def _told(path: Path | None) -> str:
    return (
        f"{path or 'the script'} runs again in each process that it starts. Put what it does below "
        '`if __name__ == "__main__":`, or ask for one process (workers=1; of train and test workers=0).'
    )


def _script() -> Path | None:
    """The file that a new process imports as the main module; None of an interactive session, which has none."""
    file = getattr(sys.modules["__main__"], "__file__", None)
    return None if file is None else Path(file)


def _line_of_script() -> int | None:
    """The line of the main module that is being executed; None where it has ended, or in another thread."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals is vars(sys.modules["__main__"]):
            return frame.f_lineno
        frame = frame.f_back
    return None


def _is_guarded(path: Path, line: int) -> bool:
    """Whether a line of a file stands below an ``if`` that looks at ``__name__``; also where that cannot be told."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return True
    return any(
        isinstance(node, ast.If)
        and node.lineno <= line <= (node.end_lineno or node.lineno)
        and any(isinstance(part, ast.Name) and part.id == "__name__" for part in ast.walk(node.test))
        for node in ast.walk(tree)
    )
