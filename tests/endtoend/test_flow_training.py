"""Training, testing and predicting with flow, on clips whose classes differ in their motion alone."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import torch

import praxiscope as px
import praxiscope.training.loop as loop
from praxiscope.checkpoint import find_checkpoint, load_card
from praxiscope.commands.flow import StoreOptions, extract_flow
from praxiscope.commands.train import train
from praxiscope.data.batch import mix_seeds
from praxiscope.evaluation.scores import Scores
from praxiscope.evaluation.views import inference_precision
from praxiscope.flow.store import FlowStore
from praxiscope.inference.fused import FusedRecogniser, save_fused
from praxiscope.inference.loading import build_from_card
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import TrainSettings, override
from runs import run_test
from support import FLOW_PARAMETERS as PARAMETERS
from support import SMALL, write_moving


def settings(videos: Path, flow: Path | None, *assignments: str) -> TrainSettings:
    given = [] if flow is None else [f"data.flow={flow}", "model.stream=flow"]
    # No mirrored copies are needed to tell left from right; `flip` has tests of its own.
    wanted = [*SMALL, "input.flip=false", "input.flow_length=4", "optim.epochs=12", f"data.source={videos}"]
    return override(get_recipe("default"), [*wanted, *given, *assignments])


@pytest.fixture(scope="module")
def motion(moving: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "motion"
    assert train(settings(*moving), run)
    return run


@pytest.fixture(scope="module")
def spatial(moving: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "spatial"
    assert train(settings(moving[0], None, "optim.epochs=1"), run)
    return run


def test_a_temporal_network_learns_what_only_motion_tells(motion: Path, moving: tuple[Path, Path]) -> None:
    result = run_test(motion, moving[0], protocol="2x1", flow=moving[1], workers=0)
    assert result.figures["videos"] == 4
    assert result.figures["top1"] == 1.0
    card = load_card(find_checkpoint(motion))
    assert card.kwargs["in_channels"] == card.input.channels == 8
    assert card.input.flow is not None
    assert card.input.flow.made == FlowStore(moving[1]).contract.to_dict()


def test_flow_estimated_on_the_spot_gives_the_scores_of_stored_flow(
    motion: Path, moving: tuple[Path, Path]
) -> None:
    stored = run_test(motion, moving[0], protocol="2x10", flow=moving[1], workers=0).scores
    estimated = run_test(motion, moving[0], protocol="2x10", workers=0).scores
    np.testing.assert_allclose(estimated.reordered(stored.ids).logits, stored.logits, rtol=1e-4, atol=1e-4)
    clip = moving[0] / "left" / "0.mp4"
    assert px.load(motion).predict(clip, protocol="2x1").labels[0] == "left"


@pytest.mark.parametrize("kind", ["trajectory", "stack-bidirectional", "trajectory-bidirectional"])
def test_every_kind_of_stack_trains_and_predicts(
    moving: tuple[Path, Path], tmp_path: Path, kind: str
) -> None:
    run = tmp_path / "run"
    assert train(
        settings(*moving, f"input.flow_kind={kind}", "optim.epochs=1", "input.subtract_mean=false"), run
    )
    stored = run_test(run, moving[0], protocol="2x1", flow=moving[1], workers=0).scores
    estimated = run_test(run, moving[0], protocol="2x1", workers=0).scores
    np.testing.assert_allclose(estimated.reordered(stored.ids).logits, stored.logits, rtol=1e-4, atol=1e-4)
    assert len(list(px.load(run).timeline(moving[0] / "left" / "0.mp4", window_s=0.5, stride_s=0.25))) >= 3


def test_a_timeline_of_motion_names_its_windows(motion: Path, tmp_path: Path) -> None:
    write_moving(tmp_path / "a.mp4", 2, seed=50)
    segments = list(px.load(motion).timeline(tmp_path / "a.mp4", window_s=0.5, stride_s=0.25, top=2))
    assert [segment.start_s for segment in segments] == [0.0, 0.25, 0.5, 0.75]
    assert {segment.labels[0] for segment in segments} == {"right"}


def test_a_timeline_shows_the_stacks_that_stored_flow_gives(motion: Path, moving: tuple[Path, Path]) -> None:
    from praxiscope.inference.timeline import windows
    from praxiscope.types import VideoRecord

    recogniser = px.load(motion, flow=moving[1])
    contract = recogniser.card.input
    path = moving[0] / "right" / "3.mp4"
    (window,) = windows(path, 14 / 12, 14 / 12, contract)
    record = VideoRecord("right/3.mp4", path, ())
    reader = recogniser.clip_reader(
        [record], [torch.tensor(-1)], px.evaluation.protocols.parse_protocol("1x1")
    )
    reading = reader.readers["flow"]
    # Two snippets, on screen at 1/4 and 3/4 of 14 frames.
    frames = reading(record, px.open_video(path), torch.tensor([3, 10]), 0, 14, None)
    expected = px.video.transforms.CenterCrop(32)({"flow": frames})["flow"]
    torch.testing.assert_close(window.streams["flow"], expected, rtol=1e-4, atol=1e-4)


def test_a_store_made_in_another_way_is_refused_with_both(
    motion: Path, moving: tuple[Path, Path], tmp_path: Path
) -> None:
    extract_flow(
        moving[0], tmp_path / "other", StoreOptions(parameters={"warps": 1, "iterations": 3}, workers=1)
    )
    with pytest.raises(px.DataError, match=r"other: .*iterations=10\b.*\b3\b.*warps=2\b.*\b1\b"):
        run_test(motion, moving[0], flow=tmp_path / "other", workers=0)


def test_missing_flow_is_said_before_training(
    moving: tuple[Path, Path], spatial: Path, tmp_path: Path
) -> None:
    with pytest.raises(px.ArgumentError, match=r"praxiscope flow.*--flow"):
        train(settings(moving[0], None, "model.stream=flow"), tmp_path / "a")
    with pytest.raises(px.ArgumentError, match=r"--flow .*'rgb'.*--stream flow"):
        train(settings(moving[0], None, f"data.flow={moving[1]}"), tmp_path / "b")
    with pytest.raises(px.DataError, match=r"nothing: "):
        train(settings(moving[0], tmp_path / "nothing"), tmp_path / "c")
    with pytest.raises(px.ArgumentError, match=r"spatial: .*flow"):
        px.load(spatial, flow=moving[1])
    shutil.copytree(moving[0], tmp_path / "more")
    (tmp_path / "more" / "right" / "8.mp4").rename(tmp_path / "more" / "right" / "new.mp4")
    assert train(settings(tmp_path / "more", moving[1], "optim.epochs=1"), tmp_path / "d")
    assert "praxiscope flow" in (tmp_path / "d" / "skipped.csv").read_text()


def test_backward_flow_that_is_not_stored_is_asked_for(moving: tuple[Path, Path], tmp_path: Path) -> None:
    extract_flow(moving[0], tmp_path / "flow", StoreOptions(parameters=PARAMETERS, workers=1))
    wanted = settings(moving[0], tmp_path / "flow", "input.flow_kind=stack-bidirectional")
    with pytest.raises(px.PraxiscopeError, match="--backward"):
        train(wanted, tmp_path / "run")


def test_two_streams_in_one_folder_answer_like_their_fused_scores(
    spatial: Path, motion: Path, moving: tuple[Path, Path], tmp_path: Path
) -> None:
    from praxiscope.commands.fuse import fuse

    both = tmp_path / "both"
    save_fused(both, [spatial, motion], kind="weighted", weights=[1, 1.5])
    for run, name, flow in ((spatial, "rgb", None), (motion, "flow", moving[1])):
        run_test(run, moving[0], protocol="2x1", flow=flow, workers=0, out=tmp_path / f"{name}.npz")
    expected = fuse([tmp_path / "rgb.npz", tmp_path / "flow.npz"], weights=[1, 1.5]).scores
    found = run_test(both, moving[0], protocol="2x1", flow=moving[1], workers=0, out=tmp_path / "both.npz")
    assert Scores.load(tmp_path / "both.npz").classes == ["left", "right"]
    np.testing.assert_allclose(
        found.scores.reordered(expected.ids).logits, expected.logits, rtol=1e-4, atol=1e-4
    )
    recogniser = px.load(both)
    assert isinstance(recogniser, FusedRecogniser)
    prediction = recogniser.predict(moving[0] / expected.ids[0], protocol="2x1")
    chances = torch.from_numpy(expected.logits[0]).softmax(0)
    assert prediction.labels[0] == expected.classes[int(chances.argmax())]
    assert prediction.scores[0] == pytest.approx(float(chances.max()), abs=1e-3)
    assert len(list(recogniser.timeline(moving[0] / expected.ids[0], window_s=0.5, stride_s=0.5))) >= 2
    with pytest.raises(px.ArgumentError, match=re.escape(str(both))):
        save_fused(both, [spatial, motion])


def test_a_fused_folder_that_is_damaged_says_so(spatial: Path, motion: Path, tmp_path: Path) -> None:
    both = tmp_path / "both"
    save_fused(both, [spatial, motion])
    (both / "fusion.json").write_text("{")
    with pytest.raises(px.CheckpointError, match=r"fusion\.json: "):
        px.load(both)
    (both / "fusion.json").write_text(
        '{"format": 1, "parts": ["1-rgb", "x"], "kind": "average", "weights": null}'
    )
    with pytest.raises(px.CheckpointError):
        px.load(both)


def test_an_svm_is_kept_in_the_folder(
    spatial: Path, motion: Path, moving: tuple[Path, Path], tmp_path: Path
) -> None:
    from praxiscope.commands.fuse import fuse, fuse_runs

    files: dict[str, list[Path]] = {"train": [], "test": []}
    for run, name, flow in ((spatial, "rgb", None), (motion, "flow", moving[1])):
        for subset in ("train", "test"):
            files[subset].append(tmp_path / f"{name}_{subset}.npz")
            run_test(
                run, moving[0], protocol="2x1", flow=flow, subset=subset, workers=0, out=files[subset][-1]
            )
    expected = fuse(files["test"], svm=files["train"]).scores
    fuse_runs([spatial, motion], tmp_path / "both", svm=files["train"])
    found = run_test(tmp_path / "both", moving[0], protocol="2x1", flow=moving[1], workers=0).scores
    np.testing.assert_allclose(found.reordered(expected.ids).logits, expected.logits, rtol=1e-3, atol=1e-3)


def test_the_command_line_leads_from_videos_to_two_streams(
    spatial: Path, motion: Path, moving: tuple[Path, Path], tmp_path: Path
) -> None:
    from typer.testing import CliRunner

    from praxiscope.cli.main import app

    def run(*words: object) -> str:
        result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
        assert result.exit_code == 0, result.stderr
        return result.stdout

    parameters = [word for name, value in PARAMETERS.items() for word in ("--set", f"{name}={value}")]
    run("flow", moving[0], "--out", moving[1], "--backward", *parameters)  # all there: nothing to do
    wanted = [word for text in (*SMALL, "optim.epochs=1") for word in ("--set", text)]
    run("train", moving[0], "--flow", moving[1], "--out", tmp_path / "run", *wanted)
    run("fuse", spatial, tmp_path / "run", "--weights", "1,1.5", "--out", tmp_path / "both")
    clip = moving[0] / "left" / "0.mp4"
    said = json.loads(run("predict", tmp_path / "both", clip, "--protocol", "2x1", "--json"))
    assert {"left", "right"} == set(said[0]["labels"])
    rows = run("predict", tmp_path / "both", clip, "--window", "0.5s", "--csv").splitlines()
    assert len(rows) >= 4


def test_a_fused_folder_remembers_what_its_parts_were_trained_on(
    spatial: Path, motion: Path, moving: tuple[Path, Path], tmp_path: Path
) -> None:
    save_fused(tmp_path / "both", [spatial, motion])
    result = run_test(tmp_path / "both", moving[0], protocol="1x1", flow=moving[1], workers=0)
    assert result.figures["videos"] == 4
    assert train(settings(moving[0], None, "optim.epochs=1", "run.seed=5"), tmp_path / "other")
    with pytest.raises(px.ArgumentError, match=r"videos .*(left|right)/\d.mp4"):
        save_fused(tmp_path / "mixed", [tmp_path / "other", motion])
    assert not (tmp_path / "mixed").exists()


def test_an_svms_training_scores_must_come_in_the_order_of_the_runs(
    spatial: Path, motion: Path, moving: tuple[Path, Path], tmp_path: Path
) -> None:
    from praxiscope.commands.fuse import fuse_runs

    files = []
    for run, name, flow in ((spatial, "rgb", None), (motion, "flow", moving[1])):
        files.append(tmp_path / f"{name}.npz")
        run_test(run, moving[0], protocol="1x1", flow=flow, subset="train", workers=0, out=files[-1])
    with pytest.raises(px.ArgumentError, match=r"flow\.npz: .*flow"):
        fuse_runs([spatial, motion], tmp_path / "both", svm=files[::-1])


def test_stored_flow_is_found_by_the_end_of_a_path(motion: Path, moving: tuple[Path, Path]) -> None:
    clip = moving[0] / "right" / "2.mp4"
    stored = px.load(motion, flow=moving[1]).predict(clip, protocol="2x1")
    assert stored.scores == pytest.approx(px.load(motion).predict(clip, protocol="2x1").scores, abs=1e-4)


def test_flow_of_another_file_is_never_taken(motion: Path, moving: tuple[Path, Path], tmp_path: Path) -> None:
    # A video of the same name and length elsewhere, and one that has been replaced.
    write_moving(tmp_path / "right" / "2.mp4", -2, seed=77)
    recogniser = px.load(motion, flow=moving[1])
    with pytest.raises(px.DataError, match=r"right/2\.mp4"):
        recogniser.predict(tmp_path / "right" / "2.mp4", protocol="2x1")
    shutil.copytree(moving[0], tmp_path / "videos")
    shutil.copyfile(tmp_path / "right" / "2.mp4", tmp_path / "videos" / "right" / "2.mp4")
    result = run_test(
        motion, tmp_path / "videos", protocol="2x1", flow=moving[1], subset="train", max_skip=1, workers=0
    )
    tested = run_test(motion, tmp_path / "videos", protocol="2x1", flow=moving[1], max_skip=1, workers=0)
    problems = [skip.problem for skip in (*result.skipped, *tested.skipped)]
    assert len(problems) == 1
    assert "right/2.mp4: " in problems[0]


def test_frames_too_small_for_flow_are_an_error_of_their_video(motion: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.width, stream.height, stream.pix_fmt = 16, 8, "yuv420p"
        for _ in range(8):
            frame = av.VideoFrame.from_ndarray(np.zeros((8, 16, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    recogniser = px.load(motion)
    with pytest.raises(px.DataError, match=r"tiny\.mp4: .*\b8 x 16\b"):
        recogniser.predict(path)
    with pytest.raises(px.VideoError, match="16"):
        list(recogniser.timeline(path))


TWO_LENGTHS = ("input.flow_length=[2, 4]", "optim.epochs=2", "optim.batch=2", "optim.first_conv_lr_scale=5")


@pytest.fixture(scope="module")
def lengths(moving: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on stacks of two and of four fields."""
    run = tmp_path_factory.mktemp("runs") / "lengths"
    assert train(settings(*moving, *TWO_LENGTHS), run)
    return run


