"""Scores of videos: chunks of any size give what one forward pass per view gives."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from praxiscope.evaluation.views import Precision, ViewScorer, forward_snippets, inference_precision
from praxiscope.inference.inputs import crops_of
from praxiscope.types import Clip, SnippetOutput

SIZE = 8


class Mixing(nn.Module):
    """A network that is linear in nothing: every pixel's place, and the order of the snippets, matter."""

    def __init__(self, size: tuple[int, int] | None = (SIZE, SIZE)) -> None:
        super().__init__()
        self.size = size
        self.convolution = nn.Conv2d(3, 4, 3, stride=2)
        self.seen: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> SnippetOutput:
        self.seen.append(tuple(x.shape))
        assert self.size is None or x.shape[-2:] == self.size
        features = self.convolution(x.flatten(0, 1)).relu().unflatten(0, x.shape[:2])
        places = torch.linspace(-1, 1, features.shape[-1]) + 2 * torch.linspace(
            -1, 1, features.shape[-2]
        ).unsqueeze(1)
        weights = torch.arange(1.0, 1 + x.shape[1])[None, :, None]
        snippets = (features * places).mean((-2, -1)) * weights
        return SnippetOutput(snippets.sum(1).tanh(), snippets)


def prepare(views: Tensor, kind: str = "rgb") -> Tensor:
    return views.float() / 255


def make_clips(sizes: list[tuple[int, int]], snippets: int) -> list[Clip]:
    generator = torch.Generator().manual_seed(5)
    return [
        Clip(
            {"rgb": torch.randint(256, (snippets, 3, *size), dtype=torch.uint8, generator=generator)},
            torch.tensor(number),
            f"v{number}",
            seed=number,
        )
        for number, size in enumerate(sizes)
    ]


