"""Whole training runs, on small clips made here."""

from __future__ import annotations

import csv
import shutil
import signal
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import praxiscope as px
from praxiscope.checkpoint import find_checkpoint
from praxiscope.commands.check import check
from praxiscope.commands.train import train
from praxiscope.data.check_text import report_lines
from praxiscope.data.dataset import Skip
from praxiscope.data.manifest import Manifest, load_records
from praxiscope.progress import Reporter
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import override
from praxiscope.training.readable import SkipList
from runs import (
    ONE_THREAD,
    assert_same_course,
    assert_same_weights,
    command,
    losses,
    run_test,
    settings,
    train_by,
)
from support import SMALL, Call, sets, write_clip


@pytest.fixture(scope="module")
def finished(colour_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run of eight epochs."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    assert train(settings(colour_set, "optim.epochs=8"), run)
    return run


def test_a_run_learns_and_leaves_what_it_promises(finished: Path) -> None:
    for name in ("settings.yaml", "split.csv", "log.csv", "skipped.csv", "report.html", "run.json"):
        assert (finished / name).is_file(), name
    seen = losses(finished)
    training = [r for r in csv.DictReader((finished / "split.csv").open()) if r["split"] == "train"]
    assert len(seen) == 8 * (len(training) // 4)
    # Guessing among three classes costs log 3 = 1.10.
    assert sum(seen[-4:]) / 4 < 0.9


def test_a_saved_recogniser_predicts_as_the_model_in_memory(finished: Path, colour_set: Path) -> None:
    clip = colour_set / "red" / "0.mp4"
    first = px.load(finished).predict(clip, top=3)
    assert sorted(first.labels) == ["blue", "green", "red"]
    assert first.scores == sorted(first.scores, reverse=True)
    assert abs(sum(first.scores) - 1) < 1e-5
    assert px.load(finished).predict(clip, top=3) == first


def test_the_same_seed_gives_the_same_weights_for_any_number_of_workers(
    finished: Path, colour_set: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    train(settings(colour_set, "optim.epochs=8", "data.workers=2"), again)
    assert losses(again) == losses(finished)
    assert_same_weights(again, finished)


def test_a_run_interrupted_inside_an_epoch_resumes_to_the_same_weights(
    finished: Path, colour_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import praxiscope.training.loop as loop

    run = tmp_path / "cut"
    wanted = settings(colour_set, "optim.epochs=8")
    real = loop.StopRequest
    stops = []

    class StopsAtSeven(real):  # type: ignore[misc, valid-type]
        @property
        def requested(self) -> bool:
            stops.append(1)
            return len(stops) >= 7

        @requested.setter
        def requested(self, value: bool) -> None: ...

    monkeypatch.setattr(loop, "StopRequest", StopsAtSeven)
    assert train(wanted, run) is False
    monkeypatch.setattr(loop, "StopRequest", real)
    assert 0 < len(losses(run)) < len(losses(finished))
    assert train(wanted, run, resume=True) is True
    assert losses(run) == losses(finished)
    assert_same_weights(run, finished)


def test_a_killed_run_resumes_to_the_same_weights(
    finished: Path, colour_set: Path, tmp_path: Path, call: Call
) -> None:
    run = tmp_path / "killed"
    words = ("train", colour_set, "--out", run, *sets((*SMALL, "optim.epochs=8", "run.checkpoint_steps=3")))
    process = subprocess.Popen(command(*words), stderr=subprocess.DEVNULL, env=ONE_THREAD)
    deadline = time.monotonic() + 120
    while not (run / "run.json").is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (run / "run.json").is_file()
    # Whether or not the kill came in time, the resumed run must end where the whole one ended.
    done = call(*words, "--resume")
    assert done.code == 0, done.err
    assert losses(run) == losses(finished)
    assert_same_weights(run, finished)


def test_ctrl_c_saves_and_says_how_to_go_on(colour_set: Path, tmp_path: Path) -> None:
    run = tmp_path / "stopped"
    words = command("train", colour_set, "--out", run, *sets((*SMALL, "optim.epochs=500", "data.workers=1")))
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=ONE_THREAD)
    deadline = time.monotonic() + 120
    while len(losses(run)) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, spoken = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Stopped and saved after step" in spoken
    assert "Traceback" not in spoken
    assert find_checkpoint(run, "last").is_dir()


@pytest.mark.parametrize("frozen_epochs", [0, 1])
def test_two_processes_give_the_losses_of_one_with_twice_the_batch(
    colour_set: Path, tmp_path: Path, call: Call, frozen_epochs: int
) -> None:
    # Dropout and batch statistics are drawn per process by their nature, so they are switched off here.
    # And no AdamW: it takes whole steps along gradients that are nothing but rounding.
    same = ("model.dropout=0", "model.batchnorm=frozen", "run.validate_epochs=2", "optim.name=sgd")
    same = (*same, "optim.lr=0.01", f"optim.frozen_epochs={frozen_epochs}")
    one, two = tmp_path / "one", tmp_path / "two"
    for run, devices in ((one, 1), (two, 2)):
        train_by(devices, call, colour_set, run, *same, f"optim.batch={4 // devices}")
    assert len(losses(one)) == len(losses(two)) == 8
    assert_same_course(one, two, colour_set, tmp_path / "start")


def break_by(path: Path, kind: str) -> None:
    """Put in a video's place what people have in such places."""
    whole = path.read_bytes()
    if kind == "text":
        path.write_text("this is no video\n" * 50)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        path.write_bytes(whole[: len(whole) // 3])
    elif kind == "audio":
        with av.open(str(path), "w") as out:
            stream: Any = out.add_stream("aac", rate=16000)
            stream.layout = "mono"
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 16000
            out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    elif kind == "damaged":  # its pictures, but not its header
        start = whole.index(b"mdat") + 4
        path.write_bytes(whole[:start] + bytes(len(whole) - start))
        assert whole.index(b"moov") < start
    elif kind == "lying":  # its index promises two billion frames of which there are none
        damaged = bytearray(whole)
        for box, field in ((b"stts", 12), (b"stsz", 12)):
            at = damaged.index(box) + field
            damaged[at : at + 4] = struct.pack(">I", 2_000_000_000)
        path.write_bytes(damaged[: damaged.index(b"mdat") + 4])


def front(path: Path) -> None:
    """Write a clip again with its header in front, as on the web."""
    whole = path.with_name("whole.mp4")
    path.rename(whole)
    with (
        av.open(str(whole)) as source,
        av.open(str(path), "w", options={"movflags": "faststart"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    whole.unlink()


@pytest.mark.parametrize("kinds", [("text", "empty", "truncated"), ("audio", "damaged", "lying")])
def test_three_broken_videos_in_twenty_are_skipped_and_listed(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    data = tmp_path / "videos"
    for number, name in enumerate(("a", "b")):
        for clip in range(10):
            write_clip(data / name / f"{clip}.mp4", number, seed=clip)
    for path, kind in zip(("a/3.mp4", "b/0.mp4", "b/7.mp4"), kinds, strict=True):
        if kind in ("damaged", "lying"):
            front(data / path)
        break_by(data / path, kind)
    run = tmp_path / "run"
    assert train(settings(data), run)
    rows = list(csv.DictReader((run / "skipped.csv").open()))
    assert [row["id"] for row in rows] == ["a/3.mp4", "b/0.mp4", "b/7.mp4"]
    assert all(row["problem"] for row in rows)
    # The same videos, found while training instead of before it: their places are filled by others.
    late = tmp_path / "late"
    assert train(settings(data, "data.scan=0", "optim.epochs=6"), late)
    assert {row["id"] for row in csv.DictReader((late / "skipped.csv").open())} == {
        "a/3.mp4",
        "b/0.mp4",
        "b/7.mp4",
    }


@pytest.mark.parametrize("devices", [1, 2])
def test_a_class_whose_last_video_turns_out_broken_stops_the_run(
    tmp_path: Path, call: Call, devices: int
) -> None:
    data = tmp_path / "videos"
    for number, name in enumerate(("a", "b")):
        for clip in range(8):
            write_clip(data / "train" / name / f"{clip}.mp4", number, seed=clip)
    for clip in range(8):
        path = data / "train" / "b" / f"{clip}.mp4"
        if clip < 2:  # readable at its head, which is all that the scan would see
            front(path)
            break_by(path, "damaged")
        else:
            path.unlink()
    late = (*SMALL, "data.scan=0", "data.allow_no_test=true", "optim.batch=2", "optim.epochs=8")
    words = ("train", data, "--out", tmp_path / "run", *sets(late), "--devices", devices)
    if devices == 1:
        code, _, spoken = call(*words)
    else:
        done = subprocess.run(command(*words), env=ONE_THREAD, capture_output=True, text=True, timeout=240)
        code, spoken = done.returncode, done.stderr
    assert code == 1
    assert "class b " in spoken


class Spoken(Reporter):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


def two_videos(folder: Path) -> Manifest:
    """Two training videos of one class, a test video of the same."""
    for name in ("0.mp4", "1.mp4", "2.mp4"):
        (folder / name).write_bytes(b"")
    (folder / "list.csv").write_text("path,label,split\n0.mp4,a,train\n1.mp4,a,train\n2.mp4,a,test\n")
    return load_records(folder / "list.csv")


def test_a_video_that_comes_twice_is_reported_once(tmp_path: Path) -> None:
    spoken = Spoken()
    note = SkipList(tmp_path / "skipped.csv", {}, two_videos(tmp_path), None, spoken)
    note([Skip("0.mp4", "it is empty")] * 2)
    note([Skip("0.mp4", "it is empty")])
    assert spoken.lines == ["Skipped: it is empty"]


def test_a_class_of_which_two_processes_each_lose_a_part_stops_the_run(tmp_path: Path) -> None:
    lists = [
        SkipList(tmp_path / name, {}, two_videos(tmp_path), None, Reporter())
        for name in ("skipped.csv", "skipped.1.csv")
    ]
    lists[1]([Skip("1.mp4", "empty"), Skip("2.mp4", "empty")])
    with pytest.raises(px.DataError, match="class a "):
        lists[0]([Skip("0.mp4", "empty")])


def test_too_many_broken_videos_stop_the_run_with_the_list(tmp_path: Path) -> None:
    data = tmp_path / "videos"
    for number, name in enumerate(("a", "b")):
        for clip in range(5):
            write_clip(data / name / f"{clip}.mp4", number, seed=clip)
    for clip in range(2):
        (data / "a" / f"{clip}.mp4").write_bytes(b"")
    with pytest.raises(px.TrainingError, match=r"\b2 of 10\b.*--max-skip 0\.1\b.*skipped\.csv"):
        train(settings(data, "data.max_skip=0.1"), tmp_path / "run")
    assert len((tmp_path / "run" / "skipped.csv").read_text().splitlines()) == 3


def test_a_loss_that_is_not_finite_stops_and_names_the_videos(colour_set: Path, tmp_path: Path) -> None:
    wild = settings(colour_set, "optim.lr=1e30", "optim.clip_norm=null", "optim.warmup_epochs=0")
    with pytest.raises(px.TrainingError, match=r"\bstep \d+ .*(red|green|blue)/\d\.mp4.*optim\.lr"):
        train(wild, tmp_path / "run")


def test_a_run_cannot_lie_below_a_file(colour_set: Path, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(px.ArgumentError, match=r"--out .*a/b: .*/a\b"):
        train(settings(colour_set), tmp_path / "a" / "b")


def test_a_run_is_not_overwritten_nor_resumed_with_other_settings(
    finished: Path, colour_set: Path, tmp_path: Path
) -> None:
    run = tmp_path / "copy"
    shutil.copytree(finished, run)
    with pytest.raises(px.ArgumentError, match=r"--out .*--resume"):
        train(settings(colour_set, "optim.epochs=8"), run)
    with pytest.raises(px.ArgumentError, match=r"optim\.lr 0\.001 → 0\.1"):
        train(settings(colour_set, "optim.epochs=8", "optim.lr=0.1"), run, resume=True)
    with pytest.raises(px.ArgumentError, match=r"--resume: .*new\b"):
        train(settings(colour_set), tmp_path / "new", resume=True)


def test_multi_label_videos_train_and_test(tmp_path: Path) -> None:
    rows = ["path,label,split"]
    for clip in range(12):
        write_clip(tmp_path / f"{clip}.mp4", clip % 3, seed=clip)
        labels = ("warm", "warm|cold", "cold")[clip % 3]
        rows.append(f"{clip}.mp4,{labels},{'test' if clip >= 9 else 'train'}")
    (tmp_path / "list.csv").write_text("\n".join(rows) + "\n")
    run = tmp_path / "run"
    assert train(settings(tmp_path / "list.csv"), run)
    figures = run_test(run, tmp_path / "list.csv", workers=0).figures
    assert {"map", "hit1"} <= figures.keys()
    prediction = px.load(run).predict(tmp_path / "0.mp4")
    assert all(0 <= score <= 1 for score in prediction.scores)


def test_a_classifier_alone_is_not_trained_on_random_weights(
    finished: Path, colour_set: Path, tmp_path: Path
) -> None:
    published = override(get_recipe("two-stream-spatial-last-layer"), [f"data.source={colour_set}"])
    with pytest.raises(
        px.ArgumentError, match=r"frozen_epochs = all\b.*\b20000\b.*--weights FILE.*--pretrained"
    ):
        train(published, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    few = ("optim.epochs=1", "optim.frozen_epochs=1")
    start = find_checkpoint(finished) / "model.safetensors"
    assert train(settings(colour_set, *few, f"model.weights={start}"), tmp_path / "run")


def train_folder(root: Path, *labels: str) -> Path:
    for number, label in enumerate(labels):
        for clip in range(4):
            write_clip(root / "train" / label / f"{clip}.mp4", number, frames=6, seed=10 * number + clip)
    return root


QUICK = ("optim.epochs=1", "optim.batch=2")


@pytest.mark.parametrize("labels", [("red",), ("red", "green")])
def test_a_set_without_held_out_videos_is_refused_unless_allowed(
    tmp_path: Path, labels: tuple[str, ...]
) -> None:
    data, run = train_folder(tmp_path / "videos", *labels), tmp_path / "run"
    one = ("data.allow_one_class=true",)
    with pytest.raises(px.DataError, match="--allow-no-test"):
        train(settings(data, *QUICK, *one), run)
    assert not run.exists()
    assert train(settings(data, *QUICK, *one, "data.allow_no_test=true"), run)
    assert px.load(run).labels == tuple(sorted(labels))


@pytest.mark.parametrize("model", ["tsn", "probe"])
def test_a_set_without_training_videos_is_refused(
    model: str, colour_set: Path, tmp_path: Path, call: Call
) -> None:
    rows = [f"{colour_set}/{label}/{n}.mp4,{label},test" for label in ("red", "green") for n in range(2)]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split", *rows]))
    backbone = ("--set", "model.backbone=squeezenet1_1")
    result = call("train", tmp_path / "list.csv", "--model", model, *backbone, "--out", tmp_path / "run")
    assert result.code == 1
    assert "none of its 4 videos" in result.err
    assert not (tmp_path / "run").exists()


def test_one_class_is_refused_unless_allowed(tmp_path: Path, call: Call) -> None:
    data, run = train_folder(tmp_path / "videos", "red"), tmp_path / "run"
    write_clip(data / "val" / "red" / "x.mp4", 0, frames=6)
    with pytest.raises(px.DataError, match=r"'red'.*--allow-one-class"):
        train(settings(data, *QUICK), run)
    words = ("train", data, "--out", run, *sets((*SMALL, *QUICK)))
    assert call(*words).code == 1
    assert not run.exists()
    assert call(*words, "--allow-one-class").code == 0
    assert px.load(run).labels == ("red",)


def test_each_of_several_sets_needs_held_out_videos(colour_set: Path, tmp_path: Path) -> None:
    own = train_folder(tmp_path / "videos", "red", "green")
    both = ("data.source=''", f"data.tasks={{colours: {{source: '{colour_set}'}}, own: {{source: '{own}'}}}}")
    with pytest.raises(px.DataError, match=r"^own: .*--allow-no-test"):
        train(settings(colour_set, *QUICK, *both), tmp_path / "run")


def test_what_is_allowed_stays_allowed_in_a_resume(tmp_path: Path) -> None:
    data, run = train_folder(tmp_path / "videos", "red", "green"), tmp_path / "run"
    assert train(settings(data, *QUICK, "data.allow_no_test=true"), run)
    assert train(settings(data, *QUICK), run, resume=True)


def test_held_out_videos_that_all_are_broken_are_spoken_of(tmp_path: Path) -> None:
    data = train_folder(tmp_path / "videos", "red", "green")
    (data / "test" / "red").mkdir(parents=True)
    (data / "test" / "red" / "x.mp4").write_text("no video\n" * 100)
    spoken = Spoken()
    assert train(settings(data, *QUICK), tmp_path / "run", reporter=spoken)
    assert sum("no held-out video can be read" in line for line in spoken.lines) == 1


def test_check_and_train_ask_about_a_misspelt_label(tmp_path: Path) -> None:
    data = train_folder(tmp_path / "videos", "Archery", "Diving", "SkyDiving")
    write_clip(data / "train" / "Archrey" / "0.mp4", 1, frames=6)
    write_clip(data / "test" / "Diving" / "0.mp4", 1, frames=6)
    asked = [*report_lines(check(data)), "--"]
    spoken = Spoken()
    assert train(settings(data, *QUICK), tmp_path / "run", reporter=spoken)
    asked += spoken.lines
    about = [place for place, line in enumerate(asked) if "did you mean" in line]
    assert len(about) == 2
    assert about[0] < asked.index("--") < about[1]
    assert all("'Archrey' (1)" in asked[place] and "'Archery' (4)" in asked[place] for place in about)
