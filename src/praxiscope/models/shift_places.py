"""The positions of temporal shifts in an image network (Lin et al. 2019, section 4.2).

"residual" shifts the input of the residual branch but not of the shortcut, so that no frame loses its own features.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from torch import nn

from praxiscope.errors import ArgumentError

__all__ = ["ShiftPlace", "shift_places"]

ShiftPlace: TypeAlias = Literal["residual", "block"]


class _Branch(NamedTuple):
    """The attributes of a block that take the input of the residual branch, and the axis of the channels in it."""

    attributes: tuple[str, ...]
    channels_last: bool = False


# By "module.Class" of the block. First torchvision and ours, then timm (identified by the last part).
_BRANCHES: dict[str, _Branch] = {
    "torchvision.models.resnet.BasicBlock": _Branch(("conv1",)),
    "torchvision.models.resnet.Bottleneck": _Branch(("conv1",)),
    "torchvision.models.mobilenetv2.InvertedResidual": _Branch(("conv",)),
    "praxiscope.models.efficientnet_lite.InvertedResidual": _Branch(("conv_pw",)),
    # No shortcut: the 1x1 branch (and the pooled one) keep the features of the frame instead.
    "torchvision.models.squeezenet.Fire": _Branch(("expand3x3",)),
    "torchvision.models.googlenet.Inception": _Branch(("branch2", "branch3")),
    # ResNet, ResNeXt, SE, ECA, ResNet-D, HRNet, …
    "timm.models.resnet.BasicBlock": _Branch(("conv1",)),
    "timm.models.resnet.Bottleneck": _Branch(("conv1",)),
    "timm.models.resnetv2.PreActBasic": _Branch(("conv1",)),
    "timm.models.resnetv2.PreActBottleneck": _Branch(("conv1",)),
    "timm.models.resnetv2.Bottleneck": _Branch(("conv1",)),
    "timm.models.res2net.Bottle2neck": _Branch(("conv1",)),
    "timm.models.resnest.ResNestBottleneck": _Branch(("conv1",)),
    "timm.models.sknet.SelectiveKernelBasic": _Branch(("conv1",)),
    "timm.models.sknet.SelectiveKernelBottleneck": _Branch(("conv1",)),
    "timm.models.dla.DlaBasic": _Branch(("conv1",)),
    "timm.models.dla.DlaBottleneck": _Branch(("conv1",)),
    "timm.models.regnet.Bottleneck": _Branch(("conv1",)),
    "timm.models.regnet.PreBottleneck": _Branch(("conv1",)),
    "timm.models.nfnet.NormFreeBlock": _Branch(("conv1",)),
    "timm.models.densenet.DenseLayer": _Branch(("conv1",)),
    # EfficientNet, MobileNet v2 to v4, MnasNet, …
    "timm.models._efficientnet_blocks.InvertedResidual": _Branch(("conv_pw",)),
    "timm.models._efficientnet_blocks.UniversalInvertedResidual": _Branch(("dw_start",)),
    "timm.models._efficientnet_blocks.DepthwiseSeparableConv": _Branch(("conv_dw",)),
    "timm.models._efficientnet_blocks.EdgeResidual": _Branch(("conv_exp",)),
    "timm.models.convnext.ConvNeXtBlock": _Branch(("conv_dw",)),
    "timm.models.convnextv2.ConvNeXtBlock": _Branch(("conv_dw",)),
    # Transformers: the channels of all tokens are shifted at the input of the attention (before windows are formed).
    "timm.models.vision_transformer.Block": _Branch(("attn",), channels_last=True),
    "timm.models.beit.Block": _Branch(("attn",), channels_last=True),
    "timm.models.eva.EvaBlock": _Branch(("attn",), channels_last=True),
    "timm.models.swin_transformer.SwinTransformerBlock": _Branch(("norm1",), channels_last=True),
}

# An attribute of these blocks tells whether they have a shortcut. Without one, a shift would lose features of the
# frame, so TSM's code does not shift them.
_SHORTCUT_FLAGS = ("has_skip", "use_res_connect")


def _qualified(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__name__}"


class _Place(NamedTuple):
    module: nn.Module
    channels_last: bool


def shift_places(backbone: nn.Module, place: ShiftPlace = "residual") -> list[_Place]:
    """Return the modules of a backbone whose input is shifted.

    ============================  =================================================================
    residual networks             first convolution of every residual branch; in ResNet-101 and -152
                                  of every second block, as in TSM's code
    MobileNet v2, EfficientNet …  the same, in blocks that have a shortcut
    SqueezeNet, GoogLeNet         what the spatial branches see; the 1x1 branch is not shifted
    transformers                  input of the attention, all tokens
    AlexNet, VGG, MobileNet v1    no branch exists: the first convolution of each stage after the
                                  first, with all its input shifted ("in place")
    ============================  =================================================================

    Args:
        backbone: an image network.
        place: "residual" as above; "block" shifts the input of the whole block, including the shortcut
            (the paper's in-place shift, figure 5a).

    Raises:
        ArgumentError: no position is known in the backbone.
    """
    if place not in ("residual", "block"):
        raise ArgumentError(f"shift_place must be 'residual' or 'block', got {place!r}")
    blocks = [m for m in backbone.modules() if _qualified(m) in _BRANCHES]
    blocks = [m for m in blocks if all(getattr(m, flag, True) for flag in _SHORTCUT_FLAGS)]
    blocks = _every_second_in_deep_resnets(backbone, blocks)
    found: list[_Place] = []
    for block in blocks:
        branch = _BRANCHES[_qualified(block)]
        if place == "block":
            found.append(_Place(block, branch.channels_last))
        else:
            found += [_Place(getattr(block, name), branch.channels_last) for name in branch.attributes]
    found = found or [_Place(module, False) for module in _stage_starts(backbone)]
    if not found:
        raise ArgumentError(
            f"the blocks of {type(backbone).__name__} that a temporal shift can go into are not known. Choose another "
            "backbone: a ResNet, RegNet, EfficientNet, MobileNet, ConvNeXt, ViT, VGG, GoogLeNet or SqueezeNet"
        )
    return found


def _every_second_in_deep_resnets(backbone: nn.Module, blocks: list[nn.Module]) -> list[nn.Module]:
    third = getattr(backbone, "layer3", None)
    if not isinstance(third, nn.Sequential) or len(third) < 23:
        return blocks
    stages = [list(getattr(backbone, f"layer{number}")) for number in (1, 2, 3, 4)]
    kept = {id(block) for stage in stages for block in stage[::2]}
    return [block for block in blocks if id(block) in kept]


def _stage_starts(backbone: nn.Module) -> list[nn.Module]:
    """First convolutions of the stages after the first, in sequential networks."""
    features = getattr(backbone, "features", None)
    if isinstance(features, nn.Sequential):  # AlexNet, VGG: a stage begins after pooling
        starts: list[nn.Module] = []
        pooled = False
        for module in features:
            pooled = pooled or isinstance(module, nn.MaxPool2d)
            if pooled and isinstance(module, nn.Conv2d):
                starts.append(module)
                pooled = False
        return starts
    if _qualified(backbone).endswith("mobilenet_v1.MobileNetV1"):  # a stage begins with a stride
        return [b.depthwise for b in backbone.blocks if b.depthwise.conv.stride == (2, 2)]  # type: ignore
    return []
