"""In: what an answer owes to pixels, steps or tokens. Out: a picture of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from rosenblatt.inspection.plots.figure import BLUE, GREY, ORANGE, Picture, figure_of, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from rosenblatt.inspection.torch_attribution import Explained, Heed

A_LINE = 60  # characters of a text on a line
MOST_CHARACTERS = 3000


@styled
def heed(explained: Explained) -> Picture:
    """Images beside what mattered in them; texts with what mattered marked; sequences with bars below."""
    wide = sum(2 if one.kind == "image" else 1 for one in explained.heeds)
    text = max((sum(map(len, one.tokens)) for one in explained.heeds), default=0)
    least = 1.3 if all(one.kind == "text" for one in explained.heeds) else 3.2
    height = max(least, 1.2 + 0.28 * (min(text, MOST_CHARACTERS) / A_LINE))
    figure, axes = figure_of(wide, 3.4 * wide if wide > 1 else 6.4, height)
    place = 0
    for one in explained.heeds:
        if one.kind == "image":
            _image(axes[place], axes[place + 1], one)
            place += 2
            continue
        (_text if one.kind == "text" else _sequence)(axes[place], one)
        place += 1
    name = {"gradients": "integrated gradients", "grad_cam": "Grad-CAM", "occlusion": "occlusion"}[explained.method]
    caption = f"What spoke for {explained.answer!r} (blue) and against it (orange), by {name}."
    return Picture("What mattered", caption, figure)


def _image(left: Axes, right: Axes, one: Heed) -> None:
    pixels = one.shown.astype(np.float64)
    low, high = pixels.min(), pixels.max()
    whole = pixels / 255 if one.shown.dtype == np.uint8 else (pixels - low) / max(high - low, 1e-12)
    shown = whole if whole.shape[2] == 3 else whole[:, :, 0]
    most = np.quantile(np.abs(one.values), 0.99) or 1.0
    left.imshow(shown, cmap="gray")
    right.imshow(whole.mean(axis=2), cmap="gray", alpha=0.5)
    right.imshow(
        one.values,
        cmap=LinearSegmentedColormap.from_list("heed", [ORANGE, "white", BLUE]),
        vmin=-most,
        vmax=most,
        alpha=0.7,
    )
    left.set(title=one.column)
    right.set(title="what mattered")
    for ax in (left, right):
        ax.set_axis_off()


def _text(ax: Axes, one: Heed) -> None:
    most, x, y = np.abs(one.values).max(initial=0) or 1.0, 0, 0.0
    for token, value in list(zip(one.tokens, one.values, strict=True))[:MOST_CHARACTERS]:
        if x + len(token) > A_LINE:
            x, y = 0, y - 1
        color = BLUE if value > 0 else ORANGE
        alpha = float(min(abs(value) / most, 1))
        ax.axvspan(x, x + len(token), 0, 0)  # so that the axis is as wide as the text
        ax.fill_between([x, x + len(token)], y - 0.4, y + 0.4, color=color, alpha=0.6 * alpha, lw=0)
        ax.text(x + len(token) / 2, y, token, ha="center", va="center", family="monospace", fontsize=8)
        x += len(token) + (0 if len(token) == 1 else 1)
    ax.set(xlim=(0, A_LINE), ylim=(y - 1, 1), title=one.column)
    ax.set_axis_off()


def _sequence(ax: Axes, one: Heed) -> None:
    steps = np.arange(1, len(one.values) + 1)
    spread = np.abs(one.shown).max() or 1.0
    for channel in one.shown.T:
        ax.plot(steps, channel / spread, color=GREY, lw=0.8)
    most = np.abs(one.values).max() or 1.0
    ax.bar(steps, one.values / most, color=np.where(one.values > 0, BLUE, ORANGE).tolist(), alpha=0.6, width=0.9)
    ax.set(xlabel="step", title=one.column, ylim=(-1.1, 1.1))
