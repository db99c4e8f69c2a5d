"""The loss of flow against numpy, and the step that learns actions and flow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import praxiscope as px
from narrow import narrow_resnets
from praxiscope.errors import ArgumentError
from praxiscope.flow.area import area_average
from praxiscope.steps.action_flow import action_flow
from praxiscope.steps.base import make_loss
from praxiscope.steps.flow_loss import end_point_errors, flow_loss, resolution_weights
from praxiscope.steps.ordinary import ordinary
from praxiscope.types import FLOW_TARGET, Batch


@pytest.fixture(autouse=True)
def _narrow() -> Iterator[None]:
    with narrow_resnets():
        yield


def by_hand(predicted: np.ndarray, target: np.ndarray, unit: float) -> float:
    """The mean end-point error, pixel by pixel, for sizes that divide."""
    snippets, fields, _, height, width = predicted.shape
    rows, columns = target.shape[3] // height, target.shape[4] // width
    errors = []
    for n, f, y, x in np.ndindex(snippets, fields, height, width):
        part = target[n, f, :, y * rows : (y + 1) * rows, x * columns : (x + 1) * columns].reshape(2, -1)
        known = part[:, ~np.isnan(part[0])]
        if known.shape[1]:
            wanted = known.mean(1) / unit
            errors.append(np.hypot(*(predicted[n, f, :, y, x] - wanted)))
    return float(np.mean(errors)) if errors else 0.0


def flows(seed: int = 0) -> tuple[list[Tensor], Tensor]:
    torch.manual_seed(seed)
    made = [torch.randn(2, 3, 2, side, side + side // 2, dtype=torch.float64) for side in (8, 4, 2)]
    target = 20 * torch.randn(2, 3, 2, 16, 24, dtype=torch.float64)
    target[0, 2] = torch.nan  # a field beyond the end
    target[1, 0, :, :5, :7] = torch.nan
    return made, target


def test_the_loss_is_the_weighted_mean_end_point_error_of_averaged_targets() -> None:
    made, target = flows()
    expected = [by_hand(x.numpy(), target.numpy(), 20.0) for x in made]
    found = end_point_errors(made, target, 20.0)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)
    weights = (0.5, 0.25, 2.0)
    loss = flow_loss(made, target, weights, 20.0)
    np.testing.assert_allclose(float(loss), np.dot(weights, expected), rtol=1e-12)


def test_a_perfect_estimate_has_no_loss_and_a_gradient_without_nan() -> None:
    target = torch.full((1, 1, 2, 4, 4), 7.0, dtype=torch.float64)
    target[..., 0] = torch.nan
    made = torch.full((1, 1, 2, 4, 4), 7.0 / 20, dtype=torch.float64, requires_grad=True)
    loss = flow_loss([made], target, (1.0,), 20.0)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-15)
    assert made.grad is not None
    assert made.grad.isfinite().all()


def test_unknown_pixels_do_not_count_and_get_no_gradient() -> None:
    (made, *_), target = flows()
    made.requires_grad_()
    flow_loss([made], target, (1.0,), 20.0).backward()
    assert made.grad is not None
    assert made.grad.isfinite().all()
    assert not made.grad[0, 2].any()
    assert made.grad[0, :2].abs().sum(1).gt(0).all()
    nothing = torch.full_like(target, torch.nan)
    assert float(flow_loss([made], nothing, (1.0,), 20.0).detach()) == 0.0


def test_areas_that_do_not_divide_the_size_overlap_as_in_torch() -> None:
    flow = torch.randn(1, 2, 7, 10, dtype=torch.float64)
    expected = torch.nn.functional.adaptive_avg_pool2d(flow, (3, 4))
    torch.testing.assert_close(area_average(flow, (3, 4)), expected)
    flow[..., 6, 9] = torch.nan
    found = area_average(flow, (3, 4))
    torch.testing.assert_close(found[..., :2, :], expected[..., :2, :])
    last = flow[..., 4:, 7:].flatten(2)[..., :-1].mean(-1)
    torch.testing.assert_close(found[..., 2, 3], last)


def test_default_weights_are_those_of_flownet() -> None:
    assert resolution_weights(4) == (0.005, 0.01, 0.02, 0.08)
    assert resolution_weights(1) == (1.0,)
    with pytest.raises(ArgumentError, match="3 numbers"):
        resolution_weights(3)


def test_shapes_and_weights_that_do_not_fit_are_named() -> None:
    made, target = flows()
    with pytest.raises(ArgumentError, match=r"3 resolutions.*2"):
        flow_loss(made, target, (1.0, 1.0), 20.0)
    for wrong in (target[:1], target[:, :1], target[..., :4, :4], target[:, 0]):
        with pytest.raises(ArgumentError, match=r"N, F, 2, H, W"):
            flow_loss(made, wrong, (1.0, 1.0, 1.0), 20.0)


def learner(name: str = "actionflownet-2f") -> Any:
    torch.manual_seed(0)
    frames = {"in_channels": 6}
    model: Any = px.create_model(name, num_classes=3, backbone="resnet10", dropout=0.0, **frames)
    for layer in (model.classifier, *model.decoder.predictions):  # they start at no differences, and no flow
        nn.init.normal_(layer.weight, std=0.1)
    return model


def batch(model: Any) -> Batch:
    torch.manual_seed(1)
    frames = torch.randn(2, 2, 6, 32, 32)
    target = 3 * torch.randn(2, 2, 2 * model.fields, 8, 8)
    return Batch({"rgb": frames, FLOW_TARGET: target}, torch.tensor([0, 2]), ["a", "b"])


def gradients(model: Any, step: Any, given: Batch) -> tuple[Any, dict[str, Tensor]]:
    output = step(model, given, lambda loss: loss.backward())
    return output, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", ["actionflownet-2f", "actionflownet"])
def test_the_step_adds_the_loss_of_flow_to_that_of_the_classes(name: str) -> None:
    model = learner(name)
    given = batch(model)
    output, found = gradients(model, action_flow(make_loss(False), flow_weight=2.0), given)
    twin = learner(name)
    made = twin(given.streams["rgb"], flow=True)
    action = nn.functional.cross_entropy(made.logits, given.targets)
    target = given.streams[FLOW_TARGET].reshape(4, model.fields, 2, 8, 8)
    weights = (1.0,) if name == "actionflownet" else (0.005, 0.01, 0.02, 0.08)
    flow = sum(
        weight
        * torch.linalg.vector_norm(x.flatten(0, 1) - area_average(target, x.shape[-2:]) / 20, dim=2).mean()
        for weight, x in zip(weights, made.flow, strict=True)
    )
    (action + 2 * flow).backward()
    torch.testing.assert_close(output.loss, (action + 2 * flow).detach())
    torch.testing.assert_close(output.metrics["loss_action"], action.detach())
    torch.testing.assert_close(output.metrics["loss_flow"], flow.detach())
    far = 20 * made.flow[0].flatten(0, 1) - target
    torch.testing.assert_close(output.metrics["epe"], torch.linalg.vector_norm(far, dim=2).mean().detach())
    for key, parameter in twin.named_parameters():
        torch.testing.assert_close(found[key], parameter.grad, msg=key)


def test_without_weight_it_is_the_ordinary_step_and_leaves_the_decoder() -> None:
    given = batch(learner())
    one, found = gradients(learner(), action_flow(make_loss(False), flow_weight=0.0), given)
    two, expected = gradients(learner(), ordinary(make_loss(False)), given)
    assert torch.equal(one.loss, two.loss)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in found)
    assert {key.partition(".")[0] for key in found} == {"encoder", "classifier"}


def test_a_batch_without_flow_is_refused() -> None:
    model = learner()
    given = batch(model)
    del given.streams[FLOW_TARGET]
    with pytest.raises(ArgumentError, match=r"'flow_target'.*'rgb'"):
        action_flow(make_loss(False), flow_weight=1.0)(model, given, lambda loss: None)
