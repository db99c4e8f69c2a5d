"""Predict videos with an exported network.

Axis letters: V views, S snippets of a view, C channels, H rows, W columns, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from praxiscope.deploy.description import Description, read_description
from praxiscope.deploy.runtimes import Runtime, open_network
from praxiscope.errors import ArgumentError, CheckpointError
from praxiscope.evaluation.answers import NoneBelow, find_threshold, is_none
from praxiscope.evaluation.protocols import Protocol, parse_protocol, view_places
from praxiscope.types import Prediction
from praxiscope.video.decode import Video
from praxiscope.video.grid import FrameGrid
from praxiscope.video.opening import open_video
from praxiscope.video.pixels import scaled_size

__all__ = ["Runner", "load"]

_PIXELS = 1 << 18  # of the snippets that the network takes at once; on a CPU more are not faster
_CROPS = ("center", "full", "full-mirrored")


class Runner:
    """An exported network that predicts the action in a video, as `praxiscope.Recogniser` does.

    Args:
        description: of the network.
        network: returns ``logits``; see `Description`.
        frames: returns ``features``; None if there is one network.
        source: its folder, for messages.
    """

    def __init__(
        self, description: Description, network: Runtime, frames: Runtime | None = None, source: str = ""
    ) -> None:
        self.description, self._network, self._frames, self._source = description, network, frames, source

    def __repr__(self) -> str:
        found = self.description
        return f"<Runner of {found.model}, {len(found.labels)} classes, {found.protocol}>"

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, in the order of the scores."""
        return self.description.labels

    @property
    def calibration(self) -> Mapping[str, Any]:
        """The calibration of the answers; empty if there is none."""
        return self.description.calibration

    def predict(
        self,
        source: str | Path | Video,
        top: int = 5,
        protocol: str | None = None,
        average: str | None = None,
        none_below: NoneBelow = "auto",
    ) -> Prediction:
        """Predict the action in one video.

        Args:
            source: a video file, a folder of frames, or an open video.
            top: number of classes to return.
            protocol: views to average, of crops at the centre or whole frames; None: the default of the model.
            average: "logits" or "softmax"; None: that of the protocol.
            none_below: see `praxiscope.Recogniser.predict`.

        Raises:
            ArgumentError: an unknown protocol, or one that the network cannot take.
            VideoError: the file cannot be read.
        """
        if top < 1:
            raise ArgumentError(f"top must be at least 1, got {top}")
        threshold = find_threshold(none_below, self.calibration)
        probabilities = self._probabilities(self.logits(source, protocol, average))
        best = np.argsort(-probabilities, kind="stable")[:top]
        labels, scores = [self.labels[number] for number in best], probabilities[best].tolist()
        name = str(source.path if isinstance(source, Video) else source)
        return Prediction(
            name, labels, scores, none_of_these=is_none(scores, threshold), none_below=threshold
        )

    def logits(
        self, source: str | Path | Video, protocol: str | None = None, average: str | None = None
    ) -> NDArray[np.float32]:
        """Scores of one video before softmax, float32 [K]. Takes the arguments of `predict`."""
        about = self.description
        chosen = parse_protocol(protocol or about.protocol, average or (None if protocol else about.average))
        self._check(chosen)
        video = source if isinstance(source, Video) else open_video(source)
        rows = np.concatenate(list(self._rows(video, chosen)))
        if not np.isfinite(rows).all():
            raise CheckpointError(
                f"{self._source}: the scores of the network are not finite. Export it again."
            )
        return _mean(rows, chosen.average, about.multi_label)

    def inputs(self, source: str | Path | Video, most: int) -> Iterator[NDArray[np.uint8]]:
        """A few of the inputs ``rgb`` that the network, or that of single frames, gets of a video: evenly spaced views,
        uint8 [1, S, C, H, W] each."""
        protocol = parse_protocol(self.description.protocol)
        video = source if isinstance(source, Video) else open_video(source)
        views, crop = self._views(video, protocol), self._crop(video, protocol)
        views = views.reshape(-1, 1) if self._frames is not None else views
        for number in np.unique(np.linspace(0, len(views) - 1, min(most, len(views))).astype(int)):
            yield self._read(video, views[number : number + 1], crop)

    def _check(self, protocol: Protocol) -> None:
        about = self.description
        if protocol.crops not in _CROPS or protocol.sampling == "random":
            raise ArgumentError(
                f"protocol {protocol.name}: an exported network takes crops at the centre or whole frames. Use "
                f"{about.protocol}, or predict with the run."
            )
        if protocol.sampling == "all" and about.together not in (None, 1):
            raise ArgumentError(
                f"protocol {protocol.name} scores every frame at once; {about.model} takes {about.together} snippets. "
                f"Use {about.protocol}."
            )
        fits = (
            about.snippets is None or about.together is not None or protocol.temporal_views == about.snippets
        )
        if not fits or (protocol.crops != "center") != (parse_protocol(about.protocol).crops != "center"):
            raise ArgumentError(
                f"protocol {protocol.name}: the network was exported for {about.protocol}. Export it again with "
                f"--protocol {protocol.name}."
            )

    def _rows(self, video: Video, protocol: Protocol) -> Iterator[NDArray[np.float32]]:
        """The scores of the views before softmax, a few at a time: [v, K]."""
        views, crop = self._views(video, protocol), self._crop(video, protocol)
        flips = (False, True) if protocol.crops == "full-mirrored" else (False,)
        height, width = crop[2:]
        most = max(1, _PIXELS // (height * width))  # snippets
        if self._frames is None:
            at_once = max(1, most // views.shape[1])
            for first in range(0, len(views), at_once):
                frames = self._read(video, views[first : first + at_once], crop)
                for flip in flips:
                    yield self._network({"rgb": _flipped(frames, flip)})
            return
        for view in views:
            features: dict[bool, list[NDArray[np.float32]]] = {flip: [] for flip in flips}
            for first in range(0, len(view), most):
                frames = self._read(video, view[first : first + most, None], crop)
                for flip in flips:
                    features[flip].append(self._frames({"rgb": _flipped(frames, flip)})[:, 0])
            for parts in features.values():
                yield self._network({"features": np.concatenate(parts)[None]})

    def _views(self, video: Video, protocol: Protocol) -> NDArray[np.int64]:
        """First frames of the snippets of all views, [V, S]."""
        about, length = self.description, self.description.length
        if about.windows and protocol.sampling == "segments":
            protocol = replace(protocol, sampling="dense")
        protocol = replace(protocol, stride=1) if about.windows else protocol
        count = video.quick_length()
        if about.fps is None and about.max_seconds is None:
            found = view_places(protocol, count, about.together, length)
            # A network of single snippets scores each by itself, also all of them.
            return found.reshape(-1, 1) if about.together == 1 else found
        grid = FrameGrid(about.fps, about.max_seconds, length).places_of(video, 0, count)
        # At a frame rate, a snippet starts at a frame of the grid and goes on with those after it in the video.
        one = 1 if about.fps is not None else length
        return grid[view_places(protocol, len(grid), about.together, one)]

    def _crop(self, video: Video, protocol: Protocol) -> tuple[int, int, int, int]:
        """Top, left, height and width of what is seen of a frame."""
        width, height = scaled_size(video.width, video.height, self.description.short_side)
        if protocol.crops != "center":
            return 0, 0, height, width
        size = self.description.size
        return (height - size) // 2, (width - size) // 2, size, size

    def _read(
        self, video: Video, starts: NDArray[np.int64], crop: tuple[int, int, int, int]
    ) -> NDArray[np.uint8]:
        """Snippets by their first frames [v, S]: uint8 [v, S, C, H, W]."""
        about = self.description
        numbers = np.minimum(starts[..., None] + np.arange(about.length), video.quick_length() - 1)
        pixels = video.arrays(numbers.ravel(), short_side=about.short_side, crop=crop)
        frames = pixels.reshape(*numbers.shape, *pixels.shape[1:]).transpose(0, 1, 2, 5, 3, 4)
        return np.ascontiguousarray(frames.reshape(*starts.shape, -1, *frames.shape[-2:]))

    def _probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        scores = logits.astype(np.float64) / self.description.temperature
        return np.exp(_log_sigmoid(scores)) if self.description.multi_label else np.exp(_log_softmax(scores))


def _flipped(frames: NDArray[np.uint8], flip: bool) -> NDArray[np.uint8]:
    return np.ascontiguousarray(frames[..., ::-1]) if flip else frames


def _mean(rows: NDArray[np.float32], average: str, multi_label: bool) -> NDArray[np.float32]:
    """The mean over views as scores before softmax, as `praxiscope.evaluation.views.ViewMean` defines it."""
    if average == "logits":
        return rows.mean(0, dtype=np.float64).astype(np.float32)
    wide = rows.astype(np.float64)
    if multi_label:
        yes, no = (np.logaddexp.reduce(_log_sigmoid(sign * wide), axis=0) for sign in (1, -1))
        return (yes - no).astype(np.float32)
    return (np.logaddexp.reduce(_log_softmax(wide), axis=0) - np.log(len(rows))).astype(np.float32)


def _log_softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(x - np.logaddexp.reduce(x, axis=-1, keepdims=True))


def _log_sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(-np.logaddexp(0, -x))


def load(folder: str | Path, *, runtime: str = "auto", threads: int = 0) -> Runner:
    """Load an exported network.

    Args:
        folder: written by ``praxiscope export``.
        runtime: "onnxruntime", "openvino" or "auto", the first that is installed.
        threads: number of threads; 0: the default of the runtime.

    Raises:
        CheckpointError: the folder holds no exported network, or a damaged one.
        ArgumentError: the runtime is not installed, or not the one that a quantised network is for.

    Example:
        >>> load("model/").predict("clip.mp4", top=3).labels
    """
    about, root = read_description(folder), Path(folder)
    if about.int8:
        if runtime == "openvino":
            raise ArgumentError(
                f"{folder}: is quantised for onnxruntime; OpenVINO's answers differ. Leave the runtime out."
            )
        runtime = "onnxruntime"
    network = open_network(root / about.file, "logits", runtime, threads)
    frames = open_network(root / about.frames, "features", runtime, threads) if about.frames else None
    return Runner(about, network, frames, str(folder))
