"""Features of frames, as they are read from a store."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from praxiscope.errors import DataError
from praxiscope.inference.stored import frame_features

MOST = torch.finfo(torch.float32).max


def holding(*values: float) -> Any:
    rows = torch.tensor(values)[:, None]
    return SimpleNamespace(
        root="store",
        contract=SimpleNamespace(views=("center",)),
        clip=lambda id: SimpleNamespace(features=rows),
    )


@pytest.mark.parametrize("bad", [[float("nan"), 1], [float("inf"), 1], [float("inf"), -float("inf")]])
def test_rows_that_are_not_finite_are_refused(bad: list[float]) -> None:
    with pytest.raises(DataError, match=r"clip\.mp4.*store"):
        frame_features(holding(*bad), "clip.mp4")


@pytest.mark.parametrize("good", [[MOST, MOST], [MOST, MOST, -MOST], [0.0, 1.0]])
def test_rows_whose_sum_is_too_large_are_read(good: list[float]) -> None:
    assert frame_features(holding(*good), "clip.mp4")[:, 0].tolist() == good
