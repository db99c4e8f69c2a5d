from __future__ import annotations

import re
from pathlib import Path

from praxiscope.commands.check import check
from praxiscope.data.check_text import report_lines
from praxiscope.data.manifest import load_records
from praxiscope.units import counted


def test_one_is_singular_and_every_other_number_plural() -> None:
    said = [counted(number, "class has", "classes have") for number in (0, 1, 2)]
    assert said == ["0 classes have", "1 class has", "2 classes have"]
    assert counted(1, "video") + counted(21, "video") == "1 video21 videos"


def test_notes_on_a_set_of_single_things_are_in_the_singular(colour_set: Path, tmp_path: Path) -> None:
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "a.mp4").symlink_to(next(colour_set.rglob("*.mp4")))
    (tmp_path / "stray.mp4").symlink_to(next(colour_set.rglob("*.mp4")))
    said = " ".join([*load_records(tmp_path).notes, *report_lines(check(tmp_path))])
    assert "1 readable video," in said
    assert (
        re.findall(r"(?<![\d,.] of )(?<![\d.])\b1 [a-z -]*?\b(?:videos|classes|clips|frames|groups)\b", said)
        == []
    )
