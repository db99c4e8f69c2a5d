"""The flow estimators against closed forms, ground truth, torchvision and themselves."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from praxiscope import registry
from praxiscope._compat import import_torchvision
from praxiscope.errors import ArgumentError, CheckpointError, UnknownNameError
from praxiscope.flow.error import end_point_error
from praxiscope.flow.estimate import create_estimator, estimate_flow, estimator_of, estimators
from praxiscope.flow.flo import read_flo
from praxiscope.flow.methods import list_methods

METHODS = ["tvl1", "dis", "farneback"]
OPENCV = {"dis", "farneback"}


def needs(method: str) -> None:
    if method in OPENCV:
        pytest.importorskip("cv2")


# ------------------------------------------------------------------------------------------- closed forms


def texture(x: Tensor, y: Tensor) -> Tensor:
    """A smooth picture at any points: waves of 9 pixels and more, uint8 [3, H, W]."""
    generator = torch.Generator().manual_seed(1)
    total = torch.zeros(3, *x.shape, dtype=torch.float64)
    for _ in range(40):
        frequency = torch.empty(2).uniform_(-1 / 9, 1 / 9, generator=generator)
        phase = torch.rand(3, 1, 1, generator=generator) * 2 * math.pi
        total += torch.sin(2 * math.pi * (frequency[0] * x + frequency[1] * y) + phase)
    return (127.5 + 9 * total).round().clamp(0, 255).to(torch.uint8)


def grid(height: int = 120, width: int = 160) -> tuple[Tensor, Tensor]:
    y, x = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    return x, y


def translated(dx: float, dy: float) -> tuple[Tensor, Tensor]:
    """Two frames, the second moved, and their flow."""
    x, y = grid()
    flow = torch.tensor([dx, dy])[:, None, None].expand(2, *x.shape)
    return torch.stack((texture(x, y), texture(x - dx, y - dy))), flow


def rotated(radians: float) -> tuple[Tensor, Tensor]:
    """Two frames, the second turned about the centre, and their flow."""
    x, y = grid()
    centre_x, centre_y = (x.shape[1] - 1) / 2, (x.shape[0] - 1) / 2
    x, y = x - centre_x, y - centre_y
    cosine, sine = math.cos(radians), math.sin(radians)
    turned = texture(cosine * x + sine * y + centre_x, cosine * y - sine * x + centre_y)
    flow = torch.stack((cosine * x - sine * y - x, sine * x + cosine * y - y)).float()
    return torch.stack((texture(x + centre_x, y + centre_y), turned)), flow


def errors(frames: Tensor, truth: Tensor, method: str) -> Tensor:
    """Distances from the true flow where it does not lead out of the frame."""
    made = estimate_flow(frames, method)[0]
    return torch.hypot(*(made - truth))[10:-10, 10:-10]


@pytest.mark.parametrize(("method", "bound"), [("tvl1", 0.08), ("dis", 0.05), ("farneback", 0.03)])
@pytest.mark.parametrize(("dx", "dy"), [(2.3, -1.6), (-0.4, 0.7)])
def test_flow_of_a_moved_picture_is_its_motion(method, bound, dx, dy):
    needs(method)
    found = errors(*translated(dx, dy), method)
    assert found.mean() < bound
    assert found.max() < 0.4


@pytest.mark.parametrize(("method", "bound"), [("tvl1", 0.09), ("dis", 0.08), ("farneback", 0.15)])
def test_flow_of_a_turned_picture_is_its_rotation(method, bound):
    needs(method)
    frames, truth = rotated(0.05)  # 5 pixels in the corners
    found = errors(frames, truth, method)
    assert found.mean() < bound
    assert found.max() < 0.6


# ------------------------------------------------------------------------------------------- ground truth


def picture(path: Path) -> Tensor:
    from PIL import Image

    with Image.open(path) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


# A little above what was measured: tvl1 1.589 and 0.143, dis 1.755 and 0.226, farneback 3.033 and 0.339.
@pytest.mark.parametrize(
    ("method", "chairs", "rubberwhale"),
    [("tvl1", 1.60, 0.1455), ("dis", 1.83, 0.24), ("farneback", 3.2, 0.36)],
)
def test_end_point_errors_on_pairs_with_ground_truth(data_folder, method, chairs, rubberwhale):
    needs(method)
    for bound, names in (
        (chairs, ("chairs/0img0.ppm", "chairs/0img1.ppm", "chairs/0flow.flo")),
        (rubberwhale, ("rubberwhale/frame10.png", "rubberwhale/frame11.png", "rubberwhale/flow10.flo")),
    ):
        first, second, flow = (data_folder / "flow" / name for name in names)
        truth, _ = read_flo(flow)
        made = estimate_flow(torch.stack((picture(first), picture(second))), method)[0]
        assert end_point_error(made, truth).nanmean() < bound


# ---------------------------------------------------------------------------------- what all have in common


@pytest.fixture(scope="module")
def clip() -> Tensor:
    """Five frames of motion that changes from pair to pair."""
    x, y = grid(64, 80)
    return torch.stack([texture(x - 0.5 * t * t, y + t) for t in range(5)])


@pytest.mark.parametrize("method", METHODS)
def test_backward_flow_is_the_flow_of_the_reversed_video(method, clip):
    needs(method)
    backward = estimate_flow(clip, method, backward=True)
    forward_of_reversed = estimate_flow(clip.flip(0), method)
    torch.testing.assert_close(backward, forward_of_reversed.flip(0), atol=1e-4, rtol=0)
    assert (backward - estimate_flow(clip, method)).abs().mean() > 0.5


@pytest.mark.parametrize("method", METHODS)
def test_a_video_at_once_is_as_pair_by_pair(method, clip):
    needs(method)
    together = estimate_flow(clip, method)
    assert together.shape == (4, 2, 64, 80)
    assert together.dtype == torch.float32
    alone = torch.cat([estimate_flow(clip[t : t + 2], method) for t in range(4)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_the_layout_in_memory_makes_no_difference_and_frames_are_left_alone(method, clip):
    needs(method)
    kept = clip.clone()
    as_decoded = clip.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)  # [T, H, W, 3] in memory
    torch.testing.assert_close(estimate_flow(as_decoded, method), estimate_flow(clip, method))
    assert torch.equal(clip, kept)


@pytest.mark.parametrize("method", METHODS)
def test_an_estimator_is_built_again_from_its_record(method):
    needs(method)
    estimator = create_estimator(method)
    record = {"method": estimator.name, **estimator.parameters}
    assert estimator_of(record) == estimator
    assert estimator_of(record).parameters == estimator.parameters


def test_parameters_reach_the_method(clip):
    assert create_estimator("tvl1", warps=2, attachment=1).parameters["attachment"] == 1
    coarse = estimate_flow(clip, "tvl1", warps=1, iterations=1)
    assert not torch.allclose(coarse, estimate_flow(clip, "tvl1"), atol=0.1)
    needs("dis")
    assert not torch.equal(estimate_flow(clip, "dis", preset="ultrafast"), estimate_flow(clip, "dis"))
    wide = estimate_flow(clip, "farneback", winsize=31)
    assert not torch.equal(wide, estimate_flow(clip, "farneback"))


def test_low_and_narrow_frames_do_not_end_the_process():
    needs("dis")
    # OpenCV's own presets read unwritten memory here: nan, or a crash, which is why a process of its own tries them.
    code = """if True:
        import torch
        from praxiscope.flow.estimate import estimate_flow
        for size in ((16, 16), (16, 96), (16, 500), (23, 640), (31, 500), (500, 31), (32, 640)):
            frames = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
            for preset in ("ultrafast", "fast", "medium"):
                flow = estimate_flow(frames, "dis", preset=preset)
                assert flow.isfinite().all() and flow.abs().max() < 1000, (size, preset)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_opencv_keeps_its_number_of_threads(clip):
    cv2 = pytest.importorskip("cv2")
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        estimate_flow(clip[:2], "dis")
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)


