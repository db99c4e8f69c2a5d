"""Principal backpropagation: watch many snippets, learn from few.

W. Huang, L. Fan, M. Harandi, L. Ma, H. Liu, W. Liu, C. Gan, "Toward Efficient Action Recognition: Principal
Backpropagation for Training Two-Stream Networks", IEEE Transactions on Image Processing, 2019.

Axis letters: B videos, m snippets watched, n chosen, k candidate subsets, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import comb
from typing import Any, TypeAlias, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from praxiscope.errors import ArgumentError, UnknownNameError, unknown_name
from praxiscope.layers.consensus import is_average
from praxiscope.steps.base import Step, StepOutput, accuracy
from praxiscope.steps.learn import Learn
from praxiscope.steps.rows import Prepare, Statistics, chunks, pick, snippet_count, watch, watching
from praxiscope.steps.settings.principal import Rule
from praxiscope.steps.surrogates import in_float64, log_divergences, log_losses
from praxiscope.types import Batch

__all__ = [
    "CANDIDATES",
    "RecordChoice",
    "Rule",
    "WatchOptions",
    "choose",
    "choose_all",
    "principal",
    "video_losses",
]

RecordChoice: TypeAlias = Callable[[Sequence[str], Tensor], None]
"""(ids of the batch's videos, chosen int64 [B, n]) -> nothing."""

CANDIDATES = 100  # section III.B.3: maximum number of subsets to compare

# Losses or divergences count as equal if they agree to this relative tolerance: twice the rounding error of
# `praxiscope.steps.surrogates`, measured against 900 digits.
TIE = 2.0**-42
_BLOCK = 2**20  # subset scores in memory at once, 8 MB for each quantity

# Far below any score, but finite: the logarithm of a probability that is 0, times 0, must not be NaN.
_NEVER = -1e4


def choose(
    logits: Tensor,
    label: int | Tensor,
    n: int,
    rule: Rule,
    *,
    candidates: int = CANDIDATES,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Choose the n snippets that represent a video best.

    All subsets of n snippets are compared if there are at most ``candidates``; otherwise ``candidates`` subsets, drawn
    at random without replacement.

    ========  ==================================================================
    rule      the subset S that is chosen
    ========  ==================================================================
    "max"     largest loss of its mean scores (an upper bound of the whole's)
    "kl"      smallest KL(p ‖ p_S) from the whole's class probabilities p
    "random"  any, with equal chances
    ========  ==================================================================

    Scores of any dtype are compared in float64, by formulas that are accurate if p is close to 0 or 1 and if all
    snippets are nearly equal (`praxiscope.steps.surrogates`). Two subsets are tied if their losses or divergences agree
    to a relative 2^-42 (2.3e-13). Of tied subsets the lexicographically smallest is chosen: [0, 1, 2] if all snippets
    are equal.

    Note:
        With n = m / 2 (6-3, 8-4) a subset and its complement lie on opposite sides of the mean of all snippets, at
        equal distance. Their KL is equal to second order in the differences d between snippets; the relative difference
        is about d. The choice between them is exact to float64. But scores that are themselves rounded (bf16, another
        order of sums in a network) may lead to the complement, which shares no snippet with the choice.

    Args:
        logits: [m, K], the snippets' scores before softmax; their consensus is the mean.
        label: class number, or multi-hot [K] (losses and divergences are then those of K binary problems).
        n: from 1 to m.
        rule: "max", "kl" or "random".
        generator: for random draws; None for torch's default generator.

    Returns:
        int64 [n], ascending snippet numbers, on the device of ``logits``.

    Raises:
        ArgumentError: an unknown rule, or invalid numbers or shapes.
    """
    if logits.ndim != 2:
        raise ArgumentError(f"logits must be [m, K], one row for each snippet; got {list(logits.shape)}")
    targets = torch.as_tensor(label, device=logits.device)[None]
    classes = logits.shape[1]
    if targets.ndim > 2 or (targets.ndim == 2 and targets.shape[1] != classes):
        raise ArgumentError(
            f"label must be a class number, or multi-hot [{classes}]; got {list(targets.shape[1:])}"
        )
    if targets.ndim == 1 and not 0 <= int(targets[0]) < classes:
        raise ArgumentError(f"label {int(targets[0])} is out of range for {classes} classes")
    if not bool(logits.isfinite().all()):
        raise ArgumentError("logits must be finite")
    return choose_all(logits[None], targets, n, rule, candidates=candidates, generators=[generator])[0]


@torch.no_grad()
def choose_all(
    logits: Tensor,
    targets: Tensor,
    n: int,
    rule: Rule,
    *,
    candidates: int = CANDIDATES,
    generators: Sequence[torch.Generator | None] | None = None,
) -> Tensor:
    """`choose` for every video of a batch: logits [B, m, K], targets [B] or [B, K] -> int64 [B, n]."""
    videos, count, classes = logits.shape
    if rule not in get_args(Rule):
        raise UnknownNameError(unknown_name("rule", str(rule), get_args(Rule)))
    if not 1 <= n <= count:
        raise ArgumentError(f"n = {n}: choose from 1 to {count} of {count} snippets")
    if candidates < 1:
        raise ArgumentError(f"candidates must be at least 1, got {candidates}")
    sources = [None] * videos if generators is None else generators
    if rule == "random":
        drawn = [torch.randperm(count, generator=source)[:n].sort().values for source in sources]
        return torch.stack(drawn).to(logits.device)
    if comb(count, n) <= candidates:
        subsets = all_subsets(count, n).expand(videos, -1, -1)
    else:
        subsets = torch.stack([draw_subsets(count, n, candidates, source) for source in sources])
    scores = in_float64(logits)
    subsets, targets = subsets.to(scores.device), targets.to(scores.device)
    block = max(1, _BLOCK // (videos * classes))
    values = torch.cat(
        [_values(scores, part, targets, rule) for part in torch.split(subsets, block, dim=1)], dim=1
    )
    tied = values <= values.amin(dim=1, keepdim=True) + TIE  # subsets come in lexicographic order
    positions = torch.arange(values.shape[1], device=values.device)
    first = torch.where(tied, positions, positions[-1]).amin(dim=1)  # any subset if scores are not finite
    return subsets[torch.arange(videos, device=subsets.device), first].to(logits.device)


def _values(scores: Tensor, subsets: Tensor, targets: Tensor, rule: Rule) -> Tensor:
    """The objective of a rule, to be minimised, as a logarithm: scores float64 [B, m, K], subsets [B, k, n] -> [B,
    k]."""
    if rule == "max":
        return -log_losses(scores, subsets, targets)
    return log_divergences(scores, subsets, multi_label=targets.ndim == 2)


def video_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of every row: logits [..., K], targets [...] or multi-hot [..., K] (binary, mean over K)."""
    if targets.ndim == logits.ndim:
        return F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none").mean(-1)
    return -logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0]


@lru_cache(maxsize=64)
def all_subsets(m: int, n: int) -> Tensor:
    """All subsets of n of m, int64 [C(m, n), n], ascending and in lexicographic order."""
    return torch.tensor(list(combinations(range(m), n)))


def draw_subsets(m: int, n: int, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw ``count`` different subsets of n of m, uniformly: int64 [count, n], ascending, in lexicographic order."""
    found = torch.empty(0, n, dtype=torch.long)
    while len(found) < count:
        drawn = torch.rand(2 * count, m, generator=generator).argsort(dim=1)[:, :n].sort(dim=1).values
        found = torch.unique(torch.cat([found, drawn]), dim=0)
    # unique() sorts, so keeping the first subsets would prefer the first snippets.
    kept = torch.randperm(len(found), generator=generator)[:count].sort().values
    return found[kept]


def own_task(logits: Tensor, targets: Tensor, tasks: Sequence[tuple[int, int]]) -> Tensor:
    """Scores [B, m, K] in which the scores of other tasks' classes are too low to have an effect."""
    logits = logits.clone() if tasks else logits
    for start, end in tasks:
        foreign = (targets < start) | (targets >= end)
        logits[:, :, start:end].masked_fill_(foreign[:, None, None], _NEVER)
    return logits


@dataclass(frozen=True)
class WatchOptions:
    """How the snippets of a batch are watched.

    Attributes:
        prepare: moves a part of a batch to the device and converts it to floats; it may also resize the frames.
        context: returns the context for watching (autocast).
        statistics: statistics of BatchNorm, see `praxiscope.steps.rows.watching`.
        chunk: the maximum number of snippets to watch at once; by default B * n, as many as are learned from. On a CPU,
            videos are watched one at a time, so that the choice does not depend on the other videos of the batch. With
            statistics "batch", whole videos are watched, at least one.
    """

    prepare: Prepare
    context: Callable[[], AbstractContextManager[Any]] = nullcontext
    statistics: Statistics = "running"
    chunk: int | None = None


def principal(
    learn: Learn,
    options: WatchOptions,
    *,
    n: int,
    rule: Rule,
    candidates: int = CANDIDATES,
    tasks: Sequence[tuple[int, int]] = (),
    record_choice: RecordChoice = lambda ids, chosen: None,
) -> Step:
    """The step that watches all snippets of a batch, and learns from n of each video.

    It takes raw batches, and converts pixels to floats part by part, so that a step needs the memory of n snippets.
        Watching does not change the model: dropout is off, BatchNorm's running statistics are not updated, and the
        state of torch's generator is restored. After the step the model is as if it had seen only the n chosen
        snippets.

    Args:
        learn: backpropagates the chosen snippets: `praxiscope.steps.learn_at_once` or `learn_in_chunks`.
        options: how the snippets are watched.
        n, rule, candidates: see `choose`. Random draws use the seed of each video.
        tasks: as in `make_loss`; only the classes of a video's task affect its choice.
        record_choice: called with the choice.

    The metrics are computed from the watched scores: ``top1`` of all snippets; the mean losses of all snippets
    (``loss_full``), of the chosen ones (``loss_chosen``) and of the others (``loss_unchosen``). ``loss`` is the loss
    that was backpropagated, with dropout.

    Raises (the step, when it is called):
        ArgumentError: n is larger than the number of snippets, or the consensus of the model is not the mean, as both
            rules require.
    """
    prepare, statistics, context = options.prepare, options.statistics, options.context

    def step(model: nn.Module, batch: Batch, backward: Callable[[Tensor], Any]) -> StepOutput:
        if not is_average(model.consensus):  # type: ignore[arg-type]
            raise ArgumentError(
                "principal backpropagation needs a model whose consensus is the mean over snippets, as "
                "praxiscope.layers.consensus.average"
            )
        count = snippet_count(batch)
        most = len(batch) * n if options.chunk is None else options.chunk
        with watching(model, statistics), context():
            if statistics == "batch":
                # Snippets of a video are compared, so they need the same normalisation.
                parts = [watch(model, part, prepare, len(part) * count) for part in chunks(batch, most)]
            elif next(model.parameters()).device.type == "cpu":
                # The last bits of a score depend on how many are computed together. Watching one video at a time gives
                # the same bits for any batch size, number of processes and accumulation.
                parts = [watch(model, video, prepare, most) for video in chunks(batch, count)]
            else:
                parts = [watch(model, batch, prepare, most)]
        seen = in_float64(torch.cat(parts))
        targets = batch.targets.to(seen.device)
        seen = own_task(seen, targets, tasks)
        # A random stream separate from the one that flips and jitters the video.
        generators = [torch.Generator().manual_seed(seed ^ 1) for seed in batch.seeds] or None
        chosen = choose_all(seen, targets, n, rule, candidates=candidates, generators=generators)
        record_choice(batch.ids, chosen.cpu())
        loss, _ = learn(model, pick(batch, chosen), backward)
        return StepOutput(loss, _figures(seen, targets, chosen))

    return step


@torch.no_grad()
def _figures(seen: Tensor, targets: Tensor, chosen: Tensor) -> dict[str, Tensor]:
    """The metrics of `principal`, from watched scores [B, m, K] and the choice [B, n]."""
    total, part = seen.sum(dim=1), seen.gather(1, chosen[..., None].expand(-1, -1, seen.shape[2])).sum(dim=1)
    count, n = seen.shape[1], chosen.shape[1]
    figures = {
        "top1": accuracy(total, targets),
        "loss_full": video_losses(total / count, targets).mean(),
        "loss_chosen": video_losses(part / n, targets).mean(),
    }
    if n < count:
        figures["loss_unchosen"] = video_losses((total - part) / (count - n), targets).mean()
    return figures
