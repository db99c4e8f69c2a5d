"""What of a video's views is averaged: scores before softmax, or probabilities. Against plain numpy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import mpmath
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import praxiscope as px
from praxiscope.checkpoint import InputContract, ModelCard, save_checkpoint
from praxiscope.errors import ArgumentError, ScoresError
from praxiscope.evaluation.fusion import fuse
from praxiscope.evaluation.protocols import name_with_average, parse_protocol
from praxiscope.evaluation.scores import Scores
from praxiscope.evaluation.views import ViewMean
from praxiscope.inference.fused import FusedRecogniser
from praxiscope.inference.recogniser import Recogniser
from praxiscope.models import create_model
from praxiscope.types import VideoRecord
from support import spread_scores, write_clip

Array = NDArray[np.float64]
LABELS = ("a", "b", "c", "d")


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def mean_of(rows: Array, average: str, probabilities: Callable[[Array], Array] = softmax) -> Array:
    """Probabilities of a video whose views have these scores [V, K]."""
    if average == "logits":
        return probabilities(rows.mean(0))
    return probabilities(rows).mean(0)


@pytest.mark.parametrize("size", [0.1, 3.0, 30.0])
@pytest.mark.parametrize("average", ["logits", "softmax"])
def test_the_mean_of_views_is_numpys(average: str, size: float) -> None:
    rows = np.random.default_rng(0).normal(0, size, (7, 5)).astype(np.float32)
    for is_sigmoid, probabilities in ((False, softmax), (True, sigmoid)):
        mean = ViewMean(average, is_sigmoid)  # type: ignore[arg-type]
        for row in rows:
            mean.add(torch.from_numpy(row))
        found = mean.logits()
        assert found.dtype == torch.float32
        expected = mean_of(rows.astype(np.float64), average, probabilities)
        np.testing.assert_allclose(probabilities(found.double().numpy()), expected, rtol=2e-5, atol=1e-9)


def test_probabilities_that_no_float_holds_are_averaged_all_the_same() -> None:
    rows = torch.tensor([[900.0, 0.0, -900.0], [-900.0, 0.0, 850.0], [0.0, -1200.0, 0.0]])
    mean = ViewMean("softmax")
    for row in rows:
        mean.add(row)
    mpmath.mp.dps = 900
    exact = [[mpmath.e ** float(x) for x in row] for row in rows]
    shares = [[x / sum(row) for x in row] for row in exact]
    expected = [float(mpmath.log(sum(column) / len(shares))) for column in zip(*shares, strict=True)]
    assert mean.logits().tolist() == pytest.approx(expected, rel=1e-6)


def test_protocols_name_their_average_and_another_can_be_asked_for() -> None:
    for name in ("1x1", "25x10", "dense10x3", "allxfull", "fully-convolutional"):
        assert parse_protocol(name).average == "logits"
        assert parse_protocol(name, "softmax").average == "softmax"
    paper = parse_protocol("Two-Stream")
    assert (paper.name, paper.views, paper.crops, paper.average) == ("two-stream", 250, "ten", "softmax")
    assert parse_protocol("two-stream", "logits").average == "logits"
    assert {**paper.as_dict(), "name": "25x10", "average": "logits"} == parse_protocol("25x10").as_dict()
    with pytest.raises(ArgumentError, match=r"average\b.*\blogits\b.*\bsoftmax\b.*'mean'"):
        parse_protocol("25x10", "mean")


def test_another_average_than_the_protocols_own_is_part_of_its_name() -> None:
    names = {
        ("25x10", None): "25x10",
        ("25x10", "logits"): "25x10",
        ("25x10", "softmax"): "25x10 (softmax)",
        ("two-stream", None): "two-stream",
        ("two-stream", "logits"): "two-stream (logits)",
    }
    for (name, average), shown in names.items():
        assert name_with_average(parse_protocol(name, average).as_dict()) == shown
    assert name_with_average({"name": "25x1"}) == "25x1"  # of scores that do not record it


@pytest.mark.parametrize(
    ("first", "second", "fits"),
    [
        (("two-stream", None), ("25x10", "softmax"), True),
        (("two-stream", "logits"), ("25x10", None), True),
        (("fully-convolutional", None), ("25xfull-mirrored", None), True),
        (("two-stream", None), ("25x10", None), False),
        (("two-stream", None), ("25x1", "softmax"), False),
    ],
)
def test_streams_fit_by_their_views_and_average_whatever_these_are_called(
    first: tuple[str, str | None], second: tuple[str, str | None], fits: bool
) -> None:
    streams = [
        Scores(["v"], np.zeros((1, 2), np.float32), np.array([0]), ["a", "b"], parse_protocol(*one).as_dict())
        for one in (first, second)
    ]
    if fits:
        fuse(streams)
        return
    with pytest.raises(ScoresError, match="--any-protocol"):
        fuse(streams)


CONTRACT = InputContract(size=32, short_side=36, mean=(0.5,) * 3, std=(0.05,) * 3, snippets=2)


def make_model(folder: Path, name: str, seed: int, multi_label: bool = False) -> Path:
    kwargs = {"backbone": "squeezenet1_1", "num_classes": len(LABELS)}
    torch.manual_seed(seed)
    model = create_model(name, **kwargs)
    save_checkpoint(folder, model, ModelCard(name, kwargs, LABELS, input=CONTRACT, multi_label=multi_label))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for number in range(2):
        write_clip(root / "videos" / f"{number}.mp4", number, frames=20, size=(32, 48), seed=number)
    make_model(root / "one", "tsn", 1)
    make_model(root / "two", "frame", 2)
    make_model(root / "several", "tsn", 3, multi_label=True)
    return root


def loaded(folder: Path) -> Recogniser:
    recogniser = px.load(folder, device="cpu")
    assert isinstance(recogniser, Recogniser)
    exact = Recogniser(recogniser.model, recogniser.card, precision="32")
    # Otherwise both means would be the same but for some thousandths.
    spread_scores(exact.model.classifiers, views_by_hand(exact, folder.parent / "videos" / "0.mp4"))
    return exact


def views_by_hand(recogniser: Recogniser, path: Path) -> Array:
    """Scores [6, K] of 2 frames x 3 crops: PyAV, slicing, the network."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    pixels = torch.from_numpy(np.stack([frames[5], frames[15]])).permute(0, 3, 1, 2).float()
    assert pixels.shape[-2:] == (32, 48)  # three crops are as high as the frame: nothing is resized
    rows = []
    with torch.no_grad():
        for left in (0, 8, 16):
            view = (pixels[..., left : left + 32] / 255 - 0.5) / 0.05
            rows.append(recogniser.model(view[:, None]).logits)
    return torch.cat(rows).double().numpy()


