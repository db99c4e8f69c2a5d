"""Temporal clustering of frames by the signs of their activations, and the mean over each cluster.

X. Liu, S. L. Pintea, F. Karimi Nejadasl, O. Booij, J. C. van Gemert, "No Frame Left Behind: Full Video Action
Recognition", CVPR 2021, section 3.3. A ReLU network is linear on frames whose activations agree in sign, so the
gradient of their mean equals the sum of their gradients.

A cluster is a run of consecutive frames. Cluster numbers never decrease along a video, every frame is in exactly one
cluster, and no cluster is empty. All functions are vectorised over the frames of one video, or of several
concatenated videos.

Axis letters: B videos, N frames (of one video, or of all together), G clusters (of all together), C channels, H rows,
W columns. ``offsets`` int64 [B + 1]: video b owns the rows ``offsets[b]:offsets[b + 1]``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from praxiscope.errors import ArgumentError
from praxiscope.registry import Registry

__all__ = [
    "Clustering",
    "cluster_offsets",
    "clusterings",
    "cumulative_ids",
    "hamming_distances",
    "segment_mean",
    "slope_ids",
    "uniform_ids",
]

Clustering: TypeAlias = Callable[..., Tensor]
"""(distances [N - 1], clusters, offsets) -> ids [N]; see `cumulative_ids`."""

clusterings: Registry[Clustering] = Registry("clustering")

_HALF = (torch.float16, torch.bfloat16)
_ROWS = 8  # frames that are converted to float32 at once, to be summed: few enough for the cache
_BLOCK = 2**23  # activations compared at once


@torch.no_grad()
def hamming_distances(activations: Tensor) -> Tensor:
    """Count the activations whose sign differs between neighbouring frames.

    The sign of an activation is whether it is above 0. Frames are compared in blocks, so that memory holds neither the
    signs of all frames nor a copy of the activations.

    Args:
        activations: [N, ...] of any floating type.

    Returns:
        int64 [N - 1]: distance i is between frames i and i + 1. Empty for a single frame.

    Raises:
        ArgumentError: no frame was given.
    """
    frames = len(activations)
    if activations.dim() < 1 or frames < 1:
        raise ArgumentError(
            f"activations must be [N, ...] with at least one frame, got {list(activations.shape)}"
        )
    x = activations
    if x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        x = x.permute(0, 2, 3, 1)  # as it lies in memory
    x = x.reshape(frames, -1)
    if x.dtype in _HALF:
        x = x.view(torch.int16)  # a float is above 0 if its bits, as an integer, are; integers compare faster
    found = torch.empty(frames - 1, dtype=torch.int64, device=x.device)
    step = max(1, _BLOCK // max(1, x.shape[1]))
    for first in range(0, frames - 1, step):
        last = min(first + step, frames - 1)
        on = x[first : last + 1] > 0
        found[first:last] = _count(on[1:] ^ on[:-1])
    return found


def _count(bits: Tensor) -> Tensor:
    """The number of true values in each row of bool [n, places]: int64 [n].

    Eight bytes of 0 and 1 are added at a time, as one integer. At most 255 such integers are added, so that no byte
    overflows.
    """
    rows, places = bits.shape
    whole = places // 8 * 8
    counts = bits[:, whole:].sum(1)
    if whole:
        words = bits[:, :whole].reshape(-1).view(torch.int64).reshape(rows, -1)  # [n, places / 8]
        for part in torch.split(words, 255 * 64, dim=1):
            full = part.shape[1] // 255 * 255
            sums = part[:, :full].reshape(rows, -1, 255).sum(2)  # [n, 64]
            rest = part[:, full:].sum(1, keepdim=True)
            counts = counts + torch.cat([sums, rest], 1).view(torch.uint8).sum(1)
    return counts


class _Videos:
    """The rows of one video, or of several concatenated videos.

    Attributes:
        offsets: int64 [B + 1].
        counts: frames of each video, int64 [B].
        video: the video of each row, int64 [N].
        place: the index of each row in its video, int64 [N].
        clusters: the number of clusters of each video, int64 [B]; at most its number of frames.
        jumps: distance of each row from the previous row, int64 [N]; -1 for the first row of a video.
    """

    def __init__(self, distances: Tensor, clusters: int | Tensor, offsets: Tensor | None) -> None:
        if distances.dim() != 1 or distances.is_floating_point():
            raise ArgumentError(
                f"distances must be integers [N - 1], got {distances.dtype} {list(distances.shape)}"
            )
        device = distances.device
        if offsets is None:
            offsets = torch.tensor([0, len(distances) + 1])
        self.offsets = offsets.to(device)
        self.counts = self.offsets.diff()
        rows = len(distances) + 1
        self.video = torch.arange(len(self.counts), device=device).repeat_interleave(
            self.counts, output_size=rows
        )
        self.place = torch.arange(rows, device=device) - self.offsets[self.video]
        wanted = torch.as_tensor(clusters, dtype=torch.int64, device=device)
        self.clusters = torch.minimum(wanted.expand_as(self.counts), self.counts)
        self.jumps = torch.cat([distances.new_full((1,), -1), distances]).to(torch.int64)
        self.jumps = self.jumps.masked_fill(self.place == 0, -1)

    def of_row(self, values: Tensor) -> Tensor:
        """Repeat the values of videos, [B], for each of their rows, [N]."""
        return values[self.video]

    def running_distance(self) -> tuple[Tensor, Tensor]:
        """C, the cumulative distance from a video's first frame, int64 [N], and its total, [B]."""
        cumulative = self.jumps.clamp(min=0).cumsum(0)
        cumulative = cumulative - self.of_row(cumulative[self.offsets[:-1].clamp(max=len(cumulative) - 1)])
        return cumulative, torch.where(self.counts > 0, cumulative[self.offsets[1:] - 1], 0)

    def largest(self, candidates: Tensor, wanted: Tensor) -> Tensor:
        """Mark the ``wanted`` [B] rows of each video with the largest jumps among the ``candidates``, bool [N].

        Of equal jumps the later one is marked first, as in the authors' code.
        """
        size = torch.where(candidates, self.jumps, -2)
        order = (len(size) - 1) - size.flip(0).argsort(descending=True, stable=True)
        order = order[
            self.video[order].argsort(stable=True)
        ]  # the videos in their order, jumps falling in each
        marked = torch.zeros_like(candidates)
        marked[order] = self.place < self.of_row(wanted)  # row r of the order is number place[r] of its video
        return marked & candidates

    def uniform(self) -> Tensor:
        """floor(g * i / N) of each row, int64 [N]."""
        return self.of_row(self.clusters) * self.place // self.of_row(self.counts)

    def numbered(self, starts: Tensor) -> Tensor:
        """Ids from the rows that start a cluster, bool [N]. The first row of a video always starts one."""
        before = torch.where(self.place == 0, False, starts).long().cumsum(0)
        return before - self.of_row(before[self.offsets[:-1].clamp(max=len(before) - 1)])


