"""In: a model, and what it said of rows with answers. Out: pictures: learning curves, confusion, ROC, residuals, ..."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, wraps
from html import escape
from io import BytesIO
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from sklearn import metrics

from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import StorageError
from rosenblatt.models.model import Model
from rosenblatt.networks.dense import Architecture
from rosenblatt.runs.store.curves import Points

Arguments = ParamSpec("Arguments")

BLUE, ORANGE, GREY, LIGHT = "#2563eb", "#d97706", "#6b7280", "#d1d5db"
COLORS = (BLUE, ORANGE, "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d", "#65a30d", "#92400e", "#475569")
MOST_CURVES = 10  # classes drawn in one picture
MOST_POINTS = 2000
UNITS_SHOWN = 14  # units of a layer in the drawing of a network
IMPORTANCE_ROWS = 2000
IMPORTANCE_COLUMNS = 60  # of wider tables, those with the strongest weights
GRID = 200  # points a side of a plane
FEW_LINES = 200  # between two layers; of more the weak ones are drawn weaker still
STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "svg.hashsalt": "rosenblatt",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True)
class Picture:
    """A figure of Matplotlib, and what it shows; notebooks show it as it is."""

    title: str
    caption: str
    figure: Figure

    @cached_property
    def svg(self) -> bytes:
        """The picture as an SVG file."""
        buffer = BytesIO()
        with mpl.rc_context(STYLE):
            self.figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
        return buffer.getvalue()

    def as_file(self, path: str) -> bytes:
        """The picture in the format that the file's name asks for."""
        buffer = BytesIO()
        with mpl.rc_context(STYLE):
            self.figure.savefig(buffer, format=path.rsplit(".", 1)[-1].lower(), bbox_inches="tight", dpi=150)
        return self.svg if path.lower().endswith(".svg") else buffer.getvalue()

    def data_uri(self) -> str:
        """The picture as an address that holds it whole."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg).decode()

    def _repr_html_(self) -> str:
        title, caption = escape(self.title), escape(self.caption)
        return f'<figure><img alt="{title}" src="{self.data_uri()}"/><figcaption>{caption}</figcaption></figure>'


def styled(draw: Callable[Arguments, Picture]) -> Callable[Arguments, Picture]:
    """Draw in the project's style; dollar signs in names are dollar signs, not formulas."""

    @wraps(draw)
    def drawn(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Picture:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


@styled
def learning_curves(model: Model) -> Picture:
    """The loss of each network, epoch by epoch, and the score of its validation rows; a dot marks the epoch kept."""
    scored = any(network.scores for network in model.networks)
    scoring = model.chosen.training.scoring
    figure, axes = figure_of(2 if scored else 1, 7.2, 3)
    for index, network in enumerate(model.trials[0].networks):
        color, epochs = COLORS[index % len(COLORS)], np.arange(1, len(network.losses) + 1)
        axes[0].plot(epochs, network.losses, color=color, lw=1)
        if scored:
            sign = -1 if scoring == "loss" else 1
            scores = sign * np.asarray(network.scores)
            axes[1].plot(epochs[: len(scores)], scores, color=color, lw=1)
            axes[1].plot(network.best_epoch, scores[network.best_epoch - 1], "o", color=color, ms=4)
    axes[0].set(xlabel="epoch", ylabel="training loss")
    if scored:
        axes[1].set(xlabel="epoch", ylabel=f"validation {scoring}")
    of_trial = f" of trial {model.trials[0].number}, which weighs most" if len(model.trials) > 1 else ""
    caption = f"One line a network{of_trial}. Each keeps the epoch that was best on its validation rows (the dot)."
    return Picture("Learning curves", caption, figure)


@styled
def search_history(facts: dict[str, Any]) -> Picture:
    """The validation score of each trial of a search, and the best one so far; from a model's fact "search"."""
    numbers, scores = (np.array(values) for values in zip(*facts["history"], strict=True))
    lower = facts["scoring"] == "loss"
    best = (np.minimum if lower else np.maximum).accumulate(scores)
    figure, (ax,) = figure_of(1, 7.2, 3)
    ax.plot(numbers, scores, "o", color=GREY, ms=3, alpha=0.6)
    ax.plot(numbers, best, color=BLUE, lw=1.5, drawstyle="steps-post")
    joined = {one["trial"] for one in facts["ensemble"]}
    inside = np.isin(numbers, list(joined))
    ax.plot(numbers[inside], scores[inside], "o", color=ORANGE, ms=5)
    spread = np.quantile(scores, [0.0, 0.9] if lower else [0.1, 1.0])
    room = 0.08 * (spread[1] - spread[0] or 1.0)
    ax.set(xlabel="trial", ylabel=f"validation {facts['scoring']}", ylim=(spread[0] - room, spread[1] + room))
    caption = (
        "Each dot is a trial, at the last score it reached (a tenth, the worst, may lie outside); the line is the best "
        "so far. Orange ones make the model."
    )
    return Picture("The search", caption, figure)


@styled
def hyperparameter_importance(facts: dict[str, Any]) -> Picture:
    """What share of the difference between good trials and others each hyperparameter makes."""
    shown = list(facts["importance"].items())[:12][::-1]
    figure, (ax,) = figure_of(1, 7.2, max(1.6, 0.8 + 0.26 * len(shown)))
    ax.barh([name for name, _ in shown], [share for _, share in shown], color=BLUE, height=0.7)
    ax.set(xlabel="share of importance")
    caption = "What told good trials from others (Watanabe et al. 2023), of the hyperparameters that all trials had."
    return Picture("Importance of hyperparameters", caption, figure)


def save_curves(curves: Mapping[str, Mapping[str, Points]], path: str) -> None:
    """Write a picture with a part for each metric, in which each run has a line. Raises StorageError."""
    drawn = {name: lines for name, lines in curves.items() if lines}
    if not drawn:
        raise StorageError("There are no curves to draw: these runs have logged no metric.")
    runs = list(dict.fromkeys(run for lines in drawn.values() for run in lines))
    with mpl.rc_context(STYLE):
        figure, places = figure_of(len(drawn), 4.0, 2.6, columns=min(len(drawn), 3))
        for place, (name, lines) in zip(places, drawn.items(), strict=False):
            for run, points in lines.items():
                style = "o" if len(points.values) == 1 else "-"
                place.plot(points.steps, points.values, style, color=COLORS[runs.index(run) % len(COLORS)], label=run)
            place.set_title(name)
            place.set_xlabel("step")
        places[0].legend(fontsize="small")
        try:
            figure.savefig(path, bbox_inches="tight", dpi=150)
        except (OSError, ValueError) as error:
            raise StorageError(f"The picture {path!r} cannot be written: {error}.") from error


@styled
def confusion_matrix(target: Target, y: np.ndarray, decoded: np.ndarray) -> Picture:
    """How often each class was taken for each."""
    labels = [str(label) for label in target.labels]
    counts = metrics.confusion_matrix(y, target.decide(decoded), labels=np.arange(len(labels)))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = min(2.2 + 0.45 * len(labels), 9)
    figure, (ax,) = figure_of(1, size + 0.8, size)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(labels) <= 20:
        for (row, column), count in np.ndenumerate(counts):
            ink = "white" if shares[row, column] > 0.5 else "black"
            ax.text(column, row, f"{count:,}", ha="center", va="center", color=ink)
    ticks = np.arange(len(labels))
    ax.set(xlabel="predicted", ylabel="true", xticks=ticks, yticks=ticks)
    ax.set_xticklabels(
        labels, rotation=45 if max(map(len, labels)) > 6 else 0, ha="right" if max(map(len, labels)) > 6 else "center"
    )
    ax.set_yticklabels(labels)
    return Picture(
        "Confusion matrix", "Rows of the test by their true class (down) and the predicted one (across).", figure
    )


@styled
def roc(target: Target, y: np.ndarray, decoded: np.ndarray) -> Picture:
    """True against false positives as the threshold moves, for each class or label."""
    figure, (ax,) = figure_of(1, 4.2, 3.8)
    for index, (name, truth, said) in enumerate(_one_by_one(target, y, decoded)[:MOST_CURVES]):
        if 0 < truth.sum() < len(truth):
            false, true, _ = metrics.roc_curve(truth, said)
            ax.plot(
                false, true, color=COLORS[index % len(COLORS)], label=f"{name} (AUC {metrics.auc(false, true):.3f})"
            )
    ax.plot([0, 1], [0, 1], color=LIGHT, lw=1, zorder=0)
    ax.set(xlabel="false positives", ylabel="true positives", aspect="equal")
    ax.legend(frameon=False, fontsize=8, loc="lower right")
    return Picture(
        "ROC", "Share of positives found against share of negatives taken for them, over all thresholds.", figure
    )


@styled
def calibration(target: Target, y: np.ndarray, decoded: np.ndarray) -> Picture:
    """How often what was given a probability was true, in ten groups of equal size."""
    figure, (ax,) = figure_of(1, 4.2, 3.8)
    for index, (name, truth, said) in enumerate(_one_by_one(target, y, decoded)[:MOST_CURVES]):
        groups = [
            group
            for group in np.array_split(np.argsort(said, kind="stable"), min(10, max(len(said) // 10, 1)))
            if len(group)
        ]
        x, share = [said[group].mean() for group in groups], [truth[group].mean() for group in groups]
        ax.plot(x, share, "o-", ms=4, lw=1, color=COLORS[index % len(COLORS)], label=name)
    ax.plot([0, 1], [0, 1], color=LIGHT, lw=1, zorder=0)
    ax.set(
        xlabel="predicted probability",
        ylabel="share that was true",
        aspect="equal",
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
    )
    ax.legend(frameon=False, fontsize=8)
    return Picture("Calibration", "On the diagonal, what is given 70 % happens in 70 of 100 rows.", figure)


@styled
def residuals(target: Target, y: np.ndarray, decoded: np.ndarray) -> Picture:
    """Predicted against true values, and how the errors are spread, for each target."""
    figure, axes = figure_of(2 * len(target.names), 7.2, 3.2 * len(target.names), columns=2)
    some = np.random.default_rng(0).permutation(len(y))[:MOST_POINTS]
    for k, name in enumerate(target.names):
        scatter, spread = axes[2 * k : 2 * k + 2]
        scatter.plot(y[some, k], decoded[some, k], ".", ms=4, alpha=0.5, color=BLUE)
        ends = [y[:, k].min(), y[:, k].max()]
        scatter.plot(ends, ends, color=GREY, lw=1)
        scatter.set(xlabel=f"true {name}", ylabel=f"predicted {name}")
        errors = decoded[:, k] - y[:, k]
        low, high = errors.min(), errors.max()
        if high - low <= 1e-9 * max(abs(low), abs(high)):  # equal but for rounding: a histogram needs room for its bins
            low, high = low - 0.5, high + 0.5
        spread.hist(errors, bins=min(40, max(5, len(y) // 10)), range=(low, high), color=BLUE, alpha=0.8)
        spread.axvline(0, color=GREY, lw=1)
        spread.set(xlabel="predicted minus true", ylabel="rows")
    return Picture(
        "Predictions and residuals", "On the line, predictions are right; on the right, how far off they are.", figure
    )


@styled
def importance(model: Model, frame: pl.DataFrame, y: np.ndarray, repeats: int = 3) -> Picture:
    """How much worse the predictions are when a column is shuffled (Breiman 2001, section 10)."""
    found = permutation_importance(model, frame, y, repeats)
    shown = sorted(found.items(), key=lambda item: item[1].mean())[-20:]
    figure, (ax,) = figure_of(1, 6.4, 0.8 + 0.24 * len(shown))
    names = [name[:40] for name, _ in shown]
    ax.barh(
        names,
        [drop.mean() for _, drop in shown],
        xerr=[drop.std() for _, drop in shown],
        color=BLUE,
        ecolor=GREY,
        height=0.7,
    )
    ax.axvline(0, color=GREY, lw=1)
    measure = {"regression": "R2", "binary": "AUC"}.get(model.target.task, "accuracy")
    ax.set(xlabel=f"{measure} lost when the column is shuffled")
    caption = f"What the model relies on: {measure} lost on rows of the test, mean and spread of {repeats} shuffles."
    return Picture("Importance of columns", caption, figure)


def permutation_importance(model: Model, frame: pl.DataFrame, y: np.ndarray, repeats: int = 3) -> dict[str, np.ndarray]:
    """For each column, what is lost (repeats,) of R2 (regression), AUC (two classes) or accuracy by shuffling it."""
    rng = np.random.default_rng(0)
    rows = np.sort(rng.permutation(frame.height)[:IMPORTANCE_ROWS])
    truth = y[rows]
    parts = {column.name: [part.name for part in read] for column, read in model.schema.parts(frame[rows])}
    typed = model.schema.read(frame[rows])
    x = [trial.encoder.matrix(typed) for trial in model.trials]
    made_of = [np.array(trial.encoder.source_columns) for trial in model.trials]

    def quality(rows_encoded: list[np.ndarray]) -> float:
        decoded = model.decoded_rows(rows_encoded)
        if model.target.task == "regression":
            return float(metrics.r2_score(truth, decoded))
        if model.target.task == "binary" and 0 < truth.sum() < len(truth):
            return float(metrics.roc_auc_score(truth, decoded[:, 1]))
        return float((model.target.decide(decoded) == truth).mean())

    best, lost = quality(x), {}
    strength = np.abs(model.networks[0].dense.layers(model.networks[0].theta)[0][0]).sum(axis=1)
    strengths = {name: strength[np.isin(made_of[0], typed)].sum() for name, typed in parts.items()}
    for name in sorted(parts, key=lambda name: -strengths[name])[:IMPORTANCE_COLUMNS]:
        drops = []
        for _ in range(repeats):
            order = rng.permutation(len(truth))
            mixed = [np.where(np.isin(made, parts[name]), m[order], m) for made, m in zip(made_of, x, strict=True)]
            drops.append(best - quality(mixed))
        lost[name] = np.array(drops)
    return lost


@styled
def network(model: Model, which: int = 1) -> Picture:
    """A network by its number: its units, and its weights as lines, blue where they add, orange where they subtract."""
    first = model.networks[which - 1]
    layers = first.dense.layers(first.theta)
    shown = _strongest_units(first.dense, layers)
    figure, (ax,) = figure_of(1, 7.6, max(2.4, 0.8 + 0.3 * max(map(len, shown))))
    heights = [np.linspace(0.5, -0.5, len(units)) * (len(units) - 1) for units in shown]
    for l, (weights, _) in enumerate(layers):
        part = weights[np.ix_(shown[l], shown[l + 1])]
        strength = np.abs(part) / (np.abs(part).max() or 1)
        lines = [[(l, a), (l + 1, b)] for a in heights[l] for b in heights[l + 1]]
        colors = [BLUE if weight > 0 else ORANGE for weight in part.ravel()]
        ax.add_collection(
            LineCollection(
                lines,
                colors=colors,
                linewidths=2.2 * strength.ravel() ** (1 if part.size < FEW_LINES else 2),
                alpha=0.7,
                zorder=1,
            )
        )
    for l, (units, height) in enumerate(zip(shown, heights, strict=True)):
        ax.plot(np.full(len(units), l), height, "o", ms=7, color="white", mec=GREY, zorder=2)
        size = first.dense.sizes[l]
        what = "inputs" if l == 0 else first.dense.activation if l < len(layers) else f"output{'s' * (size > 1)}"
        some = f"\n({len(units)} shown)" if len(units) < size else ""
        ax.text(l, height.min() - 1.2 if len(height) else 0, f"{size} {what}{some}", ha="center", va="top", color=GREY)
    for unit, height in zip(shown[0], heights[0], strict=True):
        ax.text(-0.06, height, model.trial_of(which - 1).encoder.names[unit][:34], ha="right", va="center", fontsize=7)
    for name, height in zip(_output_names(model.target, shown[-1]), heights[-1], strict=True):
        ax.text(len(layers) + 0.06, height, name[:24], ha="left", va="center", fontsize=8)
    ax.set_axis_off()
    ax.autoscale()
    caption = (
        f"Network {which} of {len(model.networks)}. Lines are weights, as thick as they are strong: blue adds, orange "
        "subtracts. Of large "
        "layers the most strongly connected units are drawn."
    )
    return Picture("The network", caption, figure)


@styled
def decision_boundary(model: Model, frame: pl.DataFrame, row: int | None = None) -> Picture:
    """What a model of two numbers says all over their plane, and the rows of a table; `row`, from 1, is marked."""
    across, up = (column.name for column in model.schema.learnt)
    points = model.schema.read(frame).select(across, up).to_numpy()
    known = np.isfinite(points).all(axis=1)
    answers = frame[model.target.names[0]].cast(pl.String) if model.target.names[0] in frame.columns else None
    points, answers = points[known], None if answers is None else answers.filter(known)
    margin = 0.08 * np.ptp(points, axis=0) + 1e-9
    low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
    x, y = np.meshgrid(np.linspace(low[0], high[0], GRID), np.linspace(low[1], high[1], GRID))
    said = model.decoded(pl.DataFrame({across: x.ravel(), up: y.ravel()}))
    figure, (ax,) = figure_of(1, 5.6, 4.6)
    if model.target.task == "regression":
        shades = ax.pcolormesh(x, y, said[:, 0].reshape(x.shape), cmap="viridis", shading="auto", rasterized=True)
        figure.colorbar(shades, label=model.target.names[0])
    else:
        decided = np.asarray(model.target.decide(said)).reshape(GRID * GRID, -1)[:, 0].reshape(x.shape)
        classes = max(len(model.target.labels), 2)
        palette = mpl.colors.ListedColormap([COLORS[k % len(COLORS)] for k in range(classes)])
        ax.pcolormesh(x, y, decided, cmap=palette, vmin=0, vmax=classes - 1, alpha=0.3, shading="auto", rasterized=True)
        for k, label in enumerate(model.target.labels):
            here = points[:0] if answers is None else points[(answers == str(label)).fill_null(False).to_numpy()]
            here = here[:: len(here) // MOST_POINTS + 1]
            ax.plot(*here.T, "o", ms=4, color=COLORS[k % len(COLORS)], label=str(label), alpha=0.8, zorder=3)
        ax.legend(loc="upper right", fontsize=8)
    some = points[:: len(points) // MOST_POINTS + 1]
    ax.plot(some[:, 0], some[:, 1], ".", ms=3, color="black", alpha=0.5)
    if row is not None:
        here = model.schema.read(frame[row - 1 : row]).select(across, up).to_numpy()[0]
        ax.plot(*here, "o", ms=11, mfc="none", mec="black", mew=1.6)
    ax.set(xlabel=across, ylabel=up)
    caption = "Colors are what the model says at each point, dots the rows of the table" + (
        f", the ring row {row}." if row is not None else "."
    )
    return Picture("The decision boundary", caption, figure)


def has_plane(model: Model) -> bool:
    """Whether the model learnt from two numbers and nothing else."""
    return len(model.schema.learnt) == 2 and all(column.kind == "number" for column in model.schema.learnt)


def _strongest_units(architecture: Architecture, layers: list[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
    """Of each layer, the units to draw: those with the strongest weights, in order."""
    shown = []
    for l, size in enumerate(architecture.sizes):
        strength = np.zeros(size)
        if l < len(layers):
            strength += (layers[l][0] ** 2).sum(axis=1)
        if l > 0:
            strength += (layers[l - 1][0] ** 2).sum(axis=0)
        shown.append(np.sort(np.argsort(-strength, kind="stable")[:UNITS_SHOWN]))
    return shown


def _output_names(target: Target, units: np.ndarray) -> list[str]:
    if target.task == "multiclass":
        return [str(target.labels[unit]) for unit in units]
    return [str(target.labels[1])] if target.task == "binary" else [target.names[unit] for unit in units]


def _one_by_one(target: Target, y: np.ndarray, decoded: np.ndarray) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Name, truth (n,) and prediction (n,) of the positive class, of each class, or of each label."""
    if target.task == "binary":
        return [(str(target.labels[1]), y == 1, decoded[:, 1])]
    if target.task == "multilabel":
        return [(name, y[:, k] == 1, decoded[:, k]) for k, name in enumerate(target.names)]
    return [(str(label), y == k, decoded[:, k]) for k, label in enumerate(target.labels)]


def figure_of(parts: int, width: float, height: float, columns: int | None = None) -> tuple[Figure, list[Axes]]:
    """A figure of so many parts, side by side, in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    columns = columns or parts
    axes = figure.subplots(-(-parts // columns), columns, squeeze=False)
    return figure, list(axes.ravel())
