"""Build a network without drawing random weights, to load weights faster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode

__all__ = ["Undrawn"]

_DRAWS = {
    *(init.normal_, init.uniform_, init.trunc_normal_, init.orthogonal_),
    *(init.kaiming_normal_, init.kaiming_uniform_, init.xavier_normal_, init.xavier_uniform_),
}


class Undrawn(TorchFunctionMode):
    """A context in which random initialisation is skipped: tensors stay uninitialised, or get a constant.

    Constants are for rejection sampling (truncated normal), which accepts them immediately: the mean of a normal
    distribution, the lower end of a uniform one.

    Example:
        >>> with Undrawn():
        ...     model = create_model("tsn", num_classes=101)
        >>> load_model_weights(folder, model)
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if func in _DRAWS:
            return args[0] if args else named["tensor"]
        if func in (Tensor.normal_, Tensor.uniform_):
            tensor, *given = args
            name = "mean" if func is Tensor.normal_ else "from"
            return tensor.fill_(given[0] if given else named.get(name, 0.0))
        return func(*args, **named)
