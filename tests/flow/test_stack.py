"""Flow stacks against plain-numpy twins with explicit loops, and along paths that are known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from praxiscope.errors import ArgumentError, UnknownNameError
from praxiscope.flow.stack import (
    bidirectional_stack,
    check_kind,
    field_numbers,
    stack_fields,
    stack_flow,
    stack_place,
    stackings,
    trajectory_stack,
)
from praxiscope.video.geometry import flip, resize

KINDS = ["stack", "trajectory", "stack-bidirectional", "trajectory-bidirectional"]
LENGTHS = [(kind, length) for kind in KINDS for length in (1, 5, 10) if "bi" not in kind or length % 2 == 0]
LENGTHS += [("stack-bidirectional", 2), ("trajectory-bidirectional", 4)]


# ------------------------------------------------------------------------------------------- plain twins


def bilinear(field: np.ndarray, x: float, y: float) -> np.ndarray:
    """The value of a field [2, H, W] at a point; coordinates are clamped here, and nowhere else."""
    height, width = field.shape[1:]
    x, y = min(max(x, 0.0), width - 1.0), min(max(y, 0.0), height - 1.0)
    left, top = min(int(x), max(width - 2, 0)), min(int(y), max(height - 2, 0))
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    a, b = x - left, y - top
    upper = (1 - a) * field[:, top, left] + a * field[:, top, right]
    lower = (1 - a) * field[:, bottom, left] + a * field[:, bottom, right]
    return (1 - b) * upper + b * lower


def twin_half(fields: list[np.ndarray], trajectory: bool, subtract: bool) -> np.ndarray:
    height, width = fields[0].shape[1:]
    out = np.zeros((2 * len(fields), height, width))
    for v in range(height):
        for u in range(width):
            x, y = float(u), float(v)
            for k, field in enumerate(fields):
                dx, dy = bilinear(field, x, y) if trajectory else field[:, v, u]
                mean = (field[0].mean(), field[1].mean()) if subtract else (0.0, 0.0)
                out[2 * k, v, u], out[2 * k + 1, v, u] = dx - mean[0], dy - mean[1]
                x, y = x + dx, y + dy  # the point moves with the camera, too
    return out


def twin(
    forward: np.ndarray, backward: np.ndarray, tau: int, kind: str, length: int, subtract: bool
) -> np.ndarray:
    last = len(forward) - 1
    if kind.endswith("bidirectional"):
        halves = [
            [forward[min(tau + k, last)] for k in range(length // 2)],
            [backward[min(max(tau - 1 - k, 0), last)] for k in range(length // 2)],
        ]
    else:
        halves = [[forward[min(tau + k, last)] for k in range(length)]]
    return np.concatenate([twin_half(half, kind.startswith("trajectory"), subtract) for half in halves])


def ours(
    forward: np.ndarray, backward: np.ndarray, tau: object, kind: str, length: int, subtract: bool
) -> torch.Tensor:
    flow, reverse = torch.from_numpy(forward), torch.from_numpy(backward)
    if kind == "stack":
        return stack_flow(flow, tau, length, subtract)
    if kind == "trajectory":
        return trajectory_stack(flow, tau, length, subtract)
    return bidirectional_stack(flow, reverse, tau, length, subtract, trajectory=kind.startswith("trajectory"))


@pytest.fixture(scope="module")
def flows() -> tuple[np.ndarray, np.ndarray]:
    """Rough flow of 12 fields that leads far out of its small frame, with a camera's motion on top."""
    rng = np.random.default_rng(0)
    return tuple(rng.normal((1.5, -0.7), 2.5, (12, 7, 9, 2)).transpose(0, 3, 1, 2) for _ in range(2))


# ---------------------------------------------------------------------------------------------- the twins


@pytest.mark.parametrize("subtract", [True, False])
@pytest.mark.parametrize(("kind", "length"), LENGTHS)
@pytest.mark.parametrize("tau", [0, 1, 3, 9, 12])
def test_every_kind_equals_its_plain_twin_also_at_the_ends(flows, kind, length, tau, subtract):
    made = ours(*flows, tau, kind, length, subtract)
    assert made.shape == (2 * length, 7, 9)
    np.testing.assert_allclose(made, twin(*flows, tau, kind, length, subtract), atol=1e-9)


