"""Recognisers: what they see of a video, when their windows begin and end, and what they refuse to load."""

from __future__ import annotations

import gc
import json
import math
import pickle
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import praxiscope as px
from praxiscope._compat import import_torchvision
from praxiscope.checkpoint import InputContract, ModelCard, point_to, save_checkpoint
from praxiscope.evaluation import views
from praxiscope.inference.recogniser import Recogniser
from praxiscope.inference.timeline import windows
from praxiscope.models import create_model
from support import write_clip

pytestmark = pytest.mark.usefixtures("_narrow")

LABELS = ("red", "green", "blue")
CONTRACT = InputContract(size=32, short_side=36, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3), snippets=4)


def save_model(folder: Path, **values: object) -> Path:
    kwargs = {"backbone": "squeezenet1_1", "num_classes": 3}
    torch.manual_seed(3)
    card = ModelCard("tsn", kwargs, LABELS, input=CONTRACT)
    save_checkpoint(folder, create_model("tsn", **kwargs), ModelCard(**{**vars(card), **values}))
    return folder


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def recogniser(model_folder: Path) -> Recogniser:
    loaded = px.load(model_folder, device="cpu")
    return Recogniser(loaded.model, loaded.card, precision="32")


def write_grey(path: Path, times: Sequence[int], rate: int, size: tuple[int, int] = (36, 48)) -> None:
    """Frame k has the grey level 20 + 4 k (modulo 200), and is shown from ``times[k]`` / ``rate`` s on."""
    rows, columns = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "0", "g": "12"})
        stream.width, stream.height, stream.pix_fmt = columns, rows, "yuv420p"
        stream.codec_context.time_base = Fraction(1, rate)
        for number, at in enumerate(times):
            grey = np.full((rows, columns, 3), 20 + 4 * (number % 50), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def by_hand(recogniser: Recogniser, path: Path, numbers: Sequence[int]) -> torch.Tensor:
    """Probabilities by PyAV, plain resizing in float, slicing and one forward pass."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    pixels = torch.from_numpy(np.stack([frames[i] for i in numbers])).permute(0, 3, 1, 2).float()
    height, width = pixels.shape[-2:]
    scale = CONTRACT.short_side / min(height, width)
    if scale != 1:
        size = (round(height * scale), round(width * scale))
        pixels = torch.nn.functional.interpolate(pixels, size, mode="bilinear", antialias=True)
    top, left = ((side - 32) // 2 for side in pixels.shape[-2:])
    pixels = pixels[..., top : top + 32, left : left + 32] / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in (CONTRACT.mean, CONTRACT.std))
    with torch.no_grad():
        snippets = recogniser.model(((pixels - mean) / std)[None]).snippet_logits[0]
    return snippets.mean(0).softmax(0)


@pytest.mark.parametrize(("size", "tolerance"), [((36, 48), 1e-5), ((72, 80), 2e-3)])
def test_a_prediction_is_that_of_a_pipeline_made_by_hand(
    recogniser: Recogniser, tmp_path: Path, size: tuple[int, int], tolerance: float
) -> None:
    write_clip(tmp_path / "clip.mp4", 1, frames=30, size=size)
    found = recogniser.predict(tmp_path / "clip.mp4", top=3, protocol="5x1")
    expected = by_hand(recogniser, tmp_path / "clip.mp4", [3, 9, 15, 21, 27])
    order = expected.argsort(descending=True).tolist()
    assert found.labels == [LABELS[i] for i in order]
    assert found.scores == pytest.approx(expected[order].tolist(), abs=tolerance)
    assert found.source == str(tmp_path / "clip.mp4")


def test_top_is_bounded_by_the_classes_and_refused_below_one(recogniser: Recogniser, tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", 1)
    assert len(recogniser.predict(tmp_path / "clip.mp4", top=9).labels) == 3
    assert len(recogniser.predict(tmp_path / "clip.mp4", top=1).labels) == 1
    with pytest.raises(px.ArgumentError, match=r"\btop\b.*\b1\b.*\b0\b"):
        recogniser.predict(tmp_path / "clip.mp4", top=0)


def expected_windows(
    times: Sequence[float], end: float, window: float, stride: float
) -> list[tuple[float, float, list[int]]]:
    """Start, end and frames of each window, by looking at the whole list of times."""
    windows = []
    for number in range(1000):
        start = number * stride
        if start >= end - 1e-6:
            break
        stop = min(start + window, end)
        looks = [start + (k + 0.5) / 4 * window for k in range(4)]
        windows.append((start, stop, [max(i for i, at in enumerate(times) if at <= look) for look in looks]))
        if stop >= end - 1e-6:
            break
    return windows


STEADY = list(range(20))  # 2 s at 10 frames per second
UNEVEN = [0, 1, 2, 9, 10, 30, 31, 33, 50, 51]  # with gaps longer than a window


@pytest.mark.parametrize(
    ("times", "window", "stride"),
    [
        (STEADY, 0.7, 0.3),
        (STEADY, 0.5, 0.5),  # exactly four windows
        (STEADY, 1.0, 0.5),  # the last full window ends with the video
        (STEADY, 5.0, 2.5),  # shorter than a window
        (STEADY, 30.0, 1.0),  # ended before the first look
        (STEADY, 0.25, 0.9),  # gaps between windows
        (STEADY, 0.5, 0.98),  # the last window begins behind the last frame and has hardly anything to see
        (STEADY, 0.01, 0.4),  # windows shorter than a frame
        (STEADY[:1], 0.5, 0.25),  # one frame
        (STEADY[:1], 0.05, 0.05),
        (UNEVEN, 0.7, 0.3),
        (UNEVEN, 2.1, 0.7),
        (UNEVEN, 0.35, 1.3),
    ],
)
def test_windows_are_those_of_a_plain_reference(
    tmp_path: Path, times: list[int], window: float, stride: float
) -> None:
    write_grey(tmp_path / "clip.mp4", times, 10)
    seconds = [at / 10 for at in times]
    # The last frame is shown as long as the one before it, a single one as long as the rate says.
    end = seconds[-1] + (
        seconds[-1] - seconds[-2] if len(times) > 1 else 1 / px.open_video(tmp_path / "clip.mp4").fps
    )
    expected = expected_windows(seconds, end, window, stride)
    found = list(windows(tmp_path / "clip.mp4", window, stride, CONTRACT))
    assert len(found) == len(expected) > 0
    for found_one, (first, last, numbers) in zip(found, expected, strict=True):
        frames = found_one.streams
        assert (found_one.start_s, found_one.end_s) == pytest.approx((first, last), abs=1e-6)
        assert frames["rgb"].shape == (4, 3, 32, 32)
        levels = frames["rgb"].float().mean((1, 2, 3))
        assert [round((float(level) - 20) / 4) for level in levels] == numbers


def test_a_timeline_names_the_windows_like_single_forward_passes(
    recogniser: Recogniser, tmp_path: Path
) -> None:
    write_clip(tmp_path / "clip.mp4", 2, frames=30, size=(36, 48))  # 12 frames per second
    for chunk in (1, 9, 64):
        cut = Recogniser(recogniser.model, recogniser.card, precision="32", chunk_snippets=chunk)
        segments = list(cut.timeline(tmp_path / "clip.mp4", window_s=1.0, stride_s=0.5, top=3))
        assert [(s.start_s, s.end_s) for s in segments] == [(0, 1), (0.5, 1.5), (1, 2), (1.5, 2.5)]
        for segment in segments:
            # The looks of a window are 1/8, 3/8, 5/8 and 7/8 s behind its start.
            looks = [int((segment.start_s + (2 * k + 1) / 8) * 12) for k in range(4)]
            expected = by_hand(recogniser, tmp_path / "clip.mp4", looks)
            order = expected.argsort(descending=True).tolist()
            assert segment.labels == [LABELS[i] for i in order]
            assert segment.scores == pytest.approx(expected[order].tolist(), abs=1e-5)


@pytest.mark.parametrize("protocol", ["25x1", "25x10", "25xfull"])
def test_a_prediction_in_chunks_is_that_of_all_snippets_at_once(
    recogniser: Recogniser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    write_clip(tmp_path / "clip.mp4", 2, frames=30, size=(36, 48))
    sizes: list[int] = []
    handle = recogniser.model.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape[0]))
    found = {}
    for pixels in (1, 5 * 36 * 48, 2**40):
        monkeypatch.setattr(views, "_CPU_PIXELS", pixels)
        monkeypatch.setattr(views, "_MOST", 2**20)
        found[pixels] = recogniser.video_logits(tmp_path / "clip.mp4", protocol)
    handle.remove()
    whole, crops = found[2**40], {"25x1": 1, "25x10": 10, "25xfull": 1}[protocol]
    assert sizes[: 25 * crops] == [1] * 25 * crops
    assert sizes[-1] == 25 * crops
    for logits in found.values():
        torch.testing.assert_close(logits, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("window", "stride"), [(0, 1), (1, 0), (-1, 1)])
def test_windows_without_length_are_refused(recogniser: Recogniser, window: float, stride: float) -> None:
    with pytest.raises(px.ArgumentError, match=rf"(window|stride).*{min(window, stride)}"):
        list(recogniser.timeline("clip.mp4", window_s=window, stride_s=stride))


def test_a_timelines_memory_does_not_grow_with_the_video(tmp_path: Path) -> None:
    write_grey(tmp_path / "long.mp4", range(600), 10)
    window, stride = 2.0, 0.5

    def living() -> int:
        return sum(type(x) is torch.Tensor and x.shape == (3, 32, 32) for x in gc.get_objects())

    gc.collect()
    most, before = 0, living()  # other tests may have left some
    for number, _ in enumerate(windows(tmp_path / "long.mp4", window, stride, CONTRACT)):
        if number % 20 == 5:
            most = max(most, living() - before)
    assert number == 116
    assert 0 < most <= (math.ceil(window / stride) + 2) * CONTRACT.snippets


class Bomb:
    """Unpickling it writes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.mark,)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change(path: Path, **entries: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no card": (lambda f: (f / "model.json").unlink(), "checkpoint"),
    "half a card": (lambda f: truncate(f / "model.json"), "model.json: not readable"),
    "a card that is a list": (lambda f: (f / "model.json").write_text("[1]"), "format None"),
    "a card of bytes": (lambda f: (f / "model.json").write_bytes(b"\xff\xfe\x00"), "not readable"),
    "a later format": (
        lambda f: change(f / "model.json", format=99),
        "format 99.* reads format 1",
    ),
    "an unknown entry": (lambda f: change(f / "model.json", magic=1), "missing or unknown .*magic"),
    "no input": (lambda f: change(f / "model.json", input=None), "missing or unknown"),
    "an unknown input": (lambda f: change(f / "model.json", input={"sise": 3}), "missing or unknown .*sise"),
    "a size in words": (lambda f: change(f / "model.json", input={"size": "big"}), "size"),
    "an unknown model": (
        lambda f: change(f / "model.json", name="tsnn"),
        "unknown model .tsnn..*praxiscope.models",
    ),
    "a numbered model": (lambda f: change(f / "model.json", name=3), "name"),
    "an unknown keyword": (
        lambda f: change(f / "model.json", kwargs={"num_classes": 3, "depth": 4}),
        "'depth'",
    ),
    "a keyword of another kind": (
        lambda f: change(f / "model.json", kwargs={"num_classes": "three", "backbone": "squeezenet1_1"}),
        r"model: .*'str'.*'int'",
    ),
    "other labels": (lambda f: change(f / "model.json", labels=["a", "b"]), "2 labels.*3 scores"),
    "another network": (
        lambda f: change(f / "model.json", kwargs={"num_classes": 3, "backbone": "resnet18"}),
        "backbone",
    ),
    "other classes": (
        lambda f: change(
            f / "model.json", kwargs={"num_classes": 2, "backbone": "squeezenet1_1"}, labels=["a", "b"]
        ),
        r"backbone.classifier.* \(3,.*\(2,",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors: "),
    "half the weights": (lambda f: truncate(f / "model.safetensors"), "model.safetensors: "),
    "empty weights": (
        lambda f: (f / "model.safetensors").write_bytes(b""),
        "model.safetensors: ",
    ),
    "foreign weights": (
        lambda f: save_file({"a": torch.zeros(1)}, f / "model.safetensors"),
        r"model\.safetensors: .*\ba\b",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_folder_is_one_clear_error(tmp_path: Path, damage: str) -> None:
    folder = save_model(tmp_path / "model")
    spoil, message = DAMAGES[damage]
    spoil(folder)
    with pytest.raises(px.CheckpointError, match=message) as caught:
        px.load(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_foreign_folders_and_files_are_clear_errors(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    for name, message in (
        ("nowhere", "nowhere"),
        ("file", "file: "),
        ("empty", "checkpoint"),
    ):
        with pytest.raises(px.CheckpointError, match=message):
            px.load(tmp_path / name)
    (tmp_path / "empty" / "run.json").write_text('{"last": "step-1')
    with pytest.raises(px.CheckpointError, match=r"run\.json: "):
        px.load(tmp_path / "empty")
    (tmp_path / "empty" / "run.json").write_text('{"last": "step-1"}')
    with pytest.raises(px.CheckpointError, match=r"step-1: .*model.json"):
        px.load(tmp_path / "empty")


@pytest.mark.parametrize("name", ["model.safetensors", "model.json"])
def test_a_pickle_is_never_read(tmp_path: Path, name: str) -> None:
    folder = save_model(tmp_path / "model")
    mark = tmp_path / "exploded"
    (folder / name).write_bytes(pickle.dumps(Bomb(mark)))
    (folder / "model.pt").write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(px.CheckpointError):
        px.load(folder)
    assert not mark.exists()
    pickle.loads((folder / name).read_bytes())
    assert mark.exists()  # the bomb works


def test_last_and_best_are_told_apart_and_the_runs_choice_is_the_default(tmp_path: Path) -> None:
    for number in (1, 2):
        save_model(tmp_path / "checkpoints" / f"step-{number}", metrics={"number": number})

    def number(which: str | None) -> object:
        return px.load(tmp_path, checkpoint=which).card.metrics["number"]

    point_to(tmp_path, last="step-2", best="step-1", prefer="best")
    assert (number("last"), number("best"), number(None)) == (2, 1, 1)
    point_to(tmp_path, last="step-2", best="step-1", prefer="last")
    assert number(None) == 2
    with pytest.raises(px.ArgumentError, match=r"checkpoint .*'last'.*'best'.*'prefer'"):
        px.load(tmp_path, checkpoint="prefer")
    assert px.load(tmp_path / "checkpoints" / "step-1").card.metrics == {"number": 1}


def test_a_run_that_prefers_its_best_has_its_last_until_something_was_validated(tmp_path: Path) -> None:
    save_model(tmp_path / "checkpoints" / "step-1")
    point_to(tmp_path, last="step-1", best=None, prefer="best")
    assert px.load(tmp_path).labels == LABELS
    with pytest.raises(px.CheckpointError, match=r"\bbest\b"):
        px.load(tmp_path, checkpoint="best")


def test_a_device_that_is_not_there_is_named(model_folder: Path) -> None:
    with pytest.raises(px.ArgumentError, match=r"'tpu9000'.*cpu"):
        px.load(model_folder, device="tpu9000")


def test_one_video_is_predicted_at_a_time(model_folder: Path) -> None:
    with pytest.raises(px.ArgumentError, match=r"frame 0.* str"):
        px.load(model_folder).predict(["a.mp4"])  # type: ignore[arg-type]


def test_a_network_of_one_size_refuses_whole_frames(colour_set: Path) -> None:
    import_torchvision()  # before timm, which imports it
    pytest.importorskip("timm", reason="the extra praxiscope[timm] is not installed")
    kwargs = {"backbone": "timm/vit_tiny_patch16_224", "input_size": 32, "num_classes": 3}
    contract = InputContract(size=32, short_side=36)
    recogniser = Recogniser(create_model("tsn", **kwargs), ModelCard("tsn", kwargs, LABELS, input=contract))
    path = next(colour_set.rglob("*.mp4"))
    for protocol in ("1xfull", "fully-convolutional"):
        with pytest.raises(px.ArgumentError, match=r"vit_tiny_patch16_224 .*32 pixels"):
            recogniser.video_logits(path, protocol)
    assert recogniser.video_logits(path, "2x1").shape == (3,)
