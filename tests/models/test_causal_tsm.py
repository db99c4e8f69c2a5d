"""TSM with a shift from the past only: against a shift by hand, and online against offline."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from praxiscope.errors import ArgumentError
from praxiscope.layers.shift import VideoRows, causal_shift
from praxiscope.models import create_model
from praxiscope.models.tsm import CausalTSM

pytestmark = pytest.mark.usefixtures("_narrow")


def plain_shift(video: Tensor, fold_div: int) -> Tensor:
    """[T, C, ...], frame by frame and channel by channel."""
    out = video.clone()
    for t in range(len(video)):
        for c in range(video.shape[1] // fold_div):
            out[t, c] = video[t - 1, c] if t else 0
    return out


def network(backbone: str, **options: object) -> CausalTSM:
    torch.manual_seed(0)
    model = create_model("tsm", backbone=backbone, num_classes=5, shift="causal", **options).double().eval()
    assert isinstance(model, CausalTSM)
    nn.init.normal_(model.classifiers[0].weight, std=0.1)
    return model


@pytest.mark.parametrize("fold_div", [1, 3, 8, 100])
def test_the_causal_shift_equals_a_plain_twin_in_values_and_gradient(fold_div: int) -> None:
    x = torch.randn(3, 4, 16, 2, dtype=torch.float64, requires_grad=True)
    shifted = causal_shift(x.flatten(0, 1), fold_div, VideoRows.equal(3, 4))
    expected = torch.cat([plain_shift(video, fold_div) for video in x])
    assert torch.equal(shifted, expected)
    weights = torch.randn_like(shifted)
    (found,) = torch.autograd.grad((shifted * weights).sum(), x)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), x)
    assert torch.equal(found, wanted)


def test_frames_after_it_do_not_change_a_score_and_the_default_shift_is_two_way() -> None:
    model = network("resnet18")
    frames = torch.randn(1, 4, 3, 32, 32, dtype=torch.float64)
    other = frames.clone()
    other[:, 2:] += 1
    with torch.no_grad():
        first, second = model(frames).snippet_logits, model(other).snippet_logits
        assert torch.equal(first[:, :2], second[:, :2])
        assert not torch.allclose(first[:, 2], second[:, 2])
        # A frame also changes the next: the shift is there.
        other = frames.clone()
        other[:, 0] += 1
        assert not torch.allclose(model(other).snippet_logits[:, 1], first[:, 1])
        both = create_model("tsm", backbone="resnet18", num_classes=5).double().eval()
        both.load_state_dict(model.state_dict())
        assert not isinstance(both, CausalTSM)
        assert not torch.allclose(both(frames).snippet_logits, first)


@pytest.mark.parametrize(
    ("backbone", "consensus"),
    [("resnet18", "average"), ("resnet18", "maximum"), ("efficientnet_lite0", "average")],
)
def test_online_equals_offline_after_every_frame_whatever_the_chunks(backbone: str, consensus: str) -> None:
    model = network(backbone, consensus=consensus)
    frames = torch.randn(7, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        offline = model(frames[None]).snippet_logits[0]
        expected = torch.stack([model(frames[None, : n + 1]).logits[0] for n in range(7)])
        for chunks in ([1] * 7, [7], [3, 1, 2, 1]):
            state, own = model.begin(), model.begin()
            scores, snippets = [], []
            for part in frames.split(chunks):
                row, state = model.advance(part, state)
                single, own = model.advance_snippets(part, own)
                scores.append(row)
                snippets.append(single)
            torch.testing.assert_close(torch.cat(snippets), offline)
            torch.testing.assert_close(torch.cat(scores), expected)


def test_a_state_is_not_changed_so_two_futures_can_go_on_from_it_and_it_keeps_one_frame() -> None:
    model = network("resnet18")
    frames = torch.randn(6, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        _, state = model.advance(frames[:3], model.begin())
        first, _ = model.advance(frames[3:], state)
        again, after = model.advance(frames[3:], state)
    assert torch.equal(first, again)
    assert {len(x) for x in after.memory.values()} == {1}
    assert all(x.untyped_storage().nbytes() == x.nbytes for x in after.memory.values())


def test_what_cannot_be_scored_online_is_refused() -> None:
    with pytest.raises(ArgumentError, match="shift"):
        create_model("tsm", backbone="resnet18", num_classes=2, shift="forward")
    with pytest.raises(ArgumentError, match="in_channels"):
        create_model(
            "tsm", backbone="resnet18", num_classes=2, shift="causal", stream="flow", in_channels=[2, 4]
        )
    model = network("resnet18")
    model.consensus = lambda scores: scores[:, 0]
    with pytest.raises(ArgumentError, match="consensus"):
        model.advance(torch.zeros(1, 3, 32, 32, dtype=torch.float64), model.begin())
