"""Stores of flow: what goes in comes out rounded as the contract says, and damage is noticed."""

from __future__ import annotations

import json
import pickle
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

import praxiscope as px
from praxiscope.checkpoint import FlowInput
from praxiscope.data.flow_reader import flow_estimator, flow_reader
from praxiscope.errors import VideoError
from praxiscope.flow.contract import UNKNOWN, FlowContract, Loss, check_range, dequantise, quantise
from praxiscope.flow.store import FlowClip, FlowStore, create_store, flow_key, through_store
from praxiscope.flow.tvl1 import TVL1
from praxiscope.types import VideoRecord

CONTRACT = FlowContract("tvl1", {"warps": 5, "scale": 0.5}, 20.0)
FRAME = FlowContract("tvl1", {"warps": 5, "scale": 0.5}, "frame")


def random_flow(fields: int, height: int = 24, width: int = 34, spread: float = 6.0) -> torch.Tensor:
    return torch.randn(fields, 2, height, width, generator=torch.Generator().manual_seed(fields)) * spread


def write(
    store: FlowStore, key: str, flow: torch.Tensor, *, backward: bool = False, promised: int = 0
) -> None:
    source = store.root.parent / "source.avi"
    source.write_bytes(b"x" * 77)
    with store.writing(key, source, promised_frames=promised, backward=backward) as writer:
        for part in flow.split(5):
            writer.add(part)


def twin(field: np.ndarray, range: float | str) -> np.ndarray:
    """Rounding to 8 bits and back, written plainly: field [2, H, W]."""
    out = np.empty_like(field)
    for axis in (0, 1):
        for y, x in np.ndindex(*field.shape[1:]):
            value = float(field[axis, y, x])
            if range == "frame":
                low, high = float(field[axis].min()), float(field[axis].max())
                level = min(255, max(0, round((value - low) / (high - low) * 255)))
                out[axis, y, x] = low + level * (high - low) / 255
            else:
                level = min(255, max(0, round(128 + value * 127.5 / range)))
                out[axis, y, x] = (level - 128) * range / 127.5
    return out


# --- rounding ---


@pytest.mark.parametrize("range", [20.0, 7.5, "frame"])
def test_rounding_equals_a_plain_twin(range: float | str) -> None:
    flow = random_flow(2, 9, 11)
    stored = dequantise(*quantise(flow, range), range).numpy()
    expected = np.stack([twin(field, range) for field in flow.numpy()])
    step = 2 * range / 255 if isinstance(range, float) else np.ptp(flow.numpy()) / 255
    # float32 against float64: a value on the edge between two levels may fall to either side.
    differs = np.abs(stored - expected) > 1e-4
    assert differs.mean() < 0.01
    assert np.abs(stored - expected).max() <= step * 1.001


@pytest.mark.parametrize("bound", [1.0, 20.0, 40.0])
def test_no_motion_stays_exactly_zero_and_a_bound_costs_half_a_step(bound: float) -> None:
    line = torch.linspace(-bound, bound, 4001).expand(1, 2, 1, -1)
    stored = dequantise(*quantise(line, bound), bound)
    assert (stored - line).abs().max() <= bound / 255 * 1.0001
    assert torch.equal(dequantise(*quantise(torch.zeros(1, 2, 3, 3), bound), bound), torch.zeros(1, 2, 3, 3))
    levels, _ = quantise(torch.tensor([0.0, 1e9, -1e9]).view(1, 1, 1, 3), bound)
    assert levels.flatten().tolist() == [128, 255, 0]


def test_rounding_and_mirroring_may_change_places() -> None:
    flow = random_flow(3).clamp(-19, 19)
    there = through_store(-flow, CONTRACT)
    torch.testing.assert_close(there, -through_store(flow, CONTRACT), rtol=0, atol=0)


def test_rounding_twice_is_rounding_once() -> None:
    flow = random_flow(3)
    once = through_store(flow, CONTRACT)
    assert torch.equal(through_store(once, CONTRACT), once)


