"""Whether explanations name what a network needs: deletion and insertion, random weights, and a planted patch.

`python benchmarks/explanations.py ucf101:ucf/ --split 1 --run runs/ucf`

* Deletion and insertion (Petsiuk et al., "RISE", BMVC 2018): the frames are cut into 7 x 7 cells, which are hidden at
  all times in the order of an explanation, the most important first, or shown in this order on hidden frames. The area
  under the probability of the predicted class: small for a good order of deletion, large for one of insertion.
* Random weights (Adebayo et al., NeurIPS 2018): the rank correlation of the map with that of the same network before
  any training.
* A planted patch decides the class of made videos (`planted_patch.py`), on which a small network is trained. It is
  found if the largest value of the map is within the patch, grown by half a cell of the map on each side, while it is
  shown.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import planted_patch
import torch
from common import Table, parser, run_command, write_tables
from numpy.typing import NDArray
from scipy.stats import spearmanr, wilcoxon

import praxiscope as px
from praxiscope.checkpoint import read_pointer, write_json
from praxiscope.data.manifest import load_records
from praxiscope.explain.grad_cam import CamRows, see_layers
from praxiscope.explain.hiding import Box, Hidden, SeenFrames
from praxiscope.explain.why_answer import fused_probabilities
from praxiscope.explain.why_parts import hide_parts
from praxiscope.inference.recogniser import Recogniser
from praxiscope.models import create_model
from praxiscope.progress import ConsoleReporter
from praxiscope.types import VideoRecord
from praxiscope.video.opening import open_video

CELLS, STEP, RANDOM = 7, 4, 3
"""Rows and columns of cells, cells hidden in a step, and random orders of each clip."""
MADE_PROTOCOL = "8x1"
TRAIN, TEST, UNTRAINED = 480, 100, 20
"""Made videos: to train, to test, and of these with occlusion of the untrained network, too."""
LAYERS = ("layer3", "layer4")
SETTINGS: dict[str, Any] = {
    "model": "tsn",
    "backbone": "resnet10",
    "size": 128,
    "epochs": 4,
    "batch": 16,
    "seed": 0,
    "input.short_side": 128,
    "input.snippets": 8,
    "optim.name": "adamw",
    "optim.lr": 0.001,
    "run.validate_epochs": 0,
}

Map = NDArray[np.float64]


def each(
    path: Path, records: Sequence[VideoRecord], measure: Callable[[VideoRecord], Any], what: str
) -> list[Any]:
    """What is measured of each video, from the file if it is known. The file grows with every video."""
    rows = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    with ConsoleReporter().bar(what, len(records)) as bar:
        for record in records:
            if record.id not in rows:
                rows[record.id] = measure(record)
                write_json(path, rows)
            bar.advance()
    return [rows[record.id] for record in records]


def untrained(recogniser: Recogniser) -> Recogniser:
    """The same network before any training, ImageNet's included."""
    card = recogniser.card
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model: Any = create_model(card.name, **{**card.kwargs, "pretrained": False})
    return Recogniser(model, card, precision="32")


# ------------------------------------------------------------------------------------- deletion and insertion


def cells(region: Box) -> list[Box]:
    """The cells of a region, row by row."""
    downs = np.linspace(region.top, region.bottom, CELLS + 1)
    rights = np.linspace(region.left, region.right, CELLS + 1)
    return [Box(downs[y], rights[x], downs[y + 1], rights[x + 1]) for y in range(CELLS) for x in range(CELLS)]


