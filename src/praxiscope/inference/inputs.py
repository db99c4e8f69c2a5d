"""The input of a model: readers of its streams, the frames of a protocol's views, and their crops.

S snippets of a view, V temporal views, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from praxiscope.checkpoint import InputContract
from praxiscope.data.dataset import OnGrid, RgbReader, Sampler, StreamReader
from praxiscope.data.flow_reader import FlowSource, flow_reader
from praxiscope.evaluation.protocols import Crops, Protocol, view_indices
from praxiscope.flow.stack import stack_place
from praxiscope.inference.streaming import LONG_FRAMES
from praxiscope.video.grid import FrameGrid
from praxiscope.video.transforms import CenterCrop, Kind, TenCrop, ThreeCrop, flip

__all__ = ["ViewSampler", "crops_of", "frame_grid", "on_grid", "stream_readers", "takes_one_size"]


def stream_readers(
    contract: InputContract, short_side: int, flow_source: FlowSource | None = None
) -> tuple[dict[str, StreamReader], int]:
    """Return the readers of a model's streams by name, and the number of consecutive frames that a snippet needs.

    With both streams, the RGB frame is that in the middle of the stack; see `praxiscope.flow.stack.StackPlace`.
    """
    if contract.flow is None:
        return {"rgb": RgbReader(short_side, contract.length)}, contract.length
    flow = flow_reader(contract.flow, short_side, flow_source)
    readers: dict[str, StreamReader] = {
        "rgb": RgbReader(short_side, offset=stack_place(contract.flow.kind, contract.flow.length).middle),
        "flow": flow,
    }
    return {name: readers[name] for name in contract.streams}, flow.span


def frame_grid(contract: InputContract, span: int) -> tuple[FrameGrid | None, int]:
    """Return the grid of the frames that a model may see, and the number of its positions that a snippet needs.

    At a frame rate, a snippet of several frames starts at a frame of the grid and goes on with those after it in the
    video, so it needs one position.

    Args:
        contract: the input of the model.
        span: number of consecutive frames that a snippet needs.

    Returns:
        The grid; None if every frame may be seen.
    """
    if contract.fps is None and contract.max_seconds is None:
        return None, span
    grid = FrameGrid(contract.fps, contract.max_seconds, span)
    return grid, span if contract.fps is None else 1


def crops_of(crops: Crops, size: int, frames: Tensor, kind: Kind = "rgb") -> Iterator[Tensor]:
    """Crops of frames [N, C, H, W], one position at a time, to save memory."""
    if crops in ("full", "full-mirrored"):
        yield frames
        if crops == "full-mirrored":
            yield flip(frames, kind)
    elif crops == "center":
        yield CenterCrop(size)({kind: frames})[kind]
    else:
        places = ThreeCrop(size) if crops == "three" else TenCrop(size)
        for box in places.draw((frames.shape[-2], frames.shape[-1])):
            yield from places.apply(frames, (box,), kind)


def on_grid(sampler: Sampler, grid: FrameGrid | None) -> Sampler | OnGrid:
    """Let a sampler choose among the frames of a grid (`frame_grid`), if there is one."""
    return sampler if grid is None else OnGrid(sampler, grid)


class ViewSampler:
    """Return the frames of all temporal views, one view after the other: int64 [V * S].

    Args:
        protocol: the views.
        together: S, snippets of a view; None: all snippets of the protocol.
        length: consecutive frames of a snippet.
        windows: each view is a window of consecutive snippets (of "segments" and "dense" protocols).
        leave_long: return None for a video of more than `LONG_FRAMES` frames, which is then read a few at a time.
    """

    def __init__(
        self,
        protocol: Protocol,
        together: int | None,
        length: int,
        *,
        windows: bool = False,
        leave_long: bool = False,
    ) -> None:
        if windows and protocol.sampling == "segments":
            protocol = replace(protocol, sampling="dense")
        self.protocol = replace(protocol, stride=1) if windows else protocol
        self.together, self.length, self.leave_long = together, length, leave_long

    def views(self, num_frames: int) -> Tensor:
        """The frames of each view, int64 [V, S]."""
        return view_indices(self.protocol, num_frames, self.together, self.length)

    def __call__(self, num_frames: int, generator: torch.Generator | None) -> Tensor | None:
        chosen = self.views(num_frames).flatten()
        return None if self.leave_long and len(chosen) > LONG_FRAMES else chosen


def takes_one_size(model: nn.Module) -> bool:
    """Whether timm declares that a network accepts images of a single size only."""
    return any(
        configured.get("fixed_input_size", False)
        for module in model.modules()
        if isinstance(configured := getattr(module, "default_cfg", None), dict)
    )
