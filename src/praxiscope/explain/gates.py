"""The picture of the gates of a two-stream network: where one stream lets the other through.

C. Feichtenhofer, A. Pinz, R. P. Wildes, "Spatiotemporal Multiplier Networks for Video Action Recognition", CVPR 2017,
section 3.2; see `praxiscope.layers.gating`.

S snippets, n pictures, C channels, h rows and w columns of a map, H rows, W columns.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from praxiscope.errors import ArgumentError
from praxiscope.explain.explanation import Explanation
from praxiscope.explain.film import seconds
from praxiscope.explain.heat import HeatLegend, upsampled
from praxiscope.explain.hiding import SeenFrames
from praxiscope.explain.networks import Run, load_one, name_of
from praxiscope.explain.sheet import Row, Sheet, draw_sheet, spread
from praxiscope.flow.colour import flow_to_rgb
from praxiscope.models.parts import GatesStreams
from praxiscope.video.opening import open_video

__all__ = ["explain_gates"]

_MOST_FRAMES = 12
_OF = {"rgb": "flow", "flow": "rgb"}  # the stream that a gate of this stream comes from


def explain_gates(
    run: Run,
    video: str | Path,
    *,
    protocol: str | None = None,
    frames: int = 6,
    checkpoint: str | None = None,
    **options: Any,
) -> Explanation:
    """Draw the gates of a multiplier network over frames and flow of a video.

    A gate is f(y), the activation of the other stream by which the input of a residual branch is multiplied (or that is
    added to it). Where it is 0, a multiplicative gate lets nothing through. Drawn is its mean over the channels.

    Args:
        run: run or model folder, or a loaded network, of a model with the interface
            `praxiscope.models.parts.GatesStreams`.
        video: video file.
        protocol: the frames that the model sees, one crop of each. Default: at most 12 of those of ``predict``.
        frames: number of columns, 1 to 12, evenly spaced.
        checkpoint: "last" or "best". Default: the run's choice.
        options: ``task``, ``flow``, ``flow_range``, ``flow_weights`` and ``device`` as for `praxiscope.load`.

    Returns:
        The figure with the facts ``video``, ``network``, ``protocol``, ``times_s`` of the columns, and ``gates``: for
        each its ``name``, the stream that it is ``of`` and the one that it acts ``on``, the ``open`` share of its
        values that are above 0, the ``mean`` of its values, and ``map`` [n][h][w], their mean over the channels.

    Raises:
        ArgumentError: the network has no gates, several networks are fused, or ``frames`` is out of range.
        CheckpointError: the model is missing or damaged.
        VideoError, DataError: the video cannot be read.
    """
    if not 1 <= frames <= _MOST_FRAMES:
        raise ArgumentError(f"frames must be from 1 to {_MOST_FRAMES}, got {frames}")
    recogniser = load_one(run, checkpoint=checkpoint, **options)
    model = recogniser.model
    if not isinstance(model, GatesStreams) or not model.gate_names():
        raise ArgumentError(
            f"{run}: {recogniser.card.name} has no gates between two streams. Give a run of --model multiplier with a "
            "gate."
        )
    source = open_video(video)
    seen = SeenFrames(recogniser, source, protocol)
    names = model.gate_names()
    with torch.inference_mode(), recogniser.precision.context(recogniser.device):
        inputs = seen.inputs(slice(0, 1))
        maps = {name: x[0].float().cpu() for name, x in model(*inputs, maps=names).maps.items()}  # type: ignore[operator]
    chosen = spread(len(inputs[0][0]), frames)
    times_s = seen.middle_s()[chosen]
    gates = [_facts(name, maps[name], chosen) for name in names]
    facts = {
        "video": str(video),
        "network": name_of(run),
        "protocol": seen.protocol.name,
        "times_s": times_s.tolist(),
        "gates": gates,
    }
    captions = [seconds(time_s, float(source.duration_s)) for time_s in times_s.tolist()]
    return Explanation(_draw(facts, seen, chosen, captions, maps), facts)


def _facts(name: str, gate: Tensor, chosen: list[int]) -> dict[str, Any]:
    """The numbers of a gate [S, C, h, w]."""
    on = name.partition(".")[0]
    return {
        "name": name,
        "on": on,
        "of": _OF[on],
        "open": float((gate > 0).double().mean()),
        "mean": float(gate.double().mean()),
        "map": gate[chosen].double().mean(1).tolist(),
    }


def _draw(
    facts: dict[str, Any], seen: SeenFrames, chosen: list[int], captions: list[str], maps: dict[str, Tensor]
) -> Any:
    pictures = seen.pictures(chosen).permute(0, 2, 3, 1).numpy()
    height, width = pictures.shape[1:3]
    rows = [
        Row("frames", pictures, captions),
        Row("flow", _flow(seen, chosen, height, width), [""] * len(chosen)),
    ]
    for gate in facts["gates"]:
        means = maps[gate["name"]][chosen].mean(1)
        heat: NDArray[np.float64] = upsampled(means, height, width)
        note = f"of {gate['of']}, on {gate['on']};\n{100 * gate['open']:.0f} % of the values\nare above 0"
        rows.append(
            Row(
                f"gate of conv{gate['name'][-1]}",
                pictures,
                [f"mean {mean:.2g}" for mean in means.mean((1, 2)).tolist()],
                heat / (float(heat.max()) or 1.0),
                note,
            )
        )
    return draw_sheet(
        Sheet(
            f"{Path(facts['video']).name}: gates of {facts['network']}",
            "red: where the activations of one stream let the branch of the other through, mean over the channels; "
            "each row has its own scale",
            rows,
            HeatLegend("", "closed", "most open"),
        )
    )


def _flow(seen: SeenFrames, chosen: list[int], height: int, width: int) -> NDArray[np.uint8]:
    """The field in the middle of some stacks in colours, in the crop."""
    stack = seen.crop("flow")[chosen]
    fields = stack.reshape(len(chosen), -1, 2, *stack.shape[-2:])
    middle = fields[:, fields.shape[1] // 2]
    colours = flow_to_rgb(middle).float()
    resized = torch.nn.functional.interpolate(
        colours, size=(height, width), mode="bilinear", align_corners=False
    )
    return resized.round().byte().permute(0, 2, 3, 1).numpy()