def cut(frames: Tensor, crops: str) -> list[Tensor]:
    """The crops of frames [N, C, H, W], written out."""
    height, width = frames.shape[-2:]
    down, right = height - SIZE, width - SIZE

    def at(top: int, left: int) -> Tensor:
        return frames[..., top : top + SIZE, left : left + SIZE]

    if crops.startswith("full"):
        return [frames, frames.flip(-1)] if crops == "full-mirrored" else [frames]
    if crops == "center":
        return [at(down // 2, right // 2)]
    if crops == "three":
        if height > width:
            return [at(0, right // 2), at(down // 2, right // 2), at(down, right // 2)]
        return [at(down // 2, 0), at(down // 2, right // 2), at(down // 2, right)]
    five = [at(0, 0), at(0, right), at(down, 0), at(down, right), at(down // 2, right // 2)]
    return five + [view.flip(-1) for view in five]


@pytest.mark.parametrize("crops", ["center", "three", "ten", "full", "full-mirrored"])
@pytest.mark.parametrize("chunk", [1, 4, 5, 7, 1000])
def test_scores_are_the_mean_over_views_of_single_forward_passes(crops: str, chunk: int) -> None:
    torch.manual_seed(0)
    model = Mixing(None if crops.startswith("full") else (SIZE, SIZE)).eval()
    views, snippets = 3, 2
    # Sizes change back and forth, so that chunks must be closed early.
    clips = make_clips([(10, 12), (10, 12), (12, 9), (10, 12), (9, 9)], views * snippets)
    scorer = ViewScorer(
        model,
        prepare=prepare,
        crop=partial(crops_of, crops, SIZE),  # type: ignore[arg-type]
        together=snippets,
        chunk_snippets=chunk,
    )
    found = list(scorer.score(iter(clips)))
    assert [clip.id for clip, _ in found] == [clip.id for clip in clips]
    assert [int(clip.target) for clip, _ in found] == [0, 1, 2, 3, 4]
    most = max(shape[0] * shape[1] for shape in model.seen)
    assert most <= max(chunk, snippets)
    for clip, (_, logits) in zip(clips, found, strict=True):
        frames = clip.streams["rgb"]
        rows = [
            model(prepare(crop[None, first : first + snippets])).logits[0].detach()
            for crop in cut(frames, crops)
            for first in range(0, views * snippets, snippets)
        ]
        assert logits.dtype == torch.float32
        torch.testing.assert_close(logits, torch.stack(rows).mean(0), rtol=1e-6, atol=1e-6)


def test_the_number_of_snippets_in_a_pass_follows_their_size() -> None:
    model = Mixing(None).eval()
    clips = make_clips([(10, 12), (10, 12), (5, 6)], 6)
    scorer = ViewScorer(
        model,
        prepare=prepare,
        crop=partial(crops_of, "full", SIZE),
        together=1,
        chunk_snippets=lambda height, width: 480 // (height * width),
    )
    assert len(list(scorer.score(iter(clips)))) == 3
    # Six of 10 x 12 pixels, at most four at a time, of either clip; six of 5 x 6 at once.
    assert [shape[0] for shape in model.seen] == [4, 2, 4, 2, 6]


@pytest.mark.parametrize(
    ("device", "size", "count"),
    [
        ("cpu", (224, 224), 5),
        ("cpu", (256, 340), 3),
        ("cpu", (112, 112), 20),
        ("cpu", (32, 32), 64),
        ("cpu", (2000, 2000), 1),
        ("cuda", (224, 224), 64),
    ],
)
def test_a_pass_on_a_cpu_has_a_quarter_of_a_mebipixel(device: str, size: tuple[int, int], count: int) -> None:
    assert forward_snippets(torch.device(device), *size) == count


def test_in_bfloat16_a_cpu_takes_more_at_once() -> None:
    assert forward_snippets(torch.device("cpu"), 224, 224, "bf16") == 13
    assert forward_snippets(torch.device("cpu"), 2000, 2000, "bf16") == 1


def test_whole_frames_of_flow_are_mirrored_with_their_vectors() -> None:
    flow = torch.randn(2, 4, 5, 6)
    plain, mirrored = crops_of("full-mirrored", SIZE, flow, "flow")
    assert torch.equal(plain, flow)
    expected = flow.flip(-1) * torch.tensor([-1.0, 1, -1, 1])[:, None, None]
    assert torch.equal(mirrored, expected)


def test_short_protocols_of_several_videos_share_a_forward_pass() -> None:
    model = Mixing()
    scorer = ViewScorer(
        model, prepare=prepare, crop=partial(crops_of, "center", SIZE), together=2, chunk_snippets=8
    )
    list(scorer.score(make_clips([(9, 9)] * 6, 2)))
    assert [shape[0] for shape in model.seen] == [4, 2]


def test_scores_come_as_soon_as_their_chunk_is_full() -> None:
    read = []

    def clips() -> Iterator[Clip]:
        for clip in make_clips([(9, 9)] * 9, 2):
            read.append(clip.id)
            yield clip

    scorer = ViewScorer(
        Mixing(), prepare=prepare, crop=partial(crops_of, "center", SIZE), together=2, chunk_snippets=4
    )
    results = scorer.score(clips())
    next(results)
    assert len(read) <= 3


def test_a_scored_clip_comes_back_without_its_pixels() -> None:
    scorer = ViewScorer(Mixing(), prepare=prepare, crop=partial(crops_of, "center", SIZE), together=2)
    [(clip, _)] = scorer.score(make_clips([(9, 9)], 2))
    assert clip.streams == {}


def test_no_clips_give_no_scores() -> None:
    scorer = ViewScorer(Mixing(), prepare=prepare, crop=partial(crops_of, "center", SIZE), together=2)
    assert list(scorer.score([])) == []


def test_bfloat16_is_used_when_asked_for_and_scores_stay_float32() -> None:
    model = Mixing()
    kinds = []
    model.convolution.register_forward_hook(lambda module, given, made: kinds.append(made.dtype))
    scorer = ViewScorer(
        model,
        prepare=prepare,
        crop=partial(crops_of, "center", SIZE),
        together=2,
        precision=inference_precision(torch.device("cpu"), "bf16"),
    )
    [(_, logits)] = scorer.score(make_clips([(9, 9)], 2))
    assert kinds == [torch.bfloat16]
    assert logits.dtype == torch.float32
    assert inference_precision(torch.device("cpu"), "32") == Precision("32", channels_last=True)


class TwoStreams(nn.Module):
    """Its score is the mean of one stream and the largest value of the other."""

    def forward(self, frames: Tensor, flow: Tensor) -> SnippetOutput:
        assert frames.shape[:2] == flow.shape[:2]
        logits = torch.stack([frames.mean((1, 2, 3, 4)), flow.amax((1, 2, 3, 4))], 1)
        return SnippetOutput(logits, logits[:, None])


@pytest.mark.parametrize("together", [2, None])
def test_streams_are_cut_alike_and_seen_together(together: int | None) -> None:
    draw = torch.Generator().manual_seed(3)
    clips = [
        Clip(
            {
                "rgb": torch.randint(0, 255, (6, 3, 12, width), dtype=torch.uint8, generator=draw),
                "flow": torch.randn(6, 4, 12, width, generator=draw),
            },
            torch.tensor(0),
            f"v{width}",
        )
        for width in (12, 20)
    ]

    def prepared(x: Tensor, kind: str) -> Tensor:
        return x.float() / 255 if kind == "rgb" else x

    scorer = ViewScorer(
        TwoStreams(),
        prepare=prepared,
        crop=partial(crops_of, "ten", 8),
        streams=("rgb", "flow"),
        together=together,
        chunk_snippets=5,
    )
    for clip, (_, logits) in zip(clips, scorer.score(iter(clips)), strict=True):
        rows = []
        crops = zip(*(crops_of("ten", 8, clip.streams[name], name) for name in ("rgb", "flow")), strict=True)  # type: ignore[arg-type]
        for frames, flow in crops:
            for part in torch.arange(6).split(together or 6):
                rows.append([frames[part].float().mean() / 255, flow[part].amax()])
        torch.testing.assert_close(logits, torch.tensor(rows).mean(0))
