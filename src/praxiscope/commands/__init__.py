"""What the commands do, as functions: no parsing and no printing here."""

from __future__ import annotations

from praxiscope._lazy import submodules

__getattr__ = submodules(__name__)