def test_a_fields_own_range_keeps_its_extremes_and_clips_nothing() -> None:
    flow = random_flow(4, spread=100)
    stored = through_store(flow, FRAME)
    torch.testing.assert_close(stored.amax((-1, -2)), flow.amax((-1, -2)), rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(stored.amin((-1, -2)), flow.amin((-1, -2)), rtol=1e-6, atol=1e-5)
    step = (flow.amax((-1, -2)) - flow.amin((-1, -2))) / 255
    assert ((stored - flow).abs().amax((-1, -2)) <= step * 0.5001 + 1e-5).all()


def test_a_uniform_field_survives_its_own_range() -> None:
    flow = torch.full((1, 2, 4, 4), 3.25)
    assert torch.equal(through_store(flow, FRAME), flow)


def test_flow_that_is_no_number_is_refused() -> None:
    for value in (float("nan"), float("inf")):
        with pytest.raises(px.DataError, match="NaN"):
            quantise(torch.full((1, 2, 4, 4), value), 20.0)


def test_the_loss_counts_clipped_displacements_apart() -> None:
    flow = random_flow(6, spread=15)
    stored = through_store(flow, CONTRACT)
    inside = flow.abs() <= 20
    error = (stored - flow)[inside].double()
    together, apart = Loss(), Loss()
    together.add(flow, stored, 20.0)
    for before, after in zip(flow.split(1), stored.split(1), strict=True):
        one = Loss()
        one.add(before, after, 20.0)
        apart += one
    assert together == apart
    assert together.values == flow.numel()
    assert together.clipped == int((~inside).sum()) > 100
    assert together.root_mean_square == pytest.approx(float(error.square().mean().sqrt()), rel=1e-9)
    assert together.largest == pytest.approx(float(error.abs().max()))
    assert together.largest <= 20 / 255 * 1.0001


# --- contracts ---


def test_a_contract_comes_back_from_json_equal() -> None:
    for contract in (CONTRACT, FRAME, FlowContract("dis", {"pair": (1, 2)}, 15, 120)):
        text = json.dumps(contract.to_dict())
        assert FlowContract.from_dict(json.loads(text)) == contract
        assert hash(FlowContract.from_dict(json.loads(text))) == hash(contract)


def test_what_differs_between_contracts_is_said_in_words() -> None:
    assert CONTRACT.difference(CONTRACT) == ""
    other = FlowContract("tvl1", {"warps": 3, "scale": 0.5}, "frame", 128)
    assert CONTRACT.difference(other) == (
        "warps=5 against 3, range=20 against frame, short_side=native against 128"
    )
    assert CONTRACT.difference(FlowContract("dis", {"preset": "fast"})) == "method=tvl1 against dis"
    assert str(CONTRACT) == "method=tvl1, median=3, scale=0.5, warps=5, range=20, short_side=native"


def test_records_from_before_a_parameter_have_the_value_that_it_had_then(tmp_path: Path) -> None:
    old = {"attachment": 0.2, "warps": 5, "iterations": 20, "scale": 0.5, "smallest": 16}
    record = {"method": "tvl1", "parameters": old, "range": 20.0, "short_side": None}
    contract = FlowContract.from_dict(record)
    assert flow_estimator(FlowInput(made=record)) == TVL1(**old, median=3)
    (tmp_path / "flow.json").write_text(json.dumps({"version": 1, "storage": "ffv1", "contract": record}))
    assert FlowStore(tmp_path).contract == contract
    # Flow made with today's settings does not go into it, nor does it go to a model that has learned from it.
    today = FlowContract("tvl1", TVL1().parameters)
    with pytest.raises(px.ArgumentError, match=r"median=3\b.*\b5\b"):
        create_store(tmp_path, today)
    new = create_store(tmp_path / "new", today)
    with pytest.raises(px.DataError, match=r"median=3\b.*\b5\b"):
        flow_reader(FlowInput(made=record), 32, new)


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        {**CONTRACT.to_dict(), "more": 1},
        {**CONTRACT.to_dict(), "range": "all"},
        {**CONTRACT.to_dict(), "range": True},
        {**CONTRACT.to_dict(), "range": -1},
        {**CONTRACT.to_dict(), "method": None},
        {**CONTRACT.to_dict(), "short_side": 0},
        {**CONTRACT.to_dict(), "short_side": 1.5},
    ],
)
def test_a_damaged_description_is_refused(content: object) -> None:
    with pytest.raises(px.DataError, match=r"\bflow\b"):
        FlowContract.from_dict(content)  # type: ignore[arg-type]


