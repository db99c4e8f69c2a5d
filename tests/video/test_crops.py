"""Where crops lie and what views hold: by hand, and cut out of coordinate pictures."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from praxiscope.errors import ArgumentError
from praxiscope.video.transforms import (
    CenterCrop,
    FullFrame,
    JitteredCrop,
    MultiScaleCrop,
    RandomCrop,
    RandomResizedCrop,
    TenCrop,
    ThreeCrop,
    Transform,
    resize,
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def coordinates(height: int, width: int) -> torch.Tensor:
    """float [1, 2, H, W]: every pixel holds its row and its column."""
    return torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))[None].float()


def corners(view: torch.Tensor) -> tuple[int, int, int, int]:
    """First row, first column, last row, last column of a view [1, 2, h, w] of coordinates."""
    return (*view[0, :, 0, 0].int().tolist(), *view[0, :, -1, -1].int().tolist())


def test_the_thirteen_offsets_by_hand() -> None:
    # Room of 32 rows and 116 columns: quarters of 8 and 29, as in TSN's code for 340 x 256.
    offsets = MultiScaleCrop(224).offsets((224, 224), (256, 340))
    assert offsets[:5] == [(0, 0), (0, 116), (32, 0), (32, 116), (16, 58)]
    assert set(offsets[5:]) == {(16, 0), (16, 116), (32, 58), (0, 58), (8, 29), (8, 87), (24, 29), (24, 87)}
    assert len(offsets) == 13
    assert MultiScaleCrop(224, more_fix_crop=False).offsets((224, 224), (256, 340)) == offsets[:5]


def test_corner_crops_reach_the_corner_at_any_room() -> None:
    assert MultiScaleCrop(8).offsets((8, 8), (15, 14))[3] == (7, 6)


def test_crop_sizes_are_at_most_one_scale_step_apart() -> None:
    sizes = MultiScaleCrop(224).crop_sizes((256, 340))
    steps = [256, 224, 192, 168]
    expected = [(h, w) for i, h in enumerate(steps) for j, w in enumerate(steps) if abs(i - j) <= 1]
    assert sizes == expected
    assert len(sizes) == 10
    assert MultiScaleCrop(224, max_distort=0).crop_sizes((256, 340)) == [(s, s) for s in steps]


def test_a_crop_within_three_pixels_of_the_target_becomes_the_target_where_it_fits() -> None:
    assert MultiScaleCrop(224, scales=(1, 0.5), max_distort=0).crop_sizes((226, 300)) == [
        (224, 224),
        (113, 113),
    ]
    assert MultiScaleCrop(224, scales=(1,)).crop_sizes((227, 300)) == [(227, 227)]
    # 222 rows cannot give 224; the columns can.
    assert MultiScaleCrop(224, scales=(1,)).crop_sizes((222, 300)) == [(222, 224)]


def test_multi_scale_draws_every_size_and_every_place() -> None:
    crop, generator = MultiScaleCrop(24), seeded(0)
    boxes = [crop.draw((60, 80), generator) for _ in range(3000)]
    sizes = Counter((box.height, box.width) for box in boxes)
    assert set(sizes) == set(crop.crop_sizes((60, 80)))
    assert min(sizes.values()) > 200  # 3000 / 10 each
    one = [(box.top, box.left) for box in boxes if (box.height, box.width) == (39, 39)]
    assert set(one) == set(crop.offsets((39, 39), (60, 80)))
    free = MultiScaleCrop(24, fix_crop=False)
    assert len({free.draw((60, 80), generator)[:2] for _ in range(500)}) > 150


def test_jittered_crops_vary_each_side_by_a_quarter_and_stay_near_a_border_of_each_axis() -> None:
    crop, generator = JitteredCrop(40), seeded(0)
    boxes = [crop.draw((44, 200), generator) for _ in range(4000)]
    heights, widths = ([box[place] for box in boxes] for place in (2, 3))
    assert (min(heights), max(heights)) == (30, 44)  # 50 rows do not fit
    assert (min(widths), max(widths)) == (30, 50)
    assert abs(sum(widths) / len(widths) - 40) < 0.5
    assert abs(torch.corrcoef(torch.tensor([heights, widths]).float())[0, 1]) < 0.05
    assert {box.top for box in boxes if box.height == 30} == set(range(15))
    gaps = [(box.left, 200 - box.left - box.width) for box in boxes]
    assert {min(gap) for gap in gaps} == set(range(51))
    assert 0.45 < sum(left < right for left, right in gaps) / len(gaps) < 0.55
    still = JitteredCrop((8, 9), jitter=0, border=0)
    assert {still.draw((20, 20), generator)[:4] for _ in range(99)} == {
        (y, x, 8, 9) for y in (0, 12) for x in (0, 11)
    }


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.integers(0, 2**31), st.booleans())
def test_drawn_boxes_lie_in_the_frame(height: int, width: int, size: int, seed: int, fixed: bool) -> None:
    crops: list = [MultiScaleCrop(size, fix_crop=fixed), RandomResizedCrop(size), JitteredCrop(size)]
    if size <= min(height, width):
        crops += [RandomCrop(size), CenterCrop(size)]
    for crop in crops:
        box = crop.draw((height, width), seeded(seed))
        assert box.height >= 1
        assert box.width >= 1
        assert 0 <= box.top <= height - box.height
        assert 0 <= box.left <= width - box.width


def test_a_crop_is_the_box_that_its_draw_names() -> None:
    crop, frames = MultiScaleCrop((20, 24)), coordinates(60, 80)
    for seed in range(10):
        drawn = crop.draw((60, 80), seeded(seed))
        top, left, height, width = crop.box(drawn)
        part = frames[..., top : top + height, left : left + width]
        assert crop.apply(frames, drawn).equal(resize(part.contiguous(), (20, 24)))


def test_random_crops_are_not_resized_and_reach_every_place() -> None:
    frames, generator = coordinates(6, 7), seeded(0)
    views = [RandomCrop((5, 4))({"rgb": frames}, generator)["rgb"] for _ in range(400)]
    places = Counter(corners(view) for view in views)
    assert set(places) == {(y, x, y + 4, x + 3) for y in range(2) for x in range(4)}
    assert min(places.values()) > 20


def test_random_resized_crops_keep_area_and_aspect_in_bounds() -> None:
    generator, crop = seeded(0), RandomResizedCrop(32, scale=(0.2, 0.5), ratio=(0.5, 2.0))
    boxes = [crop.draw((100, 120), generator) for _ in range(500)]
    assert all(0.19 < box.height * box.width / 12000 < 0.51 for box in boxes)
    assert all(0.48 < box.width / box.height < 2.1 for box in boxes)
    assert len(set(boxes)) > 450
    # No part of this strip has an allowed aspect and area: the widest one in its middle.
    assert RandomResizedCrop(8, scale=(1, 1)).draw((10, 100), generator)[:4] == (0, 43, 10, 13)


def test_the_centre_crop_by_hand() -> None:
    assert corners(CenterCrop((3, 5))({"rgb": coordinates(7, 10)})["rgb"]) == (2, 2, 4, 6)


def test_three_crops_go_along_the_longer_side() -> None:
    wide = ThreeCrop(4)({"rgb": coordinates(6, 11)})["rgb"]
    assert wide.shape == (3, 1, 2, 4, 4)
    assert [corners(view) for view in wide] == [(1, 0, 4, 3), (1, 3, 4, 6), (1, 7, 4, 10)]
    tall = ThreeCrop(4)({"rgb": coordinates(11, 6)})["rgb"]
    assert [corners(view) for view in tall] == [(0, 1, 3, 4), (3, 1, 6, 4), (7, 1, 10, 4)]


def test_ten_crops_in_their_order() -> None:
    frames = coordinates(8, 11)
    views = TenCrop(4)({"rgb": frames})["rgb"]
    assert views.shape == (10, 1, 2, 4, 4)
    boxes = [(0, 0, 3, 3), (0, 7, 3, 10), (4, 0, 7, 3), (4, 7, 7, 10), (2, 3, 5, 6)]
    assert [corners(view) for view in views[:5]] == boxes
    assert views[5:].equal(views[:5].flip(-1))


def test_ten_crops_of_flow_negate_dx_in_the_mirrored_half() -> None:
    flow = torch.randn(3, 20, 8, 11)
    views = TenCrop(4)({"flow": flow})["flow"]
    assert views.shape == (10, 3, 20, 4, 4)
    assert views[4].equal(flow[..., 2:6, 3:7])
    assert views[5:, :, 0::2].equal(-views[:5, :, 0::2].flip(-1))
    assert views[5:, :, 1::2].equal(views[:5, :, 1::2].flip(-1))


def test_the_full_frame_is_one_view() -> None:
    frames = coordinates(5, 9)
    assert FullFrame()({"rgb": frames})["rgb"].equal(frames[None])


@pytest.mark.parametrize("channels", [1, 3, 20])
def test_one_pixel_crops_and_any_channels_work(channels: int) -> None:
    frames = torch.randint(0, 256, (2, channels, 3, 5), dtype=torch.uint8)
    for transform in (
        CenterCrop(1),
        RandomCrop(1),
        RandomResizedCrop(1),
        MultiScaleCrop(1),
        JitteredCrop(1),
        JitteredCrop(7),
        MultiScaleCrop(7),
    ):
        out = transform({"rgb": frames}, seeded(0))["rgb"]
        assert out.shape == (2, channels, *transform.size_after((3, 5), transform.draw((3, 5), seeded(0))))
        assert out.dtype == torch.uint8
    assert TenCrop(1)({"rgb": frames})["rgb"].shape == (10, 2, channels, 1, 1)


@pytest.mark.parametrize("transform", [CenterCrop((9, 4)), RandomCrop(9), ThreeCrop((4, 12)), TenCrop(30)])
def test_a_crop_larger_than_the_frame_names_both_sizes(transform: Transform) -> None:
    rows, columns = transform.size_after((8, 11), None)
    with pytest.raises(ArgumentError, match=rf"{rows} x {columns} .* 8 x 11"):
        transform({"rgb": coordinates(8, 11)}, seeded(0))


@pytest.mark.parametrize(
    "make",
    [
        lambda: CenterCrop(0),
        lambda: MultiScaleCrop(scales=()),
        lambda: MultiScaleCrop(scales=(1.2,)),
        lambda: MultiScaleCrop(max_distort=-1),
        lambda: JitteredCrop(jitter=1),
        lambda: JitteredCrop(border=-0.1),
        lambda: RandomResizedCrop(4, scale=(0.5, 0.2)),
        lambda: RandomResizedCrop(4, ratio=(0.0, 1.0)),
        lambda: TenCrop((3, -1)),
    ],
)
def test_settings_that_cannot_be_are_refused(make) -> None:
    with pytest.raises(ArgumentError, match="got"):
        make()


def test_random_crops_ask_for_a_generator() -> None:
    for transform in (RandomCrop(2), RandomResizedCrop(2), MultiScaleCrop(2)):
        with pytest.raises(ArgumentError, match=type(transform).__name__):
            transform.draw((8, 8))
