"""The table of cheaper watching: means and intervals over videos, and runs that do not fit."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from praxiscope.errors import ArgumentError
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import dump_yaml

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("cheap_watch")


def test_a_video_of_several_runs_counts_once(module: Any) -> None:
    groups = {"a": "a", "b": "b"}
    assert module.cell({"a": [1.0, 0.0, 0.5], "b": [1.0]}, groups).startswith("0.750 (")


def test_the_interval_is_over_groups(module: Any) -> None:
    right = {f"v{i}": [float(i < 10)] for i in range(20)}
    alone = module.cell(right, {video: video for video in right})
    of_two = module.cell(right, {video: str(int(video[1:]) < 10) for video in right})
    assert alone.startswith("0.500 (")
    assert of_two == "0.500 (0.000 to 1.000)"
    assert alone != of_two


@pytest.mark.parametrize(("sizes", "words"), [([224, 112], "--sizes 224"), ([64], "different data")])
def test_runs_that_do_not_fit_are_named(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: list[int], words: str
) -> None:
    count = 1 if words.startswith("--") else 2
    for number in range(count):
        (tmp_path / str(number)).mkdir()
        settings = get_recipe("default").updated(
            {
                "data.source": f"videos{number}",
                "model.name": "tsn",
                "input.size": 224,
                "input.snippets": 6,
                "backprop.name": "principal",
                "backprop.choose": 3,
            }
        )
        dump_yaml(settings, tmp_path / str(number) / "settings.yaml")
    runs = [str(tmp_path / str(number)) for number in range(count)]
    monkeypatch.setattr("sys.argv", ["cheap_watch.py", *runs, "--sizes", *map(str, sizes)])
    with pytest.raises(ArgumentError, match=words):
        module.main()


def test_a_run_that_chooses_no_snippets_is_named(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = get_recipe("default").updated({"data.source": "videos", "model.name": "tsn"})
    dump_yaml(settings, tmp_path / "settings.yaml")
    monkeypatch.setattr("sys.argv", ["cheap_watch.py", str(tmp_path)])
    with pytest.raises(ArgumentError, match="chooses no snippets"):
        module.main()
