"""The picture of the flow that a network estimates, with the field to a frame that it does not see.

n columns, T frames of a snippet, F flow fields of it, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from praxiscope.data.flow_reader import StoredFlowReader
from praxiscope.devices import pick_device
from praxiscope.errors import ArgumentError, DataError
from praxiscope.explain.explanation import Explanation
from praxiscope.explain.film import Page, clean, seconds
from praxiscope.explain.flow import colour_scale, draw_wheel
from praxiscope.explain.sheet import Row, Sheet, draw_sheet, spread
from praxiscope.flow.colour import flow_to_rgb
from praxiscope.flow.error import end_point_error
from praxiscope.flow.store import FlowStore
from praxiscope.inference.flow_network import LoadedFlow, estimate_clips, load_flow_network
from praxiscope.models.contract import EstimatesFlow
from praxiscope.types import VideoRecord
from praxiscope.units import counted
from praxiscope.video.decode import Video
from praxiscope.video.opening import open_video

__all__ = ["explain_future"]

_MOST = 12


def explain_future(
    run: str | Path,
    video: str | Path,
    *,
    frames: int = 7,
    start_s: float | None = None,
    flow: FlowStore | None = None,
    checkpoint: str | None = None,
    device: str = "auto",
) -> Explanation:
    """Draw the flow that a network estimates after each frame of a snippet, below the frames.

    The last field of a network over time leads from the last frame that it sees to one that it does not see: it
    extrapolates the motion (red border). A network of two frames is shown at several pairs of the video.

    Args:
        run: run or model folder of a network that estimates flow; it may also classify.
        video: video file.
        frames: number of columns, 1 to 12.
        start_s: when the snippet of a network over time begins, seconds. None: in the middle of the video.
        flow: stored flow of the video, which is drawn below and with which the estimate is compared.
        checkpoint: "last" or "best". Default: the run's choice.
        device: device of the network.

    Returns:
        The figure with the facts ``video``, ``network``, ``scale_px`` (displacement with the strongest colour),
        ``size`` (rows and columns of the flow) and ``columns``: for each its ``frame``, ``time_s``, ``future`` (whether
        the field leads to a frame that the network does not see) and ``mean_px``. With ``flow`` also ``error_px``, the
        end-point error, and for the future field ``repeated_px``, that of the field before it used again; None where
        the video ends.

    Raises:
        ArgumentError: the network does not estimate flow, or a number is out of range.
        CheckpointError: the model is missing or damaged.
        VideoError, DataError: the video cannot be read, or the store has no flow of it.
    """
    if not 1 <= frames <= _MOST:
        raise ArgumentError(f"frames must be from 1 to {_MOST}, got {frames}")
    network = load_flow_network(run, checkpoint)
    source = open_video(video)
    if source.quick_length() < 2:
        raise DataError(f"{video}: has {counted(source.quick_length(), 'frame')}, but flow needs at least 2.")
    columns = _estimate(network, source, _places(network.model, source, frames, start_s), pick_device(device))
    if flow is not None:
        columns = [column.compared(flow, source, network.contract.short_side) for column in columns]
    lengths = [torch.hypot(*field.unbind(0)) for column in columns for field in column.fields]
    scale = colour_scale(torch.stack(lengths))
    facts = {
        "video": str(video),
        "network": Path(run).resolve().name,
        "scale_px": scale,
        "size": list(columns[0].flow.shape[-2:]),
        "columns": [column.facts(flow is not None) for column in columns],
    }
    return Explanation(_draw(facts, columns, scale, source, None if flow is None else flow.root.name), facts)


@dataclass(frozen=True)
class _Column:
    """A frame, and the flow from it to the next.

    Attributes:
        frame: its number.
        time_s: when it is on screen.
        pixels: uint8 [3, H, W].
        flow: the estimate, float32 [2, H, W] in pixels.
        before: the estimate for the frame before, if the network does not see the next frame.
        truth: stored flow [2, H, W]; None if there is none.
    """

    frame: int
    time_s: float
    pixels: Tensor
    flow: Tensor
    before: Tensor | None = None
    truth: Tensor | None = None

    @property
    def future(self) -> bool:
        """Whether the flow leads to a frame that the network does not see."""
        return self.before is not None

    @property
    def fields(self) -> list[Tensor]:
        """The fields that are drawn."""
        return [self.flow] if self.truth is None else [self.flow, self.truth]

    def compared(self, store: FlowStore, video: Video, short_side: int) -> _Column:
        """The same with stored flow, if the video has a next frame."""
        if self.frame + 1 >= video.quick_length():
            return self
        reader = StoredFlowReader(1, "stack", False, short_side, store)
        record = VideoRecord(str(video.path), video.path, ())
        stack = reader(record, video, torch.tensor([self.frame]), 0, video.quick_length(), None)
        return replace(self, truth=stack[0])

    def error_px(self, flow: Tensor) -> float | None:
        """The mean end-point error of flow [2, H, W]; None without truth."""
        return None if self.truth is None else float(end_point_error(flow, self.truth).nanmean())

    def facts(self, compared: bool) -> dict[str, Any]:
        """The column by name, as it is printed by ``--json``."""
        found: dict[str, Any] = {
            "frame": self.frame,
            "time_s": self.time_s,
            "future": self.future,
            "mean_px": float(torch.hypot(*self.flow.unbind(0)).mean()),
        }
        if compared:
            found["error_px"] = self.error_px(self.flow)
        if compared and self.before is not None:
            found["repeated_px"] = self.error_px(self.before)
        return found


class _Places(NamedTuple):
    """The snippets, and the fields of each that are drawn.

    frames: numbers of the frames of each snippet, int64 [n, T]. A short video repeats its last frame.
    fields: places among the F fields.
    """

    frames: Tensor
    fields: list[int]


def _places(model: EstimatesFlow, video: Video, most: int, start_s: float | None) -> _Places:
    """Pairs at equal distances for a network of one field, otherwise one snippet."""
    count, length = video.quick_length(), model.frames
    if model.fields == 1:
        if start_s is not None:
            raise ArgumentError(
                "the start of a snippet needs a network over time; this one sees pairs of frames"
            )
        starts = torch.tensor(spread(count - length + 1, most))
        return _Places(starts[:, None] + torch.arange(length), [0])
    start = max(count - length - 1, 0) // 2
    if start_s is not None:
        times = video.timestamps()
        start = int(np.searchsorted(times, times[0] + start_s - 1e-6))
        if start >= count:
            raise ArgumentError(f"{video.path}: ends at {video.duration_s:.2f} s, before {start_s:g} s")
    frames = (start + torch.arange(length)).clamp(max=count - 1)
    last = model.fields - 1
    return _Places(frames[None], [*spread(last, most - 1), last] if most > 1 else [last])


def _estimate(network: LoadedFlow, video: Video, places: _Places, device: torch.device) -> list[_Column]:
    """The columns without stored flow."""
    model, times = network.model.to(device), video.timestamps()
    columns = []
    for numbers in places.frames:
        pixels = video.frames(numbers, short_side=network.contract.short_side)
        (flow,) = estimate_clips(model, network.contract, pixels[None].to(device)).cpu()
        for field in places.fields:
            frame = int(numbers[field])
            future = field >= model.frames - 1
            before = flow[field - 1] if future else None
            columns.append(_Column(frame, float(times[frame]), pixels[field], flow[field], before))
    return columns


class FlowLegend:
    """The colours of flow.

    Args:
        scale: displacement with the strongest colour, pixels.
    """

    width = 2.1

    def __init__(self, scale: float) -> None:
        self._scale = scale

    def __call__(self, page: Page, left: float, top: float) -> None:
        """Draw it with its left and its top at these places, in inches."""
        draw_wheel(page.axes(left + 0.45, top, 1.15, 1.15), self._scale)


def _draw(
    facts: dict[str, Any], columns: list[_Column], scale: float, video: Video, store: str | None
) -> Any:
    pixels = torch.stack([column.pixels for column in columns])
    unknown = torch.full_like(columns[0].flow, torch.nan)
    marked = [number for number, column in enumerate(columns) if column.future]
    times = [seconds(column.time_s, video.duration_s) for column in columns]
    errors = [_two_digits(found.get("error_px")) for found in facts["columns"]]
    note = "red border: to a frame\nthat it does not see" if marked else ""
    if repeated := _two_digits(facts["columns"][-1].get("repeated_px")):
        note += f";\nfield before it: {repeated}"
    rows = [
        Row("frames", _images(pixels), times),
        Row(
            "estimated flow",
            _coloured([column.flow for column in columns], scale),
            errors,
            None,
            note,
            marked,
        ),
    ]
    if store is not None:
        truths = [unknown if column.truth is None else column.truth for column in columns]
        rows.append(
            Row("stored flow", _coloured(truths, scale), [""] * len(columns), None, clean(store, 22), marked)
        )
    title = f"{Path(facts['video']).name}: the flow that {facts['network']} estimates"
    compared = "" if store is None else "; numbers: end-point errors against the stored flow, pixels"
    subtitle = f"flow from each frame to the next{compared}"
    return draw_sheet(Sheet(title, subtitle, rows, FlowLegend(scale)))


def _two_digits(error: float | None) -> str:
    return "" if error is None else f"{error:.2f}"


def _coloured(fields: Sequence[Tensor], scale: float) -> NDArray[np.uint8]:
    """Fields [2, H, W] as images uint8 [n, H, W, 3]; black where the flow is unknown."""
    return _images(flow_to_rgb(torch.stack(list(fields)), scale))


def _images(pixels: Tensor) -> NDArray[np.uint8]:
    found: NDArray[np.uint8] = pixels.permute(0, 2, 3, 1).numpy()
    return found
