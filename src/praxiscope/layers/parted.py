"""Process a batch in parts by a stage of a network, with the result of processing it at once.

In a convolutional network, only trainable BatchNorm mixes the rows of a batch. So its statistics over all parts are
computed first, layer by layer, because those of a layer depend on the layers before it. Each part is then normalised
by them. Its activations equal those of the whole batch, to rounding.

Activations are not kept but recomputed for the gradient, a part at a time, so that memory is that of one part. The
gradient, too, equals that of the whole batch. The gradients with respect to the mean and variance of each BatchNorm are
computed over all parts, from the last layer to the first, because those of a layer depend on the layers after it.

With L trainable BatchNorm layers this takes L additional, shortened passes before the forward pass, and L before the
backward pass; without any, none.

Axis letters: N rows, G segments, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from praxiscope.layers.clustering import segment_sum
from praxiscope.layers.forward_value import same_values

__all__ = ["PartedStage", "Parts"]

Parts = Callable[[], Iterable[Tensor]]
"""Yields the rows of a batch, [n, C, H, W] at a time; can be called repeatedly."""

_Affine = tuple[Tensor, Tensor]


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.device.type == "mps" else x.double()  # MPS has no float64


class _Norm:
    """A trainable BatchNorm layer, and its statistics over all parts.

    Attributes:
        count: number of values of each channel.
        mean, spread: mean of each channel, and its sum of squared deviations, [C].
        pull: gradients of the loss with respect to the mean and the variance, [C] each; None: not computed yet.
    """

    def __init__(self, layer: _BatchNorm) -> None:
        self.layer = layer
        self.count = 0
        self.mean = self.spread = torch.zeros(())
        self.pull: _Affine | None = None

    def see(self, x: Tensor) -> None:
        """Add the layer's input of one part, [n, C, …], to the statistics (Chan's algorithm)."""
        count = x.numel() // x.shape[1]
        whole = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        variance, mean = torch.var_mean(whole, [axis for axis in range(x.dim()) if axis != 1], correction=0)
        away = _wide(mean) - self.mean.to(x.device)
        total = self.count + count
        spread = _wide(variance) * count + away.square() * (self.count * count / total)
        self.spread = self.spread.to(x.device) + spread
        self.mean = self.mean.to(x.device) + away * (count / total)
        self.count = total

    @property
    def rate(self) -> Tensor:
        """1 / sqrt(variance + eps), [C]."""
        return (self.spread / self.count + self.layer.eps).rsqrt()

    def affine(self) -> _Affine:
        """Weight and bias with which the layer, with a mean of 0 and a variance of 1, normalises by these
        statistics."""
        like = next(x for x in (self.layer.weight, self.layer.running_mean, self.mean) if x is not None)
        scale = self.rate if self.layer.weight is None else _wide(self.layer.weight.detach()) * self.rate
        shift = -self.mean * scale
        if self.layer.bias is not None:
            shift = shift + _wide(self.layer.bias.detach())
        return (scale * (1 + self.layer.eps) ** 0.5).to(like.dtype), shift.to(like.dtype)

    def chain(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """From the gradients with respect to `affine` to those of the layer's weight and bias, the mean and the
        variance."""
        weight, bias, rate = _wide(weight) * (1 + self.layer.eps) ** 0.5, _wide(bias), self.rate
        own = 1.0 if self.layer.weight is None else _wide(self.layer.weight.detach())
        by_scale = weight - bias * self.mean
        return by_scale * rate, bias, -bias * own * rate, by_scale * own * rate.pow(3) * -0.5

    def move(self) -> None:
        """Update the layer's running statistics once, as a forward pass of the whole batch does."""
        layer = self.layer
        if layer.running_mean is None or layer.running_var is None:
            return
        factor = layer.momentum
        if layer.num_batches_tracked is not None:
            layer.num_batches_tracked.add_(1)
            factor = 1 / float(layer.num_batches_tracked) if factor is None else factor
        variance = self.spread / max(self.count - 1, 1)
        layer.running_mean.mul_(1 - (factor or 0)).add_(self.mean.to(layer.running_mean), alpha=factor or 0)
        layer.running_var.mul_(1 - (factor or 0)).add_(variance.to(layer.running_var), alpha=factor or 0)


class _Seen(Exception):
    """Stops the forward pass of a part at the layer whose input is needed."""