def _where_moving(videos: _Videos, total: Tensor, ids: Tensor) -> Tensor:
    """``ids``, replaced by uniform ids in videos that never change."""
    return torch.where(videos.of_row(total == 0), videos.uniform(), ids)


@clusterings.register("cumulative")
def cumulative_ids(distances: Tensor, clusters: int | Tensor, offsets: Tensor | None = None) -> Tensor:
    """Cut the cumulative distance into equal parts.

    Let C_i be the cumulative distance up to frame i, and C the total. Frame i is in part k (1 … g), the smallest
    integer with g C_i <= k C. (The paper prints C_i / C_N, without the factor and the rounding.) A jump larger than C
    / g skips parts. Clusters are then split at the largest distances inside them until there are min(g, N). A video
    that never changes is cut uniformly.

    Args:
        distances: int64 [N - 1], between neighbouring frames. With ``offsets``, the distances between the last frame
            of a video and the first of the next are included, and ignored.
        clusters: g, at least 1; or int64 [B], one number for each video.
        offsets: offsets of several concatenated videos; None: one video.

    Returns:
        int64 [N], from 0 in each video. A video of fewer than g frames has one cluster per frame.

    Raises:
        ArgumentError: the distances are not integers [N - 1], or g is below 1.

    Example:
        >>> cumulative_ids(torch.ones(9, dtype=torch.int64), 3).tolist()
        [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    """
    _check_clusters(clusters)
    videos = _Videos(distances, clusters, offsets)
    cumulative, total = videos.running_distance()
    whole = videos.of_row(total).clamp(min=1)
    part = (
        videos.of_row(videos.clusters) * cumulative + whole - 1
    ) // whole  # the smallest k with g C_i <= k C
    part = part.clamp(min=1)
    starts = torch.zeros_like(part, dtype=torch.bool)
    starts[1:] = part[1:] != part[:-1]
    starts |= videos.place == 0
    lacking = videos.clusters - torch.zeros_like(videos.counts).index_add_(0, videos.video, starts.long())
    starts |= videos.largest(~starts, lacking)
    return _where_moving(videos, total, videos.numbered(starts))


