"""What ``praxiscope predict`` does with a run or with an exported network, which needs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from praxiscope._lazy import quick_imports

if TYPE_CHECKING:
    from praxiscope.inference.options import LoadOptions

__all__ = ["check_run", "load_run"]


def check_run(run: str, options: LoadOptions, **given: object) -> None:
    """Check a run or an exported network before it is loaded.

    Args:
        run: its folder.
        options: of loading a run.
        given: options of the command that need a run, by name; None if they were not given.

    Raises:
        ArgumentError, CheckpointError: it cannot be loaded, or an option is not for it.
    """
    from praxiscope.deploy.description import is_exported
    from praxiscope.errors import ArgumentError

    if not is_exported(run):
        options.check(run)
        return
    for name, value in given.items():
        if value is not None:
            raise ArgumentError(
                f"--{name.replace('_', '-')} is not for an exported network. Leave it out, or predict with the run."
            )


def load_run(run: str, options: LoadOptions) -> Any:
    """Load a run or an exported network, whose objects predict in the same way."""
    from praxiscope.deploy.description import is_exported

    if is_exported(run):
        from praxiscope.deploy.loading import load

        return load(run)
    with quick_imports():
        from praxiscope.inference.loading import load_recogniser
    return load_recogniser(run, options)
