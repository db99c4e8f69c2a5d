"""Flow as a target: of the part of the frame that the pictures show, in pixels of the crop, at a lower resolution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from praxiscope.data.flow_targets import FlowTargetReader, target_size
from praxiscope.data.manifest import load_records
from praxiscope.flow.store import FlowStore
from praxiscope.types import FLOW_TARGET, Batch, VideoRecord
from praxiscope.video.geometry import Box, flip, resize
from praxiscope.video.opening import open_video
from praxiscope.video.transforms import BatchAugment

SIZE, FIELDS = 32, 3


@pytest.fixture(scope="module")
def record(moving: tuple[Path, Path]) -> VideoRecord:
    return load_records(str(moving[0])).records[0]


def read(
    moving: tuple[Path, Path], record: VideoRecord, starts: list[int], box: Box | None, **given: Any
) -> Tensor:
    reader = FlowTargetReader(length=FIELDS, store=FlowStore(moving[1]), crop=(SIZE, SIZE), stride=4)
    video = open_video(record.path)
    first, last = given.get("part", (0, video.quick_length()))
    return reader(record, video, torch.tensor(starts), first, last, box)


def stored(moving: tuple[Path, Path], record: VideoRecord, numbers: list[int]) -> Tensor:
    """Whole fields, [n, 2, H, W]."""
    return FlowStore(moving[1]).clip(record.id).fields(torch.tensor(numbers))


def test_a_target_is_the_area_average_of_the_resized_part_of_each_field(
    moving: tuple[Path, Path], record: VideoRecord
) -> None:
    whole = stored(moving, record, [0, 1, 2, 5, 6, 7])
    height, width = whole.shape[-2:]
    box = Box(4, 6, 32, 24, (height, width))
    found = read(moving, record, [0, 5], box)
    assert found.shape == (2, 2 * FIELDS, 8, 8)
    part = whole[..., 4:36, 6:30]
    # 32 rows and 24 columns become 32 x 32 pixels: dx grows by 32 / 24, and areas are 4 x 3 pixels of the part.
    expected = part.unflatten(-2, (8, 4)).unflatten(-1, (8, 3)).mean((-3, -1))
    expected[:, 0] *= 32 / 24
    torch.testing.assert_close(found, expected.reshape(2, 2 * FIELDS, 8, 8))
    # Resizing the field first gives the same on the whole; bilinear filters reach over the edges of areas.
    resized = resize(part.reshape(2, 2 * FIELDS, 32, 24), (SIZE, SIZE), "flow")
    torch.testing.assert_close(found.mean((2, 3)), resized.mean((2, 3)), rtol=0.1, atol=0.02)


def test_fields_beyond_the_end_of_a_record_are_unknown(
    moving: tuple[Path, Path], record: VideoRecord
) -> None:
    frames = open_video(record.path).quick_length()
    found = read(moving, record, [frames - FIELDS], None).unflatten(1, (FIELDS, 2))
    assert found[:, :-1].isfinite().all()
    assert found[:, -1].isnan().all()
    inner = read(moving, record, [0], None, part=(2, 4)).unflatten(1, (FIELDS, 2))
    assert inner.isnan().flatten(2).any(2).tolist() == [[False, True, True]]
    expected = read(moving, record, [2], None)[:, :2]
    torch.testing.assert_close(inner[:, 0], expected)
    assert read(moving, record, [0], None, part=(3, 4)).isnan().all()


def test_a_target_is_flipped_with_the_frames_and_not_normalised() -> None:
    torch.manual_seed(0)
    frames = torch.randint(0, 256, (6, 1, 6, 16, 16), dtype=torch.uint8)
    target = torch.randn(6, 1, 2, 4, 4)
    target[0, 0, :, 0] = torch.nan
    augment = BatchAugment(flow_mean=(3.0,), flow_std=(7.0,), flow_image=False)
    seeds = list(range(6))
    found = augment(Batch({"rgb": frames, FLOW_TARGET: target}, torch.zeros(6), list("abcdef"), seeds))
    flipped = [augment.draw(seed)[0] for seed in seeds]
    assert {True, False} == set(flipped)
    for number, turned in enumerate(flipped):
        expected = flip(target[number], "flow") if turned else target[number]
        torch.testing.assert_close(
            found.streams[FLOW_TARGET][number], expected, rtol=0, atol=0, equal_nan=True
        )


def test_partial_areas_count() -> None:
    assert target_size(224, 4) == (56, 56)
    assert target_size((33, 64), 4) == (9, 16)
