"""HTML reports: of a run its log and tests; of each test its metrics, and film strips of its best and worst clips."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from praxiscope.checkpoint import find_checkpoint, read_pointer, write_json
from praxiscope.data.dataset import frame_range
from praxiscope.errors import PraxiscopeError
from praxiscope.evaluation.calibration import calibration_error
from praxiscope.evaluation.metrics import probabilities, summarise
from praxiscope.evaluation.protocols import name_with_average
from praxiscope.evaluation.report import Report, Strip, TestLink, pick_clips, write_report
from praxiscope.evaluation.scores import Scores
from praxiscope.recipes.settings import TrainSettings, load_yaml
from praxiscope.run_folder import COMMANDS_FILE, LOG_FILE, REPORT_FILE, SETTINGS_FILE, SKIPPED_FILE, TESTS
from praxiscope.training.log import read_log
from praxiscope.training.resuming import describe_lengths, load_train_state
from praxiscope.types import VideoRecord
from praxiscope.units import counted
from praxiscope.video.browser import why_not_played
from praxiscope.video.opening import open_video
from praxiscope.video.sampling import segment_indices

__all__ = ["note_command", "report_run", "report_test", "write_test"]


def note_command(run: Path, command: str | None) -> None:
    """Add a line to a run's ``commands.txt``: the time and the command."""
    with (run / COMMANDS_FILE).open("a", encoding="utf-8", errors="replace") as file:
        file.write(f"{_now():%Y-%m-%d %H:%M UTC}  {' '.join((command or '(called from Python)').split())}\n")


def report_run(run: str | Path) -> Path:
    """Write ``report.html`` into a run's folder: its training, and links to the reports of its tests.

    Args:
        run: the run's folder.

    Returns:
        The path of the report.
    """
    folder = Path(run)
    settings = _settings(folder)
    notes = []
    if read_pointer(folder):
        notes.append(f"Checkpoint of this run: {find_checkpoint(folder).name}.")
        notes += _lengths(folder)
    skipped = folder / SKIPPED_FILE
    if skipped.is_file() and (count := len(skipped.read_text(encoding="utf-8").splitlines()) - 1):
        notes.append(f"{counted(count, 'video')} cannot be read; see {SKIPPED_FILE}.")
    history = read_log(folder / LOG_FILE)
    if by_task := _by_task(history):
        notes.append(f"Trained on several data sets. Top-1 of the last validation: {by_task}.")
    commands, title = _commands(folder), None
    if settings is not None:
        title = f"{_model(settings.model.name, settings.model.backbone)} on {_data(settings)}"
        title += f", {commands[-1][:10]}" if commands else ""
        commands.append(
            f"To repeat it: praxiscope train --recipe {shlex.quote(str(folder / SETTINGS_FILE))} --out NEW"
        )
    report = Report(
        title=title,
        history=history,
        settings=_plain(settings),
        notes=notes,
        commands=commands,
        tests=_links(folder),
    )
    return write_report(folder, report)


def report_test(
    run: str | Path,
    scores: Scores,
    records: Sequence[VideoRecord],
    *,
    source: str = "",
    checkpoint: str | None = None,
    command: str | None = None,
    notes: Sequence[str] = (),
    skipped: Mapping[str, str] | None = None,
) -> Path:
    """Write a report of a test into a run's ``tests/``, and a link to it into the run's report.

    The file is named by the data, the split, the protocol and the date, with a number if there is one of that name. A
    JSON file of the same name holds the metrics.

    Args:
        run: the run's folder.
        scores: the result of the test.
        records: the tested videos, for the film strips.
        source: the data as given by the user.
        checkpoint: name of the tested checkpoint.
        command: the command line.
        notes: remarks for the reader.
        skipped: problems of the videos that could not be read, by id.

    Returns:
        The path of the report.
    """
    now, protocol = _now(), scores.protocol
    data, views = str(protocol.get("data", "test")), name_with_average(protocol)
    part = [str(protocol["task"])] if protocol.get("task") is not None else []
    part += [f"split {protocol['split']}"] if protocol.get("split") is not None else []
    part += [str(protocol["subset"])] if protocol.get("subset", "test") != "test" else []
    parts = [data, *part, views]
    backbone = protocol.get("backbone")
    model = _model(str(protocol.get("model") or "fused networks"), str(backbone) if backbone else None)
    about = {
        "date": now.isoformat(timespec="seconds"),
        "data": " ".join([data, *part]),
        "source": source,
        "model": model,
        "checkpoint": checkpoint,
        "protocol": protocol,
        "figures": summarise(scores),
        "reliability": _reliability(scores),
        "command": command,
        "notes": list(notes),
        "skipped": dict(skipped or {}),
    }
    report = Report(
        title=f"{model} tested on {about['data']}, {views}, {now:%Y-%m-%d}",
        scores=scores,
        strips=_strips(scores, records),
        notes=[*([f"Checkpoint: {checkpoint}."] if checkpoint else []), *notes],
    )
    return write_test(run, parts, about, report)


