"""Time and peak memory of a training step by the number of frames, for networks that use all frames.

A network that processes all frames (TSM-all) is compared with networks that process clusters of frames. These keep the
activations of the first stage, or recompute them in chunks of frames for the backward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from praxiscope.bench.step import Job, measure_step
from praxiscope.progress import Reporter

__all__ = ["bench_full_video_cost", "draw_cost", "format_cost"]

_NAMES = ("TSM-all", "cumulative", "cumulative, first stage again", "clustering", "means")


def bench_full_video_cost(
    frames: Sequence[int] = (32, 64, 128, 256, 512),
    *,
    backbone: str = "resnet18",
    clusters: int = 8,
    early_frames: int = 16,
    reporter: Reporter | None = None,
    **job: Any,
) -> list[dict[str, Any]]:
    """Measure a step on one video of each length.

    Args:
        frames: numbers of frames.
        backbone, clusters: backbone and number of clusters of the networks.
        early_frames: frames in a chunk when the activations of the first stage are recomputed.
        reporter: shows progress.
        job: ``size``, ``steps``, ``device``, ``precision`` and ``keep_memory`` as for `praxiscope.bench.step.Job`.

    Returns:
        One dict per network and length: ``name``, ``frames``, ``seconds``, ``bytes`` (of the process or the GPU) and
        ``pixel_bytes`` (of the frames as floats).

    Raises:
        ArgumentError: a step could not be measured.
    """
    found = []
    with (reporter or Reporter()).bar("measuring", len(_NAMES) * len(frames)) as bar:
        for count in frames:
            plain = Job("tsm", {"backbone": backbone, "snippets": count}, frames=count, **job)
            few = {"backbone": backbone, "clusters": clusters, "early_frames": None}
            full = plain.updated(model="full-video", keywords=few)
            again = full.updated(keywords={**few, "early_frames": early_frames, "batchnorm": "frozen"})
            jobs = (plain, full, again, full.updated(part="clustering"), full.updated(part="means"))
            for name, measured in zip(_NAMES, jobs, strict=True):
                bar.advance(0, f"{name}, {count} frames")
                figures = measure_step(measured)
                found.append(
                    {
                        "name": name,
                        "frames": count,
                        "seconds": figures["seconds"],
                        "bytes": figures["bytes"],
                        "pixel_bytes": count * 3 * plain.size**2 * 4,
                    }
                )
                bar.advance()
    return found


def format_cost(rows: Sequence[dict[str, Any]]) -> str:
    """Format the rows of `bench_full_video_cost` as a Markdown table."""
    by_place = {(row["name"], row["frames"]): row for row in rows}
    lines = [
        "| frames | TSM-all, s | clusters, s | of TSM-all | first stage again, s | clustering, of the step "
        "| with means and their gradient | TSM-all, MiB | clusters, MiB | first stage again, MiB | pixels, MiB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for count in dict.fromkeys(row["frames"] for row in rows):
        plain, full, again, alone, means = (by_place[name, count] for name in _NAMES)
        seconds = [plain["seconds"], full["seconds"]]
        mebibytes = [row["bytes"] / 2**20 for row in (plain, full, again)]
        cells = [
            str(count),
            *(f"{value:.3g}" for value in seconds),
            f"{full['seconds'] / plain['seconds']:.2f}",
            f"{again['seconds']:.3g}",
            *(f"{part['seconds'] / full['seconds']:.3f}" for part in (alone, means)),
            *(f"{value:.0f}" for value in mebibytes),
            f"{plain['pixel_bytes'] / 2**20:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw_cost(rows: Sequence[dict[str, Any]], path: str | Path) -> Path:
    """Draw time and peak memory over the number of frames."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    styles = dict(zip(_NAMES, ("o-", "s-", "^-"), strict=False))
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), constrained_layout=True)
    for axis, key, label, unit in (
        (axes[0], "seconds", "seconds of a step", 1),
        (axes[1], "bytes", "peak memory, GiB", 2**30),
    ):
        for name, style in styles.items():
            curve = [row for row in rows if row["name"] == name]
            axis.plot([r["frames"] for r in curve], [r[key] / unit for r in curve], style, label=name)
        axis.set(xlabel="frames of the video", ylabel=label)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    first = [row for row in rows if row["name"] == _NAMES[0]]
    axes[1].plot(
        [r["frames"] for r in first],
        [r["pixel_bytes"] / 2**30 for r in first],
        ":",
        color="grey",
        label="of which pixels",
    )
    axes[1].legend()
    target = Path(path)
    figure.savefig(target, dpi=120)
    plt.close(figure)
    return target
