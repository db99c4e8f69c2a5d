"""Options of ``praxiscope features``, checked without importing torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from praxiscope.devices import check_device
from praxiscope.errors import ArgumentError
from praxiscope.features.contract import POOLS, check_sampling, views_of
from praxiscope.models.names import check_backbone

__all__ = ["DEFAULT_BACKBONE", "FeatureOptions", "sampling_of"]

DEFAULT_BACKBONE = "efficientnet_lite0"
FLOW_KINDS = ("stack", "image")


@dataclass(frozen=True)
class FeatureOptions:
    """What features to compute, and how.

    Attributes:
        backbone: name of a backbone, or the folder of a run of single frames.
        weights: of the backbone: a file, a run, or "download". None: those that are installed.
        layer: name of the layer; None for the input of the classifier, or, with pool "none", for the last map.
        pool: "space" for the mean of a layer's map, or "none" for the map.
        sampling: {"frames": 25}, {"fps": 2} or {"every": True}.
        views: "center", "flip" or "crops"; see `praxiscope.features.contract.VIEWS`.
        size: side of the crop in pixels; None for that of the backbone.
        half: store float16.
        flow: folder of stored flow, for features of flow.
        flow_range: its range in pixels, if another tool stored it as JPEGs.
        flow_length: flow fields in a stack, for a backbone; None for 5, or 1 of flow images.
        flow_kind: for a backbone, "stack", or "image": one flow field as an image of three channels.
        precision: of the network, "auto", "32" or "bf16".
        split, annotations: for layouts with official splits.
        workers: number of processes: on a CPU each computes, elsewhere they read. None: one per core.
        devices: names of the devices.
        max_skip: largest fraction of unreadable videos; None is 0.05, and at least three videos.
        time_limit_s: seconds that reading one video may take.
        verify: read every stored shard, and compute damaged ones again.
        retry: read videos again that were skipped before.

    Raises:
        ArgumentError: a value that cannot be used. UnknownNameError: an unknown backbone.
    """

    backbone: str = DEFAULT_BACKBONE
    weights: str | Path | None = None
    layer: str | None = None
    pool: str = "space"
    sampling: Mapping[str, Any] = field(default_factory=lambda: {"frames": 25})
    views: str = "center"
    size: int | None = None
    half: bool = False
    flow: str | Path | None = None
    flow_range: float | None = None
    flow_length: int | None = None
    flow_kind: str = "stack"
    precision: str = "auto"
    split: str | None = None
    annotations: str | Path | None = None
    workers: int | None = None
    devices: tuple[str, ...] = ("auto",)
    max_skip: float | None = None
    time_limit_s: float = 300.0
    verify: bool = False
    retry: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "sampling", check_sampling(self.sampling))
        views_of(self.views)
        if not Path(self.backbone).is_dir():
            check_backbone(self.backbone)
        if self.pool not in POOLS:
            raise ArgumentError(f"pool must be {' or '.join(POOLS)}, got {self.pool!r}")
        if self.precision not in ("auto", "32", "bf16"):
            raise ArgumentError(f"precision must be auto, 32 or bf16, got {self.precision!r}")
        if self.flow_kind not in FLOW_KINDS:
            raise ArgumentError(f"flow_kind must be {' or '.join(FLOW_KINDS)}, got {self.flow_kind!r}")
        if self.flow_kind == "image" and self.flow_length not in (None, 1):
            raise ArgumentError(
                f"a flow image is of one flow field: leave out flow_length {self.flow_length}."
            )
        if self.workers is not None and self.workers < 1:
            raise ArgumentError(f"workers must be at least 1, got {self.workers}")
        for name, value in (("size", self.size), ("flow_length", self.flow_length)):
            if value is not None and value < 1:
                raise ArgumentError(f"{name} must be at least 1, got {value}")
        for device in self.devices:
            check_device(device)
        if len(self.devices) > 1 and len(set(self.devices) - {"cpu", "auto"}) < len(self.devices):
            raise ArgumentError(
                f"devices must be different GPUs, such as cuda:0,cuda:1; got {','.join(self.devices)}"
            )
        if not self.devices:
            raise ArgumentError("devices must name at least one device")

    @property
    def flow_fields(self) -> int:
        """Flow fields that the network takes at once."""
        return self.flow_length or (1 if self.flow_kind == "image" else 5)

    @property
    def view_names(self) -> tuple[str, ...]:
        """Names of the views of a frame."""
        return views_of(self.views)


def sampling_of(frames: int | None, fps: float | None, every: bool) -> dict[str, Any]:
    """Return the sampling for options of which one may be given; the default is 25 frames.

    Raises:
        ArgumentError: several are given, or a number cannot be used.
    """
    given = {"frames": frames, "fps": fps, "every": every or None}
    chosen = {name: value for name, value in given.items() if value is not None} or {"frames": 25}
    if len(chosen) > 1:
        raise ArgumentError(f"--{' and --'.join(chosen)} cannot be combined: give one of them.")
    return check_sampling(chosen)