class _Pull(torch.autograd.Function):
    """The identity; its backward pass adds the gradient through the mean and the variance of each channel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mean: Tensor, by_mean: Tensor, by_square: Tensor) -> Tensor:
        ctx.save_for_backward(x, mean, by_mean, by_square)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None, None]:
        x, *channels = ctx.saved_tensors
        kind = torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype
        shape = (-1, *[1] * (x.dim() - 2))
        mean, by_mean, by_square = (value.to(kind).reshape(shape) for value in channels)
        return (slope + torch.addcmul(by_mean, x - mean, by_square)).to(slope.dtype), None, None, None


class PartedStage:
    """A stage that processes a batch in parts.

    BatchNorm's running statistics are updated once, when the object is created.

    Args:
        run: the stage: rows [n, …] to activations [n, C, H, W]. It must be deterministic. In the backward pass its
            layers read the values of its forward pass, see `praxiscope.layers.forward_value.ForwardValue`.
        parts: the batch.
        modules: the modules that ``run`` applies, with all its parameters.
        kept_bytes: `activations` keeps activations, without a gradient, for `sums` if their total size is at most
            this.
    """

    def __init__(
        self,
        run: Callable[[Tensor], Tensor],
        parts: Parts,
        modules: Sequence[nn.Module],
        kept_bytes: int = 0,
    ) -> None:
        self.run = run
        self.parts = parts
        self.kept_bytes = kept_bytes
        self.kept: list[Tensor] = []
        inside = list(dict.fromkeys(m for module in modules for m in module.modules()))
        self.parameters = [p for m in inside for p in m.parameters(recurse=False) if p.requires_grad]
        self.norms: list[_Norm] = []
        layers = [m for m in inside if isinstance(m, _BatchNorm) and m.training]
        with torch.no_grad():
            while len(self.norms) < len(layers):
                norm = self._next_norm(layers)
                if norm is None:
                    break
                self.norms.append(norm)
            for norm in self.norms:
                norm.move()

    def _next_norm(self, layers: Sequence[_BatchNorm]) -> _Norm | None:
        """The first layer without statistics, with its statistics over all parts."""
        known = [norm.layer for norm in self.norms]
        found: list[_Norm] = []

        def see(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            assert isinstance(layer, _BatchNorm)
            if not found:
                found.append(_Norm(layer))
            found[0].see(inputs[0])
            raise _Seen

        hooks = [layer.register_forward_pre_hook(see) for layer in layers if layer not in known]
        try:
            for part in self.parts():
                try:
                    self(part)
                except _Seen:
                    continue
        finally:
            for hook in hooks:
                hook.remove()
        return found[0] if found else None

    def __call__(self, part: Tensor) -> Tensor:
        """Activations of a part, equal to those of the whole batch, without the gradient through the batch
        statistics."""
        with _normalising(self.norms, [norm.affine() for norm in self.norms]):
            return self.run(part)

    def activations(self) -> Iterator[Tensor]:
        """The activations of each part, without a gradient."""
        whole = self.kept_bytes
        for part in self.parts():
            x = self(part)
            whole -= x.nbytes
            self.kept = [*self.kept, x] if whole >= 0 else []
            yield x

    def sums(self, segments: Tensor, count: int, rows: Tensor | None = None) -> Tensor:
        """Sums of activations over segments, with the gradient of the whole batch.

        Args:
            segments: int64 [N], ascending: the segment of each row.
            count: G; each segment has at least one row.
            rows: the tensor that the parts are cut from, if it needs a gradient.

        Returns:
            [G, C, H, W]; float32 for half-precision activations.
        """
        total: Tensor = _Sums.apply(self, segments, count, rows, *self.parameters)  # type: ignore[no-untyped-call]
        return total

    def pieces(
        self, segments: Tensor, kept: Sequence[Tensor] = ()
    ) -> Iterator[tuple[Tensor, Tensor, int, int]]:
        """Each part (or its activations, if they were kept), the segments of its rows, numbered from 0, and their
        indices among all segments."""
        first = 0
        for part in kept or self.parts():
            own = segments[first : first + len(part)]
            start, end = int(own[0]), int(own[-1]) + 1
            yield part, own - start, start, end
            first += len(part)


@contextmanager
def _normalising(norms: Sequence[_Norm], affines: Sequence[_Affine]) -> Iterator[None]:
    """A context in which the layers apply these weights and biases, and estimate no statistics."""
    before = [
        (norm.layer, dict(norm.layer._parameters), dict(norm.layer._buffers), norm.layer.training)
        for norm in norms
    ]
    try:
        for norm, (weight, bias) in zip(norms, affines, strict=True):
            layer: Any = norm.layer
            layer._parameters.update(weight=weight, bias=bias)
            layer._buffers.update(running_mean=torch.zeros_like(weight), running_var=torch.ones_like(weight))
            layer.training = False
        yield
    finally:
        for layer, parameters, buffers, training in before:
            layer._parameters.update(parameters)
            layer._buffers.update(buffers)
            layer.training = training


@contextmanager
def _pulling(norms: Sequence[_Norm]) -> Iterator[None]:
    """A context in which gradients pass through the mean and the variance of the layers whose ``pull`` is known."""

    def hook(norm: _Norm) -> Any:
        def pull(layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            assert norm.pull is not None
            by_mean, by_variance = norm.pull
            x = _Pull.apply(inputs[0], norm.mean, by_mean / norm.count, by_variance * (2 / norm.count))  # type: ignore[no-untyped-call]
            return (x, *inputs[1:])

        return norm.layer.register_forward_pre_hook(pull)

    hooks = [hook(norm) for norm in norms if norm.pull is not None]
    try:
        yield
    finally:
        for one in hooks:
            one.remove()


def _autocast(device: str) -> dict[str, Any]:
    """The arguments that recreate the current autocast."""
    if hasattr(torch, "get_autocast_dtype"):
        dtype, enabled = torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
    else:  # torch 2.3
        cpu = device == "cpu"
        dtype = torch.get_autocast_cpu_dtype() if cpu else torch.get_autocast_gpu_dtype()
        enabled = torch.is_autocast_cpu_enabled() if cpu else torch.is_autocast_enabled()
    return {"device_type": device, "dtype": dtype, "enabled": enabled}


class _Sums(torch.autograd.Function):
    """`PartedStage.sums`: (stage, segments, G, rows or None, *parameters) -> [G, C, H, W]."""

    @staticmethod
    def forward(
        ctx: Any, stage: PartedStage, segments: Tensor, count: int, rows: Tensor | None, *parameters: Tensor
    ) -> Tensor:
        device = segments.device.type
        ctx.stage, ctx.rows_wanted = stage, rows is not None and rows.requires_grad
        ctx.autocast = _autocast(device)
        _, ctx.values = same_values()
        ctx.save_for_backward(segments)
        total: Tensor | None = None
        for part, own, start, end in stage.pieces(segments, stage.kept):
            sums = segment_sum(part if stage.kept else stage(part), own, end - start)
            place = torch.arange(start, end, device=own.device)
            total = segment_sum(sums, place, count) if total is None else total.index_add_(0, place, sums)
        assert total is not None
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Any, ...]:
        stage: PartedStage = ctx.stage
        (segments,) = ctx.saved_tensors
        for norm in stage.norms:
            norm.pull = None

        def gradients(
            affines: Sequence[_Affine], wanted: Sequence[Tensor], rows: list[Tensor] | None
        ) -> list[Any]:
            """The gradients of ``wanted``, summed over the parts; those of the parts are appended to ``rows``."""
            sums: list[Any] = [None] * len(wanted)
            for part, own, start, end in stage.pieces(segments):
                part = part.detach().requires_grad_(rows is not None)
                with ExitStack() as stack:
                    stack.enter_context(torch.enable_grad())
                    stack.enter_context(torch.autocast(**ctx.autocast))
                    stack.enter_context(ctx.values)
                    stack.enter_context(_normalising(stage.norms, affines))
                    stack.enter_context(_pulling(stage.norms))
                    value = segment_sum(stage.run(part), own, end - start)
                inputs = [*wanted, part] if rows is not None else list(wanted)
                found = torch.autograd.grad(value, inputs, slope[start:end], allow_unused=True)
                if rows is not None:
                    rows.append(found[-1])
                for number, one in enumerate(found[: len(wanted)]):
                    if one is not None:
                        sums[number] = one if sums[number] is None else sums[number].add_(one)
            return sums

        for norm in reversed(stage.norms):
            affines = [one.affine() for one in stage.norms]
            own = affines[stage.norms.index(norm)]
            norm.pull = norm.chain(*gradients(affines, [x.requires_grad_() for x in own], None))[2:]
        affines = [one.affine() for one in stage.norms]
        learned = {id(p) for norm in stage.norms for p in (norm.layer.weight, norm.layer.bias)}
        others = [p for p in stage.parameters if id(p) not in learned]
        leaves = [x.requires_grad_() for affine in affines for x in affine]
        rows: list[Tensor] | None = [] if ctx.rows_wanted else None
        sums = gradients(affines, [*others, *leaves], rows)
        found = {id(p): one for p, one in zip(others, sums, strict=False)}
        for number, norm in enumerate(stage.norms):
            place = len(others) + 2 * number
            for p, one in zip(
                (norm.layer.weight, norm.layer.bias), norm.chain(*sums[place : place + 2])[:2], strict=True
            ):
                if p is not None:
                    found[id(p)] = one.to(p.dtype)
        return (
            None,
            None,
            None,
            None if rows is None else torch.cat(rows),
            *(found[id(p)] for p in stage.parameters),
        )
