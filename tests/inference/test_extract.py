"""Features of videos: against the network applied to frames that were read in another way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from praxiscope.checkpoint import InputContract, ModelCard
from praxiscope.data.dataset import Skip
from praxiscope.data.manifest import load_records
from praxiscope.errors import ArgumentError, UnknownNameError, VideoError
from praxiscope.evaluation.protocols import parse_protocol, view_indices
from praxiscope.features.contract import VIEWS
from praxiscope.inference import extract
from praxiscope.inference.extract import ClipFeatures, FeatureExtractor, sampled_frames, weights_digest
from praxiscope.inference.network import TrainedNetwork
from praxiscope.models import create_model
from praxiscope.types import VideoRecord
from praxiscope.video.opening import open_video


def trained(name: str = "frame", backbone: str = "resnet10", **kwargs: Any) -> TrainedNetwork:
    torch.manual_seed(0)
    kwargs = {"backbone": backbone, "num_classes": 2, **kwargs}
    model: Any = create_model(name, **kwargs)
    normal = model.normalisation["rgb"]
    contract = InputContract(size=32, short_side=40, mean=normal["mean"], std=normal["std"])
    return TrainedNetwork(model, ModelCard(name, kwargs, ("a", "b"), input=contract), precision="32")


@pytest.fixture(scope="module")
def network() -> TrainedNetwork:
    return trained()


@pytest.fixture(scope="module")
def records(colour_set: Path) -> tuple[VideoRecord, ...]:
    return load_records(colour_set).records[:3]


def by_hand(network: TrainedNetwork, record: VideoRecord, numbers: Any, crop: Any = None) -> torch.Tensor:
    """Features of frames by their numbers: read whole, cropped by slices, normalised, in the network as it is."""
    frames = open_video(record.path).frames(numbers, short_side=40).float() / 255
    top, left = crop or ((frames.shape[-2] - 32) // 2, (frames.shape[-1] - 32) // 2)
    frames = frames[..., top : top + 32, left : left + 32]
    contract = network.card.input
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (contract.mean, contract.std))
    with torch.inference_mode():
        found = network.model(((frames - mean) / std)[None])
    features: torch.Tensor = found.features[0]
    return features.clone()


def clips(found: Any) -> list[ClipFeatures]:
    result = list(found)
    assert all(isinstance(one, ClipFeatures) for one in result)
    return result


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_features_equal_the_network_on_frames_of_the_video(
    network: TrainedNetwork, records: tuple[VideoRecord, ...], workers: int
) -> None:
    extractor = FeatureExtractor(network)
    assert extractor.shape == (512,)
    assert extractor.model is not network.model  # BatchNorm is folded
    found = clips(extractor.extract(records, {"frames": 5}, workers=workers))
    assert [one.id for one in found] == [record.id for record in records]
    for record, one in zip(records, found, strict=True):
        rows = one.all()
        numbers = view_indices(parse_protocol("5x1"), 12, 1).flatten()
        assert torch.equal(rows.frame, numbers)
        np.testing.assert_allclose(rows.time_s.numpy(), numbers.numpy() / 12, atol=1e-6)
        close(rows.features, by_hand(network, record, numbers))


def test_flips_and_crops_equal_those_made_by_hand(
    network: TrainedNetwork, records: tuple[VideoRecord, ...]
) -> None:
    record = records[0]
    (flipped,) = clips(FeatureExtractor(network, views=VIEWS["flip"]).extract([record], {"frames": 3}))
    rows = flipped.all()
    assert rows.features.shape == (3, 2, 512)
    close(rows.features[:, 0], by_hand(network, record, rows.frame))
    close(rows.features[:, 1], _flipped_by_hand(network, record, rows.frame, (4, 11)))
    (cropped,) = clips(FeatureExtractor(network, views=VIEWS["crops"]).extract([record], {"frames": 3}))
    crops = cropped.all().features
    assert crops.shape == (3, len(VIEWS["crops"]), 512)
    # Frames of 40 x 53 pixels leave 8 rows and 21 columns.
    for number, place in enumerate(((0, 0), (0, 21), (8, 0), (8, 21), (4, 10))):
        close(crops[:, 2 * number], by_hand(network, record, rows.frame, place))
        close(
            crops[:, 2 * number + 1], _flipped_by_hand(network, record, rows.frame, (place[0], 21 - place[1]))
        )


def _flipped_by_hand(
    network: TrainedNetwork, record: VideoRecord, numbers: torch.Tensor, crop: tuple[int, int]
) -> torch.Tensor:
    """As `by_hand`, in frames that are flipped whole before the crop."""
    contract = network.card.input
    frames = open_video(record.path).frames(numbers, short_side=40).flip(-1).float() / 255
    frames = frames[..., crop[0] : crop[0] + 32, crop[1] : crop[1] + 32]
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (contract.mean, contract.std))
    with torch.inference_mode():
        return network.model(((frames - mean) / std)[None]).features[0].clone()


def test_maps_of_a_layer_are_kept_or_averaged(
    network: TrainedNetwork, records: tuple[VideoRecord, ...]
) -> None:
    (whole,) = clips(
        FeatureExtractor(network, layer="layer3", pool="none").extract(records[:1], {"frames": 2})
    )
    extractor = FeatureExtractor(network, layer="layer3")
    (mean,) = clips(extractor.extract(records[:1], {"frames": 2}))
    assert extractor.shape == (256,)
    rows = whole.all()
    assert rows.features.shape == (2, 256, 2, 2)
    close(rows.features.mean((-2, -1)), mean.all().features)


def test_the_map_of_a_convolution_is_not_the_folded_one(
    network: TrainedNetwork, records: tuple[VideoRecord, ...]
) -> None:
    torch.nn.init.normal_(network.model.backbone.bn1.running_mean)  # type: ignore[union-attr, operator]
    extractor = FeatureExtractor(network, layer="conv1")
    (found,) = clips(extractor.extract(records[:1], {"frames": 1}))
    seen: list[torch.Tensor] = []
    handle = network.model.backbone.conv1.register_forward_hook(  # type: ignore[union-attr, operator]
        lambda module, inputs, output: seen.append(output.mean((-2, -1)))
    )
    by_hand(network, records[0], [6])
    handle.remove()
    close(found.all().features, seen[0])


def test_a_long_video_is_read_in_parts_with_the_same_features(
    network: TrainedNetwork, records: tuple[VideoRecord, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = FeatureExtractor(network)
    (whole,) = clips(extractor.extract(records[:1], {"every": True}))
    monkeypatch.setattr(extract, "_HELD", 0)
    monkeypatch.setattr(extract, "_LEAST", 5)
    (parted,) = clips(extractor.extract(records[:1], {"every": True}))
    parts = list(parted.parts)
    assert [len(part.frame) for part in parts] == [5, 5, 2]
    rows = whole.all()
    assert rows.frame.tolist() == list(range(12))
    close(torch.cat([part.features for part in parts]), rows.features)
    assert torch.equal(torch.cat([part.time_s for part in parts]), rows.time_s)


def test_a_part_of_a_video_has_frames_and_times_of_its_file(
    network: TrainedNetwork, records: tuple[VideoRecord, ...]
) -> None:
    whole = records[0]
    part = VideoRecord(f"{whole.id}@0.5-0.8", whole.path, whole.labels, 0.5, 0.8)
    extractor = FeatureExtractor(network)
    (found,) = clips(extractor.extract([part], {"every": True}))
    rows = found.all()
    assert rows.frame.tolist() == [6, 7, 8, 9]
    close(rows.features, by_hand(network, whole, rows.frame))


def test_broken_and_missing_videos_are_skipped_with_their_reason(
    network: TrainedNetwork, records: tuple[VideoRecord, ...], tmp_path: Path
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    broken = [VideoRecord(name, tmp_path / name, ("a",)) for name in ("broken.mp4", "missing.mp4")]
    found = list(FeatureExtractor(network).extract([records[0], *broken, records[1]], {"frames": 2}))
    assert [type(one) for one in found] == [ClipFeatures, Skip, Skip, ClipFeatures]
    assert [skip.id for skip in found[1:3]] == ["broken.mp4", "missing.mp4"]
    assert "missing.mp4" in found[2].problem  # type: ignore[union-attr]


def test_a_file_that_breaks_while_it_is_read_in_parts_raises_its_error(
    network: TrainedNetwork, tmp_path: Path, colour_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy.mp4"
    copy.write_bytes((colour_set / "red" / "0.mp4").read_bytes())
    monkeypatch.setattr(extract, "_HELD", 0)
    monkeypatch.setattr(extract, "_LEAST", 5)
    (found,) = FeatureExtractor(network).extract([VideoRecord("copy.mp4", copy, ("a",))], {"every": True})
    copy.unlink()
    with pytest.raises(VideoError):
        list(found.parts)


@pytest.mark.parametrize("name", ["tsm", "full-video", "multiplier"])
def test_networks_that_mix_frames_or_streams_are_refused(name: str) -> None:
    kwargs = {"snippets": 2} if name == "tsm" else {"backbone": "resnet18"} if name == "multiplier" else {}
    with pytest.raises(ArgumentError, match=name):
        FeatureExtractor(trained(name, **kwargs))


def test_unknown_layers_are_refused_and_a_map_without_a_layer_is_the_last(network: TrainedNetwork) -> None:
    with pytest.raises(UnknownNameError, match="layer3"):
        FeatureExtractor(network, layer="layer33")
    assert FeatureExtractor(network, pool="none").layer == "layer4"
    assert FeatureExtractor(network).layer is None


@pytest.mark.parametrize(
    ("times", "fps", "begin", "frames"),
    [
        (np.arange(10) / 10, 2.0, 0.0, [0, 5]),
        (np.arange(11) / 10, 2.0, 0.0, [0, 5, 10]),
        (np.arange(10) / 10, 100.0, 0.0, list(range(10))),  # each frame once
        (np.arange(10) / 10, 0.1, 0.0, [0]),
        (np.array([0.0]), 5.0, 0.0, [0]),
        (np.array([0.0, 0.1, 3.0, 3.1]), 1.0, 0.0, [0, 1, 2]),  # a pause
        (
            np.array([4.0, 4.24, 4.26, 4.6]),
            4.0,
            4.0,
            [0, 1, 3],
        ),  # times of a part; at equal distance the earlier
        (np.array([0.3, 0.5]), 5.0, 0.0, [0, 1]),
    ],
)
def test_frames_per_second_take_the_nearest_frames(
    times: np.ndarray, fps: float, begin: float, frames: list[int]
) -> None:
    found = sampled_frames({"fps": fps}, times, begin_s=begin)
    assert found.tolist() == frames
    count = int(round((times[-1] - begin) * fps * 1000) / 1000) + 1
    wanted = begin + np.arange(count) / fps
    assert sorted({int(np.abs(times - time).argmin()) for time in wanted}) == frames


def test_stacks_fit_into_the_video() -> None:
    assert sampled_frames({"every": True}, np.arange(10.0), span=6).tolist() == [0, 1, 2, 3, 4]
    assert sampled_frames({"every": True}, np.arange(3.0), span=6).tolist() == [0]
    assert sampled_frames({"fps": 1}, np.arange(10.0), span=6).tolist() == [0, 1, 2, 3, 4]


def test_the_digest_of_weights_leaves_the_classifier_out() -> None:
    model: Any = trained().model
    before = weights_digest(model)
    torch.nn.init.ones_(model.backbone.fc.weight)
    model.backbone.bn1.num_batches_tracked += 1
    assert weights_digest(model) == before
    with torch.no_grad():
        model.backbone.layer1[0].conv1.weight[0, 0, 0, 0] += 1e-3
    assert weights_digest(model) != before
