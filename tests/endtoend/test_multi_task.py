"""Training on several data sets: one network, a classifier for each."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import praxiscope as px
import praxiscope.training.loop as loop
from praxiscope.checkpoint import find_checkpoint, load_card
from praxiscope.cli import main as entry
from praxiscope.commands.train import train
from praxiscope.data.joined import join
from praxiscope.data.manifest import Manifest, load_records
from praxiscope.data.skipped import DamageList
from praxiscope.flow.store import FlowContract, create_store
from praxiscope.inference.fused import save_fused
from praxiscope.inference.loading import build_from_card, load_single
from praxiscope.inference.options import LoadOptions
from praxiscope.inference.recogniser import Recogniser
from praxiscope.progress import Reporter
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import TrainSettings, dump_yaml, override
from praxiscope.training.loader import weights_of_classes
from praxiscope.training.log import read_log
from praxiscope.training.loop import TrainState
from praxiscope.training.network import Network
from praxiscope.training.readable import ReadProblems, SkipList
from praxiscope.training.validation import Validation
from runs import ONE_THREAD, command, run_test
from support import SMALL, Call, write_clip


class Spoken(Reporter):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def swapped_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes with names of the other set and the opposite sense: "red" is blue, and "blue" red.

    One classifier for both sets could not learn it.
    """
    root = tmp_path_factory.mktemp("swapped")
    for number, name in ((2, "red"), (0, "blue")):
        for clip in range(8):
            write_clip(root / name / f"{clip}.mp4", number, seed=1000 + 100 * number + clip)
    return root


def settings(first: Path, second: Path, *assignments: str) -> TrainSettings:
    tasks = f"data.tasks={{plain: {{source: {first}}}, swapped: {{source: {second}}}}}"
    return override(get_recipe("default"), [*SMALL, tasks, "input.snippets=1", *assignments])


LEARN = ("optim.epochs=32", "optim.lr=0.0003", "model.dropout=0", "run.seed=2", "run.validate_epochs=16")


@pytest.fixture(scope="module")
def both(
    colour_set: Path, swapped_set: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str]]:
    """A run on both sets, and what it said."""
    run, spoken = tmp_path_factory.mktemp("runs") / "both", Spoken()
    assert train(settings(colour_set, swapped_set, *LEARN), run, reporter=spoken)
    return run, spoken.lines


def test_one_network_learns_two_sets_whose_classes_contradict_one_another(
    both: tuple[Path, list[str]], colour_set: Path, swapped_set: Path
) -> None:
    run, _ = both
    first = run_test(run, colour_set, task="plain", workers=0)
    second = run_test(run, swapped_set, task="swapped", workers=0)
    assert (first.figures["videos"], second.figures["videos"]) == (6, 4)
    assert (first.figures["top1"], second.figures["top1"]) == (1.0, 1.0)
    assert first.scores.classes == ["blue", "green", "red"]
    assert second.scores.classes == ["blue", "red"]
    assert not any("trained on" in note for note in (*first.notes, *second.notes))
    # The same clip under both senses.
    clip = colour_set / "red" / "0.mp4"
    assert px.load(run, task="plain").predict(clip).labels[0] == "red"
    assert px.load(run, task="swapped").predict(clip).labels[0] == "blue"


def test_the_run_says_what_it_learns_from_and_logs_each_task(both: tuple[Path, list[str]]) -> None:
    run, lines = both
    said = "\n".join(lines)
    assert re.search(r"\bplain: 18\b.*\b3 classes\b.*\b6\b.*\b6\b", said)
    assert re.search(r"\bswapped: 12\b.*\b2 classes\b.*\b6\b.*\b4\b", said)
    assert "blue 6+2, red 6+2" in said
    assert "2.4 of plain, 1.6 of swapped" in said
    assert "top1 1.000 (plain 1.000, swapped 1.000)" in said
    rows = [row for row in read_log(run / "log.csv") if "val_top1" in row]
    assert len(rows) == 2
    for row in rows:
        assert row["val_top1"] == pytest.approx((row["val_top1_plain"] + row["val_top1_swapped"]) / 2)
    assert "plain 100.0 %, swapped 100.0 %" in (run / "report.html").read_text()
    assert (run / "split.csv").read_text().splitlines()[1].startswith("plain/blue/")


