"""A video as a sequence of windows, read once and in order, at memory that does not grow with its length.

S snippets of a window, C channels, H rows, W columns, L flow fields of a stack.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from praxiscope.checkpoint import InputContract
from praxiscope.data.flow_reader import EstimatedFlowReader, FlowSource, StoredFlowReader, flow_reader
from praxiscope.errors import VideoError
from praxiscope.flow.estimate import SMALLEST_SIDE
from praxiscope.flow.stack import field_numbers, stack_fields, stackings
from praxiscope.types import VideoRecord
from praxiscope.video.decode import DecodedFrame, Video
from praxiscope.video.geometry import resize
from praxiscope.video.opening import VideoSource, as_video
from praxiscope.video.pixels import scaled_size
from praxiscope.video.transforms import CenterCrop

__all__ = ["Window", "windows"]


class Window(NamedTuple):
    """A stretch of a video, in seconds from the start of its file, and what a model is shown of it."""

    start_s: float
    end_s: float
    streams: dict[str, Tensor]  # [S, C, H, W]: uint8 pixels, float32 flow, or both


class _Moment(NamedTuple):
    """A frame on screen: since when, and the snippet that starts with it, or is centred on it: [C, H, W] by stream."""

    time_s: float
    snippet: Callable[[], dict[str, Tensor]]  # costs something; good until two moments later


def windows(
    source: VideoSource,
    window_s: float,
    stride_s: float,
    contract: InputContract,
    flow_source: FlowSource | None = None,
    *,
    every: bool = False,
) -> Iterator[Window]:
    """Cut windows out of one sequential read.

    Window k lasts from ``k * stride_s`` to ``k * stride_s + window_s``; one in which nothing is on screen is left out.
    Snippet k of a window starts with the frame on screen at (k + 1/2) / S of it; one of pictures and flow has that
    frame as its picture, and the flow around it; one of several RGB frames begins with it. Only snippets that some
    window wants are made, and only as many windows are kept as overlap.

    Args:
        source: a video, read once from its start.
        window_s, stride_s: length of a window, and from the start of one to that of the next.
        contract: of the model.
        flow_source: of a model that sees flow: stored flow, or the estimator; None makes that of the contract.
        every: a window has a snippet for each frame that is on screen in it, however many.

    Raises:
        VideoError: the file cannot be read.
        DataError: there is no stored flow of it, or it does not fit.
        ArgumentError: flow cannot be estimated as the contract says.
    """
    snippets = contract.snippets
    held: deque[tuple[int, list[dict[str, Tensor]]]] = (
        deque()
    )  # windows under way: number, and the snippets so far
    opened = 0
    shown: _Moment | None = None
    made: dict[str, Tensor] | None = None  # the snippet of the moment on screen, once somebody wants it

    def snippet() -> dict[str, Tensor]:
        nonlocal made
        if made is None:
            assert shown is not None
            made = shown.snippet()
        return made

    video = as_video(source)
    same_s = video.same_s

    def look(until: float) -> None:
        """Give the moment on screen to every window that looks before ``until``."""
        nonlocal opened
        until -= same_s
        while opened * stride_s < until:
            held.append((opened, []))
            opened += 1
        for number, parts in held:
            if every:
                parts.append(snippet())
                continue
            while (
                len(parts) < snippets and number * stride_s + (len(parts) + 0.5) / snippets * window_s < until
            ):
                parts.append(snippet())

    reached = -math.inf
    for moment in _moments(video, contract, flow_source):
        if shown is not None:
            look(moment.time_s)
        else:  # nothing is on screen before the first frame
            opened = max(0, math.floor((moment.time_s + same_s - window_s) / stride_s) + 1)
        while held and (reached_next := held[0][0] * stride_s + window_s) <= moment.time_s + same_s:
            number, parts = held.popleft()
            reached = reached_next
            yield Window(number * stride_s, reached, _stacked(parts))
        shown, made = moment, None
    if shown is None:
        return
    end = video.end_of(shown.time_s)
    look(end)
    for number, parts in held:
        if reached >= end - same_s:
            break
        # A window that the video's end cuts off goes on with the last snippet.
        parts += [] if every else [snippet()] * (snippets - len(parts))
        reached = min(number * stride_s + window_s, end)
        yield Window(number * stride_s, reached, _stacked(parts))


def _stacked(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}


def _moments(video: Video, contract: InputContract, flow_source: FlowSource | None) -> Iterator[_Moment]:
    if contract.flow is None:
        return _pictures(video, contract)
    reader = flow_reader(contract.flow, contract.short_side, flow_source)
    if isinstance(reader, StoredFlowReader):
        return _stored_stacks(video, contract, reader)
    assert isinstance(reader, EstimatedFlowReader)
    return _estimated_stacks(video, contract, reader)


def _pictures(video: Video, contract: InputContract) -> Iterator[_Moment]:
    """Frames, or stacks of frames that begin with each; at the video's end its last frame is repeated."""
    held: deque[DecodedFrame] = deque()

    def moment() -> _Moment:
        stack = [*held, *[held[-1]] * (contract.length - len(held))]

        def snippet() -> dict[str, Tensor]:
            return {"rgb": torch.cat([_picture(frame, contract) for frame in stack])}

        return _Moment(held[0].time_s, snippet)

    for frame in video.decode():
        held.append(frame)
        if len(held) == contract.length:
            yield moment()
            held.popleft()
    while held:
        yield moment()
        held.popleft()


