"""Networks in 8 bits: what is left behind, and videos by which ranges are not found well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from exported_models import saved
from narrow import narrow_resnets
from praxiscope import deploy
from praxiscope.commands.export import export
from praxiscope.inference import quantise
from support import encode, write_moving


@pytest.mark.parametrize("frames", [1, 24])
def test_a_black_video_among_others_and_nothing_left_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frames: int
) -> None:
    monkeypatch.setattr(quantise, "_FRAMES", frames)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    black, clip = tmp_path / "black.mp4", tmp_path / "clip.mp4"
    encode(black, np.zeros((9, 48, 64, 3), np.uint8))
    write_moving(clip, 1, 0, frames=9)
    with narrow_resnets():
        folder = saved(tmp_path / "model")
        made = export(folder, tmp_path / "out", int8=[black, clip])
        export(folder, tmp_path / "whole")
    assert not list(here.iterdir())
    assert made.description.checked["int8"] == {"clips": 2}
    found, wanted = (deploy.load(tmp_path / name).logits(clip) for name in ("out", "whole"))
    assert 0 < np.abs(found - wanted).max() < 0.3 * np.ptp(wanted)
