"""Known data sets, ``LAYOUT:FOLDER``: one module each, registered by name in ``LAYOUTS``."""

from __future__ import annotations

from praxiscope.data.layouts import (
    breakfast,
    gmdcsa24,
    hmdb51,
    move4mnist,
    something_something,
    sports1m,
    thumos14,
    ucf101,
    weizmann,
)
from praxiscope.data.layouts.common import LAYOUTS, SPLITS, Layout

__all__ = [
    "LAYOUTS",
    "SPLITS",
    "Layout",
    "breakfast",
    "gmdcsa24",
    "hmdb51",
    "move4mnist",
    "something_something",
    "sports1m",
    "thumos14",
    "ucf101",
    "weizmann",
]
