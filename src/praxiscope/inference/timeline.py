"""Read a video as a sequence of windows, once and in order, in memory that does not grow with its length.

Axis letters: S snippets of a window, C channels, H rows, W columns, L flow fields of a stack.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import chain, cycle, islice
from typing import NamedTuple

import torch
from torch import Tensor

from praxiscope.checkpoint import InputContract
from praxiscope.data.flow_reader import EstimatedFlowReader, FlowSource, StoredFlowReader, flow_reader
from praxiscope.errors import ArgumentError, VideoError
from praxiscope.flow.estimate import SMALLEST_SIDE
from praxiscope.flow.methods import FileEstimator
from praxiscope.flow.stack import field_numbers, stack_fields, stack_place
from praxiscope.types import VideoRecord
from praxiscope.video.decode import DecodedFrame, Video
from praxiscope.video.geometry import resize
from praxiscope.video.opening import VideoSource, as_video
from praxiscope.video.pixels import scaled_size
from praxiscope.video.transforms import CenterCrop

__all__ = ["Window", "default_window", "snippet_times", "windows"]


class Window(NamedTuple):
    """A window of a video, in seconds from the start of its file.

    Attributes:
        start_s, end_s: its start and its end.
        snippets: the model's input, S times [C, H, W] by stream: uint8 RGB, float32 flow, or both. The same snippet of
            several windows is the same object.
    """

    start_s: float
    end_s: float
    snippets: Sequence[Mapping[str, Tensor]]

    @property
    def streams(self) -> dict[str, Tensor]:
        """All snippets together: [S, C, H, W] by stream."""
        return {name: torch.stack([snippet[name] for snippet in self.snippets]) for name in self.snippets[0]}


class _Moment(NamedTuple):
    """A frame: its time, and the snippet that starts with it or is centred on it: [C, H, W] by stream."""

    time_s: float
    snippet: Callable[[], dict[str, Tensor]]  # slow; may be called until two moments later


def default_window(contract: InputContract) -> float:
    """Seconds of a window if no length is asked for: as long as a training example at a frame rate, otherwise 2."""
    return 2.0 if contract.fps is None else contract.snippets / contract.fps


def snippet_times(contract: InputContract, window_s: float, *, any_number: bool = False) -> list[float]:
    """Return the times of the snippets of a window, in seconds from its start.

    They are in the middles of equal parts of the window. For a model that was trained on windows at a frame rate they
    are 1 / fps apart, as in training.

    Args:
        contract: the model's input.
        window_s: length of the window, seconds.
        any_number: the model takes any number of snippets, so at a frame rate they fill the window.

    Raises:
        ArgumentError: the snippets do not fit into the window.
    """
    count = contract.snippets
    if contract.fps is None or contract.sampling != "window":
        return [(number + 0.5) / count * window_s for number in range(count)]
    if any_number:
        count = max(math.ceil(window_s * contract.fps - 1e-6), 1)
    spare_s = window_s - count / contract.fps
    if spare_s < -1e-6 and not any_number:
        raise ArgumentError(
            f"a window of {window_s:g} s is too short: the model takes {count} snippets at {contract.fps:g} frames per "
            f"second. Use windows of {count / contract.fps:g} s, or longer ones."
        )
    begin_s = 0.0 if any_number else max(spare_s, 0.0) / 2
    return [begin_s + number / contract.fps for number in range(count)]


def windows(
    source: VideoSource,
    window_s: float,
    stride_s: float,
    contract: InputContract,
    flow_source: FlowSource | None = None,
    *,
    every: bool = False,
    any_number: bool = False,
) -> Iterator[Window]:
    """Cut a video into windows in one sequential read.

    Window k lasts from ``k * stride_s`` to ``k * stride_s + window_s``; windows without a frame are left out. A snippet
    of a window is that of the frame on screen at its time (`snippet_times`): a snippet of several RGB frames starts
    with it; a snippet of RGB and flow has this frame and the flow around it. Only snippets that a window needs are
    computed, and only overlapping windows are kept in memory.

    Args:
        source: a video, read once from its start.
        window_s, stride_s: length of a window, and time from the start of one to the start of the next, seconds.
        contract: the model's input.
        flow_source: for a model of flow: stored flow, or the estimator. None: the estimator of the contract.
        every: a window has a snippet for each of its frames; of those at the frame rate of the contract, if it has one.
        any_number: see `snippet_times`.

    Raises:
        VideoError: the file cannot be read.
        DataError: the stored flow of the video is missing or does not fit.
        ArgumentError: the flow of the contract cannot be estimated, or the snippets do not fit into a window.
    """
    video = as_video(source)
    times_s: list[float] | None = None
    if not every:
        times_s = snippet_times(contract, window_s, any_number=any_number)
    elif contract.fps is not None:
        times_s = snippet_times(replace(contract, sampling="window"), window_s, any_number=True)
    under_way = _UnderWay(window_s, stride_s, times_s, video.same_s, loop=contract.sampling == "window")
    shown: _Moment | None = None
    for moment in _moments(video, contract, flow_source):
        if shown is None:
            under_way.begin(moment.time_s)
        else:
            under_way.show(shown.snippet, moment.time_s)
        yield from under_way.complete(moment.time_s)
        shown = moment._replace(snippet=cache(moment.snippet))  # computed once, if a window needs it
    if shown is not None:
        end_s = video.end_of(shown.time_s)
        under_way.show(shown.snippet, end_s)
        yield from under_way.cut(shown.snippet, end_s)


def window_times(
    first_s: float, end_s: float, window_s: float, stride_s: float, same_s: float
) -> list[tuple[float, float]]:
    """Start and end of the windows that `windows` cuts.

    Args:
        first_s, end_s: time of the first frame, and end of the last one, seconds.
        window_s, stride_s: see `windows`.
        same_s: times that differ by up to this many seconds are equal.
    """
    number = max(0, math.floor((first_s + same_s - window_s) / stride_s) + 1)
    found: list[tuple[float, float]] = []
    while number * stride_s < end_s - same_s and not (found and found[-1][1] >= end_s - same_s):
        found.append((number * stride_s, min(number * stride_s + window_s, end_s)))
        number += 1
    return found


class _UnderWay:
    """Incomplete windows, each with its snippets so far.

    Args:
        window_s, stride_s: as for `windows`.
        times_s: times of the snippets of a window, in seconds from its start; None: one snippet for each frame.
        same_s: times that differ by up to this many seconds are equal.
        loop: a window that is cut off by the end of the video repeats from its start, not its last snippet.
    """

    def __init__(
        self,
        window_s: float,
        stride_s: float,
        times_s: list[float] | None,
        same_s: float,
        loop: bool = False,
    ) -> None:
        self.window_s, self.stride_s, self.times_s, self.same_s = window_s, stride_s, times_s, same_s
        self.loop = loop
        self.held: deque[tuple[int, list[dict[str, Tensor]]]] = deque()  # number of the window, its snippets
        self.opened = 0  # number of the next window
        self.reached_s = -math.inf  # end of the last complete window

    def begin(self, first_s: float) -> None:
        """Skip the windows that end before the first frame."""
        self.opened = max(0, math.floor((first_s + self.same_s - self.window_s) / self.stride_s) + 1)

    def show(self, snippet: Callable[[], dict[str, Tensor]], until_s: float) -> None:
        """Add the snippet of the frame on screen to every window that needs one before ``until_s``."""
        until_s -= self.same_s
        while self.opened * self.stride_s < until_s:
            self.held.append((self.opened, []))
            self.opened += 1
        for number, parts in self.held:
            if self.times_s is None:
                parts.append(snippet())
                continue
            while len(parts) < len(self.times_s) and self._time_s(number, len(parts)) < until_s:
                parts.append(snippet())

    def _time_s(self, number: int, snippet: int) -> float:
        """Return the time of a snippet of a window."""
        assert self.times_s is not None
        return number * self.stride_s + self.times_s[snippet]

    def complete(self, now_s: float) -> Iterator[Window]:
        """Yield the windows that end by ``now_s``."""
        while self.held and self.held[0][0] * self.stride_s + self.window_s <= now_s + self.same_s:
            number, parts = self.held.popleft()
            yield self._window(number, parts, math.inf)

    def cut(self, snippet: Callable[[], dict[str, Tensor]], end_s: float) -> Iterator[Window]:
        """Yield the windows cut off by the end of the video, padded with its last snippet or from their start."""
        for number, parts in self.held:
            if self.reached_s >= end_s - self.same_s:
                break
            if self.times_s is not None:
                again = parts if self.loop and parts else [snippet()]
                parts = list(islice(chain(parts, cycle(again)), len(self.times_s)))
            yield self._window(number, parts, end_s)

    def _window(self, number: int, parts: list[dict[str, Tensor]], end_s: float) -> Window:
        start_s = number * self.stride_s
        self.reached_s = min(start_s + self.window_s, end_s)
        return Window(start_s, self.reached_s, parts)


def _moments(video: Video, contract: InputContract, flow_source: FlowSource | None) -> Iterator[_Moment]:
    if contract.flow is None:
        return _rgb_moments(video, contract)
    reader = flow_reader(contract.flow, contract.short_side, flow_source)
    if isinstance(reader, StoredFlowReader):
        return _stored_stacks(video, contract, reader)
    assert isinstance(reader, EstimatedFlowReader)
    return _estimated_stacks(video, contract, reader)


def _rgb_moments(video: Video, contract: InputContract) -> Iterator[_Moment]:
    """Yield frames, or the stack of frames that starts with each. At the end of the video, its last frame repeats."""
    held: deque[DecodedFrame] = deque()

    def moment() -> _Moment:
        stack = [*held, *[held[-1]] * (contract.length - len(held))]

        def snippet() -> dict[str, Tensor]:
            return {"rgb": torch.cat([_rgb(frame, contract) for frame in stack])}

        return _Moment(held[0].time_s, snippet)

    for frame in video.decode():
        held.append(frame)
        if len(held) == contract.length:
            yield moment()
            held.popleft()
    while held:
        yield moment()
        held.popleft()


def _rgb(frame: DecodedFrame, contract: InputContract) -> Tensor:
    pixels = frame.rgb(short_side=contract.short_side)
    return CenterCrop(contract.size)({"rgb": pixels})["rgb"].contiguous()


def _stored_stacks(video: Video, contract: InputContract, reader: StoredFlowReader) -> Iterator[_Moment]:
    """Yield frames with the stored flow around them. The video provides the times; its pixels are not converted."""
    clip = reader.clip(VideoRecord(str(video.path), video.path, ()), video)

    def read(numbers: Tensor, backward: bool) -> Tensor:
        return clip.fields(numbers, backward=backward)

    for at, frame in enumerate(video.decode()):
        yield _Moment(frame.time_s, partial(_snippet, at, frame, len(clip), read, video, contract))


def _estimated_stacks(
    video: Video, contract: InputContract, reader: EstimatedFlowReader
) -> Iterator[_Moment]:
    """Yield frames with the flow around them. A stack needs later frames, so it is delayed by their number."""
    back, tau = _shown_and_tau(contract)
    ahead = reader.length - back
    # A stack whose frames would start before the video belongs to frame 0, and its L fields end that much later.
    first_ahead = reader.length if back > tau else ahead
    if min(video.height, video.width) < SMALLEST_SIDE and reader.estimated_side is None:
        raise VideoError(
            video.path,
            f"has frames of {video.height} x {video.width} pixels; flow needs {SMALLEST_SIDE} and more",
            "Leave it out.",
        )
    estimator = reader.estimator
    of_file: dict[bool, Iterator[tuple[int, Tensor]]] = {}  # by direction, for a method that reads the file
    if isinstance(estimator, FileEstimator):
        of_file = {backward: reader.file_fields(estimator, video, backward) for backward in (False, True)}
    frames: dict[int, DecodedFrame] = {}
    pixels: dict[int, Tensor] = {}
    fields: dict[tuple[int, bool], Tensor] = {}  # computed for one snippet, used again by the next

    def field(number: int, backward: bool) -> Tensor:
        while of_file and (number, backward) not in fields:
            reached, found = next(of_file[backward])
            if reached >= oldest:
                fields[reached, backward] = found
        if (number, backward) not in fields:
            pair = torch.stack((pixels[number], pixels[number + 1]))
            fields[number, backward] = reader.estimate(pair, backward)[0]
        return fields[number, backward]

    def read(numbers: Tensor, backward: bool) -> Tensor:
        return torch.stack([field(number, backward) for number in numbers.tolist()])

    def moment(at: int, last: int) -> _Moment:
        frame = frames[at]
        return _Moment(frame.time_s, partial(_snippet, at, frame, last, read, video, contract))

    last, coming, oldest = -1, 0, 0
    for last, frame in enumerate(video.decode()):
        frames[last] = frame
        if not of_file:
            pixels[last] = frame.rgb(short_side=reader.estimated_side)
        while last >= max(coming + ahead, first_ahead):
            yield moment(coming, last)
            oldest = coming - back
            for old in [n for n in frames if n < oldest]:
                del frames[old]
                pixels.pop(old, None)
            for key in [key for key in fields if key[0] < oldest]:
                del fields[key]
            coming += 1
    for at in range(coming, last + 1):
        yield moment(at, last)


def _shown_and_tau(contract: InputContract) -> tuple[int, int]:
    """Return the position, among the L + 1 frames of a stack, of the frame on screen (the RGB frame), and tau."""
    assert contract.flow is not None
    place = stack_place(contract.flow.kind, contract.flow.length)
    return (place.middle if "rgb" in contract.streams else place.tau), place.tau


def _snippet(
    at: int,
    frame: DecodedFrame,
    num_fields: int,
    read: Callable[[Tensor, bool], Tensor],
    video: Video,
    contract: InputContract,
) -> dict[str, Tensor]:
    """Return the input for frame ``at``: its stack of flow, and the RGB frame if the model needs it."""
    streams = {"flow": _stack(at, num_fields, read, video, contract)}
    if "rgb" in contract.streams:
        streams["rgb"] = _rgb(frame, contract)
    return streams


def _stack(
    at: int,
    num_fields: int,
    read: Callable[[Tensor, bool], Tensor],
    video: Video,
    contract: InputContract,
) -> Tensor:
    """Return the stack of flow [2L, H, W] for frame ``at``, resized and cropped.

    Args:
        num_fields: number of fields of the video, as far as the stack reaches.
        read: returns fields [n, 2, H, W] by their numbers [n], forward or backward.
    """
    flow = contract.flow
    assert flow is not None
    if not num_fields:
        raise VideoError(video.path, "has a single frame; flow needs two", "Leave it out.")
    shown, tau = _shown_and_tau(contract)
    forward, backward = field_numbers(max(0, at - shown + tau), flow.kind, flow.length, num_fields)
    stacked = stack_fields(
        read(forward, False),
        read(backward, True) if backward.numel() else None,
        flow.kind,
        subtract_mean=flow.subtract_mean,
    )
    width, height = scaled_size(video.width, video.height, contract.short_side)
    resized = resize(stacked, (height, width), "flow")
    return CenterCrop(contract.size)({"flow": resized})["flow"].contiguous()
