"""Table 1 and its costs, on a set and networks that are as small as they can be."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

import praxiscope as px
from praxiscope.bench import experiment
from praxiscope.bench import full_video as table_module
from praxiscope.bench import full_video_cost as cost_module
from praxiscope.bench.experiment import Plan
from praxiscope.bench.full_video import (
    PRESETS,
    Preset,
    bench_full_video,
    format_table,
    make_videos,
    table_rows,
)
from praxiscope.bench.full_video_cost import bench_full_video_cost, draw_cost, format_cost
from praxiscope.bench.step import _measure
from praxiscope.cli.bench.full_video import PRESETS as command_presets
from praxiscope.commands.dataset import move4mnist
from praxiscope.data.move4mnist import digest_of_set
from praxiscope.progress import Reporter
from praxiscope.recipes.named import get_recipe

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="a process's peak can be set back on Linux only"
)

TINY = Preset(
    "full-video-move4mnist-64",
    8,
    4,
    32,
    frames=10,
    seeds=1,
    changes={
        "input.size": 32,
        "input.short_side": 32,
        "optim.epochs": 2,
        "optim.batch": 4,
        "input.sampled_epochs": 1,
        "run.tensorboard": False,
    },
)


@pytest.fixture
def measured_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are measured and videos made in this process, as starting others takes most of the time;
    tests/models/test_full_video.py and tests/data/test_move4mnist.py start them."""
    for module in (table_module, cost_module):
        monkeypatch.setattr(module, "measure_step", _measure)
    monkeypatch.setattr(table_module, "move4mnist", partial(move4mnist, workers=1))


def test_all_rows_of_the_paper_are_there() -> None:
    names = [row.name for row in table_rows()]
    assert names[:3] == ["TSM-8", "TSM-16", "TSM-all"]
    assert {f"{rule}-{g}" for rule in ("uniform", "slope", "cumulative") for g in (8, 16)} <= set(names)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_rows_are_settings_of_the_presets_recipe(preset: Preset) -> None:
    base = get_recipe(preset.recipe).updated(dict(preset.changes))
    assert base.input.size == preset.size
    settings = {row.name: base.updated(row.settings(preset.frames, 3)) for row in table_rows()}
    assert settings["TSM-all"].input.snippets == preset.frames
    assert settings["slope-16"].model.keywords()["clustering"] == "slope"
    assert settings["cumulative-8"].input.sampled_epochs == 3


def test_the_fixed_sets_have_their_digest(tmp_path: Path, measured_here: None) -> None:
    fixed = replace(PRESETS["long"], train=3, test=2, size=32)
    wanted = digest_of_set(make_videos(tmp_path / "a", replace(fixed, digest=""), None, None, Reporter()))
    assert (
        make_videos(tmp_path / "a", replace(fixed, digest=wanted), None, None, Reporter()) == tmp_path / "a"
    )
    other = replace(fixed, digest=wanted, design={**fixed.design, "still": 0.5, "fill": (0, 0, 1)})
    with pytest.raises(px.DataError, match=wanted):
        make_videos(tmp_path / "b", other, None, None, Reporter())
    inserted = replace(fixed, digest="", design={**fixed.design, "inserted": True})
    assert digest_of_set(make_videos(tmp_path / "c", inserted, None, None, Reporter())) != wanted
    # Of other digits there is no fixed set.
    labels = next((tmp_path / "a").glob("test/*/*.json"))
    labels.write_text(labels.read_text().replace('"kinds"', '"kind"'))
    with pytest.raises(px.DataError, match="labels"):
        digest_of_set(tmp_path / "a")


def test_the_command_knows_the_presets() -> None:
    assert command_presets == tuple(PRESETS)
    lengths = {name: PRESETS[name].frames for name in ("long", "long-inserted", "longer")}
    assert lengths == {"long": 48, "long-inserted": 48, "longer": 96}


@pytest.mark.slow
def test_a_table_is_made_once_and_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured_here: None
) -> None:
    wanted = {"plan": Plan(["TSM-8", "cumulative-8"], workers=0)}
    first = bench_full_video(tmp_path / "table", TINY, **wanted)
    assert [row["name"] for row in first] == ["TSM-8", "cumulative-8"]
    known = json.loads((tmp_path / "table" / "TSM-8-0" / "result.json").read_text())
    assert 0 < known["seconds"] < 600
    assert all(len(row["top1"]) == 1 and 0 <= row["top1"][0] <= 1 for row in first)
    assert all(row["multiply_adds"] > 0 and row["epoch_seconds"] == 2 * row["step_seconds"] for row in first)
    # Every frame of ten goes through the first stage, eight through the rest; TSM-8 sees eight.
    assert first[1]["multiply_adds"] > first[0]["multiply_adds"]

    def never(*_: object, **__: object) -> None:
        raise AssertionError("trained or measured again")

    monkeypatch.setattr(experiment, "train", never)
    monkeypatch.setattr(table_module, "measure_step", never)
    assert bench_full_video(tmp_path / "table", TINY, **wanted) == first
    scores = bench_full_video(tmp_path / "table", TINY, costs=False, **wanted)
    assert scores == [{"name": row["name"], "top1": row["top1"]} for row in first]
    with pytest.raises(px.ArgumentError, match=r"TSM-8-0: .*optim\.lr.*--out"):
        bench_full_video(
            tmp_path / "table", replace(TINY, changes={**TINY.changes, "optim.lr": 0.5}), **wanted
        )
    (cells, _) = format_table(first)
    assert cells[0] == "TSM-8"
    assert cells[1] == cells[2] == f"{100 * first[0]['top1'][0]:.1f}"
    two = {**first[0], "top1": [0.847, 0.795]}
    assert format_table([two])[0][1:3] == ["82.1", "84.7, 79.5"]


def test_a_row_or_a_preset_that_there_is_not_is_told(tmp_path: Path) -> None:
    with pytest.raises(px.ArgumentError, match=r"'TSM-9'.*TSM-8"):
        bench_full_video(tmp_path, TINY, plan=Plan(["TSM-9"]))
    with pytest.raises(px.ArgumentError, match=r"'gpu'.*cpu, long, long-inserted, longer, paper"):
        bench_full_video(tmp_path, "gpu")


@pytest.mark.slow
def test_costs_are_measured_by_frames_and_drawn(tmp_path: Path, measured_here: None) -> None:
    rows = bench_full_video_cost([4, 8], backbone="resnet10", clusters=2, size=32, early_frames=4, steps=1)
    assert [row["frames"] for row in rows] == [4] * 5 + [8] * 5
    assert all(row["seconds"] > 0 and row["bytes"] > 2**27 for row in rows)
    lines = format_cost(rows).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["4", "8"]
    assert draw_cost(rows, tmp_path / "cost.png").read_bytes().startswith(b"\x89PNG")
