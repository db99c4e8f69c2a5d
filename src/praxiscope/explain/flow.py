"""The picture of optical flow.

Axis letters: T frames, H rows, W columns.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from praxiscope.devices import pick_device
from praxiscope.errors import ArgumentError, DataError
from praxiscope.explain.explanation import TEXT, Explanation, new_figure, set_title, style_axes
from praxiscope.flow.colour import colour_wheel, flow_to_rgb
from praxiscope.flow.estimate import Estimator, create_estimator, estimate_flow
from praxiscope.flow.methods import FileEstimator
from praxiscope.progress import Reporter
from praxiscope.units import counted
from praxiscope.video.opening import open_video
from praxiscope.video.sampling import segment_indices

__all__ = ["colour_scale", "draw_wheel", "explain_flow"]


_COLUMNS = 4  # frames in a row


_SCALE_QUANTILE = 0.995  # so that a few outliers do not make all other vectors white


_LEAST_SCALE = 1.0  # pixels: below it, noise of a still video would look like motion


_LINE = 217  # grey level of the line between a frame and its flow


def explain_flow(
    video: str | Path,
    method: str | Estimator = "tvl1",
    *,
    frames: int = 8,
    short_side: int = 256,
    device: str = "auto",
    reporter: Reporter | None = None,
    **parameters: Any,
) -> Explanation:
    """Draw frames of a video above their optical flow to the next frame.

    Args:
        video: video file.
        method: name of a flow method (see `praxiscope.flow.estimate.create_estimator`), or an estimator.
        frames: number of frames, evenly spaced; all frames of a shorter video.
        short_side: larger frames are resized to this short side, in pixels.
        device: device of the estimator.
        reporter: shows progress.
        parameters: parameters of the method, if it is given by name.

    Returns:
        The figure with the facts ``frames`` (numbers), ``method``, ``parameters``, ``scale_px`` (displacement with the
        strongest colour), ``longest_px``, ``mean_px``, ``size`` (rows and columns of the flow).

    Raises:
        ArgumentError: the method or a number is invalid.
        DataError: the video has fewer than 2 frames.
        VideoError: the video cannot be read.
    """
    if frames < 1:
        raise ArgumentError(f"frames must be at least 1, got {frames}")
    estimator = create_estimator(method, **parameters) if isinstance(method, str) else method
    where = pick_device(device)
    source = open_video(video)
    if len(source) < 2:
        raise DataError(f"{video}: has {counted(len(source), 'frame')}, but flow needs at least 2.")
    numbers = segment_indices(len(source) - 1, min(frames, len(source) - 1)).tolist()
    short_side = min(short_side, source.width, source.height)
    wanted = sorted({n for number in numbers for n in (number, number + 1)})
    pixels = source.frames(wanted, short_side=short_side)
    places = [wanted.index(number) for number in numbers]
    fields = []
    with (reporter or Reporter()).bar("estimating flow", len(places)) as bar:
        if isinstance(estimator, FileEstimator):
            for number, field in enumerate(estimator.fields(source, short_side=short_side)):
                if number in numbers:
                    fields.append(field)
                    bar.advance()
        else:
            for place in places:
                fields.append(estimate_flow(pixels[place : place + 2].to(where), estimator)[0].cpu())
                bar.advance()
    flow = torch.stack(fields)
    times = [float(source.timestamps()[number]) for number in numbers]
    lengths = torch.hypot(flow[:, 0], flow[:, 1])
    scale = colour_scale(lengths)
    captions = [f"frame {number}, {time:.2f} s" for number, time in zip(numbers, times, strict=True)]
    title = f"{Path(video).name}: flow to the next frame by {estimator.name}"
    facts = {
        "frames": numbers,
        "method": estimator.name,
        "parameters": dict(estimator.parameters),
        "scale_px": scale,
        "longest_px": float(lengths.max()),
        "mean_px": float(lengths.mean()),
        "size": list(flow.shape[-2:]),
    }
    return Explanation(_draw_flow(pixels[places], flow, scale, captions, title), facts)


def colour_scale(lengths: Tensor) -> float:
    """The displacement with the strongest colour: nearly the longest, rounded up to two digits."""
    # numpy's quantile, since torch's is limited to 16 million values.
    length = max(float(np.quantile(lengths.numpy(), _SCALE_QUANTILE)), _LEAST_SCALE)
    unit = 10.0 ** (math.floor(math.log10(length)) - 1)
    return round(math.ceil(length / unit - 1e-6) * unit, 6)


def _draw_flow(frames: Tensor, flow: Tensor, scale: float, captions: list[str], title: str) -> Any:
    """Frames uint8 [T, 3, H, W] above flow [T, 2, H, W], with the colour wheel at the right."""
    count, _, height, width = frames.shape
    columns = min(count, _COLUMNS)
    rows = math.ceil(count / columns)
    cell, legend = 2.5, 1.75  # inches
    figure = new_figure(columns * cell + legend, max(2.6, rows * (2 * cell * height / width + 0.25) + 0.4))
    set_title(figure, title)
    grid = figure.add_gridspec(rows, columns + 1, width_ratios=[cell] * columns + [legend])
    line = torch.full((count, 3, max(1, height // 100), width), _LINE, dtype=torch.uint8)
    pairs = torch.cat((frames, line, flow_to_rgb(flow, scale)), dim=-2)
    for place, pair in enumerate(pairs):
        axes = figure.add_subplot(grid[divmod(place, columns)])
        axes.imshow(pair.permute(1, 2, 0).numpy())
        axes.set_title(captions[place], fontsize=9, color=TEXT, pad=3)
        axes.set_xticks([])
        axes.set_yticks([])
        style_axes(axes)
    draw_wheel(figure.add_subplot(grid[:, columns]), scale)
    return figure


def draw_wheel(axes: Any, scale: float) -> None:
    """Draw the colours of flow up to a displacement of ``scale`` pixels."""
    axes.imshow(colour_wheel(301).permute(1, 2, 0).numpy(), extent=(-scale, scale, scale, -scale))
    ticks = [-scale, 0, scale]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xlabel("displacement, pixels\n(darker: beyond the scale)", fontsize=9)
    style_axes(axes)
