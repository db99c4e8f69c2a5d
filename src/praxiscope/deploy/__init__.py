"""Recognise actions with an exported network, without torch: PyAV, numpy, and onnxruntime or OpenVINO.

`praxiscope export` writes the folder. Nothing in this package, nor what it imports, imports torch.

>>> from praxiscope import deploy
>>> deploy.load("model/").predict("clip.mp4").labels[0]
"""

from __future__ import annotations

from praxiscope.deploy.description import (
    Description,
    FlowDescription,
    FusedDescription,
    TrajectoryDescription,
    is_exported,
    read_description,
)
from praxiscope.deploy.flow_network import FlowRunner, load_flow
from praxiscope.deploy.fused import FusedRunner
from praxiscope.deploy.loading import load
from praxiscope.deploy.runner import Runner
from praxiscope.deploy.trajectories import TrajectoryRunner

__all__ = [
    "Description",
    "FlowDescription",
    "FlowRunner",
    "FusedDescription",
    "FusedRunner",
    "Runner",
    "TrajectoryDescription",
    "TrajectoryRunner",
    "is_exported",
    "load",
    "load_flow",
    "read_description",
]
