"""Frames per second of LSTMs, forward and backward: with peepholes, PyTorch's fused one, and a naive loop."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from common import Table, parser, run_command, write_tables
from torch import Tensor, nn

from praxiscope.layers.recurrent import GATES, PEEPHOLES, PeepholeLSTM


def naive(lstm: PeepholeLSTM, x: Tensor) -> Tensor:
    """The equations of `PeepholeLSTM`, frame by frame, layer by layer, gate by gate: [B, T, D] to [B, T, H]."""
    state = [(x.new_zeros(len(x), lstm.hidden_size),) * 2 for _ in range(lstm.num_layers)]
    outputs = []
    for frame in x.unbind(1):
        for layer in range(lstm.num_layers):
            h, c = state[layer]
            wx, wh, bias = (
                dict(zip(GATES, weight.chunk(4), strict=True))
                for weight in (lstm.weight_x[layer], lstm.weight_h[layer], lstm.bias[layer])
            )
            peephole = dict(zip(PEEPHOLES, lstm.peephole[layer], strict=True))
            total = {gate: frame @ wx[gate].T + h @ wh[gate].T + bias[gate] for gate in GATES}
            i = torch.sigmoid(total["i"] + peephole["i"] * c)
            f = torch.sigmoid(total["f"] + peephole["f"] * c)
            cell = f * c + i * torch.tanh(total["c"])
            o = torch.sigmoid(total["o"] + peephole["o"] * cell)
            frame = o * torch.tanh(cell)
            state[layer] = (frame, cell)
        outputs.append(frame)
    return torch.stack(outputs, 1)


def seconds(run: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """Seconds of a forward and a backward pass."""
    began = time.perf_counter()
    run(x).sum().backward()
    return time.perf_counter() - began


def measure(options: argparse.Namespace) -> Table:
    """The three in turns: median frames per second, and the ratio to PyTorch's."""
    sizes = (options.inputs, options.hidden, options.layers)
    lstm, fused = PeepholeLSTM(*sizes), nn.LSTM(*sizes, batch_first=True)
    x = torch.randn(options.batch, options.frames, options.inputs, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        difference = float((lstm(x)[0] - naive(lstm, x)).abs().max())
    systems: dict[str, Callable[[Tensor], Tensor]] = {
        "PeepholeLSTM": lambda x: lstm(x)[0],
        "torch.nn.LSTM (no peepholes)": lambda x: fused(x)[0],
        "naive loop with peepholes": lambda x: naive(lstm, x),
    }
    for run in systems.values():
        seconds(run, x)  # the first call allocates
    found: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(options.turns):
        for name, run in systems.items():
            found[name].append(seconds(run, x))
    median = {name: statistics.median(values) for name, values in found.items()}
    base = median["torch.nn.LSTM (no peepholes)"]
    count = options.batch * options.frames
    rows = [
        [
            name,
            f"{count / value:.0f}",
            f"{base / value:.2f}",
            f"{min(found[name]):.3f} to {max(found[name]):.3f}",
        ]
        for name, value in median.items()
    ]
    title = (
        f"{options.layers} layers of {options.hidden} cells on {options.inputs} features, {options.batch} videos of "
        f"{options.frames} frames, float32; the loop and PeepholeLSTM differ by up to {difference:.1e}"
    )
    return Table(title, ["", "frames/s", "against torch.nn.LSTM", "seconds"], rows)


def main() -> None:
    """Measure, and write the table."""
    arguments = parser(__doc__, __file__, assignments=False)
    for name, value in (("inputs", 1280), ("hidden", 512), ("layers", 5), ("batch", 16), ("frames", 120)):
        arguments.add_argument(f"--{name}", type=int, default=value)
    arguments.add_argument("--turns", type=int, default=7)
    options = arguments.parse_args()
    note = f"Forward and backward pass, median of {options.turns} turns, in turns in one process."
    write_tables(options, __file__, "Speed of the LSTM", [measure(options)], note)


if __name__ == "__main__":
    run_command(main)
