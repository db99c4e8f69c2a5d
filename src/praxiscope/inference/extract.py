"""Compute features of videos with a per-frame network: the input of its classifier, or the map of a layer.

n frames (rows) of a video, V views of a frame, C channels, H rows, W columns, D features.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from praxiscope._memory import keep_worker_memory
from praxiscope.checkpoint import CHOICE_OF_FRAMES
from praxiscope.data.dataset import Skip, StreamReader, clear_errors, frame_range
from praxiscope.errors import ArgumentError, DataError, VideoError
from praxiscope.evaluation.views import Precision
from praxiscope.features.contract import VIEWS, FeatureContract, check_sampling
from praxiscope.inference.inputs import crops_of, stream_readers
from praxiscope.inference.network import TrainedNetwork
from praxiscope.layers.folding import fold_batchnorm
from praxiscope.models.network_ends import classifier_name
from praxiscope.processes import run_once
from praxiscope.types import VideoRecord
from praxiscope.video.crops import CenterCrop
from praxiscope.video.decode import known_damage
from praxiscope.video.geometry import flip, kind_of
from praxiscope.video.opening import open_video
from praxiscope.video.sampling import segment_indices

__all__ = ["ClipFeatures", "FeatureExtractor", "Rows", "sampled_frames", "weights_digest"]

_HELD = 1 << 26  # bytes of frames that are in memory at once; longer videos are read in parts
_LEAST = 16  # frames that are read together, however large
_CLOSE = 1e-3  # relative difference of the folded network from which folding is given up


class Rows(NamedTuple):
    """Features of frames of one video.

    features: float32 [n, D], or [n, C, H, W]; with several views [n, V, ...].
    time_s: float64 [n], seconds from the start of the file.
    frame: int64 [n], numbers of the frames; of a stack, its first.
    """

    features: Tensor
    time_s: Tensor
    frame: Tensor


class ClipFeatures(NamedTuple):
    """The features of one video, computed while ``parts`` is iterated, in memory that does not grow with its length.

    id: of the video.
    parts: consecutive rows. Raises VideoError or DataError where the file cannot be read.
    damage: after the last part: the frames that do not decode, as a clause; empty for none.
    """

    id: str
    parts: Iterator[Rows]
    damage: Callable[[], str]

    def all(self) -> Rows:
        """All rows together."""
        return Rows(*(torch.cat(column) for column in zip(*self.parts, strict=True)))


@dataclass
class _Read:
    """What a worker has read of a video: frames [n, C, H, W], or None for a video that is read in parts."""

    frames: Tensor | None
    starts: Tensor
    time_s: Tensor
    first: int
    last: int
    damage: str = ""


class FeatureExtractor:
    """Computes features of single frames.

    Args:
        network: a model that scores each frame separately, of one stream.
        layer: name of the layer whose map is taken; None for the input of the classifier, or, with pool "none", for the
            last map.
        pool: "space": mean of a map over rows and columns; "none": the map.
        views: of a frame, see `praxiscope.features.contract.VIEWS`.

    Raises:
        ArgumentError: the model mixes frames, has several streams, or returns no features.
        UnknownNameError: there is no such layer.
    """

    def __init__(
        self,
        network: TrainedNetwork,
        *,
        layer: str | None = None,
        pool: str = "space",
        views: Sequence[str] = ("center",),
    ) -> None:
        model: Any = network.model
        _check_model(network, model)
        if pool == "none" and layer is None:
            layer = model.layer_names()[-1]
        self.network, self.layer, self.pool, self.views = network, layer, pool, tuple(views)
        self.input = network.card.input
        (self.stream,) = network.streams
        self._maps = () if layer is None else (layer,)
        channels = self.input.read_channels[self.stream]
        example = torch.rand(1, 2, channels, self.input.size, self.input.size)
        example = example.mul(255).to(torch.uint8) if self.stream == "rgb" else example
        prepared = network.prepare(example, kind_of(self.stream))
        self.model: nn.Module = model
        expected = self._forward(prepared, Precision())
        self.model = fold_batchnorm(model, prepared)
        found = self._forward(prepared, Precision())
        if not torch.allclose(found, expected, rtol=_CLOSE, atol=_CLOSE * float(expected.abs().max())):
            self.model = (
                model  # a convolution's output is used in two places, or is the map that was asked for
            )
        self.shape = tuple(expected.shape[1:])

    def contract(
        self, sampling: Mapping[str, Any], dtype: str = "float32", versions: Mapping[str, str] | None = None
    ) -> FeatureContract:
        """The contract of a store of these features."""
        card = self.network.card
        unused = ("snippets", "flip", *CHOICE_OF_FRAMES)  # of training and of testing
        return FeatureContract(
            backbone=str(card.kwargs.get("backbone", card.name)),
            stream=self.stream,
            weights=weights_digest(self.network.model),
            shape=self.shape,
            layer=self.layer,
            pool=self.pool,
            input={name: value for name, value in asdict(self.input).items() if name not in unused},
            sampling=sampling,
            views=self.views,
            dtype=dtype,
            precision=self.network.precision.name,
            versions=card.versions if versions is None else versions,
        )

    def extract(
        self,
        records: Sequence[VideoRecord],
        sampling: Mapping[str, Any],
        *,
        workers: int = 0,
        time_limit_s: float = 300.0,
    ) -> Iterator[ClipFeatures | Skip]:
        """Yield the features of each video, in order, or the reason why it cannot be read.

        The features of a video do not depend on the other videos.

        Args:
            records: the videos.
            sampling: {"frames": n}, n frames in the middles of n equal parts, as the protocol ``nx1``; {"fps": f},
                the frames nearest to 0, 1/f, 2/f … seconds, each once; or {"every": True}.
            workers: number of processes that read videos ahead; 0 for this process.
            time_limit_s: seconds that reading one video may take.

        Raises:
            ArgumentError: an unknown sampling.
            DataError: a reading process has died.
        """
        clips = _Clips(self, records, check_sampling(sampling), time_limit_s)
        if workers:
            run_once()
        loader: DataLoader[Any] = DataLoader(
            clips,
            batch_size=None,
            num_workers=workers,
            prefetch_factor=2 if workers else None,
            worker_init_fn=keep_worker_memory,
        )
        for record, item in zip(records, clear_errors(loader), strict=True):
            if isinstance(item, Skip):
                yield item
            else:
                yield self._clip(clips, record, item)

    def _clip(self, clips: _Clips, record: VideoRecord, item: _Read) -> ClipFeatures:
        return ClipFeatures(
            record.id, self._parts(clips, record, item), lambda: item.damage or known_damage(record.path)
        )

    def _parts(self, clips: _Clips, record: VideoRecord, item: _Read) -> Iterator[Rows]:
        for frames, starts, times in clips.parts(record, item):
            yield Rows(self.features(frames), times, starts + item.first)

    def features(self, frames: Tensor) -> Tensor:
        """Features of frames as `_Clips` reads them: float32 [n, *shape] or [n, V, *shape], on the CPU."""
        kind = kind_of(self.stream)
        views = []
        for crop in self._crops(frames):
            at_once = self.network.at_once(*crop.shape[-2:])
            parts = [self._forward(self.network.prepare(x[None], kind)) for x in torch.split(crop, at_once)]
            views.append(torch.cat(parts))
        return views[0] if len(views) == 1 else torch.stack(views, 1)

    def _crops(self, frames: Tensor) -> Iterator[Tensor]:
        kind = kind_of(self.stream)
        if self.views == VIEWS["crops"]:
            yield from crops_of("ten", self.input.size, frames, kind)
            return
        yield frames  # the reader has cut out the centre
        if self.views == VIEWS["flip"]:
            yield flip(frames, kind)

    def _forward(self, prepared: Tensor, precision: Precision | None = None) -> Tensor:
        """Normalised frames [1, n, C, H, W] to features, float32 [n, *shape], on the CPU."""
        precision = precision or self.network.precision
        with torch.inference_mode(), precision.context(self.network.device):
            output = self.model(prepared, maps=self._maps)
        if self.layer is None:
            rows = output.features[0].float()
        else:
            rows = output.maps[self.layer][0].float()
            rows = rows.mean((-2, -1)) if self.pool == "space" and rows.dim() == 4 else rows
        return rows.cpu().clone()  # an ordinary tensor, not one of inference mode


def _check_model(network: TrainedNetwork, model: Any) -> None:
    name = network.card.name
    if not network.sees.instants_apart or network.sees.all_frames:
        raise ArgumentError(
            f"{name} mixes the frames of a video, so its frames have no features of their own. Use a run of frame or "
            "tsn, or a backbone by its name."
        )
    if len(network.streams) != 1 or "layer_names" not in dir(model):
        raise ArgumentError(
            f"{name} is not a network of one stream that returns features. Use a run of frame or tsn, or a backbone by "
            "its name."
        )


class _Clips(Dataset["_Read | Skip"]):
    """Reads the frames of each video, for workers."""

    def __init__(
        self,
        extractor: FeatureExtractor,
        records: Sequence[VideoRecord],
        sampling: Mapping[str, Any],
        time_limit_s: float,
    ) -> None:
        contract = extractor.input
        self.records, self.sampling, self.time_limit_s = records, sampling, time_limit_s
        self.stream = extractor.stream
        self.whole, self.size = extractor.views == VIEWS["crops"], contract.size
        self.contract, self.flow_source = contract, extractor.network.flow_source

    @cached_property
    def _stream(self) -> tuple[StreamReader, int]:
        readers, span = stream_readers(self.contract, self.contract.short_side, self.flow_source)
        return readers[self.stream], span

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> _Read | Skip:
        record = self.records[index]
        try:
            return self._read(record)
        except (VideoError, DataError) as error:
            return Skip(record.id, str(error))

    def _read(self, record: VideoRecord) -> _Read:
        video = open_video(record.path, time_limit_s=self.time_limit_s)
        first, last = frame_range(record, video)
        times = video.timestamps()[first:last]
        _, span = self._stream
        starts = sampled_frames(self.sampling, times, span=span, begin_s=record.start_s or 0.0)
        item = _Read(None, starts, torch.from_numpy(times)[starts.clamp(max=len(times) - 1)], first, last)
        if len(starts) <= self._at_once:
            ((item.frames, _, _),) = self.parts(record, item, video)
        item.damage = known_damage(record.path)
        return item

    @property
    def _at_once(self) -> int:
        """Frames that are read together."""
        width = 4 if self.stream == "flow" else 1  # bytes of a value
        side = self.contract.short_side if self.whole or self.stream == "flow" else self.size
        return max(_LEAST, _HELD // (width * self.contract.read_channels[self.stream] * side * side))

    def parts(
        self, record: VideoRecord, item: _Read, video: Any = None
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Frames, starts and times, a part at a time."""
        if item.frames is not None:
            yield item.frames, item.starts, item.time_s
            return
        video = video or open_video(record.path, time_limit_s=self.time_limit_s)
        video.quick_length()
        reader, _ = self._stream
        box = None
        if self.stream == "rgb" and not self.whole:  # converts only this part of each frame
            box = CenterCrop(self.size).draw(reader.frame_size(record, video))
        columns = (torch.split(column, self._at_once) for column in (item.starts, item.time_s))
        for starts, times in zip(*columns, strict=True):
            frames = reader(record, video, starts, item.first, item.last, box)
            if box is None and not self.whole:
                (frames,) = crops_of("center", self.size, frames, kind_of(self.stream))
            yield frames, starts, times


