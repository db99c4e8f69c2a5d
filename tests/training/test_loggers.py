"""Other loggers of a training run: what they get, and that none of them ends a training."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from praxiscope.errors import ArgumentError, UnknownNameError
from praxiscope.training.log import RunLog, read_log
from praxiscope.training.loggers import FILES, Loggers, check_loggers, loggers, register_logger

CONFIG = {"run": {"seed": 3, "log": ["mine"]}, "optim": {"lr": 0.1}}


class Mine:
    """Keeps its calls; fails in the method whose name is in ``fails``."""

    needs = "json"
    fails = ""

    def __init__(self) -> None:
        calls.append(("made",))

    def start(self, run: Path, config: Mapping[str, Any]) -> None:
        self._call("start", run, config)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._call("log", step, dict(values))

    def finish(self) -> None:
        self._call("finish")

    def _call(self, name: str, *given: Any) -> None:
        if name == Mine.fails:
            raise OSError(28, "No space left on device")
        calls.append((name, *given))


calls: list[tuple[Any, ...]] = []


@pytest.fixture(autouse=True)
def _mine() -> Iterator[None]:
    register_logger("mine")(Mine)
    calls.clear()
    Mine.fails = ""
    yield
    del loggers._entries["mine"]


def test_a_logger_gets_what_the_csv_gets(tmp_path: Path) -> None:
    said: list[str] = []
    log = RunLog(tmp_path, tensorboard=False, others=Loggers(["mine", "mine"], tmp_path, CONFIG, said.append))
    log.write({"step": 1, "epoch": 1, "loss": 0.5})
    log.write({"step": 2, "epoch": 1, "val_loss": 0.25})
    log.close()
    assert calls == [
        ("made",),
        ("start", tmp_path, CONFIG),
        ("log", 1, {"epoch": 1, "loss": 0.5}),
        ("log", 2, {"epoch": 1, "val_loss": 0.25}),
        ("finish",),
    ]
    assert said == []
    assert [row["step"] for row in read_log(tmp_path / "log.csv")] == [1, 2]


@pytest.mark.parametrize("method", ["start", "log", "finish"])
def test_a_logger_that_fails_is_left_out_and_named_once(tmp_path: Path, method: str) -> None:
    said: list[str] = []
    Mine.fails = method
    log = RunLog(tmp_path, tensorboard=False, others=Loggers(["mine"], tmp_path, CONFIG, said.append))
    for step in (1, 2, 3):
        log.write({"step": step, "loss": 0.5})
    log.close()
    assert len(said) == 1
    assert "mine" in said[0]
    assert "No space left" in said[0]
    assert len(read_log(tmp_path / "log.csv")) == 3


def test_what_is_missing_is_said_before_a_training() -> None:
    check_loggers(["mine"])
    with pytest.raises(UnknownNameError, match="trackio"):
        check_loggers(["trackoi"])
    Mine.needs = "no_such_package"
    try:
        with pytest.raises(ArgumentError, match="pip install no_such_package"):
            check_loggers(["mine"])
    finally:
        Mine.needs = "json"


class Library(ModuleType):
    """In place of a library: notes the calls of its functions and of the run that ``init`` returns."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.api = type("Api", (), {"api_key": None})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*given: Any, **named: Any) -> Library:
            calls.append((name, given, named))
            return self

        return call


@pytest.mark.parametrize("name", FILES)
def test_the_interface_of_each_library(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_PROJECT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setitem(sys.modules, name, Library(name))
    said: list[str] = []
    made = Loggers([name], tmp_path, CONFIG, said.append)
    made.log({"step": 7, "loss": 0.5})
    made.finish()
    assert said == []
    by_name = {call[0]: call[1:] for call in calls}
    if name == "mlflow":
        assert str(tmp_path) in by_name["set_tracking_uri"][0][0]
        assert by_name["log_params"][0][0] == {"run.seed": 3, "run.log": ["mine"], "optim.lr": 0.1}
        assert by_name["log_metrics"] == (({"loss": 0.5},), {"step": 7})
        assert "end_run" in by_name
        return
    assert by_name["init"][1]["config"] == CONFIG
    assert by_name["init"][1]["name"] == tmp_path.name
    assert by_name["log"][0][0]["loss"] == 0.5
    assert "finish" in by_name
    if name == "wandb":
        assert by_name["init"][1]["mode"] == "offline"
        monkeypatch.setenv("WANDB_MODE", "online")
        Loggers([name], tmp_path, CONFIG, said.append)
        assert calls[-1][2]["mode"] is None
