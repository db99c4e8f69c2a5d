"""Networks in 8 bits where the shapes of a network are not followed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exported_models import saved
from narrow import narrow_resnets
from praxiscope import deploy
from praxiscope.commands.export import export
from support import write_moving


def test_shapes_that_cannot_be_followed_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxruntime.quantization import shape_inference

    real = shape_inference.quant_pre_process

    def unfollowed(*given: Any, skip_symbolic_shape: bool = False, **words: Any) -> None:
        if not skip_symbolic_shape:
            raise Exception("Incomplete symbolic shape inference")
        real(*given, skip_symbolic_shape=True, **words)

    monkeypatch.setattr(shape_inference, "quant_pre_process", unfollowed)
    clip = tmp_path / "clip.mp4"
    write_moving(clip, 1, 0, frames=9)
    with narrow_resnets():
        folder = saved(tmp_path / "model")
        made = export(folder, tmp_path / "out", int8=[clip])
    assert made.description.checked["int8"] == {"clips": 1}
    found = deploy.load(tmp_path / "out").logits(clip)
    assert np.isfinite(found).all()
    assert (tmp_path / "out" / "network.onnx").stat().st_size < 0.7 * sum(
        path.stat().st_size for path in folder.glob("*.safetensors")
    )
