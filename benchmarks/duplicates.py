"""Near duplicates in a library: copies of clips that were encoded again, cropped, cut, flipped or slowed.

`python benchmarks/duplicates.py UCF101`. Copies of 20 clips of the training split of UCF-101's split 1, among all clips
of that split, show where the threshold can be; copies of 20 clips of the test split, among all of it, are the test.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from common import Table, parser, run_command, write_tables
from numpy.typing import NDArray

from praxiscope.commands.check_duplicates import LEAST_SIMILARITY, check_duplicates
from praxiscope.commands.index import index
from praxiscope.commands.index_options import IndexOptions
from praxiscope.data.manifest import load_records
from praxiscope.progress import ConsoleReporter
from praxiscope.types import VideoRecord
from praxiscope.video.opening import open_video

Frames = NDArray[np.uint8]
COPIED = 20


def smaller(frames: Frames) -> Frames:
    """Every second pixel; encoded with strong compression it is a poor copy."""
    return frames[:, ::2, ::2]


def cropped(frames: Frames) -> Frames:
    """Without 10 % of the width and the height."""
    rows, columns = (round(0.05 * side) for side in frames.shape[1:3])
    return frames[:, rows : -rows or None, columns : -columns or None]


COPIES: dict[str, tuple[Callable[[Frames], Frames], str, float]] = {
    "encoded again": (lambda frames: frames, "23", 1.0),
    "half the size, strong compression": (smaller, "38", 1.0),
    "cropped by 10 %": (cropped, "23", 1.0),
    "the first half": (lambda frames: frames[: len(frames) // 2], "23", 1.0),
    "flipped": (lambda frames: frames[:, :, ::-1], "23", 1.0),
    "half the speed": (lambda frames: frames, "23", 0.5),
}
"""Change of the frames, x264's quality, speed."""


def write(path: Path, frames: Frames, rate: float, quality: str) -> None:
    """Encode frames, uint8 [T, H, W, 3]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = (side // 2 * 2 for side in frames.shape[1:3])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=round(rate), options={"crf": quality})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for image in frames[:, :height, :width]:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def folder_with_copies(out: Path, records: list[VideoRecord]) -> Path:
    """Links to the clips, and copies of some of them: ORIGINAL/KIND.mp4."""
    chosen = records[:: max(1, len(records) // COPIED)][:COPIED]
    for record in records:
        link = out / "videos" / record.path.stem / "original.avi"
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to(record.path.resolve())
    for record in chosen:
        video = open_video(record.path)
        frames = video.frames(range(len(video))).permute(0, 2, 3, 1).numpy()
        for kind, (change, quality, speed) in COPIES.items():
            path = out / "videos" / record.path.stem / f"{kind}.mp4"
            if not path.exists():
                write(path, change(frames), video.fps * speed, quality)
    return out / "videos"


Similar = dict[tuple[str, ...], float]
"""The largest similarity of two clips, or of copies of them, by their names."""


def measure(out: Path, records: list[VideoRecord]) -> tuple[dict[str, list[float]], Similar, int]:
    """Similarities of copies and their originals by kind, those of different clips, and the number of items."""
    videos = folder_with_copies(out, records)
    index(str(videos), out / "library", IndexOptions(), reporter=ConsoleReporter())
    found = check_duplicates(out / "library", least=1e-6, most=10**7)
    copies: dict[str, list[float]] = defaultdict(list)
    different: Similar = defaultdict(float)
    for pair in found.pairs:
        names = [record.id.split("/") for record in pair.records]
        if names[0][0] != names[1][0]:
            two = tuple(sorted(name[0] for name in names))
            different[two] = max(different[two], pair.similarity)
            continue
        kinds = [Path(name[1]).stem for name in names if not name[1].startswith("original")]
        if len(kinds) == 1:
            copies[kinds[0]].append(pair.similarity)
    return copies, different, found.items


def main() -> None:
    """Measure both splits, and write the table."""
    found = parser(__doc__, __file__, assignments=False)
    found.add_argument("data", help="the folder of UCF-101")
    options = found.parse_args()
    manifest = load_records(f"ucf101:{options.data}", split="1")
    tables = []
    for split in ("train", "test"):
        copies, different, items = measure(options.out / split, list(manifest.of(split)))
        rows = []
        for kind in COPIES:
            values = np.array(copies[kind])
            shares = f"{(values >= LEAST_SIMILARITY).sum()} of {COPIED}"
            rows.append([kind, shares, f"{np.median(values):.2f}", f"{min(values, default=0):.2f}"])
        alarms = sum(value >= LEAST_SIMILARITY for value in different.values())
        clips = items - COPIED * len(COPIES)
        pairs = clips * (clips - 1) // 2
        largest = ", ".join(f"{value:.2f}" for value in sorted(different.values(), reverse=True)[:5])
        title = f"{split} split: {items} items, of them {COPIED * len(COPIES)} copies"
        tables.append(
            Table(title, ("copy", f"found at {LEAST_SIMILARITY:g}", "median similarity", "least"), rows)
        )
        header = (
            "pairs in all",
            f"false alarms at {LEAST_SIMILARITY:g}",
            "largest similarities of different clips",
        )
        tables.append(Table("", header, [[f"{pairs:,}", str(alarms), largest]]))
    note = (
        "Found: pairs of a copy and its original. False alarms: pairs of different clips, of "
        "which one, or a copy of one, is found to be like the other; some are of the same place or event. Libraries "
        "with "
        "the default options of `praxiscope index`, each learned from its own items. The threshold was chosen on the "
        "training split."
    )
    write_tables(options, __file__, "Near duplicates in a library", tables, note)


if __name__ == "__main__":
    run_command(main)
