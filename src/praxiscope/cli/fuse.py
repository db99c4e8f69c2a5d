"""``praxiscope fuse``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from praxiscope.cli.common import OUTPUT_PANEL, Json, Task, print_json, print_table, reporter
from praxiscope.errors import ArgumentError
from praxiscope.units import counted

if TYPE_CHECKING:
    from praxiscope.commands.fuse import FuseResult

HELP = """Fuse several streams, such as RGB and flow: their scores of the same videos, or the networks.

\b
Example: praxiscope fuse rgb.npz flow.npz --weights 1,1.5 --out fused.npz
Fuse networks into one folder that predicts videos:
  praxiscope fuse runs/rgb runs/flow --weights 1,1.5 --out runs/both
The same for one of several data sets:
  praxiscope fuse runs/rgb runs/flow --task own --out runs/own
With an SVM:
  praxiscope fuse rgb.npz flow.npz --svm rgb_train.npz --svm flow_train.npz
"""
_FUSION = "Fusion"


def fuse(
    files: Annotated[
        list[Path],
        typer.Argument(help="Two or more scores files (praxiscope test --out), or two or more runs."),
    ],
    weights: Annotated[
        str | None,
        typer.Option(
            help="Weights of the streams, such as 1,1.5. Only their ratio matters. Scores are then averaged before "
            "softmax unless --kind says otherwise.",
            rich_help_panel=_FUSION,
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            help="What is averaged: average (softmax probabilities, the default), weighted (scores before softmax), "
            "l1 or l2 (scores before softmax, divided by their norm in each video).",
            rich_help_panel=_FUSION,
        ),
    ] = None,
    svm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TRAIN_SCORES",
            help="Fit an SVM on scores of the training videos. Repeat it for each stream, in the same order, or "
            "separate the files by commas.",
            rich_help_panel=_FUSION,
        ),
    ] = None,
    svm_c: Annotated[
        float | None,
        typer.Option(
            help="C of the SVM. Default: chosen by cross-validation on the training scores.",
            rich_help_panel=_FUSION,
        ),
    ] = None,
    any_protocol: Annotated[
        bool,
        typer.Option(
            "--any-protocol",
            help="Fuse scores even if their protocols differ.",
            rich_help_panel=_FUSION,
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Scores file to write (.npz or .parquet). For runs: the new folder.",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = None,
    task: Task = None,
    json: Json = False,
) -> None:
    options = {"kind": kind, "weights": _numbers(weights), "svm": _paths(svm or []), "svm_c": svm_c}
    folders = [path for path in files if path.is_dir()]
    if folders:
        if len(folders) < len(files):
            raise ArgumentError("fuse takes scores files or run folders; give one kind only.")
        if out is None:
            raise ArgumentError("--out is missing: the folder for the fused runs.")
        _fuse_runs(files, out, {**options, "task": task}, json)
        return
    if task is not None:
        raise ArgumentError(f"--task {task} is for runs; a scores file holds the scores of one data set.")
    _fuse_scores(files, out, {**options, "any_protocol": any_protocol}, json)


def _fuse_runs(runs: list[Path], out: Path, options: dict[str, Any], json: bool) -> None:
    from praxiscope.commands.fuse import fuse_runs

    made = fuse_runs(runs, out, **options)
    if json:
        about = {"folder": str(out), "kind": made.kind, "weights": made.weights, "classes": len(made.labels)}
        print_json({**about, "streams": [part.stream for part in made.parts]})
    else:
        networks = counted(len(made.parts), "network")
        reporter().line(f"{networks} in {out}, {_title(made.kind, made.weights, made.svm)}.")


def _fuse_scores(files: list[Path], out: Path | None, options: dict[str, Any], json: bool) -> None:
    from praxiscope.commands.fuse import fuse as run_fuse

    result = run_fuse(files, out=out, **options)
    names = [str(path) for path in files]
    if json:
        fitted = result.svm
        print_json(
            {
                **result.figures,
                "kind": result.kind,
                "weights": result.weights,
                "svm": None if fitted is None else {"c": fitted.c, "cross_validated": fitted.cross_validated},
                "protocol": result.scores.protocol.get("name"),
                "sources": [{"file": name, **own} for name, own in zip(names, result.sources, strict=True)],
                "scores": None if out is None else str(out),
                "notes": result.notes,
            }
        )
    else:
        _print_result(names, result)


def _print_result(names: list[str], result: FuseResult) -> None:
    from praxiscope.evaluation.metrics import shown_figures

    speaker = reporter()
    for note in result.notes:
        speaker.line(f"Note: {note}")
    shown = shown_figures(result.figures)
    named = [*names, _title(result.kind, result.weights, result.svm)]
    rows = [
        [name, *(_cell(own.get(column)) for column in shown)]
        for name, own in zip(named, [*result.sources, result.figures], strict=True)
    ]
    print_table(["scores", *shown], rows)
    figures = result.figures
    empty = len(figures["classes_without_videos"])
    speaker.line(
        f"{counted(figures['videos'], 'video')}, {figures['labelled']} of them labelled, "
        f"{counted(figures['classes'], 'class', 'classes')}"
        f"{f' ({empty} without a video, left out of the means)' if empty else ''}."
    )


def _numbers(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ArgumentError(
            f"--weights must be numbers separated by commas, such as 1,1.5; got {text!r}"
        ) from None


def _paths(given: list[str]) -> list[Path]:
    """Paths, one per option or separated by commas. The name of an existing file may contain a comma."""
    return [
        Path(part) for text in given for part in ([text] if Path(text).is_file() else text.split(",")) if part
    ]


def _title(kind: str, weights: list[float] | None, svm: Any) -> str:
    if svm is not None:
        return f"fused (svm, C = {svm.c:g})"
    equal = weights is None or len(set(weights)) == 1
    return f"fused ({kind})" if equal else f"fused ({kind}, {' : '.join(f'{w:g}' for w in weights or ())})"


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.4f}"
