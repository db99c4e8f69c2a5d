"""Start the classifier of a network with trained weights from a logistic regression on features of the training videos.

A new classifier is random, and its first gradients distort a trained trunk (Kumar et al., "Fine-tuning can distort
pretrained features", ICLR 2022). The regression is convex, so the classifier has settled before the trunk changes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from praxiscope.checkpoint import find_card, is_fused
from praxiscope.data.manifest import Manifest
from praxiscope.evaluation.metrics import summarise
from praxiscope.evaluation.protocols import parse_protocol
from praxiscope.evaluation.scores import Scores
from praxiscope.fitting.logistic import MANY, L2Choice, choose_l2, fit_logistic
from praxiscope.fitting.rows import Standardised, mean_and_std
from praxiscope.inference.scoring import score_videos
from praxiscope.progress import Reporter
from praxiscope.recipes.settings import TrainSettings
from praxiscope.training.checks import starts_from_weights
from praxiscope.training.loader import example_inputs, targets_of, weights_of_classes
from praxiscope.training.network import Network
from praxiscope.training.readable import ReadProblems
from praxiscope.training.validation import run_protocol, run_recogniser
from praxiscope.types import VideoRecord
from praxiscope.units import counted

__all__ = ["reading_features", "start_from_probe"]

_SNIPPETS = 8  # of each video, for models that average over snippets: fewer make noisier features


def start_from_probe(
    settings: TrainSettings,
    manifest: Manifest,
    network: Network,
    fabric: Any,
    problems: ReadProblems,
    reporter: Reporter,
) -> bool:
    """Fit a logistic regression on features of the training videos, and copy it into the classifier.

    The features of a video are what the classifier is linear in: the mean input of the classifier over the views. So
    the scores of the network are afterwards exactly those of the regression. Each process computes the features of a
    part of the videos.

    Args:
        settings: settings of the run.
        manifest: the data set; only its training videos are read.
        network: the network of the run, on its device; its classifier is changed in place.
        fabric: a launched ``Fabric``.
        problems: the lists of videos that cannot be read.
        reporter: reports the result, or why the classifier is not fitted.

    Returns:
        Whether the classifier was fitted.
    """
    started = time.perf_counter()
    if reason := _not_fitted(settings, manifest, network):
        reporter.line(f"The classifier does not start from a logistic regression: {reason}.")
        return False
    features = _features(settings, manifest, network, fabric, problems, reporter)
    records = [record for record in manifest.to_train() if record.id in features]
    if not records:  # reported where they are read in training
        return False
    x, targets = torch.stack([features[r.id] for r in records]), torch.stack(targets_of(manifest, records))
    groups = [record.source for record in records]
    number = len(manifest.classes)
    mean, std = mean_and_std(x)
    rows = Standardised(x, mean, std)
    choice = choose_l2(rows, targets, number, groups, seed=settings.run.seed, most=MANY)
    by_class = weights_of_classes(settings, manifest, records)
    weights = by_class[targets] if by_class is not None and not targets.is_floating_point() else None
    fit = fit_logistic(rows, targets, number, l2=choice.l2, weights=weights)
    weight = fit.weight.double() / std.double()
    bias = fit.bias.double() - weight @ mean.double()
    layer = _classifier(network)
    with torch.no_grad():
        layer.weight.copy_(weight.reshape(layer.weight.shape))
        layer.bias.copy_(bias)
    reporter.line(
        f"The classifier starts from a logistic regression on features of {counted(len(records), 'training clip')}"
        f"{_held_out(choice, targets, manifest)} ({time.perf_counter() - started:.0f} s)."
    )
    return True


def _classifier(network: Network) -> Any:
    """The linear layer that outputs the scores."""
    layers: Any = network.model.classifiers
    return layers[0]


def _not_fitted(settings: TrainSettings, manifest: Manifest, network: Network) -> str | None:
    """Why the classifier of this run cannot or should not be fitted, or None."""
    if not starts_from_weights(settings.model):
        return "the network starts from random weights"
    if manifest.tasks:
        return "there are several data sets"
    for run in (settings.model.weights, *(settings.model.start or ())):
        if run and _kept(run, manifest.classes):
            return f"that of {run} is kept"
    layers: Any = network.model.classifiers
    if len(layers) != 1 or len(network.card.input.streams) != 1:
        return f"{network.card.name} has {counted(len(layers), 'classifier')}"
    if not _is_linear(layers[0]):
        return f"the classifier of {network.card.name} is not a linear layer"
    if not _scores_are_linear(network):
        return f"the scores of {network.card.name} are not a linear function of features"
    return None


def _kept(weights: str, classes: tuple[str, ...]) -> bool:
    """Whether the start weights are those of a run with the same classes, whose classifier is loaded, too."""
    if not Path(weights).is_dir() or is_fused(weights):
        return False
    card = find_card(weights)[1]
    return (
        card.labels == classes and not card.features
    )  # the scores of a model on features are not of its network


def _is_linear(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):  # of SqueezeNet, before the mean over places
        return layer.kernel_size == (1, 1) and layer.groups == 1 and layer.bias is not None
    return isinstance(layer, nn.Linear) and layer.bias is not None


@contextmanager
def reading_features(layer: Any) -> Iterator[None]:
    """Within this context a linear classifier passes its input on: the network's scores [B, K] are features [B, D].

    Everything between the classifier and the scores (mean over places, consensus, mean over clusters and views) then
    applies to the features, and is linear.
    """
    weight, bias = layer.weight, layer.bias
    size = weight.shape[1]
    identity = torch.eye(size, dtype=weight.dtype, device=weight.device)
    try:
        layer.weight = nn.Parameter(identity.reshape(size, *weight.shape[1:]))
        layer.bias = nn.Parameter(torch.zeros(size, dtype=weight.dtype, device=weight.device))
        yield
    finally:
        layer.weight, layer.bias = weight, bias


@torch.no_grad()
def _scores_are_linear(network: Network) -> bool:
    """Whether scores are ``features @ weight.T + bias``, tried on random pixels. Those of a maximum are not."""
    model, contract, layer = network.model, network.card.input, _classifier(network)
    examples = example_inputs(model, contract, 1, max(2, contract.snippets))
    inputs = [
        torch.rand(x.shape, generator=torch.Generator().manual_seed(0)).to(x) if x.is_floating_point() else x
        for x in examples
    ]
    training = model.training
    model.eval()
    try:
        scores = model(*inputs).logits
        with reading_features(layer):
            features = model(*inputs).logits
    finally:
        model.train(training)
    expected = features @ layer.weight.flatten(1).T + layer.bias
    return scores.shape == expected.shape and torch.allclose(scores, expected, rtol=1e-3, atol=1e-3)


def _features(
    settings: TrainSettings,
    manifest: Manifest,
    network: Network,
    fabric: Any,
    problems: ReadProblems,
    reporter: Reporter,
) -> dict[str, Tensor]:
    """Features of the readable training videos by id, float32 [D], in centre crops; the same in all processes."""
    records = manifest.of("train")
    rank, world = fabric.global_rank, fabric.world_size
    mine = [(n, r) for n, r in enumerate(records) if n % world == rank and r.id not in problems.skips.skipped]
    table = torch.zeros(len(records), _classifier(network).weight.shape[1] + 1)
    place = {record.id: number for number, record in mine}
    for id, row in _read(settings, [record for _, record in mine], network, fabric, problems, reporter):
        table[place[id], :-1], table[place[id], -1] = row, 1
    if world > 1:
        table = fabric.all_reduce(table.to(fabric.device), reduce_op="sum").cpu()
    return {record.id: row[:-1] for record, row in zip(records, table, strict=True) if row[-1] > 0}


def _read(
    settings: TrainSettings,
    records: list[VideoRecord],
    network: Network,
    fabric: Any,
    problems: ReadProblems,
    reporter: Reporter,
) -> Iterator[tuple[str, Tensor]]:
    if not records:
        return
    training = network.model.training
    recogniser = run_recogniser(settings, network, fabric)
    protocol = parse_protocol(run_protocol(settings, recogniser, _SNIPPETS))
    reader = recogniser.clip_reader(
        records, [torch.tensor(-1)] * len(records), protocol, settings.data.time_limit_s
    )
    try:
        with reading_features(_classifier(network)):
            found = score_videos(
                recogniser,
                reader,
                protocol,
                workers=settings.data.workers,
                reporter=reporter,
                note_damage=problems.damage,
                title="features",
            )
    finally:
        network.model.train(training)
    problems.skips(found.skipped)
    yield from zip(found.ids, found.logits, strict=True)


def _held_out(choice: L2Choice, targets: Tensor, manifest: Manifest) -> str:
    """The metric of the regression in cross-validation, as words."""
    known = ~choice.held_out_logits.isnan().any(1)
    if not bool(known.any()):
        return ""
    logits, own = choice.held_out_logits[known].numpy(), targets[known].numpy()
    scores = Scores([str(n) for n in range(len(logits))], logits, own, list(manifest.classes), {})
    figures = summarise(scores)
    name = "map" if manifest.multi_label else "top1"
    return f": {name} {figures[name]:.3f} in {choice.folds} folds of their groups" if name in figures else ""
