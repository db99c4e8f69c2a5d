"""Layouts of frames with known flow, ``LAYOUT:FOLDER``: one module each, registered by name in ``FLOW_LAYOUTS``."""

from __future__ import annotations

from praxiscope.data.flow_layouts import chairs, middlebury, moving_shapes, sintel
from praxiscope.data.flow_layouts.common import FLOW_LAYOUTS, FlowListing, FlowSample

__all__ = ["FLOW_LAYOUTS", "FlowListing", "FlowSample", "chairs", "middlebury", "moving_shapes", "sintel"]
