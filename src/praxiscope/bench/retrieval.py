"""Mean average precision of encoders on a set of retrieval: by layer, size, words and dimensions.

One pass over the frames of the training set learns the vocabularies of all layers, a second one sums up the residuals;
every row of the table follows from these sums.

Axis letters: N items, P of a VLAD.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from praxiscope.commands.index_items import marks
from praxiscope.data.manifest import load_records
from praxiscope.errors import ArgumentError, DataError
from praxiscope.inference.frame_network import create_frame_network
from praxiscope.inference.network import TrainedNetwork
from praxiscope.models.named_layers import named_layers
from praxiscope.progress import Reporter
from praxiscope.retrieval.encoder import Encoder, LocalFeatures
from praxiscope.retrieval.learning import Learning, learn_projection, learn_words
from praxiscope.retrieval.parts import Part
from praxiscope.retrieval.protocol import evaluate
from praxiscope.retrieval.reading import all_frames
from praxiscope.retrieval.sets import RetrievalSet, images_below
from praxiscope.types import VideoRecord
from praxiscope.units import counted

__all__ = ["HEADER", "RetrievalTest", "bench_retrieval", "format_retrieval"]

HEADER = ("data", "layers", "VLAD", "dimensions", "mAP", "recall@1", "queries", "items")


@dataclass(frozen=True)
class RetrievalTest:
    """What is measured.

    Attributes:
        learn_from: data from which vocabularies and projections are learned: videos (their training split), or a
            folder of images. None: the searched items of the set, without the queries.
        backbone, weights: see `praxiscope.inference.frame_network.create_frame_network`.
        layers: layers, each ``LAYER`` or ``LAYER@SIZE``; joined ones with "+". Empty: every layer that has a map.
        sizes: pixels, for layers without a size.
        dims: dimensions after PCA; 0: VLAD itself.
        whiten: whether PCA whitens; each row is measured for each value.
        learning: words and seed; its ``dims`` and ``whiten`` have no meaning here.
        frames: of each video.
        device: device of the network.
    """

    learn_from: str | None = None
    backbone: str = "efficientnet_lite0"
    weights: str | None = None
    layers: Sequence[str] = ()
    sizes: Sequence[int] = (224,)
    dims: Sequence[int] = (128,)
    whiten: Sequence[bool] = (True,)
    learning: Learning = field(default_factory=Learning)
    frames: int = 8
    device: torch.device | None = None


@dataclass
class _Sums:
    """Sums of residuals of items: for each part float32 [N, P], and which items could be read."""

    parts: dict[Part, Tensor]
    present: NDArray[np.bool_]


def bench_retrieval(
    found: RetrievalSet, test: RetrievalTest, *, reporter: Reporter | None = None
) -> list[dict[str, Any]]:
    """Measure every row.

    Args:
        found: the set.
        test: what is measured.
        reporter: shows progress.

    Returns:
        Rows with the columns of `HEADER` under ``set``, ``layers``, ``vlad``, ``dims`` and ``whitened``, ``map``,
        ``recall_1``, ``queries``, ``items``, ``average_precision`` (of each query), ``found_first``, ``learned_from``.

    Raises:
        UnknownNameError: a layer is unknown.
        DataError: nothing can be learned from the training set.
    """
    reporter = reporter or Reporter()
    network = create_frame_network(test.backbone, weights=test.weights)
    reporter.line(network.note)
    trained = TrainedNetwork(network.model, network.card, device=test.device)
    rows = _rows(test, named_layers(trained.model.stream_networks["rgb"]).names)
    parts = list(dict.fromkeys(part for row in rows for part in row))
    features = LocalFeatures(trained, parts)
    training, name = _training(found, test)
    reporter.line(f"Vocabularies and PCA are learned from {counted(len(training), 'item')} of {name}.")
    sampling = {"frames": test.frames}
    words = _words(training, sampling, features, test.learning, reporter)
    learned = _sums(training, sampling, features, words, "PCA", reporter, join=False)
    tested = _sums(found.items, sampling, features, words, "items", reporter, join=True)
    result = []
    for row in rows:
        encoder = Encoder(LocalFeatures(trained, row), tuple(words[part] for part in row))
        plain = encoder.finish(torch.cat([learned.parts[part] for part in row], 1))
        sums = torch.cat([tested.parts[part] for part in row], 1)
        for dims, whiten in _projections(test):
            learning = replace(test.learning, dims=dims, whiten=whiten)
            projection = learn_projection(plain, learning) if dims else None
            vectors = replace(encoder, projection=projection).finish(sums)
            ranked = evaluate(vectors, found, tested.present)
            result.append(
                {
                    "set": found.name,
                    "layers": "+".join(map(str, row)),
                    "vlad": encoder.dims,
                    "dims": dims or encoder.dims,
                    "whitened": bool(dims) and whiten,
                    "map": ranked.map,
                    "recall_1": ranked.recall_1,
                    "queries": len(found.queries),
                    "items": len(found.searched),
                    "average_precision": ranked.average_precision.tolist(),
                    "found_first": ranked.found_first.tolist(),
                    "learned_from": name,
                }
            )
    return result


def format_retrieval(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The cells of a table with the columns of `HEADER`."""
    return [
        [
            row["set"], row["layers"], str(row["vlad"]), f"{row['dims']}{', whitened' * row['whitened']}",
            f"{row['map']:.3f}", f"{row['recall_1']:.3f}", str(row["queries"]), str(row["items"]),
        ]
        for row in rows
    ]  # fmt: skip


