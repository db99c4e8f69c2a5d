"""What ``praxiscope predict`` does with a run or with an exported network, which needs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from praxiscope._lazy import quick_imports

if TYPE_CHECKING:
    from collections.abc import Sequence

    from praxiscope.commands.arguments import Views
    from praxiscope.commands.predict import Failure
    from praxiscope.inference.options import LoadOptions
    from praxiscope.progress import Reporter

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
    from praxiscope.deploy.description import is_exported, read_classes
    from praxiscope.errors import ArgumentError

    if not is_exported(run):
        options.check(run)
        return
    read_classes(run)
    for name, value in given.items():
        if value is not None:
            raise ArgumentError(
                f"--{name.replace('_', '-')} is not for an exported network. Leave it out, or predict with the run."
            )


def load_run(
    run: str,
    options: LoadOptions,
    runtime: str,
    files: Sequence[str | Failure],
    views: Views,
    speaker: Reporter,
) -> Any:
    """Load a run or an exported network, whose objects predict in the same way.

    Args:
        run: its folder.
        options: of loading a run.
        runtime: what runs the network; of a run, "auto" depends on the work.
        files, views: the videos to predict, and what is seen of each.
        speaker: says if a network is exported.
    """
    from praxiscope.deploy.description import is_exported

    if is_exported(run):
        from praxiscope.deploy.loading import load

        return load(run, runtime=runtime)
    with quick_imports():
        from praxiscope.inference.loading import load_recogniser
    recogniser = load_recogniser(run, options)
    if runtime != "torch":
        from praxiscope.commands.predict import choose_runtime

        choose_runtime(recogniser, runtime, files, views, speaker.line)
    return recogniser
