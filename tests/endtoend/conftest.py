"""Fixtures of whole runs."""

from __future__ import annotations

from pathlib import Path

import pytest

import praxiscope.training.loop as loop
from narrow import narrow_resnets
from praxiscope.commands.train import train
from runs import Stop
from two_streams import Moving, Streams, joint, single


@pytest.fixture(scope="session")
def streams(moving: Moving, tmp_path_factory: pytest.TempPathFactory) -> Streams:
    """A run on RGB frames and one on flow, of narrow ResNets."""
    root = tmp_path_factory.mktemp("streams")
    with narrow_resnets():
        assert train(single(moving[0], None), root / "rgb")
        assert train(single(*moving, "optim.epochs=4", "optim.lr=0.005"), root / "motion")
    return root / "rgb", root / "motion"


@pytest.fixture(scope="session")
def joint_run(moving: Moving, streams: Streams, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the network that joins both."""
    folder = tmp_path_factory.mktemp("joint") / "run"
    with narrow_resnets():
        # Without dropout, as the losses of its few steps are compared.
        learn = ("optim.epochs=5", "optim.lr=0.003", "model.motion_dropout=0")
        assert train(joint(moving, streams, *learn), folder)
    return folder


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Stop:
    """Make runs stop, as by Ctrl-C, after so many steps; None lets them run."""
    real = loop.StopRequest

    def arm(steps: int | None) -> None:
        asked = [0]

        class Stopping(real):  # type: ignore[misc, valid-type]
            @property
            def requested(self) -> bool:
                asked[0] += 1
                return asked[0] >= (steps or 0)

            @requested.setter
            def requested(self, value: bool) -> None: ...

        monkeypatch.setattr(loop, "StopRequest", real if steps is None else Stopping)

    return arm
