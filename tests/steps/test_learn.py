"""Backpropagation in chunks gives the gradient of all snippets together, parameter by parameter."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from praxiscope.errors import ArgumentError
from praxiscope.models import create_model
from praxiscope.steps import learn_at_once, learn_in_chunks, make_loss
from praxiscope.steps.learn import Learn, cached
from praxiscope.steps.principal import WatchOptions, principal
from praxiscope.types import Batch

pytestmark = pytest.mark.usefixtures("_narrow")


def model_of(name: str, backbone: str, dtype: torch.dtype, **kwargs: Any) -> nn.Module:
    torch.manual_seed(0)
    model = create_model(
        name, backbone=backbone, num_classes=4, **{"dropout": 0.0, "batchnorm": "frozen", **kwargs}
    )
    for layer in model.classifiers:
        nn.init.normal_(layer.weight, std=0.1)
    return model.to(dtype)


def raw_batch(videos: int = 3, snippets: int = 5, size: int = 32) -> Batch:
    frames = torch.randint(
        0,
        256,
        (videos, snippets, 3, size, size),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(9),
    )
    return Batch(
        {"rgb": frames}, torch.arange(videos) % 4, [f"v{i}" for i in range(videos)], list(range(videos))
    )


def to_floats(dtype: torch.dtype, sizes: list[int] | None = None) -> Any:
    def prepare(batch: Batch) -> Batch:
        frames = (batch.streams["rgb"].to(dtype) / 255 - 0.45) / 0.22
        if sizes is not None:
            sizes.append(frames.shape[0] * frames.shape[1])
        return Batch({"rgb": frames}, batch.targets, batch.ids, batch.seeds)

    return prepare


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def closeness(one: Tensor, two: Tensor) -> float:
    """The largest difference relative to the tensor's largest entry."""
    return float((one - two).abs().max() / two.abs().max().clamp(min=1e-30))


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("backbone", ["resnet18", "squeezenet1_0"])
@pytest.mark.parametrize("chunk", [4, 15, 100])
def test_the_gradient_of_chunks_is_that_of_all_snippets(
    dtype: torch.dtype, bound: float, backbone: str, chunk: int
) -> None:
    model, batch, sizes = model_of("tsn", backbone, dtype), raw_batch(), []
    twin = copy.deepcopy(model)
    loss_function = make_double_loss(dtype)
    step = cached(learn_in_chunks(loss_function, to_floats(dtype, sizes), chunk))
    output = step(model, batch, lambda value: value.backward())
    logits = twin(to_floats(dtype)(batch).streams["rgb"]).logits
    loss = nn.functional.cross_entropy(logits, batch.targets)
    loss.backward()
    assert output.loss.item() == pytest.approx(loss.item(), rel=bound)
    assert max(sizes) == min(chunk, 15)
    expected, made = gradients(twin), gradients(model)
    assert made.keys() == expected.keys()
    for name, gradient in made.items():
        assert closeness(gradient, expected[name]) < bound, name


def make_double_loss(dtype: torch.dtype) -> Any:
    """The loss in the scores' own numbers; `make_loss` takes float32 for what autocast has shortened."""
    return make_loss(False) if dtype == torch.float32 else nn.functional.cross_entropy


@pytest.mark.slow
@pytest.mark.parametrize("consensus", ["average", "maximum"])
@pytest.mark.parametrize("name", ["tsn", "tsm"])
def test_any_consensus_and_models_that_mix_snippets_learn_alike(name: str, consensus: str) -> None:
    kwargs = {"consensus": consensus} if name == "tsn" else {"snippets": 5}
    model, batch, sizes = model_of(name, "resnet18", torch.float64, **kwargs), raw_batch(), []
    twin = copy.deepcopy(model)
    learn_in_chunks(nn.functional.cross_entropy, to_floats(torch.float64, sizes), 5)(
        model, batch, lambda value: value.backward()
    )
    learn_at_once(nn.functional.cross_entropy, to_floats(torch.float64))(
        twin, batch, lambda value: value.backward()
    )
    assert sizes == [5] * 6  # both passes
    expected = gradients(twin)
    for key, gradient in gradients(model).items():
        assert closeness(gradient, expected[key]) < 1e-10, key


OVER_TIME: dict[str, dict[str, Any]] = {
    "conv-pool": {"width": 8},
    "late-pool": {"width": 8},
    "local-pool": {"width": 8, "snippets": 5},
    "time-conv": {"width": 8},
    "lstm": {"hidden": 6, "layers": 2},
}


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("name", OVER_TIME)
def test_models_over_time_learn_from_features_in_chunks_as_from_all_frames(name: str, frozen: bool) -> None:
    model, batch = model_of(name, "resnet10", torch.float64, frozen=frozen, **OVER_TIME[name]), raw_batch(2)
    twin, sizes = copy.deepcopy(model), list[int]()
    floats = to_floats(torch.float64, sizes)
    # A loss that is scaled, as that of several batches for one update.
    loss, logits = learn_in_chunks(nn.functional.cross_entropy, floats, 3)(
        model, batch, lambda value: (value / 7).backward()
    )
    assert sizes == ([3, 3, 3, 1] * (1 if frozen else 2) + [1] * frozen)
    expected_loss, expected_logits = learn_at_once(nn.functional.cross_entropy, to_floats(torch.float64))(
        twin, batch, lambda value: (value / 7).backward()
    )
    torch.testing.assert_close(loss, expected_loss)
    torch.testing.assert_close(logits, expected_logits)
    expected, made = gradients(twin), gradients(model)
    assert made.keys() == expected.keys()
    for key, gradient in made.items():
        assert closeness(gradient, expected[key]) < 1e-10, key