# --------------------------------------------------------------------------------------------------- RAFT


@pytest.fixture(scope="module")
def raft_weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, Path, Path]:
    """A small RAFT with random weights, and files of these in two formats."""
    import_torchvision()
    from safetensors.torch import save_file
    from torchvision.models.optical_flow import raft_small

    torch.manual_seed(0)
    network = raft_small(weights=None, progress=False).eval()
    folder = tmp_path_factory.mktemp("raft")
    save_file(network.state_dict(), str(folder / "raft.safetensors"))
    torch.save(network.state_dict(), folder / "raft.pth")
    return network, folder / "raft.safetensors", folder / "raft.pth"


@pytest.mark.parametrize("backward", [False, True])
def test_raft_is_torchvisions_on_the_padded_pair(raft_weights, backward):
    network, file, _ = raft_weights
    x, y = grid(90, 133)
    frames = torch.stack([texture(x - 2 * t, y + t) for t in range(3)])
    made = estimate_flow(frames, "raft", weights=str(file), size="small", updates=2, backward=backward)
    # 90 rows want 38 more to be 128, 133 columns 3 more to be 136; the border is repeated.
    padded = np.pad(frames.numpy(), ((0, 0), (0, 0), (19, 19), (1, 2)), mode="edge")
    pixels = torch.from_numpy(padded).float() / 255 * 2 - 1
    for pair in range(2):
        first, second = (pixels[pair + 1], pixels[pair]) if backward else (pixels[pair], pixels[pair + 1])
        with torch.no_grad():
            theirs = network(first[None], second[None], num_flow_updates=2)[-1][0]
        torch.testing.assert_close(made[pair], theirs[:, 19:109, 1:134], atol=1e-3, rtol=1e-4)


