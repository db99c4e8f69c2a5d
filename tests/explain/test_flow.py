"""The picture of flow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from praxiscope.errors import ArgumentError, DataError, VideoError
from praxiscope.explain.flow import explain_flow
from praxiscope.flow.colour import flow_to_rgb
from support import write_clip


class Rightwards:
    """An estimator that sees everything move to the right by the number of the call."""

    name = "rightwards"
    parameters = {"speed": 1}  # noqa: RUF012

    def __init__(self) -> None:
        self.pairs: list[torch.Tensor] = []

    def __call__(self, frames: torch.Tensor, *, backward: bool = False) -> torch.Tensor:
        self.pairs.append(frames)
        flow = torch.zeros(len(frames) - 1, 2, *frames.shape[-2:])
        flow[:, 0] = len(self.pairs)
        return flow


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "square.mp4"
    write_clip(path, colour=1, frames=12)
    return path


def pictures(figure: object) -> list[np.ndarray]:
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes]


def test_each_frame_stands_over_its_own_flow(clip):
    estimator = Rightwards()
    made = explain_flow(clip, estimator, frames=3)
    assert made.facts["frames"] == [1, 5, 9]  # the middles of three parts of the 11 pairs
    assert made.facts["scale_px"] == 3
    assert made.facts["longest_px"] == 3
    assert made.facts["size"] == [48, 64]
    *cells, wheel = pictures(made.figure)
    assert len(cells) == 3
    for number, (cell, pair) in enumerate(zip(cells, estimator.pairs, strict=True), 1):
        np.testing.assert_array_equal(cell[:48], pair[0].permute(1, 2, 0))
        expected = flow_to_rgb(torch.tensor([float(number), 0.0])[:, None, None], 3.0)[:, 0, 0]
        assert (cell[-48:] == expected.numpy()).all()
    assert wheel[wheel.shape[0] // 2, -1].tolist() == [255, 0, 0]
    titles = [axes.get_title() for axes in made.figure.axes]
    assert titles[:3] == ["frame 1, 0.08 s", "frame 5, 0.42 s", "frame 9, 0.75 s"]


def test_flow_leads_from_the_shown_frame_to_its_next(clip):
    estimator = Rightwards()
    explain_flow(clip, estimator, frames=4)
    for first, second in estimator.pairs:  # the square moves by a pixel from frame to frame
        edges = [int((picture[1] > 150).sum(dim=0).gt(10).nonzero().min()) for picture in (first, second)]
        assert edges[1] == edges[0] + 1


def test_a_method_may_be_named(clip):
    facts = explain_flow(clip, "farneback", frames=1, winsize=9).facts
    assert facts["method"] == "farneback"
    assert facts["parameters"]["winsize"] == 9


def test_the_legend_reaches_to_the_scale(clip):
    made = explain_flow(clip, Rightwards(), frames=4)
    wheel = made.figure.axes[-1]
    assert [label.get_text() for label in wheel.get_xticklabels()] == ["-4", "0", "4"]
    assert wheel.get_ylim()[0] > wheel.get_ylim()[1]  # y points down, as in the frames


def test_a_still_video_is_white_and_not_coloured_noise(clip):
    class Still(Rightwards):
        def __call__(self, frames: torch.Tensor, *, backward: bool = False) -> torch.Tensor:
            return 0.01 * torch.randn(1, 2, *frames.shape[-2:], generator=torch.Generator().manual_seed(0))

    made = explain_flow(clip, Still(), frames=1)
    assert made.facts["scale_px"] == 1
    assert pictures(made.figure)[0][-48:].min() > 230


def test_one_wild_vector_does_not_set_the_scale(clip):
    class Wild(Rightwards):
        def __call__(self, frames: torch.Tensor, *, backward: bool = False) -> torch.Tensor:
            flow = super().__call__(frames)
            flow[..., 0, 0] = 900
            return flow

    facts = explain_flow(clip, Wild(), frames=1).facts
    assert facts["scale_px"] == 1
    assert facts["longest_px"] > 900


def test_a_short_video_has_as_many_frames_as_it_has_pairs(tmp_path):
    write_clip(tmp_path / "a.mp4", 0, frames=3)
    assert explain_flow(tmp_path / "a.mp4", Rightwards(), frames=8).facts["frames"] == [0, 1]
    write_clip(tmp_path / "b.mp4", 0, frames=1)
    with pytest.raises(DataError, match=r"b\.mp4: .*\b1 frame\b"):
        explain_flow(tmp_path / "b.mp4", Rightwards())
    with pytest.raises(ArgumentError, match=r"frames .*0"):
        explain_flow(tmp_path / "a.mp4", Rightwards(), frames=0)
    with pytest.raises(VideoError, match=r"none\.mp4"):
        explain_flow(tmp_path / "none.mp4", Rightwards())


def test_large_frames_are_scaled_down_and_small_ones_not_up(clip):
    assert explain_flow(clip, Rightwards(), frames=1, short_side=24).facts["size"] == [24, 32]
    assert explain_flow(clip, Rightwards(), frames=1, short_side=500).facts["size"] == [48, 64]
