"""Read flow as a stream of a clip, from a store or estimated from the frames.

Axis letters: S snippets of a video, L flow fields of a snippet, T frames of the video, H rows, W columns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePath
from typing import TypeAlias

import torch
from torch import Tensor

from praxiscope.checkpoint import FlowInput
from praxiscope.errors import DataError
from praxiscope.flow.clip import FlowClip
from praxiscope.flow.contract import FlowContract, through_store
from praxiscope.flow.estimate import SMALLEST_SIDE, Estimator, estimate_flow, estimator_of
from praxiscope.flow.methods import FileEstimator, find_method, list_methods
from praxiscope.flow.stack import check_kind, field_numbers, stack_fields, stack_place, stackings
from praxiscope.flow.store import FlowStore, flow_key
from praxiscope.timing import timed
from praxiscope.types import VideoRecord
from praxiscope.units import counted
from praxiscope.video.decode import Video
from praxiscope.video.framefiles import source_bytes
from praxiscope.video.geometry import Box, Size, resize
from praxiscope.video.pixels import scaled_size

__all__ = [
    "EstimatedFlowReader",
    "FlowReader",
    "FlowSource",
    "StoredFlowReader",
    "check_directions",
    "flow_estimator",
    "flow_reader",
    "needs_weights",
]

FlowSource: TypeAlias = FlowStore | Estimator
"""Where flow comes from: a store, or an estimator."""


@dataclass(frozen=True)
class FlowReader(ABC):
    """Base class of readers of flow stacks, float32 [S, 2L, H, W] in pixels. Subclasses provide the fields.

    A stack that starts at frame t consists of the L fields from t on. A bidirectional stack is centred on the middle of
    the same L + 1 frames. Means and trajectories are computed on whole fields. Crops are cut out afterwards, and their
    vectors are scaled with them.

    Attributes:
        length: L.
        kind: how fields are stacked, a name of ``praxiscope.flow.stack``.
        subtract_mean: whether to subtract the mean of each field.
        short_side: short side of scaled whole frames, pixels. Crops are cut at the size of the fields.
    """

    length: int = 5
    kind: str = "stack"
    subtract_mean: bool = True
    short_side: int | None = 256

    def __post_init__(self) -> None:
        check_kind(self.kind, self.length)

    @property
    def span(self) -> int:
        """Number of frames that a stack needs."""
        return self.length + 1

    def frame_size(self, record: VideoRecord, video: Video) -> Size:
        """Rows and columns after scaling."""
        width, height = scaled_size(video.width, video.height, self.short_side)
        return height, width

    def __call__(
        self, record: VideoRecord, video: Video, starts: Tensor, first: int, last: int, box: Box | None
    ) -> Tensor:
        frames = last - first
        if frames < 2:
            raise DataError(f"{record.id}: has {frames} frame, but flow needs two. Leave it out.")
        tau = starts + stack_place(self.kind, self.length).tau
        forward, backward = field_numbers(tau, self.kind, self.length, frames - 1)
        fields = self._gather(record, video, forward, first, backward=False)
        reverse = self._gather(record, video, backward, first, backward=True) if backward.numel() else None
        stacks = stack_fields(fields, reverse, self.kind, subtract_mean=self.subtract_mean)
        if box is not None:
            return box.cut(stacks)
        return resize(stacks, self.frame_size(record, video), "flow")

    def _gather(
        self, record: VideoRecord, video: Video, numbers: Tensor, first: int, *, backward: bool
    ) -> Tensor:
        """Return fields [S, n, 2, H, W] by number [S, n]. Each field is read once."""
        wanted, places = torch.unique(numbers, return_inverse=True)
        return self._fields(record, video, wanted + first, backward)[places]

    @abstractmethod
    def _fields(self, record: VideoRecord, video: Video, numbers: Tensor, backward: bool) -> Tensor:
        """Return fields [n, 2, H, W] of the file by number [n], ascending."""


@dataclass(frozen=True)
class StoredFlowReader(FlowReader):
    """Reads fields that ``praxiscope flow`` has stored.

    Attributes:
        store: the store.
    """

    store: FlowStore | None = None

    def clip(self, record: VideoRecord, video: Video) -> FlowClip:
        """Return a video's stored flow. Raises DataError if it is missing or does not match the video."""
        assert self.store is not None
        clip = _stored(self.store, record)
        frames = video.quick_length()
        if not clip.fits(frames):
            raise DataError(
                f"{record.id}: has {counted(frames, 'frame')}, but its stored flow was made from {clip.frames}. Run "
                "`praxiscope flow` again on these videos."
            )
        return clip

    def _fields(self, record: VideoRecord, video: Video, numbers: Tensor, backward: bool) -> Tensor:
        clip = self.clip(record, video)
        if clip.frames != video.quick_length():
            # Stored flow counts only the frames that decode.
            video.decode_all()
            numbers = video.renumbered(numbers).clamp_(max=max(0, len(clip) - 1))
        return clip.fields(numbers, backward=backward)


