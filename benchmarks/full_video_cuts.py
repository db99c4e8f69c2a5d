"""Clusters in Move4MNIST videos: how many contain the action, by rule, and the distances between frames."""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import praxiscope as px
from praxiscope.data.move4mnist import read_relevance
from praxiscope.evaluation.protocols import parse_protocol
from praxiscope.layers.clustering import clusterings
from praxiscope.types import VideoRecord


def main() -> None:
    """Print the two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a trained full-video network")
    parser.add_argument("videos", type=Path, help="a Move4MNIST data set; every fourth test video is used")
    options = parser.parse_args()
    recogniser = px.load(options.run, device="cpu")
    videos = sorted((options.videos / "test").glob("*/*.mp4"))[::4]
    holding: dict[tuple[int, str], list[int]] = defaultdict(list)
    steps: dict[tuple[str, str], list[int]] = defaultdict(list)
    for video in videos:
        kinds = read_relevance(video)
        output = recogniser.stream_output(VideoRecord(str(video), video, ()), parse_protocol("allxfull"))
        for pair, distance in zip(pairwise(kinds), output.distances.tolist(), strict=True):
            steps[pair].append(distance)
        for count in (8, 16):
            for rule in clusterings:
                ids = clusterings.get(rule)(output.distances, count).tolist()
                own = {cluster for cluster, kind in zip(ids, kinds, strict=True) if kind == "target"}
                holding[count, rule].append(len(own))
    print("| clusters | rule | of them hold the action, mean | the action is in one alone, share of videos |")
    print("|---|---|---|---|")
    for (count, rule), numbers in sorted(holding.items()):
        alone = sum(number == 1 for number in numbers) / len(numbers)
        print(f"| {count} | {rule} | {statistics.mean(numbers):.2f} | {alone:.2f} |")
    print("\n| from | to | steps | mean distance, places |\n|---|---|---|---|")
    for (before, after), distances in sorted(steps.items()):
        print(f"| {before} | {after} | {len(distances)} | {statistics.mean(distances):.0f} |")


if __name__ == "__main__":
    main()