@clusterings.register("slope")
def slope_ids(distances: Tensor, clusters: int | Tensor, offsets: Tensor | None = None) -> Tensor:
    """Cut after the g - 1 largest distances; of equal ones, after the later. Otherwise as `cumulative_ids`."""
    _check_clusters(clusters)
    videos = _Videos(distances, clusters, offsets)
    _, total = videos.running_distance()
    starts = videos.largest(videos.place > 0, videos.clusters - 1)
    return _where_moving(videos, total, videos.numbered(starts))


def uniform_ids(num_frames: int, clusters: int) -> Tensor:
    """Cut a video into equal parts: frame i is in cluster floor(g i / N).

    Args:
        num_frames: N, at least 1.
        clusters: g, at least 1; values above N give N clusters.

    Returns:
        int64 [N].

    Raises:
        ArgumentError: ``num_frames`` or ``clusters`` is below 1.
    """
    if num_frames < 1:
        raise ArgumentError(f"num_frames must be at least 1, got {num_frames}")
    return _uniform(torch.zeros(num_frames - 1, dtype=torch.int64), clusters)


@clusterings.register("uniform")
def _uniform(distances: Tensor, clusters: int | Tensor, offsets: Tensor | None = None) -> Tensor:
    """`uniform_ids` of several videos; only the number of distances is used."""
    _check_clusters(clusters)
    return _Videos(distances, clusters, offsets).uniform()


def _check_clusters(clusters: int | Tensor) -> None:
    least = clusters if isinstance(clusters, int) else int(clusters.min()) if clusters.numel() else 1
    if least < 1:
        raise ArgumentError(f"clusters must be at least 1, got {least}")


def cluster_offsets(ids: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Number the clusters of several videos consecutively.

    Args:
        ids: int64 [N], from 0 on in each video.
        offsets: of the frames, int64 [B + 1].

    Returns:
        The cluster of each frame, numbered over all videos, int64 [N]; and the offsets of the clusters, int64 [B +
        1].
    """
    offsets = offsets.to(ids.device)
    # Ids never decrease, so the last one is the largest.
    counts = torch.where(offsets.diff() > 0, ids[offsets[1:] - 1] + 1, 0)
    own = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    video = torch.arange(len(counts), device=ids.device).repeat_interleave(
        offsets.diff(), output_size=len(ids)
    )
    return ids + own[video], own


def segment_mean(x: Tensor, segments: Tensor, count: int) -> Tensor:
    """The mean over the rows of each segment, with its gradient.

    Args:
        x: [N, ...]; the layout of [N, C, H, W] is kept.
        segments: int64 [N], the segment of each row.
        count: G, the number of segments; each has at least one row.

    Returns:
        [G, ...], with the dtype of ``x``.
    """
    total = segment_sum(x, segments, count)
    return (total / segment_sizes(segments, count, total)).to(x.dtype)


def segment_sum(x: Tensor, segments: Tensor, count: int) -> Tensor:
    """The sum over the rows of each segment, with its gradient. Half-precision inputs are summed in float32, because
    half-precision sums soon stop growing."""
    last = x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    if last:
        x = x.permute(0, 2, 3, 1)  # as it lies in memory
    half: Any = _HalfSum.apply
    total: Tensor = (half if x.dtype in _HALF else _sum)(x, segments, count)
    return total.permute(0, 3, 1, 2) if last else total


def _sum(x: Tensor, segments: Tensor, count: int) -> Tensor:
    return torch.zeros((count, *x.shape[1:]), dtype=x.dtype, device=x.device).index_add(0, segments, x)


class _HalfSum(torch.autograd.Function):
    """Sum in float32 without a float32 copy of the whole input: a few rows are converted at a time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, segments: Tensor, count: int) -> Tensor:
        ctx.save_for_backward(segments)
        ctx.dtype = x.dtype
        total = torch.zeros((count, *x.shape[1:]), dtype=torch.float32, device=x.device)
        for rows, own in zip(torch.split(x, _ROWS), torch.split(segments, _ROWS), strict=True):
            total.index_add_(0, own, rows.float())
        return total

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        (segments,) = ctx.saved_tensors
        return slope.to(ctx.dtype).index_select(0, segments), None, None


def segment_sizes(segments: Tensor, count: int, like: Tensor) -> Tensor:
    """The number of rows of each segment, with the dtype and the number of axes of ``like``: [G, 1, …]."""
    sizes = torch.zeros(count, dtype=torch.int64, device=segments.device)
    sizes.index_add_(0, segments, torch.ones_like(segments))
    return sizes.reshape(-1, *[1] * (like.dim() - 1)).to(like.dtype)
