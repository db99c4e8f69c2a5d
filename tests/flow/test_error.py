"""End-point errors against values by hand."""

from __future__ import annotations

import math

import pytest
import torch

from praxiscope.errors import ArgumentError
from praxiscope.flow.error import end_point_error, summarise_error

INF, NAN = math.inf, math.nan

# Six pixels: equal, off by (3, 4), unknown in three ways, not estimated.
TRUTH = torch.tensor([[[0.5, 3.0, NAN, 2e9, 0.0, 1.0]], [[0.5, 4.0, 0.0, 0.0, -INF, 0.0]]])
FLOW = torch.tensor([[[0.5, 0.0, 0.0, 0.0, 0.0, NAN]], [[0.5, 0.0, 0.0, 0.0, 0.0, 0.0]]])


def test_the_error_is_the_distance_where_the_truth_is_known():
    errors = end_point_error(FLOW, TRUTH)
    assert errors.shape == (1, 6)
    assert errors[0, [0, 1, 5]].tolist() == [0, 5, INF]
    assert errors[0, 2:5].isnan().all()


def test_pixels_that_are_not_valid_have_no_error():
    valid = torch.tensor([[True, False, True, True, True, True]])
    assert end_point_error(FLOW, TRUTH, valid).isnan().tolist() == [[False, True, True, True, True, False]]


def test_batches_of_any_shape_have_one_map_for_each_field():
    flow = torch.randn(2, 5, 2, 3, 4, dtype=torch.float64)
    truth = torch.randn(2, 5, 2, 3, 4, dtype=torch.float64)
    by_hand = ((flow - truth) ** 2).sum(2).sqrt()
    torch.testing.assert_close(end_point_error(flow, truth), by_hand)


def test_the_summary_separates_small_from_large_motion():
    truth = torch.tensor([[[0.0, 0.99, 1.0, 5.0, NAN]], [[0.0, 0.0, 0.0, 0.0, 0.0]]])
    flow = truth.nan_to_num(0) + torch.tensor([0.5, 1.0, 3.0, 3.5, 9.0])  # added to both components
    flow[1] = 0
    found = summarise_error(flow, truth)
    assert (found.all.pixels, found.small.pixels, found.large.pixels) == (4, 2, 2)
    assert found.all.mean == pytest.approx(2.0)
    assert found.small.mean == pytest.approx(0.75)
    assert found.large.mean == pytest.approx(3.25)
    assert (found.all.share_over, found.small.share_over) == (0.25, 0)  # 3.0 is not over 3


def test_sums_of_two_fields_are_those_of_both_at_once():
    truth, flow = torch.randn(2, 2, 2, 7, 9).mul(3).unbind()
    truth[0, 0, 0] = NAN
    both = summarise_error(flow, truth)
    parts = summarise_error(flow[0], truth[0]) + summarise_error(flow[1], truth[1])
    for name in ("all", "small", "large"):
        one, other = getattr(both, name), getattr(parts, name)
        assert (one.pixels, one.over) == (other.pixels, other.over)
        assert one.total == pytest.approx(other.total)


def test_without_pixels_the_mean_is_nan():
    nothing = summarise_error(FLOW, torch.full_like(TRUTH, NAN))
    assert nothing.all.pixels == 0
    assert math.isnan(nothing.all.mean)
    assert math.isnan(nothing.all.share_over)


@pytest.mark.parametrize(
    ("flow", "valid", "named"),
    [
        (FLOW[..., :2], None, r"\[\.\.\., 2, H, W\].*\[2, 1, 2\].*\[2, 1, 6\]"),
        (FLOW, torch.ones(1, 6), r"bool \[1, 6\].*float32"),
        (FLOW, torch.ones(2, 1, 6, dtype=torch.bool), r"bool \[1, 6\].*\[2, 1, 6\]"),
    ],
)
def test_other_shapes_are_refused(flow, valid, named):
    with pytest.raises(ArgumentError, match=named):
        end_point_error(flow, TRUTH, valid)
