"""Slots of shared memory: what arrives is what was sent, and what is kept stays as it is."""

from __future__ import annotations

import gc
from functools import partial

import torch
from torch.utils.data import DataLoader, Dataset

from praxiscope.data.batch import collate_dense, stack
from praxiscope.data.shared_memory import SlotPool
from praxiscope.types import Batch, Clip

SHAPE = (2, 3, 16, 16)  # [S, C, H, W]
CLIP_BYTES = 2 * 3 * 16 * 16


def clip(number: int) -> Clip:
    generator = torch.Generator().manual_seed(number)
    pixels = torch.randint(0, 255, (2, 16, 16, 3), dtype=torch.uint8, generator=generator).permute(0, 3, 1, 2)
    flow = torch.rand(SHAPE, generator=generator)
    return Clip({"rgb": pixels, "flow": flow}, torch.tensor(number), str(number))


class Clips(Dataset[Clip]):
    def __len__(self) -> int:
        return 64

    def __getitem__(self, number: int) -> Clip:
        return clip(number)


def loader(pool: SlotPool, workers: int = 2) -> DataLoader[Batch]:
    return DataLoader(
        Clips(),
        batch_size=4,
        num_workers=workers,
        collate_fn=partial(collate_dense, pool=pool),
        multiprocessing_context="fork",
    )


def expected(first: int, name: str) -> torch.Tensor:
    return torch.stack([clip(first + k).streams[name] for k in range(4)])


def test_batches_arrive_as_they_were_and_slots_are_used_again() -> None:
    pool = SlotPool(2, slots=8, slot_bytes=4 * 4 * CLIP_BYTES)
    places = []
    for number, batch in enumerate(loader(pool)):
        for name in ("rgb", "flow"):
            assert torch.equal(batch.streams[name], expected(4 * number, name))
        assert batch.streams["rgb"].permute(0, 1, 3, 4, 2).is_contiguous()
        places += [x.data_ptr() for x in batch.streams.values()]
    assert len(places) == 32
    assert len(set(places)) <= 16


def test_a_batch_that_is_kept_is_never_overwritten() -> None:
    pool = SlotPool(2, slots=6, slot_bytes=4 * 4 * CLIP_BYTES)
    kept, views = [], []
    for number, batch in enumerate(loader(pool)):
        if number % 3 == 0:
            kept.append((number, batch))
        elif number % 3 == 1:
            views.append((number, batch.streams["rgb"][1, 0, :, 3:9]))  # a view of a batch that is dropped
        del batch
        gc.collect()
    for number, batch in kept:
        assert torch.equal(batch.streams["flow"], expected(4 * number, "flow"))
    for number, view in views:
        assert torch.equal(view, expected(4 * number, "rgb")[1, 0, :, 3:9])


def test_without_a_free_slot_or_with_a_small_one_batches_travel_as_usual() -> None:
    for pool in (SlotPool(2, slots=1, slot_bytes=4 * 4 * CLIP_BYTES), SlotPool(2, slots=4, slot_bytes=100)):
        kept = list(loader(pool))
        for number, batch in enumerate(kept):
            assert torch.equal(batch.streams["rgb"], expected(4 * number, "rgb"))


def test_in_the_main_process_a_pool_changes_nothing() -> None:
    clips = [clip(0).streams["flow"], clip(1).streams["flow"]]
    assert torch.equal(stack(clips, SlotPool(2, 2, 1 << 20)), torch.stack(clips))


def test_a_pool_does_not_reach_processes_that_were_not_forked() -> None:
    import pickle

    assert pickle.loads(pickle.dumps(SlotPool(1, 1, 10))) is None
