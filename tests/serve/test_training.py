"""The command of a run that starts from the network that is served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from praxiscope.serve.options import ServeOptions
from praxiscope.serve.training import Training


@pytest.mark.parametrize(
    ("checkpoint", "start"),
    [(None, "run"), ("last", "run/checkpoints/step-1"), ("best", "run/checkpoints/step-2")],
)
def test_training_again_starts_from_the_checkpoint_that_is_served(
    tmp_path: Path, checkpoint: Any, start: str
) -> None:
    run = tmp_path / "run"
    for name in ("step-1", "step-2"):
        (run / "checkpoints" / name).mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"last": "step-1", "best": "step-2", "prefer": "best"}))
    training = Training(ServeOptions(str(run), tmp_path / "store", checkpoint=checkpoint))
    words = training.command("tsn", tmp_path / "out")
    assert words[words.index("--from") + 1] == str(tmp_path / start)
    assert words[words.index("--model") + 1] == "tsn"
