"""A trained model with everything it needs to read a video and name what happens in it.

S snippets of a view, V temporal views, C channels, H rows, W columns, K classes.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from praxiscope.checkpoint import InputContract, ModelCard, find_checkpoint, load_card, load_model_weights
from praxiscope.data.batch import keep_memory
from praxiscope.data.dataset import ClipReader, RgbReader, Skip, TestClips, clear_errors
from praxiscope.errors import ArgumentError, CheckpointError
from praxiscope.evaluation.protocols import Crops, Protocol, parse_protocol, view_indices
from praxiscope.evaluation.scores import Scores
from praxiscope.evaluation.views import Precision, ViewScorer, inference_precision
from praxiscope.models import create_model
from praxiscope.progress import Reporter
from praxiscope.types import Clip, Prediction, Segment, VideoRecord
from praxiscope.video.decode import DecodedFrame, open_video
from praxiscope.video.transforms import BatchAugment, CenterCrop, TenCrop, ThreeCrop

__all__ = ["Recogniser", "load", "pick_device"]


def pick_device(name: str = "auto") -> torch.device:
    """The device by its name; "auto" takes a CUDA or Apple GPU where there is one.

    Raises:
        ArgumentError: the device is unknown, or not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ArgumentError(f"device {name!r} cannot be used: {reason} Try --device cpu.") from None
    return device


def load(path: str | Path, *, checkpoint: str | None = None, device: str = "auto") -> Recogniser:
    """Load a recogniser from a run folder or a model folder.

    Args:
        path: the folder.
        checkpoint: "last" or "best"; None takes the one the run prefers.
        device: where it runs.

    Returns:
        The recogniser, in evaluation mode.

    Raises:
        CheckpointError: there is no model, or it is damaged or does not fit.

    Example:
        >>> recogniser = load("runs/a")
        >>> recogniser.predict("clip.mp4", top=5).labels
    """
    folder = find_checkpoint(path, checkpoint)
    card = load_card(folder)
    model = build_from_card(card, folder)
    load_model_weights(folder, model)
    return Recogniser(model, card, device=pick_device(device))


def build_from_card(card: ModelCard, folder: Path) -> nn.Module:
    """The network that a card describes, with random weights.

    Raises:
        CheckpointError: this praxiscope cannot build it, or the labels are not those of its scores.
    """
    try:
        model = create_model(card.name, **card.kwargs)
    except (ArgumentError, TypeError) as error:
        raise CheckpointError(f"{folder}: its model cannot be built. {error}") from error
    if len(card.labels) != model.num_classes:
        raise CheckpointError(
            f"{folder}: names {len(card.labels)} labels for {model.num_classes} scores. Take another checkpoint."
        )
    return model


