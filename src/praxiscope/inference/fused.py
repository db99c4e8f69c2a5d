"""Fuse the scores of several recognisers, such as two-stream networks (Simonyan and Zisserman, 2014).

The folder of a fused recogniser contains a model folder for each part, and ``fusion.json`` with the kind and weights of
the fusion. The scores equal those that ``praxiscope.evaluation.fusion`` computes from scores files of the parts.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from praxiscope.checkpoint import ModelCard, is_calibration, load_card, write_json
from praxiscope.data.dataset import Skip, ignore
from praxiscope.data.flow_reader import needs_weights
from praxiscope.data.splitlist import SplitList
from praxiscope.errors import ArgumentError, CheckpointError, ScoresError
from praxiscope.evaluation.answers import NoneBelow, find_threshold, is_none
from praxiscope.evaluation.calibration import calibrate
from praxiscope.evaluation.fusion import combine, fuse
from praxiscope.evaluation.scores import Scores
from praxiscope.evaluation.svm import SvmFusion
from praxiscope.inference.describe import recogniser_html, recogniser_text
from praxiscope.inference.loading import load_single
from praxiscope.inference.options import FlowOptions, LoadOptions
from praxiscope.inference.recogniser import Recogniser, best_labels
from praxiscope.inference.timeline import default_window
from praxiscope.progress import Reporter
from praxiscope.run_folder import FUSION_FILE, HELD_OUT_FILE, SVM_FILE
from praxiscope.types import Prediction, Segment, VideoRecord
from praxiscope.units import counted
from praxiscope.video.opening import VideoSource, as_video

__all__ = ["AnyRecogniser", "FusedRecogniser", "load_fused", "save_fused"]

_FORMAT = 1


class FusedRecogniser:
    """Several recognisers of the same classes whose scores are fused.

    Args:
        parts: two or more recognisers.
        kind: how scores are fused, see ``praxiscope.evaluation.fusion``; "svm" with ``svm``.
        weights: one per part; None for equal weights.
        svm: a fitted SVM, for the kind "svm".
        calibration: of the fused scores, as in `ModelCard`; None if there is none. The parts are fused before their
            own temperatures, so that the fused scores are those of scores files.

    Raises:
        ArgumentError: parts with different classes, or a fusion that does not fit them.
    """

    def __init__(
        self,
        parts: Sequence[Recogniser],
        *,
        kind: str = "average",
        weights: Sequence[float] | None = None,
        svm: SvmFusion | None = None,
        calibration: Mapping[str, Any] | None = None,
    ) -> None:
        self.parts, self.kind, self.svm = list(parts), kind, svm
        self.calibration = dict(calibration or {})
        self.weights = None if weights is None else [float(weight) for weight in weights]
        first = parts[0].card
        for part in parts[1:]:
            if part.labels != first.labels or part.card.multi_label != first.multi_label:
                raise ArgumentError(
                    "the parts of a fused recogniser must have the same classes, in the same order"
                )
        if (kind == "svm") != (svm is not None):
            raise ArgumentError("svm must be a fitted SVM for the kind 'svm', and None for other kinds")
        self.fuse(torch.zeros(len(parts), 1, len(first.labels)))  # raises if kind and weights do not match

    def __repr__(self) -> str:
        return recogniser_text(self.parts)

    def _repr_html_(self) -> str:
        """A table for notebooks: models, inputs, labels, metrics."""
        return recogniser_html(self.parts)

    @property
    def card(self) -> ModelCard:
        """The card of the first part. All parts have the same labels."""
        return self.parts[0].card

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, in the order of the scores."""
        return self.card.labels

    @property
    def runtime(self) -> str:
        """The libraries that computed the last scores of the parts, such as "onnxruntime+torch"."""
        return "+".join(dict.fromkeys(part.runtime for part in self.parts))

    def predict(
        self,
        source: VideoSource,
        top: int = 5,
        protocol: str | None = None,
        average: str | None = None,
        none_below: NoneBelow = "auto",
        fps: float | None = None,
    ) -> Prediction:
        """Predict the action in one video; see `Recogniser.predict`. ``average`` applies to the views of each part."""
        threshold = find_threshold(none_below, self.calibration)
        video = as_video(source, fps, timed=any(part.needs_times for part in self.parts))
        rows = [part.video_logits(video, protocol, average) for part in self.parts]
        labels, scores = self._top(self.fuse(torch.stack(rows)[:, None])[0], top)
        none = is_none(scores, threshold)
        return Prediction(
            str(video.path), labels, scores, none_of_these=none, none_below=threshold, runtime=self.runtime
        )

    def score(
        self,
        records: Sequence[VideoRecord],
        targets: Sequence[Tensor],
        protocol: str | None = None,
        *,
        average: str | None = None,
        workers: int = 2,
        time_limit_s: float = 300.0,
        reporter: Reporter | None = None,
        note_damage: Callable[[Iterable[Skip]], None] = ignore,
    ) -> tuple[Scores, list[Skip]]:
        """Score many videos; see ``Recogniser.score``. A video that one part cannot read is left out."""
        found: list[Scores] = []
        skipped: dict[str, Skip] = {}
        for part in self.parts:
            scores, skips = part.score(
                records,
                targets,
                protocol,
                average=average,
                workers=workers,
                time_limit_s=time_limit_s,
                reporter=reporter,
                note_damage=note_damage,
            )
            found.append(scores)
            skipped.update({skip.id: skip for skip in skips})
        kept = [name for name in found[0].ids if name not in skipped]
        found = [scores.reordered(kept) for scores in found]
        names = [part.stream for part in self.parts]
        if self.svm is not None:
            fused = self.svm.fuse(found, names=names, any_protocol=True)
        else:
            fused = fuse(found, kind=self.kind, weights=self.weights, names=names, any_protocol=True)
        if self.calibration and not self.card.multi_label:
            fused.protocol["temperature"] = self._temperature
        return fused, list(skipped.values())

    def timeline(
        self,
        source: VideoSource,
        *,
        window_s: float | None = None,
        stride_s: float | None = None,
        top: int = 1,
        fps: float | None = None,
        none_below: NoneBelow = "auto",
    ) -> Iterator[Segment]:
        """Predict every window of a video; see `Recogniser.timeline`."""
        threshold = find_threshold(none_below, self.calibration)
        video = as_video(source, fps, timed=True)
        window_s = default_window(self.card.input) if window_s is None else window_s
        streams = [part.window_logits(video, window_s, stride_s) for part in self.parts]
        for rows in zip(*streams, strict=True):
            start_s, end_s, _ = rows[0]
            logits = self.fuse(torch.stack([row for _, _, row in rows])[:, None])
            labels, scores = self._top(logits[0], top)
            yield Segment(start_s, end_s, labels, scores, is_none(scores, threshold))

    def fuse(self, logits: Tensor) -> Tensor:
        """Fuse the scores of the parts before softmax, [F, n, K] to [n, K]."""
        arrays = list(logits.numpy())
        if self.svm is not None:
            return torch.from_numpy(self.svm.decide(arrays)).float()
        fused = combine(arrays, kind=self.kind, weights=self.weights, multi_label=self.card.multi_label)
        return torch.from_numpy(np.asarray(fused)).float()

    def _top(self, logits: Tensor, top: int) -> tuple[list[str], list[float]]:
        return best_labels(logits, self.labels, self.card.multi_label, top, self._temperature)

    @property
    def _temperature(self) -> float:
        return float(self.calibration.get("temperature", 1.0))


