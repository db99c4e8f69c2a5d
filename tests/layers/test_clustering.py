"""Temporal clustering against a plain-Python twin, and what holds of every result.

The twin follows the words of the rules, frame by frame; nothing of it is vectorised.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import praxiscope as px
from praxiscope.layers.clustering import (
    cluster_offsets,
    clusterings,
    cumulative_ids,
    hamming_distances,
    segment_mean,
    slope_ids,
    uniform_ids,
)

# ------------------------------------------------------------------------------------------------- twins


def twin_uniform(distances: list[int], clusters: int) -> list[int]:
    count = len(distances) + 1
    return [min(clusters, count) * i // count for i in range(count)]


def twin_cumulative(distances: list[int], clusters: int) -> list[int]:
    count = len(distances) + 1
    if count <= clusters:
        return list(range(count))
    if not any(distances):
        return twin_uniform(distances, clusters)
    gone = [sum(distances[:i]) for i in range(count)]
    parts = [
        next(k for k in range(1, clusters + 1) if clusters * gone[i] <= k * gone[-1]) for i in range(count)
    ]
    runs = [[0]]
    for i in range(1, count):
        if parts[i] == parts[i - 1]:
            runs[-1].append(i)
        else:
            runs.append([i])
    while len(runs) < min(clusters, count):
        # The largest distance inside a cluster, of equal ones the last.
        _, at = max((distances[i - 1], i) for run in runs for i in run[1:])
        place = next(n for n, run in enumerate(runs) if at in run)
        run = runs[place]
        runs[place : place + 1] = [run[: run.index(at)], run[run.index(at) :]]
    return [n for n, run in enumerate(runs) for _ in run]


def twin_slope(distances: list[int], clusters: int) -> list[int]:
    count = len(distances) + 1
    if count <= clusters:
        return list(range(count))
    if not any(distances):
        return twin_uniform(distances, clusters)
    largest = sorted(range(count - 1), key=lambda i: (distances[i], i), reverse=True)[: clusters - 1]
    ids, now = [0], 0
    for i in range(count - 1):
        now += i in largest
        ids.append(now)
    return ids


TWINS: dict[str, Callable[[list[int], int], list[int]]] = {
    "cumulative": twin_cumulative,
    "slope": twin_slope,
    "uniform": twin_uniform,
}
# Small numbers make ties and still videos, large ones jumps.
DISTANCES = st.lists(st.one_of(st.integers(0, 3), st.integers(0, 10**9)), max_size=40)


def _tensor(values: list[int]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int64)


EXTREMES = {
    "still": [0] * 9,
    "one jump": [0, 0, 0, 50, 0, 0, 0, 0, 0],
    "one jump at the start": [50, 0, 0, 0, 0, 0],
    "one jump at the end": [0, 0, 0, 0, 0, 50],
    "a jump over many parts": [1, 1, 1000, 1, 1, 1, 1, 1],
    "fewer frames than clusters": [3, 1],
    "as many frames as clusters": [3, 0, 0, 9],
    "one frame": [],
    "ties": [2] * 16,
    "two jumps": [0, 9, 0, 0, 9, 0],
}


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("distances", EXTREMES.values(), ids=EXTREMES)
@pytest.mark.parametrize("clusters", [1, 2, 5, 8])
def test_extreme_videos_are_clustered_as_the_twin_does(
    name: str, distances: list[int], clusters: int
) -> None:
    assert clusterings.get(name)(_tensor(distances), clusters).tolist() == TWINS[name](distances, clusters)


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(sorted(TWINS)), distances=DISTANCES, clusters=st.integers(1, 12))
def test_random_videos_are_clustered_as_the_twin_does(name: str, distances: list[int], clusters: int) -> None:
    assert clusterings.get(name)(_tensor(distances), clusters).tolist() == TWINS[name](distances, clusters)


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(sorted(TWINS)), distances=DISTANCES, clusters=st.integers(1, 12))
def test_every_frame_is_in_one_run_and_no_cluster_is_empty(
    name: str, distances: list[int], clusters: int
) -> None:
    ids = clusterings.get(name)(_tensor(distances), clusters)
    assert len(ids) == len(distances) + 1
    assert ids[0] == 0
    assert set(ids.diff().tolist()) <= {0, 1}  # runs, numbered through, none left out
    assert int(ids[-1]) + 1 == min(clusters, len(ids))


@settings(max_examples=100, deadline=None)
@given(
    name=st.sampled_from(sorted(TWINS)),
    videos=st.lists(DISTANCES, min_size=1, max_size=5),
    clusters=st.integers(1, 9),
    between=st.integers(0, 10**9),
)
def test_packed_videos_are_clustered_as_each_alone(
    name: str, videos: list[list[int]], clusters: int, between: int
) -> None:
    # What lies between the end of one video and the start of the next is not looked at.
    joined = [d for video in videos for d in [*video, between]][:-1]
    offsets = torch.tensor([0, *(len(video) + 1 for video in videos)]).cumsum(0)
    ids = clusterings.get(name)(_tensor(joined), clusters, offsets)
    alone = [clusterings.get(name)(_tensor(video), clusters) for video in videos]
    assert ids.tolist() == torch.cat(alone).tolist()


def test_each_video_of_a_pack_may_have_its_own_number_of_clusters() -> None:
    videos, counts = [[1, 5, 2, 2], [0, 0, 7], [4] * 9], [2, 3, 10]
    joined = [d for video in videos for d in [*video, 99]][:-1]
    ids = cumulative_ids(_tensor(joined), torch.tensor(counts), torch.tensor([0, 5, 9, 19]))
    expected = [twin_cumulative(video, count) for video, count in zip(videos, counts, strict=True)]
    assert ids.tolist() == [i for part in expected for i in part]


def test_the_specs_example_is_cut_into_four_three_and_three() -> None:
    assert cumulative_ids(_tensor([1] * 9), 3).bincount().tolist() == [4, 3, 3]


def test_uniform_ids_are_those_of_the_formula() -> None:
    assert uniform_ids(7, 3).tolist() == [math.floor(3 * i / 7) for i in range(7)]
    assert uniform_ids(2, 8).tolist() == [0, 1]
    with pytest.raises(px.ArgumentError, match=r"num_frames\b.*\b1\b.*\b0\b"):
        uniform_ids(0, 8)


def test_whole_numbers_are_not_rounded_where_floats_would_be() -> None:
    # 3 * C_i just above 1 * C: as float64 both would be equal.
    total = 3 * 2**60
    third = total // 3
    ids = cumulative_ids(_tensor([third, 1, total - third - 1]), 2)
    assert ids.tolist() == twin_cumulative([third, 1, total - third - 1], 2)


@pytest.mark.parametrize("cluster", [cumulative_ids, slope_ids])
def test_numbers_that_make_no_sense_are_refused(cluster: Callable[..., torch.Tensor]) -> None:
    with pytest.raises(px.ArgumentError, match=r"clusters\b.*\b1\b.*\b0\b"):
        cluster(_tensor([1, 2]), 0)
    with pytest.raises(px.ArgumentError, match=r"clusters\b.*\b1\b.*-3\b"):
        cluster(_tensor([1, 2]), torch.tensor([-3]))
    with pytest.raises(px.ArgumentError, match=r"\[N - 1\].*torch\.float32"):
        cluster(torch.ones(3), 2)


# --------------------------------------------------------------------------------------------- distances


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(5, 3, 7, 11), (4, 64, 57, 57), (1, 3, 4, 4), (2, 1, 1, 1)])
def test_distances_are_the_counted_differences_of_signs(
    dtype: torch.dtype, layout: torch.memory_format, shape: tuple[int, ...]
) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    x = x.relu().to(memory_format=layout)
    bits = (x > 0).numpy()
    expected = [int((bits[i] != bits[i + 1]).sum()) for i in range(len(x) - 1)]
    assert hamming_distances(x).tolist() == expected


def test_distances_of_many_places_do_not_run_over() -> None:
    # Every place differs: the bytes in which differences are added up are filled to the last.
    x = torch.stack([torch.ones(255 * 8 * 64 * 2 + 5), torch.zeros(255 * 8 * 64 * 2 + 5)])
    assert hamming_distances(x).tolist() == [x.shape[1]]


def test_distances_are_compared_in_blocks_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    from praxiscope.layers import clustering

    x = torch.randn(23, 40, generator=torch.Generator().manual_seed(1))
    whole = hamming_distances(x)
    for block in (1, 40, 79, 200):
        monkeypatch.setattr(clustering, "_BLOCK", block)
        assert hamming_distances(x).tolist() == whole.tolist()


def test_no_gradient_flows_through_the_decision() -> None:
    x = torch.randn(4, 3, requires_grad=True)
    assert not hamming_distances(x).requires_grad


# ----------------------------------------------------------------------------------------------- means


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_segment_means_and_their_gradient_are_those_of_each_run(layout: torch.memory_format) -> None:
    x = torch.randn(9, 2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = x.to(memory_format=layout).requires_grad_()
    runs = [[0, 1, 2, 3], [4], [5, 6], [7, 8]]
    segments = torch.tensor([n for n, run in enumerate(runs) for _ in run])
    means = segment_mean(x, segments, len(runs))
    expected = torch.stack([x.detach()[run].mean(0) for run in runs])
    torch.testing.assert_close(means, expected)
    assert means.is_contiguous(memory_format=layout)
    assert torch.autograd.gradcheck(lambda y: segment_mean(y, segments, len(runs)), [x])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_long_clusters_of_half_precision_have_the_mean_of_single_precision(dtype: torch.dtype) -> None:
    # Added up in their own type, ones stop at 256 (bfloat16) or 2,048, and 45s pass float16's largest number.
    x = torch.full((6000, 2, 1, 1), 45.0, dtype=dtype).requires_grad_()
    segments = (torch.arange(6000) >= 5000).long()
    means = segment_mean(x, segments, 2)
    assert means.dtype == dtype
    assert means.flatten().tolist() == [45.0] * 4
    (means.sum() * 1000).backward()
    assert x.grad is not None
    assert x.grad[0, 0].item() == pytest.approx(1000 / 5000, rel=0.01)
    assert x.grad[-1, 0].item() == pytest.approx(1000 / 1000, rel=0.01)


def test_clusters_of_several_videos_are_numbered_through() -> None:
    segments, own = cluster_offsets(torch.tensor([0, 0, 1, 0, 0, 1, 2]), torch.tensor([0, 3, 4, 7]))
    assert segments.tolist() == [0, 0, 1, 2, 3, 4, 5]
    assert own.tolist() == [0, 2, 3, 6]
