"""JPEG folders in TSN's naming: read as other tools write them, and written so that they can be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import praxiscope as px
from praxiscope.flow.contract import UNKNOWN, FlowContract
from praxiscope.flow.store import FlowStore, create_store, through_store

CONTRACT = FlowContract("dis", {"preset": "fast"}, 20.0)


def smooth_flow(fields: int, height: int = 48, width: int = 64) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(height) / 9, torch.arange(width) / 11, indexing="ij")
    pictures = [torch.stack((8 * torch.sin(x + t), 6 * torch.cos(y - t))) for t in range(fields)]
    return torch.stack(pictures).float()


def dense_flow_level(value: np.ndarray, bound: float) -> np.ndarray:
    """The grey level that dense_flow writes: its macro CAST."""
    level = np.rint(255 * (value + bound) / (2 * bound))
    return np.clip(level, 0, 255).astype(np.uint8)


def write_like_dense_flow(
    folder: Path, flow: torch.Tensor, *, prefix: str = "flow_", first: int = 1, bound: float = 20.0
) -> None:
    folder.mkdir(parents=True)
    for number, field in enumerate(flow.numpy(), start=first):
        for axis, name in enumerate("xy"):
            picture = Image.fromarray(dense_flow_level(field[axis], bound))
            picture.save(folder / f"{prefix}{name}_{number:05d}.jpg", quality=95)
        Image.new("RGB", (64, 48)).save(folder / f"img_{number:05d}.jpg")


@pytest.mark.parametrize(("prefix", "first"), [("flow_", 1), ("flow_", 0), ("", 1)])
def test_folders_of_tsns_tools_are_read(tmp_path: Path, prefix: str, first: int) -> None:
    flow = smooth_flow(5)
    write_like_dense_flow(tmp_path / "of" / "v_Punch_g01_c01", flow, prefix=prefix, first=first)
    store = FlowStore(tmp_path / "of", range=20)
    assert store.contract == FlowContract(UNKNOWN, {}, 20.0)
    assert store.keys() == ["v_Punch_g01_c01"]
    clip = store.clip("Punch/v_Punch_g01_c01.avi")
    assert (clip.frames, len(clip), clip.height, clip.width, clip.has_backward) == (6, 5, 48, 64, False)
    got = clip.fields([4, 0, 4])
    assert got.dtype == torch.float32
    # Half a level, that the zero is exact, half a level of rounding, and what JPEG loses.
    assert (got - flow[[4, 0, 4]]).abs().max() < 1.0
    assert (got - flow[[4, 0, 4]]).abs().mean() < 0.15


def test_a_static_pixel_of_theirs_has_no_motion(tmp_path: Path) -> None:
    write_like_dense_flow(tmp_path / "clip", torch.zeros(2, 2, 48, 64))
    assert torch.equal(FlowStore(tmp_path, range=20).clip("clip").fields([0]), torch.zeros(1, 2, 48, 64))


def test_a_clip_is_found_by_the_names_that_tools_give_it(tmp_path: Path) -> None:
    for number, folder in enumerate(("whole/a/clip.avi", "classes/a/clip", "flat/clip")):
        write_like_dense_flow(tmp_path / folder, smooth_flow(2 + number))
    for number, root in enumerate(("whole", "classes", "flat")):
        store = FlowStore(tmp_path / root, range=20)
        assert "a/clip.avi" in store
        assert len(store.clip("a/clip.avi")) == 2 + number
        assert "a/other.avi" not in store
        with pytest.raises(px.DataError, match=r"a/other\.avi"):
            store.clip("a/other.avi")


def test_the_bound_scales_what_is_read_and_must_be_given(tmp_path: Path) -> None:
    write_like_dense_flow(tmp_path / "clip", smooth_flow(2))
    twenty, forty = (FlowStore(tmp_path, range=bound).clip("clip").fields([1]) for bound in (20, 40))
    torch.testing.assert_close(forty, 2 * twenty)
    with pytest.raises(px.DataError, match="--flow-range"):
        FlowStore(tmp_path)


def test_a_contract_can_be_written_down_beside_their_pictures(tmp_path: Path) -> None:
    write_like_dense_flow(tmp_path / "clip", smooth_flow(2))
    create_store(tmp_path, CONTRACT, "jpeg")
    store = FlowStore(tmp_path)
    assert (store.contract, store.storage, store.keys()) == (CONTRACT, "jpeg", ["clip"])
    assert store.stored("clip") is None  # nothing of ours
    (tmp_path / "v.avi").write_bytes(b"1")
    with (
        pytest.raises(px.ArgumentError, match=r"\bclip\b"),
        store.writing("clip.mp4", tmp_path / "v.avi"),
    ):
        pass
    assert len(store.clip("clip")) == 2


def test_what_is_written_is_read_and_costs_what_is_noted(tmp_path: Path) -> None:
    flow = smooth_flow(7)
    flow[2, 0, :5, :5] = 30.0
    (tmp_path / "v.avi").write_bytes(b"12345")
    store = create_store(tmp_path / "s", CONTRACT, "jpeg")
    for _ in range(2):  # the second run takes the first one's place
        with store.writing("a/v.avi", tmp_path / "v.avi", promised_frames=9) as writer:
            writer.add(flow[:4])
            writer.add(flow[4:])
    names = {path.name for path in (tmp_path / "s" / "a" / "v").iterdir()}
    pictures = {f"flow_{axis}_{number:05d}.jpg" for axis in "xy" for number in range(1, 8)}
    assert names == {*pictures, "source.json"}
    assert [path.name for path in (tmp_path / "s" / "a").iterdir()] == ["v"]
    clip = FlowStore(tmp_path / "s").clip("a/v.avi")
    assert (clip.frames, clip.source) == (8, {"name": "v.avi", "bytes": 5})
    assert clip.fits(9)
    read, inside = clip.fields(range(7)), flow.abs() <= 20
    error = (read - flow)[inside].double()
    assert clip.loss.clipped == 25
    assert clip.loss.root_mean_square == pytest.approx(float(error.square().mean().sqrt()), rel=1e-6)
    assert clip.loss.largest == pytest.approx(float(error.abs().max()), rel=1e-6)
    rounding = (through_store(flow, CONTRACT) - flow)[inside].double().square().mean().sqrt()
    assert clip.loss.root_mean_square > float(rounding)
    assert clip.bytes == sum((clip.path / name).stat().st_size for name in pictures)
    # Grey levels are dense_flow's, up to the half level by which ours keep zero exact.
    with Image.open(clip.path / "flow_x_00001.jpg") as picture:
        assert picture.mode == "L"
        theirs = dense_flow_level(flow[0, 0].numpy(), 20.0).astype(int)
        assert np.abs(np.asarray(picture).astype(int) - theirs).mean() < 1.5


def test_what_jpegs_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(px.ArgumentError, match="ffv1"):
        create_store(tmp_path / "s", FlowContract("dis", {}, "frame"), "jpeg")
    store = create_store(tmp_path / "t", CONTRACT, "jpeg")
    (tmp_path / "v.avi").write_bytes(b"1")
    with (
        pytest.raises(px.ArgumentError, match="ffv1"),
        store.writing("a", tmp_path / "v.avi", backward=True),
    ):
        pass
    with store.writing("a", tmp_path / "v.avi") as writer:
        writer.add(smooth_flow(2))
    with pytest.raises(px.DataError, match=r"backward.*--format ffv1 --backward"):
        store.clip("a").fields([0], backward=True)


def test_incomplete_and_damaged_folders_are_refused(tmp_path: Path) -> None:
    write_like_dense_flow(tmp_path / "clip", smooth_flow(4))
    store = FlowStore(tmp_path, range=20)
    missing = tmp_path / "clip" / "flow_y_00002.jpg"
    held = missing.read_bytes()
    missing.unlink()
    with pytest.raises(px.DataError, match=r"\b2\b.*\by\b|flow_y_00002"):
        store.clip("clip")
    missing.write_bytes(held[: len(held) // 2])
    clip = store.clip("clip")
    with pytest.raises(px.DataError, match=r"flow_y_00002\.jpg: "):
        clip.fields([0, 1])
    clip.fields([0, 2, 3])
    missing.write_text("no picture")
    with pytest.raises(px.DataError, match=r"flow_y_00002\.jpg: "):
        clip.fields([1])
    Image.new("L", (10, 10)).save(missing)
    with pytest.raises(px.DataError, match=r"\b10 x 10\b.*\b64 x 48\b"):
        clip.fields([1])
    for number in range(1, 3):
        for axis in "xy":
            (tmp_path / "clip" / f"flow_{axis}_{number:05d}.jpg").unlink()
    with pytest.raises(px.DataError, match=r"clip: .*flow_x_00001\.jpg.*flow_x_00000\.jpg"):
        store.clip("clip")
