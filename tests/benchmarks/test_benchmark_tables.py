"""What the benchmark commands share: tables made from what ran, pages replaced only when asked, paired tests."""

from __future__ import annotations

import argparse
import importlib
import json
import math
import statistics
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_rel
from typer.testing import CliRunner

from praxiscope.bench.machine import made_now
from praxiscope.cli.main import app
from praxiscope.errors import ArgumentError
from praxiscope.evaluation.scores import Scores
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import dump_yaml, load_yaml

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def common(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import common

    return common


@pytest.fixture
def paired(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import paired

    return paired


def a_run(folder: Path, *, seed: int = 0, top1: float = 0.5, split: str = "1", **changes: Any) -> Path:
    """The files of a finished run that the tables read."""
    folder.mkdir(parents=True)
    settings = get_recipe("default").updated(
        {
            "data.source": "videos/",
            "data.split": split,
            "model.name": "tsn",
            "run.seed": seed,
            **changes,
        }
    )
    dump_yaml(settings, folder / "settings.yaml")
    (folder / "run.json").write_text(json.dumps({"last": "step-3", "best": None, "prefer": "last"}))
    clips = [("a", "train"), ("b", "train"), ("c", "test")]
    lines = ["id,label,split", *(f"{name},x,{side}" for name, side in clips)]
    (folder / "split.csv").write_text("\n".join(lines) + "\n")
    figures = {"top1": top1, "videos": 4, "classes": 2, "made": "2026-01-02, a machine"}
    (folder / "result_25x1.json").write_text(json.dumps(figures))
    return folder


def options(out: Path, publish: bool = False) -> argparse.Namespace:
    return argparse.Namespace(out=out, publish=publish)


def test_the_sentence_says_what_ran(common: ModuleType, tmp_path: Path) -> None:
    changes = {"optim.epochs": 2, "optim.batch": 3, "input.snippets": 5, "input.size": 32}
    folders = [a_run(tmp_path / str(seed), seed=seed, **changes) for seed in (3, 7)]
    runs = [common.read_run(folder, "25x1", folder / "result_25x1.json") for folder in folders]
    sentence = common.describe(runs)
    facts = (
        "2 epochs in batches of 3",
        "5 snippets of 32 pixels",
        "protocol 25x1",
        "2 classes, 2 training clips, 4 test clips",
        "seeds 3, 7",
        "last checkpoint",
        "random weights",
    )
    for fact in facts:
        assert fact in sentence
    other = a_run(tmp_path / "other", split="2", **{**changes, "optim.epochs": 9, "model.weights": "a/w.npz"})
    sentence = common.describe([*runs, common.read_run(other, "1x1", other / "result_25x1.json")])
    for fact in ("2 epochs / 9 epochs", "random weights / w.npz", "8 test clips in 2 splits", "25x1 / 1x1"):
        assert fact in sentence


def test_a_finished_run_is_read_back_only_with_the_same_settings(common: ModuleType, tmp_path: Path) -> None:
    folder = a_run(tmp_path / "run", top1=0.75)
    settings = load_yaml(folder / "settings.yaml")
    run = common.experiment(settings, folder, "25x1")
    assert (run.top1, run.learned_from, run.made) == (0.75, 2, "2026-01-02, a machine")
    with pytest.raises(ArgumentError, match=r"optim\.epochs"):
        common.experiment(settings.updated({"optim.epochs": 2}), folder, "25x1")


@pytest.mark.parametrize("tested", [False, True], ids=["interrupted", "tested"])
def test_the_time_of_a_further_test_is_known_and_that_of_an_interrupted_training_is_not(
    common: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tested: bool
) -> None:
    from praxiscope.bench import experiment

    folder = a_run(tmp_path / "run")
    if not tested:
        (folder / "result_25x1.json").unlink()
    monkeypatch.setattr(experiment, "train", lambda *_, **options: options["resume"])
    figures = {"top1": 0.25, "videos": 4, "classes": 2}
    monkeypatch.setattr(experiment, "test", lambda *_, **__: SimpleNamespace(figures=figures))
    settings = load_yaml(folder / "settings.yaml")
    run = common.experiment(settings, folder, "1x1")
    assert run.top1 == 0.25
    assert run.seconds is None if not tested else 0 <= run.seconds < 60


def test_a_table_is_written_to_out_and_names_date_and_machine_of_its_runs(
    common: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "benchmarks" / "some.md"
    page.parent.mkdir()
    page.write_text("published\n")
    script = str(page.with_suffix(".py"))
    data = tmp_path / "data"
    data.mkdir()
    monkeypatch.setattr(
        "sys.argv", [script, f"ucf101:{data}", f"--weights={data}", "--set", "optim.epochs=2"]
    )
    folder = a_run(tmp_path / "run")
    runs = [common.read_run(folder, "25x1", folder / "result_25x1.json")]
    table = common.Table("", ["a", "b"], [[1, 2]])
    written = common.write_tables(options(tmp_path / "out"), script, "Title", [table], "A note.", runs=runs)
    assert written == tmp_path / "out" / "some.md"
    assert page.read_text() == "published\n"
    text = written.read_text()
    assert "| a | b |\n|---|---|\n| 1 | 2 |\n" in text
    assert "2026-01-02, a machine." in text
    assert "`python benchmarks/some.py ucf101:data --weights=data --set optim.epochs=2`" in text


def test_a_table_names_the_time_of_its_runs_or_of_the_call(
    common: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []
    for number, seconds in enumerate((70.0, 80.0)):
        folder = a_run(tmp_path / str(number))
        result = folder / "result_25x1.json"
        result.write_text(json.dumps({**json.loads(result.read_text()), "seconds": seconds}))
        runs.append(common.read_run(folder, "25x1", result))
    assert [run.seconds for run in runs] == [70, 80]
    assert "seconds" not in runs[0].figures
    assert common.took(runs) == " Trainings and tests took 2.5 minutes, added up."
    monkeypatch.setattr(common.time, "monotonic", lambda: common._STARTED + 150.0)
    this_call = " This call of the command took 2.5 minutes."
    assert common.took([]) == common.took([*runs, runs[0]._replace(seconds=None)]) == this_call


def test_only_publish_replaces_a_page_and_what_is_written_by_hand_stays(
    common: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "took", lambda _: "")  # of two calls
    page = tmp_path / "some.md"
    table = common.Table("", ["a"], [["first"]])

    def make(cell: str) -> Path:
        return common.write_tables(
            options(tmp_path / "out", publish=True),
            str(page.with_suffix(".py")),
            "Title",
            [table._replace(rows=[[cell]])],
            "note",
        )

    assert make("first") == page
    page.write_text(f"Before.\n\n{page.read_text()}\n## By hand\n\nAfter.")
    make("second")
    text = page.read_text()
    assert text.startswith("Before.\n\n")
    assert text.endswith("\n## By hand\n\nAfter.\n")
    assert "| second |" in text
    assert "first" not in text
    make("second")
    assert page.read_text() == text


@pytest.mark.parametrize("marks", ["", "{0}", "{1}", "{1}{0}", "{0}{0}{1}", "{0}{1}{1}"])
def test_a_page_without_its_marks_is_left_alone(common: ModuleType, tmp_path: Path, marks: str) -> None:
    page = tmp_path / "some.md"
    page.write_text("By hand.\n" + marks.format(common.BEGIN + "\n", common.END + "\n"))
    before = page.read_text()
    with pytest.raises(ArgumentError, match=r"some\.md"):
        common.publish(page, "text\n")
    assert page.read_text() == before


def test_every_script_writes_outside_its_folder_by_default(
    common: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    for script in sorted(SCRIPTS.glob("*.py")):
        found = common.parser(None, str(script)).parse_args([])
        assert found.publish is False
        assert SCRIPTS not in found.out.resolve().parents
        # One place writes a page beside a script.
        text = script.read_text()
        assert (
            script.name == "common.py"
            or ("write_text(" not in text and "with_suffix(" not in text)
            or (script.name == "long_video.py")
        ), script


def test_every_page_of_a_script_has_its_marks(common: ModuleType) -> None:
    pages = [page for page in SCRIPTS.glob("*.md") if page.with_suffix(".py").is_file()]
    pages += [SCRIPTS / f"principal_{name}.md" for name in ("rgb", "flow", "long")]
    assert len(pages) > 10
    for page in pages:
        text = page.read_text()
        assert text.count(common.BEGIN + "\n") == 1, page
        assert text.count(common.END + "\n") == 1, page
        assert text.index(common.BEGIN) < text.index(common.END), page


@pytest.mark.parametrize(
    ("script", "words", "page"),
    [
        ("weizmann", ["data", "--people", "daria", "ira"], "weizmann"),
        ("ucf101_nine", ["data", "--weights", "w.npz", "--seeds", "2"], "ucf101_nine"),
        (
            "full_video_real",
            ["--weizmann", "data", "--ucf101", "data", "--weights", "w.npz", "--seeds", "1"],
            "full_video_real",
        ),
    ],
)
def test_a_script_says_what_ran_and_leaves_its_page_alone(
    common: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    words: list[str],
    page: str,
) -> None:
    def trained(settings: Any, run: Path, protocol: str, **_: Any) -> Any:
        figures = {"top1": 0.5, "mean_class_accuracy": 0.5, "videos": 7, "classes": 3}
        source = (settings.data.source, settings.data.split or "")
        return common.Run(settings, figures, protocol, 11, "last", "2026-01-02, a machine", source)

    monkeypatch.setattr(common, "experiment", trained)
    monkeypatch.delitem(sys.modules, script, raising=False)
    module = importlib.import_module(script)
    published = SCRIPTS / f"{page}.md"
    before = published.read_text()
    out = tmp_path / "out"
    changes = ["--set", "optim.epochs=2", "--set", "optim.frozen_epochs=0"]
    monkeypatch.setattr("sys.argv", [f"{script}.py", *words, "--out", str(out), *changes])
    module.main()
    monkeypatch.delitem(sys.modules, script)
    assert published.read_text() == before
    text = (out / published.name).read_text()
    for fact in ("; 2 epochs in batches of 8;", "11 training clips", "2026-01-02, a machine."):
        assert fact in text
    headers = [line for line in before.split(common.END)[0].splitlines() if line.startswith("| ")]
    assert headers[0] == next(line for line in text.splitlines() if line.startswith("| "))


def test_spread_is_the_sample_standard_deviation(common: ModuleType) -> None:
    values = [0.841, 0.889, 0.889]
    assert common.score_cells(values) == ["0.873", f"{np.std(values, ddof=1):.3f}", "0.841, 0.889, 0.889"]
    assert common.score_cells([0.5]) == ["0.500", "", "0.500"]


def test_bench_commands_say_when_on_what_and_how_a_table_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = {"protocol": "1x1", "views": 1, "videos": 4, "seconds": 0.1, "parts": {}, "top1": 0.5}
    monkeypatch.setattr("praxiscope.bench.predict.bench_predict", lambda *_, **__: [measured])
    for check in ("check_recogniser", "check_data", "check_test"):
        monkeypatch.setattr(f"praxiscope.commands.arguments.{check}", lambda *_, **__: None, raising=False)
    monkeypatch.setattr("sys.argv", ["praxiscope", "bench", "predict", "a run", "data"])
    done = CliRunner().invoke(app, ["bench", "predict", "a run", "data"])
    assert done.exit_code == 0, done.output
    assert done.output.endswith(f"{made_now()}.\nCommand: `praxiscope bench predict 'a run' data`\n")
    # Runs that are read back keep the date and the machine of their own test.
    for seed, name in enumerate(("TSM-8", "TSM-8", "TSM-80")):
        folder = tmp_path / f"{name}-{seed}"
        folder.mkdir()
        made = "another day" if name == "TSM-80" else "2026-01-02, a machine"
        (folder / "result.json").write_text(json.dumps({"top1": 0.5, "made": made}))
    row = {"name": "TSM-8", "top1": [0.5], "multiply_adds": 1, "bytes": 1, "epoch_seconds": 1}
    monkeypatch.setattr("praxiscope.bench.full_video.bench_full_video", lambda *_, **__: [row])
    done = CliRunner().invoke(app, ["bench", "full-video", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "\n2026-01-02, a machine.\nCommand: " in done.output
    assert "another day" not in done.output


# ------------------------------------------------------------------------------------------ paired tests


def test_the_paired_t_test_is_that_of_scipy(paired: ModuleType) -> None:
    rng = np.random.default_rng(0)
    for n in (2, 3, 9):
        one, other = rng.normal(size=(2, n)).tolist()
        assert paired.paired_t(one, other) == pytest.approx(ttest_rel(one, other).pvalue)
    assert math.isnan(paired.paired_t([0.5, 0.7], [0.4, 0.6]))


def test_the_mcnemar_bound_is_the_largest_value_of_all_tables_with_these_counts(paired: ModuleType) -> None:
    rng = np.random.default_rng(1)
    for _ in range(60):
        clips = int(rng.integers(1, 13))
        one, other = (int(rng.integers(0, clips + 1)) for _ in range(2))
        found = []
        for both in range(max(0, one + other - clips), min(one, other) + 1):
            b, c = one - both, other - both
            found.append(binomtest(b, b + c).pvalue if b + c else 1.0)
        assert paired.mcnemar_bound(one, other, clips) == pytest.approx(max(found))


def test_two_files_of_scores_are_compared_video_by_video(paired: ModuleType, tmp_path: Path) -> None:
    targets = np.array([0, 0, 1, 1, 1, 0])
    guesses = {"one": [0, 0, 1, 1, 1, 1], "other": [1, 1, 1, 1, 0, 0]}
    ids, files = list("abcdef"), {}
    for name, guess in guesses.items():
        order = np.arange(6)[::-1] if name == "other" else np.arange(6)  # files need not have one order
        logits = np.eye(2, dtype=np.float32)[guess][order]
        scores = Scores([ids[i] for i in order], logits, targets[order], ["x", "y"])
        files[name] = Scores.load(scores.save(tmp_path / f"{name}.npz"))
    counts = paired.alone_right(files["one"], files["other"])
    assert counts == (3, 1)
    assert paired.mcnemar(*counts) == binomtest(3, 4).pvalue == 0.625


def test_scores_of_each_seed_are_read_from_the_tables_of_a_page(paired: ModuleType) -> None:
    lines = (SCRIPTS / "default_training.md").read_text().splitlines()
    (scores,) = paired.read_scores(lines)
    assert scores == {"default": [0.968, 0.952, 0.937], "probe": [0.984, 0.984, 0.984]}


def test_the_printed_spreads_are_those_of_the_printed_scores(paired: ModuleType) -> None:
    """Every table with a column of scores and one of their spread; scores are shares of so many clips."""
    clips = {"default_training": 63, "few_clips": 63}
    checked = 0
    for page, count in clips.items():
        header: list[str] = []
        for line in (SCRIPTS / f"{page}.md").read_text().splitlines():
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            header = cells if "each seed" in cells else header if line.startswith("|") else []
            if "each seed" not in header or cells == header or "---" in cells:
                continue
            of = dict(zip(header, cells, strict=True))
            shares = [round(float(word) * count) / count for word in of["each seed"].split(",")]
            assert float(of["top-1"]) == pytest.approx(statistics.mean(shares), abs=6e-4), (page, line)
            assert float(of["spread"]) == pytest.approx(statistics.stdev(shares), abs=6e-4), (page, line)
            checked += 1
    assert checked == 22


def test_the_readme_gives_clips_and_seeds_of_every_figure() -> None:
    lines = (SCRIPTS.parent / "README.md").read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("| what | figure |"))
    header = [cell.strip() for cell in lines[start].strip("|").split("|")]
    places = [header.index("n"), header.index("seeds")]
    rows = []
    for _, line in pairwise(lines[start + 1 :]):
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    assert len(rows) > 10
    for row in rows:
        assert all(any(letter.isdigit() for letter in row[place]) for place in places), row
