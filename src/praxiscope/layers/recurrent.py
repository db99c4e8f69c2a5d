"""The LSTM with peephole connections (Gers et al. 2002), as in Ng et al., "Beyond Short Snippets", CVPR 2015.

B videos, T frames, D inputs of a frame, H cells of a layer, L layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from praxiscope.errors import ArgumentError

__all__ = ["GATES", "PEEPHOLES", "PeepholeLSTM", "State", "frame_gain"]

GATES = ("i", "f", "c", "o")
"""Input gate, forget gate, candidate of the cell and output gate: the order of the rows of the weights."""
PEEPHOLES = ("i", "f", "o")
"""The gates that see the cells."""

State: TypeAlias = tuple[Tensor, Tensor]
"""Outputs h and cells c after the last frame, each [L, B, H]."""


def frame_gain(num_frames: int, like: Tensor | None = None) -> Tensor:
    """Weights g_t of frames: from 0 at the first to 1 at the last, linearly; 1 for a single frame.

    Args:
        num_frames: T.
        like: a tensor whose device and type of number are taken.

    Returns:
        [T].

    Raises:
        ArgumentError: there is no frame.
    """
    if num_frames < 1:
        raise ArgumentError(f"num_frames must be at least 1, got {num_frames}")
    device, dtype = (None, torch.float32) if like is None else (like.device, like.dtype)
    if num_frames == 1:
        return torch.ones(1, device=device, dtype=dtype)
    return torch.linspace(0, 1, num_frames, device=device, dtype=dtype)


class PeepholeLSTM(nn.Module):
    """Stacked LSTM layers whose gates see their own cell, by one weight per cell and gate (a diagonal matrix).

    For each frame (eqs. 3.3 to 3.7 of Ng's thesis)::

        i = sigmoid(W_xi x + W_hi h + w_ci * c + b_i)        c, h: of the frame before
        f = sigmoid(W_xf x + W_hf h + w_cf * c + b_f)
        c' = f * c + i * tanh(W_xc x + W_hc h + b_c)
        o = sigmoid(W_xo x + W_ho h + w_co * c' + b_o)       the output gate sees the new cell
        h' = o * tanh(c')

    ``torch.nn.LSTM`` has no peepholes; with peepholes of 0 both are equal. The inputs of all frames are projected at
    once, and the gradient of a layer is written out, so that only the recurrent product is computed frame by frame.

    Args:
        input_size: D.
        hidden_size: H.
        num_layers: L; each layer takes the outputs of the one before.
        truncate: gradients do not pass from frame n * truncate to the frame before it (truncated backpropagation
            through time); None: they pass through all frames.

    Attributes:
        weight_x, weight_h: for each layer, [4 H, D or H] and [4 H, H], rows in the order of `GATES`.
        peephole: for each layer, [3, H] in the order of `PEEPHOLES`.
        bias: for each layer, [4 H].

    Raises:
        ArgumentError: a size is below 1.
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, *, truncate: int | None = None
    ) -> None:
        super().__init__()
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
        for name, value in {**sizes, "truncate": 1 if truncate is None else truncate}.items():
            if value < 1:
                raise ArgumentError(f"{name} must be at least 1, got {value}")
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.truncate = truncate
        inputs = [input_size] + [hidden_size] * (num_layers - 1)
        self.weight_x = nn.ParameterList(torch.empty(4 * hidden_size, size) for size in inputs)
        self.weight_h = nn.ParameterList(torch.empty(4 * hidden_size, hidden_size) for _ in inputs)
        self.peephole = nn.ParameterList(torch.empty(3, hidden_size) for _ in inputs)
        self.bias = nn.ParameterList(torch.empty(4 * hidden_size) for _ in inputs)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights uniformly from ±1 / sqrt(H), as ``torch.nn.LSTM`` does."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    @torch.no_grad()
    def load_gates(
        self,
        *,
        Wx: Mapping[str, Any],
        Wh: Mapping[str, Any],
        peephole: Mapping[str, Any],
        bias: Mapping[str, Any],
        layer: int = 0,
    ) -> None:
        """Set the weights of a layer, gate by gate.

        Args:
            Wx: by gate ("i", "f", "c", "o"), [H, D] (after the first layer [H, H]).
            Wh: by gate, [H, H].
            peephole: by gate ("i", "f", "o"), [H].
            bias: by gate, [H].
            layer: number of the layer, from 0.

        Raises:
            ArgumentError: a gate is missing or unknown, a shape is wrong, or there is no such layer.
        """
        if not 0 <= layer < self.num_layers:
            raise ArgumentError(f"layer must be from 0 to {self.num_layers - 1}, got {layer}")
        for name, given, gates, target in (
            ("Wx", Wx, GATES, self.weight_x[layer]),
            ("Wh", Wh, GATES, self.weight_h[layer]),
            ("peephole", peephole, PEEPHOLES, self.peephole[layer]),
            ("bias", bias, GATES, self.bias[layer]),
        ):
            if set(given) != set(gates):
                raise ArgumentError(f"{name} must have the gates {', '.join(gates)}, got {sorted(given)}")
            shape = (self.hidden_size, *target.shape[1:]) if name != "peephole" else (self.hidden_size,)
            rows = []
            for gate in gates:
                row = torch.as_tensor(given[gate], dtype=target.dtype, device=target.device)
                if row.shape != shape:
                    raise ArgumentError(f"{name}[{gate!r}] must be {list(shape)}, got {list(row.shape)}")
                rows.append(row)
            target.copy_(torch.stack(rows) if name == "peephole" else torch.cat(rows))

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Run over frames.

        Args:
            x: floats [B, T, D].
            state: what an earlier call returned, to continue after its last frame; None: zeros.

        Returns:
            The outputs of the last layer [B, T, H], and the state after the last frame.

        Raises:
            ArgumentError: the shape of ``x`` or of the state is wrong.
        """
        if x.dim() != 3 or x.shape[2] != self.input_size or x.shape[1] < 1:
            raise ArgumentError(
                f"x must be [B, T, {self.input_size}] with T of 1 or more, got {list(x.shape)}"
            )
        shape = (self.num_layers, len(x), self.hidden_size)
        if state is not None and (tuple(state[0].shape) != shape or tuple(state[1].shape) != shape):
            raise ArgumentError(
                f"the state must be two tensors {list(shape)}, got {[list(part.shape) for part in state]}"
            )
        # Sums over many frames: never in half precision.
        with torch.autocast(x.device.type, enabled=False):
            dtype = self.bias[0].dtype
            h, ends = x.to(dtype), []
            for layer in range(self.num_layers):
                if state is None:
                    first = h.new_zeros(2, len(x), self.hidden_size)
                else:
                    first = torch.stack((state[0][layer], state[1][layer])).to(dtype)
                inputs = F.linear(h.transpose(0, 1), self.weight_x[layer], self.bias[layer])
                h, cell = _Recurrence.apply(  # type: ignore[no-untyped-call]
                    inputs, first[0], first[1], self.weight_h[layer], self.peephole[layer], self.truncate
                )
                ends.append((h[-1], cell))
                h = h.transpose(0, 1)
        return h, (torch.stack([one for one, _ in ends]), torch.stack([one for _, one in ends]))


class _Recurrence(torch.autograd.Function):
    """(inputs of the gates [T, B, 4 H], h [B, H], c [B, H], W_h [4 H, H], peephole [3, H], truncate) -> (outputs
    [T, B, H], the last cell [B, H]).

    The backward pass computes the gradients of W_h and of the peepholes for all frames in one product each.
    """

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, h: Tensor, c: Tensor, weight: Tensor, peephole: Tensor, truncate: int | None
    ) -> tuple[Tensor, Tensor]:
        frames, _, hidden = inputs.shape[0], inputs.shape[1], h.shape[1]
        peep_if, peep_o = peephole[:2].flatten(), peephole[2]
        gates = torch.empty_like(inputs)
        cells = inputs.new_empty(frames + 1, *c.shape)
        outputs = inputs.new_empty(frames + 1, *h.shape)
        cells[0], outputs[0] = c, h
        transposed = weight.t()
        for t in range(frames):
            gate = torch.addmm(inputs[t], outputs[t], transposed, out=gates[t])
            before = cells[t]
            gate[:, : 2 * hidden] += peep_if * torch.cat((before, before), 1)
            gate[:, : 2 * hidden].sigmoid_()
            i, f, new, o = gate.chunk(4, 1)
            new.tanh_()
            cell = torch.addcmul(f * before, i, new, out=cells[t + 1])
            o.addcmul_(cell, peep_o.expand_as(cell)).sigmoid_()
            torch.mul(o, cell.tanh(), out=outputs[t + 1])
        ctx.save_for_backward(gates, cells, outputs, weight, peephole)
        ctx.truncate = truncate
        return outputs[1:].clone(), cells[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, d_last: Tensor) -> tuple[Any, ...]:
        gates, cells, outputs, weight, peephole = ctx.saved_tensors
        frames = len(gates)
        d_gates = torch.empty_like(gates)
        d_h, d_c = torch.zeros_like(cells[0]), d_last.clone()
        i_all, f_all, new_all, o_all = gates.chunk(4, 2)
        tanh_all = cells[1:].tanh()
        # What does not depend on later frames, for all frames at once.
        slope_i, slope_f, slope_o = (g * (1 - g) for g in (i_all, f_all, o_all))
        slope_new, slope_tanh = 1 - new_all * new_all, o_all * (1 - tanh_all * tanh_all)
        for t in reversed(range(frames)):
            d_h = d_h + d_outputs[t]
            d_i, d_f, d_new, d_o = d_gates[t].chunk(4, 1)
            torch.mul(d_h * tanh_all[t], slope_o[t], out=d_o)
            d_c = d_c + d_h * slope_tanh[t] + d_o * peephole[2]
            torch.mul(d_c * new_all[t], slope_i[t], out=d_i)
            torch.mul(d_c * cells[t], slope_f[t], out=d_f)
            torch.mul(d_c * i_all[t], slope_new[t], out=d_new)
            if ctx.truncate is not None and t and t % ctx.truncate == 0:
                d_h, d_c = torch.zeros_like(d_h), torch.zeros_like(d_c)
                continue
            d_h = d_gates[t] @ weight
            d_c = d_c * f_all[t] + d_i * peephole[0] + d_f * peephole[1]
        d_weight = d_gates.flatten(0, 1).t() @ outputs[:-1].flatten(0, 1)
        d_i, d_f, _, d_o = d_gates.chunk(4, 2)
        d_peephole = torch.stack(
            ((d_i * cells[:-1]).sum((0, 1)), (d_f * cells[:-1]).sum((0, 1)), (d_o * cells[1:]).sum((0, 1)))
        )
        return d_gates, d_h, d_c, d_weight, d_peephole, None
