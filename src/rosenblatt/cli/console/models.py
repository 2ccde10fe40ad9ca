"""Print tables, models, searches and scores on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as Grid

from rosenblatt.models.metrics import Score
from rosenblatt.models.model import Model
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS, in_words

SHOWN_TRIALS = 3  # of a search, side by side


def show_table(description: dict[str, Any]) -> None:
    """A table's description on the terminal."""
    console = Console(highlight=False)
    console.print(
        f"{description['source']}: {description['rows']:,} rows, {len(description['columns'])} columns", markup=False
    )
    for note in description["notes"]:
        console.print(f"  {note}", markup=False)
    grid = _grid("column", "kind", "missing", "different", "examples", "note")
    for column in description["columns"]:
        share = column["missing"] / description["rows"]
        grid.add_row(
            _safe(column["name"]),
            column["kind"],
            f"{share:.1%}" if share else "",
            f"{column['distinct']:,}",
            _safe(", ".join(text[:24] for text in column["examples"])),
            _safe(column["note"]),
        )
    console.print(grid)
    console.print(f"likely task: {description['likely_task']}", markup=False)


def show_model(description: dict[str, Any]) -> None:
    """A model's description on the terminal."""
    console = Console(highlight=False)
    outline, few = description["outline"], description["classes"] and description["task"] != "language"
    lines = [
        (
            f"{description['model']}: {description['networks']} x {description['kind']} {outline}, "
            f"{' or '.join(description['activation'])}, {description['parameters']:,} parameters"
        ),
        (
            f"predicts {', '.join(description['target'])} ({description['task']}"
            f"{': ' + ', '.join(map(str, description['classes'][:8])) if few else ''})"
        ),
        f"best epochs: {', '.join(map(str, description['best_epochs']))}",
    ]
    facts = description["facts"]
    origin = f" of {facts['source']}" if facts.get("source") else ""
    lines.append(
        f"learnt from {facts['rows']:,} rows{origin}, as {description['inputs']} inputs made of the columns below"
        + (f", in {facts['seconds']:g} s on {facts['created']}" if "created" in facts else "")
    )
    if len(description["ensemble"]) > 1:
        shares = ", ".join(f"{share:.0%} trial {number}" for number, share in description["ensemble"])
        lines.append(f"an ensemble: {shares}; inputs and hyperparameters below are those of the first")
    if facts["interrupted"]:
        lines.append("training was stopped early")
    for line in lines:
        console.print(line, markup=False)
    grid = _grid("column", "kind", "missing", "different", "note")
    for column in description["columns"]:
        row = (column["name"], column["kind"], column["missing"] or "", column["distinct"] or "", column["note"])
        grid.add_row(*(_safe(str(cell)) for cell in row))
    console.print(grid)
    grid = _grid("hyperparameter", "value", "asked", "what it is")
    for name, values in description["hyperparameters"].items():
        asked = "" if values["asked"] == values["value"] else in_words(values["asked"])
        grid.add_row(name, _safe(in_words(values["value"])), asked, _safe(HYPERPARAMETERS[name].help))
    console.print(grid)
    if "search" in facts:
        show_search(facts["search"])
    if description["scores"]:
        grid = _grid("test score", "model", "baseline")
        for name, values in description["scores"].items():
            grid.add_row(_safe(name), f"{values['model']:.4g}", f"{values['baseline']:.4g}")
        console.print(grid)


def show_search(facts: dict[str, Any]) -> None:
    """What a search found, on the terminal: its best trials, what mattered, how much of the best score is luck."""
    console, trials, scoring = Console(highlight=False), facts["trials"], facts["scoring"]
    counted = ", ".join(f"{trials[state]} {state}" for state in ("finished", "stopped", "failed") if trials[state])
    console.print(
        f"search: {trials['proposed']} trials in {facts['seconds']:.0f} s ({counted}), "
        f"{facts['steps_per_second']:,} network-steps/s, cores busy {facts['cores_busy']:.0%}",
        soft_wrap=True,
    )
    if facts["refused"]:
        console.print(
            f"{facts['refused']} proposals could not be combined, such as: {facts['refusal']}", soft_wrap=True
        )
    shares = {one["trial"]: one["weight"] for one in facts["ensemble"]}
    shown = (facts["front"] or facts["top"])[:SHOWN_TRIALS]
    grid = _grid("", *(f"trial {trial['number']}" for trial in shown), "importance")
    grid.columns[0].no_wrap = grid.columns[-1].no_wrap = True
    grid.add_row(f"validation {scoring}", *(f"{trial['score']:.4f}" for trial in shown), "")
    grid.add_row("share in the model", *(f"{shares.get(trial['number'], 0):.0%}" for trial in shown), "")
    grid.add_row("parameters", *(f"{trial['parameters']:,}" for trial in shown), "")
    names = dict.fromkeys(name for trial in shown for name in trial["values"])
    for name in sorted(names, key=lambda name: -facts["importance"].get(name, 0)):
        values = (_short(trial["values"][name]) if name in trial["values"] else "" for trial in shown)
        share = facts["importance"].get(name)
        grid.add_row(name, *values, "" if share is None else f"{share:4.0%} {'▇' * round(10 * share)}")
    console.print(grid)
    if "refit" in facts:
        again = facts["refit"]
        console.print(
            f"learnt again from all {again['rows']:,} rows: {again['networks']} networks in {again['seconds']:.0f} s",
            soft_wrap=True,
        )
    if facts["optimism"] is not None and trials["finished"] > 1:
        console.print(
            f"best validation {scoring} {facts['best']['score']:.4f}; being the best of many, it is too good by about "
            f"{facts['optimism']:.4f} (bootstrap over validation rows)",
            soft_wrap=True,
        )


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else in_words(value)


def show_scores(scores: list[Score], model: Model, alone: Sequence[Score] = ()) -> None:
    """Scores beside the baseline's, on the terminal; `alone` those of the best trial of an ensemble."""
    trivial = "mean" if model.target.task == "regression" else "majority class"
    if "windows" in model.facts:
        trivial = "last value"
    if model.target.task == "multilabel":
        trivial = "most frequent labels"
    networks = f"{len(model.networks)} network{'s' * (len(model.networks) > 1)}"
    if len(model.trials) > 1:
        networks = f"ensemble of {len(model.trials)} trials, {networks}"
    best = ["best trial alone"] if alone else []
    grid = _grid("test score", networks, *best, f"baseline: {trivial}")
    for place, score in enumerate(scores):
        better = score.model > score.baseline if score.higher_is_better else score.model < score.baseline
        ours = f"{score.model:.4f}" if abs(score.model) < 1000 else f"{score.model:,.1f}"
        base = f"{score.baseline:.4f}" if abs(score.baseline) < 1000 else f"{score.baseline:,.1f}"
        single = [f"{alone[place].model:.4f}"] if alone else []
        grid.add_row(_safe(score.name), ours if better else f"{ours} (no better)", *single, base)
    Console(highlight=False).print(grid)


def _grid(*titles: str) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for title in titles:
        grid.add_column(
            title, justify="right" if title in ("missing", "different", "model") else "left", overflow="fold"
        )
    return grid


def _safe(text: str) -> str:
    return text.replace("[", "\\[")
