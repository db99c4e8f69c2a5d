"""Motion: estimating optical flow, storing it, and stacking it for a network."""

from praxiscope._lazy import submodules

__getattr__ = submodules(__name__)
