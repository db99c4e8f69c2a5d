"""Stacks of flow fields: what a temporal network sees (Simonyan and Zisserman, 2014, section 3.1).

Axis letters: L fields of a stack, T frames, H rows, W columns; ``...`` any batch. Fields are float [..., L, 2, H, W]
in pixels, x first; a stack is [..., 2L, H, W] with channels dx_0, dy_0, dx_1, dy_1, … Everything is a torch operation
on whole batches, on any device.

A stack belongs to a frame, tau. Forward field t leads from frame t to t + 1, backward field t from frame t + 1 to t.

========================  ===============================================================================
kind                      fields
========================  ===============================================================================
stack                     L forward fields from tau on, as they are
trajectory                the same, each read where the points of frame tau have got to
stack-bidirectional       L / 2 forward fields from tau on, then L / 2 backward fields: tau to tau - 1, …
trajectory-bidirectional  the same two halves, each along its own paths from frame tau
========================  ===============================================================================

Near the ends of a video its last forward field, or its first backward field, is repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from praxiscope.errors import ArgumentError
from praxiscope.registry import Registry

__all__ = [
    "StackPlace",
    "Stacking",
    "bidirectional_stack",
    "check_kind",
    "field_numbers",
    "stack_fields",
    "stack_flow",
    "stack_place",
    "stackings",
    "trajectory_stack",
]


class Stacking(NamedTuple):
    """A kind of stack.

    Attributes:
        arrange: fields [..., n, 2, H, W] in order of time from tau to channels [..., 2n, H, W].
        bidirectional: whether the second half of the fields leads back from tau.
    """

    arrange: Callable[[Tensor], Tensor]
    bidirectional: bool


#: The kinds of stacks by name.
stackings: Registry[Stacking] = Registry("kind of flow stack")


class StackPlace(NamedTuple):
    """Where a stack lies in the L + 1 consecutive frames that it is made of; frames count from the first of these.

    Attributes:
        tau: the frame that the stack belongs to.
        middle: the frame that the RGB stream takes with it: the L fields start L / 2 frames before it (Feichtenhofer et
            al., 2017, section 4.1).
    """

    tau: int
    middle: int


def stack_place(kind: str, length: int) -> StackPlace:
    """Where a stack of ``length`` fields lies in its frames: a bidirectional one looks both ways from their middle.

    Raises:
        UnknownNameError: no such kind.
    """
    middle = length // 2
    return StackPlace(tau=middle if stackings.get(kind).bidirectional else 0, middle=middle)


def stack_fields(
    fields: Tensor, backward: Tensor | None = None, kind: str = "stack", *, subtract_mean: bool = True
) -> Tensor:
    """Stack fields that have been gathered already.

    Args:
        fields: float [..., L, 2, H, W], forward fields from tau on; L / 2 of them for a bidirectional kind.
        backward: float [..., L / 2, 2, H, W] for a bidirectional kind, the field from tau to tau - 1 first; else None.
        kind: a name of `stackings`.
        subtract_mean: take from every field's values its own mean vector. The fields must then be whole frames: cut
            crops out of the result. Trajectories follow the displacements as they are.

    Returns:
        [..., 2L, H, W].

    Raises:
        ArgumentError: no such kind, or fields of another shape.
    """
    arrange, bidirectional = stackings.get(kind)
    _check_fields(fields)
    if not bidirectional:
        if backward is not None:
            raise ArgumentError(f"a flow stack of kind {kind!r} takes no backward fields")
        return _arranged(arrange, fields, subtract_mean)
    if backward is None or backward.shape != fields.shape:
        came = None if backward is None else list(backward.shape)
        raise ArgumentError(
            f"a flow stack of kind {kind!r} takes as many backward fields as forward ones, {list(fields.shape)}; "
            f"got {came}"
        )
    # Both halves are stacks of their own that start at tau: one batch.
    halves = torch.stack((fields, backward))
    forth, back = _arranged(arrange, halves, subtract_mean)
    return torch.cat((forth, back), dim=-3)


def field_numbers(starts: Tensor | int, kind: str, length: int, num_fields: int) -> tuple[Tensor, Tensor]:
    """Which fields of a video its stacks are made of.

    Args:
        starts: tau, int [...], or one number. Frames beyond the last are taken for the last.
        kind: a name of `stackings`.
        length: L.
        num_fields: T - 1.

    Returns:
        Numbers of the forward fields, int64 [..., n], and of the backward fields, int64 [..., m], in the order in
        which `stack_fields` wants them: n = L and m = 0, or L / 2 both. Numbers that would lie beyond the video's
        ends repeat its last or first field.

    Raises:
        ArgumentError: no such kind, a length that it cannot have, a start below 0, or a video without fields.
    """
    check_kind(kind, length)
    starts = torch.as_tensor(starts, dtype=torch.int64)
    if num_fields < 1:
        raise ArgumentError(f"a flow stack needs a video with at least one field, got {num_fields}")
    if starts.numel() and int(starts.min()) < 0:
        raise ArgumentError(f"a flow stack starts at frame 0 or later, got {int(starts.min())}")
    bidirectional = stackings.get(kind).bidirectional
    ahead = length // 2 if bidirectional else length
    steps = torch.arange(length, device=starts.device)
    first = starts[..., None]
    forward = first + steps[:ahead]
    backward = first - 1 - steps[: length - ahead]
    return forward.clamp(0, num_fields - 1), backward.clamp(0, num_fields - 1)


def check_kind(kind: str, length: int) -> None:
    """Raise ArgumentError unless there is such a kind of stack, and it can have this length."""
    bidirectional = stackings.get(kind).bidirectional
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
        flow: float [T - 1, 2, H, W], the whole video's.
        start: tau, or many of them, int [...]. A stack that reaches beyond the last field repeats it.
        length: L.
        subtract_mean: take from every field its own mean vector.

    Returns:
        [2L, H, W], or [..., 2L, H, W] for many starts.

    Raises:
        ArgumentError: flow of another shape, or a length or a start out of range.

    Example:
        >>> stack_flow(estimate_flow(frames), start=3, length=5).shape
        torch.Size([10, 240, 320])
    """
    return _of_video(flow, None, start, length, "stack", subtract_mean)


