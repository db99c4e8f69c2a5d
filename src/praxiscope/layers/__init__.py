"""Layers that networks are built from: consensus, temporal shift, normalisation.

They depend neither on backbones nor on data. Axis letters are those of ``praxiscope.types``.
"""

from __future__ import annotations

from praxiscope._lazy import submodules

__getattr__ = submodules(__name__)
