"""Damaged videos: what is lost is said and listed, by every command, and moves nothing else."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from praxiscope.cli.main import app
from praxiscope.commands.flow import StoreOptions, extract_flow
from praxiscope.commands.pack import PackFormat, pack
from praxiscope.data.dataset import ClipReader, RgbReader, frame_range
from praxiscope.data.flow_reader import StoredFlowReader
from praxiscope.flow.store import FlowStore
from praxiscope.inference.streaming import frame_chunks
from praxiscope.types import VideoRecord
from praxiscope.video.opening import open_video
from support import SMALL
from video_files import damaged, forget_indices, make_colours


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of four clips: the first ones have lost frames 25 to 74 of 100."""
    root = tmp_path_factory.mktemp("damaged")
    for name, red in (("early", 50), ("late", 80)):
        (root / name).mkdir()
        for clip in range(4):
            path = make_colours(root / f"{name}{clip}.mp4", red=red, blue=100 - red, b_frames=clip % 2)
            target = root / name / f"{clip}.mp4"
            if clip == 0:
                damaged(path, target, 25, 75)
            else:
                path.rename(target)
            path.unlink(missing_ok=True)
    return root


@pytest.fixture(autouse=True)
def _forget() -> None:
    forget_indices()


def listed(path: Path) -> dict[str, str]:
    with path.open(newline="", encoding="utf-8") as file:
        return {row["id"]: row["problem"] for row in csv.DictReader(file)}


def assert_lists_the_damaged(path: Path) -> None:
    found = listed(path)
    assert sorted(found) == ["early/0.mp4", "late/0.mp4"]
    for problem in found.values():
        assert "of 100 frames" in problem
        assert "1.00" in problem


def test_packing_lists_what_is_lost(data: Path, tmp_path: Path) -> None:
    pack(data, tmp_path / "packed", format=PackFormat(48), workers=1)
    assert_lists_the_damaged(tmp_path / "packed" / "damaged.csv")
    assert not listed(tmp_path / "packed" / "skipped.csv")
    pack(data, tmp_path / "packed", format=PackFormat(48), workers=1)  # goes on, and keeps the list
    assert_lists_the_damaged(tmp_path / "packed" / "damaged.csv")


def test_flow_lists_what_is_lost_and_lies_where_its_frames_are(data: Path, tmp_path: Path) -> None:
    extract_flow(data, tmp_path / "flow", StoreOptions(parameters={"warps": 1, "iterations": 2}, workers=1))
    assert_lists_the_damaged(tmp_path / "flow" / "damaged.csv")
    forget_indices()
    store = FlowStore(tmp_path / "flow")
    record = VideoRecord("early/0.mp4", data / "early" / "0.mp4", ("early",))
    video = open_video(record.path)
    assert video.quick_length() == 100
    reader = StoredFlowReader(kind="stack", length=1, store=store)
    numbers = torch.tensor([3, 90])
    clip = store.clip("early/0.mp4")
    lost = 100 - clip.frames
    assert lost >= 50
    found = reader._fields(record, video, numbers, False)
    assert torch.equal(found, clip.fields([3, 90 - lost]))


def test_a_part_of_a_damaged_video_is_streamed_by_its_times(data: Path) -> None:
    record = VideoRecord("a", data / "early" / "0.mp4", ("early",), start_s=3.0, end_s=3.6)
    chunks = list(frame_chunks(record, short_side=24, chunk=4)())
    frames = torch.cat(chunks).float().mean((2, 3))
    assert 10 <= len(frames) <= 15
    assert (frames[:, 2] > frames[:, 0]).all()
    forget_indices()
    assert frame_range(record, open_video(record.path)) == (75, 90)


def test_a_clip_says_what_its_reading_found_lost(data: Path) -> None:
    records = [VideoRecord(f"early/{k}.mp4", data / "early" / f"{k}.mp4", ("early",)) for k in range(2)]
    reader = ClipReader(
        records,
        [torch.tensor(0)] * 2,
        sampler=lambda count, generator: torch.arange(0, count, 10),
        readers={"rgb": RgbReader(32)},
        random=False,
    )
    assert "of 100 frames" in reader.read(0).damage
    assert reader.read(1).damage == ""


def test_train_test_and_predict_say_and_list_what_is_lost(data: Path, tmp_path: Path) -> None:
    run, runner = tmp_path / "run", CliRunner()
    settings = [x for item in (*SMALL, "input.snippets=8") for x in ("--set", item)]
    done = runner.invoke(app, ["train", str(data), "--out", str(run), "--seed", "0", *settings])
    assert done.exit_code == 0, done.output
    trained = listed(run / "damaged.csv") if (run / "damaged.csv").is_file() else {}
    everything = data / "test.csv"
    rows = [f"{name}/{clip}.mp4,{name},test" for name in ("early", "late") for clip in range(4)]
    everything.write_text("path,label,split\n" + "\n".join(rows) + "\n", encoding="utf-8")
    scores = tmp_path / "s.npz"
    done = runner.invoke(app, ["test", str(run), str(everything), "--workers", "0", "--out", str(scores)])
    assert done.exit_code == 0, done.output
    assert_lists_the_damaged(tmp_path / "damaged_test.csv")
    assert set(trained) <= {"early/0.mp4", "late/0.mp4"}
    assert trained, "at least one of the two is among the training videos of this seed"
    # Damage that only validation meets.
    held_out = data / "held_out.csv"
    rows = [
        f"{name}/{clip}.mp4,{name},{'train' if clip else 'test'}"
        for name in ("early", "late")
        for clip in range(4)
    ]
    held_out.write_text("path,label,split\n" + "\n".join(rows) + "\n", encoding="utf-8")
    done = runner.invoke(app, ["train", str(held_out), "--out", str(tmp_path / "watched"), *settings])
    assert done.exit_code == 0, done.output
    assert_lists_the_damaged(tmp_path / "watched" / "damaged.csv")
    forget_indices()
    for how in ([], ["--window", "1s"]):
        done = runner.invoke(app, ["predict", str(run), str(data / "early"), "--json", *how])
        assert done.exit_code == 0, done.output
        results = json.loads(done.stdout)
        assert [bool(result["damage"]) for result in results] == [True, False, False, False]
        assert done.stderr.count("Damaged: ") == 1
