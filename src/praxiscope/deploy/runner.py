"""Predict videos with an exported network.

Axis letters: V views, v of them, S snippets of a view, n snippets, C channels, H rows, W columns, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from praxiscope.deploy.description import Description
from praxiscope.deploy.joins import Parts, find_join
from praxiscope.deploy.predictor import Predictor, log_sigmoid, log_softmax
from praxiscope.deploy.reading import InputReader, Inputs, flipped
from praxiscope.deploy.runtimes import Outputs, Runtime
from praxiscope.errors import ArgumentError, CheckpointError
from praxiscope.evaluation.protocols import Protocol, parse_protocol
from praxiscope.video.decode import Video
from praxiscope.video.opening import open_video

__all__ = ["Runner"]

_PIXELS = 1 << 18  # of the snippets that the network takes at once; on a CPU more are not faster
_CROPS = ("center", "full", "full-mirrored")


class Runner(Predictor):
    """An exported network that predicts the action in a video, as `praxiscope.Recogniser` does.

    Args:
        description: of the network.
        network: returns ``logits``, and what follows from ``join`` of the description.
        frames: returns ``features``; None if there is one network.
        source: its folder, for messages.

    Attributes:
        join: the step between the networks; None if there is one network.
    """

    def __init__(
        self, description: Description, network: Outputs, frames: Runtime | None = None, source: str = ""
    ) -> None:
        self.description: Description = description
        self._network, self._frames, self._source = network, frames, source
        self.join = None if frames is None else find_join(description.join)(network, description.settings)

    def __repr__(self) -> str:
        found = self.description
        return f"<Runner of {found.model}, {len(found.labels)} classes, {found.protocol}>"

    def logits(
        self, source: str | Path | Video, protocol: str | None = None, average: str | None = None
    ) -> NDArray[np.float32]:
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

    def inputs(self, source: str | Path | Video, most: int) -> Iterator[Inputs]:
        """A few of the inputs that the network, or that of single frames, gets of a video: evenly spaced views, arrays
        [1, S, C, H, W] by name."""
        video = source if isinstance(source, Video) else open_video(source)
        reader = InputReader(self.description, video, parse_protocol(self.description.protocol))
        views = reader.views if self._frames is None else reader.views.reshape(-1, 1)
        for number in np.unique(np.linspace(0, len(views) - 1, min(most, len(views))).astype(int)):
            yield reader.read(views[number : number + 1])

    def features(self, source: str | Path | Video, protocol: str | None = None) -> list[Parts]:
        """The features of the frames of each view of a video, a few frames at a time.

        Raises:
            ArgumentError: the network is not of single frames.
        """
        if self._frames is None:
            raise ArgumentError(f"{self._source}: {self.description.model} is one network, without features.")
        chosen = parse_protocol(protocol or self.description.protocol)
        self._check(chosen)
        video = source if isinstance(source, Video) else open_video(source)
        reader = InputReader(self.description, video, chosen)
        return [partial(self._features, reader, view, flip) for view in reader.views for flip in reader.flips]

    def _check(self, protocol: Protocol) -> None:
        about = self.description
        if protocol.crops not in _CROPS or protocol.sampling == "random":
            raise ArgumentError(
                f"protocol {protocol.name}: an exported network takes crops at the centre or whole frames. Use "
                f"{about.protocol}, or predict with the run."
            )
        if protocol.sampling == "all" and about.together not in (None, 1) and not about.all_frames:
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
        if self.join is not None:
            for parts in self.features(video, protocol.name):
                yield self.join(parts)
            return
        reader = InputReader(self.description, video, protocol)
        at_once = max(1, _at_once(reader) // reader.views.shape[1])
        for first in range(0, len(reader.views), at_once):
            inputs = reader.read(reader.views[first : first + at_once])
            for flip in reader.flips:
                yield self._network(flipped(inputs, flip))[0]

    def _features(
        self, reader: InputReader, view: NDArray[np.int64], flip: bool
    ) -> Iterator[NDArray[np.float32]]:
        """Features of the snippets of a view, [n, ...], a few at a time."""
        assert self._frames is not None
        most = _at_once(reader)
        for first in range(0, len(view), most):
            inputs = reader.read(view[first : first + most, None])
            yield self._frames(flipped(inputs, flip))[:, 0]


def _at_once(reader: InputReader) -> int:
    """Snippets that a network takes at once."""
    return max(1, _PIXELS // (reader.crop[2] * reader.crop[3]))


def _mean(rows: NDArray[np.float32], average: str, multi_label: bool) -> NDArray[np.float32]:
    """The mean over views as scores before softmax, as `praxiscope.evaluation.views.ViewMean` defines it."""
    if average == "logits":
        return rows.mean(0, dtype=np.float64).astype(np.float32)
    wide = rows.astype(np.float64)
    if multi_label:
        yes, no = (np.logaddexp.reduce(log_sigmoid(sign * wide), axis=0) for sign in (1, -1))
        return (yes - no).astype(np.float32)
    return (np.logaddexp.reduce(log_softmax(wide), axis=0) - np.log(len(rows))).astype(np.float32)