@dataclass(frozen=True)
class EstimatedFlowReader(FlowReader):
    """Estimate fields from the frames, and quantise them as a store does.

    Attributes:
        estimator: the method.
        contract: how the flow that a network was trained on was computed and stored.
    """

    estimator: Estimator | None = None
    contract: FlowContract | None = None

    @property
    def estimated_side(self) -> int | None:
        """Short side in pixels of the frames for the estimator. None: no resizing."""
        assert self.contract is not None
        return self.contract.short_side

    def estimate(self, frames: Tensor, backward: bool) -> Tensor:
        """Return the quantised fields [T - 1, 2, H, W] between frames [T, 3, H, W]."""
        assert self.estimator is not None
        assert self.contract is not None
        with timed("flow estimation"):
            flow = estimate_flow(frames, self.estimator, backward=backward)
        return through_store(flow, self.contract)

    def _fields(self, record: VideoRecord, video: Video, numbers: Tensor, backward: bool) -> Tensor:
        if min(video.height, video.width) < SMALLEST_SIDE and self.estimated_side is None:
            raise DataError(
                f"{record.id}: has frames of {video.height} x {video.width} pixels, but flow needs at least "
                f"{SMALLEST_SIDE}. Leave it out."
            )
        if isinstance(self.estimator, FileEstimator):
            return self._of_file(self.estimator, video, numbers, backward)
        # Methods that take several frames together do so from the first frame of the video on, as in a store.
        step = getattr(self.estimator, "frames_together", 2) - 1
        parts = []
        for run in _runs(numbers.tolist()):
            first = run[0] // step * step
            end = min((run[-1] // step + 1) * step, video.quick_length() - 1)
            frames = video.frames(range(first, end + 1), short_side=self.estimated_side)
            parts.append(self.estimate(frames, backward)[run[0] - first : run[-1] + 1 - first])
        return torch.cat(parts)

    def file_fields(
        self, estimator: FileEstimator, video: Video, backward: bool
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield number and quantised field [2, H, W] of all fields of a video."""
        assert self.contract is not None
        fields = estimator.fields(video, short_side=self.estimated_side, backward=backward)
        for number in count():
            with timed("flow estimation"):
                field = next(fields, None)
            if field is None:
                return
            yield number, through_store(field[None], self.contract)[0]

    def _of_file(self, estimator: FileEstimator, video: Video, numbers: Tensor, backward: bool) -> Tensor:
        last, found = self._picked(estimator, video, numbers, backward)
        if last + 2 != video.quick_length():
            # As with stored flow, the fields are those of the frames that decode.
            video.decode_all()
            numbers = video.renumbered(numbers).clamp_(max=last)
            last, found = self._picked(estimator, video, numbers, backward)
        return torch.stack([found[number] for number in numbers.tolist()])

    def _picked(
        self, estimator: FileEstimator, video: Video, numbers: Tensor, backward: bool
    ) -> tuple[int, dict[int, Tensor]]:
        """The number of the last field of a video, and the wanted fields."""
        wanted, found, last = set(numbers.tolist()), {}, -1
        for last, field in self.file_fields(estimator, video, backward):
            if last in wanted:
                found[last] = field
        return last, found


def _stored(store: FlowStore, record: VideoRecord) -> FlowClip:
    """Return a record's stored flow. For a path given by the user, match the longest end that the store contains.

    Raises:
        DataError: there is none, or it was computed from another file.
    """
    key = flow_key(record)
    if key in store:
        clip = store.clip(key)
        if _is_of(clip, record) is False:
            raise DataError(
                f"{record.id}: its stored flow was made from another file, of {clip.source['bytes']} bytes. Run "
                "`praxiscope flow` again on these videos."
            )
        return clip
    parts = PurePath(key).parts
    for first in range(1, len(parts)):
        end = "/".join(parts[first:])
        # Another video may have a name with the same end, so the file must match.
        if end in store and _is_of(clip := store.clip(end), record):
            return clip
    return store.clip(key)  # raises, with the whole name


def _is_of(clip: FlowClip, record: VideoRecord) -> bool | None:
    """Whether flow was computed from a record's file, according to its size; None if unknown (packed copies)."""
    size = clip.source.get("bytes")
    if size is None or record.path.suffix == ".pxv" or str(clip.source.get("name")).endswith(".pxv"):
        return None
    return bool(size == source_bytes(record.path))


def _runs(numbers: list[int]) -> list[list[int]]:
    """Split ascending numbers into runs of consecutive ones, which are estimated together."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs


def check_directions(store: FlowStore, kind: str) -> None:
    """Raise DataError if a kind of stack needs backward flow and the store contains none."""
    if stackings.get(kind).bidirectional and not store.has_backward:
        raise DataError(
            f"{store.root}: holds no backward flow, which flow of kind {kind} needs. Run `praxiscope flow` on the "
            "videos with --backward."
        )


def flow_estimator(flow: FlowInput, weights: str | Path | None = None) -> Estimator:
    """Return the estimator of the flow that a model was trained on.

    Args:
        flow: the model's contract.
        weights: for a method that needs them: a file, or "download". The contract contains only their digest.

    Raises:
        ArgumentError: the flow cannot be estimated here, or the weights differ.
        CheckpointError: the weights cannot be loaded.
    """
    contract = FlowContract.from_dict(flow.made)
    return estimator_of({"method": contract.method, **contract.parameters}, weights)


def needs_weights(flow: FlowInput) -> bool:
    """Whether the method that made a model's flow needs weights to estimate it."""
    method = FlowContract.from_dict(flow.made).method
    return method in list_methods() and find_method(method).needs_weights


def flow_reader(flow: FlowInput, short_side: int | None, source: FlowSource | None = None) -> FlowReader:
    """Return the reader of a model's flow: from a store with the same settings, or estimated from the frames.

    Args:
        flow: the model's contract.
        short_side: short side of scaled whole frames, pixels.
        source: stored flow, or an estimator from `flow_estimator`; None creates it from the contract.

    Raises:
        DataError: the settings of the store differ from those of the flow that the model was trained on, or the store
            contains no backward flow for a bidirectional stack.
        ArgumentError: the flow cannot be estimated here.
    """
    contract = FlowContract.from_dict(flow.made)
    stacking = (flow.length, flow.kind, flow.subtract_mean, short_side)
    if not isinstance(source, FlowStore):
        return EstimatedFlowReader(*stacking, estimator=source or flow_estimator(flow), contract=contract)
    if source.contract != contract:
        raise DataError(
            f"{source.root}: differs from the flow that the model was trained on: "
            f"{contract.difference(source.contract)}. Extract it again with the model's settings, or leave out --flow."
        )
    check_directions(source, flow.kind)
    return StoredFlowReader(*stacking, store=source)
