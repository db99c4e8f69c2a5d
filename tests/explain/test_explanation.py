"""How a picture is written."""

from __future__ import annotations

import pytest
import torch

from praxiscope.errors import ArgumentError
from praxiscope.explain.explanation import save_explanation
from praxiscope.explain.filters import draw_filters


@pytest.mark.parametrize(
    ("suffix", "magic"), [("png", b"\x89PNG"), ("jpg", b"\xff\xd8"), ("pdf", b"%PDF"), ("SVG", b"<?xml")]
)
def test_pictures_are_written_by_their_suffix(tmp_path, suffix, magic):
    made = draw_filters([("rgb", torch.rand(4, 3, 3, 3))], title="$x_{$")  # no mathematics
    path = save_explanation(made, tmp_path / f"a.{suffix}")
    assert path.read_bytes().startswith(magic)
    assert [one.name for one in tmp_path.iterdir()] == [f"a.{suffix}"]


def test_where_no_picture_can_be_written_is_said_before_it_is_drawn(tmp_path):
    made = draw_filters([("rgb", torch.rand(4, 3, 3, 3))])
    for path, named in (
        (tmp_path / "a.gif", r"a\.gif: .*\.png"),
        (tmp_path / "no" / "a.png", str(tmp_path / "no")),
    ):
        with pytest.raises(ArgumentError, match=named):
            save_explanation(made, path)
