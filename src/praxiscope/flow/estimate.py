"""Optical flow between the frames of a video, by several methods behind one function.

Axis letters: T frames, N pairs, H rows, W columns. Flow is float32 [T - 1, 2, H, W] in pixels, x first.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from praxiscope._compat import import_torchvision
from praxiscope.errors import ArgumentError, CheckpointError, unknown_name
from praxiscope.flow.tvl1 import TVL1
from praxiscope.registry import Registry
from praxiscope.tensorfile import read_tensors

__all__ = [
    "DIS",
    "RAFT",
    "SMALLEST_SIDE",
    "Estimator",
    "Farneback",
    "create_estimator",
    "estimate_flow",
    "estimator_of",
    "estimators",
]


SMALLEST_SIDE = 16
"""Pixels of the short side of the smallest frames that flow is estimated on."""


class Estimator(Protocol):
    """A method with its parameters. Both are recorded beside every flow that it makes."""

    @property
    def name(self) -> str:
        """The method's name."""

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters, by name, as JSON can hold them: equal ones give equal flow."""

    def __call__(self, frames: Tensor, *, backward: bool = False) -> Tensor:
        """uint8 [T, 3, H, W] to float32 [T - 1, 2, H, W], on the frames' device."""


estimators: Registry[Callable[..., Estimator]] = Registry("flow method")
estimators.register("tvl1")(TVL1)


def create_estimator(method: str, **parameters: Any) -> Estimator:
    """Build an estimator by its name.

    Args:
        method: "tvl1", "dis", "farneback" or "raft".
        parameters: of the method; those that are not given have the values of its class.

    Raises:
        UnknownNameError: no such method, or no such parameter of it.
        ArgumentError: a value out of range, or a method whose library is not installed.
    """
    build = estimators.get(method)
    known = {f.name: f for f in fields(build) if f.init}  # type: ignore[arg-type]
    for name, value in parameters.items():
        if name not in known:
            raise unknown_name(f"parameter of {method}", name, known)
        default = known[name].default
        wanted = float if isinstance(default, float) else type(default)
        fits = isinstance(value, wanted) or (wanted is float and isinstance(value, int))
        if (
            default is not MISSING
            and default is not None
            and (not fits or isinstance(value, bool) != (wanted is bool))
        ):
            raise ArgumentError(f"{method}: {name} must be of type {wanted.__name__}, got {value!r}")
    return build(**parameters)


def estimate_flow(
    frames: Tensor, method: str | Estimator = "tvl1", *, backward: bool = False, **parameters: Any
) -> Tensor:
    """Estimate the flow between consecutive frames.

    Args:
        frames: uint8 [T, 3, H, W], RGB; T >= 2. TV-L1 and RAFT run on their device, the others on the CPU.
        method: a name for `create_estimator`, or an estimator.
        backward: False: field t leads from frame t to frame t + 1. True: field t leads from frame t + 1 to frame t.
        parameters: of the method, where it is named.

    Returns:
        float32 [T - 1, 2, H, W], displacements in pixels, x first: a pixel (x, y) of the frame that a field starts
        from is found at (x + field[0], y + field[1]) in the other.

    Raises:
        ArgumentError: frames of another kind or size, or a method that cannot be used.

    Example:
        >>> flow = estimate_flow(open_video("clip.mp4").frames(range(11)), "tvl1", warps=3)
    """
    if frames.ndim != 4 or frames.shape[1] != 3 or frames.dtype != torch.uint8 or len(frames) < 2:
        raise ArgumentError(
            f"flow is estimated between two or more frames, uint8 [T, 3, H, W]; got {frames.dtype} "
            f"{list(frames.shape)}"
        )
    if min(frames.shape[-2:]) < SMALLEST_SIDE:
        raise ArgumentError(
            f"flow is estimated on frames of {SMALLEST_SIDE} pixels and more, got {list(frames.shape[-2:])}"
        )
    estimator = create_estimator(method, **parameters) if isinstance(method, str) else method
    return estimator(frames, backward=backward)


def _opencv() -> Any:
    try:
        import cv2
    except ImportError:
        raise ArgumentError(
            "the flow methods dis and farneback need OpenCV: pip install 'praxiscope[flow]'. The method tvl1 needs "
            "nothing."
        ) from None
    return cv2


