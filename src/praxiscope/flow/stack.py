"""Stacks of flow fields, the input of a temporal network (Simonyan and Zisserman, 2014, section 3.1).

Axis letters: L fields of a stack, T frames, H rows, W columns; ``...`` any batch. Fields are float [..., L, 2, H, W] in
pixels, x first; a stack is [..., 2L, H, W] with channels dx_0, dy_0, dx_1, dy_1, … Functions are torch operations on
whole batches, on any device. Those of arrays need no torch, and importing this file does not import it.

A stack belongs to a frame, tau. Forward field t leads from frame t to t + 1, backward field t from frame t + 1 to t.

========================  ===============================================================================
kind                      fields
========================  ===============================================================================
stack                     L forward fields from tau on
trajectory                the same, each sampled along the trajectories of the points of frame tau
stack-bidirectional       L / 2 forward fields from tau on, then L / 2 backward fields: tau to tau - 1, …
trajectory-bidirectional  the same two halves, each along its own trajectories from frame tau
image                     one forward field, from tau to tau + 1, which is normalised as an image of three channels
                          (`praxiscope.video.colour.normalise_flow_image`)
========================  ===============================================================================

Near the ends of a video its last forward field, or its first backward field, is repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from praxiscope.errors import ArgumentError
from praxiscope.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "StackPlace",
    "Stacking",
    "bidirectional_stack",
    "check_kind",
    "field_numbers",
    "field_places",
    "stack_arrays",
    "stack_fields",
    "stack_flow",
    "stack_place",
    "stackings",
    "trajectory_stack",
]


class Stacking(NamedTuple):
    """A kind of stack.

    Attributes:
        arrange: fields [..., n, 2, H, W], ordered by time from tau, to channels [..., 2n, H, W].
        bidirectional: whether the second half of the fields leads back from tau.
        single: whether a stack has one field only.
        needs_torch: whether fields are arranged by torch; otherwise they may be arrays, too.
    """

    arrange: Callable[[Any], Any]
    bidirectional: bool
    single: bool = False
    needs_torch: bool = False


# : The kinds of stacks by name.
stackings: Registry[Stacking] = Registry("kind of flow stack")


class StackPlace(NamedTuple):
    """The position of a stack in its L + 1 consecutive frames. Frames are counted from the first of these.

    Attributes:
        tau: the frame that the stack belongs to.
        middle: the frame for the RGB stream. The L fields start L / 2 frames before it (Feichtenhofer et al., 2017,
            section 4.1).
    """

    tau: int
    middle: int


def stack_place(kind: str, length: int) -> StackPlace:
    """The position of a stack of ``length`` fields in its frames. For a bidirectional stack, tau is the middle frame.

    Raises:
        UnknownNameError: the kind is unknown.
    """
    middle = length // 2
    return StackPlace(tau=middle if stackings.get(kind).bidirectional else 0, middle=middle)


def stack_fields(
    fields: Tensor, backward: Tensor | None = None, kind: str = "stack", *, subtract_mean: bool = True
) -> Tensor:
    """Stack fields that have been gathered.

    Args:
        fields: float [..., L, 2, H, W], forward fields from tau on; L / 2 of them for a bidirectional kind.
        backward: float [..., L / 2, 2, H, W] for a bidirectional kind, the field from tau to tau - 1 first; else None.
        kind: a name of `stackings`.
        subtract_mean: subtract the mean vector of each field from its values. The fields must then be whole frames;
            crop the result. Trajectories follow the unchanged displacements.

    Returns:
        [..., 2L, H, W].

    Raises:
        ArgumentError: the kind is unknown, or fields have the wrong shape.
    """
    import torch

    arrange, bidirectional = stackings.get(kind)[:2]
    _check_fields(fields)
    if not bidirectional:
        if backward is not None:
            raise ArgumentError(f"a flow stack of kind {kind!r} takes no backward fields")
        return _arranged(arrange, fields, subtract_mean)
    if backward is None or backward.shape != fields.shape:
        came = None if backward is None else list(backward.shape)
        raise ArgumentError(
            f"a flow stack of kind {kind!r} needs backward fields of the shape of the forward fields, "
            f"{list(fields.shape)}; "
            f"got {came}"
        )
    # Both halves are stacks that start at tau, so process them as one batch.
    halves = torch.stack((fields, backward))
    forth, back = _arranged(arrange, halves, subtract_mean)
    return torch.cat((forth, back), dim=-3)


def stack_arrays(
    fields: NDArray[np.float32],
    backward: NDArray[np.float32] | None = None,
    kind: str = "stack",
    *,
    subtract_mean: bool = True,
) -> NDArray[np.float32]:
    """What `stack_fields` returns, as an array; torch need not be installed.

    Raises:
        ArgumentError: the kind is unknown, or follows trajectories, which needs torch.
    """
    arrange, _, _, needs_torch = stackings.get(kind)
    if needs_torch:
        raise ArgumentError(f"a flow stack of kind {kind!r} follows trajectories, which needs torch")
    halves = [fields] if backward is None else [fields, backward]
    return np.concatenate([_arranged(arrange, half, subtract_mean) for half in halves], axis=-3)


def field_numbers(starts: Tensor | int, kind: str, length: int, num_fields: int) -> tuple[Tensor, Tensor]:
    """The indices of the fields of stacks.

    Args:
        starts: tau, int [...], or one number. Frames after the last are replaced by the last.
        kind: a name of `stackings`.
        length: L.
        num_fields: T - 1.

    Returns:
        Indices of the forward fields, int64 [..., n], and of the backward fields, int64 [..., m], in the order of
        `stack_fields`: n = L and m = 0, or n = m = L / 2. Indices beyond the ends of the video are replaced by its last
        or first field.

    Raises:
        ArgumentError: the kind is unknown, the length is invalid, a start is below 0, or the video has no fields.
    """
    import torch

    starts = torch.as_tensor(starts, dtype=torch.int64)
    forward, backward = field_places(starts.cpu().numpy(), kind, length, num_fields)
    return torch.from_numpy(forward).to(starts.device), torch.from_numpy(backward).to(starts.device)


def field_places(
    starts: NDArray[np.int64], kind: str, length: int, num_fields: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What `field_numbers` returns, as arrays; torch need not be installed."""
    check_kind(kind, length)
    if num_fields < 1:
        raise ArgumentError(f"a flow stack needs a video with at least one field, got {num_fields}")
    if starts.size and int(starts.min()) < 0:
        raise ArgumentError(f"a flow stack starts at frame 0 or later, got {int(starts.min())}")
    ahead = length // 2 if stackings.get(kind).bidirectional else length
    steps, first = np.arange(length), starts[..., None]
    forward, backward = first + steps[:ahead], first - 1 - steps[: length - ahead]
    return forward.clip(0, num_fields - 1), backward.clip(0, num_fields - 1)


