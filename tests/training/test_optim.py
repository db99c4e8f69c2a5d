"""Parameter groups against a count by hand, schedules against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from praxiscope.errors import ArgumentError
from praxiscope.models import create_model
from praxiscope.training.optim import TrunkFreeze, make_optimizer, parameter_groups, schedule

pytestmark = pytest.mark.usefixtures("_narrow")


def by_name(groups):
    return {group["name"]: group for group in groups}


@pytest.mark.slow
@pytest.mark.parametrize("model", ["frame", "tsn", "tsm"])
@pytest.mark.parametrize("backbone", ["resnet18", "squeezenet1_0", "mobilenet_v1"])
@pytest.mark.parametrize("batchnorm", ["train", "partial", "frozen"])
def test_every_trainable_parameter_is_in_exactly_one_group(model, backbone, batchnorm):
    net = create_model(model, backbone=backbone, num_classes=3, batchnorm=batchnorm)
    grouped = [p for group in parameter_groups(net, lr=0.1, weight_decay=1e-4) for p in group["params"]]
    trainable = [p for p in net.parameters() if p.requires_grad]
    assert len(grouped) == len({id(p) for p in grouped}) == len(trainable)
    assert {id(p) for p in grouped} == {id(p) for p in trainable}


@pytest.mark.slow
def test_tsn_groups_have_the_rates_and_decays_of_its_code():
    net = create_model("tsn", backbone="vgg16_bn", num_classes=3, stream="flow")
    groups = by_name(
        parameter_groups(net, lr=0.01, weight_decay=5e-4, first_conv_lr_scale=5, classifier_lr_scale=5)
    )
    rates = {name: (group["lr"] / 0.01, group["weight_decay"]) for name, group in groups.items()}
    assert {name: (pytest.approx(rate), decay) for name, (rate, decay) in rates.items()} == {
        "first convolution weight": (5, 5e-4),
        "first convolution bias": (10, 0),
        "weight": (1, 5e-4),
        "bias": (2, 0),
        "norm": (1, 0),
        "classifier weight": (5, 5e-4),
        "classifier bias": (10, 0),
    }
    assert groups["first convolution weight"]["params"] == [net.backbone.features[0].weight]
    assert groups["classifier bias"]["params"] == [net.backbone.classifier[6].bias]
    assert all(group["initial_lr"] == group["lr"] for group in groups.values())


@pytest.mark.slow
def test_the_trunk_learns_at_its_own_rate() -> None:
    net = create_model("tsn", backbone="resnet10", num_classes=3)
    groups = by_name(
        parameter_groups(
            net, lr=0.01, weight_decay=5e-4, classifier_lr_scale=2, first_conv_lr_scale=5, trunk_lr_scale=0.1
        )
    )
    rates = {name: pytest.approx(group["lr"] / 0.01) for name, group in groups.items()}
    assert rates == {
        "first convolution weight": 0.5,
        "weight": 0.1,
        "norm": 0.1,
        "classifier weight": 2,
        "classifier bias": 4,
    }


def test_without_classifiers_all_of_the_network_is_the_trunk() -> None:
    net = unlisted(nn.Sequential(nn.Linear(3, 4)))
    groups = by_name(parameter_groups(net, lr=1, weight_decay=0, trunk_lr_scale=0.1))
    assert {name: group["lr"] for name, group in groups.items()} == {"weight": 0.1, "bias": 0.2}


def unlisted(net: nn.Module) -> nn.Module:
    """The same network as a model that lists no layers."""
    net.classifiers, net.first_convolutions = (), ()
    return net


def test_plain_groups_differ_in_decay_alone():
    net = unlisted(nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)))
    groups = by_name(parameter_groups(net, lr=0.1, weight_decay=0.2, policy="plain"))
    assert {name: (g["lr"], g["weight_decay"]) for name, g in groups.items()} == {
        "weight": (0.1, 0.2),
        "bias": (0.1, 0.0),
        "norm": (0.1, 0.0),
    }


def test_a_shared_parameter_is_grouped_once():
    net = unlisted(nn.ModuleList([nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)]))
    net[1].weight = net[0].weight
    (group,) = parameter_groups(net, lr=0.1, weight_decay=0.0)
    assert len(group["params"]) == 1


def test_groups_refuse_what_cannot_be_meant():
    net = unlisted(nn.Linear(2, 2))
    with pytest.raises(ArgumentError, match="classifiers"):
        parameter_groups(net, lr=0.1, weight_decay=0.0, classifier_lr_scale=5)
    with pytest.raises(ArgumentError, match=r"\blr\b.*-1\b"):
        parameter_groups(net, lr=-1, weight_decay=0.0)
    with pytest.raises(ArgumentError, match="policy"):
        parameter_groups(net, lr=1, weight_decay=0.0, policy="tsm")
    with pytest.raises(ArgumentError, match=r"\btrainable\b"):
        parameter_groups(net.requires_grad_(False), lr=0.1, weight_decay=0.0)


def test_sgd_with_nesterov_momentum_follows_its_equations():
    w = nn.Parameter(torch.tensor([2.0]))
    optimizer = make_optimizer(
        "sgd", [{"params": [w], "lr": 0.1, "weight_decay": 0.5}], momentum=0.9, nesterov=True
    )
    value, velocity = 2.0, 0.0
    for _ in range(3):
        optimizer.zero_grad()
        (3 * w).sum().backward()
        optimizer.step()
        gradient = 3 + 0.5 * value
        velocity = 0.9 * velocity + gradient
        value -= 0.1 * (gradient + 0.9 * velocity)
    assert w.item() == pytest.approx(value, rel=1e-6)


def test_adamw_decays_apart_from_the_gradient():
    w = nn.Parameter(torch.tensor([2.0]))
    optimizer = make_optimizer("adamw", [{"params": [w], "lr": 0.1, "weight_decay": 0.5}])
    (3 * w).sum().backward()
    optimizer.step()  # the first step of Adam is lr * sign(gradient)
    assert w.item() == pytest.approx(2.0 * (1 - 0.1 * 0.5) - 0.1, rel=1e-6)


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ArgumentError, match="adam"):
        make_optimizer("adam", [])


def test_the_step_schedule_drops_at_its_milestones():
    factor = schedule("step", total_steps=10, milestones=[3, 7], gamma=0.1)
    assert [factor(s) for s in range(10)] == pytest.approx([1] * 3 + [0.1] * 4 + [0.01] * 3)


def test_the_cosine_schedule_equals_its_closed_form_after_a_linear_warm_up():
    factor = schedule("cosine", total_steps=110, warmup_steps=10)
    assert [factor(s) for s in range(10)] == pytest.approx([(s + 1) / 10 for s in range(10)])
    for step in range(10, 110):
        assert factor(step) == pytest.approx(math.cos(math.pi * (step - 10) / 200) ** 2)
    assert factor(110) == factor(500) == 0


def test_the_exponential_schedule_loses_the_same_share_in_every_step():
    factor = schedule("exponential", total_steps=110, warmup_steps=10, gamma=0.01)
    assert [factor(step) for step in (9, 10, 60, 110, 200)] == pytest.approx([1, 1, 0.1, 0.01, 0.01])
    assert factor(31) / factor(30) == pytest.approx(factor(91) / factor(90)) == pytest.approx(0.01**0.01)


def test_the_constant_schedule_is_one_after_the_warm_up():
    factor = schedule("constant", total_steps=5, warmup_steps=2)
    assert [factor(s) for s in range(5)] == [0.5, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"kind": "linear", "total_steps": 1}, "'linear'"),
        ({"kind": "step", "total_steps": 0}, "total_steps"),
        ({"kind": "step", "total_steps": 5, "warmup_steps": 6}, "warmup_steps"),
        ({"kind": "step", "total_steps": 5, "milestones": [3, 2]}, "milestones"),
    ],
)
def test_a_schedule_refuses_wrong_numbers(arguments, told):
    with pytest.raises(ArgumentError, match=told):
        schedule(**arguments)


def test_a_held_trunk_keeps_its_weights_and_statistics_until_it_is_released():
    torch.manual_seed(0)
    net = create_model("tsn", backbone="resnet18", num_classes=3, dropout=0.0)
    net.backbone.layer1.requires_grad_(False)  # somebody's own wish, which outlasts the release
    optimizer = make_optimizer("sgd", parameter_groups(net, lr=0.1, weight_decay=0.1))
    hold = TrunkFreeze(net, 2)
    before = {name: value.clone() for name, value in net.state_dict().items()}

    def changed() -> set[str]:
        return {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}

    x = torch.randn(2, 1, 3, 32, 32)
    for step in range(3):
        net.train()
        hold(step)
        nn.functional.cross_entropy(net(x).logits, torch.tensor([0, 1])).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step < 2:
            assert changed() == {"backbone.fc.weight", "backbone.fc.bias"}
    learned = changed()
    assert {"backbone.conv1.weight", "backbone.bn1.running_mean", "backbone.layer4.1.bn2.weight"} <= learned
    assert not [name for name in learned if name.startswith("backbone.layer1") and name.endswith("weight")]
    assert net.backbone.bn1.training


def test_a_trunk_can_be_held_only_where_the_classifiers_are_known():
    TrunkFreeze(unlisted(nn.Linear(2, 2)), 0)(0)
    with pytest.raises(ArgumentError, match="classifiers"):
        TrunkFreeze(unlisted(nn.Linear(2, 2)), 1)
