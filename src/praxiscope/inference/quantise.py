"""Quantise an exported network to 8 bits, by ranges of activations on given videos."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from praxiscope.deploy.reading import Inputs
from praxiscope.deploy.runner import Runner
from praxiscope.errors import ArgumentError, DataError, VideoError
from praxiscope.progress import Reporter

__all__ = ["quantise"]

_VIEWS = 4  # of a video, with which ranges are found
_FRAMES = 24  # whose outputs of all layers are kept at a time; but no less than one view


def quantise(path: Path, runner: Runner, clips: Sequence[str | Path], reporter: Reporter) -> int:
    """Replace the network that takes frames by one whose weights and activations have 8 bits.

    Weights have a scale for each channel. The range of an activation is that of 99.999 % of its values on the clips.

    Args:
        path: an ONNX file, which is replaced.
        runner: of the network, for the frames of the clips.
        clips: videos, of the training set.
        reporter: shows progress, and names videos that cannot be read.

    Returns:
        The number of videos that were read.

    Raises:
        ArgumentError: the file is of another format, or there are no clips.
        VideoError, DataError: no video can be read.
    """
    if path.suffix != ".onnx":
        raise ArgumentError(
            f"{path.name}: only ONNX networks are quantised here. Leave out --int8, or use --to onnx."
        )
    if not clips:
        raise ArgumentError("quantisation needs videos, by which the ranges of activations are found")
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    inputs = _Inputs(runner, clips, reporter)
    with TemporaryDirectory() as scratch, inputs:
        known = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            with redirect_stdout(StringIO()):
                prepared = Path(scratch) / "prepared.onnx"
                # Symbolic shapes are of no use here, and where they are not followed onnxruntime leaves files behind.
                quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
                quantize_static(
                    str(prepared),
                    str(path),
                    inputs,
                    per_channel=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    calibrate_method=CalibrationMethod.Percentile,
                    extra_options={"CalibStridedMinMax": inputs.together},  # of percentiles, too
                )
        finally:
            logging.disable(known)
    return inputs.read


class _Inputs:
    """What onnxruntime asks for inputs, a few at a time: it keeps the outputs of all layers for those between two calls
    of `set_range`, which for a large network are gigabytes.

    Attributes:
        read: number of videos that were read.
        together: number of views at a time, of several videos: the first ones decide how finely ranges are counted.

    Raises:
        VideoError, DataError: no video can be read.
    """

    def __init__(self, runner: Runner, clips: Sequence[str | Path], reporter: Reporter) -> None:
        self.read = 0
        self._views: list[Inputs] = []
        failure: Exception | None = None
        for clip in clips:
            try:
                self._views += runner.inputs(clip, _VIEWS)
            except (VideoError, DataError) as error:
                reporter.line(f"Left out: {error}")
                failure = error
            else:
                self.read += 1
        if failure is not None and not self.read:
            raise failure
        np.random.default_rng(0).shuffle(self._views)
        frames = max(x.shape[0] * x.shape[1] for x in self._views[0].values())
        self.together = max(1, _FRAMES // frames)
        self._bar = reporter.bar("ranges of activations", len(self._views))
        self._left: list[Inputs] = []

    def __len__(self) -> int:
        """The number of views, and as many more as make it a multiple of ``together``."""
        return -(-len(self._views) // self.together) * self.together

    def __enter__(self) -> _Inputs:
        self._shown = self._bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.__exit__(*error)

    def set_range(self, start_index: int, end_index: int) -> None:
        """The views that come next."""
        self._left = self._views[start_index:end_index]
        self._shown.advance(len(self._left))

    def get_next(self) -> Inputs | None:
        """The next inputs, None at the end."""
        return self._left.pop(0) if self._left else None
