"""Trained flow networks as a flow method.

Axis letters: N clips, T frames of the network, F flow fields of it, n frames, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from praxiscope.checkpoint import InputContract, find_checkpoint, load_card, load_model_weights
from praxiscope.errors import ArgumentError
from praxiscope.flow.methods import estimators
from praxiscope.models import create_model
from praxiscope.models.contract import EstimatesFlow, StandardisesClips
from praxiscope.models.undrawn import Undrawn
from praxiscope.tensorfile import digest_of
from praxiscope.video.colour import normalise_rgb

__all__ = ["LoadedFlow", "NetworkFlow", "estimate_clips", "load_flow_network"]

_STRIDE = 32  # the coarsest resolution of the encoder: sides are padded to its multiples
_PIXELS = 1 << 21  # of the frames of one pass


class LoadedFlow(NamedTuple):
    """A network that estimates flow.

    model: the network, in evaluation mode; see `praxiscope.models.contract.EstimatesFlow`.
    contract: its input.
    """

    model: Any
    contract: InputContract


def load_flow_network(path: str | Path, checkpoint: str | None = None) -> LoadedFlow:
    """Load a network that estimates flow, which may also classify, with all of its parts.

    Args:
        path: run or model folder.
        checkpoint: "last" or "best". None: that of the run.

    Raises:
        CheckpointError: there is no model, or it is damaged.
        ArgumentError: the network does not estimate flow.
    """
    folder = find_checkpoint(Path(path), checkpoint)
    card = load_card(folder)
    with Undrawn():
        network: Any = create_model(card.name, **card.kwargs)
    if not isinstance(network, EstimatesFlow):
        raise ArgumentError(
            f"{path}: holds {card.name}, which does not estimate flow. Train a flow network: praxiscope train DATA "
            "--model flownet"
        )
    load_model_weights(folder, network)  # type: ignore[arg-type]
    return LoadedFlow(network.eval(), card.input)  # type: ignore[attr-defined]


def estimate_clips(network: Any, contract: InputContract, frames: Tensor) -> Tensor:
    """Flow of clips at the resolution of their frames.

    Args:
        network: a network of `praxiscope.models.contract.EstimatesFlow`, in evaluation mode.
        contract: how its input is normalised.
        frames: uint8 [N, T, 3, H, W], on the network's device.

    Returns:
        float32 [N, F, 2, H, W] in pixels, x first. Field i leads from frame i to the next.
    """
    height, width = frames.shape[-2:]
    flat = frames.flatten(0, 1)
    which = torch.zeros(len(flat), dtype=torch.int64, device=flat.device)
    flat = normalise_rgb(flat, which, None, None, contract.mean, contract.std, False)
    padding = [-side % _STRIDE for side in (height, width)]
    top, left = padding[0] // 2, padding[1] // 2
    flat = F.pad(flat, (left, padding[1] - left, top, padding[0] - top), mode="replicate")
    with torch.inference_mode():
        found = network.estimate(flat.reshape(len(frames), -1, *flat.shape[-2:]))[0].float()
    clips, fields = found.shape[:2]
    flow = F.interpolate(found.flatten(0, 1), flat.shape[-2:], mode="bilinear", align_corners=False)
    flow = flow[..., top : top + height, left : left + width] * network.flow_unit
    return flow.reshape(clips, fields, 2, height, width)


def _given(network: Any, contract: InputContract) -> dict[str, torch.Tensor]:
    """What decides the flow besides the weights, as named tensors."""
    standardised = isinstance(network, StandardisesClips) and network.standardise
    return {
        "input.mean": torch.tensor(contract.mean),
        "input.std": torch.tensor(contract.std),
        "standardise": torch.tensor(float(standardised)),
    }


@estimators.register("network")
@dataclass(frozen=True)
class NetworkFlow:
    """A flow network that ``praxiscope train`` has trained.

    A network of two frames estimates each pair alone. One of T frames takes T at a time; each group but the first
    begins with the last frame of the group before, and the field that leads out of a group is not used.

    Args:
        run: its run folder or model folder.

    Raises:
        ArgumentError: no folder is given, or its network does not estimate flow.
        CheckpointError: there is no model, or it is damaged.
    """

    run: str = ""

    name = "network"
    needs_weights = True

    def __post_init__(self) -> None:
        if not self.run:
            raise ArgumentError("the flow method network needs a trained network: --run RUN")
        network, contract = load_flow_network(self.run)
        object.__setattr__(self, "_network", network)
        object.__setattr__(self, "_contract", contract)
        object.__setattr__(self, "_digest", digest_of({**network.state_dict(), **_given(network, contract)}))

    @property
    def frames_together(self) -> int:
        """T: number of frames that are estimated together."""
        return int(self._network.frames)  # type: ignore[attr-defined]

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters by name; ``weights`` is a digest of the values, not a path."""
        return {"weights": self._digest}  # type: ignore[attr-defined]

    def __call__(self, frames: Tensor, *, backward: bool = False) -> Tensor:
        """Flow between consecutive frames; see `praxiscope.flow.estimate.estimate_flow`."""
        network: Any = self._network.to(frames.device)  # type: ignore[attr-defined]
        step = network.frames - 1
        starts = torch.arange(0, len(frames) - 1, step, device=frames.device)
        places = starts[:, None] + torch.arange(network.frames, device=frames.device)
        clips = frames[places.clamp(max=len(frames) - 1)]  # [N, T, 3, H, W]; the last repeats its last frame
        clips = clips.flip(1) if backward else clips
        at_once = max(1, _PIXELS // clips[0, :, 0].numel())
        contract: InputContract = self._contract  # type: ignore[attr-defined]
        parts = [estimate_clips(network, contract, part)[:, :step] for part in torch.split(clips, at_once)]
        flow = torch.cat(parts)
        flow = flow.flip(1) if backward else flow
        return flow.flatten(0, 1)[: len(frames) - 1]
