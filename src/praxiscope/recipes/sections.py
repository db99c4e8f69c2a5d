"""The sections of a run's settings, except ``backprop``, which each step defines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from praxiscope.devices import check_device
from praxiscope.errors import ArgumentError
from praxiscope.recipes.input_section import InputSettings
from praxiscope.section import Section, Text, as_text

__all__ = [
    "EPOCHS_OR_STEPS",
    "DataSettings",
    "InputSettings",
    "ModelSettings",
    "OptimSettings",
    "RunSettings",
    "TaskSource",
]


class TaskSource(Section):
    """One of several data sets. Its settings have the same meaning as in ``data``."""

    source: Text = Field(min_length=1)
    split: Text | None = None
    annotations: Text | None = None
    flow: Text | None = None


class DataSettings(Section):
    """The data set or data sets."""

    source: Text = ""
    split: Text | None = None
    annotations: Text | None = None
    flow: Text | None = Field(None, description="folder of flow stored by praxiscope flow")
    flow_range: float | None = Field(
        None, gt=0, description="range in pixels of flow JPEGs made by another tool; 20 is the usual value"
    )
    tasks: dict[Text, TaskSource] | None = Field(
        None,
        description="several data sets by name, instead of source: one network with a classifier for each",
    )
    test_fraction: float = Field(0.2, gt=0, lt=1)
    validation: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="fraction of the training videos, whole groups, that is held out for validation if the data set "
        "has no validation videos; the best checkpoint and the end of the training are chosen on them",
    )
    sampling: Literal["ordinary", "class-uniform"] = "ordinary"
    class_weights: bool = False
    workers: int = Field(2, ge=0)
    max_skip: float | None = Field(
        None,
        ge=0,
        le=1,
        description="fraction of unreadable videos at which the run stops; None: 5 %, and more than 3 videos",
    )
    scan: int = Field(
        5000,
        ge=0,
        description="check all videos before training, unless there are more videos than this",
    )
    time_limit_s: float = Field(300.0, gt=0)
    allow_one_class: bool = Field(False, description="allow a data set with a single class")
    allow_no_test: bool = Field(False, description="allow a data set without validation and test videos")

    @model_validator(mode="after")
    def _one_or_several(self) -> DataSettings:
        if self.tasks is None:
            return self
        named = ", ".join(map(repr, self.tasks)) or "none"
        if len(self.tasks) < 2:
            raise ValueError(
                f"tasks must name at least two data sets, got {named}; set source for a single one"
            )
        if wrong := [name for name in self.tasks if not re.fullmatch(r"[A-Za-z0-9_-]+", name)]:
            raise ValueError(f"names in tasks may contain letters, digits, _ and -, got {wrong[0]!r}")
        for key in ("source", "split", "annotations", "flow"):
            if value := getattr(self, key):
                raise ValueError(
                    f"{key} = {value!r} cannot be combined with tasks; set {key} for each of {named}"
                )
        return self

    def sources(self) -> dict[str, TaskSource]:
        """The data sets by name; a single data set has an empty name. Raises ArgumentError if no data set is given."""
        if self.tasks is not None:
            return dict(self.tasks)
        if not self.source:
            raise ArgumentError(
                "no data set given. Name a folder, a CSV or LAYOUT:FOLDER, or use --resume to continue a run."
            )
        return {
            "": TaskSource(source=self.source, split=self.split, annotations=self.annotations, flow=self.flow)
        }


_NO_KEYWORDS = ("name", "weights", "start", "start_parts")


def _none_if_auto(value: Any) -> Any:
    return None if value == "auto" else value


class ModelSettings(BaseModel):
    """The model. Keys other than those below are keyword arguments of its builder, which checks them."""

    model_config = ConfigDict(frozen=True, extra="allow")
    name: str = "tsn"
    backbone: str | None = Field(None, description="image network; None: the default of the model")
    pretrained: Annotated[bool | None, BeforeValidator(_none_if_auto)] = Field(
        None,
        description="start from ImageNet weights; auto: if those of the backbone are installed, and neither weights "
        "nor start is given",
    )
    weights: Text | None = None
    start: tuple[Text, ...] | None = Field(
        None,
        description="an RGB run and a flow run from which a two-stream network starts, or one run of the same model "
        "(warm start, --from)",
    )
    start_parts: tuple[Text, ...] | None = Field(
        None,
        description="the part of the network that each run of start begins; by default those that it has",
    )

    @property
    def starts(self) -> tuple[str, ...]:
        """The runs, or files of weights, that a network starts from."""
        return (*((self.weights,) if self.weights else ()), *(self.start or ()))

    def keywords(self) -> dict[str, Any]:
        """The builder's keywords; ``pretrained`` only if it is set."""
        words = {k: v for k, v in self.model_dump().items() if k not in _NO_KEYWORDS}
        if words["pretrained"] is None:
            del words["pretrained"]
        return words


EPOCHS_OR_STEPS = (
    ("epochs", "steps"),
    ("milestones", "milestone_steps"),
    ("frozen_epochs", "frozen_steps"),
)
"""Pairs of settings of ``optim`` that exclude each other."""