def _by_pairs(frames: Tensor, backward: bool, estimate: Callable[[Any, Any], Any]) -> Tensor:
    """Flow pair by pair on OpenCV's grey images, uint8 [H, W]."""
    cv2 = _opencv()
    grey = [cv2.cvtColor(picture.numpy(), cv2.COLOR_RGB2GRAY) for picture in frames.permute(0, 2, 3, 1).cpu()]
    flow = torch.empty(len(grey) - 1, 2, *frames.shape[-2:])
    threads = cv2.getNumThreads()
    cv2.setNumThreads(torch.get_num_threads())  # whoever limits torch means all of the work
    try:
        for number, (first, second) in enumerate(itertools.pairwise(grey)):
            pair = (second, first) if backward else (first, second)
            flow[number] = torch.from_numpy(estimate(*pair)).permute(2, 0, 1)
    finally:
        cv2.setNumThreads(threads)
    return flow.to(frames.device)


_DIS_PRESETS = {"ultrafast": 0, "fast": 1, "medium": 2}


@estimators.register("dis")
@dataclass(frozen=True)
class DIS:
    """Dense inverse search (Kroeger et al., 2016) by OpenCV: the fastest.

    Args:
        preset: "ultrafast", "fast" or "medium": how fine the finest scale is, and whether its flow is refined.
    """

    preset: str = "medium"

    name = "dis"

    def __post_init__(self) -> None:
        if self.preset not in _DIS_PRESETS:
            raise unknown_name("preset of dis", self.preset, _DIS_PRESETS)
        _opencv()

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters by name."""
        return asdict(self)

    def __call__(self, frames: Tensor, *, backward: bool = False) -> Tensor:
        """Flow between consecutive frames; see `estimate_flow`."""
        return _by_pairs(frames, backward, self._estimate)

    def _estimate(self, first: Any, second: Any) -> Any:
        # A new object for each pair: OpenCV's changes its own scales on small frames, and keeps that for the next pair.
        estimator = _opencv().DISOpticalFlow_create(_DIS_PRESETS[self.preset])
        # OpenCV makes no scale whose short side is less than a patch. Where a preset's finest scale would be one, it
        # reads memory that it never wrote, and may end the process.
        scales = int(math.log2(min(first.shape) / estimator.getPatchSize()))
        estimator.setFinestScale(min(estimator.getFinestScale(), scales))
        return estimator.calc(first, second, None)


@estimators.register("farneback")
@dataclass(frozen=True)
class Farneback:
    """Polynomial expansion (Farneback, 2003) by OpenCV, whose names the parameters have.

    Args:
        pyr_scale: size of a scale relative to the next finer one.
        levels: scales.
        winsize: pixels of the averaging window.
        iterations: on each scale.
        poly_n, poly_sigma: pixels of the neighbourhood that is expanded, and its Gaussian's deviation.
    """

    pyr_scale: float = 0.5
    levels: int = 5
    winsize: int = 15
    iterations: int = 3
    poly_n: int = 5
    poly_sigma: float = 1.1

    name = "farneback"

    def __post_init__(self) -> None:
        counts = (self.levels, self.winsize, self.iterations, self.poly_n)
        if not 0.1 <= self.pyr_scale < 1 or min(counts) < 1 or not 0 < self.poly_sigma < math.inf:
            raise ArgumentError(
                f"Farneback needs 0.1 <= pyr_scale < 1, poly_sigma > 0 and counts of at least 1; got {self}"
            )
        _opencv()

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters by name."""
        return asdict(self)

    def __call__(self, frames: Tensor, *, backward: bool = False) -> Tensor:
        """Flow between consecutive frames; see `estimate_flow`."""
        cv2 = _opencv()
        return _by_pairs(
            frames,
            backward,
            lambda first, second: cv2.calcOpticalFlowFarneback(
                first, second, None, flags=0, **self.parameters
            ),
        )


