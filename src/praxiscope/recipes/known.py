"""Recipes: settings by name, each for a published or useful experiment."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from praxiscope.recipes.multiplier_rows import multiplier_rows
from praxiscope.recipes.settings import (
    BackpropSettings,
    DataSettings,
    InputSettings,
    ModelSettings,
    OptimSettings,
    RunSettings,
    TrainSettings,
    recipes,
)

__all__: list[str] = []


@recipes.register("default")
def default() -> TrainSettings:
    """A small network on 8 snippets, from scratch or from weights that are given: a start for own videos."""
    return TrainSettings(optim=OptimSettings(lr=0.01, epochs=30, batch=8, warmup_epochs=1))


@recipes.register("tsn-fine-tune")
def tsn_fine_tune() -> TrainSettings:
    """TSN from ImageNet weights on a small set: 3 snippets, SGD at 1e-3, dropout 0.5, partial BatchNorm."""
    return TrainSettings(
        model=ModelSettings(name="tsn", backbone="resnet50", batchnorm="partial", dropout=0.5),
        input=InputSettings(snippets=3),
        optim=OptimSettings(lr=1e-3, epochs=30, batch=16, schedule="step", milestones=(12, 24), clip_norm=40),
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


@recipes.register("move4mnist-64")
def move4mnist_64() -> TrainSettings:
    """Move4MNIST at 64 pixels on a CPU. No flip (left would become right) and the whole frame, scaled."""
    return TrainSettings(
        model=ModelSettings(name="tsm", backbone="resnet18", dropout=0.5),
        input=InputSettings(size=64, short_side=64, snippets=8, crop="center", flip=False),
        optim=OptimSettings(lr=0.02, epochs=20, batch=16, warmup_epochs=1, weight_decay=5e-4),
        run=RunSettings(validate_epochs=1),
    )


@recipes.register("demo")
def demo() -> TrainSettings:
    """What `make demo` trains: Move4MNIST at 64 pixels in minutes on a CPU."""
    return move4mnist_64().updated(
        {
            "model.backbone": "resnet10",
            "optim.epochs": 4,
            "run.checkpoint_steps": 25,
            "run.tensorboard": False,
        }
    )


@recipes.register("demo-own")
def demo_own() -> TrainSettings:
    """What `make demo DATA=…` trains: action clips at 112 pixels, 400 steps, from random weights unless some are
    named."""
    return TrainSettings(
        model=ModelSettings(name="tsm", backbone="resnet10", dropout=0.5),
        input=InputSettings(size=112, short_side=128, snippets=8),
        optim=OptimSettings(lr=0.02, epochs=None, steps=400, batch=8, weight_decay=5e-4),
        run=RunSettings(validate_epochs=10, checkpoint_steps=25, tensorboard=False),
    )


@recipes.register("full-video")
def full_video() -> TrainSettings:
    """Every frame of each video in 8 clusters, TSM's published settings; clusters from the first epoch on."""
    return tsm().updated({"model.name": "full-video", "model.clusters": 8})


@recipes.register("full-video-move4mnist")
def full_video_move4mnist() -> TrainSettings:
    """The full-video paper's Move4MNIST: ResNet-18 from ImageNet weights (--pretrained), 40 epochs, the first 6 on
    sampled frames."""
    # When the rate falls is not said; TSM's falls at 0.4 and 0.8 of its epochs.
    return TrainSettings(
        model=ModelSettings(name="full-video", backbone="resnet18", clusters=8, dropout=0.8),
        input=InputSettings(short_side=224, crop="center", flip=False, sampled_epochs=6),
        optim=OptimSettings(
            lr=1e-3,
            epochs=40,
            batch=16,
            schedule="step",
            milestones=(16, 32),
            clip_norm=20,
            weight_decay=1e-4,
            classifier_lr_scale=5,
        ),
        run=RunSettings(validate_epochs=0),
    )


@recipes.register("full-video-move4mnist-64")
def full_video_move4mnist_64() -> TrainSettings:
    """Move4MNIST at 64 pixels on a CPU, from random weights: ResNet-10, the first 2 of 10 epochs on sampled frames."""
    return move4mnist_64().updated(
        {
            "model.name": "full-video",
            "model.backbone": "resnet10",
            "model.clusters": 8,
            "input.sampled_epochs": 2,
            "optim.epochs": 10,
            "run.validate_epochs": 0,
        }
    )


# Spatiotemporal multiplier networks (Feichtenhofer et al., 2017).
@recipes.register("default-multiplier")
def default_multiplier() -> TrainSettings:
    """Pictures and flow in one network, from two trained runs (--from): a start for own videos."""
    return TrainSettings(
        model=ModelSettings(name="multiplier"),
        input=InputSettings(snippets=5, strides=(5, 35)),
        optim=OptimSettings(lr=1e-3, epochs=20, batch=8, warmup_epochs=1),
    )


