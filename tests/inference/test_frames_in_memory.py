"""Predictions on frames in memory: arrays, tensors and iterables, and how a recogniser shows itself."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

import praxiscope as px
from praxiscope.checkpoint import InputContract, ModelCard
from praxiscope.inference.recogniser import Recogniser
from praxiscope.models import create_model
from praxiscope.video.framearray import FrameArray

pytestmark = pytest.mark.usefixtures("_narrow")

LABELS = ("red", "green", "<blue>")
CONTRACT = InputContract(size=32, short_side=36, snippets=4)


def recogniser_of(name: str, **keywords: Any) -> Recogniser:
    torch.manual_seed(3)
    kwargs = {
        "backbone": "resnet10" if name == "full-video" else "squeezenet1_1",
        "num_classes": 3,
        **keywords,
    }
    card = ModelCard(name, kwargs, LABELS, input=CONTRACT)
    return Recogniser(create_model(name, **kwargs), card, precision="32")


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return recogniser_of("tsn")


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """uint8 [9, 50, 70, 3]."""
    return np.random.default_rng(0).integers(0, 256, (9, 50, 70, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def lossless(frames: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same frames in a file that keeps every bit, at 4 frames a second."""
    path = tmp_path_factory.mktemp("lossless") / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=4)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def test_the_file_of_the_test_is_lossless(frames: np.ndarray, lossless: Path) -> None:
    read = px.open_video(lossless).frames(range(9))
    assert np.array_equal(read.permute(0, 2, 3, 1).numpy(), frames)


def forms(frames: np.ndarray) -> Iterator[Any]:
    yield frames
    yield torch.from_numpy(frames)
    yield list(frames)
    yield (torch.from_numpy(pixels) for pixels in frames)


@pytest.mark.parametrize("protocol", ["25x1", "2x10", "1xfull"])
@pytest.mark.parametrize("form", range(4), ids=["array", "tensor", "list", "iterator"])
def test_frames_in_memory_give_the_answer_of_a_lossless_file(
    recogniser: Recogniser, frames: np.ndarray, lossless: Path, form: int, protocol: str
) -> None:
    source = list(forms(frames))[form]
    found = recogniser.predict(source, protocol=protocol)
    expected = recogniser.predict(lossless, protocol=protocol)
    assert found.labels == expected.labels
    assert found.scores == pytest.approx(expected.scores, abs=1e-6)


def test_a_model_of_all_frames_takes_frames_in_memory_long_or_short(
    frames: np.ndarray, lossless: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = recogniser_of("full-video")
    expected = network.predict(lossless).scores
    assert network.predict(frames).scores == pytest.approx(expected, abs=1e-6)
    monkeypatch.setattr("praxiscope.inference.inputs.LONG_FRAMES", 5)
    assert network.predict(frames).scores == pytest.approx(expected, abs=1e-4)


def test_a_timeline_of_frames_needs_their_rate(
    recogniser: Recogniser, frames: np.ndarray, lossless: Path
) -> None:
    with pytest.raises(px.ArgumentError, match="fps"):
        next(recogniser.timeline(frames, window_s=1))
    with pytest.raises(px.ArgumentError, match="fps = 4"):
        next(recogniser.timeline(lossless, window_s=1, fps=4))
    found = list(recogniser.timeline(frames, window_s=1, stride_s=0.5, fps=4, top=3))
    expected = list(recogniser.timeline(lossless, window_s=1, stride_s=0.5, top=3))
    assert [(s.start_s, s.end_s, s.labels) for s in found] == [
        (s.start_s, s.end_s, s.labels) for s in expected
    ]
    for one, other in zip(found, expected, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-6)


@pytest.mark.parametrize(
    ("source", "named"),
    [
        (np.zeros((4, 8, 8, 3), np.float32), r"float32 \[4, 8, 8, 3\]"),
        (np.zeros((4, 3, 8, 8), np.uint8), r"uint8 \[4, 3, 8, 8\]"),
        (np.zeros((8, 8, 3), np.uint8), r"uint8 \[8, 8, 3\]"),
        (np.zeros((0, 8, 8, 3), np.uint8), r"\[0, 8, 8, 3\]"),
        (torch.zeros(4, 8, 8, 3), r"float32 \[4, 8, 8, 3\]"),
        ([], "empty"),
        (
            [np.zeros((8, 8, 3), np.uint8), np.zeros((9, 8, 3), np.uint8)],
            r"frame 1 .*\[9, 8, 3\].*\[8, 8, 3\]",
        ),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)], r"frame 1.*\[8, 8\]"),
        (["clip.mp4"], "frame 0.* str"),
        (3, "int"),
        (None, "NoneType"),
    ],
)
def test_other_sources_are_refused_by_type_and_shape(recogniser: Recogniser, source: Any, named: str) -> None:
    with pytest.raises(px.ArgumentError, match=named):
        recogniser.predict(source)


def test_frames_of_an_iterable_are_copied() -> None:
    buffer = np.zeros((2, 3, 3), np.uint8)

    def camera() -> Iterator[np.ndarray]:
        for level in (1, 2):
            buffer[:] = level
            yield buffer

    assert FrameArray(camera()).frames([0, 1])[:, 0, 0, 0].tolist() == [1, 2]


def test_frames_in_memory_are_a_video(frames: np.ndarray) -> None:
    video = FrameArray(frames, fps=4)
    assert (len(video), video.height, video.width, video.duration_s) == (9, 50, 70, 2.25)
    assert torch.equal(torch.stack(list(video)), torch.from_numpy(frames).permute(0, 3, 1, 2))
    again = pickle.loads(pickle.dumps(video))
    assert torch.equal(again.frames([7]), video.frames([7]))
    assert again.fps == 4
    with pytest.raises(px.ArgumentError, match=r"fps.*-1"):
        FrameArray(frames, fps=-1)


def test_a_recogniser_shows_its_model_input_labels_and_metrics(recogniser: Recogniser) -> None:
    from praxiscope.inference.fused import FusedRecogniser

    recogniser = Recogniser(recogniser.model, recogniser.card)
    assert "validation" not in repr(recogniser)
    recogniser.metrics = {"top1": 0.75}
    assert repr(recogniser) == (
        "<Recogniser tsn (squeezenet1_1) on rgb, 4 snippets, 32 x 32 pixels; 3 labels: red, green, <blue>; "
        "validation: top1 0.750>"
    )
    page = recogniser._repr_html_()
    for text in ("tsn (squeezenet1_1)", "rgb, 4 snippets, 32 x 32 pixels", "&lt;blue&gt;", "top1 0.750"):
        assert text in page
    both = FusedRecogniser([recogniser, recogniser])
    assert repr(both).count("tsn (squeezenet1_1)") == both._repr_html_().count("tsn (squeezenet1_1)") == 2
