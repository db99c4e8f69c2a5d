"""Fuse scores files: read, compare, fuse, measure, write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from praxiscope._lazy import quick_imports
from praxiscope.checkpoint import check_recogniser, is_fused
from praxiscope.errors import ArgumentError
from praxiscope.evaluation.fusion import SvmFusion, check_fit, check_training
from praxiscope.evaluation.fusion import fuse as fuse_scores
from praxiscope.evaluation.metrics import summarise, top_k
from praxiscope.evaluation.protocols import name_with_average
from praxiscope.evaluation.scores import Scores

if TYPE_CHECKING:
    from praxiscope.inference.fused import FusedRecogniser

__all__ = ["FuseResult", "fuse", "fuse_runs"]

# Above this share of right answers on its own training videos, a stream shows the SVM none of its mistakes.
_MEMORISED = 0.99


@dataclass
class FuseResult:
    """What a fusion gave.

    Attributes:
        scores: the fused scores.
        figures: their metrics, as fractions, by name (`praxiscope.evaluation.metrics.summarise`).
        sources: every file's own metrics, in the order given.
        kind: "average", "weighted", "l1", "l2" or "svm".
        weights: one per file, as given; None for the SVM.
        svm: the fitted SVM, if there is one.
        notes: sentences worth saying.
    """

    scores: Scores
    figures: dict[str, Any]
    sources: list[dict[str, Any]]
    kind: str
    weights: list[float] | None = None
    svm: SvmFusion | None = None
    notes: list[str] = field(default_factory=list)


def fuse(
    files: Sequence[str | Path],
    *,
    kind: str | None = None,
    weights: Sequence[float] | None = None,
    svm: Sequence[str | Path] = (),
    svm_c: float | None = None,
    any_protocol: bool = False,
    out: str | Path | None = None,
) -> FuseResult:
    """Fuse scores files of the same videos.

    Args:
        files: two or more scores files.
        kind: "average" (of softmax), "weighted" (before softmax), "l1" or "l2" (before softmax, each video's
            scores divided by their length). None: "weighted" where weights are given, else "average".
        weights: one per file; only their ratio counts.
        svm: scores files of training videos, one per file and in the same order: fuse by an SVM fitted on
            them. Excludes ``kind`` and ``weights``.
        svm_c: the SVM's C. None: found by cross-validation on the training scores.
        any_protocol: let files that were tested under different protocols meet.
        out: scores file to write (.npz or .parquet), none of those read.

    Raises:
        ArgumentError: arguments that do not go together.
        ScoresError: a file cannot be read, or the files do not fit together; says what differs.
    """
    _check_arguments(files, kind, weights, svm, svm_c, out)
    names, training_names = [str(path) for path in files], [str(path) for path in svm]
    streams = [Scores.load(path) for path in files]
    machine = None
    notes: list[str] = []
    if svm:
        check_fit(streams, names=names, any_protocol=any_protocol)  # before the fit, which takes longer
        training = [Scores.load(path) for path in svm]
        check_training(training, streams, training_names=training_names, names=names)
        machine = SvmFusion.fit(training, c=svm_c, names=training_names)
        fused = machine.fuse(streams, names=names, any_protocol=any_protocol)
        notes = _svm_notes(machine, training, streams)
        kind, shares = "svm", None
    else:
        kind = kind or ("average" if weights is None else "weighted")
        fused = fuse_scores(streams, kind=kind, weights=weights, names=names, any_protocol=any_protocol)
        shares = list(fused.protocol["fusion"]["weights"])
    if out is not None:
        fused.save(out)
    sources = [summarise(stream) for stream in streams]
    return FuseResult(fused, summarise(fused), sources, kind, shares, machine, notes)


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
    """Put recognisers into one folder that answers for all of them, and needs nothing else.

    Args:
        runs: run or model folders of two or more networks that know the same classes.
        out: the new folder.
        kind, weights, svm, svm_c: as in `fuse`; ``svm`` are scores of training videos, one file per run.
        task: of runs on several data sets, the one that is meant: its part of each is fused.

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
            part = load_single(run, device="cpu", task=task)
            streams = scores.protocol.get("streams", list(part.streams))
            model = scores.protocol.get("model", part.card.name)
            if (
                list(streams) != list(part.streams)
                or model != part.card.name
                or scores.classes != list(part.labels)
            ):
                raise ArgumentError(
                    f"{path} does not hold scores of {run}: they are of {model} on {', '.join(streams)}, for "
                    f"{len(scores.classes)} classes. Give the training files in the order of the runs."
                )
        machine = SvmFusion.fit(training, c=svm_c, names=[str(path) for path in svm])
        kind = "svm"
    kind = kind or ("average" if weights is None else "weighted")
    save_fused(out, runs, kind=kind, weights=weights, svm=machine, task=task)
    return load_fused(out, device="cpu")


def _check_arguments(
    files: Sequence[str | Path],
    kind: str | None,
    weights: Sequence[float] | None,
    svm: Sequence[str | Path],
    svm_c: float | None,
    out: str | Path | None,
) -> None:
    if len(files) < 2:
        raise ArgumentError(f"fusion needs at least 2 scores files, got {len(files)}")
    read = [Path(path).resolve() for path in (*files, *svm)]
    if twice := [str(path) for path in read if read.count(path) > 1]:
        raise ArgumentError(f"{twice[0]} is named twice; every stream has scores of its own")
    _check_svm(files, kind, weights, svm, svm_c)
    if out is not None:
        if Path(out).suffix.lower() not in (".npz", ".parquet"):
            raise ArgumentError(f"--out {out}: scores are written as .npz or .parquet")
        if Path(out).resolve() in read:
            raise ArgumentError(f"--out {out} would overwrite one of the files to fuse")


def _check_svm(
    streams: Sequence[str | Path],
    kind: str | None,
    weights: Sequence[float] | None,
    svm: Sequence[str | Path],
    svm_c: float | None,
) -> None:
    if svm and (kind is not None or weights is not None):
        raise ArgumentError("--svm learns how to weigh the streams: give no --kind and no --weights with it")
    if svm_c is not None and not svm:
        raise ArgumentError("--svm-c needs --svm TRAIN_SCORES, the files to fit the SVM on")
    if svm and len(svm) != len(streams):  # before reading: most likely `--svm A B`, which takes A alone
        raise ArgumentError(
            f"an SVM needs one training scores file per stream, got {len(streams)} files to fuse and {len(svm)} "
            "to fit on. Write --svm before each training file (--svm A --svm B), or --svm A,B."
        )


def _svm_notes(machine: SvmFusion, training: Sequence[Scores], streams: Sequence[Scores]) -> list[str]:
    notes = []
    if not machine.converged:
        notes.append(f"The SVM did not converge with C = {machine.c:g}; a smaller --svm-c would.")
    if all(top_k(part.logits, part.targets) >= _MEMORISED for part in training):
        notes.append(
            "Every stream answers nearly all of its training videos correctly, so they can teach the SVM little "
            "about which stream to trust on new ones."
        )
    pairs = zip(training, streams, strict=True)
    views = [(name_with_average(a.protocol), name_with_average(b.protocol)) for a, b in pairs]
    if different := [f"{a} and {b}" for a, b in views if a != b]:
        notes.append(f"Training and test scores come from different protocols ({different[0]}).")
    return notes
