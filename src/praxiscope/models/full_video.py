"""Full-video recognition (Liu et al., CVPR 2021): the first stage processes all frames, the later stages process
clusters.

X. Liu, S. L. Pintea, F. Karimi Nejadasl, O. Booij, J. C. van Gemert, "No Frame Left Behind: Full Video Action
Recognition".

Axis letters: B videos, N frames of all videos together, G clusters of all together, C channels, H rows, W columns,
K classes. Frame offsets are int64 [B + 1]: video b owns the rows ``offsets[b]:offsets[b + 1]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from praxiscope.errors import ArgumentError
from praxiscope.layers.clustering import (
    cluster_offsets,
    clusterings,
    hamming_distances,
    segment_mean,
    segment_sizes,
)
from praxiscope.layers.forward_value import ForwardValue
from praxiscope.layers.parted import PartedStage, Parts
from praxiscope.layers.shift import VideoRows, insert_shift
from praxiscope.models.contract import Sees
from praxiscope.models.in_parts import PartsToExport
from praxiscope.models.named_layers import BackboneOutput, run_layers
from praxiscope.models.registered import register_model
from praxiscope.models.shift_places import shift_places
from praxiscope.models.snippets import BatchNormMode, SnippetNetwork, Stream
from praxiscope.models.stages import early_stage, late_stages, without_last_relu

__all__ = ["FullVideoNetwork", "FullVideoOutput", "full_video"]

_KEPT_PIXELS = 256 * 224 * 224  # about 4 GiB of activations for a ResNet-18
_KEPT_BYTES = 2**29  # of output activations of the first stage, without a gradient


class FullVideoOutput(NamedTuple):
    """The output of the network.

    logits: [B, K], scores of the videos before softmax: the mean over their clusters.
    cluster_logits: [G, K].
    cluster_offsets: int64 [B + 1]; the clusters of video b are ``cluster_offsets[b]:cluster_offsets[b + 1]``.
    ids: int64 [N], the cluster of each frame, from 0 in each video.
    distances: int64 [N - 1], number of activations whose sign differs between neighbouring frames.
    features: [G, D], the input of the classifier, before its dropout.
    maps: outputs of the requested layers by name, [G, C, H, W].
    """

    logits: Tensor
    cluster_logits: Tensor
    cluster_offsets: Tensor
    ids: Tensor
    distances: Tensor
    features: Tensor
    maps: Mapping[str, Tensor]


def _whole_number(name: str, value: Any) -> int:
    if type(value) is not int or not 1 <= value < 2**31:
        hint = (
            ". 'auto' was removed: train again with clusters=8"
            if (name, value) == ("clusters", "auto")
            else ""
        )
        raise ArgumentError(f"{name} must be an integer of at least 1, got {value!r}{hint}")
    return value


class FullVideoNetwork(SnippetNetwork):
    """An image network whose first stage processes every frame, and whose later stages process the means of clusters.

    Args:
        clusters: g, the number of clusters of each video.
        clustering: name in `praxiscope.layers.clustering.clusterings`.
        aggregate: whether clusters are averaged before or after the last ReLU of the first stage.
        fold_div: 1 / fold_div of the channels are shifted in each direction between clusters.
        early_shift: shift also between the frames of the first stage.
        early_frames: number of frames that the first stage processes at once. Their activations are recomputed in the
            backward pass, so that only the memory for pixels grows with the number of frames. This needs two additional
            passes through the first stage, and several for each trainable BatchNorm layer in it (see
            `praxiscope.layers.parted`). Clusters, scores, statistics and gradients equal those of all frames at once,
            to rounding. None: all frames at once, all activations are kept. "auto": all at once up to the pixels of 256
            frames of 224 x 224; above that, in parts of a quarter of it.

    Attributes:
        sees: all frames; streamable unless the first stage shifts between frames.
    """

    def __init__(
        self,
        *,
        clusters: int,
        clustering: str,
        aggregate: Literal["pre", "post"],
        fold_div: int,
        early_shift: bool,
        early_frames: int | Literal["auto"] | None,
        **snippet_network: Any,
    ) -> None:
        sees = Sees(frames="all", together=_whole_number("clusters", clusters), streamable=not early_shift)
        super().__init__(consensus="average", sees=sees, **snippet_network)
        self.clusters = clusters
        if early_frames not in ("auto", None):
            _whole_number("early_frames", early_frames)
        if isinstance(early_frames, int) and early_shift:
            raise ArgumentError(
                "early_shift mixes neighbouring frames, but early_frames processes them separately; set only one "
                "of them"
            )
        if aggregate not in ("pre", "post"):
            raise ArgumentError(f"aggregate must be 'pre' or 'post', got {aggregate!r}")
        self.clustering, self.cluster = clustering, clusterings.get(clustering)
        self.aggregate = aggregate
        self.early_shift = early_shift
        self.early_frames = None if early_shift else early_frames
        early = early_stage(self.backbone, self.backbone_name)
        if aggregate == "pre":
            without_last_relu(early)  # raises if the stage does not end with a ReLU
        self.early_rows: ForwardValue[VideoRows | None] = ForwardValue(None)
        inside = {id(module) for layer in early for module in layer.run.modules()}  # type: ignore[attr-defined]
        for place in shift_places(self.backbone):
            if id(place.module) not in inside:
                insert_shift([place.module], self.snippet_rows, fold_div, channels_last=place.channels_last)
            elif early_shift:
                insert_shift([place.module], self.early_rows, fold_div, channels_last=place.channels_last)

    def default_protocol(self, flip: bool) -> str:
        """Every frame, uncropped."""
        return "allxfull"

    def layer_names(self) -> list[str]:
        """The names of the layers whose maps ``forward`` can return: those of the later stages."""
        return late_stages(self.backbone, self.backbone_name).names

    def early(self, frames: Tensor) -> Tensor:
        """The first stage: frames [n, C, H, W], normalised, to activations whose signs are compared."""
        layers = early_stage(self.backbone, self.backbone_name)
        return run_layers(without_last_relu(layers) if self.aggregate == "pre" else layers, frames)[0]

    def late(self, means: Tensor, offsets: Tensor, maps: Sequence[str] = ()) -> tuple[Tensor, BackboneOutput]:
        """The later stages: means of clusters [G, C, H, W] to scores of videos [B, K], and the output for clusters."""
        videos, clusters = len(offsets) - 1, len(means)
        means = F.relu(means) if self.aggregate == "pre" else means
        with self.snippet_rows.set(VideoRows.packed(offsets, clusters)):
            seen = late_stages(self.backbone, self.backbone_name)(means, maps)
        if bool((offsets.diff() == clusters // videos).all()):
            return seen.scores.reshape(videos, -1, seen.scores.shape[1]).mean(1), seen
        video = torch.arange(videos, device=means.device).repeat_interleave(
            offsets.diff(), output_size=clusters
        )
        return segment_mean(seen.scores, video, videos), seen

    def forward(  # type: ignore[override]
        self, frames: Tensor, offsets: Tensor | None = None, *, maps: Sequence[str] = ()
    ) -> FullVideoOutput:
        """Score videos.

        Args:
            frames: normalised floats. Dense [B, S, C, H, W]: S frames of each video. Packed [N, C, H, W], with
                ``offsets``: any number of each. Padded [B, S, C, H, W] with ``offsets``: only the first ``offsets[b +
                1] - offsets[b]`` of the S frames of video b are used, so that a padded batch gives the results of a
                packed one: shifts, BatchNorm's statistics and clusters.
            offsets: int64 [B + 1].
            maps: names of layers (see `layer_names`) whose outputs are also returned.

        Raises:
            ArgumentError: the shape is wrong, or a video has no frames.
            UnknownNameError: a layer is unknown; the message names the nearest.
        """
        rows, offsets = self._rows(frames, offsets)
        part = self.parts_of(len(rows), *rows.shape[-2:])
        if part is not None:
            chunks = torch.split(rows, part)
            return self._in_parts(lambda: chunks, offsets, rows, maps)
        with self.early_rows.set(VideoRows.packed(offsets, len(rows))):
            activations = self.early(rows)
        return self._output(*self.cluster_means(activations, offsets), maps)

    def parts_of(self, frames: int, height: int, width: int | None = None) -> int | None:
        """The number of ``frames`` of a batch that the first stage processes at once; None: all, with activations
        kept."""
        if self.early_frames != "auto":
            return self.early_frames
        pixels = height * (width or height)
        return None if frames * pixels <= _KEPT_PIXELS else max(1, _KEPT_PIXELS // 4 // pixels)

    def cluster_means(self, activations: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Compute the means of activations [N, C, H, W] over clusters.

        Returns:
            [G, C, H, W]; offsets of the clusters [B + 1]; the cluster of each frame in its video [N]; distances [N -
            1].
        """
        segments, ids, own, distances = self.cluster_ids(activations, offsets)
        return segment_mean(activations, segments, int(own[-1])), own, ids, distances

    def cluster_ids(self, activations: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The cluster of each frame over all videos [N] and in its video [N]; offsets of the clusters [B + 1];
        distances [N - 1]."""
        distances = hamming_distances(activations)
        ids = self.cluster(distances, self.clusters, offsets)
        segments, own = cluster_offsets(ids, offsets)
        return segments, ids, own, distances

    def forward_stream(self, parts: Parts, offsets: Tensor | None = None) -> FullVideoOutput:
        """Score videos without holding all frames in memory.

        The frames are read twice: for the distances, and then for the means of the clusters. (For few frames without a
            gradient, once, because the activations are kept.) With a gradient the activations of each part are computed
            again in the backward pass, and more often with trainable BatchNorm (see `praxiscope.layers.parted`).
            Clusters, scores and gradients equal those of all frames at once.

        Args:
            parts: yields the frames, [n, C, H, W] at a time; called several times, with the same result.
            offsets: int64 [B + 1]; None: all frames belong to one video.

        Raises:
            ArgumentError: there are no frames, or the first stage shifts between frames.
        """
        if self.early_shift:
            raise ArgumentError(
                "early_shift mixes neighbouring frames, so that a network with it cannot process a few frames at a "
                "time. Train a network without early_shift."
            )
        return self._in_parts(parts, offsets)

    def parts_to_export(self) -> PartsToExport:
        """See `praxiscope.models.in_parts.ExportsInParts`."""
        if self.early_shift:
            raise ArgumentError("shifts between the frames of its first stage")
        return PartsToExport(
            join="clusters",
            first=lambda frames: self.early(frames[:, 0])[:, None],
            last=_LateStages(self),
            snippets=self.clusters,
            settings={"clusters": self.clusters, "clustering": self.clustering},
        )

    def _in_parts(
        self, parts: Parts, offsets: Tensor | None, rows: Tensor | None = None, maps: Sequence[str] = ()
    ) -> FullVideoOutput:
        modules: list[Any] = [layer.run for layer in early_stage(self.backbone, self.backbone_name)]
        stage = PartedStage(self.early, parts, modules, 0 if torch.is_grad_enabled() else _KEPT_BYTES)
        found: list[Tensor] = []
        last: Tensor | None = None
        with torch.no_grad():
            for activations in stage.activations():
                if last is not None:
                    activations = torch.cat([last, activations])
                found.append(hamming_distances(activations))
                last = activations[-1:].clone()
        if last is None:
            raise ArgumentError("a video needs at least one frame")
        distances = torch.cat(found)
        if offsets is None:
            offsets = torch.tensor([0, len(distances) + 1], device=distances.device)
        ids = self.cluster(distances, self.clusters, offsets)
        segments, own = cluster_offsets(ids, offsets)
        sums = stage.sums(segments, int(own[-1]), rows)
        means = sums / segment_sizes(segments, len(sums), sums)
        return self._output(means.to(last.dtype), own, ids, distances, maps)

    def _output(
        self, means: Tensor, own: Tensor, ids: Tensor, distances: Tensor, maps: Sequence[str]
    ) -> FullVideoOutput:
        logits, seen = self.late(means, own, maps)
        return FullVideoOutput(logits, seen.scores, own, ids, distances, seen.features, seen.maps)

    def _rows(self, frames: Tensor, offsets: Tensor | None) -> tuple[Tensor, Tensor]:
        """The used frames as rows [N, C, H, W], and their offsets."""
        good = frames.dim() == 5 or (frames.dim() == 4 and offsets is not None)
        if not good or frames.shape[-3] != self.in_channels or not frames.numel():
            raise ArgumentError(
                f"frames must be [B, S, {self.in_channels}, H, W], or [N, {self.in_channels}, H, W] with offsets, for "
                f"the stream {self.streams[0]!r}; got {list(frames.shape)}"
            )
        if not frames.is_floating_point():
            raise ArgumentError(
                f"frames must be floats, normalised by model.normalisation; got {frames.dtype}"
            )
        if frames.dim() == 4:
            assert offsets is not None
            offsets = offsets.to(frames.device)
            if int(offsets[0]) or int(offsets[-1]) != len(frames) or not bool((offsets.diff() > 0).all()):
                raise ArgumentError(
                    f"offsets must increase from 0 to {len(frames)}, by 1 or more per video; got {offsets.tolist()}"
                )
            return frames, offsets
        videos, length = frames.shape[:2]
        if offsets is None:
            return frames.flatten(0, 1), torch.arange(videos + 1, device=frames.device) * length
        offsets = offsets.to(frames.device)
        counts = offsets.diff()
        if len(counts) != videos or not bool(((counts > 0) & (counts <= length)).all()):
            raise ArgumentError(
                f"offsets must describe {videos} videos of 1 to {length} frames each; got {offsets.tolist()}"
            )
        if bool((counts == length).all()):
            return frames.flatten(0, 1), offsets
        return frames[torch.arange(length, device=frames.device) < counts[:, None]], offsets


class _LateStages(nn.Module):
    """The later stages: means of the clusters of one video, [1, G, C, H, W], to its scores, [1, K]."""

    def __init__(self, model: FullVideoNetwork) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> Tensor:
        model, rows = self.model, inputs[0][0]
        rows = F.relu(rows) if model.aggregate == "pre" else rows
        with model.snippet_rows.set(VideoRows.equal(1, rows.shape[0], rows.device)):
            scores = late_stages(model.backbone, model.backbone_name)(rows, ()).scores
        return scores.mean(0, keepdim=True)


@register_model("full-video", frames="all")
def full_video(
    *,
    num_classes: int,
    backbone: str = "efficientnet_lite0",
    clusters: int = 8,
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
    """Build a network that takes every frame: 8 clusters by cumulative distance, averaged after the first stage, with a
    temporal shift of an eighth of the channels in each direction between clusters.

    Args:
        clusters: g (the paper: 8 or 16).
        clustering: "cumulative", "slope" or "uniform".
        aggregate: "post": average after the last ReLU of the first stage, as in the authors' code; "pre": before it, as
            in the paper's text. The two are equal for frames whose signs agree.
        early_frames, early_shift, fold_div: see `FullVideoNetwork`.

        The others: see `praxiscope.models.snippets.SnippetNetwork`.

    Raises:
        ArgumentError: the backbone cannot be split, or a value is out of range.
    """
    if in_channels is not None and not isinstance(in_channels, int):
        raise ArgumentError(
            f"full-video takes flow stacks of one length; in_channels must be one number, got {in_channels}"
        )
    return FullVideoNetwork(
        clusters=clusters,
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
    )
