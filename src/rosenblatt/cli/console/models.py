"""Print descriptions of tables and models, searches and test scores on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.text import Text

from rosenblatt.cli.console.tables import Cell, format_number, make_console, print_table, printable
from rosenblatt.errors import format_count
from rosenblatt.inspection.description import summarize_columns
from rosenblatt.models.metadata import SearchMetadata, TestScore
from rosenblatt.models.model import Model
from rosenblatt.models.trained import TrainedTrial
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS, format_value

MAX_TRIALS = 3  # trials of a search that are printed next to one another
MAX_SEARCH_ROWS = 12  # lines on the best trials of a search that are printed without --all
MAX_COLUMNS = 20  # columns of a table that are printed without --all
MIN_R2 = 5e-5  # the absolute value of an R2 from which on it is not rounding error
MAX_CLASSES = 8  # classes that are printed
MAX_EXAMPLE_LENGTH = 24  # characters of an example value
BASELINES = {
    "regression": "mean",
    "multilabel": "most frequent labels",
    "forecasting": "last value",
}  # what the baseline of a task predicts; for other tasks the majority class


def print_table_description(description: Mapping[str, Any], *, show_all: bool = False) -> None:
    """Print the description of a table, as `inspection.description.describe_table` returns it."""
    console, columns, n_rows = make_console(), description["columns"], description["rows"]
    console.print(f"{description['source']}: {format_count(n_rows, 'row')}, {format_count(len(columns), 'column')}")
    for note in description["notes"]:
        console.print(f"  {note}")
    rows: list[tuple[Cell, ...]] = [
        (
            column["name"],
            column["kind"],
            f"{column['missing'] / n_rows:.1%}" if column["missing"] and n_rows else "",
            column["distinct"],
            ", ".join(text[:MAX_EXAMPLE_LENGTH] for text in column["examples"]),
            column["note"],
        )
        for column in columns
    ]
    titles = ("column", "kind", "missing", "distinct", "examples", "note")
    print_table(console, titles, rows, right=("missing",), max_rows=None if show_all else MAX_COLUMNS, noun="columns")
    console.print(f"likely task: {description['likely_task']}")


def print_model(model: Model, source: str, *, show_all: bool = False) -> None:
    """Print a model: its scores, network and data, and the hyperparameters that differ from the defaults.

    `source` is the name of the model file; `show_all` prints all hyperparameters and columns.
    """
    console = make_console()
    console.print(Text(f"{source}: {_task_summary(model)}", "bold"))
    console.print()
    print_scores(model.metadata.scores, model, is_held_out=not model.metadata.test_rows_in_training)
    for caution in model.metadata.cautions:
        console.print(f"caution: {caution}")
    _print_heading(console, "network")
    for trial in model.trials:
        share = f"{trial.weight:4.0%} trial {trial.number}: " if len(model.trials) > 1 else ""
        console.print(f"  {share}{_network_summary(trial)}")
    if model.metadata.search:
        console.print()
        print_search(model.metadata.search, max_rows=None if show_all else MAX_SEARCH_ROWS)
    _print_hyperparameters(console, model, show_all)
    _print_heading(console, "data")
    for line in _data_summary(model):
        console.print(f"  {line}")
    if show_all:
        print_table(
            console,
            ("column", "kind", "missing", "distinct", "note"),
            [
                (column.name, column.kind, column.missing or None, column.distinct or None, column.note)
                for column in model.schema.columns
            ],
        )


def _print_heading(console: Console, title: str) -> None:
    console.print()
    console.print(Text(title, "bold"))


def _task_summary(model: Model) -> str:
    names, labels = ", ".join(model.target.names), [str(label) for label in model.target.labels]
    shown = ", ".join(labels[:MAX_CLASSES]) + f" and {len(labels) - MAX_CLASSES} more" * (len(labels) > MAX_CLASSES)
    return printable(
        {
            "binary": f"binary classification of {names} ({shown})",
            "multiclass": f"classification of {names} into {len(labels)} classes ({shown})",
            "multilabel": f"multilabel classification ({names})",
            "tagging": f"tagging of each step with {names} ({shown})",
            "language": "language model",
        }.get(model.task, f"{model.task} of {names}")
    )


def _network_summary(trial: TrainedTrial) -> str:
    """Return a drawing of a trial's networks in one line.

    Such as `20 inputs -> 64 relu -> 64 relu -> 2 outputs   x 8 networks, 5,442 parameters each`.
    """
    architectures = [network.architecture for network in trial.networks]
    activations = dict.fromkeys(architecture.activation for architecture in architectures)
    summary = replace(architectures[0], activation="/".join(activations)).summary
    parameters = format_count(architectures[0].n_parameters, "parameter")
    if len(architectures) == 1:
        return f"{summary}   {parameters}"
    return f"{summary}   x {len(architectures)} networks, {parameters} each"


def _print_hyperparameters(console: Console, model: Model, show_all: bool) -> None:
    """Print all hyperparameters of a model's kind of network, or those that were set to other values than defaults."""
    names = [name for name, h in HYPERPARAMETERS.items() if h.applies_to(model.spec.network.kind)]
    changed = [name for name in names if model.spec[name] != HYPERPARAMETERS[name].default]
    if not changed and not show_all:
        console.print()
        console.print(f"All {len(names)} hyperparameters have their default values (--all).")
        return
    _print_heading(console, "hyperparameters" if show_all else "hyperparameters that differ from the defaults")
    rows = [
        (name, format_value(_value(model, name)), format_value(HYPERPARAMETERS[name].default))
        for name in (names if show_all else changed)
    ]
    print_table(console, ("hyperparameter", "value", "default"), rows)
    if not show_all:
        console.print(f"{len(names) - len(changed)} others have their default values (--all)")