def sampled_frames(
    sampling: Mapping[str, Any], times: NDArray[np.float64], *, span: int = 1, begin_s: float = 0.0
) -> Tensor:
    """Choose the frames of a video that have features.

    Args:
        sampling: see `FeatureExtractor.extract`.
        times: of its frames in seconds, ascending, float64 [N].
        span: frames of a stack; only frames at which one fits are chosen, if there are any.
        begin_s: time 0 of ``fps``.

    Returns:
        int64 [n], ascending. At least one; n equal parts of a short video share frames.
    """
    places = max(len(times) - span + 1, 1)
    if "every" in sampling:
        return torch.arange(places)
    if "frames" in sampling:
        return segment_indices(len(times), int(sampling["frames"]), span)
    known, step_s = times[:places], 1 / float(sampling["fps"])
    gaps = np.diff(known)
    if step_s < gaps[gaps > 0].min(initial=math.inf) / 2:  # each frame is the nearest to one of the times
        return torch.arange(places)
    count = int(max(known[-1] - begin_s, 0.0) / step_s + 1e-6) + 1
    wanted = begin_s + np.arange(count) * step_s
    after = np.searchsorted(known, wanted).clip(0, places - 1)
    before = (after - 1).clip(0)
    nearest = np.where(wanted - known[before] <= known[after] - wanted, before, after)
    return torch.from_numpy(np.unique(nearest).astype(np.int64))


def weights_digest(model: nn.Module) -> str:
    """SHA-256 of the names and values of a network's tensors, without its classifier and counters of batches.

    Args:
        model: a model of one stream.
    """
    found: Any = model
    ((_, network),) = found.stream_networks.items()
    last = classifier_name(network)
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        if name.rpartition(".")[0] == last or name.endswith("num_batches_tracked"):
            continue
        array = value.detach().to("cpu", torch.float32).contiguous().numpy()
        digest.update(f"{name} {list(array.shape)}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
