"""Estimate the optical flow between the frames of a video.

Importing this file does not import torch.

Axis letters: T frames, H rows, W columns. Flow is float32 [T - 1, 2, H, W] in pixels, x first.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from praxiscope.errors import ArgumentError, unknown_name
from praxiscope.flow.methods import Estimator, estimators, find_method, list_methods

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SMALLEST_SIDE", "Estimator", "create_estimator", "estimate_flow", "estimator_of", "estimators"]

SMALLEST_SIDE = 16
"""Short side of the smallest frames on which flow is estimated, pixels."""


def create_estimator(method: str, **parameters: Any) -> Estimator:
    """Create an estimator by the name of its method.

    Args:
        method: "tvl1", "dis", "farneback", "raft", or another registered name.
        parameters: parameters of the method; by default those of its class.

    Raises:
        UnknownNameError: the method or a parameter is unknown.
        ArgumentError: a value is out of range, or the method's library is not installed.
    """
    build = find_method(method)
    known = {f.name: f for f in fields(build) if f.init}  # type: ignore[arg-type]
    for name, value in parameters.items():
        if name not in known:
            raise unknown_name(f"parameter of {method}", name, known)
        default = known[name].default
        wanted = float if isinstance(default, float) else type(default)
        fits = isinstance(value, wanted) or (wanted is float and isinstance(value, int))
        if (
            default is not MISSING
            and default is not None
            and (not fits or isinstance(value, bool) != (wanted is bool))
        ):
            raise ArgumentError(f"{method}: {name} must be of type {wanted.__name__}, got {value!r}")
    return build(**parameters)


def estimate_flow(
    frames: Tensor, method: str | Estimator = "tvl1", *, backward: bool = False, **parameters: Any
) -> Tensor:
    """Estimate the flow between consecutive frames.

    Args:
        frames: uint8 [T, 3, H, W], RGB; T >= 2. TV-L1 and RAFT run on the frames' device, the others on the CPU.
        method: name of a method, or an estimator.
        backward: False: field t leads from frame t to frame t + 1. True: field t leads from frame t + 1 to frame t.
        parameters: parameters of the method, if ``method`` is a name.

    Returns:
        float32 [T - 1, 2, H, W], displacements in pixels, x first: pixel (x, y) of the first frame moves to
        (x + field[0], y + field[1]) in the second.

    Raises:
        UnknownNameError: the method or a parameter is unknown.
        ArgumentError: frames have the wrong type or shape or are too small, or a parameter is out of range.

    Example:
        >>> flow = estimate_flow(open_video("clip.mp4").frames(range(11)), "tvl1", warps=3)
    """
    import torch

    if frames.ndim != 4 or frames.shape[1] != 3 or frames.dtype != torch.uint8 or len(frames) < 2:
        raise ArgumentError(
            f"frames must be uint8 [T, 3, H, W] with T >= 2, got {frames.dtype} {list(frames.shape)}"
        )
    if min(frames.shape[-2:]) < SMALLEST_SIDE:
        raise ArgumentError(
            f"frames must be at least {SMALLEST_SIDE} pixels high and wide, got {list(frames.shape[-2:])}"
        )
    estimator = create_estimator(method, **parameters) if isinstance(method, str) else method
    return estimator(frames, backward=backward)


def estimator_of(description: dict[str, Any], weights: str | Path | None = None) -> Estimator:
    """Create the estimator of recorded flow.

    Args:
        description: ``{"method": name, **parameters}``, as recorded with the flow.
        weights: a file or "download", for a method that needs weights. The record holds only their digest.

    Raises:
        ArgumentError: the method is unknown, weights are missing or not needed, or do not match the record.
        CheckpointError: the weights cannot be read or downloaded, or do not fit.
    """
    parameters = {name: value for name, value in description.items() if name != "method"}
    method = str(description.get("method"))
    if method not in list_methods():
        raise ArgumentError(
            f"the model was trained on flow by the unknown method {method!r}: give stored "
            "flow for these videos (--flow)"
        )
    if not find_method(method).needs_weights:
        if weights:
            raise ArgumentError(
                f"--flow-weights {weights}: the flow method {method} takes no weights; omit them"
            )
        return create_estimator(method, **parameters)
    known = {field.name for field in fields(find_method(method))}  # type: ignore[arg-type]
    place = "run" if "run" in known else "weights"
    if not weights:
        raise ArgumentError(
            f"the model was trained on flow by {method}, whose weights are not stored with it: give --flow-weights "
            f"{'RUN, its run folder' if place == 'run' else 'FILE'}, or stored flow for these videos (--flow)"
        )
    digest = parameters.pop("weights", "")
    estimator = create_estimator(method, **parameters, **{place: str(weights)})
    if estimator.parameters["weights"] != digest:
        raise ArgumentError(
            f"--flow-weights {weights}: not the weights that computed the model's flow (digest {digest})"
        )
    return estimator
