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

from praxiscope.checkpoint import InputContract, find_checkpoint, is_fused, load_card, load_model_weights
from praxiscope.deploy.description import is_exported
from praxiscope.deploy.flow_network import FlowRunner, group_places, load_flow
from praxiscope.errors import ArgumentError, UnknownNameError
from praxiscope.flow.methods import estimators
from praxiscope.models import create_model
from praxiscope.models.contract import EstimatesFlow, StandardisesClips
from praxiscope.models.names import learns_of
from praxiscope.models.undrawn import Undrawn
from praxiscope.tensorfile import digest_of
from praxiscope.video.colour import normalise_rgb

__all__ = [
    "STRIDE",
    "LoadedFlow",
    "NetworkFlow",
    "estimate_clips",
    "estimates_flow_only",
    "flow_digest",
    "load_flow_network",
]

STRIDE = 32
"""The coarsest resolution of the encoders, pixels: sides are padded to its multiples."""

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


def estimates_flow_only(path: str | Path, checkpoint: str | None = None) -> bool:
    """Whether a run or model folder holds a network that estimates flow and knows no classes."""
    if is_fused(path):
        return False
    try:
        return learns_of(load_card(find_checkpoint(Path(path), checkpoint)).name) == "flow"
    except UnknownNameError:  # what loads it says what to do
        return False


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
    padding = [-side % STRIDE for side in (height, width)]
    top, left = padding[0] // 2, padding[1] // 2
    flat = F.pad(flat, (left, padding[1] - left, top, padding[0] - top), mode="replicate")
    with torch.inference_mode():
        found = network.estimate(flat.reshape(len(frames), -1, *flat.shape[-2:]))[0].float()
    clips, fields = found.shape[:2]
    flow = F.interpolate(found.flatten(0, 1), flat.shape[-2:], mode="bilinear", align_corners=False)
    flow = flow[..., top : top + height, left : left + width] * network.flow_unit
    return flow.reshape(clips, fields, 2, height, width)


def flow_digest(found: LoadedFlow) -> str:
    """A digest of all values that decide the flow."""
    return digest_of({**found.model.state_dict(), **_given(found.model, found.contract)})


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
        run: its run folder or model folder, or that of an exported network.

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
        if is_exported(self.run):
            runner = load_flow(self.run, threads=torch.get_num_threads())
            self._set(runner, runner.description.together, runner.description.digest)
        else:
            found = load_flow_network(self.run)
            self._set(found, int(found.model.frames), flow_digest(found))

    def _set(self, network: LoadedFlow | FlowRunner, together: int, digest: str) -> None:
        known = {"_network": network, "_together": together, "_digest": digest}
        for name, value in known.items():
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, network: LoadedFlow) -> NetworkFlow:
        """The method of a network that is loaded."""
        made = cls.__new__(cls)
        made._set(network, int(network.model.frames), flow_digest(network))
        return made

    @property
    def frames_together(self) -> int:
        """T: number of frames that are estimated together."""
        return self._together  # type: ignore[attr-defined]

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters by name; ``weights`` is a digest of the values, not a path."""
        return {"weights": self._digest}  # type: ignore[attr-defined]

    def __call__(self, frames: Tensor, *, backward: bool = False) -> Tensor:
        """Flow between consecutive frames; see `praxiscope.flow.estimate.estimate_flow`."""
        found: LoadedFlow | FlowRunner = self._network  # type: ignore[attr-defined]
        if isinstance(found, FlowRunner):
            pixels = frames.cpu().numpy().transpose(0, 2, 3, 1)
            return torch.from_numpy(found.arrays(pixels, backward=backward)).to(frames.device)
        network = found.model.to(frames.device)
        step = network.frames - 1
        places = torch.from_numpy(group_places(len(frames), network.frames)).to(frames.device)
        clips = frames[places]  # [N, T, 3, H, W]
        clips = clips.flip(1) if backward else clips
        at_once = max(1, _PIXELS // clips[0, :, 0].numel())
        parts = [
            estimate_clips(network, found.contract, part)[:, :step] for part in torch.split(clips, at_once)
        ]
        flow = torch.cat(parts)
        flow = flow.flip(1) if backward else flow
        return flow.flatten(0, 1)[: len(frames) - 1]
