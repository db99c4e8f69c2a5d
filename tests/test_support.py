"""What the suite's own helpers promise."""

from __future__ import annotations

from pathlib import Path

from support import ENCODED, write_clip, write_moving


def test_the_same_clip_has_the_same_bytes(tmp_path: Path) -> None:
    clips, moving = set(), set()
    for number in range(20):
        ENCODED.clear()  # else each would be a copy of the first
        write_clip(tmp_path / f"{number}.mp4", colour=1, seed=3)
        write_moving(tmp_path / f"{number}.mkv", step=2, seed=3)
        clips.add((tmp_path / f"{number}.mp4").read_bytes())
        moving.add((tmp_path / f"{number}.mkv").read_bytes()[-4000:])
    assert len(clips) == len(moving) == 1
