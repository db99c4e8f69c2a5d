"""Gradients of the losses of single frames and of cluster means with respect to parameters of a full-video network.

Interpretation of the paper (Liu et al., 2021, section 4.2; see `praxiscope.models.full_video`). "Gradients" are those
of the loss with respect to the weights w, as in equation (1). Figure 5 uses activations "and gradients" from "the 1st
block of ResNet-18": the output and the parameters of layer1, the stage before clustering (the paper clusters "after
the first block"). Figure 6 uses those "from 3rd block", layer3, which follows the clustering, so that equation (1)
applies. The loss of a frame, L(h(x_i w)), depends on this frame only: each frame, and each cluster mean, is a separate
input video, so that the temporal shift has no neighbours.

Axis letters: N frames of a video, C channels, H rows, W columns, K classes, P parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from praxiscope.errors import ArgumentError, DataError, unknown_name
from praxiscope.explain.networks import load_full_video, network_of, see_whole
from praxiscope.inference.recogniser import Recogniser, best_labels
from praxiscope.models.full_video import FullVideoNetwork
from praxiscope.models.named_layers import Layer
from praxiscope.models.stages import early_stage, late_stages
from praxiscope.steps import make_loss
from praxiscope.units import counted
from praxiscope.video.opening import open_video
from praxiscope.video.sampling import segment_indices

__all__ = ["Seen", "first_block", "gradient_maker", "load_apart", "see_frames", "third_block"]


@dataclass(frozen=True)
class Seen:
    """A video, prepared for its gradients.

    Attributes:
        name: file name.
        label: the class whose loss is differentiated.
        target: that class as a target of the loss, [1] or [1, K].
        clusters: number of clusters that the network makes of the whole video.
        numbers: numbers of the selected frames, [N].
        frames: these frames, normalised, [N, C, H, W].
    """

    name: str
    label: str
    target: Tensor
    clusters: int
    numbers: list[int]
    frames: Tensor


def load_apart(run: str | Path, **options: Any) -> Recogniser:
    """Load a full-video network whose first stage keeps frames apart.

    Raises:
        ArgumentError: the network makes no clusters of frames, or its first stage mixes frames.
    """
    recogniser = load_full_video(run, **options)
    if not recogniser.sees.streamable:
        raise ArgumentError(
            f"{run}: early_shift mixes neighbouring frames, so that frames have no separate gradients. Give a run "
            "without early_shift."
        )
    return recogniser


def see_frames(recogniser: Recogniser, video: str | Path, label: str | None, frames: int) -> Seen:
    """Predict the label and the clusters of a video, and read its frames.

    Args:
        recogniser: a full-video network.
        video: video file.
        label: the class whose loss is differentiated. Default: the class predicted for the whole video.
        frames: maximum number of frames, evenly spaced.

    Raises:
        ArgumentError: ``frames`` is less than 3, or the label is unknown.
        DataError: the video has fewer than 3 frames.
    """
    if frames < 3:
        raise ArgumentError(f"frames must be at least 3, got {frames}")
    labels, several = recogniser.labels, recogniser.card.multi_label
    if label is not None and label not in labels:
        raise unknown_name("label", label, labels)
    output = see_whole(recogniser, video)
    count = min(len(output.ids), len(open_video(video)))
    if count < 3:
        raise DataError(f"{video}: has {counted(count, 'frame')}, but at least 3 are needed.")
    if label is None:
        (label,), _ = best_labels(output.logits[0].float().cpu(), labels, several, 1)
    numbers = segment_indices(count, min(count, frames))
    target = torch.tensor([labels.index(label)], device=recogniser.device)
    if several:
        target = F.one_hot(target, len(labels))
    clusters = int(output.ids[-1]) + 1
    pixels = recogniser.whole_frames(video, numbers)
    return Seen(Path(video).name, label, target, clusters, numbers.tolist(), pixels)


def gradient_maker(
    recogniser: Recogniser, target: Tensor, parameters: Sequence[nn.Parameter]
) -> Callable[[Tensor], Tensor]:
    """Return a function from one activation of the first stage, [1, C, H, W], to the gradient of its loss, [P].

    The network is in evaluation mode and in float32: no dropout, and no rounding to a lower precision.
    """
    model, loss = network_of(recogniser), make_loss(recogniser.card.multi_label)
    alone = torch.tensor([0, 1], device=recogniser.device)

    def gradient(x: Tensor) -> Tensor:
        with torch.enable_grad():
            logits, _ = model.late(x, alone)
            found = torch.autograd.grad(loss(logits, target), parameters, materialize_grads=True)
        return torch.cat([one.flatten() for one in found])

    return gradient


def first_block(model: FullVideoNetwork) -> tuple[str, list[nn.Parameter]]:
    """Return layer1 of a ResNet, or the whole stage before clustering of other networks."""
    early = early_stage(model.backbone, model.backbone_name)
    block = [layer for layer in early if layer.name == "layer1"]
    return ("layer1", _learned(block)) if block else ("the first stage", _learned(early))


def third_block(model: FullVideoNetwork) -> tuple[str, list[nn.Parameter]]:
    """Return layer3 of a ResNet, or all layers after clustering of other networks."""
    late = late_stages(model.backbone, model.backbone_name).layers
    block = [layer for layer in late if layer.name == "layer3"]
    if block:
        return "layer3", _learned(block)
    early = {id(p) for p in _learned(early_stage(model.backbone, model.backbone_name))}
    rest = [p for p in model.backbone.parameters() if p.requires_grad and id(p) not in early]
    return "all layers after the first stage", rest


def _learned(layers: Sequence[Layer]) -> list[nn.Parameter]:
    modules = nn.ModuleList(layer.run for layer in layers if isinstance(layer.run, nn.Module))
    return [parameter for parameter in modules.parameters() if parameter.requires_grad]
