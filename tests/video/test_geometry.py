"""Resize, flip, boxes and one draw for all streams: against closed forms and plain-numpy twins."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from praxiscope.errors import ArgumentError
from praxiscope.video.transforms import (
    Box,
    CenterCrop,
    Compose,
    Flip,
    FullFrame,
    MultiScaleCrop,
    RandomCrop,
    ShortSide,
    flip,
    resize,
)

SIDES = st.integers(1, 40)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pixels(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=seeded(seed))


def triangle_weights(before: int, after: int) -> np.ndarray:
    """[after, before]: bilinear weights, the triangle widened when it shrinks (antialiasing)."""
    scale = before / after
    centres = (np.arange(after) + 0.5) * scale
    distance = np.abs(np.arange(before) + 0.5 - centres[:, None]) / max(scale, 1.0)
    weights = np.clip(1 - distance, 0, None)
    return weights / weights.sum(1, keepdims=True)


def resize_twin(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    rows, columns = (triangle_weights(b, a) for b, a in zip(frames.shape[-2:], size, strict=True))
    return rows @ frames.astype(np.float64) @ columns.T


@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from([1, 3, 20]))
@example(9, 5, 3, 1, 3)  # one column: torch's own uint8 resize is wrong there
@example(2, 1, 1, 1, 3)
@settings(max_examples=60, deadline=None)
def test_resize_is_the_triangle_filter(h: int, w: int, to_h: int, to_w: int, channels: int) -> None:
    frames = pixels(2, 1, channels, h, w)
    expected = resize_twin(frames.numpy(), (to_h, to_w))
    in_float = resize(frames.float(), (to_h, to_w))
    in_bytes = resize(frames, (to_h, to_w))
    assert in_bytes.dtype == torch.uint8
    assert in_bytes.shape == in_float.shape == (2, 1, channels, to_h, to_w)
    np.testing.assert_allclose(in_float.numpy(), expected, atol=1e-2)
    assert (in_bytes.float() - in_float).abs().max() <= 1.001


def test_resize_takes_frames_of_any_layout() -> None:
    frames = pixels(3, 12, 18, 3).movedim(-1, 1)  # as decoders give them: [T, H, W, C] in memory
    assert resize(frames, (6, 9)).equal(resize(frames.contiguous(), (6, 9)))
    assert resize(frames[..., 2:9, 3:11], (14, 16)).shape == (3, 3, 14, 16)


@pytest.mark.parametrize("size", [(24, 60), (12, 15), (37, 19)])
def test_a_resized_zoom_is_the_same_zoom(size: tuple[int, int]) -> None:
    # A camera that zooms about the upper left corner moves the pixel at x + 1/2 by z (x + 1/2), at any size.
    def zoom(rows: int, columns: int) -> torch.Tensor:
        y, x = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
        return torch.stack([0.1 * x, 0.2 * y])

    before = zoom(24, 30).expand(4, 2, 24, 30)
    after = resize(before, size, "flow")
    inner = (slice(None), slice(None), slice(3, -3), slice(3, -3))  # the filter is one-sided at the border
    # 0.01 px: at a fractional shrink the filter's taps are not symmetric.
    torch.testing.assert_close(after[inner], zoom(*size).expand(4, 2, *size)[inner], atol=0.01, rtol=0)
    assert before.equal(zoom(24, 30).expand(4, 2, 24, 30))


def test_every_pair_of_a_flow_stack_is_scaled() -> None:
    flow = torch.ones(3, 20, 8, 10)
    after = resize(flow, (4, 30), "flow")
    assert torch.allclose(after[:, 0::2], torch.tensor(3.0))
    assert torch.allclose(after[:, 1::2], torch.tensor(0.5))
    assert resize(flow, (4, 30)).allclose(torch.ones(()))  # the same channels as a picture are not scaled


def test_a_flip_negates_dx() -> None:
    flow = torch.randn(5, 20, 6, 7)
    expected = flow.numpy()[..., ::-1].copy()
    expected[:, 0::2] = -expected[:, 0::2]
    kept = flow.clone()
    np.testing.assert_array_equal(flip(flow, "flow").numpy(), expected)
    assert flow.equal(kept)
    frames = pixels(5, 3, 6, 7)
    np.testing.assert_array_equal(flip(frames).numpy(), frames.numpy()[..., ::-1])


def test_a_flipped_pair_of_frames_has_the_flipped_flow() -> None:
    # A bright column that moves 2 px to the right moves 2 px to the left when it is flipped.
    frames = torch.zeros(2, 1, 4, 9)
    frames[0, ..., 3] = frames[1, ..., 5] = 1.0
    flow = torch.tensor([2.0, 0.0])[:, None, None].expand(2, 4, 9)
    there, then = (int(frame[0, 0].argmax()) for frame in flip(frames))
    assert flip(flow, "flow")[0, 0, 0] == then - there == -2


def test_flip_comes_as_often_as_asked_and_the_same_for_all_frames() -> None:
    draws = [Flip(0.25).draw((4, 4), generator) for generator in [seeded(0)] for _ in range(2000)]
    assert abs(sum(draws) / 2000 - 0.25) < 0.04
    assert Flip(1.0).draw((4, 4), seeded(0))
    assert not Flip(0.0).draw((4, 4), seeded(0))
    frames = pixels(6, 3, 4, 5)
    for seed in range(8):
        out = Flip()({"rgb": frames}, seeded(seed))["rgb"]
        assert out.equal(frames) or out.equal(frames.flip(-1))


@pytest.mark.parametrize(
    ("size", "expected"), [((240, 320), (60, 80)), ((320, 240), (80, 60)), ((7, 1), (420, 60))]
)
def test_short_side_keeps_the_aspect(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert ShortSide(60).draw(size) == expected
    assert ShortSide(60)({"rgb": pixels(1, 3, *size)})["rgb"].shape[-2:] == expected


@given(SIDES, SIDES, SIDES, SIDES, st.data())
def test_a_box_stays_inside_a_frame_of_another_size(h: int, w: int, to_h: int, to_w: int, data) -> None:
    height, width = data.draw(st.integers(1, h)), data.draw(st.integers(1, w))
    box = Box(
        data.draw(st.integers(0, h - height)), data.draw(st.integers(0, w - width)), height, width, (h, w)
    )
    moved = box.on((to_h, to_w))
    assert moved.height >= 1
    assert moved.width >= 1
    assert 0 <= moved.top <= to_h - moved.height
    assert 0 <= moved.left <= to_w - moved.width
    assert box.on((h, w)) == box
    doubled = box.on((2 * h, 2 * w))
    assert doubled[:4] == tuple(2 * value for value in box[:4])


def test_streams_of_another_size_get_the_same_part_and_the_same_output_size() -> None:
    streams = {"flow": torch.randn(4, 2, 32, 40), "rgb": pixels(4, 3, 64, 80)}
    out = CenterCrop(32)(streams)
    assert out["rgb"].equal(streams["rgb"][..., 16:48, 24:56])
    part = resize(streams["flow"][..., 8:24, 12:28].contiguous(), (32, 32), "flow")
    assert out["flow"].equal(part)
    whole = FullFrame()(streams)
    assert [whole[name].shape[1:] for name in streams] == [x.shape for x in streams.values()]


def test_all_streams_share_the_draw() -> None:
    # Both streams hold the same picture, so that they must stay the same but for the sign of dx.
    picture = torch.rand(5, 2, 40, 50)
    transform = Compose(MultiScaleCrop(24), Flip())
    mirrored = 0
    for seed in range(12):
        drawn = transform.draw((40, 50), seeded(seed))
        out = transform({"rgb": picture, "flow_tvl1": picture}, seeded(seed))
        box, flips = drawn
        sign = -1 if flips else 1
        factors = torch.tensor([sign * 24 / box.width, 24 / box.height])[:, None, None]
        torch.testing.assert_close(out["flow_tvl1"], out["rgb"] * factors)
        assert out["rgb"].equal(transform.apply(picture, drawn))
        mirrored += flips
    assert 0 < mirrored < 12


def test_compose_draws_each_part_for_the_size_that_reaches_it() -> None:
    transform = Compose(ShortSide(30), RandomCrop(30))
    size, box = transform.draw((60, 100), seeded(0))
    assert size == (30, 50)
    assert box.frame == (30, 50)
    assert transform.size_after((60, 100), (size, box)) == (30, 30)
    assert transform({"rgb": pixels(2, 1, 60, 100)}, seeded(0))["rgb"].shape == (2, 1, 30, 30)


def test_draws_repeat_with_their_seed_and_differ_between_videos() -> None:
    transform = Compose(MultiScaleCrop(24), Flip())
    draws = [transform.draw((60, 80), seeded(seed)) for seed in range(20)]
    assert draws == [transform.draw((60, 80), seeded(seed)) for seed in range(20)]
    assert len(set(draws)) > 15


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: resize(torch.zeros(4, 4), (2, 2)), r"\[4, 4\]"),
        (lambda: flip(torch.zeros(3, 4, 4), "flow"), r"\[3, 4, 4\]"),
        (lambda: flip(pixels(2, 4, 4), "flow"), "uint8"),
        (lambda: Flip().draw((4, 4)), "Flip"),
        (lambda: Flip(1.5), "1.5"),
        (lambda: ShortSide(0), "got 0"),
        (lambda: Flip()({}, seeded(0)), "streams"),
    ],
)
def test_what_cannot_be_is_refused_by_name(call, named: str) -> None:
    with pytest.raises(ArgumentError, match=named):
        call()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_resize_on_a_device_is_within_a_grey_level_of_the_cpu() -> None:
    frames = pixels(4, 3, 61, 83)
    on_device = resize(frames.cuda(), (37, 120))
    assert on_device.dtype == torch.uint8
    assert (on_device.cpu().int() - resize(frames, (37, 120)).int()).abs().max() <= 1
