"""Runs that count steps: the same schedule on any data set, whatever an epoch of it is."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import pytest

import praxiscope as px
from praxiscope.commands.train import train
from praxiscope.progress import Bar, Reporter
from praxiscope.recipes.named import get_recipe, recipes
from praxiscope.recipes.sections import OptimSettings
from praxiscope.recipes.settings import TrainSettings, dump_yaml, load_yaml, override
from praxiscope.training.duration import Duration
from praxiscope.training.log import read_log
from praxiscope.training.optim import schedule
from runs import train_by
from support import SMALL, Call, write_clip

# Simonyan and Zisserman 2014, section 5; Huang et al. 2019, sections V.A and V.G: the rate at 1, then at which steps
# a tenth of it, and the last step.
PUBLISHED = {
    "two-stream-temporal": ((50_000, 70_000), 80_000),
    "two-stream-spatial-scratch": ((50_000, 70_000), 80_000),
    "two-stream-spatial": ((14_000,), 20_000),
    "two-stream-spatial-last-layer": ((14_000,), 20_000),
    "pbnet-6-3-rgb": ((1_500, 3_000, 4_500), 5_000),
    "pbnet-8-4-rgb-hmdb51": ((1_500,), 3_000),
    "pbnet-8-4-flow": ((10_000, 16_000), 18_000),
    "pbnet-6-3-flow-hmdb51": ((4_000, 6_000), 7_000),
    "full-6-flow": ((10_000, 16_000), 18_000),
}


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("steps_per_epoch", [1, 14, 37, 74, 4001])
def test_a_paper_that_counts_iterations_keeps_its_schedule_on_any_set(
    name: str, steps_per_epoch: int
) -> None:
    drops, last = PUBLISHED[name]
    optim = get_recipe(name).optim
    duration = Duration.of(get_recipe(name), steps_per_epoch)
    assert duration.steps == last
    factor = schedule("step", total_steps=duration.steps, milestones=duration.milestones, gamma=optim.gamma)
    for number, drop in enumerate(drops):
        assert factor(drop - 1) == pytest.approx(0.1**number)
        assert factor(drop) == pytest.approx(0.1 ** (number + 1))
    assert duration.epochs * steps_per_epoch >= last > (duration.epochs - 1) * steps_per_epoch
    frozen = name == "two-stream-spatial-last-layer"
    assert duration.frozen == (last if frozen else 0)


def test_no_recipe_of_a_paper_that_counts_iterations_counts_epochs() -> None:
    named = [name for name in recipes.names() if name.startswith(("two-stream-", "pbnet-", "full-"))]
    counted = [name for name in named if not name.startswith("full-video")]
    assert len(counted) > 20
    for name in counted:
        optim = get_recipe(name).optim
        assert (optim.epochs, optim.milestones) == (None, ()), name
        assert optim.steps, name
        assert all(drop < optim.steps for drop in optim.milestone_steps), name


def test_epochs_and_milestones_become_steps() -> None:
    settings = TrainSettings(
        optim=OptimSettings(
            epochs=10, milestones=(4, 7.5), schedule="step", warmup_epochs=0.5, frozen_epochs=2
        )
    )
    assert Duration.of(settings, 8) == Duration(80, 8, 4, (32, 60), 16)


def test_sampled_epochs_leave_some_of_a_run_that_counts_steps() -> None:
    settings = get_recipe("full-video-move4mnist").updated(
        {"optim.steps": 13}
    )  # the first 6 epochs are sampled
    assert Duration.of(settings, 2).steps == 13
    with pytest.raises(px.ArgumentError, match=r"sampled_epochs = 6\b.*13 steps.*optim\.steps"):
        Duration.of(settings, 3)


@pytest.mark.parametrize(
    ("length", "most", "remedy"),
    [({"steps": 13}, 6, "optim.steps"), ({"epochs": 2}, None, "optim.epochs")],
)
def test_a_warm_up_fits_into_the_run(length: dict[str, int], most: int | None, remedy: str) -> None:
    settings = TrainSettings(optim=OptimSettings(warmup_epochs=2, **length))
    assert Duration.of(settings, most or 7).warmup == 2 * (most or 7)
    longer = settings.updated({"optim.warmup_epochs": 2.5})
    with pytest.raises(px.ArgumentError, match=rf"optim.warmup_epochs = 2.5 .*{remedy}"):
        Duration.of(longer, most or 7)


def test_the_logged_rate_is_the_runs_whatever_its_first_layers_is(videos: Path, tmp_path: Path) -> None:
    short = ("optim.steps=3", "optim.batch=2", "run.validate_epochs=0", "optim.first_conv_lr_scale=5")
    assert train(settings(videos, *short, *STEPPED, "optim.milestone_steps=[2]"), tmp_path / "run")
    rates = [row["lr"] for row in read_log(tmp_path / "run" / "log.csv")]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4])


def test_steps_replace_epochs_and_epochs_replace_steps(tmp_path: Path) -> None:
    assert TrainSettings().optim.epochs == 30
    assert OptimSettings(steps=5).epochs is None
    counted = override(TrainSettings(), ["optim.steps=100", "optim.milestone_steps=[50, 70]"])
    assert (counted.optim.epochs, counted.optim.steps, counted.optim.milestone_steps) == (None, 100, (50, 70))
    dump_yaml(counted, tmp_path / "settings.yaml")
    assert load_yaml(tmp_path / "settings.yaml") == counted
    tsm = get_recipe("tsm")
    assert tsm.updated({"optim.milestone_steps": (9,)}).optim.milestones == ()
    assert tsm.updated({"optim.steps": 9}).optim.milestones == (20, 40)
    # As on the command line: --epochs is a value, --set an assignment.
    paper = get_recipe("two-stream-temporal")
    assert override(paper, [], {"optim.epochs": 5}).optim.steps is None
    assert override(paper, [], {"optim.epochs": 5}).optim.epochs == 5
    assert override(paper, ["optim.milestones=[2]"]).optim.milestone_steps == ()
    assert override(paper, ["optim.steps=null"]).optim.epochs == 30


@pytest.mark.parametrize(
    ("given", "values", "told"),
    [
        (["optim.steps=9", "optim.epochs=3"], {}, r"optim\b.*epochs = 3\b.*steps = 9\b"),
        (["optim.steps=9"], {"optim.epochs": 3}, r"epochs = 3\b.*steps = 9\b"),
        (
            ["optim.milestones=[1]", "optim.milestone_steps=[9]"],
            {},
            r"milestones = \[1\.0\].*milestone_steps = \[9\]",
        ),
        (["optim.milestone_steps=[9, 4]"], {}, r"optim\b.*milestone_steps = \[9, 4\]"),
        (["optim.milestone_steps=[0]"], {}, r"optim\.milestone_steps"),
        (["optim.steps=0"], {}, r"optim\.steps = 0: .*\b1\b"),
        (["optim.steps=1.5"], {}, r"optim\.steps = 1\.5: .*\binteger\b"),
        (
            ["optim.frozen_epochs=-1"],
            {},
            r"optim\.frozen_epochs = -1: .*\b0\b",
        ),
        (["optim.frozen_epochs=always"], {}, "optim.frozen_epochs = 'always'"),
    ],
)
def test_two_lengths_at_once_are_refused(given: list[str], values: dict[str, int], told: str) -> None:
    with pytest.raises(px.ArgumentError, match=told) as caught:
        override(TrainSettings(), given, values)
    assert "\n" not in str(caught.value)


class Watching(Reporter):
    """Remembers the bars and what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.bars: dict[str, list[int | None]] = {}

    def line(self, text: str = "") -> None:
        self.lines.append(text)

    @contextmanager
    def bar(self, description: str, total: int | None, done: int = 0):  # type: ignore[no-untyped-def]
        seen = self.bars[description] = [total, done]

        class Counting(Bar):
            def advance(self, amount: int = 1, note: str = "") -> None:
                seen[1] += amount  # type: ignore[operator]

        yield Counting()


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight videos, of which six are learned from."""
    folder = tmp_path_factory.mktemp("videos")
    for number, name in enumerate(("red", "green")):
        for clip in range(4):
            write_clip(folder / name / f"{clip}.mp4", number, frames=6, seed=10 * number + clip)
    return folder


def settings(data: Path, *assignments: str) -> TrainSettings:
    without_epochs = [text for text in SMALL if not text.startswith("optim.epochs")]
    return override(get_recipe("default"), [*without_epochs, f"data.source={data}", *assignments])


STEPPED = ("optim.schedule=step", "optim.warmup_epochs=0", "optim.milestone_steps=[3, 5]", "optim.name=sgd")


@pytest.mark.parametrize(
    ("batches", "per_epoch"),
    [(("optim.batch=2",), 3), (("optim.batch=1", "optim.accumulate=3"), 2), (("optim.batch=6",), 1)],
)
def test_a_run_ends_at_its_step_and_falls_at_its_milestones(
    videos: Path, tmp_path: Path, batches: tuple[str, ...], per_epoch: int
) -> None:
    run, watching = tmp_path / "run", Watching()
    assert train(
        settings(videos, "optim.steps=7", *STEPPED, "run.validate_epochs=100", *batches),
        run,
        reporter=watching,
    )
    rows = [row for row in read_log(run / "log.csv") if "loss" in row]
    assert [row["step"] for row in rows] == list(range(1, 8))
    assert [row["epoch"] for row in rows] == [number // per_epoch for number in range(7)]
    base = 0.001
    expected = [base] * 3 + [base / 10] * 2 + [base / 100] * 2
    assert [row["lr"] for row in rows] == pytest.approx(expected, rel=1e-6)
    assert watching.bars["training"] == [7, 7]
    # Validated once, after the last step, in whatever part of an epoch it is.
    assert [row["step"] for row in read_log(run / "log.csv") if "val_loss" in row] == [7]
    assert px.load(run).labels == ("green", "red")
    assert load_yaml(run / "settings.yaml").optim.steps == 7


@pytest.mark.slow
def test_two_processes_count_the_steps_of_one(videos: Path, tmp_path: Path, call: Call) -> None:
    logs = []
    steps = ("optim.epochs=null", "optim.steps=4", *STEPPED, "model.dropout=0")
    for devices in (1, 2):
        run = tmp_path / f"run{devices}"
        train_by(devices, call, videos, run, *steps, f"optim.batch={2 // devices}")
        logs.append(
            [(row["step"], row["epoch"], row["lr"]) for row in read_log(run / "log.csv") if "lr" in row]
        )
    assert logs[0] == logs[1]
    assert len(logs[0]) == 4


@pytest.mark.slow
def test_milestones_that_do_nothing_are_said(videos: Path, tmp_path: Path) -> None:
    watching = Watching()
    short = ("optim.steps=2", "run.validate_epochs=0", "optim.batch=6")
    assert train(settings(videos, *short, *STEPPED), tmp_path / "one", reporter=watching)
    assert any("step 3 and 5" in line for line in watching.lines)
    assert train(
        settings(videos, *short, "optim.schedule=cosine", "optim.milestones=[1]"),
        tmp_path / "two",
        reporter=watching,
    )
    assert any("optim.milestones" in line for line in watching.lines)


def test_a_classifier_alone_for_all_steps_needs_start_weights(videos: Path, tmp_path: Path) -> None:
    for frozen in ("all", "5"):
        wanted = settings(videos, "optim.steps=9", "optim.batch=3", f"optim.frozen_epochs={frozen}")
        with pytest.raises(
            px.ArgumentError, match=rf"frozen_epochs = {frozen}\b.*\b9 steps\b.*--weights FILE"
        ):
            train(wanted, tmp_path / "run")
