"""Optimisers, parameter groups and learning-rate schedules.

A schedule is a pure function of the step, so a resumed run needs no scheduler state.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from praxiscope.errors import ArgumentError
from praxiscope.models.parts import FreezesFirst

__all__ = [
    "ParameterGroup",
    "Schedule",
    "TrunkFreeze",
    "make_optimizer",
    "parameter_groups",
    "schedule",
]

ParameterGroup: TypeAlias = dict[str, Any]
Schedule: TypeAlias = Callable[[int], float]

# _NormBase covers batch and instance normalisation.
_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)


def parameter_groups(
    model: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    classifier_lr_scale: float = 1.0,
    first_conv_lr_scale: float = 1.0,
    trunk_lr_scale: float = 1.0,
    policy: Literal["tsn", "plain"] = "tsn",
) -> list[ParameterGroup]:
    """Sort a model's trainable parameters into groups with a learning rate and a weight decay each.

    ==================================  ======  ============
    policy "tsn" (TSN's and TSM's code)  rate    weight decay
    ==================================  ======  ============
    weights                             1       yes
    biases                              2       no
    normalisation, scale and shift      1       no
    ==================================  ======  ============

    A classifier's and a first convolution's rates are further multiplied by their scale: TSN trains the first
    convolution of the flow stream at 5 (its bias thus at 10), TSM the classifier at 5 (10). "plain" differs
    in that biases learn at 1.

    Args:
        model: has lists of modules ``classifiers`` and ``first_convolutions``, if a scale applies to them.
        lr: base rate.
        weight_decay: decay of weights.
        classifier_lr_scale: multiplies the classifiers' rates.
        first_conv_lr_scale: multiplies the first convolutions' rates.
        trunk_lr_scale: multiplies the rates of everything but the classifiers, also those of the first convolutions.
        policy: "tsn" or "plain".

    Returns:
        Groups for a torch optimiser, each with a ``name``; ``initial_lr`` is its rate at factor 1. Each trainable
        parameter is in exactly one group, frozen parameters are in none; empty groups are omitted.

    Raises:
        ArgumentError: an unknown policy, a negative number, a scale for layers that the model does not list, or no
            trainable parameter.
    """
    if policy not in ("tsn", "plain"):
        raise ArgumentError(f"policy must be 'tsn' or 'plain', got {policy!r}")
    numbers = {
        "lr": lr,
        "weight_decay": weight_decay,
        "classifier_lr_scale": classifier_lr_scale,
        "first_conv_lr_scale": first_conv_lr_scale,
        "trunk_lr_scale": trunk_lr_scale,
    }
    for argument, value in numbers.items():
        if not value >= 0:
            raise ArgumentError(f"{argument} must not be negative, got {value}")
    bias_scale = 2.0 if policy == "tsn" else 1.0
    classifiers = _listed(model.classifiers, "classifiers", classifier_lr_scale)  # type: ignore[arg-type]
    firsts = _listed(model.first_convolutions, "first_convolutions", first_conv_lr_scale)  # type: ignore[arg-type]

    groups: dict[str, ParameterGroup] = {}
    seen: set[nn.Parameter] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or parameter in seen:  # shared parameters count once
                continue
            seen.add(parameter)
            kind = _kind(module, name, parameter)
            scale = bias_scale if kind == "bias" else 1.0
            decay = weight_decay if kind == "weight" else 0.0
            place = ""
            if module in classifiers:
                place, scale = "classifier ", scale * classifier_lr_scale
            else:
                scale *= trunk_lr_scale
                if module in firsts:
                    place, scale = "first convolution ", scale * first_conv_lr_scale
            group = groups.setdefault(
                place + kind,
                {
                    "name": place + kind,
                    "params": [],
                    "lr": lr * scale,
                    "initial_lr": lr * scale,
                    "weight_decay": decay,
                },
            )
            group["params"].append(parameter)
    if not groups:
        raise ArgumentError("the model has no trainable parameter")
    return list(groups.values())


def _kind(module: nn.Module, name: str, parameter: nn.Parameter) -> str:
    if isinstance(module, _NORMS):
        return "norm"
    if name.endswith("bias"):
        return "bias"
    return "scale" if parameter.dim() < 2 else "weight"  # scale of another kind of normalisation


class TrunkFreeze:
    """Trains only the classifiers during the first steps, or during all steps.

    New classifiers are random, and their first gradients distort a pretrained backbone. Training them alone first
    avoids this (Kumar et al., "Fine-tuning can distort pretrained features", ICLR 2022). While the backbone is frozen,
    its BatchNorm statistics do not change either.

    A model may freeze less (`praxiscope.models.parts.FreezesFirst`), and train in two phases.

    Args:
        model: its ``classifiers`` are the layers that learn.
        steps: number of steps in which the backbone is frozen; 0: none.

    Attributes:
        phases: whether the model is trained in two phases.

    Raises:
        ArgumentError: ``steps`` is above 0 and the model lists no classifiers.
    """

    def __init__(self, model: nn.Module, steps: int) -> None:
        self.model, self.steps = model, steps
        self.phases = isinstance(model, FreezesFirst)
        frozen: Sequence[nn.Module] = model.frozen_first if isinstance(model, FreezesFirst) else [model]
        heads = [p for m in model.classifiers for p in m.parameters()]  # type: ignore[union-attr]
        if steps and not heads and not self.phases:
            raise ArgumentError(
                "optim.frozen_epochs trains only the classifiers, but the model lists no classifiers"
            )
        kept = {id(p) for p in heads}
        parameters = {id(p): p for module in frozen for p in module.parameters()}
        self._trunk = [p for p in parameters.values() if p.requires_grad and id(p) not in kept]
        self._norms = [m for module in frozen for m in module.modules() if isinstance(m, _BatchNorm)]
        self._held = False

    def phase(self, step: int) -> int:
        """The phase of a step (from 0): 1 while layers are frozen, then 2."""
        return 1 if step < self.steps else 2

    def __call__(self, step: int) -> None:
        """Freeze or unfreeze the layers for this step (from 0). Call it after ``model.train()``."""
        held = self.phase(step) == 1
        if held != self._held:
            for parameter in self._trunk:
                parameter.requires_grad_(not held)
            self._held = held
            self.model.train()
        if held:
            for norm in self._norms:
                norm.eval()


def _listed(modules: Sequence[nn.Module], attribute: str, scale: float) -> set[nn.Module]:
    """The listed modules as a set. Raises ArgumentError if there are none although their learning rate is scaled."""
    if not modules and scale != 1:
        raise ArgumentError(
            f"the model lists no {attribute}, whose learning rate is to be scaled by {scale:g}"
        )
    return set(modules)


def make_optimizer(
    name: Literal["sgd", "adamw"],
    groups: Sequence[ParameterGroup],
    *,
    momentum: float = 0.9,
    nesterov: bool = False,
    betas: tuple[float, float] = (0.9, 0.999),
) -> torch.optim.Optimizer:
    """Build an optimiser over the groups of `parameter_groups`.

    Args:
        name: "sgd" or "adamw".
        groups: parameter groups with ``lr`` and ``weight_decay``.
        momentum, nesterov: for "sgd".
        betas: for "adamw".

    Raises:
        ArgumentError: the name is unknown.
    """
    if name == "sgd":
        return torch.optim.SGD(list(groups), lr=0.0, momentum=momentum, nesterov=nesterov)
    if name == "adamw":
        return torch.optim.AdamW(list(groups), lr=0.0, betas=betas)
    raise ArgumentError(f"optimiser must be 'sgd' or 'adamw', got {name!r}")


def schedule(
    kind: Literal["step", "cosine", "exponential", "constant"],
    *,
    total_steps: int,
    warmup_steps: int = 0,
    milestones: Sequence[int] = (),
    gamma: float = 0.1,
) -> Schedule:
    """Return a function from the step index (from 0) to the factor on the base learning rate.

    The warm-up increases linearly: (step + 1) / warmup_steps. After it, "constant" stays at 1; "step" is gamma ** (how
    many milestones have been reached); "cosine" is (1 + cos(pi p)) / 2, where p runs from 0 at the end of the warm-up
    to 1 at ``total_steps``, and stays at 0; "exponential" is gamma ** p, and stays at gamma.

    Args:
        kind: "step", "cosine", "exponential" or "constant".
        total_steps: optimiser steps of the whole run.
        warmup_steps: steps of the warm-up; at most ``total_steps``.
        milestones: for "step", ascending step indices from the start of the run; at each, the factor is multiplied by
            ``gamma``.
        gamma: factor at each milestone, for "step"; factor at the end, for "exponential".

    Raises:
        ArgumentError: an unknown kind, or numbers out of range or order.
    """
    if kind not in ("step", "cosine", "exponential", "constant"):
        raise ArgumentError(f"schedule must be 'step', 'cosine', 'exponential' or 'constant', got {kind!r}")
    if total_steps < 1:
        raise ArgumentError(f"total_steps must be at least 1, got {total_steps}")
    if not 0 <= warmup_steps <= total_steps:
        raise ArgumentError(f"warmup_steps must be in 0 … {total_steps} (total_steps), got {warmup_steps}")
    drops = list(milestones)
    if drops != sorted(set(drops)) or (drops and drops[0] < 0):
        raise ArgumentError(f"milestones must be ascending step numbers, got {drops}")

    def after_warmup(step: int) -> float:
        if kind == "step":
            return float(gamma ** bisect.bisect_right(drops, step))
        progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
        if kind == "cosine":
            return 0.5 * (1 + math.cos(math.pi * progress))
        return float(gamma**progress) if kind == "exponential" else 1.0

    def factor(step: int) -> float:
        return (step + 1) / warmup_steps if step < warmup_steps else after_warmup(step)

    return factor
