"""Full-video recognition (Liu et al., CVPR 2021): every frame through the first stage, few clusters through the rest.

X. Liu, S. L. Pintea, F. Karimi Nejadasl, O. Booij, J. C. van Gemert, "No Frame Left Behind: Full Video Action
Recognition".

Axis letters: B videos, N frames of all videos together, G clusters of all together, C channels, H rows, W columns,
K classes. Frame offsets are int64 [B + 1]: video b owns the rows ``offsets[b]:offsets[b + 1]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from praxiscope.errors import ArgumentError
from praxiscope.layers.clustering import (
    apportion,
    cluster_offsets,
    clusterings,
    hamming_distances,
    segment_mean,
    segment_sizes,
)
from praxiscope.layers.parted import PartedStage, Parts
from praxiscope.layers.shift import SnippetCount, insert_shift
from praxiscope.models.contract import Sees
from praxiscope.models.registered import models
from praxiscope.models.shift_places import shift_places
from praxiscope.models.snippets import BatchNormMode, SnippetNetwork, Stream
from praxiscope.models.stages import early_stage, late_stages, without_last_relu

__all__ = ["AutoClusters", "FixedClusters", "FullVideoNetwork", "FullVideoOutput", "full_video"]

_KEPT_PIXELS = 256 * 224 * 224  # of a ResNet-18 about 4 GiB of activations
_KEPT_BYTES = 2**29  # of activations of frames that are tested together


class FullVideoOutput(NamedTuple):
    """What the network returns.

    logits: [B, K], the videos' scores before softmax: the mean over their clusters.
    cluster_logits: [G, K].
    cluster_offsets: int64 [B + 1], which clusters are whose.
    ids: int64 [N], each frame's cluster, from 0 on in each video.
    distances: int64 [N - 1], places whose sign differs between neighbouring frames.
    """

    logits: Tensor
    cluster_logits: Tensor
    cluster_offsets: Tensor
    ids: Tensor
    distances: Tensor


def _whole_number(name: str, value: Any) -> int:
    if type(value) is not int or not 1 <= value < 2**31:
        raise ArgumentError(f"{name} must be a whole number of 1 or more, got {value!r}")
    return value


class FixedClusters(nn.Module):
    """As many clusters for every video.

    Args:
        count: g.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = _whole_number("clusters", count)

    def forward(self, lengths: Tensor, frames: Tensor) -> int:
        """The number, whatever the videos are."""
        return self.count


class AutoClusters(nn.Module):
    """As many clusters as a video has change, within a budget for the batch.

    Our answer to the paper's stated limit: a fixed number suits no video with more shots than clusters. In training
    the clusters of a batch, ``budget`` for each video in the mean, are divided among its videos in proportion to their
    length in signs, so that clusters span equal changes; the mean of that span is remembered. At a test a video has as
    many clusters as such spans fit into it, whatever is beside it: ``budget`` where no span is known yet.

    Args:
        budget: mean number of clusters of a video.
    """

    MOST = 8  # times the budget: what a single video may have at the most, as memory is not endless
    MOMENTUM = 0.1

    span: Tensor

    def __init__(self, budget: int) -> None:
        super().__init__()
        self.budget = _whole_number("cluster_budget", budget)
        self.register_buffer("span", torch.zeros(()))  # 0: not known yet

    @torch.no_grad()
    def forward(self, lengths: Tensor, frames: Tensor) -> Tensor:
        """Numbers of clusters, int64 [B].

        Args:
            lengths: changes of sign along each video, as shares of the places of a frame, float [B].
            frames: of each video, int64 [B].
        """
        most = frames.clamp(max=self.MOST * self.budget)
        if not self.training:
            if self.span > 0:
                return (lengths / self.span).round().long().clamp(min=1).minimum(most)
            return most.clamp(max=self.budget)
        counts = apportion(self.budget * len(frames), lengths, most)
        # Where every frame is its own cluster (sampled frames) nothing is learned of how many there should be.
        if self.training and bool((counts < frames).any()) and bool(lengths.sum() > 0):
            now = (lengths.sum() / counts.sum()).to(self.span.dtype)
            self.span.copy_(now if self.span == 0 else self.span.lerp(now, self.MOMENTUM))
        return counts


