"""Presentation times of frames: repair, selection and comparison of a container's timestamps.

Containers store times in ticks (Matroska in milliseconds), so a time is exact to half a tick. Two times that differ by
no more than that are treated as equal.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "alone",
    "as_shown",
    "continued",
    "part",
    "rising",
    "same_within",
    "shown_for",
    "typical_step",
]

_COARSEST_TICK_S = 1.1e-3  # longer ticks count frames (AVI), and their times are exact
_ROUNDING_S = 1e-6  # floating-point error of times in seconds
_JITTER = 8  # frames; a larger step back means that the clock restarts
_LONGEST_JUMP_S = 10.0  # FFmpeg's dts_delta_threshold: a longer jump in a transport stream is not a pause


def same_within(tick_s: float, step_s: float) -> float:
    """Return the tolerance in seconds for comparing two times, at most half a frame.

    Args:
        tick_s: Tick of the container's clock, in seconds.
        step_s: Time between consecutive frames, in seconds.
    """
    return min(_ROUNDING_S + (0.51 * tick_s if tick_s <= _COARSEST_TICK_S else 0.0), step_s / 2)


def part(
    times: NDArray[np.float64], start_s: float | None, end_s: float | None, same_s: float = _ROUNDING_S
) -> tuple[int, int]:
    """Return the range ``(first, last + 1)`` of frames with ``start_s <= time < end_s``.

    Args:
        times: Increasing times, float64 [N].
        start_s, end_s: Limits in seconds. None is the start or the end of the video.
        same_s: Tolerance for equal times, in seconds.
    """
    first = 0 if start_s is None else int(np.searchsorted(times, start_s - same_s))
    last = len(times) if end_s is None else int(np.searchsorted(times, end_s - same_s))
    return first, last


def as_shown(
    stamps: NDArray[np.float64], step_s: float, *, in_order: bool = True, doubtful: bool = False
) -> NDArray[np.float64]:
    """Return increasing presentation times of frames from the timestamps of their packets.

    Valid timestamps are kept. Missing times are interpolated. If several frames have the same time, the first one keeps
    it and the others are spread up to the next time, at most ``step_s`` apart. A frame whose time is not after that of
    the frame before it (this happens after damage) is shown right after that frame.

    Args:
        stamps: Timestamps in seconds in the order of the frames, float64 [N]. NaN if a packet has none.
        step_s: Time between consecutive frames in seconds, used if the timestamps do not define it.
        in_order: Whether each timestamp belongs to its frame. If not, the timestamps are sorted.
        doubtful: Whether to treat isolated outliers as missing.
    """
    if not np.isfinite(stamps).any():
        return np.arange(len(stamps), dtype=np.float64) * step_s
    times = _without_outliers(stamps, step_s) if doubtful else stamps.copy()
    known = np.flatnonzero(np.isfinite(times))
    if not in_order:
        times[known] = np.sort(times[known])
    if len(known) < len(times):
        places = np.arange(len(times))
        inner = np.interp(places, known, times[known])
        before = np.minimum(places - known[0], 0) * step_s
        after = np.maximum(places - known[-1], 0) * step_s
        times = inner + before + after
    starts = np.flatnonzero(np.diff(times, prepend=-np.inf) != 0)
    if len(starts) < len(times):
        lengths = np.diff(starts, append=len(times))
        room = np.diff(times[starts], append=np.inf)
        shares = np.clip(np.where(room > 0, room, np.inf) / lengths, 0, step_s)
        since = np.arange(len(times)) - np.repeat(starts, lengths)
        times = times + since * np.repeat(shares, lengths)
    if (np.diff(times) <= 0).any():
        for number in range(1, len(times)):
            times[number] = rising(times[number], times[number - 1], step_s)
    return np.asarray(times)


def rising(time_s: float, before_s: float, step_s: float) -> float:
    """Return ``time_s``, or a time right after ``before_s`` if ``time_s`` is not later."""
    return time_s if time_s > before_s else before_s + step_s / 16


def continued(
    stamps: NDArray[np.float64], decoded: NDArray[np.float64], step_s: float, *, jumps_ahead: bool
) -> tuple[NDArray[np.float64], bool]:
    """Make the timestamps of a concatenated file continuous where its clock restarts.

    If the clock goes back and later continues as before, the timestamps between are wrong (damaged headers) and are
    interpolated.

    Args:
        stamps: Timestamps in seconds in decode order, float64 [packets]. NaN if a packet has none.
        decoded: Decode times, float64 [packets]. They increase within each of the concatenated files.
        step_s: Time between consecutive frames, in seconds.
        jumps_ahead: Whether a long jump ahead is also a restart of the clock, not a pause.

    Returns:
        The timestamps, and whether the clock restarted.
    """
    clock = _filled(_without_outliers(np.where(np.isnan(decoded), stamps, decoded), step_s))
    steps = np.diff(clock)
    joints = steps < -_JITTER * step_s
    stamps = stamps.copy()
    for before, after in _interruptions(clock, joints, step_s):
        joints[before:after] = steps[before:after] = 0
        inner = np.arange(before + 1, after)
        far = _JITTER * step_s
        wrong = inner[~((stamps[inner] > clock[before] - far) & (stamps[inner] < clock[after] + far))]
        stamps[wrong] = np.interp(wrong, [before, after], clock[[before, after]])
    if jumps_ahead:
        joints |= steps > _LONGEST_JUMP_S
    edges = [0, *(np.flatnonzero(joints) + 1).tolist(), len(stamps)]
    if len(edges) == 2:
        return stamps, False
    out = stamps
    end: float | None = None
    for first, last in pairwise(edges):
        section = _without_outliers(out[first:last], step_s)
        if not np.isfinite(section).any():
            continue
        if end is not None:
            out[first:last] += end - np.nanmin(section)
            section += end - np.nanmin(section)
        end = float(np.nanmax(section)) + step_s
    return out, True


def _interruptions(
    clock: NDArray[np.float64], joints: NDArray[np.bool_], step_s: float
) -> list[tuple[int, int]]:
    """Find the stretches in which a clock goes back and then continues as before: wrong timestamps, not restarts.

    Returns:
        The last packet before and the first packet after each stretch.
    """
    found: list[tuple[int, int]] = []
    ahead = np.flatnonzero(np.diff(clock) > _JITTER * step_s) + 1
    for before in np.flatnonzero(joints).tolist():
        if found and before < found[-1][1]:
            continue
        for after in ahead[ahead > before + 1].tolist():
            elapsed, length = clock[after] - clock[before], (after - before) * step_s
            passed = np.ptp(clock[before + 1 : after]) / length
            # Damage also removes packets, so the time elapsed can exceed that of the packets. In a concatenated file
            # the clock would advance in the stretch.
            if (passed < 0.25 and elapsed > 0) or (
                not 0.75 < passed < 1.25 and abs(elapsed - length) <= _JITTER * step_s
            ):
                found.append((before, after))
                break
    return found


def typical_step(stamps: NDArray[np.float64], default_s: float) -> float:
    """Return the median difference of consecutive distinct times, or ``default_s`` for fewer than two."""
    steps = np.diff(np.sort(stamps[np.isfinite(stamps)]))
    steps = steps[steps > 0]
    return float(np.median(steps)) if len(steps) else default_s


def shown_for(last_s: float, step_s: float) -> float:
    """Return the duration of the last frame: that of its packet, or ``step_s`` if that is too short."""
    return last_s if last_s > 0.6 * step_s else step_s


def alone(times: NDArray[np.float64], step_s: float) -> NDArray[np.bool_]:
    """Return a mask, bool [N], of the times far outside the interval of their neighbours."""
    found = np.zeros(len(times), dtype=bool)
    if len(times) > 2:
        before, here, after = times[:-2], times[1:-1], times[2:]
        far = _JITTER * step_s
        found[1:-1] = (before <= after) & ((here > after + far) | (here < before - far))
    return found


def _without_outliers(times: NDArray[np.float64], step_s: float) -> NDArray[np.float64]:
    return np.where(alone(times, step_s), np.nan, times)


def _filled(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Replace each missing time by the last known one before it."""
    known = np.isfinite(times)
    if not known.any():
        return np.zeros(len(times))
    places = np.maximum.accumulate(np.where(known, np.arange(len(times)), 0))
    return np.where(known, times, np.where(known[places], times[places], times[known][0]))