def test_a_network_for_two_lengths_trains_tests_and_predicts(
    lengths: Path, moving: tuple[Path, Path], tmp_path: Path
) -> None:
    card = load_card(find_checkpoint(lengths))
    assert card.kwargs["in_channels"] == [4, 8]
    assert card.input.flow is not None
    assert (card.input.channels, card.input.flow.length) == (8, 4)
    stored = run_test(lengths, moving[0], protocol="2x10", flow=moving[1], workers=0).scores
    assert stored.protocol["streams"] == ["flow"]
    estimated = run_test(lengths, moving[0], protocol="2x10", workers=0).scores
    np.testing.assert_allclose(estimated.reordered(stored.ids).logits, stored.logits, rtol=1e-4, atol=1e-4)
    clip = moving[0] / "left" / "0.mp4"
    assert set(px.load(lengths).predict(clip, protocol="2x1").labels) == {"left", "right"}
    assert len(list(px.load(lengths).timeline(clip, window_s=0.5, stride_s=0.25))) >= 3
    px.load(lengths).save(tmp_path / "alone")
    again = run_test(tmp_path / "alone", moving[0], protocol="2x10", flow=moving[1], workers=0).scores
    np.testing.assert_array_equal(again.reordered(stored.ids).logits, stored.logits)


def test_a_video_of_a_network_for_two_lengths_scores_the_mean_of_both(
    lengths: Path, moving: tuple[Path, Path]
) -> None:
    recogniser = px.load(lengths, flow=moving[1])
    recogniser.precision = inference_precision(recogniser.device, "32")
    clip, forward = moving[0] / "right" / "1.mp4", recogniser.model.forward
    both = recogniser.video_logits(clip, "2x10")
    single = []
    for number in (0, 1):
        recogniser.model.forward = lambda x, number=number: forward(x, torch.full(x.shape[:2], number))
        single.append(recogniser.video_logits(clip, "2x10"))
    assert not torch.allclose(*single)
    torch.testing.assert_close(both, (single[0] + single[1]) / 2)