@pytest.mark.parametrize("kind", ["stack", "trajectory"])
@pytest.mark.parametrize("tau", [0, 3, 9, 12])
def test_the_first_fields_of_a_stack_are_the_shorter_stack(flows, kind, tau):
    torch.testing.assert_close(ours(*flows, tau, kind, 10, True)[:10], ours(*flows, tau, kind, 5, True))


@pytest.mark.parametrize(("kind", "length"), [(k, n) for k, n in LENGTHS if n >= 4])
def test_many_starts_and_any_batch_equal_one_by_one(flows, kind, length):
    starts = torch.tensor([[0, 4, 11], [7, 7, 2]])
    made = ours(*flows, starts, kind, length, True)
    assert made.shape == (2, 3, 2 * length, 7, 9)
    for i in range(2):
        for j in range(3):
            torch.testing.assert_close(made[i, j], ours(*flows, int(starts[i, j]), kind, length, True))


@pytest.mark.parametrize("kind", KINDS)
def test_the_fields_that_are_named_are_those_that_a_stack_is_made_of(flows, kind):
    forward, backward = (torch.from_numpy(flow) for flow in flows)
    starts = torch.tensor([0, 2, 10])
    forth, back = field_numbers(starts, kind, 6, len(forward))
    reverse = backward[back] if back.numel() else None
    made = stack_fields(forward[forth], reverse, kind)
    torch.testing.assert_close(made, ours(*flows, starts, kind, 6, True))


def test_field_numbers_written_out():
    forth, back = field_numbers(torch.tensor([0, 3, 8]), "stack", 4, num_fields=9)
    assert forth.tolist() == [[0, 1, 2, 3], [3, 4, 5, 6], [8, 8, 8, 8]]
    assert back.shape == (3, 0)
    forth, back = field_numbers(torch.tensor([0, 1, 3, 9]), "trajectory-bidirectional", 4, num_fields=9)
    assert forth.tolist() == [[0, 1], [1, 2], [3, 4], [8, 8]]
    assert back.tolist() == [[0, 0], [0, 0], [2, 1], [8, 7]]
    assert field_numbers(5, "stack", 3, num_fields=9)[0].tolist() == [5, 6, 7]


# --------------------------------------------------------------------------------- paths in closed form


def rotation(fields: int, size: int, radians: float) -> torch.Tensor:
    """The flow of a picture that turns about its centre, the same between all frames."""
    centre = (size - 1) / 2
    y, x = torch.meshgrid(
        *(torch.arange(size, dtype=torch.float64) - centre for _ in range(2)), indexing="ij"
    )
    cosine, sine = math.cos(radians), math.sin(radians)
    flow = torch.stack((cosine * x - sine * y - x, sine * x + cosine * y - y))
    return flow.expand(fields, 2, size, size)


@pytest.mark.parametrize("kind", ["trajectory", "trajectory-bidirectional"])
def test_the_path_of_a_turning_point_is_on_a_circle(kind):
    size, radians = 41, 0.13
    flow = rotation(10, size, radians)
    if kind == "trajectory":
        halves = [(trajectory_stack(flow, 0, 10), radians)]
    else:
        made = bidirectional_stack(flow, rotation(10, size, -radians), 5, 10, trajectory=True)
        halves = [(made[:10], radians), (made[10:], -radians)]
    centre = (size - 1) / 2
    y, x = torch.meshgrid(
        *(torch.arange(size, dtype=torch.float64) - centre for _ in range(2)), indexing="ij"
    )
    inside = x**2 + y**2 < centre**2  # the others leave the frame, where the flow goes on as at the border
    for half, turn in halves:
        for k, step in enumerate(half.unflatten(0, (-1, 2))):
            # Between k and k + 1 turns of the point that started at (x, y). A rotation is linear, so bilinear
            # sampling makes no error at all.
            for component, (a, b) in enumerate(((x, -y), (y, x))):
                before = math.cos(k * turn) * a + math.sin(k * turn) * b
                after = math.cos((k + 1) * turn) * a + math.sin((k + 1) * turn) * b
                torch.testing.assert_close(step[component][inside], (after - before)[inside])


