"""RAFT (Teed and Deng, 2020): torchvision's networks.

Axis letters: T frames, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from praxiscope._compat import import_torchvision
from praxiscope.errors import ArgumentError, CheckpointError, unknown_name
from praxiscope.flow.methods import estimators
from praxiscope.flow.raft_names import is_authors, to_torchvision
from praxiscope.tensorfile import digest_of, read_tensors

__all__ = ["RAFT"]


@estimators.register("raft")
@dataclass(frozen=True)
class RAFT:
    """RAFT with torchvision's networks.

    Args:
        weights: a file (safetensors, or a state dict without pickled objects) with torchvision's names or the authors',
            or "download" for torchvision's.
        size: "large" or "small".
        updates: updates of the flow per pair of frames.

    Raises:
        ArgumentError: a value is out of range, or ``weights`` is missing.
        CheckpointError: the weights cannot be read or downloaded, or do not fit this network.
    """

    weights: str = ""
    size: str = "large"
    updates: int = 12

    name = "raft"
    needs_weights = True

    def __post_init__(self) -> None:
        if self.size not in ("large", "small"):
            raise unknown_name("size of raft", self.size, ("large", "small"))
        if self.updates < 1:
            raise ArgumentError(f"RAFT needs at least 1 update, got {self.updates}")
        if not self.weights:
            raise ArgumentError(
                "the flow method raft needs weights: --flow-weights FILE, or --flow-weights download for torchvision's"
            )
        import_torchvision()
        from torchvision.models import optical_flow

        network = getattr(optical_flow, f"raft_{self.size}")(weights=None, progress=False)
        if self.weights == "download":
            state = self._download(optical_flow)
        else:
            state = read_tensors(self.weights)
            if is_authors(state):
                state = to_torchvision(state)
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            problem = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
            raise CheckpointError(f"{self.weights}: does not fit raft_{self.size}: {problem}") from None
        object.__setattr__(self, "_network", network.eval())
        object.__setattr__(self, "_digest", digest_of(state))

    def _download(self, optical_flow: Any) -> dict[str, Tensor]:
        chosen = getattr(optical_flow, f"Raft_{self.size.title()}_Weights").DEFAULT
        try:
            state: dict[str, Tensor] = chosen.get_state_dict(progress=True, check_hash=True)
        except OSError as error:
            raise CheckpointError(
                f"the weights of raft_{self.size} cannot be downloaded ({error}). Download {chosen.url} on another "
                "machine, and use --flow-weights FILE"
            ) from error
        return state

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters by name; ``weights`` is a digest of the values, not a path."""
        digest: str = self._digest  # type: ignore[attr-defined]
        return {"weights": digest, "size": self.size, "updates": self.updates}

    def __call__(self, frames: Tensor, *, backward: bool = False) -> Tensor:
        """Flow between consecutive frames; see `praxiscope.flow.estimate.estimate_flow`."""
        network: Any = self._network.to(frames.device)  # type: ignore[attr-defined]
        height, width = frames.shape[-2:]
        # Sides must be multiples of 8, and the coarsest correlation needs 128 pixels.
        padding = [max(-side % 8, 128 - side) for side in (height, width)]
        top, left = padding[0] // 2, padding[1] // 2
        flow = torch.empty(len(frames) - 1, 2, height, width, device=frames.device)
        with torch.inference_mode():
            for number in range(len(flow)):
                pair = frames[number : number + 2].float().div(127.5).sub(1)
                pair = F.pad(pair, (left, padding[1] - left, top, padding[0] - top), mode="replicate")
                first, second = pair.flip(0) if backward else pair
                made = network(first[None], second[None], num_flow_updates=self.updates)[-1][0]
                flow[number] = made[:, top : top + height, left : left + width]
        return flow
