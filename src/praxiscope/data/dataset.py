"""Read clips: the frames of all streams of a record.

Axis letters: S snippets of a video, C channels, H rows, W columns, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import Dataset

from praxiscope.data.batch import Request, collate_dense, collate_packed, collate_padded, mix_seeds
from praxiscope.data.frame_range import frame_range
from praxiscope.data.shared_memory import SlotPool
from praxiscope.errors import DataError, VideoError
from praxiscope.processes import blame_script
from praxiscope.timing import timed
from praxiscope.types import STEM, Batch, Clip, VideoRecord
from praxiscope.units import counted
from praxiscope.video.decode import Video, known_damage
from praxiscope.video.geometry import Box, Size, as_pair, kind_of, resize
from praxiscope.video.grid import FrameGrid
from praxiscope.video.opening import open_video
from praxiscope.video.pixels import scaled_size
from praxiscope.video.sampling import expand

__all__ = [
    "ClipReader",
    "Geometry",
    "Loaded",
    "OnGrid",
    "ReadsExamples",
    "ReadsFinalSize",
    "RgbReader",
    "Sampler",
    "Skip",
    "StreamReader",
    "TestClips",
    "TrainingClips",
    "clear_errors",
    "collate",
    "collate_whole",
    "frame_range",
    "ignore",
]

T = TypeVar("T")

Sampler = Callable[[int, "torch.Generator | None"], "Tensor | None"]
"""(number of frames, generator or None) -> int64 starts of snippets, or None if the video is too long to read."""


@dataclass(frozen=True)
class OnGrid:
    """Chooses snippets among the frames of a grid.

    Attributes:
        sampler: chooses among the positions of the grid.
        grid: the frames of a video that may be read.
    """

    sampler: Sampler
    grid: FrameGrid

    def starts(
        self, record: VideoRecord, video: Video, first: int, last: int, generator: torch.Generator | None
    ) -> Tensor | None:
        """Starts of snippets in the part of a video from frame ``first`` to before ``last``, counted from ``first``."""
        grid = self.grid.of(video, first, last, record.end_s)
        chosen = self.sampler(len(grid), generator)
        return None if chosen is None else grid[chosen]


class Skip(NamedTuple):
    """A video that could not be read, and the reason."""

    id: str
    problem: str


def ignore(skips: Iterable[Skip]) -> None:
    """Ignore skipped and damaged videos."""


class Geometry(Protocol):
    """A crop that is drawn once per video, so that all of its streams are cropped to the same part of the frame."""

    @property
    def size(self) -> int | Size: ...

    def draw(self, size: Size, generator: torch.Generator | None = None) -> Box: ...


class StreamReader(Protocol):
    """Reads one stream of a video at given snippets.

    Called with the record, its video, int64 starts [S] counted from frame ``first``, the frame ``last`` after
    the record's end, and the box to crop (None: the whole frame). Returns the cropped frames [S, C, H, W], so that a
    reader can decode only this part.
    """

    def frame_size(self, record: VideoRecord, video: Video) -> Size:
        """Rows and columns of this stream's frames."""

    def __call__(
        self, record: VideoRecord, video: Video, starts: Tensor, first: int, last: int, box: Box | None
    ) -> Tensor: ...


@runtime_checkable
class ReadsFinalSize(Protocol):
    """A `StreamReader` whose frames are not resized to the size of the crop: they have the size ``result_size``."""

    @property
    def result_size(self) -> Size: ...


@dataclass(frozen=True)
class RgbReader:
    """Read RGB frames, scaled to a short side: uint8 [S, 3 * length, H, W].

    Attributes:
        short_side: pixels; None keeps the native size.
        length: consecutive frames per snippet, stacked along the channels.
        offset: frames from the start of a snippet to the first frame that is read. With a stack of flow, the RGB frame
            is in the middle of the stack.
    """

    short_side: int | None = 256
    length: int = 1
    offset: int = 0

    def frame_size(self, record: VideoRecord, video: Video) -> Size:
        """Rows and columns after scaling."""
        width, height = scaled_size(video.width, video.height, self.short_side)
        return height, width

    def __call__(
        self, record: VideoRecord, video: Video, starts: Tensor, first: int, last: int, box: Box | None
    ) -> Tensor:
        numbers = starts if self.length == 1 else expand(starts, self.length).flatten()
        # A video shorter than a snippet repeats its last frame.
        wanted = (numbers + first + self.offset).clamp_(max=last - 1)
        # The box may have been drawn on another stream's frame, of another size.
        crop = None if box is None else box.on(self.frame_size(record, video))[:4]
        frames = video.frames(wanted, short_side=self.short_side, crop=crop)
        return frames if self.length == 1 else frames.reshape(len(starts), -1, *frames.shape[2:])


