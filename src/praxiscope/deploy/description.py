"""What a folder with an exported network says of it: ``deploy.json``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from praxiscope.errors import ArgumentError, CheckpointError
from praxiscope.run_folder import EXPORTED_FILE

__all__ = [
    "DESCRIPTION",
    "AnyDescription",
    "ClassDescription",
    "Described",
    "Description",
    "FlowDescription",
    "FusedDescription",
    "SingleDescription",
    "TrajectoryDescription",
    "is_exported",
    "read_classes",
    "read_description",
    "read_flow_description",
]

DESCRIPTION = EXPORTED_FILE
_VERSION = 1
_TUPLES = ("labels", "parts", "streams", "weights", "descriptors")


class Described(Protocol):
    """What descriptions have in common. Attributes: see `Description`."""

    @property
    def model(self) -> str: ...

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def multi_label(self) -> bool: ...

    @property
    def calibration(self) -> Mapping[str, Any]: ...

    @property
    def temperature(self) -> float: ...

    @property
    def versions(self) -> Mapping[str, str]: ...

    @property
    def checked(self) -> Mapping[str, Any]: ...


class _Written:
    """What all descriptions do."""

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {"version": _VERSION, **asdict(self)}  # type: ignore[call-overload]


class _WithClasses(_Written):
    """What descriptions of networks with classes do."""

    multi_label: bool
    calibration: Mapping[str, Any]

    @property
    def temperature(self) -> float:
        """The number that divides the scores before the softmax."""
        return 1.0 if self.multi_label else float(self.calibration.get("temperature", 1.0))


@dataclass(frozen=True)
class Description(_WithClasses):
    """How an exported network is used.

    Its input ``rgb`` is uint8 [views, snippets, channels, H, W]: RGB frames from 0 to 255, the frames of a snippet one
    after the other along the channels. Its input ``flow`` is float32 of the same axes, in pixels: stacks of flow, see
    `praxiscope.flow.stack`. Its output ``logits`` is float32 [views, classes], before softmax.

    With ``frames``, it consists of two: that file takes one snippet of each view, and returns ``features``, [frames,
    1, ...]; the other takes ``features``, float32 [views, snippets, ...], as ``join`` says.

    Attributes:
        model: name of the model, for display.
        file: of the network.
        frames: of the network of single frames; "" if there is one network.
        labels: class names in the order of the scores.
        multi_label: probabilities are sigmoids, not a softmax.
        calibration: see `praxiscope.checkpoint.ModelCard`.
        size: height and width of the crop, pixels.
        short_side: of the frame, before the crop, pixels.
        length: RGB frames of a snippet.
        protocol, average: the views that are averaged by default; see `praxiscope.evaluation.protocols`.
        together: snippets of a view; None: all of the protocol.
        all_frames: whether a view of all frames holds any number of them, although other views hold ``together``.
        windows: whether a view is a window of consecutive snippets.
        snippets: the only number of snippets of a view that the network takes; None: any.
        fps, max_seconds: the frames of a video that are read, see `praxiscope.video.grid.FrameGrid`.
        streams: names of the inputs, "rgb", "flow" or both.
        flow: how flow is estimated and stacked, the content of `praxiscope.checkpoint.FlowInput`; empty without flow.
        join: what is done with features, a name in `praxiscope.deploy.joins`.
        settings: of it.
        int8: whether the network was quantised, which onnxruntime runs as it was checked.
        versions: of what wrote it.
        checked: the differences from the network that it was exported from; empty if they were not measured.
    """

    model: str
    file: str
    frames: str
    labels: tuple[str, ...]
    multi_label: bool
    calibration: Mapping[str, Any]
    size: int
    short_side: int
    length: int
    protocol: str
    average: str
    together: int | None
    windows: bool
    snippets: int | None
    fps: float | None = None
    max_seconds: float | None = None
    streams: tuple[str, ...] = ("rgb",)
    flow: Mapping[str, Any] = field(default_factory=dict)
    join: str = "together"
    settings: Mapping[str, Any] = field(default_factory=dict)
    all_frames: bool = False
    int8: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)
    checked: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrajectoryDescription(_WithClasses):
    """How an exported encoder of trajectories is used. It consists of two parts, see `praxiscope.deploy.trajectories`.

    Attributes:
        file: of the part that scores.
        frames: of the part that takes trajectories.
        descriptors: names of its inputs, see `praxiscope.trajectories.result.Trajectories`.
        extraction: how trajectories are extracted, the content of `praxiscope.trajectories.settings.Extraction`.
        join, settings: of the step between the parts; see `Description`.
        model, labels, multi_label, calibration, versions, checked: see `Description`.
    """

    model: str
    file: str
    frames: str
    labels: tuple[str, ...]
    multi_label: bool
    calibration: Mapping[str, Any]
    descriptors: tuple[str, ...]
    extraction: Mapping[str, Any]
    join: str
    settings: Mapping[str, Any]
    versions: Mapping[str, str] = field(default_factory=dict)
    checked: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FlowDescription(_Written):
    """How an exported network that estimates flow is used. It has no classes.

    Its input ``rgb`` is uint8 [clips, T, 3, H, W]: RGB frames from 0 to 255, H and W multiples of ``stride``. Its
    output ``flow`` is float32 [clips, T - 1, 2, H, W]: pixels from each frame to the next, x first.

    Attributes:
        together: T.
        stride: see above.
        digest: of the values of the network that it was exported from; stored flow names it.
        model, file, versions, checked: see `Description`.
    """

    model: str
    file: str
    together: int
    stride: int
    digest: str
    versions: Mapping[str, str] = field(default_factory=dict)
    checked: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FusedDescription(_WithClasses):
    """How several exported networks are fused.

    Attributes:
        model: names of the models, for display.
        parts: folders of the networks, in this folder.
        kind, weights: see `praxiscope.evaluation.fusion.combine`; "svm" has weights of its own.
        labels, multi_label, calibration, versions, checked: see `Description`.
    """

    model: str
    parts: tuple[str, ...]
    kind: str
    weights: tuple[float, ...] | None
    labels: tuple[str, ...]
    multi_label: bool
    calibration: Mapping[str, Any]
    versions: Mapping[str, str] = field(default_factory=dict)
    checked: Mapping[str, Any] = field(default_factory=dict)


SingleDescription: TypeAlias = Description | TrajectoryDescription
ClassDescription: TypeAlias = SingleDescription | FusedDescription
AnyDescription: TypeAlias = ClassDescription | FlowDescription


def is_exported(folder: str | Path) -> bool:
    """Whether a path is a folder with an exported network."""
    return (Path(folder) / DESCRIPTION).is_file()


def read_description(folder: str | Path) -> AnyDescription:
    """Read ``deploy.json``.

    Raises:
        CheckpointError: there is none, or it cannot be read.
    """
    path = Path(folder) / DESCRIPTION
    if not path.is_file():
        raise CheckpointError(
            f"{folder}: holds no exported network. Create it: praxiscope export RUN --out {folder}"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content.pop("version")
        if version == _VERSION:
            lists = {name: content[name] for name in _TUPLES if isinstance(content.get(name), list)}
            return _checked(_made({**content, **{name: tuple(found) for name, found in lists.items()}}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}). Export the network again.") from error
    raise CheckpointError(f"{path}: has version {version!r}, which is not supported. Update praxiscope.")


def _made(content: Mapping[str, Any]) -> AnyDescription:
    if "parts" in content:
        return FusedDescription(**content)
    if "labels" not in content:
        return FlowDescription(**content)
    return TrajectoryDescription(**content) if "extraction" in content else Description(**content)


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < float("inf")


def _is_name(value: Any) -> bool:
    # A name leads to no other folder.
    return isinstance(value, str) and value not in ("", ".", "..") and not {*value} & {*"/\\:\0"}


def _or_none(rule: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or rule(value)


def _is_list(rule: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, tuple) and bool(value) and all(map(rule, value))


def _is_word(value: Any) -> bool:
    return isinstance(value, str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_calibration(value: Any) -> bool:
    return _is_object(value) and _is_number(value.get("temperature", 1.0))


_RULES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "labels": (_is_list(_is_word), "a list of class names"),
    "parts": (_is_list(_is_name), "a list of names of folders"),
    "streams": (_is_list(lambda value: value in ("rgb", "flow")), 'a list of "rgb" and "flow"'),
    "descriptors": (_is_list(_is_word), "a list of names"),
    "weights": (
        _or_none(_is_list(lambda value: value == 0 or _is_number(value))),
        "a list of numbers, none below 0",
    ),
    "calibration": (_is_calibration, "an object, with a temperature above 0 if any"),
    "file": (_is_name, "a file name"),
    "frames": (lambda value: value == "" or _is_name(value), "a file name"),
    **dict.fromkeys(("size", "short_side", "length", "stride"), (_is_count, "a whole number above 0")),
    **dict.fromkeys(("together", "snippets"), (_or_none(_is_count), "a whole number above 0")),
    **dict.fromkeys(("fps", "max_seconds"), (_or_none(_is_number), "a number above 0")),
    **dict.fromkeys(
        ("multi_label", "windows", "all_frames", "int8"),
        (lambda value: isinstance(value, bool), "true or false"),
    ),
    **dict.fromkeys(("flow", "settings", "extraction", "versions", "checked"), (_is_object, "an object")),
    **dict.fromkeys(("model", "protocol", "average", "join", "kind", "digest"), (_is_word, "a word")),
}
"""What each value is: a test, and its description in messages."""


def _checked(about: AnyDescription) -> AnyDescription:
    """Return the description. Raises ValueError for a value that cannot be used."""
    for name in (one.name for one in fields(about)):
        value = getattr(about, name)
        usable, what = _RULES.get(name, (lambda _: True, ""))
        missing = value is None and name == "together" and isinstance(about, FlowDescription)
        if missing or not usable(value):
            raise ValueError(f"{name} is {json.dumps(value)}, not {what}")
    return about


def read_classes(folder: str | Path) -> ClassDescription:
    """Read ``deploy.json`` of a network that has classes.

    Raises:
        CheckpointError: see `read_description`.
        ArgumentError: the network estimates flow.
    """
    about = read_description(folder)
    if isinstance(about, FlowDescription):
        raise ArgumentError(
            f"{folder}: {about.model} estimates flow and knows no classes. Store its flow: praxiscope flow DATA "
            f"--method network --run {folder}; or open it with deploy.load_flow."
        )
    return about


def read_flow_description(folder: str | Path) -> FlowDescription:
    """Read ``deploy.json`` of a network that estimates flow.

    Raises:
        CheckpointError: see `read_description`.
        ArgumentError: it is another network.
    """
    about = read_description(folder)
    if isinstance(about, FlowDescription):
        return about
    raise ArgumentError(
        f"{folder}: {about.model} was exported for its classes, without flow. Predict with it, or give a run that "
        "estimates flow."
    )
