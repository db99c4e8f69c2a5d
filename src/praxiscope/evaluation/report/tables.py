"""Sections of a report about tests: metrics, links to other tests, classes, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from praxiscope.evaluation import plots
from praxiscope.evaluation.calibration import calibration_error
from praxiscope.evaluation.metrics import (
    confused_pairs,
    confusion_matrix,
    per_class_table,
    shown_figures,
    summarise,
    wilson_interval,
)
from praxiscope.evaluation.report.html import bar, card, figure_image, plain, section, share
from praxiscope.evaluation.report.segments import SEGMENT_TITLES
from praxiscope.evaluation.scores import Scores
from praxiscope.units import counted

__all__ = ["TestLink", "calibration_section", "classes_section", "figures_section", "tests_section"]

_TITLES = {
    "top1": "Top-1",
    "top5": "Top-5",
    "mean_class_accuracy": "Mean class accuracy",
    "map": "mAP",
    "hit1": "Hit@1",
    "hit5": "Hit@5",
    "clip_hit1": "Clip Hit@1",
    "clip_hit5": "Clip Hit@5",
    "video_hit1": "Video Hit@1",
    "video_hit5": "Video Hit@5",
    "ece": "Calibration error",
}
_OPEN_ROWS = 15  # rows of the class table that are visible at first


@dataclass(frozen=True)
class TestLink:
    """A link to the report of a test.

    Attributes:
        href: path of the page, from the folder of the run's report.
        date, data, protocol, checkpoint: of the test, as displayed.
        figures: result of ``praxiscope.evaluation.metrics.summarise``; None if unknown.
    """

    href: str
    date: str
    data: str
    protocol: str
    checkpoint: str = ""
    figures: Mapping[str, Any] | None = None

    __test__ = False  # pytest would collect a class of this name


def tests_section(tests: Sequence[TestLink]) -> str:
    """A table of links, with the metrics that at least one of the tests has."""
    figures = [{} if test.figures is None else shown_figures(test.figures) for test in tests]
    titles = _TITLES | SEGMENT_TITLES
    columns = [key for key in titles if any(key in known for known in figures)]
    rows = "".join(
        f'<tr><td><a href="{escape(test.href)}">{escape(test.data)}</a></td><td>{escape(test.protocol)}</td>'
        f"<td>{escape(test.checkpoint)}</td><td>{escape(test.date)}</td>"
        f"<td>{escape(plain((test.figures or {}).get('videos', '–')))}</td>"
        + "".join(f"<td>{share(known.get(key), 1)}</td>" for key in columns)
        + "</tr>"
        for test, known in zip(tests, figures, strict=True)
    )
    names = ["data", "protocol", "checkpoint", "date", "videos", *(titles[key] for key in columns)]
    head = "".join(f"<th>{name}</th>" for name in names)
    return section("Tests", f'<div class="scroll"><table><tr>{head}</tr>{rows}</table></div>') if rows else ""


def figures_section(scores: Scores) -> str:
    summary = summarise(scores)
    shown = shown_figures(summary)
    cards = []
    for key, title in _TITLES.items():
        if key in shown:
            below = ""
            if key in ("top1", "hit1"):
                low, high = wilson_interval(summary[key], summary["labelled"])
                below = f"95 % interval {100 * low:.1f}–{100 * high:.1f}"
            if key == "ece" and "ece_uncalibrated" in shown:
                below = f"{100 * shown['ece_uncalibrated']:.1f} % without the temperature"
            cards.append(card(title, f"{100 * summary[key]:.1f}<small> %</small>", below))
    unknown = summary["videos"] - summary["labelled"]
    what = "no class" if scores.multi_label else "unknown class"
    below = f"{unknown} of {what}" if unknown else counted(summary["classes"], "class", "classes")
    cards.append(card("Videos", f"{summary['videos']:,}", below))
    body = f'<div class="cards">{"".join(cards)}</div>'
    if scores.protocol:
        facts = "".join(
            f"<div><dt>{'protocol' if key == 'name' else escape(str(key))}</dt>"
            f"<dd>{escape(plain(value))}</dd></div>"
            for key, value in scores.protocol.items()
            if value is not None
        )
        body += f'<dl class="facts">{facts}</dl>'
    if missing := summary["classes_without_videos"]:
        named = ", ".join(missing[:10]) + (", …" if len(missing) > 10 else "")
        body += (
            f'<p class="small">Left out of the means because they have no test videos: {escape(named)}.</p>'
        )
    return section("Test", body)


def calibration_section(scores: Scores) -> str:
    """The reliability diagram, if the scores have probabilities of single classes."""
    error = calibration_error(scores)
    if error is None:
        return ""
    errors, names = [error], ["calibrated"]
    text = (
        "How often videos were recognised, by the probability of the best class. On the diagonal both are equal; below "
        "it the network is too confident. The calibration error is the mean distance from the diagonal: "
        f"{100 * error.value:.1f} %"
    )
    if "temperature" in scores.protocol and (plain := calibration_error(scores, calibrated=False)):
        errors, names = [error, plain], ["calibrated", "without temperature"]
        text += (
            f", and {100 * plain.value:.1f} % without the temperature of {scores.temperature:.2f}, which was fitted on "
            "held-out training videos"
        )
    drawn = [plots.draw_reliability(errors, names, dark) for dark in (False, True)]
    figure = figure_image(drawn, "Reliability diagram", "width:442px")
    return section("Calibration", f'<p class="small">{text}.</p>{figure}')


def classes_section(scores: Scores) -> str:
    rows = per_class_table(scores)
    key = "average_precision" if scores.multi_label else "accuracy"
    rows.sort(key=lambda row: (row[key] is None, row[key], row["class"]))
    body = _class_table(rows[:_OPEN_ROWS], key)
    if len(rows) > _OPEN_ROWS:
        rest = _class_table(rows[_OPEN_ROWS:], key)
        others = counted(len(rows) - _OPEN_ROWS, "other class", "other classes")
        body += f"<details><summary>{others}</summary>{rest}</details>"
    sections = section("Classes, the weakest first", body)
    if scores.multi_label or not (scores.targets >= 0).any():
        return sections
    matrix = confusion_matrix(scores.targets, scores.logits.argmax(axis=1), len(scores.classes))
    pairs = "".join(
        f"<tr><td>{escape(true)}</td><td>{escape(taken)}</td><td>{count}</td><td>{share(part)}</td></tr>"
        for true, taken, count, part in confused_pairs(matrix, scores.classes)
    )
    if pairs:
        head = "<tr><th>true class</th><th>taken for</th><th>videos</th><th>of its class</th></tr>"
        sections += section("Most confused", f'<div class="scroll"><table>{head}{pairs}</table></div>')
    drawn = [plots.draw_confusion(matrix, scores.classes, dark) for dark in (False, True)]
    caption = (
        "Each row shows how the videos of one class were classified, as shares of that class. Blue, on the "
        "diagonal: recognised. Orange: mistakes."
    )
    width = min(round(drawn[0].get_figwidth() * 96), 1600)
    least = width if len(scores.classes) > 60 else 0.6 * width  # smaller is not legible: scroll instead
    figure = figure_image(drawn, "Confusion matrix", f"width:{width}px;max-width:max(100%,{least:.0f}px)")
    return sections + section(
        "Confusion matrix", f'<p class="small">{caption}</p><div class="scroll">{figure}</div>'
    )


def _class_table(rows: Sequence[Mapping[str, Any]], key: str) -> str:
    single = key == "accuracy"
    head = "<th>class</th><th>videos</th>"
    head += "<th>recognised</th><th>precision</th>" if single else ""
    head += "<th>average precision</th>" + ("<th>most often taken for</th>" if single else "")
    lines = []
    for row in rows:
        cells = f"<td>{escape(row['class'])}</td><td>{row['videos']}</td>"
        if single:
            cells += f"<td>{bar(row['accuracy'])}</td><td>{share(row['precision'])}</td>"
            cells += (
                f"<td>{share(row['average_precision'])}</td><td>{escape(row['confused_with'] or '')}</td>"
            )
        else:
            cells += f"<td>{bar(row['average_precision'])}</td>"
        lines.append(f"<tr>{cells}</tr>")
    return f'<div class="scroll"><table class="{key}"><tr>{head}</tr>{"".join(lines)}</table></div>'
