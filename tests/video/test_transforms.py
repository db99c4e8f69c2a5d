"""Colours and batches: against stepwise numpy twins, torchvision, and batches put together otherwise."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch

from praxiscope._compat import import_torchvision
from praxiscope.errors import ArgumentError
from praxiscope.types import Batch
from praxiscope.video.transforms import BatchAugment, ColorJitter, Jitter, Lighting

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STRONG = ColorJitter(0.4, 0.5, 0.6, 0.2)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pixels(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=seeded(seed))


def jitter_twin(frames: np.ndarray, jitter: Jitter, cut: bool = True) -> np.ndarray:
    """One video [N, 3, H, W] of 0 to 255, step by step in float64; hue as a turn of I + iQ."""
    to_yiq = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
    x = frames.astype(np.float64).transpose(0, 2, 3, 1)
    x = x * jitter.brightness
    x = jitter.contrast * x + (1 - jitter.contrast) * (x @ to_yiq[0]).mean((1, 2))[:, None, None, None]
    grey = (x @ to_yiq[0])[..., None]
    x = jitter.saturation * x + (1 - jitter.saturation) * grey
    luma, i, q = np.moveaxis(x @ to_yiq.T, -1, 0)
    chroma = (i + 1j * q) * np.exp(-2j * np.pi * jitter.hue)
    x = np.stack([luma, chroma.real, chroma.imag], -1) @ np.linalg.inv(to_yiq).T
    return (np.clip(x, 0, 255) if cut else x).transpose(0, 3, 1, 2)


def augment_twin(video: np.ndarray, augment: BatchAugment, seed: int) -> np.ndarray:
    mirrored, jitter = augment.draw(seed)
    x = jitter_twin(video[..., ::-1] if mirrored else video, jitter) / 255
    return (x - np.array(augment.mean)[:, None, None]) / np.array(augment.std)[:, None, None]


def test_jitter_is_brightness_contrast_saturation_hue() -> None:
    frames = pixels(4, 3, 9, 11)
    for seed in range(10):
        drawn = STRONG.draw((9, 11), seeded(seed))
        out = STRONG({"rgb": frames}, seeded(seed))["rgb"]
        assert out.dtype == torch.uint8
        assert np.abs(out.numpy() - jitter_twin(frames.numpy(), drawn)).max() < 0.51  # rounding
        in_float = STRONG.apply(frames.float(), drawn)
        np.testing.assert_allclose(in_float.numpy(), jitter_twin(frames.numpy(), drawn), atol=2e-3)


@pytest.mark.parametrize(
    ("name", "jitter"),
    [
        ("adjust_brightness", Jitter(brightness=1.3)),
        ("adjust_contrast", Jitter(contrast=0.6)),
        ("adjust_saturation", Jitter(saturation=1.4)),
    ],
)
def test_each_step_agrees_with_torchvision(name: str, jitter: Jitter) -> None:
    import_torchvision()
    functional = importlib.import_module("torchvision.transforms.v2.functional")
    frame = pixels(1, 3, 16, 20).float().div_(255)  # one frame: contrast has one mean to turn about
    factor = next(value for value, still in zip(jitter, Jitter(), strict=True) if value != still)
    expected = getattr(functional, name)(frame, factor)
    torch.testing.assert_close(ColorJitter().apply(frame * 255, jitter) / 255, expected, atol=2e-4, rtol=0)


def test_hue_turns_red_to_green_to_blue_and_keeps_the_luma() -> None:
    red = torch.tensor([120.0, 60.0, 60.0]).reshape(1, 3, 1, 1)
    luma = torch.tensor([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)
    for turns, channel in ((0.0, 0), (1 / 3, 1), (-1 / 3, 2)):
        turned = ColorJitter().apply(red, Jitter(hue=turns))
        assert int(turned.argmax()) == channel
        torch.testing.assert_close((turned * luma).sum(), (red * luma).sum())


def test_grey_frames_have_brightness_and_contrast() -> None:
    frames = pixels(3, 1, 8, 9).float()
    drawn = Jitter(0.8, 0.7, 1.5, 0.3)
    expected = 0.7 * 0.8 * frames + 0.3 * 0.8 * frames.mean((2, 3), keepdim=True)
    torch.testing.assert_close(ColorJitter().apply(frames, drawn), expected, atol=1e-3, rtol=0)


def test_jitter_leaves_flow_as_it_is() -> None:
    flow = torch.randn(4, 2, 6, 6)
    assert STRONG({"flow": flow, "rgb": pixels(4, 3, 6, 6)}, seeded(0))["flow"].equal(flow)


def test_jitter_draws_fill_their_ranges() -> None:
    draws = np.array([STRONG.draw((1, 1), generator)[:4] for generator in [seeded(0)] for _ in range(2000)])
    np.testing.assert_allclose(draws.min(0), [0.6, 0.5, 0.4, -0.2], atol=0.01)
    np.testing.assert_allclose(draws.max(0), [1.4, 1.5, 1.6, 0.2], atol=0.01)
    np.testing.assert_allclose(draws.mean(0), [1, 1, 1, 0], atol=0.03)
    assert ColorJitter(brightness=3).draw((1, 1), seeded(0)).brightness >= 0
    assert ColorJitter().draw((1, 1), seeded(0)) == Jitter()


def test_any_part_of_a_video_is_changed_as_in_the_whole() -> None:
    videos, augment = pixels(3, 6, 3, 9, 8), BatchAugment(jitter=STRONG)
    whole = augment.stream(videos, [4, 8, 15])
    assert augment.stream(videos[:, 2:4], [4, 8, 15]).equal(whole[:, 2:4])
    rows = augment.stream(videos.flatten(0, 1)[5:14, None], [4] + [8] * 6 + [15] * 2)
    torch.testing.assert_close(rows[:, 0], whole.flatten(0, 1)[5:14], rtol=0, atol=1e-5)


def test_all_frames_of_a_video_are_changed_in_the_same_way() -> None:
    frame = pixels(1, 3, 8, 8)
    video = torch.cat([frame, pixels(3, 3, 8, 8, seed=5), frame])
    out = BatchAugment(jitter=STRONG).stream(video[None], [3])[0]
    assert out[0].equal(out[4])
    jittered = STRONG({"rgb": video}, seeded(3))["rgb"]
    assert jittered[0].equal(jittered[4])


def test_a_batch_is_flipped_jittered_and_normalised_video_by_video() -> None:
    augment, videos, seeds = BatchAugment(jitter=STRONG), pixels(6, 5, 3, 10, 7), [4, 8, 15, 16, 23, 42]
    assert 0 < sum(augment.draw(seed)[0] for seed in seeds) < 6
    out = augment.stream(videos, seeds)
    assert out.dtype == torch.float32
    expected = [augment_twin(v, augment, s) for v, s in zip(videos.numpy(), seeds, strict=True)]
    np.testing.assert_allclose(out.numpy(), np.stack(expected), atol=1e-4)


def test_without_chance_a_batch_is_normalised_only() -> None:
    videos = pixels(2, 3, 3, 5, 6)
    expected = (videos.numpy() / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    out = BatchAugment(flip=False).stream(videos, [])
    np.testing.assert_allclose(out.numpy(), expected, atol=1e-5)


def test_flow_is_flipped_with_the_pictures_and_normalised_in_pixels() -> None:
    flow, seeds = torch.randn(8, 3, 10, 6, 7), list(range(8))
    augment = BatchAugment(jitter=STRONG, flow_mean=(0.5, -1.0), flow_std=(2.0, 4.0))
    batch = Batch(
        {"rgb": pixels(8, 3, 3, 6, 7), "flow": flow}, torch.zeros(8), [str(s) for s in seeds], seeds
    )
    out = augment(batch)
    assert out.ids is batch.ids
    for video, seed in enumerate(seeds):
        expected = flow[video].numpy().copy()
        if augment.draw(seed)[0]:
            expected = expected[..., ::-1].copy()
            expected[:, 0::2] *= -1
        expected[:, 0::2] = (expected[:, 0::2] - 0.5) / 2
        expected[:, 1::2] = (expected[:, 1::2] + 1) / 4
        np.testing.assert_allclose(out.streams["flow"][video].numpy(), expected, atol=1e-6)
        twin = augment_twin(batch.streams["rgb"][video].numpy(), augment, seed)
        np.testing.assert_allclose(out.streams["rgb"][video].numpy(), twin, atol=1e-4)


def test_the_numbers_of_stems_pass_as_they_are() -> None:
    stem = torch.tensor([[0, 0, 0], [1, 1, 1]])
    batch = Batch({"flow": torch.randn(2, 3, 4, 6, 7), "stem": stem}, torch.zeros(2), ["a", "b"], [1, 2])
    assert BatchAugment()(batch).streams["stem"] is stem


@pytest.mark.parametrize("jitter", [None, STRONG])
def test_a_video_is_the_same_in_any_batch(jitter: ColorJitter | None) -> None:
    augment, videos, seeds = BatchAugment(jitter=jitter), pixels(5, 3, 3, 8, 9), [10, 11, 12, 13, 14]
    together = augment.stream(videos, seeds)
    for video, seed in enumerate(seeds):
        alone = augment.stream(videos[video : video + 1], [seed])
        torch.testing.assert_close(alone[0], together[video], atol=1e-6, rtol=0)
    assert not augment.stream(videos, seeds[::-1]).allclose(together)


def test_packed_videos_of_different_lengths_equal_dense_ones() -> None:
    augment, counts, seeds = BatchAugment(jitter=STRONG), [4, 1, 7], [1, 2, 3]
    frames = pixels(12, 3, 8, 9)
    flow = torch.randn(12, 2, 8, 9)
    offsets = torch.tensor([0, 4, 5, 12])
    batch = Batch({"rgb": frames, "flow": flow}, torch.zeros(3), ["a", "b", "c"], seeds, offsets)
    out = augment(batch).streams
    assert out["rgb"].shape == frames.shape
    parts = zip(frames.split(counts), flow.split(counts), seeds, strict=True)
    alone = [(augment.stream(x[None], [s])[0], augment.stream(f[None], [s], "flow")[0]) for x, f, s in parts]
    torch.testing.assert_close(out["rgb"], torch.cat([x for x, _ in alone]), atol=1e-6, rtol=0)
    assert out["flow"].equal(torch.cat([f for _, f in alone]))


# Krizhevsky et al. 2012, section 4.1: [p1, p2, p3] [a1 l1, a2 l2, a3 l3]^T is added to every pixel.
SIZES = np.array([0.2175, 0.0188, 0.0045])
COMPONENTS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])


def test_lighting_adds_one_colour_of_the_right_spread_to_a_whole_video() -> None:
    np.testing.assert_allclose(COMPONENTS.T @ COMPONENTS, np.eye(3), atol=2e-4)
    generator = seeded(0)
    added = np.array([Lighting(0.1).draw((4, 4), generator).added for _ in range(20_000)])
    np.testing.assert_allclose(added.mean(0), 0, atol=5e-4)
    along = added @ COMPONENTS  # its covariance is that of three independent Gaussians
    np.testing.assert_allclose(along.std(0), 0.1 * SIZES, rtol=0.03)
    np.testing.assert_allclose(np.corrcoef(along.T), np.eye(3), atol=0.03)
    frames = pixels(4, 3, 5, 6).float().clamp(60, 190)
    colour = Lighting(0.1).draw((5, 6), seeded(3)).added
    expected = frames.numpy() + 255 * np.array(colour)[:, None, None]
    np.testing.assert_allclose(Lighting(0.1)({"rgb": frames}, seeded(3))["rgb"].numpy(), expected, atol=1e-3)
    flow = torch.randn(4, 2, 5, 6)
    assert Lighting(3.0)({"flow": flow, "rgb": frames}, seeded(0))["flow"].equal(flow)
    bright = Lighting(3.0)({"rgb": pixels(1, 3, 5, 6)}, seeded(0))["rgb"]
    assert bright.dtype == torch.uint8  # cut to what a pixel can be


@pytest.mark.parametrize("jitter", [None, STRONG])
def test_a_batch_is_lit_behind_its_jitter(jitter: ColorJitter | None) -> None:
    lit = BatchAugment(jitter=jitter, lighting=Lighting(0.4))
    videos, seeds = pixels(3, 2, 3, 8, 9), [5, 6, 7]
    out = lit.stream(videos, seeds).numpy()
    mean, std = (np.array(values)[:, None, None] for values in (lit.mean, lit.std))
    for video, seed in enumerate(seeds):
        mirrored, drawn = lit.draw(seed)
        plain = BatchAugment(jitter=jitter).draw(seed)
        assert (mirrored, drawn[:4]) == (plain[0], plain[1][:4])
        alone = (Jitter(*drawn[:4]).added, drawn.added)
        assert alone[0] == (0, 0, 0) != alone[1]
        own = videos[video].numpy().astype(float)
        x = own[..., ::-1] if mirrored else own
        if jitter is not None:
            # What the jitter drives out of range comes back where light is added: nothing is cut in between.
            x = jitter_twin(x, Jitter(*drawn[:4]), cut=False)
        x = np.clip(x / 255 + np.array(drawn.added)[:, None, None], 0, 1)
        np.testing.assert_allclose(out[video], (x - mean) / std, atol=1e-4)


def test_frames_of_a_stack_are_recoloured_as_they_are_alone() -> None:
    augment = BatchAugment(jitter=STRONG, lighting=Lighting(0.2))
    videos, seeds = pixels(2, 4, 9, 6, 7), [3, 8]  # 4 snippets of 3 frames each
    apart = augment.stream(videos.reshape(2, 12, 3, 6, 7), seeds).reshape(videos.shape)
    assert augment.stream(videos, seeds).equal(apart)
    laid = BatchAugment(jitter=STRONG, lighting=Lighting(0.2), channels_last=True).stream(videos, seeds)
    assert laid.equal(apart)
    assert laid.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    still = BatchAugment(flip=False).stream(videos, seeds)
    assert still.equal(
        BatchAugment(flip=False).stream(videos.reshape(2, 12, 3, 6, 7), seeds).reshape(videos.shape)
    )


def test_the_flip_does_not_hang_on_the_jitter_nor_the_jitter_on_the_flip() -> None:
    both, flip, jitter = BatchAugment(jitter=STRONG), BatchAugment(), BatchAugment(flip=False, jitter=STRONG)
    draws = [(both.draw(seed), flip.draw(seed), jitter.draw(seed)) for seed in range(50)]
    assert all(b[0] == f[0] and b[1] == j[1] and not j[0] for b, f, j in draws)
    assert 10 < sum(b[0] for b, _, _ in draws) < 40


@pytest.mark.parametrize("jitter", [None, STRONG])
def test_channels_last_changes_the_layout_alone(jitter: ColorJitter | None) -> None:
    videos, seeds = pixels(2, 3, 3, 8, 9), [0, 1]
    usual = BatchAugment(jitter=jitter).stream(videos, seeds)
    last = BatchAugment(jitter=jitter, channels_last=True).stream(videos, seeds)
    assert last.equal(usual)
    assert last.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    assert usual.is_contiguous()


def test_a_mean_of_fewer_values_is_repeated_over_a_stack() -> None:
    stack = pixels(1, 2, 6, 4, 4)
    out = BatchAugment(flip=False).stream(stack, [])
    assert out[:, :, 3:].equal(BatchAugment(flip=False).stream(stack[:, :, 3:], []))


def test_the_frames_that_were_given_are_not_changed() -> None:
    videos, flow = pixels(2, 3, 3, 8, 9), torch.randn(2, 3, 4, 8, 9)
    kept = videos.clone(), flow.clone()
    BatchAugment(jitter=STRONG).stream(videos, [0, 1])
    BatchAugment().stream(flow, [0, 1], "flow")
    STRONG({"rgb": videos.float()}, seeded(0))
    assert (videos.equal(kept[0]), flow.equal(kept[1])) == (True, True)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: BatchAugment().stream(pixels(2, 3, 3, 4, 4), [1]), "seeds.* 2 .* 1 "),
        (lambda: BatchAugment().stream(pixels(2, 3, 4, 4), [1, 2]), r"\boffsets\b"),
        (
            lambda: BatchAugment().stream(pixels(3, 4, 4), [1], "rgb", torch.tensor([0, 2])),
            r"\boffsets\b",
        ),
        (lambda: BatchAugment(flip=False).stream(pixels(1, 2, 4, 4, 4), []), "3 values.* 4 channels"),
        (
            lambda: BatchAugment(jitter=STRONG, mean=(0.5,), std=(1.0,)).stream(pixels(1, 2, 5, 4, 4), [1]),
            "got 5",
        ),
        (lambda: Lighting(-1), r"\bstd\b.*-1\b"),
        (lambda: BatchAugment(mean=(0.5,)), r"\bmean\b.*\bstd\b"),
        (lambda: BatchAugment(flow_std=(0.0,)), "above 0"),
        (lambda: ColorJitter(hue=0.7), "hue"),
        (lambda: ColorJitter(contrast=-1), "contrast=-1"),
        (lambda: ColorJitter().draw((4, 4)), "ColorJitter"),
    ],
)
def test_what_cannot_be_is_refused_by_name(call, named: str) -> None:
    with pytest.raises(ArgumentError, match=named):
        call()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_device_gives_what_the_cpu_gives() -> None:
    augment, videos, seeds = BatchAugment(jitter=STRONG), pixels(4, 3, 3, 32, 40), [0, 1, 2, 3]
    on_device = augment.stream(videos.cuda(), seeds).cpu()
    torch.testing.assert_close(on_device, augment.stream(videos, seeds), atol=1e-4, rtol=0)
