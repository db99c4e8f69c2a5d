"""The picture of class activation maps: where in its frames a network sees a class.

n columns (snippets, windows of snippets, or times of a snippet), h and w places of a map, H rows, W columns, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from praxiscope.errors import ArgumentError, unknown_name
from praxiscope.explain.explanation import Explanation
from praxiscope.explain.film import clean, seconds
from praxiscope.explain.heat import HeatLegend, upsampled
from praxiscope.explain.networks import load_one
from praxiscope.explain.sheet import Row, Sheet, draw_sheet, spread
from praxiscope.inference.recogniser import Recogniser, best_labels
from praxiscope.inference.seen import SeenView, one_crop
from praxiscope.models.class_maps import ClassMaps, class_maps

__all__ = ["explain_cam"]

_MOST_CLASSES = 6
_MOST_FRAMES = 12


def explain_cam(
    run: str | Path,
    video: str | Path,
    *,
    protocol: str | None = None,
    top: int = 3,
    label: str | None = None,
    frames: int = 6,
    checkpoint: str | None = None,
    **options: Any,
) -> Explanation:
    """Draw class activation maps over frames of a video (Zhou et al., 2016).

    The linear classifier of the network is applied at every place of its last map, so the mean of a class's map over
    the places plus the bias is the score of the snippet before softmax. Softmax only sees differences between classes:
    the picture shows each map minus the mean of the maps of all classes (for a network of several labels, the map
    itself). A model of several networks has maps of each. Those that stand for several snippets are drawn over the mean
    of their frames.

    Args:
        run: run or model folder of a network that ends in the mean of a map and a linear layer.
        video: video file.
        protocol: the frames that the model sees, one crop of each. Default: those of `Recogniser.predict`.
        top: number of classes, 1 to 6.
        label: a class that is drawn, too.
        frames: number of columns, 1 to 12, evenly spaced.
        checkpoint: "last" or "best". Default: the run's choice.
        options: ``task``, ``flow``, ``flow_range``, ``flow_weights`` and ``device`` as for `praxiscope.load`.

    Returns:
        The figure with the facts ``video``, ``network``, ``protocol``, ``label`` and ``probability`` (the answer),
        ``size`` (rows and columns of the pictures) and ``networks``: for each its ``name`` ("" for a single one), and
        ``columns`` with ``frames`` (numbers), ``time_s`` and ``classes``: for each its ``label``, ``score`` before
        softmax of the snippet, ``bias``, ``x`` and ``y`` (the place with the most evidence, pixels of the picture) and
        ``map`` [h][w], without the bias.

    Raises:
        ArgumentError: the network does not end in the mean of a map and a linear layer, several networks are fused, the
            protocol has several views, or a number is out of range.
        UnknownNameError: the model does not know the label.
        CheckpointError: the model is missing or damaged.
        VideoError, DataError: the video cannot be read.
    """
    if not 1 <= top <= _MOST_CLASSES:
        raise ArgumentError(f"top must be from 1 to {_MOST_CLASSES}, got {top}")
    if not 1 <= frames <= _MOST_FRAMES:
        raise ArgumentError(f"frames must be from 1 to {_MOST_FRAMES}, got {frames}")
    recogniser = load_one(run, checkpoint=checkpoint, **options)
    labels, card = recogniser.labels, recogniser.card
    if label is not None and label not in labels:
        raise unknown_name("label", label, labels)
    view = SeenView(recogniser, video, protocol or one_crop(recogniser.default_protocol()))
    try:
        networks = _look(recogniser, view, frames)
    except ArgumentError as error:
        raise ArgumentError(
            f"{run}: {card.name} on {card.kwargs.get('backbone')} has no class activation maps: {error}. Use "
            "praxiscope explain occlusion, which takes any network."
        ) from error
    logits = recogniser.video_logits(video, view.protocol)
    names, shares = best_labels(logits, labels, card.multi_label, top, card.temperature)
    chosen = [*names, *([] if label is None or label in names else [label])]
    facts = {
        "video": str(video),
        "network": Path(run).resolve().name,
        "protocol": view.protocol,
        "label": names[0],
        "probability": shares[0],
        "size": list(networks[0].pictures.shape[1:3]),
        "networks": [network.facts([labels.index(name) for name in chosen], labels) for network in networks],
    }
    return Explanation(_draw(facts, networks, view, recogniser), facts)


@dataclass(frozen=True)
class _Network:
    """What is shown of one network.

    Attributes:
        name: "" for a single one.
        pictures: of the columns, uint8 [n, H, W, 3].
        frames: the numbers of the frames of each picture.
        times_s: when they are on screen, of several frames the mean, [n].
        maps: scores at the places, without bias, float64 [n, K, h, w].
        scores: of the snippet of each column, [n, K].
        bias: [K].
    """

    name: str
    pictures: NDArray[np.uint8]
    frames: list[list[int]]
    times_s: list[float]
    maps: Tensor
    scores: Tensor
    bias: Tensor

    def facts(self, classes: list[int], labels: tuple[str, ...]) -> dict[str, Any]:
        """The columns, with the maps of some classes."""
        columns = []
        for number, frames in enumerate(self.frames):
            found = [self._class_facts(number, one, labels[one]) for one in classes]
            columns.append({"frames": frames, "time_s": self.times_s[number], "classes": found})
        return {"name": self.name, "columns": columns}

    def _class_facts(self, column: int, number: int, label: str) -> dict[str, Any]:
        one = self.maps[column, number]
        height, width = self.pictures.shape[1:3]
        row, place = divmod(int(one.argmax()), one.shape[1])
        return {
            "label": label,
            "score": float(self.scores[column, number]),
            "bias": float(self.bias[number]),
            "x": (place + 0.5) * width / one.shape[1],
            "y": (row + 0.5) * height / one.shape[0],
            "map": one.tolist(),
        }


@torch.inference_mode()
def _look(recogniser: Recogniser, view: SeenView, most: int) -> list[_Network]:
    """The networks of a model, each with at most so many columns."""
    if view.apart:
        view = view.once()
        places = spread(len(view), most)
        crop = recogniser.card.input.size
        size = recogniser.at_once(crop, crop)
        parts = [places[first : first + size] for first in range(0, len(places), size)]
        found = [class_maps(recogniser.model, *view.inputs(part)) for part in parts]
        maps = {
            name: one._replace(scores=torch.cat([part[name].scores for part in found], 1))
            for name, one in found[0].items()
        }
        return [_network(name, one, view, places, most) for name, one in maps.items()]
    maps = class_maps(recogniser.model, *view.inputs(range(len(view))))
    return [_network(name, one, view, list(range(len(view))), most) for name, one in maps.items()]


def _network(name: str, maps: ClassMaps, view: SeenView, places: list[int], most: int) -> _Network:
    """The columns of one network.

    Args:
        name: of the network.
        maps: of the snippets at ``places``.
        view: the snippets.
        places: among the snippets of the view, in the order of the maps.
        most: number of columns at most.
    """
    scores = maps.scores[0].double().cpu()  # [rows, K, (t), h, w]
    if scores.dim() == 4:
        scores = scores[:, :, None]
    bias, times = maps.bias.double().cpu(), scores.shape[2]
    numbers = view.numbers[places].numpy()
    _, first = np.unique(numbers[: len(scores)], return_index=True)  # a short video is seen again
    columns = [(int(row), time) for row in np.sort(first) for time in range(times)]
    columns = [columns[at] for at in spread(len(columns), most)]
    pictures, frames, times_s = [], [], []
    for row, time in columns:
        after = (2 * time + 1) * view.length // (2 * times)
        seen = places[row : row + maps.window]
        pictures.append(view.pictures(seen, after).double().mean(0).round().byte())
        frames.append(view.frame_numbers(seen, after).tolist())
        times_s.append(float(view.shown_s(seen, after).mean()))
    rows = [row for row, _ in columns]
    return _Network(
        name,
        torch.stack(pictures).permute(0, 2, 3, 1).numpy(),
        frames,
        times_s,
        torch.stack([scores[row, :, time] for row, time in columns]),
        scores.mean((2, 3, 4))[rows] + bias,
        bias,
    )


def _draw(facts: dict[str, Any], networks: list[_Network], view: SeenView, recogniser: Recogniser) -> Any:
    rows = []
    several = recogniser.card.multi_label
    for network, known in zip(networks, facts["networks"], strict=True):
        maps = network.maps if several else network.maps - network.maps.mean(1, keepdim=True)
        classes = [one["label"] for one in known["columns"][0]["classes"]]
        numbers = [recogniser.labels.index(one) for one in classes]
        heat = {number: upsampled(maps[:, number], *facts["size"]) for number in numbers}
        largest = max(float(np.abs(one).max()) for one in heat.values()) or 1.0
        captions = [
            seconds(time_s, view.end_s) if len(frames) == 1 else f"frames {' and '.join(map(str, frames))}"
            for time_s, frames in zip(network.times_s, network.frames, strict=True)
        ]
        rows.append(Row(network.name or "frames", network.pictures, captions))
        for number, label in zip(numbers, classes, strict=True):
            scores = [f"{score:+.2f}" for score in network.scores[:, number].tolist()]
            rows.append(Row(label, network.pictures, scores, heat[number] / largest, network.name))
    against = "" if several else ", more than for the mean of all classes"
    return draw_sheet(
        Sheet(
            f"{Path(facts['video']).name}: class activation maps of {facts['network']}",
            f"answer: {clean(facts['label'])}, {100 * facts['probability']:.0f} %; red: speaks for the class{against}; "
            "numbers: scores before softmax",
            rows,
            HeatLegend("against", "0", "for"),
        )
    )
