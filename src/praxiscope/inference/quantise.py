"""Quantise an exported network to 8 bits, by ranges of activations on given videos."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from praxiscope.deploy.runner import Runner
from praxiscope.errors import ArgumentError
from praxiscope.progress import Reporter

__all__ = ["quantise"]

_VIEWS = 4  # of a video, with which ranges are found


def quantise(path: Path, runner: Runner, clips: Sequence[str | Path], reporter: Reporter) -> None:
    """Replace the network that takes frames by one whose weights and activations have 8 bits.

    Weights have a scale for each channel. The range of an activation is that of 99.999 % of its values on the clips.

    Args:
        path: an ONNX file, which is replaced.
        runner: of the network, for the frames of the clips.
        clips: videos, of the training set.
        reporter: shows progress.

    Raises:
        ArgumentError: the file is of another format, or there are no clips.
    """
    if path.suffix != ".onnx":
        raise ArgumentError(
            f"{path.name}: only ONNX networks are quantised here. Leave out --int8, or use --to onnx."
        )
    if not clips:
        raise ArgumentError("quantisation needs videos, by which the ranges of activations are found")
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with reporter.bar("ranges of activations", len(clips)) as bar, TemporaryDirectory() as scratch:
        known = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            with redirect_stdout(StringIO()):
                prepared = Path(scratch) / "prepared.onnx"
                quant_pre_process(str(path), str(prepared))
                quantize_static(
                    str(prepared),
                    str(path),
                    _Reader(_inputs(runner, clips, bar)),
                    per_channel=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    calibrate_method=CalibrationMethod.Percentile,
                )
        finally:
            logging.disable(known)


class _Reader:
    """What onnxruntime asks for inputs."""

    def __init__(self, inputs: Iterator[dict[str, NDArray[Any]]]) -> None:
        self._inputs = inputs

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """The next inputs, None at the end."""
        return next(self._inputs, None)


def _inputs(runner: Runner, clips: Sequence[str | Path], bar: Any) -> Iterator[dict[str, NDArray[np.uint8]]]:
    for clip in clips:
        for frames in runner.inputs(clip, _VIEWS):
            yield {"rgb": frames}
        bar.advance()
