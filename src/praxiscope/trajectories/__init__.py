"""Improved dense trajectories: points that are tracked by dense flow, and histograms of the tubes around them.

H. Wang, A. Kläser, C. Schmid, C.-L. Liu, "Dense Trajectories and Motion Boundary Descriptors for Action Recognition",
IJCV 2013; H. Wang, C. Schmid, "Action Recognition with Improved Trajectories", ICCV 2013.
"""

from __future__ import annotations

from praxiscope._lazy import submodules

_submodule = submodules(__name__)


def __getattr__(name: str) -> object:
    if name == "extract":
        from praxiscope.trajectories.extraction import extract

        return extract
    return _submodule(name)
