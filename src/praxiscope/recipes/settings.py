"""Settings of a run: frozen, validated, written beside the run as YAML and read back from there.

A recipe is a function that returns ``TrainSettings``. ``--set optim.lr=0.01`` overrides one value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from praxiscope.devices import check_device
from praxiscope.errors import ArgumentError, unknown_name

__all__ = [
    "BackpropSettings",
    "DataSettings",
    "InputSettings",
    "ModelSettings",
    "OptimSettings",
    "RunSettings",
    "TaskSource",
    "TrainSettings",
    "dump_yaml",
    "load_yaml",
    "override",
]


def _as_text(value: Any) -> Any:
    """A number, or a date, where a word is meant: 32 for "32", 1 for "1"."""
    return str(value) if isinstance(value, (int, float, date)) and not isinstance(value, bool) else value


Text = Annotated[str, BeforeValidator(_as_text)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class TaskSource(_Section):
    """One of several data sets; its settings are those that ``data`` has for a single one."""

    source: Text = Field(min_length=1)
    split: Text | None = None
    annotations: Text | None = None
    flow: Text | None = None


class DataSettings(_Section):
    """What is read. ``source`` and ``split`` are those of the command line."""

    source: Text = ""
    split: Text | None = None
    annotations: Text | None = None
    flow: Text | None = Field(None, description="folder of the flow that praxiscope flow has stored")
    flow_range: float | None = Field(
        None, gt=0, description="pixels: the bound of JPEGs of flow that another tool has made (by custom 20)"
    )
    tasks: dict[Text, TaskSource] | None = Field(
        None, description="several data sets by name, in place of source: one network, a classifier for each"
    )
    test_fraction: float = Field(0.2, gt=0, lt=1)
    sampling: Literal["ordinary", "class-uniform"] = "ordinary"
    class_weights: bool = False
    workers: int = Field(2, ge=0)
    max_skip: float | None = Field(
        None,
        ge=0,
        le=1,
        description="share of unreadable videos that stops; None: 5 %, but 3 videos never do",
    )
    scan: int = Field(
        5000, ge=0, description="open every video before training where there are at most so many"
    )
    time_limit_s: float = Field(300.0, gt=0)
    allow_one_class: bool = Field(
        False, description="train on a single class, which leaves nothing to tell apart"
    )
    allow_no_test: bool = Field(
        False, description="train where no video is held out, neither for validation nor for a test"
    )

    @model_validator(mode="after")
    def _one_or_several(self) -> DataSettings:
        if self.tasks is None:
            return self
        named = ", ".join(map(repr, self.tasks)) or "none"
        if len(self.tasks) < 2:
            raise ValueError(f"tasks are two data sets or more, got {named}; a single one is the source")
        if wrong := [name for name in self.tasks if not re.fullmatch(r"[A-Za-z0-9_-]+", name)]:
            raise ValueError(f"a data set's name is made of letters, digits, _ and -, got {wrong[0]!r}")
        for key in ("source", "split", "annotations", "flow"):
            if value := getattr(self, key):
                raise ValueError(
                    f"{key} {value!r} is of a single data set, and there are {named}: give each its own"
                )
        return self

    def sources(self) -> dict[str, TaskSource]:
        """The data sets by name; a single one's name is empty. Raises ArgumentError where none is named."""
        if self.tasks is not None:
            return dict(self.tasks)
        if not self.source:
            raise ArgumentError("no data: name a folder, a CSV or LAYOUT:FOLDER, or --resume a run.")
        return {
            "": TaskSource(source=self.source, split=self.split, annotations=self.annotations, flow=self.flow)
        }


