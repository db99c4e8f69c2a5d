"""The model card, ``model.json``: how to build the network, its input and its labels."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from praxiscope._version import __version__
from praxiscope.errors import ArgumentError, CheckpointError, unknown_name
from praxiscope.run_folder import CARD_FILE

__all__ = [
    "CHOICE_OF_FRAMES",
    "FORMAT",
    "FlowInput",
    "InputContract",
    "ModelCard",
    "is_calibration",
    "load_card",
]

FORMAT = 1

CHOICE_OF_FRAMES = ("fps", "max_seconds", "sampling")
"""Fields of `InputContract` that say which frames of a video are read, not how a frame is prepared."""

_COUNTS = ("size", "short_side", "channels", "snippets", "length")
_CARD_TYPES = {"name": str, "kwargs": dict}


@dataclass(frozen=True)
class FlowInput:
    """How the flow that a model takes was estimated and stacked.

    Attributes:
        length: L, flow fields in a stack.
        kind: how they are stacked, a name in ``praxiscope.flow.stack``.
        subtract_mean: whether the mean of every field is subtracted from it.
        made: method, parameters and encoding of the flow, as ``praxiscope.flow.contract.FlowContract.to_dict`` returns
            them.
    """

    length: int = 5
    kind: str = "stack"
    subtract_mean: bool = True
    made: dict[str, Any] = field(default_factory=dict)

    @property
    def is_image(self) -> bool:
        """Whether the network takes the flow as an image of three channels."""
        return self.kind == "image"

    @property
    def channels(self) -> int:
        """Channels of a stack as the network takes it."""
        return 3 if self.is_image else 2 * self.length


@dataclass(frozen=True)
class InputContract:
    """The input of a model: everything between a video file and the first convolution.

    Attributes:
        size: height and width of the crop, pixels.
        short_side: the frame's short side after scaling, before the crop, pixels.
        channels: channels of one snippet (of its RGB frames, if the model also takes flow).
        mean, std: normalisation of RGB, per channel, for values in [0, 1].
        flow_mean, flow_std: normalisation of flow, per channel, in pixels; of flow images, in levels from 0 to 1.
        colour: order of the channels.
        snippets: snippets per video in training, and per view at test.
        length: consecutive frames in a snippet.
        flow: the flow that the model takes; None if it takes none.
        pictures: whether a model that takes flow also takes RGB frames at the same times.
        flip: whether the model was also trained on horizontally flipped frames.
        fps: frames per second at which videos are read, see ``praxiscope.video.grid.FrameGrid``; None: every frame.
        max_seconds: seconds of a video that are read, from its start; None: all.
        sampling: "segments": the snippets of a training example are from equal segments of the video. "window": they
            are consecutive, and tests also take windows.
    """

    size: int = 224
    short_side: int = 256
    channels: int = 3
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    flow_mean: tuple[float, ...] = (0.0,)
    flow_std: tuple[float, ...] = (1.0,)
    colour: str = "RGB"
    snippets: int = 8
    length: int = 1
    flow: FlowInput | None = None
    pictures: bool = False
    flip: bool = True
    fps: float | None = None
    max_seconds: float | None = None
    sampling: str = "segments"

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values for JSON. How frames are chosen is left out where it is the default, so that cards
        of other models stay as earlier versions wrote and read them."""
        content = asdict(self)
        for name in CHOICE_OF_FRAMES:
            if content[name] == getattr(InputContract, name):
                del content[name]
        return content

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the model's inputs: "rgb", "flow", or both."""
        if self.flow is None:
            return ("rgb",)
        return ("rgb", "flow") if self.pictures else ("flow",)

    @property
    def stream_channels(self) -> dict[str, int]:
        """Channels of a snippet in each stream."""
        if len(self.streams) == 1:
            return {self.streams[0]: self.channels}
        assert self.flow is not None
        return {name: self.flow.channels if name == "flow" else self.channels for name in self.streams}

    @property
    def read_channels(self) -> dict[str, int]:
        """Channels of a snippet in each stream before its normalisation: of flow, two for each field."""
        own = self.stream_channels
        return own if self.flow is None else {**own, "flow": 2 * self.flow.length}

    @property
    def flow_is_image(self) -> bool:
        """Whether the model takes flow as images of three channels."""
        return self.flow is not None and self.flow.is_image


def _versions() -> dict[str, str]:
    import torch

    return {"praxiscope": __version__, "torch": str(torch.__version__)}


