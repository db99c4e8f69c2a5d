"""Spatiotemporal multiplier networks (Feichtenhofer, Pinz and Wildes, CVPR 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from praxiscope.recipes.named import recipes
from praxiscope.recipes.sections import DataSettings, InputSettings, ModelSettings, OptimSettings
from praxiscope.recipes.settings import TrainSettings

__all__ = ["MultiplierRow", "multiplier_rows"]

_DIRECTIONS = {"motion-to-appearance": "<-", "appearance-to-motion": "->", "both": "<->"}
_PLACES = {"last": "in conv5", "shortcut": "in every shortcut", "residual": "in every residual branch"}


@dataclass(frozen=True)
class MultiplierRow:
    """A row of Table 2 or 3: changes to the model, and the errors that the paper reports.

    Attributes:
        table: "Table 2" or "Table 3"; None: a row of our own.
        title: description; <- stands for motion into appearance.
        changes: keywords of `praxiscope.models.multiplier.multiplier`.
        errors: errors of the paper, %, on the first splits of UCF-101 and HMDB51; None: a row of our own.
    """

    table: str | None
    title: str
    changes: Mapping[str, Any]
    errors: tuple[float, float] | None


def multiplier_rows() -> dict[str, MultiplierRow]:
    """The rows by name, in the order of the paper; the first row of Table 3 is "residual-multiplicative" of Table 2.

    "no-connection", before them, is not in the paper. It is trained as long as the others, so that a difference to them
    is that of the connection.
    """
    rows = {"no-connection": MultiplierRow(None, "no connection, trained jointly", {"gate": None}, None)}
    for name, gate, direction, errors in (
        ("direct-additive", "direct-additive", "motion-to-appearance", (24.78, 54.85)),
        ("direct-multiplicative", "direct-multiplicative", "motion-to-appearance", (81.98, 77.89)),
        ("residual-additive", "residual-additive", "motion-to-appearance", (9.38, 41.89)),
        ("residual-multiplicative", "residual-multiplicative", "motion-to-appearance", (8.72, 37.23)),
        ("reverse-additive", "residual-additive", "appearance-to-motion", (16.76, 49.54)),
        ("reverse-multiplicative", "residual-multiplicative", "appearance-to-motion", (16.68, 48.43)),
        ("both-multiplicative", "residual-multiplicative", "both", (15.15, 48.56)),
    ):
        title = f"{gate.replace('-', ' ')} {_DIRECTIONS[direction]}"
        rows[name] = MultiplierRow("Table 2", title, {"gate": gate, "direction": direction}, errors)
    for place, taps, pooled, errors in (
        ("last", "average", False, (7.85, 35.29)),
        ("shortcut", "average", False, (7.72, 35.96)),
        ("residual", "average", False, (7.45, 35.94)),
        ("shortcut", "centre", False, (7.61, 34.72)),
        ("last", "centre", False, (7.74, 34.90)),
        ("residual", "centre", False, (7.79, 34.38)),
        ("shortcut", "centre", True, (6.74, 34.05)),
        ("residual", "centre", True, (6.00, 30.98)),
    ):
        name = f"{taps}-{place}{'-max' if pooled else ''}"
        title = f"convolutions along time {_PLACES[place]}, from {taps}{', max over time' if pooled else ''}"
        changes: dict[str, Any] = {"temporal": place, "taps": taps, "pool_window": 5 if pooled else None}
        rows[name] = MultiplierRow("Table 3", title, changes, errors)
    return rows


@recipes.register("default-multiplier")
def default_multiplier() -> TrainSettings:
    """Your own videos: one network for RGB and flow, from two trained runs (--from)."""
    return TrainSettings(
        model=ModelSettings(name="multiplier"),
        input=InputSettings(snippets=5, strides=(5, 35)),
        optim=OptimSettings(lr=1e-3, epochs=20, batch=8, warmup_epochs=1),
    )


def _multiplier(changes: Mapping[str, Any]) -> TrainSettings:
    """Sections 4.1 and 5.1 with ResNet-50 twice: 128 videos per step (here as 16 batches of 8; BatchNorm sees one
    batch), 5 chunks per video at a random stride; learning rate 1e-3, a tenth after 20 epochs, a hundredth after 30."""
    # The paper does not state when training ends. Here ten epochs after the second drop, as between the two.
    settings = TrainSettings(
        model=ModelSettings(name="multiplier", backbone="resnet50", temporal=None, pool_window=None),
        input=InputSettings(snippets=5, strides=(5, 35), flow_length=10, crop="jittered"),
        optim=OptimSettings(
            lr=1e-3, batch=8, accumulate=16, epochs=40, schedule="step", milestones=(20, 30), clip_norm=None
        ),
    )
    return settings.updated({f"model.{key}": value for key, value in changes.items()})


def _stream_of_multiplier(stream: str, backbone: str) -> TrainSettings:
    """Section 4.1: learning rate 1e-2, lowered twice when the validation error saturates (here after 1/2 and 5/6 of the
    epochs)."""
    rgb = stream == "rgb"
    return TrainSettings(
        data=DataSettings(sampling="class-uniform"),
        model=ModelSettings(name="tsn", backbone=backbone, stream=stream, dropout=0.0 if rgb else 0.8),
        input=InputSettings(
            snippets=1, **({"crop": "jittered"} if rgb else {"crop": "free-scale", "flow_length": 10})
        ),
        optim=OptimSettings(
            lr=1e-2,
            batch=32,
            accumulate=8 if rgb else 4,
            epochs=120,
            schedule="step",
            milestones=(60, 100),
            clip_norm=None,
        ),
    )


def _register_multipliers() -> None:
    for name, row in multiplier_rows().items():
        recipe = partial(_multiplier, row.changes)
        recipe.__doc__ = f"{row.table or 'Beside Table 2'}: {row.title} (--from RGB_RUN,FLOW_RUN)."
        recipes.register(f"multiplier-{name}")(recipe)
    for depth in (50, 152):
        for stream, word in (("rgb", "appearance"), ("flow", "motion")):
            recipe = partial(_stream_of_multiplier, stream, f"resnet{depth}")
            start = f"ResNet-{depth} from ImageNet weights (--pretrained)"
            recipe.__doc__ = f"Table 4: the {word} stream, {start}."
            recipes.register(f"multiplier-{word}-{depth}")(recipe)


@recipes.register("multiplier")
def multiplier() -> TrainSettings:
    """The final model: ResNet-50 on RGB, ResNet-152 on flow (--from RGB_RUN,FLOW_RUN)."""
    best = multiplier_rows()["centre-residual-max"].changes
    return _multiplier({**best, "motion_backbone": "resnet152"})


_register_multipliers()
