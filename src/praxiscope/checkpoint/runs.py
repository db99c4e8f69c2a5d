"""Find the model at a path: a model folder, or a checkpoint of a run folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from praxiscope.checkpoint.card import ModelCard, load_card
from praxiscope.checkpoint.saving import write_json
from praxiscope.errors import ArgumentError, CheckpointError
from praxiscope.run_folder import CARD_FILE, CHECKPOINTS, EXPORTED_FILE, FUSION_FILE, POINTER_FILE

__all__ = [
    "check_recogniser",
    "find_card",
    "find_checkpoint",
    "is_fused",
    "kept_checkpoints",
    "point_to",
    "read_pointer",
]


def is_fused(path: str | Path) -> bool:
    """Whether a folder holds a fused recogniser."""
    return (Path(path) / FUSION_FILE).is_file()


def read_pointer(run: Path) -> dict[str, Any]:
    """Read ``run.json``.

    Returns:
        ``last``: a folder name; ``best``: a folder name or None; ``prefer``: "last" or "best"; ``kept``: folder names,
        if the run keeps some. Empty if the file does not exist.

    Raises:
        CheckpointError: the file is damaged.
    """
    try:
        content = json.loads((run / POINTER_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{run / POINTER_FILE}: not readable ({error}). Use one of the folders in {run / CHECKPOINTS} instead, "
            "or start the run again."
        ) from error
    return content if isinstance(content, dict) else {}


def point_to(run: Path, *, last: str, best: str | None, prefer: str, keep: bool = False) -> None:
    """Record the last and the best checkpoint of a run, then delete checkpoints that are no longer referenced.

    Args:
        run: its folder.
        last, best: names of folders in its ``checkpoints``.
        prefer: "last" or "best", the one to load by default.
        keep: never delete this last checkpoint.
    """
    kept = [str(name) for name in read_pointer(run).get("kept", ())]
    if keep and last not in kept:
        kept.append(last)
    pointer = {"last": last, "best": best, "prefer": prefer}
    write_json(run / POINTER_FILE, {**pointer, "kept": kept} if kept else pointer)
    for folder in (run / CHECKPOINTS).iterdir():
        if folder.is_dir() and folder.name not in (last, best, *kept):
            shutil.rmtree(folder, ignore_errors=True)


def kept_checkpoints(run: str | Path) -> list[Path]:
    """The remaining model folders of a run, ordered by step.

    Raises:
        CheckpointError: the run has no checkpoint.
    """
    pointer = read_pointer(Path(run))
    names = {name for name in (*pointer.get("kept", ()), pointer.get("best"), pointer.get("last")) if name}
    if not names:
        raise _no_checkpoint(run)
    return [Path(run) / CHECKPOINTS / str(name) for name in sorted(names)]  # steps have leading zeros


def find_checkpoint(path: str | Path, which: str | None = None) -> Path:
    """The model folder at ``path``.

    Args:
        path: a model folder, which is returned unchanged, or a run folder.
        which: "last" or "best" checkpoint of a run. None for the preferred one: the best if it was chosen on validation
            videos, otherwise the last.

    Raises:
        ArgumentError: ``which`` is neither "last" nor "best".
        CheckpointError: the model is missing.
    """
    if which not in (None, "last", "best"):
        raise ArgumentError(f"checkpoint must be 'last' or 'best', got {which!r}")
    folder = Path(path)
    if not folder.is_dir():
        what = "is a file, not a run or model folder" if folder.exists() else "no such run or model folder"
        raise CheckpointError(f"{folder}: {what}.")
    if (folder / CARD_FILE).is_file():
        return folder
    pointer = read_pointer(folder)
    if not pointer.get("last"):
        raise _no_checkpoint(folder)
    # A run has no best checkpoint before its first validation.
    name = pointer.get(which) if which else pointer.get(str(pointer.get("prefer"))) or pointer["last"]
    if not name:
        raise CheckpointError(
            f"{folder}: has no {which} checkpoint, because it has not been validated yet. Use the last."
        )
    return folder / CHECKPOINTS / str(name)


def _no_checkpoint(run: str | Path) -> CheckpointError:
    if (Path(run) / EXPORTED_FILE).is_file():
        return CheckpointError(
            f"{run}: is an exported network, which predicts whole videos only: praxiscope predict {run} VIDEO; or "
            "estimates flow, if it has no classes: praxiscope flow DATA --method network --run "
            f"{run}. For everything else give the run that it was exported from."
        )
    return CheckpointError(
        f"{run}: has no checkpoint. Give a run folder; a run writes its first checkpoint after its first epoch."
    )


def find_card(
    path: str | Path, which: str | None = None, task: str | None = None
) -> tuple[Path, ModelCard, tuple[int, int] | None]:
    """The model folder at ``path``, its card, and the class range of ``task`` in a network of several tasks.

    Args:
        path, which: see `find_checkpoint`.
        task: for a network that was trained on several data sets, the name of the one whose classes are used.

    Raises:
        ArgumentError: the network has several tasks and none was given, the task does not exist, or the network has
            no tasks; or ``which`` is neither "last" nor "best".
        CheckpointError: the model is missing, or its card is damaged.
    """
    folder = find_checkpoint(path, which)
    card = load_card(folder)
    if task is not None:
        return folder, card.of_task(task), card.tasks[task]
    if card.tasks:
        first = next(iter(card.tasks))
        raise ArgumentError(
            f"{path}: was trained on several data sets ({', '.join(card.tasks)}). Choose one: --task {first}, or "
            f"task={first!r}"
        )
    return folder, card, None


def check_recogniser(path: str | Path, which: str | None = None, task: str | None = None) -> None:
    """Raise as `find_card` does; also accepts the folder of a fused recogniser."""
    if not is_fused(path):
        find_card(path, which, task)
    elif task is not None:
        raise ArgumentError(f"{path}: a fused recogniser has one set of classes; omit the task {task!r}")