def write_test(run: str | Path, parts: Sequence[str], about: Mapping[str, Any], report: Report) -> Path:
    """Write a report of a test, and the JSON file of its metrics, into a run's ``tests/``.

    Args:
        run: the run's folder, whose settings and commands are added.
        parts: what the name of the files is made of; the date is added.
        about: content of the JSON file; its ``command`` is shown, too.
        report: the page.

    Returns:
        The path of the page.
    """
    folder, now = Path(run) / TESTS, _now()
    name = _claim(folder, [*parts, f"{now:%Y-%m-%d}"])
    made = f"{now:%Y-%m-%d %H:%M UTC}  {about.get('command') or '(called from Python)'}"
    try:
        report = replace(
            report,
            settings=_plain(_settings(Path(run))),
            commands=[*_commands(Path(run)), made],
            run=f"../{REPORT_FILE}",
        )
        path = write_report(folder, report, name=f"{name}.html")
        write_json(folder / f"{name}.json", dict(about))
    except BaseException:
        if not (folder / f"{name}.html").exists():
            (folder / f"{name}.json").unlink(missing_ok=True)  # frees the name
        raise
    report_run(run)
    return path


def _reliability(scores: Scores) -> dict[str, Any] | None:
    """Bins of the reliability diagram, as plain values for JSON: null in empty bins."""
    error = calibration_error(scores)
    if error is None:
        return None
    means = {"confidence": error.confidence, "accuracy": error.accuracy}
    plain = {name: [None if np.isnan(x) else x for x in values.tolist()] for name, values in means.items()}
    return {"counts": error.counts.tolist(), **plain}


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _claim(folder: Path, parts: Iterable[str]) -> str:
    """Reserve a file name, without suffix, that no other test has."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = (re.sub(r"[^\w.-]+", "_", part).strip("_.-")[:60] for part in parts)
    base = "-".join(filter(None, plain))
    number = 1
    while True:
        name = base if number == 1 else f"{base}-{number}"
        try:
            (folder / f"{name}.json").touch(exist_ok=False)
        except FileExistsError:
            number += 1
        else:
            return name


def _links(folder: Path) -> list[TestLink]:
    """The tests of a run, the newest first. If the metrics of one are damaged, only its page is linked."""
    found = []
    for page in (folder / TESTS).glob("*.html"):
        about: dict[str, Any] = {}
        try:
            about = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
            link = TestLink(
                href=f"{TESTS}/{quote(page.name)}",
                date=str(about["date"])[:16].replace("T", " "),
                data=str(about["data"]),
                protocol=name_with_average(about["protocol"]),
                checkpoint=str(about.get("checkpoint") or ""),
                figures=dict(about["figures"]),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            link = TestLink(href=f"{TESTS}/{quote(page.name)}", date="", data=page.stem, protocol="")
        found.append((str(about.get("date", "")) if link.date else "", page.name, link))
    return [link for *_, link in sorted(found, key=lambda entry: entry[:2], reverse=True)]


def _settings(folder: Path) -> TrainSettings | None:
    """Settings of a run; None for a model folder."""
    path = folder / SETTINGS_FILE
    return load_yaml(path) if path.is_file() else None


def _plain(settings: TrainSettings | None) -> dict[str, Any]:
    return {} if settings is None else settings.model_dump(mode="json")


def _commands(folder: Path) -> list[str]:
    path = folder / COMMANDS_FILE
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []


def _lengths(folder: Path) -> list[str]:
    try:
        said = describe_lengths(load_train_state(folder))
    except PraxiscopeError:  # a checkpoint that cannot be resumed can still be reported
        return []
    return [said] if said else []


def _model(name: str, backbone: str | None) -> str:
    return f"{name} ({backbone})" if backbone else name


def _data(settings: TrainSettings) -> str:
    """Name of the data set, as in the reports of tests; several are joined by a plus."""
    if settings.data.tasks is not None:
        return " + ".join(settings.data.tasks)
    source = settings.data.source
    layout = re.match(r"([A-Za-z][\w-]+):", source)
    name = layout[1].lower() if layout and not Path(source).exists() else Path(source).resolve().stem
    return f"{name} split {settings.data.split}" if settings.data.split else name


def _by_task(history: Sequence[Mapping[str, float]]) -> str:
    """The last validation's metric of each data set, as text; empty for a single data set."""
    prefix = "val_top1_"
    rows = [{key: value for key, value in row.items() if key.startswith(prefix)} for row in history]
    last = next((row for row in reversed(rows) if row), {})
    return ", ".join(f"{key.removeprefix(prefix)} {100 * value:.1f} %" for key, value in last.items())


def _strips(scores: Scores, records: Sequence[VideoRecord], frames: int = 6, side: int = 96) -> list[Strip]:
    by_id = {record.id: record for record in records}
    certainty = probabilities(scores)
    best, worst = pick_clips(scores)
    strips = []
    for row in [*best, *worst]:
        record = by_id.get(scores.ids[row])
        if record is None:
            continue
        try:
            video = open_video(record.path)
            first, last = frame_range(record, video)
            pixels = video.frames(first + segment_indices(last - first, frames), short_side=side)
        except PraxiscopeError:  # the report is written without this strip
            continue
        order = np.argsort(-certainty[row], kind="stable")[:3]
        unplayed = why_not_played(record.path)
        strips.append(
            Strip(
                record.id,
                pixels,
                " | ".join(record.labels),
                [(scores.classes[i], float(certainty[row, i])) for i in order],
                right=scores.classes[order[0]] in record.labels,
                video=None if unplayed else record.path,
                start_s=record.start_s,
                end_s=record.end_s,
                unplayed=unplayed,
            )
        )
    return strips
