"""Pictures of flow and of filters: what they show, and what the command says of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from praxiscope.checkpoint import ModelCard, save_checkpoint
from praxiscope.errors import ArgumentError, CheckpointError, DataError, VideoError
from praxiscope.explain.pictures import draw_filters, explain_filters, explain_flow, save_explanation
from praxiscope.flow.colour import flow_to_rgb
from praxiscope.inference.fused import save_fused
from praxiscope.models import create_model
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


@pytest.fixture(scope="module")
def motion_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of a network that sees stacks of two flow fields."""
    folder = tmp_path_factory.mktemp("runs") / "motion"
    arguments = {"backbone": "squeezenet1_1", "num_classes": 2, "stream": "flow", "in_channels": 4}
    save_checkpoint(folder, create_model("tsn", **arguments), ModelCard("tsn", arguments, ("a", "b")))
    return folder


@pytest.fixture(scope="module")
def rgb_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "pictures"
    arguments = {"backbone": "squeezenet1_1", "num_classes": 2}
    save_checkpoint(folder, create_model("tsn", **arguments), ModelCard("tsn", arguments, ("a", "b")))
    return folder


def pictures(figure: object) -> list[np.ndarray]:
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes]


# -------------------------------------------------------------------------------------------------- flow


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
    with pytest.raises(DataError, match=r"b\.mp4: has 1 frame; flow needs two"):
        explain_flow(tmp_path / "b.mp4", Rightwards())
    with pytest.raises(ArgumentError, match="at least 1, got 0"):
        explain_flow(tmp_path / "a.mp4", Rightwards(), frames=0)
    with pytest.raises(VideoError, match=r"none\.mp4"):
        explain_flow(tmp_path / "none.mp4", Rightwards())


def test_large_frames_are_scaled_down_and_small_ones_not_up(clip):
    assert explain_flow(clip, Rightwards(), frames=1, short_side=24).facts["size"] == [24, 32]
    assert explain_flow(clip, Rightwards(), frames=1, short_side=500).facts["size"] == [48, 64]


# ----------------------------------------------------------------------------------------------- filters


def test_a_flow_network_has_a_column_per_filter_and_dx_over_dy(motion_run):
    made = explain_filters(motion_run)
    assert made.facts["streams"][0]["shape"] == [64, 4, 3, 3]
    (axes,) = made.figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["dx 1", "dy 1", "dx 2", "dy 2"]
    assert "64 filters of 3 x 3" in axes.get_title(loc="left")


def test_a_network_for_several_lengths_of_flow_shows_every_stem(tmp_path):
    arguments = {"backbone": "squeezenet1_1", "num_classes": 2, "stream": "flow", "in_channels": [4, 8]}
    model = create_model("tsn", **arguments)
    save_checkpoint(tmp_path / "both", model, ModelCard("tsn", arguments, ("a", "b")))
    made = explain_filters(tmp_path / "both")
    said = [(one["stream"], one["shape"]) for one in made.facts["streams"]]
    assert said == [("flow of 2 fields", [64, 4, 3, 3]), ("flow of 4 fields", [64, 8, 3, 3])]
    expected = draw_filters([("flow", stem.weight.detach()) for stem in model.stems])
    for found, drawn in zip(pictures(made.figure), pictures(expected.figure), strict=True):
        np.testing.assert_array_equal(found, drawn)


def test_the_tiles_are_the_weights():
    weight = torch.zeros(5, 4, 3, 3)
    weight[0, 0, 0, 2] = 2.0  # filter 0, dx 1, top right: white, as it is the filter's largest
    weight[0, 3, 1, 1] = -2.0  # filter 0, dy 2, centre: black
    weight[3, 1, 2, 0] = 0.1  # filter 3 is scaled by its own largest
    weight[3, 0, 2, 0] = -0.05
    made = draw_filters([("flow", weight)])
    (mosaic,) = pictures(made.figure)
    (axes,) = made.figure.axes
    tops = [round(tick - 13) for tick in axes.get_yticks()]  # tiles are 27 pixels wide: 9 for each weight

    def value(number: int, channel: int, row: int, column: int) -> float:
        pixel = mosaic[tops[channel] + 9 * row + 4, 6 + number * (27 + 6) + 9 * column + 4]
        assert np.ptp(pixel) == 0  # grey
        return float(pixel[0])

    for number in range(5):
        for channel in range(4):
            for row in range(3):
                for column in range(3):
                    largest = float(weight[number].abs().max()) or 1.0
                    expected = 0.5 + 0.5 * float(weight[number, channel, row, column]) / largest
                    assert value(number, channel, row, column) == pytest.approx(expected)
    energy = weight.square()
    assert made.facts["streams"][0]["dx_energy"] == pytest.approx(float(energy[:, ::2].sum() / energy.sum()))


