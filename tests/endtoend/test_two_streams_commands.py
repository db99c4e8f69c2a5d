"""Networks of pictures and flow together: the commands of the guide, benchmarks and the tables of the paper."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from praxiscope.bench import experiment
from praxiscope.bench.experiment import Plan
from praxiscope.bench.multiplier import Preset, bench_multiplier, format_table
from praxiscope.bench.predict import HEADER, bench_predict
from praxiscope.bench.predict import format_table as format_predict
from praxiscope.cli.main import app
from praxiscope.errors import ArgumentError, DataError
from praxiscope.evaluation.scores import Scores
from praxiscope.recipes.multiplier import multiplier_rows
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.sections import TaskSource
from two_streams import Moving, Streams

pytestmark = pytest.mark.usefixtures("_narrow")


def test_the_commands_of_the_guide_work_as_they_stand(
    moving: Moving, streams: Streams, tmp_path: Path
) -> None:
    runner, videos, flow = CliRunner(), str(moving[0]), str(moving[1])
    command = [
        "train",
        videos,
        "--flow",
        flow,
        "--model",
        "multiplier",
        "--from",
        f"{streams[0]},{streams[1]}",
    ]
    small = ["--epochs", "1", "--batch", "8", "--workers", "0", "--out", str(tmp_path / "mult")]
    done = runner.invoke(app, [*command, *small])
    assert done.exit_code == 0, done.output
    content = (tmp_path / "mult" / "settings.yaml").read_text()
    assert "strides:\n  - 5\n  - 35" in content
    assert "flow_length: 4" in content
    clip = str(moving[0] / "left" / "0.mp4")
    done = runner.invoke(app, ["predict", str(tmp_path / "mult"), clip, "--json"])
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)
    assert len(found["labels"]) == 2
    done = runner.invoke(app, [*command[:-1], str(streams[0]), *small])
    assert done.exit_code == 1
    done = runner.invoke(app, [*command[:4], *command[6:], *small[:-1], str(tmp_path / "again")])
    assert done.exit_code == 0, done.output  # --from alone says which model
    done = runner.invoke(app, [*command[:4], "--model", "tsm", *command[6:], *small])
    assert "tsm" in str(done.exception)
    done = runner.invoke(app, [*command, *small, "--resume"])
    assert done.exit_code == 1
    assert "--from" in str(done.exception)


def test_the_time_of_a_prediction_is_told_by_its_parts(
    joint_run: Path, streams: Streams, moving: Moving
) -> None:
    protocols = ["fully-convolutional", "1x1"]
    estimated = bench_predict(joint_run, moving[0], protocols, device="cpu", videos=4)
    assert [row["protocol"] for row in estimated] == protocols
    assert [row["views"] for row in estimated] == [50, 1]
    for row in estimated:
        assert row["videos"] == 4
        assert sum(row["parts"].values()) == pytest.approx(row["seconds"])
        assert all(
            row["parts"][name] > 0 for name in ("RGB frames", "flow: reading", "flow: estimation", "network")
        )
    whole = bench_predict(joint_run, moving[0], device="cpu", flow=moving[1])
    assert whole[0]["protocol"] == "25xfull"
    assert whole[0]["parts"]["flow: estimation"] == 0
    assert 0 <= whole[0]["top1"] <= 1
    assert whole[0]["videos"] == 20
    (pictures,) = bench_predict(streams[0], moving[0], ["2x1"], device="cpu", videos=2)
    assert pictures["parts"]["flow: reading"] == 0 < pictures["parts"]["RGB frames"]
    with pytest.raises(ArgumentError, match="flow_range = 20 "):
        bench_predict(joint_run, moving[0], flow_range=20)
    cells = format_predict(estimated)
    assert cells[0][-1] == "1.00"
    assert len(cells[0]) == len(HEADER)


def test_every_row_of_the_papers_tables_has_a_recipe() -> None:
    rows = multiplier_rows()
    assert [row.table for row in rows.values()] == [None] + ["Table 2"] * 7 + ["Table 3"] * 8
    assert [name for name, row in rows.items() if row.errors is None] == ["no-connection"]
    from praxiscope.models import create_model

    for name in rows:
        settings = get_recipe(f"multiplier-{name}")
        assert settings.optim.batch * settings.optim.accumulate == 128
        assert settings.input.crop == "jittered"
        keywords = {**settings.model.keywords(), "backbone": "resnet18"}
        model = create_model("multiplier", num_classes=3, **keywords)
        assert (model.pool_window, model.temporal_place) == (
            settings.model.keywords()["pool_window"],
            settings.model.keywords()["temporal"],
        )
    best = get_recipe("multiplier").model.keywords()
    assert (best["backbone"], best["motion_backbone"]) == ("resnet50", "resnet152")
    assert (best["temporal"], best["taps"], best["pool_window"]) == ("residual", "centre", 5)
    for stream, word in (("rgb", "appearance"), ("flow", "motion")):
        for depth in (50, 152):
            assert get_recipe(f"multiplier-{word}-{depth}").model.keywords()["stream"] == stream


def test_the_tables_command_trains_once_and_reads_back(
    moving: Moving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny: dict[str, Any] = {
        "model.backbone": "resnet18",
        "input.size": 32,
        "input.short_side": 36,
        "optim.batch": 4,
        "optim.epochs": 1,
        "run.tensorboard": False,
        "run.validate_epochs": 0,
    }
    preset = Preset(
        "multiplier-appearance-50",
        "multiplier-motion-50",
        "multiplier-residual-multiplicative",
        {**tiny, "optim.accumulate": 1},
        {**tiny, "optim.accumulate": 1, "input.strides": (1, 3)},
        seeds=1,
    )
    shutil.copytree(moving[0], tmp_path / "videos")
    csv = tmp_path / "videos" / "set.csv"
    lines = [
        f"{path.parent.name}/{path.name},{path.parent.name},{'test' if int(path.stem) > 7 else 'train'}"
        for path in sorted(moving[0].rglob("*.mp4"))
        if int(path.stem) not in range(4, 8)  # fewer steps
    ]
    csv.write_text("path,label,split\n" + "\n".join(lines) + "\n")
    wanted = ["residual-additive", "centre-residual-max"]

    def source(path: object, flow: object = moving[1]) -> TaskSource:
        return TaskSource(source=str(path), flow=str(flow))

    def table() -> list[dict[str, Any]]:
        return bench_multiplier(source(csv), tmp_path / "out", preset, plan=Plan(wanted, workers=0))

    first = table()
    names = ["appearance", "motion", "late fusion", *wanted]
    assert [row["name"] for row in first] == names
    scores = [Scores.load(tmp_path / "out" / f"{name}-0" / "scores.npz") for name in names[:2]]
    fused = scores[0].logits + scores[1].reordered(scores[0].ids).logits
    assert first[2]["top1"] == [float((fused.argmax(1) == scores[0].targets).mean())]
    assert first[3]["paper"] == [90.62, 58.11]
    assert format_table(first)[4][0] == "Table 3"
    monkeypatch.setattr(experiment, "train", lambda *args, **options: pytest.fail("trained again"))
    assert table() == first
    again = tmp_path / "out" / ".." / "out"  # the same folder, however it is written
    other = bench_multiplier(
        source(f"{csv.parent}/./{csv.name}"), again, preset, plan=Plan(wanted, device="cpu")
    )
    assert other == first
    several = csv.with_name("several.csv")
    several.write_text(csv.read_text().replace(",left,train", ",left|right,train"))
    with pytest.raises(DataError, match=r"several.*labels"):
        bench_multiplier(source(several), tmp_path / "other", preset)
    several.write_text(csv.read_text().replace(",test", ",val"))
    with pytest.raises(DataError, match="`test`"):
        bench_multiplier(source(several), tmp_path / "other", preset)
    assert not (tmp_path / "other").exists()
    with pytest.raises(DataError, match="nothing"):
        bench_multiplier(source(csv, tmp_path / "nothing"), tmp_path / "other", preset)
    with pytest.raises(ArgumentError, match="'nothing'"):
        bench_multiplier(source(csv), tmp_path / "out", preset, plan=Plan(["nothing"]))
    (tmp_path / "out" / "motion-0" / "settings.yaml").write_text(
        (tmp_path / "out" / "motion-0" / "settings.yaml").read_text().replace("lr: 0.01", "lr: 0.02")
    )
    with pytest.raises(ArgumentError, match=r"optim\.lr"):
        table()
