"""The choice of snippets beside one in 150 digits: confident, nearly equal and mixed scores, and ties."""

from __future__ import annotations

import itertools
import math
from functools import cache
from typing import Any

import mpmath as mp
import pytest
import torch
from torch import Tensor

from praxiscope.steps.principal import TIE, choose, choose_all
from praxiscope.steps.surrogates import divergence, log_divergences, log_losses

KINDS = ("confident", "near-equal", "mixed", "near-equal and confident", "far from 0", "repeated")
DIGITS = 150  # a confident video's divergences begin at 1e-60, and are differences of numbers near 1
TYPES = (torch.float32, torch.float64, torch.bfloat16)


def scores(kind: str, count: int, m: int, classes: int, generator: torch.Generator) -> Tensor:
    """Videos' scores, float64 [count, m, K]."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def power(low: float, high: float) -> Tensor:
        """A power of ten for each video, [count, 1, 1]."""
        return 10 ** (low + (high - low) * torch.rand(count, 1, 1, generator=generator, dtype=torch.float64))

    favourite = torch.eye(classes, dtype=torch.float64)[
        torch.randint(classes, (count, 1), generator=generator)
    ]
    if kind == "confident":
        return 2 * normal(count, m, classes) + favourite * power(0.5, 2)
    if kind == "near-equal":
        return normal(count, 1, classes) + normal(count, m, classes) * power(-8, -1)
    if kind == "near-equal and confident":
        return favourite * power(1, 2) + normal(count, m, classes) * power(-6, 0)
    if kind == "far from 0":
        return 100 * normal(count, m, 1) + normal(count, m, classes) * power(-3, 0)
    made = normal(count, m, classes) * power(-1, 1)
    if kind == "repeated":  # as of a video that is too short: exact ties
        made = made[:, torch.randint(m, (m,), generator=generator)]
    return made


@cache
def subsets_of(m: int, n: int) -> list[tuple[int, ...]]:
    return list(itertools.combinations(range(m), n))


def least(values: list[Any]) -> int:
    """The first of those that agree with the smallest to `TIE`."""
    bound = min(values) * (1 + mp.mpf(TIE))
    return next(place for place, value in enumerate(values) if value <= bound)


def brute_force(f: list[list[float]], label: int, n: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What "max" and "kl" choose, all subsets compared one by one in `DIGITS` digits."""
    classes = range(len(f[0]))
    subsets = subsets_of(len(f), n)
    exact = [[mp.mpf(z) for z in row] for row in f]
    shares = [[mp.exp(z / n) for z in row] for row in exact]
    whole = [mp.exp(sum(row[c] for row in exact) / len(f)) for c in classes]
    total = sum(whole)
    p = [value / total for value in whole]
    # KL(p ‖ q) = sum p (z - z_S) - log sum e^z + log sum e^(z_S)
    expected = sum(p[c] * mp.log(p[c]) for c in classes)
    own = [sum(p[c] * row[c] for c in classes) / n for row in exact]
    losses, divergences = [], []
    for subset in subsets:
        powers = [math.prod(shares[i][c] for i in subset) for c in classes]
        part = sum(powers)
        others = sum(powers[c] for c in classes if c != label)
        losses.append(-mp.log1p(others / powers[label]))
        divergences.append(expected + mp.log(part) - sum(own[i] for i in subset))
    largest = min(losses)
    bound = largest * (1 - mp.mpf(TIE))  # losses stand with a minus
    first = next(place for place, value in enumerate(losses) if value <= bound)
    nothing = mp.mpf(10) ** (10 - DIGITS)
    return subsets[first], subsets[least([value if value > nothing else mp.mpf(0) for value in divergences])]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_ten_thousand_choices_are_those_of_brute_force_in_many_digits(kind: str) -> None:
    generator = torch.Generator().manual_seed(KINDS.index(kind))
    sizes = [(3, 1, 4), (4, 2, 3), (5, 2, 2), (6, 3, 3), (2, 1, 6)]
    each = math.ceil(10_000 / len(KINDS) / len(TYPES) / len(sizes))
    compared = 0
    with mp.workdps(DIGITS):
        for dtype, (m, n, classes) in itertools.product(TYPES, sizes):
            f = scores(kind, each, m, classes, generator).to(dtype)
            labels = torch.randint(classes, (each,), generator=generator)
            chosen = [choose_all(f, labels, n, rule).tolist() for rule in ("max", "kl")]
            for video, (rows, label) in enumerate(zip(f.double().tolist(), labels.tolist(), strict=True)):
                expected = brute_force(rows, label, n)
                assert (tuple(chosen[0][video]), tuple(chosen[1][video])) == expected, (rows, label)
                compared += 1
    assert compared * len(KINDS) >= 10_000


