"""The Middlebury colours against torchvision's drawing and values read off the published wheel."""

from __future__ import annotations

import math
import re

import pytest
import torch

from praxiscope._compat import import_torchvision
from praxiscope.errors import ArgumentError
from praxiscope.flow.colour import colour_wheel, flow_to_rgb, largest_motion


def colour_of(dx: float, dy: float, largest: float | None = None) -> tuple[int, int, int]:
    return tuple(flow_to_rgb(torch.tensor([float(dx), float(dy)])[:, None, None], largest)[:, 0, 0].tolist())


def test_any_flow_is_drawn_as_torchvision_draws_it():
    import_torchvision()
    from torchvision.utils import flow_to_image

    flow = 30 * torch.randn(3, 2, 57, 61, generator=torch.Generator().manual_seed(0))
    ours, theirs = flow_to_rgb(flow).int(), flow_to_image(flow).int()
    assert (ours - theirs).abs().max() <= 1  # where a value is a hair below or above a whole number
    assert (ours == theirs).float().mean() > 0.999


@pytest.mark.parametrize(
    ("dx", "dy", "colour"),
    [
        (1, 0, (255, 0, 0)),
        (1, -0.0, (255, 0, 0)),
        # A quarter turn is 13.5 places: between colours 13 and 14 of red to yellow, (255, 221, 0) and (255, 238, 0).
        (0, 1, (255, 229, 0)),
        # A half turn is 27 places: the third colour from cyan to blue.
        (-1, 0, (0, 209, 255)),
        # Three quarters are 40.5 places: between (78, 0, 255) and (98, 0, 255).
        (0, -1, (88, 0, 255)),
    ],
)
def test_right_is_red_down_yellow_left_cyan_up_violet(dx, dy, colour):
    assert colour_of(dx, dy) == pytest.approx(colour, abs=1)  # as above


def test_the_length_is_the_saturation():
    assert colour_of(0, 0) == (255, 255, 255)
    assert colour_of(3, 0, largest=12) == (255, 191, 191)
    assert colour_of(9, 0, largest=12) == (255, 63, 63)
    assert colour_of(12, 0, largest=12) == (255, 0, 0)


def test_what_is_longer_than_the_largest_is_darker():
    assert colour_of(13, 0, largest=12) == (191, 0, 0)
    assert colour_of(1300, 0, largest=12) == (191, 0, 0)


def test_the_longest_vector_of_the_batch_sets_the_scale_and_is_never_out_of_it():
    flow = torch.zeros(2, 2, 1, 1)
    for degrees in range(0, 360, 7):
        angle = math.radians(degrees)
        flow[1, :, 0, 0] = 7.3 * torch.tensor([math.cos(angle), math.sin(angle)])
        flow[0] = flow[1] / 2
        drawn = flow_to_rgb(flow)[..., 0, 0]
        assert drawn[1].max() == 255
        assert drawn[1].min() <= 1
        assert flow_to_rgb(flow[1], largest=7.3).max() == 255  # though rounding may make it a hair longer
        assert ((255 + drawn[1].int()) // 2 - drawn[0].int()).abs().max() <= 1
    assert largest_motion(flow) == pytest.approx(7.3)


def test_unknown_flow_is_black_and_sets_no_scale():
    flow = torch.tensor([[2.0, 1.7e9, math.nan, math.inf], [0.0, 1.7e9, 0.0, 0.0]])[:, None]
    assert flow_to_rgb(flow)[:, 0].T.tolist() == [[255, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert largest_motion(flow) == 2
    assert largest_motion(flow[..., 1:]) == 0


def test_the_legend_is_the_wheel():
    wheel = colour_wheel(101)
    assert wheel.shape == (3, 101, 101)
    assert wheel.dtype == torch.uint8
    assert wheel[:, 50, 100].tolist() == [255, 0, 0]
    assert wheel[:, 100, 50].tolist() == [255, 229, 0]
    assert wheel[:, 50, 50].tolist() == [255, 255, 255]
    assert wheel[:, 0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("shape", [(2, 4), (3, 4, 4), (1, 4, 4)])
def test_other_things_than_flow_are_refused(shape):
    with pytest.raises(ArgumentError, match=rf"float \[\.\.\., 2, H, W\].*{re.escape(str(list(shape)))}"):
        flow_to_rgb(torch.zeros(shape))


def test_integers_and_a_largest_of_nothing_are_refused():
    with pytest.raises(ArgumentError, match="int64"):
        flow_to_rgb(torch.zeros(2, 4, 4, dtype=torch.int64))
    for largest in (0.0, -1.0, math.nan):
        with pytest.raises(ArgumentError, match=rf"largest .*{largest}"):
            flow_to_rgb(torch.zeros(2, 4, 4), largest)
