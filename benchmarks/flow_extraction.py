"""Cost of storing flow: seconds per minute of video, bytes and error, by method and number of processes."""

from __future__ import annotations

import shutil
from pathlib import Path

from common import Table, parser, run_command, write_tables

from praxiscope.commands.flow import FlowSummary, StoreOptions, extract_flow
from praxiscope.progress import ConsoleReporter


def measure(data: str, out: Path, method: str, workers: int, device: str, range: str) -> FlowSummary:
    """Extract the flow of all videos to a new store."""
    shutil.rmtree(out, ignore_errors=True)
    return extract_flow(
        data,
        out,
        StoreOptions(method=method, workers=workers, device=device, range=range),
        reporter=ConsoleReporter(),
    )


def main() -> None:
    """Run every method with every number of processes, write the table."""
    arguments = parser(__doc__, __file__, assignments=False)
    arguments.add_argument("data", help="the videos: a folder of class folders, a CSV or LAYOUT:FOLDER")
    arguments.add_argument("--methods", default="tvl1,dis,farneback")
    arguments.add_argument("--workers", default="1,2")
    arguments.add_argument(
        "--ranges", default="20,frame", help="ranges to measure; all but the first in one run each"
    )
    arguments.add_argument("--device", default="cpu")
    options = arguments.parse_args()
    methods, ranges = options.methods.split(","), options.ranges.split(",")
    counts = [int(count) for count in options.workers.split(",")]
    runs = [(method, count, ranges[0]) for method in methods for count in counts]
    runs += [(methods[0], counts[-1], range) for range in ranges[1:]]
    rows = []
    clips = 0
    for method, workers, range in runs:
        summary = measure(options.data, options.out / method, method, workers, options.device, range)
        clips = summary.clips
        rows.append(
            [
                method,
                workers,
                range,
                f"{summary.seconds_per_minute:.1f}",
                f"{summary.bytes_per_field:.0f}",
                f"{summary.compression:.1f}",
                f"{summary.error_px:.3f}",
                f"{summary.largest_error_px:.3f}",
                f"{summary.clipped:.3%}",
            ]
        )
    header = [
        "method",
        "processes",
        "range",
        "s per minute of video",
        "bytes per field",
        "times less than float32",
        "error, px (rms)",
        "largest error, px",
        "clipped",
    ]
    write_tables(
        options,
        __file__,
        "Extracting and storing flow",
        [Table("", header, rows)],
        f"{clips} videos on {options.device}, forward flow. The seconds are those of the whole run: decoding, "
        "estimating, encoding, and starting the processes; one run each. Errors are those of "
        "displacements within the range.",
    )


if __name__ == "__main__":
    run_command(main)
