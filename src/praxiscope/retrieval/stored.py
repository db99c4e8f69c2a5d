"""Encode videos from the maps of a feature store, without reading the videos.

n rows (frames) of a clip, d channels of a map, h rows and w columns of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from praxiscope.errors import ArgumentError, DataError, VideoError
from praxiscope.features.contract import VIEWS, FeatureContract
from praxiscope.features.store import FeatureStore
from praxiscope.layers.vlad import local_features
from praxiscope.retrieval.encode_items import Encoded, Reading, Thumbs, join
from praxiscope.retrieval.encoder import Encoder
from praxiscope.retrieval.parts import Part
from praxiscope.types import VideoRecord
from praxiscope.video.opening import open_video

__all__ = ["check_encoder", "check_maps", "encode_stored", "part_of", "stored_local"]

_BYTES = 1 << 26  # of the maps in memory at once


def check_maps(contract: FeatureContract, where: str) -> None:
    """Raise ArgumentError if features cannot be encoded: they must be maps of single RGB frames, cropped at the centre.

    Args:
        contract: of the features.
        where: the store, for the message.
    """
    if contract.stream == "rgb" and contract.pool == "none" and contract.views == VIEWS["center"]:
        return
    raise ArgumentError(
        f"{where}: a library is made of maps of RGB frames, and this store holds others ({contract}). Compute them: "
        "praxiscope features DATA --layer LAYER --pool none, or index the videos."
    )


def part_of(contract: FeatureContract) -> Part:
    """The layer of stored maps, and the size of its input."""
    return Part(str(contract.layer), int(contract.input["size"]))


def check_encoder(
    encoder: Mapping[str, Any], reading: Mapping[str, Any], contract: FeatureContract, where: str
) -> None:
    """Raise ArgumentError if an encoder does not take the maps of a store.

    Args:
        encoder: `praxiscope.retrieval.encoder.Encoder.contract`.
        reading: `praxiscope.retrieval.encode_items.Reading.to_dict`.
        contract: of the store.
        where: the store, for the message.
    """
    wanted: dict[str, Any] = {
        "weights": contract.weights,
        "parts": [str(part_of(contract))],
        "short_side": contract.input["short_side"],
    }
    wanted["sampling"] = contract.sampling
    known = {**encoder, "sampling": Reading(**reading).frames}
    found = [
        f"{name} {known.get(name)} against {value}"
        for name, value in wanted.items()
        if known.get(name) != value
    ]
    if found:
        raise ArgumentError(
            f"{where}: the library encodes other features ({'; '.join(found)}). Index the videos themselves, or use "
            "another --out."
        )


def stored_local(
    store: FeatureStore, id: str, rows: Sequence[int] | None = None
) -> Iterator[tuple[Tensor, NDArray[np.float64]]]:
    """Yield the local features of a clip, a few frames at a time.

    Args:
        store: of maps.
        id: of the clip.
        rows: numbers of its rows; None for all.

    Yields:
        float32 [n, h w, d], of length 1, and the times of the frames in seconds, float64 [n].

    Raises:
        DataError: the clip has no features, or a feature is not finite.
    """
    clip = store.clip(id)
    wanted = torch.arange(len(clip.features)) if rows is None else torch.tensor(rows)
    for some in torch.split(wanted, max(1, _BYTES // store.contract.row_bytes)):
        maps = clip.features[some].float()
        if not bool(maps.isfinite().all()):
            raise DataError(
                f"{id}: its features in {store.root} are not finite, so the file is damaged. Run the same `praxiscope "
                "features` command again with --verify."
            )
        yield local_features(maps), clip.time_s[some].numpy()


def encode_stored(
    store: FeatureStore, record: VideoRecord, encoder: Encoder, reading: Reading, *, thumbs: bool = True
) -> Encoded:
    """Encode a video from its stored maps, as `praxiscope.retrieval.encode_items.encode_item` does from its frames.

    Only thumbnails are read from the video; there are none if it cannot be read.

    Raises:
        DataError: the store has no features of it, or they are damaged.
    """
    device = encoder.features.network.device
    parts = ((encoder.sums_of([local.to(device)]), times) for local, times in stored_local(store, record.id))
    vectors, places = join(parts, encoder, reading)
    pictures = _thumbs(record, store.clip(record.id).frame) if thumbs else ()
    return Encoded(vectors, places, pictures, store.damaged.get(record.id, ""))


def _thumbs(record: VideoRecord, frames: Tensor) -> tuple[bytes, ...]:
    found = Thumbs()
    count = min(found.count, len(frames))
    chosen = frames[[int((place + 0.5) * len(frames) / count) for place in range(count)]]
    try:
        video = open_video(record.path)
        video.quick_length()
        found.add(video.frames(chosen, short_side=min(224, video.width, video.height)))
    except (VideoError, ArgumentError):
        return ()
    return found.finish()
