"""When frames are shown, and which of them lie in a part of a video: arithmetic on the clocks of containers.

A clock counts in ticks (Matroska's in milliseconds), so that a time is known to half a tick: two times that are no
further apart are the same time.
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

_COARSEST_TICK_S = 1.1e-3  # a longer tick counts frames (AVI), whose times are exact
_ROUNDING_S = 1e-6  # of sums and products of seconds
_JITTER = 8  # frames; times that go back further start again
_LONGEST_JUMP_S = 10.0  # FFmpeg's dts_delta_threshold: in a transport stream a longer one is no pause


def same_within(tick_s: float, step_s: float) -> float:
    """Seconds up to which two times are the same, never more than half a frame.

    Args:
        tick_s: of the container's clock.
        step_s: from a frame to the next.
    """
    return min(_ROUNDING_S + (0.51 * tick_s if tick_s <= _COARSEST_TICK_S else 0.0), step_s / 2)


def part(
    times: NDArray[np.float64], start_s: float | None, end_s: float | None, same_s: float = _ROUNDING_S
) -> tuple[int, int]:
    """The frames with ``start_s <= time < end_s``: the first one's number, and that of the one after the last.

    Args:
        times: float64 [N], rising.
        start_s, end_s: seconds; None for the start and the end of the video.
        same_s: seconds up to which two times are the same.
    """
    first = 0 if start_s is None else int(np.searchsorted(times, start_s - same_s))
    last = len(times) if end_s is None else int(np.searchsorted(times, end_s - same_s))
    return first, last


def as_shown(
    stamps: NDArray[np.float64], step_s: float, *, in_order: bool = True, doubtful: bool = False
) -> NDArray[np.float64]:
    """The times at which frames are shown, rising, from what their packets say.

    Only what is wrong is repaired. A frame whose time is not known is put between its neighbours; of frames with equal
    times the first keeps it, and the others share what is left until the next time, at most ``step_s`` each; a frame
    that comes after a later one, as decoders give them behind damage, is shown at once.

    Args:
        stamps: float64 [N] seconds in the order of the frames; NaN where a packet says nothing.
        step_s: seconds from a frame to the next where nothing else tells.
        in_order: whether each time is that of its frame; else they are only known together, and are sorted.
        doubtful: whether single times far outside of their neighbours' are wrong, and so not known.
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
    """A frame's time, or where that has passed, a moment after the frame before it."""
    return time_s if time_s > before_s else before_s + step_s / 16


def continued(
    stamps: NDArray[np.float64], decoded: NDArray[np.float64], step_s: float, *, jumps_ahead: bool
) -> tuple[NDArray[np.float64], bool]:
    """Let the times of a joined file go on where its clock starts again.

    Where it goes back, and later on as if it had not, the times between are wrong (damaged headers), and are replaced.

    Args:
        stamps: float64 [packets] seconds in decode order; NaN where a packet says nothing.
        decoded: float64 [packets] times of decoding, which rise within each of the joined files.
        step_s: seconds from a frame to the next.
        jumps_ahead: whether a long jump ahead is another clock, too, and no pause.

    Returns:
        The times, and whether anything was joined.
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
    """Where a clock goes back and later on as if it had not: packets with wrong times, and no joint.

    Returns:
        The last packet before, and the first one after, of each such stretch.
    """
    found: list[tuple[int, int]] = []
    ahead = np.flatnonzero(np.diff(clock) > _JITTER * step_s) + 1
    for before in np.flatnonzero(joints).tolist():
        if found and before < found[-1][1]:
            continue
        for after in ahead[ahead > before + 1].tolist():
            gone, length = clock[after] - clock[before], (after - before) * step_s
            passed = np.ptp(clock[before + 1 : after]) / length
            # Damage takes packets, too: then fewer come than there is time for, but a joined file's clock would run.
            if (passed < 0.25 and gone > 0) or (
                not 0.75 < passed < 1.25 and abs(gone - length) <= _JITTER * step_s
            ):
                found.append((before, after))
                break
    return found


def typical_step(stamps: NDArray[np.float64], default_s: float) -> float:
    """The median of the seconds from a time to the next later one; ``default_s`` where there are no two."""
    steps = np.diff(np.sort(stamps[np.isfinite(stamps)]))
    steps = steps[steps > 0]
    return float(np.median(steps)) if len(steps) else default_s


def shown_for(last_s: float, step_s: float) -> float:
    """Seconds for which the last frame is shown: what its packet says, or as long as another one."""
    return last_s if last_s > 0.6 * step_s else step_s


def alone(times: NDArray[np.float64], step_s: float) -> NDArray[np.bool_]:
    """Which times, bool [N], are far outside of what lies between their neighbours, which are in order."""
    found = np.zeros(len(times), dtype=bool)
    if len(times) > 2:
        before, here, after = times[:-2], times[1:-1], times[2:]
        far = _JITTER * step_s
        found[1:-1] = (before <= after) & ((here > after + far) | (here < before - far))
    return found


def _without_outliers(times: NDArray[np.float64], step_s: float) -> NDArray[np.float64]:
    return np.where(alone(times, step_s), np.nan, times)


def _filled(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Times in which one that is not known is the one before it."""
    known = np.isfinite(times)
    if not known.any():
        return np.zeros(len(times))
    places = np.maximum.accumulate(np.where(known, np.arange(len(times)), 0))
    return np.where(known, times, np.where(known[places], times[places], times[known][0]))
