"""Frames with known flow, in files made by hand and, where they are, in those of FlyingChairs and Middlebury."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from praxiscope.data.flow_layouts import FLOW_LAYOUTS, FlowListing
from praxiscope.data.flow_samples import find_flow_data, is_flow_data, list_flow_samples, load_flow_samples
from praxiscope.errors import ArgumentError, DataError, UnknownNameError
from praxiscope.flow.flo import write_flo

SIZE = (6, 8)


def image(path: Path, level: int, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((*size, 3), level, dtype=np.uint8)
    pixels[..., 0] = 200  # red
    Image.fromarray(pixels).save(path)


def flow(path: Path, dx: float, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    field = torch.zeros(2, *size)
    field[0] = dx
    write_flo(path, field)


def pair(folder: Path, number: str, names: tuple[str, str, str], level: int = 1) -> None:
    image(folder / f"{number}{names[0]}", level)
    image(folder / f"{number}{names[1]}", level + 1)
    flow(folder / f"{number}{names[2]}", float(level))


OFFICIAL = ("_img1.ppm", "_img2.ppm", "_flow.flo")
OTHER = ("-img0.ppm", "-img1.ppm", "-gt.flo")
SHORT = ("img0.ppm", "img1.ppm", "flow.flo")


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Three of four listed pairs of FlyingChairs, of which the second is for testing."""
    for number in (1, 2, 4):
        pair(tmp_path / "chairs" / "data", f"{number:05d}", OFFICIAL, level=10 * number)
    (tmp_path / "chairs" / "FlyingChairs_train_val.txt").write_bytes(b"1\r\n2\r\n1\r\n1\r\n")
    return tmp_path / "chairs"


# ------------------------------------------------------------------------------------------------- chairs


def test_a_pair_of_chairs_has_its_frames_in_order_and_its_flow(release):
    first, second, last = load_flow_samples(f"chairs:{release}")
    assert [first.id, second.id, last.id] == ["00001", "00002", "00004"]
    assert first.num_fields == 1
    frames = second.frames(0, 2)
    assert (frames.dtype, frames.shape) == (torch.uint8, (2, 3, *SIZE))
    assert frames[:, 1, 0, 0].tolist() == [20, 21]
    assert frames[:, 0].unique().tolist() == [200]  # red is the first channel
    fields = second.fields(0, 1)
    assert (fields.dtype, fields.shape) == (torch.float32, (1, 2, *SIZE))
    assert fields[0, :, 0, 0].tolist() == [20, 0]


def test_the_official_list_splits_and_its_missing_pairs_are_named(release):
    listing = list_flow_samples(f"chairs:{release}")
    assert listing.splits == ["train", "test", "train"]
    assert listing.missing == ("00003",)
    assert "00003" in listing.notes[0]
    assert [each.id for each in load_flow_samples(f"chairs:{release}", "test")] == ["00002"]
    elsewhere = release.parent / "lists"
    elsewhere.mkdir()
    (release / "FlyingChairs_train_val.txt").rename(elsewhere / "chairs_split.txt")
    assert list_flow_samples(f"chairs:{release}").splits is None
    for place in (elsewhere, elsewhere / "chairs_split.txt"):
        train = load_flow_samples(f"chairs:{release}", "train", annotations=place)
        assert [each.id for each in train] == ["00001", "00004"]


def test_names_of_other_copies_are_read(tmp_path):
    pair(tmp_path, "0000001", OTHER, level=5)
    pair(tmp_path, "1", SHORT, level=7)
    samples = load_flow_samples(f"chairs:{tmp_path}")
    assert {each.id: each.frames(0, 2)[:, 1, 0, 0].tolist() for each in samples} == {
        "0000001": [5, 6],
        "1": [7, 8],
    }
    (tmp_path / "list.txt").write_text("1\n")
    with pytest.raises(DataError, match=r"list\.txt.*0000001"):
        list_flow_samples(f"chairs:{tmp_path}", annotations=tmp_path / "list.txt")


def test_incomplete_pairs_are_named(release):
    (release / "data" / "00001_flow.flo").unlink()
    (release / "data" / "00002_img2.ppm").unlink()
    listing = list_flow_samples(f"chairs:{release}")
    assert [each.id for each in listing.samples] == ["00004"]
    assert listing.missing == ("00001 (flow)", "00002 (image)", "00003")


@pytest.mark.parametrize(("content", "named"), [("1\n3\n", r"line 2.*'3'"), ("1\n", "00002")])
def test_a_list_that_does_not_fit_is_named(release, content, named):
    (release / "FlyingChairs_train_val.txt").write_text(content)
    with pytest.raises(DataError, match=rf"FlyingChairs_train_val\.txt.*{named}"):
        list_flow_samples(f"chairs:{release}")


