"""Networks of pictures and flow together: from two trained streams to a recogniser."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import praxiscope as px
from praxiscope.bench import experiment
from praxiscope.bench.experiment import Plan
from praxiscope.bench.multiplier import Preset, bench_multiplier, format_table
from praxiscope.bench.predict import HEADER, bench_predict
from praxiscope.bench.predict import format_table as format_predict
from praxiscope.checkpoint import find_checkpoint, load_card, load_tensors
from praxiscope.cli.main import app
from praxiscope.commands.flow import StoreOptions, extract_flow
from praxiscope.commands.train import train
from praxiscope.data.dataset import ClipReader
from praxiscope.errors import ArgumentError, CheckpointError, DataError
from praxiscope.evaluation.protocols import parse_protocol
from praxiscope.evaluation.scores import Scores
from praxiscope.flow.store import FlowStore
from praxiscope.inference.inputs import stream_readers
from praxiscope.inference.recogniser import Recogniser
from praxiscope.progress import Reporter
from praxiscope.recipes.multiplier import multiplier_rows
from praxiscope.recipes.named import get_recipe, recipe_of
from praxiscope.recipes.sections import TaskSource
from praxiscope.recipes.settings import TrainSettings, override
from praxiscope.training.build_model import build_model
from praxiscope.training.log import read_log
from praxiscope.training.warm_start import settings_of_runs
from praxiscope.types import VideoRecord
from praxiscope.video.geometry import flip
from runs import run_test
from support import FLOW_PARAMETERS, SMALL, spread_scores, write_moving

Moving = tuple[Path, Path]
Streams = tuple[Path, Path]
RESNET = ("model.backbone=resnet18", "model.dropout=0", "input.flip=false")


def single(videos: Path, flow: Path | None, *assignments: str) -> TrainSettings:
    given = [] if flow is None else [f"data.flow={flow}", "model.stream=flow", "input.flow_length=4"]
    return override(
        get_recipe("default"),
        [
            *SMALL,
            *RESNET,
            f"data.source={videos}",
            "optim.epochs=1",
            "run.validate_epochs=0",
            *given,
            *assignments,
        ],
    )


@pytest.fixture(scope="module")
def streams(moving: Moving, tmp_path_factory: pytest.TempPathFactory) -> Streams:
    root = tmp_path_factory.mktemp("streams")
    assert train(single(moving[0], None), root / "rgb")
    assert train(single(*moving, "optim.epochs=3"), root / "motion")
    return root / "rgb", root / "motion"


def joint(moving: Moving, runs: tuple[Path, ...], *assignments: str) -> TrainSettings:
    small = [text for text in SMALL if not text.startswith(("model.", "input."))]
    settings = recipe_of("multiplier").updated(settings_of_runs([str(run) for run in runs]))
    wanted = [f"data.source={moving[0]}", f"data.flow={moving[1]}", "input.snippets=3", "input.strides=[1,3]"]
    return override(
        settings,
        [*small, "input.flip=false", *wanted, "optim.epochs=1", "run.validate_epochs=0", *assignments],
    )


@pytest.fixture(scope="module")
def run(moving: Moving, streams: Streams, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("joint") / "run"
    assert train(joint(moving, streams, "optim.epochs=5"), folder)
    return folder


def test_a_joint_network_starts_as_its_streams_ended(moving: Moving, streams: Streams) -> None:
    from praxiscope.training.run_data import load_data

    settings = joint(moving, streams[::-1])  # in any order
    lines: list[str] = []

    class Said(Reporter):
        def line(self, text: str) -> None:
            lines.append(text)

    store = FlowStore(moving[1])
    model, card = build_model(settings, load_data(settings), Said(), store)
    for network, folder in ((model.appearance, streams[0]), (model.motion, streams[1])):  # type: ignore[union-attr]
        saved = load_tensors(find_checkpoint(folder))
        own = network.state_dict()  # type: ignore[union-attr]
        assert {f"backbone.{key}" for key in own} == set(saved)
        assert all(own[key].equal(saved[f"backbone.{key}"]) for key in own)
    assert len(lines) == 2
    assert all("all." in line for line in lines)
    assert card.input.streams == ("rgb", "flow")
    assert card.input.stream_channels == {"rgb": 3, "flow": 8}
    assert card.input.flow == load_card(find_checkpoint(streams[1])).input.flow
    assert (card.input.size, card.input.short_side) == (32, 36)


def test_classifiers_of_other_classes_are_made_anew(moving: Moving, streams: Streams, tmp_path: Path) -> None:
    for number, name in enumerate(("down", "up")):
        for clip in range(4):
            write_moving(tmp_path / "videos" / name / f"{clip}.mp4", 2 * number - 1, clip)
    extract_flow(
        tmp_path / "videos",
        tmp_path / "flow",
        StoreOptions(parameters=FLOW_PARAMETERS, backward=True, workers=1),
    )
    settings = joint((tmp_path / "videos", tmp_path / "flow"), streams)
    assert train(settings, tmp_path / "run")
    assert load_card(find_checkpoint(tmp_path / "run")).labels == ("down", "up")


def test_the_joint_network_learns_and_tests_with_stored_and_estimated_flow(run: Path, moving: Moving) -> None:
    stored = run_test(run, moving[0], flow=moving[1], workers=0)
    assert (
        stored.scores.protocol["name"] == "25xfull"
    )  # left is not right here: the streams were trained without flips
    assert stored.scores.protocol["streams"] == ["rgb", "flow"]
    assert stored.figures["videos"] == 4
    rows = (run / "log.csv").read_text().splitlines()
    place = rows[0].split(",").index("loss")
    losses = [float(row.split(",")[place]) for row in rows[1:] if row.split(",")[place]]
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])
    steps = [row for row in read_log(run / "log.csv") if "loss" in row]
    assert [row["loss_rgb"] + row["loss_flow"] for row in steps] == pytest.approx(losses, rel=1e-5)
    estimated = run_test(run, moving[0], workers=2).scores
    np.testing.assert_allclose(
        estimated.reordered(stored.scores.ids).logits, stored.scores.logits, rtol=1e-4, atol=1e-4
    )
    other = run_test(run, moving[0], flow=moving[1], protocol="3x10", workers=0)
    assert other.figures["videos"] == 4


def test_a_prediction_is_one_pass_over_whole_frames_and_the_same_flipped(run: Path, moving: Moving) -> None:
    loaded = px.load(run, flow=moving[1], device="cpu")
    recogniser = Recogniser(loaded.model, loaded.card, precision="32", flow_source=loaded.flow_source)
    path = moving[0] / "left" / "2.mp4"
    found = recogniser.video_logits(path, "fully-convolutional")
    readers, span = stream_readers(recogniser.card.input, 36, FlowStore(moving[1]))
    record = VideoRecord(str(path), path, ())
    starts = px.video.sampling.segment_indices(14, 25, span)
    reader = ClipReader(
        [record], [torch.tensor(-1)], sampler=lambda *_: starts, readers=readers, random=False
    )
    seen = reader.read(0).streams
    assert seen["rgb"].shape == (25, 3, 36, 48)
    assert seen["flow"].shape == (25, 8, 36, 48)
    rows = []
    with torch.inference_mode():
        for turn in (lambda x, kind: x, flip):
            inputs = [recogniser.prepare(turn(seen[name], name)[None], name) for name in ("rgb", "flow")]
            rows.append(recogniser.model(*inputs).logits[0])
    torch.testing.assert_close(found, torch.stack(rows).mean(0), rtol=1e-4, atol=1e-5)
    best = recogniser.predict(path, protocol="fully-convolutional").labels[0]
    assert best == recogniser.labels[int(found.argmax())]
    torch.testing.assert_close(recogniser.video_logits(path), rows[0], rtol=1e-4, atol=1e-5)


def test_the_picture_is_that_of_the_middle_of_the_stack(streams: Streams, run: Path, moving: Moving) -> None:
    path = moving[0] / "right" / "4.mp4"
    video, record = px.open_video(path), VideoRecord(str(path), path, ())
    contract = load_card(find_checkpoint(run)).input
    starts = torch.tensor([0, 3, 8])
    both, span = stream_readers(contract, 36, FlowStore(moving[1]))
    alone, own_span = stream_readers(load_card(find_checkpoint(streams[1])).input, 36, FlowStore(moving[1]))
    assert span == own_span == 5
    given: tuple[Any, ...] = (record, video, starts, 0, 14, None)
    assert both["flow"](*given).equal(alone["flow"](*given))
    assert both["rgb"](*given).equal(video.frames(starts + 2, short_side=36))


def test_a_timeline_shows_each_frame_with_the_flow_around_it(run: Path, moving: Moving) -> None:
    from praxiscope.inference.timeline import windows
    from praxiscope.video.transforms import CenterCrop

    path = moving[0] / "right" / "3.mp4"
    contract = load_card(find_checkpoint(run)).input
    video, store = px.open_video(path), FlowStore(moving[1])
    (window,) = windows(path, 14 / 12, 14 / 12, contract, store)
    frames = torch.tensor([2, 7, 11])  # on screen in the middles of three thirds
    pictures = CenterCrop(32)({"rgb": video.frames(frames, short_side=36)})["rgb"]
    assert window.streams["rgb"].equal(pictures)
    readers, _ = stream_readers(contract, 36, store)
    record = VideoRecord(str(path), path, ())
    stacks = readers["flow"](record, video, (frames - 2).clamp(min=0), 0, 14, None)
    expected = CenterCrop(32)({"flow": stacks})["flow"]
    torch.testing.assert_close(window.streams["flow"], expected, rtol=1e-4, atol=1e-4)
    (again,) = windows(path, 14 / 12, 14 / 12, contract)  # estimated on the spot
    torch.testing.assert_close(again.streams["flow"], expected, rtol=1e-4, atol=1e-4)
    assert again.streams["rgb"].equal(pictures)
    # From the first frame on, whose stack cannot begin before it.
    for one, other in zip(
        windows(path, 0.2, 0.2, contract, store), windows(path, 0.2, 0.2, contract), strict=True
    ):
        torch.testing.assert_close(one.streams["flow"], other.streams["flow"], rtol=1e-4, atol=1e-4)
        assert one.streams["rgb"].equal(other.streams["rgb"])
    rows = list(px.load(run, flow=moving[1]).timeline(path, window_s=0.5, stride_s=0.25))
    assert len(rows) >= 3


def test_a_resumed_joint_run_ends_as_an_uninterrupted_one(
    moving: Moving, streams: Streams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = joint(moving, streams, "model.motion_dropout=0.5")
    assert train(settings, tmp_path / "whole")
    shorter = settings.updated({"run.checkpoint_steps": 3})

    class Stop(Exception):
        pass

    import praxiscope.commands.train as module

    saved = module.save
    count = 0

    def stop(*args: Any, **options: Any) -> None:
        nonlocal count
        saved(*args, **options)
        count += 1
        if count == 1:
            raise Stop

    monkeypatch.setattr(module, "save", stop)
    with pytest.raises(Stop):
        train(shorter, tmp_path / "parts")
    monkeypatch.setattr(module, "save", saved)
    assert train(shorter, tmp_path / "parts", resume=True)
    one, other = (load_tensors(find_checkpoint(tmp_path / name)) for name in ("whole", "parts"))
    assert all(one[key].equal(other[key]) for key in one)


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["backprop.name=principal", "backprop.choose=1"], r"backprop\.name = principal.*multiplier"),
        (["backprop.name=cached"], r"backprop\.name = cached.*multiplier"),
        (["model.weights=w.npz"], r"--weights w\.npz.*--from"),
        (
            ["model.weights=w.npz", "model.start=null"],
            r"--weights w\.npz.*multiplier.*--from",
        ),
        (["input.flow_length=[2,4]"], r"in_channels.*\[4, 8\]"),
        (["model.stream=rgb"], r"--flow.*multiplier.*--stream"),
        (["data.flow=null"], r"multiplier.*--flow"),
        (["model.motion_backbone=resnet34"], r"--from.*model\.motion_backbone"),
        (["model.backbone=resnet50"], r"resnet50\b.*resnet18\b"),
        (["model.name=tsn", "data.flow=null", "model.start=[a,b]"], "'motion_backbone'"),
        (["model.gate=sideways"], "'sideways'"),
        (["model.pool_window=2.5"], r"pool_window.*2\.5"),
        (["model.pretrained=true"], r"--pretrained.*--from"),
    ],
)
def test_what_a_joint_training_cannot_use_is_said(
    assignments: list[str],
    message: str,
    moving: Moving,
    streams: Streams,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("w.npz", weight=np.zeros(1, np.float32))  # a file that is there; it is not read
    with pytest.raises((ArgumentError, CheckpointError)) as caught:
        train(joint(moving, streams, *assignments), tmp_path / "run")
    assert re.search(message, str(caught.value))
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_runs_that_make_no_pair_are_refused(
    moving: Moving, streams: Streams, run: Path, tmp_path: Path
) -> None:
    rgb, motion = (str(folder) for folder in streams)
    with pytest.raises(ArgumentError, match="--from"):
        settings_of_runs([rgb])
    with pytest.raises(ArgumentError, match=r"--from: .*rgb"):
        settings_of_runs([rgb, rgb])
    with pytest.raises(ArgumentError, match=r"--from .*multiplier"):
        settings_of_runs([str(run), motion])
    assert train(single(moving[0], None, "input.size=24"), tmp_path / "smaller")
    with pytest.raises(ArgumentError, match=r"24.*36"):
        settings_of_runs([str(tmp_path / "smaller"), motion])
    extract_flow(
        moving[0], tmp_path / "other", StoreOptions(parameters={"warps": 1, "iterations": 3}, workers=1)
    )
    with pytest.raises(DataError, match=r"other.*(warps|iterations)"):
        train(joint((moving[0], tmp_path / "other"), streams), tmp_path / "run")
    plain = single(moving[0], None, f"model.start=[{rgb},{motion}]")
    with pytest.raises(ArgumentError, match="--model multiplier"):
        train(plain, tmp_path / "plain")


def test_the_streams_decide_on_mirror_images_and_normalisation(
    moving: Moving, streams: Streams, tmp_path: Path
) -> None:
    from praxiscope.training.run_data import load_data

    def contract(*changes: str) -> Any:
        settings = joint(moving, (tmp_path / "grey", streams[1]), *changes)
        return build_model(settings, load_data(settings), Reporter(), FlowStore(moving[1]))[1].input

    assert train(single(moving[0], None, "input.mean=[0.5]", "input.std=[0.25]"), tmp_path / "grey")
    found = contract()
    assert (found.mean, found.std, found.channels) == ((0.5,), (0.25,), 3)
    assert not found.flip
    assert contract("input.flip=true").flip
    assert settings_of_runs([str(run) for run in streams])["input.flip"] is False


def test_views_of_a_joint_network_are_averaged_as_asked_for(run: Path, moving: Moving) -> None:
    path = moving[0] / "left" / "1.mp4"
    loaded = px.load(run, flow=moving[1], device="cpu")
    recogniser = Recogniser(loaded.model, loaded.card, precision="32", flow_source=loaded.flow_source)
    protocol = parse_protocol("3x10")
    record = VideoRecord("left/1.mp4", path, ())
    clip = recogniser.clip_reader([record], [torch.tensor(-1)], protocol).read(0)
    scorer = recogniser.scorer(protocol)
    crops = list(zip(*(scorer.crop(clip.streams[name], name) for name in scorer.streams), strict=True))

    def scores() -> np.ndarray:
        return np.stack([scorer.forward(*(x[None] for x in crop))[0].double().numpy() for crop in crops])

    spread_scores(recogniser.model.classifiers, scores())
    rows = scores()
    assert rows.shape == (10, 2)

    def softmax(x: np.ndarray) -> np.ndarray:
        return np.exp(x) / np.exp(x).sum(-1, keepdims=True)

    expected = {"logits": softmax(rows.mean(0)), "softmax": softmax(rows).mean(0)}
    for average, wanted in expected.items():
        logits = recogniser.video_logits(path, "3x10", average)
        np.testing.assert_allclose(softmax(logits.double().numpy()), wanted, atol=1e-3)
    assert np.abs(expected["logits"] - expected["softmax"]).max() > 5e-3


def test_what_acts_on_no_other_instant_is_seen_in_chunks(run: Path, moving: Moving) -> None:
    path = moving[0] / "left" / "1.mp4"
    recogniser = px.load(run, flow=moving[1], device="cpu")
    with pytest.raises(ArgumentError, match=r"allx1.*multiplier.*25x1"):
        recogniser.video_logits(path, "allx1")
    keywords = {**recogniser.card.kwargs, "temporal": None, "pool_window": None}
    recogniser.model = px.create_model(recogniser.card.name, **keywords).eval()
    assert recogniser.sees.together is None
    sizes: list[int] = []
    recogniser.model.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape[:2].numel()))
    whole = recogniser.video_logits(path, "25xfull")
    recogniser.chunk_snippets = 4
    torch.testing.assert_close(recogniser.video_logits(path, "25xfull"), whole, rtol=1e-4, atol=1e-5)
    assert sizes == [25, 4, 4, 4, 4, 4, 4, 1]


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


def test_the_time_of_a_prediction_is_told_by_its_parts(run: Path, streams: Streams, moving: Moving) -> None:
    protocols = ["fully-convolutional", "1x1"]
    estimated = bench_predict(run, moving[0], protocols, device="cpu", videos=4)
    assert [row["protocol"] for row in estimated] == protocols
    assert [row["views"] for row in estimated] == [50, 1]
    for row in estimated:
        assert row["videos"] == 4
        assert sum(row["parts"].values()) == pytest.approx(row["seconds"])
        assert all(
            row["parts"][name] > 0 for name in ("RGB frames", "flow: reading", "flow: estimation", "network")
        )
    whole = bench_predict(run, moving[0], device="cpu", flow=moving[1])
    assert whole[0]["protocol"] == "25xfull"
    assert whole[0]["parts"]["flow: estimation"] == 0
    assert 0 <= whole[0]["top1"] <= 1
    assert whole[0]["videos"] == 20
    (pictures,) = bench_predict(streams[0], moving[0], ["2x1"], device="cpu", videos=2)
    assert pictures["parts"]["flow: reading"] == 0 < pictures["parts"]["RGB frames"]
    with pytest.raises(ArgumentError, match="flow_range = 20 "):
        bench_predict(run, moving[0], flow_range=20)
    cells = format_predict(estimated)
    assert cells[0][-1] == "1.00"
    assert len(cells[0]) == len(HEADER)


def test_what_needs_scores_of_snippets_says_so(run: Path, moving: Moving, tmp_path: Path) -> None:
    clip, runner = str(moving[0] / "left" / "0.mp4"), CliRunner()
    for wanted in ("principal", "clusters"):
        done = runner.invoke(app, ["explain", wanted, str(run), clip, "--out", str(tmp_path / "a.png")])
        assert isinstance(done.exception, ArgumentError)
    with pytest.raises(ArgumentError, match="multiplier"):
        px.load(run).snippet_logits(clip, torch.tensor([0]))
    done = runner.invoke(app, ["explain", "filters", str(run), "--out", str(tmp_path / "f.png")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "f.png").stat().st_size > 1000


def test_every_row_of_the_papers_tables_has_a_recipe() -> None:
    rows = multiplier_rows()
    assert [row.table for row in rows.values()] == ["Table 2"] * 7 + ["Table 3"] * 8
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
