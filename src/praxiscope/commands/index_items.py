"""What a library should hold: the images and videos of data, and the blocks that processes write of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from praxiscope.commands.feature_clips import sources
from praxiscope.data.files import is_video, video_id, walk
from praxiscope.data.manifest import MANIFEST_NAME, load_records
from praxiscope.errors import DataError, VideoError
from praxiscope.features.store import FeatureStore
from praxiscope.jobs import advance
from praxiscope.retrieval.blocks import Item, NewItem, write_block
from praxiscope.retrieval.encode_items import Reading, encode_item
from praxiscope.retrieval.encoder import Encoder, load_encoder
from praxiscope.retrieval.state import ENCODER, block_path
from praxiscope.retrieval.stored import encode_stored
from praxiscope.types import VideoRecord
from praxiscope.video.framefiles import is_frame_folder
from praxiscope.video.image import is_image

__all__ = ["Job", "Made", "encode_job", "forget_encoder", "found_items", "lost", "marks", "source_name"]


def source_name(data: str) -> str:
    """How a library names data: made absolute, so that the same data are known from any working folder."""
    layout, colon, place = data.rpartition(":")
    return f"{layout}{colon}{Path(place).resolve()}" if place and Path(place).exists() else data


def found_items(
    data: str,
    *,
    annotations: Path | None = None,
    split: int | str | None = None,
    frame_folders: bool = False,
) -> list[VideoRecord]:
    """The images and videos of data: all files below a folder, or the records of a CSV or of LAYOUT:FOLDER.

    Below a folder, the label of a file is the name of the folder that it is in.

    Args:
        data: the data.
        annotations, split: see `praxiscope.data.manifest.load_records`.
        frame_folders: whether a folder of numbered images is one video; otherwise each image is an item.

    Raises:
        DataError: there are none.
    """
    folder = Path(data)
    if not folder.is_dir() or (folder / MANIFEST_NAME).is_file():
        return list(load_records(data, annotations=annotations, split=split).records)
    if frame_folders and is_frame_folder(folder):
        return [VideoRecord(folder.name, folder, ())]
    records = []
    for parent, folders, files in walk(folder):
        frames = [name for name in folders if frame_folders and is_frame_folder(parent / name)]
        folders[:] = [name for name in folders if name not in frames]
        for name in sorted([*frames, *(one for one in files if _can_be_read(Path(one)))]):
            place = (parent / name).relative_to(folder)
            labels = (parent.name,) if parent != folder else ()
            records.append(VideoRecord(video_id(place), parent / name, labels))
    if not records:
        raise DataError(f"{folder}: has no images or videos")
    return records


def _can_be_read(path: Path) -> bool:
    return is_video(path) or is_image(path)


def marks(records: Sequence[VideoRecord], store: FeatureStore | None = None) -> dict[str, str]:
    """A mark of the content of each record's file, and of its part, by id; as it was when a store read it."""
    if store is not None:
        return {record.id: store.marks.get(record.id, "") for record in records}
    return {id: source.mark for id, source in sources(records).items()}


@dataclass(frozen=True)
class Job:
    """Items to encode into one block.

    Attributes:
        root: the library, with its encoder.
        block: name of the file.
        records: the items.
        source: key of their data, and its name.
        reading: how videos are read.
        encoder: digest of the encoder and the reading.
        device: name of the device.
        thumbs: whether thumbnails are made.
        store: a feature store of the items; "" to read their files.
    """

    root: Path
    block: str
    records: tuple[VideoRecord, ...]
    source: tuple[str, str]
    reading: Reading
    encoder: str
    device: str
    thumbs: bool = True
    store: str = ""


@dataclass
class Made:
    """The result of a job.

    Attributes:
        ids: items of the block; empty if there is no block.
        skipped: the reasons for items that cannot be read, by id.
        lost: the process was killed.
    """

    ids: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    lost: bool = False


_loaded: dict[tuple[Path, str], Encoder] = {}  # of this process, for its next job


def _encoder(job: Job) -> Encoder:
    key = (job.root, job.device)
    if key not in _loaded:
        _loaded.clear()
        _loaded[key] = load_encoder(job.root / ENCODER, device=torch.device(job.device))
    return _loaded[key]


def forget_encoder() -> None:
    """Load the encoder again for the next job of this process."""
    _loaded.clear()


def encode_job(job: Job) -> Made:
    """Encode the items of a job, and write their block."""
    store = FeatureStore(job.store) if job.store else None
    encoder, made, known = _encoder(job), Made(), marks(job.records, store)
    content: list[NewItem] = []
    for record in job.records:
        try:
            if store is None:
                found = encode_item(record, encoder, job.reading, thumbs=job.thumbs)
            else:
                found = encode_stored(store, record, encoder, job.reading, thumbs=job.thumbs)
        except (VideoError, DataError) as error:
            made.skipped[record.id] = str(error)
        else:
            content.append(
                NewItem(
                    _item(
                        record, job.source, known[record.id], found.thumbs, len(found.vectors), found.damage
                    ),
                    found.vectors,
                    found.place_s,
                    found.thumbs,
                )
            )
            made.ids.append(record.id)
        advance(1, 0)
    if content:
        write_block(block_path(job.root, job.block), content, job.encoder)
    return made


def _item(
    record: VideoRecord, source: tuple[str, str], mark: str, thumbs: Sequence[bytes], rows: int, damage: str
) -> Item:
    image = is_image(record.path) and not record.path.is_dir()
    return Item(
        id=record.id,
        path=_path(record.path.absolute(), Path(source[1])),
        source=source[0],
        mark=mark,
        kind="image" if image else "video",
        rows=rows,
        thumbs=tuple(map(len, thumbs)),
        labels=record.labels,
        split=record.split,
        group=record.group,
        start_s=record.start_s,
        end_s=record.end_s,
        damage=damage,
    )


def _path(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) and root.is_dir() else str(path)


def lost(job: Job) -> Made:
    """The result of a job whose process was killed."""
    return Made(lost=True)
