"""Standardised clips: without their mean colour, and with unit contrast.

Axis letters: N clips, T frames, H rows, W columns.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["standard_clips"]

_LOWEST = 0.1
"""Contrast below which a clip is not amplified further, in units of the normalised input."""


def standard_clips(frames: Tensor) -> Tensor:
    """Subtract the mean colour of each clip, and divide by the standard deviation of all that is left.

    Motion changes the pixels of a clip much less than clips differ in colour and contrast, which a network that is to
    learn flow need not see. FlowNet 2.0 subtracts the mean colour, too (E. Ilg et al., CVPR 2017; in its
    code).

    Args:
        frames: [N, 3 T, H, W], the frames one after the other.

    Returns:
        The same shape. A clip of one colour is zero.
    """
    clips = frames.reshape(frames.shape[0], -1, 3, *frames.shape[2:])
    # One axis after the other: runtimes of exported networks add up all pixels of a large frame in float32, one by one.
    centred = clips - clips.mean(4, keepdim=True).mean(3, keepdim=True).mean(1, keepdim=True)
    squares = centred.square().mean(4, keepdim=True).mean(3, keepdim=True)
    variance = squares.mean(2, keepdim=True).mean(1, keepdim=True)
    return (centred / variance.clamp(min=_LOWEST**2).sqrt()).flatten(1, 2)  # sqrt has no gradient at 0
