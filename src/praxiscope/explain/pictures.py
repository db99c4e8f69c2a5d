"""Pictures that say what a network sees and what it has learned.

A kind of explanation is a function that returns an `Explanation`; `save_explanation` writes any of them.

Axis letters: T frames, C channels, H rows, W columns; F filters of a layer, K rows and columns of a filter.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from praxiscope.checkpoint import find_checkpoint, is_fused, load_card
from praxiscope.devices import pick_device
from praxiscope.errors import ArgumentError, DataError
from praxiscope.explain.checks import check_picture_path
from praxiscope.flow.colour import colour_wheel, flow_to_rgb
from praxiscope.flow.estimate import Estimator, create_estimator, estimate_flow
from praxiscope.inference.loading import load
from praxiscope.progress import Reporter
from praxiscope.types import STEM
from praxiscope.video.opening import open_video
from praxiscope.video.sampling import segment_indices

__all__ = [
    "TEXT",
    "Explanation",
    "blank_figure",
    "draw_filters",
    "dress",
    "explain_filters",
    "explain_flow",
    "save_explanation",
]

TEXT = "#24272c"
_DOTS_PER_INCH = 160
_COLUMNS = 4  # frames side by side
_SCALE_QUANTILE = 0.995  # a few wild vectors must not leave all others white
_LEAST_SCALE = 1.0  # pixels: below it a still picture's noise would get the colours of motion
_LINE = 217  # grey level of the line between a frame and its flow
_GAP = 6  # pixels between tiles
_BETWEEN = (0.80, 0.87, 0.95)  # their colour: tiles are white, grey and black
_WIDTH_INCHES = 12.0


@dataclass(frozen=True)
class Explanation:
    """A picture, and what it shows in numbers.

    Attributes:
        figure: a matplotlib figure.
        facts: what a caption or a program needs to know, by name.
    """

    figure: Any
    facts: dict[str, Any] = field(default_factory=dict)


def save_explanation(explanation: Explanation, path: str | Path) -> Path:
    """Write the picture; it appears whole or not at all.

    Args:
        explanation: of any kind.
        path: a file in .png, .jpg, .pdf or .svg; replaced if it is there.

    Raises:
        ArgumentError: no such folder, or another format.
    """
    path = check_picture_path(path)
    content = io.BytesIO()
    explanation.figure.savefig(content, format=path.suffix.lower()[1:], dpi=_DOTS_PER_INCH, facecolor="white")
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content.getvalue())
    os.replace(temporary, path)
    return path


# -------------------------------------------------------------------------------------------------- flow


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
    """Draw frames of a video over the flow that leads to their next frames.

    Args:
        video: a video file.
        method: a name for `praxiscope.flow.estimate.create_estimator`, or an estimator.
        frames: how many, evenly spread; as many as there are in a shorter video.
        short_side: larger frames are scaled down to so many pixels.
        device: where the flow is estimated.
        reporter: shows progress.
        parameters: of the method, where it is named.

    Returns:
        The picture with facts ``frames`` (numbers), ``method``, ``parameters``, ``scale_px`` (the length that has the
        full colour), ``longest_px``, ``mean_px``, ``size`` (rows and columns of the fields).

    Raises:
        ArgumentError: the method or a number cannot be used.
        DataError: the video has a single frame.
        VideoError: it cannot be read.
    """
    if frames < 1:
        raise ArgumentError(f"frames must be at least 1, got {frames}")
    estimator = create_estimator(method, **parameters) if isinstance(method, str) else method
    place_of_work = pick_device(device)
    source = open_video(video)
    if len(source) < 2:
        raise DataError(f"{video}: has {len(source)} frame; flow needs two.")
    numbers = segment_indices(len(source) - 1, min(frames, len(source) - 1)).tolist()
    short_side = min(short_side, source.width, source.height)
    wanted = sorted({n for number in numbers for n in (number, number + 1)})
    pixels = source.frames(wanted, short_side=short_side)
    places = [wanted.index(number) for number in numbers]
    fields = []
    with (reporter or Reporter()).bar("estimating flow", len(places)) as bar:
        for place in places:
            fields.append(estimate_flow(pixels[place : place + 2].to(place_of_work), estimator)[0].cpu())
            bar.advance()
    flow = torch.stack(fields)
    times = [float(source.timestamps()[number]) for number in numbers]
    lengths = torch.hypot(flow[:, 0], flow[:, 1])
    scale = _scale(lengths)
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


def _scale(lengths: Tensor) -> float:
    """The length for the full colour: nearly the longest, rounded up to two digits."""
    # As numpy does it: torch's quantile refuses more than 16 million values.
    length = max(float(np.quantile(lengths.numpy(), _SCALE_QUANTILE)), _LEAST_SCALE)
    unit = 10.0 ** (math.floor(math.log10(length)) - 1)
    return round(math.ceil(length / unit - 1e-6) * unit, 6)


def _draw_flow(frames: Tensor, flow: Tensor, scale: float, captions: list[str], title: str) -> Any:
    """Frames uint8 [T, 3, H, W] over flow [T, 2, H, W], and the wheel beside them."""
    count, _, height, width = frames.shape
    columns = min(count, _COLUMNS)
    rows = math.ceil(count / columns)
    cell, legend = 2.5, 1.75  # inches
    figure = blank_figure(columns * cell + legend, max(2.6, rows * (2 * cell * height / width + 0.25) + 0.4))
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=TEXT, parse_math=False)
    grid = figure.add_gridspec(rows, columns + 1, width_ratios=[cell] * columns + [legend])
    line = torch.full((count, 3, max(1, height // 100), width), _LINE, dtype=torch.uint8)
    pictures = torch.cat((frames, line, flow_to_rgb(flow, scale)), dim=-2)
    for place, picture in enumerate(pictures):
        axes = figure.add_subplot(grid[divmod(place, columns)])
        axes.imshow(picture.permute(1, 2, 0).numpy())
        axes.set_title(captions[place], fontsize=9, color=TEXT, pad=3)
        axes.set_xticks([])
        axes.set_yticks([])
        dress(axes)
    _draw_wheel(figure.add_subplot(grid[:, columns]), scale)
    return figure


def _draw_wheel(axes: Any, scale: float) -> None:
    axes.imshow(colour_wheel(301).permute(1, 2, 0).numpy(), extent=(-scale, scale, scale, -scale))
    ticks = [-scale, 0, scale]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xlabel("pixels per frame\n(darker: more)", fontsize=9)
    dress(axes)


# ----------------------------------------------------------------------------------------------- filters


def explain_filters(run: str | Path, *, checkpoint: str | None = None) -> Explanation:
    """Draw the filters of the first layer of a run's network, for each of its streams, and for each of several stems.

    Filters of flow are drawn as in the paper's figure of them (Simonyan and Zisserman, 2014, figure 3): a column for
    each filter, a row for each channel, dx over dy, from the first field of the stack to the last. Filters of
    pictures are drawn in their colours.

    Args:
        run: a run folder, or a model folder.
        checkpoint: "last" or "best"; None takes the run's choice.

    Returns:
        The picture with facts ``streams``: for each its name, the layer's shape and the share of the weights' energy
        that lies in dx (of flow).

    Raises:
        CheckpointError: there is no model, or it is damaged.
        ArgumentError: its first layer is no convolution.
    """
    # Several data sets share the first layer: any of a run's tasks will do.
    tasks = {} if is_fused(run) else load_card(find_checkpoint(run, checkpoint)).tasks
    recogniser = load(run, checkpoint=checkpoint, device="cpu", task=next(iter(tasks), None))
    filters: list[tuple[str, Tensor]] = []
    for part in getattr(recogniser, "parts", [recogniser]):  # a fused recogniser has several networks
        layers: list[nn.Module] = list(getattr(part.model, "first_convolutions", ()))
        convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
        streams = [str(stream) for stream in part.model.streams if stream != STEM]
        if STEM in part.model.streams:  # a stem for each length of flow
            streams = [f"{streams[0]} of {layer.in_channels // 2} fields" for layer in convolutions]
        if not convolutions or len(convolutions) != len(streams):
            raise ArgumentError(
                f"{run}: {type(part.model).__name__} has no first convolution for each stream"
            )
        for stream, layer in zip(streams, convolutions, strict=True):
            filters.append((stream, layer.weight.detach().float()))
    return draw_filters(filters, title=f"{Path(run).resolve().name}: filters of the first layer")


def draw_filters(
    filters: Sequence[tuple[str, Tensor]], title: str = "Filters of the first layer"
) -> Explanation:
    """Draw first-layer filters.

    Args:
        filters: names of streams and their filters, float [F, C, K, K]. Streams whose names start with "flow" have
            channels dx, dy, dx, dy, …; the others red, green and blue, once or for several frames.
        title: of the picture.

    Raises:
        ArgumentError: channels that a stream cannot have.
    """
    drawn = [_Tiles.of(stream, weight) for stream, weight in filters]
    mosaics = [tiles.mosaic() for tiles in drawn]
    heights = [(_WIDTH_INCHES - 0.6) * mosaic.shape[0] / mosaic.shape[1] + 0.4 for mosaic in mosaics]
    figure = blank_figure(_WIDTH_INCHES, sum(heights) + 0.4)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=TEXT, parse_math=False)
    panels = figure.subplots(len(drawn), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, tiles, mosaic in zip(panels, drawn, mosaics, strict=True):
        axes.imshow(mosaic, interpolation="nearest")
        count, _, height, width, _ = tiles.pixels.shape
        meaning = "grey is 0, white positive" if tiles.stream.startswith("flow") else "grey is 0"
        caption = (
            f"{tiles.stream}: {count} filters of {height} x {width}, each by its largest weight; {meaning}"
        )
        axes.set_title(caption, loc="left", fontsize=9, color=TEXT)
        axes.set_xticks([])
        axes.set_yticks([top + (tiles.size - 1) / 2 for top in tiles.tops], tiles.rows * tiles.bands)
        dress(axes)
        axes.tick_params(length=0, labelsize=8 if tiles.columns < 60 else 7)
        axes.spines[:].set_visible(False)
    return Explanation(figure, {"streams": [tiles.facts for tiles in drawn]})


@dataclass(frozen=True)
class _Tiles:
    """Filters of one stream as tiles: a column for each filter, its ``rows`` below one another, all in bands."""

    stream: str
    pixels: NDArray[np.float32]  # [F, rows, K, K, 3] from 0 to 1; 0.5 is a weight of 0
    rows: list[str]
    columns: int
    facts: dict[str, Any]

    @classmethod
    def of(cls, stream: str, weight: Tensor) -> _Tiles:
        filters, channels, *kernel = weight.shape
        facts: dict[str, Any] = {"stream": stream, "shape": list(weight.shape)}
        # One scale for all channels of a filter: what is weak in it stays weak.
        largest = weight.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
        scaled = (0.5 + 0.5 * weight / largest).numpy()
        if stream.startswith("flow"):
            if channels % 2:
                raise ArgumentError(f"the stream {stream} has {channels} channels, which are no pairs dx, dy")
            pixels = np.repeat(scaled[..., None], 3, axis=-1)
            rows = [f"{name} {number}" for number in range(1, channels // 2 + 1) for name in ("dx", "dy")]
            energy = weight.double().square()
            facts["dx_energy"] = float(energy[:, 0::2].sum() / energy.sum().clamp(min=1e-300))
        else:
            if channels % 3:
                raise ArgumentError(f"the stream {stream} has {channels} channels, which are no colours")
            pixels = scaled.reshape(filters, channels // 3, 3, *kernel).transpose(0, 1, 3, 4, 2)
            rows = [f"frame {number}" for number in range(1, channels // 3 + 1)] if channels > 3 else [""]
        bands = max(1, round(filters / (64 if len(rows) > 1 else 24)))
        return cls(stream, pixels, rows, math.ceil(filters / bands), facts)

    @property
    def bands(self) -> int:
        """How often the columns start anew."""
        return math.ceil(len(self.pixels) / self.columns)

    @property
    def zoom(self) -> int:
        """Pixels of the mosaic per weight."""
        return max(1, round(28 / self.pixels.shape[2]))

    @property
    def size(self) -> int:
        """Rows and columns of a tile in the mosaic."""
        return self.zoom * self.pixels.shape[2]

    @property
    def tops(self) -> list[int]:
        """First row of the mosaic of each row of tiles: dy is near to its dx, bands are far apart."""
        tops, top = [], _GAP
        for _ in range(self.bands):
            for name in self.rows:
                tops.append(top)
                top += self.size + (_GAP // 2 if name.startswith("dx") else _GAP)
            top += 3 * _GAP if len(self.rows) > 1 else 0
        return tops

    def mosaic(self) -> NDArray[np.float32]:
        """All tiles, float [rows, columns, 3] from 0 to 1."""
        tops, across = self.tops, self.size + _GAP
        mosaic = np.empty((tops[-1] + self.size + _GAP, _GAP + self.columns * across, 3), dtype=np.float32)
        mosaic[:] = _BETWEEN
        large = self.pixels.repeat(self.zoom, axis=2).repeat(self.zoom, axis=3)
        for number, tile_rows in enumerate(large):
            band, column = divmod(number, self.columns)
            left = _GAP + column * across
            for tile, top in zip(tile_rows, tops[band * len(self.rows) :], strict=False):
                mosaic[top : top + self.size, left : left + self.size] = tile
        return mosaic


# ------------------------------------------------------------------------------------------------- style


def blank_figure(width: float, height: float) -> Any:
    """A matplotlib figure of so many inches, which belongs to no window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def dress(axes: Any) -> None:
    """Give axes the style of all these pictures."""
    axes.tick_params(colors=TEXT, labelcolor=TEXT, labelsize=8)
    axes.xaxis.label.set_color(TEXT)
    axes.yaxis.label.set_color(TEXT)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_color("#d9dce1")
