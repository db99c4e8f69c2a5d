"""``praxiscope explain``: sub-commands, what they print and write, and pictures of other packages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import praxiscope as px
from praxiscope.checkpoint import InputContract, ModelCard, save_checkpoint
from praxiscope.cli import explain as package
from praxiscope.cli.common import Json
from praxiscope.cli.explain import NAMES
from praxiscope.cli.explain.common import Out, Video, output_path, write
from praxiscope.errors import ArgumentError
from praxiscope.explain.explanation import Explanation, new_figure
from praxiscope.models import create_model
from praxiscope.registry import Registry
from support import write_clip

pytestmark = pytest.mark.usefixtures("_narrow")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "square.mp4"
    write_clip(path, colour=1, frames=12)
    return path


@pytest.fixture(scope="module")
def motion_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of a network that sees stacks of two flow fields."""
    folder = tmp_path_factory.mktemp("runs") / "motion"
    arguments = {"backbone": "squeezenet1_1", "num_classes": 2, "stream": "flow", "in_channels": 4}
    save_checkpoint(folder, create_model("tsn", **arguments), ModelCard("tsn", arguments, ("a", "b")))
    return folder


def test_the_command_draws_flow(call, clip, tmp_path):
    path = tmp_path / "flow.png"
    code, out, err = call("explain", "flow", clip, "--method", "dis", "--frames", 2, "--out", path, "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert facts["picture"] == str(path)
    assert facts["method"] == "dis"
    assert len(facts["frames"]) == 2
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_command_draws_filters(call, motion_run, tmp_path):
    path = tmp_path / "filters.png"
    code, out, err = call("explain", "filters", motion_run, "--out", path)
    assert code == 0, err
    assert out == f"{path}: flow [64, 4, 3, 3]\n"
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_group_lists_every_picture_with_a_line_and_an_example(call):
    _, out, err = call("explain")
    listed = (out + err).split("Pictures:")[1]
    for name in NAMES:
        (line, example) = listed.split(f"\n  {name} ")[1].split("Example: ")[:2]
        assert line.strip()
        assert example.startswith(f"praxiscope explain {name} ")


@pytest.fixture(scope="module")
def picture_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of a network that sees RGB frames."""
    folder = tmp_path_factory.mktemp("runs") / "pictures"
    arguments = {"backbone": "resnet10", "num_classes": 2}
    contract = InputContract(size=32, short_side=32, snippets=2)
    card = ModelCard("tsn", arguments, ("a", "b"), input=contract)
    save_checkpoint(folder, create_model("tsn", **arguments), card)
    return folder


def test_a_run_and_a_video_are_answered_with_a_page(call, clip, picture_run, tmp_path, monkeypatch):
    monkeypatch.setattr("praxiscope.explain.why_parts._STRIDE", 0.375)
    path = tmp_path / "why.html"
    code, out, err = call(
        "explain", picture_run, clip, "--out", path, "--label", "b", "--json", "--device", "cpu"
    )
    assert code == 0, err
    facts = json.loads(out)
    assert facts["page"] == str(path)
    assert facts["what"]["explained"] == "b"
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    code, out, err = call("explain", "page", picture_run, clip, "--device", "cpu")
    assert (code, Path("square_why.html").is_file()) == (0, True), err
    assert out.startswith("square_why.html: ")


def test_a_page_needs_a_run_that_is_there_and_a_name_of_a_page(call, clip, picture_run, tmp_path):
    missing = tmp_path / "none"
    for words, expected, said in (
        ((missing, clip), 1, str(missing)),
        ((picture_run, tmp_path / "none.mp4"), 1, "none.mp4"),
        ((picture_run, clip, "--out", "why.png"), 2, "why.png"),
    ):
        code, _, err = call("explain", *words)
        assert code == expected
        assert said in err
        assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "now"),
    [
        (("clip.mp4", "--flow", "--frames", 3), "praxiscope explain flow clip.mp4 --frames 3"),
        (("--cluster-gradients", "run", "a.mp4"), "praxiscope explain cluster-gradients run a.mp4"),
    ],
)
def test_a_picture_as_an_option_is_answered_with_the_command_to_type(call, words, now):
    code, out, err = call("explain", *words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.endswith(f"{now}\n")


def test_an_unknown_picture_is_answered_with_the_nearest(call):
    code, _, err = call("explain", "cluster", "run", "a.mp4")
    assert code == 2
    assert "'cluster'" in err
    assert "'clusters'" in err
    assert err.count("\n") == 1


def test_each_picture_names_the_argument_that_is_missing(call):
    for words, missing in ((("principal", "run"), "VIDEO"), (("filters",), "RUN"), (("losses",), "RUN")):
        code, _, err = call("explain", *words)
        assert code == 2
        assert f"'{missing}'" in err


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(package, "_registered", Registry("picture"))


def brightness(video: Video, out: Out = None, json: Json = False) -> None:
    """Draw how bright a video is.

    Example: praxiscope explain brightness clip.mp4
    """
    figure = new_figure(2, 2)
    frames = px.open_video(video).frames([0, 1])
    figure.add_subplot().plot(frames.float().mean(dim=(1, 2, 3)))
    write(Explanation(figure, {"frames": len(frames)}), output_path(out, video, "brightness"), "bright", json)


def test_a_registered_picture_is_a_command_like_ours(call, clip, registered):
    package.register_picture("brightness")(brightness)
    code, out, err = call("explain", "brightness", clip)
    assert (code, out) == (0, "square_brightness.png: bright\n"), err
    assert Path("square_brightness.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads(call("explain", "brightness", clip, "--json").out)["frames"] == 2
    assert "Example: praxiscope explain brightness clip.mp4" in call("explain", "--help").out
    for taken in ("brightness", "flow"):
        with pytest.raises(ArgumentError, match=taken):
            package.register_picture(taken)(brightness)


@pytest.fixture
def offered(tmp_path, monkeypatch):
    """An installed package with one picture, one that cannot be imported and one that is no function."""
    (tmp_path / "offered-1.dist-info").mkdir()
    (tmp_path / "offered-1.dist-info" / "METADATA").write_text("Name: offered\nVersion: 1\n")
    (tmp_path / "offered-1.dist-info" / "entry_points.txt").write_text(
        "[praxiscope.pictures]\nbrightness = offered:brightness\nbroken = offered_nowhere:draw\n"
        "number = offered:number\n"
    )
    (tmp_path / "offered.py").write_text(
        "from praxiscope.cli.explain.common import Video\n\n\nnumber = 5\n\n\n"
        "def brightness(video: Video) -> None:\n"
        '    """Draw how bright a video is."""\n'
        "    print(video)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    package._offered.cache_clear()
    yield
    package._offered.cache_clear()


@pytest.mark.usefixtures("offered")
def test_an_installed_package_offers_a_picture_as_an_entry_point(call, clip):
    code, out, err = call("explain", "brightness", clip)
    assert (code, out) == (0, f"{clip}\n"), err


@pytest.mark.usefixtures("offered")
def test_a_broken_picture_of_another_package_is_named_and_the_others_are_listed(call, clip):
    code, out, err = call("explain", "--help")
    assert code == 0, err
    assert "Draw how bright a video is." in out
    assert "offered_nowhere" in out
    assert "gradients" in out
    for name, told in (("broken", "offered_nowhere"), ("number", "5")):
        code, _, err = call("explain", name, clip)
        assert code == 2
        assert told in err
        assert "Traceback" not in err
