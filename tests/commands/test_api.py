"""The public functions do what the commands do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import praxiscope as px
from praxiscope.recipes.settings import load_yaml
from support import FLOW_PARAMETERS, SMALL, Call, sets

pytestmark = pytest.mark.usefixtures("_narrow")

SETTINGS: dict[str, Any] = {
    key: yaml.safe_load(value) for key, _, value in (text.partition("=") for text in SMALL)
}


@pytest.fixture(scope="module")
def run(colour_set: Path, tmp_path_factory: pytest.TempPathFactory) -> px.Run:
    folder = tmp_path_factory.mktemp("runs") / "python"
    return px.train(colour_set, out=folder, epochs=1, seed=1, **SETTINGS)


def test_only_public_names_are_listed_and_all_of_them_are_there() -> None:
    assert dir(px) == sorted(px.__all__)
    for name in px.__all__:
        assert getattr(px, name) is not None


def test_importing_the_package_or_a_function_imports_no_torch() -> None:
    code = "import sys, praxiscope as px; px.train, px.test, px.check, px.fuse, px.Run; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_training_is_that_of_the_command(
    run: px.Run, call: Call, colour_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", colour_set, "--out", tmp_path / "a", *sets(SMALL), "--epochs", 1, "--seed", 1]
    assert call(*words).code == 0
    assert load_yaml(tmp_path / "a" / "settings.yaml") == run.settings
    assert px.Run(tmp_path / "a").metrics == run.metrics
    assert run.finished
    assert 0 <= run.metrics["top1"] <= 1
    assert str(run.path) in repr(run)
    assert f"{run.metrics['top1']:.3f}" in repr(run)


def test_functions_print_nothing_unless_asked_to(
    run: px.Run, colour_set: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    px.check(colour_set, workers=1)
    px.test(run, colour_set, protocol="1x1", workers=0)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
    px.check(colour_set, split=None, workers=1, progress=True)
    px.test(run, colour_set, protocol="1x1", workers=0, progress=True)
    assert capsys.readouterr().err


def test_a_run_loads_and_predicts(run: px.Run, colour_set: Path) -> None:
    recogniser = run.load(device="cpu")
    assert recogniser.metrics == run.metrics
    assert f"top1 {run.metrics['top1']:.3f}" in repr(recogniser)
    assert len(recogniser.predict(colour_set / "red" / "0.mp4", protocol="1x1").labels) == 3
    assert px.load(run).labels == recogniser.labels  # a run is a path


def test_options_and_settings_reach_the_run(colour_set: Path, tmp_path: Path) -> None:
    with pytest.raises(px.ArgumentError, match=r"'backbon'.*'backbone'"):
        px.train(colour_set, out=tmp_path / "a", backbon="resnet50")
    with pytest.raises(px.ArgumentError, match=r"optim\.momentu"):
        px.train(colour_set, out=tmp_path / "a", **{"optim.momentu": 0.8})
    with pytest.raises(px.ArgumentError, match="split = '1'"):
        px.train({"one": colour_set, "two": colour_set}, out=tmp_path / "a", split="1")
    assert not (tmp_path / "a").exists()


def test_several_data_sets_are_a_mapping(colour_set: Path, tmp_path: Path) -> None:
    run = px.train({"one": colour_set, "two": colour_set}, out=tmp_path / "a", epochs=1, **SETTINGS)
    assert {name: task.source for name, task in run.settings.data.sources().items()} == {
        "one": str(colour_set),
        "two": str(colour_set),
    }
    assert run.load(task="two", device="cpu").labels == ("blue", "green", "red")


def test_testing_and_fusing_are_those_of_the_commands(
    run: px.Run, call: Call, colour_set: Path, tmp_path: Path
) -> None:
    scores = px.test(run, colour_set, protocol="1x1", workers=0)
    words = ["test", run.path, colour_set, "--protocol", "1x1", "--workers", 0, "--out", tmp_path / "s.npz"]
    assert call(*words).code == 0
    assert np.array_equal(px.Scores.load(tmp_path / "s.npz").logits, scores.logits)
    assert call("fuse", tmp_path / "s.npz", scores.save(tmp_path / "t.npz") or tmp_path / "t.npz",
                "--weights", "1,3", "--out", tmp_path / "f.npz").code == 0  # fmt: skip
    fused = px.fuse([scores, scores], weights=[1, 3])
    assert np.array_equal(px.Scores.load(tmp_path / "f.npz").logits, fused.logits)
    assert np.array_equal(px.fuse([tmp_path / "s.npz", scores], weights=[1, 3]).logits, fused.logits)
    with pytest.raises(px.ScoresError, match="scores 2"):
        px.fuse([scores, px.Scores(["other"], scores.logits[:1], scores.targets[:1], scores.classes)])


def test_a_report_of_a_data_set_prints_as_the_command_does(call: Call, colour_set: Path) -> None:
    report = px.check(colour_set, workers=1)
    assert report.whole
    assert str(report) in call("check", colour_set, "--workers", 1).out
    assert "24" in repr(report)


def test_a_store_of_flow_is_that_of_the_command(moving: tuple[Path, Path], tmp_path: Path) -> None:
    videos, _ = moving
    made = px.flow_store(videos, tmp_path / "flow", parameters=FLOW_PARAMETERS, workers=1, short_side=36)
    assert made.clips == 20
    again = px.flow_store(videos, tmp_path / "flow", parameters=FLOW_PARAMETERS, workers=1, short_side=36)
    assert again.fields == made.fields
    with pytest.raises(px.ArgumentError, match="'tvl2'"):
        px.flow_store(videos, tmp_path / "flow", method="tvl2")


def test_folders_and_files_may_be_paths(run: px.Run, colour_set: Path, tmp_path: Path) -> None:
    lists, told = tmp_path / "lists", r"annotations=\S*lists "  # which only layouts have
    with pytest.raises(px.ArgumentError, match=told):
        px.train(colour_set, out=tmp_path / "run", annotations=lists)
    with pytest.raises(px.ArgumentError, match=told):
        px.test(run, colour_set, annotations=lists)
    with pytest.raises(px.ArgumentError, match=told):
        px.check(colour_set, annotations=lists)
    with pytest.raises(px.ArgumentError, match=told):
        px.feature_store(colour_set, tmp_path / "store", backbone=run.path, annotations=lists)
    with pytest.raises(px.CheckpointError, match=r"w\.pt"):
        px.train(colour_set, out=tmp_path / "run", weights=tmp_path / "w.pt")
    assert px.feature_store(colour_set, tmp_path / "store", backbone=run.path, frames=1, workers=1).rows == 24


def test_arguments_of_another_kind_or_name_are_told(tmp_path: Path) -> None:
    with pytest.raises(px.errors.ArgumentError, match=r"start.*3"):
        px.train(tmp_path, out=tmp_path / "run", start=3)
    with pytest.raises(px.errors.UnknownNameError, match=r"'rnge'.*'range'"):
        px.flow_store(tmp_path, tmp_path / "flow", method="dis", rnge=3)
    for given in ("s.npz", Path("s.npz"), 3):
        with pytest.raises(px.errors.ArgumentError, match=r"streams.*(s\.npz|3)"):
            px.fuse(given)  # type: ignore[arg-type]
    with pytest.raises(px.errors.ArgumentError, match=r"svm.*s\.npz"):
        px.fuse(["a.npz", "b.npz"], svm="s.npz")
