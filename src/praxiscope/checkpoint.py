"""Model files: safetensors for the weights, JSON for everything else. Loading runs no code from the file.

A model folder holds ``model.safetensors`` and ``model.json``. A run folder holds several of them under
``checkpoints/`` and ``run.json``, a pointer that says which is the last and which the best. The pointer is
replaced atomically after the folder it names is complete, so a killed run leaves a usable checkpoint.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from praxiscope._version import __version__
from praxiscope.errors import ArgumentError, CheckpointError, unknown_name

if TYPE_CHECKING:  # what a folder holds is found out without torch
    import torch
    from torch import Tensor, nn

__all__ = [
    "FlowInput",
    "InputContract",
    "ModelCard",
    "check_flow_options",
    "check_recogniser",
    "find_card",
    "find_checkpoint",
    "is_fused",
    "kept_checkpoints",
    "load_card",
    "load_model_weights",
    "load_optimizer",
    "load_state",
    "load_tensors",
    "point_to",
    "read_pointer",
    "save_checkpoint",
    "write_json",
]

FORMAT = 1
MODEL_FILE = "model.safetensors"
CARD_FILE = "model.json"
OPTIMIZER_FILE = "optimizer.safetensors"
STATE_FILE = "state.json"
POINTER_FILE = "run.json"
FUSION_FILE = "fusion.json"  # of several networks that answer as one, see `praxiscope.inference.fused`

_COUNTS = ("size", "short_side", "channels", "snippets", "length")
_CARD_TYPES = {"name": str, "kwargs": dict}


@dataclass(frozen=True)
class FlowInput:
    """How the flow that a model is fed was made and stacked.

    Attributes:
        length: L, fields of a stack.
        kind: how they are stacked, a name of ``praxiscope.flow.stack``.
        subtract_mean: whether every field loses its own mean.
        made: method, parameters and encoding, as ``praxiscope.flow.store.FlowContract`` writes them.
    """

    length: int = 5
    kind: str = "stack"
    subtract_mean: bool = True
    made: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class InputContract:
    """What a model must be fed: everything between a video file and the first convolution.

    Attributes:
        size: height and width of the crop, pixels.
        short_side: pixels to which the frame's short side is scaled before the crop.
        channels: channels of one snippet; of its pictures, where there is flow beside them.
        mean, std: of pixels, per channel, for values in [0, 1].
        flow_mean, flow_std: of flow, per channel, in pixels.
        colour: order of the channels.
        snippets: snippets per video in training; the number that the model sees together at test.
        length: consecutive frames per snippet.
        flow: of a model that sees flow; else None.
        pictures: of a model that sees flow: whether it sees the pictures of the same instants, too.
        flip: whether the model has learned from flipped frames, too, as frames of the same class.
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

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of what is seen: "rgb", "flow", or both."""
        if self.flow is None:
            return ("rgb",)
        return ("rgb", "flow") if self.pictures else ("flow",)

    @property
    def stream_channels(self) -> dict[str, int]:
        """Channels of a snippet in each stream."""
        if len(self.streams) == 1:
            return {self.streams[0]: self.channels}
        assert self.flow is not None
        return {name: 2 * self.flow.length if name == "flow" else self.channels for name in self.streams}


def _versions() -> dict[str, str]:
    import torch

    return {"praxiscope": __version__, "torch": str(torch.__version__)}


@dataclass(frozen=True)
class ModelCard:
    """What ``model.json`` says of the weights beside it.

    Attributes:
        name, kwargs: for ``create_model``.
        labels: class names in the order of the scores.
        multi_label: whether a video may have several labels (scores are then read by sigmoid).
        input: the contract by which frames are prepared.
        metrics: figures with the protocol that made them.
        versions: of praxiscope and torch, when it was written.
        training: where the weights stand in their run (epoch, step).
        tasks: of a network that was trained on several data sets: each one's first class and the one after its
            last, by its name, in the order of the labels, which are ``task/CLASS``; else empty.
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

    def of_task(self, name: str) -> ModelCard:
        """The card of one task's part of the network: its classes alone, under their own names.

        Raises:
            UnknownNameError: there is no such task.
            ArgumentError: the network was trained on one data set.
        """
        if not self.tasks:
            raise ArgumentError(
                f"task {name!r}: this network was trained on one data set; leave the task out"
            )
        if name not in self.tasks:
            raise unknown_name("task", name, self.tasks)
        start, end = self.tasks[name]
        return replace(
            self,
            kwargs={**self.kwargs, "num_classes": end - start},
            labels=tuple(label.removeprefix(f"{name}/") for label in self.labels[start:end]),
            metrics={},  # they are of all tasks together
            training={**self.training, "task": name},
            tasks={},
        )


