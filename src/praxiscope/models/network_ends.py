"""Find the first convolution and the classifier of an image network, and adapt RGB filters to other inputs."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from praxiscope.errors import ArgumentError
from praxiscope.layers.stems import Stems

__all__ = [
    "classifier",
    "classifier_name",
    "cross_modality",
    "first_convolution",
    "first_convolution_name",
    "first_convolutions",
    "inflated",
]


def first_convolution_name(network: nn.Module) -> str:
    """Return the dotted name of the layer that takes the input: a convolution, or `Stems` of several.

    Raises:
        ArgumentError: the network has no convolution.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | Stems):
            return name
    raise ArgumentError(f"{type(network).__name__} has no convolution that takes the input")


def first_convolution(network: nn.Module) -> nn.Conv2d:
    """Return the convolution that takes the input. Raises ArgumentError if there is none, or several."""
    found = first_convolutions(network)
    if len(found) > 1:
        raise ArgumentError(
            f"{type(network).__name__} has {len(found)} first convolutions, one per length of stack"
        )
    return found[0]


def first_convolutions(network: nn.Module) -> list[nn.Conv2d]:
    """Return the convolutions that take the input, one per stem. Raises ArgumentError if there is none."""
    found = network.get_submodule(first_convolution_name(network))
    layers = list(found) if isinstance(found, Stems) else [found]
    return [layer for layer in layers if isinstance(layer, nn.Conv2d)]


def classifier_name(network: nn.Module) -> str:
    """Return the dotted name of the layer that outputs the class scores: the last linear layer or convolution.

    Raises:
        ArgumentError: there is no classifier, or timm has several (distilled networks have two).
    """
    layers = {
        module: name for name, module in network.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)
    }
    get_classifier: Callable[[], nn.Module] | None = getattr(network, "get_classifier", None)
    if get_classifier is not None:  # timm
        named = get_classifier()
        if not isinstance(named, nn.Linear | nn.Conv2d):
            raise ArgumentError(
                f"{type(network).__name__} has no single linear classifier (it has {type(named).__name__}). "
                "Choose another backbone"
            )
        return layers[named]
    if not layers:
        raise ArgumentError(
            f"{type(network).__name__} has no linear layer or convolution that could be its classifier"
        )
    return list(layers.values())[-1]


def classifier(network: nn.Module) -> nn.Linear | nn.Conv2d:
    """Return the layer that outputs the class scores. Raises ArgumentError if there is not exactly one."""
    found = network.get_submodule(classifier_name(network))
    assert isinstance(found, nn.Linear | nn.Conv2d)
    return found


def cross_modality(weight: Tensor, in_channels: int) -> Tensor:
    """Adapt RGB filters to other input channels: repeat their mean over RGB.

    Args:
        weight: [out, 3, kernel, kernel].
        in_channels: C of the new input.

    Returns:
        [out, C, kernel, kernel] (TSN, section 3.3, "cross modality pre-training").
    """
    return weight.mean(dim=1, keepdim=True).repeat(1, in_channels, 1, 1)


def inflated(weight: Tensor, in_channels: int) -> Tensor:
    """Adapt RGB filters to a stack of RGB frames: repeat them for each frame and divide by the number of frames, so
    that a stack of equal frames gives the output of a single one (I3D, section 2.4).

    Args:
        weight: [out, 3, kernel, kernel].
        in_channels: C of the new input, three per frame.

    Returns:
        [out, C, kernel, kernel].
    """
    frames = in_channels // 3
    return weight.repeat(1, frames, 1, 1) / frames