def _projections(test: RetrievalTest) -> list[tuple[int, bool]]:
    """Dimensions and whitening of each row; VLAD itself has none."""
    return list(dict.fromkeys((dims, whiten and dims > 0) for dims in test.dims for whiten in test.whiten))


def _rows(test: RetrievalTest, names: Sequence[str]) -> list[list[Part]]:
    wanted = [
        [Part.parse(one, size) for one in text.split("+")]
        for text in test.layers or names
        for size in test.sizes
    ]
    return [list(row) for row in dict.fromkeys(map(tuple, wanted))]


def _training(found: RetrievalSet, test: RetrievalTest) -> tuple[list[VideoRecord], str]:
    if test.learn_from is None:
        queries = {query.item for query in found.queries}
        items = [found.items[number] for number in found.searched if number not in queries]
        if not items:
            raise ArgumentError(
                f"{found.name}: every searched item is also a query, and nothing is learned from queries. Give "
                "training data with --learn-from."
            )
        return items, f"{found.name} without the queries"
    folder = Path(test.learn_from)
    if folder.is_dir() and (images := images_below(folder)):
        items, name = images, folder.name
    else:
        manifest = load_records(test.learn_from)
        items, name = list(manifest.of("train")), f"{manifest.name}, training split"
    asked = {*marks([found.items[query.item] for query in found.queries]).values()}
    if both := [item.id for item in items if marks([item])[item.id] in asked]:  # also copies of a file
        raise ArgumentError(
            f"--learn-from {test.learn_from}: {counted(len(both), 'item')} of it, the first {both[0]}, are also "
            "queries, and nothing is learned from queries. Give other data."
        )
    return items, name


def _words(
    records: Sequence[VideoRecord],
    sampling: Mapping[str, Any],
    features: LocalFeatures,
    learning: Learning,
    reporter: Reporter,
) -> dict[Part, Tensor]:
    count = len(records) * int(sampling["frames"])
    local = (features(pixels) for _, pixels in _read(records, sampling, "vocabularies", reporter))
    return dict(zip(features.parts, learn_words(local, features.parts, count, learning), strict=True))


def _read(
    records: Sequence[VideoRecord], sampling: Mapping[str, Any], name: str, reporter: Reporter
) -> Iterator[tuple[int, Tensor]]:
    skipped: dict[str, str] = {}
    done = 0
    with reporter.bar(name, len(records)) as bar:
        for number, part in all_frames(records, sampling, skipped):
            yield number, part.pixels
            bar.advance(number + 1 - done)
            done = number + 1
    for id, problem in skipped.items():
        reporter.line(f"Note: {id} was skipped: {problem}")
    if len(skipped) == len(records):
        raise DataError("none of the items could be read")


def _sums(
    records: Sequence[VideoRecord],
    sampling: Mapping[str, Any],
    features: LocalFeatures,
    words: Mapping[Part, Tensor],
    name: str,
    reporter: Reporter,
    *,
    join: bool,
) -> _Sums:
    """Sums of residuals: of each item, or with ``join`` False of each frame."""
    rows: dict[Part, list[Tensor]] = {part: [] for part in features.parts}
    numbers: list[int] = []
    encoders = {part: Encoder(features, (words[part],)) for part in features.parts}
    for number, pixels in _read(records, sampling, name, reporter):
        numbers += [number] * len(pixels)
        for part, local in zip(features.parts, features(pixels), strict=True):
            rows[part].append(encoders[part].sums_of([local]))
    present = np.zeros(len(records), dtype=bool)
    present[numbers] = True
    if not join:
        return _Sums({part: torch.cat(found) for part, found in rows.items()}, present)
    places = torch.tensor(numbers)
    return _Sums(
        {
            part: torch.zeros(len(records), found[0].shape[1]).index_add_(0, places, torch.cat(found))
            for part, found in rows.items()
        },
        present,
    )
