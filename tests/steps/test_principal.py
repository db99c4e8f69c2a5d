"""The choice of snippets: the paper's theorems, brute force, and what a step leaves behind."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from praxiscope.errors import ArgumentError, UnknownNameError
from praxiscope.models import create_model
from praxiscope.steps import StepOutput, learn_at_once, make_loss
from praxiscope.steps.principal import WatchOptions, choose, choose_all, draw_subsets, own_task, principal
from praxiscope.steps.rows import as_rows, chunks, pick, watch, watching
from praxiscope.types import Batch

pytestmark = pytest.mark.usefixtures("_narrow")

# --- plain numpy -----------------------------------------------------------------------------------------------------


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max())
    return e / e.sum()


def loss(z: np.ndarray, label: int) -> float:
    return float(-np.log(softmax(z)[label]))


def kl(z: np.ndarray, z_part: np.ndarray) -> float:
    p, q = softmax(z), softmax(z_part)
    return float((p * np.log(p / q)).sum())


def draws(count: int) -> list[tuple[np.ndarray, int]]:
    """Scores [m, K] in float64 of several sizes and spreads, with a label."""
    rng = np.random.default_rng(7)
    made = []
    for number in range(count):
        m, classes = int(rng.integers(2, 9)), int(rng.integers(2, 12))
        made.append((rng.normal(0, 10 ** (number % 3 - 1), (m, classes)), int(rng.integers(classes))))
    return made


# --- the theorems ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_full_loss_is_at_most_the_mean_and_the_largest_of_partial_losses(n: int) -> None:
    rng = np.random.default_rng(n)
    for f, label in draws(60):
        m = len(f)
        whole = loss(f.mean(0), label)
        families = []
        if n <= m:
            families.append([list(s) for s in itertools.combinations(range(m), n)])
        if m % n == 0:
            families.append(rng.permutation(m).reshape(-1, n).tolist())
        for family in families:
            parts = [loss(f[s].mean(0), label) for s in family]
            assert whole <= np.mean(parts) + 1e-12
            assert np.mean(parts) <= max(parts) + 1e-12


def test_the_bound_needs_a_partition_or_all_subsets() -> None:
    # A sample of the subsets may leave out the hard snippet.
    f, label = np.array([[9.0, 0.0], [9.0, 0.0], [0.0, 9.0]]), 0
    assert loss(f.mean(0), label) > loss(f[[0, 1]].mean(0), label)


def test_the_full_loss_is_the_partial_one_less_divergence_and_expected_margin() -> None:
    for f, label in draws(200):
        m = len(f)
        for n in range(1, m + 1):
            z, part = f.mean(0), f[:n].mean(0)
            margin = (softmax(z) * ((part - part[label]) - (z - z[label]))).sum()
            assert loss(z, label) == pytest.approx(loss(part, label) - kl(z, part) - margin, abs=1e-10)
            # The other direction of the divergence does not do.
        if m > 1 and kl(f[:1].mean(0), z) > 1e-3 and abs(kl(z, f[:1].mean(0)) - kl(f[:1].mean(0), z)) > 1e-3:
            part = f[:1].mean(0)
            margin = (softmax(z) * ((part - part[label]) - (z - z[label]))).sum()
            assert abs(loss(z, label) - (loss(part, label) - kl(part, z) - margin)) > 1e-4


# --- the choice ------------------------------------------------------------------------------------------------------


def brute_force(f: np.ndarray, label: int, n: int, rule: str) -> list[int]:
    subsets = [list(s) for s in itertools.combinations(range(len(f)), n)]
    if rule == "max":
        return max(subsets, key=lambda s: loss(f[s].mean(0), label))
    return min(subsets, key=lambda s: kl(f.mean(0), f[s].mean(0)))


@pytest.mark.parametrize("rule", ["max", "kl"])
def test_the_choice_is_that_of_brute_force(rule: Any) -> None:
    for f, label in draws(120):
        for n in range(1, len(f) + 1):
            chosen = choose(torch.tensor(f), label, n, rule)
            assert chosen.dtype == torch.int64
            assert chosen.tolist() == brute_force(f, label, n, rule)


def test_a_batch_is_chosen_from_video_by_video() -> None:
    f = torch.randn(5, 8, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = torch.tensor([0, 5, 2, 2, 1])
    for rule in ("max", "kl"):
        together = choose_all(f, labels, 4, rule)
        assert together.tolist() == [
            brute_force(x.numpy(), int(y), 4, rule) for x, y in zip(f, labels, strict=True)
        ]


def test_several_labels_are_chosen_by_yes_no_questions() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        f, label = rng.normal(0, 2, (6, 4)), rng.integers(0, 2, 4).astype(float)

        def partial(s: Any, f: np.ndarray = f, label: np.ndarray = label) -> float:
            p = 1 / (1 + np.exp(-f[list(s)].mean(0)))
            return float(-(label * np.log(p) + (1 - label) * np.log(1 - p)).mean())

        def divergence(s: Any, f: np.ndarray = f) -> float:
            p, q = (1 / (1 + np.exp(-x)) for x in (f.mean(0), f[list(s)].mean(0)))
            return float((p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum())

        subsets = list(itertools.combinations(range(6), 3))
        for rule, expected in (("max", max(subsets, key=partial)), ("kl", min(subsets, key=divergence))):
            assert tuple(choose(torch.tensor(f), torch.tensor(label), 3, rule).tolist()) == expected  # type: ignore[arg-type]


def test_drawn_subsets_differ_and_are_even() -> None:
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(10)
    for _ in range(40):
        drawn = draw_subsets(10, 4, 100, generator)
        assert drawn.shape == (100, 4)
        assert len({tuple(row) for row in drawn.tolist()}) == 100
        assert bool((drawn.diff(dim=1) > 0).all())
        counts += torch.bincount(drawn.flatten(), minlength=10)
    # 16,000 numbers of 10 kinds: 1,600 each, give or take four standard deviations of 31.
    assert bool(((counts - 1600).abs() < 124).all())


def test_of_many_subsets_a_hundred_are_compared() -> None:
    f = torch.randn(16, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert math.comb(16, 8) > 100

    def value(s: Tensor) -> float:
        return loss(f[s].mean(0).numpy(), 1)

    chosen = choose(f, 1, 8, "max", generator=torch.Generator().manual_seed(5))
    drawn = draw_subsets(16, 8, 100, torch.Generator().manual_seed(5))
    assert value(chosen) == pytest.approx(max(value(s) for s in drawn))
    assert choose(f, 1, 8, "max", generator=torch.Generator().manual_seed(5)).equal(chosen)
    best = brute_force(f.numpy(), 1, 8, "max")
    assert choose(f, 1, 8, "max", candidates=20_000).tolist() == best


def test_random_choices_are_even_and_follow_the_generator() -> None:
    generator, counts = torch.Generator().manual_seed(0), {}
    for _ in range(3000):
        chosen = tuple(choose(torch.zeros(5, 2), 0, 2, "random", generator=generator).tolist())
        counts[chosen] = counts.get(chosen, 0) + 1
    assert set(counts) == set(itertools.combinations(range(5), 2))
    assert all(abs(count - 300) < 4 * math.sqrt(300) for count in counts.values())
    one, two = (
        choose(torch.zeros(9, 2), 0, 4, "random", generator=torch.Generator().manual_seed(3)) for _ in "ab"
    )
    assert one.equal(two)


@pytest.mark.parametrize(
    ("logits", "label", "message"),
    [
        (torch.zeros(4, 3), 7, r"label 7\b.*\b3\b"),
        (torch.zeros(4, 3), -1, r"label -1\b.*\b3\b"),
        (torch.zeros(4, 3), torch.ones(2), r"\[3\].*\[2\]"),
        (torch.full((4, 3), torch.nan), 0, "finite"),
    ],
)
def test_scores_and_labels_that_do_not_fit_are_said(logits: Tensor, label: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        choose(logits, label, 2, "max")
    assert choose(torch.tensor([[0, 9], [9, 0]]), 0, 1, "max").tolist() == [0]


@pytest.mark.parametrize(
    ("shape", "n", "rule", "error", "message"),
    [
        ((4, 3), 5, "max", ArgumentError, r"n = 5\b.*\b1\b.*\b4\b"),
        ((4, 3), 0, "kl", ArgumentError, "n = 0"),
        ((4, 3), 2, "ramdom", UnknownNameError, "'ramdom'.*'random'"),
        ((2, 4, 3), 2, "kl", ArgumentError, r"\[m, K\]"),
    ],
)
def test_what_does_not_fit_is_said(shape: Any, n: int, rule: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        choose(torch.zeros(shape), 0, n, rule)


# --- the step --------------------------------------------------------------------------------------------------------


def model_of(backbone: str = "resnet18", name: str = "tsn", **kwargs: Any) -> nn.Module:
    torch.manual_seed(0)
    model = create_model(name, backbone=backbone, num_classes=4, dropout=0.5, **kwargs)
    for layer in model.classifiers:
        # Wide, so that no two choices among snippets are equally good but for rounding.
        nn.init.normal_(layer.weight, std=1.0)
    return model


def raw_batch(videos: int = 3, snippets: int = 6, size: int = 32) -> Batch:
    draw = torch.Generator().manual_seed(9)
    frames = torch.randint(0, 256, (videos, snippets, 3, size, size), dtype=torch.uint8, generator=draw)
    # Snippets of different brightness, so that their scores differ.
    frames = frames // torch.arange(1, snippets + 1, dtype=torch.uint8)[None, :, None, None, None]
    targets = torch.arange(videos) % 4
    return Batch(
        {"rgb": frames}, targets, [f"v{i}" for i in range(videos)], [11 * i + 3 for i in range(videos)]
    )


def floats(batch: Batch) -> Batch:
    return Batch(
        {k: (x.float() / 255 - 0.45) / 0.22 for k, x in batch.streams.items()},
        batch.targets,
        batch.ids,
        batch.seeds,
    )


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def run(
    model: nn.Module, batch: Batch, n: int, rule: Any, **kwargs: Any
) -> tuple[StepOutput, Tensor, dict[str, Tensor]]:
    noted: list[Tensor] = []
    options = {key: kwargs.pop(key) for key in ("statistics", "chunk", "context") if key in kwargs}
    step = principal(
        learn_at_once(make_loss(batch.targets.ndim == 2), floats),
        WatchOptions(floats, **options),
        n=n,
        rule=rule,
        record_choice=lambda ids, chosen: noted.append(chosen),
        **kwargs,
    )
    model.zero_grad(set_to_none=True)
    torch.manual_seed(4)
    output = step(model, batch, lambda value: value.backward())
    return output, noted[0], gradients(model)


@pytest.mark.parametrize("rule", ["max", "kl", "random"])
def test_a_step_learns_from_the_chosen_snippets_alone(rule: Any) -> None:
    batch, model = raw_batch(), model_of()
    twin = copy.deepcopy(model)
    output, chosen, gradient = run(model, batch, 3, rule)
    if rule != "random":
        with torch.no_grad():
            seen = twin.eval()(floats(batch).streams["rgb"]).snippet_logits
        twin.train()
        expected = [
            brute_force(x.double().numpy(), int(y), 3, rule) for x, y in zip(seen, batch.targets, strict=True)
        ]
        assert chosen.tolist() == expected
    # Training on those snippets only, with the same draws: dropout and BatchNorm end alike.
    torch.manual_seed(4)
    small = floats(pick(batch, chosen))
    value = nn.functional.cross_entropy(twin(small.streams["rgb"]).logits, batch.targets)
    value.backward()
    assert float(output.loss) == pytest.approx(value.item(), rel=1e-6)
    for name, expected_gradient in gradients(twin).items():
        torch.testing.assert_close(gradient[name], expected_gradient, rtol=1e-5, atol=1e-7, msg=name)
    for (name, one), (_, two) in zip(model.named_buffers(), twin.named_buffers(), strict=True):
        torch.testing.assert_close(one, two, msg=name)
    assert [m.training for m in model.modules()] == [m.training for m in twin.modules()]


@pytest.mark.parametrize("statistics", ["running", "batch"])
@pytest.mark.parametrize("batchnorm", ["train", "partial", "frozen"])
def test_watching_leaves_no_trace(statistics: Any, batchnorm: str) -> None:
    model, batch = model_of(batchnorm=batchnorm), raw_batch()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    modes = [(m.training, getattr(m, "track_running_stats", None)) for m in model.modules()]
    state = torch.get_rng_state()
    with watching(model, statistics):
        watch(model, batch, floats, 7)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert [(m.training, getattr(m, "track_running_stats", None)) for m in model.modules()] == modes
    assert torch.equal(state, torch.get_rng_state())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.slow
def test_watched_scores_are_those_of_the_test_or_of_the_batch() -> None:
    model, batch = model_of(), raw_batch()
    twin = copy.deepcopy(model)
    whole = floats(batch).streams["rgb"]
    with watching(model, "running"):
        running = watch(model, batch, floats, 4)
    with watching(model, "batch"):
        by_batch = watch(model, batch, floats, 18)
    with torch.no_grad():
        torch.testing.assert_close(running, twin.eval()(whole).snippet_logits, rtol=1e-4, atol=1e-4)
        twin.train()
        twin.classifiers[0].eval()  # where the dropout is
        torch.testing.assert_close(by_batch, twin(whole).snippet_logits, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(running, by_batch, rtol=1e-2, atol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["max", "kl", "random"])
def test_all_of_the_snippets_chosen_is_full_backpropagation(rule: Any) -> None:
    model, batch = model_of(), raw_batch()
    twin = copy.deepcopy(model)
    output, chosen, gradient = run(model, batch, 6, rule)
    assert chosen.tolist() == [list(range(6))] * 3
    torch.manual_seed(4)
    nn.functional.cross_entropy(twin(floats(batch).streams["rgb"]).logits, batch.targets).backward()
    for name, expected in gradients(twin).items():
        torch.testing.assert_close(gradient[name], expected, rtol=1e-5, atol=1e-7, msg=name)
    assert "loss_unchosen" not in output.metrics


def test_the_logged_losses_are_those_of_the_watched_scores() -> None:
    model, batch = model_of(batchnorm="frozen"), raw_batch()
    with watching(model):
        seen = watch(model, batch, floats, 100).double().numpy()
    output, chosen, _ = run(model, batch, 2, "max")
    labels, rest = batch.targets.tolist(), [sorted(set(range(6)) - set(c)) for c in chosen.tolist()]
    parts = {"full": [range(6)] * 3, "chosen": chosen.tolist(), "unchosen": rest}
    for name, subsets in parts.items():
        expected = np.mean(
            [loss(f[list(s)].mean(0), y) for f, s, y in zip(seen, subsets, labels, strict=True)]
        )
        assert float(output.metrics[f"loss_{name}"]) == pytest.approx(expected, rel=1e-4)
    assert output.metrics["loss_full"] <= output.metrics["loss_chosen"]
    hits = [int(f.mean(0).argmax()) == y for f, y in zip(seen, labels, strict=True)]
    assert float(output.metrics["top1"]) == pytest.approx(np.mean(hits))


@pytest.mark.slow
def test_the_choice_does_not_depend_on_how_many_are_watched_at_once_nor_on_the_company() -> None:
    batch = raw_batch(videos=4)
    choices = []
    for chunk in (1, 5, 24):
        _, chosen, _ = run(model_of(), batch, 3, "kl", chunk=chunk, candidates=7)
        choices.append(chosen.tolist())
    assert choices[0] == choices[1] == choices[2]
    half = next(chunks(batch, 12))
    _, alone, _ = run(model_of(), half, 3, "kl", candidates=7)
    assert alone.tolist() == choices[0][:2]


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [None, 1, 4, 7])
def test_snippets_that_are_compared_are_normalised_alike(chunk: int | None) -> None:
    # Six times the same snippet: whatever BatchNorm has seen, they are equal, and so are the losses of any of them.
    batch = raw_batch()
    batch.streams["rgb"] = batch.streams["rgb"][:, :1].expand(-1, 6, -1, -1, -1)
    for rule in ("max", "kl"):
        output, _, _ = run(model_of("resnet10"), batch, 2, rule, statistics="batch", chunk=chunk)
        losses = [float(output.metrics[f"loss_{name}"]) for name in ("full", "chosen", "unchosen")]
        assert losses == pytest.approx(losses[:1] * 3, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["squeezenet1_1", "resnet10"])
def test_batches_of_any_size_are_chosen_from_alike_before_training(backbone: str) -> None:
    # All scores are nearly equal, and their last bits depend on how many a convolution computes together.
    batch = raw_batch(videos=4)
    model = create_model("tsn", backbone=backbone, num_classes=4, dropout=0.5)
    for rule in ("max", "kl"):
        _, together, _ = run(copy.deepcopy(model), batch, 3, rule)
        for videos in (1, 2):
            parts = [run(copy.deepcopy(model), part, 3, rule)[1] for part in chunks(batch, 6 * videos)]
            assert torch.cat(parts).tolist() == together.tolist()
    # By scores as they are, in float64.
    with watching(model):
        seen = torch.cat([watch(model, part, floats, 100) for part in chunks(batch, 6)]).double()
    assert choose_all(seen, batch.targets, 3, "kl").tolist() == together.tolist()
    assert float(seen.std(dim=1).max()) < 0.05


def test_the_choice_looks_at_a_videos_own_task() -> None:
    f = 2 * torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels, tasks = torch.tensor([0, 4, 1, 3]), [(0, 2), (2, 5)]
    for rule in ("max", "kl"):
        chosen = choose_all(own_task(f, labels, tasks), labels, 3, rule)
        for video, label in enumerate(labels.tolist()):
            start, end = tasks[label >= 2]
            own = f[video, :, start:end].numpy()
            assert chosen[video].tolist() == brute_force(own, label - start, 3, rule)
    model, batch = model_of(batchnorm="frozen"), raw_batch(videos=4)
    _, chosen, _ = run(model, batch, 3, "max", tasks=[(0, 2), (2, 4)])
    _, without, _ = run(model, batch, 3, "max")
    assert chosen.tolist() != without.tolist()


def test_models_that_mix_snippets_watch_whole_videos() -> None:
    model, batch = model_of(name="tsm", snippets=6), raw_batch()
    sizes: list[int] = []

    def count(part: Batch) -> Batch:
        sizes.append(part.streams["rgb"].shape[1])
        return floats(part)

    with watching(model):
        seen = watch(model, batch, count, 2)
    assert sizes == [6, 6, 6]
    with torch.no_grad():
        torch.testing.assert_close(
            seen, model.eval()(floats(batch).streams["rgb"]).snippet_logits, rtol=1e-4, atol=1e-4
        )


def test_another_consensus_is_refused() -> None:
    with pytest.raises(ArgumentError, match="average"):
        run(model_of(consensus="maximum"), raw_batch(), 3, "kl")


def test_a_packed_batch_is_refused() -> None:
    packed = Batch(
        {"rgb": torch.zeros(4, 3, 32, 32)}, torch.zeros(2).long(), ["a", "b"], [1, 2], torch.tensor([0, 1, 4])
    )
    with pytest.raises(ArgumentError, match="packed"):
        run(model_of(), packed, 1, "kl")


def test_rows_and_chunks_hold_every_snippet_once_in_order() -> None:
    batch = raw_batch()
    rows = as_rows(batch)
    assert rows.streams["rgb"].data_ptr() == batch.streams["rgb"].data_ptr()
    assert (rows.ids[7], rows.seeds[7], int(rows.targets[7])) == ("v1", 14, 1)
    parts = list(chunks(rows, 7))
    assert [len(part) for part in parts] == [7, 7, 4]
    assert torch.cat([part.streams["rgb"] for part in parts]).equal(rows.streams["rgb"])
    assert [len(part) for part in chunks(batch, 2)] == [1, 1, 1]
    chosen = torch.tensor([[0, 5], [1, 2], [3, 4]])
    assert pick(batch, chosen).streams["rgb"][1, 1].equal(batch.streams["rgb"][1, 2])
