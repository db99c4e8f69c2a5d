"""The refinement of flow, against a twin that is written out with torch's functions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from praxiscope.layers.flow_decoder import FlowDecoder

WIDTHS = (3, 4, 5, 6)


def decoder(dimensions: int, coarse: bool) -> FlowDecoder:
    torch.manual_seed(0)
    made = FlowDecoder(WIDTHS, dimensions=dimensions, coarse=coarse).double()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return made


def stages(*sizes: tuple[int, ...]) -> list[Tensor]:
    return [
        torch.randn(2, width, *size, dtype=torch.float64) for width, size in zip(WIDTHS, sizes, strict=True)
    ]


def test_flow_of_four_resolutions_is_refined_as_written_out() -> None:
    made = decoder(2, True)
    weights = dict(made.named_parameters())
    res2, res3, res4, res5 = given = stages((13, 16), (7, 8), (4, 4), (2, 2))

    def up(x: Tensor, name: str) -> Tensor:
        return F.conv_transpose2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride=2, padding=1)

    def predict(x: Tensor, number: int) -> Tensor:
        name = f"predictions.{number}"
        return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)

    expected = []
    x = res5
    for number, skip in enumerate((res4, res3, res2)):
        expected.append(predict(x, number))
        finer = F.leaky_relu(up(x, f"deconvolutions.{number}.0"), 0.1)
        flow = up(expected[-1], f"upsamplings.{number}")
        height, width = skip.shape[2:]
        x = torch.cat([skip, finer[:, :, :height, :width], flow[:, :, :height, :width]], 1)
    expected.append(predict(x, 3))
    found = made(given)
    assert [tuple(x.shape) for x in found] == [(2, 2, 13, 16), (2, 2, 7, 8), (2, 2, 4, 4), (2, 2, 2, 2)]
    for one, other in zip(found, reversed(expected), strict=True):
        torch.testing.assert_close(one, other)


def test_over_time_only_the_finest_flow_is_predicted() -> None:
    made = decoder(3, False)
    weights = dict(made.named_parameters())
    given = stages((3, 8, 7), (2, 4, 4), (1, 2, 2), (1, 1, 1))
    x = given[3]
    for number, skip in enumerate(given[2::-1]):
        name = f"deconvolutions.{number}.0"
        finer = F.conv_transpose3d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride=2, padding=1)
        frames, height, width = skip.shape[2:]
        x = torch.cat([skip, F.leaky_relu(finer, 0.1)[:, :, :frames, :height, :width]], 1)
    expected = F.conv3d(x, weights["predictions.0.weight"], weights["predictions.0.bias"], padding=1)
    (found,) = made(given)
    assert found.shape == (2, 2, 3, 8, 7)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("coarse", [False, True])
def test_a_new_decoder_predicts_nearly_no_flow_and_learns(coarse: bool) -> None:
    torch.manual_seed(0)
    made = FlowDecoder(WIDTHS, dimensions=2, coarse=coarse).double()
    given = stages((8, 8), (4, 4), (2, 2), (1, 1))
    found = made(given)
    assert 0 < max(float(x.detach().abs().max()) for x in found) < 1e-3
    (found[0] - 1).square().sum().backward()
    torch.optim.SGD(made.parameters(), lr=1e-3).step()
    assert ((made(given)[0] - 1) ** 2).sum() < found[0].numel()