@pytest.mark.parametrize("average", ["logits", "softmax"])
@pytest.mark.parametrize("name", ["one", "several"])
def test_a_prediction_averages_what_was_asked_for(folder: Path, name: str, average: str) -> None:
    recogniser = loaded(folder / name)
    probabilities = sigmoid if name == "several" else softmax
    path = folder / "videos" / "0.mp4"
    by_hand = views_by_hand(recogniser, path)
    expected = mean_of(by_hand, average, probabilities)
    apart = np.abs(
        mean_of(by_hand, "logits", probabilities) - mean_of(by_hand, "softmax", probabilities)
    ).max()
    assert apart > 2e-3  # the tolerance below is a twentieth of that
    found = recogniser.predict(path, top=4, protocol="2x3", average=average)
    scores = [found.scores[found.labels.index(label)] for label in LABELS]
    assert scores == pytest.approx(expected.tolist(), abs=1e-4)
    records = [VideoRecord(str(n), folder / "videos" / f"{n}.mp4", ("a",)) for n in range(2)]
    targets = [torch.tensor(0)] * 2 if name == "one" else [torch.tensor([1.0, 0, 0, 0])] * 2
    table, _ = recogniser.score(records, targets, "2x3", average=average, workers=0)
    assert table.protocol["average"] == average
    assert probabilities(table.logits[0].astype(np.float64)).tolist() == pytest.approx(scores, abs=1e-5)


def test_the_order_and_the_chunks_of_views_do_not_matter(folder: Path) -> None:
    recogniser, path = loaded(folder / "one"), folder / "videos" / "1.mp4"
    whole = recogniser.video_logits(path, "two-stream")
    assert torch.equal(whole, recogniser.video_logits(path, "25x10", "softmax"))
    recogniser.chunk_snippets = 7
    torch.testing.assert_close(recogniser.video_logits(path, "two-stream"), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["average", "weighted"])
def test_a_fused_recogniser_averages_the_views_of_each_part(folder: Path, kind: str) -> None:
    path = folder / "videos" / "0.mp4"
    shares = np.array([0.25, 0.75])[:, None]
    for average in ("logits", "softmax"):
        parts = [mean_of(views_by_hand(loaded(folder / name), path), average) for name in ("one", "two")]
        # Before softmax, scores are logarithms of probabilities up to a constant, which softmax takes away; "weighted"
        # averages those of networks, so its right value is made of them.
        if kind == "average":
            expected = (shares * parts).sum(0)
        elif average == "softmax":
            expected = softmax((shares * np.log(parts)).sum(0))
        else:
            rows = [views_by_hand(loaded(folder / name), path).mean(0) for name in ("one", "two")]
            expected = softmax((shares * rows).sum(0))
        names = ("one", "two")
        both = FusedRecogniser([loaded(folder / name) for name in names], kind=kind, weights=[1, 3])
        found = both.predict(path, top=4, protocol="2x3", average=average)
        scores = [found.scores[found.labels.index(label)] for label in LABELS]
        assert scores == pytest.approx(expected.tolist(), abs=1e-4), average
        record = VideoRecord("0", path, ("a",))
        table, _ = both.score([record], [torch.tensor(0)], "2x3", average=average, workers=0)
        assert table.protocol["average"] == average
        assert softmax(table.logits[0].astype(np.float64)).tolist() == pytest.approx(scores, abs=1e-5)


def test_streams_that_were_averaged_otherwise_are_not_fused_by_accident() -> None:
    one, other = (
        Scores(
            ["v"],
            np.zeros((1, 2), np.float32),
            np.array([0]),
            ["a", "b"],
            parse_protocol("25x10", kind).as_dict(),
        )
        for kind in ("logits", "softmax")
    )
    with pytest.raises(ScoresError, match=r"average .*'logits'.*'softmax'"):
        fuse([one, other])
    assert "average" not in fuse([one, other], any_protocol=True).protocol
    assert fuse([one, one]).protocol["average"] == "logits"
