"""Load weights from local files without unpickling, and check all names and shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from praxiscope.checkpoint import ModelCard, find_checkpoint, load_card, load_tensors
from praxiscope.errors import CheckpointError
from praxiscope.models.backbones import MINUS_ONE_TO_ONE, flow_normalisation
from praxiscope.models.contract import Normalisation, VideoModel
from praxiscope.models.efficientnet_lite import renamed_efficientnet_lite
from praxiscope.models.encoders import ResNetEncoder, inflated_in_time
from praxiscope.models.network_ends import (
    classifier_name,
    cross_modality,
    first_convolution_name,
    first_convolutions,
    inflated,
)
from praxiscope.models.parts import StartsFromParts
from praxiscope.tensorfile import State, read_tensors

__all__ = ["WeightReport", "holds_backbone", "load_weights"]

_LISTED = 5  # maximum number of names of each kind in an error
_OURS = "backbone."
_PREFIXES = ("module.", "base_model.", _OURS)  # DistributedDataParallel, TSN's and TSM's code, ours
_TRAINING_ONLY = ("aux1.", "aux2.")  # GoogLeNet's auxiliary classifiers, which are never built here


class _Mismatch(NamedTuple):
    """A tensor of the wrong shape."""

    name: str
    came: tuple[int, ...]
    expected: tuple[int, ...]


@dataclass(frozen=True)
class WeightReport:
    """The result of loading a weights file.

    Attributes:
        loaded: names, in the backbone, of the loaded tensors.
        skipped_classifier: tensors of the classifier that were not loaded, because the classes differ or the file has
            none; the model keeps its new classifier.
        missing: names in the backbone but not in the file.
        unexpected: names in the file but not in the backbone.
        mismatched: (name, shape in the file, shape in the backbone).
        cross_modality: whether a first convolution was adapted from RGB filters to another input.
        input: the normalisation of RGB input in [0, 1] for these weights, if the file format determines it.
    """

    loaded: tuple[str, ...]
    skipped_classifier: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[_Mismatch, ...]
    cross_modality: bool
    input: Normalisation | None


def load_weights(
    model: VideoModel, path: str | Path, *, labels: Sequence[str] | None = None, strict: bool = True
) -> WeightReport:
    """Load weights into a model's backbone, in place.

    Reads a torch state dict (.pt, .pth, …; also nested under "state_dict" or "model", with the prefixes that
    DataParallel, TSN's and TSM's code put before names), .safetensors, or .npz: with torch's names, or
    SqueezeNet 1.0 with Caffe's, MobileNet v1 with Keras's, EfficientNet-Lite with those of the package
    EfficientNet-PyTorch. A classifier for other classes is skipped. RGB filters are averaged for a first convolution
    with other channels (cross-modality initialisation), for each one where there are several stems; for a stack of RGB
    frames they are inflated.

    Parts of a model that are further networks of the same shape start from the same weights
    (`praxiscope.models.parts.StartsFromParts`).

    For a run folder, the weights of its checkpoint and the normalisation of its training are loaded; of a model on
    features, those of its network of frames.

    Args:
        model: a model of one stream; see `praxiscope.models.contract.VideoModel`.
        path: the file; or a run or model folder.
        labels: the model's classes, in the order of its scores. A run's classifier is loaded if it has the same
            classes; None: if it has the same number.
        strict: require exactly the tensors of the backbone, with their shapes; the classifier is optional.

    Returns:
        A report of what was loaded. If the normalisation of the input is known, the model's ``normalisation`` is also
        set.

    Raises:
        CheckpointError: the file cannot be read, does not match the network (``strict``), or has no matching tensor.
    """
    path = Path(path)
    ((stream, network),) = model.stream_networks.items()
    channels = model.channels[stream]
    rgb = stream == "rgb" and channels % 3 == 0
    last = network.published_classifier if isinstance(network, ResNetEncoder) else classifier_name(network)
    found = _read(path, stream, labels, last)
    _inflate_in_time(found.state, network)
    adapted = _adapt_first_convolution(found.state, network, inflated if rgb else cross_modality)
    report = _compare(found, network, last, adapted)
    wrong = bool(report.missing or report.unexpected or report.mismatched)
    if (strict and wrong) or all(map(_is_counter, report.loaded)):
        raise CheckpointError(_complaint(path, network, found.network, report))
    loaded = {name: found.state[name] for name in report.loaded}
    for part in (network, *_alike(model, network)):
        part.load_state_dict(loaded, strict=False)
    if found.input is not None:
        model.normalisation[stream] = found.input if rgb else flow_normalisation(found.input, channels)
    if found.flow is not None:
        model.normalisation[stream] = found.flow
    return report


def _alike(model: VideoModel, network: nn.Module) -> list[nn.Module]:
    """Further parts of a model that are networks of the same shape."""
    if not isinstance(model, StartsFromParts):
        return []
    shape = _shape(network)
    return [part for part in model.start_parts.values() if part is not network and _shape(part) == shape]


def _shape(network: nn.Module) -> tuple[type, dict[str, tuple[int, ...]]]:
    return type(network), {name: tuple(value.shape) for name, value in network.state_dict().items()}


class _Found(NamedTuple):
    """The content of a file or a run.

    state: a backbone's tensors, under its own names.
    network: the name of the backbone, if known.
    input: normalisation of RGB input in [0, 1], if known.
    flow: normalisation of flow, for weights trained on it.
    """

    state: State
    network: str | None
    input: Normalisation | None
    flow: Normalisation | None = None


def _read(path: Path, stream: str, labels: Sequence[str] | None, last: str) -> _Found:
    """Read weights for a stream. The classifier, named ``last``, is omitted for a run with other ``labels``
    and for a model on features, whose network does not use it."""
    if not path.is_dir():
        state, source, normalisation = _convert(read_tensors(path))
        return _Found(_plain_names(state, last), source, normalisation)
    state, card, of_frames = _of_run(path)
    if of_frames or (labels is not None and card.labels != tuple(labels)):
        state = {name: value for name, value in state.items() if name.rpartition(".")[0] != last}
    backbone = str(card.kwargs.get("backbone"))
    if card.input.flow is None:
        return _Found(state, backbone, Normalisation(mean=card.input.mean, std=card.input.std))
    if stream == "rgb":
        raise CheckpointError(f"{path}: was trained on flow, but this network takes RGB frames. Add --flow.")
    return _Found(state, backbone, None, Normalisation(mean=card.input.flow_mean, std=card.input.flow_std))


def _inflate_in_time(state: State, network: nn.Module) -> None:
    """Inflate filters of images for convolutions over time, in place."""
    for name, own in network.state_dict().items():
        came = state.get(name)
        if came is not None and came.dim() == 4 and own.dim() == 5:
            state[name] = inflated_in_time(came)


def _adapt_first_convolution(
    state: State, network: nn.Module, adapt: Callable[[Tensor, int], Tensor]
) -> bool:
    """Adapt RGB filters to a first convolution with other channels, in place. Returns whether they were adapted."""
    own = network.state_dict()
    first = first_convolution_name(network)
    stems = len(first_convolutions(network))
    if stems > 1:  # all are initialised from the only first convolution of the file
        for kind in ("weight", "bias"):
            if (value := state.pop(f"{first}.{kind}", None)) is not None:
                state |= {f"{first}.{number}.{kind}": value for number in range(stems)}
    entering = [name for name in own if name in state and name.startswith(f"{first}.")]
    adapted = [name for name in entering if _is_rgb_for_other_channels(state[name], own[name])]
    for name in adapted:
        state[name] = adapt(state[name], own[name].shape[1])
    return bool(adapted)


def _is_counter(name: str) -> bool:
    """Files of torch before 0.4.1 lack the counters of BatchNorm, which are used only with a momentum of None."""
    return name.endswith(".num_batches_tracked")


def _compare(found: _Found, network: nn.Module, last: str, adapted: bool) -> WeightReport:
    """Compare the tensors of a file with those of a network, whose classifier is named ``last``."""
    state, own = found.state, network.state_dict()
    fitting = {name for name in own.keys() & state.keys() if own[name].shape == state[name].shape}
    in_classifier = {name for name in own if name.rpartition(".")[0] == last}
    absent = None if in_classifier else last  # an encoder has no classifier
    optional = in_classifier | {name for name in own if _is_counter(name)}
    return WeightReport(
        loaded=tuple(name for name in own if name in fitting),
        skipped_classifier=tuple(name for name in own if name in in_classifier - fitting),
        missing=tuple(name for name in own if name not in state.keys() | optional),
        unexpected=tuple(name for name in state if name not in own and name.rpartition(".")[0] != absent),
        mismatched=tuple(
            _Mismatch(name, tuple(state[name].shape), tuple(own[name].shape))
            for name in own
            if name in state.keys() - fitting - in_classifier
        ),
        cross_modality=adapted,
        input=found.input,
    )


def holds_backbone(run: str | Path) -> bool:
    """Whether a run has the weights of a backbone, which other models load with ``--weights``."""
    names = load_tensors(find_checkpoint(run))
    return any(name.startswith((_OURS, f"frame.{_OURS}")) for name in names)


def _of_run(path: Path) -> tuple[State, ModelCard, bool]:
    """The backbone's tensors in a run's checkpoint, its card, and whether it is the network of frames of a model that
    scores videos by something else."""
    folder = find_checkpoint(path)
    card = load_card(folder)
    tensors = load_tensors(folder)
    for own in (_OURS, f"frame.{_OURS}"):
        state = {name.removeprefix(own): value for name, value in tensors.items() if name.startswith(own)}
        if state:
            return state, card, own != _OURS
    raise CheckpointError(
        f"{path}: holds {card.name}, which has no single backbone. Give a run of a model such as tsn."
    )


def _plain_names(state: State, classifier: str) -> State:
    """Remove the prefixes that other training code adds to the names of a backbone."""
    plain: State = {}
    for name, value in state.items():
        for prefix in _PREFIXES:
            name = name.removeprefix(prefix)
        if name.startswith("new_fc."):  # the classifier of TSN's and TSM's code
            name = f"{classifier}.{name.removeprefix('new_fc.')}"
        name = name.replace(".net.weight", ".weight").replace(
            ".net.bias", ".bias"
        )  # TSM's wrapped convolutions
        if not name.startswith(_TRAINING_ONLY):
            plain[name] = value
    return plain


def _is_rgb_for_other_channels(came: Tensor, own: Tensor) -> bool:
    return (
        came.dim() == 4
        and came.shape[1] == 3
        and own.shape[1] != 3
        and came.shape[:1] + came.shape[2:] == own.shape[:1] + own.shape[2:]
    )


def _complaint(path: Path, network: nn.Module, source: str | None, report: WeightReport) -> str:
    mismatched = [f"{m.name} {list(m.came)} instead of {list(m.expected)}" for m in report.mismatched]
    kinds = {"missing": report.missing, "unexpected": report.unexpected, "wrong shape": mismatched}
    parts = [
        f"{len(names)} {kind} ({', '.join(names[:_LISTED])}{', …' if len(names) > _LISTED else ''})"
        for kind, names in kinds.items()
        if names
    ]
    remedy = (
        f"It holds weights of {source}: choose that backbone"
        if source
        else "Choose the backbone that it was saved from"
    )
    return f"{path}: does not fit {type(network).__name__}: {'; '.join(parts)}. {remedy}"


# ------------------------------------------------------------------------- names and layouts of other tools


def _convert(state: State) -> tuple[State, str | None, Normalisation | None]:
    """Return a state under torchvision's (or our) names, its network, and the normalisation of its input."""
    for foreign in _FOREIGN:
        if foreign.mark in state:
            return foreign.convert(state), foreign.network, foreign.contract
    return state, None, None


