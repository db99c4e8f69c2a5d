"""Pictures of patches and of their nearest patches, with features whose answers are known."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

import praxiscope.retrieval.patches as patch_file
import praxiscope.retrieval.reading as reading
from narrow import narrow_resnets
from praxiscope.commands.index_items import found_items
from praxiscope.errors import ArgumentError, DataError, VideoError
from praxiscope.explain.correspondence import explain_correspondence, reassemble
from praxiscope.explain.patches import explain_patches
from praxiscope.progress import Reporter
from praxiscope.retrieval.parts import Part
from praxiscope.retrieval.patches import Grid, Images, NearestPatches
from praxiscope.types import VideoRecord
from praxiscope.video.geometry import resize
from support import Call, encode, write_clip

pytestmark = pytest.mark.usefixtures("_narrow")

SIDE, ACROSS = 16, 4
SIZE = SIDE * ACROSS


class MeanColour:
    """A layer whose feature is the mean colour of a patch, and one on a grid half as fine."""

    backbone = "mean colour"

    def __init__(self, *parts: Part) -> None:
        self.parts = parts or (Part("colour", SIZE),)

    def __call__(self, frames: Tensor) -> Sequence[Tensor]:
        found = []
        for part in self.parts:
            side = 2 * SIDE if part.layer == "coarse" else SIDE
            maps = F.avg_pool2d(resize(frames, (part.size, part.size)).float(), side)
            found.append(maps.flatten(2).transpose(1, 2) / 255)
        return found


def noise(seed: int, size: int = SIZE) -> NDArray[np.uint8]:
    """An image whose patches have colours of their own."""
    draw = np.random.default_rng(seed)
    colours = draw.integers(20, 236, (size // SIDE, size // SIDE, 3))
    image = colours.repeat(SIDE, 0).repeat(SIDE, 1) + draw.integers(-20, 20, (size, size, 3))
    return image.astype(np.uint8)


def save(folder: Path, **images: NDArray[np.uint8]) -> list[VideoRecord]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        Image.fromarray(image).save(folder / f"{name}.png")
    return [VideoRecord(name, folder / f"{name}.png", ()) for name in images]


def cells(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The patches of an image, [P, SIDE, SIDE, 3]."""
    across = len(image) // SIDE
    return image.reshape(across, SIDE, across, SIDE, 3).swapaxes(1, 2).reshape(-1, SIDE, SIDE, 3)


def joined(patches: NDArray[np.uint8]) -> NDArray[np.uint8]:
    across = round(len(patches) ** 0.5)
    rows = patches.reshape(across, across, *patches.shape[1:])
    return np.concatenate([np.concatenate(list(row), 1) for row in rows], 0)


def test_a_patch_is_replaced_by_its_copy_in_another_image(tmp_path: Path) -> None:
    """The other image shows the first one moved by one patch, with a new column at the left: all places but the last
    column are found in it, and these are found in a third image."""
    first, third = noise(0), noise(1)
    second = np.concatenate([noise(2)[:, :SIDE], first[:, :-SIDE]], 1)
    third[:, :SIDE] = first[:, -SIDE:]
    records = save(tmp_path, first=first, second=second, third=third)
    data = Images(records)
    shown, (made,), read = reassemble([records[0].path], data, MeanColour(), [1], Reporter())
    assert read == 3
    assert np.array_equal(shown[0], first)
    assert np.array_equal(made.pixels, first)
    assert made.distinct == 1.0
    # Without the third image the last column comes from elsewhere.
    _, (made,), _ = reassemble([records[0].path], Images(records[:2]), MeanColour(), [1], Reporter())
    assert np.array_equal(made.pixels[:, :-SIDE], first[:, :-SIDE])
    assert not np.array_equal(made.pixels[:, -SIDE:], first[:, -SIDE:])


