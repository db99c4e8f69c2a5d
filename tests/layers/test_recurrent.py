"""The LSTM with peepholes, against a loop over single numbers, numerical gradients, and torch's LSTM."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from praxiscope.errors import ArgumentError
from praxiscope.layers.recurrent import GATES, PEEPHOLES, PeepholeLSTM, frame_gain


def one_number_at_a_time(lstm: PeepholeLSTM, x: np.ndarray) -> np.ndarray:
    """Equations 3.3 to 3.7 for one video [T, D]: outputs of the last layer [T, H]."""

    def sigmoid(value: float) -> float:
        return 1 / (1 + math.exp(-value))

    for layer in range(lstm.num_layers):
        size = lstm.hidden_size
        wx, wh = (w.detach().numpy() for w in (lstm.weight_x[layer], lstm.weight_h[layer]))
        peep, bias = lstm.peephole[layer].detach().numpy(), lstm.bias[layer].detach().numpy()
        h, c, outputs = [0.0] * size, [0.0] * size, []
        for frame in x:
            new_h, new_c = [], []
            for unit in range(size):
                total = {}
                for place, gate in enumerate(GATES):
                    row = place * size + unit
                    total[gate] = bias[row] + sum(wx[row][d] * frame[d] for d in range(len(frame)))
                    total[gate] += sum(wh[row][d] * h[d] for d in range(size))
                i = sigmoid(total["i"] + peep[0][unit] * c[unit])
                f = sigmoid(total["f"] + peep[1][unit] * c[unit])
                cell = f * c[unit] + i * math.tanh(total["c"])
                o = sigmoid(total["o"] + peep[2][unit] * cell)
                new_c.append(cell)
                new_h.append(o * math.tanh(cell))
            h, c = new_h, new_c
            outputs.append(h)
        x = np.array(outputs)
    return x


def made(layers: int = 2, inputs: int = 3, hidden: int = 4, **options: int) -> PeepholeLSTM:
    torch.manual_seed(0)
    return PeepholeLSTM(inputs, hidden, layers, **options).double()


def test_outputs_are_those_of_the_equations_number_by_number() -> None:
    lstm = made()
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    outputs, _ = lstm(x)
    for video in range(2):
        expected = one_number_at_a_time(lstm, x[video].numpy())
        np.testing.assert_allclose(outputs[video].detach().numpy(), expected, atol=1e-14)


def test_gradients_are_the_numerical_ones() -> None:
    lstm = made()
    x = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    state = [torch.randn(2, 2, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    names = [name for name, _ in lstm.named_parameters()]

    def run(x: Tensor, h: Tensor, c: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(names, weights, strict=True))
        outputs, (h, c) = torch.func.functional_call(lstm, given, (x, (h, c)))
        return outputs, h, c

    assert torch.autograd.gradcheck(run, (x, *state, *lstm.parameters()))


def test_without_peepholes_it_is_torchs_lstm() -> None:
    lstm, other = made(), nn.LSTM(3, 4, 2, batch_first=True).double()
    with torch.no_grad():
        for layer in range(2):
            lstm.peephole[layer].zero_()
            getattr(other, f"weight_ih_l{layer}").copy_(lstm.weight_x[layer])
            getattr(other, f"weight_hh_l{layer}").copy_(lstm.weight_h[layer])
            getattr(other, f"bias_ih_l{layer}").copy_(lstm.bias[layer])
            getattr(other, f"bias_hh_l{layer}").zero_()
    x = torch.randn(2, 6, 3, dtype=torch.float64)
    outputs, (h, c) = lstm(x)
    expected, (other_h, other_c) = other(x)
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(h, other_h)
    torch.testing.assert_close(c, other_c)
    with torch.no_grad():
        lstm.peephole[0].fill_(0.5)
    assert (lstm(x)[0] - expected).abs().max() > 1e-3


def test_frames_in_two_calls_are_frames_in_one() -> None:
    lstm = made()
    x = torch.randn(2, 7, 3, dtype=torch.float64)
    whole, end = lstm(x)
    first, state = lstm(x[:, :3])
    second, state = lstm(x[:, 3:], state)
    torch.testing.assert_close(torch.cat((first, second), 1), whole)
    torch.testing.assert_close(state, end)


def test_truncated_gradients_are_those_of_parts_whose_states_are_constants() -> None:
    lstm = made(truncate=3)
    x = torch.randn(2, 8, 3, dtype=torch.float64)
    weight = torch.randn(2, 8, 4, dtype=torch.float64)
    (lstm(x)[0] * weight).sum().backward()
    found = [parameter.grad.clone() for parameter in lstm.parameters()]  # type: ignore[union-attr]
    lstm.zero_grad()
    lstm.truncate = None
    state = None
    for start, end in pairwise((0, 3, 6, 8)):
        outputs, state = lstm(x[:, start:end], state)
        state = (state[0].detach(), state[1].detach())
        (outputs * weight[:, start:end]).sum().backward()
    for parameter, expected in zip(lstm.parameters(), found, strict=True):
        torch.testing.assert_close(parameter.grad, expected)


def test_half_precision_around_it_changes_nothing() -> None:
    lstm = PeepholeLSTM(3, 4)
    x = torch.randn(1, 5, 3)
    with torch.autocast("cpu", torch.bfloat16):
        outputs, _ = lstm(x)
    assert outputs.dtype == torch.float32
    torch.testing.assert_close(outputs, lstm(x)[0])


def test_gates_are_loaded_by_name() -> None:
    lstm, draw = made(layers=1), np.random.default_rng(0)
    wx = {gate: draw.normal(size=(4, 3)) for gate in GATES}
    wh = {gate: draw.normal(size=(4, 4)) for gate in GATES}
    peephole = {gate: draw.normal(size=4) for gate in PEEPHOLES}
    bias = {gate: draw.normal(size=4) for gate in GATES}
    lstm.load_gates(Wx=wx, Wh=wh, peephole=peephole, bias=bias)
    for place, gate in enumerate(GATES):
        rows = slice(4 * place, 4 * place + 4)
        np.testing.assert_array_equal(lstm.weight_x[0].detach()[rows], wx[gate])
        np.testing.assert_array_equal(lstm.weight_h[0].detach()[rows], wh[gate])
        np.testing.assert_array_equal(lstm.bias[0].detach()[rows], bias[gate])
    for place, gate in enumerate(PEEPHOLES):
        np.testing.assert_array_equal(lstm.peephole[0].detach()[place], peephole[gate])
    with pytest.raises(ArgumentError, match="layer"):
        lstm.load_gates(Wx=wx, Wh=wh, peephole=peephole, bias=bias, layer=1)
    with pytest.raises(ArgumentError, match="peephole"):
        lstm.load_gates(Wx=wx, Wh=wh, peephole=bias, bias=bias)
    with pytest.raises(ArgumentError, match="Wx"):
        lstm.load_gates(Wx=wh, Wh=wh, peephole=peephole, bias=bias)


@pytest.mark.parametrize("sizes", [(0, 4, 1), (3, 0, 1), (3, 4, 0)])
def test_a_size_below_one_is_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ArgumentError, match="at least 1"):
        PeepholeLSTM(*sizes)


def test_other_shapes_are_refused() -> None:
    lstm = made()
    with pytest.raises(ArgumentError, match=r"\[B, T, 3\]"):
        lstm(torch.zeros(2, 4, 5, dtype=torch.float64))
    with pytest.raises(ArgumentError, match="state"):
        lstm(torch.zeros(2, 4, 3, dtype=torch.float64), (torch.zeros(1, 2, 4), torch.zeros(1, 2, 4)))


@pytest.mark.parametrize(("frames", "expected"), [(1, [1]), (2, [0, 1]), (5, [0, 0.25, 0.5, 0.75, 1])])
def test_weights_rise_from_0_to_1(frames: int, expected: list[float]) -> None:
    assert frame_gain(frames).tolist() == expected
    with pytest.raises(ArgumentError, match="num_frames"):
        frame_gain(0)
