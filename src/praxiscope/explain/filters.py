"""The picture of the first layer's filters.

Axis letters: C channels, F filters, K rows and columns of a filter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from praxiscope.checkpoint import find_checkpoint, is_fused, load_card
from praxiscope.errors import ArgumentError
from praxiscope.explain.explanation import TEXT, Explanation, new_figure, set_title, style_axes
from praxiscope.explain.networks import check_networks
from praxiscope.inference.flow_network import load_flow_network
from praxiscope.inference.loading import load
from praxiscope.models.names import learns_of
from praxiscope.types import STEM

__all__ = ["draw_filters", "explain_filters"]


_GAP = 6  # pixels between tiles


_BETWEEN = (0.80, 0.87, 0.95)  # the colour between tiles, which are white, grey and black


_WIDTH_INCHES = 12.0


def explain_filters(run: str | Path, *, checkpoint: str | None = None) -> Explanation:
    """Draw the filters of the first layer of a network, for each stream, and for each stem where it has several.

    Filters of flow are drawn as by Simonyan and Zisserman (2014, figure 3): one column for each filter, one row for
    each channel, dx above dy, from the first flow field of the stack to the last. Filters of RGB frames are drawn in
    colour.

    Args:
        run: run or model folder.
        checkpoint: "last" or "best". Default: the run's choice.

    Returns:
        The figure with the facts ``streams``: for each its ``stream`` (name), ``shape`` (of the weights) and, for flow,
        ``dx_energy``: the fraction of the squared weights that belongs to dx.

    Raises:
        CheckpointError: the model is missing or damaged.
        ArgumentError: the first layer is not a convolution.
    """
    filters: list[tuple[str, Tensor]] = []
    for model in _models(run, checkpoint):
        convolutions = [
            layer for layer in model.first_convolutions if isinstance(layer, nn.Conv2d | nn.Conv3d)
        ]
        streams = [str(stream) for stream in model.streams if stream != STEM]
        if STEM in model.streams:  # one stem for each stack length
            streams = [f"{streams[0]} of {layer.in_channels // 2} fields" for layer in convolutions]
        if not convolutions or len(convolutions) != len(streams):
            raise ArgumentError(f"{run}: {type(model).__name__} needs one first convolution per stream")
        for stream, layer in zip(streams, convolutions, strict=True):
            filters.append((stream, _frames_as_channels(layer.weight.detach().float())))
    return draw_filters(filters, title=f"{Path(run).resolve().name}: filters of the first layer")


def _models(run: str | Path, checkpoint: str | None) -> list[Any]:
    """The networks of a run, also one that estimates flow."""
    card = None if is_fused(run) else load_card(find_checkpoint(run, checkpoint))
    if card is not None and learns_of(card.name) == "flow":
        return [load_flow_network(run, checkpoint).model]
    # The tasks of a run share the first layer, so any of them will do.
    task = next(iter(card.tasks), None) if card is not None else None
    recogniser = load(run, checkpoint=checkpoint, device="cpu", task=task)
    check_networks(run, recogniser)
    return [part.model for part in recogniser.parts]


def _frames_as_channels(weight: Tensor) -> Tensor:
    """Filters over time, [F, C, T, K, K], as those of a stack of frames, [F, T C, K, K]; others as they are."""
    return weight.transpose(1, 2).flatten(1, 2) if weight.dim() == 5 else weight


def draw_filters(
    filters: Sequence[tuple[str, Tensor]], title: str = "Filters of the first layer"
) -> Explanation:
    """Draw first-layer filters.

    Args:
        filters: names of streams and their filters, float [F, C, K, K]. Streams whose names start with "flow" have the
            channels dx, dy, dx, dy, …; the others have red, green and blue, for one frame or several.
        title: title of the figure.

    Raises:
        ArgumentError: a stream has an invalid number of channels.
    """
    drawn = [_Tiles.of(stream, weight) for stream, weight in filters]
    mosaics = [tiles.mosaic() for tiles in drawn]
    heights = [(_WIDTH_INCHES - 0.6) * mosaic.shape[0] / mosaic.shape[1] + 0.4 for mosaic in mosaics]
    figure = new_figure(_WIDTH_INCHES, sum(heights) + 0.4)
    set_title(figure, title)
    panels = figure.subplots(len(drawn), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, tiles, mosaic in zip(panels, drawn, mosaics, strict=True):
        axes.imshow(mosaic, interpolation="nearest")
        count, _, height, width, _ = tiles.pixels.shape
        meaning = "grey: 0, white: positive" if tiles.stream.startswith("flow") else "grey: 0"
        caption = f"{tiles.stream}: {count} filters of {height} x {width}, each scaled by its largest weight; {meaning}"
        axes.set_title(caption, loc="left", fontsize=9, color=TEXT)
        axes.set_xticks([])
        axes.set_yticks([top + (tiles.size - 1) / 2 for top in tiles.tops], tiles.rows * tiles.bands)
        style_axes(axes)
        axes.tick_params(length=0, labelsize=8 if tiles.columns < 60 else 7)
        axes.spines[:].set_visible(False)
    return Explanation(figure, {"streams": [tiles.facts for tiles in drawn]})


@dataclass(frozen=True)
class _Tiles:
    """Filters of one stream as tiles: one column for each filter with its channels as ``rows``, in several bands."""

    stream: str
    pixels: NDArray[np.float32]  # [F, rows, K, K, 3] from 0 to 1; 0.5 is a weight of 0
    rows: list[str]
    columns: int
    facts: dict[str, Any]

    @classmethod
    def of(cls, stream: str, weight: Tensor) -> _Tiles:
        if stream.startswith("flow") and weight.shape[1] == 3:
            weight = weight[:, :2]  # the third channel of a flow image is zero
        filters, channels, *kernel = weight.shape
        facts: dict[str, Any] = {"stream": stream, "shape": list(weight.shape)}
        # All channels of a filter share one scale, so that weak channels stay weak.
        largest = weight.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
        scaled = (0.5 + 0.5 * weight / largest).numpy()
        if stream.startswith("flow"):
            if channels % 2:
                raise ArgumentError(
                    f"stream {stream} has {channels} channels; flow needs an even number (dx, dy)"
                )
            pixels = np.repeat(scaled[..., None], 3, axis=-1)
            rows = [f"{name} {number}" for number in range(1, channels // 2 + 1) for name in ("dx", "dy")]
            energy = weight.double().square()
            facts["dx_energy"] = float(energy[:, 0::2].sum() / energy.sum().clamp(min=1e-300))
        else:
            if channels % 3:
                raise ArgumentError(f"stream {stream} has {channels} channels; RGB needs a multiple of 3")
            pixels = scaled.reshape(filters, channels // 3, 3, *kernel).transpose(0, 1, 3, 4, 2)
            rows = [f"frame {number}" for number in range(1, channels // 3 + 1)] if channels > 3 else [""]
        bands = max(1, round(filters / (64 if len(rows) > 1 else 24)))
        return cls(stream, pixels, rows, math.ceil(filters / bands), facts)

    @property
    def bands(self) -> int:
        """Number of bands."""
        return math.ceil(len(self.pixels) / self.columns)

    @property
    def zoom(self) -> int:
        """Pixels of the image per weight."""
        return max(1, round(28 / self.pixels.shape[2]))

    @property
    def size(self) -> int:
        """Pixels of a tile's side."""
        return self.zoom * self.pixels.shape[2]

    @property
    def tops(self) -> list[int]:
        """The first pixel row of each row of tiles: dy is close to its dx, bands are further apart."""
        tops, top = [], _GAP
        for _ in range(self.bands):
            for name in self.rows:
                tops.append(top)
                top += self.size + (_GAP // 2 if name.startswith("dx") else _GAP)
            top += 3 * _GAP if len(self.rows) > 1 else 0
        return tops

    def mosaic(self) -> NDArray[np.float32]:
        """The image of all tiles, float [rows, columns, 3] from 0 to 1."""
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
