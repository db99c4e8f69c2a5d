"""Validation of flow networks: the end-point error on held-out frames with known flow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch

from praxiscope.checkpoint import InputContract
from praxiscope.data.flow_examples import read_sample
from praxiscope.data.flow_layouts import FlowSample
from praxiscope.errors import DataError, VideoError
from praxiscope.flow.error import FlowError, summarise_error
from praxiscope.inference.flow_network import estimate_clips
from praxiscope.progress import Reporter
from praxiscope.recipes.settings import TrainSettings
from praxiscope.training.loop import TrainState
from praxiscope.training.network import Network
from praxiscope.units import counted

__all__ = ["FlowValidation", "MeasuredFlow", "measure_error"]


class MeasuredFlow(NamedTuple):
    """The end-point errors of a network.

    Attributes:
        seen: of the fields between the frames that it sees.
        future: of the field to the frame that it does not see; empty for networks of two frames.
        still: of zero flow in place of ``seen``, which a network has to fall below.
        samples: number of samples that were read.
    """

    seen: FlowError
    future: FlowError
    still: FlowError
    samples: int


def measure_error(network: Any, contract: InputContract, samples: Iterable[FlowSample]) -> MeasuredFlow:
    """The end-point errors of a network on the middle frames of samples, at their own size.

    Args:
        network: a network of `praxiscope.models.contract.EstimatesFlow`, in evaluation mode.
        contract: its input contract.
        samples: frames with known flow. Those that cannot be read are left out.
    """
    seen, future, still, count = FlowError(), FlowError(), FlowError(), 0
    device = next(network.parameters()).device
    between = network.frames - 1
    for sample in samples:
        try:
            start = max(sample.num_fields - network.fields, 0) // 2
            frames, truth = read_sample(sample, start, network.frames, network.fields)
        except (DataError, VideoError):
            continue
        flow = estimate_clips(network, contract, frames[None].to(device))[0].cpu()
        seen += summarise_error(flow[:between], truth[:between])
        future += summarise_error(flow[between:], truth[between:])
        still += summarise_error(torch.zeros_like(truth[:between]), truth[:between])
        count += 1
    return MeasuredFlow(seen, future, still, count)


class FlowValidation:
    """Measures the end-point error on test samples after an epoch, and after the last step.

    Each process measures a part of them.

    Args:
        settings: settings of the run.
        network: the network of the run.
        fabric: a launched ``Fabric``.
        samples: test samples; may be empty.
        reporter: reports the figures.
        last_step: last step of the run.
    """

    split: str = "test"
    prefer: str = "last"

    def __init__(
        self,
        settings: TrainSettings,
        network: Network,
        fabric: Any,
        samples: Sequence[FlowSample],
        reporter: Reporter,
        last_step: int,
    ) -> None:
        self.settings, self.network, self.fabric = settings, network, fabric
        self.samples, self.reporter, self.last_step = samples, reporter, last_step

    def __call__(self, state: TrainState) -> dict[str, float]:
        every = self.settings.run.validate_epochs
        if not self.samples or not every or (state.epoch % every and state.step != self.last_step):
            return {}
        model, rank, world = self.network.model, self.fabric.global_rank, self.fabric.world_size
        was_training = model.training
        model.eval()
        with self.fabric.autocast():
            found = measure_error(model, self.network.card.input, self.samples[rank::world])
        model.train(was_training)
        seen = found.seen
        parts = {"": seen.all, "_small": seen.small, "_large": seen.large, "_future": found.future.all}
        parts["_zero"] = found.still.all
        sums = torch.tensor(
            [[float(found.samples), 0.0], *([part.total, float(part.pixels)] for part in parts.values())],
            dtype=torch.float64,
        )
        if world > 1:
            sums = self.fabric.all_reduce(sums.to(self.fabric.device), reduce_op="sum").cpu()
        figures = {
            f"val_epe{name}": total / pixels
            for name, (total, pixels) in zip(parts, sums[1:].tolist(), strict=True)
            if pixels
        }
        error, still = (figures.get(name, math.nan) for name in ("val_epe", "val_epe_zero"))
        self.reporter.line(
            f"Epoch {state.epoch}: end-point error {error:.3f} px (zero flow: {still:.3f}) on "
            f"{counted(int(sums[0, 0]), 'test sample')}"
        )
        return figures
