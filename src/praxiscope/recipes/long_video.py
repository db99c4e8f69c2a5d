"""Pooling and LSTM over minutes (Ng et al., CVPR 2015)."""

from __future__ import annotations

from functools import partial

from praxiscope.recipes.named import recipes
from praxiscope.recipes.sections import DataSettings, InputSettings, ModelSettings, OptimSettings
from praxiscope.recipes.settings import TrainSettings
from praxiscope.recipes.start import features

__all__: list[str] = []


# Section 3.3.3: learning rate 1e-5 (LSTM: times the number of frames), momentum 0.9, weight decay 5e-4, exponential
# decay. Section 3.4: the first 5 minutes at 1 frame per second, crops of 220 of 256 pixels. Not published, and chosen
# here: 30 epochs of batches of 8 videos, and a decay to a tenth.
_LR = 1e-5


def _long(model: str, backbone: str, frames: int, *, lr: float = _LR) -> TrainSettings:
    return TrainSettings(
        model=ModelSettings(name=model, backbone=backbone),
        input=InputSettings(
            snippets=frames, fps=1.0, max_seconds=300.0, size=220, short_side=256, crop="random"
        ),
        optim=OptimSettings(
            lr=lr,
            momentum=0.9,
            weight_decay=5e-4,
            schedule="exponential",
            policy="plain",
            clip_norm=None,
            epochs=30,
            batch=8,
        ),
    )


# Network expansion (section 3.3.3): each phase starts from the one before (--from).
_PHASES = {
    1: "first phase of the network expansion",
    30: "second phase (--from the first)",
    120: "third phase (--from the second)",
}
for _model, _backbone, _name in (
    ("conv-pool", "alexnet", "conv pooling of AlexNet"),
    ("googlenet-conv", "googlenet", "pooling of GoogLeNet"),
):
    for _frames, _phase in _PHASES.items():
        recipe = partial(_long, _model, _backbone, _frames)
        recipe.__doc__ = f"{_name[0].upper()}{_name[1:]}, {_frames} frame{'s' * (_frames > 1)}: {_phase}."
        recipes.register(f"{_model}-{_frames}")(recipe)

for _model in ("late-pool", "slow-pool", "local-pool", "time-conv"):
    recipe = partial(_long, _model, "alexnet", 120)
    recipe.__doc__ = f"{_model} of AlexNet, 120 frames: a row of Table 3.1."
    recipes.register(f"{_model}-120")(recipe)


# Your own videos, from trained weights. New layers before the classifier must learn, too, and an LSTM learns slowly by
# SGD: so AdamW, one rate for all layers, and no classifier from a regression on what random layers say.
def _fine_tune(model: str) -> TrainSettings:
    return TrainSettings(
        data=DataSettings(validation=0.2),
        model=ModelSettings(name=model, batchnorm="frozen"),
        input=InputSettings(snippets=8),
        optim=OptimSettings(
            name="adamw", lr=1e-4, weight_decay=0.01, epochs=15, batch=8, warmup_epochs=1, patience=4
        ),
    )


_POOLS = ("conv-pool", "googlenet-conv", "late-pool", "slow-pool", "local-pool", "time-conv", "pool")
for _model in (*_POOLS, "lstm"):
    recipe = partial(_fine_tune, _model)
    recipe.__doc__ = (
        f"The default of {_model} from trained weights: all layers, the best on held-out training groups."
    )
    recipes.register(f"fine-tune-{_model}")(recipe)


# On stored features only the new layers learn. Without standardisation they stayed at chance on the maximum over 120
# frames (benchmarks/over_time.md).
def _on_features(model: str) -> TrainSettings:
    return features().updated({"model.name": model, "model.standardise": True, "optim.lr": 1e-3})


for _model in _POOLS:
    recipe = partial(_on_features, _model)
    recipe.__doc__ = f"The default of {_model} on stored features, which its new layers standardise."
    recipes.register(f"features-{_model}")(recipe)

for _backbone in ("googlenet", "alexnet"):
    recipe = partial(_long, "lstm", _backbone, 30, lr=30 * _LR)
    recipe.__doc__ = f"Five LSTM layers with peepholes on {_backbone}, 30 frames, learning rate 30 * 1e-5."
    recipes.register(f"lstm-{_backbone}-30")(recipe)
