"""praxiscope: recognise actions in videos of any length, using every frame, on the machine you have.

>>> import praxiscope as px
>>> run = px.train("videos/", out="runs/a", model="tsn", epochs=10)
>>> px.load("runs/a").predict("clip.mp4", top=5)
>>> model = px.create_model("tsn", backbone="resnet50", num_classes=101)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from praxiscope._lazy import submodules as _submodules
from praxiscope._version import __version__

if TYPE_CHECKING:
    from praxiscope.commands.api import check, feature_store, flow_store, fuse, test, train
    from praxiscope.commands.fuse import fuse_runs
    from praxiscope.commands.segment_api import segments, test_segments
    from praxiscope.data.check import CheckReport
    from praxiscope.errors import (
        ArgumentError,
        CheckpointError,
        DataError,
        PraxiscopeError,
        ScoresError,
        TrainingError,
        UnknownNameError,
        VideoError,
    )
    from praxiscope.evaluation.scores import Scores
    from praxiscope.inference.live import live
    from praxiscope.inference.loading import load
    from praxiscope.inference.recogniser import Recogniser
    from praxiscope.inference.run import Run
    from praxiscope.models import create_model, list_models
    from praxiscope.models.registered import register_model
    from praxiscope.types import Batch, Clip, Prediction, Segment, SnippetOutput, VideoRecord
    from praxiscope.video.decode import Video
    from praxiscope.video.opening import open_video

__all__ = [
    "ArgumentError",
    "Batch",
    "CheckReport",
    "CheckpointError",
    "Clip",
    "DataError",
    "PraxiscopeError",
    "Prediction",
    "Recogniser",
    "Run",
    "Scores",
    "ScoresError",
    "Segment",
    "SnippetOutput",
    "TrainingError",
    "UnknownNameError",
    "Video",
    "VideoError",
    "VideoRecord",
    "__version__",
    "check",
    "create_model",
    "feature_store",
    "flow_store",
    "fuse",
    "fuse_runs",
    "list_models",
    "live",
    "load",
    "open_video",
    "register_model",
    "segments",
    "test",
    "test_segments",
    "train",
]

_ERRORS = [name for name in __all__ if name.endswith("Error")]
_TYPES = ["Batch", "Clip", "Prediction", "Segment", "SnippetOutput", "VideoRecord"]
_HOMES = {
    **dict.fromkeys(_ERRORS, "errors"),
    **dict.fromkeys(_TYPES, "types"),
    **dict.fromkeys(["check", "feature_store", "flow_store", "fuse", "test", "train"], "commands.api"),
    **dict.fromkeys(["segments", "test_segments"], "commands.segment_api"),
    "CheckReport": "data.check",
    "Recogniser": "inference.recogniser",
    "Run": "inference.run",
    "Scores": "evaluation.scores",
    "Video": "video.decode",
    "create_model": "models",
    "fuse_runs": "commands.fuse",
    "list_models": "models",
    "live": "inference.live",
    "load": "inference.loading",
    "open_video": "video.opening",
    "register_model": "models.registered",
}

_find_module = _submodules(__name__)


def __getattr__(name: str) -> Any:
    # Importing torch takes a second, which ``--help`` and ``__version__`` do not need.
    if name in _HOMES:
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    return _find_module(name)


def __dir__() -> list[str]:
    return sorted(__all__)
