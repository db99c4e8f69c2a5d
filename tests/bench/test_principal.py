"""The bench of a step's time and memory, on the smallest rows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import praxiscope as px
from praxiscope.bench import principal as bench_module
from praxiscope.bench.principal import (
    Row,
    bench_principal,
    draw_bench,
    format_bench_principal,
    measure_row,
    one_chunk,
    rows_of_paper,
)

ROWS = [Row("Full-1", 1), Row("PB-2-1", 2, 1), one_chunk(1, 8), Row("cached-8", 8, chunk=1)]
pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="a process's peak can be set back on Linux only"
)


@pytest.mark.slow
def test_every_row_is_measured_in_its_own_process_and_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small: dict[str, Any] = {"batch": 1, "size": 64, "steps": 1}
    (alone,) = bench_principal(["squeezenet1_1"], rows=ROWS[1:2], **small)
    assert (alone["name"], alone["base"]) == ("PB-2-1", "Full-1")
    assert alone["seconds"] > 0
    assert alone["bytes"] > 2**27
    # All rows, in this process: starting others takes most of the time.
    monkeypatch.setattr(bench_module, "run_measured", lambda module, job, what: measure_row(job))
    rows = bench_principal(["squeezenet1_1"], rows=ROWS, **small)
    assert [row["name"] for row in rows] == ["Full-1", "PB-2-1", "1 of 8 in memory", "cached-8"]
    assert [row["base"] for row in rows] == ["Full-1", "Full-1", "Full-1", "1 of 8 in memory"]
    assert all(row["seconds"] > 0 and row["bytes"] > 2**27 for row in rows)
    table = format_bench_principal(rows)
    assert "| PB-2-1 |" in table
    assert "1 of 8 in memory |" in table.split("| cached-8 |")[1]
    picture = draw_bench(rows, tmp_path / "cost.png")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_measured_is_said() -> None:
    with pytest.raises(px.ArgumentError, match=r"resnet19, Full-1: .*resnet19"):
        bench_principal(["resnet19"], rows=ROWS[:1], batch=1, size=64, steps=1)


def test_the_papers_rows_are_all_there() -> None:
    names = [row.name for row in rows_of_paper()]
    assert names[:8] == [f"Full-{m}" for m in range(1, 9)]
    assert names[8:16] == [f"PB-{m}-1" for m in range(1, 9)]
    assert {"PB-6-3", "PB-8-4", "cached-6", "cached-64"} <= set(names)
    bases = {row.name: row.base for row in rows_of_paper()}
    assert (bases["PB-8-1"], bases["PB-6-3"], bases["cached-64"]) == ("Full-1", "Full-3", "8 of 64 in memory")
