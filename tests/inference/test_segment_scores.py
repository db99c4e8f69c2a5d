"""Scores over time of causal models: those of the whole video at once, averaged over each stride."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import praxiscope as px
from praxiscope.checkpoint import InputContract, ModelCard
from praxiscope.inference.recogniser import Recogniser
from praxiscope.inference.segment_scores import default_windows, scores_over_time
from praxiscope.models import create_model
from support import write_clip

pytestmark = pytest.mark.usefixtures("_narrow")


def recogniser_of(name: str, fps: float | None = None, **kwargs: object) -> Recogniser:
    torch.manual_seed(0)
    values = {"backbone": "resnet10", "num_classes": 3, **kwargs}
    model = create_model(name, **values).eval()
    for part in model.modules():
        if isinstance(part, torch.nn.Linear):
            torch.nn.init.normal_(part.weight, std=0.3)
    card = ModelCard(
        name, values, ("a", "b", "c"), input=InputContract(size=32, short_side=32, snippets=4, fps=fps)
    )
    return Recogniser(model, card, device=torch.device("cpu"), precision="32")


@pytest.mark.parametrize("fps", [None, 5.0, 0.8])
def test_a_causal_model_scores_frame_by_frame_what_it_scores_of_the_whole_video(
    tmp_path: Path, fps: float | None
) -> None:
    write_clip(tmp_path / "a.mp4", 0, frames=25, size=(32, 32))  # 12 frames a second
    recogniser = recogniser_of("tsm", fps, shift="causal", snippets=4)
    assert default_windows(recogniser) == (None, 0.5)
    found = scores_over_time(recogniser, tmp_path / "a.mp4", None, 0.5)
    video = px.open_video(tmp_path / "a.mp4")
    first_s = video.timestamps()[0]
    times = np.arange(25) / 12 if fps is None else np.arange(0, 25 / 12, 1 / fps)
    numbers = np.floor(times * 12 + 1e-6).astype(int)
    frames = video.frames(torch.from_numpy(numbers), short_side=32).float() / 255
    mean, std = (
        torch.tensor(v)[:, None, None] for v in (recogniser.card.input.mean, recogniser.card.input.std)
    )
    model = recogniser.model
    with torch.inference_mode():
        rows, _ = model.advance_snippets((frames - mean) / std, model.begin())  # type: ignore[operator, union-attr]
    rows = rows.double().softmax(-1).numpy()
    cells = np.floor(times / 0.5 + 1e-6).astype(int)
    filled = np.unique(cells)
    wanted = np.stack([rows[cells == cell].mean(0) for cell in filled])
    np.testing.assert_allclose(found.probabilities, wanted, atol=2e-4)
    assert found.start_s == pytest.approx([first_s + times[cells == cell][0] for cell in filled])
    assert found.end_s[-1] == pytest.approx(first_s + 25 / 12, abs=0.01)
    assert found.start_s[1:].tolist() == found.end_s[:-1].tolist()


def test_windows_are_a_second_long_or_as_long_as_a_model_needs() -> None:
    assert default_windows(recogniser_of("tsn")) == (1.0, 0.5)
    assert default_windows(recogniser_of("tsn", 2.0)) == (2.0, 1.0)  # 4 snippets, 2 a second
