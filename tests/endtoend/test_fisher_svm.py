"""``--model fisher-svm``: trained on trajectories or videos, tested, loaded and fused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import praxiscope as px
from praxiscope.data.manifest import load_records
from praxiscope.errors import ArgumentError, DataError
from praxiscope.evaluation.scores import Scores
from praxiscope.inference.trajectories import TrajectoryRecogniser, trajectories_by_time
from praxiscope.models import create_model
from praxiscope.models.registered import models, register_model
from praxiscope.trajectories.settings import Extraction, TrajectorySettings
from praxiscope.trajectories.store import StoredTrajectories
from praxiscope.trajectories.videos import extract_video
from praxiscope.video.opening import open_video
from support import Call, encode, write_clip, write_moving

SMALL = ("--model", "fisher-svm", "--set", "model.gaussians=4", "--set", "model.samples=2000")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Textures that move to the right or to the left."""
    root = tmp_path_factory.mktemp("trajectories") / "videos"
    for name, step in (("left", -2), ("right", 2)):
        for number in range(5):
            write_moving(root / name / f"{number}.mp4", step, number, frames=17)
    return root


@pytest.fixture(scope="module")
def stored(videos: Path) -> Path:
    from praxiscope.commands.trajectories import trajectories

    trajectories(videos, videos.parent / "idt", Extraction(), workers=1)
    return videos.parent / "idt"


@pytest.fixture(scope="module")
def run(stored: Path) -> Path:
    out = stored.parent / "run"
    values = {"model.gaussians": 4, "model.samples": 2000, "data.workers": 0}
    assert px.train(stored, model="fisher-svm", out=out, **values)
    return out