def test_ranges_are_checked() -> None:
    assert check_range("frame") == "frame"
    assert check_range("20") == check_range(20) == 20.0
    for wrong in (0, -3, "all", float("nan"), float("inf"), "1e9"):
        with pytest.raises(px.ArgumentError, match=rf"range .*{wrong}"):
            check_range(wrong)


# --- keys ---


def test_all_parts_of_a_file_share_its_flow() -> None:
    def record(name: str, start: float | None = None, end: float | None = None) -> VideoRecord:
        return VideoRecord(name, Path("x"), ("a",), start, end)

    assert flow_key(record("a/b.avi")) == "a/b.avi"
    assert flow_key(record("a/b.avi@1.5-3", 1.5, 3)) == "a/b.avi"
    assert flow_key(record("a/b@c.avi@-3", None, 3)) == "a/b@c.avi"
    # A packed part is a file of its own, whatever its name looks like.
    assert flow_key(record("a/b.avi@1.5-3")) == "a/b.avi@1.5-3"


def test_keys_list_what_is_there(tmp_path: Path) -> None:
    store = create_store(tmp_path / "s", CONTRACT)
    for key in ("b/2.avi", "a/1.avi", "a/in/3"):
        write(store, key, random_flow(2))
    write(store, "a/1.avi", random_flow(2), backward=True)
    assert store.keys() == ["a/1.avi", "a/in/3", "b/2.avi"]
    assert "a/1.avi" in store
    assert "a/2.avi" not in store
    assert 3 not in store
    with pytest.raises(px.DataError, match=r"a/2\.avi\b.*praxiscope flow"):
        store.clip("a/2.avi")


def test_no_key_leads_out_of_the_store(tmp_path: Path) -> None:
    store = create_store(tmp_path / "s", CONTRACT)
    for key in ("../../x.avi", "/etc/x.avi", "a/../../x.avi"):
        assert store.path(key).resolve().is_relative_to(store.root.resolve())
    with pytest.raises(px.ArgumentError, match="clip"):
        store.path("..")


# --- writing and reading ---


@pytest.mark.parametrize("contract", [CONTRACT, FRAME], ids=["bound", "frame"])
@pytest.mark.parametrize("size", [(24, 34), (17, 33), (16, 131)])
def test_fields_come_back_rounded_in_any_order(
    tmp_path: Path, contract: FlowContract, size: tuple[int, int]
) -> None:
    flow, back = random_flow(13, *size), -random_flow(13, *size)
    store = create_store(tmp_path / "s", contract)
    write(store, "a/1.avi", flow)
    write(store, "a/1.avi", back, backward=True)
    clip = FlowStore(tmp_path / "s").clip("a/1.avi")
    assert (clip.frames, len(clip), clip.height, clip.width) == (14, 13, *size)
    assert clip.contract == contract
    assert clip.source == {"name": "source.avi", "bytes": 77}
    assert clip.has_backward
    expected, reverse = through_store(flow, contract), through_store(back, contract)
    for numbers in ([0], [12], range(13), [5, 2, 2, 12, 5], [3, 3, 3], torch.tensor([4, 1]), np.array([7])):
        got = clip.fields(numbers)
        assert got.dtype == torch.float32
        assert torch.equal(got, expected[[int(n) for n in numbers]])
        assert torch.equal(clip.fields(numbers, backward=True), reverse[[int(n) for n in numbers]])
    assert clip.fields([]).shape == (0, 2, *size)


def test_repeats_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = create_store(tmp_path / "s", CONTRACT)
    write(store, "a", random_flow(6))
    clip = store.clip("a")
    reads: list[list[int]] = []
    read = type(clip)._read

    def counted(self: FlowClip, numbers: list[int], backward: bool) -> torch.Tensor:
        reads.append(numbers)
        return read(self, numbers, backward)

    monkeypatch.setattr(type(clip), "_read", counted)
    clip.fields([4, 1, 4, 1, 1])
    assert reads == [[1, 4]]


