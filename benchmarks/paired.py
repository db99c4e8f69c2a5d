"""Paired significance tests of accuracies: of two scores files, or of the rows of a table.

`paired.py ONE.npz OTHER.npz` (of `praxiscope test --out`, the same videos): the exact McNemar test, two-sided.
`paired.py PAGE.md --clips N`: two tests for each pair of rows of a Markdown table that lists the score of each seed:

* over the seeds: the paired t test of the scores, two-sided;
* over the test clips, for each seed: an upper bound of the two-sided exact McNemar test. The test needs the number of
  clips that only one row classifies correctly, but a table has only the number of correct clips of each. The bound is
  the largest p value that these counts allow: that the two rows have no wrong clip in common.

"No difference shown" means that neither p value is below 0.05. With many pairs, some are below 0.05 by chance: divide
0.05 by the number of pairs (Bonferroni).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

from common import run_command
from scipy.stats import t

from praxiscope.errors import ArgumentError
from praxiscope.evaluation.comparison import mcnemar
from praxiscope.evaluation.scores import Scores


def paired_t(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the two-sided p value of the paired t test over seeds; nan if all differences are equal."""
    differences = [a - b for a, b in zip(one, other, strict=True)]
    n = len(differences)
    mean = sum(differences) / n
    variance = sum((value - mean) ** 2 for value in differences) / (n - 1)
    if variance <= 1e-18:
        return math.nan
    return float(2 * t.sf(abs(mean) / math.sqrt(variance / n), n - 1))


def mcnemar_bound(one_right: int, other_right: int, clips: int) -> float:
    """Return the largest p value of `mcnemar` that two counts of correct clips allow."""
    least = abs(one_right - other_right)
    most = min(clips - one_right, other_right) + min(clips - other_right, one_right)
    shared = range(least, most + 1, 2)  # differing clips have the parity of the difference
    return max(mcnemar((count + least) // 2, (count - least) // 2) for count in shared)


def read_scores(lines: Sequence[str], number: int = 1) -> Iterator[dict[str, list[float]]]:
    """Yield the scores by row of every table that lists the scores of each seed.

    Args:
        lines: of a Markdown file.
        number: which of a table's columns whose header begins with "each" or "of each", from 1.
    """
    header: list[str] = []
    rows: dict[str, list[float]] = {}
    for line in [*lines, ""]:
        cells = [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]
        if not line.startswith("|"):
            if rows:
                yield rows
            header, rows = [], {}
        elif not header:
            header = cells
        else:
            columns = [n for n, cell in enumerate(header) if cell.startswith(("each", "of each"))]
            if len(columns) < number:
                continue
            values = [float(word) for word in cells[columns[number - 1]].split(",") if _is_number(word)]
            if len(values) > 1:
                first = next(n for n, cell in enumerate(cells) if _is_number(cell) or " of " in cell)
                rows[" ".join(cell for cell in cells[:first] if cell)] = values


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def alone_right(one: Scores, other: Scores) -> tuple[int, int]:
    """Return the numbers of videos that only the first and only the second classifies correctly.

    Raises:
        ArgumentError: videos with several labels.
        ScoresError: the scores are of other videos or classes.
    """
    if one.multi_label:
        raise ArgumentError(
            "the videos have several labels each. The McNemar test needs one label per video."
        )
    one.check_same(other, protocols=False)
    other = other.reordered(one.ids)
    first, second = (scores.logits.argmax(axis=1) == scores.targets for scores in (one, other))
    return int((first & ~second).sum()), int((second & ~first).sum())


def main() -> None:
    """Print a line for each pair of rows, or for the two files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, nargs="+", help="a Markdown file, or two files of scores")
    parser.add_argument("--clips", type=int, help="number of test clips of each score in a Markdown file")
    parser.add_argument(
        "--column", type=int, default=1, help="number of the column of scores, if there are several"
    )
    parser.add_argument("--below", type=float, default=1.0, help="print only pairs with a p value below this")
    options = parser.parse_args()
    if len(options.source) == 2:
        counts = alone_right(*(Scores.load(path) for path in options.source))
        print(f"right alone: {counts[0]} and {counts[1]}; p = {mcnemar(*counts):.2g} (exact McNemar test)")
        return
    if len(options.source) > 2 or options.clips is None:
        parser.error("give two files of scores, or one Markdown file and --clips")
    (page,) = options.source
    tables = list(read_scores(page.read_text(encoding="utf-8").splitlines(), options.column))
    if not tables:
        raise ArgumentError(f"{page}: no table has a column `each seed` with several scores in a cell")
    for scores in tables:
        print("| | against | difference of the means | p, seeds | p, clips, at most, of each seed |")
        print("|---|---|---|---|---|")
        scale = 100 if max(max(values) for values in scores.values()) > 1 else 1
        for one, other in combinations(scores, 2):
            pair = (scores[one], scores[other])
            if len(pair[0]) != len(pair[1]):
                continue
            counts = [[round(value / scale * options.clips) for value in values] for values in pair]
            seeds = paired_t(*counts)
            clips = [mcnemar_bound(a, b, options.clips) for a, b in zip(*counts, strict=True)]
            if not min(*clips, math.inf if math.isnan(seeds) else seeds) >= options.below:
                gap = sum(counts[0]) - sum(counts[1])
                shown = ", ".join(f"{value:.2g}" for value in clips)
                mean = scale * gap / len(pair[0]) / options.clips
                print(f"| {one} | {other} | {mean:+.3g} | {seeds:.2g} | {shown} |")
        print()


if __name__ == "__main__":
    run_command(main)
