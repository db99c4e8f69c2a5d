"""What online models keep of a video: no more after 6000 frames than after 600."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import praxiscope as px
from praxiscope.inference.live_models import scores_online
from praxiscope.models.names import learns_of
from praxiscope.models.registered import FILES

pytestmark = pytest.mark.usefixtures("_narrow")

SMALL: dict[str, dict[str, Any]] = {
    **{
        name: {"width": 4}
        for name in ("conv-pool", "late-pool", "slow-pool", "time-conv", "pool", "local-pool")
    },
    "googlenet-conv": {"width": 4, "backbone": "googlenet"},
    "lstm": {"hidden": 4, "layers": 2},
    "multiplier": {"backbone": "resnet18"},
}
ONLINE: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in SMALL if name not in ("local-pool", "multiplier")},
    "conv-pool-mean": ("conv-pool", {"reduce": "mean"}),
    "lstm-plain-max": ("lstm", {"cell": "plain", "answer": "max"}),
    "lstm-last": ("lstm", {"answer": "last"}),
    "tsm": ("tsm", {"shift": "causal"}),
}


def built(name: str, keywords: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    return px.create_model(
        name, **{"num_classes": 3, "backbone": "resnet10", **SMALL.get(name, {}), **keywords}
    ).eval()


def tensors(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, dict):
        yield from tensors(list(state.values()))
    elif isinstance(state, list | tuple):
        for part in state:
            yield from tensors(part)


def elements(state: Any) -> int:
    """Elements of all tensors of a state, and of what they are views of."""
    stored = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() // tensor.element_size()
        for tensor in tensors(state)
    }
    return sum(stored.values())


@pytest.mark.parametrize("at_once", [1, 200])
@pytest.mark.parametrize("name", ONLINE)
def test_a_state_does_not_grow(name: str, at_once: int) -> None:
    model = built(*ONLINE[name])
    frames = torch.randn(at_once, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        first = model.features(frames[None])[0] if "advance_features" in dir(model) else frames
        advance = model.advance_features if "advance_features" in dir(model) else model.advance
        state, sizes, limits = model.begin(), [], (600, 6000) if at_once > 1 else (30, 90)
        for number in range(at_once, limits[1] + 1, at_once):
            scores, state = advance(first, state)
            if number in limits:
                sizes.append(elements(state))
    assert scores.shape == (at_once, 3)
    assert sizes[0] == sizes[1] > 0


def test_these_are_all_models_that_score_online() -> None:
    online = {
        name
        for name in FILES
        if learns_of(name) not in ("flow", "trajectories") and scores_online(built(name, {}))
    }
    assert online | {"tsm"} == {name for name, _ in ONLINE.values()}
