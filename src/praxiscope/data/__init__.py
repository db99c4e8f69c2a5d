"""Data sets: lists of labelled videos, their splits, and what feeds them to a model."""

from __future__ import annotations

from praxiscope._lazy import submodules

__getattr__ = submodules(__name__)
