"""Calibrated answers of a probe: calibration error, false refusals, and clips of classes that were left out.

Temperature and threshold come from held-out training groups; test clips are only scored. A seed draws the folds, and
divides the classes into parts of three: each part in turn is unknown to a probe of the other classes. It reads stored
features, so it takes a minute: praxiscope features ucf101:UCF101 --split 1 --out FEATURES
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from common import Table, parser, run_command, score_cells, write_tables

import praxiscope as px
from praxiscope.data.manifest import Manifest, load_records
from praxiscope.evaluation.calibration import auroc, calibrate, expected_calibration_error
from praxiscope.evaluation.probabilities import softmax
from praxiscope.features.store import FeatureStore

UNKNOWN = 3  # classes that are left out at a time
HEADER = ["figure", "mean", "spread", "each seed"]


class Found(NamedTuple):
    """The figures of one probe; fractions, except for the temperature and the numbers of clips."""

    accuracy: float
    temperature: float
    before: float  # expected calibration error
    after: float
    by_chance: float  # expected of probabilities that are right, on as many clips
    loss_before: float  # mean negative logarithm of the probability of the clip's class
    loss_after: float
    promised: float  # false refusals
    refused: int  # test clips of the known classes
    known: int
    strangers: int  # test clips of the other classes
    refused_strangers: int
    area: float  # under the ROC curve of the confidence; nan without strangers
    area_before: float  # the same without the temperature


def main() -> None:
    """Fit the probes and write the tables."""
    arguments = parser(__doc__, __file__, assignments=False)
    arguments.add_argument("features", help="a feature store of a data set with splits and groups")
    arguments.add_argument("--models", nargs="+", default=["probe", "prototypes"], help="fitted to features")
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = arguments.parse_args()
    store, manifest = FeatureStore(options.features), load_records(options.features)
    tables = []
    for model in options.models:
        closed = [fit(model, store, manifest, manifest.classes, seed) for seed in options.seeds]
        opened = [unknown_in_turn(model, store, manifest, seed) for seed in options.seeds]
        tables.append(Table(f"`{model}`, all classes known", HEADER, closed_rows(closed)))
        heading = f"`{model}`, {UNKNOWN} of {len(manifest.classes)} classes unknown"
        tables.append(Table(heading, HEADER, open_rows(opened)))
    frames = store.contract.sampling.get("frames", "all")
    write_tables(
        options,
        __file__,
        "Calibrated answers",
        tables,
        f"{store.contract.backbone}, features of {frames} frames of a clip. {len(manifest.of('train'))} training and "
        f"{len(manifest.of('test'))} test clips. Where classes are unknown, each is once for a seed, so its "
        f"{sum(one.strangers for one in opened[0])} strangers are all test clips.",
    )


def unknown_in_turn(name: str, store: FeatureStore, manifest: Manifest, seed: int) -> list[Found]:
    """Divide the classes into parts, and fit a model to the classes outside each part."""
    order = np.random.default_rng(seed).permutation(manifest.classes).tolist()
    parts = [order[at : at + UNKNOWN] for at in range(0, len(order), UNKNOWN)]
    return [
        fit(name, store, manifest, [k for k in manifest.classes if k not in part], seed) for part in parts
    ]


def fit(name: str, store: FeatureStore, manifest: Manifest, classes: Sequence[str], seed: int) -> Found:
    """Fit a model to the training clips of some classes, and score all test clips."""
    model: Any = px.create_model(name, num_classes=len(classes), backbone=store.contract.backbone)
    numbers = {label: number for number, label in enumerate(classes)}
    training = [r for r in manifest.of("train") if r.labels[0] in numbers and r.id in store]
    tested = [r for r in manifest.of("test") if r.id in store]
    rows = {r.id: store.clip(r.id).features.float() for r in (*training, *tested)}
    x = torch.stack([model.describe(rows[r.id]) for r in training]).numpy()
    targets = torch.tensor([numbers[r.labels[0]] for r in training])
    report = model.fit(x, targets, [r.group or r.id for r in training], seed)
    held_out = torch.isfinite(report.held_out_logits).all(1)
    found = calibrate(report.held_out_logits[held_out], targets[held_out], source="held-out training groups")
    with torch.inference_mode():
        logits = torch.cat([model.score(rows[r.id][None]).logits for r in tested]).double().numpy()
    wanted = np.array([numbers.get(r.labels[0], -1) for r in tested])
    known = wanted >= 0
    right = logits[known].argmax(1) == wanted[known]
    plain, scaled = (softmax(logits / t).max(axis=1) for t in (1.0, found["temperature"]))
    draws = np.random.default_rng(seed).random((1000, int(known.sum()))) < scaled[known]
    none = scaled < found["none_below"]
    return Found(
        accuracy=float(right.mean()),
        temperature=found["temperature"],
        before=expected_calibration_error(plain[known], right).value,
        after=expected_calibration_error(scaled[known], right).value,
        by_chance=float(np.mean([expected_calibration_error(scaled[known], row).value for row in draws])),
        loss_before=loss(logits[known], wanted[known]),
        loss_after=loss(logits[known] / found["temperature"], wanted[known]),
        promised=found["false_refusals"],
        refused=int(none[known].sum()),
        known=int(known.sum()),
        strangers=int((~known).sum()),
        refused_strangers=int(none[~known].sum()),
        area=auroc(scaled[known], scaled[~known]),
        area_before=auroc(plain[known], plain[~known]),
    )


def loss(logits: np.ndarray, targets: np.ndarray) -> float:
    """The mean negative log-likelihood of the clips' classes."""
    return float(-np.log(softmax(logits)[np.arange(len(targets)), targets]).mean())


def closed_rows(found: Sequence[Found]) -> list[list[str]]:
    """Rows of the table of all classes."""
    return [
        ["top-1", *score_cells([one.accuracy for one in found])],
        ["temperature", *score_cells([one.temperature for one in found])],
        ["calibration error before", *score_cells([one.before for one in found])],
        ["calibration error after", *score_cells([one.after for one in found])],
        ["calibration error of perfect probabilities", *score_cells([one.by_chance for one in found])],
        ["log loss before", *score_cells([one.loss_before for one in found])],
        ["log loss after", *score_cells([one.loss_after for one in found])],
        ["false refusals, promised", *score_cells([one.promised for one in found])],
        ["false refusals, found", *score_cells([one.refused / one.known for one in found])],
    ]


def open_rows(found: Sequence[Sequence[Found]]) -> list[list[str]]:
    """Rows of the table of unknown classes; the parts of a seed are taken together, areas are their means."""
    return [
        ["AUROC", *score_cells([np.mean([one.area for one in parts]) for parts in found])],
        [
            "AUROC without the temperature",
            *score_cells([np.mean([one.area_before for one in parts]) for parts in found]),
        ],
        [
            "strangers refused",
            *score_cells([_share(parts, "refused_strangers", "strangers") for parts in found]),
        ],
        [
            "false refusals, promised",
            *score_cells([np.mean([one.promised for one in parts]) for parts in found]),
        ],
        ["false refusals, found", *score_cells([_share(parts, "refused", "known") for parts in found])],
    ]


def _share(parts: Sequence[Found], part: str, whole: str) -> float:
    """A fraction of the clips of all parts."""
    counts = [one._asdict() for one in parts]
    return float(sum(each[part] for each in counts) / sum(each[whole] for each in counts))


if __name__ == "__main__":
    run_command(main)
