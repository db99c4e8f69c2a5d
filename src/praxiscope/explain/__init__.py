"""Pictures that show what a network sees and what it has learned."""

from __future__ import annotations

from praxiscope._lazy import submodules

__getattr__ = submodules(__name__)
