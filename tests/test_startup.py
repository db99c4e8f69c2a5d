"""What a command imports before it answers: seconds of waiting for who made a typing error, or asks for help."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from praxiscope.cli.explain import NAMES
from support import SMALL

HEAVY = {
    "torch",
    "torchvision",
    "lightning_fabric",
    "av",
    "sklearn",
    "matplotlib",
    "tensorboard",
    "timm",
    "cv2",
}
_CODE = """
import contextlib, functools, io, json, sys
import typer.main
from praxiscope.cli import main
typer.main.get_command = functools.lru_cache(typer.main.get_command)
commands, modules = json.loads(sys.stdin.read())
found = []
for words in commands:
    sys.argv = ["praxiscope", *words.split()]
    code, said = 0, io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            main.main()
        except SystemExit as end:
            code = end.code or 0
    found.append([code, [name for name in modules if name in sys.modules], said.getvalue()])
print("found:", json.dumps(found))
"""


def answers(commands: list[str], modules: set[str], where: Path) -> list[tuple[int, list[str], str]]:
    """Run commands, one after the other, in a process of their own.

    Returns:
        Of each its exit code, which of the modules were imported by then, and what it said on standard error.
    """
    done = subprocess.run(
        [sys.executable, "-c", _CODE],
        input=json.dumps([commands, sorted(modules)]),
        capture_output=True,
        text=True,
        cwd=where,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.rpartition("found: ")[2])


@pytest.fixture(scope="module")
def place(colour_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, a set and a clip."""
    from praxiscope.commands.train import train
    from praxiscope.recipes.settings import TrainSettings, override

    folder = tmp_path_factory.mktemp("place")
    settings = override(TrainSettings(), [*SMALL, f"data.source={colour_set}", "optim.epochs=1"])
    train(settings, folder / "run")
    (folder / "videos").symlink_to(colour_set)
    return folder


MISTAKES = [
    "train nosuch --out x",
    "train videos/red/0.mp4 --out x",
    "train ucf100:videos --out x",
    "train videos --out run",
    "train videos --out x --model nosuch",
    "train videos --out x --recipe nosuch",
    "train videos --out x --device gpu",
    "train videos --out x --device cuda:1 --devices 2",
    "train videos --out x --set optim.lr=abc",
    "train videos --out x --set optim.nosuch=1",
    "train videos --out x --set model.backbone=resnet81",
    "train videos --out x --set model.dorpout=0.1",
    "train videos --out x --set run.protocol=25x11",
    "train videos --out x --watch 4 --choose 2 --memory much",
    "train videos --out x --weights nosuch.pt",
    "train videos --out x --from nosuch,other",
    "train videos --out x --flow nosuch",
    "train videos --out x --model multiplier",
    "train videos --out x --from nosuch",
    "train ucf101:videos --split 4 --out x",
    "train hmdb51:videos --split 0 --out x",
    "train weizmann:videos --split nobody --out x",
    "check breakfast:videos --split 5",
    "train --out nosuch --resume",
    "train videos --clusters auto",
    "test nosuch videos",
    "test run nosuch",
    "test run videos --protocol 25x11",
    "test run videos --device gpu",
    "test run videos --subset all",
    "test run videos --out scores.csv",
    "predict nosuch videos/red/0.mp4",
    "predict run nosuch.mp4",
    "predict run videos/red/0.mp4 --protocol 25x11",
    "predict run videos/red/0.mp4 --device gpu",
    "predict run videos/red/0.mp4 --window soon",
    "predict run videos/red/0.mp4 --flow-range 20",
    "predict run videos/red/0.mp4 --task other",
    "check nosuch",
    "pack nosuch out",
    "pack videos out --fps 0",
    "pack videos out --fps nan",
    "flow nosuch --out out",
    "flow videos --out out --range 0",
    "flow videos --out out --range far",
    "flow videos --out out --format avi",
    "flow videos --out out --method nosuch",
    "flow videos --out out --set warps",
    "flow videos --out out --device gpu",
    "explain filters nosuch",
    "explain principal run nosuch.mp4",
    "explain flow nosuch.mp4",
    "explain flow videos/red/0.mp4 --method nosuch",
    "explain flow videos/red/0.mp4 --out picture.txt",
    "explain losses nosuch",
    "explain clusters run nosuch.mp4",
    "explain gradients nosuch videos/red/0.mp4",
    "explain cluster-gradients run videos/red/0.mp4 --device gpu",
    "explain nosuch",
    "explain videos/red/0.mp4 --flow",
    "fuse nosuch.npz other.npz",
    "fuse run nosuch --out x",
    "fuse run videos --out x",
    "dataset move4mnist out --digits nosuch",
    "dataset move4mnist out --backgrounds nosuch",
    "bench load nosuch",
    "bench flow nosuch",
    "bench flow chairs:videos --method nosuch",
    "bench flow chairs:videos --split val",
    "dataset moving-shapes x --clips 3",
    "bench predict nosuch videos",
    "bench predict run videos --protocol 25x11",
    "bench principal --backbone resnet81",
    "bench principal --device gpu",
    "bench full-video --preset huge",
    "bench full-video-cost --backbone resnet81",
    "bench multiplier videos --flow nosuch",
    "recipes nosuch",
]


@pytest.mark.slow
def test_mistakes_are_told_before_anything_large_is_imported(place: Path) -> None:
    for words, (code, found, said) in zip(MISTAKES, answers(MISTAKES, HEAVY, place), strict=True):
        assert code in (1, 2), (words, said)
        assert found == [], words
        assert said.startswith("error: "), words
        assert len(said.splitlines()) == 1, said


COMMANDS = [
    "check",
    "pack",
    "flow",
    "train",
    "test",
    "fuse",
    "predict",
    "explain",
    "recipes",
    "dataset",
    "bench",
]
COMMANDS += ["dataset move4mnist"]
COMMANDS += [f"explain {one}" for one in NAMES]
COMMANDS += [
    f"bench {one}"
    for one in ("load", "flow", "principal", "full-video", "predict", "multiplier", "full-video-cost")
]


def test_help_imports_nothing_large(tmp_path: Path) -> None:
    commands = [f"{words} --help".strip() for words in ("", *COMMANDS)] + [
        "--version",
        "recipes",
        "recipes tsm",
    ]
    for words, (code, found, _) in zip(commands, answers(commands, HEAVY | {"numpy"}, tmp_path), strict=True):
        assert (code, found) == (0, []), words


def test_presets_and_methods_are_those_that_there_are() -> None:
    from praxiscope.bench import full_video, multiplier
    from praxiscope.cli.bench import full_video as command
    from praxiscope.commands import arguments
    from praxiscope.flow.estimate import estimators
    from praxiscope.flow.methods import FILES, find_method, list_methods

    assert list(arguments.PRESETS) == list(multiplier.PRESETS)
    assert list(command.PRESETS) == list(full_video.PRESETS)
    for name in FILES:
        find_method(name)
    assert list_methods() == estimators.names()


@pytest.mark.slow
def test_a_prediction_imports_torch_and_little_else(place: Path) -> None:
    late = {
        *(
            "torch._dynamo",
            "lightning_fabric",
            "matplotlib",
            "sklearn",
            "tensorboard",
            "scipy",
            "timm",
            "cv2",
        ),
        *("torchvision.ops.roi_align", "torchvision.datasets.vision", "torchvision.models.detection"),
    }
    ((code, found, said),) = answers(["predict run videos/red/0.mp4"], late | {"torch"}, place)
    assert (code, found) == (0, ["torch"]), said
