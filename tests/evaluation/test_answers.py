"""Answers of calibrated recognisers: probabilities with a temperature, and "none of these"."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from praxiscope.checkpoint import InputContract, ModelCard
from praxiscope.data.splitlist import SplitList, write_split
from praxiscope.errors import ArgumentError, CheckpointError
from praxiscope.evaluation.answers import find_threshold, is_none, parse_none_below
from praxiscope.evaluation.calibration import calibrate
from praxiscope.evaluation.fusion import fuse
from praxiscope.evaluation.probabilities import probabilities, softmax
from praxiscope.evaluation.scores import Scores
from praxiscope.inference.fused import FusedRecogniser, load_fused, save_fused
from praxiscope.inference.options import LoadOptions
from praxiscope.inference.recogniser import Recogniser
from praxiscope.models import create_model
from praxiscope.run_folder import HELD_OUT_FILE
from praxiscope.types import VideoRecord
from support import write_clip

CALIBRATION = {
    "temperature": 0.02,
    "none_below": 0.5,
    "false_refusals": 0.05,
    "videos": 39,
    "source": "folds",
}


def recogniser(seed: int = 0, **card: object) -> Recogniser:
    """An untrained network, whose scores differ little, so that its temperature is small."""
    kwargs = {"backbone": "squeezenet1_1", "num_classes": 3}
    torch.manual_seed(seed)
    model = create_model("tsn", **kwargs)
    contract = InputContract(size=64, short_side=64, snippets=2)
    return Recogniser(
        model, ModelCard("tsn", kwargs, ("a", "b", "c"), input=contract, **card), precision="32"
    )


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "a.mp4"
    write_clip(path, 0, frames=24)
    return path


@pytest.fixture(scope="module")
def calibrated() -> Recogniser:
    return recogniser(calibration=CALIBRATION)


def score(one: Recogniser | FusedRecogniser, clip: Path):
    return one.score([VideoRecord("a", clip, ("a",))], [torch.tensor(0)], "1x1", workers=0)[0]


def test_the_temperature_divides_the_scores_of_videos_and_windows(calibrated: Recogniser, clip: Path) -> None:
    logits = calibrated.video_logits(clip, "1x1")
    torch.testing.assert_close(logits, recogniser().video_logits(clip, "1x1"))  # scores stay raw
    wanted = softmax(logits.numpy() / 0.02)
    found = calibrated.predict(clip, top=3, protocol="1x1")
    assert found.scores == pytest.approx(sorted(wanted, reverse=True), rel=1e-5)
    assert found.labels == recogniser().predict(clip, top=3, protocol="1x1").labels
    rows = [row for _, _, row in calibrated.window_logits(clip, 1.0, 1.0)]
    segments = list(calibrated.timeline(clip, window_s=1.0, stride_s=1.0))
    for row, segment in zip(rows, segments, strict=True):
        assert segment.scores[0] == pytest.approx(softmax(row.numpy() / 0.02).max(), rel=1e-5)


def test_tests_record_the_temperature_and_keep_the_scores(calibrated: Recogniser, clip: Path) -> None:
    plain, scores = score(recogniser(), clip), score(calibrated, clip)
    np.testing.assert_array_equal(scores.logits, plain.logits)
    assert scores.protocol == {**plain.protocol, "temperature": 0.02}
    assert "temperature" not in plain.protocol
    best = calibrated.predict(clip, top=1, protocol="1x1").scores[0]
    assert probabilities(scores).max() == pytest.approx(best, rel=1e-5)


def test_none_of_these_is_decided_by_the_best_class_alone(calibrated: Recogniser, clip: Path) -> None:
    best = calibrated.predict(clip, top=1, protocol="1x1").scores[0]
    plain = calibrated.predict(clip, protocol="1x1", none_below=None)
    assert (plain.none_of_these, plain.none_below) == (False, None)
    for threshold in (best, best - 1e-6):  # exactly as probable is not less probable
        assert not calibrated.predict(clip, protocol="1x1", none_below=threshold).none_of_these
    refused = calibrated.predict(clip, protocol="1x1", none_below=best + 1e-6)
    assert refused.none_of_these
    assert (refused.labels, refused.scores) == (plain.labels, plain.scores)
    assert calibrated.predict(clip, protocol="1x1").none_below == 0.5  # that of the card


def test_windows_are_refused_one_by_one(calibrated: Recogniser, clip: Path) -> None:
    segments = list(calibrated.timeline(clip, window_s=0.5, stride_s=0.5))
    between = float(np.mean([min(s.scores[0] for s in segments), max(s.scores[0] for s in segments)]))
    found = list(calibrated.timeline(clip, window_s=0.5, stride_s=0.5, none_below=between))
    assert {s.none_of_these for s in found} == {True, False}
    assert [s.none_of_these for s in found] == [s.scores[0] < between for s in found]
    assert [s[:4] for s in found] == [s[:4] for s in segments]


def test_a_model_without_calibration_refuses_nothing(clip: Path) -> None:
    found = recogniser().predict(clip, protocol="1x1")
    assert (found.none_of_these, found.none_below) == (False, None)
    assert recogniser().predict(clip, protocol="1x1", none_below=0.9).none_of_these


def test_several_labels_are_none_if_no_class_reaches_the_threshold(clip: Path) -> None:
    several = recogniser(multi_label=True, calibration={**CALIBRATION, "temperature": 1.0})
    logits = several.video_logits(clip, "1x1")
    best = float(logits.sigmoid().max())
    assert several.predict(clip, protocol="1x1").scores[0] == pytest.approx(best)
    assert several.predict(clip, protocol="1x1", none_below=best + 1e-4).none_of_these
    assert not several.predict(clip, protocol="1x1", none_below=best - 1e-4).none_of_these
    assert "temperature" not in score(several, clip).protocol


def test_a_fusion_has_a_calibration_of_its_own(calibrated: Recogniser, clip: Path) -> None:
    plain = FusedRecogniser([recogniser(), recogniser(1)])
    parts = [calibrated, recogniser(1, calibration=CALIBRATION)]
    fused = FusedRecogniser(parts)
    # The scores of fused networks are those of fused files, whatever the parts are calibrated to.
    assert fused.predict(clip, protocol="1x1") == plain.predict(clip, protocol="1x1")
    files = fuse([score(part, clip) for part in parts])
    np.testing.assert_array_equal(score(fused, clip).logits, files.logits)
    assert "temperature" not in files.protocol  # both parts have it, their fusion has not
    own = FusedRecogniser(parts, calibration=CALIBRATION)
    found = own.predict(clip, top=3, protocol="1x1")
    assert found.scores == pytest.approx(sorted(softmax(files.logits[0] / 0.02), reverse=True), rel=1e-3)
    assert found.none_below == 0.5
    assert score(own, clip).protocol["temperature"] == 0.02
    refused = list(own.timeline(clip, window_s=1.0, stride_s=1.0, none_below=1.0))
    assert all(segment.none_of_these for segment in refused)
    assert refused


def test_the_classes_of_one_task_have_no_calibration() -> None:
    card = replace(recogniser().card, tasks={"x": (0, 2), "y": (2, 3)}, labels=("x/a", "x/b", "y/c"))
    assert replace(card, calibration=CALIBRATION).of_task("x").calibration == {}


def test_thresholds_are_probabilities() -> None:
    assert find_threshold("auto", CALIBRATION) == 0.5
    assert find_threshold("auto", {}) is None
    assert find_threshold(None, CALIBRATION) is None
    assert find_threshold(0, CALIBRATION) is None
    assert find_threshold(1, {}) == 1.0
    assert not is_none([0.0], None)
    assert [parse_none_below(text) for text in ("auto", "off", "0", "0.3")] == ["auto", None, None, 0.3]
    for wrong in (1.1, -0.1, float("nan"), "maybe"):
        with pytest.raises(ArgumentError):
            find_threshold(wrong, CALIBRATION)  # type: ignore[arg-type]
    for text in ("", "30%", "1.1", "nan"):
        with pytest.raises(ArgumentError):
            parse_none_below(text)


def save_run(folder: Path, seed: int, ids: list[str] | None) -> tuple[Path, Scores | None]:
    """A run with scores of held-out videos, if any are named."""
    recogniser(seed).save(folder)
    if ids is None:
        return folder, None
    rng = np.random.default_rng(seed)
    numbers = np.array([int(name) for name in ids])
    scores = Scores(ids, rng.normal(size=(len(ids), 3)), numbers % 3, ["a", "b", "c"], {"name": f"{seed}x1"})
    scores.save(folder / HELD_OUT_FILE)
    return folder, scores


def test_fused_runs_are_calibrated_on_the_videos_that_all_have_held_out(tmp_path: Path) -> None:
    ids = [str(number) for number in range(40)]
    first, rgb = save_run(tmp_path / "rgb", 0, ids)
    second, flow = save_run(tmp_path / "flow", 1, ids[:9:-1])  # 30 of them, in another order
    save_fused(tmp_path / "both", [first, second], kind="weighted", weights=[1, 2])
    together = fuse([rgb.reordered(ids[10:]), flow], kind="weighted", weights=[1, 2], any_protocol=True)
    found = load_fused(tmp_path / "both", LoadOptions(device="cpu")).calibration
    wanted = calibrate(together.logits, together.targets, source=found["source"])
    assert found == wanted
    assert found["videos"] == 30
    path = tmp_path / "both" / "fusion.json"
    path.write_text(path.read_text().replace('"none_below": 0', '"none_below": 7'))
    with pytest.raises(CheckpointError, match="calibration"):
        load_fused(tmp_path / "both", LoadOptions(device="cpu"))


@pytest.mark.parametrize("ids", [None, ["100", "101"]])
def test_fused_runs_without_common_held_out_videos_are_not_calibrated(
    tmp_path: Path, ids: list[str] | None
) -> None:
    runs = [save_run(tmp_path / "rgb", 0, ["1", "2", "3"])[0], save_run(tmp_path / "flow", 1, ids)[0]]
    save_fused(tmp_path / "both", runs)
    assert load_fused(tmp_path / "both", LoadOptions(device="cpu")).calibration == {}


@pytest.mark.parametrize("side", ["train", "val"])
def test_runs_that_hold_out_different_training_videos_are_fused(tmp_path: Path, side: str) -> None:
    runs = []
    for number, sides in enumerate(({"1": side, "2": "train", "3": "test"}, {"1": "train", "2": side})):
        run, _ = save_run(tmp_path / str(number), number, None)
        write_split(
            run, [VideoRecord(name, Path(name), ("a",), split=split) for name, split in sides.items()]
        )
        runs.append(run)
    save_fused(tmp_path / "both", runs)
    # What a part was trained on is no validation video of the fusion.
    assert SplitList(tmp_path / "both").sides() == {"1": "train", "2": "train", "3": "test"}


@pytest.mark.parametrize("side", ["train", "val"])
def test_runs_that_learned_from_test_videos_of_another_are_not_fused(tmp_path: Path, side: str) -> None:
    runs = []
    for number, sides in enumerate(({"1": "train"}, {"1": "train", "2": side}, {"2": "test"})):
        run, _ = save_run(tmp_path / str(number), number, None)
        write_split(
            run, [VideoRecord(name, Path(name), ("a",), split=split) for name, split in sides.items()]
        )
        runs.append(run)
    with pytest.raises(ArgumentError, match=r"1.split\.csv.*2.split\.csv.*1 video .*such as 2"):
        save_fused(tmp_path / "both", runs)