def test_a_confident_video_is_chosen_from_by_its_scores_and_not_by_rounding() -> None:
    f = [[2 * math.sin(1.3 * i + 0.7 * c * c + 0.5) + 20 * (c == 2) for c in range(5)] for i in range(6)]
    for dtype in (torch.float32, torch.float64):
        logits = torch.tensor(f, dtype=dtype)
        assert choose(logits, 2, 3, "kl").tolist() == [2, 4, 5]
        assert choose(logits, 2, 3, "max").tolist() == [0, 1, 5]
    subset = logits[[2, 4, 5]].mean(0)
    assert float(divergence(logits.mean(0), subset)) == pytest.approx(2.666e-10, rel=1e-3)


@pytest.mark.parametrize("rule", ["max", "kl"])
def test_of_equal_subsets_the_lexicographically_smallest_is_chosen(rule: Any) -> None:
    generator = torch.Generator().manual_seed(3)
    for dtype in TYPES:
        assert choose(torch.zeros(6, 4, dtype=dtype), 1, 3, rule).tolist() == [0, 1, 2]
        row = torch.randn(4, generator=generator).to(dtype)
        assert choose(row.expand(6, -1), 1, 3, rule).tolist() == [0, 1, 2]
        assert choose(row.expand(8, -1), torch.tensor([1, 0, 0, 1]), 4, rule).tolist() == [0, 1, 2, 3]
    # Snippets 1 and 4 are one, and so are 0 and 5: a choice never takes the later without the earlier one.
    for _ in range(50):
        f = torch.randn(6, 4, generator=generator, dtype=torch.float64)
        f[4], f[5] = f[1], f[0]
        chosen = choose(f, 1, 3, rule).tolist()
        assert 4 not in chosen or 1 in chosen
        assert 5 not in chosen or 0 in chosen


@pytest.mark.parametrize("size", [1e-9, 1e-4, 1.0, 30.0])
def test_yes_no_questions_are_compared_in_many_digits_too(size: float) -> None:
    generator = torch.Generator().manual_seed(5)
    subsets = torch.tensor(subsets_of(5, 2))[None]
    with mp.workdps(DIGITS):
        for _ in range(10):
            f = torch.randn(5, 3, generator=generator, dtype=torch.float64)[:1] * 10
            f = f + size * torch.randn(5, 3, generator=generator, dtype=torch.float64)
            label = torch.randint(2, (3,), generator=generator)
            rows = [[mp.mpf(z) for z in row] for row in f.tolist()]
            whole = [mp.fsum(row[c] for row in rows) / 5 for c in range(3)]
            losses = log_losses(f[None], subsets, label[None])[0].tolist()
            found = log_divergences(f[None], subsets, multi_label=True)[0].tolist()
            for place, subset in enumerate(subsets_of(5, 2)):
                z = [mp.fsum(rows[i][c] for i in subset) / 2 for c in range(3)]
                loss = (
                    mp.fsum(mp.log1p(mp.exp(-a if y else a)) for a, y in zip(z, label.tolist(), strict=True))
                    / 3
                )
                kl = mp.mpf(0)
                for a, b in zip(whole, z, strict=True):
                    for sign in (1, -1):  # of yes, and of no
                        share = 1 / (1 + mp.exp(-sign * a))
                        kl += share * (mp.log1p(mp.exp(-sign * b)) - mp.log1p(mp.exp(-sign * a)))
                assert losses[place] == pytest.approx(float(mp.log(loss)), abs=TIE / 4)
                assert found[place] == pytest.approx(float(mp.log(kl)), abs=TIE / 4)


def test_divergences_are_never_negative_and_keep_their_digits() -> None:
    whole = torch.tensor([20.0, 0.0, -3.0], dtype=torch.float64)
    step = torch.tensor([0.0, 1e-6, -2e-6], dtype=torch.float64)
    # Second order: half the variance of the step under p.
    p = whole.softmax(0)
    variance = float((p * step**2).sum() - (p * step).sum() ** 2)
    assert float(divergence(whole, whole + step)) == pytest.approx(variance / 2, rel=1e-5)
    rows = torch.randn(2000, 5, generator=torch.Generator().manual_seed(0))
    assert float(divergence(rows, rows.bfloat16().float() + 7).min()) >= 0
    assert float(divergence(rows[0], rows[0])) == 0


def test_a_subset_and_its_complement_are_equally_near_to_second_order() -> None:
    generator = torch.Generator().manual_seed(0)
    subsets = torch.tensor(subsets_of(6, 3))[None]
    for size in (1e-2, 1e-4, 1e-6):
        f = size * torch.randn(1, 6, 5, generator=generator, dtype=torch.float64)
        values = log_divergences(f, subsets)[0]
        apart = (values - values.flip(0)).abs()  # the k-th from the end is the complement of the k-th
        assert 0.01 * size < float(apart.max()) < 2 * size