def brute_force(
    query: NDArray[np.uint8], others: Sequence[NDArray[np.uint8]], count: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The mean of the nearest patches, and which they are, in float64."""
    own, patches = cells(query), np.concatenate([cells(one) for one in others])
    features = [one.mean((1, 2), dtype=np.float64) / 255 for one in (own, patches)]
    distance = np.linalg.norm(features[0][:, None] - features[1][None], axis=2)
    nearest = np.argsort(distance, axis=1, kind="stable")[:, :count]
    return joined(np.rint(patches[nearest].astype(np.float64).mean(1)).astype(np.uint8)), nearest


@pytest.mark.parametrize("values", [1, 1 << 24])
def test_the_mean_is_that_of_the_nearest_patches_of_other_images(
    tmp_path: Path, values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patch_file, "_VALUES", values)
    images = [noise(seed) for seed in range(6)]
    records = save(tmp_path, **{f"image{number}": image for number, image in enumerate(images)})
    paths = [records[0].path, records[3].path]
    _, made, _ = reassemble(paths, Images(records), MeanColour(), [1, 5, 1], Reporter())
    for one, (query, count) in zip(made, [(0, 1), (0, 5), (3, 1), (3, 5)], strict=True):
        expected, nearest = brute_force(images[query], images[:query] + images[query + 1 :], count)
        assert np.array_equal(one.pixels, expected)
        assert one.distinct == len(np.unique(nearest)) / nearest.size


@pytest.mark.parametrize("apart", [False, True])
def test_the_nearest_of_many_are_those_of_a_full_sort(apart: bool) -> None:
    """Ten frames of four files, each with six patches; two of the queries are of the second file."""
    draw = np.random.default_rng(0)
    frames, files = draw.normal(size=(10, 6, 3)), [0, 1, 2, 0, 3, 1, 2, 2, 3, 0]
    queries, own = draw.normal(size=(5, 3)), [7, 1, 8, 1, 9]
    search = NearestPatches(torch.from_numpy(queries).float(), own, 3, apart=apart)
    for number, (frame, file) in enumerate(zip(frames, files, strict=True)):
        search.add(torch.from_numpy(frame).float(), item=file, frame=number, file=file)
    found = search.result()
    for query, file in enumerate(own):
        distance = np.linalg.norm(frames - queries[query], axis=2)
        distance[np.array(files) == file] = np.inf
        if apart:  # all but the nearest patch of each file are out
            for other in set(files):
                same = np.array(files)[:, None] == other
                least = distance[same[:, 0]].min()
                distance[same & (distance > least)] = np.inf
        expected = [np.unravel_index(place, distance.shape) for place in np.argsort(distance, axis=None)[:3]]
        assert found.frame[query].tolist() == [frame for frame, _ in expected]
        assert found.position[query].tolist() == [position for _, position in expected]
        assert found.item[query].tolist() == [files[frame] for frame, _ in expected]
        assert found.distance[query] == pytest.approx([distance[place] for place in expected], abs=1e-5)


def test_frames_are_counted_through_the_pieces_of_a_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The query is found in the last frame of a video that is decoded frame by frame."""
    encode(tmp_path / "film.mp4", np.stack([noise(seed) for seed in (1, 1, 2, 2, 0, 0)]), crf="1")
    records = [*save(tmp_path, image=noise(0)), VideoRecord("film", tmp_path / "film.mp4", ())]
    pictures = []
    for held in (1, 1 << 26):
        monkeypatch.setattr(reading, "_HELD", held)
        assert [(item, frame) for item, frame, _ in Images(records).read()] == [
            (0, 0),
            (1, 0),
            (1, 1),
            (1, 2),
        ]
        _, (made,), _ = reassemble([records[0].path], Images(records), MeanColour(), [1], Reporter())
        pictures.append(made.pixels)
        assert np.abs(made.pixels.astype(int) - noise(0)).mean() < 12  # H.264 changes colours
    assert np.array_equal(*pictures)


def test_the_image_and_its_copies_are_left_out(tmp_path: Path) -> None:
    images = [noise(seed) for seed in range(3)]
    records = save(tmp_path, a=images[0], b=images[1], c=images[2])
    shutil.copy(records[0].path, tmp_path / "copy.png")
    shutil.copy(records[0].path, tmp_path / "outside.png")
    data = [VideoRecord("copy", tmp_path / "copy.png", ("x",)), *records]
    expected, _ = brute_force(images[0], images[1:], 1)
    for query in (records[0].path, tmp_path / "copy.png", tmp_path / "outside.png"):
        _, (made,), _ = reassemble([query], Images(data), MeanColour(), [1], Reporter())
        assert np.array_equal(made.pixels, expected)


def test_frames_of_the_same_video_are_left_out(tmp_path: Path) -> None:
    film = np.stack([noise(seed) for seed in (0, 0, 0, 1, 1, 1)])
    encode(tmp_path / "film.mp4", film, crf="1")
    records = [VideoRecord("film", tmp_path / "film.mp4", ()), *save(tmp_path, other=noise(2))]
    _, (made,), read = reassemble([records[0].path], Images(records), MeanColour(), [1], Reporter())
    assert read == 4
    shown = {patch.tobytes() for patch in cells(made.pixels)}
    assert shown <= {patch.tobytes() for patch in cells(noise(2))}


def test_layers_and_sizes_have_patches_of_their_own(tmp_path: Path) -> None:
    records = save(tmp_path, a=noise(0), b=noise(1), c=noise(2))
    features = MeanColour(Part("colour", SIZE), Part("coarse", SIZE), Part("colour", 2 * SIZE))
    made = explain_correspondence([records[0].path], records, features, neighbours=[1, 3])
    facts = made.facts["made"]
    assert [(one["layer"], one["neighbours"], one["positions"]) for one in facts] == [
        (layer, count, positions)
        for layer, positions in ((f"colour@{SIZE}", 16), (f"coarse@{SIZE}", 4), (f"colour@{2 * SIZE}", 64))
        for count in (1, 3)
    ]
    assert len(made.figure.axes) == 1 + 6
    assert made.facts["searched"] == 3
    # A map that does not divide the image: patches of 6 pixels at places that are rounded.
    grid = Grid(20, 3)
    row = torch.arange(20, dtype=torch.uint8).expand(3, 20, 20)
    assert [grid.cut(row, place)[0, :, 0].tolist() for place in range(3)] == [
        list(range(0, 7)), list(range(7, 14)), list(range(13, 20)),
    ]  # fmt: skip
    row = torch.arange(21, dtype=torch.uint8).expand(3, 21, 21)
    assert Grid(21, 6).cut(row, 5)[0, :, 0].tolist() == [17, 18, 19, 20]
    with pytest.raises(ArgumentError, match="wide@64"):
        Grid.of(Part("wide", 64), 12)


def test_labels_of_the_found_patches_are_compared(tmp_path: Path) -> None:
    first = noise(0)
    half = noise(1)
    half[: SIZE // 2] = first[: SIZE // 2]  # with the label of the first
    rest = noise(2)
    rest[SIZE // 2 :] = first[SIZE // 2 :]
    a, b, c = save(tmp_path, a=first, b=half, c=rest)
    records = [
        VideoRecord(one.id, one.path, labels) for one, labels in ((a, ("x",)), (b, ("x", "y")), (c, ("z",)))
    ]
    (fact,) = explain_correspondence([a.path], records, MeanColour(), neighbours=[1]).facts["made"]
    assert fact["same_label"] == 0.5
    (fact,) = explain_correspondence([a.path], [a, b, c], MeanColour(), neighbours=[1]).facts["made"]
    assert fact["same_label"] is None
    same = [VideoRecord(one.id, one.path, ("x",)) for one in (a, b, c)]
    (fact,) = explain_correspondence([a.path], same, MeanColour(), neighbours=[1]).facts["made"]
    assert fact["same_label"] is None


def test_rows_are_of_other_images_by_their_distance(tmp_path: Path) -> None:
    images = {f"image{number}": noise(number) for number in range(7)}
    records = save(tmp_path, **images)
    shutil.copy(records[2].path, tmp_path / "copy.png")
    records.append(VideoRecord("copy", tmp_path / "copy.png", ()))
    made = explain_patches(records, MeanColour(), rows=5, columns=4, seed=1)
    (layer,) = made.facts["layers"]
    names = {**images, "copy": images["image2"]}

    def colour(place: dict[str, Any]) -> NDArray[np.float64]:
        patch = cells(names[place["image"]])[place["row"] * ACROSS + place["column"]]
        return patch.mean((0, 1), dtype=np.float64) / 255

    assert len(layer["rows"]) == 5
    assert len({row["image"].replace("copy", "image2") for row in layer["rows"]}) == 5
    for row in layer["rows"]:
        own = row["image"].replace("copy", "image2")
        found = [one["image"].replace("copy", "image2") for one in row["found"]]
        assert len(set(found)) == 4
        assert own not in found
        nearest = {
            name: min(
                np.linalg.norm(colour(row) - patch.mean((0, 1), dtype=np.float64) / 255)
                for patch in cells(image)
            )
            for name, image in images.items()
            if name != own
        }
        assert found == sorted(nearest, key=lambda name: nearest[name])[:4]
        distances = [one["distance"] for one in row["found"]]
        assert distances == pytest.approx([nearest[name] for name in found], abs=1e-3)
        assert distances == pytest.approx(
            [np.linalg.norm(colour(row) - colour(one)) for one in row["found"]], abs=1e-3
        )
    again = explain_patches(records, MeanColour(), rows=5, columns=4, seed=1)
    assert again.facts == made.facts
    other = explain_patches(records, MeanColour(), rows=8, columns=4, seed=2)
    rows = other.facts["layers"][0]["rows"]
    assert len(rows) == 7  # the copy is not another image
    assert [row["image"] for row in rows[:5]] != [row["image"] for row in layer["rows"]]
    assert len({row["row"] for row in rows}) > 1
    assert len({row["column"] for row in rows}) > 1


def test_layers_share_the_places_of_the_references(tmp_path: Path) -> None:
    records = save(tmp_path, **{f"image{number}": noise(number) for number in range(4)})
    made = explain_patches(records, MeanColour(Part("colour", SIZE), Part("coarse", SIZE)), rows=9, columns=9)
    fine, coarse = made.facts["layers"]
    assert (fine["patch"], coarse["patch"]) == (SIDE, 2 * SIDE)
    assert len(fine["rows"]) == 4  # there are no more images
    assert all(len(row["found"]) == 3 for row in fine["rows"])
    for one, other in zip(fine["rows"], coarse["rows"], strict=True):
        assert (one["image"], one["row"] // 2, one["column"] // 2) == (
            other["image"], other["row"], other["column"],
        )  # fmt: skip


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    records = save(tmp_path, a=noise(0), b=noise(1), c=noise(2))
    (tmp_path / "broken.png").write_bytes(b"no image")
    records.insert(1, VideoRecord("broken", tmp_path / "broken.png", ()))
    made = explain_correspondence([records[0].path], records, MeanColour())
    assert list(made.facts["skipped"]) == ["broken"]
    assert made.facts["searched"] == 3
    for seed in range(4):  # the broken one is never a reference
        made = explain_patches(records, MeanColour(), rows=8, seed=seed)
        assert sorted(row["image"] for row in made.facts["layers"][0]["rows"]) == ["a", "b", "c"]
        assert list(made.facts["skipped"]) == ["broken"]
    with pytest.raises(VideoError, match=r"broken\.png"):
        explain_correspondence([tmp_path / "broken.png"], records, MeanColour())


def test_few_of_many_images_are_searched(tmp_path: Path) -> None:
    records = save(tmp_path, **{f"image{number}": noise(number) for number in range(6)})
    made = explain_correspondence([records[0].path], records, MeanColour(), neighbours=[1], most=2)
    assert made.facts["searched"] == 2


def test_too_little_is_refused(tmp_path: Path) -> None:
    records = save(tmp_path, a=noise(0), b=noise(1))
    path = records[0].path
    with pytest.raises(DataError, match="fewer than 17"):
        explain_correspondence([path], records, MeanColour(), neighbours=[17])
    shutil.copy(path, tmp_path / "copy.png")
    same = [records[0], VideoRecord("copy", tmp_path / "copy.png", ())]
    for few in (records[:1], same):
        with pytest.raises(DataError, match="at least 2"):
            explain_correspondence([path], few, MeanColour())
        with pytest.raises(DataError, match="at least 2"):
            explain_patches(few, MeanColour())
    for wrong in ({"neighbours": []}, {"neighbours": [0]}, {"frames": 0}, {"most": 1}):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            explain_correspondence([path], records, MeanColour(), **wrong)
    for wrong in ({"rows": 0}, {"columns": 0}):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            explain_patches(records, MeanColour(), **wrong)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number in range(3):
        save(tmp_path / "data" / "images", **{f"image{number}": noise(number)})
    write_clip(tmp_path / "data" / "videos" / "film.mp4", 0)
    return tmp_path / "data"


def test_the_commands_draw(call: Call, data: Path, tmp_path: Path) -> None:
    options = [
        "--backbone",
        "resnet10",
        "--layer",
        "layer2@64",
        "--layer",
        "layer4@96",
        "--device",
        "cpu",
        "--json",
    ]
    with narrow_resnets():
        made = call(
            *(
                "explain",
                "correspondence",
                data,
                data / "images" / "image0.png",
                data / "videos" / "film.mp4",
            ),
            *("--neighbours", "1,2", "--out", tmp_path / "a.png", *options),
        )
        assert made.code == 0, made.err
        facts = json.loads(made.out)
        assert facts["searched"] == 3 + 3  # three frames of the video
        assert [one["positions"] for one in facts["made"]] == 2 * [64, 64, 9, 9]
        assert {one["image"] for one in facts["made"]} == {"images/image0.png", "videos/film.mp4"}
        assert all(0 < one["distinct"] <= 1 for one in facts["made"])
        assert [one["same_label"] for one in facts["made"]][4:] == 4 * [0.0]  # no other video has its label
        again = call(
            *("explain", "patches", data, "--rows", 2, "--columns", 2, "--out", tmp_path / "b.jpg", *options)
        )
        assert again.code == 0, again.err
    assert [one["layer"] for one in json.loads(again.out)["layers"]] == ["layer2@64", "layer4@96"]
    for name in ("a.png", "b.jpg"):
        with Image.open(tmp_path / name) as image:
            assert min(image.size) > 200
    assert len(found_items(str(data))) == 4


def test_wrong_commands_are_refused(call: Call, data: Path, tmp_path: Path) -> None:
    image, out = data / "images" / "image0.png", ("--out", tmp_path / "a.png", "--backbone", "resnet10")
    for words, text, code in (
        ([image, "--neighbours", "0"], "neighbours", 2),
        ([image, "--neighbours", "1,x"], "neighbours", 2),
        ([image, "--layer", "layer2@1"], "layer2@1", 2),
        ([image, "--layer", "layer22@64"], "layer2", 2),
        ([tmp_path / "none.png"], "none.png", 1),
    ):
        with narrow_resnets():
            result = call("explain", "correspondence", data, *words, *out)
        assert result.code == code
        assert text in result.err.splitlines()[-1]
    assert call("explain", "patches", tmp_path / "nowhere", *out).code == 1
    assert not (tmp_path / "a.png").exists()
