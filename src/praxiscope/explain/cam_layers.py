"""The picture of Grad-CAM: where in its frames any layer of a network sees a class.

n columns, h and w places of a map, H rows, W columns, K classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from praxiscope.errors import ArgumentError, UnknownNameError, unknown_name
from praxiscope.explain.explanation import Explanation
from praxiscope.explain.film import clean, seconds
from praxiscope.explain.grad_cam import CamRows, see_layers
from praxiscope.explain.heat import HeatLegend, upsampled
from praxiscope.explain.hiding import SeenFrames
from praxiscope.explain.networks import Run, load_one, name_of
from praxiscope.explain.sheet import Row, Sheet, draw_sheet, spread
from praxiscope.inference.recogniser import best_labels
from praxiscope.video.opening import open_video

__all__ = ["explain_layer", "row_pictures"]

_MOST_CLASSES = 6
_MOST_FRAMES = 12


def explain_layer(
    run: Run,
    video: str | Path,
    layer: str | None = None,
    *,
    protocol: str | None = None,
    top: int = 3,
    label: str | None = None,
    frames: int = 6,
    **options: Any,
) -> Explanation:
    """Draw Grad-CAM maps of a layer over frames of a video (Selvaraju et al., 2017).

    The channels of the layer are weighted by the mean of the gradient over the places: of the score of a class before
    softmax, minus the mean of all scores. The picture shows what is above 0, on one scale for each class.

    Args:
        run: run or model folder, or a loaded network, whose layers have names.
        video: video file.
        layer: its name; a wrong one is answered with those that there are. Default: the last of each network.
        protocol: the frames that the model sees, one crop of each. Default: at most 12 of those of ``predict``.
        top: number of classes, 1 to 6, the most probable first.
        label: a class that is drawn, too.
        frames: number of columns, 1 to 12, evenly spaced.
        options: ``checkpoint``, ``task``, ``flow``, ``flow_range``, ``flow_weights`` and ``device`` as for
            `praxiscope.load`.

    Returns:
        The figure with the facts ``video``, ``network``, ``protocol``, ``label`` and ``probability`` (the answer), and
        ``layers``: for each class and network its ``label``, ``network`` ("" for a single one), ``layer``, ``times_s``
        of all maps, ``maps`` [n][h][w] with their sign, and ``strongest``: ``time_s``, ``x`` and ``y`` of the largest
        value, as fractions of the crop.

    Raises:
        ArgumentError: the network has no such maps, several networks are fused, or a number is out of range.
        UnknownNameError: the model does not know the label or the layer.
        CheckpointError: the model is missing or damaged.
        VideoError, DataError: the video cannot be read.
    """
    if not 1 <= top <= _MOST_CLASSES:
        raise ArgumentError(f"top must be from 1 to {_MOST_CLASSES}, got {top}")
    if not 1 <= frames <= _MOST_FRAMES:
        raise ArgumentError(f"frames must be from 1 to {_MOST_FRAMES}, got {frames}")
    recogniser = load_one(run, **options)
    labels, card = recogniser.labels, recogniser.card
    if label is not None and label not in labels:
        raise unknown_name("label", label, labels)
    source = open_video(video)
    seen = SeenFrames(recogniser, source, protocol)
    logits = recogniser.video_logits(source, seen.protocol.name)
    names, shares = best_labels(logits, labels, card.multi_label, top, card.temperature)
    chosen = [*names, *([] if label is None or label in names else [label])]
    try:
        rows = {name: see_layers(seen, labels.index(name), layer) for name in chosen}
    except UnknownNameError:
        raise
    except ArgumentError as error:
        raise ArgumentError(
            f"{run}: {card.name} has no Grad-CAM maps: {error}. Use praxiscope explain occlusion, which takes any "
            "network."
        ) from error
    facts = {
        "video": str(video),
        "network": name_of(run),
        "protocol": seen.protocol.name,
        "label": names[0],
        "probability": shares[0],
        "layers": [_facts(name, one) for name, own in rows.items() for one in own],
    }
    return Explanation(_draw(facts, rows, seen, frames, float(source.duration_s)), facts)


def _facts(label: str, rows: CamRows) -> dict[str, Any]:
    number, x, y = rows.strongest
    return {
        "label": label,
        "network": rows.name,
        "layer": rows.layer,
        "times_s": rows.times_s.tolist(),
        "maps": rows.maps.tolist(),
        "strongest": {"time_s": float(rows.times_s[number]), "x": x, "y": y},
    }


def _draw(
    facts: dict[str, Any], rows: dict[str, list[CamRows]], seen: SeenFrames, most: int, end_s: float
) -> Any:
    drawn: list[Row] = []
    first = next(iter(rows.values()))
    for network, one in enumerate(first):
        chosen = spread(len(one.maps), most)
        pictures = row_pictures(seen, one, chosen)
        captions = [seconds(time_s, end_s) for time_s in one.times_s[chosen].tolist()]
        drawn.append(Row(one.name or "frames", pictures, captions, note=one.layer))
        for label, own in rows.items():
            maps = own[network].maps
            heat = upsampled(torch.from_numpy(maps[chosen]), *pictures.shape[1:3]).clip(min=0)
            largest = max(float(maps.max()), 0.0) or 1.0
            drawn.append(Row(label, pictures, [""] * len(chosen), heat / largest, one.layer))
    return draw_sheet(
        Sheet(
            f"{Path(facts['video']).name}: Grad-CAM of {facts['network']}",
            f"answer: {clean(facts['label'])}, {100 * facts['probability']:.0f} %; red: speaks for the class, by the "
            "gradient of its score before softmax",
            drawn,
            HeatLegend("", "0", "for"),
        )
    )


def row_pictures(seen: SeenFrames, rows: CamRows, chosen: list[int]) -> NDArray[np.uint8]:
    """The pictures of some maps, uint8 [n, H, W, 3]; of maps that stand for several snippets, the mean."""
    means = [seen.pictures(rows.places[number]).double().mean(0).round().byte() for number in chosen]
    return torch.stack(means).permute(0, 2, 3, 1).numpy()