def test_the_model_file_says_which_classes_are_whose(both: tuple[Path, list[str]]) -> None:
    card = load_card(find_checkpoint(both[0]))
    assert card.tasks == {"plain": (0, 3), "swapped": (3, 5)}
    assert card.labels == ("plain/blue", "plain/green", "plain/red", "swapped/blue", "swapped/red")
    part = card.of_task("swapped")
    assert (part.labels, part.tasks, part.kwargs["num_classes"]) == (("blue", "red"), {}, 2)
    with pytest.raises(px.UnknownNameError, match=r"'swaped'.*'swapped'"):
        card.of_task("swaped")
    with pytest.raises(px.ArgumentError, match="task"):
        part.of_task("swapped")


@pytest.mark.parametrize(
    "tasks", ['{"a": [0, 5]}, "x": 1', '{"a": [0, 4]}', '{"a": [0, 3], "b": [2, 5]}', '{"a": [0]}', "[5]"]
)
def test_a_model_file_with_wrong_tasks_is_a_clear_error(
    both: tuple[Path, list[str]], tmp_path: Path, tasks: str
) -> None:
    folder = find_checkpoint(both[0])
    content = json.loads((folder / "model.json").read_text())
    del content["tasks"]
    text = json.dumps(content)[:-1] + f', "tasks": {tasks}}}'
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(px.CheckpointError, match=r"model\.json: "):
        load_card(tmp_path)


def test_the_scores_of_a_task_are_its_block_of_all(both: tuple[Path, list[str]], swapped_set: Path) -> None:
    folder = find_checkpoint(both[0])
    card = load_card(folder)
    model = build_from_card(card, folder)
    model.load_state_dict(load_file(str(folder / "model.safetensors")))
    records = load_records(swapped_set).of("test")
    targets = [torch.tensor(-1) for _ in records]
    every, _ = Recogniser(model, card).score(records, targets, "2x3", workers=0)
    own, _ = load_single(both[0], LoadOptions(task="swapped")).score(records, targets, "2x3", workers=0)
    assert own.logits.shape == (4, 2)
    assert own.ids == every.ids
    np.testing.assert_allclose(own.logits, every.logits[:, 3:5], rtol=1e-4, atol=1e-5)


def test_without_a_task_the_run_asks_which(both: tuple[Path, list[str]], colour_set: Path) -> None:
    run, _ = both
    with pytest.raises(px.ArgumentError, match=r"plain, swapped.*--task plain"):
        px.load(run)
    with pytest.raises(px.UnknownNameError, match="'other'"):
        px.load(run, task="other")


def test_a_test_finds_the_task_where_all_classes_are_of_one_alone(
    both: tuple[Path, list[str]], colour_set: Path, swapped_set: Path, tmp_path: Path
) -> None:
    run, _ = both
    spoken = Spoken()
    found = run_test(run, colour_set, workers=0, reporter=spoken)  # "green" is a class of one task alone
    assert found.scores.protocol["task"] == "plain"
    assert any(re.search(r"^Note: .*\bplain\b", line) for line in spoken.lines)
    assert found.report is not None
    assert "plain" in found.report.read_text()
    with pytest.raises(px.ArgumentError, match=r"--task.*plain, swapped.*\b2\b.*--task plain"):
        run_test(run, swapped_set, workers=0)
    write_clip(tmp_path / "sea" / "0.mp4", 0)
    with pytest.raises(px.ArgumentError, match=r"--task.*plain, swapped.*\b1\b"):
        run_test(run, tmp_path, workers=0)


def test_a_task_saved_alone_is_a_recogniser_like_any_other(
    both: tuple[Path, list[str]], colour_set: Path, tmp_path: Path
) -> None:
    run, _ = both
    part = px.load(run, task="plain")
    assert isinstance(part, Recogniser)
    part.save(tmp_path / "plain")
    with pytest.raises(px.ArgumentError, match=re.escape(str(tmp_path / "plain"))):
        part.save(tmp_path / "plain")
    clip = colour_set / "green" / "0.mp4"
    alone = px.load(tmp_path / "plain")
    assert alone.predict(clip).scores == part.predict(clip).scores
    # It knows which videos it was trained on, by the names in their own set, and so does a copy of it.
    assert isinstance(alone, Recogniser)
    alone.save(tmp_path / "copy")
    for folder in ("plain", "copy"):
        assert (tmp_path / folder / "split.csv").read_text().splitlines()[1].startswith("blue/0.mp4,blue,")
        result = run_test(tmp_path / folder, colour_set, workers=0)
        assert (result.figures["videos"], result.figures["top1"]) == (6, 1.0)
    with pytest.raises(px.ArgumentError, match="task"):
        px.load(tmp_path / "plain", task="plain")
    # Fused recognisers take it; the run itself, whose classes are not said, they do not.
    save_fused(tmp_path / "fused", [tmp_path / "plain", tmp_path / "plain"])
    assert px.load(tmp_path / "fused").predict(clip).labels[0] == "green"
    with pytest.raises(px.ArgumentError, match=r"fused\b.*'plain'"):
        px.load(tmp_path / "fused", task="plain")
    with pytest.raises(px.ArgumentError, match=r"plain, swapped"):
        save_fused(tmp_path / "no", [run, run])


