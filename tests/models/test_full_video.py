"""The full-video network: what it computes, what it costs, and that its ways of computing agree."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import praxiscope as px
from narrow import narrow_resnets
from praxiscope.bench.step import Job, _measure, measure_step
from praxiscope.layers.clustering import clusterings, hamming_distances
from praxiscope.layers.shift import temporal_shift
from praxiscope.models.backbones import create_backbone, list_backbones
from praxiscope.models.full_video import FullVideoNetwork
from praxiscope.models.stages import early_stage, late_stages

pytestmark = pytest.mark.usefixtures("_repeated_draws")

COUNTS = [5, 1, 12]
OFFSETS = torch.tensor([0, 5, 6, 18])


def build(seed: int = 0, **keywords: Any) -> FullVideoNetwork:
    torch.manual_seed(seed)
    keywords = {"num_classes": 3, "backbone": "resnet10", "clusters": 4, "dropout": 0.0, **keywords}
    with narrow_resnets():
        model = px.create_model("full-video", **keywords)
    for layer in model.classifiers:  # else all scores are nearly alike
        nn.init.normal_(layer.weight, std=0.1)
    assert isinstance(model, FullVideoNetwork)
    return model


def frames(count: int = 18, side: int = 48, channels: int = 3) -> Tensor:
    """Frames that drift, with jumps: neighbours are alike, as in videos."""
    generator = torch.Generator().manual_seed(5)
    steps = torch.randn(count, channels, side, side, generator=generator) * 0.2
    steps[::4] *= 5
    return steps.cumsum(0)


# --------------------------------------------------------------------------------------------- the cut


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in list_backbones()
        if not name.startswith("cnn_m") and name not in ("resnet101", "resnet152")
    ],
)
def test_a_cut_backbone_gives_the_scores_of_the_whole(name: str) -> None:
    torch.manual_seed(0)
    backbone = create_backbone(name, num_classes=4).eval()
    x = torch.randn(2, 3, 64, 64)
    y = x
    for layer in early_stage(backbone, name):
        y = layer.run(y)
    with torch.no_grad():
        assert torch.equal(late_stages(backbone, name)(y).scores, backbone(x))
    assert 4 <= 64 / y.shape[-1] <= 10


def test_a_backbone_without_a_known_place_is_refused() -> None:
    with pytest.raises(px.ArgumentError, match=r"cnn_m_2048\b.*\bCnnM2048\b"):
        px.create_model("full-video", num_classes=2, backbone="cnn_m_2048")


# ------------------------------------------------------------------------------------- what it computes


def twin(model: FullVideoNetwork, videos: list[Tensor], rule: str, clusters: int) -> Tensor:
    """ResNet-10 written out, one video after the other, with loops over clusters and blocks."""
    net: Any = model.backbone
    rows = []
    for video in videos:
        x = net.maxpool(F.relu(net.bn1(net.conv1(video))))
        x = net.layer1(x)
        ids = clusterings.get(rule)(hamming_distances(x), clusters).tolist()
        x = torch.stack(
            [x[[i for i, own in enumerate(ids) if own == k]].mean(0) for k in range(max(ids) + 1)]
        )
        for layer in (net.layer2, net.layer3, net.layer4):
            (block,) = layer
            shifted = temporal_shift(x[None])[0]
            conv: nn.Conv2d = block.conv1  # not called: a call would shift what it is given
            y = F.relu(block.bn1(F.conv2d(shifted, conv.weight, None, conv.stride, conv.padding)))
            x = F.relu(block.bn2(block.conv2(y)) + block.downsample(x))
        rows.append(net.fc(x.mean((2, 3))).mean(0))
    return torch.stack(rows)


@pytest.mark.parametrize("rule", ["cumulative", "slope", "uniform"])
def test_scores_are_those_of_the_network_written_out(rule: str) -> None:
    model = build(clustering=rule).eval()
    x = frames()
    expected = twin(model, list(x.split(COUNTS)), rule, 4)
    torch.testing.assert_close(model(x, OFFSETS).logits, expected, rtol=1e-4, atol=1e-5)


def padded(x: Tensor) -> Tensor:
    filled = torch.full((3, 12, *x.shape[1:]), 7.0, dtype=x.dtype)
    for row, video in zip(filled, x.split(COUNTS), strict=True):
        row[: len(video)] = video
    return filled


SETTINGS: list[dict[str, Any]] = [
    {},
    {"clustering": "slope"},
    {"clustering": "uniform"},
    {"aggregate": "pre"},
    {"early_shift": True},
    {"early_shift": True, "clustering": "slope", "aggregate": "pre"},
    {"early_frames": 5},
    {"backbone": "squeezenet1_1"},
    {"backbone": "squeezenet1_1", "early_shift": True},
    {"backbone": "efficientnet_lite0", "early_shift": True},
    {"batchnorm": "partial", "fold_div": 4},
]


@pytest.mark.parametrize("keywords", SETTINGS)
def test_packed_padded_and_single_videos_get_the_same_scores(keywords: dict[str, Any]) -> None:
    model = build(**keywords).double()
    x = frames(side=32).double()
    model.eval()
    packed, filled = model(x, OFFSETS), model(padded(x), OFFSETS)
    alone = [model(video[None]) for video in x.split(COUNTS)]
    torch.testing.assert_close(packed.logits, torch.cat([o.logits for o in alone]), rtol=1e-9, atol=1e-12)
    assert packed.ids.tolist() == torch.cat([o.ids for o in alone]).tolist()
    for one, two in zip(packed[:-1], filled[:-1], strict=True):
        assert torch.equal(one, two)
    # All of one length: dense frames with offsets are dense frames.
    dense = x[:12].unflatten(0, (3, 4))
    expected, offsets = model(dense), torch.arange(0, 13, 4)
    for other in (model(dense, offsets), model(x[:12], offsets)):
        torch.testing.assert_close(other.logits, expected.logits, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("keywords", SETTINGS)
def test_a_padded_batch_is_learned_from_as_a_packed_one(keywords: dict[str, Any]) -> None:
    packed, filled = build(**keywords).double(), build(**keywords).double()
    x, targets = frames(side=32).double(), torch.tensor([0, 1, 2])
    for model, batch in ((packed, x), (filled, padded(x))):
        F.cross_entropy(model(batch, OFFSETS).logits, targets).backward()
    for (name, value), other in zip(packed.state_dict().items(), filled.state_dict().values(), strict=True):
        assert torch.equal(value, other), name  # BatchNorm has seen the same frames
    for (name, p), q in zip(packed.named_parameters(), filled.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None), name
        if p.grad is not None:
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.slow
def test_gradients_of_a_packed_batch_are_those_of_its_videos() -> None:
    model = build(batchnorm="frozen").double().train()
    x = frames().double()
    targets = torch.tensor([0, 1, 2])
    F.cross_entropy(model(x, OFFSETS).logits, targets).backward()
    packed = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    for video, target in zip(x.split(COUNTS), targets, strict=True):
        (F.cross_entropy(model(video[None]).logits, target[None]) / 3).backward()
    for name, p in model.named_parameters():
        if name in packed:
            torch.testing.assert_close(p.grad, packed[name], rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_clusters_of_single_frames_make_it_tsm() -> None:
    # As many clusters as frames: nothing is averaged. Without shifts in the first stage TSM differs there alone.
    model = build(clusters=6, early_shift=True).eval()
    with narrow_resnets():
        tsm = px.create_model("tsm", backbone="resnet10", num_classes=3, snippets=6, dropout=0.0).eval()
    tsm.load_state_dict(model.state_dict())
    x = frames(12).reshape(2, 6, 3, 48, 48)
    torch.testing.assert_close(model(x).logits, tsm(x).logits, rtol=1e-5, atol=1e-6)


def test_with_agreeing_signs_before_and_after_the_relu_is_the_same() -> None:
    x = frames(1).expand(6, -1, -1, -1) * torch.linspace(1, 1.001, 6)[:, None, None, None]
    scores = [build(aggregate=kind, clusters=1).double().eval()(x[None].double()) for kind in ("pre", "post")]
    assert int(scores[0].distances.sum()) == 0
    torch.testing.assert_close(scores[0].logits, scores[1].logits, rtol=1e-9, atol=1e-12)
    # Where signs differ it is not: the test would not see a switch that does nothing.
    moving = [build(aggregate=kind, clusters=1).eval()(frames(6)[None]).logits for kind in ("pre", "post")]
    assert not torch.allclose(*moving, rtol=1e-3)


@pytest.mark.parametrize("backbone", ["resnet10", "resnet50"])
def test_cutting_before_the_relu_opens_a_block_at_its_end(backbone: str) -> None:
    pre, post = (build(aggregate=kind, backbone=backbone).eval() for kind in ("pre", "post"))
    x = frames(2)
    with torch.no_grad():
        assert float(pre.early(x).min()) < 0
        torch.testing.assert_close(pre.early(x).relu(), post.early(x))


# ------------------------------------------------------------------------- a first stage that is made again


PARTED: list[dict[str, Any]] = [
    {"early_frames": 1},
    {"early_frames": 18, "clustering": "slope"},
    {"early_frames": 7, "clustering": "slope"},
    {"early_frames": 7, "clustering": "uniform"},
    {"early_frames": 4, "aggregate": "pre"},
    {"early_frames": 5, "batchnorm": "partial"},
    {"early_frames": 5, "batchnorm": "frozen"},
    {"early_frames": 100, "batchnorm": "frozen"},
    {"early_frames": 7, "backbone": "efficientnet_lite0"},
    {"early_frames": 7, "backbone": "squeezenet1_1"},
    {
        "early_frames": 7,
        "backbone": "timm/regnetx_002",
    },  # BatchNorm and ReLU in one module, and a shortcut that has one
]


def randomised(model: FullVideoNetwork) -> FullVideoNetwork:
    """In float64, with BatchNorm layers that do something of their own."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.3)
    return model.double()