def at_cells(values: Map) -> Map:
    """The mean of a map in each of the cells, [CELLS * CELLS]."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))[None, None]
    return torch.nn.functional.adaptive_avg_pool2d(tensor, CELLS)[0, 0].flatten().numpy()


def cam_of(recogniser: Recogniser, record: VideoRecord, number: int, protocol: str) -> Map:
    """Grad-CAM of a class at the cells: the mean over the snippets."""
    (rows,) = see_layers(SeenFrames(recogniser, open_video(record.path), protocol), number)
    return at_cells(rows.maps.clip(min=0).mean(0))


def occlusion_of(recogniser: Recogniser, record: VideoRecord, number: int, protocol: str) -> Map:
    """Occlusion of a class at the cells, as the page draws it."""
    video = open_video(record.path)
    hiding = hide_parts(recogniser, [SeenFrames(recogniser, video, protocol)], video, number)
    return at_cells(hiding.space.at_pixels(16 * CELLS, 16 * CELLS))


MAPS = {"Grad-CAM": cam_of, "occlusion": occlusion_of}


def areas(
    recogniser: Recogniser, seen: SeenFrames, order: NDArray[np.int64], number: int
) -> tuple[float, float]:
    """The areas of deletion and of insertion of an order of the cells."""
    boxes = np.array(cells(seen.region))
    counts = sorted({*range(0, len(order), STEP), len(order)})
    gone = [Hidden(tuple(Box(*box) for box in boxes[order[:count]])) for count in counts]
    left = [Hidden(tuple(Box(*box) for box in boxes[order[count:]])) for count in counts]
    logits = torch.stack([*seen.scores([*gone, *left])])
    shares = fused_probabilities(recogniser, logits[None])[:, number]
    places = np.array(counts) / len(order)
    first, second = np.trapezoid(shares[: len(counts)], places), np.trapezoid(shares[len(counts) :], places)
    return float(first), float(second)


def measure_curves(recogniser: Recogniser, record: VideoRecord, protocol: str) -> dict[str, Any]:
    """Areas and rank correlations of a clip. Cells are hidden by the mean colour, squares of occlusion are black."""
    seen = SeenFrames(recogniser, open_video(record.path), protocol, fill="mean")
    (shares,) = fused_probabilities(recogniser, torch.stack([*seen.scores([Hidden()])])[None])
    number = int(shares.argmax())
    found = {name: of(recogniser, record, number, protocol) for name, of in MAPS.items()}
    random = cam_of(untrained(recogniser), record, number, protocol)
    draw = np.random.default_rng(0)
    orders = {name: np.argsort(-values, kind="stable") for name, values in found.items()}
    orders |= {f"random {turn}": draw.permutation(CELLS * CELLS) for turn in range(RANDOM)}
    return {
        "probability": float(shares[number]),
        "areas": {name: areas(recogniser, seen, order, number) for name, order in orders.items()},
        "correlation": {"Grad-CAM": correlation(found["Grad-CAM"], random)},
        "between": correlation(*found.values()),
    }


def correlation(one: Map, other: Map) -> float | None:
    """Spearman's rank correlation; None for a map of one value."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(spearmanr(one.ravel(), other.ravel()).statistic)


