"""When frames are shown: repaired times, joined clocks, parts."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from praxiscope.video.times import as_shown, continued, part, same_within, shown_for

STEP = 0.04
EVEN = np.arange(50) * STEP


def test_good_times_are_left_as_they_are() -> None:
    shown = np.r_[EVEN, 12 + EVEN]
    assert np.array_equal(as_shown(shown, STEP), shown)


def test_one_equal_pair_is_parted_and_nothing_else_changes() -> None:
    shown = np.r_[EVEN, 12 + EVEN]
    shown[30] = shown[29]
    expected = shown.copy()
    expected[30] = 30 * STEP
    assert np.allclose(as_shown(shown, STEP), expected, atol=1e-12)


@pytest.mark.parametrize("equal", [2, 3, 5])
def test_equal_times_share_what_is_left_until_the_next(equal: int) -> None:
    shown = EVEN.copy()
    shown[10 : 10 + equal] = shown[10]
    times = as_shown(shown, STEP)
    assert (np.diff(times) > 0).all()
    assert np.allclose(times, EVEN, atol=1e-12)


def test_equal_times_at_the_end_go_on() -> None:
    assert np.allclose(as_shown(np.array([0.0, 0.04, 0.08, 0.08]), STEP), [0, 0.04, 0.08, 0.12])


def test_equal_times_before_a_pause_do_not_fill_it() -> None:
    times = as_shown(np.array([0.0, 0.04, 0.04, 9.0]), STEP)
    assert np.allclose(times, [0, 0.04, 0.08, 9.0])


def test_times_that_stand_still_for_long_go_on_at_equal_distances() -> None:
    shown = np.r_[np.arange(10) / 25, np.full(20, 0.4), 1.2 + np.arange(5) / 25]
    # Twenty frames and the one at 0.4 s share the 0.8 s until the next.
    assert np.allclose(as_shown(shown, STEP)[:10], np.arange(10) / 25)
    assert np.allclose(as_shown(shown, STEP)[10:30], 0.4 + 0.04 * np.arange(20))
    assert np.allclose(as_shown(shown, STEP)[30:], 1.2 + np.arange(5) / 25)


@pytest.mark.parametrize("wrong", [np.nan, 900.0, -5.0])
def test_a_single_wrong_time_is_put_between_its_neighbours(wrong: float) -> None:
    shown = np.r_[EVEN, 12 + EVEN]
    expected = shown.copy()
    for place in (20, 49):  # within, and before a pause
        times = shown.copy()
        times[place] = wrong
        found = as_shown(times, STEP, doubtful=True)
        assert np.allclose(np.delete(found, place), np.delete(expected, place), atol=1e-12)
        assert found[place - 1] < found[place] < found[place + 1]


@pytest.mark.parametrize("unknown", [slice(0, 3), slice(47, 50), slice(10, 13), slice(0, 50)])
def test_unknown_times_are_filled_in(unknown: slice) -> None:
    shown = EVEN.copy()
    shown[unknown] = np.nan
    assert np.allclose(as_shown(shown, STEP), EVEN, atol=1e-12)


def test_a_frame_behind_its_time_is_shown_at_once() -> None:
    times = as_shown(np.array([0.0, 0.08, 0.04, 0.12]), STEP)
    assert np.allclose(times[[0, 1, 3]], [0, 0.08, 0.12])
    assert 0.08 < times[2] < 0.12


def test_times_of_decoding_are_sorted() -> None:
    shown = as_shown(np.array([0.0, 0.08, 0.04, 0.12]), STEP, in_order=False)
    assert np.allclose(shown, [0, 0.04, 0.08, 0.12])


def test_a_joined_clock_goes_on() -> None:
    # In decode order, with reordering by up to two frames.
    one = np.array([0.08, 0.2, 0.16, 0.12, 0.32, 0.28, 0.24, 0.44, 0.4, 0.36])
    decoded = np.arange(10) * STEP
    for second in (one, one + 3600):
        dts = np.r_[decoded, decoded + (second - one)[0]]
        times, joined = continued(np.r_[one, second], dts, STEP, jumps_ahead=True)
        assert joined
        assert np.allclose(times, np.r_[one, one + 10 * STEP])


@pytest.mark.parametrize("came", [20, 6])
@pytest.mark.parametrize("wrong", [0.0, 1.3])
def test_a_clock_that_goes_on_behind_wrong_times_is_not_joined(came: int, wrong: float) -> None:
    times = np.arange(100) / 25
    kept = np.r_[:50, 50 : 50 + came, 70:100]
    said = times[kept].copy()
    said[50 : 50 + came] = wrong
    repaired, joined = continued(said, said, 0.04, jumps_ahead=False)
    assert not joined
    np.testing.assert_allclose(repaired[:50], times[:50])
    np.testing.assert_allclose(repaired[50 + came :], times[70:])
    assert (np.diff(repaired) > 0).all()


def test_a_joined_file_may_have_a_pause_that_ends_behind_the_first_one() -> None:
    first, second = np.arange(50) / 25, np.r_[np.arange(25) / 25, 2.96 + np.arange(25) / 25]
    stamps = np.r_[first, second]
    times, joined = continued(stamps, stamps, 0.04, jumps_ahead=False)
    assert joined
    np.testing.assert_allclose(times, np.r_[first, second + 2])


def test_a_pause_is_no_joint() -> None:
    shown = np.r_[EVEN, 9.9 + EVEN]
    for jumps in (True, False):
        times, joined = continued(shown, shown - 0.08, STEP, jumps_ahead=jumps)
        assert not joined
        assert np.array_equal(times, shown)
    assert not continued(shown + np.where(shown > 5, 50, 0), shown, STEP, jumps_ahead=False)[1]


def test_a_single_wrong_time_of_decoding_is_no_joint() -> None:
    for wrong in (900.0, 0.0):
        decoded = EVEN + 1.0
        decoded[25] = wrong
        assert not continued(EVEN + 1.0, decoded, STEP, jumps_ahead=True)[1]


def test_a_part_is_that_of_exact_arithmetic() -> None:
    draw = np.random.default_rng(0)
    for _ in range(1000):
        rate = Fraction(int(draw.integers(5, 120)), int(draw.integers(1, 5)))
        count = int(draw.integers(1, 200))
        exact = [number / rate for number in range(count)]
        start, end = sorted(int(draw.integers(0, count + 1)) for _ in range(2))
        times = np.array([float(at) for at in exact])
        for clock, same_s in ((times, same_within(0.0, 1)), (np.round(times, 3), same_within(1e-3, 1))):
            first, last = part(clock, float(start / rate), float(end / rate), same_s)
            assert (first, last) == (start, end) or start == end == first == last


def test_a_part_without_ends_is_everything() -> None:
    assert part(EVEN, None, None) == (0, 50)
    assert part(EVEN, 0.4, None) == (10, 50)
    assert part(EVEN + 3, 0.0, 2.0) == (0, 0)
    assert part(np.array([0.0]), 0.0, 1.0) == (0, 1)


def test_seven_fifths_and_a_second_is_twelve_fifths() -> None:
    times = np.arange(30) / 5
    start = 7 * 0.2
    assert start + 1.0 > 2.4  # what plain comparison makes of it
    assert part(times, start, start + 1.0) == (7, 12)


def test_the_last_frame_is_shown_as_its_packet_says() -> None:
    assert shown_for(5.0, STEP) == 5.0
    assert shown_for(0.0, STEP) == STEP
    assert shown_for(STEP / 2, STEP) == STEP  # the second field of a picture
