"""Segments from the command line and from Python: found, written, drawn, learned and tested.

The network is not trained: its classifier is solved so that it names the colour of a frame, and is undecided at black.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import praxiscope as px
from praxiscope.checkpoint import InputContract, ModelCard, save_checkpoint
from praxiscope.data.manifest import load_records
from praxiscope.data.splitlist import write_split
from praxiscope.inference.segments import SegmentSettings, load_settings, save_settings
from praxiscope.models import create_model
from support import Call, encode, read_page

pytestmark = pytest.mark.usefixtures("_narrow")

LABELS = ("red", "green", "blue")
COLOURS = {"red": (200, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 200), "": (8, 8, 8)}
Parts = Sequence[tuple[str, float]]  # colour ("" for black) and seconds


def write_parts(path: Path, parts: Parts) -> Path:
    """A video whose colour changes; 12 frames a second."""
    frames = [
        np.full((48, 64, 3), COLOURS[name], np.uint8) for name, s in parts for _ in range(round(12 * s))
    ]
    encode(path, np.stack(frames), crf="5")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    kwargs = {"backbone": "resnet10", "num_classes": 3}
    model = create_model("tsn", **kwargs).eval()
    contract = InputContract(size=32, short_side=32, snippets=1)
    mean, std = (torch.tensor(values)[:, None, None] for values in (contract.mean, contract.std))
    colours = torch.tensor(list(COLOURS.values())).repeat(20, 1) + torch.randint(-8, 9, (80, 3))
    frames = colours.float()[:, :, None, None].expand(-1, -1, 32, 32) / 255
    with torch.no_grad():
        rows = model(((frames - mean) / std)[:, None]).features[:, 0].double()
        wanted = 5 * torch.eye(4, dtype=torch.float64)[:, :3].repeat(20, 1)
        last = [part for part in model.modules() if isinstance(part, torch.nn.Linear)][-1]
        last.weight.copy_((torch.linalg.pinv(rows, rtol=1e-4) @ wanted).T)
        last.bias.zero_()
    folder = tmp_path_factory.mktemp("runs") / "a"
    save_checkpoint(folder, model, ModelCard("tsn", kwargs, LABELS, input=contract))
    return folder


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parts = [("", 2), ("red", 3), ("", 2), ("blue", 2), ("green", 3), ("", 2)]
    return write_parts(tmp_path_factory.mktemp("films") / "film.mp4", parts)


TRUTH = [(2, 5, "red"), (7, 9, "blue"), (9, 12, "green")]


def test_python_finds_who_does_what_from_when_to_when(run: Path, film: Path) -> None:
    found = px.segments(run, film, window_s=0.5, stride_s=0.25, device="cpu")
    assert [segment.label for segment in found] == [label for *_, label in TRUTH]
    for segment, (start_s, end_s, _) in zip(found, TRUTH, strict=True):
        assert segment.start_s == pytest.approx(start_s, abs=0.6)
        assert segment.end_s == pytest.approx(end_s, abs=0.6)
        assert 0.5 < segment.score <= 1
    recogniser = px.load(run, device="cpu")
    assert px.segments(recogniser, film, window_s=0.5, stride_s=0.25) == found
    frames = px.open_video(film).frames(range(12 * 14)).permute(0, 2, 3, 1)
    own = SegmentSettings(window_s=0.5, stride_s=0.25, high=0.6, low=0.5, min_s=2.5)
    in_memory = px.segments(recogniser, frames, settings=own, fps=12)
    assert [segment.label for segment in in_memory] == ["red", "green"]


def test_the_command_prints_and_writes_segments_in_all_formats(
    run: Path, film: Path, call: Call, tmp_path: Path
) -> None:
    words = ("predict", run, film, "--segments", "--window", "500ms", "--stride", "250ms", "--device", "cpu")
    files = {kind: tmp_path / f"out.{kind}" for kind in ("srt", "vtt", "elan")}
    options = [word for kind, path in files.items() for word in (f"--{kind}", path)]
    result = call(*words, *options, "--csv", tmp_path / "out.csv")
    assert result.code == 0, result.err
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert list(rows[0]) == ["start_s", "end_s", "label", "score"]
    assert [row["label"] for row in rows] == ["red", "blue", "green"]
    printed = list(csv.DictReader(result.out.splitlines()))
    assert list(printed[0]) == ["source", "start_s", "end_s", "label", "score"]
    assert [{key: row[key] for key in rows[0]} for row in printed] == rows
    assert files["srt"].read_text().startswith("1\n00:00:0")
    assert files["vtt"].read_text().startswith("WEBVTT\n\n00:00:0")
    assert files["elan"].read_text().count("<ANNOTATION>") == 3
    shown = json.loads(call(*words, "--json").out)
    assert [segment["label"] for segment in shown[0]["segments"]] == ["red", "blue", "green"]
    assert set(shown[0]["segments"][0]) == {"start_s", "end_s", "label", "score"}


def test_several_videos_fill_a_folder_and_a_broken_one_is_an_error_of_its_own(
    run: Path, film: Path, call: Call, tmp_path: Path
) -> None:
    other = write_parts(tmp_path / "other.mp4", [("green", 2)])
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    words = ("predict", run, film, other, tmp_path / "broken.mp4", "--segments", "--device", "cpu")
    result = call(*words, "--vtt", tmp_path / "subtitles", "--picture", tmp_path / "pictures")
    assert result.code == 1
    assert "broken.mp4" in result.err
    assert sorted(path.name for path in (tmp_path / "subtitles").iterdir()) == ["film.vtt", "other.vtt"]
    for name in ("film", "other"):
        assert (tmp_path / "pictures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    refused = call(*words, "--vtt", tmp_path / "one.vtt")
    assert (refused.code, refused.out) == (2, "")


@pytest.mark.parametrize(
    "options",
    [
        ("--srt", "a.srt"),
        ("--segments", "--protocol", "25x1"),
        ("--segments", "--json", "--csv"),
        ("--segments", "--csv", "a.csv", "b.csv"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_is_read(
    call: Call, run: Path, film: Path, options: tuple[str, ...]
) -> None:
    assert call("predict", run, film, *options).code == 2


def listed(folder: Path, films: dict[str, tuple[str, Parts]]) -> Path:
    """Videos with a list of their segments; by name the split and the parts."""
    rows = ["path,label,start_s,end_s,split"]
    for name, (split, parts) in films.items():
        write_parts(folder / f"{name}.mp4", parts)
        now = 0.0
        for label, length in parts:
            if label or split == "test":
                rows.append(f"{name}.mp4,{label},{now},{now + length},{split}")
            now += length
    (folder / "list.csv").write_text("\n".join(rows) + "\n")
    return folder / "list.csv"


FILMS: dict[str, tuple[str, Parts]] = {
    "a": ("train", [("", 1), ("red", 2), ("", 1), ("blue", 3)]),
    "b": ("train", [("green", 2), ("", 2), ("red", 2)]),
    "c": ("test", [("", 2), ("blue", 3), ("green", 2), ("", 1)]),
}


def test_a_list_with_starts_and_ends_is_tested_after_learning_on_its_training_videos(
    run: Path, call: Call, tmp_path: Path
) -> None:
    lines = listed(tmp_path, FILMS)
    (run / "segments.json").unlink(missing_ok=True)
    words = ("test", run, lines, "--segments", "--window", "500ms", "--stride", "250ms", "--device", "cpu")
    result = call(*words, "--json", "--out", tmp_path / "result.json")
    assert result.code == 0, result.err
    figures = json.loads(result.out)
    assert figures["videos"] == 1
    assert figures["segments"] == figures["predicted"] == 2
    assert figures["map@0.5"] == figures["f1@50"] == figures["edit"] == 1.0
    assert figures["frame_accuracy"] > 0.8
    learned = load_settings(run)
    assert learned is not None
    assert (learned.learned_from, learned.window_s, learned.stride_s) == (2, 0.5, 0.25)
    saved = json.loads((tmp_path / "result.json").read_text())
    assert saved["figures"]["map@0.7"] == figures["map@0.7"]
    assert [one["label"] for one in saved["truth"]["c.mp4"]] == ["blue", "green"]
    assert [one["label"] for one in saved["predicted"]["c.mp4"]] == ["blue", "green"]
    page = read_page(Path(figures["report"]))
    assert "mAP at tIoU 0.5" in page.text
    assert "Frame accuracy" in page.text
    assert page.tags.count("picture") == 1
    assert "mAP at tIoU 0.5" in read_page(run / "report.html").text
    assert Path(figures["report"]).with_suffix(".json").is_file()
    # What was learned is used from now on: here settings that find nothing.
    save_settings(run, SegmentSettings(high=1, low=1, smooth_s=0))
    again = json.loads(call("test", run, lines, "--segments", "--device", "cpu", "--json").out)
    assert again["predicted"] == 0
    default = call("test", run, lines, "--segments", "--thresholds", "default", "--device", "cpu", "--json")
    assert json.loads(default.out)["predicted"] == 2
    (run / "segments.json").unlink()
    found = px.test_segments(run, lines, thresholds="default", subset="train", device="cpu")
    assert sorted(found.predicted) == sorted(found.truth) == ["a.mp4", "b.mp4"]
    assert found.settings.learned_from == 0


def test_thresholds_are_learned_from_videos_that_the_network_has_not_learned(
    run: Path, call: Call, tmp_path: Path
) -> None:
    lines = listed(tmp_path, FILMS)
    records = {record.id: record for record in load_records(lines).records}
    learned = [replace(record, split="train") for name, record in records.items() if name.startswith("a.mp4")]
    try:
        write_split(run, learned)
        found = px.test_segments(run, lines, thresholds="learn", device="cpu")
        assert found.settings.learned_from == 1
        write_split(run, [replace(record, split="train") for record in records.values()])
        found = px.test_segments(run, lines, thresholds="learn", device="cpu")
        assert found.settings.learned_from == 2
        assert any("thresholds" in note for note in found.notes)
        assert any("c.mp4" in note for note in found.notes)  # tested, although it was learned
    finally:
        (run / "split.csv").unlink()
        (run / "segments.json").unlink()


def test_labels_that_the_model_lacks_and_lists_without_times_are_refused(
    run: Path, film: Path, call: Call, tmp_path: Path
) -> None:
    text = "path,label,start,end\n{},{},0,2\n{},{},3,4\n"
    (tmp_path / "list.csv").write_text(text.format(film, "red", film, "purple"))
    result = call("test", run, tmp_path / "list.csv", "--segments", "--device", "cpu")
    assert result.code == 1
    assert "purple" in result.err
    (tmp_path / "list.csv").write_text(f"path,label\n{film},red\n")
    result = call("test", run, tmp_path / "list.csv", "--segments", "--device", "cpu")
    assert result.code == 1
    assert "path,label,start,end" in result.err
    assert call("test", run, film.parent, "--thresholds", "default").code == 2
    assert call("test", run, tmp_path / "list.csv", "--segments", "--out", "a.npz").code == 2
