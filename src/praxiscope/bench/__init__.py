"""Speed, memory and the tables of papers, measured on this machine."""

from __future__ import annotations

from praxiscope._lazy import submodules

__getattr__ = submodules(__name__)
