"""Plot of the attribution of a prediction to pixels, steps or tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from rosenblatt.inspection.plots.figure import BLUE, GREY, ORANGE, Plot, make_figure, with_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from rosenblatt.inspection.torch_attribution import Attribution, Explanation

CHARACTERS_PER_LINE = 60
MAX_CHARACTERS = 3000  # of a text, from its start


@with_style
def attribution_plot(explanation: Explanation) -> Plot:
    """Images beside their attribution, texts with colored tokens, sequences with bars for each step."""
    n_axes = sum(2 if attribution.kind == "image" else 1 for attribution in explanation.attributions)
    n_characters = max((sum(map(len, attribution.tokens)) for attribution in explanation.attributions), default=0)
    min_height = 1.3 if all(attribution.kind == "text" for attribution in explanation.attributions) else 3.2
    height = max(min_height, 1.2 + 0.28 * (min(n_characters, MAX_CHARACTERS) / CHARACTERS_PER_LINE))
    figure, axes = make_figure(n_axes, 3.4 * n_axes if n_axes > 1 else 6.4, height)
    index = 0
    for attribution in explanation.attributions:
        if attribution.kind == "image":
            _draw_image(axes[index], axes[index + 1], attribution)
            index += 2
            continue
        (_draw_text if attribution.kind == "text" else _draw_sequence)(axes[index], attribution)
        index += 1
    name = {"gradients": "integrated gradients", "grad_cam": "Grad-CAM", "occlusion": "occlusion"}[explanation.method]
    caption = f"Attribution by {name}: blue parts support {explanation.answer!r}, orange ones oppose it."
    return Plot("Attribution", caption, figure)


def _draw_image(left: Axes, right: Axes, attribution: Attribution) -> None:
    pixels = attribution.inputs.astype(np.float64)
    low, high = pixels.min(), pixels.max()
    scaled = pixels / 255 if attribution.inputs.dtype == np.uint8 else (pixels - low) / max(high - low, 1e-12)
    displayed = scaled if scaled.shape[2] == 3 else scaled[:, :, 0]
    limit = np.quantile(np.abs(attribution.values), 0.99) or 1.0
    left.imshow(displayed, cmap="gray")
    right.imshow(scaled.mean(axis=2), cmap="gray", alpha=0.5)
    right.imshow(
        attribution.values,
        cmap=LinearSegmentedColormap.from_list("attribution", [ORANGE, "white", BLUE]),
        vmin=-limit,
        vmax=limit,
        alpha=0.7,
    )
    left.set(title=attribution.column)
    right.set(title="attribution")
    for ax in (left, right):
        ax.set_axis_off()


def _draw_text(ax: Axes, attribution: Attribution) -> None:
    limit, x, y = np.abs(attribution.values).max(initial=0) or 1.0, 0, 0.0
    for token, value in list(zip(attribution.tokens, attribution.values, strict=True))[:MAX_CHARACTERS]:
        if x + len(token) > CHARACTERS_PER_LINE:
            x, y = 0, y - 1
        color = BLUE if value > 0 else ORANGE
        alpha = float(min(abs(value) / limit, 1))
        ax.axvspan(x, x + len(token), 0, 0)  # extends the axis to the width of the text
        ax.fill_between([x, x + len(token)], y - 0.4, y + 0.4, color=color, alpha=0.6 * alpha, lw=0)
        ax.text(x + len(token) / 2, y, token, ha="center", va="center", family="monospace", fontsize=8)
        x += len(token) + (0 if len(token) == 1 else 1)
    ax.set(xlim=(0, CHARACTERS_PER_LINE), ylim=(y - 1, 1), title=attribution.column)
    ax.set_axis_off()


def _draw_sequence(ax: Axes, attribution: Attribution) -> None:
    steps = np.arange(1, len(attribution.values) + 1)
    max_abs = np.abs(attribution.inputs).max() or 1.0
    for channel in attribution.inputs.T:
        ax.plot(steps, channel / max_abs, color=GREY, lw=0.8)
    limit = np.abs(attribution.values).max() or 1.0
    ax.bar(
        steps,
        attribution.values / limit,
        color=np.where(attribution.values > 0, BLUE, ORANGE).tolist(),
        alpha=0.6,
        width=0.9,
    )
    ax.set(xlabel="step", title=attribution.column, ylim=(-1.1, 1.1))
