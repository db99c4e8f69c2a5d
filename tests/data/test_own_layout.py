"""A data layout of another package."""

from __future__ import annotations

from pathlib import Path

import pytest

from praxiscope.data.layouts import LAYOUTS
from praxiscope.data.manifest import load_records
from praxiscope.errors import ArgumentError, UnknownNameError
from support import offer, write_clip

SOURCE = '''
from praxiscope.data.files import Listing, videos_below
from praxiscope.types import VideoRecord

def flat(folder, split, annotations):
    """CLASS_NAME.mp4, all in one folder; numbers from 2 on are test videos."""
    return Listing(tuple(
        VideoRecord(path.name, path, (path.stem.split("_")[0],), split="test" if path.stem[-1] > "1" else "train")
        for path in videos_below(folder)
    ))
'''


def test_a_layout_that_a_package_offers_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(tmp_path / "package", monkeypatch, "praxiscope.layouts", "flat", "flat_layout:flat", SOURCE)
    for name in ("red_0", "red_2", "blue_1", "blue_3"):
        write_clip(tmp_path / "videos" / f"{name}.mp4", 0, frames=4)
    try:
        found = load_records(f"flat:{tmp_path / 'videos'}")
        assert found.classes == ("blue", "red")
        assert {r.id: r.split for r in found.records}["blue_3.mp4"] == "test"
        with pytest.raises(UnknownNameError, match="flat"):
            load_records(f"flatt:{tmp_path / 'videos'}")
    finally:
        LAYOUTS._entries.pop("flat", None)


def test_a_package_that_cannot_be_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(tmp_path, monkeypatch, "praxiscope.layouts", "lost", "lost_layout:lost", "import no_such_module\n")
    with pytest.raises(ArgumentError, match=r"'lost'.*lost_layout:lost.*no_such_module"):
        load_records(f"lost:{tmp_path}")
