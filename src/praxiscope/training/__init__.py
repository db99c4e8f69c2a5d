"""The loop and what moves the weights."""

from __future__ import annotations

from praxiscope._lazy import submodules

__getattr__ = submodules(__name__)