def check_kind(kind: str, length: int) -> None:
    """Raise ArgumentError if the kind of stack is unknown or cannot have this length."""
    _, bidirectional, single, _ = stackings.get(kind)
    if single and length != 1:
        raise ArgumentError(f"flow of kind {kind!r} consists of one field, got a length of {length}")
    if length < 1:
        raise ArgumentError(f"a flow stack needs a length of at least 1 field, got {length}")
    if bidirectional and length % 2:
        raise ArgumentError(
            f"a flow stack of kind {kind!r} has as many backward as forward fields: its length must be even, "
            f"got {length}"
        )


def stack_flow(flow: Tensor, start: Tensor | int, length: int, subtract_mean: bool = True) -> Tensor:
    """Stack L consecutive fields of a video (the paper's equation 1).

    Args:
        flow: float [T - 1, 2, H, W], of the whole video.
        start: tau, or several, int [...]. A stack that extends beyond the last field repeats it.
        length: L.
        subtract_mean: subtract the mean vector of each field.

    Returns:
        [2L, H, W], or [..., 2L, H, W] for several starts.

        Raises: ArgumentError: flow has the wrong shape, or a length or a start is out of range.

        Example:
        >>> stack_flow(estimate_flow(frames), start=3, length=5).shape
        torch.Size([10, 240, 320])
    """
    return _of_video(flow, None, start, length, "stack", subtract_mean)


def trajectory_stack(flow: Tensor, start: Tensor | int, length: int, subtract_mean: bool = True) -> Tensor:
    """Stack fields along the trajectories of the points of frame tau (the paper's equation 2).

    Arguments, result and errors are those of `stack_flow`. Mean vectors are subtracted from the sampled values; the
    trajectories follow the whole motion.
    """
    return _of_video(flow, None, start, length, "trajectory", subtract_mean)