# --------------------------------------------------------------------------------------------- middlebury


def scene(root: Path, name: str, level: int) -> None:
    image(root / "other-data" / name / "frame10.png", level)
    image(root / "other-data" / name / "frame11.png", level + 1)
    flow(root / "other-gt-flow" / name / "flow10.flo", float(level))


def test_scenes_of_middlebury_are_matched_by_name(tmp_path):
    scene(tmp_path, "Urban2", 10)
    scene(tmp_path, "Grove2", 20)
    (tmp_path / "other-data" / "Grove2").rename(tmp_path / "Grove2")
    image(tmp_path / "other-data" / "Walking" / "frame10.png", 1)
    listing = list_flow_samples(f"middlebury:{tmp_path}")
    assert [each.id for each in listing.samples] == ["Grove2", "Urban2"]
    assert [each.fields(0, 1)[0, 0, 0, 0].item() for each in listing.samples] == [20, 10]
    assert listing.missing == ("Walking/frame11.png", "Walking/flow10.flo")
    image(tmp_path / "other-data" / "Grove2" / "frame10.png", 1)
    with pytest.raises(DataError, match=r"Grove2.frame10\.png and .*Grove2.frame10\.png"):
        list_flow_samples(f"middlebury:{tmp_path}")


def test_without_an_official_split_every_tenth_sample_is_for_testing(tmp_path):
    for number in range(12):
        scene(tmp_path, f"{number:02d}", number)
    test, train = (load_flow_samples(f"middlebury:{tmp_path}", split) for split in ("test", "train"))
    assert [each.id for each in test] == ["00", "10"]
    assert len(train) == 10
    assert not {each.id for each in train} & {"00", "10"}


# ------------------------------------------------------------------------------------------------- sintel


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    """Two scenes of Sintel in two passes, of 4 and 2 frames."""
    root = tmp_path / "sintel" / "training"
    for name, count in (("alley_1", 4), ("bamboo_1", 2)):
        for number in range(1, count + 1):
            for place, rendering in enumerate(("clean", "final")):
                image(root / rendering / name / f"frame_{number:04d}.png", 10 * number + place)
            if number < count:
                flow(root / "flow" / name / f"frame_{number:04d}.flo", float(number))
    return root.parent


def test_a_scene_of_sintel_is_a_sample_of_many_fields(movie):
    samples = load_flow_samples(f"sintel:{movie}")
    assert [each.id for each in samples] == [
        "clean/alley_1",
        "clean/bamboo_1",
        "final/alley_1",
        "final/bamboo_1",
    ]
    assert [each.num_fields for each in samples] == [3, 1, 3, 1]
    assert samples[2].frames(1, 3)[:, 1, 0, 0].tolist() == [21, 31, 41]
    assert samples[2].fields(1, 2)[:, 0, 0, 0].tolist() == [2, 3]
    for place, first in (
        (movie / "training", "clean/alley_1"),
        (movie / "training" / "final", "final/alley_1"),
    ):
        assert load_flow_samples(f"sintel:{place}")[0].id == first
    assert len(load_flow_samples(f"sintel:{movie / 'training' / 'final'}")) == 2


def test_invalid_flow_is_unknown_and_occlusion_is_told(movie):
    sample = load_flow_samples(f"sintel:{movie}")[0]
    assert sample.occlusion(0, 1) is None
    mask = np.zeros(SIZE, dtype=np.uint8)
    for number in range(1, 5):
        for name, row in (("invalid", 1), ("occlusions", 2)):
            path = movie / "training" / name / "alley_1" / f"frame_{number:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            mask[:] = 0
            mask[row, number] = 255
            Image.fromarray(mask).save(path)
    sample = load_flow_samples(f"sintel:{movie}")[0]
    unknown = sample.fields(1, 2).isnan()
    assert unknown.nonzero().tolist() == [[0, 0, 1, 2], [0, 1, 1, 2], [1, 0, 1, 3], [1, 1, 1, 3]]
    assert sample.occlusion(1, 2).nonzero().tolist() == [[0, 2, 2], [1, 2, 3]]
    Image.fromarray(mask[:3]).save(movie / "training" / "invalid" / "alley_1" / "frame_0001.png")
    with pytest.raises(DataError, match=r"invalid.alley_1.frame_0001\.png.*8 x 3.*8 x 6"):
        sample.fields(0, 1)


def test_a_gap_divides_a_scene_and_is_named(movie):
    root = movie / "training"
    (root / "flow" / "alley_1" / "frame_0002.flo").unlink()
    (root / "final" / "alley_1" / "frame_0004.png").unlink()
    listing = list_flow_samples(f"sintel:{movie}")
    assert {each.id: each.num_fields for each in listing.samples if "alley" in each.id} == {
        "clean/alley_1": 1,
        "clean/alley_1 from frame 3": 1,
        "final/alley_1": 1,
    }
    assert listing.samples[1].fields(0, 1)[0, 0, 0, 0] == 3
    assert set(listing.missing) == {"flow/alley_1/frame_0002.flo", "final/alley_1/frame_0004.png"}


