"""The section ``input`` of a run's settings: how videos are sampled, cropped and normalised."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from praxiscope.section import Section

__all__ = ["InputSettings"]


class InputSettings(Section):
    """How videos are sampled, cropped and normalised. ``mean`` and ``std`` default to those of the weights."""

    size: int = Field(224, ge=8)
    short_side: int = Field(256, ge=8)
    snippets: int = Field(8, ge=1)
    frames: int = Field(
        1, ge=1, description="consecutive RGB frames in a snippet, stacked along the channels"
    )
    fps: float | None = Field(
        None,
        gt=0,
        lt=1e6,
        description="frames per second that are read: those on screen every 1 / fps seconds after the first; None: "
        "every frame",
    )
    max_seconds: float | None = Field(
        None, gt=0, lt=1e9, description="seconds of a video that are read, from its start; None: all"
    )
    sampling: Literal["segments", "window"] | None = Field(
        None,
        description="segments: one snippet from each of equal segments of the video; window: consecutive ones from a "
        "random start (in tests: from equally spaced starts), and shorter videos repeat from their start. None: "
        "window if fps is set, else segments",
    )
    strides: tuple[int, int] | None = Field(
        None,
        description="range of the distance between snippets in frames, drawn for each video; None: one snippet from "
        "each of equal segments",
    )
    sampled_epochs: int = Field(
        0,
        ge=0,
        description="models that take every frame: number of first epochs that train on sampled frames",
    )
    max_frames: int | None = Field(
        None,
        ge=1,
        description="models that take every frame: maximum number of frames; longer videos are sampled",
    )
    padded: bool = Field(
        False, description="models that take every frame: pad videos to the longest of the batch"
    )
    crop: Literal["multi-scale", "free-scale", "jittered", "random", "center"] = Field(
        "multi-scale",
        description="multi-scale: from corners, sides and centre, with height and width at most one scale apart; "
        "free-scale: from corners and centre, with independent height and width; jittered: height and width within "
        "25 % of size, near the borders; random; center",
    )
    crop_scales: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (1, 0.875, 0.75, 0.66),
        min_length=1,
        description="scales of multi-scale and free-scale crops, relative to the short side of the frame",
    )
    flip: bool = Field(True, description="flip half of the training videos horizontally")
    colour_jitter: float = Field(
        0.0,
        ge=0,
        le=1,
        description="strength of random changes of brightness, contrast, saturation and hue (a quarter of it)",
    )
    lighting: float = Field(
        0.0,
        ge=0,
        description="standard deviation of AlexNet's PCA colour noise; 0.1 in AlexNet",
    )
    rotation: float = Field(
        0.0,
        ge=0,
        le=180,
        description="largest angle of a random rotation in degrees; only for networks that learn exact flow",
    )
    flow_length: int | tuple[int, ...] = Field(
        5,
        description="flow fields in a stack; for several lengths, as in [5, 10], the network gets a stem for each",
    )
    flow_kind: Literal["stack", "trajectory", "stack-bidirectional", "trajectory-bidirectional", "image"] = (
        Field(
            "stack", description="image: one field as an image of three channels, for networks of RGB frames"
        )
    )
    subtract_mean: bool = Field(True, description="subtract the mean of each flow field from it")
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @field_validator("strides")
    @classmethod
    def _is_a_range(cls, strides: tuple[int, int] | None) -> tuple[int, int] | None:
        if strides is not None and not 1 <= strides[0] <= strides[1]:
            raise ValueError(f"expected two positive numbers in ascending order, got {list(strides)}")
        return strides

    @field_validator("mean", "std")
    @classmethod
    def _fits_colours(cls, values: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if values is not None and len(values) not in (1, 3):
            raise ValueError(f"expected one value or three values, got {len(values)}")
        return values

    @field_validator("std")
    @classmethod
    def _divides(cls, values: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if values is not None and min(values) <= 0:
            raise ValueError("expected positive values")
        return values

    @field_validator("flow_length", mode="before")
    @classmethod
    def _counts_fields(cls, value: Any) -> Any:
        lengths = list(value) if isinstance(value, (list, tuple)) else [value]
        counts = all(type(length) is int and length >= 1 for length in lengths)
        if not counts or not lengths or lengths != sorted(set(lengths)):
            raise ValueError("expected a positive integer, or several in ascending order as in [5, 10]")
        return tuple(lengths) if len(lengths) > 1 else lengths[0]

    @property
    def flow_lengths(self) -> tuple[int, ...]:
        """``flow_length`` as a tuple, in ascending order."""
        return (self.flow_length,) if isinstance(self.flow_length, int) else self.flow_length

    @model_validator(mode="after")
    def _kind_fits_lengths(self) -> InputSettings:
        if len(self.flow_lengths) > 1 and self.flow_kind.endswith("bidirectional"):
            raise ValueError(
                f"flow_length = {list(self.flow_lengths)} cannot be combined with flow_kind = {self.flow_kind}; set a "
                "single length"
            )
        if self.flow_kind == "image" and self.flow_lengths != (1,):
            raise ValueError(
                f"flow_kind = image takes one flow field, but flow_length = {self.flow_length}; set flow_length = 1"
            )
        return self

    @property
    def flow_channels(self) -> list[int]:
        """Channels of a network's input for each of `flow_lengths`."""
        return [3] if self.flow_kind == "image" else [2 * length for length in self.flow_lengths]

    @property
    def samples_windows(self) -> bool:
        """Whether the snippets of a training example are consecutive; see ``sampling``."""
        if self.sampling is None:
            return self.fps is not None and self.strides is None
        return self.sampling == "window"

    @model_validator(mode="after")
    def _samples_in_one_way(self) -> InputSettings:
        if self.strides is not None and self.samples_windows:
            raise ValueError(
                f"strides = {list(self.strides)} and sampling = window exclude each other; set one of them"
            )
        return self

    @model_validator(mode="after")
    def _crop_fits(self) -> InputSettings:
        if self.size > self.short_side:
            raise ValueError(f"size = {self.size} must not be larger than short_side = {self.short_side}")
        return self
