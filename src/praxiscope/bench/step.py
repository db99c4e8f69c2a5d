"""Measure time, peak memory and multiply-adds of a training step of a network, on random frames in memory.

Each job is measured in two processes: the time in an ordinary process, and the peak in one that returns freed memory
immediately. Reading videos is not included.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from praxiscope._memory import keep_memory
from praxiscope.devices import pick_device
from praxiscope.errors import ArgumentError, PraxiscopeError
from praxiscope.evaluation.views import bf16_pays
from praxiscope.layers.memory_format import to_channels_last
from praxiscope.models import create_model
from praxiscope.training.memory import PeakMemory
from praxiscope.training.optim import make_optimizer, parameter_groups

__all__ = ["EXACT_MEMORY", "Job", "measure_step", "run_measured"]

# glibc keeps some of the freed memory, and how much differs from run to run. With these variables, every tensor of a
# mebibyte or more is returned to the system when it is freed. This is slow, so the time is measured without them.
EXACT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**20), "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}

CLASSES = 4


@dataclass(frozen=True)
class Job:
    """A measurement.

    Attributes:
        model, keywords: arguments of ``create_model``.
        frames: frames of each video.
        size: side of a frame in pixels.
        batch: number of videos.
        steps: number of timed steps, of which the median is reported; one step before them is not timed.
        device: "cpu" or "cuda".
        precision: "32", "bf16", or "auto" for the faster one on this machine.
        part: "step"; or, on activations of the first stage, "clustering" (distances and ids) or "means" (clustering,
            the means and their gradient).
        keep_memory: as the setting ``run.keep_memory``; the peak is then that of the timed process.
    """

    model: str
    keywords: dict[str, Any] = field(default_factory=dict)
    frames: int = 32
    size: int = 224
    batch: int = 1
    steps: int = 3
    device: str = "cpu"
    precision: str = "auto"
    part: str = "step"
    keep_memory: bool = False

    def updated(self, **changes: Any) -> Job:
        """A copy with changed values."""
        return replace(self, **changes)


def run_measured(module: str, job: dict[str, Any], what: str) -> dict[str, Any]:
    """Run ``python -m module JOB`` twice. Returns the JSON output of the first run, with the ``bytes`` of the second.

    The second run measures memory exactly (`EXACT_MEMORY`), in one step. Jobs that keep memory, and jobs on a GPU,
    where memory is always exact, are run once.

    Raises:
        ArgumentError: the process failed; the message ends with its last line.
    """

    def run(wanted: dict[str, Any], environment: dict[str, str]) -> dict[str, Any]:
        command = [sys.executable, "-m", module, json.dumps(wanted)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise ArgumentError(f"{what}: could not be measured: {last}")
        figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return figures

    if job.get("keep_memory") or job.get("device", "cpu") != "cpu":
        return run(job, {})
    return {**run(job, {}), "bytes": run({**job, "steps": 1}, EXACT_MEMORY)["bytes"]}


def measure_step(job: Job) -> dict[str, Any]:
    """Measure a job in separate processes.

    Returns:
        ``seconds`` of a step, ``bytes`` at the peak of the process (or of the GPU), and ``multiply_adds`` of the
        forward pass of one video.

    Raises:
        ArgumentError: the job could not be measured.
    """
    return run_measured(__name__, asdict(job), f"{job.model} {job.keywords} on {job.frames} frames")


def _measure(job: Job) -> dict[str, Any]:
    device = pick_device(job.device)
    if job.keep_memory and not keep_memory():
        raise ArgumentError(
            "keep_memory needs glibc, which is not the C library of this machine. Leave it out."
        )
    torch.manual_seed(0)
    model: Any = create_model(job.model, num_classes=CLASSES, **job.keywords).to(device)
    to_channels_last(model)
    optimizer = make_optimizer("sgd", parameter_groups(model, lr=1e-3, weight_decay=5e-4))
    low = bf16_pays(device) if job.precision == "auto" else job.precision == "bf16"
    shape = (job.batch * job.frames, job.size, job.size, 3)
    frames = torch.empty(shape, device=device).normal_().permute(0, 3, 1, 2)
    targets = torch.randint(0, CLASSES, (job.batch,), device=device)
    offsets = torch.arange(job.batch + 1) * job.frames
    packed = model.sees.all_frames
    inputs = (frames, offsets) if packed else (frames.reshape(job.batch, job.frames, *frames.shape[1:]),)

    def clocked(work: Any) -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=low):
            logits = model(*inputs).logits
        torch.autograd.backward(torch.nn.functional.cross_entropy(logits.float(), targets))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    work = step
    if job.part != "step":
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=low):
            activations = model.early(frames)
        where = offsets.to(device)

        def clustering() -> None:
            model.cluster_ids(activations, where)

        def means() -> None:
            activations.grad = None
            torch.autograd.backward(model.cluster_means(activations.requires_grad_(), where)[0].sum())

        work = clustering if job.part == "clustering" else means
    peak = PeakMemory(device)
    clocked(work)
    times = [clocked(work) for _ in range(job.steps)]
    figures = {"seconds": statistics.median(times), "bytes": peak.read()}
    return {**figures, "multiply_adds": _multiply_adds(model, job, inputs) if job.part == "step" else None}


def _multiply_adds(model: torch.nn.Module, job: Job, inputs: Any) -> int:
    """Multiply-adds of the forward pass of one video, where a multiplication with its addition counts once."""
    from torch.utils.flop_counter import FlopCounterMode

    model.eval()
    one = (inputs[0][: job.frames], inputs[1][:2]) if len(inputs) == 2 else (inputs[0][:1],)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(*one)
    return counter.get_total_flops() // 2


if __name__ == "__main__":
    try:
        print(json.dumps(_measure(Job(**json.loads(sys.argv[1])))))
    except (PraxiscopeError, RuntimeError) as error:
        sys.exit(str(error))
