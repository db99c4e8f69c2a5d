"""Backbones as lists of named layers: scores, features and the maps of any layer in one pass.

Applying the layers in sequence equals the network's ``forward``, bit for bit, because they are its modules in its
order. There are no hooks, and the names of the state dict do not change.

Axis letters: N images, C channels, H rows, W columns, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from praxiscope.errors import ArgumentError, unknown_name

__all__ = ["BackboneOutput", "Layer", "NamedLayers", "check_layers", "named_layers", "run_layers"]

Run: TypeAlias = Callable[[Tensor], Tensor]


class BackboneOutput(NamedTuple):
    """The output of a backbone.

    scores: [N, K], before softmax.
    features: [N, D], the input of the classifier, before its dropout (timm networks apply their own dropout first, in
        training mode). If the classifier is a convolution over a map, the spatial mean of that map.
    maps: outputs of the requested layers by name, [N, C, H, W]. Scores have gradients with respect to them, except for
        maps from timm (see `_PLANS`), which are copies.
    """

    scores: Tensor
    features: Tensor
    maps: dict[str, Tensor]


class Layer(NamedTuple):
    """A named part of a network: a function of [N, C, H, W]."""

    name: str
    run: Run


class _Plan(NamedTuple):
    """The attributes in which a class of networks holds its layers. ``NAME.*`` means the modules of a sequence.

    layers: attributes, from the image to the last map.
    head: attributes and functions from there to the scores; empty for networks of timm, which have ``forward_head``.
    """

    layers: tuple[str, ...]
    head: tuple[str | Run, ...] = ()


_flatten = partial(torch.flatten, start_dim=1)
_mean_over_places = partial(F.adaptive_avg_pool2d, output_size=(1, 1))
_RESNET = ("maxpool", "layer1", "layer2", "layer3", "layer4")
_PLAIN = _Plan(("features.*",), ("avgpool", _flatten, "classifier.*"))

_PLANS: dict[str, _Plan] = {
    "torchvision.models.alexnet.AlexNet": _PLAIN,
    "torchvision.models.vgg.VGG": _PLAIN,
    "torchvision.models.squeezenet.SqueezeNet": _Plan(("features.*",), ("classifier.*", _flatten)),
    "torchvision.models.resnet.ResNet": _Plan(
        ("conv1", "bn1", "relu", *_RESNET), ("avgpool", _flatten, "fc")
    ),
    "torchvision.models.googlenet.GoogLeNet": _Plan(
        (
            *("conv1", "maxpool1", "conv2", "conv3", "maxpool2", "inception3a", "inception3b", "maxpool3"),
            *("inception4a", "inception4b", "inception4c", "inception4d", "inception4e", "maxpool4"),
            *("inception5a", "inception5b"),
        ),
        ("avgpool", _flatten, "dropout", "fc"),
    ),
    "torchvision.models.mobilenetv2.MobileNetV2": _Plan(
        ("features.*",), (_mean_over_places, _flatten, "classifier.*")
    ),
    "praxiscope.models.efficientnet_lite.EfficientNetLite": _Plan(
        ("conv_stem", "bn1", "act1", "blocks.*", "conv_head", "bn2", "act2"),
        ("pool", _flatten, "dropout", "classifier"),
    ),
    "praxiscope.models.mobilenet_v1.MobileNetV1": _Plan(
        ("stem", "blocks.*"), ("pool", _flatten, "dropout", "classifier")
    ),
    "praxiscope.models.cnn_m.CnnM2048": _Plan(("check_size", "features.*"), _PLAIN.head),
    # timm networks that a model splits. For all others timm returns the maps.
    "timm.models.resnet.ResNet": _Plan(("conv1", "bn1", "act1", *_RESNET)),
    "timm.models.regnet.RegNet": _Plan(("stem", "s1", "s2", "s3", "s4", "final_conv")),
    "timm.models.convnext.ConvNeXt": _Plan(("stem", "stages.*", "norm_pre")),
    "timm.models.efficientnet.EfficientNet": _Plan(("conv_stem", "bn1", "blocks.*", "conv_head", "bn2")),
    "timm.models.mobilenetv3.MobileNetV3": _Plan(("conv_stem", "bn1", "blocks.*")),
}


# timm networks with more than a classifier after the pooled features.
_WHOLE_HEADS = {"EfficientVitMsra", "LCNetV2", "MultiScaleVit", "SHViT", "VOLO"}


def named_layers(backbone: nn.Module) -> NamedLayers:
    """Split a backbone into named layers.

    Args:
        backbone: a network of `praxiscope.models.backbones.create_backbone`.

    Raises:
        ArgumentError: the class of the network is unknown.
    """
    plan = _PLANS.get(f"{type(backbone).__module__}.{type(backbone).__name__}")
    if plan is not None and plan.head:
        layers, head = _resolve(backbone, plan.layers), _resolve(backbone, plan.head)
        return NamedLayers(layers, *_split(head))
    if not hasattr(backbone, "forward_head"):
        raise ArgumentError(
            f"the layers of {type(backbone).__name__} are not known; use a backbone by its name"
        )
    return _of_timm(backbone, plan)


def check_layers(maps: Iterable[str], known: Sequence[str]) -> None:
    """Raise UnknownNameError if ``maps`` has an unknown name, and ArgumentError if it is a single name."""
    if isinstance(maps, str):
        raise ArgumentError(f"maps must be a list of names of layers, such as maps=[{maps!r}], got {maps!r}")
    for name in maps:
        if name not in known:
            raise unknown_name("layer", name, known, in_order=True)


def run_layers(
    layers: Sequence[Layer],
    x: Tensor,
    maps: Sequence[str] = (),
    rows: tuple[int, ...] = (-1,),
    added: Mapping[str, Tensor] = {},
) -> tuple[Tensor, dict[str, Tensor]]:
    """Apply layers in sequence. Returns the output of the last layer, and those of the layers in ``maps`` by name.

    Args:
        layers: from the first to the last.
        x: [N, C, H, W].
        maps: names of layers.
        rows: axes that replace N in the maps. The scores depend on the maps in this shape, so that gradients with
            respect to them exist.
        added: values, by the name of a layer, that are added to its output, [N, C, H, W].
    """
    kept: dict[str, Tensor] = {}
    for layer, following in zip(layers, [*layers[1:], None], strict=True):
        x = layer.run(x)
        if layer.name in added:
            x = x + added[layer.name]
        if layer.name in maps:
            kept[layer.name] = x.reshape(*rows, *x.shape[1:])
            x = kept[layer.name].reshape(x.shape)
            if following is not None and getattr(following.run, "inplace", False):
                x = x.clone()  # otherwise the next layer would overwrite the map
    return x, kept


def _resolve(backbone: nn.Module, names: Iterable[str | Run]) -> list[Layer]:
    found: list[Layer] = []
    for name in names:
        if not isinstance(name, str):
            found.append(Layer("", name))
        elif name.endswith(".*"):
            name = name.removesuffix(".*")
            found += [Layer(f"{name}.{number}", one) for number, one in enumerate(getattr(backbone, name))]
        else:
            found.append(Layer(name, getattr(backbone, name)))
    return found


def _split(head: Sequence[Layer]) -> tuple[Run, Run]:
    """Split a head before its classifier, the last layer with weights, and before the dropout of the classifier."""
    steps = [layer.run for layer in head]
    end = max(number for number, step in enumerate(steps) if isinstance(step, nn.Linear | nn.Conv2d))
    if end and isinstance(steps[end - 1], nn.Dropout):
        end -= 1
    return partial(_apply, steps[:end]), partial(_apply, steps[end:])


def _apply(steps: Iterable[Run], x: Tensor) -> Tensor:
    for step in steps:
        x = step(x)
    return x


def _of_timm(backbone: Any, plan: _Plan | None) -> NamedLayers:
    pool: Run = partial(backbone.forward_head, pre_logits=True)
    head: Run | None = backbone.forward_head if type(backbone).__name__ in _WHOLE_HEADS else None

    def classify(features: Tensor) -> Tensor:
        last = backbone.get_classifier()
        if isinstance(last, nn.Conv2d):  # 1 x 1 convolution, applied to the spatial mean
            return _flatten(last(features[:, :, None, None]))
        scores: Tensor = last(features)
        return scores

    whole: Run = backbone.forward_features
    if plan is not None:
        return NamedLayers(_resolve(backbone, plan.layers), pool, classify, whole)
    return NamedLayers([Layer("", whole)], pool, classify, whole, head, backbone)


class NamedLayers:
    """The layers of a network up to the last map, and the functions after it.

    Args:
        layers: from the image to the last map.
        pool: from the last map to the input of the classifier.
        classify: from there to scores.
        whole: function equal to all ``layers``, if the network has one.
        head: from the last map to scores, if this is more than ``pool`` and ``classify``.
        intermediate: a timm network that returns maps.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        pool: Run,
        classify: Run,
        whole: Run | None = None,
        head: Run | None = None,
        intermediate: Any = None,
    ) -> None:
        self.layers, self.pool, self.classify = list(layers), pool, classify
        self._whole, self._head, self._intermediate = whole, head, intermediate

    @property
    def names(self) -> list[str]:
        """The names of layers whose maps can be requested, in order."""
        if self._intermediate is None:
            return [layer.name for layer in self.layers if isinstance(layer.run, nn.Module)]
        if not hasattr(self._intermediate, "forward_intermediates"):
            return []
        return [info["module"] for info in self._intermediate.feature_info]

    def behind(self, name: str) -> NamedLayers:
        """The same without the layers up to ``name``."""
        return NamedLayers(self.layers[self._number(name) + 1 :], self.pool, self.classify)

    def up_to(self, name: str) -> list[Layer]:
        """The layers up to ``name``."""
        return self.layers[: self._number(name) + 1]

    def _number(self, name: str) -> int:
        return [layer.name for layer in self.layers].index(name)

    def maps(self, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """The maps of layers alone; layers after the last of them are not computed, if the network can be split.

        Args:
            x: [N, C, H, W].
            names: of layers, at least one.

        Returns:
            Maps [N, C, h, w] by name.

        Raises:
            UnknownNameError: a layer is unknown; the message names the nearest.
        """
        check_layers(names, self.names)
        if self._intermediate is not None:
            return self(x, names).maps
        last = max(names, key=self.names.index)
        return run_layers(self.up_to(last), x, names)[1]

    def __call__(
        self,
        x: Tensor,
        maps: Sequence[str] = (),
        rows: tuple[int, ...] = (-1,),
        added: Mapping[str, Tensor] = {},
    ) -> BackboneOutput:
        """Scores, features and maps of images [N, C, H, W].

        Args:
            x: the input of the first layer.
            maps: names of layers.
            rows: axes that replace N in the output, such as (B, S).
            added: values, by the name of a layer, that are added to its output, [N, C, H, W]. For networks that can be
                split (`praxiscope.models.stages`).

        Raises:
            UnknownNameError: a layer is unknown; the message names the nearest.
        """
        check_layers(maps, self.names)
        kept: dict[str, Tensor] = {}
        if self._whole is not None and not maps and not added:
            x = self._whole(x)
        elif self._intermediate is not None:
            numbers = sorted({self.names.index(name) for name in maps})
            x, found = self._intermediate.forward_intermediates(x, indices=numbers)
            kept = {
                self.names[number]: one.reshape(*rows, *one.shape[1:])
                for number, one in zip(numbers, found, strict=True)
            }
        else:
            x, kept = run_layers(self.layers, x, maps, rows, added)
        pooled = self.pool(x)
        features = pooled if pooled.dim() == 2 else pooled.mean((2, 3))
        features = features.reshape(*rows, features.shape[1])
        if self._head is not None:
            scores = self._head(x)
        else:
            scores = self.classify(features.reshape(pooled.shape) if pooled.dim() == 2 else pooled)
        return BackboneOutput(scores.reshape(*rows, scores.shape[1]), features, kept)