@pytest.mark.slow
@pytest.mark.parametrize("keywords", PARTED)
def test_a_first_stage_in_parts_is_that_of_one_piece(keywords: dict[str, Any]) -> None:
    parts = randomised(build(**keywords)).train()
    whole = build(**{**keywords, "early_frames": None}).double().train()
    whole.load_state_dict(parts.state_dict())
    x, targets = frames(side=32).double(), torch.tensor([0, 1, 2])
    x[4:6] = x[3]  # the same frame on both sides of a border
    for step in range(2):
        inputs = [x.clone().requires_grad_() for _ in "ab"]
        outputs = [model(one, OFFSETS) for model, one in zip((whole, parts), inputs, strict=True)]
        torch.testing.assert_close(outputs[1].logits, outputs[0].logits, rtol=1e-8, atol=1e-10)
        assert outputs[1].ids.tolist() == outputs[0].ids.tolist()
        assert outputs[1].distances.tolist() == outputs[0].distances.tolist()
        assert outputs[1].distances[3:5].tolist() == [0, int(outputs[0].distances[4])]
        for output in outputs:
            F.cross_entropy(output.logits, targets).backward()
        torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=1e-7, atol=1e-10)
        for (name, p), q in zip(whole.named_parameters(), parts.parameters(), strict=True):
            assert (p.grad is None) == (q.grad is None), name
            if p.grad is not None:
                torch.testing.assert_close(q.grad, p.grad, rtol=1e-7, atol=1e-10, msg=name)
        # Statistics move once, as those of one piece.
        for (name, own), other in zip(whole.named_buffers(), parts.named_buffers(), strict=True):
            torch.testing.assert_close(other[1], own, rtol=1e-9, atol=1e-12, msg=name)
        assert [m.training for m in whole.modules()] == [m.training for m in parts.modules()], step
    for mode in (True, False):  # without a gradient: kept, and not kept
        whole.train(mode)
        parts.train(mode)
        with torch.no_grad():
            one, two = whole(x, OFFSETS), parts(x, OFFSETS)
            parts.load_state_dict(whole.state_dict())
            kept = parts.eval().forward_stream(lambda: x.split(5), OFFSETS) if not mode else two
        for other in (two, kept):
            torch.testing.assert_close(other.logits, one.logits, rtol=1e-8, atol=1e-10)
            assert other.ids.tolist() == one.ids.tolist()
            assert other.distances.tolist() == one.distances.tolist()