def test_both_passes_of_a_scene_are_in_the_same_split(movie):
    test, train = (load_flow_samples(f"sintel:{movie}", split) for split in ("test", "train"))
    assert [each.id for each in test] == ["clean/alley_1", "final/alley_1"]
    assert [each.id for each in train] == ["clean/bamboo_1", "final/bamboo_1"]


# ------------------------------------------------------------------------------------------ what all share


def test_samples_are_pickled(release):
    sample = load_flow_samples(f"chairs:{release}")[0]
    assert torch.equal(pickle.loads(pickle.dumps(sample)).frames(1, 1), sample.frames(1, 1))


def test_only_the_frames_and_fields_of_a_sample_are_given(release):
    sample = load_flow_samples(f"chairs:{release}")[0]
    assert len(sample.frames(1, 1)) == 1
    for start, count in ((0, 3), (-1, 1), (0, 0), (2, 1)):
        with pytest.raises(ArgumentError, match=rf"00001.*2 frames.*start={start}, count={count}"):
            sample.frames(start, count)
    with pytest.raises(ArgumentError, match="1 fields"):
        sample.fields(1, 1)


def test_files_that_do_not_fit_are_named(release):
    data = release / "data"
    flow(data / "00001_flow.flo", 1.0, size=(6, 9))
    image(data / "00002_img2.ppm", 3, size=(7, 8))
    (data / "00004_img1.ppm").write_bytes(b"P6 8 6")
    first, second, last = load_flow_samples(f"chairs:{release}")
    with pytest.raises(DataError, match=r"00001_flow\.flo.*9 x 6.*00001_img1\.ppm.*8 x 6"):
        first.fields(0, 1)
    with pytest.raises(DataError, match=r"00002_img2\.ppm.*8 x 7.*00002_img1\.ppm.*8 x 6"):
        second.frames(0, 2)
    with pytest.raises(DataError, match=r"00004_img1\.ppm"):
        last.frames(0, 1)
    (data / "00001_img1.ppm").unlink()
    with pytest.raises(DataError, match=r"00001_img1\.ppm.*no such file"):
        first.frames(0, 1)


@pytest.mark.parametrize(
    ("data", "kind", "named"),
    [
        ("chair:{}", UnknownNameError, "'chairs'"),
        ("chairs:{}/none", DataError, "none"),
        ("chairs:{}", DataError, r"_img1\.ppm"),
        ("middlebury:{}", DataError, r"frame10\.png"),
        ("sintel:{}", DataError, "training"),
        ("{}", DataError, "moving-shapes"),
        ("{}/none", DataError, "none.*moving-shapes"),
    ],
)
def test_other_data_is_named(tmp_path, data, kind, named):
    with pytest.raises(kind, match=named):
        list_flow_samples(data.format(tmp_path))


def test_data_with_flow_is_told_from_videos(release):
    assert is_flow_data(f"chairs:{release}")
    assert find_flow_data(f"chairs:{release}") == ("chairs", release)
    for other in (release, "ucf101:videos", "videos"):
        assert not is_flow_data(other)
    with pytest.raises(ArgumentError, match="'val'"):
        load_flow_samples(f"chairs:{release}", "val")


def test_a_layout_of_your_own_is_known_by_its_name(release, monkeypatch):
    def mine(folder: Path, annotations: Path | None) -> FlowListing:
        return FlowListing(load_flow_samples(f"chairs:{folder}")[:1])

    monkeypatch.setitem(FLOW_LAYOUTS._entries, "mine", mine)
    assert is_flow_data(f"mine:{release}")
    assert [each.id for each in load_flow_samples(f"mine:{release}", "test")] == ["00001"]
    with pytest.raises(DataError, match="training"):
        load_flow_samples(f"mine:{release}", "train")


@pytest.mark.parametrize(
    ("data", "ids", "motion"),
    [
        ("chairs:{}/chairs", ["0", "0000000", "0000001", "0000002"], 2.9923),  # the mean length of the first
        ("middlebury:{}", ["Dimetrodon", "Grove2", "Urban2", "rubberwhale"], 2.0580),
    ],
)
def test_published_pairs_are_read(data_folder, data, ids, motion):
    samples = load_flow_samples(data.format(data_folder / "flow"))
    assert [each.id for each in samples] == ids
    truth = samples[0].fields(0, 1)
    assert truth.shape[-2:] == samples[0].frames(0, 2).shape[-2:]
    assert torch.hypot(*truth[0]).nanmean() == pytest.approx(motion, abs=1e-3)
