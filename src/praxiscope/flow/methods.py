"""The optical flow methods by name, without importing torch.

A method is one class in a file of this folder, registered with ``@estimators.register(NAME)``, and a line in `FILES`.
Another package registers its own by an entry point in the group ``praxiscope.flow_methods``, with the method's name and
the class.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from praxiscope.errors import ArgumentError, unknown_name
from praxiscope.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from praxiscope.video.decode import Video

__all__ = [
    "FILES",
    "ArrayEstimator",
    "Estimator",
    "FileEstimator",
    "Method",
    "check_method",
    "estimators",
    "find_method",
    "list_methods",
]

FILES = {
    "codec": "praxiscope.flow.codec",
    "dis": "praxiscope.flow.opencv",
    "farneback": "praxiscope.flow.opencv",
    "network": "praxiscope.inference.flow_network",
    "raft": "praxiscope.flow.raft",
    "tvl1": "praxiscope.flow.tvl1",
}
"""The module that registers each method."""


class Estimator(Protocol):
    """A method with its parameters, as a frozen dataclass. Stored flow records the name and the parameters."""

    @property
    def name(self) -> str:
        """The method's name."""

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters by name, as plain values for JSON. Equal parameters give equal flow."""

    def __call__(self, frames: Tensor, *, backward: bool = False) -> Tensor:
        """uint8 [T, 3, H, W] to float32 [T - 1, 2, H, W], on the frames' device.

        Of a long video it is given parts, which overlap by a frame. A method that takes several frames together says
        so by an attribute ``frames_together``."""


@runtime_checkable
class ArrayEstimator(Protocol):
    """The interface of estimators that need no torch, which `praxiscope.deploy` uses."""

    def arrays(self, frames: NDArray[np.uint8], *, backward: bool = False) -> NDArray[np.float32]:
        """RGB frames uint8 [T, H, W, 3] to what the estimator returns, as an array: float32 [T - 1, 2, H, W]."""
        ...


class FileEstimator(ABC):
    """Base class of the estimators that read the video file, not its pixels.

    Callers that have a video call `fields` instead of the estimator.
    """

    name: str
    needs_weights = False

    @property
    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """See `Estimator`."""

    @abstractmethod
    def fields(
        self, video: Video, *, short_side: int | None = None, backward: bool = False
    ) -> Iterator[Tensor]:
        """All fields of a video in order, in bounded memory.

        Args:
            video: the video.
            short_side: short side of the fields in pixels; None for that of the frames.
            backward: as for `praxiscope.flow.estimate.estimate_flow`.

        Yields:
            float32 [2, H, W] on the CPU, one less than frames decode.

        Raises:
            VideoError: the file cannot be read or has no flow of this method, or its frames are too small.
        """

    def __call__(self, frames: Tensor, *, backward: bool = False) -> Tensor:
        raise ArgumentError(
            f"the flow method {self.name} reads the video file, but here are only frames. Use another method, or store "
            f"flow first: praxiscope flow DATA --method {self.name} --out FOLDER."
        )


class Method(Protocol):
    """The class of an estimator.

    Attributes:
        needs_weights: whether the method is a trained network. Its class then takes ``weights``, a file or "download",
            or ``run``, a folder; ``parameters["weights"]`` is a digest of the values.
    """

    needs_weights: bool

    def __call__(self, *args: Any, **parameters: Any) -> Estimator: ...


estimators: Registry[Method] = Registry(
    "flow method",
    "praxiscope.flow_methods",
    own=FILES,
)


def list_methods() -> list[str]:
    """All names, sorted."""
    return sorted({*FILES, *estimators})


def check_method(name: str) -> str:
    """Return the name of a method. Raises UnknownNameError, with the nearest name, if it is unknown."""
    known = list_methods()
    if name not in known:
        raise unknown_name("flow method", name, known)
    return name


def find_method(name: str) -> Method:
    """The class of a method. Raises UnknownNameError, with the nearest name, if it is unknown."""
    check_method(name)
    if name in FILES:
        importlib.import_module(FILES[name])
    return estimators.get(name)
