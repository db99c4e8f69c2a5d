"""Several first convolutions in the place of one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from praxiscope.errors import ArgumentError
from praxiscope.layers.stems import Stems


@pytest.fixture
def stems() -> Stems:
    torch.manual_seed(0)
    return Stems(nn.Conv2d(channels, 6, kernel_size=3, stride=2) for channels in (2, 4, 6))


def test_every_row_goes_through_its_own_convolution_and_comes_out_in_its_place(stems: Stems) -> None:
    x = torch.randn(5, 6, 9, 11)
    choice = [2, 0, 1, 0, 2]
    expected = torch.cat([stems[n](x[row : row + 1, : stems[n].in_channels]) for row, n in enumerate(choice)])
    with stems.choice.set(torch.tensor(choice)):
        torch.testing.assert_close(stems(x), expected)


def test_one_number_is_for_all_rows_and_the_last_convolution_is_the_default(stems: Stems) -> None:
    x = torch.randn(2, 6, 9, 9)
    torch.testing.assert_close(stems(x), stems[2](x))
    with stems.choice.set(0):
        torch.testing.assert_close(stems(x), stems[0](x[:, :2]))


def test_each_convolution_is_called_once_on_its_own_rows_alone(stems: Stems) -> None:
    seen = []
    for convolution in stems:
        convolution.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[:2]))
    with stems.choice.set(torch.tensor([1, 2, 1, 1])):
        stems(torch.randn(4, 6, 9, 9))
    assert seen == [(0, 2), (3, 4), (1, 6)]


def test_a_convolution_without_rows_gets_a_gradient_of_zero(stems: Stems) -> None:
    with stems.choice.set(torch.tensor([0, 0])):
        stems(torch.randn(2, 6, 9, 9)).square().sum().backward()
    sums = [
        [parameter.grad.abs().sum().item() for parameter in convolution.parameters()] for convolution in stems
    ]
    assert min(sums[0]) > 0
    assert sums[1:] == [[0, 0], [0, 0]]


@pytest.mark.parametrize("choice", [[0, 3], [0, -1], [0], [0, 1, 2]])
def test_a_choice_that_does_not_fit_is_told(stems: Stems, choice: list[int]) -> None:
    with stems.choice.set(torch.tensor(choice)), pytest.raises(ArgumentError, match=r"0 to 2.* 2 rows"):
        stems(torch.randn(2, 6, 9, 9))