def write_json(path: Path, content: Any) -> None:
    """Write JSON so that ``path`` holds either the old text or the whole new one, never a part."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def _save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    # Shared or strided storage is refused by safetensors: every tensor gets its own contiguous memory.
    copies = {name: x.detach().to("cpu").contiguous().clone() for name, x in tensors.items()}
    try:
        save_file(copies, str(path))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path}: cannot be written ({error}). Make room on the disk; the last checkpoint is untouched, go on "
            "with --resume."
        ) from error


def _read_tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error}).") from error


def load_tensors(folder: Path) -> dict[str, Tensor]:
    """The weights of a model folder by name. Raises CheckpointError when they are missing or damaged."""
    return _read_tensors(folder / MODEL_FILE)


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    card: ModelCard,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    state: Mapping[str, Any] | None = None,
) -> None:
    """Write a model folder; with ``optimizer`` and ``state``, one that training can go on from.

    The folder appears by one rename, complete or not at all.
    """
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    _save_tensors(model.state_dict(), temporary / MODEL_FILE)
    write_json(temporary / CARD_FILE, {"format": FORMAT, **asdict(card)})
    if optimizer is not None:
        tensors, scalars = _flatten_optimizer(model, optimizer)
        _save_tensors(tensors, temporary / OPTIMIZER_FILE)
        write_json(temporary / STATE_FILE, {**(state or {}), "optimizer": scalars})
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(temporary, folder)


def load_card(folder: Path) -> ModelCard:
    """Read ``model.json``. Raises CheckpointError when it is missing, damaged or of a later format."""
    path = folder / CARD_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder}: holds no {CARD_FILE}, so it is no praxiscope model. Name a run folder or one of its "
            "checkpoints."
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not readable ({error}). Take another checkpoint of the run."
        ) from error
    found = content.pop("format", None) if isinstance(content, dict) else None
    if found != FORMAT:
        raise CheckpointError(
            f"{path}: format {found!r}; this version of praxiscope ({__version__}) reads format {FORMAT}."
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
        raise CheckpointError(f"{path}: an entry is missing or unknown ({error}).") from error
    wrong = [name for name in _COUNTS if not _is_count(getattr(contract, name))]
    wrong += [name for name in ("name", "kwargs") if not isinstance(getattr(card, name), _CARD_TYPES[name])]
    wrong += ["pictures"] if not isinstance(contract.pictures, bool) else []
    wrong += ["tasks"] if card.tasks and not _are_blocks(list(card.tasks.values()), len(card.labels)) else []
    if wrong:
        raise CheckpointError(f"{path}: the entries {', '.join(wrong)} hold values of another kind.")
    return card


def _are_blocks(blocks: list[tuple[Any, ...]], count: int) -> bool:
    """Whether these are stretches of so many classes that follow one another and leave none out."""
    edges = [0, *(block[-1] for block in blocks if len(block) == 2)]
    return (
        all(_is_count(edge) for edge in edges[1:])
        and blocks == list(pairwise(edges))
        and edges == sorted(set(edges))
        and edges[-1] == count
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value > 0


def load_model_weights(folder: Path, model: nn.Module, block: tuple[int, int] | None = None) -> None:
    """Load ``model.safetensors`` into ``model``, every name and shape checked.

    Args:
        folder: the model folder.
        model: as its card describes it.
        block: of a card's task (``ModelCard.of_task``), which classes of the saved network the model has: it gets
            their rows of the classifier.

    Raises:
        CheckpointError: names the first tensors that are missing, unexpected or of another shape.
    """
    path = folder / MODEL_FILE
    tensors = _read_tensors(path)
    wanted = model.state_dict()
    if block is not None:
        # The trunk's tensors do not know how many classes there are, so what differs is the classifier.
        others = [
            name for name in tensors.keys() & wanted.keys() if tensors[name].shape != wanted[name].shape
        ]
        tensors |= {name: tensors[name][slice(*block)] for name in others}
    missing = sorted(wanted.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - wanted.keys())
    shapes = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in sorted(wanted.keys() & tensors.keys())
        if tensors[name].shape != wanted[name].shape
    ]
    problems = [
        f"{what}: {', '.join(names[:3])}{' …' if len(names) > 3 else ''} ({len(names)})"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("other shape", shapes))
        if names
    ]
    if problems:
        raise CheckpointError(f"{path}: does not fit the model of {CARD_FILE}. {'; '.join(problems)}.")
    model.load_state_dict(tensors)


def _flatten_optimizer(
    model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Optimizer state by parameter *name*: tensors apart from numbers, so that nothing needs pickle."""
    import torch

    names = {id(p): name for name, p in model.named_parameters()}
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, Any] = {}
    for parameter, entries in optimizer.state.items():
        for key, value in entries.items():
            name = f"{names[id(parameter)]}|{key}"
            if isinstance(value, torch.Tensor):
                tensors[name] = value
            elif value is not None:
                scalars[name] = value
    return tensors, scalars