def _multiplier(changes: Mapping[str, Any]) -> TrainSettings:
    """Sections 4.1 and 5.1 with ResNet-50 twice: 128 videos a step (here as 16
    batches of 8, whose BatchNorm sees a batch), 5 chunks of each at a random stride; 1e-3, a tenth after 20
    epochs, a hundredth after 30."""
    # When training ends is not said. Ten more epochs, as between the two drops.
    settings = TrainSettings(
        model=ModelSettings(name="multiplier", backbone="resnet50", temporal=None, pool_window=None),
        input=InputSettings(snippets=5, strides=(5, 35), flow_length=10, crop="jittered"),
        optim=OptimSettings(
            lr=1e-3, batch=8, accumulate=16, epochs=40, schedule="step", milestones=(20, 30), clip_norm=None
        ),
    )
    return settings.updated({f"model.{key}": value for key, value in changes.items()})


def _stream_of_multiplier(stream: str, backbone: str) -> TrainSettings:
    """Section 4.1: 1e-2, lowered twice when the validation saturates (here after
    1/2 and 5/6 of the epochs)."""
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
        recipe.__doc__ = f"Multiplier networks, {row.table}: {row.title} (--from RGB_RUN,FLOW_RUN)."
        recipes.register(f"multiplier-{name}")(recipe)
    for depth in (50, 152):
        for stream, word in (("rgb", "appearance"), ("flow", "motion")):
            recipe = partial(_stream_of_multiplier, stream, f"resnet{depth}")
            start = f"ResNet-{depth} from ImageNet weights (--pretrained)"
            recipe.__doc__ = f"Multiplier networks, Table 4: the {word} stream, {start}."
            recipes.register(f"multiplier-{word}-{depth}")(recipe)


@recipes.register("multiplier")
def multiplier() -> TrainSettings:
    """Multiplier networks, the final model: ResNet-50 on pictures, ResNet-152 on flow (--from RGB_RUN,FLOW_RUN)."""
    best = multiplier_rows()["centre-residual-max"].changes
    return _multiplier({**best, "motion_backbone": "resnet152"})


_register_multipliers()


# TSN's code crops flow at three scales, RGB frames at four.
_FLOW_SCALES = (1, 0.875, 0.75)

# Two-stream networks (Simonyan and Zisserman, 2014), section 5: 256 videos a step, drawn evenly over the classes, one
# frame or stack of each; momentum 0.9; the rate 1e-2 falls to a tenth at the milestones, "the same for all training
# sets". Its "RGB jittering" is that of AlexNet, whose training it adapts: noise along principal components of colours.
_FROM_SCRATCH: Mapping[str, Any] = {"steps": 80_000, "milestone_steps": (50_000, 70_000)}
_FINE_TUNED: Mapping[str, Any] = {"steps": 20_000, "milestone_steps": (14_000,)}


def _two_stream(
    length: Mapping[str, Any], *, dropout: float, rgb: bool = True, frozen: bool = False
) -> TrainSettings:
    return TrainSettings(
        data=DataSettings(sampling="class-uniform"),
        model=ModelSettings(name="frame", backbone="cnn_m_2048", dropout=dropout),
        input=InputSettings(snippets=1, crop="random", lighting=0.1 if rgb else 0.0),
        optim=OptimSettings(
            lr=1e-2,
            batch=256,
            schedule="step",
            policy="plain",
            clip_norm=None,
            frozen_epochs="all" if frozen else 0,
            **length,
        ),
    )


@recipes.register("two-stream-spatial")
def two_stream_spatial() -> TrainSettings:
    """The spatial stream, all of it fine-tuned from ImageNet weights (--weights). The paper's best has dropout 0.9."""
    return _two_stream(_FINE_TUNED, dropout=0.9)


@recipes.register("two-stream-spatial-last-layer")
def two_stream_spatial_last_layer() -> TrainSettings:
    """The spatial stream, only the last layer trained on ImageNet weights (--weights): the paper's choice."""
    return _two_stream(_FINE_TUNED, dropout=0.5, frozen=True)


@recipes.register("two-stream-spatial-scratch")
def two_stream_spatial_scratch() -> TrainSettings:
    """The spatial stream from random weights, dropout 0.9."""
    return _two_stream(_FROM_SCRATCH, dropout=0.9)


@recipes.register("two-stream-slow-fusion")
def two_stream_slow_fusion() -> TrainSettings:
    """A network on stacks of 11 RGB frames from random weights, dropout 0.9: the baseline that flow is compared with
    (section 6)."""
    return _two_stream(_FROM_SCRATCH, dropout=0.9).updated({"input.frames": 11})


def _temporal(length: Mapping[str, Any] = _FROM_SCRATCH, **stack: Any) -> TrainSettings:
    settings = _two_stream(length, dropout=0.9, rgb=False)
    return settings.updated(
        {
            "model.backbone": "cnn_m_2048_temporal",
            "model.stream": "flow",
            "input.flow_length": 10,
            **{f"input.{name}": value for name, value in stack.items()},
        }
    )


@recipes.register("two-stream-temporal")
def two_stream_temporal() -> TrainSettings:
    """The temporal stream (--flow): 10 fields stacked, means subtracted, from random weights, dropout 0.9."""
    return _temporal()