def test_a_clip_and_a_store_travel_to_another_process(tmp_path: Path) -> None:
    store = create_store(tmp_path / "s", CONTRACT)
    write(store, "a", random_flow(6))
    expected = store.clip("a").fields([3])
    assert torch.equal(pickle.loads(pickle.dumps(store.clip("a"))).fields([3]), expected)
    assert torch.equal(pickle.loads(pickle.dumps(store)).clip("a").fields([3]), expected)


def test_numbers_outside_are_refused(tmp_path: Path) -> None:
    store = create_store(tmp_path / "s", CONTRACT)
    write(store, "a", random_flow(6))
    for number in (-1, 6):
        with pytest.raises(px.ArgumentError, match=rf"\b0\b.*\b5\b.*{number}\b"):
            store.clip("a").fields([0, number])


def test_backward_flow_is_missed_by_name(tmp_path: Path) -> None:
    store = create_store(tmp_path / "s", CONTRACT)
    write(store, "a", random_flow(6))
    assert not store.clip("a").has_backward
    with pytest.raises(px.DataError, match="--backward"):
        store.clip("a").fields([0], backward=True)
    write(store, "a", random_flow(7), backward=True)
    with pytest.raises(px.DataError, match=r"backward\.pxf: "):
        store.clip("a").fields([0], backward=True)


def test_frames_that_only_the_packets_promise_have_the_last_field(tmp_path: Path) -> None:
    store = create_store(tmp_path / "s", CONTRACT)
    write(store, "a", random_flow(6), promised=9)
    clip = store.clip("a")
    assert (clip.frames, len(clip)) == (7, 6)
    assert clip.fits(7)
    assert clip.fits(9)
    assert not clip.fits(8)
    assert torch.equal(clip.fields([7, 5, 6, 4]), clip.fields([5, 5, 5, 4]))
    with pytest.raises(px.ArgumentError, match=r"\b8\b"):
        clip.fields([8])


def test_each_field_decodes_alone(tmp_path: Path) -> None:
    """A file whose other pictures are overwritten still gives the one that is whole."""
    store = create_store(tmp_path / "s", CONTRACT)
    flow = random_flow(6)
    write(store, "a", flow)
    clip = store.clip("a")
    rows = clip._rows  # type: ignore[attr-defined]
    data = bytearray(clip.path.read_bytes())
    for number in (0, 1, 2, 4, 5):
        place, size = int(rows["place"][number]), int(rows["bytes"][number])
        data[place : place + size] = bytes(size)
    clip.path.write_bytes(data)
    assert torch.equal(store.clip("a").fields([3])[0], through_store(flow, CONTRACT)[3])
    with pytest.raises(px.VideoError, match=r"a\.forward\.pxf.*\bfield 4\b.*checksum"):
        store.clip("a").fields([3, 4])


# --- damage ---