def test_one_task_of_several_runs_is_fused(
    both: tuple[Path, list[str]], swapped_set: Path, tmp_path: Path, call: Call
) -> None:
    run, out = both[0], tmp_path / "own"
    done = call("fuse", run, run, "--task", "swapped", "--out", out)
    assert done.code == 0, done.err
    fused = run_test(out, swapped_set, workers=0)  # it knows which four videos were held out
    single = run_test(run, swapped_set, task="swapped", workers=0)
    assert fused.scores.classes == ["blue", "red"]
    assert fused.scores.ids == single.scores.ids
    chances = torch.from_numpy(single.scores.logits).softmax(1)
    np.testing.assert_allclose(np.exp(fused.scores.logits), chances, rtol=1e-4)
    for words, message in (
        (("--task", "swappd"), "'swappd'"),
        ((), "plain, swapped"),
    ):
        done = call("fuse", run, run, *words, "--out", "no")
        assert done.code != 0
        assert message in done.err
    done = call("fuse", "a.npz", "b.npz", "--task", "swapped")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert "--task swapped" in done.err


def test_the_first_layer_of_several_tasks_can_be_drawn(both: tuple[Path, list[str]]) -> None:
    from praxiscope.explain.filters import explain_filters

    (stream,) = explain_filters(both[0]).facts["streams"]
    assert stream["stream"] == "rgb"


def short(first: Path, second: Path, *assignments: str) -> TrainSettings:
    return settings(first, second, "optim.epochs=1", "data.class_weights=true", *assignments)


