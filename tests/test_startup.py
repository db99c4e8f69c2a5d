"""What a command imports before it answers: seconds of waiting for who made a typing error, or asks for help."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import SMALL

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
import json, sys
from praxiscope.cli import main
sys.argv = ["praxiscope", *json.loads(sys.argv[1])]
code = 0
try:
    main.main()
except SystemExit as end:
    code = end.code or 0
finally:
    print(json.dumps([code, [name for name in json.loads(sys.stdin.read()) if name in sys.modules]]), file=sys.stderr)
"""


def loaded(words: list[str], modules: set[str], where: Path) -> tuple[int, list[str], str]:
    """Run a command in a process of its own: its exit code, which of the modules it has imported, what it said."""
    done = subprocess.run(
        [sys.executable, "-c", _CODE, json.dumps(words)],
        input=json.dumps(sorted(modules)),
        capture_output=True,
        text=True,
        cwd=where,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    *said, last = done.stderr.splitlines()
    code, found = json.loads(last)
    return code, found, "\n".join([*said, done.stdout])


@pytest.fixture(scope="module")
def place(colour_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, a set and a clip."""
    from praxiscope.recipes.settings import TrainSettings, override
    from praxiscope.recipes.train import train

    folder = tmp_path_factory.mktemp("place")
    settings = override(TrainSettings(), [*SMALL, f"data.source={colour_set}", "optim.epochs=1"])
    train(settings, folder / "run")
    (folder / "videos").symlink_to(colour_set)
    return folder


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
    code, found, said = loaded(["predict", "run", "videos/red/0.mp4"], late | {"torch"}, place)
    assert (code, found) == (0, ["torch"]), said
