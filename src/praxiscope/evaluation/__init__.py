"""Testing: protocols (which views), scores (what came out), metrics (how good), reports (to look at)."""

from __future__ import annotations

from praxiscope._lazy import submodules

__getattr__ = submodules(__name__)
