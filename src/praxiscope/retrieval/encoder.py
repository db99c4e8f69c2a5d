"""Encode images and videos for retrieval: VLAD of the maps of a network, reduced by PCA with whitening.

J. Y.-H. Ng, F. Yang, L. S. Davis, "Exploiting Local Features from Deep Networks for Image Retrieval", CVPR Workshops
2015. An image is warped to a square of n x n pixels; with n twice the size of the network's training ("scale 2") a map
has four times as many positions. Several maps, also of several scales, may be joined.

A video is the sum of the residuals of its frames: they add up before they are normalised, so that the vector of any
part of a video follows from those of its frames.

Axis letters: n frames, d dimensions of a local feature, k words, D of the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from praxiscope.checkpoint import write_json
from praxiscope.errors import ArgumentError, CheckpointError, DataError
from praxiscope.inference.extract import weights_digest
from praxiscope.inference.frame_network import load_frame_network
from praxiscope.inference.inputs import crops_of
from praxiscope.inference.network import TrainedNetwork
from praxiscope.layers.vlad import local_features, vlad
from praxiscope.models.named_layers import NamedLayers, check_layers, named_layers
from praxiscope.retrieval.parts import Part
from praxiscope.tensorfile import digest_of, read_tensors
from praxiscope.video.geometry import ShortSide, resize

__all__ = ["NETWORK", "Encoder", "Framing", "LocalFeatures", "Projection", "load_encoder", "save_encoder"]

NETWORK = "network"
Framing: TypeAlias = Literal["warp", "center"]
_TENSORS = "encoder.safetensors"
_ABOUT = "encoder.json"
_VERSION = 1


class LocalFeatures:
    """The local features of frames, from layers of a network of single RGB frames.

    Args:
        network: see `praxiscope.inference.frame_network`.
        parts: the layers, and the size in pixels of the square that each takes.
        framing: how a frame becomes a square: "warp": it is resized to it, whatever its shape; "center": its short side
            is scaled to that of the network's input contract and the centre is cropped, as for stored features
            (`praxiscope.inference.extract`).

    Attributes:
        short_side: pixels of the short side to which "center" scales; None with "warp".

    Raises:
        UnknownNameError: there is no such layer.
        ArgumentError: the network does not see RGB frames.
    """

    def __init__(self, network: TrainedNetwork, parts: Sequence[Part], framing: Framing = "warp") -> None:
        model: Any = network.model
        if framing not in get_args(Framing):
            raise ArgumentError(f"framing must be one of {', '.join(get_args(Framing))}, got {framing!r}")
        self.framing = framing
        self.short_side = network.card.input.short_side if framing == "center" else None
        if network.streams != ("rgb",):
            raise ArgumentError(f"the network sees {network.stream}. Retrieval needs one of RGB frames.")
        self.network, self.parts = network, tuple(parts)
        self._layers: NamedLayers = named_layers(model.stream_networks["rgb"])
        check_layers([part.layer for part in self.parts], self._layers.names)

    @property
    def backbone(self) -> str:
        """Name of the network, for display."""
        card = self.network.card
        return str(card.kwargs.get("backbone", card.name))

    def __call__(self, frames: Tensor) -> list[Tensor]:
        """Local features of length 1.

        Args:
            frames: uint8 [n, 3, H, W], of any size.

        Returns:
            For each part float32 [n, positions, d], on the network's device.

        Raises:
            ArgumentError: the output of a layer is not a map.
        """
        found: dict[Part, Tensor] = {}
        for size in dict.fromkeys(part.size for part in self.parts):
            layers = [part.layer for part in self.parts if part.size == size]
            squares = self._squares(frames, size)
            at_once = self.network.at_once(size, size)
            pieces = [self._maps(piece, layers) for piece in torch.split(squares, at_once)]
            for layer in layers:
                found[Part(layer, size)] = local_features(torch.cat([piece[layer] for piece in pieces]))
        return [found[part] for part in self.parts]

    def _squares(self, frames: Tensor, size: int) -> Tensor:
        if self.short_side is None:
            return resize(frames, (size, size))
        scaled = ShortSide(self.short_side)({"rgb": frames})["rgb"]
        (found,) = crops_of("center", size, scaled)
        return found

    def _maps(self, squares: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        prepared = self.network.prepare(squares[None])[0]
        with torch.inference_mode(), self.network.precision.context(self.network.device):
            maps = self._layers.maps(prepared, layers)
        for name, value in maps.items():
            if value.dim() != 4:
                raise ArgumentError(f"the output of {name} is no map: it has the shape {list(value.shape)}")
        return {name: value.float().clone() for name, value in maps.items()}


class Projection(NamedTuple):
    """PCA: x becomes (x - mean) @ axes.

    mean: float32 [P].
    axes: float32 [P, D]; with whitening each is divided by the standard deviation along it.
    """

    mean: Tensor
    axes: Tensor


@dataclass(frozen=True)
class Encoder:
    """Images, or parts of videos, to vectors of length 1.

    Attributes:
        features: of frames.
        words: for each part the vocabulary, float32 [k, d].
        projection: None for VLAD itself.
        learned_from: what the vocabulary and the projection were learned from, for display.
    """

    features: LocalFeatures
    words: tuple[Tensor, ...]
    projection: Projection | None = None
    learned_from: str = ""

    @property
    def width(self) -> int:
        """P, values of the sums of residuals of all parts."""
        return sum(words.numel() for words in self.words)

    @property
    def dims(self) -> int:
        """D, dimensions of a vector."""
        return self.width if self.projection is None else self.projection.axes.shape[1]

    def residuals(self, frames: Tensor) -> Tensor:
        """The sums of the residuals of each frame, not normalised. Those of several frames may be added.

        Args:
            frames: uint8 [n, 3, H, W].

        Returns:
            float32 [n, P], the parts one after the other.
        """
        return self.sums_of(self.features(frames))

    def sums_of(self, local: Sequence[Tensor]) -> Tensor:
        """The sums of the residuals of local features, for each part [n, positions, d]; see `residuals`."""
        parts = zip(local, self.words, strict=True)
        return torch.cat([vlad(one, words, normalise=False).flatten(1).cpu() for one, words in parts], 1)

    def finish(self, sums: Tensor) -> Tensor:
        """Vectors of length 1, from sums of residuals.

        Args:
            sums: float32 [..., P].

        Returns:
            float32 [..., D].
        """
        first, done = 0, []
        for words in self.words:
            part = sums[..., first : first + words.numel()].reshape(*sums.shape[:-1], *words.shape)
            done.append(F.normalize(F.normalize(part, dim=-1).flatten(-2), dim=-1))
            first += words.numel()
        joined = F.normalize(torch.cat(done, -1), dim=-1)
        if self.projection is None:
            return joined
        return F.normalize((joined - self.projection.mean) @ self.projection.axes, dim=-1)

    def __call__(self, frames: Tensor) -> Tensor:
        """Encode each frame: uint8 [n, 3, H, W] to float32 [n, D]."""
        return self.finish(self.residuals(frames))

    def _tensors(self) -> dict[str, Tensor]:
        """What was learned, by name."""
        found = {f"words.{number}": words.contiguous() for number, words in enumerate(self.words)}
        if self.projection is not None:
            found |= {f"projection.{name}": x.contiguous() for name, x in self.projection._asdict().items()}
        return found

    def contract(self) -> dict[str, Any]:
        """What decides the vectors, as plain values. Vectors can be compared if it is equal."""
        network, framing = self.features.network, {}
        if self.features.short_side is not None:
            framing = {"short_side": self.features.short_side}
        return framing | {
            "backbone": self.features.backbone,
            "weights": weights_digest(network.model),
            "parts": [str(part) for part in self.features.parts],
            "words": [len(words) for words in self.words],
            "dims": self.dims,
            "projected": self.projection is not None,
            "tensors": digest_of(self._tensors()),
            "learned_from": self.learned_from,
        }


def save_encoder(folder: Path, encoder: Encoder) -> None:
    """Write the vocabulary and the projection. The network is written by its own function to `NETWORK`."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(encoder._tensors(), folder / _TENSORS)
    write_json(folder / _ABOUT, {"version": _VERSION, **encoder.contract()})