# SqueezeNet 1.0: indices of fire2 … fire9 in torchvision's ``features``, between the poolings.
_FIRES = {2: 3, 3: 4, 4: 5, 5: 7, 6: 8, 7: 9, 8: 10, 9: 12}
_FIRE_PARTS = {"conv1x1_1": "squeeze", "conv1x1_2": "expand1x1", "conv3x3_2": "expand3x3"}


def _squeezenet_from_caffe(state: State) -> State:
    """Caffe's names; filters are already [out, in, kernel, kernel], but have the channel order BGR."""
    layers = {"conv1": "features.0", "conv_final": "classifier.1"}
    for number, place in _FIRES.items():
        for theirs, ours in _FIRE_PARTS.items():
            layers[f"fire{number}/{theirs}"] = f"features.{place}.{ours}"
    converted = {_renamed(name, layers): value for name, value in state.items()}
    converted["features.0.weight"] = converted["features.0.weight"].flip(1)  # BGR to RGB
    return converted


def _renamed(name: str, layers: Mapping[str, str]) -> str:
    layer, _, kind = name.rpartition("/")
    return f"{layers[layer]}.{kind}" if layer in layers else name


_KERAS_NORM = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def _mobilenet_from_keras(state: State) -> State:
    """Keras's names; kernels are [H, W, in, out], depthwise ones [H, W, channels, 1]."""
    blocks = {"conv1": "stem"}
    for number in range(1, 14):
        blocks[f"conv_dw_{number}"] = f"blocks.{number - 1}.depthwise"
        blocks[f"conv_pw_{number}"] = f"blocks.{number - 1}.pointwise"
    converted: State = {}
    for name, value in state.items():
        layer, _, kind = name.rpartition("/")
        if layer == "conv_preds":
            weight = (
                value.reshape(value.shape[-2:]).T if kind == "kernel" else value
            )  # [in, out] -> [out, in]
            converted[f"classifier.{'weight' if kind == 'kernel' else kind}"] = weight
        elif kind == "kernel" and layer in blocks:
            converted[f"{blocks[layer]}.conv.weight"] = value.permute(3, 2, 0, 1)
        elif kind == "depthwise_kernel" and layer in blocks:
            converted[f"{blocks[layer]}.conv.weight"] = value.permute(2, 3, 0, 1)
        elif kind in _KERAS_NORM and layer.removesuffix("_bn") in blocks:
            converted[f"{blocks[layer.removesuffix('_bn')]}.norm.{_KERAS_NORM[kind]}"] = value
        else:
            converted[name] = value
    return converted


class _Foreign(NamedTuple):
    network: str
    mark: str  # a name that only this format has
    convert: Callable[[State], State]
    contract: Normalisation


_FOREIGN = (
    _Foreign(
        "efficientnet_lite1 or efficientnet_lite2",
        "_blocks.20._project_conv.weight",
        renamed_efficientnet_lite,
        MINUS_ONE_TO_ONE,
    ),
    _Foreign(
        "efficientnet_lite0", "_blocks.15._project_conv.weight", renamed_efficientnet_lite, MINUS_ONE_TO_ONE
    ),
    _Foreign(
        "squeezenet1_0",
        "fire2/conv1x1_1/weight",
        _squeezenet_from_caffe,
        # Caffe's input is 0 … 255 minus the mean colour (here in RGB order), without a division.
        Normalisation(mean=(123 / 255, 117 / 255, 104 / 255), std=(1 / 255, 1 / 255, 1 / 255)),
    ),
    _Foreign("mobilenet_v1", "conv_dw_1/depthwise_kernel", _mobilenet_from_keras, MINUS_ONE_TO_ONE),
)
