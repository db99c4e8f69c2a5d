"""Detect scripts without ``if __name__ == "__main__":``, which run again in every process that they start.

Spawned processes (on macOS and Windows, and for long jobs on every system) import the main script. Code outside of
``if __name__ == "__main__":`` then runs again in each process.
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
    """Exit with an error message if this is a spawned process that runs its parent's script again."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        print(f"error: {_message(_script())}", file=sys.stderr, flush=True)
        raise SystemExit(1)


def blame_script() -> None:
    """Explain why a worker process has ended unexpectedly, if the script is the cause.

    Raises:
        ArgumentError: If the script has no ``if __name__ == "__main__":``, so that each process runs it again.
    """
    line, path = _line_of_script(), _script()
    if line is not None and path is not None and not _is_guarded(path, line):
        raise ArgumentError(_message(path)) from None


def _message(path: Path | None) -> str:
    return (
        f"{path or 'the script'} runs again in each process that it starts. Move its code below "
        '`if __name__ == "__main__":`, or use one process (workers=1; workers=0 for train and test).'
    )


def _script() -> Path | None:
    """The file that a new process imports as the main module; None in an interactive session."""
    file = getattr(sys.modules["__main__"], "__file__", None)
    return None if file is None else Path(file)


def _line_of_script() -> int | None:
    """The line of the main module that is being executed; None if it has ended, or in another thread."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals is vars(sys.modules["__main__"]):
            return frame.f_lineno
        frame = frame.f_back
    return None


def _is_guarded(path: Path, line: int) -> bool:
    """Whether a line of a file is inside an ``if`` that tests ``__name__``. True if this cannot be decided."""
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