def test_an_interrupted_run_on_two_sets_resumes_to_the_same_weights(
    colour_set: Path, swapped_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = short(colour_set, swapped_set, "data.sampling=class-uniform")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert train(wanted, whole)
    real, asked = loop.StopRequest, []

    class Stopping(real):  # type: ignore[misc, valid-type]
        @property
        def requested(self) -> bool:
            asked.append(1)
            return len(asked) >= 3

        @requested.setter
        def requested(self, value: bool) -> None: ...

    monkeypatch.setattr(loop, "StopRequest", Stopping)
    assert not train(wanted, cut)
    monkeypatch.setattr(loop, "StopRequest", real)
    turned = override(
        wanted, [f"data.tasks={{swapped: {{source: {swapped_set}}}, plain: {{source: {colour_set}}}}}"]
    )
    with pytest.raises(
        px.ArgumentError, match=r"data\.tasks \['plain', 'swapped'\] → \['swapped', 'plain'\]"
    ):
        train(turned, cut, resume=True)
    alone = override(wanted, ["data.tasks=null", f"data.source={colour_set}"])
    with pytest.raises(px.ArgumentError, match=r"--resume: .*data\."):
        train(alone, cut, resume=True)
    assert train(wanted, cut, resume=True)
    first, second = (load_file(str(find_checkpoint(r, "last") / "model.safetensors")) for r in (whole, cut))
    assert all(torch.equal(first[name], second[name]) for name in first)


# Left out: what is drawn for each process, and what takes rounding for more (AdamW, a choice by scores).
SAME = (
    "input.snippets=2",
    "model.dropout=0",
    "model.batchnorm=frozen",
    "optim.name=sgd",
    "optim.lr=0.001",
    "run.validate_epochs=2",
)


def assert_same_course(one: Path, two: Path) -> None:
    first, second = ([row["loss"] for row in read_log(r / "log.csv") if "loss" in row] for r in (one, two))
    assert len(first) == len(second) == 7
    # Rounding can turn the winner of a pooling here and there.
    np.testing.assert_allclose(second, first, rtol=1e-3)
    start, end = (load_file(str(find_checkpoint(run) / "model.safetensors")) for run in (one, two))
    for name, weights in start.items():
        torch.testing.assert_close(end[name], weights, rtol=1e-3, atol=2e-5, msg=name)


@pytest.mark.parametrize(
    "way",
    [
        (),
        ("backprop.name=cached", "backprop.chunk=1"),
        ("backprop.name=principal", "backprop.choose=1", "backprop.rule=random"),
    ],
)
def test_two_batches_give_the_losses_of_one_twice_as_large(
    colour_set: Path, swapped_set: Path, tmp_path: Path, way: tuple[str, ...]
) -> None:
    wanted = short(colour_set, swapped_set, *SAME, *way)
    assert train(wanted, tmp_path / "one")
    dump_yaml(override(wanted, ["optim.batch=2", "optim.accumulate=2"]), tmp_path / "halves.yaml")
    assert train(get_recipe(str(tmp_path / "halves.yaml")), tmp_path / "two")
    assert_same_course(tmp_path / "one", tmp_path / "two")


def test_weights_of_classes_have_mean_one_in_each_task(colour_set: Path, tmp_path: Path) -> None:
    rows = [
        "path,label,split",
        *(f"a{n}.mp4,many,train" for n in range(6)),
        "b.mp4,few,train",
        "c.mp4,few,train",
    ]
    for row in rows[1:]:
        (tmp_path / row.partition(",")[0]).write_bytes(b"x")
    (tmp_path / "list.csv").write_text("\n".join(rows) + "\n")
    joined = join({"plain": load_records(colour_set), "own": load_records(tmp_path / "list.csv")})
    wanted = short(colour_set, tmp_path / "list.csv")
    weights = weights_of_classes(wanted, joined, joined.of("train"))
    # 6 clips against 2: inverse 1/6 and 1/2, with mean 1.
    torch.testing.assert_close(weights, torch.tensor([1.0, 1.0, 1.0, 1.5, 0.5]))


class OneProcess:
    """What the monitor asks of Fabric."""

    global_rank, world_size, device = 0, 1, torch.device("cpu")

    class _precision:
        precision = "32-true"


def test_the_monitor_looks_at_validation_videos_of_one_set_and_test_videos_of_another(
    both: tuple[Path, list[str]], colour_set: Path, swapped_set: Path, tmp_path: Path
) -> None:
    plain = load_records(colour_set)
    watched = replace(
        plain, records=tuple(replace(r, split=r.split.replace("test", "val")) for r in plain.records)
    )
    joined = join({"plain": watched, "swapped": load_records(swapped_set)})
    folder = find_checkpoint(both[0])
    card = load_card(folder)
    model = build_from_card(card, folder)
    model.load_state_dict(load_file(str(folder / "model.safetensors")))
    skips = SkipList(tmp_path / "skipped.csv", {}, joined, None, Reporter())
    problems = ReadProblems(skips, DamageList(tmp_path / "damaged.csv", Reporter()))

    def validation_of(manifest: Manifest) -> Validation:
        wanted = short(colour_set, swapped_set)
        return Validation(wanted, manifest, Network(model, card), OneProcess, problems, Reporter())

    validation = validation_of(joined)
    assert (validation.split, validation.prefer, len(validation.records)) == ("held-out", "last", 10)
    swapped = {r.id for r in validation.records if r.id.startswith("swapped")}
    state = TrainState(epoch=1)
    # Every video of one set is known to be broken: the other set's figures alone are left.
    skips.skipped.update(dict.fromkeys(swapped, "broken"))
    figures = validation(state)
    assert figures.keys() == {"val_top1", "val_loss", "val_top1_plain"}
    assert figures["val_top1"] == figures["val_top1_plain"] == 1
    every = replace(
        joined, records=tuple(replace(r, split=r.split.replace("test", "val")) for r in joined.records)
    )
    assert validation_of(every).prefer == "best"


def test_two_processes_of_the_command_line_learn_two_sets_as_one_does_and_name_the_task(
    colour_set: Path, swapped_set: Path, tmp_path: Path, call: Call
) -> None:
    tasks = f"data.tasks={{plain: {{source: {colour_set}}}, sw-2: {{source: {swapped_set}}}}}"
    whole = short(colour_set, swapped_set, *SAME, tasks)
    assert train(whole, tmp_path / "one")
    # Two clips per process: batches without a task are the rule.
    dump_yaml(override(whole, ["optim.batch=2", "data.tasks=null"]), tmp_path / "halves.yaml")
    named = ("--data", f"plain={colour_set}", "--data", f"sw-2={swapped_set}", "--devices", 2)
    run = tmp_path / "two"
    line = command("train", "--recipe", tmp_path / "halves.yaml", *named, "--out", run)
    done = subprocess.run(line, env=ONE_THREAD, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert_same_course(tmp_path / "one", run)
    tested = call("test", run, swapped_set, "--task", "sw-2", "--workers", 0, "--json")
    assert tested.code == 0, tested.err
    assert json.loads(tested.out)["videos"] == 4
    found = call("predict", run, swapped_set / "red" / "0.mp4", "--task", "sw-2", "--json")
    assert found.code == 0, found.err
    assert sorted(json.loads(found.out)[0]["labels"]) == ["blue", "red"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("x --data a={a} --data b={b}", 2, "--data NAME=DATA"),
        ("--data a={a}", 2, "got 'a'"),
        ("--data {a} --data b={b}", 2, "NAME=VALUE"),
        ("--data a={a} --data a={b}", 2, "--data a="),
        ("--data a/b={a} --data b={b}", 2, "'a/b'"),
        (
            "--data a={a} --data b={b} --split 1",
            2,
            "split = '1'",
        ),
        ("--data a={a} --data b={b} --data-split c=1", 2, "--data-split c=1"),
        ("--data a={a} --data b={b} --data-split b=1", 2, "split=1"),
        ("--data a={a} --data b={b} --flow f", 2, "--flow f: "),
        ("--data a={a} --data b={b} --flow a=f", 2, "--flow"),
        ("--data a={a} --data b={b} --stream flow", 2, "a, b"),
        ("--data a={a} --data b={b} --stream flow", 2, "--flow a=flow/"),
        ("--data a={a} --data b=none", 1, "none:"),
        ("{a} --data-split a=1", 2, "--data NAME=DATA"),
        ("{a} --flow a --flow b", 2, "--flow a --flow b"),
    ],
)
def test_mistakes_in_naming_data_sets_are_one_clear_line(
    colour_set: Path,
    swapped_set: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    line = f"praxiscope train {words.format(a=colour_set, b=swapped_set)} --out o"
    monkeypatch.setattr(sys, "argv", line.split())
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == code
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert message in errors[0]
    assert not (tmp_path / "o").exists()


def test_a_misspelt_setting_of_a_task_is_named_with_the_nearest() -> None:
    with pytest.raises(px.ArgumentError, match=r"'data\.tasks\.a\.splitt'.*'data\.tasks\.a\.split'"):
        override(TrainSettings(), ["data.tasks={a: {source: x, splitt: 1}, b: {source: y}}"])


def store(root: Path, data: Path, **parameters: float) -> Path:
    """Stored flow of a set: the x of a field is the number of the class."""
    flow = create_store(root, FlowContract("tvl1", parameters, 20.0))
    manifest = load_records(data)
    for record in manifest.records:
        frames = len(px.open_video(record.path))
        with flow.writing(record.id, record.path, promised_frames=frames) as writer:
            fields = torch.zeros(frames - 1, 2, 48, 64)
            fields[:, 0] = 10.0 * (manifest.numbers(record)[0] - 1)
            writer.add(fields)
    return root


def test_flow_of_each_set_comes_from_its_own_store(
    colour_set: Path, swapped_set: Path, tmp_path: Path
) -> None:
    first, second = store(tmp_path / "a", colour_set, warps=2), store(tmp_path / "b", swapped_set, warps=2)
    other = store(tmp_path / "c", swapped_set, warps=3)
    tasks = "data.tasks={{plain: {{source: {}, flow: {}}}, swapped: {{source: {}, flow: {}}}}}"
    wanted = short(
        colour_set, swapped_set, "model.stream=flow", "input.subtract_mean=false", "optim.epochs=2"
    )
    run = tmp_path / "run"
    assert train(override(wanted, [tasks.format(colour_set, first, swapped_set, second)]), run)
    assert read_log(run / "log.csv")[-1]["val_top1_swapped"] >= 0
    assert (run / "skipped.csv").read_text().splitlines() == ["id,problem"]
    assert run_test(run, swapped_set, task="swapped", flow=second, workers=0).figures["videos"] == 4
    with pytest.raises(px.DataError, match=r"\bplain\b.*\bswapped\b.*warps=2 .*\b3\b.*/a\b.*/c\b"):
        train(override(wanted, [tasks.format(colour_set, first, swapped_set, other)]), tmp_path / "no")
    (second / "red" / "3.mp4.forward.pxf").unlink()
    assert train(override(wanted, [tasks.format(colour_set, first, swapped_set, second)]), tmp_path / "again")
    assert f"swapped/red/3.mp4: {second}" in (tmp_path / "again/skipped.csv").read_text()
