"""Scores: the result of testing, and its file format.

Axis letters: n videos, K classes.

A scores file is either ``.npz`` (numpy arrays without pickle; the protocol as a JSON string) or ``.parquet`` (one row
per video: id, target, logits; classes and protocol as JSON in the table's metadata).
"""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from praxiscope.errors import ScoresError
from praxiscope.units import counted

__all__ = ["Scores"]

_FORMAT = "praxiscope-scores"
_VERSION = 1
_ARRAYS = ("ids", "logits", "targets", "classes", "protocol", "format", "version")


@dataclass
class Scores:
    """Class scores of a set of videos, with their labels and the test protocol.

    Attributes:
        ids: ids of the videos, without duplicates.
        logits: float32 [n, K], before softmax, averaged over the views; if probabilities were averaged
            (``protocol["average"]``), the logarithm of their mean.
        targets: int64 [n] class numbers (-1: unknown), or uint8 [n, K] of zeros and ones for multi-label data, where a
            row of zeros is a video without a class.
        classes: the K class names, without duplicates.
        protocol: how the scores were computed, as plain values for JSON. ``name`` is the protocol's name ("25x10");
            ``activation`` ("softmax" or "sigmoid") converts logits to probabilities, after a division by
            ``temperature``, if there is one; the caller may add keys (model, streams, input, split, …).

    Raises:
        ScoresError: the parts do not match, or a logit is not finite.
    """

    ids: list[str]
    logits: NDArray[np.float32]
    targets: NDArray[Any]
    classes: list[str]
    protocol: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ids = [str(name) for name in self.ids]
        self.classes = [str(name) for name in self.classes]
        self.logits = np.ascontiguousarray(self.logits, dtype=np.float32)
        targets = np.asarray(self.targets)
        if targets.dtype.kind not in "iub" and not np.array_equal(targets, np.rint(targets)):
            raise ScoresError(
                "targets must be integers: class numbers, or zeros and ones for multi-label data"
            )
        self.targets = np.ascontiguousarray(targets, dtype=np.int64)
        if not self.classes:
            raise ScoresError("scores need at least one class, got none")
        shape = (len(self.ids), len(self.classes))
        if self.logits.shape != shape:
            raise ScoresError(
                f"logits must be [videos, classes] = {list(shape)}, got {list(self.logits.shape)}"
            )
        for kind, names in (("video id", self.ids), ("class", self.classes)):
            if twice := _repeated(names):
                raise ScoresError(f"duplicate {kind}: {_examples(twice)}")
        broken = np.flatnonzero(~np.isfinite(self.logits).all(axis=1))
        if broken.size:
            raise ScoresError(
                f"{counted(broken.size, 'video has', 'videos have')} scores that are not finite: "
                f"{_examples([self.ids[i] for i in broken])}. The training of the model has probably diverged."
            )
        self._check_targets()
        given = self.protocol.get("temperature", 1.0)
        if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given < math.inf:
            raise ScoresError(f"the temperature must be a number above 0, got {given!r}")

    def _check_targets(self) -> None:
        count = len(self.classes)
        if self.targets.shape == (len(self.ids),):
            wrong = np.flatnonzero((self.targets < -1) | (self.targets >= count))
            wanted = f"class numbers from 0 to {count - 1}, or -1"
        elif self.targets.shape == self.logits.shape:
            wrong = np.flatnonzero(((self.targets != 0) & (self.targets != 1)).any(axis=1))
            wanted = "zeros and ones"
        else:
            raise ScoresError(
                f"targets must be [videos] or [videos, classes] = {list(self.logits.shape)}, "
                f"got {list(self.targets.shape)}"
            )
        if wrong.size:
            raise ScoresError(
                f"targets must be {wanted}; wrong for {_examples([self.ids[i] for i in wrong])}"
            )
        if self.multi_label:
            self.targets = self.targets.astype(np.uint8)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def multi_label(self) -> bool:
        """Whether a video can have several classes, or none."""
        return self.targets.ndim == 2

    @property
    def sigmoid(self) -> bool:
        """Whether probabilities are sigmoids of each class, instead of a softmax over all classes.

        A network trained with one label for each video may be tested on videos with several. If the protocol has no
        ``activation``, the targets decide.
        """
        return self.protocol.get("activation", "sigmoid" if self.multi_label else "softmax") == "sigmoid"

    @property
    def temperature(self) -> float:
        """The number that divides the logits before the softmax; 1 if the model was not calibrated."""
        return float(self.protocol.get("temperature", 1.0))

    def target_names(self, index: int) -> list[str]:
        """The class names of video ``index``; empty if unknown."""
        if self.multi_label:
            return [self.classes[k] for k in np.flatnonzero(self.targets[index])]
        number = int(self.targets[index])
        return [self.classes[number]] if number >= 0 else []

    def reordered(self, ids: Sequence[str]) -> Scores:
        """The scores of ``ids``, in that order; ``ids`` may be a subset.

        Raises:
            ScoresError: an id is not among these scores.
        """
        rows = {name: row for row, name in enumerate(self.ids)}
        if missing := [name for name in ids if name not in rows]:
            raise ScoresError(
                f"{counted(len(missing), 'video has', 'videos have')} no scores: {_examples(missing)}"
            )
        order = np.array([rows[name] for name in ids], dtype=np.int64)
        return replace(self, ids=list(ids), logits=self.logits[order], targets=self.targets[order])

    def check_same(self, other: Scores, *, protocols: bool = True) -> None:
        """Raise ScoresError unless ``other`` has the same videos, classes and targets.

        The order of the videos may differ (see ``reordered``). Unknown targets match any target.

        Args:
            other: the scores to compare with.
            protocols: also compare the names of the protocols; other entries of ``protocol`` may differ.

        Raises:
            ScoresError: the scores differ; the message names the differences, with examples.
        """
        problems = []
        if set(self.ids) != set(other.ids):
            problems.append("videos differ: " + _only_in_one(self.ids, other.ids))
        if self.classes != other.classes:
            problems.append("classes differ: " + _first_difference(self.classes, other.classes))
        elif self.multi_label != other.multi_label:
            problems.append("targets differ: only one of the two is multi-label")
        elif self.sigmoid != other.sigmoid:
            problems.append("activations differ: only one of the two uses a sigmoid")
        elif different := self._other_targets(other):
            problems.append(
                f"targets differ for {counted(len(different), 'video')}: "
                + _examples([f"{name} ({a or 'no label'} and {b or 'no label'})" for name, a, b in different])
            )
        mine, theirs = self.protocol.get("name"), other.protocol.get("name")
        if protocols and mine != theirs:
            problems.append(f"protocols differ: {mine!r} and {theirs!r}")
        if problems:
            raise ScoresError("these scores do not match: " + "; ".join(problems))

    def _other_targets(self, other: Scores) -> list[tuple[str, str, str]]:
        """Videos that are labelled differently: id, labels here, labels in ``other``."""
        rows = {name: row for row, name in enumerate(other.ids)}
        different = []
        for row, name in enumerate(self.ids):
            if name not in rows:
                continue
            mine, theirs = self.targets[row], other.targets[rows[name]]
            unknown = not self.multi_label and (mine < 0 or theirs < 0)
            if not unknown and not np.array_equal(mine, theirs):
                pair = ", ".join(self.target_names(row)), ", ".join(other.target_names(rows[name]))
                different.append((name, *pair))
        return different

    def save(self, path: str | Path) -> Path:
        """Write a scores file atomically.

        Args:
            path: ends in ``.npz`` or ``.parquet`` (the latter needs pyarrow). Missing folders are created.

        Returns:
            The path.

        Raises:
            ScoresError: the suffix is unknown, JSON cannot represent the protocol, or pyarrow is missing.
            OSError: the file cannot be written.
        """
        path = Path(path)
        writer = {".npz": _write_npz, ".parquet": _write_parquet}.get(path.suffix.lower())
        if writer is None:
            raise ScoresError(f"{path}: a scores file ends in .npz or .parquet")
        try:
            protocol = json.dumps(self.protocol, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ScoresError(f"the protocol must hold plain values for JSON: {error}") from error
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(path, lambda file: writer(self, protocol, file))
        return path

    @classmethod
    def load(cls, path: str | Path) -> Scores:
        """Read a scores file. Nothing in it is executed or unpickled.

        Raises:
            ScoresError: the file is missing, damaged, of another format or of a later version.
        """
        path = Path(path)
        reader = {".npz": _read_npz, ".parquet": _read_parquet}.get(path.suffix.lower())
        if reader is None:
            raise ScoresError(f"{path}: a scores file ends in .npz or .parquet")
        if not path.is_file():
            raise ScoresError(f"{path}: no such scores file. `praxiscope test` writes one with --out.")
        try:
            return cls(**reader(path))
        except ScoresError as error:
            raise ScoresError(f"{path}: {error}") from error
        except Exception as error:  # on malformed bytes the readers raise many kinds of errors
            raise ScoresError(
                f"{path}: not a scores file, or a damaged one ({error}). Test again."
            ) from error


def _write_npz(scores: Scores, protocol: str, file: IO[bytes]) -> None:
    np.savez_compressed(
        file,
        format=np.array(_FORMAT),
        version=np.array(_VERSION),
        ids=np.array(scores.ids, dtype=np.str_),
        logits=scores.logits,
        targets=scores.targets,
        classes=np.array(scores.classes, dtype=np.str_),
        protocol=np.array(protocol),
    )


def _read_npz(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        for name in _ARRAYS:
            _check_member(archive, f"{name}.npy")
    with np.load(path, allow_pickle=False) as arrays:
        _check_kind(str(arrays["format"]), int(arrays["version"]))
        if arrays["ids"].ndim != 1 or arrays["classes"].ndim != 1:
            raise ScoresError("ids and classes must be lists")
        return {
            "ids": arrays["ids"].tolist(),
            "logits": arrays["logits"],
            "targets": arrays["targets"],
            "classes": arrays["classes"].tolist(),
            "protocol": _read_protocol(str(arrays["protocol"])),
        }


def _check_member(archive: zipfile.ZipFile, name: str) -> None:
    """Raise ScoresError if the header of an array gives a wrong size, because numpy would allocate that size."""
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise ScoresError(f"not a scores file: it holds no {name!r}") from None
    with archive.open(info) as member:
        major, _ = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(member)
        claimed = int(np.prod([int(side) for side in shape], dtype=object)) * dtype.itemsize
        if dtype.hasobject:
            raise ScoresError(f"{name} holds pickled objects, which are not supported")
        if member.tell() + claimed != info.file_size:
            raise ScoresError(
                f"damaged: the header of {name} gives {claimed} bytes, but it has {info.file_size - member.tell()}"
            )


def _write_parquet(scores: Scores, protocol: str, file: IO[bytes]) -> None:
    pyarrow, parquet = _pyarrow()
    target_type = pyarrow.list_(pyarrow.uint8()) if scores.multi_label else pyarrow.int64()
    logits = pyarrow.array(scores.logits.reshape(-1))
    columns = {
        "id": pyarrow.array(scores.ids, pyarrow.string()),
        "target": pyarrow.array(scores.targets.tolist(), target_type),
        "logits": pyarrow.FixedSizeListArray.from_arrays(logits, len(scores.classes)),
    }
    metadata = {
        "format": _FORMAT,
        "version": str(_VERSION),
        "classes": json.dumps(scores.classes),
        "protocol": protocol,
    }
    parquet.write_table(pyarrow.table(columns, metadata=metadata), file)


def _read_parquet(path: Path) -> dict[str, Any]:
    pyarrow, parquet = _pyarrow()
    table = parquet.read_table(path)
    metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    _check_kind(metadata.get("format", ""), int(metadata.get("version", 0)))
    classes = json.loads(metadata["classes"])
    shape = table.num_rows, len(classes)
    multi_label = pyarrow.types.is_list(table.schema.field("target").type)
    targets = np.array(table["target"].to_pylist(), dtype=np.int64)
    return {
        "ids": table["id"].to_pylist(),
        "logits": np.array(table["logits"].to_pylist(), dtype=np.float32).reshape(shape),
        "targets": targets.reshape(shape) if multi_label else targets,
        "classes": classes,
        "protocol": _read_protocol(metadata["protocol"]),
    }


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ScoresError(
            "Parquet needs pyarrow: pip install 'praxiscope[parquet]', or use a .npz file"
        ) from error
    return pyarrow, pyarrow.parquet


def _check_kind(kind: str, version: int) -> None:
    if kind != _FORMAT:
        raise ScoresError(f"not a scores file: its format is {kind[:40]!r}, not {_FORMAT!r}")
    if version != _VERSION:
        raise ScoresError(
            f"written in version {version} of the format; this praxiscope reads {_VERSION}. Upgrade it."
        )


def _read_protocol(text: str) -> dict[str, Any]:
    protocol = json.loads(text)
    if not isinstance(protocol, dict):
        raise ScoresError("the protocol must be a JSON object")
    return protocol


def _write_whole(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Write a temporary file, then rename it to ``path``, so that a killed run leaves no partial file."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _examples(names: Sequence[str], count: int = 3) -> str:
    more = f", … ({len(names)})" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def _only_in_one(first: Sequence[str], second: Sequence[str]) -> str:
    sides = []
    for which, names, others in (("first", first, set(second)), ("second", second, set(first))):
        if only := [name for name in names if name not in others]:
            sides.append(f"{len(only)} only in the {which} ({_examples(only)})")
    return ", ".join(sides)


def _first_difference(first: Sequence[str], second: Sequence[str]) -> str:
    if sorted(first) != sorted(second):
        return _only_in_one(first, second)
    at = next(i for i, (a, b) in enumerate(zip(first, second, strict=True)) if a != b)
    return f"the order differs from index {at} ({first[at]!r} and {second[at]!r})"