def test_a_plain_stack_stays_where_a_trajectory_moves_on():
    ramp = torch.arange(32.0).expand(1, 24, 32)  # in frame 1, dx is the column
    fields = torch.zeros(2, 2, 24, 32)
    fields[0, 0], fields[0, 1], fields[1, :1] = 3.0, -2.0, ramp
    plain, along = (make(fields, 0, 2, subtract_mean=False) for make in (stack_flow, trajectory_stack))
    torch.testing.assert_close(plain[2], ramp[0])
    torch.testing.assert_close(along[2], (ramp[0] + 3).clamp(max=31), atol=1e-4, rtol=0)


def test_a_point_outside_is_read_at_the_border_but_its_path_goes_on_from_where_it_is():
    fields = torch.zeros(3, 2, 16, 20, dtype=torch.float64)
    fields[0, 0], fields[1, 0] = 50.0, -45.0  # out of the frame, and back in
    fields[2, 0] = torch.arange(20.0)
    made = trajectory_stack(fields, 0, 3, subtract_mean=False)
    # A path that were clamped at 19 would come back to below 0, and read 0 everywhere.
    torch.testing.assert_close(made[4], (torch.arange(20.0).double() + 5).clamp(max=19).expand(16, 20))


@pytest.mark.parametrize("kind", KINDS)
def test_uniform_translation_is_itself_in_every_kind_and_nothing_without_its_mean(kind):
    forward = torch.tensor([2.25, -1.5])[None, :, None, None].expand(8, 2, 17, 23)
    forth, back = field_numbers(3, kind, 4, 8)
    reverse = -forward[back] if back.numel() else None
    made = stack_fields(forward[forth], reverse, kind, subtract_mean=False).unflatten(0, (4, 2))
    signs = [1, 1, -1, -1] if back.numel() else [1, 1, 1, 1]
    for step, sign in zip(made, signs, strict=True):
        torch.testing.assert_close(step, sign * forward[0])
    assert stack_fields(forward[forth], reverse, kind).abs().max() < 1e-6


def test_points_are_followed_through_the_cameras_motion():
    # The camera pans by 6 pixels a frame; a blob that falls by 1 pixel rides on it.
    fields = torch.zeros(4, 2, 40, 60)
    fields[:, 0] = 6
    for k in range(4):
        fields[k, 1, 10 + k : 20 + k, 10 + 6 * k : 20 + 6 * k] = 1
    stack = trajectory_stack(fields, 0, 4).unflatten(0, (4, 2))
    means = fields.mean(dim=(2, 3))
    torch.testing.assert_close(stack[:, 1, 15, 15], 1 - means[:, 1])
    torch.testing.assert_close(stack[:, 0], torch.zeros(4, 40, 60))


# ------------------------------------------------------------------------ what is done to stacks afterwards


