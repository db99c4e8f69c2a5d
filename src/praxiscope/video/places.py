"""The middles of equal parts of a video. Does not import torch."""

from __future__ import annotations

from praxiscope.errors import ArgumentError

__all__ = ["at_least", "middles", "places"]


def middles(num_frames: int, segments: int, length: int = 1) -> list[int]:
    """Starts of snippets in the middles of equal parts; see `praxiscope.video.sampling.segment_indices`."""
    at_least("segments", segments, 1)
    tick = places(num_frames, length) / segments
    return [int(tick / 2 + tick * k) for k in range(segments)]


def places(num_frames: int, length: int) -> int:
    """Number of possible starts of a snippet of ``length`` frames; 1 (start 0) if the video is shorter."""
    at_least("num_frames", num_frames, 1)
    at_least("length", length, 1)
    return max(num_frames - length + 1, 1)


def at_least(name: str, value: int, least: int) -> None:
    """Raise ArgumentError for a number below the least."""
    if value < least:
        raise ArgumentError(f"{name} must be at least {least}, got {value}")