def test_both_stems_learn_and_a_resumed_run_gives_each_its_videos_again(
    lengths: Path, moving: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopping(loop.StopRequest):
        requested = property(lambda self: True, lambda self, value: None)  # type: ignore[assignment]

    wanted = settings(*moving, *TWO_LENGTHS)
    monkeypatch.setattr(loop, "StopRequest", Stopping)
    assert not train(wanted, tmp_path / "cut")
    monkeypatch.undo()
    assert train(wanted, tmp_path / "cut", resume=True)
    whole, cut = (px.load(run, checkpoint="last").model for run in (lengths, tmp_path / "cut"))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, cut.state_dict()[name]), name
    folder = find_checkpoint(lengths)
    torch.manual_seed(mix_seeds(wanted.run.seed, 0))
    start = build_from_card(load_card(folder), folder)
    for stem, before in zip(whole.stems, start.stems, strict=True):
        difference = (stem.weight - before.weight).abs()
        assert 0 < difference.max() < 0.5 * before.weight.abs().max()


def test_a_network_for_two_lengths_learns_from_the_snippets_it_chooses(
    moving: tuple[Path, Path], tmp_path: Path
) -> None:
    chosen = ("backprop.name=principal", "backprop.choose=1", "backprop.memory=8GB", "data.workers=1")
    assert train(settings(*moving, *TWO_LENGTHS, *chosen, "optim.epochs=1"), tmp_path / "run")
    assert set(px.load(tmp_path / "run").predict(moving[0] / "left" / "0.mp4").labels) == {"left", "right"}