def test_an_rgb_network_has_its_filters_in_colour(rgb_run):
    made = explain_filters(rgb_run)
    assert made.facts == {"streams": [{"stream": "rgb", "shape": [64, 3, 3, 3]}]}
    (mosaic,) = pictures(made.figure)
    weight = torch.zeros(2, 3, 1, 1)
    weight[0, 2], weight[1, 0] = 1.0, -1.0
    (mosaic,) = pictures(draw_filters([("rgb", weight)]).figure)
    np.testing.assert_allclose(mosaic[10, 10], [0.5, 0.5, 1])
    np.testing.assert_allclose(mosaic[10, 10 + 28 + 6], [0, 0.5, 0.5])


def test_recognisers_that_answer_together_show_the_filters_of_each(rgb_run, motion_run, tmp_path):
    save_fused(tmp_path / "two_stream", [rgb_run, motion_run])
    made = explain_filters(tmp_path / "two_stream")
    assert [stream["stream"] for stream in made.facts["streams"]] == ["rgb", "flow"]
    assert len(made.figure.axes) == 2
    assert made.figure.get_suptitle() == "two_stream: filters of the first layer"


def test_many_filters_are_broken_into_bands_that_hold_them_all():
    made = draw_filters([("rgb", torch.rand(96, 3, 7, 7)), ("flow", torch.rand(128, 20, 7, 7))])
    rgb, flow = made.figure.axes
    assert len(rgb.get_yticks()) == 4
    assert len(flow.get_yticks()) == 2 * 20
    assert [axes.images[0].get_array().shape[1] for axes in (rgb, flow)] == [6 + 24 * 34, 6 + 64 * 34]


def test_channels_that_a_stream_cannot_have_are_refused():
    with pytest.raises(ArgumentError, match="flow has 3 channels, which are no pairs"):
        draw_filters([("flow", torch.zeros(4, 3, 3, 3))])
    with pytest.raises(ArgumentError, match="rgb has 4 channels, which are no colours"):
        draw_filters([("rgb", torch.zeros(4, 4, 3, 3))])


# --------------------------------------------------------------------------------------------- the files


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
        (tmp_path / "a.gif", r"a\.gif: pictures are written as \.png"),
        (tmp_path / "no" / "a.png", "no folder"),
    ):
        with pytest.raises(ArgumentError, match=named):
            save_explanation(made, path)


# ------------------------------------------------------------------------------------------- the command


def test_the_command_draws_flow(call, clip, tmp_path):
    path = tmp_path / "flow.png"
    code, out, err = call(
        "explain", clip, "--flow", "--method", "dis", "--frames", 2, "--out", path, "--json"
    )
    assert code == 0, err
    facts = json.loads(out)
    assert facts["picture"] == str(path)
    assert facts["method"] == "dis"
    assert len(facts["frames"]) == 2
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_command_draws_filters(call, motion_run, tmp_path):
    path = tmp_path / "filters.png"
    code, out, err = call("explain", motion_run, "--filters", "--out", path)
    assert code == 0, err
    assert out == f"{path}: flow [64, 4, 3, 3]\n"
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("words", "came"), [((), "none"), (("--flow", "--filters"), "--flow and --filters")])
def test_one_kind_must_be_chosen_and_the_kinds_are_named(call, clip, tmp_path, words, came):
    code, out, err = call("explain", clip, *words, "--out", tmp_path / "a.png")
    assert (code, out) == (2, "")
    kinds = "--flow, --filters, --principal, --losses, --clusters, --gradients, --cluster-gradients"
    assert f"one of {kinds}; got {came}" in err
    assert not list(tmp_path.iterdir())


def test_what_is_no_model_is_said_in_one_line(call, tmp_path):
    code, _, err = call("explain", tmp_path, "--filters", "--out", tmp_path / "a.png")
    assert code == 1
    assert err.count("\n") == 1
    with pytest.raises(CheckpointError):
        explain_filters(tmp_path)