def curve_rows(found: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The table of areas, with paired differences from the mean of the random orders of the same clip."""
    base = np.array([[one["areas"][f"random {turn}"] for turn in range(RANDOM)] for one in found]).mean(1)
    rows = [["random", spread(base[:, 0]), "", spread(base[:, 1]), ""]]
    for name in MAPS:
        mine = np.array([one["areas"][name] for one in found])
        row = [name]
        for kind, better in enumerate((-1, 1)):
            gap = mine[:, kind] - base[:, kind]
            good = int((better * gap > 0).sum())
            test = f"p = {wilcoxon(gap).pvalue:.1g}; {good} of {len(gap)} clips"
            row += [spread(mine[:, kind]), f"{spread(gap, '+')}; {test}"]
        rows.append(row)
    return rows


def spread(values: Map, sign: str = "") -> str:
    """Mean and sample deviation."""
    return f"{values.mean():{sign}.3f} ± {values.std(ddof=1):.3f}"


def methods_apart(found: Sequence[dict[str, Any]]) -> str:
    """The paired differences of the two methods."""
    areas_ = np.array([[one["areas"][name] for name in MAPS] for one in found])
    gaps = areas_[:, 0] - areas_[:, 1]
    shown = [f"{spread(gaps[:, kind], '+')} (p = {wilcoxon(gaps[:, kind]).pvalue:.2g})" for kind in range(2)]
    return f"{' less '.join(MAPS)}: deletion {shown[0]}, insertion {shown[1]}."


def correlation_rows(name: str, found: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Mean and sample deviation of the rank correlations."""
    rows = []
    for kind in found[0]["correlation"]:
        values = [one["correlation"][kind] for one in found if one["correlation"][kind] is not None]
        rows.append([name, kind, str(len(values)), f"{np.mean(values):+.2f} ± {np.std(values, ddof=1):.2f}"])
    return rows


# ------------------------------------------------------------------------------------------- planted patch


def measure_patch(
    recogniser: Recogniser, record: VideoRecord, known: dict[str, int], untrained_too: bool
) -> dict[str, Any]:
    """Whether the patch of a made video is found, for the class that the network answers.

    Args:
        recogniser: the network.
        record: the video.
        known: where and when its patch is.
        untrained_too: whether occlusion of the untrained network is measured, which takes as long as all else.
    """
    video = open_video(record.path)
    seen = SeenFrames(recogniser, video, MADE_PROTOCOL)
    (shares,) = fused_probabilities(recogniser, torch.stack([*seen.scores([Hidden()])])[None])
    number = int(shares.argmax())
    hiding = hide_parts(recogniser, [seen], video, number)
    top, left = (float(value) * planted_patch.SIDE for value in hiding.space.strongest[:2])
    down, right = (float(value) * planted_patch.SIDE for value in hiding.space.strongest[2:])
    stride = planted_patch.SIDE * (1 - 0.25) / (len(hiding.space.drops) - 1)
    found = {"occlusion": within(known, (left + right) / 2, (top + down) / 2, stride)}
    span = known["first"] / planted_patch.FPS, (known["first"] + known["frames"]) / planted_patch.FPS
    assert hiding.time is not None
    start, end = hiding.time.edges_s[hiding.time.strongest : hiding.time.strongest + 2]
    found["occlusion in time"] = bool(start < span[1] and end > span[0])
    random = untrained(recogniser)
    correlations: dict[str, float | None] = {"occlusion": None}
    if untrained_too:
        drops = hide_parts(random, [SeenFrames(random, video, MADE_PROTOCOL)], video, number).space.drops
        correlations["occlusion"] = correlation(hiding.space.drops, drops)
    for layer in LAYERS:
        (rows,) = see_layers(seen, number, layer)
        found[f"Grad-CAM, {layer}"] = cam_found(rows, known, span)
        (other,) = see_layers(SeenFrames(random, video, MADE_PROTOCOL), number, layer)
        correlations[f"Grad-CAM, {layer}"] = correlation(rows.maps, other.maps)
    return {
        "right": recogniser.labels[number] in record.labels,
        "found": found,
        "correlation": correlations,
        "seen": int(((seen.times_s >= span[0]) & (seen.times_s < span[1])).sum()),
    }


def within(known: dict[str, int], x: float, y: float, cell: float) -> bool:
    """Whether a place, in pixels, is in the patch grown by half a cell."""
    grown = cell / 2
    rows = known["top"] - grown <= y <= known["top"] + known["side"] + grown
    return bool(rows and known["left"] - grown <= x <= known["left"] + known["side"] + grown)


def cam_found(rows: CamRows, known: dict[str, int], span: tuple[float, float]) -> bool:
    """Whether the largest value of all maps is in the patch, and in a snippet that shows it."""
    number, x, y = rows.strongest
    cell = planted_patch.SIDE / rows.maps.shape[1]
    shown = span[0] <= rows.times_s[number] < span[1]
    return bool(shown and within(known, x * planted_patch.SIDE, y * planted_patch.SIDE, cell))


def patch_rows(found: Sequence[dict[str, Any]]) -> list[list[str]]:
    """In how many of the videos the patch is found."""
    rows = []
    for name in found[0]["found"]:
        count = sum(one["found"][name] for one in found)
        rows.append([name, f"{count} of {len(found)}", f"{100 * count / len(found):.0f} %"])
    return rows


# -------------------------------------------------------------------------------------------------- page


def real_clips(options: argparse.Namespace) -> list[Any]:
    """What is measured of the test clips of the data set."""
    manifest = load_records(options.data, split=options.split, annotations=options.annotations)
    recogniser: Any = px.load(options.run, device="cpu")

    def measure(record: VideoRecord) -> dict[str, Any]:
        return measure_curves(recogniser, record, options.protocol)

    return each(options.out / "curves.json", manifest.of("test")[: options.clips], measure, "hiding cells")


def made_clips(options: argparse.Namespace) -> list[Any]:
    """What is measured of the videos with a patch."""
    root, run = planted_patch.make(options.out / "patch", TRAIN, TEST), options.out / "patch_run"
    px.train(str(root), out=run, resume=bool(read_pointer(run)), progress=ConsoleReporter(), **SETTINGS)
    recogniser: Any = px.load(run, device="cpu")
    known = planted_patch.places(root)

    records = load_records(str(root)).of("test")[: options.made]
    first = {record.id for record in records[:UNTRAINED]}

    def measure(record: VideoRecord) -> dict[str, Any]:
        return measure_patch(recogniser, record, known[record.id], record.id in first)

    return each(options.out / "patches.json", records, measure, "looking for the patch")


def main() -> None:
    """Measure, and write the tables."""
    options = _parser().parse_args()
    curves = real_clips(options) if options.only != "made" else []
    patches = made_clips(options) if options.only != "real" else []
    if options.only:
        return
    right = sum(one["right"] for one in patches)
    tables = [
        Table(
            f"Areas of deletion and insertion: {len(curves)} test clips",
            ["order of cells", "deletion", "less than random", "insertion", "more than random"],
            curve_rows(curves),
        ),
        Table(
            f"Patch that decides the class: {len(patches)} test videos, {right} recognised",
            ["explanation", "found", "share"],
            patch_rows(patches),
        ),
        Table(
            "Rank correlation with the map of the untrained network",
            ["data", "explanation", "clips", "correlation"],
            [*correlation_rows("real", curves), *correlation_rows("made", patches)],
        ),
    ]
    between = [one["between"] for one in curves if one["between"] is not None]
    note = (
        "Mean ± sample deviation over the clips; p: Wilcoxon's signed-rank test, paired by clip, against the mean of "
        f"{RANDOM} random orders. Protocol {options.protocol}, {CELLS} x {CELLS} cells, {STEP} at a time, hidden by "
        "the mean colour; the squares of occlusion are black. The map of Grad-CAM is the mean over the snippets. For "
        "comparison: the rank correlation of Grad-CAM and occlusion of the trained network is "
        f"{np.mean(between):+.2f} ± {np.std(between, ddof=1):.2f}. {methods_apart(curves)} Made videos: protocol "
        f"{MADE_PROTOCOL}."
    )
    write_tables(options, __file__, "Explanations against random ones", tables, note)


def _parser() -> argparse.ArgumentParser:
    found = parser(__doc__, __file__, assignments=False)
    found.add_argument("data", help="a data set with splits")
    found.add_argument("--split")
    found.add_argument("--annotations", type=Path)
    found.add_argument("--run", required=True, help="a run on this data set")
    found.add_argument("--protocol", default="3x1", help="frames of a clip")
    found.add_argument("--only", choices=("real", "made"), help="measure these, and write no table")
    found.add_argument("--clips", type=int, help="only so many test clips")
    found.add_argument("--made", type=int, help=f"only so many of the {TEST} made test videos")
    return found


if __name__ == "__main__":
    run_command(main)
