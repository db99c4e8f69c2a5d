"""Data sets: lists of labelled videos, splits, and loading of batches."""

from __future__ import annotations

from praxiscope._lazy import submodules

__getattr__ = submodules(__name__)
