"""Packed copies of data sets: everything but the pixels' format is kept, and broken runs go on."""

from __future__ import annotations

import csv
import multiprocessing
import os
import re
from pathlib import Path

import numpy as np
import pytest

import praxiscope as px
from praxiscope.commands import pack as recipe
from praxiscope.commands.pack import PackFormat, pack
from praxiscope.commands.train import train
from praxiscope.data.manifest import load_records
from praxiscope.recipes.named import get_recipe
from praxiscope.recipes.settings import override
from runs import run_test
from support import SMALL, write_clip


def described(data: str | Path, **options: object) -> list[tuple[object, ...]]:
    manifest = load_records(data, **options)  # type: ignore[arg-type]
    return [(r.id, r.labels, r.split, r.group) for r in sorted(manifest.records, key=lambda r: r.id)]


def stamps(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*.pxv")}


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV with labels, parts, splits and groups, and classes in an order of their own."""
    root = tmp_path_factory.mktemp("listed")
    for number in range(4):
        write_clip(root / "videos" / f"{number}.mp4", number, frames=24, seed=number)
    rows = [
        "path,label,start,end,split,group",
        "videos/0.mp4,run,,,train,ann",
        "videos/1.mp4,walk|run,0.5,1.5,train,bob",
        "videos/1.mp4,run,1.5,,test,bob",
        "videos/2.mp4,walk,,,test,",
        "videos/3.mp4,walk,,1,val,cy",
    ]
    (root / "list.csv").write_text("\n".join(rows) + "\n")
    (root / "classes.txt").write_text("walk\nrun\n")
    return root / "list.csv"


@pytest.fixture(scope="module")
def packed(listed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packed") / "out"
    summary = pack(listed, out, format=PackFormat(36), workers=1)
    assert (summary.clips, summary.skipped, summary.already) == (5, 0, 0)
    return out


def test_ids_labels_splits_groups_and_the_order_of_classes_are_kept(listed: Path, packed: Path) -> None:
    assert described(packed) == described(listed)
    assert load_records(packed).classes == load_records(listed).classes == ("walk", "run")
    assert load_records(packed).multi_label


def test_a_part_of_a_file_becomes_a_clip_of_its_own(listed: Path, packed: Path) -> None:
    # 24 frames at 12 frames per second.
    lengths = {r.id: len(px.open_video(r.path)) for r in load_records(packed).records}
    assert lengths == {
        "videos/0.mp4": 24,
        "videos/1.mp4@0.5-1.5": 12,
        "videos/1.mp4@1.5-": 6,
        "videos/2.mp4": 24,
        "videos/3.mp4@-1": 12,
    }
    assert all(r.start_s is None and r.end_s is None for r in load_records(packed).records)
    original = px.open_video(listed.parent / "videos" / "1.mp4").frames([6, 17], short_side=36)
    clip = px.open_video(packed / "videos" / "1.mp4@0.5-1.5.pxv").frames([0, 11], short_side=36)
    assert (clip.float() - original.float()).abs().mean() < 6


def test_packing_again_writes_only_what_is_missing_torn_or_of_another_file(
    listed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    pack(listed, out, format=PackFormat(36), workers=1)
    before = stamps(out)
    assert pack(listed, out, format=PackFormat(36), workers=1).already == 5
    assert stamps(out) == before

    (out / "videos" / "0.mp4.pxv").unlink()
    torn = out / "videos" / "2.mp4.pxv"
    torn.write_bytes(torn.read_bytes()[:-7])
    (out / "praxiscope.csv").unlink()
    assert pack(listed, out, format=PackFormat(36), workers=1).already == 3
    after = stamps(out)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"videos/0.mp4.pxv", "videos/2.mp4.pxv"}
    assert described(out) == described(listed)
    assert len(px.open_video(torn)) == 24


def test_a_clip_is_packed_again_when_its_original_or_its_part_has_changed(tmp_path: Path) -> None:
    for number in range(2):
        write_clip(tmp_path / "videos" / "a" / f"{number}.mp4", number)
    pack(tmp_path / "videos", tmp_path / "out", format=PackFormat(36), workers=1)
    write_clip(tmp_path / "videos" / "a" / "0.mp4", 0, frames=20)
    assert pack(tmp_path / "videos", tmp_path / "out", format=PackFormat(36), workers=1).already == 1
    assert len(px.open_video(tmp_path / "out" / "a" / "0.mp4.pxv")) == 20


def test_clips_of_other_settings_and_foreign_folders_are_not_mixed(
    listed: Path, packed: Path, tmp_path: Path
) -> None:
    with pytest.raises(px.ArgumentError, match=r"'short_side': 36.*'short_side': 40"):
        pack(listed, packed, format=PackFormat(40))
    with pytest.raises(px.ArgumentError, match="'fps': 5"):
        pack(listed, packed, format=PackFormat(36, fps=5))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(px.ArgumentError, match=re.escape(str(tmp_path))):
        pack(listed, tmp_path)
    with pytest.raises(px.ArgumentError, match=r"notes\.txt"):
        pack(listed, tmp_path / "notes.txt")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "pack.json").write_text("{")
    with pytest.raises(px.ArgumentError, match=r"pack\.json"):
        pack(listed, tmp_path / "out")


def test_a_copy_inside_the_set_or_in_its_place_is_refused(colour_set: Path, packed: Path) -> None:
    for data, out in ((colour_set, colour_set / "packed"), (colour_set, colour_set), (packed, packed)):
        with pytest.raises(px.ArgumentError, match=re.escape(str(out))):
            pack(data, out, format=PackFormat(36))
    assert not (colour_set / "packed").exists()


def test_two_videos_of_one_place_are_refused(tmp_path: Path) -> None:
    write_clip(tmp_path / "a" / "0.mp4", 0)
    write_clip(tmp_path / "lists" / "a" / "0.mp4", 1)
    (tmp_path / "lists" / "list.csv").write_text("path,label\n../a/0.mp4,x\na/0.mp4,y\n")
    with pytest.raises(px.DataError, match=r"\.\./a/0\.mp4 .*a/0\.mp4"):
        pack(tmp_path / "lists" / "list.csv", tmp_path / "out")


def test_broken_videos_are_left_out_and_listed(tmp_path: Path) -> None:
    for number in range(4):
        write_clip(tmp_path / "videos" / "a" / f"{number}.mp4", number)
    (tmp_path / "videos" / "a" / "1.mp4").write_text("no video\n" * 100)
    (tmp_path / "videos" / "a" / "2.mp4").write_bytes(b"")
    out = tmp_path / "out"
    summary = pack(tmp_path / "videos", out, format=PackFormat(36), workers=1)
    assert (summary.clips, summary.skipped) == (2, 2)
    rows = list(csv.DictReader((out / "skipped.csv").open()))
    assert [row["id"] for row in rows] == ["a/1.mp4", "a/2.mp4"]
    assert "empty (0 bytes)" in rows[1]["problem"]
    assert [name for name, *_ in described(out, random_split=False)] == ["a/0.mp4", "a/3.mp4"]
    with pytest.raises(px.TrainingError, match=r"2 of 4 videos.*skipped\.csv"):
        pack(tmp_path / "videos", out, format=PackFormat(36), workers=1, max_skip=0.1)
    # Repaired, they are packed with the next run.
    write_clip(tmp_path / "videos" / "a" / "1.mp4", 1)
    (tmp_path / "videos" / "a" / "2.mp4").unlink()
    summary = pack(tmp_path / "videos", out, format=PackFormat(36), workers=1)
    assert (summary.clips, summary.skipped, summary.already) == (3, 0, 2)


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "videos" / "a").mkdir(parents=True)
    (tmp_path / "videos" / "a" / "1.mp4").write_text("no video\n" * 100)
    with pytest.raises(px.DataError, match=r"1 video.*skipped\.csv"):
        pack(tmp_path / "videos", tmp_path / "out", workers=1)


real_pack_one = recipe._pack_one


def _die_on_the_second(job: recipe._Job) -> tuple[str, str, str]:
    if job.record.id.endswith("1.mp4"):
        os._exit(9)
    return real_pack_one(job)


def test_a_video_that_kills_its_reader_costs_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        write_clip(tmp_path / "videos" / "a" / f"{number}.mp4", number)
    records = load_records(tmp_path / "videos", random_split=False).records
    jobs = [recipe._Job(r, recipe._place(tmp_path / "out", r), PackFormat(36)) for r in records]
    monkeypatch.setattr(recipe, "_pack_one", _die_on_the_second)
    monkeypatch.setattr(recipe, "get_context", lambda _: multiprocessing.get_context("fork"))
    problems = {name: problem for name, problem, _ in recipe._run(jobs, 2)}
    assert set(problems) == {"a/0.mp4", "a/1.mp4", "a/2.mp4"}
    assert problems["a/0.mp4"] == problems["a/2.mp4"] == ""
    assert "1.mp4" in problems["a/1.mp4"]


def test_a_packed_layout_can_be_asked_for_any_of_its_splits(tmp_path: Path) -> None:
    for person in ("daria", "denis", "eli"):
        for number, action in enumerate(("bend", "jack")):
            write_clip(tmp_path / "w" / action / f"{person}_{action}.mp4", number, frames=4)
    pack(f"weizmann:{tmp_path / 'w'}", tmp_path / "out", format=PackFormat(36), workers=1, split="denis")
    for split in ("denis", "eli", "1"):
        raw = described(f"weizmann:{tmp_path / 'w'}", split=split)
        assert described(f"weizmann:{tmp_path / 'out'}", split=split) == raw
    # Without the layout's name it keeps the split it was packed with.
    assert described(tmp_path / "out") == described(f"weizmann:{tmp_path / 'w'}", split="denis")


@pytest.mark.slow
def test_a_packed_set_trains_and_tests_like_the_originals(colour_set: Path, tmp_path: Path) -> None:
    out = tmp_path / "packed"
    pack(colour_set, out, format=PackFormat(36), workers=2)
    # No split came along, so the same seed gives both sets the same sides.
    assert described(out, seed=3) == described(colour_set, seed=3)
    small = [text for text in SMALL if not text.startswith("optim.epochs")]
    settings = override(get_recipe("default"), [*small, f"data.source={out}", "optim.epochs=1"])
    run = tmp_path / "run"
    assert train(settings, run)
    own, raw = run_test(run, out, workers=0), run_test(run, colour_set, workers=0)
    assert own.scores.ids == raw.scores.ids
    assert len(own.scores) < 24
    np.testing.assert_allclose(own.scores.logits, raw.scores.logits, atol=0.1)
