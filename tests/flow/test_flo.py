"""Middlebury's flow files against bytes written by hand and, where there are some, its own files."""

from __future__ import annotations

import re
import struct

import numpy as np
import pytest
import torch

from praxiscope.errors import ArgumentError, DataError
from praxiscope.flow.flo import read_flo, write_flo


def test_a_file_written_by_hand_is_read(tmp_path):
    # 3 columns, 2 rows; the tag is the float 202021.25.
    values = [1, 2, 3, 4, 5, 6, -1, -2, 1.7e9, 1.7e9, 0, 0.5]
    (tmp_path / "a.flo").write_bytes(struct.pack("<fii12f", 202021.25, 3, 2, *values))
    flow, known = read_flo(tmp_path / "a.flo")
    assert flow.dtype == torch.float32
    assert known.tolist() == [[True, True, True], [True, False, True]]
    assert flow[:, 0].tolist() == [[1, 3, 5], [2, 4, 6]]
    assert flow[:, 1, 0].tolist() == [-1, -2]
    assert flow[:, 1, 1].isnan().all()
    assert flow[:, 1, 2].tolist() == [0, 0.5]


def test_what_is_written_is_read_back_bit_for_bit(tmp_path):
    flow = torch.randn(2, 13, 17, generator=torch.Generator().manual_seed(0))
    known = torch.rand(13, 17, generator=torch.Generator().manual_seed(1)) > 0.2
    write_flo(tmp_path / "a.flo", flow, known)
    back, mask = read_flo(tmp_path / "a.flo")
    assert torch.equal(mask, known)
    assert torch.equal(back[:, known], flow[:, known])
    write_flo(tmp_path / "a.flo", back)  # nan is unknown
    assert torch.equal(read_flo(tmp_path / "a.flo")[1], known)
    assert [path.name for path in tmp_path.iterdir()] == ["a.flo"]


def test_middleburys_own_file_comes_out_as_it_went_in(data_folder, tmp_path):
    source = data_folder / "flow" / "rubberwhale" / "flow10.flo"
    flow, known = read_flo(source)
    assert flow.shape == (2, 388, 584)
    assert 0.9 < known.float().mean() < 1
    assert flow[:, known].abs().max() < 10
    write_flo(tmp_path / "a.flo", flow, known)
    raw, ours = (np.frombuffer(path.read_bytes(), "<f4") for path in (source, tmp_path / "a.flo"))
    same = raw == ours
    assert (raw[~same] > 1e9).all()
    assert same.mean() > 0.9


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "PIEH"),
        (b"PNG and so on, and so on", "PIEH"),
        (
            struct.pack("<4sii4f", b"PIEH", 3, 2, 1, 2, 3, 4),
            r"\b3 x 2\b.*\b60 bytes\b.*\b28 bytes",
        ),
        (struct.pack("<4sii4f", b"PIEH", 1, 1, 1, 2, 3, 4), r"\b1 x 1\b.*\b28 bytes"),
        (struct.pack("<4sii", b"PIEH", -1, -1), "-1 x -1"),
        (struct.pack("<4sii", b"PIEH", 0, 5), "0 x 5"),
    ],
)
def test_damaged_files_are_named(tmp_path, content, named):
    (tmp_path / "bad.flo").write_bytes(content)
    with pytest.raises(DataError, match=rf"bad\.flo.*{named}"):
        read_flo(tmp_path / "bad.flo")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.flo: .*No such file"):
        read_flo(tmp_path / "none.flo")


def test_other_things_than_flow_are_not_written(tmp_path):
    for wrong in (torch.zeros(3, 4, 4), torch.zeros(4, 4), torch.zeros(2, 4, 4, dtype=torch.int32)):
        with pytest.raises(ArgumentError, match=rf"float.*{re.escape(str(list(wrong.shape)))}"):
            write_flo(tmp_path / "a.flo", wrong)
    with pytest.raises(ArgumentError, match=r"known .*\bbool \[4, 4\]"):
        write_flo(tmp_path / "a.flo", torch.zeros(2, 4, 4), torch.ones(4, 5, dtype=torch.bool))