_EPOCHS = 30  # if neither epochs nor steps are set


def _shown(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


class OptimSettings(Section):
    """The optimiser and its schedule. A step is one update of the weights; some epochs may be fractions."""

    name: Literal["sgd", "adamw"] = "sgd"
    lr: float = Field(0.01, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    schedule: Literal["step", "cosine", "exponential", "constant"] = "cosine"
    milestones: tuple[float, ...] = Field(
        (), description="epochs after which the learning rate is multiplied by gamma"
    )
    milestone_steps: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (), description="the same in steps, instead of milestones"
    )
    gamma: float = Field(
        0.1, gt=0, description="factor at each milestone; with schedule = exponential, factor at the end"
    )
    warmup_epochs: float = Field(0.0, ge=0)
    epochs: int | None = Field(None, ge=1, description="passes over the data; 30 if steps is not set either")
    steps: int | None = Field(
        None,
        ge=1,
        description="updates of the weights, instead of epochs: independent of the size of the data set",
    )
    frozen_epochs: float | Literal["half", "all"] = Field(
        0.0,
        description="number of first epochs that train only the classifier (temporal-difference: that fix the image "
        "network); half or all: of the run",
    )
    frozen_steps: int | None = Field(None, ge=1, description="the same in steps, instead of frozen_epochs")
    batch: int = Field(8, ge=1, description="videos per device in a forward pass")
    accumulate: int = Field(1, ge=1, description="batches per update of the weights")
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    clip_norm: float | None = Field(20.0, gt=0)
    policy: Literal["tsn", "plain"] = "tsn"
    classifier_lr_scale: float = Field(1.0, gt=0)
    first_conv_lr_scale: float = Field(1.0, gt=0)
    trunk_lr_scale: float = Field(
        1.0, gt=0, description="factor on the learning rate of everything but the classifiers"
    )
    probe: bool = Field(
        False,
        description="start the classifier from a logistic regression on features of the training videos",
    )
    patience: int | None = Field(
        None,
        ge=1,
        description="stop after this many validations without a better one; needs validation videos (data.validation)",
    )

    @model_validator(mode="before")
    @classmethod
    def _has_a_length(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("epochs") is None and values.get("steps") is None:
            return {**values, "epochs": _EPOCHS}
        return values

    @field_validator("frozen_epochs")
    @classmethod
    def _counts_epochs(cls, value: float | str) -> float | str:
        if isinstance(value, float) and value < 0:
            raise ValueError("Input should be greater than or equal to 0")
        return value

    @model_validator(mode="after")
    def _counts_epochs_or_steps(self) -> OptimSettings:
        for one, other in EPOCHS_OR_STEPS:
            first, second = getattr(self, one), getattr(self, other)
            if first and second:
                raise ValueError(
                    f"{one} = {_shown(first)} and {other} = {_shown(second)} exclude each other; set one of them"
                )
        if list(self.milestone_steps) != sorted(set(self.milestone_steps)):
            raise ValueError(f"milestone_steps = {_shown(self.milestone_steps)} must be in ascending order")
        return self


class RunSettings(Section):
    """Devices, precision, checkpoints and validation."""

    seed: int = Field(0, ge=0)
    devices: int = Field(1, ge=1)
    nodes: int = Field(1, ge=1)
    accelerator: str = Field(
        "auto",
        description="device to train on (--device): auto (CUDA if available, else the CPU), cpu, cuda, cuda:1, mps",
    )
    precision: Annotated[Literal["auto", "32", "bf16", "16"], BeforeValidator(as_text)] = "auto"
    channels_last: bool | Literal["auto"] = "auto"
    deterministic: bool = False
    keep_memory: bool | Literal["auto"] = Field(
        "auto",
        description="CPU only: keep freed memory for the next step; faster, but needs up to 1.7 times the memory. "
        "auto: if there is enough memory and backprop.memory is not set",
    )
    checkpoint_steps: int | None = Field(None, ge=1)
    keep_epochs: int | None = Field(None, ge=1, description="keep a checkpoint every this many epochs")
    validate_epochs: int = Field(1, ge=0, description="validate every this many epochs; 0: never")
    protocol: str = Field("auto", description="test protocol of validation during training")
    tensorboard: bool = True
    log: tuple[str, ...] = Field(
        (), description="also log to these (--log): mlflow, trackio, wandb, or a logger of another package"
    )

    @field_validator("accelerator")
    @classmethod
    def _is_device(cls, name: str) -> str:
        return check_device(name)

    @model_validator(mode="after")
    def _one_device(self) -> RunSettings:
        if ":" in self.accelerator and self.devices > 1:
            raise ValueError(
                f"accelerator = {self.accelerator} names one device, but devices = {self.devices}"
            )
        return self

    @field_validator("protocol")
    @classmethod
    def _is_known(cls, text: str) -> str:
        if text == "auto":
            return text
        from praxiscope.evaluation.protocols import parse_protocol

        return parse_protocol(text).name
