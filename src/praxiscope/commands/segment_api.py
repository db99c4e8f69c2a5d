"""The commands on segments as functions, for scripts and notebooks. Importing this file does not import torch."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from praxiscope.commands.arguments import SegmentOptions, TestOptions, check_test
from praxiscope.inference.options import LoadOptions
from praxiscope.inference.run import Run
from praxiscope.progress import ConsoleReporter, Reporter

if TYPE_CHECKING:
    from praxiscope.commands.test_segments import SegmentTest
    from praxiscope.evaluation.segments import Segment
    from praxiscope.inference.fused import AnyRecogniser
    from praxiscope.inference.segments import SegmentSettings
    from praxiscope.video.opening import VideoSource

__all__ = ["segments", "test_segments"]


def segments(
    run: str | Path | Run | AnyRecogniser,
    source: VideoSource,
    *,
    settings: SegmentSettings | None = None,
    window_s: float | None = None,
    stride_s: float | None = None,
    fps: float | None = None,
    device: str = "auto",
) -> list[Segment]:
    """Find the start and the end of each action in a video, as ``praxiscope predict --segments`` does.

    Args:
        run: a run or model folder, what `praxiscope.train` returns, or what `praxiscope.load` returns.
        source: the path of a video, or frames in memory; see `Recogniser.predict`.
        settings: how segments are found. None: as was learned for the run; for a recogniser, and where nothing was
            learned, the defaults of the model.
        window_s: length of the windows that are scored, seconds. None: that of the settings.
        stride_s: time from one window to the next. None: that of the settings, or half of ``window_s``.
        fps: frames per second of frames in memory, which must be given for these; None for a file.
        device: of the network, if a folder is given.

    Returns:
        Segments by their starts, with ``start_s``, ``end_s``, ``label`` and ``score``.

    Raises:
        ArgumentError, CheckpointError: something cannot be used as asked.
        VideoError: the file cannot be read.

    Example:
        >>> for segment in px.segments("runs/a", "long.mp4"):
        ...     print(segment.start_s, segment.end_s, segment.label)
    """
    options = SegmentOptions("auto", window_s, stride_s)
    load = LoadOptions(device=device)
    folder = os.fspath(run) if isinstance(run, str | os.PathLike | Run) else None
    if folder is not None:
        load.check(folder)  # before torch is imported
    from praxiscope.commands.segments import find_settings, with_windows
    from praxiscope.inference.loading import load_recogniser
    from praxiscope.inference.segment_scores import scores_over_time
    from praxiscope.inference.segments import find_segments

    recogniser: Any = run if folder is None else load_recogniser(folder, load)
    if settings is None:
        settings = find_settings(folder, recogniser, options)
    else:
        settings = with_windows(settings, options)
    scores = scores_over_time(recogniser, source, settings.window_s, settings.stride_s, fps=fps)
    return find_segments(scores, settings)


def test_segments(
    run: str | Path | Run,
    data: str | Path,
    *,
    thresholds: str = "auto",
    window_s: float | None = None,
    stride_s: float | None = None,
    out: str | Path | None = None,
    progress: bool | Reporter = False,
    **options: Any,
) -> SegmentTest:
    """Test a recogniser on videos whose segments are known, as ``praxiscope test --segments`` does.

    A report is written into ``run/tests/``.

    Args:
        run: a run or model folder, or what `praxiscope.train` returns.
        data: a CSV with starts and ends, or a layout that has them.
        thresholds: "auto" takes what was learned for the run, else learns from the training videos of the list, else
            takes the defaults; "learn" learns again; "default" takes the defaults.
        window_s, stride_s: see `segments`.
        out: .json file of figures and segments to write.
        progress: show progress on standard error, or by a `Reporter`.
        options: ``split``, ``annotations``, ``subset``, ``max_skip`` as for `praxiscope.test`, and the keywords of
            `praxiscope.load`.

    Returns:
        ``figures`` by name (``map@0.5``, ``f1@50``, …), ``predicted`` and ``truth`` by video, and more.

    Raises:
        ArgumentError, CheckpointError: something cannot be used as asked.
        DataError: the list has no starts and ends, labels that the model does not have, or no videos to test.
        TrainingError: too many videos cannot be read.

    Example:
        >>> px.test_segments("runs/a", "list.csv").figures["map@0.5"]
    """
    own = {
        name: options.pop(name) for name in ("split", "annotations", "subset", "max_skip") if name in options
    }
    load = LoadOptions.of(**options)
    how = SegmentOptions(thresholds, window_s, stride_s)
    asked = replace(TestOptions(segments=how, **own), out=out)
    folder = os.fspath(run)
    check_test(folder, data, asked, load)  # before torch is imported
    from praxiscope.commands.test_segments import test_segments as run_test

    reporter = progress if isinstance(progress, Reporter) else ConsoleReporter() if progress else Reporter()
    return run_test(folder, data, asked, load=load, reporter=reporter)


test_segments.__test__ = False  # type: ignore[attr-defined]  # pytest would take the name for a test's
