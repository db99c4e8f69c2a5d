"""Validation of flow networks: the end-point error on held-out frames with known flow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch

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

__all__ = ["FlowValidation", "measure_error"]


def measure_error(
    network: Any, contract: Any, samples: Iterable[FlowSample]
) -> tuple[FlowError, FlowError, int]:
    """The end-point errors of a network on the middle frames of samples, at their own size.

    Args:
        network: a network of `praxiscope.models.contract.EstimatesFlow`, in evaluation mode.
        contract: its input contract.
        samples: frames with known flow. Those that cannot be read are left out.

    Returns:
        The errors of the fields between the frames that it sees, those of the field to the frame that it does not see
        (empty for networks of two frames), and the number of samples that were read.
    """
    seen, future, count = FlowError(), FlowError(), 0
    device = next(network.parameters()).device
    for sample in samples:
        try:
            start = max(sample.num_fields - network.fields, 0) // 2
            frames, truth = read_sample(sample, start, network.frames, network.fields)
        except (DataError, VideoError):
            continue
        flow = estimate_clips(network, contract, frames[None].to(device))[0].cpu()
        between = network.frames - 1
        seen += summarise_error(flow[:between], truth[:between])
        future += summarise_error(flow[between:], truth[between:])
        count += 1
    return seen, future, count


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
            seen, future, count = measure_error(model, self.network.card.input, self.samples[rank::world])
        model.train(was_training)
        parts = {"": seen.all, "_small": seen.small, "_large": seen.large, "_future": future.all}
        sums = torch.tensor(
            [[float(count), 0.0], *([part.total, float(part.pixels)] for part in parts.values())],
            dtype=torch.float64,
        )
        if world > 1:
            sums = self.fabric.all_reduce(sums.to(self.fabric.device), reduce_op="sum").cpu()
        figures = {
            f"val_epe{name}": total / pixels
            for name, (total, pixels) in zip(parts, sums[1:].tolist(), strict=True)
            if pixels
        }
        error = figures.get("val_epe", math.nan)
        self.reporter.line(
            f"Epoch {state.epoch}: end-point error {error:.3f} px on {counted(int(sums[0, 0]), 'test sample')}"
        )
        return figures