@recipes.register("two-stream-temporal-trajectory")
def two_stream_temporal_trajectory() -> TrainSettings:
    """The temporal stream with 10 fields read along the points' paths."""
    return _temporal(flow_kind="trajectory")


@recipes.register("two-stream-temporal-bidirectional")
def two_stream_temporal_bidirectional() -> TrainSettings:
    """The temporal stream with 5 fields forward and 5 backward (needs `praxiscope flow --backward`)."""
    return _temporal(flow_kind="stack-bidirectional")


@recipes.register("two-stream-multi-task")
def two_stream_multi_task() -> TrainSettings:
    """The temporal stream on several data sets at once (--data NAME=DATA, --flow NAME=FOLDER), a classifier each."""
    return _temporal()


@recipes.register("two-stream-temporal-fine-tune")
def two_stream_temporal_fine_tune() -> TrainSettings:
    """The temporal stream, fine-tuned from one that was trained on another data set (--weights): Table 2's second
    row."""
    return _temporal(_FINE_TUNED)


@recipes.register("two-stream-temporal-added-classes")
def two_stream_temporal_added_classes() -> TrainSettings:
    """The temporal stream on a data set with classes of another added to its own, in one list (a CSV): Table 2's
    third row."""
    return _temporal()


@recipes.register("tsn-flow")
def tsn_flow() -> TrainSettings:
    """TSN's temporal stream from ImageNet weights: stacks of 5 fields, 3 snippets, dropout 0.7, partial BatchNorm."""
    settings = tsn_fine_tune()
    return settings.updated(
        {
            "model.stream": "flow",
            "model.dropout": 0.7,
            "input.subtract_mean": False,
            "input.crop_scales": _FLOW_SCALES,
            "optim.first_conv_lr_scale": 5,
            "optim.epochs": 80,
            "optim.milestones": (44, 71),
            "optim.clip_norm": 20,
        }
    )


# Principal backpropagation (Huang et al., 2019), sections IV and V.A: 128 videos a step (here as 8 batches of 16),
# momentum 0.9, TSN's rates and clipping. Its backbone is BN-Inception, which neither torchvision nor timm has; theirs
# nearest to it is GoogLeNet, with BatchNorm as well.
_PBNET_SCHEDULES: Mapping[tuple[str, str], tuple[int, tuple[int, ...]]] = {
    ("rgb", "ucf101"): (5_000, (1_500, 3_000, 4_500)),
    ("rgb", "hmdb51"): (3_000, (1_500,)),
    ("rgb", "thumos14"): (
        8_000,
        (1_500, 3_000, 4_500, 6_000, 7_500),
    ),  # section V.G: longer, all else as UCF-101's
    ("flow", "ucf101"): (18_000, (10_000, 16_000)),
    ("flow", "hmdb51"): (7_000, (4_000, 6_000)),
    ("flow", "thumos14"): (25_000, (10_000, 16_000)),
}


def _pbnet(stream: str, data: str, watch: int, choose: int) -> TrainSettings:
    steps, drops = _PBNET_SCHEDULES[stream, data]
    rgb = stream == "rgb"
    frames: dict[str, Any] = {}
    if not rgb:
        # Section V.G: stacks of one length on THUMOS14.
        frames = {"flow_length": 5 if data == "thumos14" else [5, 10], "crop_scales": _FLOW_SCALES}
    return TrainSettings(
        model=ModelSettings(
            name="tsn",
            backbone="googlenet",
            stream=stream,
            batchnorm="partial",
            dropout=0.8 if rgb else 0.7,
        ),
        input=InputSettings(snippets=watch, subtract_mean=False, **frames),
        backprop=BackpropSettings(
            name="principal" if choose < watch else "full",
            choose=choose if choose < watch else None,
            rule=("kl" if rgb else "max") if choose < watch else None,
        ),
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
    """PBNet-m-n and Full-m, which learns from all it watches, for the data sets of tables IV, VI and VII."""
    networks = [(f"pbnet-{m}-{n}", m, n, ["ucf101", "hmdb51"]) for m, n in ((6, 3), (8, 4))]
    networks += [(f"full-{m}", m, m, ["ucf101"]) for m in range(1, 9)]
    more = {"full-6": ["hmdb51", "thumos14"], "full-3": ["thumos14"], "pbnet-6-3": ["thumos14"]}
    for name, watch, choose, sets in networks:
        for stream in ("rgb", "flow"):
            for data in sets + more.get(name, []):
                recipe = partial(_pbnet, stream, data, watch, choose)
                learned = (
                    f"learned from {choose} of {watch}" if choose < watch else f"learned from all {watch}"
                )
                start = "ImageNet weights"
                if stream == "flow":
                    start += f", stacks of {'5' if data == 'thumos14' else '5 and 10'} fields (--flow)"
                recipe.__doc__ = f"TSN {learned} snippets, {stream}, {start}: schedule for {data}."
                suffix = "" if data == "ucf101" else f"-{data}"
                recipes.register(f"{name}-{stream}{suffix}")(recipe)


_register_pbnets()
