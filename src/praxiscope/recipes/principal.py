"""Principal backpropagation (Huang et al., IEEE TIP 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from praxiscope.recipes.baselines import FLOW_SCALES
from praxiscope.recipes.named import recipes
from praxiscope.recipes.sections import InputSettings, ModelSettings, OptimSettings
from praxiscope.recipes.settings import TrainSettings
from praxiscope.steps.settings.full import FullSettings
from praxiscope.steps.settings.principal import PrincipalSettings
from praxiscope.units import counted

__all__: list[str] = []


# Principal backpropagation (Huang et al., 2019), sections IV and V.A: 128 videos per step (here as 8 batches of 16),
# momentum 0.9, TSN's learning rates and clipping. The paper's backbone is BN-Inception, which neither torchvision nor
# timm has; the nearest network there is GoogLeNet, which also has BatchNorm.
_PBNET_SCHEDULES: Mapping[tuple[str, str], tuple[int, tuple[int, ...]]] = {
    ("rgb", "ucf101"): (5_000, (1_500, 3_000, 4_500)),
    ("rgb", "hmdb51"): (3_000, (1_500,)),
    ("rgb", "thumos14"): (
        8_000,
        (1_500, 3_000, 4_500, 6_000, 7_500),
    ),  # section V.G: longer, otherwise as for UCF-101
    ("flow", "ucf101"): (18_000, (10_000, 16_000)),
    ("flow", "hmdb51"): (7_000, (4_000, 6_000)),
    ("flow", "thumos14"): (25_000, (10_000, 16_000)),
}


def _pbnet(stream: str, data: str, watch: int, choose: int) -> TrainSettings:
    steps, drops = _PBNET_SCHEDULES[stream, data]
    rgb = stream == "rgb"
    frames: dict[str, Any] = {}
    if not rgb:
        # Section V.G: stacks of a single length on THUMOS14.
        frames = {"flow_length": 5 if data == "thumos14" else [5, 10], "crop_scales": FLOW_SCALES}
    return TrainSettings(
        model=ModelSettings(
            name="tsn",
            backbone="googlenet",
            stream=stream,
            batchnorm="partial",
            dropout=0.8 if rgb else 0.7,
        ),
        input=InputSettings(snippets=watch, subtract_mean=False, **frames),
        backprop=PrincipalSettings(choose=choose, rule="kl" if rgb else "max")
        if choose < watch
        else FullSettings(),
        optim=OptimSettings(
            lr=1e-3 if rgb else 5e-3,
            batch=16,
            accumulate=8,
            steps=steps,
            schedule="step",
            milestone_steps=drops,
            clip_norm=40 if rgb else 20,
            first_conv_lr_scale=1 if rgb else 5,
        ),
    )


def _register_pbnets() -> None:
    """PBNet-m-n, and Full-m, which learns from all watched snippets, for the data sets of tables IV, VI and VII."""
    networks = [(f"pbnet-{m}-{n}", m, n, ["ucf101", "hmdb51"]) for m, n in ((6, 3), (8, 4))]
    networks += [(f"full-{m}", m, m, ["ucf101"]) for m in range(1, 9)]
    more = {"full-6": ["hmdb51", "thumos14"], "full-3": ["thumos14"], "pbnet-6-3": ["thumos14"]}
    for name, watch, choose, sets in networks:
        for stream in ("rgb", "flow"):
            for data in sets + more.get(name, []):
                recipe = partial(_pbnet, stream, data, watch, choose)
                learned = f"{choose} of {watch} snippets" if choose < watch else counted(watch, "snippet")
                start = "ImageNet weights"
                if stream == "flow":
                    start += f", stacks of {'5' if data == 'thumos14' else '5 and 10'} fields (--flow)"
                recipe.__doc__ = f"TSN trained on {learned}, {stream}, {start}; schedule for {data}."
                suffix = "" if data == "ucf101" else f"-{data}"
                recipes.register(f"{name}-{stream}{suffix}")(recipe)


_register_pbnets()
