"""Benchmarks: speed, memory, and the tables of papers."""

from __future__ import annotations

from praxiscope._lazy import submodules

__getattr__ = submodules(__name__)
