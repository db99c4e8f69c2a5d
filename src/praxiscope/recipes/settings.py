"""All settings of a run: read from YAML, changed by ``section.key=value`` strings, and written to the run folder.

A recipe is a function that returns `TrainSettings`. ``--set optim.lr=0.01`` changes one value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationError, model_validator

from praxiscope.errors import ArgumentError, unknown_name
from praxiscope.recipes.sections import (
    EPOCHS_OR_STEPS,
    DataSettings,
    InputSettings,
    ModelSettings,
    OptimSettings,
    RunSettings,
    TaskSource,
)
from praxiscope.section import Section
from praxiscope.steps.registered import read_step, setting_names
from praxiscope.steps.settings.base import StepInput, StepSettings

__all__ = ["TrainSettings", "dump_yaml", "load_yaml", "override"]


class TrainSettings(Section):
    """Settings of a training run.

    ``backprop`` holds the settings of one step. Their class depends on its ``name`` (`praxiscope.steps.registered`).
    """

    data: DataSettings = DataSettings()
    input: InputSettings = InputSettings()
    model: ModelSettings = ModelSettings()
    backprop: Annotated[SerializeAsAny[StepSettings], BeforeValidator(read_step)] = Field(
        default_factory=lambda: read_step({})
    )
    optim: OptimSettings = OptimSettings()
    run: RunSettings = RunSettings()

    @model_validator(mode="after")
    def _fits_together(self) -> TrainSettings:
        self.backprop.check_input(self.step_input)
        if self.run.keep_memory is True and self.backprop.memory_limit is not None:
            raise ValueError(
                f"run.keep_memory = true cannot be combined with backprop.memory = {self.backprop.memory_limit}"
            )
        return self

    @property
    def step_input(self) -> StepInput:
        """The batches that the step receives."""
        stream = str(self.model.keywords().get("stream", "rgb"))
        return StepInput(self.optim.batch, self.input.snippets, self.input.size, stream)

    @property
    def learned_snippets(self) -> int:
        """Snippets of a video that are backpropagated."""
        return self.backprop.learned_snippets(self.input.snippets)

    def updated(self, values: Mapping[str, Any]) -> TrainSettings:
        """A copy with ``section.key`` values replaced. Raises ArgumentError for an invalid value."""
        content = self.model_dump()
        _change(content, values)
        return _validated(content, "settings")


def _change(content: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Set ``section.key`` values. Epochs replace steps and steps replace epochs; a new step replaces the old one."""
    step = values.get("backprop.name")
    if step is not None and step != content["backprop"]["name"]:
        kept = setting_names(step)
        content["backprop"] = {key: value for key, value in content["backprop"].items() if key in kept}
    for key, value in values.items():
        section, _, name = key.partition(".")
        content[section][name] = value
    for one, other in (*EPOCHS_OR_STEPS, *((b, a) for a, b in EPOCHS_OR_STEPS)):
        if values.get(f"optim.{one}") and f"optim.{other}" not in values:
            content["optim"].pop(other, None)


_ALTERNATIVES = ("bool", "float", "literal['auto']", "literal['all']", "literal['half','all']")


def _validated(content: Mapping[str, Any], where: str) -> TrainSettings:
    try:
        return TrainSettings.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        location = [str(part) for part in first["loc"]]
        if first["type"] == "extra_forbidden":
            prefix = "".join(f"{part}." for part in location[:-1])
            known = [f"{prefix}{name}" for name in _known_keys(location)]
            raise ArgumentError(f"{where}: {unknown_name('setting', '.'.join(location), known)}") from None
        message = str(first["msg"]).removeprefix("Value error, ").rstrip(".")
        # pydantic reports rules between values for the whole section, and alternatives under the name of each.
        whole = isinstance(first["input"], Mapping)
        key = ".".join(part for part in location if part not in _ALTERNATIVES)
        value = "" if whole else f" = {first['input']!r}"
        named = f"{key}{value}: " if key else ""
        raise ArgumentError(f"{where}: {named}{message}.") from None


def _known_keys(location: list[str]) -> list[str]:
    """The valid keys of the section of an unknown key."""
    section: Any = TrainSettings
    for part in location[:-1]:
        if part == "backprop":
            return setting_names()
        # The keys of data.tasks are names of data sets, each with its settings.
        inner = getattr(section, "model_fields", {}).get(part)
        section = TaskSource if inner is None or part == "tasks" else inner.annotation
    return list(section.model_fields)


def override(
    settings: TrainSettings, assignments: Iterable[str], values: Mapping[str, Any] | None = None
) -> TrainSettings:
    """Apply ``section.key=value`` strings; values are read as YAML (``null``, ``[10, 20]``, ``true``, ``1e-3``).

    Args:
        settings: the initial settings.
        assignments: the strings.
        values: ``section.key`` values that are applied first.

    Raises:
        ArgumentError: an unknown section or key (the message names the nearest), or an invalid value.
    """
    content = settings.model_dump()
    changes = dict(values or {})
    texts = list(assignments)
    for text in texts:
        key, equals, value_text = text.partition("=")
        section, dot, name = key.strip().partition(".")
        if not equals or not dot or not name:
            raise ArgumentError(f"--set {text}: expected section.key=value, as in --set optim.lr=0.01.")
        if section not in content:
            raise ArgumentError(f"--set {text}: {unknown_name('section', section, content)}")
        changes[f"{section}.{name}"] = _parse(value_text)
    # Apply all at once: two values may be valid together, but not with each other's default.
    _change(content, changes)
    return _validated(content, "--set" if texts else "settings")


def _parse(text: str) -> Any:
    """Parse a YAML value; numbers are tried first, because YAML 1.1 reads 1e-3 as a string."""
    try:
        return float(text) if not text.strip().lstrip("+-").isdigit() else int(text)
    except ValueError:
        pass
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def dump_yaml(settings: TrainSettings, path: Path) -> None:
    """Write settings to a YAML file."""
    text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def load_yaml(path: Path) -> TrainSettings:
    """Read settings. Raises ArgumentError for a file that is missing, is not YAML or has unknown keys."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArgumentError(f"{path}: cannot be read ({error.strerror}).") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ArgumentError(f"{path}: not a YAML file ({error}).") from None
    if not isinstance(content, dict):
        raise ArgumentError(f"{path}: expected the sections {', '.join(TrainSettings.model_fields)}.")
    return _validated(content, str(path))
