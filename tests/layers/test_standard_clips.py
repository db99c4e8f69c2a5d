"""Clips without their mean colour, and with unit contrast."""

from __future__ import annotations

import numpy as np
import torch

from praxiscope.layers.standard_clips import standard_clips


def twin(frames: np.ndarray) -> np.ndarray:
    """The same in plain loops."""
    made = np.empty_like(frames)
    for number, clip in enumerate(frames):
        rows = clip.reshape(-1, 3, *clip.shape[1:])
        centred = np.stack([rows[:, c] - rows[:, c].mean() for c in range(3)], axis=1)
        made[number] = (centred / max(np.sqrt((centred**2).mean()), 0.1)).reshape(clip.shape)
    return made


def test_clips_are_those_of_plain_numpy():
    frames = torch.randn(3, 12, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    frames[1] = frames[1] * 0.01 + 3  # below the lowest contrast
    torch.testing.assert_close(
        standard_clips(frames), torch.from_numpy(twin(frames.numpy())), rtol=1e-12, atol=1e-12
    )


def test_colour_and_contrast_of_a_clip_do_not_matter():
    frames = torch.rand(2, 6, 8, 8, dtype=torch.float64)
    shift = torch.tensor([1.0, -2.0, 0.5] * 2, dtype=torch.float64).view(1, 6, 1, 1)
    torch.testing.assert_close(standard_clips(3 * frames + shift), standard_clips(frames))


def test_clips_are_independent_and_frames_of_a_clip_are_not():
    frames = torch.rand(2, 6, 8, 8)
    both = standard_clips(frames)
    torch.testing.assert_close(both[:1], standard_clips(frames[:1]))
    brighter = frames.clone()
    brighter[0, 3:] += 0.5  # the second frame: the difference of brightness stays
    assert not torch.allclose(standard_clips(brighter)[0, :3], both[0, :3])


def test_a_clip_of_one_colour_is_zero_and_has_a_gradient():
    frames = torch.full((1, 6, 4, 4), 0.5, requires_grad=True)
    made = standard_clips(frames)
    made.sum().backward()
    assert torch.count_nonzero(made) == 0
    assert frames.grad is not None
    assert frames.grad.isfinite().all()