@pytest.mark.slow
def test_many_frames_go_through_in_parts_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    from praxiscope.models import full_video

    model = build(batchnorm="frozen").train()
    expected = model(frames(), OFFSETS).logits
    monkeypatch.setattr(full_video, "_KEPT_PIXELS", 8 * 48 * 48)
    sizes: list[int] = []
    real = FullVideoNetwork.early

    def watched(self: FullVideoNetwork, x: Tensor) -> Tensor:
        sizes.append(len(x))
        return real(self, x)

    monkeypatch.setattr(FullVideoNetwork, "early", watched)
    torch.testing.assert_close(model(frames(), OFFSETS).logits, expected, rtol=1e-4, atol=1e-5)
    assert sizes == [2] * 9 * 2  # for the distances, and for the means
    sizes.clear()
    with torch.no_grad():
        torch.testing.assert_close(model(frames(), OFFSETS).logits, expected, rtol=1e-4, atol=1e-5)
    assert sizes == [2] * 9


def test_tests_of_very_many_frames_do_not_keep_what_leaves_the_first_stage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from praxiscope.models import full_video

    model = build().eval()
    with torch.no_grad():
        expected = model(frames(), OFFSETS).logits
        monkeypatch.setattr(full_video, "_KEPT_PIXELS", 8 * 48 * 48)
        monkeypatch.setattr(full_video, "_KEPT_BYTES", 1000)
        sizes: list[int] = []
        real = FullVideoNetwork.early

        def watched(self: FullVideoNetwork, x: Tensor) -> Tensor:
            sizes.append(len(x))
            return real(self, x)

        monkeypatch.setattr(FullVideoNetwork, "early", watched)
        torch.testing.assert_close(model(frames(), OFFSETS).logits, expected, rtol=1e-4, atol=1e-5)
    assert sizes == [2] * 9 * 2  # for the distances, and for the means


