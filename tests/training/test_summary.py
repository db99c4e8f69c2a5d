"""What a run reports before it starts, and what keeps it from starting."""

from __future__ import annotations

from pathlib import Path

import pytest

from praxiscope.commands.train import train
from praxiscope.errors import ArgumentError
from praxiscope.training import summary
from runs import settings


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes", "Lower input.size"),
        ("Kernel size can't be greater than actual input size", "Increase input.size"),
    ],
)
def test_frames_that_a_network_cannot_process_name_the_remedy(
    message: str, remedy: str, colour_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object, **options: object) -> str:
        raise RuntimeError(message)

    monkeypatch.setattr(summary, "describe_model", fail)
    with pytest.raises(ArgumentError, match=rf"tsn on squeezenet1_1.*\b32\b.*{remedy}"):
        train(settings(colour_set), tmp_path / "run")
