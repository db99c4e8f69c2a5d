"""The picture of the first layer's filters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from narrow import narrow_resnets
from praxiscope.checkpoint import ModelCard, save_checkpoint
from praxiscope.errors import ArgumentError, CheckpointError
from praxiscope.explain.filters import draw_filters, explain_filters
from praxiscope.inference.fused import save_fused
from praxiscope.models import create_model


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


def test_a_network_that_estimates_flow_has_filters_of_its_frames(tmp_path):
    with narrow_resnets():
        model = create_model("flownet", backbone="resnet10")
        save_checkpoint(tmp_path / "run", model, ModelCard("flownet", {"backbone": "resnet10"}, ()))
        made = explain_filters(tmp_path / "run")
    assert made.facts["streams"] == [{"stream": "rgb", "shape": [8, 6, 7, 7]}]


def test_filters_over_time_are_those_of_stacks_of_frames(tmp_path):
    arguments = {"backbone": "resnet10", "num_classes": 2, "in_channels": 6}
    with narrow_resnets():
        model = create_model("actionflownet", **arguments)
        save_checkpoint(tmp_path / "run", model, ModelCard("actionflownet", arguments, ("a", "b")))
        made = explain_filters(tmp_path / "run")
    assert made.facts["streams"] == [{"stream": "rgb", "shape": [8, 9, 7, 7]}]
    weight = model.encoder.conv1.weight.detach()  # [F, C, T, K, K]
    stacked = torch.cat([weight[:, :, t] for t in range(3)], 1)
    expected = draw_filters([("rgb", stacked)])
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
    with pytest.raises(ArgumentError, match=r"flow .*\b5\b"):
        draw_filters([("flow", torch.zeros(4, 5, 3, 3))])
    with pytest.raises(ArgumentError, match=r"rgb .*\b4\b"):
        draw_filters([("rgb", torch.zeros(4, 4, 3, 3))])


def test_a_folder_without_a_model_is_an_error(call, tmp_path):
    code, _, err = call("explain", "filters", tmp_path, "--out", tmp_path / "a.png")
    assert code == 1
    assert err.count("\n") == 1
    with pytest.raises(CheckpointError, match=tmp_path.name):
        explain_filters(tmp_path)