@pytest.mark.slow
@pytest.mark.parametrize(("batchnorm", "norms"), [("train", 3), ("partial", 1), ("frozen", 0)])
def test_what_parts_keep_does_not_grow_with_the_frames(
    monkeypatch: pytest.MonkeyPatch, batchnorm: str, norms: int
) -> None:
    model = build(early_frames=3, batchnorm=batchnorm).train()
    sizes: list[int] = []
    real = FullVideoNetwork.early

    def watched(self: FullVideoNetwork, x: Tensor) -> Tensor:
        sizes.append(len(x))
        return real(self, x)

    monkeypatch.setattr(FullVideoNetwork, "early", watched)

    def kept(count: int) -> int:
        """Bytes that wait for the backward pass."""
        waiting: list[int] = []
        hooks = torch.autograd.graph.saved_tensors_hooks(lambda x: waiting.append(x.nbytes) or x, lambda x: x)
        sizes.clear()
        with hooks:
            loss = model(frames(count), torch.tensor([0, count])).logits.square().sum()
        assert sizes == [3] * (count // 3) * (norms + 2)  # for statistics, distances and means
        sizes.clear()
        loss.backward()
        assert sizes == [3] * (count // 3) * (norms + 1)
        return sum(waiting)

    few, many = kept(12), kept(48)
    assert many - few < frames(1).nbytes  # 36 frames more leave their numbers


@pytest.mark.parametrize("low", [False, True])
def test_parts_normalise_alike_in_the_precision_of_a_run(low: bool) -> None:
    # Frames that stand still: in one normalisation nothing changes anywhere, also from one part to the next.
    still = frames(1).expand(16, -1, -1, -1) + 0
    still[8:] = frames(9)[8]
    model = build(early_frames=3, clusters=2).train()
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        output = model(still, torch.tensor([0, 16]))
    distances = output.distances.tolist()
    assert distances[:7] + distances[8:] == [0] * 14
    assert distances[7] > 0
    assert output.ids.tolist() == [0] * 8 + [1] * 8
    output.logits.float().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())


def test_a_stream_of_frames_gives_the_scores_of_all_at_once() -> None:
    model = build().eval()
    x = frames()
    with torch.inference_mode():
        streamed = model.forward_stream(lambda: iter(x.split(7)))
        whole = model(x[None])
    torch.testing.assert_close(streamed.logits, whole.logits, rtol=1e-4, atol=1e-5)
    assert streamed.ids.tolist() == whole.ids.tolist()
    with pytest.raises(px.ArgumentError, match=r"\bone frame\b"):
        model.forward_stream(lambda: iter(()))
    with pytest.raises(px.ArgumentError, match="early_shift"):
        build(early_shift=True).forward_stream(lambda: iter(x.split(7)))


# ------------------------------------------------------------------------------------------------- costs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "expected"),
    [
        (Job("full-video", {"backbone": "resnet18", "clusters": 8}), 28.6e9),
        (Job("full-video", {"backbone": "resnet18", "clusters": 16}), 38.5e9),
        (Job("tsm", {"backbone": "resnet18", "snippets": 32}), 58.2e9),
    ],
)
def test_a_video_takes_the_papers_arithmetic_within_a_hundredth(job: Job, expected: float) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    model = px.create_model(job.model, num_classes=4, **job.keywords).eval()
    x = torch.randn(1, job.frames, 3, job.size, job.size)
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        model(x)
    assert counter.get_total_flops() / 2 == pytest.approx(expected, rel=0.01)


