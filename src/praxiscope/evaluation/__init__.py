"""Evaluation: test protocols, scores, metrics, score fusion and reports."""

from __future__ import annotations

from praxiscope._lazy import submodules

__getattr__ = submodules(__name__)
