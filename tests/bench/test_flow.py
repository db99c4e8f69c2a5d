"""The measurement of flow methods, on frames whose flow is known by hand."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from praxiscope.bench.flow import HEADER, FlowTest, bench_flow, format_flow
from praxiscope.bench.flow_methods import other_libraries, our_methods, pairs_per_second
from praxiscope.errors import ArgumentError, DataError, UnknownNameError
from praxiscope.flow.flo import write_flo
from praxiscope.flow.methods import estimators

QUICK = {"repeat": 1, "seconds": 0.0, "libraries": False}


@dataclass(frozen=True)
class Still:
    """A method that finds the same motion everywhere."""

    shift: float = 0.0
    weights: str = ""
    name = "still"
    needs_weights = True
    parameters = property(asdict)

    def __call__(self, frames: Tensor, *, backward: bool = False) -> Tensor:
        flow = torch.zeros(len(frames) - 1, 2, *frames.shape[-2:])
        flow[:, 0] = self.shift + len(self.weights)
        return flow


@pytest.fixture(autouse=True)
def _still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(estimators._entries, "still", Still)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Two pairs of FlyingChairs of 16 x 20 pixels: the first moves by 0.5 and 4.5 to the right, half of it each; in the
    second all but one column is unknown."""
    for number in (1, 2):
        for image in (1, 2):
            pixels = np.full((16, 20, 3), 100 * image, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{number:05d}_img{image}.ppm")
        flow = torch.zeros(2, 16, 20)
        flow[0] = 0.5
        flow[0, :8] = 4.5
        if number == 2:
            flow[:, :, 1:] = torch.nan
        write_flo(tmp_path / f"{number:05d}_flow.flo", flow)
    return tmp_path


def test_errors_are_those_of_the_known_flow(pairs):
    rows = bench_flow([f"chairs:{pairs}"], FlowTest(["still,shift=1", "still,shift=4.5"], **QUICK))
    assert [row["method"] for row in rows] == ["no motion", "still shift=1", "still shift=4.5"]
    nothing, one, other = rows
    assert {row["valid_pixels"] for row in rows} == {16 * 20 + 16}
    assert {row["small_pixels"] for row in rows} == {(16 * 20 + 16) / 2}
    assert {row["fields"] for row in rows} == {2}
    assert nothing["error"] == pytest.approx(2.5)
    assert (one["error"], one["small_error"], one["large_error"]) == pytest.approx((2, 0.5, 3.5))
    assert (other["error"], other["large_error"], other["over_3px"]) == pytest.approx((2, 0, 0.5))
    assert one["samples"] == pytest.approx({"00001": 2, "00002": 2})
    assert one["pairs_per_s"] > 0
    assert one["seconds_per_field"] >= 0
    assert nothing["pairs_per_s"] is None


def test_every_set_has_a_row_for_every_method(pairs):
    rows = bench_flow([f"chairs:{pairs}"] * 1 + [f"chairs:{pairs}/"], FlowTest(["still"], samples=1, **QUICK))
    assert [(row["data"].endswith("/"), row["method"]) for row in rows] == [
        (False, "no motion"),
        (False, "still"),
        (True, "no motion"),
        (True, "still"),
    ]
    assert {row["fields"] for row in rows} == {1}
    cells = format_flow(rows)
    assert {len(row) for row in cells} == {len(HEADER)}
    assert cells[0][:2] == [f"chairs:{pairs}", "no motion"]


def test_weights_reach_the_methods_that_take_some():
    (made,) = our_methods(["still"], weights="ab")
    assert made.run is not None
    assert made.run(torch.zeros(2, 3, 16, 16, dtype=torch.uint8)).unique().tolist() == [0, 2]
    assert made.name == "still"  # files are not part of the name
    with pytest.raises(ArgumentError, match=r"run runs/a.*'run'"):
        our_methods(["still"], run="runs/a")


def test_methods_that_cannot_be_created_are_reported_unless_they_were_asked_for(pairs):
    found = {method.name: method for method in our_methods()}
    assert {"tvl1", "still", "raft"} <= set(found)
    assert found["raft"].run is None
    assert "--flow-weights" in found["raft"].missing
    for spec, kind, named in (
        ("raft", ArgumentError, "--flow-weights"),
        ("nosuch", UnknownNameError, "'nosuch'"),
        ("still,size=1", UnknownNameError, "'size'"),
        ("still,shift", ArgumentError, "--method still,shift.*NAME=VALUE"),
    ):
        with pytest.raises(kind, match=named):
            our_methods([spec])
    with pytest.raises(DataError, match="frame10"):
        bench_flow([f"middlebury:{pairs}"], FlowTest(["still"], **QUICK))
    for wrong in ({"samples": 0}, {"repeat": 0}, {"seconds": -1.0}):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            FlowTest(**wrong)
    with pytest.raises(ArgumentError, match="0"):
        bench_flow([])


def test_libraries_that_are_not_installed_are_reported(monkeypatch, pairs):
    for name in ("cv2", "skimage", "skimage.registration"):
        monkeypatch.setitem(sys.modules, name, None)
    found = other_libraries()
    assert [(method.name, method.run) for method in found] == [
        ("OpenCV TV-L1", None),
        ("scikit-image TV-L1", None),
    ]
    assert all("not installed" in method.missing for method in found)


def test_opencvs_flow_has_the_direction_of_the_motion():
    pytest.importorskip("cv2")
    opencv = other_libraries()[0]
    if opencv.run is None:
        pytest.skip(opencv.missing)
    draw = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    image = np.asarray(Image.fromarray(draw).resize((64, 48), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    frames = torch.from_numpy(np.stack((image, np.roll(image, 2, axis=2))))
    flow = opencv.run(frames)
    assert flow.shape == (1, 2, 48, 64)
    assert flow[0, :, 10:-10, 10:-10].mean((1, 2)).tolist() == pytest.approx([2, 0], abs=0.3)


def test_a_turn_lasts_as_long_as_asked_and_calls_with_whole_batches():
    sizes = []

    def run(frames: Tensor) -> Tensor:
        sizes.append(len(frames))
        sum(range(20000))
        return frames

    assert pairs_per_second(run, torch.zeros(9, 1), 0.01, batch=4) > 0
    assert len(sizes) > 1
    assert set(sizes) == {5}


def test_the_command_prints_a_table_or_json(pairs, call):
    words = (
        "bench",
        "flow",
        f"chairs:{pairs}",
        "--method",
        "still,shift=1",
        "--no-libraries",
        "--seconds",
        "0",
    )
    done = call(*words)
    assert done.code == 0
    table = [line for line in done.out.splitlines() if line.startswith("|")]
    assert len(table) == 4
    assert "| still shift=1 | 2 | 336 | 2.000 | 0.500 | 3.500 | 50.0% |" in table[-1]
    assert "bench flow" in done.out
    rows = json.loads(call(*words, "--json").out)
    assert rows[0]["method"] == "no motion"
    assert rows[1]["error"] == 2
