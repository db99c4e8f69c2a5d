"""Networks of pictures and flow together: what a trained one predicts and shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import praxiscope as px
from praxiscope.checkpoint import find_checkpoint, load_card
from praxiscope.cli.main import app
from praxiscope.data.dataset import ClipReader
from praxiscope.errors import ArgumentError
from praxiscope.evaluation.protocols import parse_protocol
from praxiscope.flow.store import FlowStore
from praxiscope.inference.inputs import stream_readers
from praxiscope.inference.recogniser import Recogniser
from praxiscope.types import VideoRecord
from praxiscope.video.geometry import flip
from support import spread_scores
from two_streams import Moving, Streams

pytestmark = pytest.mark.usefixtures("_narrow")


def test_a_prediction_is_one_pass_over_whole_frames_and_the_same_flipped(
    joint_run: Path, moving: Moving
) -> None:
    loaded = px.load(joint_run, flow=moving[1], device="cpu")
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


def test_the_picture_is_that_of_the_middle_of_the_stack(
    streams: Streams, joint_run: Path, moving: Moving
) -> None:
    path = moving[0] / "right" / "4.mp4"
    video, record = px.open_video(path), VideoRecord(str(path), path, ())
    contract = load_card(find_checkpoint(joint_run)).input
    starts = torch.tensor([0, 3, 8])
    both, span = stream_readers(contract, 36, FlowStore(moving[1]))
    alone, own_span = stream_readers(load_card(find_checkpoint(streams[1])).input, 36, FlowStore(moving[1]))
    assert span == own_span == 5
    given: tuple[Any, ...] = (record, video, starts, 0, 14, None)
    assert both["flow"](*given).equal(alone["flow"](*given))
    assert both["rgb"](*given).equal(video.frames(starts + 2, short_side=36))


def test_a_timeline_shows_each_frame_with_the_flow_around_it(joint_run: Path, moving: Moving) -> None:
    from praxiscope.inference.timeline import windows
    from praxiscope.video.transforms import CenterCrop

    path = moving[0] / "right" / "3.mp4"
    contract = load_card(find_checkpoint(joint_run)).input
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
    rows = list(px.load(joint_run, flow=moving[1]).timeline(path, window_s=0.5, stride_s=0.25))
    assert len(rows) >= 3


def test_views_of_a_joint_network_are_averaged_as_asked_for(joint_run: Path, moving: Moving) -> None:
    path = moving[0] / "left" / "1.mp4"
    loaded = px.load(joint_run, flow=moving[1], device="cpu")
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


def test_what_acts_on_no_other_instant_is_seen_in_chunks(joint_run: Path, moving: Moving) -> None:
    path = moving[0] / "left" / "1.mp4"
    recogniser = px.load(joint_run, flow=moving[1], device="cpu")
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


def test_what_needs_scores_of_snippets_says_so(joint_run: Path, moving: Moving, tmp_path: Path) -> None:
    clip, runner = str(moving[0] / "left" / "0.mp4"), CliRunner()
    for wanted in ("principal", "clusters"):
        done = runner.invoke(app, ["explain", wanted, str(joint_run), clip, "--out", str(tmp_path / "a.png")])
        assert isinstance(done.exception, ArgumentError)
    with pytest.raises(ArgumentError, match="multiplier"):
        px.load(joint_run).snippet_logits(clip, torch.tensor([0]))
    done = runner.invoke(app, ["explain", "filters", str(joint_run), "--out", str(tmp_path / "f.png")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "f.png").stat().st_size > 1000
