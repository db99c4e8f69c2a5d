"""Live input: what is scored, dropped, smoothed and told, by sources and models that wait for the test."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import praxiscope as px
from praxiscope.checkpoint import FlowInput, InputContract, ModelCard
from praxiscope.errors import ArgumentError, VideoError
from praxiscope.inference.live import Smoothing
from praxiscope.inference.live_models import scores_online
from praxiscope.inference.recogniser import Recogniser
from praxiscope.models import create_model
from praxiscope.video.live_frames import LiveFrame, Note
from support import write_clip

pytestmark = pytest.mark.usefixtures("_narrow")

LABELS = ("a", "b", "c")


class Fed:
    """A source whose frames the test gives, one by one."""

    name = "fed"

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.more = threading.Condition()
        self.closed = 0

    def give(self, *items: Any) -> None:
        """Frames, as (time, brightness), (time, brightness, stretch); an error to raise; None to end."""
        with self.more:
            self.items += items
            self.more.notify_all()
            assert self.more.wait_for(lambda: not self.items, 10)

    def frames(self, stop: threading.Event, note: Note) -> Iterator[LiveFrame]:
        try:
            while not stop.is_set():
                with self.more:
                    if not self.more.wait_for(lambda: self.items, 0.05):
                        continue
                    item = self.items.pop(0)
                    self.more.notify_all()
                if item is None:
                    return
                if isinstance(item, Exception):
                    raise item
                time_s, value, *stretch = item
                yield LiveFrame(time_s, frame_of(value), time.monotonic(), *stretch)
        finally:
            self.closed += 1


def frame_of(value: int) -> Callable[[int | None], torch.Tensor]:
    return lambda side: torch.full((3, 40, 40), value, dtype=torch.uint8)


def listed(items: list[Any]) -> Iterator[Any]:
    """Frames as (seconds, frame) pairs."""
    for time_s, value, *_ in items:
        yield time_s, np.full((40, 40, 3), value, np.uint8)


def recogniser(
    model: str = "tsn", snippets: int = 2, options: dict[str, Any] | None = None, **contract: Any
) -> Recogniser:
    torch.manual_seed(0)
    kwargs = {"num_classes": 3, "backbone": "resnet18", **(options or {})}
    built = create_model(model, **kwargs)
    torch.nn.init.normal_(built.classifiers[0].weight, std=0.5)
    card = ModelCard(
        model, kwargs, LABELS, input=InputContract(size=32, short_side=36, snippets=snippets, **contract)
    )
    return Recogniser(built, card, precision="32")


class Slow:
    """Lets the model score a frame only when the test says so."""

    def __init__(self, model: Any) -> None:
        self.inner, self.entered, self.go = model, threading.Semaphore(0), threading.Semaphore(0)
        self.values: list[int] = []

    def restart(self) -> None:
        self.inner.restart()

    def add(self, pixels: torch.Tensor, time_s: float, wanted: bool) -> torch.Tensor | None:
        self.entered.release()
        assert self.go.acquire(timeout=10)
        self.values.append(int(pixels[0, 0, 0]))
        found: torch.Tensor | None = self.inner.add(pixels, time_s, wanted)
        return found


def one_by_one(items: list[Any], **options: Any) -> list[px.inference.live.LiveAnswer]:
    """The answers when every frame is taken before the next comes."""
    source, answers = Fed(), []
    with px.live(options.pop("recogniser"), source, **options) as answering:
        slow = answering.model = Slow(answering.model)  # type: ignore[assignment]
        thread = threading.Thread(target=lambda: answers.extend(answering))
        thread.start()
        for item in items:
            source.give(item)
            assert slow.entered.acquire(timeout=10)
            slow.go.release()
        source.give(None)
        thread.join(10)
        assert not thread.is_alive()
    return answers


def test_frames_that_come_while_the_model_is_busy_are_dropped_but_the_newest_and_counted() -> None:
    source, found = Fed(), []
    answering = px.live(recogniser(), source, smooth_s=0, top=3)
    slow = answering.model = Slow(answering.model)  # type: ignore[assignment]
    thread = threading.Thread(target=lambda: found.extend(answering))
    thread.start()
    source.give((0.0, 0))
    assert slow.entered.acquire(timeout=10)
    source.give(*((n / 10, n) for n in range(1, 8)))
    for _ in range(200):  # the last one has been handed over
        if answering.newest.read == 8:
            break
        time.sleep(0.01)
    slow.go.release()
    slow.go.release()
    assert slow.entered.acquire(timeout=10)
    source.give(None)
    thread.join(10)
    assert slow.values == [0, 7]
    assert (answering.frames, answering.dropped, answering.newest.read) == (2, 6, 8)
    assert [(answer.frames, answer.dropped, answer.time_s) for answer in found] == [(1, 6, 0.0), (2, 6, 0.7)]
    assert found[0].delay_s > 0
    assert abs(found[0].clock_s - time.time()) < 60
    assert source.closed == 1


def test_a_model_of_single_frames_answers_as_predict_does_for_each_frame() -> None:
    network = recogniser()
    items = [(n / 10, 40 * n) for n in range(4)]
    answers = one_by_one(items, recogniser=network, smooth_s=0, top=3)
    for (_, value), answer in zip(items, answers, strict=True):
        wanted = network.predict(np.full((1, 40, 40, 3), value, np.uint8), top=3, protocol="1x1")
        assert answer.labels == wanted.labels
        assert answer.scores == pytest.approx(wanted.scores, abs=1e-5)


def test_scores_are_smoothed_with_weights_that_fall_to_1_over_e() -> None:
    smoothing = Smoothing(2.0)
    rows = torch.randn(4, 3)
    times = [0.0, 0.1, 1.5, 1.6]
    for number, (time_s, row) in enumerate(zip(times, rows, strict=True)):
        weights = torch.tensor([math.exp((t - time_s) / 2) for t in times[: number + 1]])
        expected = (weights[:, None] * rows[: number + 1]).sum(0) / weights.sum()
        torch.testing.assert_close(smoothing.add(row, time_s), expected)
    assert torch.equal(Smoothing(0).add(rows[0], 0.0), rows[0])


def test_answers_come_every_so_often_and_every_frame_counts() -> None:
    items = [(n / 10, 25 * n) for n in range(10)]
    network = recogniser()
    each = one_by_one(items, recogniser=network, smooth_s=0.5, top=3)
    some = one_by_one(items, recogniser=network, smooth_s=0.5, top=3, every_s=0.3)
    assert [answer.time_s for answer in some] == [0.0, 0.3, 0.6, 0.9]
    assert [answer.frames for answer in some] == [1, 4, 7, 10]
    assert [answer.scores for answer in some] == [answer.scores for answer in each[::3]]


def test_a_model_at_a_frame_rate_is_given_frames_at_that_rate_and_others_are_not_dropped() -> None:
    times = [7 + n / 30 for n in range(31)]
    answers = one_by_one_at_rate(times, 6.0)
    assert answers == pytest.approx([7 + n / 6 for n in range(7)])
    assert one_by_one_at_rate([0.0, 0.5, 1.1, 3.0], 6.0) == [0.0, 0.5, 1.1, 3.0]  # slower than the model


def one_by_one_at_rate(times: list[float], fps: float) -> list[float]:
    from praxiscope.video.live_frames import at_rate

    return [f.time_s for f in at_rate((LiveFrame(t, frame_of(0), 0.0) for t in times), fps)]


def test_a_causal_network_online_gives_the_scores_of_its_snippets_offline() -> None:
    network = recogniser("tsm", snippets=8, options={"shift": "causal"})
    items = [(n / 10, 30 * n) for n in range(6)]
    answers = one_by_one(items, recogniser=network, smooth_s=0, top=3)
    pixels = torch.stack([frame_of(value)(None)[:, :32, :32] for _, value in items])
    with torch.inference_mode():
        offline = network.model(network.prepare(pixels[None])).snippet_logits[0].softmax(-1)
    for row, answer in zip(offline, answers, strict=True):
        assert answer.scores == pytest.approx(row.sort(descending=True).values.tolist(), abs=1e-4)


def test_a_model_of_the_whole_past_begins_again_so_that_it_forgets() -> None:
    network = recogniser("late-pool", snippets=3, fps=10.0, sampling="window", options={"width": 8})
    assert scores_online(network.model)
    items = [(n / 10, 25 * n) for n in range(10)]
    answers = one_by_one(items, recogniser=network, smooth_s=0, top=3)
    # 3 frames at 10 frames per second: it begins at frames 0, 3, 6, 9; the one before the last answers.
    begins = [0, 0, 0, 0, 0, 0, 3, 3, 3, 6]
    pixels = torch.stack([frame_of(value)(None)[:, :32, :32] for _, value in items])
    for number, (begin, answer) in enumerate(zip(begins, answers, strict=True)):
        with torch.inference_mode():
            row = network.model(network.prepare(pixels[None, begin : number + 1])).logits[0].softmax(-1)
        assert answer.scores == pytest.approx(row.sort(descending=True).values.tolist(), abs=1e-4)


def test_a_model_of_windows_scores_the_newest_window_once_it_is_full() -> None:
    network = recogniser("tsm", snippets=4, options={"snippets": 4}, fps=5.0, sampling="window")
    items = [(n / 5, 25 * n) for n in range(7)]
    answers = one_by_one(items, recogniser=network, smooth_s=0, top=3)
    assert [answer.frames for answer in answers] == [4, 5, 6, 7]
    pixels = torch.stack([frame_of(value)(None)[:, :32, :32] for _, value in items])
    for number, answer in enumerate(answers):
        with torch.inference_mode():
            row = network.model(network.prepare(pixels[None, number : number + 4])).logits[0].softmax(-1)
        assert answer.scores == pytest.approx(row.sort(descending=True).values.tolist(), abs=1e-4)


def test_windows_are_held_in_bounded_memory_and_take_the_frame_on_screen() -> None:
    network = recogniser("tsm", snippets=4, options={"snippets": 4})  # 2 s, so 0.5 s apart
    with px.live(network, Fed(), smooth_s=0) as answering:
        model: Any = answering.model
        seen: list[list[int]] = []
        model.scorer.forward = lambda x: seen.append(x[0, :, 0, 0, 0].tolist()) or torch.zeros(1, 3)
        for number in range(100):
            model.add(frame_of(number)(None), number / 20, number % 20 == 0)
        assert len(model.held) == 31  # 1.5 s at 20 frames per second
        assert seen == [[10, 20, 30, 40], [30, 40, 50, 60], [50, 60, 70, 80]]
        model.restart()
        assert model.add(frame_of(0)(None), 6.0, True) is None


def test_a_source_that_was_lost_starts_anew() -> None:
    network = recogniser()
    items = [(0.0, 0), (0.1, 200), (5.0, 90, 1)]
    answers = one_by_one(items, recogniser=network, smooth_s=100, top=3)
    alone = one_by_one([(0.0, 90)], recogniser=network, smooth_s=100, top=3)
    assert answers[-1].scores == alone[-1].scores != answers[-2].scores
    assert [answer.stretch for answer in answers] == [0, 0, 1]


def test_an_error_of_the_source_is_raised_where_the_answers_are_taken() -> None:
    source = Fed()
    answering = px.live(recogniser(), source)
    source_error = VideoError("cam", "was lost", "Start it again.")
    threading.Thread(target=source.give, args=(source_error,), daemon=True).start()
    with pytest.raises(VideoError, match="was lost"):
        next(answering)
    assert source.closed == 1


def test_closing_ends_the_reader_also_while_it_waits_for_a_frame() -> None:
    source = Fed()
    answering = px.live(recogniser(), source)
    threading.Thread(target=source.give, args=((0.0, 1),), daemon=True).start()
    assert next(answering).frames == 1
    answering.close()
    assert source.closed == 1
    with pytest.raises(StopIteration):
        next(answering)


def test_an_interruption_before_the_reader_has_started_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: threading.Thread) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    answers = px.live(recogniser(), listed([(0.0, frame_of(0)(None))]))
    with pytest.raises(KeyboardInterrupt), answers:
        next(answers)


def test_frames_of_a_program_and_a_file_at_its_pace_are_sources(tmp_path: Path) -> None:
    network = recogniser()
    with px.live(network, listed([(3.0, 5)])) as answers:
        assert [answer.time_s for answer in answers] == [0.0]
    write_clip(tmp_path / "a.mp4", 0, frames=4, size=(48, 64))
    begin = time.monotonic()
    with px.live(network, tmp_path / "a.mp4", every_s=0) as answers:
        found = list(answers)
    assert time.monotonic() - begin >= 3 / 12 - 0.02
    assert found[-1].time_s == pytest.approx(3 / 12, abs=1e-3)
    assert found[-1].frames + found[-1].dropped == 4


def test_none_of_these_and_calibrated_probabilities_are_those_of_the_card() -> None:
    network = recogniser()
    network.card = px.checkpoint.ModelCard(
        network.card.name,
        network.card.kwargs,
        LABELS,
        input=network.card.input,
        calibration={"temperature": 4.0, "none_below": 0.999},
    )
    (answer,) = one_by_one([(0.0, 90)], recogniser=network, top=3)
    wanted = network.predict(np.full((1, 40, 40, 3), 90, np.uint8), top=3, protocol="1x1")
    assert answer.scores == pytest.approx(wanted.scores, abs=1e-5)
    assert answer.none_of_these
    (answer,) = one_by_one([(0.0, 90)], recogniser=network, none_below=None)
    assert not answer.none_of_these


def test_what_cannot_be_live_is_refused() -> None:
    flow = recogniser("tsn", options={"stream": "flow"})
    flow.card = ModelCard("tsn", flow.card.kwargs, LABELS, input=InputContract(flow=FlowInput()))
    with pytest.raises(ArgumentError, match="flow"):
        px.live(flow, Fed())
    stacked = recogniser(fps=5.0, length=2, channels=6, options={"in_channels": 6})
    with pytest.raises(ArgumentError, match="length"):
        px.live(stacked, Fed())
    for options in ({"smooth_s": -1}, {"every_s": math.nan}, {"top": 0}, {"none_below": 2.0}):
        with pytest.raises(ArgumentError, match=next(iter(options))):
            px.live(recogniser(), Fed(), **options)
    with pytest.raises(ArgumentError):
        px.live(recogniser(), 3.5)