def test_both_passes_see_the_same_dropout() -> None:
    model, batch = model_of("tsn", "squeezenet1_0", torch.float64, dropout=0.5), raw_batch()
    twin = copy.deepcopy(model)
    torch.manual_seed(6)
    learn_in_chunks(nn.functional.cross_entropy, to_floats(torch.float64), 4)(
        model, batch, lambda value: value.backward()
    )
    after = torch.get_rng_state()
    # The chunks brought forward with the same draws, all of their graphs kept.
    torch.manual_seed(6)
    frames = to_floats(torch.float64)(batch).streams["rgb"].flatten(0, 1)[:, None]
    logits = torch.cat([twin(part).snippet_logits.flatten(0, 1) for part in frames.split(4)])
    nn.functional.cross_entropy(logits.reshape(3, 5, 4).mean(1), batch.targets).backward()
    expected = gradients(twin)
    for key, gradient in gradients(model).items():
        assert closeness(gradient, expected[key]) < 1e-10, key
    assert torch.equal(after, torch.get_rng_state())


@pytest.mark.slow
def test_batchnorm_that_learns_moves_its_statistics_once_for_every_chunk() -> None:
    model, batch = model_of("tsn", "resnet18", torch.float64, batchnorm="train"), raw_batch()
    twin = copy.deepcopy(model)
    learn_in_chunks(nn.functional.cross_entropy, to_floats(torch.float64), 8)(
        model, batch, lambda value: value.backward()
    )
    frames = to_floats(torch.float64)(batch).streams["rgb"].flatten(0, 1)[:, None]
    logits = torch.cat([twin(part).snippet_logits.flatten(0, 1) for part in frames.split(8)])
    nn.functional.cross_entropy(logits.reshape(3, 5, 4).mean(1), batch.targets).backward()
    for (name, one), (_, two) in zip(model.named_buffers(), twin.named_buffers(), strict=True):
        torch.testing.assert_close(one, two, msg=name)
    expected = gradients(twin)
    for key, gradient in gradients(model).items():
        assert closeness(gradient, expected[key]) < 1e-9, key


def test_a_model_without_consensus_is_refused() -> None:
    class NoConsensus(nn.Module):
        streams = ("rgb",)
        consensus = None

    with pytest.raises(ArgumentError, match="NoConsensus"):
        learn_in_chunks(make_loss(False), to_floats(torch.float32), 2)(
            NoConsensus(), raw_batch(), lambda value: None
        )


@pytest.mark.parametrize("name", ["conv-pool", "lstm"])
def test_gradients_of_features_are_exchanged_once_for_a_step(name: str, tmp_path: Path) -> None:
    from lightning_fabric import Fabric
    from lightning_fabric.wrappers import _FabricModule

    network = model_of(name, "resnet10", torch.float32, **OVER_TIME[name])
    twin = copy.deepcopy(network)
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        wrapped = DistributedDataParallel(network)
        model = _FabricModule(wrapped, Fabric(accelerator="cpu", devices=1).strategy, original_module=network)
        exchanged: list[int] = []

        def count(state, bucket):  # type: ignore[no-untyped-def]  # torch does not take annotations as texts
            exchanged.append(bucket.index())
            future: Any = torch.futures.Future()
            future.set_result(bucket.buffer())
            return future

        wrapped.register_comm_hook(None, count)
        floats = to_floats(torch.float32)
        for _ in range(2):  # a second step would fail if the first had left a gradient out
            exchanged.clear()
            model.zero_grad()
            learn_in_chunks(make_loss(False), floats, 4)(model, raw_batch(2), lambda value: value.backward())
            assert exchanged
            assert exchanged == sorted(set(exchanged))  # each bucket once
        learn_at_once(make_loss(False), floats)(twin, raw_batch(2), lambda value: value.backward())
        expected = gradients(twin)
        for key, gradient in gradients(network).items():
            assert closeness(gradient, expected[key]) < 1e-4, key
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("way", ["in chunks", "principal"])
def test_gradients_are_exchanged_once_for_a_step(way: str, tmp_path: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        model = DistributedDataParallel(model_of("tsn", "squeezenet1_1", torch.float32))
        exchanged: list[int] = []

        def count(state, bucket):  # type: ignore[no-untyped-def]  # torch does not take annotations as texts
            exchanged.append(bucket.index())
            future: Any = torch.futures.Future()
            future.set_result(bucket.buffer())
            return future

        model.register_comm_hook(None, count)
        floats = to_floats(torch.float32)
        learn: Learn = learn_in_chunks(make_loss(False), floats, 4)
        step = (
            cached(learn) if way == "in chunks" else principal(learn, WatchOptions(floats), n=3, rule="max")
        )
        wrapped = Bare(model)
        step(wrapped, raw_batch(), lambda value: value.backward())
        assert exchanged == sorted(set(exchanged))  # each bucket once
        assert exchanged
    finally:
        dist.destroy_process_group()


class Bare(nn.Module):
    """As Fabric's wrapper: the attributes of the model, the forward pass of what exchanges its gradients."""

    def __init__(self, forward_module: DistributedDataParallel) -> None:
        super().__init__()
        self._forward_module = forward_module

    def forward(self, *inputs: Tensor) -> Any:
        return self._forward_module(*inputs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self._forward_module.module, name)
