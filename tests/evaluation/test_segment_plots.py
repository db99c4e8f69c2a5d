"""Pictures of videos over time: which classes are drawn, where the bars lie, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from praxiscope.errors import ArgumentError
from praxiscope.evaluation.segment_plots import TimedPicture, draw_timeline
from praxiscope.evaluation.segments import Segment


def picture(**changes):
    values = {
        "title": "film $1$.mp4",
        "edges": np.array([3.0, 4.0, 5.0, 6.0]),
        "probabilities": np.array([[0.1, 0.7], [0.2, 0.8], [0.9, 0.1]]),
        "labels": ("a_$x$", "b"),
        "predicted": [Segment(3, 5, "b"), Segment(5, 6, "a_$x$")],
    }
    return TimedPicture(**{**values, **changes})


def bars(axes):
    """Start, end and colour of the bars."""
    found = []
    for collection in axes.collections:
        for path in collection.get_paths():
            x = path.vertices[:, 0]
            found.append((x.min(), x.max(), tuple(np.round(collection.get_facecolor()[0], 3))))
    return found


def test_bars_lie_at_the_times_of_the_segments_and_true_ones_have_another_colour():
    axes = draw_timeline(picture(truth=[Segment(3.5, 5, "b")])).axes[0]
    drawn = bars(axes)
    spans = [span[:2] for span in drawn]
    assert (3, 5) in spans
    assert (5, 6) in spans
    assert (3.5, 5) in spans
    colour = {span[:2]: span[2] for span in drawn}
    assert colour[3, 5] == colour[5, 6] != colour[3.5, 5]
    assert axes.get_xlim() == (3, 6)
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a_$x$", "b"]


def test_a_film_strip_lies_above_and_both_themes_are_drawn():
    frames = torch.zeros(4, 3, 12, 16, dtype=torch.uint8)
    for dark in (False, True):
        film, axes = draw_timeline(picture(frames=frames), dark).axes
        assert tuple(film.images[0].get_extent()) == (3, 6, 0, 1)
        assert film.get_position().y0 > axes.get_position().y0


def test_at_most_twelve_classes_are_drawn_and_those_with_true_segments_first():
    draw = np.random.default_rng(0)
    labels = tuple(f"c{k:02d}" for k in range(30))
    values = draw.random((3, 30)) / 2
    values[0, 7] = 0.9
    shown = draw_timeline(
        picture(
            probabilities=values,
            labels=labels,
            predicted=[Segment(3, 4, "c29")],
            truth=[Segment(3, 4, "c28")],
        )
    ).axes[0]
    names = [text.get_text() for text in shown.get_yticklabels()]
    assert len(names) == 12
    assert {"c07", "c28", "c29"} <= set(names)
    assert names == sorted(names)


def test_a_picture_without_windows_is_refused():
    with pytest.raises(ArgumentError):
        draw_timeline(picture(edges=np.zeros(1), probabilities=np.zeros((0, 2))))