class InputSettings(_Section):
    """From the file to the first convolution. ``mean`` and ``std`` follow the weights unless given."""

    size: int = Field(224, ge=8)
    short_side: int = Field(256, ge=8)
    snippets: int = Field(8, ge=1)
    frames: int = Field(
        1, ge=1, description="RGB frames of a snippet, stacked along the channels, from its first frame on"
    )
    strides: tuple[int, int] | None = Field(
        None,
        description="frames from one snippet to the next, drawn between two numbers for each video; None: a snippet "
        "from each of as many equal parts",
    )
    sampled_epochs: int = Field(
        0,
        ge=0,
        description="of a model that sees every frame: first epochs in which it sees few sampled ones, as TSM does",
    )
    max_frames: int | None = Field(
        None, ge=1, description="of a model that sees every frame: longer videos are sampled at so many"
    )
    padded: bool = Field(
        False, description="of a model that sees every frame: fill videos up to the longest of the batch"
    )
    crop: Literal["multi-scale", "free-scale", "jittered", "random", "center"] = Field(
        "multi-scale",
        description="multi-scale: corners, sides and centre, height and width at most one step of scale apart; "
        "free-scale: corners and centre, height and width independent; jittered: each within 25 % of size, near the "
        "borders",
    )
    crop_scales: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (1, 0.875, 0.75, 0.66),
        min_length=1,
        description="of multi-scale and free-scale crops: their sides over the frame's short one. TSN's flow: the "
        "first three",
    )
    flip: bool = True
    colour_jitter: float = Field(
        0.0,
        ge=0,
        le=1,
        description="strength of changes of brightness, contrast, saturation and (a quarter) hue",
    )
    lighting: float = Field(
        0.0,
        ge=0,
        description="standard deviation of AlexNet's colour noise along the principal components of colours; there 0.1",
    )
    flow_length: int | tuple[int, ...] = Field(
        5, description="flow fields of a stack; several, as in [5, 10]: a stem for each"
    )
    flow_kind: Literal["stack", "trajectory", "stack-bidirectional", "trajectory-bidirectional"] = "stack"
    subtract_mean: bool = Field(True, description="every flow field loses its own mean")
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @field_validator("strides")
    @classmethod
    def _is_a_range(cls, strides: tuple[int, int] | None) -> tuple[int, int] | None:
        if strides is not None and not 1 <= strides[0] <= strides[1]:
            raise ValueError(f"expected two numbers of 1 or more, the smaller first, got {list(strides)}")
        return strides

    @field_validator("mean", "std")
    @classmethod
    def _fits_colours(cls, values: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if values is not None and len(values) not in (1, 3):
            raise ValueError(f"expected one value or three, got {len(values)}")
        return values

    @field_validator("std")
    @classmethod
    def _divides(cls, values: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if values is not None and min(values) <= 0:
            raise ValueError("expected values above 0")
        return values

    @field_validator("flow_length", mode="before")
    @classmethod
    def _counts_fields(cls, value: Any) -> Any:
        lengths = list(value) if isinstance(value, (list, tuple)) else [value]
        counts = all(type(length) is int and length >= 1 for length in lengths)
        if not counts or not lengths or lengths != sorted(set(lengths)):
            raise ValueError(
                "expected a whole number of 1 or more, or several in ascending order as in [5, 10]"
            )
        return tuple(lengths) if len(lengths) > 1 else lengths[0]

    @property
    def flow_lengths(self) -> tuple[int, ...]:
        """``flow_length`` as several, in ascending order, whatever it is."""
        return (self.flow_length,) if isinstance(self.flow_length, int) else self.flow_length

    @model_validator(mode="after")
    def _starts_with_the_shorter(self) -> InputSettings:
        if len(self.flow_lengths) > 1 and self.flow_kind.endswith("bidirectional"):
            raise ValueError(
                f"flow_length {list(self.flow_lengths)} takes the shorter stacks from the first fields of the longest; "
                f"those of flow_kind {self.flow_kind} lead one way alone. Name one length"
            )
        return self

    @model_validator(mode="after")
    def _crop_fits(self) -> InputSettings:
        if self.size > self.short_side:
            raise ValueError(f"size {self.size} is larger than short_side {self.short_side}")
        return self


class ModelSettings(BaseModel):
    """``name`` is the model's; every other key is a keyword of its builder, checked there."""

    model_config = ConfigDict(frozen=True, extra="allow")
    name: str = "tsn"
    backbone: str = "resnet18"
    weights: str | None = None
    start: tuple[str, ...] | None = Field(
        None, description="runs of pictures and of flow that a network of both starts from (--from)"
    )

    def keywords(self) -> dict[str, Any]:
        """The builder's keywords."""
        return {k: v for k, v in self.model_dump().items() if k not in ("name", "weights", "start")}


_EPOCHS = 30  # where neither epochs nor steps are named
_INSTEAD = {"epochs": "steps", "milestones": "milestone_steps"}  # of optim: one way to say it and the other


def _shown(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


class OptimSettings(_Section):
    """How the weights move. Epochs may be fractions where they are points in time. Steps are weight updates."""

    name: Literal["sgd", "adamw"] = "sgd"
    lr: float = Field(0.01, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    schedule: Literal["step", "cosine", "constant"] = "cosine"
    milestones: tuple[float, ...] = Field((), description="epochs after which the rate falls by gamma")
    milestone_steps: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (), description="steps after which it falls, in place of milestones"
    )
    gamma: float = Field(0.1, gt=0)
    warmup_epochs: float = Field(0.0, ge=0)
    epochs: int | None = Field(None, ge=1, description="passes over the data; 30 where steps say nothing")
    steps: int | None = Field(
        None, ge=1, description="steps of the run, in place of epochs: the same number on any data set"
    )
    frozen_epochs: float | Literal["all"] = Field(
        0.0, description="first epochs in which only the classifier learns; all, or as many as epochs: always"
    )
    batch: int = Field(8, ge=1, description="videos per device and forward pass")
    accumulate: int = Field(1, ge=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    clip_norm: float | None = Field(20.0, gt=0)
    policy: Literal["tsn", "plain"] = "tsn"
    classifier_lr_scale: float = Field(1.0, gt=0)
    first_conv_lr_scale: float = Field(1.0, gt=0)

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
        for one, other in _INSTEAD.items():
            first, second = getattr(self, one), getattr(self, other)
            if first and second:
                raise ValueError(
                    f"{one} = {_shown(first)} and {other} = {_shown(second)} say the same in two ways; leave one of "
                    "them out"
                )
        if list(self.milestone_steps) != sorted(set(self.milestone_steps)):
            raise ValueError(f"milestone_steps = {_shown(self.milestone_steps)} must ascend")
        return self


class BackpropSettings(_Section):
    """How a step makes its gradient of the ``input.snippets`` of each video."""

    name: Literal["full", "principal", "cached"] = Field(
        "full",
        description="full: of all snippets; principal: of few chosen ones; cached: of all, in the memory of few",
    )
    choose: int | None = Field(None, ge=1, description="principal: how many snippets to learn from")
    rule: Literal["max", "kl", "random"] | None = Field(
        None, description="principal: which to choose; None: kl of pictures, max of flow"
    )
    candidates: int = Field(100, ge=1, description="principal: the most subsets to compare")
    memory: Text | None = Field(None, description="what a step may take, such as 6GiB; sets chunk")
    chunk: int | None = Field(None, ge=1, description="snippets that go through the network at once")
    watch_statistics: Literal["running", "batch"] = Field(
        "running", description="what BatchNorm that learns normalises watched snippets by"
    )
    watch_size: int | None = Field(None, ge=8, description="pixels to which watched snippets are shrunk")
    watch_precision: Literal["same", "bf16"] = "same"

    @field_validator("memory")
    @classmethod
    def _is_a_size(cls, text: str | None) -> str | None:
        if text is not None:
            from praxiscope.units import parse_size

            parse_size(text)
        return text

    @model_validator(mode="after")
    def _fits(self) -> BackpropSettings:
        if self.name == "principal" and self.choose is None:
            raise ValueError("principal backpropagation needs choose, how many snippets to learn from")
        if self.name != "principal":
            for key in ("choose", "rule", "candidates", "watch_statistics", "watch_size", "watch_precision"):
                if (value := getattr(self, key)) != type(self).model_fields[key].default:
                    raise ValueError(f"{key} = {value!r} is for name = principal, not {self.name}")
        for key in ("memory", "chunk") if self.name == "full" else ():
            if (value := getattr(self, key)) is not None:
                raise ValueError(
                    f"{key} = {value!r} is for name = cached (the gradient of all snippets) or principal; full "
                    "takes all snippets at once"
                )
        if self.memory is not None and self.chunk is not None:
            raise ValueError(f"memory {self.memory} sets chunk; leave one of them out")
        return self


class RunSettings(_Section):
    """Where and how it runs."""

    seed: int = Field(0, ge=0)
    devices: int = Field(1, ge=1)
    nodes: int = Field(1, ge=1)
    accelerator: str = Field(
        "auto", description="where it trains (--device): auto (CUDA, or else the CPU), cpu, cuda, cuda:1, mps"
    )
    precision: Annotated[Literal["auto", "32", "bf16", "16"], BeforeValidator(_as_text)] = "auto"
    channels_last: bool | Literal["auto"] = "auto"
    deterministic: bool = False
    keep_memory: bool | Literal["auto"] = Field(
        "auto",
        description="on a CPU: keep freed memory for the next step. Faster; takes up to two thirds as much again. "
        "auto: where there is so much, and not with backprop.memory",
    )
    checkpoint_steps: int | None = Field(None, ge=1)
    keep_epochs: int | None = Field(
        None, ge=1, description="keep also the checkpoint after every so many epochs"
    )
    validate_epochs: int = Field(1, ge=0, description="validate every so many epochs; 0: never")
    protocol: str = Field("auto", description="protocol of the validation during training")
    tensorboard: bool = True

    @field_validator("accelerator")
    @classmethod
    def _is_device(cls, name: str) -> str:
        return check_device(name)

    @model_validator(mode="after")
    def _one_device(self) -> RunSettings:
        if ":" in self.accelerator and self.devices > 1:
            raise ValueError(f"accelerator {self.accelerator} is one device, and devices = {self.devices}")
        return self

    @field_validator("protocol")
    @classmethod
    def _is_known(cls, text: str) -> str:
        # Said before the first epoch, not after it.
        if text == "auto":
            return text
        from praxiscope.evaluation.protocols import parse_protocol

        return parse_protocol(text).name


class TrainSettings(_Section):
    """All of a training run."""

    data: DataSettings = DataSettings()
    input: InputSettings = InputSettings()
    model: ModelSettings = ModelSettings()
    backprop: BackpropSettings = BackpropSettings()
    optim: OptimSettings = OptimSettings()
    run: RunSettings = RunSettings()

    @model_validator(mode="after")
    def _fits_together(self) -> TrainSettings:
        if (self.backprop.choose or 0) > self.input.snippets:
            raise ValueError(
                f"backprop.choose = {self.backprop.choose} of input.snippets = {self.input.snippets}: no more can be "
                "chosen than are watched"
            )
        if self.run.keep_memory is True and self.backprop.memory is not None:
            raise ValueError(
                f"run.keep_memory takes memory for time, and backprop.memory = {self.backprop.memory} time for memory; "
                "leave one of them out"
            )
        if (self.backprop.watch_size or 0) > self.input.size:
            raise ValueError(
                f"backprop.watch_size = {self.backprop.watch_size} is larger than input.size = {self.input.size}"
            )
        return self

    def updated(self, values: Mapping[str, Any]) -> TrainSettings:
        """A copy with ``section.key`` values replaced. Raises ArgumentError for one that does not fit."""
        content = self.model_dump()
        _change(content, values)
        return _validated(content, "settings")


def _change(content: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Put ``section.key`` values into settings. Epochs replace steps that were there before, and steps epochs."""
    for key, value in values.items():
        section, _, name = key.partition(".")
        content[section][name] = value
    for one, other in (*_INSTEAD.items(), *((b, a) for a, b in _INSTEAD.items())):
        if values.get(f"optim.{one}") and f"optim.{other}" not in values:
            content["optim"].pop(other, None)


_ALTERNATIVES = ("bool", "float", "literal['auto']", "literal['all']")


def _validated(content: Mapping[str, Any], where: str) -> TrainSettings:
    try:
        return TrainSettings.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        location = [str(part) for part in first["loc"]]
        key = ".".join(location)
        if first["type"] == "extra_forbidden":
            section: Any = TrainSettings
            for part in location[:-1]:
                # Below data.tasks stands a name, and then what a task has.
                inner = getattr(section, "model_fields", {}).get(part)
                section = TaskSource if inner is None or part == "tasks" else inner.annotation
            prefix = "".join(f"{part}." for part in location[:-1])
            known = [f"{prefix}{name}" for name in section.model_fields]
            raise ArgumentError(f"{where}: {unknown_name('setting', key, known)}") from None
        message = str(first["msg"]).removeprefix("Value error, ").rstrip(".")
        # Rules between values are reported for the whole section, alternatives under the name of each.
        whole = isinstance(first["input"], Mapping)
        key = ".".join(part for part in location if part not in _ALTERNATIVES)
        value = "" if whole else f" = {first['input']!r}"
        named = f"{key}{value}: " if key else ""
        raise ArgumentError(f"{where}: {named}{message}.") from None


def override(
    settings: TrainSettings, assignments: Iterable[str], values: Mapping[str, Any] | None = None
) -> TrainSettings:
    """Apply ``section.key=value`` texts; values are read as YAML (``null``, ``[10, 20]``, ``true``, ``1e-3``).

    Args:
        settings: to begin with.
        assignments: the texts.
        values: ``section.key`` values that are applied before them.

    Raises:
        ArgumentError: no such section or key (with the nearest one), or a value that does not fit.
    """
    content = settings.model_dump()
    changes = dict(values or {})
    texts = list(assignments)
    for text in texts:
        key, equals, value_text = text.partition("=")
        section, dot, name = key.strip().partition(".")
        if not equals or not dot or not name:
            raise ArgumentError(f"--set {text}: expected section.key=value, as in --set optim.lr=0.01.")
        if section not in content:
            raise ArgumentError(f"--set {text}: {unknown_name('section', section, content)}")
        changes[f"{section}.{name}"] = _parse(value_text)
    # All together: two values may fit one another, but not the other's default.
    _change(content, changes)
    return _validated(content, "--set" if texts else "settings")


def _parse(text: str) -> Any:
    """A YAML value; YAML 1.1 takes 1e-3 for a word, so numbers are tried first."""
    try:
        return float(text) if not text.strip().lstrip("+-").isdigit() else int(text)
    except ValueError:
        pass
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def dump_yaml(settings: TrainSettings, path: Path) -> None:
    """Write the resolved settings."""
    text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def load_yaml(path: Path) -> TrainSettings:
    """Read settings back. Raises ArgumentError for a file that is missing, not YAML or has unknown keys."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArgumentError(f"{path}: cannot be read ({error.strerror}).") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ArgumentError(f"{path}: not a YAML file ({error}).") from None
    if not isinstance(content, dict):
        raise ArgumentError(f"{path}: expected the sections {', '.join(TrainSettings.model_fields)}.")
    return _validated(content, str(path))
