"""Parts that networks are made of: consensus, temporal shift, normalisation.

Modules here know neither backbones nor data. Axis letters are those of ``praxiscope.types``.
"""

from __future__ import annotations

from praxiscope._lazy import submodules

__getattr__ = submodules(__name__)
