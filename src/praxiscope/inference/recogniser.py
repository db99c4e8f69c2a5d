"""A trained model with everything it needs to read a video and name what happens in it.

S snippets of a view, V temporal views, C channels, H rows, W columns, K classes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from praxiscope._memory import keep_worker_memory
from praxiscope.checkpoint import ModelCard, save_checkpoint
from praxiscope.data.dataset import ClipReader, Skip, TestClips, clear_errors, ignore
from praxiscope.data.flow_reader import FlowSource
from praxiscope.data.splitlist import SplitList
from praxiscope.errors import ArgumentError, DataError, VideoError
from praxiscope.evaluation.protocols import Protocol, parse_protocol
from praxiscope.evaluation.scores import Scores
from praxiscope.evaluation.views import Precision, ViewMean, ViewScorer, forward_snippets, inference_precision
from praxiscope.inference.inputs import ViewSampler, crops_of, stream_readers, takes_one_size
from praxiscope.inference.streaming import frame_chunks
from praxiscope.inference.timeline import windows
from praxiscope.models.contract import Sees
from praxiscope.processes import run_once
from praxiscope.progress import Reporter
from praxiscope.types import Clip, Prediction, Segment, VideoRecord
from praxiscope.video.decode import known_damage
from praxiscope.video.opening import open_video
from praxiscope.video.transforms import BatchAugment, Kind, kind_of

if TYPE_CHECKING:
    from praxiscope.models.full_video import FullVideoOutput

__all__ = ["Recogniser", "best_labels"]


class Recogniser:
    """A model, its labels and its input contract.

    Args:
        model: a snippet model.
        card: what ``model.json`` says.
        device: where it runs.
        precision: "auto", "32" or "bf16"; or all of it, where the weights' layout must stay as it is.
        chunk_snippets: the most snippets in one forward pass; None takes what is fastest for their size.
        flow_source: of a model that sees flow: stored flow, or the estimator; None makes that of the contract.
        split: which videos it was trained on, to be saved with it.
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
        split: SplitList | None = None,
    ) -> None:
        self.card = card
        self.flow_source, self.split = flow_source, split
        self.device = device or torch.device("cpu")
        self.precision = (
            precision if isinstance(precision, Precision) else inference_precision(self.device, precision)
        )
        self.chunk_snippets = chunk_snippets
        layout = torch.channels_last if self.precision.channels_last else torch.preserve_format
        self.model = model.to(self.device, memory_format=layout).eval()  # type: ignore[call-overload]
        contract = card.input
        self._augment = BatchAugment(
            flip=False,
            mean=contract.mean,
            std=contract.std,
            flow_mean=contract.flow_mean,
            flow_std=contract.flow_std,
            channels_last=self.precision.channels_last,
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, in the order of the scores."""
        return self.card.labels

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the streams that the model sees: "rgb", "flow", or both of the same instants."""
        return self.card.input.streams

    @property
    def stream(self) -> str:
        """What the model sees, in a word: "rgb", "flow" or "rgb+flow"."""
        return "+".join(self.streams)

    @property
    def sees(self) -> Sees:
        """What the model takes of a video."""
        sees: Sees = self.model.sees
        return sees

    @property
    def span(self) -> int:
        """Frames that a snippet needs from its first one on."""
        return stream_readers(self.card.input, self.card.input.short_side, self.flow_source)[1]

    def at_once(self, height: int, width: int) -> int:
        """Snippets of this size that go through the network together."""
        return self.chunk_snippets or forward_snippets(self.device, height, width)

    def save(self, folder: str | Path) -> None:
        """Write a model folder that ``load`` reads: of one task of a network with several, say.

        What it was trained on stays known, as far as the folder that it was loaded from told.

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
        """What ``predict`` uses: every frame, whole, for models that take them all; 25 whole frames for models that see
        any number together, and the same flipped where training had such; 25 frames for models that average; else
        one centred clip."""
        if self.sees.all_frames:
            return "allxfull"
        if self.sees.together is None:
            return "fully-convolutional" if self.card.input.flip else "25xfull"
        return "25x1" if self.sees.together == 1 else "1x1"

    def predict(
        self, source: str | Path, top: int = 5, protocol: str | None = None, average: str | None = None
    ) -> Prediction:
        """Name what happens in one video.

        Args:
            source: a video file.
            top: how many classes to return.
            protocol: which views to average; see ``praxiscope.evaluation.protocols``.
            average: what of them, "logits" or "softmax"; None is the protocol's own.

        Raises:
            ArgumentError: the protocol or the average is unknown, or ``top`` below 1.
            VideoError: the file cannot be read.
        """
        if not isinstance(source, (str, os.PathLike)):
            raise ArgumentError(f"predict takes the path of one video, got a {type(source).__name__}")
        labels, scores = self._top(self.video_logits(source, protocol, average), top)
        return Prediction(str(source), labels, scores)

    def video_logits(
        self, source: str | Path, protocol: str | None = None, average: str | None = None
    ) -> Tensor:
        """Scores of one video before softmax, float32 [K]; arguments and errors as ``predict``."""
        record = VideoRecord(str(source), Path(source), ())
        chosen = parse_protocol(protocol or self.default_protocol(), average)
        clip = self.clip_reader([record], [torch.tensor(-1)], chosen).read(0)
        if not len(clip.streams[self.streams[0]]):  # of a long video, see ViewSampler
            return self.stream_logits(record, chosen)
        _, logits = next(self.scorer(chosen).score([clip]))
        return logits

    def streams_frames(self, protocol: Protocol) -> bool:
        """Whether long videos go through the model a few frames at a time; stacks of flow are read together, and so are
        frames that a first stage shifts among."""
        return self.sees.streamable and protocol.sampling == "all" and self.card.input.flow is None

    def stream_logits(self, record: VideoRecord, protocol: Protocol, time_limit_s: float = 300.0) -> Tensor:
        """`video_logits`, of every frame, in memory that does not grow with their number: float32 [K].

        The file is read twice, once for the distances between frames and once for the means of clusters.

        Raises:
            VideoError, DataError: the file cannot be read.
        """
        mean = ViewMean(protocol.average, self.card.multi_label)
        for number in range(protocol.crop_count):
            mean.add(self.stream_output(record, protocol, number, time_limit_s).logits[0].float().cpu())
        return mean.logits()

    def stream_output(
        self, record: VideoRecord, protocol: Protocol, crop: int = 0, time_limit_s: float = 300.0
    ) -> FullVideoOutput:
        """What the model says of crop number ``crop`` of a whole video; see `stream_logits`."""
        short_side = self._short_side(protocol)
        read = frame_chunks(
            record,
            short_side=short_side,
            chunk=self.at_once(short_side, short_side),
            time_limit_s=time_limit_s,
        )

        def chunks() -> Iterator[Tensor]:
            for frames in read():
                crops = crops_of(protocol.crops, self.card.input.size, frames)
                yield self._prepare(next(islice(crops, crop, None))[None])[0]

        with torch.inference_mode(), self.precision.context(self.device):
            output: FullVideoOutput = self.model.forward_stream(chunks)
        return output

    def whole_frames(self, source: str | Path, numbers: Tensor) -> Tensor:
        """Single frames of one video as a model of every frame takes them: uncropped, scaled and normalised.

        Args:
            source: a video file.
            numbers: int64 [n], of frames.

        Returns:
            float32 [n, C, H, W], on the model's device.

        Raises:
            VideoError: the file cannot be read.
        """
        short_side = self._short_side(parse_protocol("allxfull"))
        return self._prepare(open_video(source).frames(numbers, short_side=short_side)[None])[0]

    def snippet_logits(self, source: str | Path, starts: Tensor) -> Tensor:
        """Scores of single snippets of one video before softmax, in centre crops.

        Snippets of a model that mixes them (``sees.together`` above 1) are seen together.

        Args:
            source: a video file.
            starts: int64 [S], first frame of each snippet; see ``span``.

        Returns:
            float32 [S, K]; of a model that averages, their mean is the video's score.

        Raises:
            VideoError, DataError: the file cannot be read.
            ArgumentError: the model does not score snippets: it sees every frame, or all snippets as one.
        """
        if self.sees.all_frames:
            raise ArgumentError(f"{self.card.name} scores clusters of frames, not snippets; see --clusters")
        if self.sees.together is None:
            raise ArgumentError(f"{self.card.name} scores a video as a whole, not its snippets")
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
                rows.append(self.model(self._prepare(part[None], kind)).snippet_logits[0].float().cpu())
        return torch.cat(rows)

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
            protocol: which views to average.
            average: what of them, "logits" or "softmax"; None is the protocol's own.
            workers: processes that read.
            time_limit_s: seconds that reading one video may take.
            reporter: shows progress.
            note_damage: takes the videos that were scored although frames of them are lost, with what is lost.

        Returns:
            The scores of the videos that could be read (there may be none), and those that could not, with
            the reason.
        """
        reporter = reporter or Reporter()
        chosen = parse_protocol(protocol or self.default_protocol(), average)
        if workers:
            run_once()
        reader = self.clip_reader(records, targets, chosen, time_limit_s)
        loader = torch.utils.data.DataLoader(
            TestClips(reader),
            batch_size=None,
            num_workers=workers,
            prefetch_factor=2 if workers else None,
            worker_init_fn=keep_worker_memory,
        )
        skipped: list[Skip] = []
        ids: list[str] = []
        rows: list[Tensor] = []
        kept: list[Tensor] = []
        with reporter.bar(f"testing {chosen.name}", len(records)) as bar:
            long: list[str] = []

            def readable() -> Iterator[Clip]:
                for item in clear_errors(loader):
                    if isinstance(item, Clip) and not len(item.streams[self.streams[0]]):
                        long.append(item.id)
                        continue
                    bar.advance()
                    if isinstance(item, Skip):
                        skipped.append(item)
                    else:
                        if item.damage:
                            note_damage([Skip(item.id, item.damage)])
                        yield item

            for clip, logits in self.scorer(chosen).score(readable()):
                ids.append(clip.id)
                rows.append(logits)
                kept.append(clip.target)
            for number, record in enumerate(records):
                if record.id not in long:
                    continue
                bar.advance(0, f"long video {record.id}")
                try:
                    rows.append(self.stream_logits(record, chosen, time_limit_s))
                except (VideoError, DataError) as error:
                    skipped.append(Skip(record.id, str(error)))
                else:
                    if damage := known_damage(record.path):
                        note_damage([Skip(record.id, damage)])
                    ids.append(record.id)
                    kept.append(targets[number])
                bar.advance()
        described = {
            **chosen.as_dict(),
            "short_side_ratio": self._short_side(chosen) / self.card.input.size,
            "model": self.card.name,
            "backbone": self.card.kwargs.get("backbone"),
            "streams": list(self.streams),
            "clip_snippets": self.sees.together,
            "size": self.card.input.size,
            "activation": "sigmoid" if self.card.multi_label else "softmax",
        }
        if rows:
            logits, found = torch.stack(rows), torch.stack(kept)
        else:
            logits, found = torch.zeros(0, len(self.labels)), torch.stack(list(targets))[:0]
        scores = Scores(ids, logits.numpy(), found.numpy(), list(self.labels), described)
        return scores, skipped

    def timeline(
        self, source: str | Path, *, window_s: float = 2.0, stride_s: float = 1.0, top: int = 1
    ) -> Iterator[Segment]:
        """Name what happens in every window of a video, at memory that does not grow with its length.

        The video is read once, in order. A window that would end behind the video's end is cut off there;
        it is left out where the window before it reaches the end.

        Args:
            source: a video file.
            window_s: length of a window, seconds.
            stride_s: from the start of one window to that of the next, seconds.
            top: how many classes per window.

        Yields:
            A segment per window, in order.

        Raises:
            ArgumentError: a length is not above 0.
            VideoError: the file cannot be read.
            DataError: there is no stored flow of it, where that was asked for.
        """
        for start_s, end_s, logits in self.window_logits(source, window_s, stride_s):
            yield Segment(start_s, end_s, *self._top(logits, top))

    def window_logits(
        self, source: str | Path, window_s: float, stride_s: float
    ) -> Iterator[tuple[float, float, Tensor]]:
        """Start, end and scores before softmax, float32 [K], of every window; see ``timeline``."""
        if window_s <= 0 or stride_s <= 0:
            raise ArgumentError(f"window and stride must be above 0 s, got {window_s} and {stride_s}")
        scorer = self.scorer(parse_protocol("1x1"))
        size = self.card.input.size
        most = 1 if self.sees.all_frames else max(1, self.at_once(size, size) // self.card.input.snippets)
        coming = windows(
            source, window_s, stride_s, self.card.input, self.flow_source, every=self.sees.all_frames
        )
        while batch := list(islice(coming, most)):
            logits = scorer.forward(
                *(torch.stack([window.streams[name] for window in batch]) for name in self.streams)
            )
            for window, row in zip(batch, logits, strict=True):
                yield round(window.start_s, 6), round(window.end_s, 6), row

    def clip_reader(
        self,
        records: Sequence[VideoRecord],
        targets: Sequence[Tensor],
        protocol: Protocol,
        time_limit_s: float = 300.0,
    ) -> ClipReader:
        """What reads the views of a protocol of each video; see ``score`` for the arguments."""
        short_side = self._short_side(protocol)
        readers, span = stream_readers(self.card.input, short_side, self.flow_source)
        return ClipReader(
            records,
            targets,
            sampler=ViewSampler(protocol, self._seen_together(protocol), span, self.streams_frames(protocol)),
            readers=readers,
            random=False,
            time_limit_s=time_limit_s,
        )

    def _short_side(self, protocol: Protocol) -> int:
        contract = self.card.input
        # Centre and ten crops keep the frame size of training; three crops are as high as the frame.
        return contract.size if protocol.crops == "three" else contract.short_side

    def _seen_together(self, protocol: Protocol) -> int | None:
        """Snippets of a view; None where all of a protocol's are one."""
        if self.sees.together is None and protocol.sampling == "dense":
            return self.card.input.snippets
        # Where nothing acts along time the score is a mean all the same, and memory need not grow with the instants.
        return 1 if self.sees.instants_apart else self.sees.together

    def scorer(self, protocol: Protocol) -> ViewScorer:
        """What scores the clips that ``clip_reader`` reads.

        Raises:
            ArgumentError: the model cannot be shown such views.
        """
        together = self._seen_together(protocol)
        if protocol.sampling == "all" and not self.sees.all_frames and together != 1:
            takes = f"takes {together}. Take 1x1, or 2x3 for more views"
            if together is None:
                takes = "sees all that it is shown together, and would need memory for all of them. Take 25x1"
            raise ArgumentError(
                f"protocol {protocol.name} shows every frame at once; {self.card.name} {takes}."
            )
        if protocol.crops in ("full", "full-mirrored") and takes_one_size(self.model):
            raise ArgumentError(
                f"protocol {protocol.name} shows whole frames; {self.card.kwargs.get('backbone', self.card.name)} "
                f"takes crops of {self.card.input.size} pixels only. Take 25x1, or 25x10 for more views."
            )
        return ViewScorer(
            self.model,
            prepare=self._prepare,
            crop=partial(crops_of, protocol.crops, self.card.input.size),
            streams=self.streams,
            together=None if self.sees.all_frames and protocol.sampling == "all" else together,
            chunk_snippets=self.at_once,
            precision=self.precision,
            average=protocol.average,
            sigmoid=self.card.multi_label,
        )

    def _prepare(self, views: Tensor, kind: Kind = "rgb") -> Tensor:
        return self._augment.stream(views.to(self.device, non_blocking=True), (), kind)

    def _top(self, logits: Tensor, top: int) -> tuple[list[str], list[float]]:
        return best_labels(logits, self.labels, self.card.multi_label, top)


def best_labels(
    logits: Tensor, labels: Sequence[str], multi_label: bool, top: int
) -> tuple[list[str], list[float]]:
    """The most probable classes and their probabilities, of scores before softmax [K]."""
    if top < 1:
        raise ArgumentError(f"top must be at least 1, got {top}")
    probabilities = logits.sigmoid() if multi_label else logits.softmax(dim=-1)
    values, places = probabilities.topk(min(top, len(probabilities)))
    return [labels[i] for i in places.tolist()], values.tolist()