class ClipReader:
    """Read clips of a list of videos.

    Args:
        records: the videos.
        targets: one tensor per record: int64 [] or multi-hot float32 [K].
        sampler: chooses the starts of the snippets for a number of frames, or among the frames of a grid.
        readers: streams by name; all are read at the same starts.
        geometry: a crop; None for whole frames.
        random: draw snippets and crops at random (training), or use the centred ones (testing).
        time_limit_s: time limit for reading one video, in seconds.
        known_broken: problems of videos that are known to be unreadable, by id; they are not read again.
    """

    def __init__(
        self,
        records: Sequence[VideoRecord],
        targets: Sequence[Tensor],
        *,
        sampler: Sampler | OnGrid,
        readers: Mapping[str, StreamReader],
        geometry: Geometry | None = None,
        random: bool = True,
        time_limit_s: float = 300.0,
        known_broken: Mapping[str, str] | None = None,
    ) -> None:
        if not records:
            raise DataError("no videos to read: the list is empty.")
        self.records, self.targets = list(records), list(targets)
        self.sampler, self.readers, self.geometry = sampler, dict(readers), geometry
        self.random, self.time_limit_s = random, time_limit_s
        # Kept per process, so that a broken file reaches its time limit only once.
        self._broken: dict[str, str] = {}
        self._known_broken = {} if known_broken is None else known_broken

    def __len__(self) -> int:
        return len(self.records)

    def read(self, index: int, seed: int = 0, video: Video | None = None) -> Clip:
        """Read one clip.

        Args:
            index: number of the record.
            seed: of all random draws.
            video: the video, if it is already open; None to open that of the record.

        Raises:
            VideoError, DataError: the video cannot be read.
        """
        record = self.records[index]
        if problem := self._broken.get(record.id) or self._known_broken.get(record.id):
            raise DataError(problem)
        generator = torch.Generator().manual_seed(seed) if self.random else None
        try:
            video = video or open_video(record.path, time_limit_s=self.time_limit_s)
            first, last = frame_range(record, video)
            if isinstance(self.sampler, OnGrid):
                starts = self.sampler.starts(record, video, first, last, generator)
            else:
                starts = self.sampler(last - first, generator)
            if starts is None:
                return Clip({}, self.targets[index], record.id, long=True)
            box = self._draw(record, video, generator)
            streams = {}
            for name, reader in self.readers.items():
                with timed(name):
                    streams[name] = reader(record, video, starts, first, last, box)
        except (VideoError, DataError) as error:
            self._broken[record.id] = str(error)
            raise
        if self.geometry is not None:
            size = as_pair(self.geometry.size)
            streams = {
                name: x if isinstance(self.readers[name], ReadsFinalSize) else resize(x, size, kind_of(name))
                for name, x in streams.items()
            }
        return Clip(streams, self.targets[index], record.id, mix_seeds(seed, 1), known_damage(record.path))

    def _draw(self, record: VideoRecord, video: Video, generator: torch.Generator | None) -> Box | None:
        """One box for all streams, drawn for the frame of the first; the others are cropped to the same part."""
        if self.geometry is None:
            return None
        leading = next(iter(self.readers.values()))
        return self.geometry.draw(leading.frame_size(record, video), generator)


class HasId(Protocol):
    """A record of a data set, with its name in it."""

    @property
    def id(self) -> str: ...


class ReadsExamples(Protocol):
    """Reads an example of a video for one step, as `ClipReader` does."""

    @property
    def records(self) -> Sequence[HasId]: ...

    def __len__(self) -> int: ...

    def read(self, index: int, seed: int = 0) -> Clip:
        """Read one clip. Raises VideoError or DataError if it cannot be read."""
        ...


