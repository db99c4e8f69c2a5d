"""TSN and TSM, the baselines of the papers.

L. Wang et al., "Temporal Segment Networks", ECCV 2016; J. Lin, C. Gan, S. Han, "TSM", ICCV 2019.
"""

from __future__ import annotations

from praxiscope.recipes.named import recipes
from praxiscope.recipes.sections import InputSettings, ModelSettings, OptimSettings
from praxiscope.recipes.settings import TrainSettings

__all__: list[str] = []


# TSN's code crops flow at three scales, RGB frames at four.
FLOW_SCALES = (1, 0.875, 0.75)


@recipes.register("tsn-fine-tune")
def tsn_fine_tune() -> TrainSettings:
    """TSN from ImageNet weights on a small set: 3 snippets, SGD at 1e-3, dropout 0.5, partial BatchNorm."""
    return TrainSettings(
        model=ModelSettings(name="tsn", backbone="resnet50", batchnorm="partial", dropout=0.5),
        input=InputSettings(snippets=3),
        optim=OptimSettings(lr=1e-3, epochs=30, batch=16, schedule="step", milestones=(12, 24), clip_norm=40),
    )


@recipes.register("tsn-flow")
def tsn_flow() -> TrainSettings:
    """TSN's temporal stream from ImageNet weights: stacks of 5 fields, 3 snippets, dropout 0.7, partial BatchNorm."""
    settings = tsn_fine_tune()
    return settings.updated(
        {
            "model.stream": "flow",
            "model.dropout": 0.7,
            "input.subtract_mean": False,
            "input.crop_scales": FLOW_SCALES,
            "optim.first_conv_lr_scale": 5,
            "optim.epochs": 80,
            "optim.milestones": (44, 71),
            "optim.clip_norm": 20,
        }
    )


@recipes.register("tsm")
def tsm() -> TrainSettings:
    """TSM's published settings: 8 snippets, dropout 0.5, classifier at 5 times the rate, clipping at 20."""
    return TrainSettings(
        model=ModelSettings(name="tsm", backbone="resnet50", dropout=0.5),
        input=InputSettings(snippets=8),
        optim=OptimSettings(
            lr=0.01,
            epochs=50,
            batch=64,
            schedule="step",
            milestones=(20, 40),
            clip_norm=20,
            weight_decay=1e-4,
            classifier_lr_scale=5,
        ),
    )