def bidirectional_stack(
    flow: Tensor,
    backward: Tensor,
    start: Tensor | int,
    length: int,
    subtract_mean: bool = True,
    trajectory: bool = False,
) -> Tensor:
    """Stack L / 2 forward fields from tau on and L / 2 backward fields from tau back.

    Args:
        flow, backward: float [T - 1, 2, H, W], of the whole video; ``backward[t]`` leads from frame t + 1 to t.
        start: tau, or several, int [...]. Near the start of the video the first backward field is repeated, near the
            end the last forward field.
        length: L, even.
        subtract_mean: subtract the mean vector of each field.
        trajectory: sample both halves along the trajectories of the points of frame tau.

    Returns:
        [2L, H, W], or [..., 2L, H, W] for many starts.

    Raises:
        ArgumentError: flow has the wrong shape, or a length or a start is out of range.
    """
    kind = "trajectory-bidirectional" if trajectory else "stack-bidirectional"
    return _of_video(flow, backward, start, length, kind, subtract_mean)


def _of_video(
    flow: Tensor, backward: Tensor | None, start: Tensor | int, length: int, kind: str, subtract_mean: bool
) -> Tensor:
    if flow.ndim != 4 or (backward is not None and backward.shape != flow.shape):
        came = list(flow.shape) if backward is None else [list(flow.shape), list(backward.shape)]
        raise ArgumentError(f"flow and backward must have the same shape [T - 1, 2, H, W]; got {came}")
    forth, back = field_numbers(start, kind, length, len(flow))
    reverse = None if backward is None else backward[back.to(flow.device)]
    return stack_fields(flow[forth.to(flow.device)], reverse, kind, subtract_mean=subtract_mean)


def _as_they_are(fields: Any) -> Any:
    return fields.reshape(*fields.shape[:-4], -1, *fields.shape[-2:])  # [..., L, 2, H, W] -> [..., 2L, H, W]


def _along_paths(fields: Tensor) -> Tensor:
    """Sample each field at the positions that the points of the first field have reached.

    Sampling is bilinear. The paper gives no rule for points outside the frame. They sample the nearest value at the
    border, but their trajectory continues from their true position.
    """
    import torch
    from torch.nn import functional as F

    length, _, height, width = fields.shape[-4:]
    flat = fields.flatten(0, -5) if fields.ndim > 4 else fields[None]  # [N, L, 2, H, W]
    y, x = torch.meshgrid(
        torch.arange(height, device=fields.device, dtype=fields.dtype),
        torch.arange(width, device=fields.device, dtype=fields.dtype),
        indexing="ij",
    )
    size = fields.new_tensor([width, height])
    values = [flat[:, 0]]  # frame tau's points lie on the grid
    path = torch.stack((x, y), dim=-1).expand(len(flat), height, width, 2)
    for number in range(1, length):
        path = path + values[-1].permute(0, 2, 3, 1)
        grid = (2 * path + 1) / size - 1  # pixel centres, as grid_sample counts from -1 to 1
        values.append(
            F.grid_sample(flat[:, number], grid, mode="bilinear", padding_mode="border", align_corners=False)
        )
    stacked = torch.cat(values, dim=1)  # [N, 2L, H, W]
    return stacked.reshape(*fields.shape[:-4], *stacked.shape[1:])


def _arranged(arrange: Callable[[Any], Any], fields: Any, subtract_mean: bool) -> Any:
    """Arrange fields, tensors or arrays, and subtract the mean vector of each.

    Trajectories use the unchanged displacements (equation 2), because points also move with the camera. Sampling is
    linear, so subtracting from the sampled values equals sampling the field minus its mean.
    """
    stacked = arrange(fields)
    if not subtract_mean:
        return stacked
    means = fields.mean((-2, -1))  # [..., L, 2]
    return stacked - means.reshape(*means.shape[:-2], -1)[..., None, None]  # [..., 2L, 1, 1]


def _check_fields(fields: Tensor) -> None:
    if fields.ndim < 4 or fields.shape[-3] != 2 or not fields.is_floating_point() or not fields.numel():
        raise ArgumentError(
            f"flow fields must be float [..., L, 2, H, W] in pixels, got {fields.dtype} {list(fields.shape)}"
        )


stackings.register("stack")(Stacking(_as_they_are, bidirectional=False))
stackings.register("trajectory")(Stacking(_along_paths, bidirectional=False, needs_torch=True))
stackings.register("stack-bidirectional")(Stacking(_as_they_are, bidirectional=True))
stackings.register("trajectory-bidirectional")(Stacking(_along_paths, bidirectional=True, needs_torch=True))
stackings.register("image")(Stacking(_as_they_are, bidirectional=False, single=True))
