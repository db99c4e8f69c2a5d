"""Settings of pooling and LSTM over minutes, against the numbers of the paper."""

from __future__ import annotations

import pytest

from praxiscope.models.names import FILES, check_keywords
from praxiscope.recipes.named import get_recipe, recipe_of
from praxiscope.training.checks import model_keywords

PHASES = [f"{name}-{frames}" for name in ("conv-pool", "googlenet-conv") for frames in (1, 30, 120)]
OTHERS = [f"{name}-120" for name in ("late-pool", "slow-pool", "local-pool", "time-conv")]
LSTM = ["lstm-googlenet-30", "lstm-alexnet-30"]


@pytest.mark.parametrize("name", [*PHASES, *OTHERS, *LSTM])
def test_recipes_have_the_numbers_of_the_paper(name: str) -> None:
    settings = get_recipe(name)
    shown, optim = settings.input, settings.optim
    frames = int(name.rpartition("-")[2])
    assert (shown.snippets, shown.fps, shown.max_seconds) == (frames, 1, 300)
    assert (shown.size, shown.short_side, shown.crop, shown.flip) == (220, 256, "random", True)
    assert shown.samples_windows
    assert optim.lr == pytest.approx(3e-4 if name in LSTM else 1e-5)
    assert (optim.momentum, optim.weight_decay, optim.schedule) == (0.9, 5e-4, "exponential")
    assert name.startswith(settings.model.name)
    assert settings.model.backbone == ("googlenet" if "googlenet" in name else "alexnet")
    check_keywords(settings.model.name, model_keywords(settings.model))


@pytest.mark.parametrize("name", [name for name, file in FILES.items() if file in ("pooled", "lstm")])
def test_from_trained_weights_new_layers_learn_as_fast_as_the_network(name: str) -> None:
    settings = recipe_of(name, "weights")
    assert settings.model.name == name
    assert (settings.optim.trunk_lr_scale, settings.optim.probe) == (1, False)
    assert settings.data.validation > 0
    check_keywords(name, model_keywords(settings.model))
