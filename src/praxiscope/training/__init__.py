"""Training: the loop, optimisers, validation and resuming."""

from __future__ import annotations

from praxiscope._lazy import submodules

__getattr__ = submodules(__name__)
