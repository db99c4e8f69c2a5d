"""The commands as functions, for scripts and notebooks. They print nothing unless ``progress`` is set.

Importing this file does not import torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from praxiscope.errors import ArgumentError, unknown_name
from praxiscope.inference.run import Run
from praxiscope.progress import ConsoleReporter, Reporter

if TYPE_CHECKING:
    from praxiscope.commands.flow import FlowSummary
    from praxiscope.data.check import CheckReport
    from praxiscope.evaluation.scores import Scores
    from praxiscope.features.store import FeatureStore

__all__ = ["check", "feature_store", "flow_store", "fuse", "test", "train"]

Data = str | Path
"""A folder of class folders, a CSV file, or ``LAYOUT:FOLDER``."""


def train(
    data: Data | Mapping[str, Data] | None = None,
    *,
    out: str | Path = "runs/new",
    model: str | None = None,
    recipe: str | Path = "default",
    resume: bool = False,
    progress: bool | Reporter = False,
    **settings: Any,
) -> Run:
    """Train a recogniser on labelled videos, as ``praxiscope train`` does.

    Args:
        data: a folder of class folders, a CSV file, or ``LAYOUT:FOLDER``; or several data sets by name. May be left out
            with ``resume``.
        out: folder of the run.
        model: name of the model. None: the model of the recipe.
        recipe: name of a recipe, or the ``settings.yaml`` of a run.
        resume: continue from the last checkpoint in ``out``.
        progress: show progress on standard error, or by a `Reporter`.
        settings: options of ``praxiscope train`` by their names, with ``_`` for ``-``: ``epochs=5``, ``lr=0.01``,
            ``batch=8``, ``size=112`` (pixels), ``backbone="resnet50"``, ``pretrained=True``, ``weights="w.pt"``,
            ``seed=0``, ``flow="flow/"``, ``watch=8``, ``choose=4``, …; ``start="runs/short"`` or
            ``start=("runs/rgb", "runs/flow")`` is ``--from``. With several data sets, ``split``, ``annotations`` and
            ``flow`` are mappings by data set name.
            Files and folders may be ``Path`` objects. Give any other setting by its full name, as in
            ``**{"optim.momentum": 0.8}``.

    Returns:
        The run. ``run.finished`` is False if training was interrupted.

    Raises:
        ArgumentError, DataError, CheckpointError: something cannot be used as asked.
        TrainingError: the loss is not finite, or too many videos cannot be read.

    Example:
        >>> run = px.train("videos/", out="runs/a", model="tsm", epochs=10, lr=0.01)
        >>> run.load().predict("clip.mp4")
    """
    from praxiscope.commands.train_options import resolve

    folder = Path(out)
    resolved = resolve(_train_options(data, model, str(recipe), settings), folder, resume)
    from praxiscope.commands.train import train as run_training

    finished = run_training(resolved, folder, resume=resume, reporter=_reporter(progress))
    return Run(folder, finished=finished)


def _train_options(
    data: Data | Mapping[str, Data] | None, model: str | None, recipe: str, settings: Mapping[str, Any]
) -> Any:
    """Return the options that the keywords of `train` define."""
    from praxiscope.commands.train_options import SETTINGS, DataOptions, TrainOptions

    given = {name: value for name, value in settings.items() if value is not None}
    values = {name: given.pop(name) for name in list(given) if "." in name}
    start, flow = given.pop("start", None), given.pop("flow", None)
    if unknown := [name for name in given if name not in SETTINGS]:
        raise unknown_name("setting", unknown[0], [*SETTINGS, "flow", "start"])
    several: dict[str, list[str]] = {}
    if isinstance(data, Mapping):
        for name in ("split", "annotations"):
            several[name] = _named(name, given.pop(name, {}))
        flows = _named("flow", {} if flow is None else flow)
        sets = DataOptions(None, _named("data", data), several["split"], several["annotations"], flows)
    else:
        sets = DataOptions(None if data is None else str(data), flow=() if flow is None else [str(flow)])
    if isinstance(start, os.PathLike):
        start = os.fspath(start)
    elif start is not None and not isinstance(start, str):
        if not isinstance(start, Iterable):
            raise ArgumentError(
                f"start must be a run, or two runs such as ('runs/rgb', 'runs/flow'), got {start!r}"
            )
        start = ",".join(map(str, start))
    return TrainOptions(sets, model, recipe, start, given, values=values)


def _named(name: str, values: object) -> list[str]:
    """Convert a mapping to NAME=VALUE texts. Raises ArgumentError if it is not a mapping."""
    if not isinstance(values, Mapping):
        raise ArgumentError(f"{name} = {values!r}: with several data sets, give a mapping by their names.")
    return [f"{key}={value}" for key, value in values.items()]


def test(
    run: str | Path | Run,
    data: Data,
    *,
    protocol: str | None = None,
    average: str | None = None,
    split: str | None = None,
    annotations: str | Path | None = None,
    subset: str = "test",
    out: str | Path | None = None,
    checkpoint: str | None = None,
    device: str = "auto",
    flow: str | Path | None = None,
    flow_range: float | None = None,
    flow_weights: str | Path | None = None,
    task: str | None = None,
    workers: int = 2,
    max_skip: float | None = None,
    progress: bool | Reporter = False,
) -> Scores:
    """Test a recogniser on held-out videos, as ``praxiscope test`` does. A report is written into ``run/tests/``.

    Args:
        run: a run or model folder, or what `train` returns.
        data: a folder of class folders, a CSV file, or ``LAYOUT:FOLDER``.
        protocol: views to average for each video, such as "25x10". None: the protocol of the model.
        average: how views are averaged: "logits" or "softmax". None: that of the protocol.
        split: official split of a layout.
        annotations: folder of a layout's official lists, if they are not beside the videos.
        subset: part of the data: "train", "val" or "test". A data set without splits is split as in training.
        out: scores file to write (.npz or .parquet).
        checkpoint, device, flow, flow_range, flow_weights, task: see `praxiscope.load`.
        workers: number of processes that read videos.
        max_skip: largest fraction of videos that may be unreadable; None is 0.05, and at least three videos.
        progress: show progress on standard error, or by a `Reporter`.

    Returns:
        The scores of the videos that could be read; `praxiscope.evaluation.metrics.summarise` measures them.

    Raises:
        ArgumentError, CheckpointError: something cannot be used as asked.
        DataError: a label is not a class of the model, or there are no videos to test.
        TrainingError: too many videos cannot be read.

    Example:
        >>> scores = px.test("runs/a", "videos/", protocol="25x1")
        >>> px.evaluation.metrics.summarise(scores)["top1"]
    """
    from praxiscope.commands.arguments import TestOptions, check_test
    from praxiscope.inference.options import FlowOptions, LoadOptions

    options = TestOptions(protocol, average, split, annotations, subset, out, workers, max_skip)
    load = LoadOptions(checkpoint, device, task, FlowOptions(flow, flow_range, flow_weights))
    folder = os.fspath(run)
    check_test(folder, data, options, load)  # before torch is imported
    from praxiscope.commands.test import test as run_test

    return run_test(folder, data, options, load=load, reporter=_reporter(progress)).scores


test.__test__ = False  # type: ignore[attr-defined]  # pytest would take the name for a test's


def check(
    data: Data | None = None,
    *,
    labels: str | Path | None = None,
    split: str | None = None,
    annotations: str | Path | None = None,
    full: bool = False,
    workers: int = 2,
    progress: bool | Reporter = False,
) -> CheckReport:
    """Check a data set before training, as ``praxiscope check`` does: broken videos, class balance, duplicates, leaks.

    Args:
        data: a folder of class folders, a CSV file, or ``LAYOUT:FOLDER``. May be left out with ``labels``.
        labels: folder of the videos' features (``praxiscope features``): ``report.label_trouble`` then lists clips
            whose features disagree with their label, and pairs of clips that show nearly the same.
        split: official split of a layout.
        annotations: folder of a layout's official lists, if they are not beside the videos.
        full: decode every frame, to find damaged ones. Slower.
        workers: number of processes that open videos.
        progress: show progress on standard error, or by a `Reporter`.

    Returns:
        The report; ``print(report)`` shows it as text, ``report.broken`` lists what cannot be read.

    Raises:
        ArgumentError, DataError: the data set cannot be listed, or the features do not fit.

    Example:
        >>> report = px.check("videos/")
        >>> report.whole, report.imbalance
        >>> [clip.record.id for clip in px.check(labels="features/").label_trouble.suspects[:20]]
    """
    from praxiscope.commands.check import check as run_check

    return run_check(
        data,
        labels=labels,
        split=split,
        annotations=annotations,
        full=full,
        workers=workers,
        reporter=_reporter(progress),
    )


def fuse(
    streams: Sequence[Scores | str | Path],
    *,
    kind: str | None = None,
    weights: Sequence[float] | None = None,
    svm: Sequence[Scores | str | Path] = (),
    svm_c: float | None = None,
    any_protocol: bool = False,
    out: str | Path | None = None,
) -> Scores:
    """Fuse the scores of several streams for the same videos, as ``praxiscope fuse`` does.

    Args:
        streams: two or more `Scores` or scores files.
        kind: "average" (softmax probabilities), "weighted" (scores before softmax), "l1" or "l2" (scores before
            softmax, divided by their norm in each video). None: "weighted" if ``weights`` are given, else "average".
        weights: one per stream; only their ratio matters.
        svm: scores of the training videos, one per stream and in the same order, to fit an SVM on. Excludes ``kind``
            and ``weights``.
        svm_c: C of the SVM. None: chosen by cross-validation on the training scores.
        any_protocol: fuse scores even if they were made with different protocols.
        out: scores file to write (.npz or .parquet).

    Returns:
        The fused scores; `praxiscope.evaluation.metrics.summarise` measures them.

    Raises:
        ArgumentError: arguments that cannot be combined.
        ScoresError: a file cannot be read, or the streams do not fit together.

    Example:
        >>> rgb, flow = px.test("runs/rgb", "videos/"), px.test("runs/flow", "videos/")
        >>> fused = px.fuse([rgb, flow], weights=[1, 1.5])
    """
    from praxiscope.commands.fuse import fuse as run_fuse

    return run_fuse(
        streams, kind=kind, weights=weights, svm=svm, svm_c=svm_c, any_protocol=any_protocol, out=out
    ).scores


def flow_store(
    data: Data,
    out: str | Path,
    *,
    method: str = "tvl1",
    parameters: Mapping[str, Any] | None = None,
    backward: bool = False,
    progress: bool | Reporter = False,
    **options: Any,
) -> FlowSummary:
    """Estimate and store the optical flow of a data set's videos, as ``praxiscope flow`` does.

    Clips that are already stored are kept, so repeat an interrupted call to continue it.

    Args:
        data: a folder of class folders, a CSV file, or ``LAYOUT:FOLDER``.
        out: folder of the stored flow; give it to `train` as ``flow``.
        method: "tvl1", "dis", "farneback", "raft", or a registered method.
        parameters: parameters of the method, such as ``{"warps": 3}``.
        backward: also store the flow to the previous frame.
        progress: show progress on standard error, or by a `Reporter`.
        options: other options of ``praxiscope flow`` by their names: ``range=20`` (pixels), ``short_side=256``
            (pixels), ``storage="ffv1"`` (``--format``), ``split``, ``annotations``, ``workers``, ``device``,
            ``max_skip``, ``verify``.

    Returns:
        Numbers of clips and fields, bytes, and the error of the storage in pixels.

    Raises:
        ArgumentError: settings that cannot be used, or a folder of flow that was stored with other settings.
        DataError: no video can be read.
        TrainingError: too many videos cannot be read.

    Example:
        >>> px.flow_store("videos/", "flow/", method="dis", workers=2)
        >>> px.train("videos/", out="runs/flow", flow="flow/")
    """
    from praxiscope.commands.flow import StoreOptions, extract_flow

    known = {one.name for one in fields(StoreOptions)}
    if unknown := [name for name in options if name not in known]:
        raise unknown_name("option", unknown[0], known)
    making = StoreOptions(method=method, parameters=parameters or {}, backward=backward, **options)
    return extract_flow(data, out, making, reporter=_reporter(progress))


def feature_store(
    data: Data,
    out: str | Path,
    *,
    backbone: str | Path | None = None,
    frames: int | None = None,
    fps: float | None = None,
    every: bool = False,
    progress: bool | Reporter = False,
    **options: Any,
) -> FeatureStore:
    """Compute and store features of a data set's videos with a per-frame network, as ``praxiscope features`` does.

    Features that are already stored are kept, so repeat an interrupted call to continue it.

    Args:
        data: a folder of class folders, a CSV file, or ``LAYOUT:FOLDER``.
        out: folder of the store; give it to `train` as data.
        backbone: name of a backbone, or the folder of a run of single frames. None: the default backbone.
        frames: frames of each video, in the middles of as many equal parts. Default: 25.
        fps: the frames nearest to 0, 1/fps, 2/fps … seconds, in place of ``frames``.
        every: all frames.
        progress: show progress on standard error, or by a `Reporter`.
        options: other options of ``praxiscope features`` by their names: ``weights="w.pt"``, ``layer="blocks.4"``,
            ``pool="none"``, ``views="flip"``, ``size=192`` (pixels), ``half=True``, ``flow="flow/"``, ``split``,
            ``annotations``, ``workers``, ``devices=("cuda:0",)``, ``max_skip``, ``verify``, ``retry``.

    Returns:
        The store. ``store.clip(id).features`` is a tensor with a row for each frame.

    Raises:
        ArgumentError: options that cannot be used, or a folder of features that were computed differently.
        CheckpointError: weights that cannot be loaded.
        DataError: no video can be read.
        TrainingError: too many videos cannot be read.

    Example:
        >>> store = px.feature_store("videos/", "features/", frames=25)
        >>> px.train("features/", out="runs/probe", model="probe")
    """
    from praxiscope.commands.feature_options import FeatureOptions, sampling_of
    from praxiscope.commands.features import features
    from praxiscope.features.store import FeatureStore

    known = {one.name for one in fields(FeatureOptions)} - {"sampling"}
    if unknown := [name for name in options if name not in known]:
        raise unknown_name("option", unknown[0], known)
    if backbone is not None:
        options["backbone"] = os.fspath(backbone)
    making = FeatureOptions(sampling=sampling_of(frames, fps, every), **options)
    return FeatureStore(features(data, out, making, reporter=_reporter(progress)))


def _reporter(progress: bool | Reporter) -> Reporter:
    if isinstance(progress, Reporter):
        return progress
    return ConsoleReporter() if progress else Reporter()