def _value(model: Model, name: str) -> Any:
    """Return the value of a hyperparameter as it was set, or as it was chosen for "auto"."""
    return model.resolved_spec[name] if model.spec[name] == "auto" else model.spec[name]


def _data_summary(model: Model) -> list[str]:
    """Return lines on the data and the training of a model."""
    metadata, epochs = model.metadata, sorted(network.best_epoch for network in model.networks)
    origin, test_origin = (f" of {name}" if name else "" for name in (metadata.source, metadata.test_source))
    lines = [f"trained on {format_count(metadata.rows, 'row')}{origin}, tested on {metadata.test_rows:,}{test_origin}"]
    lines += [
        f"{format_count(len(model.schema.columns), 'column')}: {summarize_columns(model.schema)[0].partition(': ')[2]}"
    ]
    lines[-1] += f"; {format_count(model.encoder.width, 'input')} after encoding"
    if metadata.seconds is not None:
        lines.append(f"fitted in {metadata.seconds:g} s on {metadata.created} by Rosenblatt {metadata.version}")
    span = f"{epochs[0]} to {epochs[-1]}" if epochs[0] < epochs[-1] else str(epochs[0])
    return [*lines, f"best epochs: {span}" + "; training was stopped early" * metadata.interrupted]


def print_search(search: SearchMetadata, *, max_rows: int | None = None) -> None:
    """Print the best trials of a search, the importance of hyperparameters and the selection bias."""
    console, counts = make_console(), search.trials
    states = {"finished": counts.finished, "stopped early": counts.stopped, "failed": counts.failed}
    console.print(
        f"search: {format_count(counts.proposed, 'trial')} in {search.seconds:.0f} s "
        f"({', '.join(f'{count} {state}' for state, count in states.items() if count)}), "
        f"{search.steps_per_second:,} network steps/s, cores {search.cores_busy:.0%} busy"
    )
    if search.refused:
        console.print(f"{format_count(search.refused, 'proposal')} could not be combined, such as: {search.refusal}")
    trials = (search.front or search.top)[:MAX_TRIALS]
    weights = {member.trial: member.weight for member in search.ensemble}
    rows: list[list[Cell]] = [
        [f"validation {search.scoring}", *(_format_score(trial.score) for trial in trials), None],
        ["weight in the model", *(f"{weights.get(trial.number, 0):.0%}" for trial in trials), None],
        ["parameters", *(f"{trial.parameters:,}" for trial in trials), None],
    ]
    names = dict.fromkeys(name for trial in trials for name in trial.params)
    for name in sorted(names, key=lambda name: -search.importance.get(name, 0)):
        importance = search.importance.get(name)
        bar = None if importance is None else f"{importance:4.0%} {'▇' * round(10 * importance)}"
        rows.append([name, *(_format_param(trial.params.get(name, "")) for trial in trials), bar])
    print_table(
        console,
        ["", *(f"trial {trial.number}" for trial in trials), "importance"],
        rows,
        max_rows=max_rows,
        noun="hyperparameters",
    )
    if search.refit:
        console.print(
            f"refitted on all {search.refit.rows:,} rows: {format_count(search.refit.networks, 'network')} in "
            f"{search.refit.seconds:.0f} s"
        )
    if search.optimism is not None and counts.finished > 1:
        console.print(
            f"best validation {search.scoring} {_format_score(search.best.score)} (estimated selection bias "
            f"{_format_score(search.optimism)}, bootstrap over validation rows)"
        )


def _format_score(score: float | None) -> str:
    return "" if score is None else format_number(float(score))


def _format_param(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else format_value(value)


def print_scores(
    scores: Sequence[TestScore],
    model: Model,
    best_trial_scores: Sequence[TestScore] = (),
    *,
    is_held_out: bool = True,
) -> None:
    """Print scores with their 95% intervals, next to those of the baseline.

    For an ensemble, `best_trial_scores` are those of its best trial on its own. Only scores of rows that are known to
    be held out are called test scores.
    """
    console = make_console()
    if not scores:
        console.print("No test rows were held out, so there are no test scores.")
        return
    networks = "ensemble" if len(model.trials) > 1 else format_count(len(model.networks), "network")
    columns: dict[str, list[Cell]] = {
        "test score" if is_held_out else "score": [score.name for score in scores],
        networks: [score.model for score in scores],
        "95% interval": [_format_interval(score.interval) for score in scores],
        f"baseline: {BASELINES.get(model.task, 'majority class')}": [_baseline(score) for score in scores],
        "best trial": [score.model for score in best_trial_scores] or [None] * len(scores),
        "note": ["" if score.beats_baseline else "no better than the baseline" for score in scores],
    }
    print_table(console, list(columns), list(zip(*columns.values(), strict=True)))


def _baseline(score: TestScore) -> float:
    """The baseline's score; an R2 that is 0 but for rounding is written as 0."""
    is_zero = score.name.startswith("R2") and abs(score.baseline) < MIN_R2
    return 0.0 if is_zero else score.baseline


def _format_interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else " to ".join(map(format_number, interval))