class FullVideoNetwork(SnippetNetwork):
    """An image network whose first stage sees every frame, and whose rest sees the means of clusters.

    Args:
        counts: `FixedClusters` or `AutoClusters`.
        clustering: name in `praxiscope.layers.clustering.clusterings`.
        aggregate: whether clusters are averaged before or after the last ReLU of the first stage.
        fold_div: 1 / fold_div of the channels travel each way between clusters.
        early_shift: shift also between the frames of the first stage.
        early_frames: frames that go through the first stage at once. Their activations are not kept but made again
            for the backward pass, so that memory does not grow with the number of frames beyond their pixels; the
            price is two more passes through the first stage, and several for each BatchNorm layer in it that learns
            (see `praxiscope.layers.parted`). Clusters, scores, statistics and gradients are those of all frames at
            once, to rounding. None: all frames at once, all activations kept. "auto": all at once up to the pixels
            of 256 frames of 224 x 224, and in parts of a quarter of that beyond.

    Attributes:
        sees: all frames; a few at a time are enough unless the first stage shifts between frames.
    """

    def __init__(
        self,
        *,
        counts: FixedClusters | AutoClusters,
        clustering: str,
        aggregate: Literal["pre", "post"],
        fold_div: int,
        early_shift: bool,
        early_frames: int | Literal["auto"] | None,
        **snippet_network: Any,
    ) -> None:
        super().__init__(consensus="average", **snippet_network)
        if early_frames not in ("auto", None):
            _whole_number("early_frames", early_frames)
        if isinstance(early_frames, int) and early_shift:
            raise ArgumentError(
                "early_shift looks at neighbouring frames, early_frames parts them; set one of them"
            )
        self.counts = counts
        self.cluster = clusterings.get(clustering)
        self.early_shift = early_shift
        self.early_frames = None if early_shift else early_frames
        early = early_stage(self.backbone, self.backbone_name)
        self._open = _open(aggregate)
        self._open.parts(early)  # raises where the stage does not end with a ReLU
        self.early_count = SnippetCount()
        inside = {id(module) for part in early for module in part.modules()}
        for place in shift_places(self.backbone):
            if id(place.module) not in inside:
                insert_shift([place.module], self.snippet_count, fold_div, channels_last=place.channels_last)
            elif early_shift:
                insert_shift([place.module], self.early_count, fold_div, channels_last=place.channels_last)

    def early(self, frames: Tensor) -> Tensor:
        """The first stage: frames [n, C, H, W], normalised, to activations whose signs are compared."""
        for part in self._open.parts(early_stage(self.backbone, self.backbone_name)):
            frames = part(frames)
        return frames

    def late(self, means: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """The rest: means of clusters [G, C, H, W] to scores of videos [B, K] and of clusters [G, K]."""
        videos, clusters = len(offsets) - 1, len(means)
        # Videos with equally many clusters are shifted as one dense batch, which is faster.
        dense = bool((offsets.diff() == clusters // videos).all())
        self.snippet_count.value = clusters // videos if dense else 1
        self.snippet_count.offsets = None if dense else offsets
        scores: Tensor = late_stages(self.backbone, self.backbone_name)(self._open.close(means))
        if dense:
            return scores.reshape(videos, -1, scores.shape[1]).mean(1), scores
        video = torch.arange(videos, device=means.device).repeat_interleave(
            offsets.diff(), output_size=clusters
        )
        return segment_mean(scores, video, videos), scores

    def forward(  # type: ignore[override]
        self, frames: Tensor, offsets: Tensor | None = None
    ) -> FullVideoOutput:
        """Score videos.

        Args:
            frames: normalised floats. Dense [B, S, C, H, W]: S frames of each video. Packed [N, C, H, W], with
                ``offsets``: any number of each. Padded [B, S, C, H, W] with ``offsets``: of video b the first
                ``offsets[b + 1] - offsets[b]`` of its S frames count; the others are dropped here, so that a padded
                batch is the packed one in every respect: shifts, BatchNorm's statistics, clusters.
            offsets: int64 [B + 1].

        Raises:
            ArgumentError: another shape, or a video without a frame.
        """
        rows, offsets, dense = self._rows(frames, offsets)
        part = self.parts_of(len(rows), *rows.shape[-2:])
        if part is None:
            self.early_count.value = len(rows) // (len(offsets) - 1)
            self.early_count.offsets = None if dense else offsets
            return self._output(*self.cluster_means(self.early(rows), offsets))
        parts = torch.split(rows, part)
        stage = self._stage(lambda: parts)
        if not torch.is_grad_enabled():
            # Only what leaves the first stage is kept, where that is not much; then once is enough.
            first = stage(parts[0])
            if first.nbytes * len(parts) <= _KEPT_BYTES:
                rest = (stage(x) for x in parts[1:])
                return self._output(*self.cluster_means(torch.cat([first, *rest]), offsets))
        return self._streamed(stage, offsets, rows)

    def parts_of(self, frames: int, height: int, width: int | None = None) -> int | None:
        """How many of a batch's ``frames`` go through the first stage at once; None: all, and they are kept."""
        if self.early_frames != "auto":
            return self.early_frames
        pixels = height * (width or height)
        return None if frames * pixels <= _KEPT_PIXELS else max(1, _KEPT_PIXELS // 4 // pixels)

    def cluster_means(self, activations: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """From activations of frames [N, C, H, W] to their means over clusters.

        Returns:
            [G, C, H, W]; the clusters' offsets [B + 1]; each frame's cluster in its video [N]; distances [N - 1].
        """
        segments, ids, own, distances = self.cluster_ids(activations, offsets)
        return segment_mean(activations, segments, int(own[-1])), own, ids, distances

    def cluster_ids(self, activations: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Each frame's cluster among all videos' [N] and in its own video [N]; the clusters' offsets [B + 1]; distances
        [N - 1]."""
        distances = hamming_distances(activations)
        return (*self._assign(distances, offsets, activations[0].numel()), distances)

    def forward_stream(self, parts: Parts, offsets: Tensor | None = None) -> FullVideoOutput:
        """Score videos whose frames never lie in memory together.

        They are gone through twice: for the distances, and, once the clusters are known, for their means. With a
        gradient each part's activations are made once more in the backward pass, and with BatchNorm that learns more
        often (see `praxiscope.layers.parted`). Clusters, scores and gradients are those of all frames at once.

        Args:
            parts: gives the frames, [n, C, H, W] at a time; called several times, with the same result.
            offsets: int64 [B + 1]; None: all frames are of one video.

        Raises:
            ArgumentError: there is no frame, or the first stage shifts between frames.
        """
        if self.early_shift:
            raise ArgumentError(
                "with early_shift a network looks at neighbouring frames and cannot be shown a few at a time. Train "
                "one without it."
            )
        return self._streamed(self._stage(parts), offsets)

    def _stage(self, parts: Parts) -> PartedStage:
        return PartedStage(self.early, parts, early_stage(self.backbone, self.backbone_name))

    def _streamed(
        self, stage: PartedStage, offsets: Tensor | None, rows: Tensor | None = None
    ) -> FullVideoOutput:
        found: list[Tensor] = []
        last: Tensor | None = None
        count = places = 0
        with torch.no_grad():
            for part in stage.parts():
                activations = stage(part)
                if last is not None:
                    activations = torch.cat([last, activations])
                found.append(hamming_distances(activations))
                last, places, count = activations[-1:].clone(), activations[0].numel(), count + len(part)
        if last is None:
            raise ArgumentError("a video needs at least one frame")
        distances = torch.cat(found)
        if offsets is None:
            offsets = torch.tensor([0, count], device=distances.device)
        segments, ids, own = self._assign(distances, offsets, places)
        sums = stage.sums(segments, int(own[-1]), rows)
        means = sums / segment_sizes(segments, len(sums), sums)
        return self._output(means.to(last.dtype), own, ids, distances)

    def _assign(self, distances: Tensor, offsets: Tensor, places: int) -> tuple[Tensor, Tensor, Tensor]:
        """Clusters of frames: among all videos' [N], in its own video [N], and the clusters' offsets [B + 1]."""
        frames = offsets.diff()
        gone = torch.cat([distances.new_zeros(1), distances.cumsum(0)])  # [N], across videos, too
        lengths = (gone[offsets[1:] - 1] - gone[offsets[:-1]]).float() / places
        ids = self.cluster(distances, self.counts(lengths, frames), offsets)
        segments, own = cluster_offsets(ids, offsets)
        return segments, ids, own

    def _output(self, means: Tensor, own: Tensor, ids: Tensor, distances: Tensor) -> FullVideoOutput:
        logits, scores = self.late(means, own)
        return FullVideoOutput(logits, scores, own, ids, distances)

    def _rows(self, frames: Tensor, offsets: Tensor | None) -> tuple[Tensor, Tensor, bool]:
        """The frames that count as rows [N, C, H, W]; their offsets; whether all videos have equally many."""
        good = frames.dim() == 5 or (frames.dim() == 4 and offsets is not None)
        if not good or frames.shape[-3] != self.in_channels or not frames.numel():
            raise ArgumentError(
                f"frames must be [B, S, {self.in_channels}, H, W], or [N, {self.in_channels}, H, W] with offsets, for "
                f"the stream {self.streams[0]!r}; got {list(frames.shape)}"
            )
        if not frames.is_floating_point():
            raise ArgumentError(
                f"frames must be normalised floats, got {frames.dtype}: (frames / 255 - mean) / std of input_contract"
            )
        if frames.dim() == 4:
            assert offsets is not None
            offsets = offsets.to(frames.device)
            if int(offsets[0]) or int(offsets[-1]) != len(frames) or not bool((offsets.diff() > 0).all()):
                raise ArgumentError(
                    f"offsets must rise from 0 to {len(frames)}, by a frame at least; got {offsets.tolist()}"
                )
            return frames, offsets, False
        videos, length = frames.shape[:2]
        if offsets is None:
            return frames.flatten(0, 1), torch.arange(videos + 1, device=frames.device) * length, True
        offsets = offsets.to(frames.device)
        counts = offsets.diff()
        if len(counts) != videos or not bool(((counts > 0) & (counts <= length)).all()):
            raise ArgumentError(
                f"offsets must tell of {videos} videos, 1 to {length} frames each; got {offsets.tolist()}"
            )
        if bool((counts == length).all()):
            return frames.flatten(0, 1), offsets, True
        return frames[torch.arange(length, device=frames.device) < counts[:, None]], offsets, False


class _Aggregation(NamedTuple):
    """How a stage is cut open: its parts up to where clusters are averaged, and what is left to do to the means."""

    parts: Callable[[list[nn.Module]], Iterable[Callable[[Tensor], Tensor]]]
    close: Callable[[Tensor], Tensor]


def _as_it_is(x: Any) -> Any:
    return x


def _open(aggregate: str) -> _Aggregation:
    kinds = {"post": _Aggregation(_as_it_is, _as_it_is), "pre": _Aggregation(without_last_relu, F.relu)}
    if aggregate not in kinds:
        raise ArgumentError(f"aggregate must be 'pre' or 'post', got {aggregate!r}")
    return kinds[aggregate]


@models.register("full-video")
def full_video(
    *,
    num_classes: int,
    backbone: str = "resnet18",
    clusters: int | Literal["auto"] = 8,
    cluster_budget: int | None = None,
    clustering: str = "cumulative",
    aggregate: Literal["pre", "post"] = "post",
    early_frames: int | Literal["auto"] | None = "auto",
    early_shift: bool = False,
    fold_div: int = 8,
    stream: Stream = "rgb",
    in_channels: int | None = None,
    dropout: float = 0.5,
    pretrained: bool = False,
    batchnorm: BatchNormMode = "train",
    input_size: int | None = None,
) -> FullVideoNetwork:
    """Build a network that sees every frame: 8 clusters by cumulative distance, averaged after the first stage, with
    temporal shifts of an eighth of the channels each way between clusters.

    Args:
        clusters: g (the paper: 8 or 16), or "auto": as many as a video has change.
        cluster_budget: with "auto", the mean number for each video; None: 8.
        clustering: "cumulative", "slope" or "uniform".
        aggregate: "post": means are taken after the first stage's last ReLU, as in the authors' code; "pre": before
            it, as the paper's text has it. Frames whose signs agree give the same either way.
        early_frames, early_shift, fold_div: see `FullVideoNetwork`.

        The others: see `praxiscope.models.snippets.SnippetNetwork`.

    Raises:
        ArgumentError: the backbone cannot be cut, or a value is out of its range.
    """
    if isinstance(clusters, str) and clusters != "auto":
        raise ArgumentError(f"clusters must be a number or 'auto', got {clusters!r}")
    if in_channels is not None and not isinstance(in_channels, int):
        raise ArgumentError(
            f"full-video sees flow stacks of one length; in_channels must be one number, got {in_channels}"
        )
    if clusters != "auto" and cluster_budget is not None:
        raise ArgumentError(f"cluster_budget = {cluster_budget} is for clusters = auto, not {clusters}")
    counts: FixedClusters | AutoClusters
    if isinstance(clusters, str):
        counts = AutoClusters(8 if cluster_budget is None else cluster_budget)
        together = counts.budget
    else:
        counts = FixedClusters(clusters)
        together = counts.count
    return FullVideoNetwork(
        counts=counts,
        clustering=clustering,
        aggregate=aggregate,
        fold_div=fold_div,
        early_shift=early_shift,
        early_frames=early_frames,
        backbone=backbone,
        num_classes=num_classes,
        stream=stream,
        in_channels=in_channels,
        dropout=dropout,
        pretrained=pretrained,
        batchnorm=batchnorm,
        input_size=input_size,
        sees=Sees(frames="all", together=together, streamable=not early_shift),
    )
