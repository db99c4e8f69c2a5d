"""What the figures of reports share: colours for light and dark pages, and figures without a window."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["Theme", "dress", "new_figure", "page_theme", "short_name"]


class Theme(NamedTuple):
    """Colours of a figure."""

    paper: str
    text: str
    grid: str
    first: str  # training, right
    second: str  # validation, wrong


_LIGHT = Theme("#ffffff", "#24272c", "#d9dce1", "#0b63a8", "#c4560a")
_DARK = Theme("#1b1e23", "#d8dbe0", "#3a3f47", "#6cb6ff", "#ff9d4d")


def page_theme(dark: bool) -> Theme:
    """The colours for a dark or a light page."""
    return _DARK if dark else _LIGHT


def new_figure(width: float, height: float) -> Any:
    """A matplotlib figure with its size in inches, without a window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def dress(axes: Any, theme: Theme) -> None:
    """Give axes the colours of a theme."""
    axes.tick_params(colors=theme.text, labelcolor=theme.text)
    axes.xaxis.label.set_color(theme.text)
    axes.yaxis.label.set_color(theme.text)
    for spine in axes.spines.values():
        spine.set_color(theme.grid)


def short_name(name: str, length: int = 28) -> str:
    """A name as text of a figure: printable, and shortened."""
    clean = "".join(letter if letter.isprintable() else "?" for letter in name)
    return clean if len(clean) <= length else clean[: length - 1] + "…"
