"""Names of RAFT's weights: those of the authors' files, and torchvision's.

The authors' networks (princeton-vl/RAFT, large and small) and torchvision's have the same layers in the same order of
channels. Their names differ:

    authors                                 torchvision
    module.fnet, module.cnet                feature_encoder, context_encoder
        conv1, norm1; conv2                     convnormrelu.0, convnormrelu.1; conv
        layerA.B.convN, .normN                  layerA.B.convnormreluN.0, .1
        layerA.B.downsample.0, .1               the same
    module.update_block.encoder             update_block.motion_encoder
        convcN, convfN, conv                    convcorrN.0, convflowN.0, conv.0
    module.update_block.gru                 update_block.recurrent_block
        convz1, convr1, convq1; 2               convgru1.convz, .convr, .convq; convgru2
        convz, convr, convq (small)             convgru1.convz, .convr, .convq
    module.update_block.flow_head           update_block.flow_head
    module.update_block.mask.0, .2          mask_predictor.convrelu.0, mask_predictor.conv

``module.`` is the prefix of networks that were trained on several devices. In blocks with a ``downsample``, the
authors' files hold its normalisation a second time (``norm3``; ``norm4`` in the small network); the copy is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from praxiscope.tensorfile import State

__all__ = ["is_authors", "to_torchvision"]

# Applied in this order to the name without `module.`.
_RENAMES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^(fnet|cnet)\.conv1\.", r"\1.convnormrelu.0."),
        (r"^(fnet|cnet)\.norm1\.", r"\1.convnormrelu.1."),
        (r"^(fnet|cnet)\.conv2\.", r"\1.conv."),
        (r"^(.net\.layer\d\.\d)\.conv(\d)\.", r"\1.convnormrelu\2.0."),
        (r"^(.net\.layer\d\.\d)\.norm(\d)\.", r"\1.convnormrelu\2.1."),
        (r"^fnet\.", "feature_encoder."),
        (r"^cnet\.", "context_encoder."),
        (r"^update_block\.encoder\.convc(\d)\.", r"update_block.motion_encoder.convcorr\1.0."),
        (r"^update_block\.encoder\.convf(\d)\.", r"update_block.motion_encoder.convflow\1.0."),
        (r"^update_block\.encoder\.conv\.", "update_block.motion_encoder.conv.0."),
        (r"^update_block\.gru\.conv([zrq])(\d)\.", r"update_block.recurrent_block.convgru\2.conv\1."),
        (r"^update_block\.gru\.conv([zrq])\.", r"update_block.recurrent_block.convgru1.conv\1."),
        (r"^update_block\.mask\.0\.", "mask_predictor.convrelu.0."),
        (r"^update_block\.mask\.2\.", "mask_predictor.conv."),
    )
)
_BLOCK_NORM = re.compile(r"(.net\.layer\d\.\d)\.norm(\d)\.")


def is_authors(state: Mapping[str, Tensor]) -> bool:
    """Whether weights have the authors' names."""
    return any(name.removeprefix("module.").startswith("fnet.") for name in state)


def to_torchvision(state: Mapping[str, Tensor]) -> State:
    """Rename weights from the authors' names to torchvision's. Names that are not the authors' are kept."""
    plain = {name.removeprefix("module."): value for name, value in state.items()}
    renamed = {}
    for name, value in plain.items():
        block = _BLOCK_NORM.match(name)
        if block and f"{block[1]}.conv{block[2]}.weight" not in plain:  # the second name of downsample.1
            continue
        for pattern, replacement in _RENAMES:
            name = pattern.sub(replacement, name)
        renamed[name] = value
    return renamed