AnyRecogniser: TypeAlias = Recogniser | FusedRecogniser
"""Return type of ``praxiscope.load``."""


def save_fused(
    folder: str | Path,
    runs: Sequence[str | Path],
    *,
    kind: str = "average",
    weights: Sequence[float] | None = None,
    svm: SvmFusion | None = None,
    task: str | None = None,
) -> None:
    """Copy recognisers and their fusion settings to one self-contained folder.

    Args:
        folder: the new folder. It is written atomically.
        runs: run or model folders of the parts.
        kind, weights, svm: see `FusedRecogniser`.
        task: for runs on several data sets, the name of the one whose classes are used.

    Raises:
        ArgumentError: the folder exists, or the parts do not fit together.
        CheckpointError: a run holds no model.
    """
    target = Path(folder)
    if target.exists():
        raise ArgumentError(f"--out {target}: exists already. Name another folder, or remove it.")
    fused = FusedRecogniser(
        [load_single(run, LoadOptions(device="cpu", task=task)) for run in runs],
        kind=kind,
        weights=weights,
        svm=svm,
    )
    splits = [SplitList(Path(run), task) for run in runs]
    _check_splits(splits)
    temporary = target.with_name(target.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    names = [f"{number}-{part.stream}" for number, part in enumerate(fused.parts, 1)]
    for name, part in zip(names, fused.parts, strict=True):
        part.save(temporary / name)
    content: dict[str, Any] = {"format": _FORMAT, "parts": names, "kind": kind, "weights": fused.weights}
    if svm is None and (calibration := _calibrate(runs, fused)):
        content["calibration"] = calibration
    trained = {name for split in splits for name, side in split.sides().items() if side == "train"}
    before = reduce(or_, (split.before() for split in splits))
    for split in [split for split in splits if split.path.is_file()][:1]:
        split.copy_to(temporary, trained, before)  # keeps the list of training videos
    if svm is not None:
        from safetensors.numpy import save_file

        arrays = {"coefficients": svm.coefficients, "intercepts": svm.intercepts}
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary / SVM_FILE)
        content["svm"] = {"c": svm.c, "sources": list(svm.sources)}
    write_json(temporary / FUSION_FILE, content)
    temporary.replace(target)


