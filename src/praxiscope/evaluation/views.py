"""Scoring videos: the views of a protocol, through a model, in chunks of bounded memory.

B views of a chunk, V temporal views, P crops, S snippets of a view, C channels, H rows, W columns, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from praxiscope.types import Clip

__all__ = ["Precision", "ViewScorer", "bf16_pays", "inference_precision"]


@dataclass
class _Pending:
    """Views that wait for a full chunk, with the number of the video each belongs to."""

    views: list[Tensor] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)


@dataclass
class _Video:
    """A video under way: the sum of its views' scores, the views seen and still to come."""

    clip: Clip
    total: Tensor | None = None
    views: int = 0
    left: int = 0


@dataclass(frozen=True)
class Precision:
    """In what numbers a model runs at test.

    Attributes:
        name: "32" or "bf16".
        channels_last: whether the weights lie channels last.
    """

    name: str = "32"
    channels_last: bool = False

    def context(self, device: torch.device) -> AbstractContextManager[Any]:
        """The autocast context of a forward pass."""
        if self.name == "32":
            return nullcontext()
        return torch.autocast(device.type, dtype=torch.bfloat16)


def bf16_pays(device: torch.device) -> bool:
    """Whether the processor multiplies bfloat16 in hardware; elsewhere it is emulated and slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        return bool(probe()) if probe else False
    return False


def inference_precision(device: torch.device, wish: str = "auto") -> Precision:
    """The numbers that run fastest on ``device``, or those asked for ("32", "bf16")."""
    name = ("bf16" if bf16_pays(device) else "32") if wish == "auto" else wish
    return Precision(name, channels_last=device.type in ("cpu", "cuda"))


class ViewScorer:
    """Averages a model's scores, before softmax, over the views of each video.

    Views of several videos share a chunk when they have one shape, so that short protocols run in full
    batches; views of one video are spread over several chunks when there are many, so that memory is bounded.

    Args:
        model: takes float [B, S, C, H, W] and returns an output with ``logits`` [B, K].
        prepare: uint8 [B, S, C, H, W] -> float on the model's device, normalised.
        crop: frames of one video [V * S, C, H, W] -> its crops, one at a time, each [V * S, C, h, w].
        clip_snippets: S; None: all snippets of a video are one view.
        chunk_snippets: the most snippets in one forward pass.
        precision: the numbers to run in.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        prepare: Callable[[Tensor], Tensor],
        crop: Callable[[Tensor], Iterable[Tensor]],
        clip_snippets: int | None,
        chunk_snippets: int = 64,
        precision: Precision | None = None,
    ) -> None:
        self.model, self.prepare, self.crop = model, prepare, crop
        self.clip_snippets = clip_snippets
        self.chunk_snippets = chunk_snippets
        self.precision = precision or Precision()

    @torch.inference_mode()
    def forward(self, views: Tensor) -> Tensor:
        """Scores of views: uint8 [B, S, C, H, W] -> float32 [B, K] on the CPU."""
        x = self.prepare(views)
        with self.precision.context(x.device):
            logits = self.model(x).logits
        return logits.float().cpu()

    def score(self, clips: Iterable[Clip], stream: str = "rgb") -> Iterator[tuple[Clip, Tensor]]:
        """Yield every clip with its scores, float32 [K], in the order given.

        A clip's stream holds the V * S snippets of its temporal views, whole frames.
        """
        videos: dict[int, _Video] = {}
        pending = _Pending()
        next_out = 0

        def flush() -> None:
            if not pending.views:
                return
            for owner, row in zip(pending.owners, self.forward(torch.cat(pending.views)), strict=True):
                video = videos[owner]
                video.total = row if video.total is None else video.total + row
                video.left -= 1
            pending.views, pending.owners = [], []

        def finished() -> Iterator[tuple[Clip, Tensor]]:
            nonlocal next_out
            while next_out in videos and videos[next_out].left == 0:
                video = videos.pop(next_out)
                assert video.total is not None
                yield video.clip, video.total / video.views
                next_out += 1

        for number, clip in enumerate(clips):
            frames = clip.streams[stream]
            # What is handed back needs no pixels; they would pile up behind a slow chunk.
            video = videos[number] = _Video(Clip({}, clip.target, clip.id, clip.seed))
            for crop in self.crop(frames):
                seen = self.clip_snippets or len(crop)
                chunk_views = max(1, self.chunk_snippets // seen)
                views = crop.reshape(-1, seen, *crop.shape[1:])  # [V, S, C, h, w]
                video.views += len(views)
                video.left += len(views)
                for part in torch.split(views, chunk_views):
                    shape_differs = bool(pending.views) and pending.views[0].shape[1:] != part.shape[1:]
                    if shape_differs or len(pending.owners) + len(part) > chunk_views:
                        flush()
                    # A copy: the view would keep the whole video's frames alive.
                    pending.views.append(part.clone())
                    pending.owners += [number] * len(part)
            yield from finished()
        flush()
        yield from finished()
