"""Print tables, models, searches and scores on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as Grid

from rosenblatt.models.metadata import TestScore
from rosenblatt.models.model import Model
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS, format_value

SHOWN_TRIALS = 3  # of a search, side by side


def print_table(description: dict[str, Any]) -> None:
    """A table's description on the terminal."""
    console = Console(highlight=False)
    console.print(
        f"{description['source']}: {description['rows']:,} rows, {len(description['columns'])} columns", markup=False
    )
    for note in description["notes"]:
        console.print(f"  {note}", markup=False)
    grid = _make_grid("column", "kind", "missing", "different", "examples", "note")
    for column in description["columns"]:
        fraction = column["missing"] / description["rows"]
        grid.add_row(
            _escape_markup(column["name"]),
            column["kind"],
            f"{fraction:.1%}" if fraction else "",
            f"{column['distinct']:,}",
            _escape_markup(", ".join(text[:24] for text in column["examples"])),
            _escape_markup(column["note"]),
        )
    console.print(grid)
    console.print(f"likely task: {description['likely_task']}", markup=False)


def print_model(description: dict[str, Any]) -> None:
    """A model's description on the terminal."""
    console = Console(highlight=False)
    outline, show_classes = description["outline"], description["classes"] and description["task"] != "language"
    lines = [
        (
            f"{description['model']}: {description['networks']} x {description['kind']} {outline}, "
            f"{' or '.join(description['activation'])}, {description['parameters']:,} parameters"
        ),
        (
            f"predicts {', '.join(description['target'])} ({description['task']}"
            f"{': ' + ', '.join(map(str, description['classes'][:8])) if show_classes else ''})"
        ),
        f"best epochs: {', '.join(map(str, description['best_epochs']))}",
    ]
    metadata = description["metadata"]
    origin = f" of {metadata['source']}" if metadata.get("source") else ""
    lines.append(
        f"learnt from {metadata['rows']:,} rows{origin}, as {description['inputs']} inputs made of the columns below"
        + (f", in {metadata['seconds']:g} s on {metadata['created']}" if "created" in metadata else "")
    )
    if len(description["ensemble"]) > 1:
        weights = ", ".join(f"{weight:.0%} trial {number}" for number, weight in description["ensemble"])
        lines.append(f"an ensemble: {weights}; inputs and hyperparameters below are those of the first")
    if metadata["interrupted"]:
        lines.append("training was stopped early")
    for line in lines:
        console.print(line, markup=False)
    grid = _make_grid("column", "kind", "missing", "different", "note")
    for column in description["columns"]:
        row = (column["name"], column["kind"], column["missing"] or "", column["distinct"] or "", column["note"])
        grid.add_row(*(_escape_markup(str(cell)) for cell in row))
    console.print(grid)
    grid = _make_grid("hyperparameter", "value", "requested", "what it is")
    for name, values in description["hyperparameters"].items():
        requested = "" if values["requested"] == values["value"] else format_value(values["requested"])
        grid.add_row(
            name, _escape_markup(format_value(values["value"])), requested, _escape_markup(HYPERPARAMETERS[name].help)
        )
    console.print(grid)
    if "search" in metadata:
        print_search(metadata["search"])
    if description["scores"]:
        grid = _make_grid("test score", "model", "baseline")
        for name, values in description["scores"].items():
            grid.add_row(_escape_markup(name), f"{values['model']:.4g}", f"{values['baseline']:.4g}")
        console.print(grid)


def print_search(search: dict[str, Any]) -> None:
    """What a search found, on the terminal: its best trials, what mattered, how much of the best score is luck."""
    console, trials, scoring = Console(highlight=False), search["trials"], search["scoring"]
    counted = ", ".join(f"{trials[state]} {state}" for state in ("finished", "stopped", "failed") if trials[state])
    console.print(
        f"search: {trials['proposed']} trials in {search['seconds']:.0f} s ({counted}), "
        f"{search['steps_per_second']:,} network-steps/s, cores busy {search['cores_busy']:.0%}",
        soft_wrap=True,
    )
    if search["refused"]:
        console.print(
            f"{search['refused']} proposals could not be combined, such as: {search['refusal']}", soft_wrap=True
        )
    weights = {member["trial"]: member["weight"] for member in search["ensemble"]}
    shown_trials = (search["front"] or search["top"])[:SHOWN_TRIALS]
    grid = _make_grid("", *(f"trial {trial['number']}" for trial in shown_trials), "importance")
    grid.columns[0].no_wrap = grid.columns[-1].no_wrap = True
    grid.add_row(f"validation {scoring}", *(f"{trial['score']:.4f}" for trial in shown_trials), "")
    grid.add_row("share in the model", *(f"{weights.get(trial['number'], 0):.0%}" for trial in shown_trials), "")
    grid.add_row("parameters", *(f"{trial['parameters']:,}" for trial in shown_trials), "")
    names = dict.fromkeys(name for trial in shown_trials for name in trial["params"])
    for name in sorted(names, key=lambda name: -search["importance"].get(name, 0)):
        values = (_format_param(trial["params"][name]) if name in trial["params"] else "" for trial in shown_trials)
        importance = search["importance"].get(name)
        grid.add_row(name, *values, "" if importance is None else f"{importance:4.0%} {'▇' * round(10 * importance)}")
    console.print(grid)
    if "refit" in search:
        refit = search["refit"]
        console.print(
            f"learnt again from all {refit['rows']:,} rows: {refit['networks']} networks in {refit['seconds']:.0f} s",
            soft_wrap=True,
        )
    if search["optimism"] is not None and trials["finished"] > 1:
        console.print(
            f"best validation {scoring} {search['best']['score']:.4f}; being the best of many, it is too good by about "
            f"{search['optimism']:.4f} (bootstrap over validation rows)",
            soft_wrap=True,
        )


def _format_param(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else format_value(value)


def print_scores(scores: list[TestScore], model: Model, best_trial_scores: Sequence[TestScore] = ()) -> None:
    """Scores beside the baseline's, on the terminal; `best_trial_scores` those of the best trial of an ensemble."""
    baseline_name = "mean" if model.target.task == "regression" else "majority class"
    if model.task == "forecasting":
        baseline_name = "last value"
    if model.target.task == "multilabel":
        baseline_name = "most frequent labels"
    networks = f"{len(model.networks)} network{'s' * (len(model.networks) > 1)}"
    if len(model.trials) > 1:
        networks = f"ensemble of {len(model.trials)} trials, {networks}"
    extra_columns = ["best trial alone"] if best_trial_scores else []
    grid = _make_grid("test score", networks, *extra_columns, f"baseline: {baseline_name}")
    for i, score in enumerate(scores):
        model_score = f"{score.model:.4f}" if abs(score.model) < 1000 else f"{score.model:,.1f}"
        baseline_score = f"{score.baseline:.4f}" if abs(score.baseline) < 1000 else f"{score.baseline:,.1f}"
        best_trial_score = [f"{best_trial_scores[i].model:.4f}"] if best_trial_scores else []
        grid.add_row(
            _escape_markup(score.name),
            model_score if score.beats_baseline else f"{model_score} (no better)",
            *best_trial_score,
            baseline_score,
        )
    Console(highlight=False).print(grid)


def _make_grid(*titles: str) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for title in titles:
        grid.add_column(
            title, justify="right" if title in ("missing", "different", "model") else "left", overflow="fold"
        )
    return grid


def _escape_markup(text: str) -> str:
    return text.replace("[", "\\[")
