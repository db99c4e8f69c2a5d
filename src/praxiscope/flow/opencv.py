"""OpenCV's flow methods: dense inverse search and Farneback's polynomial expansion. They run on the CPU.

Importing this file does not import torch. Axis letters: T frames, H rows, W columns.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from praxiscope.errors import ArgumentError, unknown_name
from praxiscope.flow.methods import estimators

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DIS", "Farneback"]

_DIS_PRESETS = {"ultrafast": 0, "fast": 1, "medium": 2}


@estimators.register("dis")
@dataclass(frozen=True)
class DIS:
    """Dense inverse search (Kroeger et al., 2016), the fastest method.

    Args:
        preset: "ultrafast", "fast" or "medium"; determines the finest scale and the refinement.
    """

    preset: str = "medium"

    name = "dis"
    needs_weights = False

    def __post_init__(self) -> None:
        if self.preset not in _DIS_PRESETS:
            raise unknown_name("preset of dis", self.preset, _DIS_PRESETS)
        _opencv()

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters by name."""
        return asdict(self)

    def __call__(self, frames: Tensor, *, backward: bool = False) -> Tensor:
        """Flow between consecutive frames; see `praxiscope.flow.estimate.estimate_flow`."""
        return _of_tensors(self.arrays, frames, backward)

    def arrays(self, frames: NDArray[np.uint8], *, backward: bool = False) -> NDArray[np.float32]:
        """See `praxiscope.flow.methods.ArrayEstimator`."""
        return _by_pairs(frames, backward, self._estimate)

    def _estimate(self, first: Any, second: Any) -> Any:
        # Create a new object for each pair, because OpenCV's object changes its scales on small frames and keeps them.
        estimator = _opencv().DISOpticalFlow_create(_DIS_PRESETS[self.preset])
        # OpenCV builds no scale whose short side is smaller than a patch. If this excludes the preset's finest scale,
        # OpenCV reads uninitialised memory and may crash.
        scales = int(math.log2(min(first.shape) / estimator.getPatchSize()))
        estimator.setFinestScale(min(estimator.getFinestScale(), scales))
        return estimator.calc(first, second, None)


@estimators.register("farneback")
@dataclass(frozen=True)
class Farneback:
    """Polynomial expansion (Farneback, 2003). The parameters have OpenCV's names.

    Args:
        pyr_scale: size of a scale relative to the next finer one.
        levels: number of scales.
        winsize: side of the averaging window, pixels.
        iterations: iterations on each scale.
        poly_n, poly_sigma: side of the neighbourhood, pixels, and standard deviation of its Gaussian.
    """

    pyr_scale: float = 0.5
    levels: int = 5
    winsize: int = 15
    iterations: int = 3
    poly_n: int = 5
    poly_sigma: float = 1.1

    name = "farneback"
    needs_weights = False

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
        """Flow between consecutive frames; see `praxiscope.flow.estimate.estimate_flow`."""
        return _of_tensors(self.arrays, frames, backward)

    def arrays(self, frames: NDArray[np.uint8], *, backward: bool = False) -> NDArray[np.float32]:
        """See `praxiscope.flow.methods.ArrayEstimator`."""
        cv2 = _opencv()
        return _by_pairs(
            frames,
            backward,
            lambda first, second: cv2.calcOpticalFlowFarneback(
                first, second, None, flags=0, **self.parameters
            ),
        )


def _of_tensors(estimate: Callable[..., NDArray[np.float32]], frames: Tensor, backward: bool) -> Tensor:
    import torch

    cv2 = _opencv()
    threads = cv2.getNumThreads()
    cv2.setNumThreads(torch.get_num_threads())  # use torch's thread limit for OpenCV, too
    try:
        flow = estimate(frames.permute(0, 2, 3, 1).cpu().numpy(), backward=backward)
    finally:
        cv2.setNumThreads(threads)
    return torch.from_numpy(flow).to(frames.device)


def _by_pairs(
    frames: NDArray[np.uint8], backward: bool, estimate: Callable[[Any, Any], Any]
) -> NDArray[np.float32]:
    """Estimate flow pair by pair on OpenCV's grey images, uint8 [H, W]."""
    cv2 = _opencv()
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    flow = np.empty((len(grey) - 1, 2, *frames.shape[1:3]), np.float32)
    for number, (first, second) in enumerate(itertools.pairwise(grey)):
        pair = (second, first) if backward else (first, second)
        flow[number] = estimate(*pair).transpose(2, 0, 1)
    return flow


def _opencv() -> Any:
    try:
        import cv2
    except ImportError:
        raise ArgumentError(
            "the flow methods dis and farneback need OpenCV: pip install 'praxiscope[flow]'. The method tvl1 needs no "
            "extra package."
        ) from None
    return cv2
