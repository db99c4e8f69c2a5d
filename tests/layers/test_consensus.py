from __future__ import annotations

import pytest
import torch

from praxiscope.errors import UnknownNameError
from praxiscope.layers.consensus import average, consensus_functions, maximum


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
