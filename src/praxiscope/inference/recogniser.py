"""A trained model that reads videos and predicts their classes.

Axis letters: S snippets of a view, V temporal views, C channels, H rows, W columns, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from praxiscope.checkpoint import save_checkpoint
from praxiscope.data.dataset import Skip, ignore
from praxiscope.data.splitlist import SplitList
from praxiscope.errors import ArgumentError, CheckpointError
from praxiscope.evaluation.answers import NoneBelow, find_threshold, is_none
from praxiscope.evaluation.protocols import Protocol, parse_protocol
from praxiscope.evaluation.scores import Scores
from praxiscope.evaluation.views import ViewMean
from praxiscope.inference.describe import input_text, recogniser_html, recogniser_text
from praxiscope.inference.examples import ExampleReader
from praxiscope.inference.network import TrainedNetwork
from praxiscope.inference.over_time import SharedFrames
from praxiscope.inference.scoring import ScoredVideos, score_videos
from praxiscope.inference.timeline import Window, default_window, snippet_times, windows
from praxiscope.progress import Reporter
from praxiscope.types import Clip, Prediction, Segment, VideoRecord
from praxiscope.video.decode import Video
from praxiscope.video.geometry import kind_of
from praxiscope.video.opening import VideoSource, as_video

__all__ = ["Recogniser", "best_labels"]


class Recogniser(TrainedNetwork):
    """A trained network that predicts the action in a video. `praxiscope.load` returns it for a run or model folder.

    Takes the arguments of `TrainedNetwork`.

    Attributes:
        split: the split of the videos in training, if known; ``save`` copies it.
        metrics: validation metrics of the checkpoint, as fractions, if known.
        folder: the model folder that it was loaded from.

    Example:
        >>> recogniser = px.load("runs/a")
        >>> recogniser.predict("clip.mp4", top=5).labels
    """

    split: SplitList | None = None
    metrics: Mapping[str, float] = MappingProxyType({})
    folder: Path | None = None

    def __repr__(self) -> str:
        return recogniser_text([self])

    def _repr_html_(self) -> str:
        """A table for notebooks: model, input, labels, metrics."""
        return recogniser_html([self])

    @property
    def input_text(self) -> str:
        """What is seen of a video, for display."""
        return input_text(self)

    @property
    def parts(self) -> list[Recogniser]:
        """The recognisers with one network each: only this one."""
        return [self]

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, in the order of the scores."""
        return self.card.labels

    def save(self, folder: str | Path) -> None:
        """Write a model folder that `praxiscope.load` reads.

        The list of videos that the network was trained on is copied, if it is known.

        Args:
            folder: the new folder.

        Raises:
            ArgumentError: the folder exists.
        """
        target = Path(folder)
        if target.exists():
            raise ArgumentError(f"{target}: exists already. Name another folder, or remove it.")
        save_checkpoint(target, self.model, self.card)
        if self.split is not None:
            self.split.copy_to(target)

    def default_protocol(self) -> str:
        """The default protocol of ``predict`` and ``score``: that of the model. At a frame rate, models that score any
        number of snippets together take all frames of the grid; others take the window in the middle."""
        sees = self.sees
        if sees.together is None and not sees.all_frames:
            if self.card.input.fps is not None and sees.any_number:
                return "allx1"
            if self.takes_windows:
                return "1x1"
        return str(self.model.default_protocol(self.card.input.flip))

    @property
    def calibration(self) -> Mapping[str, Any]:
        """The calibration of the answers, as in `ModelCard`; empty if there is none."""
        return self.card.calibration

    def predict(
        self,
        source: VideoSource,
        top: int = 5,
        protocol: str | None = None,
        average: str | None = None,
        none_below: NoneBelow = "auto",
        fps: float | None = None,
    ) -> Prediction:
        """Predict the action in one video.

        Args:
            source: the path of a video; an array or tensor uint8 [T, H, W, 3] of RGB frames; or an iterable of frames
                uint8 [H, W, 3], which is read to its end and kept in memory.
            top: number of classes to return.
            protocol: views to average, such as "25x10"; see `praxiscope.evaluation.protocols`. None takes
                `default_protocol`.
            average: what is averaged over the views: "logits" or "softmax". None takes that of the protocol.
            none_below: a video whose best class is less probable shows none of the classes. "auto": the threshold of
                the model's calibration, if it has one. 0 or None: never.
            fps: frames per second of frames in memory, which a model at a frame rate needs; None for a file.

        Returns:
            The most probable classes with their probabilities, and whether the video shows none of the classes.

        Raises:
            ArgumentError: an unknown protocol or average, ``top`` below 1, a threshold that is no probability, or
                frames of another type or shape.
            VideoError: the file cannot be read.

        Example:
            >>> recogniser.predict("clip.mp4").labels[0]
            >>> recogniser.predict(np.zeros((16, 240, 320, 3), np.uint8), protocol="1x1")
        """
        threshold = find_threshold(none_below, self.calibration)
        video = as_video(source, fps, timed=self.needs_times)
        labels, scores = self._top(self.video_logits(video, protocol, average), top)
        none = is_none(scores, threshold)
        return Prediction(
            str(video.path), labels, scores, none_of_these=none, none_below=threshold, runtime=self.runtime
        )

    def video_logits(
        self,
        source: VideoSource,
        protocol: str | None = None,
        average: str | None = None,
        fps: float | None = None,
    ) -> Tensor:
        """Scores of one video before softmax, float32 [K]. Takes the arguments of `predict`."""
        video = as_video(source, fps, timed=self.needs_times)
        record = VideoRecord(str(video.path), video.path, ())
        chosen = parse_protocol(protocol or self.default_protocol(), average)
        clip = self.clip_reader([record], [torch.tensor(-1)], chosen).read(0, video=video)
        if clip.long:
            return self.stream_logits(record, chosen, video=video)
        _, logits = next(self.scorer(chosen).score([clip]))
        return logits

    def stream_logits(
        self,
        record: VideoRecord,
        protocol: Protocol,
        time_limit_s: float = 300.0,
        video: Video | None = None,
        watch: Callable[[Tensor], None] | None = None,
    ) -> Tensor:
        """Scores of one long video before softmax, float32 [K], in memory that does not grow with its length.

        Of all its frames: the file is read twice, for the distances between frames, and for the means of clusters. Of
        random examples: a few are read at a time, and ``watch`` is called with the scores of each.

        Raises:
            VideoError, DataError: the file cannot be read.
        """
        mean = ViewMean(protocol.average, self.card.multi_label)
        reader = self.clip_reader([record], [torch.tensor(-1)], protocol, time_limit_s)
        if isinstance(reader, ExampleReader):

            def add(_: Clip, row: Tensor) -> None:
                mean.add(row)
                if watch is not None:
                    watch(row)

            for _ in self.scorer(protocol).score(reader.parts(0, video), add):
                pass
            return mean.logits()
        for number in range(protocol.crop_count):
            output = self.stream_output(record, protocol, number, time_limit_s, video)
            mean.add(output.logits[0].float().cpu())
        return mean.logits()

    def score(
        self,
        records: Sequence[VideoRecord],
        targets: Sequence[Tensor],
        protocol: str | None = None,
        *,
        average: str | None = None,
        workers: int = 2,
        time_limit_s: float = 300.0,
        reporter: Reporter | None = None,
        note_damage: Callable[[Iterable[Skip]], None] = ignore,
    ) -> tuple[Scores, list[Skip]]:
        """Score many videos.

        Args:
            records: the videos.
            targets: int64 [] class numbers (-1: unknown) or multi-hot [K], one per video.
            protocol: views to average. None: `default_protocol`.
            average: what is averaged over the views: "logits" or "softmax". None: that of the protocol.
            workers: number of processes that read videos.
            time_limit_s: seconds that reading one video may take.
            reporter: shows progress.
            note_damage: called with the videos that were scored in spite of lost frames.

        Returns:
            The scores of the videos that could be read (possibly none), and the other videos with the reason.
        """
        chosen = parse_protocol(protocol or self.default_protocol(), average)
        found = score_videos(
            self,
            self.clip_reader(records, targets, chosen, time_limit_s),
            chosen,
            workers=workers,
            reporter=reporter or Reporter(),
            note_damage=note_damage,
        )
        return self.as_scores(found, chosen, targets), found.skipped

    def as_scores(self, found: ScoredVideos, protocol: Protocol, targets: Sequence[Tensor]) -> Scores:
        described = {
            **protocol.as_dict(),
            "short_side_ratio": self._short_side(protocol) / self.card.input.size,
            "model": self.card.name,
            "backbone": self.card.kwargs.get("backbone"),
            "streams": list(self.streams),
            "clip_snippets": self.sees.together,
            "size": self.card.input.size,
            "activation": "sigmoid" if self.card.multi_label else "softmax",
            **({"clip_hits": found.clip_hits} if found.clip_hits else {}),
        }
        if self.calibration and not self.card.multi_label:
            described["temperature"] = self.card.temperature
        if found.ids:
            logits, known = torch.stack(found.logits), torch.stack(found.targets)
        else:
            logits, known = torch.zeros(0, len(self.labels)), torch.stack(list(targets))[:0]
        return Scores(found.ids, logits.numpy(), known.numpy(), list(self.labels), described)

    def timeline(
        self,
        source: VideoSource,
        *,
        window_s: float | None = None,
        stride_s: float | None = None,
        top: int = 1,
        fps: float | None = None,
        none_below: NoneBelow = "auto",
    ) -> Iterator[Segment]:
        """Predict every window of a video, in memory that does not grow with its length.

        The video is read once, in order. The last window is cut at the end of the video; it is left out if the window
        before it reaches that far.

        Args:
            source: the path of a video, or frames in memory; see `predict`.
            window_s: length of a window, seconds. None: that of a training example for a model at a frame rate,
                otherwise 2.
            stride_s: time from the start of one window to the start of the next, seconds. None: half a window for a
                model at a frame rate, otherwise 1.
            top: number of classes per window.
            fps: frames per second of frames in memory, which must be given for these; None for a file.
            none_below: a window whose best class is less probable shows none of the classes; see `predict`. The rate of
                false refusals of the calibration holds for whole clips, not for windows.

        Yields:
            A segment per window, in order.

        Raises:
            ArgumentError: a length is not above 0, a threshold is no probability, or ``fps`` is missing or not needed.
            VideoError: the file cannot be read.
            DataError: the folder of stored flow has no flow of this video.
        """
        threshold = find_threshold(none_below, self.calibration)
        for start_s, end_s, logits in self.window_logits(source, window_s, stride_s, fps):
            labels, scores = self._top(logits, top)
            yield Segment(start_s, end_s, labels, scores, is_none(scores, threshold))

    def window_logits(
        self,
        source: VideoSource,
        window_s: float | None = None,
        stride_s: float | None = None,
        fps: float | None = None,
    ) -> Iterator[tuple[float, float, Tensor]]:
        """Start, end and scores before softmax, float32 [K], of every window; see `timeline`."""
        window_s = default_window(self.card.input) if window_s is None else window_s
        if stride_s is None:
            stride_s = 1.0 if self.card.input.fps is None else window_s / 2
        if window_s <= 0 or stride_s <= 0:
            raise ArgumentError(f"window and stride must be above 0 s, got {window_s} and {stride_s}")
        forward = self._window_scorer()
        contract, any_number = self.card.input, self.sees.any_number
        count = len(snippet_times(contract, window_s, any_number=any_number))
        most = 1 if self.sees.all_frames else max(1, self.at_once(contract.size, contract.size) // count)
        coming = windows(
            as_video(source, fps, timed=True),
            window_s,
            stride_s,
            contract,
            self.flow_source,
            every=self.sees.all_frames,
            any_number=any_number,
        )
        while batch := list(islice(coming, most)):
            logits = forward(batch)
            for window, row in zip(batch, logits, strict=True):
                yield round(window.start_s, 6), round(window.end_s, 6), row

    def _window_scorer(self) -> Callable[[Sequence[Window]], Tensor]:
        """Return the function from windows to their scores before softmax, float32 [B, K] on the CPU."""
        scorer = self.scorer(parse_protocol("1x1"))
        if self.in_parts and len(self.streams) == 1:
            model: Any = self.exported or self.model
            (stream,), size = self.streams, self.card.input.size
            prepare = partial((self.exported or self).prepare, kind=kind_of(stream))
            return SharedFrames(model, stream, prepare, self.precision, self.at_once(size, size))
        return lambda windows: scorer.forward(
            *(torch.stack([window.streams[name] for window in windows]) for name in self.streams)
        )

    def _top(self, logits: Tensor, top: int) -> tuple[list[str], list[float]]:
        return best_labels(logits, self.labels, self.card.multi_label, top, self.card.temperature)


def best_labels(
    logits: Tensor, labels: Sequence[str], multi_label: bool, top: int, temperature: float = 1.0
) -> tuple[list[str], list[float]]:
    """Return the most probable classes and their probabilities, from scores before softmax [K].

    Raises:
        ArgumentError: ``top`` is less than 1.
        CheckpointError: the scores are not finite.
    """
    if top < 1:
        raise ArgumentError(f"top must be at least 1, got {top}")
    if temperature != 1.0:
        logits = logits.double() / temperature  # as the calibration computed the probabilities
    probabilities = logits.sigmoid() if multi_label else logits.softmax(dim=-1)
    if bool(probabilities.isnan().any()):
        raise CheckpointError(
            "the scores of the model are not finite: its weights are damaged, or its training has diverged. Train it "
            "again, or use another checkpoint."
        )
    values, places = probabilities.topk(min(top, len(probabilities)))
    return [labels[i] for i in places.tolist()], values.tolist()
