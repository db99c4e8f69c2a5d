"""Encoders of images and videos: VLAD of maps, PCA with whitening, and what is read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from narrow import narrow_resnets
from praxiscope.errors import ArgumentError, DataError, UnknownNameError, VideoError
from praxiscope.inference.frame_network import FrameNetwork, create_frame_network, save_frame_network
from praxiscope.inference.network import TrainedNetwork
from praxiscope.layers.vlad import vlad
from praxiscope.models.named_layers import named_layers
from praxiscope.retrieval.encoder import NETWORK, Encoder, LocalFeatures, load_encoder, save_encoder
from praxiscope.retrieval.learning import Learning, learn_encoder, learn_projection, learn_words
from praxiscope.retrieval.parts import Part
from praxiscope.retrieval.protocol import evaluate
from praxiscope.retrieval.reading import all_frames, frames_of
from praxiscope.retrieval.sets import Query, RetrievalSet
from praxiscope.types import VideoRecord
from video_files import make_video


@pytest.fixture(scope="module", autouse=True)
def _narrow() -> Any:
    with narrow_resnets():
        yield


@pytest.fixture(scope="module")
def made(_narrow: Any) -> FrameNetwork:
    return create_frame_network("resnet10", size=64)


@pytest.fixture(scope="module")
def network(made: FrameNetwork) -> TrainedNetwork:
    return TrainedNetwork(made.model, made.card, precision="32")


def frames(count: int = 6, height: int = 40, width: int = 60) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=draw)


def encoder(network: TrainedNetwork, *parts: str, dims: int = 0, count: int = 6) -> Encoder:
    local = LocalFeatures(network, [Part.parse(text) for text in parts])
    given = frames(count)
    return learn_encoder(
        local,
        lambda: map(local, torch.split(given, 4)),
        count,
        Learning(words=4, dims=dims),
        learned_from="noise",
    )


def test_local_features_are_those_of_the_map_of_the_warped_frame(network: TrainedNetwork) -> None:
    (found,) = LocalFeatures(network, [Part("layer2", 64)])(frames(2))
    warped = F.interpolate(frames(2).float(), (64, 64), mode="bilinear", antialias=True).round()
    mean, std = (
        torch.tensor(value)[:, None, None] for value in (network.card.input.mean, network.card.input.std)
    )
    with torch.no_grad():
        x = (warped / 255 - mean) / std
        maps = named_layers(network.model.stream_networks["rgb"])(x, ["layer2"]).maps["layer2"]
    expected = F.normalize(maps.flatten(2).transpose(1, 2), dim=-1)
    assert found.shape == (2, 8 * 8, 16)
    assert torch.allclose(found, expected, atol=0.02)  # warping rounds to grey levels
    assert F.cosine_similarity(found, expected, dim=-1).min() > 0.999


def test_several_sizes_and_layers_are_encoded_one_after_the_other(network: TrainedNetwork) -> None:
    both = encoder(network, "layer1@64", "layer3@96")
    local = both.features(frames(1))
    assert [one.shape for one in local] == [(1, 256, 8), (1, 36, 32)]
    expected = [vlad(one[0], words) for one, words in zip(local, both.words, strict=True)]
    joined = F.normalize(torch.cat([one.flatten() for one in expected]), dim=0)
    assert torch.allclose(both(frames(1))[0], joined, atol=1e-6)
    assert both.dims == 4 * 8 + 4 * 32


def test_a_video_is_encoded_as_if_its_frames_were_one_image(network: TrainedNetwork) -> None:
    found = encoder(network, "layer2@64")
    given = frames(3)
    (local,) = found.features(given)
    expected = vlad(local.flatten(0, 1), found.words[0]).flatten()
    assert torch.allclose(found.finish(found.residuals(given).sum(0)), expected, atol=1e-5)


def test_vectors_of_training_images_are_white(network: TrainedNetwork) -> None:
    found = encoder(network, "layer2@64", dims=3, count=60)
    assert found.projection is not None
    plain = Encoder(found.features, found.words)(frames(60))
    white = (plain - found.projection.mean) @ found.projection.axes
    assert torch.allclose(torch.cov(white.T), torch.eye(3), atol=0.02)
    assert torch.allclose(white.mean(0), torch.zeros(3), atol=1e-3)
    assert torch.allclose(found(frames(2)).norm(dim=1), torch.ones(2))


def test_the_projection_is_that_of_a_singular_value_decomposition() -> None:
    rows = torch.randn(50, 8, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 9)
    found = learn_projection(rows, Learning(dims=2))
    _, values, axes = torch.linalg.svd((rows - rows.mean(0)).double(), full_matrices=False)
    expected = (axes[:2] / (values[:2, None] / 49**0.5)).T
    sign = (found.axes.double() * expected).sum(0).sign()
    assert torch.allclose(found.axes.double(), expected * sign, atol=1e-4)


def test_learning_is_repeatable_and_its_parts_do_not_matter(network: TrainedNetwork) -> None:
    local, given = LocalFeatures(network, [Part("layer2", 64)]), frames()
    first, second = (
        learn_words(map(local, torch.split(given, size)), local.parts, 6, Learning(words=4, samples=60))
        for size in (1, 6)
    )
    assert torch.allclose(first[0], second[0], atol=1e-5)
    assert first[0].shape == (4, 16)


def test_too_little_to_learn_from_is_refused(network: TrainedNetwork) -> None:
    local = LocalFeatures(network, [Part("layer4", 64)])
    with pytest.raises(DataError, match="words"):
        learn_words([local(frames(1))], local.parts, 1, Learning(words=5))
    with pytest.raises(DataError, match="dimensions"):
        encoder(network, "layer2@64", dims=6)
    with pytest.raises(DataError, match="8 numbers"):
        learn_projection(torch.randn(50, 8), Learning(dims=9))
    for wrong in ({"words": 0}, {"dims": -1}, {"samples": 0}):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            Learning(**wrong)


def test_unknown_layers_are_named(network: TrainedNetwork) -> None:
    with pytest.raises(UnknownNameError, match="layer2"):
        LocalFeatures(network, [Part("layer22", 64)])(frames(1))


def test_an_encoder_is_read_back(network: TrainedNetwork, made: FrameNetwork, tmp_path: Path) -> None:
    found = encoder(network, "layer1@64", "layer2@64", dims=3)
    save_encoder(tmp_path, found)
    save_frame_network(tmp_path / NETWORK, made)
    again = load_encoder(tmp_path, precision="32")
    assert again.contract() == found.contract()
    assert torch.allclose(again(frames(2)), found(frames(2)), atol=1e-5)
    about = json.loads((tmp_path / "encoder.json").read_text())
    (tmp_path / "encoder.json").write_text(json.dumps(about | {"weights": "0" * 64}))
    with pytest.raises(DataError, match="changed"):
        load_encoder(tmp_path)
    (tmp_path / "encoder.safetensors").unlink()
    with pytest.raises(DataError, match="encoder"):
        load_encoder(tmp_path)


def test_parts_are_read_from_text() -> None:
    assert Part.parse("blocks.4@448") == Part("blocks.4", 448)
    assert str(Part.parse("blocks.4")) == "blocks.4@224"
    for wrong in ("", "@224", "layer@", "layer@-1", "layer@8", "layer@a"):
        with pytest.raises(ArgumentError, match="LAYER"):
            Part.parse(wrong)


def test_images_and_videos_are_read_alike(tmp_path: Path) -> None:
    pixels = frames(1)[0].permute(1, 2, 0).numpy()
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned right by a quarter
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=turned)
    (image,) = frames_of(VideoRecord("a", tmp_path / "a.png", ()), {"frames": 8})
    assert np.array_equal(image.pixels[0].permute(1, 2, 0).numpy(), np.rot90(pixels, -1))
    assert image.time_s.tolist() == [0]
    make_video(tmp_path / "b.mkv")
    parts = list(frames_of(VideoRecord("b", tmp_path / "b.mkv", ()), {"frames": 3}))
    assert sum(len(part.pixels) for part in parts) == 3
    (tmp_path / "c.jpg").write_bytes(b"no image")
    with pytest.raises(VideoError, match=r"c\.jpg"):
        list(frames_of(VideoRecord("c", tmp_path / "c.jpg", ()), {"frames": 3}))
    skipped: dict[str, str] = {}
    records = [VideoRecord(name, tmp_path / name, ()) for name in ("c.jpg", "a.png", "none.jpg")]
    assert [number for number, _ in all_frames(records, {"frames": 2}, skipped)] == [1]
    assert sorted(skipped) == ["c.jpg", "none.jpg"]


def test_a_set_is_evaluated_by_its_protocol() -> None:
    items = tuple(VideoRecord(name, Path(name), ()) for name in "abcd")
    vectors = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.5], [0.0, 1.0]]), dim=1)
    queries = (Query(0, frozenset({2}), frozenset({0})), Query(3, frozenset({0, 2}), frozenset({3})))
    found = RetrievalSet("letters", items, (0, 1, 2, 3), queries)
    ranked = evaluate(vectors, found)
    # The first query ranks b, c, d; the second c, b, a.
    assert ranked.average_precision.tolist() == pytest.approx(
        [(0 + 1 / 2) / 2, (1 + (1 / 2 + 2 / 3) / 2) / 2]
    )
    assert ranked.recall_1 == 0.5
    without = evaluate(vectors, found, np.array([True, False, True, True]))
    assert without.average_precision[0] == 1
    assert evaluate(vectors, found, np.array([False, True, True, True])).average_precision[0] == 0
    with pytest.raises(ArgumentError, match="vectors"):
        evaluate(vectors[:3], found)


def test_layers_without_a_map_are_refused(network: TrainedNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    local = LocalFeatures(network, [Part("layer2", 64)])
    maps = local._layers.maps
    monkeypatch.setattr(
        local._layers,
        "maps",
        lambda x, names: {name: one.mean((2, 3)) for name, one in maps(x, names).items()},
    )
    with pytest.raises(ArgumentError, match="layer2"):
        local(frames(1))
