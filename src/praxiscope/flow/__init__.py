"""Optical flow: estimation, storage, and stacks for networks."""

from praxiscope._lazy import submodules

__getattr__ = submodules(__name__)
