from __future__ import annotations

import pytest
import torch

from praxiscope.errors import UnknownNameError
from praxiscope.layers.consensus import average, consensus_functions, is_average, maximum


def test_average_and_maximum_equal_plain_loops():
    scores = torch.randn(2, 3, 4)
    for b in range(2):
        for k in range(4):
            column = [float(scores[b, s, k]) for s in range(3)]
            assert float(average(scores)[b, k]) == pytest.approx(sum(column) / 3, abs=1e-6)
            assert float(maximum(scores)[b, k]) == max(column)


def test_a_consensus_is_found_by_name():
    assert consensus_functions.get("average") is average
    with pytest.raises(UnknownNameError, match="average"):
        consensus_functions.get("averag")


def test_the_mean_is_known_by_what_it_returns():
    assert all(is_average(one) for one in (average, lambda x: x.mean(1), lambda x: x.sum(1) / x.shape[1]))
    others = (None, maximum, lambda x: x.sum(1), lambda x: x.mean(1, keepdim=True), lambda x: x[:, 0])
    assert not any(map(is_average, (*others, torch.nn.Linear(3, 3), torch.nn.Linear(4, 3).double())))