def _calibrate(runs: Sequence[str | Path], fused: FusedRecogniser) -> dict[str, Any]:
    """The calibration of fused runs, on the videos that all of them have held out; empty if there are none."""
    files = [Path(run) / HELD_OUT_FILE for run in runs]
    if not all(file.is_file() for file in files):
        return {}
    streams = [Scores.load(file) for file in files]
    common = [name for name in streams[0].ids if all(name in stream.ids for stream in streams)]
    if not common:
        return {}
    try:
        scores = fuse(
            [stream.reordered(common) for stream in streams],
            kind=fused.kind,
            weights=fused.weights,
            any_protocol=True,
        )
    except ScoresError:  # runs on other labels of the same videos
        return {}
    return calibrate(
        scores.logits,
        scores.targets,
        source="training groups that all parts held out",
        multi_label=fused.card.multi_label,
    )


def _check_splits(splits: Sequence[SplitList]) -> None:
    """Raise ArgumentError if one part has learned from videos that another one is tested on.

    A part may hold out some training videos for its own validation, so train and val need not agree.
    """
    learned: dict[str, Path] = {}
    tested: dict[str, Path] = {}
    for split in splits:
        for name, side in split.sides().items():
            (tested if side == "test" else learned).setdefault(name, split.path)
    if leaked := [name for name in learned if name in tested]:
        first = leaked[0]
        raise ArgumentError(
            f"{learned[first]} and {tested[first]} have {counted(len(leaked), 'video')} in different splits, such as "
            f"{first}: one network was trained on test videos of the other. Train both with the same split."
        )


def load_fused(folder: str | Path, options: LoadOptions) -> FusedRecogniser:
    """Load a fused recogniser.

    Args:
        folder: a folder that `save_fused` has written.
        options: device, and flow for the parts that use flow. Weights of a flow method are used by the parts whose
            method needs them.

    Raises:
        CheckpointError: the folder or one of its parts is damaged.
        ArgumentError: flow options that no part uses.
    """
    root = Path(folder)
    try:
        content = json.loads((root / FUSION_FILE).read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise CheckpointError(
                f"{root / FUSION_FILE}: has format {content['format']!r}; this version reads {_FORMAT}."
            )
        names, kind, weights = (
            [str(name) for name in content["parts"]],
            str(content["kind"]),
            content["weights"],
        )
        cards = [load_card(root / name) for name in names]
        svm = _load_svm(root, content["svm"], cards[0].labels) if kind == "svm" else None
        calibration = content.get("calibration")
        if calibration is not None and not is_calibration(calibration):
            raise CheckpointError(f"{root / FUSION_FILE}: wrong values for calibration. Fuse the runs again.")
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"{root / FUSION_FILE}: not readable ({error}). Fuse the runs again."
        ) from error
    parts = [
        load_single(root / name, LoadOptions(device=options.device, flow=flow))
        for name, flow in zip(names, _share_flow(root, cards, options.flow), strict=True)
    ]
    try:
        return FusedRecogniser(parts, kind=kind, weights=weights, svm=svm, calibration=calibration)
    except (ArgumentError, ScoresError) as error:
        raise CheckpointError(f"{root}: the parts do not fit together. {error}") from error


def _share_flow(root: Path, cards: Sequence[ModelCard], options: FlowOptions) -> list[FlowOptions]:
    """Return the flow options that each part uses. Raises ArgumentError if no part uses them."""
    if options.store is not None:
        used = [card.input.flow is not None for card in cards]
        what = "no part uses flow"
    else:
        used = [card.input.flow is not None and needs_weights(card.input.flow) for card in cards]
        what = "no part estimates flow by a method that needs weights"
    if options.given is not None and not any(used):
        raise ArgumentError(f"{root}: {what}. Leave out {options.given}.")
    return [options if uses else FlowOptions() for uses in used]


def _load_svm(root: Path, about: dict[str, Any], labels: Sequence[str]) -> SvmFusion:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(root / SVM_FILE)
    except SafetensorError as error:
        raise CheckpointError(f"{root / SVM_FILE}: not readable ({error}). Fuse the runs again.") from error
    return SvmFusion(
        arrays["coefficients"],
        arrays["intercepts"],
        tuple(labels),
        float(about["c"]),
        sources=tuple(about["sources"]),
    )
