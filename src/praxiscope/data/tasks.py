"""Several data sets as one: multi-task training, a classifier for each (Simonyan and Zisserman, 2014, section 4).

A task is a data set with a name. In the joined set its videos are ``task/ID``, its classes ``task/CLASS``, and its
classes stand together, task after task. So what orders, samples, weighs and skips videos needs no word of tasks.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from praxiscope.data.files import first_few
from praxiscope.data.manifest import Manifest
from praxiscope.errors import ArgumentError, DataError, unknown_name
from praxiscope.flow.clip import FlowClip
from praxiscope.flow.store import FlowStore
from praxiscope.types import VideoRecord

__all__ = ["JoinedFlow", "join", "store_of"]


def join(manifests: Mapping[str, Manifest]) -> Manifest:
    """Join data sets into one.

    Args:
        manifests: the sets by their tasks' names; classes are numbered in this order.

    Returns:
        A manifest whose ids, classes, groups and notes carry the task's name; each video stays on its side of the
        split. ``tasks`` says which classes are whose.

    Raises:
        ArgumentError: a name that cannot be one.
        DataError: a set with videos of several labels, or of none.
    """
    tasks: dict[str, tuple[int, int]] = {}
    classes: list[str] = []
    for name, manifest in manifests.items():
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise ArgumentError(f"a data set's name is made of letters, digits, _ and -, got {name!r}")
        if any(len(record.labels) != 1 for record in manifest.records):
            raise DataError(
                f"{name}: {manifest.name} has videos with several labels or none, which cannot be one task of several. "
                "Train on it alone, or keep one label for each video."
            )
        tasks[name] = (len(classes), len(classes) + len(manifest.classes))
        classes += [f"{name}/{label}" for label in manifest.classes]
    notes = [f"{name}: {note}" for name, manifest in manifests.items() for note in manifest.notes]
    return Manifest(
        records=tuple(
            replace(
                record,
                id=f"{name}/{record.id}",
                labels=tuple(f"{name}/{label}" for label in record.labels),
                # Groups of one name in two sets (g01, say) have nothing to do with one another.
                group=None if record.group is None else f"{name}/{record.group}",
            )
            for name, manifest in manifests.items()
            for record in manifest.records
        ),
        classes=tuple(classes),
        multi_label=False,
        name=" + ".join(manifests),
        root=next(iter(manifests.values())).root,
        missing=tuple(f"{name}/{lost}" for name, m in manifests.items() for lost in m.missing),
        notes=(*notes, *_describe_leaks(manifests)),
        left_out=tuple(f"{name}/{left}" for name, m in manifests.items() for left in m.left_out),
        tasks=tasks,
    )


def _describe_leaks(manifests: Mapping[str, Manifest]) -> list[str]:
    """A note on files that one set trains on and another one holds out; within a set its own notes tell."""
    # Of the folders alone, each once: asking the disk about every file of a large set takes long.
    folder = cache(Path.resolve)

    def place(record: VideoRecord) -> Path:
        return folder(record.path.parent) / record.path.name

    trained: dict[Path, set[str]] = defaultdict(set)
    for name, manifest in manifests.items():
        for record in manifest.of("train"):
            trained[place(record)].add(name)
    leaks = [
        f"{name}/{record.id}"
        for name, manifest in manifests.items()
        for record in manifest.records
        if record.split != "train" and trained.get(place(record), set()) - {name}
    ]
    if not leaks:
        return []
    return [
        f"{len(leaks)} held-out videos lie in files that another of the data sets trains on, which flatters tests: "
        f"{first_few(leaks)}"
    ]


class JoinedFlow(FlowStore):
    """The stored flow of joined sets: a clip's key begins with its task's name.

    Args:
        stores: one for each task.

    Raises:
        DataError: two of them were made in different ways.
    """

    def __init__(self, stores: Mapping[str, FlowStore]) -> None:
        self.stores = dict(stores)
        first, *others = self.stores
        self.root, self.contract = self.stores[first].root, self.stores[first].contract
        self.storage = self.stores[first].storage
        for name in others:
            store = self.stores[name]
            if store.contract != self.contract:
                raise DataError(
                    f"the flow of {first} and of {name} was made in different ways "
                    f"({self.contract.difference(store.contract)}): {self.root} holds {self.contract}, {store.root} "
                    f"holds {store.contract}. One network needs one way; make one of them anew."
                )

    def __repr__(self) -> str:
        return f"JoinedFlow({self.stores})"

    def __contains__(self, key: object) -> bool:
        task, _, inner = str(key).partition("/")
        return task in self.stores and inner in self.stores[task]

    def keys(self) -> list[str]:
        """All clips, task after task."""
        return [f"{task}/{key}" for task, store in self.stores.items() for key in store.keys()]  # noqa: SIM118

    @property
    def has_backward(self) -> bool:
        """Whether each of the stores holds backward flow."""
        return all(store.has_backward for store in self.stores.values())

    def path(self, key: str, *, backward: bool = False) -> Path:
        """Where a clip is written."""
        store, inner = self.of(key)
        return store.path(inner, backward=backward)

    def clip(self, key: str) -> FlowClip:
        """The flow of one video; raises as the store of its task does."""
        store, inner = self.of(key)
        return store.clip(inner)

    def of(self, key: str) -> tuple[FlowStore, str]:
        """The store that holds a clip, and its key there. Raises UnknownNameError for a task without one."""
        task, _, inner = key.partition("/")
        if task not in self.stores:
            raise unknown_name("data set with stored flow", task, self.stores)
        return self.stores[task], inner


def store_of(store: FlowStore, key: str) -> FlowStore:
    """The store that holds a clip: itself, or of joined ones the clip's own."""
    return store.of(key)[0] if isinstance(store, JoinedFlow) else store
