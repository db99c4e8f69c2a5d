"""Score the views of videos with a model, in chunks of bounded memory.

B views of a chunk, V temporal views, P crops, S snippets of a view, C channels, H rows, W columns, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from praxiscope.evaluation.protocols import Average
from praxiscope.types import Clip
from praxiscope.video.geometry import Kind, kind_of

__all__ = ["Precision", "ViewMean", "ViewScorer", "bf16_pays", "inference_precision"]


@dataclass
class _Pending:
    """Views that wait for a full chunk, with the index of the video of each."""

    views: list[tuple[Tensor, ...]] = field(default_factory=list)  # one tensor per stream
    owners: list[int] = field(default_factory=list)


class ViewMean:
    """Running mean of the scores of a video's views.

    Args:
        average: see `praxiscope.evaluation.protocols.Protocol`.
        sigmoid: probabilities are sigmoids of each class's score, not a softmax over all.
    """

    def __init__(self, average: Average = "logits", sigmoid: bool = False) -> None:
        self.average, self.sigmoid = average, sigmoid
        self.views = 0
        self._total: Tensor | None = (
            None  # the sum of scores, or the logarithm of the sum of probabilities, which cannot underflow
        )

    def add(self, row: Tensor) -> None:
        """Add the scores of a view before softmax, float32 [K]."""
        self.views += 1
        if self.average == "logits":
            self._total = row if self._total is None else self._total + row
            return
        if self.sigmoid:
            logs = nn.functional.logsigmoid(torch.stack((row, -row)).double())  # of p and of 1 - p
        else:
            logs = row.double().log_softmax(-1)
        self._total = logs if self._total is None else torch.logaddexp(self._total, logs)

    def logits(self) -> Tensor:
        """The mean as scores before softmax, float32 [K]. For probabilities: the logarithm of their mean (for sigmoids,
        the log-odds), so that softmax (sigmoid) returns the mean."""
        assert self._total is not None
        if self.average == "logits":
            return self._total / self.views
        if self.sigmoid:
            return (self._total[0] - self._total[1]).float()
        return (self._total - math.log(self.views)).float()


@dataclass
class _Video:
    """A video in progress: the running mean, and the number of views still to score."""

    clip: Clip
    mean: ViewMean
    left: int = 0


@dataclass(frozen=True)
class Precision:
    """The numerical precision of inference.

    Attributes:
        name: "32" or "bf16".
        channels_last: whether the weights have the channels-last memory format.
    """

    name: str = "32"
    channels_last: bool = False

    def context(self, device: torch.device) -> AbstractContextManager[Any]:
        """The autocast context of a forward pass."""
        if self.name == "32":
            return nullcontext()
        return torch.autocast(device.type, dtype=torch.bfloat16)


def bf16_pays(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware; otherwise it is emulated and slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        return bool(probe()) if probe else False
    return False


def inference_precision(device: torch.device, wish: str = "auto") -> Precision:
    """The fastest precision on ``device``, or the requested one ("32", "bf16")."""
    name = ("bf16" if bf16_pays(device) else "32") if wish == "auto" else wish
    return Precision(name, channels_last=device.type in ("cpu", "cuda"))


# Snippets per forward pass: few enough for bounded memory. On a CPU also few enough that the output of a layer stays
# close to the cache, and below the 32 MiB from which the C library requests memory from the system at every allocation.
# In bfloat16 the output is half as large, and every pass converts the weights anew.
_MOST, _CPU_PIXELS, _CPU_PIXELS_BF16 = 64, 2**18, 5 * 2**17


def forward_snippets(device: torch.device, height: int, width: int, precision: str = "32") -> int:
    """The number of snippets per forward pass without a gradient that is fast for a frame size.

    On a CPU 5 of 224 pixels and 20 of 112 (measured: ``benchmarks/predict_chunks.md``), in bfloat16 13 of 224
    (``benchmarks/prediction_speed.md``), elsewhere 64.
    """
    if device.type != "cpu":
        return _MOST
    pixels = _CPU_PIXELS_BF16 if precision == "bf16" else _CPU_PIXELS
    return max(1, min(_MOST, pixels // (height * width)))


class ViewScorer:
    """Average a model's scores over the views of each video.

    Views of equal shape from several videos share a chunk, so that short protocols use full batches. Many views of one
    video are split into several chunks, so that memory is bounded.

    Args:
        model: takes float [B, S, C, H, W] of each stream and returns an output with ``logits`` [B, K].
        prepare: views [B, S, C, H, W] and their kind ("rgb", uint8, or "flow") -> float on the model's device,
            normalised.
        crop: frames of one video [V * S, C, H, W] and their kind -> its crops, one at a time, each [V * S, C, h, w].
        streams: names, in the order of the model's inputs.
        together: S; None: all snippets of a video are one view.
        chunk_snippets: the maximum number of snippets per forward pass (a view is never split), or a function of their
            height and width that returns it.
        precision: the numerical precision.
        mean: creates the running mean of a video, see `ViewMean`.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        *,
        prepare: Callable[[Tensor, Kind], Tensor],
        crop: Callable[[Tensor, Kind], Iterable[Tensor]],
        streams: Sequence[str] = ("rgb",),
        together: int | None,
        chunk_snippets: int | Callable[[int, int], int] = 64,
        precision: Precision | None = None,
        mean: Callable[[], ViewMean] = ViewMean,
    ) -> None:
        self.model, self.prepare, self.crop = model, prepare, crop
        self.mean = mean
        self.streams = tuple(streams)
        self.together = together
        self.chunk_snippets = chunk_snippets
        self.precision = precision or Precision()

    def _at_once(self, height: int, width: int) -> int:
        return (
            self.chunk_snippets
            if isinstance(self.chunk_snippets, int)
            else self.chunk_snippets(height, width)
        )

    @torch.inference_mode()
    def forward(self, *views: Tensor) -> Tensor:
        """Score views, one tensor [B, S, C, H, W] per stream: float32 [B, K] on the CPU."""
        inputs = [self.prepare(x, kind_of(name)) for x, name in zip(views, self.streams, strict=True)]
        with self.precision.context(inputs[0].device):
            logits = self.model(*inputs).logits
        return logits.float().cpu()

    def _crops(self, clip: Clip) -> Iterator[tuple[Tensor, ...]]:
        """Crops of a clip, one at a time: the V * S snippets of each stream, or the S of one random example."""
        frames = [(clip.streams[name], kind_of(name)) for name in self.streams]
        if clip.examples is None:
            yield from zip(*(self.crop(*stream) for stream in frames), strict=True)
            return
        for example in clip.examples:
            yield tuple(example.cut(x[example.rows], kind) for x, kind in frames)

    def score(
        self, clips: Iterable[Clip], watch: Callable[[Clip, Tensor], None] | None = None
    ) -> Iterator[tuple[Clip, Tensor]]:
        """Yield each clip with its scores before softmax, float32 [K], in order.

        Args:
            clips: their streams hold the V * S snippets of its temporal views, whole frames; or the frames of its
                random examples.
            watch: called for each view with its clip, without its frames, and its scores before softmax, float32 [K].
        """
        videos: dict[int, _Video] = {}
        pending = _Pending()
        next_out = 0

        def flush() -> None:
            if not pending.views:
                return
            views = [torch.cat(parts) for parts in zip(*pending.views, strict=True)]
            for owner, row in zip(pending.owners, self.forward(*views), strict=True):
                video = videos[owner]
                video.mean.add(row)
                if watch is not None:
                    watch(video.clip, row)
                video.left -= 1
            pending.views, pending.owners = [], []

        def finished() -> Iterator[tuple[Clip, Tensor]]:
            nonlocal next_out
            while next_out in videos and videos[next_out].left == 0:
                video = videos.pop(next_out)
                yield video.clip, video.mean.logits()
                next_out += 1

        for number, clip in enumerate(clips):
            crops = self._crops(clip)
            # Drop the pixels, which would accumulate while a chunk fills.
            video = videos[number] = _Video(Clip({}, clip.target, clip.id, clip.seed), self.mean())
            for crop in crops:
                seen = self.together or len(crop[0])
                chunk_views = max(1, self._at_once(*crop[0].shape[-2:]) // seen)
                views = [x.reshape(-1, seen, *x.shape[1:]) for x in crop]  # [V, S, C, h, w]
                video.left += len(views[0])
                for part in zip(*(torch.split(x, chunk_views) for x in views), strict=True):
                    if pending.views and (
                        _shapes(pending.views[0]) != _shapes(part)
                        or len(pending.owners) + len(part[0]) > chunk_views
                    ):
                        flush()
                    # Copy: the view would keep the frames of the whole video in memory.
                    pending.views.append(tuple(x.clone() for x in part))
                    pending.owners += [number] * len(part[0])
            yield from finished()
        flush()
        yield from finished()


def _shapes(views: tuple[Tensor, ...]) -> list[torch.Size]:
    """The shapes of one view, by stream."""
    return [x.shape[1:] for x in views]