def _picture(frame: DecodedFrame, contract: InputContract) -> Tensor:
    pixels = frame.rgb(short_side=contract.short_side)
    return CenterCrop(contract.size)({"rgb": pixels})["rgb"].contiguous()


def _stored_stacks(video: Video, contract: InputContract, reader: StoredFlowReader) -> Iterator[_Moment]:
    """Frames with the stored flow around them; the video says when they are shown, and is not converted to pixels."""
    clip = reader.clip(VideoRecord(str(video.path), video.path, ()), video)

    def read(numbers: Tensor, backward: bool) -> Tensor:
        return clip.fields(numbers, backward=backward)

    for at, frame in enumerate(video.decode()):
        yield _Moment(frame.time_s, partial(_snippet, at, frame, len(clip), read, video, contract))


def _estimated_stacks(
    video: Video, contract: InputContract, reader: EstimatedFlowReader
) -> Iterator[_Moment]:
    """Frames with the flow around them. A stack needs frames that come later, so it runs that far behind."""
    back = reader.length // 2 if _around(contract) else 0
    ahead = reader.length - back
    # A stack one way that would begin before the video begins with it, and ends as much later.
    first_ahead = reader.length if _starts_before(contract) else ahead
    if min(video.height, video.width) < SMALLEST_SIDE and reader.estimated_side is None:
        raise VideoError(
            video.path,
            f"has frames of {video.height} x {video.width} pixels; flow needs {SMALLEST_SIDE} and more",
            "Leave it out.",
        )
    frames: dict[int, tuple[DecodedFrame, Tensor]] = {}
    fields: dict[tuple[int, bool], Tensor] = {}  # made for one snippet, wanted again by the next

    def field(number: int, backward: bool) -> Tensor:
        if (number, backward) not in fields:
            pair = torch.stack((frames[number][1], frames[number + 1][1]))
            fields[number, backward] = reader.estimate(pair, backward)[0]
        return fields[number, backward]

    def read(numbers: Tensor, backward: bool) -> Tensor:
        return torch.stack([field(number, backward) for number in numbers.tolist()])

    def moment(at: int, last: int) -> _Moment:
        frame = frames[at][0]
        return _Moment(frame.time_s, partial(_snippet, at, frame, last, read, video, contract))

    last, coming = -1, 0
    for last, frame in enumerate(video.decode()):
        frames[last] = (frame, frame.rgb(short_side=reader.estimated_side))
        while last >= max(coming + ahead, first_ahead):
            yield moment(coming, last)
            for old in [n for n in frames if n < coming - back]:
                del frames[old]
            for key in [key for key in fields if key[0] < coming - back]:
                del fields[key]
            coming += 1
    for at in range(coming, last + 1):
        yield moment(at, last)


def _around(contract: InputContract) -> bool:
    """Whether a stack lies around its frame, and does not start there."""
    assert contract.flow is not None
    return "rgb" in contract.streams or stackings.get(contract.flow.kind).bidirectional


def _starts_before(contract: InputContract) -> bool:
    """Whether the fields of a stack lead one way and begin before its frame."""
    assert contract.flow is not None
    return _around(contract) and not stackings.get(contract.flow.kind).bidirectional


def _snippet(
    at: int,
    frame: DecodedFrame,
    num_fields: int,
    read: Callable[[Tensor, bool], Tensor],
    video: Video,
    contract: InputContract,
) -> dict[str, Tensor]:
    """What a model sees of frame ``at``: the stack of flow that belongs to it, and its picture where that is seen."""
    streams = {"flow": _stack(at, num_fields, read, video, contract)}
    if "rgb" in contract.streams:
        streams["rgb"] = _picture(frame, contract)
    return streams


def _stack(
    at: int,
    num_fields: int,
    read: Callable[[Tensor, bool], Tensor],
    video: Video,
    contract: InputContract,
) -> Tensor:
    """What a model sees [2L, H, W] of the stack that belongs to frame ``at``.

    Args:
        num_fields: of the video, as far as the stack reaches.
        read: fields [n, 2, H, W] by their numbers [n], backward or not.
    """
    flow = contract.flow
    assert flow is not None
    if not num_fields:
        raise VideoError(video.path, "has a single frame; flow needs two", "Leave it out.")
    if _starts_before(contract):
        at = max(0, at - flow.length // 2)  # a stack of fields one way starts so far before its middle
    forward, backward = field_numbers(at, flow.kind, flow.length, num_fields)
    stacked = stack_fields(
        read(forward, False),
        read(backward, True) if backward.numel() else None,
        flow.kind,
        subtract_mean=flow.subtract_mean,
    )
    width, height = scaled_size(video.width, video.height, contract.short_side)
    resized = resize(stacked, (height, width), "flow")
    return CenterCrop(contract.size)({"flow": resized})["flow"].contiguous()
