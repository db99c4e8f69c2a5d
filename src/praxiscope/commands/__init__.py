"""The commands as functions, without parsing and printing."""

from __future__ import annotations

from praxiscope._lazy import submodules

__getattr__ = submodules(__name__)
