"""Pictures: what is drawn stands where it should."""

from __future__ import annotations

import io
import math
import re
import warnings

import numpy as np
import pytest
import torch

from praxiscope.errors import ArgumentError
from praxiscope.evaluation.calibration import expected_calibration_error
from praxiscope.evaluation.plots import (
    draw_confusion,
    draw_curves,
    draw_reliability,
    draw_strip,
    figure_png,
    strip_jpeg,
)


def titles(figures):
    return [figure.axes[0].get_title(loc="left") for figure in figures]


def lines(figure):
    return [(line.get_xdata().tolist(), line.get_ydata().tolist()) for line in figure.axes[0].lines]


def test_curves_show_what_the_rows_hold():
    history = [{"epoch": 1, "loss": 2.0, "val_loss": 2.5, "lr": 0.1}, {"epoch": 2, "loss": 1.0, "lr": 0.01}]
    figures = draw_curves(history)
    assert titles(figures) == ["Loss", "Learning rate"]
    assert lines(figures[0]) == [([1.0, 2.0], [2.0, 1.0]), ([1.0], [2.5])]
    assert figures[0].axes[0].get_xlabel() == "epoch"


@pytest.mark.parametrize("gap", [{}, {"loss": None}, {"loss": ""}, {"loss": math.nan}, {"loss": math.inf}])
def test_gaps_in_a_column_are_left_out(gap):
    history = [{"step": 1, "loss": 3.0}, {"step": 2, **gap}, {"step": 3, "loss": "1.5"}]
    (figure,) = draw_curves(history)
    assert lines(figure) == [([1.0, 3.0], [3.0, 1.5])]


@pytest.mark.parametrize("history", [[], [{}], [{"step": 1, "note": "x"}], [{"loss": math.nan}]])
def test_a_history_without_values_has_no_curves(history):
    assert draw_curves(history) == []


def test_rows_of_one_epoch_are_placed_by_their_steps():
    (figure,) = draw_curves([{"epoch": 0, "step": 10, "loss": 2.0}, {"epoch": 0, "step": 20, "loss": 1.0}])
    assert figure.axes[0].get_xlabel() == "step"
    assert lines(figure) == [([10.0, 20.0], [2.0, 1.0])]