def test_raft_is_recorded_by_its_weights_and_not_by_their_file(raft_weights):
    _, safetensors, pth = raft_weights
    by_file = [create_estimator("raft", weights=str(file), size="small") for file in (safetensors, pth)]
    assert by_file[0].parameters == by_file[1].parameters
    record = {"method": "raft", **by_file[0].parameters}
    assert "raft.safetensors" not in str(record)
    assert estimator_of(record, weights=pth).parameters == by_file[0].parameters
    with pytest.raises(ArgumentError, match=r"raft\.pth: .*0000"):
        estimator_of({**record, "weights": "0000"}, weights=pth)
    with pytest.raises(ArgumentError, match=r"raft.*--flow-weights.*--flow"):
        estimator_of(record)


def test_weights_that_do_not_fit_are_named(raft_weights, tmp_path):
    _, file, _ = raft_weights
    with pytest.raises(CheckpointError, match=r"raft\.safetensors: .* raft_large: \S+"):
        create_estimator("raft", weights=str(file), size="large")
    with pytest.raises(CheckpointError, match=r"none\.pth: "):
        create_estimator("raft", weights=str(tmp_path / "none.pth"))


def test_without_a_network_the_address_of_the_weights_is_named(monkeypatch):
    import_torchvision()
    from torchvision.models.optical_flow import Raft_Small_Weights

    def fails(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(Raft_Small_Weights, "get_state_dict", fails)
    with pytest.raises(CheckpointError, match=r"no route to host.*https://.*--flow-weights FILE"):
        create_estimator("raft", weights="download", size="small")


# ------------------------------------------------------------------------------------------------- errors


def test_all_methods_are_listed():
    assert list_methods() == ["codec", "dis", "farneback", "network", "raft", "tvl1"]


@pytest.mark.parametrize("way", ["registered", "entry point"])
def test_a_method_of_your_own_is_known_by_its_name(way, monkeypatch):
    @dataclass(frozen=True)
    class Still:
        shift: float = 0.0
        name = "still"
        needs_weights = False
        parameters = property(asdict)

        def __call__(self, frames: Tensor, *, backward: bool = False) -> Tensor:
            return torch.full((len(frames) - 1, 2, *frames.shape[-2:]), self.shift)

    if way == "registered":
        monkeypatch.setitem(estimators._entries, "still", Still)
    else:
        monkeypatch.setitem(sys.modules, "theirs", SimpleNamespace(Still=Still))
        entry = metadata.EntryPoint("still", "theirs:Still", "praxiscope.flow_methods")
        monkeypatch.setattr(
            registry, "entry_points", lambda **about: metadata.EntryPoints([entry]).select(**about)
        )
        monkeypatch.setattr(estimators, "_entries", dict(estimators._entries))
    assert "still" in list_methods()
    flow = estimate_flow(torch.zeros(3, 3, 16, 16, dtype=torch.uint8), "still", shift=2.0)
    assert flow.shape == (2, 2, 16, 16)
    assert flow.unique().tolist() == [2.0]
    record = {"method": "still", **create_estimator("still", shift=1.0).parameters}
    assert estimator_of(record).parameters == {"shift": 1.0}
    with pytest.raises(ArgumentError, match=r"--flow-weights w\.pt: .*still"):
        estimator_of(record, weights="w.pt")


@pytest.mark.parametrize(
    ("method", "parameters", "kind", "named"),
    [
        ("tvl", {}, UnknownNameError, ["'tvl'", "'tvl1'"]),
        ("tvl1", {"warp": 3}, UnknownNameError, ["tvl1", "'warp'", "'warps'"]),
        ("tvl1", {"name": "x"}, UnknownNameError, ["tvl1", "'name'"]),
        ("tvl1", {"warps": 2.5}, ArgumentError, ["tvl1", "warps", "int", "2.5"]),
        ("tvl1", {"warps": True}, ArgumentError, ["tvl1", "warps", "int", "True"]),
        ("tvl1", {"attachment": "a"}, ArgumentError, ["tvl1", "attachment", "float", "'a'"]),
        ("tvl1", {"warps": 0}, ArgumentError, ["warps", ">= 1"]),
        (
            "dis",
            {"preset": "fastest"},
            UnknownNameError,
            ["dis", "'fastest'", "'fast'"],
        ),
        ("dis", {"preset": 1}, ArgumentError, ["dis", "preset", "str", "1"]),
        ("farneback", {"pyr_scale": 1.0}, ArgumentError, ["0.1 <= pyr_scale < 1"]),
        ("farneback", {"poly_sigma": math.nan}, ArgumentError, ["poly_sigma > 0"]),
        ("farneback", {"poly_sigma": 0.0}, ArgumentError, ["poly_sigma > 0"]),
        ("farneback", {"iterations": 0}, ArgumentError, ["iterations=0"]),
        ("raft", {}, ArgumentError, ["--flow-weights download"]),
        ("raft", {"weights": "a", "size": "middle"}, UnknownNameError, ["raft", "'middle'"]),
        ("raft", {"weights": "a", "updates": 0}, ArgumentError, ["update", "0"]),
    ],
)
def test_what_no_estimator_can_be_built_of_is_named(method, parameters, kind, named):
    needs(method)
    with pytest.raises(kind) as raised:
        create_estimator(method, **parameters)
    assert [part for part in named if part not in str(raised.value)] == []


@pytest.mark.parametrize(
    ("frames", "named"),
    [
        (
            torch.zeros(1, 3, 32, 32, dtype=torch.uint8),
            r"T >= 2\b.*torch\.uint8 \[1, 3, 32, 32\]",
        ),
        (torch.zeros(2, 1, 32, 32, dtype=torch.uint8), r"\[2, 1, 32, 32\]"),
        (torch.zeros(3, 32, 32, dtype=torch.uint8), r"\[3, 32, 32\]"),
        (torch.zeros(2, 3, 32, 32), "torch.float32"),
        (torch.zeros(2, 3, 32, 15, dtype=torch.uint8), r"\b16\b.*\[32, 15\]"),
    ],
)
def test_other_things_than_frames_are_refused(frames, named):
    with pytest.raises(ArgumentError, match=named):
        estimate_flow(frames, "tvl1")


@pytest.mark.parametrize("method", sorted(OPENCV))
def test_without_opencv_the_remedy_is_named(method, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ArgumentError, match=r"pip install 'praxiscope\[flow\]'.*tvl1"):
        create_estimator(method)
    assert create_estimator("tvl1").name == "tvl1"