def test_damage_anywhere_is_noticed(tmp_path: Path) -> None:
    store = create_store(tmp_path / "s", CONTRACT)
    write(store, "a", random_flow(6))
    path = store.clip("a").path
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        torn = bytearray(whole)
        torn[rng.integers(len(torn))] ^= int(rng.integers(1, 256))
        path.write_bytes(torn)
        with pytest.raises(px.VideoError, match=re.escape(str(path))):
            store.clip("a").fields(range(6))
    for length in (0, 10, 40, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(px.VideoError, match=re.escape(str(path))):
            store.clip("a")


def test_a_head_that_lies_allocates_nothing(tmp_path: Path) -> None:
    store = create_store(tmp_path / "s", CONTRACT)
    write(store, "a", random_flow(2))
    path = store.clip("a").path
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack("<Q", 1 << 60)
    path.write_bytes(data)
    with pytest.raises(px.VideoError, match="bytes"):
        store.clip("a")


def test_a_clip_made_in_another_way_is_refused_with_both_ways_shown(tmp_path: Path) -> None:
    store = create_store(tmp_path / "s", CONTRACT)
    other = create_store(tmp_path / "o", FlowContract("tvl1", {"warps": 3, "scale": 0.5}, 20.0))
    write(other, "a", random_flow(2))
    other.path("a").rename(store.path("a"))
    with pytest.raises(px.DataError, match=r"warps=3\b.*\b5\b.*warps=3\b.*warps=5\b"):
        store.clip("a")


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    store = create_store(tmp_path / "s", CONTRACT)
    (tmp_path / "v.avi").write_bytes(b"1")

    def write_and_fail() -> None:
        with store.writing("a", tmp_path / "v.avi") as writer:
            writer.add(random_flow(2))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    with (
        pytest.raises(px.VideoError, match=r"v\.avi: .*\bone frame\b"),
        store.writing("a", tmp_path / "v.avi"),
    ):
        pass
    assert [path.name for path in store.root.iterdir()] == ["flow.json"]


# --- stores ---


def test_a_store_begins_empty_and_is_opened_again(tmp_path: Path) -> None:
    store = create_store(tmp_path / "s", CONTRACT)
    assert store.keys() == []
    assert create_store(tmp_path / "s", CONTRACT).contract == FlowStore(tmp_path / "s").contract == CONTRACT
    assert FlowStore(tmp_path / "s", range=20).storage == "ffv1"
    with pytest.raises(px.DataError, match=r"\brange 20\.0\b.*\b15\b"):
        FlowStore(tmp_path / "s", range=15)


def test_another_way_of_making_or_storing_is_refused(tmp_path: Path) -> None:
    create_store(tmp_path / "s", CONTRACT)
    with pytest.raises(
        px.ArgumentError,
        match=r"range=20\b.*\bframe\b.*range=20\b.*range=frame",
    ):
        create_store(tmp_path / "s", FRAME)
    with pytest.raises(px.ArgumentError, match=r"\bffv1\b.*\bjpeg\b"):
        create_store(tmp_path / "s", CONTRACT, "jpeg")
    with pytest.raises(px.ArgumentError, match="'png'"):
        create_store(tmp_path / "t", CONTRACT, "png")
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "mine.txt").write_text("x")
    with pytest.raises(px.ArgumentError, match=re.escape(str(tmp_path / "f"))):
        create_store(tmp_path / "f", CONTRACT)
    with pytest.raises(px.ArgumentError, match=r"mine\.txt"):
        create_store(tmp_path / "f" / "mine.txt", CONTRACT)


def test_what_is_no_store_says_so(tmp_path: Path) -> None:
    with pytest.raises(px.DataError, match=r"none: "):
        FlowStore(tmp_path / "none")
    with pytest.raises(px.DataError, match=re.escape(f"{tmp_path}: ")):
        FlowStore(tmp_path)
    for text in ("{", "[]", '{"version": 1}', '{"version": 1, "storage": "ffv1", "contract": 3}'):
        (tmp_path / "flow.json").write_text(text)
        with pytest.raises(px.DataError, match=r"flow\.json: "):
            FlowStore(tmp_path)
    for change in ({"version": 2}, {"storage": "png"}):
        whole = {"version": 1, "storage": "ffv1", "contract": CONTRACT.to_dict(), **change}
        (tmp_path / "flow.json").write_text(json.dumps(whole))
        with pytest.raises(px.DataError, match=r"flow\.json: .*\bversion (1|2)\b.*(ffv1|png)"):
            FlowStore(tmp_path)


def test_other_tools_flow_has_an_unknown_method() -> None:
    assert FlowContract(UNKNOWN, {}, 20).difference(CONTRACT) == "method=unknown against tvl1"


def test_a_file_of_the_other_direction_is_refused(tmp_path: Path) -> None:
    store = create_store(tmp_path, FlowContract("tvl1", {}))
    source = tmp_path / "video.mp4"
    source.write_bytes(b"video")
    with store.writing("a.mp4", source, backward=True) as writer:
        writer.add(torch.zeros(2, 2, 16, 16))
    store.path("a.mp4", backward=True).rename(store.path("a.mp4"))
    with pytest.raises(VideoError, match=r"\bbackward\b.*\bforward\b"):
        store.clip("a.mp4")
