"""Find videos and images like one: encoders, libraries, search, and the protocols of image retrieval."""

from __future__ import annotations

from praxiscope._lazy import submodules

__getattr__ = submodules(__name__)