def test_a_long_history_gets_a_trend_that_keeps_its_mean():
    rng = np.random.default_rng(0)
    (figure,) = draw_curves([{"step": i, "loss": 5 + rng.normal()} for i in range(1000)])
    (_, raw), (_, trend) = lines(figure)
    assert np.std(trend) < 0.4 * np.std(raw)
    assert np.mean(trend) == pytest.approx(np.mean(raw), abs=0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_the_diagonal_is_blue_mistakes_are_orange_and_empty_cells_are_paper(dark):
    figure = draw_confusion(np.array([[9, 1], [0, 4]]), ["a", "b"], dark)
    pixels = np.asarray(figure.axes[0].images[0].get_array())
    red, _, blue = pixels[0, 0]
    assert blue > red
    red, _, blue = pixels[0, 1]
    assert red > blue
    paper = np.array([27, 30, 35]) / 255 if dark else np.ones(3)
    assert pixels[1, 0] == pytest.approx(paper)
    # A full row is full ink; 9 of 10 lies between it and the paper.
    assert abs(pixels[1, 1] - paper).sum() > abs(pixels[0, 0] - paper).sum()


def test_numbers_in_the_cells_are_shares_of_the_row():
    figure = draw_confusion(np.array([[3, 1], [0, 7]]), ["a", "b"])
    assert {(t.get_position(), t.get_text()) for t in figure.axes[0].texts} == {
        ((0, 0), "75 %"),
        ((1, 0), "25 %"),
        ((1, 1), "100 %"),
    }


@pytest.mark.parametrize("count", [1, 9, 51, 101, 400])
def test_a_confusion_matrix_of_any_size_can_be_drawn(count):
    rng = np.random.default_rng(0)
    matrix = rng.integers(0, 5, (count, count))
    names = [f"class {k} of many with a rather long name" for k in range(count)]
    figure = draw_confusion(matrix, names)
    written = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(written) == (count if count <= 150 else 0)
    assert max(map(len, written), default=0) <= 28
    assert max(figure.get_size_inches()) < 25
    if count <= 51:
        assert figure_png(figure, 50).startswith(b"\x89PNG")


def test_class_names_are_never_taken_for_mathematics_and_missing_letters_do_not_warn():
    figure = draw_confusion(np.eye(3, dtype=int), ["$x_{$", "走る", "a\x00b\n"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert figure_png(figure)


def test_a_picture_has_nothing_behind_it():
    from PIL import Image

    with Image.open(io.BytesIO(figure_png(draw_curves([{"step": 1, "loss": 1.0}])[0]))) as image:
        assert image.getpixel((0, 0))[3] == 0
        assert image.getextrema()[3] == (0, 255)


def test_a_matrix_of_another_size_is_refused():
    with pytest.raises(ArgumentError, match=r"\[3, 3\]"):
        draw_confusion(np.eye(2, dtype=int), ["a", "b", "c"])


def test_a_strip_lays_frames_side_by_side_in_order():
    colours = torch.tensor([[250, 0, 0], [0, 250, 0], [0, 0, 250]], dtype=torch.uint8)
    frames = colours[:, :, None, None].expand(3, 3, 60, 80)
    strip = draw_strip(frames, height=30, gap=2)
    assert strip.shape == (30, 3 * 40 + 2 * 2, 3)
    for place in range(3):
        part = strip[:, place * 42 : place * 42 + 40]
        assert (part == colours[place].numpy()).all()
    assert (strip[:, 40:42] == 24).all()


def test_a_strip_of_many_frames_keeps_the_first_and_the_last():
    frames = torch.arange(100, dtype=torch.uint8)[:, None, None, None].expand(100, 1, 8, 8)
    strip = draw_strip(frames, height=8, gap=0)
    assert strip.shape == (8, 16 * 8, 3)
    assert strip[0, 0, 0] == 0
    assert strip[0, -1, 0] == 99


def test_a_strip_survives_as_jpeg():
    from PIL import Image

    ramp = torch.linspace(0, 255, 64).to(torch.uint8)
    strip = draw_strip(ramp.expand(2, 3, 48, 64), height=48)
    with Image.open(io.BytesIO(strip_jpeg(strip))) as image:
        back = np.asarray(image.convert("RGB")).astype(int)
    assert back.shape == strip.shape
    assert abs(back - strip).mean() < 4


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (2, 4, 8, 8), (3, 8, 8)])
def test_other_things_than_frames_are_refused(shape):
    with pytest.raises(ArgumentError, match=rf"uint8 .*{re.escape(str(list(shape)))}"):
        draw_strip(torch.zeros(shape, dtype=torch.uint8))
    with pytest.raises(ArgumentError, match="float32"):
        draw_strip(torch.zeros(2, 3, 8, 8))


def test_drawing_leaves_matplotlibs_global_state_alone():
    import sys

    before = "matplotlib.pyplot" in sys.modules
    figure_png(draw_confusion(np.eye(2, dtype=int), ["a", "b"]))
    assert ("matplotlib.pyplot" in sys.modules) is before


@pytest.mark.parametrize("dark", [False, True])
def test_a_reliability_diagram_shows_the_bins_that_hold_videos(dark):
    chances, right = [0.3, 0.5, 0.9, 0.9, 0.95], [0, 1, 1, 0, 1]
    first = expected_calibration_error(chances, right, bins=5)
    second = expected_calibration_error([1.0] * 5, right, bins=5)
    figure = draw_reliability([first, second], ["a", "b"], dark)
    diagonal, own, other = lines(figure)
    assert diagonal == ([0, 1], [0, 1])
    assert own[0] == pytest.approx([0.3, 0.5, 2.75 / 3])
    assert own[1] == pytest.approx([0, 1, 2 / 3])
    assert (other[0], other[1]) == ([1.0], [0.6])
    bars = [patch.get_data().values.tolist() for patch in figure.axes[1].patches]
    assert bars == [[0, 1, 1, 0, 3], [0, 0, 0, 0, 5]]
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["a", "b"]
    assert draw_reliability([first], ["a"], dark).axes[0].get_legend() is None
    assert figure_png(figure)[:4] == b"\x89PNG"
