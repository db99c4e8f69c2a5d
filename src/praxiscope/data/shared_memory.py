"""Memory that reading processes and the main process share, used again and again.

A batch of clips is ten megabytes or more. Handing it over in fresh shared memory, as torch does, costs two page
faults for every four kilobytes of it, more than decoding some of its frames. Here each reading process has a few
slots of one mapping that all processes inherit; it writes a batch into one of them and sends the slot's number.
The slot is free again when the last tensor that looks at it is gone, so a batch that somebody keeps stays as it is.
Where no slot is free, or a batch is larger than one, it travels as usual.
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
    """Slots for the reading processes of one data loader.

    Create it before the loader starts its processes, which must be forked; one that is spawned gets None in its
    place, and hands over as usual.

    Args:
        workers: reading processes.
        slots: slots of each: as many as batches may be on the way or in use at a time, and one to write to. Slots
            whose batch was sent and never received (a loader that was left early) stay taken.
        slot_bytes: size of a slot.
    """

    def __init__(self, workers: int, slots: int, slot_bytes: int) -> None:
        page = mmap.PAGESIZE
        self.slots, self.slot_bytes = slots, -(-max(slot_bytes, 1) // page) * page
        # Pages are taken from the system when they are first written to, not here.
        self._memory = mmap.mmap(-1, max(1, workers * slots) * self.slot_bytes)
        # One byte per slot. Only its reading process takes a free slot, only the main process frees a taken one: no
        # two processes ever want to change the same state.
        self._state = mmap.mmap(-1, max(1, workers * slots))
        self.key = next(_keys)
        _pools[self.key] = self

    def __reduce__(self) -> tuple[Any, ...]:
        return _no_pool, ()

    def stack(self, tensors: Sequence[Tensor]) -> Any:
        """``torch.stack`` into a slot of this reading process: what to send, or None where no slot will do."""
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
                return _Parcel(self.key, slot, shape, kind)
        return None

    def receive(self, slot: int, shape: tuple[int, ...], kind: str) -> Tensor:
        """The tensor in a slot, which is held until nothing looks at it any more."""
        array = self._array(slot, shape, kind)
        # torch keeps the array as long as any view of the tensor lives.
        weakref.finalize(array, _release, self._state, slot)
        return torch.from_numpy(array)

    def _array(self, slot: int, shape: tuple[int, ...], kind: str) -> np.ndarray[Any, Any]:
        count, start = math.prod(shape), slot * self.slot_bytes
        return np.frombuffer(self._memory, dtype=kind, count=count, offset=start).reshape(shape)


class _Parcel:
    """A slot's number on its way; the main process unpacks it as the tensor."""

    def __init__(self, key: int, slot: int, shape: tuple[int, ...], kind: str) -> None:
        self._contents = (key, slot, shape, kind)

    def permute(self, *order: int) -> _Parcel:
        """The same parcel, whose tensor is turned when it is unpacked."""
        turned = _Parcel(*self._contents)
        turned._contents = (*self._contents, order)  # type: ignore[assignment]
        return turned

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