def load_encoder(folder: Path, *, device: torch.device | None = None, precision: str = "auto") -> Encoder:
    """Load an encoder that `save_encoder` wrote, with its network.

    Raises:
        DataError: the folder has no encoder, or it is damaged.
    """
    import json

    path = folder / _ABOUT
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        parts = [Part.parse(text) for text in about["parts"]]
        tensors = read_tensors(folder / _TENSORS)
        words = tuple(tensors[f"words.{number}"] for number in range(len(parts)))
        projection = (
            Projection(tensors["projection.mean"], tensors["projection.axes"]) if about["projected"] else None
        )
        framing: Framing = "center" if "short_side" in about else "warp"
        # Stored features may have any precision; in float32 those of a query are nearest to all of them.
        exact = "32" if framing == "center" else precision
        network = load_frame_network(folder / NETWORK, device=device, precision=exact)
        found = Encoder(LocalFeatures(network, parts, framing), words, projection, about["learned_from"])
    except (OSError, ValueError, KeyError, TypeError, CheckpointError) as error:
        raise DataError(f"{folder}: the encoder is missing or damaged ({error}).") from error
    if found.contract() != {name: value for name, value in about.items() if name != "version"}:
        raise DataError(f"{folder}: the encoder does not match {path.name}; its files were changed.")
    return found
