"""Search of many vectors, against all of their products."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from praxiscope.errors import ArgumentError, DataError
from praxiscope.retrieval.nearest import build_index, exact_index, has_faiss, open_index

ROWS = torch.nn.functional.normalize(torch.randn(500, 16, generator=torch.Generator().manual_seed(0)), dim=1)


@pytest.mark.parametrize("count", [1, 7, 500])
def test_exact_search_is_the_order_of_all_products(count: int) -> None:
    rows, values = exact_index(list(torch.split(ROWS, 70))).search(ROWS[3], count)
    products = ROWS @ ROWS[3]
    assert rows.tolist() == products.argsort(descending=True, stable=True)[:count].tolist()
    assert values.tolist() == pytest.approx(products[rows].tolist())


def test_of_equal_rows_the_first_wins() -> None:
    rows, _ = exact_index([ROWS[:2], ROWS[:2]]).search(ROWS[1], 2)
    assert rows.tolist() == [1, 3]
    rows, values = exact_index([]).search(ROWS[1], 0)
    assert (len(rows), len(values)) == (0, 0)


@pytest.mark.skipif(not has_faiss(), reason="FAISS is not installed")
@pytest.mark.parametrize("kind", ["hnsw", "ivf-pq"])
def test_an_approximate_index_finds_most(tmp_path: Path, kind: str) -> None:
    many = torch.nn.functional.normalize(
        torch.randn(12000, 16, generator=torch.Generator().manual_seed(1)), dim=1
    )
    path = tmp_path / build_index(tmp_path, list(torch.split(many, 2500)), kind)
    index, hits = open_index(path), 0
    for query in range(40):
        rows, values = index.search(many[query], 10)
        assert values.tolist() == sorted(values.tolist(), reverse=True)
        hits += query in rows.tolist()
    assert hits >= 30
    with pytest.raises(ArgumentError, match="kind"):
        build_index(tmp_path, [many], "flat")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    cut = tmp_path / "cut" / path.name
    cut.parent.mkdir()
    cut.write_bytes(path.read_bytes()[:-1000])
    changed = tmp_path / "changed" / path.name
    changed.parent.mkdir()
    changed.write_bytes(path.read_bytes()[:-1] + b"?")
    for damaged in (cut, changed, tmp_path / "none.faiss"):
        with pytest.raises(DataError, match=r"index` again"):
            open_index(damaged)


def test_without_faiss_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(ArgumentError, match=r"praxiscope\[retrieval\]"):
        build_index(tmp_path, [ROWS])
