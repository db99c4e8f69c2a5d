"""Training examples of flow networks: which frames and fields are read, rotations, crops and targets in numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from praxiscope.data.flow_examples import FlowExamples, NearNativeCrop, read_sample, rotated
from praxiscope.types import FLOW_TARGET
from praxiscope.video.crops import CenterCrop, RandomCrop


@dataclass(frozen=True)
class Sliding:
    """Frames of a smooth texture that moves by a constant vector; field i is the vector plus i / 100."""

    num_fields: int = 4
    dx: float = 3.0
    dy: float = -1.0
    size: tuple[int, int] = (48, 64)
    id: str = "sliding"

    def frames(self, start: int, count: int) -> Tensor:
        y, x = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for side in self.size), indexing="ij")
        made = []
        for t in range(start, start + count):
            u, v = x - t * self.dx, y - t * self.dy
            waves = 128 + 60 * torch.sin(u / 5) * torch.cos(v / 7) + 30 * torch.sin((u + v) / 9)
            made.append(waves.round().to(torch.uint8).expand(3, -1, -1))
        return torch.stack(made)

    def fields(self, start: int, count: int) -> Tensor:
        flow = torch.tensor([self.dx, self.dy])[None, :, None, None].repeat(count, 1, *self.size)
        return flow + torch.arange(start, start + count).reshape(-1, 1, 1, 1) / 100

    def occlusion(self, start: int, count: int) -> None: ...


def test_a_short_sample_repeats_its_last_frame_and_lacks_its_fields() -> None:
    sample = Sliding(num_fields=2)
    frames, flow = read_sample(sample, 0, 5, 5)
    assert torch.equal(frames[:3], sample.frames(0, 3))
    assert torch.equal(frames[3], frames[2])
    assert torch.equal(frames[4], frames[2])
    assert torch.equal(flow[:2], sample.fields(0, 2))
    assert bool(flow[2:].isnan().all())
    frames, flow = read_sample(sample, 1, 2, 1)
    assert torch.equal(frames, sample.frames(1, 2))
    assert torch.equal(flow, sample.fields(1, 1))


@pytest.mark.parametrize("degrees", [0.0, 17.0, -60.0, 180.0])
def test_rotated_flow_leads_to_the_same_brightness(degrees: float) -> None:
    sample = Sliding(num_fields=1, size=(96, 96))
    frames, flow = rotated(sample.frames(0, 2), sample.fields(0, 1), degrees)
    known = flow[0].isfinite().all(0)
    assert 0.5 < float(known.float().mean()) <= 1
    first, second = frames[:, 0].double().numpy()
    errors = []
    for y, x in torch.nonzero(known).tolist()[::7]:
        to_x, to_y = x + float(flow[0, 0, y, x]), y + float(flow[0, 1, y, x])
        if 0 <= to_x < 95 and 0 <= to_y < 95 and known[round(to_y), round(to_x)]:
            i, j = int(to_y), int(to_x)
            a, b = to_y - i, to_x - j
            seen = np.array([[(1 - a) * (1 - b), (1 - a) * b], [a * (1 - b), a * b]])
            errors.append(abs(float((seen * second[i : i + 2, j : j + 2]).sum()) - first[y, x]))
    assert len(errors) > 200
    assert float(np.mean(errors)) < 2  # of 255; rounding and two interpolations
    assert torch.allclose(torch.hypot(*flow[0][:, known]), torch.tensor(math.hypot(3, -1)), atol=1e-4)


def test_a_quarter_turn_is_that_of_numpy() -> None:
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8, generator=generator)
    flow = torch.randn(1, 2, 16, 16, generator=generator)
    flow[0, :, 3, 5] = math.nan
    turned, moved = rotated(frames, flow, 90.0)
    assert torch.equal(turned, torch.rot90(frames, -1, (2, 3)))  # clockwise
    wanted = torch.rot90(flow, -1, (2, 3))
    wanted = torch.stack((-wanted[:, 1], wanted[:, 0]), dim=1)  # right turns to down, down to left
    torch.testing.assert_close(moved, wanted, rtol=0, atol=1e-4, equal_nan=True)
    assert int(moved.isnan().sum()) == 2


def test_an_example_holds_frames_and_the_target_in_pixels_of_the_crop() -> None:
    sample = Sliding(size=(48, 48))
    whole = FlowExamples([sample], CenterCrop(48), frames=3, fields=3, stride=4)
    clip = whole.read(0, seed=5)
    assert clip.streams["rgb"].shape == (1, 9, 48, 48)
    assert clip.streams["rgb"].dtype == torch.uint8
    assert clip.streams[FLOW_TARGET].shape == (1, 6, 12, 12)
    start = float(clip.streams[FLOW_TARGET][0, 0, 0, 0] - sample.dx) * 100
    assert start in (pytest.approx(0, abs=1e-3), pytest.approx(1, abs=1e-3))
    frames = sample.frames(round(start), 3)
    assert torch.equal(clip.streams["rgb"][0], frames.flatten(0, 1))
    target = clip.streams[FLOW_TARGET][0]
    assert torch.allclose(target[5], torch.tensor(sample.dy + (start + 2) / 100), atol=1e-4)


def test_starts_cover_the_sample_and_depend_on_the_seed_alone() -> None:
    sample = Sliding(num_fields=6)
    examples = FlowExamples([sample], RandomCrop(32), frames=2, fields=1)
    starts = set()
    for seed in range(40):
        one, two = examples.read(0, seed), examples.read(0, seed)
        assert all(torch.equal(one.streams[name], two.streams[name]) for name in one.streams)
        starts.add(round(float(one.streams[FLOW_TARGET][0, 0, 0, 0] - sample.dx) * 100))
    assert starts == set(range(6))


def test_crops_near_the_native_size_keep_the_length_of_motion() -> None:
    sample = Sliding(size=(96, 128))
    examples = FlowExamples([sample], NearNativeCrop(48), frames=2, fields=1)
    lengths = [float(examples.read(0, seed).streams[FLOW_TARGET][0, 0, 3, 3]) / 3 for seed in range(60)]
    assert 1 / 1.27 < min(lengths) < 0.87
    assert 1.15 < max(lengths) < 1.29
    small = FlowExamples([Sliding(size=(32, 40))], NearNativeCrop(48), frames=2, fields=1)
    assert small.read(0, 0).streams["rgb"].shape[-2:] == (48, 48)
