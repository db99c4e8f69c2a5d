"""Which videos a network was trained on: by id, by file, and over runs that start from weights of others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from praxiscope.checkpoint import InputContract, ModelCard, save_card
from praxiscope.data.splitlist import Learned, SplitList, note_on_learned, trained_on, write_split
from praxiscope.types import VideoRecord


def video(path: Path, split: str = "train", id: str | None = None) -> VideoRecord:
    return VideoRecord(id or f"{path.parent.name}/{path.name}", path, (path.parent.name,), split=split)


def model(folder: Path, **features: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_card(
        folder,
        ModelCard(
            name="tsn", kwargs={}, labels=("a",), multi_label=False, input=InputContract(), features=features
        ),
    )
    return folder


def test_a_video_is_known_by_its_id_and_by_its_file(tmp_path: Path) -> None:
    one, other = tmp_path / "jump" / "1.avi", tmp_path / "jump" / "2.avi"
    write_split(model(tmp_path / "run"), [video(one), video(other, "test")])
    learned = trained_on(tmp_path / "run")
    assert len(learned) == 1
    assert video(one, id="mini/1.avi") in learned  # another list of the same files
    assert video(tmp_path / "packed" / "1.pxv", id="jump/1.avi") in learned  # a packed copy
    assert replace(video(one, id="jump/1.avi@1-2"), start_s=1.0, end_s=2.0) in learned
    assert video(other) not in learned
    (tmp_path / "link").symlink_to(tmp_path / "jump")
    assert video(tmp_path / "link" / "1.avi") in learned
    assert video(tmp_path / "link" / "2.avi") not in learned


def test_a_run_remembers_what_the_runs_before_it_were_trained_on(tmp_path: Path) -> None:
    one, two, three = (tmp_path / "jump" / f"{n}.avi" for n in range(3))
    first, second = model(tmp_path / "first"), model(tmp_path / "second")
    write_split(first, [video(one), video(two, "test")])
    write_split(second, [video(two), video(one, "test")], trained_on(first))
    assert SplitList(second).sides() == {"jump/1.avi": "train", "jump/0.avi": "test"}
    assert [row.id for row in SplitList(second).before().rows] == ["jump/0.avi"]
    third = trained_on(second)
    assert [video(path) in third for path in (one, two, three)] == [True, True, False]
    SplitList(second).copy_to(model(tmp_path / "exported"))
    assert trained_on(tmp_path / "exported") == third


def test_a_fit_to_features_has_the_network_of_its_features(tmp_path: Path) -> None:
    one, two = (tmp_path / "jump" / f"{n}.avi" for n in range(2))
    network, fit = model(tmp_path / "network"), model(tmp_path / "fit", backbone="resnet18")
    write_split(network, [video(one)])
    write_split(fit, [video(one), video(two)], trained_on(network))
    assert [video(path) in trained_on(fit) for path in (one, two)] == [True, False]
    assert [video(path) in SplitList(fit).trained() for path in (one, two)] == [True, True]


def test_a_checkpoint_has_the_list_of_its_run(tmp_path: Path) -> None:
    checkpoint = model(tmp_path / "run" / "checkpoints" / "step-00000001")
    one = tmp_path / "jump" / "1.avi"
    write_split(tmp_path / "run", [video(one)])
    assert video(one) in trained_on(checkpoint)
    (checkpoint / "model.safetensors").touch()
    assert video(one) in trained_on(checkpoint / "model.safetensors")


@pytest.mark.parametrize("task", [None, "plain"])
def test_lists_of_earlier_versions_are_read(tmp_path: Path, task: str | None) -> None:
    prefix = "" if task is None else f"{task}/"
    folder = model(tmp_path / "run")
    (folder / "split.csv").write_text(f"id,label,split\n{prefix}jump/1.avi,{prefix}jump,train\n")
    assert SplitList(folder, task).sides() == {"jump/1.avi": "train"}
    assert video(tmp_path / "jump" / "1.avi") in SplitList(folder, task).trained()
    assert SplitList(folder, task).before() == Learned()


def test_nothing_is_known_without_a_list(tmp_path: Path) -> None:
    assert not trained_on(None, "download", tmp_path, tmp_path / "weights.pt")
    assert note_on_learned([video(tmp_path / "jump" / "1.avi", "test")], trained_on(tmp_path)) == []


def test_learned_test_videos_are_counted_and_one_is_named(tmp_path: Path) -> None:
    records = [video(tmp_path / "jump" / f"{n}.avi", "test") for n in range(3)]
    write_split(model(tmp_path / "run"), [replace(records[1], split="train")])
    (note,) = note_on_learned(records, trained_on(tmp_path / "run"))
    assert "1 of 3 test videos" in note
    assert "jump/1.avi" in note
