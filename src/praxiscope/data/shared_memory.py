"""Reusable shared memory for batches that data loader workers send to the main process.

A batch of clips is ten megabytes or more. New shared memory for each batch, as torch uses, costs two page faults for
every four kilobytes, which takes longer than decoding some of the frames. Here each worker has a few slots of one
mapping that all processes inherit. It writes a batch to one of them and sends the number of the slot. The slot becomes
free when the last tensor that refers to it is deleted, so a batch that is kept does not change. If no slot is free, or
a batch is larger than a slot, it is sent in the usual way.
"""

from __future__ import annotations

import itertools
import math
import mmap
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.utils.data
from torch import Tensor

__all__ = ["SlotPool"]

_FREE, _TAKEN = 0, 1
_keys = itertools.count()
_pools: weakref.WeakValueDictionary[int, SlotPool] = weakref.WeakValueDictionary()


class SlotPool:
    """Slots for the workers of one data loader.

    Create it before the loader starts its workers, which must be forked. A spawned worker receives None instead, and
    sends batches in the usual way.

    Args:
        workers: number of workers.
        slots: slots of each worker: the number of batches that may be queued or in use at a time, and one to write to.
            Slots of batches that are never received (after an iteration that ends early) stay taken.
        slot_bytes: size of a slot.
    """

    def __init__(self, workers: int, slots: int, slot_bytes: int) -> None:
        page = mmap.PAGESIZE
        self.slots, self.slot_bytes = slots, -(-max(slot_bytes, 1) // page) * page
        # Pages are allocated when they are first written to, not here.
        self._memory = mmap.mmap(-1, max(1, workers * slots) * self.slot_bytes)
        # One byte per slot. Only its worker takes a free slot, and only the main process frees a taken one, so two
        # processes never change the same state.
        self._state = mmap.mmap(-1, max(1, workers * slots))
        self.key = next(_keys)
        _pools[self.key] = self

    def __reduce__(self) -> tuple[Any, ...]:
        return _no_pool, ()

    def stack(self, tensors: Sequence[Tensor]) -> Any:
        """``torch.stack`` into a slot of this worker. Returns the object to send, or None if no slot fits."""
        worker = torch.utils.data.get_worker_info()
        first = tensors[0]
        shape = (len(tensors), *first.shape)
        if worker is None or math.prod(shape) * first.element_size() > self.slot_bytes:
            return None
        for slot in range(worker.id * self.slots, (worker.id + 1) * self.slots):
            if slot < len(self._state) and self._state[slot] == _FREE:
                self._state[slot] = _TAKEN
                kind = str(first.numpy().dtype)
                torch.stack(list(tensors), out=torch.from_numpy(self._array(slot, shape, kind)))
                return _SlotNumber(self.key, slot, shape, kind)
        return None

    def receive(self, slot: int, shape: tuple[int, ...], kind: str) -> Tensor:
        """The tensor in a slot. The slot stays taken as long as the tensor or a view of it exists."""
        array = self._array(slot, shape, kind)
        # torch keeps the array as long as the tensor or a view of it exists.
        weakref.finalize(array, _release, self._state, slot)
        return torch.from_numpy(array)

    def _array(self, slot: int, shape: tuple[int, ...], kind: str) -> np.ndarray[Any, Any]:
        count, start = math.prod(shape), slot * self.slot_bytes
        return np.frombuffer(self._memory, dtype=kind, count=count, offset=start).reshape(shape)


class _SlotNumber:
    """The number of a slot. It is unpickled as the tensor in the main process."""

    def __init__(self, key: int, slot: int, shape: tuple[int, ...], kind: str) -> None:
        self._contents = (key, slot, shape, kind)

    def permute(self, *order: int) -> _SlotNumber:
        """The same slot, whose tensor is permuted when it is unpickled."""
        permuted = _SlotNumber(*self._contents)
        permuted._contents = (*self._contents, order)  # type: ignore[assignment]
        return permuted

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpack, self._contents


def _unpack(
    key: int, slot: int, shape: tuple[int, ...], kind: str, order: tuple[int, ...] | None = None
) -> Tensor:
    x = _pools[key].receive(slot, shape, kind)
    return x if order is None else x.permute(*order)


def _release(state: mmap.mmap, slot: int) -> None:
    state[slot] = _FREE


def _no_pool() -> None:
    return None
