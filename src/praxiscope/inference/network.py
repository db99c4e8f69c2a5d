"""Apply a trained network to videos: its input contract, and the views of a protocol.

Axis letters: S snippets of a view, V temporal views, C channels, H rows, W columns, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from praxiscope.checkpoint import ModelCard
from praxiscope.data.dataset import ClipReader
from praxiscope.data.flow_reader import FlowSource
from praxiscope.errors import ArgumentError
from praxiscope.evaluation.protocols import Protocol, parse_protocol
from praxiscope.evaluation.views import Precision, ViewMean, ViewScorer, forward_snippets, inference_precision
from praxiscope.inference.examples import ExampleReader, ExampleRule
from praxiscope.inference.inputs import (
    ViewSampler,
    crops_of,
    frame_grid,
    on_grid,
    stream_readers,
    takes_one_size,
)
from praxiscope.inference.over_time import FramesFirst, score_online
from praxiscope.inference.runtimes import ExportedModel
from praxiscope.inference.streaming import frame_chunks
from praxiscope.layers.memory_format import to_channels_last
from praxiscope.models.contract import LearnsFromFeatures, ScoresOnline, Sees
from praxiscope.types import VideoRecord
from praxiscope.video.decode import Video
from praxiscope.video.grid import FrameGrid
from praxiscope.video.opening import open_video
from praxiscope.video.transforms import BatchAugment, Kind, kind_of

__all__ = ["TrainedNetwork"]


class TrainedNetwork:
    """A network, its input contract, and the device and precision in which it runs.

    Args:
        model: the network.
        card: the content of ``model.json``.
        device: device of the network.
        precision: "auto", "32" or "bf16"; a `Precision` keeps the memory layout of the weights.
        chunk_snippets: largest number of snippets in one forward pass. None: the fastest for their size.
        flow_source: for a model of flow: stored flow, or the estimator. None: the estimator of the contract.

    Attributes:
        exported: what computes forward passes in place of the model, see `praxiscope.inference.runtimes`; None: the
            model.
    """

    def __init__(
        self,
        model: nn.Module,
        card: ModelCard,
        *,
        device: torch.device | None = None,
        precision: str | Precision = "auto",
        chunk_snippets: int | None = None,
        flow_source: FlowSource | None = None,
    ) -> None:
        self.card = card
        self.flow_source = flow_source
        self.device = device or torch.device("cpu")
        self.precision = (
            precision if isinstance(precision, Precision) else inference_precision(self.device, precision)
        )
        self.chunk_snippets = chunk_snippets
        self.exported: ExportedModel | None = None
        self.model: Any = model.to(self.device).eval()
        if self.precision.channels_last:
            to_channels_last(self.model)
        contract = card.input
        self._augment = BatchAugment(
            flip=False,
            mean=contract.mean,
            std=contract.std,
            flow_mean=contract.flow_mean,
            flow_std=contract.flow_std,
            flow_image=contract.flow_is_image,
            channels_last=self.precision.channels_last,
        )

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the model's inputs: "rgb", "flow", or both, at the same times."""
        return self.card.input.streams

    @property
    def stream(self) -> str:
        """The model's inputs as one word: "rgb", "flow" or "rgb+flow"."""
        return "+".join(self.streams)

    @property
    def sees(self) -> Sees:
        """The input that the model needs of a video."""
        sees: Sees = self.model.sees
        return sees

    @property
    def runtime(self) -> str:
        """The library that computed the last scores: "torch", or the name of another runtime."""
        return "torch" if self.exported is None else self.exported.used

    @property
    def in_parts(self) -> bool:
        """Whether the features of frames are computed before anything else."""
        return isinstance(self.model, LearnsFromFeatures) and (
            self.exported is None or self.exported.in_parts
        )

    @property
    def span(self) -> int:
        """Number of consecutive frames that one snippet needs."""
        return stream_readers(self.card.input, self.card.input.short_side, self.flow_source)[1]

    @property
    def needs_times(self) -> bool:
        """Whether the times of frames decide which of them are read."""
        return self.card.input.fps is not None or self.card.input.max_seconds is not None

    @property
    def takes_windows(self) -> bool:
        """Whether the views of a test are windows of consecutive snippets, as in training. Models that score each time
        by itself take times from the whole video instead, and models of all frames take them all."""
        alone = self.sees.instants_apart or self.sees.all_frames
        return self.card.input.sampling == "window" and not alone

    def at_once(self, height: int, width: int) -> int:
        """Number of snippets of this size in one forward pass."""
        return self.chunk_snippets or forward_snippets(self.device, height, width, self.precision.name)

    def streams_frames(self, protocol: Protocol) -> bool:
        """Whether long videos are processed a few frames at a time. Stacks of flow or of frames are always read
        together."""
        contract = self.card.input
        if protocol.sampling != "all" or contract.flow is not None:
            return False
        online = isinstance(self.model, ScoresOnline) and contract.length == 1
        return self.sees.streamable if self.sees.all_frames else online

    def stream_output(
        self,
        record: VideoRecord,
        protocol: Protocol,
        crop: int = 0,
        time_limit_s: float = 300.0,
        video: Video | None = None,
    ) -> Any:
        """Return the output for all frames of one crop of a video, which is read a few frames at a time: that of
        ``forward_stream`` for a model of all frames, otherwise the scores after the last frame.

        Args:
            record: the video, or a part of one.
            protocol: of all frames, see `streams_frames`.
            crop: number of the crop.
            time_limit_s: seconds that opening the video may take.
            video: the video, if it is open; None opens that of ``record``.

        Raises:
            VideoError, DataError: the file cannot be read.
        """
        short_side = self._short_side(protocol)
        read = frame_chunks(
            record,
            short_side=short_side,
            chunk=self.at_once(short_side, short_side),
            time_limit_s=time_limit_s,
            video=video,
            grid=frame_grid(self.card.input, 1)[0],
        )

        def chunks() -> Iterator[Tensor]:
            for frames in read():
                crops = crops_of(protocol.crops, self.card.input.size, frames)
                yield self.prepare(next(islice(crops, crop, None))[None])[0]

        with torch.inference_mode():
            model: Any = self.model
            if not self.sees.all_frames:
                return score_online(model, chunks(), self.precision, self.device)
            with self.precision.context(self.device):
                return model.forward_stream(chunks)

    def whole_frames(self, source: str | Path, numbers: Tensor) -> Tensor:
        """Return frames of a video as input of a model of all frames: uncropped, scaled and normalised.

        Args:
            source: a video file.
            numbers: int64 [n], numbers of the frames.

        Returns:
            float32 [n, C, H, W], on the device of the model.

        Raises:
            VideoError: the file cannot be read.
        """
        short_side = self._short_side(parse_protocol("allxfull"))
        return self.prepare(open_video(source).frames(numbers, short_side=short_side)[None])[0]

    def snippet_logits(self, source: str | Path, starts: Tensor) -> Tensor:
        """Return the scores of single snippets of a video before softmax, in centre crops.

        A model that mixes snippets (``sees.together`` above 1) takes all of them together.

        Args:
            source: a video file.
            starts: int64 [S], first frame of each snippet; see ``span``.

        Returns:
            float32 [S, K]. For a model that scores snippets one by one, their mean is the score of the video.

        Raises:
            VideoError, DataError: the file cannot be read.
            ArgumentError: the model does not score snippets.
        """
        if self.sees.all_frames:
            raise ArgumentError(
                f"{self.card.name} scores clusters of frames, not snippets. Use praxiscope explain clusters."
            )
        if self.sees.together is None:
            raise ArgumentError(f"{self.card.name} scores a video as a whole, not single snippets")
        protocol = parse_protocol("1x1")
        readers, _ = stream_readers(self.card.input, self._short_side(protocol), self.flow_source)
        (stream,) = readers
        clips = ClipReader(
            [VideoRecord(str(source), Path(source), ())],
            [torch.tensor(-1)],
            sampler=lambda frames, generator: starts,
            readers=readers,
            random=False,
        )
        kind = kind_of(stream)
        (crop,) = crops_of(protocol.crops, self.card.input.size, clips.read(0).streams[stream], kind)
        together = len(starts) if self.sees.together > 1 else self.at_once(*crop.shape[-2:])
        rows = []
        for part in torch.split(crop, together):
            with torch.inference_mode(), self.precision.context(self.device):
                rows.append(self.model(self.prepare(part[None], kind)).snippet_logits[0].float().cpu())
        return torch.cat(rows)

    def clip_reader(
        self,
        records: Sequence[VideoRecord],
        targets: Sequence[Tensor],
        protocol: Protocol,
        time_limit_s: float = 300.0,
    ) -> ClipReader:
        """Return a reader of the views of a protocol for each video.

        Args:
            records: the videos.
            targets: int64 [] class numbers (-1: unknown) or multi-hot [K], one per video.
            protocol: the views.
            time_limit_s: seconds that reading one video may take.
        """
        short_side = self._short_side(protocol)
        readers, span = stream_readers(self.card.input, short_side, self.flow_source)
        grid, length = frame_grid(self.card.input, span)
        if protocol.sampling == "random":
            rule = self._example_rule(protocol, length, grid)
            return ExampleReader(records, targets, rule=rule, readers=readers, time_limit_s=time_limit_s)
        return ClipReader(
            records,
            targets,
            sampler=on_grid(self.view_sampler(protocol, length, self.streams_frames(protocol)), grid),
            readers=readers,
            random=False,
            time_limit_s=time_limit_s,
        )

    def view_sampler(self, protocol: Protocol, length: int, leave_long: bool = False) -> ViewSampler:
        """Return what chooses the snippets of the views of a protocol.

        Args:
            protocol: the views, not drawn at random.
            length: consecutive frames, or positions of a grid, of a snippet.
            leave_long: see `ViewSampler`.
        """
        together, windows = self.seen_together(protocol), self.takes_windows
        return ViewSampler(protocol, together, length, windows=windows, leave_long=leave_long)

    def _example_rule(self, protocol: Protocol, length: int, grid: FrameGrid | None) -> ExampleRule:
        contract, together = self.card.input, self.sees.together
        if self.sees.all_frames:
            raise ArgumentError(
                f"protocol {protocol.name} draws windows of a video; {self.card.name} takes every frame. Use "
                f"{self.model.default_protocol(contract.flip)}."
            )
        return ExampleRule(
            draws=protocol.temporal_views,
            ten_crops=protocol.crops == "ten",
            snippets=together if together is not None and together > 1 else contract.snippets,
            size=contract.size,
            windows=contract.sampling == "window",
            flip=contract.flip,
            length=length,
            grid=grid,
            seed=protocol.seed,
        )

    def _short_side(self, protocol: Protocol) -> int:
        contract = self.card.input
        # One and ten crops keep the frame size of training; three crops are as high as the frame.
        return contract.size if protocol.crops == "three" else contract.short_side

    def seen_together(self, protocol: Protocol) -> int | None:
        """Number of snippets in a view; None if all snippets of a protocol, or of a random example, are one view."""
        if protocol.sampling == "random":
            return None
        windows = protocol.sampling == "dense" or (protocol.sampling == "segments" and self.takes_windows)
        if self.sees.together is None and windows:
            return self.card.input.snippets
        # If no layer mixes instants, the score is their mean: one at a time needs less memory.
        return 1 if self.sees.instants_apart else self.sees.together

    def scorer(self, protocol: Protocol) -> ViewScorer:
        """Return the scorer of the clips that `clip_reader` reads.

        Raises:
            ArgumentError: the model cannot take such views.
        """
        together = self.seen_together(protocol)
        together_all = together is None and self.card.input.fps is not None and not self.sees.fixed_number
        every = self.sees.all_frames or together_all or self.streams_frames(protocol)
        if protocol.sampling == "all" and not every and together != 1:
            takes = f"{self.card.name} takes {together} snippets. Use 1x1, or 2x3 for more views"
            if self.sees.fixed_number:
                count = self.card.input.snippets
                remedy = "10x1 for ten windows of so many" if self.takes_windows else f"{count}x1"
                takes = f"{self.card.name} takes {count} snippets. Use {remedy}"
            elif together is None:
                takes = f"{self.card.name} needs memory for all of them together. Use 25x1"
            raise ArgumentError(f"protocol {protocol.name} scores every frame at once; {takes}.")
        if protocol.crops in ("full", "full-mirrored") and takes_one_size(self.model):
            raise ArgumentError(
                f"protocol {protocol.name} scores uncropped frames; "
                f"{self.card.kwargs.get('backbone', self.card.name)} takes crops of {self.card.input.size} pixels. "
                "Use 25x1, or 25x10 for more views."
            )
        model: Any = self.exported or self.model
        return ViewScorer(
            FramesFirst(model, self.at_once) if self.in_parts else model,
            prepare=self.prepare if self.exported is None else self.exported.prepare,
            crop=partial(crops_of, protocol.crops, self.card.input.size),
            streams=self.streams,
            together=None if every and together != 1 and protocol.sampling == "all" else together,
            chunk_snippets=self.at_once,
            precision=self.precision,
            mean=partial(ViewMean, protocol.average, self.card.multi_label),
        )

    def prepare(self, views: Tensor, kind: Kind = "rgb") -> Tensor:
        """Views [B, S, C, H, W], uint8 RGB or float32 flow in pixels, as normalised floats on the model's device."""
        return self._augment.stream(views.to(self.device, non_blocking=True), (), kind)