@pytest.mark.slow
def test_a_step_is_measured_in_its_own_process() -> None:
    job = Job("full-video", {"backbone": "resnet10", "clusters": 2}, frames=4, size=32, batch=2, steps=1)
    figures = measure_step(job)
    assert figures["seconds"] > 0
    assert figures["bytes"] > 2**27
    assert figures["multiply_adds"] > 1e6
    # These are measured here, as starting processes takes most of the time.
    kept = _measure(job.updated(keep_memory=True))
    assert kept["multiply_adds"] == figures["multiply_adds"]
    assert kept["bytes"] > 2**27
    alone = _measure(job.updated(part="clustering"))
    assert 0 < alone["seconds"] < figures["seconds"]
    with pytest.raises(px.ArgumentError, match="resnet11"):
        measure_step(job.updated(keywords={"backbone": "resnet11"}))


# ------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("keywords", "told"),
    [
        ({"clusters": 0}, r"clusters\b.*\b1\b.*\b0\b"),
        ({"clusters": 2.5}, r"clusters\b.*\b1\b.*\b2\.5\b"),
        ({"clusters": True}, r"clusters\b.*\b1\b.*\bTrue\b"),
        ({"clusters": 10**20}, f"clusters .*{10**20}"),
        ({"cluster_budget": 4}, "cluster_budget"),
        ({"early_frames": 2.5}, r"early_frames\b.*\b1\b.*\b2\.5\b"),
        ({"clusters": "many"}, "clusters .*'many'"),
        ({"clusters": "auto"}, "clusters=8"),
        ({"clustering": "cumulativ"}, "cumulative"),
        ({"aggregate": "mid"}, "aggregate .*'pre'.*'post'.*'mid'"),
        ({"aggregate": "pre", "backbone": "squeezenet1_1"}, "aggregate='pre'"),
        ({"early_frames": 0}, r"early_frames\b.*\b1\b.*\b0\b"),
        ({"early_frames": 4, "early_shift": True}, "early_shift .*early_frames"),
        ({"early_frames": "some"}, r"early_frames .*\b1\b.*'some'"),
        ({"stream": "flow", "in_channels": (10, 20)}, r"in_channels.*\(10, 20\)"),
    ],
)
def test_values_that_do_not_fit_are_told(keywords: dict[str, Any], told: str) -> None:
    with pytest.raises(px.PraxiscopeError, match=told):
        px.create_model("full-video", **{"num_classes": 2, "backbone": "resnet10", **keywords})


@pytest.mark.parametrize(
    ("shape", "offsets", "told"),
    [
        ((6, 3, 32, 32), [0, 4], r"offsets\b.*\b0\b.*\b6\b.*\[0, 4\]"),
        ((6, 3, 32, 32), [0, 4, 4, 6], r"offsets\b.*\b0\b.*\b6\b.*\[0, 4, 4, 6\]"),
        ((2, 6, 3, 32, 32), [0, 3], r"offsets\b.*\b2\b.*\b1\b.*\b6\b.*\[0, 3\]"),
        ((2, 6, 3, 32, 32), [0, 3, 10], r"offsets\b.*\b2\b.*\b1\b.*\b6\b.*\[0, 3, 10\]"),
        ((6, 4, 32, 32), [0, 6], r"\[N, 3, H, W\]"),
        ((6, 3, 32, 32), None, r"\[B, S, 3, H, W\]"),
    ],
)
def test_batches_that_do_not_fit_are_told(
    shape: tuple[int, ...], offsets: list[int] | None, told: str
) -> None:
    with pytest.raises(px.ArgumentError, match=told):
        build()(torch.zeros(shape), None if offsets is None else torch.tensor(offsets))


def test_flow_goes_through_it_as_well() -> None:
    model = build(stream="flow").eval()
    assert model.in_channels == 10
    assert model(frames(9, channels=10)[None]).ids.max() == 3
