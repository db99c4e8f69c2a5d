"""A retrieval encoder as another package would write it: VLAD of a layer's maps, from any model's own forward pass.

It needs no edit of the package: models return the maps of named layers.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

import praxiscope as px
from support import write_clip


def local_features(model: torch.nn.Module, video: Path, layer: str) -> Tensor:
    """The features of every place of a layer's maps, of 4 frames, L2-normalised: [n, D]."""
    source = px.open_video(video)
    frames = source.frames(torch.linspace(0, len(source) - 1, 4).long().tolist(), short_side=48)
    normal = model.normalisation["rgb"]  # type: ignore[index, union-attr]
    mean, std = (torch.tensor(normal[key]).reshape(3, 1, 1) for key in ("mean", "std"))
    with torch.inference_mode():
        seen = model((frames[None] / 255 - mean) / std, maps=(layer,))
    return F.normalize(seen.maps[layer][0].flatten(2).permute(0, 2, 1).flatten(0, 1), dim=1)  # [S, D, H W]


def vlad(features: Tensor, centres: Tensor) -> Tensor:
    """Sums of residuals to the nearest centre (Jégou et al., 2010): [k D], of length 1."""
    nearest = torch.cdist(features, centres).argmin(1)
    sums = torch.zeros_like(centres).index_add_(0, nearest, features - centres[nearest])
    return F.normalize(sums.flatten(), dim=0)


def test_videos_are_retrieved_by_vlad_of_a_layers_maps(tmp_path: Path) -> None:
    videos = {(colour, n): tmp_path / f"{colour}{n}.mp4" for colour in range(3) for n in range(3)}
    for (colour, number), path in videos.items():
        write_clip(path, colour, seed=10 * colour + number)
    torch.manual_seed(0)
    model = px.create_model("tsn", num_classes=3, backbone="resnet10").eval()
    layer = model.layer_names()[1]  # type: ignore[operator]
    found = {key: local_features(model, path, layer) for key, path in videos.items()}
    every = torch.cat(list(found.values()))
    centres = every[torch.randperm(len(every))[:4]]
    codes = {key: vlad(features, centres) for key, features in found.items()}
    for key, code in codes.items():
        others = [other for other in codes if other != key]
        ranked = sorted(others, key=lambda other: -float(code @ codes[other]))
        assert ranked[0][0] == key[0], (key, ranked)
