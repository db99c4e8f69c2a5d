"""Speeds, sizes and the papers' tables, measured on this machine."""

from __future__ import annotations

from praxiscope._lazy import submodules

__getattr__ = submodules(__name__)