def trajectory_stack(flow: Tensor, start: Tensor | int, length: int, subtract_mean: bool = True) -> Tensor:
    """Stack the fields along the paths of the points of frame tau (the paper's equation 2).

    Arguments, result and errors as `stack_flow`. Mean vectors are subtracted from what is read along the paths, which
    follow the whole motion.
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
        flow, backward: float [T - 1, 2, H, W], the whole video's; ``backward[t]`` leads from frame t + 1 to t.
        start: tau, or many of them, int [...]. Near the start the first backward field is repeated, near the end the
            last forward field.
        length: L, even.
        subtract_mean: take from every field its own mean vector.
        trajectory: read both halves along the paths of the points of frame tau.

    Returns:
        [2L, H, W], or [..., 2L, H, W] for many starts.

    Raises:
        ArgumentError: flow of another shape, or a length or a start out of range.
    """
    kind = "trajectory-bidirectional" if trajectory else "stack-bidirectional"
    return _of_video(flow, backward, start, length, kind, subtract_mean)


def _of_video(
    flow: Tensor, backward: Tensor | None, start: Tensor | int, length: int, kind: str, subtract_mean: bool
) -> Tensor:
    if flow.ndim != 4 or (backward is not None and backward.shape != flow.shape):
        came = list(flow.shape) if backward is None else [list(flow.shape), list(backward.shape)]
        raise ArgumentError(f"the flow of a video must be [T - 1, 2, H, W], both ways alike; got {came}")
    forth, back = field_numbers(start, kind, length, len(flow))
    reverse = None if backward is None else backward[back.to(flow.device)]
    return stack_fields(flow[forth.to(flow.device)], reverse, kind, subtract_mean=subtract_mean)


def _as_they_are(fields: Tensor) -> Tensor:
    return fields.flatten(-4, -3)  # [..., L, 2, H, W] -> [..., 2L, H, W]


def _along_paths(fields: Tensor) -> Tensor:
    """Read every field where the points of the first have got to by then.

    Between pixels a field is bilinear. The paper prints no rule for points beyond the border: they read the border's
    nearest value, but their path goes on from where they really are.
    """
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


def _arranged(arrange: Callable[[Tensor], Tensor], fields: Tensor, subtract_mean: bool) -> Tensor:
    """Arrange fields, and take from the values of each its own mean vector.

    Paths are made of the displacements as they are (equation 2): points move with the camera, too. Sampling is
    linear, so to subtract from the sampled values is to sample the field less its mean.
    """
    stacked = arrange(fields)
    if not subtract_mean:
        return stacked
    return stacked - fields.mean(dim=(-2, -1)).flatten(-2)[..., None, None]  # [..., L, 2] -> [..., 2L, 1, 1]


def _check_fields(fields: Tensor) -> None:
    if fields.ndim < 4 or fields.shape[-3] != 2 or not fields.is_floating_point() or not fields.numel():
        raise ArgumentError(
            f"flow fields must be float [..., L, 2, H, W] in pixels, got {fields.dtype} {list(fields.shape)}"
        )


stackings.register("stack")(Stacking(_as_they_are, bidirectional=False))
stackings.register("trajectory")(Stacking(_along_paths, bidirectional=False))
stackings.register("stack-bidirectional")(Stacking(_as_they_are, bidirectional=True))
stackings.register("trajectory-bidirectional")(Stacking(_along_paths, bidirectional=True))
