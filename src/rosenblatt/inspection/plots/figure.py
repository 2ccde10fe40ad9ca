"""The `Plot` class, and the style and figure layout that all plots share."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, wraps
from html import escape
from io import BytesIO
from typing import Any, ParamSpec

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Arguments = ParamSpec("Arguments")

NARROW, WIDE = 4.4, 9.0  # inches: the width of figures that take one column of a report, or two
BLUE, ORANGE, GREY, LIGHT_GREY = "#2563eb", "#d97706", "#6b7280", "#d1d5db"
COLORS = (BLUE, ORANGE, "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d", "#65a30d", "#92400e", "#475569")
MAX_POINTS = 2000  # points of a scatter plot
STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "svg.hashsalt": "rosenblatt",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True)
class Plot:
    """A Matplotlib figure with a title and a caption; notebooks display it."""

    title: str
    caption: str
    figure: Figure

    @property
    def is_wide(self) -> bool:
        """Whether the figure is wider than one column of a report."""
        return bool(self.figure.get_figwidth() > (NARROW + WIDE) / 2)

    @cached_property
    def svg(self) -> bytes:
        """The figure as an SVG file."""
        buffer = BytesIO()
        with mpl.rc_context(STYLE):
            self.figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
        return buffer.getvalue()

    def to_bytes(self, path: str) -> bytes:
        """The figure in the format given by the suffix of a file name, such as .svg, .png or .pdf."""
        buffer = BytesIO()
        with mpl.rc_context(STYLE):
            self.figure.savefig(buffer, format=path.rsplit(".", 1)[-1].lower(), bbox_inches="tight", dpi=150)
        return self.svg if path.lower().endswith(".svg") else buffer.getvalue()

    def data_uri(self) -> str:
        """The figure as a data URI."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg).decode()

    def _repr_html_(self) -> str:
        title, caption = escape(self.title), escape(self.caption)
        return f'<figure><img alt="{title}" src="{self.data_uri()}"/><figcaption>{caption}</figcaption></figure>'


def with_style(draw: Callable[Arguments, Plot]) -> Callable[Arguments, Plot]:
    """Decorator: draw in the project's style, with dollar signs in names as plain text instead of formulas."""

    @wraps(draw)
    def wrapper(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Plot:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return wrapper


def make_figure(n_axes: int, width: float, height: float, columns: int | None = None) -> tuple[Figure, list[Axes]]:
    """Create a figure of `n_axes` axes in rows of `columns` (by default one row); width and height are in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    columns = columns or n_axes
    axes = figure.subplots(-(-n_axes // columns), columns, squeeze=False)
    return figure, list(axes.ravel())
