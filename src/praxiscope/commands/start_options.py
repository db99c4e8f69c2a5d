"""The settings that a warm start (``--from``) takes from its runs.

This does not import torch, except for two streams.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from praxiscope._lazy import quick_imports
from praxiscope.checkpoint import check_recogniser, find_checkpoint, load_card
from praxiscope.errors import ArgumentError
from praxiscope.models.names import default_stream, keywords_of, parts_of
from praxiscope.recipes.named import recipe_of
from praxiscope.training.checks import check_streams

__all__ = ["split_start", "warm_start_settings"]

# The keywords of a builder that a run sets anew.
_NEW = {"num_classes", "snippets", "in_channels", "input_size", "multi_label"}
# Those that a network takes from a run of another model.
_SHARED = ("backbone", "stream")
# Those that it also takes if it has parts of the same names.
_OF_PARTS = ("standardise",)


def split_start(start: str, parts: Sequence[str] = ()) -> list[tuple[str | None, str]]:
    """The runs of ``--from RUN,RUN`` or ``--from PART=RUN,PART=RUN``, each with its part, or None.

    Args:
        start: the text of the option.
        parts: names of parts; other text before an equals sign belongs to a path.

    Raises:
        ArgumentError: other text before an equals sign, and there is no such path.
    """
    found: list[tuple[str | None, str]] = []
    for text in start.split(","):
        part, equals, run = text.partition("=")
        named = bool(equals) and part in parts
        if equals and parts and not named and not Path(text).exists():
            raise ArgumentError(
                f"--from {text}: the model has no part {part!r}, and there is no run {text}. Its parts are "
                f"{', '.join(parts)}."
            )
        if text:
            found.append((part, run) if named else (None, text))
    return found


def warm_start_settings(
    start: str | None, model: str, plain: Mapping[str, Any], out: Path, resume: bool
) -> dict[str, Any]:
    """Return the settings that a warm-started network copies from its runs, or from its run.

    Raises:
        ArgumentError: the number of runs, or a part, does not fit the model.
        CheckpointError: a run has no model.
    """
    if start is None:
        return {}
    if resume:
        raise ArgumentError(
            f"--from {start}: a warm start needs a new run, and {out} is resumed. Leave one out."
        )
    starts = split_start(start, parts_of(model))
    runs, named = [run for _, run in starts], [part for part, _ in starts if part]
    if not all(runs) or len(set(named)) < len(named):
        raise ArgumentError(f"--from {start}: name each part once, each with a run, as in --from PART=RUN.")
    if default_stream(model) == "both":
        check_streams(runs)
    elif len(runs) != 1 and not all(part for part, _ in starts):
        _refuse(start, model, plain)
    for run in runs:
        check_recogniser(run)
    if default_stream(model) != "both":
        return _settings_of_parts(starts, model)
    with quick_imports():
        from praxiscope.training.warm_start import settings_of_runs
    return settings_of_runs(runs)


def _refuse(start: str, model: str, plain: Mapping[str, Any]) -> None:
    if parts := parts_of(model):
        example = ",".join(f"{part}=RUN" for part in parts)
        raise ArgumentError(
            f"--from {start}: say which part of {model} each run starts, as in --from {example}."
        )
    raise ArgumentError(
        f"--from {start}: needs a model of RGB and flow, such as multiplier; {model} has one stream, and "
        f"starts from one run. Leave out --{'clusters' if 'clusters' in plain else 'model'}, or give one run."
    )


def _settings_of_parts(starts: Sequence[tuple[str | None, str]], model: str) -> dict[str, Any]:
    """The settings that a network takes from a run: its keywords and the size of frames; from the run of another model
    its backbone and its input. With several runs, those of the first."""
    card = load_card(find_checkpoint(starts[0][1]))
    same_parts = set(parts_of(model)) & set(parts_of(card.name))
    keys = (*_SHARED, *_OF_PARTS) if same_parts else _SHARED
    shared = card.kwargs if card.name == model else {key: card.kwargs.get(key) for key in keys}
    known = keywords_of(model)
    kept = {key: value for key, value in shared.items() if key not in _NEW and key in known}
    taken = {f"model.{key}": value for key, value in kept.items() if value is not None or key in card.kwargs}
    if any(part for part, _ in starts):
        taken["model.start_parts"] = tuple(part for part, _ in starts)
    if (flow := card.input.flow) is not None:
        taken |= {
            "input.flow_length": flow.length,
            "input.flow_kind": flow.kind,
            "input.subtract_mean": flow.subtract_mean,
        }
    if recipe_of(card.name).input.frames == recipe_of(model).input.frames:  # snippets of the same kind
        taken["input.frames"] = card.input.length
    return {
        "model.start": tuple(run for _, run in starts),
        **taken,
        "input.size": card.input.size,
        "input.short_side": card.input.short_side,
    }