@dataclass
class Loaded:
    """The result of a worker: the batch, the videos that were skipped, and the damage of the videos in the batch."""

    batch: Batch
    skipped: list[Skip] = field(default_factory=list)
    damaged: list[Skip] = field(default_factory=list)

    def pin_memory(self) -> Loaded:
        """For torch's data loader: the batch in page-locked memory, from which GPUs copy asynchronously."""
        return Loaded(self.batch.pin_memory(), self.skipped, self.damaged)


class TrainingClips(Dataset[tuple[Clip, list[Skip]]]):
    """Clips for training, by request.

    A video that cannot be read is replaced by another one, drawn by the request's own seed, so that batches
    stay full and every process takes the same number of steps. The replaced video and the reason are reported.
    """

    def __init__(self, reader: ReadsExamples) -> None:
        self.reader = reader

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, request: Request) -> tuple[Clip, list[Skip]]:
        skipped: list[Skip] = []
        for index in self._order(request):
            try:
                return self.reader.read(index, request.seed), skipped
            except (VideoError, DataError) as error:
                skipped.append(Skip(self.reader.records[index].id, str(error)))
        raise DataError(
            f"none of {counted(len(skipped), 'video')} could be read. The last error: {skipped[-1].problem} "
            "Run `praxiscope check` on the data."
        )

    def _order(self, request: Request) -> Iterator[int]:
        """The video that is asked for, then all others in a random order."""
        yield request.place
        generator = torch.Generator().manual_seed(mix_seeds(request.seed, 2))
        for index in torch.randperm(len(self.reader), generator=generator).tolist():
            if index != request.place:
                yield index


class TestClips(Dataset["Clip | Skip"]):
    """Clips for testing: each video once. A video that cannot be read is returned as a Skip."""

    __test__ = False  # pytest would collect the class by its name

    def __init__(self, reader: ClipReader) -> None:
        self.reader = reader

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, index: int) -> Clip | Skip:
        try:
            return self.reader.read(index)
        except (VideoError, DataError) as error:
            return Skip(self.reader.records[index].id, str(error))


def collate(
    samples: Sequence[tuple[Clip, list[Skip]]], pool: SlotPool | None = None, stems: int = 1
) -> Loaded:
    """Collate the samples of a worker to a dense batch, with the videos that were skipped.

    Args:
        samples: one for each video.
        pool: where to write the batch, see `collate_dense`.
        stems: number of stems of the network. Several stems alternate over the videos, and the batch holds the stem of
            each: with two, each gets half of the batch (Huang et al., section IV).
    """
    batch = collate_dense([clip for clip, _ in samples], pool)
    if stems > 1:
        snippets = len(next(iter(samples[0][0].streams.values())))
        # The first stem is drawn, so that batches of one video use all stems over time.
        numbers = (torch.arange(len(batch)) + batch.seeds[0] % stems) % stems
        batch.streams[STEM] = numbers[:, None].repeat(1, snippets)
    return _loaded(batch, samples)


def collate_whole(samples: Sequence[tuple[Clip, list[Skip]]], padded: bool = False) -> Loaded:
    """Collate samples of any length to a packed (or padded) batch, with the videos that were skipped."""
    clips = [clip for clip, _ in samples]
    return _loaded(collate_padded(clips) if padded else collate_packed(clips), samples)


def _loaded(batch: Batch, samples: Sequence[tuple[Clip, list[Skip]]]) -> Loaded:
    skipped = [skip for _, skips in samples for skip in skips]
    return Loaded(batch, skipped, [Skip(clip.id, clip.damage) for clip, _ in samples if clip.damage])


def clear_errors(loader: Iterable[T]) -> Iterator[T]:
    """Iterate over a data loader, and raise the errors of its workers as if this process had raised them.

    Raises:
        DataError: raised by a worker (the loader would put a traceback into its message), or a worker died.
    """
    try:
        yield from loader
    except DataError as error:
        last = str(error).strip().splitlines()[-1]
        raise DataError(last.removeprefix(f"{DataError.__module__}.{DataError.__qualname__}: ")) from None
    except RuntimeError as error:
        if "DataLoader worker" not in str(error) or "exited unexpectedly" not in str(error):
            raise
        blame_script()
        raise DataError(
            "a process that reads videos ended unexpectedly. Either the memory is full (use fewer workers), or a "
            "video kills its reader: `praxiscope check` finds it."
        ) from error
