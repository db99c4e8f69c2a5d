"""Text and HTML representations of recognisers."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from praxiscope.units import counted, describe_rate

if TYPE_CHECKING:
    from praxiscope.inference.recogniser import Recogniser

__all__ = ["input_text", "recogniser_html", "recogniser_text"]


def _model(network: Recogniser) -> str:
    backbone = network.card.kwargs.get("backbone")
    return f"{network.card.name} ({backbone})" if backbone else network.card.name


def input_text(network: Recogniser) -> str:
    """Describe an input of a network."""
    shown = network.card.input
    frames = "all frames" if network.sees.all_frames else counted(shown.snippets, "snippet")
    frames += describe_rate(shown.fps, shown.max_seconds)
    flow = "" if shown.flow is None else f", {shown.flow.length} flow fields each"
    return f"{network.stream}, {frames}{flow}, {shown.size} x {shown.size} pixels"


def _labels(network: Recogniser, most: int) -> str:
    labels = network.card.labels
    return ", ".join(labels[:most]) + (", …" if len(labels) > most else "")


def _metrics(network: Recogniser) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in network.metrics.items())


def recogniser_text(networks: Sequence[Recogniser]) -> str:
    """Return a line with the networks of a recogniser, their inputs, labels and metrics."""
    parts = [f"{_model(network)} on {network.input_text}" for network in networks]
    labels = f"{counted(len(networks[0].card.labels), 'label')}: {_labels(networks[0], 5)}"
    metrics = [figures for network in networks if (figures := _metrics(network))]
    found = f"; validation: {' | '.join(metrics)}" if metrics else ""
    return f"<Recogniser {' + '.join(parts)}; {labels}{found}>"


def recogniser_html(networks: Sequence[Recogniser]) -> str:
    """Return the same information as an HTML table."""
    rows = []
    for network in networks:
        rows += [("model", _model(network)), ("input", network.input_text)]
        if figures := _metrics(network):
            rows.append(("validation", figures))
    rows.append((counted(len(networks[0].card.labels), "label"), _labels(networks[0], 20)))
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    return f"<table><caption>Recogniser</caption>{cells}</table>"
