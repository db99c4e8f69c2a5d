"""Fuse streams: scores of the same videos, or networks of the same classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from praxiscope._lazy import quick_imports
from praxiscope.checkpoint import check_recogniser, is_fused
from praxiscope.errors import ArgumentError
from praxiscope.evaluation.fusion import check_fit
from praxiscope.evaluation.fusion import fuse as fuse_scores
from praxiscope.evaluation.metrics import summarise, top_k
from praxiscope.evaluation.protocols import name_with_average
from praxiscope.evaluation.scores import Scores
from praxiscope.evaluation.svm import SvmFusion, check_training
from praxiscope.inference.options import LoadOptions

if TYPE_CHECKING:
    from praxiscope.inference.fused import FusedRecogniser

__all__ = ["FuseResult", "fuse", "fuse_runs"]

Source = Scores | str | Path
"""Scores, or a scores file."""

# Above this accuracy on its training videos, a stream has almost no errors for the SVM to learn from.
_MEMORISED = 0.99


@dataclass
class FuseResult:
    """The result of a fusion.

    Attributes:
        scores: the fused scores.
        figures: their metrics, as fractions, by name (`praxiscope.evaluation.metrics.summarise`).
        sources: the metrics of each stream, in the order given.
        kind: "average", "weighted", "l1", "l2" or "svm".
        weights: one per stream; None for the SVM.
        svm: the fitted SVM, or None.
        notes: remarks for the user.
    """

    scores: Scores
    figures: dict[str, Any]
    sources: list[dict[str, Any]]
    kind: str
    weights: list[float] | None = None
    svm: SvmFusion | None = None
    notes: list[str] = field(default_factory=list)


def fuse(
    streams: Sequence[Source],
    *,
    kind: str | None = None,
    weights: Sequence[float] | None = None,
    svm: Sequence[Source] = (),
    svm_c: float | None = None,
    any_protocol: bool = False,
    out: str | Path | None = None,
) -> FuseResult:
    """Fuse scores of the same videos; see `praxiscope.fuse`, which takes the same arguments.

    Raises:
        ArgumentError: arguments that cannot be combined.
        ScoresError: a file cannot be read, or the streams do not fit together; the message names the difference.
    """
    _check_arguments(streams, kind, weights, svm, svm_c, out)
    names, training_names = _names(streams, "scores"), _names(svm, "svm")
    read = [_read(stream) for stream in streams]
    machine = None
    notes: list[str] = []
    if svm:
        check_fit(read, names=names, any_protocol=any_protocol)  # before the fit, which takes longer
        training = [_read(stream) for stream in svm]
        check_training(training, read, training_names=training_names, names=names)
        machine = SvmFusion.fit(training, c=svm_c, names=training_names)
        fused = machine.fuse(read, names=names, any_protocol=any_protocol)
        notes = _svm_notes(machine, training, read)
        kind, shares = "svm", None
    else:
        kind = kind or ("average" if weights is None else "weighted")
        fused = fuse_scores(read, kind=kind, weights=weights, names=names, any_protocol=any_protocol)
        shares = list(fused.protocol["fusion"]["weights"])
    if out is not None:
        fused.save(out)
    sources = [summarise(stream) for stream in read]
    return FuseResult(fused, summarise(fused), sources, kind, shares, machine, notes)


def _read(source: Source) -> Scores:
    return source if isinstance(source, Scores) else Scores.load(source)


def _names(sources: Sequence[Source], kind: str) -> list[str]:
    """Names of scores in messages: files by their path."""
    return [
        f"{kind} {number}" if isinstance(source, Scores) else str(source)
        for number, source in enumerate(sources, 1)
    ]


def fuse_runs(
    runs: Sequence[str | Path],
    out: str | Path,
    *,
    kind: str | None = None,
    weights: Sequence[float] | None = None,
    svm: Sequence[str | Path] = (),
    svm_c: float | None = None,
    task: str | None = None,
) -> FusedRecogniser:
    """Fuse networks into one folder that predicts videos, as ``praxiscope fuse`` does for runs. It is self-contained.

    Args:
        runs: run or model folders of two or more networks with the same classes.
        out: the new folder.
        kind, weights, svm_c: as in `praxiscope.fuse`.
        svm: scores files of the training videos, one per run.
        task: for runs on several data sets, the name of the one whose classes are used.

    Returns:
        The new recogniser.

    Raises:
        ArgumentError, CheckpointError, ScoresError: the parts cannot be used, or do not fit together.
    """
    if len(runs) < 2:
        raise ArgumentError(f"fusion needs at least 2 runs, got {len(runs)}")
    _check_svm(runs, kind, weights, svm, svm_c)
    for run in runs:
        check_recogniser(run, task=None if is_fused(run) else task)
    with quick_imports():
        from praxiscope.inference.fused import load_fused, save_fused
        from praxiscope.inference.loading import load_single
    machine = None
    if svm:
        training = [Scores.load(path) for path in svm]
        for scores, path, run in zip(training, svm, runs, strict=True):
            part = load_single(run, LoadOptions(device="cpu", task=task))
            streams = scores.protocol.get("streams", list(part.streams))
            model = scores.protocol.get("model", part.card.name)
            if (
                list(streams) != list(part.streams)
                or model != part.card.name
                or scores.classes != list(part.labels)
            ):
                raise ArgumentError(
                    f"{path}: scores of {model} on {', '.join(streams)}, {len(scores.classes)} classes, not of {run}. "
                    "Give the --svm files in the order of the runs."
                )
        machine = SvmFusion.fit(training, c=svm_c, names=[str(path) for path in svm])
        kind = "svm"
    kind = kind or ("average" if weights is None else "weighted")
    save_fused(out, runs, kind=kind, weights=weights, svm=machine, task=task)
    return load_fused(out, LoadOptions(device="cpu"))


def _check_arguments(
    streams: Sequence[Source],
    kind: str | None,
    weights: Sequence[float] | None,
    svm: Sequence[Source],
    svm_c: float | None,
    out: str | Path | None,
) -> None:
    for name, given in (("streams", streams), ("svm", svm)):
        if isinstance(given, str | Path | Scores) or not isinstance(given, Iterable):
            raise ArgumentError(
                f"{name} must be a list of scores files or Scores, one per stream, got {given!r}"
            )
    if len(streams) < 2:
        raise ArgumentError(f"fusion needs at least 2 scores files, got {len(streams)}")
    read = [Path(path).resolve() for path in (*streams, *svm) if not isinstance(path, Scores)]
    if twice := [str(path) for path in read if read.count(path) > 1]:
        raise ArgumentError(f"{twice[0]} is given twice. Give the scores of each stream once.")
    _check_svm(streams, kind, weights, svm, svm_c)
    if out is not None:
        if Path(out).suffix.lower() not in (".npz", ".parquet"):
            raise ArgumentError(f"--out {out}: the name of a scores file must end in .npz or .parquet.")
        if Path(out).resolve() in read:
            raise ArgumentError(f"--out {out} is one of the files to fuse. Choose another name.")


def _check_svm(
    streams: Sequence[Source],
    kind: str | None,
    weights: Sequence[float] | None,
    svm: Sequence[Source],
    svm_c: float | None,
) -> None:
    if svm and (kind is not None or weights is not None):
        raise ArgumentError("--svm cannot be combined with --kind or --weights: the SVM weighs the streams.")
    if svm_c is not None and not svm:
        raise ArgumentError("--svm-c needs --svm TRAIN_SCORES, scores of the training videos.")
    if svm and len(svm) != len(streams):  # before reading: most likely `--svm A B`, which takes A alone
        raise ArgumentError(
            f"--svm needs one file of training scores per stream, got {len(streams)} streams and {len(svm)} files. "
            "Repeat --svm (--svm A --svm B), or write --svm A,B."
        )


def _svm_notes(machine: SvmFusion, training: Sequence[Scores], streams: Sequence[Scores]) -> list[str]:
    notes = []
    if not machine.converged:
        notes.append(f"The SVM did not converge with C = {machine.c:g}. Use a smaller --svm-c.")
    if all(top_k(part.logits, part.targets) >= _MEMORISED for part in training):
        notes.append(
            "Every stream is right on nearly all of its training videos, so the SVM learns little about their errors "
            "on new videos."
        )
    pairs = zip(training, streams, strict=True)
    views = [(name_with_average(a.protocol), name_with_average(b.protocol)) for a, b in pairs]
    if different := [f"{a} and {b}" for a, b in views if a != b]:
        notes.append(f"Training and test scores come from different protocols ({different[0]}).")
    return notes
