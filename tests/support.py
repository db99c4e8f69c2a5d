"""What tests of every part use: clips, data sets, settings of small runs, pages, results of commands."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest


def write_clip(
    path: Path, colour: int, frames: int = 12, seed: int = 0, size: tuple[int, int] = (48, 64)
) -> None:
    """A small H.264 clip: a bright square on noise; ``colour`` picks its channel, ``seed`` the rest."""
    rng = np.random.default_rng(seed)
    height, width = size
    top, left = rng.integers(0, height - 20), rng.integers(0, width - 30)
    images = rng.integers(0, 60, (frames, height, width, 3), dtype=np.uint8)
    for number, image in enumerate(images):
        image[top : top + 20, left + number : left + number + 20, colour % 3] = 220
    encode(path, images)


ENCODED: dict[str, bytes] = {}
"""The files that `encode` has made in this process: many tests write the same clips, and encoding takes its time."""


def encode(path: Path, images: np.ndarray, **options: str) -> None:
    """Write RGB frames, uint8 [T, H, W, 3], as H.264 at 12 fps. The same frames give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made_of = repr((path.suffix, images.shape, sorted(options.items()))).encode()
    key = hashlib.sha256(made_of + np.ascontiguousarray(images).tobytes()).hexdigest()
    if key in ENCODED:
        path.write_bytes(ENCODED[key])
    else:
        _encode(path, images, options)
        ENCODED[key] = path.read_bytes()


def _encode(path: Path, images: np.ndarray, options: Mapping[str, str]) -> None:
    """With more threads, or with mbtree, x264 does not encode the same frames alike every time."""
    import av
    from av.video.reformatter import VideoReformatter

    reformat = VideoReformatter().reformat  # one for all frames, and one thread: starting others takes longer
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12, options={"x264-params": "mbtree=0", **options})
        stream.codec_context.thread_count = 1
        stream.height, stream.width, stream.pix_fmt = *images.shape[1:3], "yuv420p"
        for image in images:
            frame = reformat(av.VideoFrame.from_ndarray(image, format="rgb24"), format="yuv420p", threads=1)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


class Page(HTMLParser):
    """Tags, attributes and visible text of a page; raises where elements do not nest."""

    VOID = frozenset({"meta", "img", "br", "input", "source"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data


def read_page(path: Path) -> Page:
    """A report."""
    return Page(path.read_text(encoding="utf-8"))


# A picture of one transparent pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5ErkJggg=="
)

FLOW_PARAMETERS = {"warps": 2, "iterations": 10}


def write_moving(path: Path, step: int, seed: int, frames: int = 14) -> None:
    """A square that moves by ``step`` pixels per frame over still noise."""
    draw = np.random.default_rng(seed)
    ground = draw.integers(0, 90, (48, 64, 3), dtype=np.uint8)
    pattern = draw.integers(120, 255, (20, 20, 3), dtype=np.uint8)
    top, left = int(draw.integers(2, 26)), int(draw.integers(17, 27))
    images = np.repeat(ground[None], frames, 0)
    for number, image in enumerate(images):
        x = left + step * (number - frames // 2)
        image[top : top + 20, x : x + 20] = pattern
    encode(path, images, crf="12")


SMALL = (
    "model.name=tsn",
    "model.backbone=squeezenet1_1",
    "model.dropout=0.2",
    "input.size=32",
    "input.short_side=36",
    "input.snippets=2",
    "optim.epochs=2",
    "optim.batch=4",
    "optim.lr=0.001",
    "optim.name=adamw",
    "data.workers=0",
    "run.precision=32",
    "run.tensorboard=false",
)


def spread_scores(classifiers: list[Any], rows: np.ndarray) -> None:
    """Scale and shift classifiers, in place, so that the scores [V, K] that a network gave to some views lie apart,
    about a mean that prefers the first class: the mean of their softmax is then not the softmax of their mean."""
    import torch

    rows = rows - rows.mean(1, keepdims=True)
    factor = 2 / float(rows.std(0).max())
    for layer in classifiers:
        layer.weight.data *= factor
        centred = layer.bias.data - torch.from_numpy(rows.mean(0)).float()
        layer.bias.data = factor * centred + torch.linspace(2, 0, rows.shape[1])


class Result(NamedTuple):
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


Call = Callable[..., Result]


def sets(assignments: tuple[str, ...]) -> list[str]:
    """``--set`` before each."""
    return [word for text in assignments for word in ("--set", text)]


def offer(
    folder: Path, monkeypatch: pytest.MonkeyPatch, group: str, name: str, value: str, source: str
) -> None:
    """Install a package in ``folder`` for the length of a test: one module, and one entry point ``name = value``."""
    module = value.partition(":")[0]
    info = folder / f"{module}-0.1.dist-info"
    info.mkdir(parents=True)
    (folder / f"{module}.py").write_text(source, encoding="utf-8")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n")
    monkeypatch.syspath_prepend(str(folder))


def make_store(
    path: Path,
    features: Mapping[str, Any],
    labels: Mapping[str, str],
    *,
    groups: Mapping[str, str] | None = None,
    splits: Mapping[str, str] | None = None,
    network: tuple[Any, Any] | None = None,
    block: int = 4,
    **contract: Any,
) -> Any:
    """A feature store with rows [n, *shape] by the id of a clip, at 10 frames a second. Its videos do not exist.

    Args:
        path: folder of the store.
        features: arrays or tensors.
        labels, groups, splits: of each clip, by id; two labels are joined by "|".
        network: a model and its card, for the store's folder ``network``.
        block: clips in a shard.
        contract: entries of `FeatureContract` that differ from those below.
    """
    import torch

    from praxiscope.checkpoint import save_checkpoint
    from praxiscope.data.csvfile import write_csv
    from praxiscope.features.contract import FeatureContract
    from praxiscope.features.shard import writing_shard
    from praxiscope.features.store import FeatureStore, create_store, shard_path
    from praxiscope.inference.extract import weights_digest
    from praxiscope.types import VideoRecord

    rows = {name: torch.as_tensor(x) for name, x in features.items()}
    views = contract.get("views", ("center",))
    inner = tuple(next(iter(rows.values())).shape[1 if len(views) == 1 else 2 :])
    weights = "0" * 64 if network is None else weights_digest(network[0])
    given = {"backbone": "squeezenet1_1", "stream": "rgb", "weights": weights, "shape": inner, **contract}
    made = FeatureContract(**given)
    names = list(rows)
    blocks = [names[first : first + block] for first in range(0, len(names), block)]
    create_store(path, made, len(blocks))
    for number, clips in enumerate(blocks):
        with writing_shard(shard_path(path, number), made) as writer:
            for name in clips:
                frame = torch.arange(len(rows[name]))
                with writer.clip(name, 1000) as clip:
                    clip.add(rows[name], frame.double() / 10, frame)
    groups, splits = groups or {}, splits or {}
    records = [
        VideoRecord(
            name,
            path.parent / "videos" / name,
            tuple(labels[name].split("|")),
            split=splits.get(name),
            group=groups.get(name),
        )
        for name in names
    ]
    write_csv(path / "praxiscope.csv", records)
    if network is not None:
        save_checkpoint(path / "network", *network)
    return FeatureStore(path)
