"""Inference: load trained models, predict videos and timelines, and fuse recognisers."""

from __future__ import annotations

from praxiscope._lazy import submodules

__getattr__ = submodules(__name__)
