"""The registry of steps: ``--backprop NAME``, or ``backprop.name`` in a run's settings, chooses one.

A step is one file with a class of settings, see `praxiscope.steps.settings.base.StepSettings`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from praxiscope.errors import ArgumentError, unknown_name
from praxiscope.registry import Registry, load_offer, offered
from praxiscope.steps.settings.base import StepSettings

__all__ = ["FILES", "list_steps", "read_step", "register_step", "setting_names"]

FILES = {
    "full": "full",
    "principal": "principal",
    "cached": "cached",
    "action-flow": "action_flow",
}
"""The file of ``praxiscope.steps.settings`` that registers each step."""

ENTRY_POINTS = "praxiscope.steps"
"""The group of entry points by which other packages register steps."""

DEFAULT = "full"

_steps: Registry[type[StepSettings]] = Registry(
    "step", own={name: f"praxiscope.steps.settings.{file}" for name, file in FILES.items()}
)
_Class = TypeVar("_Class", bound=type[StepSettings])


def register_step(step: _Class) -> _Class:
    """Register a step under the default of its ``name``; a class decorator.

    Raises:
        ArgumentError: ``step`` is not a subclass of `StepSettings`, or its ``name`` has no default or is taken.
    """
    kind: type[StepSettings] = step
    if not isinstance(kind, type) or not issubclass(kind, StepSettings):
        raise ArgumentError(f"a step is registered by a subclass of StepSettings, got {kind!r}")
    name = kind.model_fields["name"].default
    if not isinstance(name, str):
        raise ArgumentError(f"{step.__name__}: name needs a default, as in name: Literal['mine'] = 'mine'")
    _steps.register(name)(step)
    return step


def list_steps() -> list[str]:
    """The names of all steps, sorted."""
    return _with_plugins().names()


def setting_names(step: str | None = None) -> list[str]:
    """The names of the settings of one step (empty for an unknown step), or of all steps, without duplicates."""
    steps = _with_plugins()
    names = steps.names() if step is None else [step] if step in steps else []
    return list(dict.fromkeys(key for name in names for key in steps.get(name).model_fields))


def read_step(content: Any) -> Any:
    """Validate the section ``backprop`` of a run's settings by the step that it names.

    Settings of other steps are accepted if they have their defaults, because earlier versions wrote all of them.

    Raises:
        ValidationError, ValueError: an unknown step, or settings that the step does not take.
    """
    if not isinstance(content, Mapping):
        return content
    steps, name = _registered(), content.get("name", DEFAULT)
    if name not in steps and name not in _with_plugins():
        message = PydanticCustomError("unknown_step", "{message}", {"message": _unknown(name, steps)})
        raise ValidationError.from_exception_data(
            "backprop", [InitErrorDetails(type=message, loc=("name",), input=name)]
        )
    step, own = steps.get(name), {}
    for key, value in content.items():
        others = [other for other in steps if key in steps.get(other).model_fields]
        if key in step.model_fields or not others:
            own[key] = value
        elif all(value != steps.get(other).model_fields[key].default for other in others):
            raise ValueError(f"{key} = {value!r} is for name = {' or '.join(others)}, not {name}")
    return step.model_validate(own)


def _with_plugins() -> Registry[type[StepSettings]]:
    for point in offered(ENTRY_POINTS).values():
        load_offer(point)
    return _registered()


def _unknown(name: Any, steps: Registry[type[StepSettings]]) -> str:
    return str(unknown_name("step", str(name), steps)).rstrip(".")


def _registered() -> Registry[type[StepSettings]]:
    for file in FILES.values():
        importlib.import_module(f"praxiscope.steps.settings.{file}")
    return _steps
