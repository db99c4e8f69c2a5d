"""Batches and the order in which clips are drawn."""

from __future__ import annotations

import pytest
import torch

from praxiscope._memory import keep_worker_memory
from praxiscope.data.batch import EpochBatches, collate_dense, collate_packed, mix_seeds, stack
from praxiscope.errors import ArgumentError
from praxiscope.types import Clip


def clip(name: str, frames: int, size: int = 4, **streams: int) -> Clip:
    tensors = {"rgb": torch.full((frames, 3, size, size), ord(name[0]), dtype=torch.uint8)}
    tensors |= {key: torch.zeros(count, 2, size, size) for key, count in streams.items()}
    return Clip(tensors, torch.tensor(1), name, seed=7)


def batches(order: torch.Tensor, **options: int) -> list[list[tuple[int, int]]]:
    defaults = {"batch": 2, "seed": 0, "epoch": 0}
    return [[tuple(r) for r in b] for b in EpochBatches(order, **{**defaults, **options})]


def test_two_processes_see_together_what_one_sees_with_twice_the_batch() -> None:
    order = torch.randperm(13, generator=torch.Generator().manual_seed(3))
    one = batches(order, batch=4)
    first = batches(order, batch=2, rank=0, world_size=2)
    second = batches(order, batch=2, rank=1, world_size=2)
    assert one == [a + b for a, b in zip(first, second, strict=True)]


def test_a_resumed_epoch_goes_on_with_the_same_requests() -> None:
    order = torch.arange(10)
    whole = batches(order, batch=3)
    assert len(whole) == 3  # the tenth clip does not fill a batch
    assert batches(order, batch=3, start=2) == whole[2:]


def test_requests_of_another_epoch_or_seed_draw_other_seeds() -> None:
    order = torch.arange(4)
    drawn = [batches(order, seed=s, epoch=e)[0][0][1] for s in range(5) for e in range(5)]
    assert len(set(drawn)) == 25


def test_a_set_smaller_than_a_batch_is_gone_through_again() -> None:
    (only,) = batches(torch.tensor([2, 0, 1]), batch=5)
    assert [place for place, _ in only] == [2, 0, 1, 2, 0]
    assert len({seed for _, seed in only}) == 5


def test_mixed_seeds_do_not_repeat_and_fit_a_generator() -> None:
    drawn = {mix_seeds(a, b) for a in range(40) for b in range(40)}
    assert len(drawn) == 1600
    assert all(0 <= seed < 2**63 for seed in drawn)
    torch.Generator().manual_seed(max(drawn))


def test_dense_batches_stack_every_stream() -> None:
    batch = collate_dense([clip("a", 5, flow=5), clip("b", 5, flow=5)])
    assert batch.streams["rgb"].shape == (2, 5, 3, 4, 4)
    assert batch.streams["flow"].shape == (2, 5, 2, 4, 4)
    assert batch.ids == ["a", "b"]
    assert batch.offsets is None
    assert batch.streams["rgb"][1].unique().item() == ord("b")


def test_a_dense_batch_refuses_unequal_clips_and_names_both() -> None:
    with pytest.raises(ArgumentError, match=r"\ba\b.*5, 3, 4, 4.*\bb\b.*6, 3, 4, 4"):
        collate_dense([clip("a", 5), clip("b", 6)])


def test_stacking_keeps_channels_last_and_equals_torch_stack() -> None:
    pixels = [torch.randint(0, 255, (5, 6, 7, 3), dtype=torch.uint8).permute(0, 3, 1, 2) for _ in range(2)]
    stacked = stack(pixels)
    assert torch.equal(stacked, torch.stack(pixels))
    assert stacked.permute(0, 1, 3, 4, 2).is_contiguous()
    planes = [torch.rand(5, 2, 6, 7) for _ in range(2)]
    assert torch.equal(stack(planes), torch.stack(planes))


class _Streams(torch.utils.data.Dataset):  # type: ignore[type-arg]
    def __len__(self) -> int:
        return 4

    def __getitem__(self, number: int) -> Clip:
        generator = torch.Generator().manual_seed(number)
        pixels = torch.randint(0, 255, (5, 6, 7, 3), dtype=torch.uint8, generator=generator)
        flow = torch.rand(5, 2, 6, 7, generator=generator)
        return Clip({"rgb": pixels.permute(0, 3, 1, 2), "flow": flow}, torch.tensor(number), str(number))


def test_batches_from_reading_processes_equal_those_made_here() -> None:
    clips = _Streams()
    loader = torch.utils.data.DataLoader(
        clips, batch_size=2, num_workers=2, collate_fn=collate_dense, worker_init_fn=keep_worker_memory
    )
    for number, batch in enumerate(loader):
        here = collate_dense([clips[2 * number], clips[2 * number + 1]])
        for name in ("rgb", "flow"):
            assert torch.equal(batch.streams[name], here.streams[name])
            assert batch.streams[name].stride() == here.streams[name].stride()


def test_packed_batches_own_their_rows_by_offsets() -> None:
    batch = collate_packed([clip("a", 2, flow=2), clip("b", 5, flow=5), clip("c", 1, flow=1)])
    assert batch.offsets is not None
    assert batch.offsets.tolist() == [0, 2, 7, 8]
    for number, name in enumerate("abc"):
        rows = batch.streams["rgb"][batch.offsets[number] : batch.offsets[number + 1]]
        assert rows.unique().item() == ord(name)
    assert batch.streams["flow"].shape == (8, 2, 4, 4)


def test_a_packed_batch_refuses_streams_of_unequal_length_or_clips_of_unequal_size() -> None:
    with pytest.raises(ArgumentError, match=r"\ba\b.*'rgb': 2.*'flow': 3"):
        collate_packed([clip("a", 2, flow=3)])
    with pytest.raises(ArgumentError, match=r"'rgb'.* b\b"):
        collate_packed([clip("a", 2), clip("b", 2, size=8)])


def test_clips_with_other_streams_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"b .*\['rgb'\].* a .*\['rgb', 'flow'\]"):
        collate_dense([clip("a", 2, flow=2), clip("b", 2)])