@pytest.mark.parametrize("kind", KINDS)
def test_a_mirrored_video_has_the_mirrored_stack(flows, kind):
    turned = tuple(np.ascontiguousarray(flow[..., ::-1]) * [[[-1.0]], [[1.0]]] for flow in flows)
    expected = twin(*turned, 4, kind, 6, True)
    np.testing.assert_allclose(flip(ours(*flows, 4, kind, 6, True), "flow"), expected, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_resized_stack_has_its_vectors_scaled_by_each_axis(kind):
    # Affine flow stays affine under resizing, and so do its paths: away from the border the stack of the resized flow
    # is the resized stack.
    rows, columns = 30, 40
    y, x = np.meshgrid(np.arange(2 * rows) + 0.5, np.arange(3 * columns) + 0.5, indexing="ij")
    large = np.stack([0.02 * x - 0.03 * y + 0.5, 0.01 * x + 0.02 * y - 1])
    y, x = np.meshgrid((np.arange(rows) + 0.5) * 2, (np.arange(columns) + 0.5) * 3, indexing="ij")
    small = np.stack([(0.02 * x - 0.03 * y + 0.5) / 3, (0.01 * x + 0.02 * y - 1) / 2])
    made = resize(
        ours(*(np.stack([flow] * 8) for flow in (large, -large)), 3, kind, 4, False), (rows, columns), "flow"
    )
    expected = twin(*(np.stack([flow] * 8) for flow in (small, -small)), 3, kind, 4, False)
    np.testing.assert_allclose(made[:, 8:-8, 8:-8], expected[:, 8:-8, 8:-8], atol=1e-6)


# ------------------------------------------------------------------------------------------------- the rest


def test_single_precision_and_tiny_frames_will_do(flows):
    single = tuple(flow.astype(np.float32) for flow in flows)
    for kind in KINDS:
        made = ours(*single, 3, kind, 4, True)  # paths in rough flow double any rounding with each field
        assert made.dtype == torch.float32
        np.testing.assert_allclose(made, twin(*flows, 3, kind, 4, True), atol=1e-4)
    line = tuple(flow[:, :, :1] for flow in flows)
    for kind in KINDS:
        np.testing.assert_allclose(ours(*line, 3, kind, 4, False), twin(*line, 3, kind, 4, False), atol=1e-9)


def test_the_given_flow_is_left_alone(flows):
    copies = tuple(flow.copy() for flow in flows)
    for kind in KINDS:
        ours(*copies, 3, kind, 4, True)
    for copy, flow in zip(copies, flows, strict=True):
        np.testing.assert_array_equal(copy, flow)


def test_all_kinds_are_listed():
    assert stackings.names() == sorted([*KINDS, "image"])


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda f: stack_flow(f, 0, 0), "length of at least 1 field, got 0"),
        (lambda f: stack_flow(f, -1, 2), "frame 0 or later, got -1"),
        (lambda f: stack_flow(f[:0], 0, 2), r"\bfield\b.*\b0\b"),
        (lambda f: stack_flow(f[0], 0, 2), r"\[T - 1, 2, H, W\]"),
        (lambda f: stack_flow(f[:, :1], 0, 2), r"float64 \[2, 1, 7, 9\]"),
        (lambda f: stack_flow(f.long(), 0, 2), "int64"),
        (lambda f: bidirectional_stack(f, f, 0, 5), r"\beven\b.*\b5\b"),
        (lambda f: bidirectional_stack(f, f[:3], 0, 4), r"\[T - 1, 2, H, W\].*\[\[12"),
        (lambda f: stack_fields(f[:2], None, "stack-bidirectional"), r"backward\b.*\bNone\b"),
        (lambda f: stack_fields(f[:2], f[:3], "stack-bidirectional"), r"backward\b.*\[3, 2, 7, 9\]"),
        (lambda f: stack_fields(f[:2], f[:2], "stack"), r"\bstack\b.*\bbackward\b"),
    ],
)
def test_what_cannot_be_stacked_is_refused_by_name(flows, call, named):
    with pytest.raises(ArgumentError, match=named):
        call(torch.from_numpy(flows[0]))


def test_an_unknown_kind_names_the_nearest():
    with pytest.raises(UnknownNameError, match="'trajectory'"):
        check_kind("trajectories", 5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_a_device_makes_the_same_stacks(flows, kind):
    forward, backward = (torch.from_numpy(flow) for flow in flows)
    starts = torch.arange(12)
    forth, back = field_numbers(starts, kind, 6, 12)
    reverse = backward[back].cuda() if back.numel() else None
    made = stack_fields(forward[forth].cuda(), reverse, kind)
    torch.testing.assert_close(made.cpu(), ours(*flows, starts, kind, 6, True))


@pytest.mark.parametrize("length", [1, 2, 5, 10])
@pytest.mark.parametrize("kind", sorted(stackings))
def test_a_stack_lies_inside_its_frames(kind, length):
    if ("bidirectional" in kind and length % 2) or (kind == "image" and length > 1):
        return
    place = stack_place(kind, length)
    forward, backward = field_numbers(place.tau, kind, length, length)
    # The L + 1 frames have L fields: the stack has each of them once, forward from tau on and backward before it.
    assert sorted([*forward.tolist(), *backward.tolist()]) == list(range(length))
    assert all(number >= place.tau for number in forward.tolist())
    assert all(number < place.tau for number in backward.tolist())
    assert place.middle == length // 2
