"""Trained models on new videos: loading, predictions, timelines, several recognisers as one."""

from __future__ import annotations

from praxiscope._lazy import submodules

__getattr__ = submodules(__name__)