@estimators.register("raft")
@dataclass(frozen=True)
class RAFT:
    """RAFT (Teed and Deng, 2020), torchvision's networks.

    Args:
        weights: a file (a state dict without pickled objects, or safetensors), or "download" for torchvision's own.
        size: "large" or "small".
        updates: of the flow, per pair.

    Raises:
        ArgumentError: a value that cannot be used.
        CheckpointError: weights that cannot be had, or are not of this network.
    """

    weights: str = ""
    size: str = "large"
    updates: int = 12

    name = "raft"

    def __post_init__(self) -> None:
        if self.size not in ("large", "small"):
            raise unknown_name("size of raft", self.size, ("large", "small"))
        if self.updates < 1:
            raise ArgumentError(f"RAFT needs at least 1 update, got {self.updates}")
        if not self.weights:
            raise ArgumentError(
                "the flow method raft needs weights: --set weights=FILE, or --set weights=download for torchvision's"
            )
        import_torchvision()
        from torchvision.models import optical_flow

        network = getattr(optical_flow, f"raft_{self.size}")(weights=None, progress=False)
        if self.weights == "download":
            state = self._download(optical_flow)
        else:
            state = read_tensors(self.weights)
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            problem = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
            raise CheckpointError(f"{self.weights}: does not fit raft_{self.size}: {problem}") from None
        object.__setattr__(self, "_network", network.eval())
        digest = hashlib.sha256()
        for name, value in sorted(state.items()):
            digest.update(name.encode() + value.contiguous().numpy().tobytes())
        object.__setattr__(self, "_digest", digest.hexdigest()[:16])

    def _download(self, optical_flow: Any) -> dict[str, Tensor]:
        chosen = getattr(optical_flow, f"Raft_{self.size.title()}_Weights").DEFAULT
        try:
            state: dict[str, Tensor] = chosen.get_state_dict(progress=True, check_hash=True)
        except OSError as error:
            raise CheckpointError(
                f"the weights of raft_{self.size} cannot be downloaded ({error}). Without a network, fetch "
                f"{chosen.url} elsewhere and give the file: --set weights=FILE"
            ) from error
        return state

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters by name; the weights by a digest of their values, wherever their file lies."""
        digest: str = self._digest  # type: ignore[attr-defined]
        return {"weights": digest, "size": self.size, "updates": self.updates}

    def __call__(self, frames: Tensor, *, backward: bool = False) -> Tensor:
        """Flow between consecutive frames; see `estimate_flow`."""
        network: Any = self._network.to(frames.device)  # type: ignore[attr-defined]
        height, width = frames.shape[-2:]
        # Sides must be multiples of 8, and the network's coarsest correlation wants 128 pixels.
        padding = [max(-side % 8, 128 - side) for side in (height, width)]
        top, left = padding[0] // 2, padding[1] // 2
        flow = torch.empty(len(frames) - 1, 2, height, width, device=frames.device)
        with torch.inference_mode():
            for number in range(len(flow)):
                pair = frames[number : number + 2].float().div(127.5).sub(1)
                pair = F.pad(pair, (left, padding[1] - left, top, padding[0] - top), mode="replicate")
                first, second = pair.flip(0) if backward else pair
                made = network(first[None], second[None], num_flow_updates=self.updates)[-1][0]
                flow[number] = made[:, top : top + height, left : left + width]
        return flow


def estimator_of(description: dict[str, Any], weights: str | Path | None = None) -> Estimator:
    """Build the estimator that a record describes: ``{"method": name, **parameters}``.

    Args:
        description: as recorded beside a flow.
        weights: for raft, whose record names its weights by their digest alone.

    Raises:
        ArgumentError: it cannot be built, or the weights are others.
        CheckpointError: the weights cannot be had, or are not of this network.
    """
    parameters = {name: value for name, value in description.items() if name != "method"}
    method = str(description.get("method"))
    if method not in estimators:
        raise ArgumentError(
            f"flow of the method {method!r} cannot be estimated here, as another tool has made it: give stored flow of "
            "these videos (--flow)"
        )
    if method != "raft":
        if weights:
            raise ArgumentError(
                f"{weights}: this flow was made by {method}, which has no weights; leave them out"
            )
        return create_estimator(method, **parameters)
    if not weights:
        raise ArgumentError(
            "this network was trained on flow by raft, whose weights are not kept with it: give their file "
            "(--flow-weights), or these videos' stored flow (--flow)"
        )
    digest = parameters.pop("weights", "")
    estimator = create_estimator(method, **parameters, weights=str(weights))
    if estimator.parameters["weights"] != digest:
        raise ArgumentError(f"{weights}: are not the weights that this flow was made with ({digest})")
    return estimator