class Recogniser:
    """A model, its labels and its input contract.

    Args:
        model: a snippet model.
        card: what ``model.json`` says.
        device: where it runs.
        precision: "auto", "32" or "bf16"; or all of it, where the weights' layout must stay as it is.
        chunk_snippets: the most snippets in one forward pass; bounds the memory.
    """

    def __init__(
        self,
        model: nn.Module,
        card: ModelCard,
        *,
        device: torch.device | None = None,
        precision: str | Precision = "auto",
        chunk_snippets: int = 64,
    ) -> None:
        self.card = card
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
    def clip_snippets(self) -> int:
        """Snippets that the model must see together: 1 where it only averages over them."""
        return int(self.model.clip_snippets)

    def default_protocol(self) -> str:
        """What ``predict`` uses: 25 frames for models that average, else one centred clip."""
        return "25x1" if self.clip_snippets == 1 else "1x1"

    def predict(self, source: str | Path, top: int = 5, protocol: str | None = None) -> Prediction:
        """Name what happens in one video.

        Args:
            source: a video file.
            top: how many classes to return.
            protocol: which views to average; see ``praxiscope.evaluation.protocols``.

        Raises:
            ArgumentError: the protocol is unknown, or ``top`` below 1.
            VideoError: the file cannot be read.
        """
        if not isinstance(source, (str, os.PathLike)):
            raise ArgumentError(f"predict takes the path of one video, got a {type(source).__name__}")
        record = VideoRecord(str(source), Path(source), ())
        chosen = parse_protocol(protocol or self.default_protocol())
        clips = self._reader([record], [torch.tensor(-1)], chosen)
        _, logits = next(self._scorer(chosen).score([clips.read(0)]))
        labels, scores = self._top(logits, top)
        return Prediction(str(source), labels, scores)

    def score(
        self,
        records: Sequence[VideoRecord],
        targets: Sequence[Tensor],
        protocol: str | None = None,
        *,
        workers: int = 2,
        time_limit_s: float = 300.0,
        reporter: Reporter | None = None,
    ) -> tuple[Scores, list[Skip]]:
        """Score many videos.

        Args:
            records: the videos.
            targets: int64 [] class numbers (-1: unknown) or multi-hot [K], one per video.
            protocol: which views to average.
            workers: processes that read.
            time_limit_s: seconds that reading one video may take.
            reporter: shows progress.

        Returns:
            The scores of the videos that could be read (there may be none), and those that could not, with
            the reason.
        """
        reporter = reporter or Reporter()
        chosen = parse_protocol(protocol or self.default_protocol())
        reader = self._reader(records, targets, chosen, time_limit_s)
        loader = torch.utils.data.DataLoader(
            TestClips(reader),
            batch_size=None,
            num_workers=workers,
            prefetch_factor=2 if workers else None,
            worker_init_fn=keep_memory,
        )
        skipped: list[Skip] = []
        ids: list[str] = []
        rows: list[Tensor] = []
        kept: list[Tensor] = []
        with reporter.bar(f"testing {chosen.name}", len(records)) as bar:

            def readable() -> Iterator[Clip]:
                for item in clear_errors(loader):
                    bar.advance()
                    if isinstance(item, Clip):
                        yield item
                    else:
                        skipped.append(item)

            for clip, logits in self._scorer(chosen).score(readable()):
                ids.append(clip.id)
                rows.append(logits)
                kept.append(clip.target)
        described = {
            **chosen.as_dict(),
            "short_side_ratio": self._short_side(chosen) / self.card.input.size,
            "model": self.card.name,
            "backbone": self.card.kwargs.get("backbone"),
            "streams": list(self.model.streams),
            "clip_snippets": self.clip_snippets,
            "size": self.card.input.size,
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
        """
        if window_s <= 0 or stride_s <= 0:
            raise ArgumentError(f"window and stride must be above 0 s, got {window_s} and {stride_s}")
        contract = self.card.input
        windows = _windows(source, window_s, stride_s, contract)
        scorer = self._scorer(parse_protocol("1x1"))
        batch: list[tuple[float, float, Tensor]] = []
        most = max(1, self.chunk_snippets // contract.snippets)

        def flush() -> Iterator[Segment]:
            if batch:
                logits = scorer.forward(torch.stack([frames for _, _, frames in batch]))
                for (start, end, _), row in zip(batch, logits, strict=True):
                    yield Segment(round(start, 6), round(end, 6), *self._top(row, top))
                batch.clear()

        for window in windows:
            batch.append(window)
            if len(batch) == most:
                yield from flush()
        yield from flush()

    def _reader(
        self,
        records: Sequence[VideoRecord],
        targets: Sequence[Tensor],
        protocol: Protocol,
        time_limit_s: float = 300.0,
    ) -> ClipReader:
        contract = self.card.input
        return ClipReader(
            records,
            targets,
            sampler=_ViewSampler(protocol, self.clip_snippets, contract.length),
            readers={"rgb": RgbReader(self._short_side(protocol), contract.length)},
            random=False,
            time_limit_s=time_limit_s,
        )

    def _short_side(self, protocol: Protocol) -> int:
        contract = self.card.input
        # Centre and ten crops keep the frame size of training; three crops are as high as the frame.
        return contract.size if protocol.crops == "three" else contract.short_side

    def _scorer(self, protocol: Protocol) -> ViewScorer:
        return ViewScorer(
            self.model,
            prepare=self._prepare,
            crop=partial(_crops, protocol.crops, self.card.input.size),
            clip_snippets=self.clip_snippets,
            chunk_snippets=self.chunk_snippets,
            precision=self.precision,
        )

    def _prepare(self, views: Tensor) -> Tensor:
        return self._augment.stream(views.to(self.device, non_blocking=True), ())

    def _top(self, logits: Tensor, top: int) -> tuple[list[str], list[float]]:
        if top < 1:
            raise ArgumentError(f"top must be at least 1, got {top}")
        probabilities = logits.sigmoid() if self.card.multi_label else logits.softmax(dim=-1)
        values, places = probabilities.topk(min(top, len(probabilities)))
        return [self.labels[i] for i in places.tolist()], values.tolist()


def _crops(crops: Crops, size: int, frames: Tensor) -> Iterator[Tensor]:
    """The crops of frames [N, C, H, W], one place at a time, so that not all of them are in memory."""
    if crops == "full":
        yield frames
    elif crops == "center":
        yield CenterCrop(size)({"rgb": frames})["rgb"]
    else:
        places = ThreeCrop(size) if crops == "three" else TenCrop(size)
        for box in places.draw((frames.shape[-2], frames.shape[-1])):
            yield from places.apply(frames, (box,))


class _ViewSampler:
    """All frames of all temporal views, one view after the other: int64 [V * S]."""

    def __init__(self, protocol: Protocol, clip_snippets: int, length: int) -> None:
        self.protocol, self.clip_snippets, self.length = protocol, clip_snippets, length

    def __call__(self, num_frames: int, generator: torch.Generator | None) -> Tensor:
        return view_indices(self.protocol, num_frames, self.clip_snippets, self.length).flatten()


def _windows(
    source: str | Path,
    window_s: float,
    stride_s: float,
    contract: InputContract,
) -> Iterator[tuple[float, float, Tensor]]:
    """Cut windows out of one sequential read: (start, end, uint8 [S, C, h, w]).

    Snippet k of a window shows the frame on screen at (k + 1/2) / S of it. Only frames that some window
    wants are converted, and only as many windows are kept as overlap.
    """
    snippets = contract.snippets
    held: deque[tuple[int, list[Tensor]]] = deque()  # windows under way: number, and the frames so far
    opened = 0
    shown: DecodedFrame | None = None
    pixels: Tensor | None = None  # of the frame on screen, once somebody wants them

    def picture() -> Tensor:
        nonlocal pixels
        if pixels is None:
            assert shown is not None
            whole = shown.rgb(short_side=contract.short_side)
            pixels = CenterCrop(contract.size)({"rgb": whole})["rgb"].contiguous()
        return pixels

    def look(until: float) -> None:
        """Give the frame on screen to every window that looks before ``until``."""
        nonlocal opened
        while opened * stride_s < until:
            held.append((opened, []))
            opened += 1
        for number, frames in held:
            while (
                len(frames) < snippets
                and number * stride_s + (len(frames) + 0.5) / snippets * window_s < until
            ):
                frames.append(picture())

    video = open_video(source)
    step = 1 / video.fps
    reached = 0.0
    for frame in video.decode():
        if shown is not None:
            look(frame.time_s)
            step = frame.time_s - shown.time_s
        while held and (reached_next := held[0][0] * stride_s + window_s) <= frame.time_s:
            number, frames = held.popleft()
            reached = reached_next
            yield number * stride_s, reached, torch.stack(frames)
        shown, pixels = frame, None
    if shown is None:
        return
    end = shown.time_s + step  # the last frame is shown as long as the one before it
    look(end - 1e-6)  # rounding opens no window at the very end
    for number, frames in held:
        if reached >= end - 1e-6:
            break
        # A window that the video's end cuts off goes on with the last frame.
        frames += [picture()] * (snippets - len(frames))
        reached = min(number * stride_s + window_s, end)
        yield number * stride_s, reached, torch.stack(frames)