@dataclass(frozen=True)
class ModelCard:
    """The content of ``model.json``.

    Attributes:
        name, kwargs: arguments of ``create_model``.
        labels: class names in the order of the scores.
        multi_label: whether a video may have several labels; probabilities are then sigmoids.
        input: how frames are prepared.
        metrics: metrics by name.
        versions: versions of praxiscope and torch that wrote the file.
        training: epoch and step of the run at which the weights were saved.
        tasks: for a network that was trained on several data sets: first class of each task and the class after its
            last, by name, in the order of the labels, which are ``task/CLASS``; otherwise empty.
        calibration: what held-out training clips say about the probabilities; empty if there were none. ``temperature``
            divides the scores before the softmax. A video whose best class is less probable than ``none_below`` is of
            "none of these" classes; of videos of these classes, this refuses ``false_refusals`` (the expected
            fraction). ``videos`` is the number of the clips, ``source`` where they were from. See
            ``praxiscope.evaluation.calibration``.
        features: the contract of the stored features that the model learned from, see
            ``praxiscope.features.contract``; empty for a model that learned from frames.
        teacher: method, parameters and encoding of the stored flow that the model learned to estimate, as
            ``praxiscope.flow.contract.FlowContract.to_dict`` returns them; empty for other models. Predictions do not
            need it.
    """

    name: str
    kwargs: dict[str, Any]
    labels: tuple[str, ...]
    multi_label: bool = False
    input: InputContract = field(default_factory=InputContract)
    metrics: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=_versions)
    training: dict[str, Any] = field(default_factory=dict)
    tasks: dict[str, tuple[int, int]] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    features: dict[str, Any] = field(default_factory=dict)
    teacher: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values for JSON, without ``teacher`` where it is empty."""
        content = {**asdict(self), "input": self.input.to_dict()}
        if not self.teacher:
            del content["teacher"]
        return content

    @property
    def temperature(self) -> float:
        """The number that divides the scores before the softmax; 1 without a calibration, or for sigmoids."""
        return 1.0 if self.multi_label else float(self.calibration.get("temperature", 1.0))

    def of_task(self, name: str) -> ModelCard:
        """The card for the classes of one task only, under their own names.

        Raises:
            UnknownNameError: the task is unknown.
            ArgumentError: the network was trained on one data set.
        """
        if not self.tasks:
            raise ArgumentError(f"task {name!r}: this network was trained on one data set. Omit the task.")
        if name not in self.tasks:
            raise unknown_name("task", name, self.tasks)
        start, end = self.tasks[name]
        return replace(
            self,
            kwargs={**self.kwargs, "num_classes": end - start},
            labels=tuple(label.removeprefix(f"{name}/") for label in self.labels[start:end]),
            metrics={},  # the metrics and the calibration cover all tasks together
            calibration={},
            training={**self.training, "task": name},
            tasks={},
        )


def load_card(folder: Path) -> ModelCard:
    """Read ``model.json``. Raises CheckpointError if it is missing, damaged or in a later format."""
    path = folder / CARD_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder}: holds no {CARD_FILE}, so it is not a praxiscope model. Give a run folder or one of its "
            "checkpoints."
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not readable ({error}). Use another checkpoint of the run."
        ) from error
    found = content.pop("format", None) if isinstance(content, dict) else None
    if found != FORMAT:
        raise CheckpointError(
            f"{path}: has format {found!r}, but praxiscope {__version__} reads format {FORMAT}. Update praxiscope."
        )
    try:
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in content.pop("input").items()
        }
        if fields.get("flow") is not None:
            fields["flow"] = FlowInput(**fields["flow"])
        contract = InputContract(**fields)
        content["labels"] = tuple(content["labels"])
        content["tasks"] = {name: tuple(block) for name, block in content.get("tasks", {}).items()}
        card = ModelCard(**content, input=contract)
    except (TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: an entry is missing or unknown ({error}). Use another checkpoint of the run."
        ) from error
    wrong = [name for name in _COUNTS if not _is_count(getattr(contract, name))]
    wrong += [name for name in ("name", "kwargs") if not isinstance(getattr(card, name), _CARD_TYPES[name])]
    wrong += ["pictures"] if not isinstance(contract.pictures, bool) else []
    wrong += [name for name in ("fps", "max_seconds") if not _is_rate(getattr(contract, name))]
    wrong += ["sampling"] if contract.sampling not in ("segments", "window") else []
    wrong += ["tasks"] if card.tasks and not _are_blocks(list(card.tasks.values()), len(card.labels)) else []
    wrong += ["calibration"] if card.calibration and not is_calibration(card.calibration) else []
    if wrong:
        raise CheckpointError(
            f"{path}: wrong values for {', '.join(wrong)}. Use another checkpoint of the run."
        )
    return card


def _are_blocks(blocks: list[tuple[Any, ...]], count: int) -> bool:
    """Whether these ranges are contiguous and cover all ``count`` classes."""
    edges = [0, *(block[-1] for block in blocks if len(block) == 2)]
    return (
        all(_is_count(edge) for edge in edges[1:])
        and blocks == list(pairwise(edges))
        and edges == sorted(set(edges))
        and edges[-1] == count
    )


def is_calibration(value: object) -> bool:
    """Whether the numbers that answers depend on are there: a temperature above 0, and two fractions."""
    if not isinstance(value, dict):
        return False
    for name, most in (("temperature", math.inf), ("none_below", 1.0), ("false_refusals", 1.0)):
        number = value.get(name)
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= most:
            return False
    return 0 < value["temperature"] < math.inf


def _is_rate(value: object) -> bool:
    """Whether a value is None, or a number above 0."""
    if value is None:
        return True
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value > 0