def load_state(folder: Path) -> dict[str, Any]:
    """Read the training state that was saved beside a model.

    Raises:
        CheckpointError: the folder holds a model only, or the state is damaged.
    """
    state = _read_state(folder)
    del state["optimizer"]
    return state


def _read_state(folder: Path) -> dict[str, Any]:
    path = folder / STATE_FILE
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{folder}: holds no training state to go on from ({error}). Start a new run, or give these "
            "weights with --weights."
        ) from error
    if not isinstance(state, dict) or not isinstance(state.get("optimizer"), dict):
        raise CheckpointError(f"{path}: is no training state. Start a new run.")
    return state


def load_optimizer(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put the saved optimizer state back.

    Raises:
        CheckpointError: the folder holds a model only, or its state does not fit the model.
    """
    import torch

    entries: dict[str, Any] = {**_read_tensors(folder / OPTIMIZER_FILE), **_read_state(folder)["optimizer"]}
    parameters = dict(model.named_parameters())
    for name, value in entries.items():
        parameter_name, _, key = name.rpartition("|")
        parameter = parameters.get(parameter_name)
        if parameter is None:
            raise CheckpointError(f"{folder}: optimizer state for {parameter_name!r}, which the model lacks.")
        if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
            value = value.to(parameter.device)
            # Keep the parameter's memory format (channels last), or sums would round differently.
            buffer = torch.empty_like(parameter, dtype=value.dtype)
            value = buffer.copy_(value)
        optimizer.state[parameter][key] = value


def is_fused(path: str | Path) -> bool:
    """Whether a folder holds a fused recogniser."""
    return (Path(path) / FUSION_FILE).is_file()


def read_pointer(run: Path) -> dict[str, Any]:
    """Read ``run.json``: {"last": folder name, "best": folder name or None, "prefer": one of these words}, and "kept":
    folder names, where there are any. Empty when there is none."""
    try:
        content = json.loads((run / POINTER_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{run / POINTER_FILE}: not readable ({error}). Name one of the folders in {run / 'checkpoints'} instead, "
            "or start the run anew."
        ) from error
    return content if isinstance(content, dict) else {}


def point_to(run: Path, *, last: str, best: str | None, prefer: str, keep: bool = False) -> None:
    """Name the last and the best checkpoint of a run, then delete those that nothing names any more.

    Args:
        run: its folder.
        last, best: names of folders in its ``checkpoints``.
        prefer: "last" or "best", the one to load.
        keep: the last one stays for good, whatever is named later.
    """
    kept = [str(name) for name in read_pointer(run).get("kept", ())]
    if keep and last not in kept:
        kept.append(last)
    pointer = {"last": last, "best": best, "prefer": prefer}
    write_json(run / POINTER_FILE, {**pointer, "kept": kept} if kept else pointer)
    for folder in (run / "checkpoints").iterdir():
        if folder.is_dir() and folder.name not in (last, best, *kept):
            shutil.rmtree(folder, ignore_errors=True)


def kept_checkpoints(run: str | Path) -> list[Path]:
    """The model folders of a run that it still has, in the order of their steps: of one that keeps none, its best and
    its last.

    Raises:
        CheckpointError: there is none.
    """
    pointer = read_pointer(Path(run))
    names = {name for name in (*pointer.get("kept", ()), pointer.get("best"), pointer.get("last")) if name}
    if not names:
        raise CheckpointError(
            f"{run}: no checkpoint here. A run writes its first one after its first epoch; name its folder."
        )
    return [Path(run) / "checkpoints" / str(name) for name in sorted(names)]  # steps have leading zeros


def find_checkpoint(path: str | Path, which: str | None = None) -> Path:
    """The model folder that ``path`` means: itself, or the preferred (or ``which``) one of a run.

    Args:
        path: a model folder or a run folder.
        which: "last" or "best"; None takes the one that the run prefers: the best where it was chosen on
            validation videos, else the last.

    Raises:
        ArgumentError: ``which`` is another word.
        CheckpointError: there is none.
    """
    if which not in (None, "last", "best"):
        raise ArgumentError(f"checkpoint must be 'last' or 'best', got {which!r}")
    folder = Path(path)
    if not folder.is_dir():
        what = "is a file, no run or model folder" if folder.exists() else "no such run or model folder"
        raise CheckpointError(f"{folder}: {what}.")
    if (folder / CARD_FILE).is_file():
        return folder
    pointer = read_pointer(folder)
    if not pointer.get("last"):
        raise CheckpointError(
            f"{folder}: no checkpoint here. A run writes its first one after its first epoch; name its folder."
        )
    # Until a run has validated for the first time it has no best checkpoint to prefer.
    name = pointer.get(which) if which else pointer.get(str(pointer.get("prefer"))) or pointer["last"]
    if not name:
        raise CheckpointError(
            f"{folder}: no {which} checkpoint here, as nothing was validated yet. Take the last."
        )
    return folder / "checkpoints" / str(name)


def find_card(
    path: str | Path, which: str | None = None, task: str | None = None
) -> tuple[Path, ModelCard, tuple[int, int] | None]:
    """The model folder that ``path`` means, its card, and of a network of several tasks the classes of ``task``.

    Args:
        path, which: see `find_checkpoint`.
        task: of a network that was trained on several data sets: the one whose classes are meant.

    Raises:
        ArgumentError: a task is to be named, or is not known, or there are none; ``which`` is another word.
        CheckpointError: there is no model, or its card is damaged.
    """
    folder = find_checkpoint(path, which)
    card = load_card(folder)
    if task is not None:
        return folder, card.of_task(task), card.tasks[task]
    if card.tasks:
        first = next(iter(card.tasks))
        raise ArgumentError(
            f"{path}: was trained on several data sets ({', '.join(card.tasks)}); say whose classes are meant: "
            f"--task {first}, or task={first!r}"
        )
    return folder, card, None


def check_recogniser(path: str | Path, which: str | None = None, task: str | None = None) -> None:
    """Raise as `find_card` does, also for a folder of several networks, each of which has a card."""
    if not is_fused(path):
        find_card(path, which, task)
    elif task is not None:
        raise ArgumentError(f"{path}: fused recognisers know one set of classes; leave out the task {task!r}")


def check_flow_options(
    flow: str | Path | None, flow_range: float | None, flow_weights: str | Path | None
) -> None:
    """Raise ArgumentError for options on the flow of a recogniser that do not go together."""
    if flow is None and flow_range is not None:
        raise ArgumentError(
            f"flow_range = {flow_range:g} is of stored flow: name its folder (--flow), or leave it out"
        )
    if flow is not None and flow_weights is not None:
        raise ArgumentError(
            f"{flow} is stored flow, and {flow_weights} would estimate it: give one of them (--flow, --flow-weights)"
        )