def test_a_run_is_trained_on_trajectories_and_tested_on_them_and_on_the_videos(
    call: Call, videos: Path, stored: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    made = call("train", stored, *SMALL, "--out", run)
    assert made.code == 0, made.err
    assert (run / "report.html").is_file()
    for data, name in ((stored, "stored.npz"), (videos, "videos.npz")):
        words = ("--subset", "train", "--workers", "1", "--json")
        tested = call("test", run, data, "--out", tmp_path / name, *words)
        assert tested.code == 0, tested.err
        assert json.loads(tested.out)["top1"] == 1
        assert json.loads(tested.out)["videos"] == 8
    one, other = (Scores.load(tmp_path / name) for name in ("stored.npz", "videos.npz"))
    assert one.ids == other.ids
    assert np.allclose(one.logits, other.logits, atol=2e-3)  # stored in float16
    assert one.protocol["streams"] == ["trajectories"]


def test_videos_are_extracted_into_the_folder_of_the_run(call: Call, videos: Path, tmp_path: Path) -> None:
    made = call("train", videos, *SMALL, "--out", tmp_path / "run", "--workers", "1")
    assert made.code == 0, made.err
    assert "left/0.mp4" in StoredTrajectories(tmp_path / "run" / "trajectories")
    again = call("train", videos, *SMALL, "--out", tmp_path / "run", "--workers", "1", "--resume")
    assert again.code == 0, again.err
    other = call(
        "train",
        videos,
        "--model",
        "fisher-svm",
        "--set",
        "model.gaussians=8",
        "--out",
        tmp_path / "run",
        "--resume",
    )
    assert other.code == 2


def test_it_predicts_from_a_file_and_frames_in_memory(run: Path, videos: Path) -> None:
    recogniser = px.load(run)
    assert isinstance(recogniser, TrajectoryRecogniser)
    path = videos / "left" / "0.mp4"
    assert recogniser.predict(path).labels[0] == "left"
    frames = open_video(path).frames(range(17)).permute(0, 2, 3, 1).numpy()
    assert torch.allclose(recogniser.video_logits(frames), recogniser.video_logits(path), atol=1e-5)
    assert torch.equal(recogniser.video_logits(path, "25x10"), recogniser.video_logits(path))  # no views
    assert "trajectories" in repr(recogniser)
    expected = recogniser.model.describe(extract_video(px.types.VideoRecord("a", path, ()), Extraction()))
    assert torch.allclose(recogniser.model.score(expected[None])[0], recogniser.video_logits(path), atol=1e-5)


def test_a_saved_model_scores_the_same(run: Path, videos: Path, tmp_path: Path) -> None:
    recogniser = px.load(run)
    recogniser.save(tmp_path / "model")
    path = videos / "right" / "1.mp4"
    assert torch.equal(px.load(tmp_path / "model").video_logits(path), recogniser.video_logits(path))


def test_a_video_without_trajectories_is_scored_by_the_biases(run: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "short.mp4", 100, frames=3)
    recogniser = px.load(run)
    assert torch.allclose(recogniser.video_logits(tmp_path / "short.mp4"), recogniser.model.svm.bias)


def test_windows_hold_the_trajectories_whose_middle_is_in_them(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    noise = np.random.default_rng(0).integers(0, 255, (48, 200, 3), dtype=np.uint8)
    encode(path, np.stack([noise[:, number : number + 64] for number in range(75)]))
    recogniser = px.load(run)
    video = open_video(path)
    found = list(trajectories_by_time(video, Extraction(), 1.0, 0.5))
    whole = extract_video(px.types.VideoRecord("a", path, ()), Extraction())
    middle = video.timestamps()[whole.info[:, 0].astype(int) - 7]
    for start_s, end_s, part in found:
        assert len(part) == ((middle >= start_s) & (middle < end_s)).sum()
    segments = list(recogniser.timeline(path, window_s=1.0, stride_s=0.5))
    assert [(one.start_s, one.end_s) for one in segments] == [
        (one[0], pytest.approx(one[1])) for one in found
    ]
    assert segments[0].start_s == 0
    assert segments[-1].end_s == pytest.approx(video.duration_s)
    with pytest.raises(ArgumentError, match="window"):
        next(recogniser.window_logits(path, window_s=0))


def test_windows_are_those_of_a_network(run: Path, tmp_path: Path) -> None:
    from praxiscope.checkpoint import InputContract
    from praxiscope.inference.timeline import windows

    write_clip(tmp_path / "long.mp4", 0, frames=83)
    few = Extraction(TrajectorySettings(stride=16, scales=1, camera_motion=False))
    for window_s, stride_s in ((1.0, 0.5), (2.0, 1.0), (0.3, 0.7), (10.0, 1.0)):
        expected = windows(tmp_path / "long.mp4", window_s, stride_s, InputContract(size=32, short_side=36))
        times = [(pytest.approx(one.start_s), pytest.approx(one.end_s)) for one in expected]
        found = trajectories_by_time(open_video(tmp_path / "long.mp4"), few, window_s, stride_s)
        assert [one[:2] for one in found] == times


def test_it_is_fused_with_itself(call: Call, run: Path, videos: Path, tmp_path: Path) -> None:
    made = call("fuse", run, run, "--kind", "l2", "--out", tmp_path / "both")
    assert made.code == 0, made.err
    fused, path = px.load(tmp_path / "both"), videos / "left" / "2.mp4"
    assert fused.predict(path).labels[0] == "left"
    assert len(list(fused.timeline(path))) == len(list(px.load(run).timeline(path)))


@pytest.mark.parametrize(
    "words",
    [
        ("--set", "model.extraction=x"),
        ("--backbone", "resnet18"),
        ("--epochs", "3"),
        ("--size", "64"),
        ("--set", "model.gausians=3"),
        ("--set", "model.gaussians=0"),
        ("--set", "model.c=-1"),
        ("--set", "model.descriptors=[hog, hofs]"),
        ("--set", "model.descriptors=[]"),
        ("--set", "model.descriptors=hog"),
        ("--set", "model.descriptors=3"),
        ("--set", "model.gaussians=2.5"),
        ("--set", "model.gaussians=abc"),
        ("--set", "model.samples=100.5"),
        ("--set", "model.c=abc"),
        ("--flow", "nowhere"),
    ],
)
def test_options_without_a_meaning_are_refused_in_a_line(
    call: Call, stored: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    result = call("train", stored, "--model", "fisher-svm", *words, "--out", tmp_path / "run")
    assert (result.code, result.out) == (2, ""), result.err
    assert len(result.err.strip().splitlines()) == 1, result.err
    assert not (tmp_path / "run").exists()


def test_other_trajectories_than_those_of_the_training_are_refused(
    run: Path, videos: Path, tmp_path: Path
) -> None:
    from praxiscope.commands.trajectories import trajectories

    trajectories(videos, tmp_path / "idt", Extraction(most=5), workers=1)
    recogniser = px.load(run)
    records = load_records(tmp_path / "idt").records
    with pytest.raises(DataError, match="differently"):
        recogniser.score_stored(
            StoredTrajectories(tmp_path / "idt"), records, [torch.tensor(0)] * len(records)
        )


def test_a_registered_model_of_trajectories_needs_its_interface() -> None:
    @register_model("bare-trajectories", learns="trajectories")
    def bare(*, num_classes: int) -> torch.nn.Module:
        return torch.nn.Linear(2, num_classes)

    try:
        with pytest.raises(ArgumentError, match="sees"):
            create_model("bare-trajectories", num_classes=2)
    finally:
        models._entries.pop("bare-trajectories")


def test_the_recipe_encodes_hog_hof_and_mbh(call: Call, stored: Path, tmp_path: Path) -> None:
    small = ("--set", "model.gaussians=2", "--set", "model.samples=500")
    made = call("train", stored, "--recipe", "idt", *small, "--out", tmp_path / "run")
    assert made.code == 0, made.err
    model = px.load(tmp_path / "run").model
    assert list(model.mixtures) == ["hog", "hof", "mbhx", "mbhy"]
    assert model.svm.weight.shape == (2, 2 * 2 * (48 + 54 + 48 + 48))
    assert model.svm.c == 100


@pytest.mark.parametrize("picture", ["cam", "occlusion", "filters", "winners"])
def test_pictures_of_networks_are_refused_in_a_line(
    call: Call, run: Path, videos: Path, picture: str
) -> None:
    words = () if picture == "filters" else (videos / "left" / "0.mp4",)
    result = call("explain", picture, run, *words)
    assert (result.code, result.out) == (2, ""), result.err
    assert len(result.err.strip().splitlines()) == 1
    assert "fisher-svm" in result.err


def test_live_video_is_refused_in_a_line(call: Call, run: Path, videos: Path) -> None:
    result = call("predict", run, videos / "left" / "0.mp4", "--live")
    assert result.code == 2, result.err
    assert "fisher-svm" in result.err.strip().splitlines()[-1]
    assert "Traceback" not in result.err


@pytest.mark.parametrize("few", ["model.samples=20", "model.gaussians=100000"])
def test_too_few_trajectories_are_said_in_a_line(call: Call, stored: Path, tmp_path: Path, few: str) -> None:
    small = ("--set", "model.gaussians=2") if "samples" in few else ()
    result = call("train", stored, "--model", "fisher-svm", *small, "--set", few, "--out", tmp_path / "run")
    assert result.code == 1, result.err
    assert "too few" in result.err.strip().splitlines()[-1]
    assert "Traceback" not in result.err


def test_a_video_of_small_frames_is_named_and_the_next_is_predicted(
    call: Call, run: Path, videos: Path, tmp_path: Path
) -> None:
    write_clip(tmp_path / "small.mp4", 0, size=(24, 40))
    result = call("predict", run, tmp_path / "small.mp4", videos / "left" / "0.mp4")
    assert "small.mp4" in result.err
    assert "0.mp4,1,left" in result.out
